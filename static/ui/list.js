/**
 * The person's conversations, newest activity first, as data: pure but for what is given in.
 *
 * The list comes from REST; `notice` frames keep counts live for conversations that are not open, and the open one's own
 * state for that one. A notice carries no text, so whoever owns the list loads it again, not too often, for the previews.
 */
export class ConversationList {
  #items = new Map();
  loaded = false;

  get(id) {
    return this.#items.get(id);
  }

  get size() {
    return this.#items.size;
  }

  /** What the server says now; an activity that was noticed meanwhile is not set back. */
  replace(items) {
    const before = this.#items;
    this.#items = new Map();
    for (const item of items) this.put(item, before.get(item.id));
    this.loaded = true;
  }

  put(item, before = this.#items.get(item.id)) {
    const activity = Date.parse(item.last_message_at ?? item.created_at ?? '') || before?.activity || 0;
    const newer = before && before.last_seq > item.last_seq;
    this.#items.set(item.id, {
      ...item,
      ...(newer
        ? {
            last_seq: before.last_seq,
            unread: before.unread,
            last_message: before.last_message,
            last_message_at: before.last_message_at,
          }
        : {}),
      activity: Math.max(activity, before?.activity ?? 0),
    });
  }

  remove(id) {
    return this.#items.delete(id);
  }

  /** @returns {boolean} whether the previews are out of date */
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

  /** The open conversation knows better than the list. */
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

  get unread() {
    let sum = 0;
    for (const item of this.#items.values()) sum += item.unread;
    return sum;
  }

  sorted() {
    return [...this.#items.values()].sort((a, b) => b.activity - a.activity || (a.id < b.id ? 1 : -1));
  }
}
