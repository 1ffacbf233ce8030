/**
 * The client without a network: sockets in memory to a server in memory, and time that the test
 * moves.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ParlanceClient, backoffDelay, uuidv7, verdict } from '../../static/parlance-client.js';
import { World, pass, settle, useClock } from './support/world.js';

useClock();

test('a message is pending, then acknowledged, then in the conversation', async () => {
  const world = new World();
  const conversation = await world.online();
  const { id, done } = world.client.send(world.talk.id, 'Hello');
  assert.equal(conversation.pending.get(id)?.status, 'pending');
  const ack = await done;
  assert.equal(ack.seq, 1);
  await settle();
  assert.equal(conversation.pending.size, 0);
  assert.equal(conversation.byId.get(id)?.body, 'Hello');
});

test('what got no reply is sent again with the same id, and shown once', async () => {
  const world = new World();
  const conversation = await world.online();
  world.loses = (frame) => frame.type === 'ack' || frame.type === 'message';
  const { id } = world.client.send(world.talk.id, 'Hello');
  await settle();
  assert.equal(world.talk.messages.size, 1, 'the server has it, the reply is lost');
  world.loses = () => false;
  world.last().cut();
  await pass(600);
  assert.deepEqual(
    world.sentOf('send').map((frame) => frame.id),
    [id, id],
  );
  assert.equal(world.talk.messages.size, 1);
  assert.deepEqual(
    conversation.messages.map((message) => message.id),
    [id],
  );
  assert.equal(conversation.pending.size, 0);
});

test('messages written without a connection go out in their order', async () => {
  const world = new World();
  const conversation = await world.online();
  world.down = true;
  world.last().cut();
  for (let n = 1; n <= 50; n += 1) world.client.send(world.talk.id, `text ${n}`);
  await pass(5_000);
  assert.equal(world.talk.messages.size, 0);
  world.down = false;
  await pass(31_000);
  assert.deepEqual(
    conversation.messages.map(({ body }) => body),
    Array.from({ length: 50 }, (_, idx) => `text ${idx + 1}`),
  );
});

test('no more than the window is without a reply', async () => {
  const world = new World();
  await world.online();
  world.sent.length = 0;
  world.swallows = (frame) => frame.type === 'send';
  for (let n = 0; n < 40; n += 1) world.client.send(world.talk.id, `text ${n}`);
  await settle();
  assert.equal(world.sent.length, 32);
});

test('a refusal that is worth repeating is repeated, in order; another one is reported', async () => {
  const world = new World();
  const conversation = await world.online();
  let refusals = 1;
  world.refuses = (frame) =>
    frame.type === 'send' && frame.body === 'first' && refusals-- > 0
      ? { code: 'overloaded', retry_after_ms: 500 }
      : null;
  world.swallows = (frame) => frame.type === 'send' && frame.body !== 'first' && refusals >= 0;
  world.client.send(world.talk.id, 'first');
  await settle();
  world.swallows = () => false;
  world.client.send(world.talk.id, 'second');
  await pass(2_000);
  assert.deepEqual(
    conversation.messages.map(({ body }) => body),
    ['first', 'second'],
  );
  world.refuses = (frame) => (frame.type === 'send' ? { code: 'forbidden' } : null);
  const { id, done } = world.client.send(world.talk.id, 'third');
  await assert.rejects(done, { code: 'forbidden' });
  assert.equal(conversation.pending.get(id)?.status, 'failed');
  world.refuses = () => null;
  world.client.resend(world.talk.id, id);
  await settle();
  assert.equal(conversation.byId.get(id)?.body, 'third');
});

test('when the quota is used up everything waits, whatever its conversation, and nothing fails', async () => {
  const world = new World();
  const conversation = await world.online();
  const second = world.server.createConversation('Second', world.user);
  /** @type {number[]} */
  const paused = [];
  world.client.on('paused', ({ until }) => paused.push(until - Date.now()));
  let left = 3;
  let refused = 0;
  world.refuses = ({ type }) => {
    if (type !== 'send') return null;
    if (left > 0) {
      left -= 1;
      return null;
    }
    refused += 1;
    return { code: 'rate_limited', retry_after_ms: 5_000 };
  };
  for (let n = 1; n <= 10; n += 1) world.client.send(world.talk.id, `text ${n}`);
  world.client.send(second.id, 'elsewhere');
  await settle();
  assert.equal(world.talk.messages.size, 3);
  assert.equal(refused, 8, 'what was under way');
  const last = paused[paused.length - 1];
  assert.ok(last >= 5_000 && last <= 5_500, `${paused}`);
  // Nothing is tried before the time, not even what is written only now; what costs nothing goes
  // on.
  world.client.send(second.id, 'later');
  const before = world.sent.length;
  world.client.subscribe(second.id);
  await pass(4_900);
  assert.deepEqual(world.typesSent().slice(before), ['subscribe']);
  // Then one asks, and is refused for all, however often.
  for (let round = 0; round < 20; round += 1) await pass(5_600);
  assert.ok(refused >= 8 + 15 && refused <= 8 + 25, `${refused}`);
  assert.equal(conversation.pending.size, 7, 'waiting is not failing');
  assert.ok([...conversation.pending.values()].every(({ status }) => status === 'pending'));
  left = Infinity;
  await pass(6_000);
  assert.deepEqual(
    conversation.messages.map(({ body }) => body),
    Array.from({ length: 10 }, (_, idx) => `text ${idx + 1}`),
  );
  assert.equal(second.messages.size, 2);
});

test('no more at a time than are left, when the server says how few', async () => {
  const world = new World();
  await world.online();
  world.refuses = (frame) => (frame.type === 'send' ? { code: 'rate_limited', retry_after_ms: 1_000 } : null);
  for (let n = 0; n < 6; n += 1) world.client.send(world.talk.id, `text ${n}`);
  await settle();
  world.refuses = () => null;
  world.swallows = (frame) => frame.type === 'send';
  world.sent.length = 0;
  await pass(1_600);
  assert.equal(world.sent.length, 1, 'one asks');
  const [{ ref, id }] = world.sent;
  world.last().deliver({
    type: 'ack',
    ref,
    conversation: world.talk.id,
    id,
    seq: 1,
    rev: 2,
    created_at: '2026-11-22T10:00:00.000Z',
    budget: { limit: 100, remaining: 3, reset_ms: 500 },
  });
  await settle();
  assert.equal(world.sent.length, 1 + 3);
});

test('a lost live frame is repaired', async () => {
  const world = new World();
  const conversation = await world.online();
  world.loses = (frame) => frame.type === 'message' && frame.body === 'lost';
  world.server.post(world.talk, world.other, { body: 'lost' });
  await settle();
  world.loses = () => false;
  world.server.post(world.talk, world.other, { body: 'seen' });
  await settle();
  assert.deepEqual(
    conversation.messages.map(({ body }) => body),
    ['lost', 'seen'],
  );
  assert.deepEqual(world.sentOf('subscribe').at(-1)?.after, 2);
});

test('a subscription ahead of the server begins anew', async () => {
  const world = new World();
  const conversation = await world.online();
  world.server.post(world.talk, world.other, { body: 'hello' });
  await settle();
  world.talk.rev = 1;
  world.last().cut();
  await pass(1_000);
  assert.equal(conversation.phase, 'live');
  assert.equal(conversation.rev, 1);
});

test('what one may do follows from another role at once, also where members are not listed', async () => {
  const world = new World();
  const conversation = await world.online();
  assert.deepEqual([conversation.role, conversation.may.has('delete')], ['owner', true]);
  conversation.membersListed = false;
  conversation.members.clear();
  world.server.setMember(world.talk, world.user, 'moderator');
  await settle();
  assert.deepEqual(
    [conversation.role, conversation.may.has('delete'), conversation.may.has('invite')],
    ['moderator', false, true],
  );
});

test('leaving and opening at once ends in the present state', async () => {
  const world = new World();
  const conversation = await world.online();
  for (let round = 0; round < 5; round += 1) {
    world.client.unsubscribe(world.talk.id);
    world.server.post(world.talk, world.other, { body: `round ${round}` });
    world.client.subscribe(world.talk.id);
    if (round % 2) await settle();
  }
  await settle();
  assert.equal(conversation.phase, 'live');
  assert.equal(conversation.rev, world.talk.rev);
  assert.equal(conversation.messages.length, 5);
});

test('a dead connection is found by a ping and replaced', async () => {
  const world = new World();
  await world.online();
  world.last().muted = true;
  await pass(50_000);
  assert.ok(world.typesSent().includes('ping'));
  assert.equal(world.sockets.length, 2);
  assert.equal(world.client.status.state, 'online');
});

test('close codes: stop for 40xx, at once for 42xx, renewal first for 4103', async () => {
  const world = new World();
  await world.online();
  world.last().cut(4201);
  await pass(100);
  assert.equal(world.client.status.state, 'online');

  world.renewsTokens();
  world.last().cut(4103);
  await pass(2_000);
  assert.equal(world.client.status.state, 'online');
  assert.ok(world.requests.includes('POST /auth/refresh'));

  /** @type {number[]} */
  const stopped = [];
  world.client.on('stopped', (detail) => stopped.push(detail.code));
  world.last().cut(4005);
  await pass(60_000);
  assert.deepEqual(stopped, [4005]);
  assert.equal(world.client.status.state, 'stopped');
});

test('an end that nobody here asked for is no end: 1000 and 1001 of a proxy, 4104 of a full address', async () => {
  const world = new World();
  await world.online();
  for (const code of [1000, 1001]) {
    world.last().cut(code);
    await pass(100);
    assert.equal(world.client.status.state, 'online', `after ${code}`);
    await pass(31_000);
  }
  const sockets = world.sockets.length;
  world.last().cut(4104);
  assert.equal(world.client.status.state, 'waiting');
  await pass(600);
  assert.equal(world.client.status.state, 'online');
  assert.equal(world.sockets.length, sockets + 1);
  world.client.disconnect();
  world.last().cut(1000);
  await pass(60_000);
  assert.equal(world.client.status.state, 'stopped', 'what was asked for is one');
});

test('after a refused upgrade it is asked whether the login is still valid, and its end is reported', async () => {
  const world = new World();
  let over = 0;
  world.client.on('signed_out', () => (over += 1));
  world.refusing = true;
  world.responds = () => ({ status: 401, body: { code: 'unauthenticated' } });
  world.client.connect();
  await settle();
  await pass(2_000);
  assert.equal(over > 0, true);
  assert.equal(world.client.status.state, 'stopped');
  assert.equal(world.sockets.length, 1);
});

test('the token is renewed before it runs out, once, and handed to the connection', async () => {
  const world = new World();
  await world.online();
  world.renewsTokens();
  await pass(850_000);
  assert.equal(world.requests.filter((request) => request === 'POST /auth/refresh').length, 1);
  assert.deepEqual(
    world.sentOf('refresh').map(({ token }) => token),
    ['fresh'],
  );
});

test('a clock that is wrong neither renews all the time nor too late', async () => {
  for (const skew of [-7_200_000, 7_200_000]) {
    const world = new World();
    world.server.clock = () => Date.now() + skew;
    await world.online();
    world.renewsTokens();
    await pass(3_600_000, 1_000);
    const renewals = world.requests.filter((request) => request === 'POST /auth/refresh').length;
    assert.ok(renewals >= 4 && renewals <= 6, `${renewals} renewals in an hour`);
  }
});

test('where sockets fail and the login is good, asking for it does not use up the quota', async () => {
  const world = new World();
  world.renewsTokens();
  world.refusing = true;
  world.client.connect();
  await pass(3_600_000, 1_000);
  assert.ok(world.sockets.length > 60, 'it goes on trying');
  assert.ok(world.requests.length <= 20, `${world.requests.length} requests in an hour`);
});

test('back-off: full jitter, doubling to thirty seconds', () => {
  assert.equal(
    backoffDelay(0, () => 0.999999),
    499,
  );
  assert.equal(
    backoffDelay(3, () => 0.5),
    2_000,
  );
  assert.equal(
    backoffDelay(50, () => 0.999999),
    29_999,
  );
  assert.equal(
    backoffDelay(50, () => 0),
    0,
  );
});

test('what each close code asks', () => {
  const table = {
    1000: 'at_once',
    1001: 'at_once',
    1006: 'back_off',
    1009: 'stop',
    4000: 'stop',
    4001: 'stop',
    4005: 'stop',
    4101: 'back_off',
    4102: 'back_off',
    4104: 'back_off',
    4103: 'refresh',
    4201: 'at_once',
    4203: 'at_once',
    4205: 'at_once',
  };
  for (const [code, expected] of Object.entries(table)) assert.equal(verdict(Number(code)), expected, code);
});

test('ids are UUIDs of version 7 with their time in front', () => {
  const id = uuidv7(Date.UTC(2026, 10, 22), new Uint8Array(16).fill(0xff));
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), Date.UTC(2026, 10, 22));
  assert.ok(uuidv7(1_000) < uuidv7(2_000));
});

test('an API key goes in a header and an access token as a ticket; neither is in an address', async () => {
  /** @type {object[]} */
  const opened = [];
  const original = globalThis.WebSocket;
  class Recorder {
    /**
     * @param {string} url
     * @param {object} options
     */
    constructor(url, options) {
      opened.push({ url, options });
    }

    close() {}
  }
  globalThis.WebSocket = /** @type {any} */ (Recorder);
  try {
    for (const secret of ['pk_secret', 'token']) {
      /** @type {string[]} */
      const requests = [];
      /**
       * @param {string | URL} url
       * @param {any} options
       */
      const fetch = async (url, options) => {
        requests.push(`${options.method} ${new URL(url).pathname} ${options.headers.authorization}`);
        return new Response(JSON.stringify({ ticket: 'once' }), { status: 200 });
      };
      const client = new ParlanceClient({ base: 'http://chat.test', token: () => secret, fetch });
      client.connect();
      await settle();
      assert.deepEqual(requests, secret === 'token' ? ['POST /auth/ticket Bearer token'] : []);
      client.disconnect();
    }
  } finally {
    globalThis.WebSocket = original;
  }
  assert.deepEqual(opened, [
    {
      url: 'ws://chat.test/ws',
      options: { protocols: ['parlance.v1'], headers: { authorization: 'Bearer pk_secret' } },
    },
    { url: 'ws://chat.test/ws?ticket=once', options: ['parlance.v1'] },
  ]);
});
