/**
 * The frames that expect a reply: those that wait to be sent, those under way, those to be sent
 * again.
 *
 * Used by `ParlanceClient` only. At most 1,000 operations wait here; more are refused.
 *
 * The server replies to every frame with a `ref` exactly once. It reads no further while a window
 * of them has no reply, so no more than that are sent. An operation marked `repeat` outlives the
 * connection: it is idempotent (a send by its id, the others by what they say), and one without a
 * reply may or may not have been done. The others fail with the connection, because the next one
 * begins with its own subscriptions.
 *
 * The server takes what makes a change from a quota of the user. When the quota is used up, all of
 * these frames wait as long as the server says, whatever their conversation. Then one is sent, and
 * only when it is accepted do the others follow, no more at a time than are left. A client that
 * tried them all would be refused for each, and closed for it.
 *
 * @import { ClientFrame, ReplyFrame } from './types.js'
 */
import { backoffDelay, isLimited, isRetryable } from './policy.js';

/** Operations that may wait; beyond that they are refused. */
const OPERATIONS_MAX = 1_000;
/** Refusals of one operation that are worth repeating. After these its caller gets the error. */
const REFUSALS_MAX = 10;

/**
 * Why an operation was not done: the server's code, `disconnected`, or `limit_reached` for the
 * client's own bound.
 */
export class Refusal extends Error {
  /**
   * @param {string} code
   * @param {string} message for people
   */
  constructor(code, message) {
    super(message);
    this.name = 'Refusal';
    this.code = code;
  }
}

/**
 * @typedef {object} Operation
 * @property {ClientFrame & { ref: string }} frame
 * @property {string | undefined} conversation the one that its frame is about
 * @property {boolean} repeat outlives the connection
 * @property {((reply: any) => void) | null} onReply
 * @property {number | undefined} seen the `rev` of the message that the user saw
 * @property {boolean} sent under way on this connection
 * @property {boolean} isRepeated was under way on a connection that was lost
 * @property {number} turn the count of limited frames when it was sent
 * @property {number} refusals so far
 * @property {number} notBefore in Unix milliseconds
 * @property {(reply: any) => void} resolve
 * @property {(refusal: Refusal) => void} reject
 */

export class Operations {
  #transmit;
  /** @type {Map<string, Operation>} by `ref`, in the order asked for */
  #operations = new Map();
  #nextRef = 1;
  #window = 0;
  /** Sent and without a reply. */
  #underWay = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #paused;
  #pausedUntil = 0;
  /** How many limited frames may be under way at a time, and how many are. */
  #credit = Infinity;
  #limited = 0;
  /**
   * Counts limited frames. A reply to one that was sent before the latest refusal says nothing
   * about what is left.
   */
  #turn = 0;
  #refusedTurn = 0;

  /**
   * @param {(frame: ClientFrame & { ref: string }) => void} transmit writes one frame to the open
   *   connection
   * @param {(until: number) => void} [paused] the quota is used up until then, in Unix milliseconds
   */
  constructor(transmit, paused = () => {}) {
    this.#transmit = transmit;
    this.#paused = paused;
  }

  get size() {
    return this.#operations.size;
  }

  /**
   * Sends a frame now or when its turn comes.
   *
   * @param {ClientFrame} frame
   * @param {object} [options]
   * @param {boolean} [options.repeat] outlives the connection
   * @param {((reply: any) => void) | null} [options.onReply] called with the reply before any later
   *   frame is looked at, where the order matters; a promise would be late
   * @param {number} [options.seen] the `rev` of the message that the user saw. When the frame is
   *   sent again, it is only done if the message has not been edited since
   * @returns {Promise<any>} the direct reply; fails with a `Refusal`
   */
  ask(frame, { repeat = false, onReply = null, seen } = {}) {
    if (this.#operations.size >= OPERATIONS_MAX) {
      return Promise.reject(new Refusal('limit_reached', 'Too much is waiting to be sent.'));
    }
    return new Promise((resolve, reject) => {
      const ref = String(this.#nextRef++);
      const operation = {
        frame: { ...frame, ref },
        conversation: 'conversation' in frame ? frame.conversation : undefined,
        repeat,
        onReply,
        seen,
        sent: false,
        isRepeated: false,
        turn: 0,
        refusals: 0,
        notBefore: 0,
        resolve,
        reject,
      };
      this.#operations.set(ref, operation);
      this.#pump();
    });
  }

  /**
   * A connection is ready.
   *
   * @param {number} window how many frames may be without a reply
   */
  open(window) {
    this.#window = window;
    this.#pump();
  }

  /** The connection is lost: what can be repeated waits for the next one, in its old order. */
  close() {
    this.#window = 0;
    this.#underWay = 0;
    this.#limited = 0;
    clearTimeout(this.#timer);
    for (const [ref, operation] of [...this.#operations]) {
      operation.isRepeated ||= operation.sent;
      operation.sent = false;
      if (operation.repeat) continue;
      this.#operations.delete(ref);
      operation.reject(new Refusal('disconnected', 'The connection was lost.'));
    }
  }

  /**
   * Fails everything that waits or is under way.
   *
   * @param {Refusal} refusal
   */
  rejectAll(refusal) {
    for (const operation of this.#operations.values()) operation.reject(refusal);
    this.#operations.clear();
    this.#underWay = 0;
    this.#limited = 0;
    this.#pausedUntil = 0;
    this.#credit = Infinity;
  }

  /**
   * Takes a reply of the server.
   *
   * @param {ReplyFrame} frame
   */
  handleReply(frame) {
    const ref = frame.ref ?? '';
    const operation = this.#operations.get(ref);
    if (!operation?.sent) return;
    this.#underWay -= 1;
    if (isLimited(operation.frame.type)) this.#limited -= 1;
    if (frame.type !== 'error') {
      this.#operations.delete(ref);
      if (frame.type === 'ack' && operation.turn > this.#refusedTurn) {
        this.#credit = frame.budget ? Math.max(1, frame.budget.remaining) : Infinity;
      }
      operation.onReply?.(frame);
      operation.resolve(frame);
    } else if (frame.code === 'rate_limited') {
      // It will be done, so it does not count as a refusal however often it happens.
      operation.sent = false;
      this.#credit = 1;
      this.#refusedTurn = this.#turn;
      const until = Date.now() + (frame.retry_after_ms ?? 1_000) + backoffDelay(0);
      if (until > this.#pausedUntil) this.#paused((this.#pausedUntil = until));
    } else if (isRetryable(frame.code) && operation.refusals < REFUSALS_MAX) {
      operation.sent = false;
      operation.refusals += 1;
      operation.notBefore = Date.now() + (frame.retry_after_ms ?? 0) + backoffDelay(operation.refusals - 1);
    } else {
      this.#operations.delete(ref);
      operation.reject(new Refusal(frame.code, frame.message));
    }
    this.#pump();
  }

  /**
   * The frame to send. What may have been done before must not undo what others did since. Not if
   * the user has changed the message twice: then the first of the two is what was done since.
   *
   * @param {Operation} operation
   */
  #conditional({ frame, seen, isRepeated }) {
    if (!isRepeated || seen === undefined || !('id' in frame)) return frame;
    for (const { frame: other } of this.#operations.values()) {
      if (other === frame) return { ...frame, if_rev: seen };
      if ('id' in other && other.id === frame.id) return frame;
    }
    return frame;
  }

  #pump() {
    clearTimeout(this.#timer);
    if (this.#window === 0) return;
    const now = Date.now();
    const held = new Set();
    const over = new Set();
    let wakeAt = Infinity;
    for (const operation of this.#operations.values()) {
      if (this.#underWay >= this.#window) return;
      if (operation.sent || held.has(operation.conversation)) continue;
      if (isLimited(operation.frame.type)) {
        // What costs nothing goes on meanwhile.
        if (over.has(operation.conversation)) continue;
        if (this.#pausedUntil > now || this.#limited >= this.#credit) {
          over.add(operation.conversation);
          if (this.#pausedUntil > now) wakeAt = Math.min(wakeAt, this.#pausedUntil);
          continue;
        }
      }
      if (operation.notBefore > now) {
        // Later ones of the conversation wait with it: people's messages keep the order in which
        // they were written.
        held.add(operation.conversation);
        wakeAt = Math.min(wakeAt, operation.notBefore);
        continue;
      }
      operation.sent = true;
      this.#underWay += 1;
      if (isLimited(operation.frame.type)) {
        this.#limited += 1;
        operation.turn = this.#turn += 1;
      }
      this.#transmit(this.#conditional(operation));
    }
    if (wakeAt < Infinity) this.#timer = setTimeout(() => this.#pump(), wakeAt - now);
  }
}
