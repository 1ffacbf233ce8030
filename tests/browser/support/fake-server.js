/**
 * A chat server in memory that speaks the conversation part of the protocol (subscribe, replay,
 * send, edit, delete, react, read, typing, notices), for tests of the client without a network. It
 * is written from the protocol, not from the server, so it also says what the client believes; the
 * tests in a browser hold that against the real one.
 *
 * `FakeServer.connect(user)` gives a `FakeConnection`: `receive(frame)` takes a client frame,
 * `onframe` is called with each frame of the server.
 *
 * @import {
 *   AckFrame, MemberFrame, MessageFrame, PropertiesFrame, Reaction, Role, User, WireMessage,
 * } from '../../../static/client/types.js'
 */
import { randomUUID } from 'node:crypto';

const SNAPSHOT = 50;
const MODERATOR = ['invite', 'rename', 'add_members', 'remove_members', 'moderate'];
/** @type {Record<Role, string[]>} */
const MAY = { member: [], moderator: MODERATOR, owner: [...MODERATOR, 'change_roles', 'delete'] };

/** @typedef {Omit<AckFrame, 'type'>} Ack */
/** @typedef {{ user: User, role: Role, rev: number, removed: boolean }} FakeMember */
/**
 * What is of a reader, or of one change only, is not kept.
 *
 * @typedef {Omit<WireMessage, 'mine' | 'by' | 'emoji' | 'on'>} Kept
 */
/** @typedef {Required<Kept> & { postedRev: number }} FakeMessage */

/**
 * @typedef {object} FakeConversation
 * @property {string} id
 * @property {string} title
 * @property {number} rev
 * @property {number} lastSeq
 * @property {number} propertiesRev
 * @property {string | null} deletedAt
 * @property {string | null} lastMessageAt
 * @property {Map<string, FakeMember>} members by user id
 * @property {Map<string, FakeMessage>} messages by id, in the order of `seq`
 * @property {Map<string, number>} reads user id → `seq`
 * @property {Map<string, { digest: string, ack: Ack }>} sent by message id
 */

/** What the server refuses. */
class Refused extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class FakeServer {
  /** @type {Map<string, FakeConversation>} */
  conversations = new Map();
  /** @type {Map<string, User>} */
  users = new Map();
  /** @type {Set<FakeConnection>} */
  connections = new Set();
  clock = Date.now;

  /**
   * @param {string} name
   * @param {Partial<User>} [extra]
   */
  addUser(name, extra = {}) {
    /** @type {User} */
    const user = { id: randomUUID(), name, kind: 'person', tier: 'regular', ...extra };
    this.users.set(user.id, user);
    return user;
  }

  /**
   * @param {string} title
   * @param {User} owner
   */
  createConversation(title, owner) {
    /** @type {FakeConversation} */
    const conversation = {
      id: randomUUID(),
      title,
      rev: 0,
      lastSeq: 0,
      propertiesRev: 0,
      deletedAt: null,
      lastMessageAt: null,
      members: new Map(),
      messages: new Map(),
      reads: new Map(),
      sent: new Map(),
    };
    this.conversations.set(conversation.id, conversation);
    this.setMember(conversation, owner, 'owner');
    return conversation;
  }

  now() {
    return new Date(this.clock()).toISOString();
  }

  /**
   * @param {FakeConversation} conversation
   * @param {User} user
   * @param {Role} [role]
   */
  setMember(conversation, user, role = 'member') {
    const known = conversation.members.get(user.id);
    if (known && !known.removed && known.role === role) return;
    const change = known && !known.removed ? 'changed' : 'added';
    const member = { user, role, rev: ++conversation.rev, removed: false };
    conversation.members.set(user.id, member);
    this.publish(conversation, memberFrame(conversation, member, change));
    this.notice(conversation, user.id);
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} userId
   */
  removeMember(conversation, userId) {
    const member = conversation.members.get(userId);
    if (!member || member.removed) return;
    member.rev = ++conversation.rev;
    this.publish(conversation, memberFrame(conversation, member, 'removed'));
    this.notice(conversation, userId, { removed: true });
    member.removed = true;
    for (const connection of this.connections)
      if (connection.user.id === userId) connection.subscriptions.delete(conversation.id);
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} title
   */
  rename(conversation, title) {
    conversation.title = title;
    conversation.propertiesRev = ++conversation.rev;
    this.publish(conversation, propertiesFrame(conversation));
    this.noticeAll(conversation, conversation.deletedAt ? { removed: true } : {});
  }

  /** @param {FakeConversation} conversation */
  deleteConversation(conversation) {
    conversation.deletedAt = this.now();
    this.rename(conversation, conversation.title);
    for (const connection of this.connections) connection.subscriptions.delete(conversation.id);
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} userId
   */
  isMember(conversation, userId) {
    const member = conversation.members.get(userId);
    return !conversation.deletedAt && member !== undefined && !member.removed;
  }

  /**
   * @param {FakeConversation} conversation
   * @param {User} author
   * @param {{ id?: string, body: string, reply_to?: string | null }} message
   * @returns {Ack}
   */
  post(conversation, author, { id = randomUUID(), body, reply_to = null }) {
    const digest = JSON.stringify([author.id, conversation.id, body, reply_to]);
    const earlier = conversation.sent.get(id);
    if (earlier) {
      if (earlier.digest !== digest) throw new Refused('conflict', 'The id stands for another message.');
      return { ...earlier.ack, duplicate: true };
    }
    /** @type {FakeMessage} */
    const message = {
      conversation: conversation.id,
      rev: ++conversation.rev,
      seq: ++conversation.lastSeq,
      id,
      author: author.id,
      kind: author.kind,
      body,
      reply_to,
      created_at: this.now(),
      edited_at: null,
      deleted_at: null,
      reactions: [],
      postedRev: conversation.rev,
    };
    conversation.messages.set(id, message);
    conversation.lastMessageAt = message.created_at;
    conversation.reads.set(author.id, message.seq);
    const ack = {
      conversation: conversation.id,
      id,
      seq: message.seq,
      rev: message.rev,
      created_at: message.created_at,
    };
    conversation.sent.set(id, { digest, ack });
    this.publish(conversation, messageFrame(message, 'message'));
    this.noticeAll(conversation);
    return ack;
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} id
   * @param {Partial<FakeMessage>} changes
   * @returns {number} the revision
   */
  change(conversation, id, changes) {
    const message = conversation.messages.get(id);
    if (!message) throw new Refused('not_found', 'There is no such message.');
    if (message.deleted_at) {
      if (changes.deleted_at) return message.rev;
      throw new Refused('conflict', 'The message is deleted.');
    }
    Object.assign(message, changes, { rev: ++conversation.rev });
    this.publish(conversation, messageFrame(message, 'updated'));
    if (message.seq === conversation.lastSeq) this.noticeAll(conversation);
    return message.rev;
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} id
   * @param {string} userId
   * @param {string} emoji
   * @param {boolean} on
   * @returns {number} the revision
   */
  react(conversation, id, userId, emoji, on) {
    const message = conversation.messages.get(id);
    if (!message) throw new Refused('not_found', 'There is no such message.');
    const users = new Set(message.reactions.find((reaction) => reaction.emoji === emoji)?.users ?? []);
    if (users.has(userId) === on) return message.rev;
    if (on) users.add(userId);
    else users.delete(userId);
    const others = message.reactions.filter((reaction) => reaction.emoji !== emoji);
    /** @type {Reaction[]} */
    const reactions = users.size ? [...others, { emoji, count: users.size, users: [...users] }] : others;
    return this.change(conversation, id, { reactions });
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} userId
   * @param {number} seq
   */
  read(conversation, userId, seq) {
    const moved = Math.min(seq, conversation.lastSeq);
    if (moved <= (conversation.reads.get(userId) ?? 0)) return;
    conversation.reads.set(userId, moved);
    this.publish(conversation, { type: 'read', conversation: conversation.id, user: userId, seq: moved });
    this.notice(conversation, userId);
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} userId
   */
  unread(conversation, userId) {
    const read = conversation.reads.get(userId) ?? 0;
    return [...conversation.messages.values()].filter((message) => message.seq > read && message.author !== userId)
      .length;
  }

  /**
   * @param {FakeConversation} conversation
   * @param {object} frame
   * @param {string | null} [exceptUser]
   */
  publish(conversation, frame, exceptUser = null) {
    for (const connection of [...this.connections]) {
      if (connection.subscriptions.has(conversation.id) && connection.user.id !== exceptUser) connection.push(frame);
    }
  }

  /**
   * @param {FakeConversation} conversation
   * @param {{ removed?: true }} [extra]
   */
  noticeAll(conversation, extra = {}) {
    for (const [userId, { removed }] of conversation.members) if (!removed) this.notice(conversation, userId, extra);
  }

  /**
   * @param {FakeConversation} conversation
   * @param {string} userId
   * @param {{ removed?: true }} [extra]
   */
  notice(conversation, userId, extra = {}) {
    const unread = this.unread(conversation, userId);
    const { id, title, rev, lastSeq } = conversation;
    const last = [...conversation.messages.values()].find(({ seq }) => seq === lastSeq) ?? null;
    for (const connection of this.connections) {
      if (connection.user.id !== userId || connection.subscriptions.has(id)) continue;
      connection.push({
        type: 'notice',
        conversation: id,
        rev,
        title,
        last_seq: lastSeq,
        last_message: last && { ...last, author_name: this.users.get(last.author)?.name },
        last_message_at: last?.created_at ?? null,
        ...extra,
        unread,
      });
    }
  }

  /**
   * The list of conversations, as REST has it.
   *
   * @param {User} user
   */
  list(user) {
    const items = [...this.conversations.values()]
      .filter((conversation) => this.isMember(conversation, user.id))
      .map((conversation) => {
        const { id, title, rev, lastSeq } = conversation;
        const last = [...conversation.messages.values()].find(({ seq }) => seq === lastSeq) ?? null;
        const unread = this.unread(conversation, user.id);
        return {
          id,
          title,
          rev,
          last_seq: lastSeq,
          unread,
          last_message: last,
          last_message_at: last?.created_at ?? null,
          created_at: this.now(),
        };
      });
    return { items, next: null };
  }

  /** @param {string} userId */
  online(userId) {
    return [...this.connections].some((connection) => connection.user.id === userId);
  }

  /**
   * @param {string} userId
   * @param {boolean} online
   */
  presence(userId, online) {
    for (const conversation of this.conversations.values()) {
      if (!this.isMember(conversation, userId)) continue;
      this.publish(conversation, { type: 'presence', conversation: conversation.id, user: userId, online }, userId);
    }
  }

  /**
   * @param {User} user
   * @param {(frame: any) => void} onframe
   */
  connect(user, onframe) {
    const connection = new FakeConnection(this, user, onframe);
    if (!this.online(user.id)) this.presence(user.id, true);
    this.connections.add(connection);
    connection.push({
      type: 'hello',
      protocol: 1,
      connection: randomUUID(),
      node: randomUUID(),
      heartbeat_ms: 25_000,
      user,
      token_expires_at: new Date(this.clock() + 900_000).toISOString(),
      server_time: this.now(),
      limits: { frame_bytes: 65_536, body_bytes: 16_384, subscriptions: 200, window: 32 },
    });
    return connection;
  }

  /**
   * What everyone should end up seeing.
   *
   * @param {FakeConversation} conversation
   */
  truth(conversation) {
    return [...conversation.messages.values()].map(({ postedRev: _rev, conversation: _id, ...message }) => message);
  }
}

class FakeConnection {
  /** @type {Set<string>} ids of conversations */
  subscriptions = new Set();

  /**
   * @param {FakeServer} server
   * @param {User} user
   * @param {(frame: any) => void} onframe
   */
  constructor(server, user, onframe) {
    this.server = server;
    this.user = user;
    this.onframe = onframe;
  }

  /** @param {object} frame */
  push(frame) {
    this.onframe(structuredClone(frame));
  }

  close() {
    if (!this.server.connections.delete(this)) return;
    if (!this.server.online(this.user.id)) this.server.presence(this.user.id, false);
  }

  /** @param {any} frame of a client */
  receive(frame) {
    const { server, user } = this;
    /** @param {object} response */
    const reply = (response) => frame.ref !== undefined && this.push({ ...response, ref: frame.ref });
    const conversation = server.conversations.get(frame.conversation);
    try {
      if (frame.type === 'ping') return reply({ type: 'pong', server_time: server.now() });
      if (frame.type === 'refresh')
        return reply({ type: 'ok', token_expires_at: new Date(server.clock() + 900_000).toISOString() });
      if (!conversation || !server.isMember(conversation, user.id)) {
        throw new Refused('not_found', 'There is no such conversation.');
      }
      if (frame.type === 'subscribe') return this.subscribe(conversation, frame);
      if (frame.type === 'send') return reply({ type: 'ack', ...server.post(conversation, user, frame) });
      const rev = this.change(conversation, frame);
      reply({ type: 'ok', ...(rev === undefined ? {} : { rev }) });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      reply({ type: 'error', code: error.code, message: error.message });
    }
  }

  /**
   * @param {FakeConversation} conversation
   * @param {any} frame of a client
   * @returns {number | void} the revision, if it is known
   */
  change(conversation, frame) {
    const { server, user } = this;
    switch (frame.type) {
      case 'unsubscribe':
        return void this.subscriptions.delete(conversation.id);
      case 'edit':
        return server.change(conversation, frame.id, { body: frame.body, edited_at: server.now() });
      case 'delete':
        return server.change(conversation, frame.id, { body: null, reactions: [], deleted_at: server.now() });
      case 'react':
        return server.react(conversation, frame.id, user.id, frame.emoji, frame.on);
      case 'read':
        return server.read(conversation, user.id, frame.seq);
      case 'typing':
        return server.publish(
          conversation,
          { type: 'typing', conversation: conversation.id, user: user.id, on: frame.on },
          user.id,
        );
      default:
        throw new Refused('bad_frame', 'The frame\u2019s type is not known.');
    }
  }

  /**
   * @param {FakeConversation} conversation
   * @param {{ ref?: string, after?: number }} frame
   */
  subscribe(conversation, { ref, after }) {
    if (after !== undefined && after > conversation.rev) {
      throw new Refused('conflict', '`after` is ahead.');
    }
    this.subscriptions.add(conversation.id);
    for (const frame of replay(conversation, after)) this.push(frame);
    const members = [...conversation.members.values()].filter((member) => !member.removed);
    const role = conversation.members.get(this.user.id)?.role ?? 'member';
    this.push({
      type: 'subscribed',
      ref,
      conversation: conversation.id,
      title: conversation.title,
      rev: conversation.rev,
      last_seq: conversation.lastSeq,
      read_seq: conversation.reads.get(this.user.id) ?? 0,
      role,
      may: MAY[role],
      member_count: members.length,
      members: members.map((member) => ({
        id: member.user.id,
        name: member.user.name,
        kind: member.user.kind,
        role: member.role,
        online: this.server.online(member.user.id),
      })),
      complete: after !== undefined || conversation.messages.size <= SNAPSHOT,
    });
  }
}

/**
 * The frames before `subscribed`: the newest messages, or the net effect of everything after a
 * revision.
 *
 * @param {FakeConversation} conversation
 * @param {number} [after]
 * @returns {(MessageFrame | MemberFrame | PropertiesFrame)[]}
 */
export function replay(conversation, after) {
  const messages = [...conversation.messages.values()];
  if (after === undefined) return messages.slice(-SNAPSHOT).map((message) => messageFrame(message, 'message'));
  /** @type {(MessageFrame | MemberFrame | PropertiesFrame)[]} */
  const frames = messages
    .filter((message) => message.rev > after)
    .map((message) => messageFrame(message, message.postedRev > after ? 'message' : 'updated'));
  for (const member of conversation.members.values()) {
    if (member.rev > after) frames.push(memberFrame(conversation, member, member.removed ? 'removed' : 'added'));
  }
  if (conversation.propertiesRev > after) frames.push(propertiesFrame(conversation));
  return frames.sort((a, b) => a.rev - b.rev);
}

/**
 * @param {FakeMessage} message
 * @param {'message' | 'updated'} type
 * @returns {MessageFrame}
 */
export function messageFrame({ postedRev: _, ...message }, type) {
  /** @type {MessageFrame} */
  const frame = { type, ...message };
  if (type === 'message') {
    if (frame.edited_at === null) delete frame.edited_at;
    if (frame.deleted_at === null) delete frame.deleted_at;
    if (frame.reactions?.length === 0) delete frame.reactions;
  }
  return frame;
}

/**
 * @param {FakeConversation} conversation
 * @param {FakeMember} member
 * @param {MemberFrame['change']} change
 * @returns {MemberFrame}
 */
function memberFrame(conversation, { user, role, rev }, change) {
  return {
    type: 'member',
    conversation: conversation.id,
    rev,
    user: { id: user.id, name: user.name, kind: user.kind, role },
    change,
  };
}

/**
 * @param {FakeConversation} conversation
 * @returns {PropertiesFrame}
 */
function propertiesFrame(conversation) {
  return {
    type: 'conversation',
    conversation: conversation.id,
    rev: conversation.propertiesRev,
    title: conversation.title,
    deleted_at: conversation.deletedAt,
  };
}
