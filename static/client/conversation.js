/**
 * One conversation as this client knows it: a pure merge of frames, without sockets, clocks or randomness.
 *
 * The server promises that live frames arrive in `rev` order without holes, that a replay brings each thing once with the
 * `rev` of its last change, and nothing about how REST pages interleave with them. So everything is an upsert guarded by
 * the thing's own `rev`, while `rev`, the highest revision applied, moves only where that promise makes it safe:
 *
 * | phase      | begun by                                   | `rev` moves                                            |
 * |------------|--------------------------------------------|--------------------------------------------------------|
 * | `idle`     | not subscribed                             | never                                                  |
 * | `snapshot` | subscribe without `after`                  | at `subscribed` (the frames come in `seq` order)       |
 * | `replay`   | subscribe with `after`, on a new connection| with each frame: a broken replay goes on where it was  |
 * | `repair`   | subscribe with `after` because of a hole   | at `subscribed` (late live frames may be mixed in)     |
 * | `live`     | `subscribed`                               | by exactly one; a hole is reported as `gap`            |
 *
 * Messages held are a gapless run from `floor` to the newest; what is older is fetched when someone looks for it. Message
 * and member objects are never changed in place: another object means another state, so a view can compare by identity.
 */
export class Conversation {
  /**
   * @param {string} id
   * @param {string} self the id of the user whose view this is
   */
  constructor(id, self) {
    this.id = id;
    this.self = self;
    /** Own messages not yet seen in the conversation, in the order sent: id → `{id, body, reply_to, created_at, status, error}`. */
    this.pending = new Map();
    this.reset();
  }

  /** Forgets everything but the unsent: for `conflict` on subscribe, when the server knows less than this client. */
  reset() {
    this.phase = 'idle';
    this.title = '';
    /** Highest revision applied; null before the first `subscribed`. */
    this.rev = null;
    this.lastSeq = 0;
    this.readSeq = 0;
    this.memberCount = 0;
    this.members = new Map();
    /** False in conversations too large for member lists, presence, typing and read markers. */
    this.membersListed = true;
    this.messages = [];
    this.byId = new Map();
    /** The lowest `seq` held without a hole up to the newest; null before the first snapshot. */
    this.floor = null;
    /** The latest change of a message below `floor`: a page of history read before it would bring the old state. */
    this.skippedRev = 0;
    this.readers = new Map();
    this.typing = new Set();
    this.deletedAt = null;
    this.removed = false;
  }

  /** Whether the beginning of the conversation is held. */
  get complete() {
    return this.floor !== null && this.floor <= 1;
  }

  /** How many messages the user has not read. */
  get unread() {
    return Math.max(0, this.lastSeq - this.readSeq);
  }

  /** The user's own role, or null when it is not known. */
  get role() {
    return this.members.get(this.self)?.role ?? null;
  }

  /**
   * Begins a subscription.
   *
   * @param {{ sameConnection?: boolean }} options whether frames of an earlier subscription may still be under way
   * @returns {number | undefined} the `after` of the subscribe frame
   */
  begin({ sameConnection = false } = {}) {
    this.typing.clear();
    if (this.rev === null) {
      this.phase = 'snapshot';
      return undefined;
    }
    this.phase = sameConnection ? 'repair' : 'replay';
    return this.rev;
  }

  /** The subscription is over or its connection is lost; what is held stays, to resume from. */
  end() {
    this.phase = 'idle';
    this.typing.clear();
  }

  /**
   * Applies one server frame of this conversation.
   *
   * @returns {'applied' | 'ignored' | 'gap'} `gap`: a live frame is missing; subscribe again with `after`
   */
  apply(frame) {
    if (this.phase === 'idle') return 'ignored';
    switch (frame.type) {
      case 'subscribed':
        return this.#subscribed(frame);
      case 'message':
      case 'updated':
      case 'member':
      case 'conversation':
        return this.#durable(frame);
      case 'read':
        return this.#read(frame.user, frame.seq);
      case 'typing':
        if (frame.on) this.typing.add(frame.user);
        else this.typing.delete(frame.user);
        return 'applied';
      case 'presence':
        return this.#presence(frame);
      default:
        return 'ignored';
    }
  }

  #durable(frame) {
    if (this.phase === 'live') {
      if (frame.rev <= this.rev) return 'ignored';
      if (frame.rev > this.rev + 1) return 'gap';
      this.rev = frame.rev;
    } else if (this.phase === 'replay' && frame.rev > this.rev) {
      this.rev = frame.rev;
    }
    switch (frame.type) {
      case 'member':
        this.#member(frame);
        break;
      case 'conversation':
        this.title = frame.title;
        this.deletedAt = frame.deleted_at ?? null;
        break;
      default:
        this.#upsert(frame);
    }
    return 'applied';
  }

  #subscribed(frame) {
    this.phase = 'live';
    this.rev = frame.rev;
    this.title = frame.title;
    this.lastSeq = Math.max(this.lastSeq, frame.last_seq);
    this.readSeq = Math.max(this.readSeq, frame.read_seq);
    this.memberCount = frame.member_count;
    this.membersListed = Array.isArray(frame.members);
    this.members = new Map((frame.members ?? []).map((member) => [member.id, member]));
    this.removed = false;
    if (this.floor === null) this.#settleFloor(frame.last_seq);
    this.#settle();
    return 'applied';
  }

  /** Frames of an earlier, given up snapshot may be mixed in: what does not join the newest run is let go of. */
  #settleFloor(lastSeq) {
    let idx = this.messages.length - 1;
    while (idx > 0 && this.messages[idx - 1].seq === this.messages[idx].seq - 1) idx -= 1;
    for (const message of this.messages.splice(0, Math.max(0, idx))) this.byId.delete(message.id);
    this.floor = this.messages[0]?.seq ?? lastSeq + 1;
  }

  #upsert(frame) {
    const known = this.byId.get(frame.id);
    if (known && known.rev >= frame.rev) return;
    // A change of a message older than what is held: it will come with its page of history, already changed.
    if (!known && this.floor !== null && frame.seq < this.floor) {
      this.skippedRev = Math.max(this.skippedRev, frame.rev);
      return;
    }
    this.#store(frame);
    if (frame.type !== 'message') return;
    this.lastSeq = Math.max(this.lastSeq, frame.seq);
    this.typing.delete(frame.author);
    this.#read(frame.author, frame.seq);
  }

  #store(frame) {
    const message = Object.freeze({
      id: frame.id,
      seq: frame.seq,
      rev: frame.rev,
      author: frame.author,
      kind: frame.kind,
      body: frame.body ?? null,
      reply_to: frame.reply_to ?? null,
      created_at: frame.created_at,
      edited_at: frame.edited_at ?? null,
      deleted_at: frame.deleted_at ?? null,
      reactions: frame.reactions ?? [],
    });
    const idx = lowerBound(this.messages, message.seq);
    if (this.messages[idx]?.seq === message.seq) this.messages[idx] = message;
    else this.messages.splice(idx, 0, message);
    this.byId.set(message.id, message);
    this.pending.delete(message.id);
  }

  #member({ user, change }) {
    const before = this.members.get(user.id);
    if (change === 'removed') {
      if (this.members.delete(user.id) || !this.membersListed) this.memberCount -= 1;
      this.typing.delete(user.id);
      if (user.id === this.self) this.removed = true;
      return;
    }
    if (user.id === this.self) this.removed = false;
    if (this.membersListed) this.members.set(user.id, { ...user, online: before?.online ?? user.id === this.self });
    if (!before && change === 'added') this.memberCount += 1;
  }

  #read(user, seq) {
    if (user === this.self) this.readSeq = Math.max(this.readSeq, seq);
    else if ((this.readers.get(user) ?? 0) < seq) this.readers.set(user, seq);
    return 'applied';
  }

  #presence({ user, online }) {
    const member = this.members.get(user);
    if (!member) return 'ignored';
    this.members.set(user, { ...member, online });
    if (!online) this.typing.delete(user);
    return 'applied';
  }

  /**
   * Merges a page of history, the messages just before `floor`.
   *
   * @param {{ items: object[], rev: number }} page message frames without `type`, ascending, and the revision they are of
   * @returns {boolean} false when the page no longer joins what is held, or is older than a change that was passed over
   *   because its message was not held: it has to be loaded again
   */
  mergeHistory({ items, rev }) {
    if (this.floor === null || rev < this.skippedRev) return false;
    if (items.length === 0) {
      this.floor = 1;
      return true;
    }
    if (items.at(-1).seq < this.floor - 1) return false;
    for (const item of items) {
      const known = this.byId.get(item.id);
      if (!known || known.rev < item.rev) this.#store(item);
    }
    this.floor = Math.min(this.floor, items[0].seq);
    return true;
  }

  /** Lets go of all but the newest `keep` messages, so that a page left open for weeks does not grow for ever. */
  trim(keep) {
    if (this.messages.length <= keep) return;
    for (const message of this.messages.splice(0, this.messages.length - keep)) this.byId.delete(message.id);
    this.floor = this.messages[0].seq;
  }

  /** Shows an own message before the server has it. */
  addPending({ id, body, reply_to: replyTo = null, created_at: createdAt }) {
    if (this.byId.has(id)) return;
    this.pending.set(
      id,
      Object.freeze({ id, body, reply_to: replyTo, created_at: createdAt, status: 'pending', error: null }),
    );
  }

  /** Changes the state of an own message that is under way: `pending`, `acked` or `failed`. */
  markPending(id, changes) {
    const entry = this.pending.get(id);
    if (entry) this.pending.set(id, Object.freeze({ ...entry, ...changes }));
  }

  /** The server has the message; its `message` frame may come before or after. */
  acknowledge(ack) {
    this.markPending(ack.id, { status: 'acked', seq: ack.seq, rev: ack.rev, created_at: ack.created_at });
    this.#settle();
  }

  /** An acknowledged message that lies in what was already applied but is not held is older than `floor`. */
  #settle() {
    if (this.phase !== 'live') return;
    for (const entry of this.pending.values()) {
      if (entry.status === 'acked' && entry.rev <= this.rev && !this.byId.has(entry.id)) this.pending.delete(entry.id);
    }
  }
}

/** The first index whose `seq` is at least `seq`; messages mostly arrive at the end, so that is looked at first. */
function lowerBound(messages, seq) {
  if (messages.length === 0 || messages[messages.length - 1].seq < seq) return messages.length;
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (messages[middle].seq < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
