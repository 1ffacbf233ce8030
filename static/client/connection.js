/**
 * One connection at a time, for as long as it is wanted: it opens, notices that it is dead, and
 * reconnects as the close code asks.
 *
 * Owned by `ParlanceClient`, which it calls with the status, `hello`, each frame, and the loss of
 * the connection. It knows the socket and the time, and nothing of conversations. It holds one
 * socket and one timer of each kind.
 *
 * A browser shows neither pings nor why an upgrade was refused. So silence is tested with `#probe`.
 * An attempt that failed before `hello` makes the next one ask (`address(true)`) whether the login
 * is still valid.
 *
 * @import { ClientFrame, GoodbyeFrame, HelloFrame, ServerFrame, Status } from './types.js'
 */
import { HEALTHY_MS, backoffDelay, verdict } from './policy.js';

/** No `hello` within this time: the attempt has failed. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Silence after which the connection is tested, and how long the reply may take. */
const SILENCE_MS = 30_000;
const PROBE_TIMEOUT_MS = 8_000;
/**
 * After the browser reports a change (network, tab visible again) people wait for the page, so less
 * patience.
 */
const URGENT_PROBE_TIMEOUT_MS = 3_000;
const WATCH_INTERVAL_MS = 5_000;

/**
 * What the owner of a connection gives it.
 *
 * @typedef {object} Owner
 * @property {(doubtful: boolean) => Promise<string>} address gives the URL to connect to, or fails
 *   with a `Problem`
 * @property {(url: string) => WebSocket} createSocket
 * @property {() => Promise<void>} renew renews the credentials
 * @property {() => Promise<any>} ping asks for a reply
 * @property {(frame: HelloFrame) => boolean} hello false: this connection is not to be used
 * @property {(frame: ServerFrame) => void} frame
 * @property {() => void} lost
 * @property {(status: Status) => void} status
 * @property {(detail: { code: number, reason: string }) => void} stopped the server does not want
 *   this client back
 */

export class Connection {
  #owner;
  /** @type {WebSocket | null} */
  #socket = null;
  #wanted = false;
  #greeted = false;
  /** Failures in a row. */
  #attempt = 0;
  /** @type {object | null} stands for the attempt under way; another object is another attempt */
  #opening = null;
  #doubtful = false;
  /** @type {GoodbyeFrame | null} */
  #goodbye = null;
  #receivedAt = 0;
  #probing = false;
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  #timers = {};

  /** @param {Owner} owner */
  constructor(owner) {
    this.#owner = owner;
    this.#watchBrowser();
  }

  /** Whether `hello` has come, so that frames can be sent. */
  get greeted() {
    return this.#greeted;
  }

  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempt = 0;
    this.#open();
  }

  /** @param {Status} status */
  stop(status = { state: 'stopped' }) {
    this.#wanted = false;
    this.#drop();
    this.#owner.status(status);
  }

  /**
   * Only while `greeted`.
   *
   * @param {ClientFrame} frame
   */
  send(frame) {
    const socket = /** @type {WebSocket} */ (this.#socket);
    socket.send(JSON.stringify(frame));
  }

  /** Reconnects without waiting out the back-off; when connected, tests the connection. */
  nudge() {
    if (!this.#wanted) return;
    if (this.#greeted) this.#probe(URGENT_PROBE_TIMEOUT_MS);
    else if (!this.#opening && !this.#socket) this.#open();
  }

  async #open() {
    clearTimeout(this.#timers.retry);
    this.#owner.status({ state: 'connecting' });
    const opening = (this.#opening = {});
    let url;
    try {
      url = await this.#owner.address(this.#doubtful);
    } catch (problem) {
      if (this.#opening !== opening) return;
      this.#opening = null;
      if (problem.code === 'unauthenticated') this.#refused({ code: 4001, reason: problem.message });
      else this.#retry(problem.retryAfterMs ?? 0);
      return;
    }
    if (this.#opening !== opening) return;
    this.#opening = null;
    const socket = this.#owner.createSocket(url);
    this.#socket = socket;
    this.#goodbye = null;
    this.#timers.connect = setTimeout(() => this.#lost(socket, 1006, ''), CONNECT_TIMEOUT_MS);
    socket.onmessage = ({ data }) => this.#received(socket, data);
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
    socket.onerror = () => {};
  }

  /**
   * @param {WebSocket} socket
   * @param {string} data
   */
  #received(socket, data) {
    if (socket !== this.#socket) return;
    this.#receivedAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame.type === 'goodbye') this.#goodbye = frame;
    else if (frame.type === 'hello') this.#hello(frame);
    else this.#owner.frame(frame);
  }

  /** @param {HelloFrame} frame */
  #hello(frame) {
    clearTimeout(this.#timers.connect);
    this.#greeted = true;
    this.#doubtful = false;
    this.#timers.healthy = setTimeout(() => {
      this.#attempt = 0;
    }, HEALTHY_MS);
    this.#timers.watch = setInterval(() => {
      if (Date.now() - this.#receivedAt > SILENCE_MS) this.#probe(PROBE_TIMEOUT_MS);
    }, WATCH_INTERVAL_MS);
    if (this.#owner.hello(frame)) this.#owner.status({ state: 'online' });
  }

  /**
   * @param {WebSocket | null} socket
   * @param {number} code
   * @param {string} reason
   */
  #lost(socket, code, reason) {
    if (socket !== this.#socket) return;
    const greeted = this.#greeted;
    const atLeastMs = this.#goodbye?.retry_after_ms ?? 0;
    this.#drop();
    if (!this.#wanted) return;
    switch (verdict(code)) {
      case 'stop':
        this.#refused({ code, reason });
        break;
      case 'refresh':
        this.#renewFirst();
        break;
      case 'at_once':
        // At once the first time; a server that keeps saying so is not helped by a storm.
        if (this.#attempt === 0) this.#wait(atLeastMs);
        else this.#retry(atLeastMs);
        break;
      default:
        this.#doubtful = !greeted;
        this.#retry(atLeastMs);
    }
  }

  /** @param {{ code: number, reason: string }} detail */
  #refused(detail) {
    this.stop({ state: 'stopped', ...detail });
    this.#owner.stopped(detail);
  }

  async #renewFirst() {
    const renewing = (this.#opening = {});
    this.#owner.status({ state: 'connecting' });
    // Whether the login is over is found out by the attempt that follows.
    await this.#owner.renew().catch(() => {});
    if (this.#opening !== renewing) return;
    this.#opening = null;
    this.#retry(0);
  }

  /** @param {number} atLeastMs */
  #retry(atLeastMs) {
    this.#wait(Math.max(atLeastMs, backoffDelay(this.#attempt)));
  }

  /** @param {number} delayMs */
  #wait(delayMs) {
    this.#attempt += 1;
    clearTimeout(this.#timers.retry);
    this.#timers.retry = setTimeout(() => this.#open(), delayMs);
    this.#owner.status({ state: 'waiting', retryAt: Date.now() + delayMs });
  }

  /**
   * Drops the socket without waiting for its closing handshake: on a dead connection that takes
   * minutes.
   */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#opening = null;
    this.#greeted = false;
    this.#probing = false;
    for (const name of ['connect', 'retry', 'healthy', 'probe']) clearTimeout(this.#timers[name]);
    clearInterval(this.#timers.watch);
    this.#owner.lost();
    if (!socket) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }

  /** @param {number} timeoutMs */
  #probe(timeoutMs) {
    if (this.#probing) return;
    this.#probing = true;
    const socket = this.#socket;
    const askedAt = Date.now();
    const done = () => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#timers.probe);
      this.#probing = false;
    };
    this.#owner.ping().then(done, () => {});
    this.#timers.probe = setTimeout(() => {
      if (this.#receivedAt > askedAt) done();
      else this.#lost(socket, 4202, 'no reply');
    }, timeoutMs);
  }

  #watchBrowser() {
    if (typeof window !== 'object' || typeof document !== 'object') return;
    for (const event of ['online', 'offline', 'pageshow']) window.addEventListener(event, () => this.nudge());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.nudge();
    });
  }
}
