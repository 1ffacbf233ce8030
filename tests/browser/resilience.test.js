/**
 * The bad days, against the real server: it is killed, the network goes, the token runs out. Both pages come back by
 * themselves, and nothing acknowledged is missing, doubled or out of order.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually, openBrowser, roomOfTwo } from './support/person.js';
import { Server } from './support/server.js';

let server;
let browser;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Both see the same messages, in the same order, each once, numbered without holes. */
async function agree(people, texts) {
  const views = await eventually(
    'both see all of it',
    async () => {
      const shown = await Promise.all(people.map((person) => person.shown()));
      return shown.every((view) => view.length === texts.length && view.every(({ state }) => state === 'confirmed')) && shown;
    },
    45_000,
  );
  for (const view of views) {
    assert.deepEqual(view.map(({ seq }) => seq), texts.map((_, idx) => idx + 1));
    assert.deepEqual(view.map(({ body }) => body), views[0].map(({ body }) => body));
    assert.deepEqual(view.map(({ body }) => body).sort(), [...texts].sort());
  }
  return views[0];
}

test('the server is killed in the middle of a talk and started again', async () => {
  const { ada, ben } = await roomOfTwo(browser, server);
  const texts = [];
  const acknowledged = [];
  let talking = true;
  const talk = async (person, word) => {
    for (let n = 1; talking || n <= 12; n += 1) {
      const text = `${word} ${n}`;
      texts.push(text);
      await person.say(text);
      await person.page.waitForTimeout(40);
    }
  };
  const talks = [talk(ada, 'apple'), talk(ben, 'berry')];
  for (let round = 0; round < 2; round += 1) {
    await eventually('the talk goes on', async () => (await ada.shown()).filter(({ state }) => state === 'confirmed').length >= acknowledged.length + 8);
    await server.kill();
    for (const person of [ada, ben]) acknowledged.push(...(await person.shown()).filter(({ state }) => state === 'confirmed'));
    await eventually('Ada is told', () => ada.by('banner').isVisible());
    await server.up();
    for (const person of [ada, ben]) await person.connected();
    for (const person of [ada, ben]) await person.by('banner').waitFor({ state: 'hidden' });
  }
  talking = false;
  await Promise.all(talks);
  const view = await agree([ada, ben], texts);
  const ids = new Set(view.map(({ id }) => id));
  for (const { id, body } of acknowledged) assert.ok(ids.has(id), `“${body}” was acknowledged and is missing`);
  for (const word of ['apple', 'berry']) {
    const said = view.map(({ body }) => body).filter((body) => body.startsWith(word));
    assert.deepEqual(said, texts.filter((text) => text.startsWith(word)), 'in the order in which they were written');
  }
  await ada.page.reload();
  await ada.inRoom();
  for (const person of [ada, ben]) assert.deepEqual(person.problems({ network: true }), []);
});

test('what is written while the server is away waits as pending, also across a reload, and arrives once', async () => {
  const { ada, ben } = await roomOfTwo(browser, server);
  await ada.say('before');
  await ben.sees('before');
  await server.kill();
  await eventually('Ada is no longer connected', async () => (await ada.by('connection').getAttribute('data-state')) !== 'online');
  for (const text of ['away 1', 'away 2', 'away 3']) await ada.say(text);
  assert.deepEqual((await ada.shown()).map(({ state }) => state), ['confirmed', 'pending', 'pending', 'pending']);
  await server.up();
  await ada.page.reload();
  const view = await agree([ada, ben], ['before', 'away 1', 'away 2', 'away 3']);
  assert.deepEqual(view.map(({ body }) => body), ['before', 'away 1', 'away 2', 'away 3']);
});

test('offline and back', async () => {
  const { ada, ben } = await roomOfTwo(browser, server);
  await ada.say('before');
  await ben.sees('before');
  await ben.context.setOffline(true);
  for (const text of ['missed 1', 'missed 2']) await ada.say(text);
  await ada.confirmed('missed 2');
  await ada.act('missed 1', 'quick-👍');
  await ben.context.setOffline(false);
  await agree([ada, ben], ['before', 'missed 1', 'missed 2']);
  await ben.message('missed 1').getByTestId('reaction').waitFor();
  await ben.say('back again');
  await ada.sees('back again');
  for (const person of [ada, ben]) assert.deepEqual(person.problems({ network: true }), []);
});

test('a line that is dead without a word is found and left', async () => {
  const { ada, ben } = await roomOfTwo(browser, server);
  await ada.say('first');
  await ben.sees('first');
  const ends = [];
  await ben.page.routeWebSocket(/\/ws$/u, (socket) => {
    const upstream = socket.connectToServer();
    const line = { dead: false };
    ends.push(line);
    upstream.onMessage((frame) => line.dead || socket.send(frame));
    socket.onMessage((frame) => line.dead || upstream.send(frame));
  });
  await ben.page.reload();
  await ben.inRoom();
  // As when a laptop changes networks: nothing arrives any more, and no end is seen either.
  ends[0].dead = true;
  await ada.say('second');
  await ada.confirmed('second');
  await ben.say('third');
  assert.equal(await ben.message('third').getAttribute('data-state'), 'pending');
  await ben.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await agree([ada, ben], ['first', 'second', 'third']);
  assert.equal(ends.length, 2, 'there is a new line');
});

test('the access token runs out and is renewed under two open tabs', async () => {
  const brief = await Server.start({ ACCESS_TOKEN_TTL: '8' });
  try {
    const { ada, ben } = await roomOfTwo(browser, brief);
    const tab = await ada.anotherTab();
    await tab.page.goto(ada.page.url());
    await tab.inRoom();
    const until = Date.now() + 20_000;
    const texts = [];
    for (let n = 1; Date.now() < until; n += 1) {
      texts.push(`tick ${n}`);
      await ben.say(`tick ${n}`);
      await ada.page.waitForTimeout(1_000);
    }
    await agree([ada, tab, ben], texts);
    for (const person of [ada, tab, ben]) {
      assert.equal(await person.by('chat').count(), 1, 'nobody was signed out');
      assert.deepEqual(person.problems({ network: true }), []);
    }
    await ada.page.reload();
    await ada.sees(texts.at(-1));
  } finally {
    await brief.stop();
  }
});
