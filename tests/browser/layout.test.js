/**
 * What has to stay in the window stays there, whatever its size and however much there is; and a
 * conversation opens in each of them, also over a slow line.
 *
 * @import { Page } from 'playwright-core'
 * @import { Person } from './support/person.js'
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

/** Each way. */
const DELAY_MS = 60;

const SHORT = [
  [667, 375],
  [720, 450],
  [683, 384],
  [640, 360],
  [390, 480],
];
const ALL = [
  ...SHORT,
  [360, 640],
  [390, 844],
  [820, 1_180],
  [1_280, 720],
  [1_280, 900],
  [1_920, 1_080],
  [3_440, 1_440],
  [1_080, 1_920],
];

/**
 * A line that takes its time, in both directions.
 *
 * @param {Page} page
 */
async function slowLine(page) {
  const later = (/** @type {() => unknown} */ act) => setTimeout(act, DELAY_MS);
  await page.routeWebSocket(/\/ws$/u, (socket) => {
    const upstream = socket.connectToServer();
    upstream.onMessage((frame) => later(() => socket.send(frame)));
    socket.onMessage((frame) => later(() => upstream.send(frame)));
  });
  await page.route(/\/api\//u, async (route) => {
    await new Promise((done) => later(() => done(undefined)));
    await route.continue();
  });
}

test('a conversation opens in short and narrow windows, also over a slow line', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  await ada.signUp();
  await ada.create('Short and narrow');
  for (const text of ['one', 'two', 'three']) await ada.say(text);
  await ada.confirmed('three');
  await ada.create('Long story');
  await ada.fill(Array.from({ length: 120 }, (_, idx) => `line ${idx + 1}`));
  await slowLine(ada.page);
  /** @type {Record<string, string>} */
  const last = { 'Short and narrow': 'three', 'Long story': 'line 120' };
  for (const [width, height] of SHORT) {
    await ada.page.setViewportSize({ width, height });
    for (const title of Object.keys(last)) {
      await ada.page.goto(site.url);
      // Another document, not only another address in it.
      await ada.page.reload();
      await ada.open(title);
      await eventually(`the end is in view at ${width}×${height}`, () => isInView(ada, last[title]));
      last[title] = `Still alive at ${width}×${height}`;
      await ada.say(last[title]);
      await ada.confirmed(last[title]);
      await eventually(`what was written is in view at ${width}×${height}`, () => isInView(ada, last[title]));
    }
  }
  assert.deepEqual(ada.problems(), []);
});

/**
 * Whether a message is in the part of the history that can be seen.
 *
 * @param {Person} person
 * @param {string} text
 */
async function isInView(person, text) {
  const scroller = await person.by('scroller').boundingBox();
  const body = await person.message(text).getByTestId('body').boundingBox();
  if (!scroller || !body) return false;
  return body.y >= scroller.y - 1 && body.y + body.height <= scroller.y + scroller.height + 1;
}

/**
 * Guests who are let in and never look.
 *
 * @param {string} invite
 * @param {number} count
 */
async function letGuestsIn(invite, count) {
  const headers = { 'content-type': 'application/json' };
  for (let n = 1; n <= count; n += 1) {
    const body = JSON.stringify({ name: `Guest ${n}`, invite });
    const response = await fetch(`${site.url}/auth/guest`, { method: 'POST', headers, body });
    assert.equal(response.status, 201, await response.text());
  }
}

/**
 * What sticks out of the window, or has no room in it.
 *
 * @param {Page} page
 */
function misplaced(page) {
  return page.evaluate(async () => {
    await Promise.all(document.getAnimations().map(({ finished }) => finished));
    const wrong = [];
    const { scrollWidth, scrollHeight } = document.documentElement;
    if (scrollWidth > innerWidth || scrollHeight > innerHeight) wrong.push(`the page: ${scrollWidth}×${scrollHeight}`);
    /** @type {[selector: string, least: number][]} */
    const parts = [
      ['.conversation-head', 40],
      ['[data-testid=scroller]', 40],
      ['[data-testid=composer]', 30],
      ['[data-testid=send]', 30],
      ['.sidebar-foot', 40],
      ['.sidebar-list', 60],
      ['[data-testid=close-details]', 30],
    ];
    for (const [selector, least] of parts) {
      const node = document.querySelector(selector);
      // One that is not shown at this size has no boxes.
      if (!node || node.getClientRects().length === 0) continue;
      const { top, bottom, left, right, height } = node.getBoundingClientRect();
      const inside = top >= 0 && left >= 0 && bottom <= innerHeight + 0.5 && right <= innerWidth + 0.5;
      if (!inside || height < least) wrong.push(`${selector}: ${[left, top, right, bottom].map(Math.round).join(' ')}`);
    }
    return wrong;
  });
}

test('forty conversations, sixty members, many hits and a long draft leave everything in the window', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  await ada.signUp();
  for (let n = 1; n <= 39; n += 1) await ada.api('POST', '/api/conversations', { title: `Conversation ${n}` });
  await ada.create('Harbour festival');
  const invite = new URL(await ada.inviteLink()).pathname.split('/').at(-1) ?? '';
  await letGuestsIn(invite, 59);
  await ada.fill(Array.from({ length: 40 }, (_, idx) => `The harbour at dawn, ${idx + 1}`));
  const address = ada.page.url();
  const draft = Array.from({ length: 60 }, (_, idx) => `a long draft, line ${idx + 1}`).join('\n');
  /** @type {string[]} */
  const wrong = [];
  for (const [width, height] of ALL) {
    const note = async (/** @type {string} */ state) => {
      for (const what of await misplaced(ada.page)) wrong.push(`${width}×${height}, ${state}: ${what}`);
    };
    await ada.page.setViewportSize({ width, height });
    await ada.page.goto(site.url);
    await ada.page.reload();
    await eventually('the list is there', async () => (await ada.by('conversation').count()) === 40);
    await note('the list');
    await ada.search('harbour');
    await ada.by('search-hit').first().waitFor();
    await note('hits');
    await ada.page.goto(address);
    await ada.page.reload();
    await ada.inConversation();
    await ada.sees('The harbour at dawn, 40');
    await note('a conversation');
    await ada.by('composer').fill(draft);
    await note('a long draft');
    await ada.by('composer').fill('');
    const open = await ada.by('details').evaluate((node) => !(/** @type {HTMLElement} */ (node).inert));
    if (!open) await ada.by('show-members').click();
    await eventually('the members are listed', async () => (await ada.by('member').count()) === 60);
    await note('members');
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual(ada.problems(), []);
});

test('a window that is larger than all that is kept does not load and drop it without end', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  await ada.signUp();
  await ada.create('Long story');
  await ada.fill(Array.from({ length: 900 }, (_, idx) => `line ${idx + 1}`));
  let pages = 0;
  ada.page.on('request', (request) => {
    if (request.url().includes('/messages?')) pages += 1;
  });
  await ada.page.setViewportSize({ width: 500, height: 20_000 });
  await ada.page.reload();
  await ada.inConversation();
  await ada.say('At the end');
  await ada.confirmed('At the end');
  await eventually('it has loaded what fits', async () => (await ada.by('message').count()) > 600);
  for (let n = 1; n <= 10; n += 1) await ada.say(`Further on, ${n}`);
  await ada.confirmed('Further on, 10');
  assert.ok(pages <= 20, `${pages} pages of 50 for 900 messages`);
});

test('the owner of a conversation too large to list its members has all that owners have', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  await ada.signUp();
  await ada.create('Everybody');
  const invite = new URL(await ada.inviteLink()).pathname.split('/').at(-1) ?? '';
  await letGuestsIn(invite, 200);
  await ada.page.reload();
  await ada.inConversation();
  await eventually('they are counted', async () => /201 members/u.test(await textOf(ada.by('subtitle'))));
  assert.equal(await ada.by('member').count(), 0, 'too many to be listed');
  assert.ok(await ada.by('invite').isVisible());
  assert.ok(await ada.by('add-people').isVisible());
  await ada.by('conversation-menu').click();
  for (const testid of ['rename', 'menu-invite', 'delete-conversation']) assert.ok(await ada.by(testid).isVisible());
  await ada.by('delete-conversation').click();
  await ada.by('dialog-submit').click();
  await ada.by('welcome').waitFor();
  assert.deepEqual(ada.problems(), []);
});
