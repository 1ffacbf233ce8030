/**
 * Loads older messages while they are wanted: page by page, and the next one only when the one
 * before has brought something. Otherwise there is a pause that doubles, so that it neither turns
 * without end nor spends the person's quota, whatever the server or the view do.
 *
 * Owned by the thread.
 *
 * @import { Conversation } from '../../client/conversation.js'
 */
import { growingPause } from '../../client/policy.js';

const PAUSE_MS = 2_000;

/**
 * @typedef {object} HistoryOptions
 * @property {Conversation} conversation
 * @property {(limit?: number) => Promise<unknown>} load asks for the page before what is held
 * @property {() => boolean} wanted whether the person is near the oldest message that is held
 * @property {(busy: boolean) => void} busy
 * @property {() => void} loaded a page has come
 */

export class HistoryLoader {
  #options;
  /** @type {Promise<boolean> | null} the page that is under way */
  #page = null;
  #filling = false;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #pause = null;
  /** Pages in a row that brought nothing. */
  #fruitless = 0;
  #closed = false;

  /** @param {HistoryOptions} options */
  constructor(options) {
    this.#options = options;
  }

  close() {
    this.#closed = true;
    if (this.#pause !== null) clearTimeout(this.#pause);
  }

  /** Call it as often as the view changes. */
  async fill() {
    if (this.#filling || this.#pause !== null) return;
    this.#filling = true;
    let more = true;
    while (more && this.#loadable() && this.#options.wanted()) more = await this.page();
    this.#filling = false;
  }

  /**
   * Loads one page, or waits for the one under way.
   *
   * @param {number} [limit] messages of the page
   * @returns {Promise<boolean>} whether older messages have come
   */
  page(limit) {
    this.#page ??= this.#load(limit).finally(() => {
      this.#page = null;
    });
    return this.#page;
  }

  #loadable() {
    const { floor, complete } = this.#options.conversation;
    return !this.#closed && floor !== null && !complete;
  }

  /** @param {number} [limit] */
  async #load(limit) {
    if (!this.#loadable()) return false;
    const { conversation, load, busy, loaded } = this.#options;
    const before = conversation.floor ?? 0;
    let retryAfterMs = 0;
    busy(true);
    try {
      await load(limit);
    } catch (problem) {
      // The connection banner says what is wrong.
      retryAfterMs = problem.retryAfterMs ?? 0;
    }
    busy(false);
    if (this.#closed) return false;
    const fruitful = conversation.floor !== null && conversation.floor < before;
    if (fruitful) {
      this.#fruitless = 0;
      loaded();
    } else this.#rest(retryAfterMs);
    return fruitful;
  }

  /** @param {number} atLeastMs */
  #rest(atLeastMs) {
    if (this.#pause !== null) clearTimeout(this.#pause);
    const pause = growingPause(PAUSE_MS, this.#fruitless);
    this.#fruitless += 1;
    this.#pause = setTimeout(
      () => {
        this.#pause = null;
        this.fill();
      },
      Math.max(pause, atLeastMs),
    );
  }
}
