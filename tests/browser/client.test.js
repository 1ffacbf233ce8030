/**
 * The client without a network: sockets in memory to a server in memory, and time that the test moves.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { ParlanceClient, backoffDelay, uuidv7, verdict } from '../../static/parlance-client.js';
import { isJumbo, linkify, inviteCode, nameList } from '../../static/ui/text.js';
import { ConversationList } from '../../static/ui/list.js';
import { FakeServer } from './support/fake-server.js';

/** Enough turns of the event loop for promises to settle; the mocked timers do not move by it. */
async function settle() {
  for (let turn = 0; turn < 12; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(milliseconds) {
  for (let left = milliseconds; left > 0; left -= 100) {
    mock.timers.tick(Math.min(left, 100));
    await settle();
  }
}

/** A socket in memory: `cut` breaks it, `mute` makes it a line on which nothing arrives any more, either way. */
class FakeSocket {
  muted = false;
  constructor(state) {
    this.state = state;
    state.sockets.push(this);
    setImmediate(() => {
      if (state.down || state.refusing) return this.onclose?.({ code: 1006, reason: '' });
      this.line = state.server.connect(state.user, (frame) => this.deliver(frame));
    });
  }

  deliver(frame) {
    if (!this.muted && !this.state.loses?.(frame))
      setImmediate(() => this.onmessage?.({ data: JSON.stringify(frame) }));
  }

  send(text) {
    const frame = JSON.parse(text);
    this.state.sent.push(frame);
    if (this.muted || this.state.swallows?.(frame)) return;
    const refusal = this.state.refuses?.(frame);
    if (refusal) this.deliver({ type: 'error', ref: frame.ref, message: 'no', ...refusal });
    else setImmediate(() => this.line?.receive(frame));
  }

  close() {
    this.line?.close();
  }

  cut(code = 1006) {
    this.line?.close();
    this.onclose?.({ code, reason: '' });
  }
}

function world() {
  const server = new FakeServer();
  const user = server.addUser('Ann');
  const other = server.addUser('Ben');
  const talk = server.createConversation('Talk', user);
  server.setMember(talk, other);
  const state = { server, user, other, talk, sockets: [], sent: [], down: false, requests: [] };
  const fetch = async (url, options) => {
    state.requests.push(`${options.method} ${new URL(url).pathname}`);
    if (state.down) throw new TypeError('down');
    const { status = 200, body = {} } = state.answer?.(new URL(url).pathname) ?? {};
    return new Response(JSON.stringify(body), { status });
  };
  const kept = new Map([['parlance.expires_at', new Date(Date.now() + 900_000).toISOString()]]);
  const storage = {
    get: (key) => kept.get(key) ?? null,
    set: (key, value) => kept.set(key, value),
    remove: (key) => kept.delete(key),
  };
  state.client = new ParlanceClient({
    base: 'http://chat.test',
    storage,
    fetch,
    createSocket: () => new FakeSocket(state),
  });
  state.last = () => state.sockets.at(-1);
  state.typesSent = () => state.sent.map(({ type }) => type);
  return state;
}

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.UTC(2026, 10, 22, 10) }));
afterEach(() => mock.timers.reset());

async function online(state) {
  state.client.connect();
  await settle();
  assert.equal(state.client.status.state, 'online');
  const conversation = state.client.subscribe(state.talk.id);
  await settle();
  assert.equal(conversation.phase, 'live');
  return conversation;
}

test('a message is pending, then acknowledged, then in the conversation', async () => {
  const state = world();
  const conversation = await online(state);
  const { id, done } = state.client.send(state.talk.id, 'Hello');
  assert.equal(conversation.pending.get(id).status, 'pending');
  const ack = await done;
  assert.equal(ack.seq, 1);
  await settle();
  assert.equal(conversation.pending.size, 0);
  assert.equal(conversation.byId.get(id).body, 'Hello');
});

test('what was not answered is sent again with the same id, and shown once', async () => {
  const state = world();
  const conversation = await online(state);
  state.loses = (frame) => frame.type === 'ack' || frame.type === 'message';
  const { id } = state.client.send(state.talk.id, 'Hello');
  await settle();
  assert.equal(state.talk.messages.size, 1, 'the server has it, the answer is lost');
  state.loses = null;
  state.last().cut();
  await pass(600);
  assert.deepEqual(
    state.sent.filter(({ type }) => type === 'send').map((frame) => frame.id),
    [id, id],
  );
  assert.equal(state.talk.messages.size, 1);
  assert.deepEqual(
    conversation.messages.map((message) => message.id),
    [id],
  );
  assert.equal(conversation.pending.size, 0);
});

test('messages written without a connection go out in their order', async () => {
  const state = world();
  const conversation = await online(state);
  state.down = true;
  state.last().cut();
  for (let n = 1; n <= 50; n += 1) state.client.send(state.talk.id, `text ${n}`);
  await pass(5_000);
  assert.equal(state.talk.messages.size, 0);
  state.down = false;
  await pass(31_000);
  assert.deepEqual(
    conversation.messages.map(({ body }) => body),
    Array.from({ length: 50 }, (_, idx) => `text ${idx + 1}`),
  );
});

test('no more than the window is unanswered', async () => {
  const state = world();
  await online(state);
  state.sent.length = 0;
  state.swallows = (frame) => frame.type === 'send';
  for (let n = 0; n < 40; n += 1) state.client.send(state.talk.id, `text ${n}`);
  await settle();
  assert.equal(state.sent.length, 32);
});

test('a refusal that is worth repeating is repeated, in order; another one is told', async () => {
  const state = world();
  const conversation = await online(state);
  let refusals = 1;
  state.refuses = (frame) =>
    frame.type === 'send' && frame.body === 'first' && refusals-- > 0
      ? { code: 'overloaded', retry_after_ms: 500 }
      : null;
  state.swallows = (frame) => frame.type === 'send' && frame.body !== 'first' && refusals >= 0;
  state.client.send(state.talk.id, 'first');
  await settle();
  state.swallows = null;
  state.client.send(state.talk.id, 'second');
  await pass(2_000);
  assert.deepEqual(
    conversation.messages.map(({ body }) => body),
    ['first', 'second'],
  );
  state.refuses = (frame) => (frame.type === 'send' ? { code: 'forbidden' } : null);
  const { id, done } = state.client.send(state.talk.id, 'third');
  await assert.rejects(done, { code: 'forbidden' });
  assert.equal(conversation.pending.get(id).status, 'failed');
  state.refuses = null;
  state.client.resend(state.talk.id, id);
  await settle();
  assert.equal(conversation.byId.get(id).body, 'third');
});

test('when the quota is used up everything waits as told, whatever its conversation, and nothing fails', async () => {
  const state = world();
  const conversation = await online(state);
  const second = state.server.createConversation('Second', state.user);
  const paused = [];
  state.client.on('paused', ({ until }) => paused.push(until - Date.now()));
  let left = 3;
  let refused = 0;
  state.refuses = ({ type }) => {
    if (type !== 'send') return null;
    if (left > 0) {
      left -= 1;
      return null;
    }
    refused += 1;
    return { code: 'rate_limited', retry_after_ms: 5_000 };
  };
  for (let n = 1; n <= 10; n += 1) state.client.send(state.talk.id, `text ${n}`);
  state.client.send(second.id, 'elsewhere');
  await settle();
  assert.equal(state.talk.messages.size, 3);
  assert.equal(refused, 8, 'what was under way');
  assert.ok(paused.at(-1) >= 5_000 && paused.at(-1) <= 5_500, `${paused}`);
  // Nothing is tried before the time, not even what is written only now; what costs nothing goes on.
  state.client.send(second.id, 'later');
  const before = state.sent.length;
  state.client.subscribe(second.id);
  await pass(4_900);
  assert.deepEqual(state.typesSent().slice(before), ['subscribe']);
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
  const state = world();
  await online(state);
  state.refuses = (frame) => (frame.type === 'send' ? { code: 'rate_limited', retry_after_ms: 1_000 } : null);
  for (let n = 0; n < 6; n += 1) state.client.send(state.talk.id, `text ${n}`);
  await settle();
  state.refuses = null;
  state.swallows = (frame) => frame.type === 'send';
  state.sent.length = 0;
  await pass(1_600);
  assert.equal(state.sent.length, 1, 'one asks');
  const [{ ref, id }] = state.sent;
  state.last().deliver({
    type: 'ack',
    ref,
    conversation: state.talk.id,
    id,
    seq: 1,
    rev: 2,
    created_at: '2026-11-22T10:00:00.000Z',
    budget: { limit: 100, remaining: 3, reset_ms: 500 },
  });
  await settle();
  assert.equal(state.sent.length, 1 + 3);
});

test('a lost live frame is repaired', async () => {
  const state = world();
  const conversation = await online(state);
  state.loses = (frame) => frame.type === 'message' && frame.body === 'lost';
  state.server.post(state.talk, state.other, { body: 'lost' });
  await settle();
  state.loses = null;
  state.server.post(state.talk, state.other, { body: 'seen' });
  await settle();
  assert.deepEqual(
    conversation.messages.map(({ body }) => body),
    ['lost', 'seen'],
  );
  assert.deepEqual(state.sent.filter(({ type }) => type === 'subscribe').at(-1).after, 2);
});

test('a subscription ahead of the server begins anew', async () => {
  const state = world();
  const conversation = await online(state);
  state.server.post(state.talk, state.other, { body: 'hello' });
  await settle();
  state.talk.rev = 1;
  state.last().cut();
  await pass(1_000);
  assert.equal(conversation.phase, 'live');
  assert.equal(conversation.rev, 1);
});

test('leaving and opening at once ends in the present state', async () => {
  const state = world();
  const conversation = await online(state);
  for (let round = 0; round < 5; round += 1) {
    state.client.unsubscribe(state.talk.id);
    state.server.post(state.talk, state.other, { body: `round ${round}` });
    state.client.subscribe(state.talk.id);
    if (round % 2) await settle();
  }
  await settle();
  assert.equal(conversation.phase, 'live');
  assert.equal(conversation.rev, state.talk.rev);
  assert.equal(conversation.messages.length, 5);
});

test('a dead line is found by a ping and left', async () => {
  const state = world();
  await online(state);
  state.last().muted = true;
  await pass(50_000);
  assert.ok(state.typesSent().includes('ping'));
  assert.equal(state.sockets.length, 2);
  assert.equal(state.client.status.state, 'online');
});

test('verdicts: stop for 40xx, at once for 42xx, renewal first for 4103', async () => {
  const state = world();
  await online(state);
  state.last().cut(4201);
  await pass(100);
  assert.equal(state.client.status.state, 'online');

  state.answer = (path) =>
    path === '/auth/refresh'
      ? { body: { access_token: 't', expires_at: new Date(Date.now() + 900_000).toISOString() } }
      : {};
  state.last().cut(4103);
  await pass(2_000);
  assert.equal(state.client.status.state, 'online');
  assert.ok(state.requests.includes('POST /auth/refresh'));

  const stopped = [];
  state.client.on('stopped', (detail) => stopped.push(detail.code));
  state.last().cut(4005);
  await pass(60_000);
  assert.deepEqual(stopped, [4005]);
  assert.equal(state.client.status.state, 'stopped');
});

test('after a refused upgrade the log-in is looked at, and its end is told', async () => {
  const state = world();
  let over = 0;
  state.client.on('signed_out', () => (over += 1));
  state.refusing = true;
  state.answer = () => ({ status: 401, body: { code: 'unauthenticated' } });
  state.client.connect();
  await settle();
  await pass(2_000);
  assert.equal(over > 0, true);
  assert.equal(state.client.status.state, 'stopped');
  assert.equal(state.sockets.length, 1);
});

test('the token is renewed before it runs out, once, and handed to the connection', async () => {
  const state = world();
  await online(state);
  state.answer = (path) =>
    path === '/auth/refresh'
      ? { body: { access_token: 'fresh', expires_at: new Date(Date.now() + 900_000).toISOString() } }
      : {};
  await pass(850_000);
  assert.equal(state.requests.filter((request) => request === 'POST /auth/refresh').length, 1);
  assert.deepEqual(
    state.sent.filter(({ type }) => type === 'refresh').map(({ token }) => token),
    ['fresh'],
  );
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

test('close codes', () => {
  const table = {
    1000: 'normal',
    1001: 'normal',
    1006: 'back_off',
    1009: 'stop',
    4000: 'stop',
    4001: 'stop',
    4005: 'stop',
    4101: 'back_off',
    4102: 'back_off',
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

test('links are http and https only, without the punctuation around them', () => {
  const hrefs = (text) =>
    linkify(text)
      .filter(({ href }) => href)
      .map(({ text: shown }) => shown);
  assert.deepEqual(hrefs('see https://a.example/x?y=1, or (http://b.example/p(1)).'), [
    'https://a.example/x?y=1',
    'http://b.example/p(1)',
  ]);
  assert.deepEqual(hrefs('javascript:alert(1) data:text/html,x ftp://x file:///etc https://'), []);
  for (const text of ['', 'https://x.example', 'a https://x.example b', '<img src=x onerror=alert(1)>']) {
    assert.equal(
      linkify(text)
        .map((part) => part.text)
        .join(''),
      text,
    );
  }
});

test('a program shows its API key in a header, and an access token as a ticket; neither stands in an address', async () => {
  const opened = [];
  const original = globalThis.WebSocket;
  globalThis.WebSocket = class {
    constructor(url, options) {
      opened.push({ url, options });
    }

    close() {}
  };
  try {
    for (const secret of ['pk_secret', 'token']) {
      const requests = [];
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

test('words for people', () => {
  assert.equal(isJumbo('🎉🎉'), true);
  assert.equal(isJumbo('🎉 done'), false);
  assert.equal(isJumbo('12'), false);
  assert.equal(nameList(['Ann', 'Ben', 'Cleo', 'Dan']), 'Ann, Ben and 2 others');
  assert.equal(inviteCode('/i/AbC-12_x'), 'AbC-12_x');
  assert.equal(inviteCode('/i/../x'), null);
});

test('the list moves with notices and is not set back by an older answer', () => {
  const list = new ConversationList();
  const item = (id, lastSeq, at) => ({
    id,
    title: id,
    last_seq: lastSeq,
    unread: 0,
    last_message: null,
    last_message_at: at,
  });
  list.replace([item('a', 5, '2026-11-22T10:00:00.000Z'), item('b', 5, '2026-11-22T09:00:00.000Z')]);
  assert.deepEqual(
    list.sorted().map(({ id }) => id),
    ['a', 'b'],
  );
  assert.equal(
    list.notice({ conversation: 'b', last_seq: 6, unread: 1 }, Date.parse('2026-11-22T11:00:00.000Z')),
    true,
  );
  assert.deepEqual(
    list.sorted().map(({ id }) => id),
    ['b', 'a'],
  );
  assert.equal(list.unread, 1);
  list.replace([item('a', 5, '2026-11-22T10:00:00.000Z'), item('b', 5, '2026-11-22T09:00:00.000Z')]);
  assert.equal(list.get('b').unread, 1);
  assert.equal(list.notice({ conversation: 'b', last_seq: 6, unread: 0 }, Date.now()), false);
  assert.equal(list.unread, 0);
  assert.equal(list.notice({ conversation: 'new', last_seq: 1, unread: 1 }, Date.now()), true);
});
