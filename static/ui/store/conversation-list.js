/**
 * The person's conversations, newest activity first, as data: pure but for what is given in.
 *
 * Owned by the store; the sidebar draws it. It holds what the server lists, at most a thousand.
 *
 * The list comes from REST. `notice` frames keep the counts live for conversations that are not
 * open, and the open one's own state does for that one. A notice carries no text, so its owner
 * loads the list again, not too often, for the previews.
 *
 * @import { Conversation } from '../../client/conversation.js'
 * @import { Message, NoticeFrame, WireMessage } from '../../client/types.js'
 */

/**
 * A conversation as REST lists it.
 *
 * @typedef {object} ListedConversation
 * @property {string} id
 * @property {string} title
 * @property {string | null} [role] the person's own
 * @property {number} last_seq
 * @property {number} unread
 * @property {number} [member_count]
 * @property {Message | WireMessage | null} last_message
 * @property {string | null} last_message_at
 * @property {string} [created_at]
 */

/**
 * @typedef {ListedConversation & { activity: number }} ListItem `activity` is in Unix milliseconds
 */

export class ConversationList {
  /** @type {Map<string, ListItem>} */
  #items = new Map();
  loaded = false;

  /** @param {string} id */
  get(id) {
    return this.#items.get(id);
  }

  get size() {
    return this.#items.size;
  }

  /**
   * What the server says now. An activity that was noticed meanwhile is not set back.
   *
   * @param {ListedConversation[]} items
   */
  replace(items) {
    const before = this.#items;
    this.#items = new Map();
    for (const item of items) this.put(item, before.get(item.id));
    this.loaded = true;
  }

  /**
   * @param {ListedConversation} item
   * @param {ListItem} [before] what was known of it
   */
  put(item, before = this.#items.get(item.id)) {
    const activity = Date.parse(item.last_message_at ?? item.created_at ?? '') || before?.activity || 0;
    const newer = before && before.last_seq > item.last_seq ? before : item;
    this.#items.set(item.id, {
      ...item,
      last_seq: newer.last_seq,
      unread: newer.unread,
      last_message: newer.last_message,
      last_message_at: newer.last_message_at,
      activity: Math.max(activity, before?.activity ?? 0),
    });
  }

  /** @param {string} id */
  remove(id) {
    return this.#items.delete(id);
  }

  /**
   * @param {NoticeFrame} frame
   * @param {number} now in Unix milliseconds
   * @returns {boolean} whether the previews are out of date
   */
  notice({ conversation, last_seq: lastSeq, unread }, now) {
    const item = this.#items.get(conversation);
    if (!item) return true;
    const posted = lastSeq > item.last_seq;
    this.#items.set(conversation, {
      ...item,
      unread,
      last_seq: Math.max(lastSeq, item.last_seq),
      activity: posted ? now : item.activity,
    });
    return posted;
  }

  /**
   * The open conversation knows better than the list.
   *
   * @param {Conversation} conversation
   */
  follow(conversation) {
    const item = this.#items.get(conversation.id);
    if (!item || conversation.rev === null || conversation.phase === 'snapshot') return;
    const last = conversation.messages.at(-1) ?? null;
    this.#items.set(conversation.id, {
      ...item,
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
