/**
 * One conversation as this client knows it: a pure merge of frames, without sockets, clocks or
 * randomness.
 *
 * Owned by `ParlanceClient`; views read it. It holds every message loaded until `trim` is called.
 *
 * The server promises that live frames arrive in `rev` order without holes, and that a replay
 * brings each thing once, with the `rev` of its last change. It promises nothing about how REST
 * pages interleave with them. So everything is an upsert guarded by the thing's own `rev`. `rev`,
 * the highest revision applied, moves as far as it is safe in each phase:
 *
 * - `idle`: not subscribed. It never moves.
 * - `snapshot`: subscribe without `after`. At `subscribed`, because the frames come in `seq` order.
 * - `replay`: subscribe with `after`, on a new connection. With each frame, so that a broken replay
 *   goes on where it was.
 * - `repair`: subscribe with `after` because of a hole. At `subscribed`, because late live frames
 *   may be mixed in.
 * - `live`: after `subscribed`. By exactly one; a hole is reported as `gap`.
 *
 * Messages held are a gapless run from `floor` to the newest. Older ones are loaded when someone
 * looks for them. Message and member objects are never changed in place: another object means
 * another state, so a view can compare by identity.
 *
 * @import {
 *   AckFrame, ConversationFrame, DurableFrame, HistoryPage, Member, MemberAction, MemberFrame,
 *   Message, MessageFrame, NoticeFrame, PendingMessage, PresenceFrame, Role, SubscribedFrame,
 *   WireMessage,
 * } from './types.js'
 */
export class Conversation {
  /** @type {'idle' | 'snapshot' | 'replay' | 'repair' | 'live'} */
  phase;
  /** @type {string} */
  title;
  /** @type {number | null} highest revision applied; null before the first `subscribed` */
  rev;
  /** @type {number} */
  lastSeq;
  /** @type {number} */
  readSeq;
  /** @type {number} */
  memberCount;
  /** @type {Role | null} the user's own; null until it is known */
  role;
  /** @type {Set<MemberAction>} what the user may do besides reading, posting and reacting */
  may;
  /** @type {Map<string, Member>} */
  members;
  /** @type {boolean} false if too large for member lists, presence, typing and read markers */
  membersListed;
  /** @type {Message[]} in the order of `seq` */
  messages;
  /** @type {Map<string, Message>} */
  byId;
  /**
   * @type {number | null} the lowest `seq` held without a hole up to the newest; null before the
   *   first snapshot
   */
  floor;
  /**
   * @type {number} latest change of a message below `floor`: an earlier page of history would bring
   *   the old state
   */
  skippedRev;
  /** @type {Map<string, number>} user id → the `seq` up to which they have read */
  readers;
  /** @type {Set<string>} ids of the users who are typing */
  typing;
  /** @type {string | null} */
  deletedAt;
  /** @type {boolean} whether the user is no longer a member */
  removed;
  /** @type {symbol | undefined} stands for the client's latest subscription */
  subscription;

  /**
   * @param {string} id
   * @param {string | null} self the id of the user whose view this is; null until it is known
   */
  constructor(id, self) {
    this.id = id;
    this.self = self;
    /**
     * @type {Map<string, PendingMessage>} own messages not yet seen in the conversation, by id, in
     *   the order sent
     */
    this.pending = new Map();
    this.reset();
  }

  /**
   * Drops everything but the unsent: for `conflict` on subscribe, when the server knows less than
   * this client.
   */
  reset() {
    this.phase = 'idle';
    this.title = '';
    this.rev = null;
    this.lastSeq = 0;
    this.readSeq = 0;
    this.memberCount = 0;
    this.role = null;
    this.may = new Set();
    this.members = new Map();
    this.membersListed = true;
    this.messages = [];
    this.byId = new Map();
    this.floor = null;
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

  /**
   * Begins a subscription.
   *
   * @param {{ sameConnection?: boolean }} options whether frames of an earlier subscription may
   *   still be under way
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
   * @param {ConversationFrame} frame
   * @returns {'applied' | 'ignored' | 'gap'} `gap`: a live frame is missing; subscribe again with
   *   `after`
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

  /**
   * How far the user has read, elsewhere. It only moves forward, so what is old does no harm.
   *
   * @param {NoticeFrame} notice
   */
  noticed({ last_seq: lastSeq, unread }) {
    this.readSeq = Math.max(this.readSeq, lastSeq - unread);
  }

  /**
   * @param {DurableFrame} frame
   * @returns {'applied' | 'ignored' | 'gap'}
   */
  #durable(frame) {
    const rev = this.rev ?? 0;
    if (this.phase === 'live') {
      if (frame.rev <= rev) return 'ignored';
      if (frame.rev > rev + 1) return 'gap';
      this.rev = frame.rev;
    } else if (this.phase === 'replay' && frame.rev > rev) {
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

  /**
   * @param {SubscribedFrame} frame
   * @returns {'applied'}
   */
  #subscribed(frame) {
    this.phase = 'live';
    this.rev = frame.rev;
    this.title = frame.title;
    this.lastSeq = Math.max(this.lastSeq, frame.last_seq);
    this.readSeq = Math.max(this.readSeq, frame.read_seq);
    this.memberCount = frame.member_count;
    this.role = frame.role;
    this.may = new Set(frame.may);
    this.membersListed = Array.isArray(frame.members);
    this.members = new Map((frame.members ?? []).map((member) => [member.id, member]));
    this.removed = false;
    if (this.floor === null) this.#findFloor(frame.last_seq);
    this.#dropAcknowledged();
    return 'applied';
  }

  /**
   * Frames of an earlier, canceled snapshot may be mixed in: what does not join the newest run is
   * dropped.
   *
   * @param {number} lastSeq
   */
  #findFloor(lastSeq) {
    let idx = this.messages.length - 1;
    while (idx > 0 && this.messages[idx - 1].seq === this.messages[idx].seq - 1) idx -= 1;
    for (const message of this.messages.splice(0, Math.max(0, idx))) this.byId.delete(message.id);
    this.floor = this.messages[0]?.seq ?? lastSeq + 1;
  }

  /** @param {MessageFrame} frame */
  #upsert(frame) {
    const known = this.byId.get(frame.id);
    if (known && known.rev >= frame.rev) return;
    // A change of a message older than what is held: it will come with its page of history, already
    // changed.
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

  /** @param {WireMessage} frame */
  #store(frame) {
    /** @type {Message} */
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
      mine: ownReactions(frame, this.byId.get(frame.id), this.self),
    });
    const idx = lowerBound(this.messages, message.seq);
    if (this.messages[idx]?.seq === message.seq) this.messages[idx] = message;
    else this.messages.splice(idx, 0, message);
    this.byId.set(message.id, message);
    this.pending.delete(message.id);
  }

  /** @param {MemberFrame} frame */
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

  /**
   * @param {string} user
   * @param {number} seq
   * @returns {'applied'}
   */
  #read(user, seq) {
    if (user === this.self) this.readSeq = Math.max(this.readSeq, seq);
    else if ((this.readers.get(user) ?? 0) < seq) this.readers.set(user, seq);
    return 'applied';
  }

  /**
   * @param {PresenceFrame} frame
   * @returns {'applied' | 'ignored'}
   */
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
   * @param {HistoryPage} page
   * @returns {boolean} false when the page no longer joins what is held, or is older than a change
   *   that was skipped because its message was not held: it has to be loaded again
   */
  mergeHistory({ items, rev }) {
    if (this.floor === null || rev < this.skippedRev) return false;
    if (items.length === 0) {
      this.floor = 1;
      return true;
    }
    if (items[items.length - 1].seq < this.floor - 1) return false;
    for (const item of items) {
      const known = this.byId.get(item.id);
      if (!known || known.rev < item.rev) this.#store(item);
    }
    this.floor = Math.min(this.floor, items[0].seq);
    return true;
  }

  /**
   * Drops all but the newest messages, so that a page left open for weeks does not grow for ever.
   *
   * @param {number} keep how many stay
   */
  trim(keep) {
    if (this.messages.length <= keep) return;
    for (const message of this.messages.splice(0, this.messages.length - keep)) this.byId.delete(message.id);
    this.floor = this.messages[0].seq;
  }

  /**
   * Shows an own message before the server has it.
   *
   * @param {{ id: string, body: string, reply_to?: string | null, created_at: string }} message
   */
  addPending({ id, body, reply_to: replyTo = null, created_at: createdAt }) {
    if (this.byId.has(id)) return;
    this.pending.set(
      id,
      Object.freeze({ id, body, reply_to: replyTo, created_at: createdAt, status: 'pending', error: null }),
    );
  }

  /**
   * Changes the state of an own message that is under way.
   *
   * @param {string} id
   * @param {Partial<PendingMessage>} changes
   */
  markPending(id, changes) {
    const entry = this.pending.get(id);
    if (entry) this.pending.set(id, Object.freeze({ ...entry, ...changes }));
  }

  /**
   * The server has the message; its `message` frame may come before or after.
   *
   * @param {Omit<AckFrame, 'type'>} ack
   */
  acknowledge(ack) {
    this.markPending(ack.id, { status: 'acked', seq: ack.seq, rev: ack.rev, created_at: ack.created_at });
    this.#dropAcknowledged();
  }

  /**
   * An acknowledged message that lies in what was already applied but is not held is older than
   * `floor`.
   */
  #dropAcknowledged() {
    if (this.phase !== 'live') return;
    for (const { id, status, rev = Infinity } of this.pending.values()) {
      if (status === 'acked' && rev <= (this.rev ?? 0) && !this.byId.has(id)) this.pending.delete(id);
    }
  }
}

/**
 * The first index whose `seq` is at least the given one. Messages mostly arrive at the end, so that
 * is looked at first.
 *
 * @param {Message[]} messages
 * @param {number} seq
 */
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

/**
 * The emojis with which the user has reacted. What is pushed to everybody does not say it. It lists
 * the first users of a reaction, and says who changed what just now; the rest is as it was.
 *
 * @param {WireMessage} frame
 * @param {Message | undefined} before
 * @param {string | null} self
 * @returns {string[]}
 */
function ownReactions(frame, before, self) {
  if (frame.mine) return frame.mine;
  return (frame.reactions ?? [])
    .filter(({ emoji, count, users }) => {
      if (users.includes(self ?? '')) return true;
      if (users.length >= count) return false;
      if (frame.by === self && frame.emoji === emoji) return frame.on === true;
      return before?.mine.includes(emoji) ?? false;
    })
    .map(({ emoji }) => emoji);
}
