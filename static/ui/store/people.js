/**
 * Names for ids. Members come with their names. Others (who left, who is not listed) are asked for
 * once and remembered.
 *
 * Owned by the store; views ask it for names. It holds 5,000 names, then starts anew.
 */
const KNOWN_MAX = 5_000;
/** A name that could not be loaded is asked for again after this time. */
const RETRY_MS = 5_000;

export class People {
  /** @type {Map<string, string>} id → name */
  #known = new Map();
  /** @type {Set<string>} */
  #asked = new Set();
  #load;
  #changed;
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
      if (this.#known.size >= KNOWN_MAX) this.#known.clear();
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
  async #ask(id) {
    if (!id || this.#asked.has(id)) return;
    if (this.#asked.size >= KNOWN_MAX) this.#asked.clear();
    this.#asked.add(id);
    try {
      this.learn([await this.#load(id)]);
      this.#changed();
    } catch (problem) {
      // Someone who may not be seen stays without a name. Without a connection, the next drawing
      // asks again.
      if (problem.code !== 'not_found') setTimeout(() => this.#asked.delete(id), RETRY_MS);
    }
  }
}
