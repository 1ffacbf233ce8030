/**
 * A client on sockets in memory to a server in memory, with time that the test moves.
 *
 * The flags and functions of `World` are what goes wrong: a test sets them and takes them back.
 *
 * @import { ClientFrame } from '../../../static/client/types.js'
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock } from 'node:test';
import { ParlanceClient } from '../../../static/parlance-client.js';
import { FakeServer } from './fake-server.js';

const LOGIN_MS = 900_000;

/** Makes time of the tests of a file stand still, until they move it by `pass`. */
export function useClock() {
  const now = Date.UTC(2026, 10, 22, 10);
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now }));
  afterEach(() => mock.timers.reset());
}

/** Enough turns of the event loop for promises to settle; the mocked timers do not move by it. */
export async function settle() {
  for (let turn = 0; turn < 12; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/**
 * @param {number} milliseconds
 * @param {number} [step] after which promises settle; larger ones for hours
 */
export async function pass(milliseconds, step = 100) {
  for (let left = milliseconds; left > 0; left -= step) {
    mock.timers.tick(Math.min(left, step));
    await settle();
  }
}

/** A time at which a token of now has run out. */
export const laterOn = () => new Date(Date.now() + LOGIN_MS).toISOString();

/** @typedef {{ code: string, retry_after_ms?: number }} Refusal */
/** @typedef {ClientFrame & { ref?: string, [field: string]: any }} SentFrame */

/** A socket in memory: `cut` breaks it; once `muted`, nothing arrives any more, either way. */
class FakeSocket {
  muted = false;
  /** @type {((event: { data: string }) => void) | null} */
  onmessage = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */
  onclose = null;
  #world;
  /** @type {ReturnType<FakeServer['connect']> | undefined} */
  #connection;

  /** @param {World} world */
  constructor(world) {
    this.#world = world;
    world.sockets.push(this);
    setImmediate(() => {
      if (world.down || world.refusing) return this.onclose?.({ code: 1006, reason: '' });
      this.#connection = world.server.connect(world.user, (frame) => this.deliver(frame));
    });
  }

  /** @param {any} frame of the server */
  deliver(frame) {
    if (this.muted || this.#world.loses(frame)) return;
    setImmediate(() => this.onmessage?.({ data: JSON.stringify(frame) }));
  }

  /** @param {string} text */
  send(text) {
    const frame = JSON.parse(text);
    this.#world.sent.push(frame);
    if (this.muted || this.#world.swallows(frame)) return;
    const refusal = this.#world.refuses(frame);
    if (refusal) this.deliver({ type: 'error', ref: frame.ref, message: 'no', ...refusal });
    else setImmediate(() => this.#connection?.receive(frame));
  }

  close() {
    this.#connection?.close();
  }

  cut(code = 1006) {
    this.#connection?.close();
    this.onclose?.({ code, reason: '' });
  }
}

export class World {
  server = new FakeServer();
  user = this.server.addUser('Ann');
  other = this.server.addUser('Ben');
  talk = this.server.createConversation('Talk', this.user);
  /** @type {FakeSocket[]} */
  sockets = [];
  /** @type {SentFrame[]} frames of the client */
  sent = [];
  /** @type {string[]} method and path of each request */
  requests = [];
  /** Nothing can be reached. */
  down = false;
  /** Upgrades are refused. */
  refusing = false;
  /** @type {(frame: any) => boolean} whether a frame of the server gets lost */
  loses = () => false;
  /** @type {(frame: SentFrame) => boolean} whether a frame of the client gets lost */
  swallows = () => false;
  /** @type {(frame: SentFrame) => Refusal | null} */
  refuses = () => null;
  /** @type {(path: string) => { status?: number, body?: object }} what REST responds */
  responds = () => ({});

  constructor() {
    this.server.setMember(this.talk, this.other);
    const kept = new Map([['parlance.expires_at', laterOn()]]);
    this.client = new ParlanceClient({
      base: 'http://chat.test',
      storage: {
        get: (key) => kept.get(key) ?? null,
        set: (key, value) => kept.set(key, value),
        remove: (key) => kept.delete(key),
      },
      fetch: async (url, options) => {
        const { pathname } = new URL(url);
        this.requests.push(`${options?.method} ${pathname}`);
        if (this.down) throw new TypeError('down');
        const { status = 200, body = {} } = this.responds(pathname);
        const date = new Date(this.server.clock()).toUTCString();
        return new Response(JSON.stringify(body), { status, headers: { date } });
      },
      createSocket: () => /** @type {any} */ (new FakeSocket(this)),
    });
  }

  /** The newest socket. */
  last() {
    return this.sockets[this.sockets.length - 1];
  }

  typesSent() {
    return this.sent.map(({ type }) => type);
  }

  /**
   * The frames of one type that the client sent.
   *
   * @param {string} type
   */
  sentOf(type) {
    return this.sent.filter((frame) => frame.type === type);
  }

  /** REST renews access tokens from now on. */
  renewsTokens() {
    this.responds = (path) =>
      path === '/auth/refresh' ? { body: { access_token: 'fresh', expires_at: this.#laterOn() } } : {};
  }

  /** By the server's clock. */
  #laterOn() {
    return new Date(this.server.clock() + LOGIN_MS).toISOString();
  }

  /** Connects, subscribes to the conversation, and gives what the client holds of it. */
  async online() {
    this.client.connect();
    await settle();
    assert.equal(this.client.status.state, 'online');
    const conversation = this.client.subscribe(this.talk.id);
    await settle();
    assert.equal(conversation.phase, 'live');
    return conversation;
  }
}
