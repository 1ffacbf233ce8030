/**
 * The person's conversations, newest activity first, as data: a thousand at most.
 *
 * Owned by the store; the sidebar draws it. REST gives it once after each `hello`. Then `notice`
 * frames keep it true, and for the open one its own state. A response does not set back what was
 * noticed after its question: notices are counted, and each has the conversation's `rev`.
 *
 * @import { Conversation } from '../../client/conversation.js'
 * @import { Message, NoticeFrame, NoticeMessage, WireMessage } from '../../client/types.js'
 */

const HELD_MAX = 1_000;

/**
 * A conversation as REST lists it.
 *
 * @typedef {object} ListedConversation
 * @property {string} id
 * @property {string} title
 * @property {number} rev
 * @property {string | null} [role] the person's own
 * @property {number} last_seq
 * @property {number} unread
 * @property {number} [member_count]
 * @property {Message | WireMessage | NoticeMessage | null} last_message
 * @property {string | null} last_message_at
 * @property {string} [created_at]
 */

/**
 * @typedef {ListedConversation & { activity: number, turn: number }} ListItem `activity` is in Unix
 *   milliseconds; `turn` counts notices
 */

export class ConversationList {
  /** @type {Map<string, ListItem>} */
  #items = new Map();
  /** @type {Map<string, number>} id of what is gone → turn */
  #gone = new Map();
  /** Counts notices. */
  turn = 0;
  loaded = false;

  /** @param {string} id */
  get(id) {
    return this.#items.get(id);
  }

  get size() {
    return this.#items.size;
  }

  /**
   * What the server listed. What was noticed after it was asked stays.
   *
   * @param {ListedConversation[]} items
   * @param {number} [since] the turn at which it was asked
   */
  replace(items, since = this.turn) {
    const before = this.#items;
    const noticed = [...before.values()].filter(({ turn }) => turn > since);
    this.#items = new Map(noticed.map((item) => [item.id, item]));
    for (const item of items) {
      if ((this.#gone.get(item.id) ?? 0) <= since) this.put(item);
    }
    this.#gone.clear();
    this.loaded = true;
    this.#bound();
  }

  /** @param {ListedConversation} item */
  put(item) {
    const before = this.#items.get(item.id);
    const at = item.last_message_at ?? item.created_at ?? '';
    const listed = { ...item, activity: Date.parse(at) || 0, turn: before?.turn ?? 0 };
    this.#items.set(item.id, before && before.rev >= item.rev ? { ...listed, ...before } : listed);
  }

  /** @param {string} id */
  remove(id) {
    this.#gone.set(id, this.turn);
    return this.#items.delete(id);
  }

  /**
   * @param {NoticeFrame} frame
   * @param {number} now in Unix milliseconds
   */
  notice(frame, now) {
    const { conversation: id, removed = false, rev } = frame;
    this.turn += 1;
    const before = this.#items.get(id);
    if (removed) return void this.remove(id);
    // From two nodes they may come in another order.
    if (before && before.rev > rev) return;
    const at = frame.last_message_at;
    this.#gone.delete(id);
    this.#items.set(id, {
      ...before,
      id,
      rev,
      title: frame.title,
      last_seq: frame.last_seq,
      unread: frame.unread,
      last_message: frame.last_message,
      last_message_at: at,
      activity: at ? Date.parse(at) : (before?.activity ?? now),
      turn: this.turn,
    });
    this.#bound();
  }

  /**
   * The open conversation knows better than the list.
   *
   * @param {Conversation} conversation
   */
  follow(conversation) {
    const item = this.#items.get(conversation.id);
    const { rev, phase } = conversation;
    if (!item || rev === null || rev < item.rev || phase === 'snapshot') return;
    const last = conversation.messages.at(-1) ?? null;
    this.#items.set(conversation.id, {
      ...item,
      rev,
      title: conversation.title,
      last_seq: conversation.lastSeq,
      unread: conversation.unread,
      member_count: conversation.memberCount,
      role: conversation.role ?? item.role,
      last_message: last,
      last_message_at: last?.created_at ?? item.last_message_at,
      activity: Math.max(item.activity, Date.parse(last?.created_at ?? '') || 0),
    });
  }

  #bound() {
    if (this.#items.size <= HELD_MAX) return;
    for (const { id } of this.sorted().slice(HELD_MAX)) this.#items.delete(id);
  }

  /** How many messages are unread in all conversations. */
  get unread() {
    let sum = 0;
    for (const item of this.#items.values()) sum += item.unread;
    return sum;
  }

  sorted() {
    return [...this.#items.values()].sort((a, b) => b.activity - a.activity || (a.id < b.id ? 1 : -1));
  }
}
