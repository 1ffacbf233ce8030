/**
 * One person signs out and another signs in, in the same tab: nothing of the first is left.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

test('whoever signs in next in the same tab finds nothing of the person before', async () => {
  const { ada, ben, link } = await site.conversationOfTwo();
  await ben.say('Who was here?');
  await ada.act('Who was here?', 'reply');
  await ada.by('composer').fill('a secret draft of Ada');
  await ada.create('A secret place');
  await ada.by('composer').fill('another secret draft');
  await ada.open('Harbour festival');
  assert.equal(await ada.by('composer').inputValue(), 'a secret draft of Ada', 'a draft waits for its author');
  await ada.search('secret');
  await ada.by('search').fill('a secret search');
  await ada.by('account').click();
  await ada.by('sign-out').click();
  await ada.by('sign-in-form').waitFor();

  const cleo = await site.arrive('Cleo Marsh');
  await cleo.signUpByInvite(link);
  const next = ada;
  next.email = cleo.email;
  await next.signIn();
  await next.by('chat').waitFor();
  await next.open('Harbour festival');
  await next.sees('Who was here?');
  assert.equal(await next.by('composer').inputValue(), '');
  assert.equal(await next.by('composer-context').isVisible(), false);
  assert.equal(await next.by('search').inputValue(), '');
  assert.equal(await next.by('search-results').isVisible(), false);
  assert.equal(await textOf(next.by('me')), 'Cleo Marsh');
  assert.deepEqual(await next.by('conversation').count(), 1);
  const kept = await next.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.doesNotMatch(kept, /secret|Ada/u);
  assert.doesNotMatch(await next.page.content(), /secret/u);
  assert.deepEqual(next.problems(), []);
});

test('what lies open is closed when the login ends in another tab', async () => {
  const { ada } = await site.conversationOfTwo();
  const tab = await ada.anotherTab();
  await tab.page.goto(ada.page.url());
  await tab.inConversation();
  await tab.by('composer').fill('a secret draft of Ada');
  await tab.by('invite').click();
  await tab.by('invite-dialog').waitFor();
  await ada.by('account').click();
  await ada.by('sign-out').click();
  await ada.by('sign-in-form').waitFor();
  await tab.by('sign-in-form').waitFor();
  assert.equal(await tab.page.locator('dialog, [popover], .toast').count(), 0);
  assert.equal(await tab.page.title(), 'Parlance');
  await tab.page.bringToFront();
  await tab.by('email').fill(ada.email);
  await tab.by('password').fill('a long enough secret');
  await tab.by('submit').click();
  await tab.inConversation();
  assert.equal(await tab.by('composer').inputValue(), '', 'not even for the same person: who knows who it is');
});

test('a message that was not sent is not sent by the next person', async () => {
  const { ada, ben, link } = await site.conversationOfTwo();
  const cleo = await site.arrive('Cleo Marsh');
  await cleo.signUpByInvite(link);
  await ada.page.routeWebSocket(/\/ws$/u, (socket) => {
    const upstream = socket.connectToServer();
    upstream.onMessage((frame) => socket.send(frame));
    socket.onMessage((frame) => String(frame).includes('"send"') || upstream.send(frame));
  });
  await ada.page.reload();
  await ada.inConversation();
  await ada.say('never arrived');
  await eventually('it waits in the storage', () =>
    ada.page.evaluate(() => (sessionStorage.getItem('parlance.outbox') ?? '').includes('never arrived')),
  );
  // Not by the page: the cookies are another person's when the tab is loaded again.
  await ada.context.clearCookies();
  await ada.context.addCookies(await cleo.context.cookies());
  await ada.page.reload();
  await ada.inConversation();
  assert.equal(await textOf(ada.by('me')), 'Cleo Marsh');
  assert.equal(await ada.page.evaluate(() => sessionStorage.getItem('parlance.outbox')), null);
  await ben.say('the end');
  await ada.sees('the end');
  assert.deepEqual(await ben.bodies(), ['the end']);
});
