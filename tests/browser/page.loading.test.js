/**
 * What the page loads, without a browser, with time that the test moves: nothing loads without end,
 * and a page that only stands open asks for next to nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Conversation } from '../../static/client/conversation.js';
import { Store } from '../../static/ui/store.js';
import { HistoryLoader } from '../../static/ui/store/history-loader.js';
import { People } from '../../static/ui/store/people.js';
import { World, pass, settle, useClock } from './support/world.js';

useClock();

const HOUR_MS = 3_600_000;

/**
 * A loader that always wants more.
 *
 * @param {(conversation: Conversation) => unknown} answer what a page does
 */
function greedy(answer) {
  const conversation = new Conversation('c', 'me');
  let loads = 0;
  const load = async () => {
    loads += 1;
    await null;
    return answer(conversation);
  };
  const loader = new HistoryLoader({ conversation, load, wanted: () => true, busy: () => {}, loaded: () => {} });
  return { conversation, loader, loads: () => loads };
}

test('history is not asked for before the conversation is there, however often the view asks', async () => {
  const { loader, loads } = greedy(() => false);
  for (let n = 0; n < 100; n += 1) loader.fill();
  await pass(60_000, 1_000);
  assert.equal(loads(), 0);
});

test('history is loaded page after page, as long as each brings something', async () => {
  const { conversation, loader, loads } = greedy((held) => (held.floor = Math.max(1, (held.floor ?? 0) - 50)));
  conversation.floor = 181;
  loader.fill();
  await settle();
  assert.equal(conversation.floor, 1);
  assert.equal(loads(), 4);
  loader.fill();
  await pass(60_000);
  assert.equal(loads(), 4, 'the beginning is reached');
});

test('a page that brings nothing, or fails, is not asked for again and again', async () => {
  const fruitless = [
    () => false,
    () => {
      throw new Error('no');
    },
  ];
  for (const answer of fruitless) {
    const { conversation, loader, loads } = greedy(answer);
    conversation.floor = 100;
    for (let second = 0; second < 3_600; second += 1) {
      loader.fill();
      await pass(1_000, 1_000);
    }
    assert.ok(loads() > 10 && loads() < 25, `${loads()} requests in an hour`);
    loader.close();
    await pass(600_000, 1_000);
    loader.fill();
    const before = loads();
    await pass(600_000, 1_000);
    assert.equal(loads(), before, 'nothing after the end');
  }
});

test('names that cannot be loaded do not use up the quota', async () => {
  let loads = 0;
  const people = new People(
    async () => {
      loads += 1;
      throw Object.assign(new Error('no'), { code: 'rate_limited' });
    },
    () => {},
  );
  for (let second = 0; second < 3_600; second += 1) {
    for (let n = 0; n < 40; n += 1) people.of(`user ${n}`);
    await pass(1_000, 1_000);
  }
  assert.ok(loads > 10 && loads < 25, `${loads} requests in an hour`);
});

/** A page's store and what it asks for, beside somebody who writes elsewhere. */
async function standing() {
  const world = new World();
  const token = { access_token: 'fresh', expires_at: '' };
  world.responds = (path) => {
    if (path === '/api/conversations') return { body: world.server.list(world.user) };
    if (path === '/auth/refresh') token.expires_at = new Date(Date.now() + 900_000).toISOString();
    return { body: token };
  };
  const elsewhere = world.server.createConversation('Elsewhere', world.other);
  world.server.setMember(elsewhere, world.user);
  const store = new Store(world.client, world.user, { changed() {}, listed() {}, gone() {} });
  await world.online();
  await settle();
  assert.equal(store.list.size, 2);
  return { world, store, elsewhere };
}

test('a page that only stands open for an hour beside an active one makes hardly any request', async () => {
  const { world, store, elsewhere } = await standing();
  for (let second = 0; second < 3_600; second += 1) {
    const { id } = world.server.post(elsewhere, world.other, { body: `line ${second}` });
    if (second % 60 === 0) world.server.change(elsewhere, id, { body: `line ${second}, edited` });
    if (second % 600 === 0) world.server.rename(elsewhere, `Elsewhere ${second}`);
    await pass(1_000, 1_000);
  }
  assert.ok(world.requests.length <= 10, world.requests.join('\n'));
  const item = store.list.get(elsewhere.id);
  assert.deepEqual([item?.title, item?.last_message?.body, item?.unread], ['Elsewhere 3000', 'line 3599', 3_600]);
  store.destroy();
});

test('the list follows notices of every kind, and is asked for again after a reconnect', async () => {
  const { world, store, elsewhere } = await standing();
  const asked = () => world.requests.filter((request) => request === 'GET /api/conversations').length;
  const { id } = world.server.post(elsewhere, world.other, { body: 'first' });
  await settle();
  assert.equal(store.list.get(elsewhere.id)?.last_message?.body, 'first');
  assert.equal(store.people.of(world.other.id), 'Ben', 'a notice brings the name of the author');
  world.server.change(elsewhere, id, { body: null, deleted_at: world.server.now() });
  await settle();
  assert.equal(store.list.get(elsewhere.id)?.last_message?.body, null);
  world.server.read(elsewhere, world.user.id, 1);
  await settle();
  assert.equal(store.list.get(elsewhere.id)?.unread, 0);
  const made = world.server.createConversation('On the phone', world.user);
  await settle();
  assert.equal(store.list.get(made.id)?.title, 'On the phone');
  world.server.removeMember(elsewhere, world.user.id);
  world.server.deleteConversation(made);
  await settle();
  assert.deepEqual(
    [...store.list.sorted()].map(({ title }) => title),
    ['Talk'],
  );
  assert.equal(asked(), 1);
  world.last().cut();
  await pass(2_000);
  assert.equal(asked(), 2);
  store.destroy();
});

test('a list that cannot be loaded is asked for after longer and longer pauses', async () => {
  const world = new World();
  world.responds = () => ({ status: 503, body: { code: 'unavailable' } });
  const store = new Store(world.client, world.user, { changed() {}, listed() {}, gone() {} });
  world.client.connect();
  await pass(HOUR_MS, 1_000);
  const asked = world.requests.filter((request) => request === 'GET /api/conversations').length;
  assert.ok(asked > 10 && asked < 25, `${asked} requests in an hour`);
  store.destroy();
});
