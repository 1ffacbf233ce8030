/**
 * Client for the Parlance chat protocol, version 1. No dependencies; for browsers and for Node 22
 * or newer.
 *
 * The page uses it, and so can any other page or program: `client/README.md` has an example. The
 * files of `client/` are its parts.
 *
 * What it promises, on top of the server's guarantees:
 * - A message is sent again with the same id until the server replies, however often the connection
 *   breaks.
 * - Frames for one conversation go out in the order asked for. A refused one that is worth
 *   repeating holds up later ones.
 * - A subscription is resumed from the highest revision applied. A hole in the live frames is
 *   repaired the same way.
 * - At most `limits.window` frames are without a reply, and at most 1,000 operations wait here.
 *   More are refused.
 * - A dead connection is found by `ping`: browsers do not show WebSocket pings.
 *
 * @import {
 *   AckFrame, ClientFrame, ConversationFrame, Fetch, HelloFrame, Limits, NoticeFrame, ReplyFrame,
 *   RenewedToken, ServerFrame, Status, Storage, SubscribedFrame, TokenSource, User,
 * } from './client/types.js'
 * @import { ClientEvents } from './client/emitter.js'
 */
import { Connection } from './client/connection.js';
import { Conversation } from './client/conversation.js';
import { Credentials } from './client/credentials.js';
import { Emitter } from './client/emitter.js';
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
  #events = new Emitter();
  #credentials;
  #connection;
  #operations;
  /** @type {Map<string, Conversation>} */
  #conversations = new Map();
  /** @type {Set<string>} ids of the conversations subscribed to, also without a connection */
  #followed = new Set();
  /** @type {Map<string, number>} when typing was last sent, by conversation */
  #typingAt = new Map();
  /** @type {User | null} */
  #user = null;
  /** @type {Limits} */
  #limits = { frame_bytes: 65_536, body_bytes: 16_384, subscriptions: 200, window: 32 };
  /** @type {Status} */
  #status = { state: 'stopped' };

  /**
   * @param {object} [options]
   * @param {string} [options.base] `https://host` of the server; the page's own by default
   * @param {TokenSource | null} [options.token] without it, the cookies of the browser are used
   * @param {((url: string, protocols: string[]) => WebSocket) | null} [options.createSocket] for
   *   sockets with other credentials; without this, each connection takes a single-use ticket with
   *   a token, and a header with an API key, which browsers cannot send: keys are for programs
   * @param {Fetch | null} [options.fetch]
   * @param {Storage} [options.storage] `localStorage`, unless another one is given
   */
  constructor({ base = '', token = null, createSocket = null, fetch = null, storage } = {}) {
    this.rest = new Rest({
      base,
      token,
      fetch,
      storage,
      onRenewed: (renewed) => this.#renewed(renewed),
      onSignedOut: () => this.#signedOut(),
    });
    const credentials = new Credentials({ rest: this.rest, base, token: createSocket ? null : token });
    this.#credentials = credentials;
    this.#connection = new Connection({
      address: (doubtful) => credentials.address(doubtful),
      createSocket: (url) => (createSocket ?? credentials.openSocket.bind(credentials))(url, ['parlance.v1']),
      renew: () => this.rest.refresh(),
      ping: () => this.#operations.ask({ type: 'ping' }),
      hello: (frame) => this.#hello(frame),
      frame: (frame) => this.#received(frame),
      lost: () => this.#lost(),
      status: (status) => this.#setStatus(status),
      stopped: (detail) =>
        detail.code === 4001 ? this.#events.emit('signed_out') : this.#events.emit('stopped', detail),
    });
    this.#operations = new Operations(
      (frame) => this.#connection.send(frame),
      (until) => this.#events.emit('paused', { until }),
    );
  }

  // ---- Events ----

  /**
   * Registers a listener for one of `ClientEvents`.
   *
   * @template {keyof ClientEvents} E
   * @param {E} event
   * @param {(detail: ClientEvents[E]) => void} listener
   * @returns {() => void} removes it
   */
  on(event, listener) {
    return this.#events.on(event, listener);
  }

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

  /**
   * Connects, and stays connected until `disconnect`, a close code that says stop, or the end of
   * the login.
   */
  connect() {
    this.#connection.start();
  }

  /** Ends the connection. Operations without a reply stay and go on with the next `connect`. */
  disconnect() {
    this.#connection.stop();
  }

  /** Drops everything of this user; for a page that is about to serve another one. */
  clear() {
    this.disconnect();
    this.#operations.rejectAll(new Refusal('unauthenticated', 'Signed out.'));
    this.#conversations.clear();
    this.#followed.clear();
    this.#typingAt.clear();
    this.#user = null;
  }

  /** Reconnects without waiting out the back-off; when connected, tests the connection. */
  nudge() {
    this.#connection.nudge();
  }

  /** @param {ServerFrame} frame */
  #received(frame) {
    if (frame.type === 'notice') this.#notice(frame);
    else if (frame.ref === undefined) this.#apply(/** @type {ConversationFrame} */ (frame));
    else this.#operations.handleReply(frame);
  }

  /** @param {NoticeFrame} frame */
  #notice(frame) {
    this.#conversations.get(frame.conversation)?.noticed(frame);
    this.#events.emit('notice', frame);
  }

  /**
   * @param {HelloFrame} frame
   * @returns {boolean} whether the connection may be used
   */
  #hello(frame) {
    if (this.#user && this.#user.id !== frame.user.id) {
      // Another tab has signed in as someone else, and the cookies are theirs now.
      this.clear();
      this.#events.emit('signed_out');
      return false;
    }
    this.#user = frame.user;
    this.#limits = frame.limits;
    for (const conversation of this.#conversations.values()) conversation.self = frame.user.id;
    const { token_expires_at: expiresAt, server_time: serverTime } = frame;
    const life = expiresAt === null ? null : Date.parse(expiresAt) - Date.parse(serverTime);
    this.#credentials.planRenewal(life);
    this.#operations.open(frame.limits.window);
    for (const id of this.#followed) this.#subscribe(this.conversation(id));
    this.#events.emit('hello', frame);
    return true;
  }

  #lost() {
    this.#credentials.cancelRenewal();
    this.#operations.close();
    for (const conversation of this.#conversations.values()) conversation.end();
  }

  /** @param {Status} status */
  #setStatus(status) {
    this.#status = status;
    this.#events.emit('status', status);
  }

  // ---- Credentials ----

  /** @param {RenewedToken} renewed */
  #renewed({ access_token: token, life_ms: life }) {
    if (!this.#connection.greeted) return;
    this.#credentials.planRenewal(life);
    this.#operations.ask({ type: 'refresh', token }).catch(() => {});
  }

  #signedOut() {
    this.#connection.stop({ state: 'stopped', code: 4001, reason: 'signed out' });
    this.#events.emit('signed_out');
  }

  /**
   * Hands a renewed access token to the live connection; for `token` mode, where the caller owns
   * the tokens.
   *
   * @param {string} token
   * @returns {Promise<ReplyFrame>}
   */
  refreshConnection(token) {
    return this.#operations.ask({ type: 'refresh', token });
  }

  // ---- Conversations ----

  /**
   * What is known of a conversation; made empty when it is new.
   *
   * @param {string} id
   */
  conversation(id) {
    let conversation = this.#conversations.get(id);
    if (!conversation) {
      conversation = new Conversation(id, this.#user?.id ?? null);
      this.#conversations.set(id, conversation);
      this.#dropOldest();
    }
    conversation.self ??= this.#user?.id ?? null;
    return conversation;
  }

  #dropOldest() {
    for (const [id, conversation] of this.#conversations) {
      if (this.#conversations.size <= REMEMBERED_MAX + this.#followed.size) break;
      if (!this.#followed.has(id) && conversation.pending.size === 0) this.#conversations.delete(id);
    }
  }

  /**
   * Follows a conversation until `unsubscribe`; also when there is no connection yet.
   *
   * @param {string} id
   */
  subscribe(id) {
    this.#followed.add(id);
    const conversation = this.conversation(id);
    // Frames of an earlier subscription on this connection may still be under way.
    if (this.#connection.greeted && conversation.phase === 'idle')
      this.#subscribe(conversation, { sameConnection: true });
    return conversation;
  }

  /** @param {string} id */
  unsubscribe(id) {
    if (!this.#followed.delete(id)) return;
    this.#conversations.get(id)?.end();
    if (this.#connection.greeted) this.#operations.ask({ type: 'unsubscribe', conversation: id }).catch(() => {});
  }

  /**
   * @param {Conversation} conversation
   * @param {{ sameConnection?: boolean }} [options]
   */
  #subscribe(conversation, options) {
    const { id } = conversation;
    const after = conversation.begin(options);
    const subscription = (conversation.subscription = Symbol(id));
    const current = () => conversation.subscription === subscription && this.#followed.has(id);
    /**
     * The end of a subscription that was replaced meanwhile says nothing about this one.
     *
     * @param {SubscribedFrame} reply
     */
    const onReply = (reply) => {
      if (!current()) return;
      this.#apply(reply);
      // Read while there was no subscription, or on a connection that broke.
      if (reply.read_seq < conversation.readSeq) this.#sendRead(conversation);
    };
    const asked = after === undefined ? {} : { after };
    this.#operations.ask({ type: 'subscribe', conversation: id, ...asked }, { onReply }).catch((refusal) => {
      if (!current()) return;
      if (refusal.code === 'conflict' && after !== undefined) {
        conversation.reset();
        this.#subscribe(conversation);
      } else if (refusal.code !== 'disconnected') {
        this.#followed.delete(id);
        conversation.end();
        this.#events.emit('gone', { id, code: refusal.code });
      }
    });
  }

  /** @param {ConversationFrame} frame */
  #apply(frame) {
    const conversation = this.#conversations.get(frame.conversation);
    if (!conversation) return;
    const outcome = conversation.apply(frame);
    if (outcome === 'gap') {
      this.#subscribe(conversation, { sameConnection: true });
    } else if (outcome === 'applied') {
      // `may` is in `subscribed` only, and what one may follows from one's role.
      if (isOwnRole(frame, conversation)) this.#subscribe(conversation, { sameConnection: true });
      if (conversation.deletedAt || conversation.removed) {
        this.#followed.delete(conversation.id);
        conversation.end();
      }
      this.#events.emit('change', { conversation, frame });
      if (conversation.deletedAt || conversation.removed)
        this.#events.emit('gone', { id: conversation.id, code: 'not_found' });
    }
  }

  /**
   * Loads the page of history before what is held.
   *
   * @param {string} id
   * @param {number} [limit] messages of the page
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
        this.#events.emit('change', { conversation, frame: null });
        return true;
      }
    }
    return false;
  }

  // ---- What a person does ----

  /**
   * Sends a message: shown at once in `conversation.pending`, acknowledged when it is durable.
   *
   * @param {string} conversationId
   * @param {string} body
   * @param {{ replyTo?: string | null, id?: string }} [options] `id` repeats an earlier send
   * @returns {{ id: string, done: Promise<AckFrame> }} `done` fails with a `Refusal` when the
   *   server will not have it
   */
  send(conversationId, body, { replyTo = null, id = uuidv7() } = {}) {
    const conversation = this.conversation(conversationId);
    conversation.addPending({ id, body, reply_to: replyTo, created_at: new Date().toISOString() });
    conversation.markPending(id, { status: 'pending', error: null });
    const quoted = replyTo ? { reply_to: replyTo } : {};
    const frame = { type: /** @type {const} */ ('send'), conversation: conversationId, id, body, ...quoted };
    const done = this.#operations.ask(frame, { repeat: true }).then(
      (ack) => {
        conversation.acknowledge(ack);
        this.#events.emit('change', { conversation, frame: ack });
        return ack;
      },
      (refusal) => {
        conversation.markPending(id, { status: 'failed', error: refusal });
        this.#events.emit('change', { conversation, frame: null });
        throw refusal;
      },
    );
    done.catch(() => {});
    this.#typingAt.delete(conversationId);
    this.#events.emit('change', { conversation, frame: null });
    return { id, done };
  }

  /**
   * Sends a failed message again, with its old id.
   *
   * @param {string} conversationId
   * @param {string} id
   */
  resend(conversationId, id) {
    const entry = this.conversation(conversationId).pending.get(id);
    if (entry?.status === 'failed') this.send(conversationId, entry.body, { replyTo: entry.reply_to, id });
  }

  /**
   * Removes a failed message.
   *
   * @param {string} conversationId
   * @param {string} id
   */
  discard(conversationId, id) {
    const conversation = this.conversation(conversationId);
    if (conversation.pending.get(id)?.status !== 'failed') return;
    conversation.pending.delete(id);
    this.#events.emit('change', { conversation, frame: null });
  }

  /** @param {Extract<ClientFrame, { type: 'edit' | 'delete' | 'react' }>} frame of what was seen */
  #change(frame) {
    const seen = this.conversation(frame.conversation).byId.get(frame.id)?.rev;
    return this.#operations.ask(frame, { repeat: true, seen });
  }

  /**
   * @param {string} conversationId
   * @param {string} id
   * @param {string} body
   * @returns {Promise<ReplyFrame>}
   */
  edit(conversationId, id, body) {
    return this.#change({ type: 'edit', conversation: conversationId, id, body });
  }

  /**
   * @param {string} conversationId
   * @param {string} id
   * @returns {Promise<ReplyFrame>}
   */
  delete(conversationId, id) {
    return this.#change({ type: 'delete', conversation: conversationId, id });
  }

  /**
   * @param {string} conversationId
   * @param {string} id
   * @param {string} emoji
   * @param {boolean} on false takes the reaction back
   * @returns {Promise<ReplyFrame>}
   */
  react(conversationId, id, emoji, on) {
    return this.#change({ type: 'react', conversation: conversationId, id, emoji, on });
  }

  /**
   * Moves the own read marker of a conversation that is followed, forward only.
   *
   * @param {string} conversationId
   * @param {number} seq
   */
  read(conversationId, seq) {
    const conversation = this.conversation(conversationId);
    if (seq <= conversation.readSeq) return;
    conversation.readSeq = seq;
    // Without a connection, `subscribed` will show that the server does not know it yet.
    if (this.#connection.greeted && this.#followed.has(conversationId)) this.#sendRead(conversation);
    this.#events.emit('change', { conversation, frame: null });
  }

  /** @param {Conversation} conversation */
  #sendRead(conversation) {
    const { id, readSeq } = conversation;
    this.#operations.ask({ type: 'read', conversation: id, seq: readSeq }).catch(() => {});
  }

  /**
   * Shows the others that the user is typing; call it as often as there are key strokes.
   *
   * @param {string} conversationId
   * @param {boolean} on
   */
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

/**
 * @param {ConversationFrame} frame
 * @param {Conversation} conversation
 */
function isOwnRole(frame, { self, phase }) {
  return phase === 'live' && frame.type === 'member' && frame.change === 'changed' && frame.user.id === self;
}
