/**
 * Two people and a guest talk, against the real server: what each of them does is seen by the
 * others.
 *
 * @import { WebSocketRoute } from 'playwright-core'
 * @import { Person } from './support/person.js'
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

test('sign up, invite, join as a guest, and talk', async () => {
  const { ada, ben, link } = await site.conversationOfTwo();
  const mira = await site.arrive('Mira');
  await mira.joinAsGuest(link);

  await ada.say('Good morning!');
  for (const person of [ada, ben, mira]) await person.sees('Good morning!');
  await ben.say('Hello Ada');
  await mira.say('Hi, Mira here');
  for (const person of [ada, ben, mira]) {
    await person.sees('Hello Ada');
    await person.sees('Hi, Mira here');
    assert.equal(await textOf(person.message('Hi, Mira here').getByTestId('author')), 'Mira');
  }
  await ada.confirmed('Good morning!');
  await eventually(
    'the three are listed, online',
    async () => (await ada.page.locator('[data-testid=member][data-online=true]').count()) === 3,
  );
  assert.match(await textOf(ada.by('subtitle')), /3 members · 3 online/u);
  assert.equal(await mira.by('new-conversation').count(), 0, 'a guest makes no conversations');

  await mira.context.close();
  await eventually(
    'the guest goes offline',
    async () => (await ada.page.locator('[data-testid=member][data-online=false]').count()) === 1,
    30_000,
  );
  for (const person of [ada, ben]) assert.deepEqual(person.problems(), []);
});

test('what people write is shown as text, never as markup', async () => {
  const { ada, ben } = await site.conversationOfTwo('<img src=x onerror="window.broken=1">');
  const attempts = [
    '<script>window.broken = 1</script>',
    '<img src=x onerror="window.broken=1">',
    '<a href="javascript:window.broken=1">click</a>',
    '"><svg onload=window.broken=1>',
    '[x](javascript:window.broken=1)',
  ];
  for (const attempt of attempts) {
    await ada.say(attempt);
    await ben.sees(attempt);
  }
  await ada.say('Look: https://example.org/a?b=1&c=2, javascript:alert(1) and http://example.org/<b>.');
  const links = ben.by('log').locator('a');
  await eventually('the links are there', async () => (await links.count()) === 2);
  assert.deepEqual(
    await links.evaluateAll((/** @type {HTMLAnchorElement[]} */ nodes) =>
      nodes.map(({ href, rel }) => [href, rel.includes('noopener') && rel.includes('noreferrer')]),
    ),
    [
      ['https://example.org/a?b=1&c=2', true],
      ['http://example.org/', true],
    ],
  );
  for (const person of [ada, ben]) {
    assert.equal(await person.page.evaluate(() => /** @type {any} */ (window).broken), undefined);
    assert.equal(await person.page.locator('.log img, .log script, .log b, .log svg[onload]').count(), 0);
    assert.deepEqual(person.problems(), []);
  }
});

test('an own message is there at once as pending, and confirmed by the acknowledgement', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  /** @type {{ socket: WebSocketRoute, frame: string | Buffer }[] | null} */
  let held = null;
  await ada.page.routeWebSocket(/\/ws$/u, (socket) => {
    const upstream = socket.connectToServer();
    upstream.onMessage((frame) => (held ? held.push({ socket, frame }) : socket.send(frame)));
  });
  await ada.signUp();
  await ada.create('Slow line');
  /** @type {{ socket: WebSocketRoute, frame: string | Buffer }[]} */
  const frames = [];
  held = frames;
  await ada.say('On its way');
  assert.equal(await ada.message('On its way').getAttribute('data-state'), 'pending');
  await eventually('the replies are held', () => frames.length >= 2);
  assert.equal(await ada.message('On its way').getAttribute('data-state'), 'pending');
  held = null;
  for (const { socket, frame } of frames) socket.send(frame);
  await ada.confirmed('On its way');
  assert.deepEqual(await ada.bodies(), ['On its way']);
});

test('edit, delete, react, reply', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await ada.say('See you at tree');
  await ada.confirmed('See you at tree');
  await ada.by('composer').press('ArrowUp');
  assert.equal(await ada.by('composer').inputValue(), 'See you at tree');
  await ada.say('See you at three');
  await ben.sees('See you at three');
  assert.equal(await ben.message('See you at three').getByTestId('edited').count(), 1);

  await ben.act('See you at three', 'quick-👍');
  const reaction = ada.message('See you at three').getByTestId('reaction');
  await reaction.waitFor();
  assert.match((await reaction.getAttribute('aria-label')) ?? '', /👍, 1 reaction: Ben Okafor/u);
  await reaction.click();
  await eventually(
    'two like it',
    async () => (await textOf(ben.message('See you at three').getByTestId('reaction'))) === '👍2',
  );
  await ben.message('See you at three').getByTestId('reaction').click();
  await eventually('one took it back', async () => (await textOf(reaction)) === '👍1');
  await ben.act('See you at three', 'react');
  await ben.by('emoji-picker').locator('[data-emoji="🎉"]').click();
  await eventually('another emoji', async () => (await reaction.count()) === 2);

  await ben.act('See you at three', 'reply');
  await ben.say('I will bring cake');
  await ada.sees('I will bring cake');
  assert.match(await textOf(ada.message('I will bring cake').getByTestId('quote')), /You.*See you at three/u);

  await ada.act('See you at three', 'delete');
  await ada.by('dialog-submit').click();
  await eventually(
    'it is gone for both',
    async () => (await ben.bodies())[0] === 'Message deleted' && (await ada.bodies())[0] === 'Message deleted',
  );
  assert.equal(await ben.by('reaction').count(), 0);
  await ben.message('I will bring cake').hover();
  assert.equal(await ada.by('edit').count(), 0, 'nobody edits a deleted message');
  for (const person of [ada, ben]) assert.deepEqual(person.problems(), []);
});

test('who is typing is shown, and who has read', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await ada.by('composer').pressSequentially('Wel');
  await eventually('Ben sees it', async () => (await textOf(ben.by('typing'))) === 'Ada Lindqvist is typing');
  assert.equal(await textOf(ada.by('typing')), '');
  await ada.say('Welcome');
  await ben.sees('Welcome');
  await eventually('the line is empty again', async () => (await textOf(ben.by('typing'))) === '');
  await eventually(
    'Ada sees that Ben has read it',
    async () => (await ada.message('Welcome').getByTestId('seen').getAttribute('aria-label')) === 'Seen by Ben Okafor',
  );
});

test('unread counts come by notices, also into the title', async () => {
  const { ada, ben } = await site.conversationOfTwo('First room');
  await ada.create('Second room');
  await ben.say('Are you there?');
  await ben.say('Hello?');
  const entry = ada.by('conversation').filter({ hasText: 'First room' });
  await eventually('two are unread', async () => (await textOf(entry.getByTestId('unread'))) === '2');
  await eventually('the title says so', async () => /^\(2\) /u.test(await ada.page.title()));
  await eventually('the preview follows', async () => /Ben: Hello\?/u.test(await textOf(entry)));
  assert.equal(
    await ada.by('conversation').first().getAttribute('data-id'),
    await entry.getAttribute('data-id'),
    'the newest is first',
  );
  await entry.click();
  await ada.sees('Hello?');
  assert.equal(await ada.by('new-divider').count(), 1);
  await eventually(
    'all is read',
    async () => (await ada.by('unread').count()) === 0 && !/^\(/u.test(await ada.page.title()),
  );
  for (const person of [ada, ben]) assert.deepEqual(person.problems(), []);
});

test('history comes by scrolling up, and stays where one reads', async () => {
  const { ada, ben } = await site.conversationOfTwo('Long story');
  const total = 180;
  await ada.fill(Array.from({ length: total }, (_, idx) => `line ${idx + 1}`));
  await ben.page.reload();
  await ben.inConversation();
  await ben.sees(`line ${total}`);
  assert.ok((await ben.by('message').count()) <= 100, 'only the newest are loaded');
  const scroller = ben.by('scroller');
  await eventually(
    'the beginning is reached',
    async () => {
      const held = await scroller.evaluate((node) => {
        node.scrollTop = Math.min(node.scrollTop, 300);
        return document.querySelectorAll('[data-testid=message]').length;
      });
      return held === total && (await ben.by('history-start').count()) === 1;
    },
    30_000,
  );
  assert.deepEqual(
    (await ben.shown()).map(({ seq }) => seq),
    Array.from({ length: total }, (_, idx) => idx + 1),
  );

  await scroller.evaluate((node) => (node.scrollTop = 2_000));
  await ben.by('jump-latest').waitFor();
  const place = await scroller.evaluate((node) => node.scrollTop);
  await ada.say('A new line');
  await eventually('the new one is counted', async () => /1 new message/u.test(await textOf(ben.by('jump-count'))));
  assert.equal(await scroller.evaluate((node) => node.scrollTop), place, 'what one reads does not move');
  await ben.by('jump-latest').click();
  await eventually('the latest is in view', () => ben.message('A new line').isVisible());
  await ben.by('jump-latest').waitFor({ state: 'hidden' });
  assert.deepEqual(ben.problems(), []);
});

test('a reload keeps everything, and signing out and in again too', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  for (const text of ['one', 'two', 'three']) await ada.say(text);
  await ben.sees('three');
  await ben.page.reload();
  await ben.sees('three');
  assert.deepEqual(await ben.bodies(), ['one', 'two', 'three']);

  const tab = await ben.anotherTab();
  await tab.page.goto(ben.page.url());
  await tab.sees('three');
  await ben.page.bringToFront();
  await ben.by('account').click();
  await ben.by('sign-out').click();
  await ben.by('sign-in-form').waitFor();
  await tab.by('sign-in-form').waitFor();
  await ben.signIn('the wrong secret');
  await ben.by('form-error').waitFor();
  await ben.signIn();
  await ben.by('chat').waitFor();
  await ben.open('Harbour festival');
  await ben.sees('three');
  assert.deepEqual(await ben.bodies(), ['one', 'two', 'three']);
});

test('rename, roles, remove and leave', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await ada.by('conversation-menu').click();
  await ada.by('rename').click();
  await ada.by('rename-title').fill('Autumn festival');
  await ada.by('dialog-submit').click();
  await eventually('Ben sees the new name', async () => (await textOf(ben.by('title'))) === 'Autumn festival');
  assert.equal(await ben.by('invite').isVisible(), false, 'a member does not invite');
  await ada.by('manage-member').click();
  await ada.by('make-moderator').click();
  await ben.by('invite').waitFor();
  await ada.by('manage-member').click();
  await ada.by('remove-member').click();
  await ada.by('dialog-submit').click();
  await ben.by('welcome').waitFor();
  await eventually('it left the list', async () => (await ben.by('conversation').count()) === 0);
  for (const person of [ada, ben]) assert.deepEqual(person.problems(), []);
});

test('a phone shows one thing at a time', async () => {
  const { ada, link } = await site.conversationOfTwo();
  const mira = await site.arrive('Mira', {
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
    colorScheme: 'dark',
  });
  await mira.joinAsGuest(link);
  assert.equal(await mira.by('conversations').isVisible(), false);
  await mira.by('composer').fill('From the train');
  await mira.by('send').click();
  await ada.sees('From the train');
  const long = `https://example.org/${'x'.repeat(400)}`;
  for (const person of [mira, ada]) {
    await person.by('composer').fill(long);
    assert.deepEqual(await overflow(person), [0, 0], 'nothing sticks out while it is written');
  }
  await mira.by('send').click();
  await ada.sees(long);
  await mira.confirmed(long);
  for (const person of [mira, ada]) assert.deepEqual(await overflow(person), [0, 0], 'nothing sticks out');
  await mira.message('From the train').getByTestId('body').tap();
  await mira.by('quick-👍').tap();
  await ada.message('From the train').getByTestId('reaction').waitFor();
  await mira.by('back').click();
  await mira.by('conversation').waitFor();
  assert.equal(await mira.by('composer').count(), 0);
  assert.deepEqual(mira.problems(), []);
});

/**
 * By how much the page and the composer are wider than their place.
 *
 * @param {Person} person
 */
function overflow(person) {
  return person.page.evaluate(() => {
    const right = document.querySelector('[data-testid=composer-form]')?.getBoundingClientRect().right ?? Infinity;
    return [document.documentElement.scrollWidth - innerWidth, Math.max(0, right - innerWidth)];
  });
}
