/**
 * A page that only stands open, for an hour of its own time, beside people who write: its list
 * stays true, and it asks for next to nothing.
 *
 * The clock is the browser's, moved by the test; server and network are the real ones.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

const HOUR_MS = 3_600_000;
/** Less than the page's patience with its connection: the network is no faster than it is. */
const STEP_MS = 5_000;
const REQUESTS_MAX = 30;

test('an untouched page makes at most thirty requests an hour, and its list stays true', async () => {
  const { ada, ben } = await site.conversationOfTwo('Open here');
  await ben.create('Elsewhere');
  const link = await ben.inviteLink();
  await ada.page.goto(link);
  await ada.inConversation();
  await ada.open('Open here');
  const tab = await ada.anotherTab();
  await tab.page.clock.install();
  /** @type {string[]} */
  const requests = [];
  tab.page.on('request', (request) => {
    const { pathname } = new URL(request.url());
    if (/^\/(api|auth)\//u.test(pathname)) requests.push(`${request.method()} ${pathname}`);
  });
  await tab.page.goto(ada.page.url());
  await tab.page.clock.runFor(1_000);
  await tab.inConversation();
  const row = tab.by('conversation').filter({ hasText: 'Elsewhere' });
  // Three of the same person's are open: what one of them does is news for the others, too.
  for (let passed = 0; passed < HOUR_MS; passed += STEP_MS) {
    if (passed % 180_000 === 0) {
      await ben.say(`line ${passed}`);
      await ben.confirmed(`line ${passed}`);
    }
    await tab.page.clock.runFor(STEP_MS);
    // A way there and back that costs nothing: what the page had sent was answered meanwhile.
    await tab.page.evaluate(() => fetch('/health/live').then((response) => response.text()));
  }
  assert.ok(requests.length <= REQUESTS_MAX, `${requests.length} requests in an hour:\n${requests.join('\n')}`);
  await eventually('the last message is shown', async () => {
    await tab.page.clock.runFor(200);
    return /Ben: line 3420000/u.test(await textOf(row));
  });
  assert.equal(await textOf(row.getByTestId('unread')), '20');
  assert.equal(await tab.by('connection').getAttribute('data-state'), 'online');
  assert.deepEqual(tab.problems(), []);
});

test('what happens elsewhere is in the list without a request', async () => {
  const { ada, ben } = await site.conversationOfTwo('Open here');
  await ben.create('Elsewhere');
  const link = await ben.inviteLink();
  await ada.page.goto(link);
  await ada.inConversation();
  await ada.open('Open here');
  const phone = await ada.anotherTab();
  await phone.page.goto(ada.page.url());
  await phone.inConversation();
  await eventually('both are listed', async () => (await ada.by('conversation').count()) === 2);
  /** @type {string[]} */
  const asked = [];
  ada.page.on('request', (request) => asked.push(request.url()));
  const row = ada.by('conversation').filter({ hasText: 'Ben' });
  await ben.say('Hello there');
  await eventually('the post', async () => /Ben: Hello there/u.test(await textOf(row)));
  await ben.by('composer').press('ArrowUp');
  await ben.say('Hello there, edited');
  await eventually('the edit', async () => /Ben: Hello there, edited/u.test(await textOf(row)));
  await phone.open('Elsewhere');
  await eventually('read in another tab', async () => (await ada.by('unread').count()) === 0);
  await ben.act('Hello there, edited', 'delete');
  await ben.by('dialog-submit').click();
  await eventually('the deletion', async () => /Ben: Message deleted/u.test(await textOf(row)));
  await ben.by('conversation-menu').click();
  await ben.by('rename').click();
  await ben.by('rename-title').fill('Somewhere else');
  await ben.by('dialog-submit').click();
  await eventually('the title', async () => /Somewhere else/u.test(await textOf(row)));
  await phone.create('Made in another tab');
  await eventually('the new one', async () => (await ada.by('conversation').count()) === 3);
  await ben.by('manage-member').first().click();
  await ben.by('remove-member').click();
  await ben.by('dialog-submit').click();
  await eventually('the removal', async () => (await row.count()) === 0);
  assert.deepEqual(asked, []);
  for (const person of [ada, ben, phone]) assert.deepEqual(person.problems(), []);
});
