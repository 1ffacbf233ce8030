/**
 * A chat server in memory that speaks the conversation part of the protocol (subscribe, replay, send, edit, delete, react,
 * read, typing, notices), for tests of the client without a network. It is written from the protocol, not from the
 * server, so it also says what the client believes; the tests in a browser hold that against the real one.
 *
 * `FakeServer.connect(user)` gives a `Line`: `receive(frame)` takes a client frame, `onframe` is called with each answer.
 */
import { randomUUID } from 'node:crypto';

const SNAPSHOT = 50;

export class FakeServer {
  conversations = new Map();
  users = new Map();
  lines = new Set();
  clock = Date.now;

  addUser(name, extra = {}) {
    const user = { id: randomUUID(), name, kind: 'person', tier: 'regular', ...extra };
    this.users.set(user.id, user);
    return user;
  }

  createConversation(title, owner) {
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

  setMember(conversation, user, role = 'member') {
    const known = conversation.members.get(user.id);
    if (known && !known.removed && known.role === role) return;
    const change = known && !known.removed ? 'changed' : 'added';
    const member = { user, role, rev: ++conversation.rev, removed: false };
    conversation.members.set(user.id, member);
    this.publish(conversation, memberFrame(conversation, member, change));
    this.notice(conversation, user.id);
  }

  removeMember(conversation, userId) {
    const member = conversation.members.get(userId);
    if (!member || member.removed) return;
    member.rev = ++conversation.rev;
    this.publish(conversation, memberFrame(conversation, member, 'removed'));
    member.removed = true;
    for (const line of this.lines) if (line.user.id === userId) line.subscriptions.delete(conversation.id);
  }

  rename(conversation, title) {
    conversation.title = title;
    conversation.propertiesRev = ++conversation.rev;
    this.publish(conversation, propertiesFrame(conversation));
  }

  deleteConversation(conversation) {
    conversation.deletedAt = this.now();
    this.rename(conversation, conversation.title);
    for (const line of this.lines) line.subscriptions.delete(conversation.id);
  }

  member(conversation, userId) {
    const member = conversation?.members.get(userId);
    return conversation && !conversation.deletedAt && member && !member.removed ? member : null;
  }

  post(conversation, author, { id = randomUUID(), body, reply_to = null }) {
    const digest = JSON.stringify([author.id, conversation.id, body, reply_to]);
    const earlier = conversation.sent.get(id);
    if (earlier) {
      if (earlier.digest !== digest) throw { code: 'conflict', message: 'The id stands for another message.' };
      return { ...earlier.ack, duplicate: true };
    }
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
    for (const userId of conversation.members.keys()) if (userId !== author.id) this.notice(conversation, userId);
    return ack;
  }

  change(conversation, id, changes) {
    const message = conversation.messages.get(id);
    if (!message) throw { code: 'not_found', message: 'There is no such message.' };
    if (message.deleted_at) {
      if (changes.deleted_at) return message.rev;
      throw { code: 'conflict', message: 'The message is deleted.' };
    }
    Object.assign(message, changes, { rev: ++conversation.rev });
    this.publish(conversation, messageFrame(message, 'updated'));
    return message.rev;
  }

  react(conversation, id, userId, emoji, on) {
    const message = conversation.messages.get(id);
    if (!message) throw { code: 'not_found', message: 'There is no such message.' };
    const users = new Set(message.reactions.find((reaction) => reaction.emoji === emoji)?.users ?? []);
    if (users.has(userId) === on) return message.rev;
    if (on) users.add(userId);
    else users.delete(userId);
    const others = message.reactions.filter((reaction) => reaction.emoji !== emoji);
    const reactions = users.size ? [...others, { emoji, count: users.size, users: [...users] }] : others;
    return this.change(conversation, id, { reactions });
  }

  read(conversation, userId, seq) {
    const moved = Math.min(seq, conversation.lastSeq);
    if (moved <= (conversation.reads.get(userId) ?? 0)) return;
    conversation.reads.set(userId, moved);
    this.publish(conversation, { type: 'read', conversation: conversation.id, user: userId, seq: moved });
    this.notice(conversation, userId);
  }

  unread(conversation, userId) {
    const read = conversation.reads.get(userId) ?? 0;
    return [...conversation.messages.values()].filter((message) => message.seq > read && message.author !== userId)
      .length;
  }

  publish(conversation, frame, exceptUser = null) {
    for (const line of [...this.lines]) {
      if (line.subscriptions.has(conversation.id) && line.user.id !== exceptUser) line.push(frame);
    }
  }

  notice(conversation, userId) {
    const unread = this.unread(conversation, userId);
    for (const line of this.lines) {
      if (line.user.id !== userId || line.subscriptions.has(conversation.id)) continue;
      line.push({ type: 'notice', conversation: conversation.id, last_seq: conversation.lastSeq, unread });
    }
  }

  online(userId) {
    return [...this.lines].some((line) => line.user.id === userId);
  }

  presence(userId, online) {
    for (const conversation of this.conversations.values()) {
      if (!this.member(conversation, userId)) continue;
      this.publish(conversation, { type: 'presence', conversation: conversation.id, user: userId, online }, userId);
    }
  }

  connect(user, onframe) {
    const line = new Line(this, user, onframe);
    if (!this.online(user.id)) this.presence(user.id, true);
    this.lines.add(line);
    line.push({
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
    return line;
  }

  /** What everyone should end up seeing. */
  truth(conversation) {
    return [...conversation.messages.values()].map(({ postedRev, conversation: _, ...message }) => message);
  }
}

class Line {
  subscriptions = new Set();
  constructor(server, user, onframe) {
    this.server = server;
    this.user = user;
    this.onframe = onframe;
  }

  push(frame) {
    this.onframe(structuredClone(frame));
  }

  close() {
    if (!this.server.lines.delete(this)) return;
    if (!this.server.online(this.user.id)) this.server.presence(this.user.id, false);
  }

  receive(frame) {
    const { server, user } = this;
    const reply = (answer) => frame.ref !== undefined && this.push({ ...answer, ref: frame.ref });
    const conversation = server.conversations.get(frame.conversation);
    try {
      if (frame.type === 'ping') return reply({ type: 'pong', server_time: server.now() });
      if (frame.type === 'refresh')
        return reply({ type: 'ok', token_expires_at: new Date(server.clock() + 900_000).toISOString() });
      if (!server.member(conversation, user.id)) throw { code: 'not_found', message: 'There is no such conversation.' };
      if (frame.type === 'subscribe') return this.subscribe(conversation, frame);
      const rev = this.change(conversation, frame);
      if (frame.type === 'send') reply({ type: 'ack', ...rev });
      else reply({ type: 'ok', ...(rev === undefined ? {} : { rev }) });
    } catch (error) {
      if (!error.code) throw error;
      reply({ type: 'error', ...error });
    }
  }

  change(conversation, frame) {
    const { server, user } = this;
    switch (frame.type) {
      case 'unsubscribe':
        return void this.subscriptions.delete(conversation.id);
      case 'send':
        return server.post(conversation, user, frame);
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
        throw { code: 'bad_frame', message: 'The frame\u2019s type is not known.' };
    }
  }

  subscribe(conversation, { ref, after }) {
    if (after !== undefined && after > conversation.rev) throw { code: 'conflict', message: '`after` is ahead.' };
    this.subscriptions.add(conversation.id);
    for (const frame of replay(conversation, after)) this.push(frame);
    const members = [...conversation.members.values()].filter((member) => !member.removed);
    this.push({
      type: 'subscribed',
      ref,
      conversation: conversation.id,
      title: conversation.title,
      rev: conversation.rev,
      last_seq: conversation.lastSeq,
      read_seq: conversation.reads.get(this.user.id) ?? 0,
      member_count: members.length,
      members: members.map(({ user, role }) => ({
        id: user.id,
        name: user.name,
        kind: user.kind,
        role,
        online: this.server.online(user.id),
      })),
      complete: after !== undefined || conversation.messages.size <= SNAPSHOT,
    });
  }
}

/** The frames before `subscribed`: the newest messages, or the net effect of everything after a revision. */
export function replay(conversation, after) {
  const messages = [...conversation.messages.values()];
  if (after === undefined) return messages.slice(-SNAPSHOT).map((message) => messageFrame(message, 'message'));
  const frames = messages
    .filter((message) => message.rev > after)
    .map((message) => messageFrame(message, message.postedRev > after ? 'message' : 'updated'));
  for (const member of conversation.members.values()) {
    if (member.rev > after) frames.push(memberFrame(conversation, member, member.removed ? 'removed' : 'added'));
  }
  if (conversation.propertiesRev > after) frames.push(propertiesFrame(conversation));
  return frames.sort((a, b) => a.rev - b.rev);
}

export function messageFrame({ postedRev, ...message }, type) {
  const frame = { type, ...message };
  if (type === 'message') {
    for (const field of ['edited_at', 'deleted_at']) if (frame[field] === null) delete frame[field];
    if (frame.reactions.length === 0) delete frame.reactions;
  }
  return frame;
}

function memberFrame(conversation, { user, role, rev }, change) {
  return {
    type: 'member',
    conversation: conversation.id,
    rev,
    user: { id: user.id, name: user.name, kind: user.kind, role },
    change,
  };
}

function propertiesFrame(conversation) {
  return {
    type: 'conversation',
    conversation: conversation.id,
    rev: conversation.propertiesRev,
    title: conversation.title,
    deleted_at: conversation.deletedAt,
  };
}
