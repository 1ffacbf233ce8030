/**
 * Client for the Parlance chat protocol, version 1. No dependencies; for browsers and for Node 22 or newer.
 *
 *     import { ParlanceClient } from './parlance-client.js';
 *
 *     const client = new ParlanceClient();                      // in a page: the cookies of the log-in are used
 *     const bot = new ParlanceClient({ base: 'https://chat.example.org', token: () => accessToken });
 *
 *     client.on('change', ({ conversation }) => draw(conversation.messages, conversation.pending));
 *     client.connect();
 *     client.subscribe(conversationId);                         // followed until unsubscribed, across reconnects
 *     const { id, done } = client.send(conversationId, 'Hello');
 *     await done;                                               // durable on the server
 *
 * What it promises, on top of the server's guarantees:
 * - A message sent is resent with the same id until it is answered, however often the connection breaks.
 * - Frames for one conversation go out in the order asked for; a refused one that is worth repeating holds up the later ones.
 * - A subscription is resumed from the highest revision applied; a hole in the live frames is repaired the same way.
 * - At most `limits.window` frames are unanswered, at most 1,000 operations wait here; beyond that they are refused.
 * - A dead line is found by `ping`: browsers do not show WebSocket pings.
 *
 * Events: `status` (see `ParlanceClient.status`), `hello`, `change` `{conversation, frame}`, `gone` `{id, code}` (a
 * conversation that may no longer be read), `notice`, `stopped` `{code, reason}`, `signed_out`.
 */
import { Conversation } from './client/conversation.js';
import { Operations, Refusal } from './client/operations.js';
import { HEALTHY_MS, backoffDelay, uuidv7, verdict } from './client/policy.js';
import { Problem, Rest } from './client/rest.js';

export { Conversation, Problem, Refusal, backoffDelay, uuidv7, verdict };

/** No `hello` within this time: the attempt has failed. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Silence after which the line is tested, and how long the answer may take. */
const SILENCE_MS = 30_000;
const PROBE_TIMEOUT_MS = 8_000;
/** After the browser reports a change (network, tab visible again) people wait for the page, so less patience. */
const URGENT_PROBE_TIMEOUT_MS = 3_000;
const WATCH_INTERVAL_MS = 5_000;
/** `typing` is passed on at most once in this time. */
const TYPING_INTERVAL_MS = 3_000;
/** A page of history that was overtaken by a change is loaded again. */
const HISTORY_ATTEMPTS = 3;
/** Conversations kept to resume from after `unsubscribe`. */
const REMEMBERED_MAX = 12;

export class ParlanceClient {
  #listeners = new Map();
  #createSocket;
  #base;
  #tokenMode;
  #socket = null;
  #operations;
  #conversations = new Map();
  #followed = new Set();
  #typingAt = new Map();
  #user = null;
  #limits = { frame_bytes: 65_536, body_bytes: 16_384, subscriptions: 200, window: 32 };
  #status = { state: 'stopped' };
  #wanted = false;
  #greeted = false;
  #attempt = 0;
  #doubtful = false;
  #goodbye = null;
  #heardAt = 0;
  #probe = null;
  #timers = {};

  /**
   * @param {object} [options]
   * @param {string} [options.base] `https://host` of the server; the page's own by default
   * @param {() => (string | null | Promise<string | null>)} [options.token] gives an access token; without it, cookies
   * @param {(url: string, protocols: string[]) => WebSocket} [options.createSocket] for sockets with other credentials;
   *   with `token` and without this, each connection takes a single-use ticket
   */
  constructor({ base = '', token = null, createSocket = null, fetch = null, storage } = {}) {
    this.#base = base;
    this.#tokenMode = token !== null && createSocket === null;
    this.#createSocket = createSocket ?? ((url, protocols) => new WebSocket(url, protocols));
    this.rest = new Rest({
      base,
      token,
      fetch,
      storage,
      onRenewed: (renewed) => this.#renewed(renewed),
      onSignedOut: () => this.#signedOut(),
    });
    this.#operations = new Operations((frame) => this.#socket.send(JSON.stringify(frame)));
    this.#watchBrowser();
  }

  // ---- Events ----

  /** Registers a listener; returns the function that removes it. */
  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return () => this.#listeners.get(event).delete(listener);
  }

  #emit(event, detail) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(detail);
  }

  /**
   * `{state}`: `connecting`, `online`, `waiting` (with `retryAt`, Unix milliseconds) or `stopped` (with `code` and
   * `reason` when the server said so).
   */
  get status() {
    return this.#status;
  }

  /** The user of the connection, from `hello`; null before. */
  get user() {
    return this.#user;
  }

  /** The server's limits, from `hello`. */
  get limits() {
    return this.#limits;
  }

  // ---- Connection ----

  /** Connects, and stays connected until `disconnect`, a verdict to stop, or the end of the log-in. */
  connect() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempt = 0;
    this.#open();
  }

  /** Ends the connection. Unanswered operations stay and go on with the next `connect`. */
  disconnect() {
    this.#wanted = false;
    this.#drop();
    this.#setStatus({ state: 'stopped' });
  }

  /** Forgets everything of this user; for a page that is about to serve another one. */
  forget() {
    this.disconnect();
    this.#operations.abandon(new Refusal('unauthenticated', 'Signed out.'));
    this.#conversations.clear();
    this.#followed.clear();
    this.#user = null;
  }

  /** Reconnects without waiting out the back-off; when connected, tests the line. */
  nudge() {
    if (!this.#wanted) return;
    if (this.#status.state === 'waiting') this.#open();
    else if (this.#greeted) this.#probeLine(URGENT_PROBE_TIMEOUT_MS);
  }

  async #open() {
    clearTimeout(this.#timers.retry);
    this.#setStatus({ state: 'connecting' });
    const attempt = {};
    this.#timers.attempt = attempt;
    let url;
    try {
      url = await this.#address();
    } catch (problem) {
      if (!this.#wanted || this.#timers.attempt !== attempt) return;
      if (problem.code === 'unauthenticated') this.#signedOut();
      else this.#retry(problem.retryAfterMs ?? 0);
      return;
    }
    if (!this.#wanted || this.#timers.attempt !== attempt) return;
    const socket = this.#createSocket(url, ['parlance.v1']);
    this.#socket = socket;
    this.#goodbye = null;
    this.#timers.connect = setTimeout(() => this.#lost(socket, 1006, ''), CONNECT_TIMEOUT_MS);
    socket.onmessage = ({ data }) => this.#received(socket, data);
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
    socket.onerror = () => {};
  }

  /** A refused upgrade looks like a broken line to a page, so after one the credentials are looked at by REST. */
  async #address() {
    await this.rest.ensureFresh();
    if (this.#doubtful) await this.rest.get('/api/me');
    const url = new URL(`${this.#base}/ws`, globalThis.location?.href);
    url.protocol = url.protocol.replace('http', 'ws');
    if (this.#tokenMode) url.searchParams.set('ticket', (await this.rest.post('/auth/ticket')).ticket);
    return url.href;
  }

  #received(socket, data) {
    if (socket !== this.#socket) return;
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame.type === 'hello') this.#hello(socket, frame);
    else if (frame.type === 'goodbye') this.#goodbye = frame;
    else if (frame.type === 'notice') this.#emit('notice', frame);
    else {
      if (frame.ref !== undefined) this.#operations.answer(frame);
      else this.#apply(frame);
    }
  }

  #hello(socket, frame) {
    clearTimeout(this.#timers.connect);
    if (this.#user && this.#user.id !== frame.user.id) {
      // Another tab has signed in as someone else, and the cookies are theirs now.
      this.forget();
      this.#emit('signed_out');
      return;
    }
    this.#greeted = true;
    this.#doubtful = false;
    this.#user = frame.user;
    for (const conversation of this.#conversations.values()) conversation.self = frame.user.id;
    this.#limits = frame.limits;
    this.#timers.healthy = setTimeout(() => {
      this.#attempt = 0;
    }, HEALTHY_MS);
    this.#timers.watch = setInterval(() => {
      if (Date.now() - this.#heardAt > SILENCE_MS) this.#probeLine(PROBE_TIMEOUT_MS);
    }, WATCH_INTERVAL_MS);
    this.#planRenewal(frame.token_expires_at, frame.server_time);
    this.#operations.open(frame.limits.window);
    this.#setStatus({ state: 'online' });
    this.#emit('hello', frame);
    for (const id of this.#followed) this.#subscribe(this.conversation(id));
  }

  #lost(socket, code, reason) {
    if (socket !== this.#socket) return;
    const greeted = this.#greeted;
    const goodbye = this.#goodbye;
    this.#drop();
    if (!this.#wanted) return;
    switch (verdict(code)) {
      case 'normal':
      case 'stop':
        this.#wanted = false;
        this.#setStatus({ state: 'stopped', code, reason });
        if (code === 4001) this.#emit('signed_out');
        else this.#emit('stopped', { code, reason });
        break;
      case 'refresh':
        this.rest.refresh().catch(() => {}).finally(() => this.#wanted && this.#retry(0));
        this.#setStatus({ state: 'connecting' });
        break;
      case 'at_once':
        // At once the first time; a server that keeps saying so is not helped by a storm.
        if (this.#attempt === 0) this.#wait(goodbye?.retry_after_ms ?? 0);
        else this.#retry(goodbye?.retry_after_ms ?? 0);
        break;
      default:
        this.#doubtful = !greeted;
        this.#retry(goodbye?.retry_after_ms ?? 0);
    }
  }

  #retry(atLeastMs) {
    this.#wait(Math.max(atLeastMs, backoffDelay(this.#attempt)));
  }

  #wait(delayMs) {
    this.#attempt += 1;
    clearTimeout(this.#timers.retry);
    this.#timers.retry = setTimeout(() => this.#open(), delayMs);
    this.#setStatus({ state: 'waiting', retryAt: Date.now() + delayMs });
  }

  /** Lets go of the socket without waiting for its closing handshake: on a dead line that takes minutes. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#greeted = false;
    this.#probe = null;
    for (const name of ['connect', 'retry', 'healthy', 'renewal', 'probe']) clearTimeout(this.#timers[name]);
    clearInterval(this.#timers.watch);
    this.#timers.attempt = null;
    this.#operations.close();
    for (const conversation of this.#conversations.values()) conversation.end();
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #probeLine(timeoutMs) {
    if (!this.#greeted || this.#probe) return;
    const socket = this.#socket;
    const askedAt = Date.now();
    this.#probe = this.#operations.ask({ type: 'ping' }).catch(() => {});
    this.#probe.then(() => {
      if (socket === this.#socket) this.#probe = null;
    });
    this.#timers.probe = setTimeout(() => {
      if (socket === this.#socket && this.#probe && this.#heardAt < askedAt) this.#lost(socket, 4202, 'no answer');
      else this.#probe = null;
    }, timeoutMs);
  }

  #watchBrowser() {
    if (typeof window !== 'object' || typeof document !== 'object') return;
    window.addEventListener('online', () => this.nudge());
    window.addEventListener('offline', () => this.nudge());
    window.addEventListener('pageshow', () => this.nudge());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.nudge();
    });
  }

  #setStatus(status) {
    this.#status = status;
    this.#emit('status', status);
  }

  // ---- Credentials ----

  /** Renews some time before the token runs out, spread out so that not all clients of a restarted server come at once. */
  #planRenewal(expiresAt, serverTime) {
    clearTimeout(this.#timers.renewal);
    if (!expiresAt || this.#tokenMode) return;
    const life = Date.parse(expiresAt) - (serverTime ? Date.parse(serverTime) : Date.now());
    const early = Math.min(life / 2, 60_000 + Math.random() * 60_000);
    this.#timers.renewal = setTimeout(() => {
      this.rest.refresh().catch((problem) => {
        if (problem.code !== 'unauthenticated') this.#planRenewal(new Date(Date.now() + 20_000).toISOString());
      });
    }, Math.min(Math.max(1_000, life - early), 2 ** 31 - 1));
  }

  #renewed({ access_token: token, expires_at: expiresAt }) {
    if (!this.#greeted) return;
    this.#planRenewal(expiresAt);
    this.#operations.ask({ type: 'refresh', token }).catch(() => {});
  }

  #signedOut() {
    this.#wanted = false;
    this.#drop();
    this.#setStatus({ state: 'stopped', code: 4001, reason: 'signed out' });
    this.#emit('signed_out');
  }

  /** Hands a renewed access token to the live connection; for `token` mode, where the caller owns the tokens. */
  refreshConnection(token) {
    return this.#operations.ask({ type: 'refresh', token });
  }

  // ---- Conversations ----

  /** What is known of a conversation; made empty when it is new. */
  conversation(id) {
    let conversation = this.#conversations.get(id);
    if (!conversation) {
      conversation = new Conversation(id, this.#user?.id ?? null);
      this.#conversations.set(id, conversation);
      this.#forgetOldest();
    }
    conversation.self ??= this.#user?.id ?? null;
    return conversation;
  }

  #forgetOldest() {
    for (const [id, conversation] of this.#conversations) {
      if (this.#conversations.size <= REMEMBERED_MAX + this.#followed.size) break;
      if (!this.#followed.has(id) && conversation.pending.size === 0) this.#conversations.delete(id);
    }
  }

  /** Follows a conversation until `unsubscribe`; also when there is no connection yet. */
  subscribe(id) {
    this.#followed.add(id);
    const conversation = this.conversation(id);
    // Frames of an earlier subscription on this connection may still be under way.
    if (this.#greeted && conversation.phase === 'idle') this.#subscribe(conversation, { sameConnection: true });
    return conversation;
  }

  unsubscribe(id) {
    if (!this.#followed.delete(id)) return;
    this.#conversations.get(id)?.end();
    if (this.#greeted) this.#operations.ask({ type: 'unsubscribe', conversation: id }).catch(() => {});
  }

  #subscribe(conversation, options) {
    const { id } = conversation;
    const after = conversation.begin(options);
    const subscription = (conversation.subscription = Symbol(id));
    const frame = { type: 'subscribe', conversation: id, ...(after === undefined ? {} : { after }) };
    const current = () => conversation.subscription === subscription && this.#followed.has(id);
    // The end of a subscription that was given up meanwhile says nothing about this one.
    const onReply = (reply) => current() && this.#apply(reply);
    this.#operations.ask(frame, { onReply }).catch((refusal) => {
      if (!current()) return;
      if (refusal.code === 'conflict' && after !== undefined) {
        conversation.reset();
        this.#subscribe(conversation);
      } else if (refusal.code !== 'disconnected') {
        this.#followed.delete(id);
        conversation.end();
        this.#emit('gone', { id, code: refusal.code });
      }
    });
  }

  #apply(frame) {
    const conversation = this.#conversations.get(frame.conversation);
    if (!conversation) return;
    const outcome = conversation.apply(frame);
    if (outcome === 'gap') {
      this.#subscribe(conversation, { sameConnection: true });
    } else if (outcome === 'applied') {
      if (conversation.deletedAt || conversation.removed) {
        this.#followed.delete(conversation.id);
        conversation.end();
      }
      this.#emit('change', { conversation, frame });
      if (conversation.deletedAt || conversation.removed) this.#emit('gone', { id: conversation.id, code: 'not_found' });
    }
  }

  /**
   * Loads the page of history before what is held.
   *
   * @returns {Promise<boolean>} whether there was anything to load
   */
  async loadOlder(id, limit = 50) {
    const conversation = this.conversation(id);
    if (conversation.floor === null || conversation.complete) return false;
    for (let attempt = 0; attempt < HISTORY_ATTEMPTS; attempt += 1) {
      const before = conversation.floor;
      if (before === null || before <= 1) return false;
      const page = await this.rest.get(`/api/conversations/${id}/messages`, { before, limit });
      if (conversation.mergeHistory(page)) {
        this.#emit('change', { conversation, frame: null });
        return true;
      }
    }
    return false;
  }

  // ---- What a person does ----

  /**
   * Sends a message: shown at once in `conversation.pending`, acknowledged when it is durable.
   *
   * @param {{ replyTo?: string, id?: string }} [options] `id` repeats an earlier send
   * @returns {{ id: string, done: Promise<object> }} `done` fails with a `Refusal` when the server will not have it
   */
  send(conversationId, body, { replyTo = null, id = uuidv7() } = {}) {
    const conversation = this.conversation(conversationId);
    conversation.addPending({ id, body, reply_to: replyTo, created_at: new Date().toISOString() });
    conversation.markPending(id, { status: 'pending', error: null });
    const frame = { type: 'send', conversation: conversationId, id, body, ...(replyTo ? { reply_to: replyTo } : {}) };
    const done = this.#operations.ask(frame, { repeat: true }).then(
      (ack) => {
        conversation.acknowledge(ack);
        this.#emit('change', { conversation, frame: ack });
        return ack;
      },
      (refusal) => {
        conversation.markPending(id, { status: 'failed', error: refusal });
        this.#emit('change', { conversation, frame: null });
        throw refusal;
      },
    );
    done.catch(() => {});
    this.#typingAt.delete(conversationId);
    this.#emit('change', { conversation, frame: null });
    return { id, done };
  }

  /** Sends a failed message again, with its old id. */
  resend(conversationId, id) {
    const entry = this.conversation(conversationId).pending.get(id);
    if (entry?.status === 'failed') this.send(conversationId, entry.body, { replyTo: entry.reply_to, id });
  }

  /** Gives up a failed message. */
  discard(conversationId, id) {
    const conversation = this.conversation(conversationId);
    if (conversation.pending.get(id)?.status !== 'failed') return;
    conversation.pending.delete(id);
    this.#emit('change', { conversation, frame: null });
  }

  edit(conversationId, id, body) {
    return this.#operations.ask({ type: 'edit', conversation: conversationId, id, body }, { repeat: true });
  }

  delete(conversationId, id) {
    return this.#operations.ask({ type: 'delete', conversation: conversationId, id }, { repeat: true });
  }

  react(conversationId, id, emoji, on) {
    return this.#operations.ask({ type: 'react', conversation: conversationId, id, emoji, on }, { repeat: true });
  }

  /** Moves the own read marker, forward only. */
  read(conversationId, seq) {
    const conversation = this.conversation(conversationId);
    if (seq <= conversation.readSeq) return;
    conversation.readSeq = seq;
    this.#operations.ask({ type: 'read', conversation: conversationId, seq }, { repeat: true }).catch(() => {});
    this.#emit('change', { conversation, frame: null });
  }

  /** Tells the others that the user is typing; call it as often as there are key strokes. */
  typing(conversationId, on) {
    if (!this.#greeted) return;
    const last = this.#typingAt.get(conversationId) ?? 0;
    if (on ? Date.now() - last < TYPING_INTERVAL_MS : last === 0) return;
    if (on) this.#typingAt.set(conversationId, Date.now());
    else this.#typingAt.delete(conversationId);
    this.#socket.send(JSON.stringify({ type: 'typing', conversation: conversationId, on }));
  }

  /** Round trip in milliseconds. */
  async ping() {
    const askedAt = performance.now();
    await this.#operations.ask({ type: 'ping' });
    return performance.now() - askedAt;
  }
}
