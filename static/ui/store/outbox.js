/**
 * Keeps what was written but not acknowledged across a reload of the tab, at most a hundred
 * messages.
 *
 * Owned by the store. Sending again with the same id is harmless, so nothing has to be known about
 * what reached the server. The tab's own storage is used: another tab has its own unsent messages,
 * and closing the tab drops them.
 *
 * @import { ParlanceClient } from '../../parlance-client.js'
 * @import { Conversation } from '../../client/conversation.js'
 */
const KEY = 'parlance.outbox';
const KEPT_MAX = 100;

/** @typedef {{ conversation: string, id: string, body: string, replyTo: string | null }} Unsent */

export class Outbox {
  #client;
  #user;
  /** @type {Map<string, Unsent>} by message id */
  #entries = new Map();

  /**
   * @param {ParlanceClient} client
   * @param {string} user whose messages these are
   */
  constructor(client, user) {
    this.#client = client;
    this.#user = user;
  }

  /** Sends what this tab had not sent before a reload; removes what somebody else left. */
  restore() {
    for (const { conversation, id, body, replyTo } of load(this.#user)) {
      this.#client.send(conversation, body, { replyTo, id });
    }
  }

  /**
   * Call it whenever a conversation changed.
   *
   * @param {Conversation} conversation
   */
  note(conversation) {
    let changed = false;
    for (const [id, entry] of this.#entries) {
      if (entry.conversation === conversation.id && !conversation.pending.has(id)) {
        changed = this.#entries.delete(id) || changed;
      }
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

/**
 * @param {string} user
 * @returns {Unsent[]}
 */
function load(user) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
    if (kept?.user === user) return kept.entries;
    sessionStorage.removeItem(KEY);
    return [];
  } catch {
    return [];
  }
}

/**
 * @param {string} user
 * @param {Unsent[]} entries
 */
function save(user, entries) {
  try {
    if (entries.length === 0) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, JSON.stringify({ user, entries }));
  } catch {
    // Storage is forbidden or full: then a reload loses them, as it does in any page.
  }
}
