/**
 * Keeps what was written but not acknowledged across a reload of the tab.
 *
 * Sending again with the same id is harmless, so nothing has to be known about what reached the server. The tab's own
 * storage is used: another tab has its own unsent messages, and closing the tab gives them up with it.
 */
const KEY = 'parlance.outbox';
const KEPT_MAX = 100;

export class Outbox {
  #client;
  #user;
  #entries = new Map();

  constructor(client, user) {
    this.#client = client;
    this.#user = user;
  }

  /** Sends what an earlier life of this tab left. */
  restore() {
    for (const { conversation, id, body, replyTo } of load(this.#user))
      this.#client.send(conversation, body, { replyTo, id });
  }

  /** Call it whenever a conversation changed. */
  note(conversation) {
    let changed = false;
    for (const [id, entry] of this.#entries) {
      if (entry.conversation === conversation.id && !conversation.pending.has(id))
        changed = this.#entries.delete(id) || changed;
    }
    for (const { id, body, reply_to: replyTo } of conversation.pending.values()) {
      if (this.#entries.has(id) || this.#entries.size >= KEPT_MAX) continue;
      this.#entries.set(id, { conversation: conversation.id, id, body, replyTo });
      changed = true;
    }
    if (changed) save(this.#user, [...this.#entries.values()]);
  }

  clear() {
    this.#entries.clear();
    save(this.#user, []);
  }
}

function load(user) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
    return kept?.user === user ? kept.entries : [];
  } catch {
    return [];
  }
}

function save(user, entries) {
  try {
    if (entries.length === 0) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, JSON.stringify({ user, entries }));
  } catch {
    // Storage is forbidden or full: then a reload forgets, as it does in any page.
  }
}
