/**
 * Names for ids. Members come with their names. Others (who left, who is not listed) are asked for
 * once and remembered.
 *
 * Owned by the store; views ask it for names. It holds 5,000 names, then starts anew.
 */
import { growingPause } from '../../client/policy.js';

const KNOWN_MAX = 5_000;
/** After a failure nothing is asked for this long, and twice as long after each further one. */
const PAUSE_MS = 5_000;

export class People {
  /** @type {Map<string, string>} id → name */
  #known = new Map();
  /** @type {Set<string>} */
  #asked = new Set();
  /** @type {string[]} one is asked for at a time, so that a refusal stops the others */
  #waiting = [];
  #loading = false;
  #load;
  #changed;
  /** Until when nothing is asked, in Unix milliseconds. */
  #pausedUntil = 0;
  /** Failures in a row. */
  #failures = 0;
  /** Grows when a name was learnt, so that views can tell. */
  version = 0;

  /**
   * @param {(id: string) => Promise<{ id: string, name: string }>} load
   * @param {() => void} changed called after a name was loaded
   */
  constructor(load, changed) {
    this.#load = load;
    this.#changed = changed;
  }

  /** @param {Iterable<{ id: string, name: string }>} users */
  learn(users) {
    for (const { id, name } of users) {
      if (!id || !name || this.#known.get(id) === name) continue;
      if (this.#known.size >= KNOWN_MAX) {
        this.#known.clear();
        this.#asked.clear();
      }
      this.#known.set(id, name);
      this.version += 1;
    }
  }

  /**
   * The name, or a placeholder until it is known.
   *
   * @param {string} id
   */
  of(id) {
    const name = this.#known.get(id);
    if (name === undefined) this.#ask(id);
    return name ?? 'Someone';
  }

  /** @param {string} id */
  #ask(id) {
    if (!id || this.#asked.has(id) || Date.now() < this.#pausedUntil) return;
    if (this.#asked.size >= KNOWN_MAX) this.#asked.clear();
    this.#asked.add(id);
    this.#waiting.push(id);
    if (!this.#loading) this.#loadWaiting();
  }

  async #loadWaiting() {
    this.#loading = true;
    for (let id = this.#waiting.shift(); id !== undefined; id = this.#waiting.shift()) {
      if (this.#known.has(id)) continue;
      try {
        this.learn([await this.#load(id)]);
        this.#failures = 0;
        this.#changed();
      } catch (problem) {
        // Someone who may not be seen stays without a name.
        if (problem.code !== 'not_found' && problem.code !== 'forbidden') this.#pause(id, problem);
      }
    }
    this.#loading = false;
  }

  /**
   * Drawings after the pause ask again.
   *
   * @param {string} id
   * @param {{ retryAfterMs?: number | null }} problem
   */
  #pause(id, { retryAfterMs }) {
    for (const later of [id, ...this.#waiting.splice(0)]) this.#asked.delete(later);
    this.#pausedUntil = Date.now() + Math.max(growingPause(PAUSE_MS, this.#failures), retryAfterMs ?? 0);
    this.#failures += 1;
  }
}
