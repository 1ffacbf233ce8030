/**
 * The bad days, against the real server: it is killed, the network goes. Both pages come back by
 * themselves, and nothing acknowledged is missing, doubled or out of order.
 *
 * @import { Person, ShownMessage } from './support/person.js'
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agree, eventually } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

test('the server is killed in the middle of sending and started again, three times', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  /** @type {string[]} */
  const texts = [];
  /** @type {ShownMessage[]} */
  const acknowledged = [];
  let underWay = 0;
  let talking = false;
  /**
   * @param {Person} person
   * @param {string} word
   * @param {number} count
   */
  const write = (person, word, count) => {
    const first = texts.filter((text) => text.startsWith(word)).length + 1;
    const lines = Array.from({ length: count }, (_, idx) => `${word} ${first + idx}`);
    texts.push(...lines);
    return person.burst(lines);
  };
  /**
   * @param {Person} person
   * @param {string} word
   */
  const talk = async (person, word) => {
    while (talking) {
      await write(person, word, 2);
      await person.sees(texts.findLast((text) => text.startsWith(word)) ?? '');
    }
  };
  for (let round = 0; round < 3; round += 1) {
    const confirmed = (await ada.shown()).filter(({ state }) => state === 'confirmed').length;
    talking = true;
    const talks = [talk(ada, 'apple'), talk(ben, 'berry')];
    await eventually(
      'the talk goes on',
      async () => (await ada.shown()).filter(({ state }) => state === 'confirmed').length >= confirmed + 8,
    );
    // Frozen before it is killed: what is written in between is under way for certain, however fast
    // the machine is.
    site.server.freeze();
    talking = false;
    await Promise.all(talks);
    await Promise.all([write(ada, 'apple', 6), write(ben, 'berry', 6)]);
    await site.server.kill();
    for (const person of [ada, ben]) {
      const shown = await person.shown();
      acknowledged.push(...shown.filter(({ state }) => state === 'confirmed'));
      underWay += shown.filter(({ state }) => state === 'pending').length;
    }
    await eventually('Ada is shown that the connection is lost', () => ada.by('banner').isVisible());
    await Promise.all([write(ada, 'apple', 2), write(ben, 'berry', 2)]);
    await site.server.up();
    for (const person of [ada, ben]) await person.connected();
    for (const person of [ada, ben]) await person.by('banner').waitFor({ state: 'hidden' });
  }
  assert.ok(underWay > 0, 'the server was killed while messages were under way');
  const view = await agree([ada, ben], texts);
  const ids = new Map(view.map(({ id, seq }) => [id, seq]));
  for (const { id, body, seq } of acknowledged) {
    assert.equal(ids.get(id), seq, `“${body}” was acknowledged and is missing, or is elsewhere`);
  }
  for (const word of ['apple', 'berry']) {
    const said = view.map(({ body }) => body).filter((body) => body.startsWith(word));
    assert.deepEqual(
      said,
      texts.filter((text) => text.startsWith(word)),
      'in the order in which they were written',
    );
  }
  await ada.page.reload();
  await ada.inConversation();
  for (const person of [ada, ben]) assert.deepEqual(person.problems({ network: true }), []);
});

test('what is written while the server is away waits as pending, also across a reload, and arrives once', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await ada.say('before');
  await ben.sees('before');
  await site.server.kill();
  await eventually(
    'Ada is no longer connected',
    async () => (await ada.by('connection').getAttribute('data-state')) !== 'online',
  );
  for (const text of ['away 1', 'away 2', 'away 3']) await ada.say(text);
  assert.deepEqual(
    (await ada.shown()).map(({ state }) => state),
    ['confirmed', 'pending', 'pending', 'pending'],
  );
  await site.server.up();
  await ada.page.reload();
  const view = await agree([ada, ben], ['before', 'away 1', 'away 2', 'away 3']);
  assert.deepEqual(
    view.map(({ body }) => body),
    ['before', 'away 1', 'away 2', 'away 3'],
  );
});

test('offline and back', async () => {
  const { ada, ben } = await site.conversationOfTwo();
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

test('a connection that is dead without a word is found and replaced', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await ada.say('first');
  await ben.sees('first');
  /** @type {{ dead: boolean }[]} */
  const connections = [];
  await ben.page.routeWebSocket(/\/ws$/u, (socket) => {
    const upstream = socket.connectToServer();
    const connection = { dead: false };
    connections.push(connection);
    upstream.onMessage((frame) => connection.dead || socket.send(frame));
    socket.onMessage((frame) => connection.dead || upstream.send(frame));
  });
  await ben.page.reload();
  await ben.inConversation();
  // As when a laptop changes networks: nothing arrives any more, and no end is seen either.
  connections[0].dead = true;
  await ada.say('second');
  await ada.confirmed('second');
  await ben.say('third');
  assert.equal(await ben.message('third').getAttribute('data-state'), 'pending');
  await ben.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await agree([ada, ben], ['first', 'second', 'third']);
  assert.equal(connections.length, 2, 'there is a new connection');
});
