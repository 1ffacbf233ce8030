/**
 * Names for ids. Members come with their names; others (who left, who is not listed) are asked for once and remembered.
 */
const KNOWN_MAX = 5_000;

export class People {
  #known = new Map();
  #asked = new Set();
  #load;
  #changed;
  /** Grows when a name was learnt, so that views can tell. */
  version = 0;

  /** @param {(id: string) => Promise<{name: string}>} load @param {() => void} changed */
  constructor(load, changed) {
    this.#load = load;
    this.#changed = changed;
  }

  learn(users) {
    for (const { id, name } of users) {
      if (!id || !name || this.#known.get(id) === name) continue;
      if (this.#known.size >= KNOWN_MAX) this.#known.clear();
      this.#known.set(id, name);
      this.version += 1;
    }
  }

  /** The name, or a placeholder until it is known. */
  of(id) {
    const name = this.#known.get(id);
    if (name === undefined) this.#ask(id);
    return name ?? 'Someone';
  }

  async #ask(id) {
    if (!id || this.#asked.has(id)) return;
    if (this.#asked.size >= KNOWN_MAX) this.#asked.clear();
    this.#asked.add(id);
    try {
      this.learn([await this.#load(id)]);
      this.#changed();
    } catch (problem) {
      // Not to be seen stays unseen; what failed for want of a connection is asked again with the next drawing.
      if (problem.code !== 'not_found') setTimeout(() => this.#asked.delete(id), 5_000);
    }
  }
}
