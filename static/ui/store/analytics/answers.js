/**
 * Asks questions about a workspace over REST: a few at a time, and again where the server said
 * "later".
 *
 * Used by the page of numbers. The server works on one heavy question of a workspace at a time, so
 * asking all at once would only make some wait too long. A question that nobody waits for any more
 * is broken off, and the server stops working on it.
 *
 * @import { Rest } from '../../../client/rest.js'
 * @import { Question } from './questions.js'
 */

/** Questions under way at once. */
const AT_ONCE = 2;
const ATTEMPTS_MAX = 4;
const PAUSE_MS = 500;
/** Who has to wait longer is told so, and asks again. */
const PAUSE_MS_MAX = 5_000;
const LATER = ['overloaded', 'unavailable', 'rate_limited'];

export class Answers {
  #rest;
  #running = 0;
  /** @type {(() => void)[]} who waits for a turn; at most as many as the page has parts */
  #waiting = [];

  /** @param {Rest} rest */
  constructor(rest) {
    this.#rest = rest;
  }

  /**
   * @param {Question} question
   * @param {AbortSignal} signal breaks it off
   * @returns {Promise<any>}
   * @throws {Problem}
   */
  async ask({ path, query }, signal) {
    if (this.#running >= AT_ONCE) await new Promise((next) => this.#waiting.push(() => next(undefined)));
    this.#running += 1;
    try {
      for (let attempt = 1; ; attempt += 1) {
        signal.throwIfAborted();
        try {
          return await this.#rest.get(path, query, { signal });
        } catch (problem) {
          const pause = problem.retryAfterMs ?? PAUSE_MS * 2 ** (attempt - 1);
          if (!LATER.includes(problem.code) || attempt === ATTEMPTS_MAX || pause > PAUSE_MS_MAX) throw problem;
          await sleep(pause, signal);
        }
      }
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal ends it early
 * @returns {Promise<void>}
 */
function sleep(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), done()), { once: true });
  });
}
