/**
 * Client for the Parlance chat protocol, version 1. No dependencies; for browsers and for Node 22 or newer.
 *
 *     import { ParlanceClient } from './parlance-client.js';
 *
 *     const client = new ParlanceClient();                      // in a page: the cookies of the log-in are used
 *     const bot = new ParlanceClient({ base: 'https://chat.example.org', token: () => 'pk_…' });   // an API key, in Node
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
 * conversation that may no longer be read), `notice`, `paused` `{until}` (the user's quota is used up; what was sent waits
 * and goes out by itself), `stopped` `{code, reason}`, `signed_out`.
 */
import { Connection } from './client/connection.js';
import { Conversation } from './client/conversation.js';
import { Operations, Refusal } from './client/operations.js';
import { backoffDelay, uuidv7, verdict } from './client/policy.js';
import { Problem, Rest } from './client/rest.js';

export { Conversation, Problem, Refusal, backoffDelay, uuidv7, verdict };

/** `typing` is passed on at most once in this time. */
const TYPING_INTERVAL_MS = 3_000;
/** A page of history that was overtaken by a change is loaded again. */
const HISTORY_ATTEMPTS = 3;
/** Conversations kept to resume from after `unsubscribe`. */
const REMEMBERED_MAX = 12;

export class ParlanceClient {
  #listeners = new Map();
  #base;
  #token;
  #tokenMode;
  #key = null;
  #connection;
  #operations;
  #conversations = new Map();
  #followed = new Set();
  #typingAt = new Map();
  #user = null;
  #limits = { frame_bytes: 65_536, body_bytes: 16_384, subscriptions: 200, window: 32 };
  #status = { state: 'stopped' };
  #renewal = null;

  /**
   * @param {object} [options]
   * @param {string} [options.base] `https://host` of the server; the page's own by default
   * @param {() => (string | null | Promise<string | null>)} [options.token] gives an access token or an API key; without it,
   *   cookies
   * @param {(url: string, protocols: string[]) => WebSocket} [options.createSocket] for sockets with other credentials;
   *   without this, each connection takes a single-use ticket with a token, and a header with an API key, which browsers
   *   cannot send: keys are for programs
   */
  constructor({ base = '', token = null, createSocket = null, fetch = null, storage } = {}) {
    this.#base = base;
    this.#token = token;
    this.#tokenMode = token !== null && createSocket === null;
    this.rest = new Rest({
      base,
      token,
      fetch,
      storage,
      onRenewed: (renewed) => this.#renewed(renewed),
      onSignedOut: () => this.#signedOut(),
    });
    const open =
      createSocket ??
      ((url, protocols) =>
        new WebSocket(url, this.#key ? { protocols, headers: { authorization: `Bearer ${this.#key}` } } : protocols));
    this.#connection = new Connection({
      address: (doubtful) => this.#address(doubtful),
      createSocket: (url) => open(url, ['parlance.v1']),
      renew: () => this.rest.refresh(),
      ping: () => this.#operations.ask({ type: 'ping' }),
      hello: (frame) => this.#hello(frame),
      frame: (frame) => this.#received(frame),
      lost: () => this.#lost(),
      status: (status) => this.#setStatus(status),
      stopped: (detail) => (detail.code === 4001 ? this.#emit('signed_out') : this.#emit('stopped', detail)),
    });
    this.#operations = new Operations(
      (frame) => this.#connection.send(frame),
      (until) => this.#emit('paused', { until }),
    );
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
    this.#connection.start();
  }

  /** Ends the connection. Unanswered operations stay and go on with the next `connect`. */
  disconnect() {
    this.#connection.stop();
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
    this.#connection.nudge();
  }

  /** A refused upgrade looks like a broken line to a page, so after one the credentials are looked at by REST. */
  async #address(doubtful) {
    await this.rest.ensureFresh();
    if (doubtful) await this.rest.get('/api/me');
    const url = new URL(`${this.#base}/ws`, globalThis.location?.href);
    url.protocol = url.protocol.replace('http', 'ws');
    if (this.#tokenMode) {
      const token = await this.#token();
      this.#key = token?.startsWith('pk_') ? token : null;
      if (!this.#key) url.searchParams.set('ticket', (await this.rest.post('/auth/ticket')).ticket);
    }
    return url.href;
  }

  #received(frame) {
    if (frame.type === 'notice') this.#emit('notice', frame);
    else if (frame.ref === undefined) this.#apply(frame);
    else this.#operations.answer(frame);
  }

  #hello(frame) {
    if (this.#user && this.#user.id !== frame.user.id) {
      // Another tab has signed in as someone else, and the cookies are theirs now.
      this.forget();
      this.#emit('signed_out');
      return false;
    }
    this.#user = frame.user;
    this.#limits = frame.limits;
    for (const conversation of this.#conversations.values()) conversation.self = frame.user.id;
    this.#planRenewal(frame.token_expires_at, frame.server_time);
    this.#operations.open(frame.limits.window);
    for (const id of this.#followed) this.#subscribe(this.conversation(id));
    this.#emit('hello', frame);
    return true;
  }

  #lost() {
    clearTimeout(this.#renewal);
    this.#operations.close();
    for (const conversation of this.#conversations.values()) conversation.end();
  }

  #setStatus(status) {
    this.#status = status;
    this.#emit('status', status);
  }

  // ---- Credentials ----

  /** Renews some time before the token runs out, spread out so that not all clients of a restarted server come at once. */
  #planRenewal(expiresAt, serverTime) {
    clearTimeout(this.#renewal);
    if (!expiresAt || this.#tokenMode) return;
    const life = Date.parse(expiresAt) - (serverTime ? Date.parse(serverTime) : Date.now());
    const early = Math.min(life / 2, 60_000 + Math.random() * 60_000);
    this.#renewal = setTimeout(
      () => {
        this.rest.refresh().catch((problem) => {
          if (problem.code !== 'unauthenticated') this.#planRenewal(new Date(Date.now() + 20_000).toISOString());
        });
      },
      Math.min(Math.max(1_000, life - early), 2 ** 31 - 1),
    );
  }

  #renewed({ access_token: token, expires_at: expiresAt }) {
    if (!this.#connection.greeted) return;
    this.#planRenewal(expiresAt);
    this.#operations.ask({ type: 'refresh', token }).catch(() => {});
  }

  #signedOut() {
    this.#connection.stop({ state: 'stopped', code: 4001, reason: 'signed out' });
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
    if (this.#connection.greeted && conversation.phase === 'idle')
      this.#subscribe(conversation, { sameConnection: true });
    return conversation;
  }

  unsubscribe(id) {
    if (!this.#followed.delete(id)) return;
    this.#conversations.get(id)?.end();
    if (this.#connection.greeted) this.#operations.ask({ type: 'unsubscribe', conversation: id }).catch(() => {});
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
      if (conversation.deletedAt || conversation.removed)
        this.#emit('gone', { id: conversation.id, code: 'not_found' });
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
    if (!this.#connection.greeted) return;
    const last = this.#typingAt.get(conversationId) ?? 0;
    if (on ? Date.now() - last < TYPING_INTERVAL_MS : last === 0) return;
    if (on) this.#typingAt.set(conversationId, Date.now());
    else this.#typingAt.delete(conversationId);
    this.#connection.send({ type: 'typing', conversation: conversationId, on });
  }

  /** Round trip in milliseconds. */
  async ping() {
    const askedAt = performance.now();
    await this.#operations.ask({ type: 'ping' });
    return performance.now() - askedAt;
  }
}
