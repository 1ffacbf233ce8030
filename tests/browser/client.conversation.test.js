/**
 * The merge of frames into a conversation: tables for each rule, and random histories cut at random
 * places, after which every reader must see exactly what the server has.
 *
 * @import { HistoryPage, MessageFrame, SubscribedFrame } from '../../static/client/types.js'
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Conversation } from '../../static/client/conversation.js';
import { FakeServer, messageFrame } from './support/fake-server.js';
import { Random } from './support/random.js';

const SELF = 'self';

/**
 * @param {number} rev
 * @param {number} seq
 * @param {Partial<MessageFrame>} [extra]
 * @returns {MessageFrame}
 */
function message(rev, seq, extra = {}) {
  return {
    type: 'message',
    conversation: 'c',
    rev,
    seq,
    id: `m${seq}`,
    author: 'ann',
    kind: 'person',
    body: `text ${seq}`,
    reply_to: null,
    created_at: '2026-11-22T10:00:00.000Z',
    ...extra,
  };
}

/**
 * @param {number} rev
 * @param {number} lastSeq
 * @param {Partial<SubscribedFrame>} [extra]
 * @returns {SubscribedFrame}
 */
function subscribed(rev, lastSeq, extra = {}) {
  return {
    type: 'subscribed',
    conversation: 'c',
    title: 'Talk',
    rev,
    last_seq: lastSeq,
    read_seq: 0,
    role: 'member',
    may: [],
    member_count: 0,
    members: [],
    complete: true,
    ...extra,
  };
}

function live(rev = 2, lastSeq = 2) {
  const conversation = new Conversation('c', SELF);
  assert.equal(conversation.begin(), undefined);
  for (let seq = 1; seq <= lastSeq; seq += 1) conversation.apply(message(seq, seq));
  conversation.apply(subscribed(rev, lastSeq));
  return conversation;
}

test('reactions are known to be the own ones, also beyond those who are listed', () => {
  const conversation = live(1, 1);
  /** @param {string[]} users @param {number} count */
  const reactions = (users, count) => [{ emoji: 'x', count, users }];
  /** @param {Partial<MessageFrame>} extra */
  const mine = (extra) => {
    rev += 1;
    assert.equal(conversation.apply({ ...message(rev, 1, extra), type: 'updated' }), 'applied');
    return conversation.byId.get('m1')?.mine;
  };
  let rev = 1;
  assert.deepEqual(mine({}), []);
  assert.deepEqual(mine({ reactions: reactions([SELF], 1) }), ['x'], 'listed');
  assert.deepEqual(mine({ reactions: reactions(['ann'], 1) }), [], 'all are listed, and not the user');
  assert.deepEqual(mine({ reactions: reactions(['ann'], 2), by: SELF, emoji: 'x', on: true }), ['x'], 'just added');
  assert.deepEqual(mine({ reactions: reactions(['ann'], 3), by: 'bob', emoji: 'x', on: true }), ['x'], 'as before');
  assert.deepEqual(mine({ reactions: reactions(['ann'], 2), by: SELF, emoji: 'x', on: false }), [], 'just removed');
  assert.deepEqual(mine({ reactions: reactions(['ann'], 2), mine: ['x'] }), ['x'], 'as a page says');
});

test('a snapshot gives no revision before it is complete', () => {
  const conversation = new Conversation('c', SELF);
  conversation.begin();
  conversation.apply(message(7, 1));
  assert.equal(conversation.rev, null);
  conversation.end();
  assert.equal(conversation.begin(), undefined, 'a broken snapshot is asked for again from the start');
  conversation.apply(message(7, 1));
  conversation.apply(subscribed(9, 1));
  assert.equal(conversation.rev, 9);
  assert.equal(conversation.complete, true);
});

test('live frames follow each other by one; a hole is reported and not applied', () => {
  const conversation = live();
  assert.equal(conversation.apply(message(3, 3)), 'applied');
  assert.equal(conversation.apply(message(3, 3)), 'ignored');
  assert.equal(conversation.apply(message(5, 5)), 'gap');
  assert.equal(conversation.rev, 3);
  assert.deepEqual(
    conversation.messages.map(({ seq }) => seq),
    [1, 2, 3],
  );
});

test('a repair moves the revision only when it is complete, because late live frames are mixed in', () => {
  const conversation = live();
  assert.equal(conversation.begin({ sameConnection: true }), 2);
  conversation.apply(message(9, 5));
  assert.equal(conversation.rev, 2);
  conversation.apply(message(3, 3));
  conversation.apply(message(4, 4));
  conversation.apply(subscribed(9, 5));
  assert.equal(conversation.rev, 9);
  assert.deepEqual(
    conversation.messages.map(({ seq }) => seq),
    [1, 2, 3, 4, 5],
  );
});

test('a broken replay goes on where it was, and its changes of unknown newer messages are kept', () => {
  const conversation = live();
  conversation.end();
  assert.equal(conversation.begin(), 2);
  conversation.apply(message(4, 4));
  conversation.end();
  assert.equal(conversation.begin(), 4);
  conversation.apply(message(6, 3, { type: 'updated', body: 'edited', edited_at: '2026-11-22T10:01:00.000Z' }));
  conversation.apply(subscribed(6, 4));
  assert.deepEqual(
    conversation.messages.map(({ seq }) => seq),
    [1, 2, 3, 4],
  );
  assert.equal(conversation.messages[2].body, 'edited');
});

test('changes of messages older than what is held wait for their page of history', () => {
  const conversation = new Conversation('c', SELF);
  conversation.begin();
  for (let seq = 60; seq <= 62; seq += 1) conversation.apply(message(seq, seq));
  conversation.apply(subscribed(62, 62, { complete: false }));
  assert.equal(conversation.complete, false);
  assert.equal(conversation.apply(message(63, 5, { type: 'updated', body: 'changed' })), 'applied');
  assert.equal(conversation.messages.length, 3);
  assert.equal(
    conversation.mergeHistory({ rev: 62, items: [message(58, 58), message(59, 59)] }),
    false,
    'it was read before the change',
  );
  assert.equal(conversation.mergeHistory({ rev: 63, items: [message(58, 58), message(59, 59)] }), true);
  assert.equal(conversation.floor, 58);
  assert.equal(
    conversation.mergeHistory({ rev: 63, items: [message(3, 3), message(4, 4)] }),
    false,
    'a page that leaves a hole is refused',
  );
  assert.equal(conversation.mergeHistory({ rev: 63, items: [] }), true);
  assert.equal(conversation.complete, true);
});

test('a page of history never sets a message back', () => {
  const conversation = live();
  conversation.apply(message(3, 2, { type: 'updated', body: null, deleted_at: '2026-11-22T10:01:00.000Z' }));
  conversation.floor = 3;
  conversation.mergeHistory({ rev: 3, items: [message(1, 1), message(2, 2)] });
  assert.equal(conversation.byId.get('m2')?.body, null);
});

test('an own message goes from pending to acknowledged to shown, whichever frame comes first', () => {
  const ack = { conversation: 'c', id: 'm3', seq: 3, rev: 3, created_at: '2026-11-22T10:00:01.000Z' };
  const first = live();
  first.addPending({ id: 'm3', body: 'text 3', created_at: ack.created_at });
  first.acknowledge(ack);
  assert.equal(first.pending.get('m3')?.status, 'acked');
  first.apply(message(3, 3, { author: SELF }));
  assert.equal(first.pending.size, 0);

  const second = live();
  second.addPending({ id: 'm3', body: 'text 3', created_at: ack.created_at });
  second.apply(message(3, 3, { author: SELF }));
  assert.equal(second.pending.size, 0);
  second.acknowledge(ack);
  assert.equal(second.pending.size, 0);
  assert.equal(second.messages.length, 3);
});

test('an acknowledgement of a message from before what is held leaves nothing behind', () => {
  const conversation = live(9, 2);
  conversation.addPending({ id: 'old', body: 'x', created_at: '2026-11-22T10:00:01.000Z' });
  const ack = { conversation: 'c', id: 'old', seq: 1, rev: 4, created_at: '2026-11-22T10:00:01.000Z' };
  conversation.acknowledge({ ...ack, duplicate: true });
  assert.equal(conversation.pending.size, 0);
});

test('members, titles and removal', () => {
  const conversation = live();
  const user = /** @type {const} */ ({ id: 'ben', name: 'Ben', kind: 'person', role: 'member' });
  conversation.apply({ type: 'member', conversation: 'c', rev: 3, user, change: 'added' });
  assert.equal(conversation.memberCount, 1);
  conversation.apply({ type: 'presence', conversation: 'c', user: 'ben', online: true });
  conversation.apply({
    type: 'member',
    conversation: 'c',
    rev: 4,
    user: { ...user, role: 'owner' },
    change: 'changed',
  });
  assert.deepEqual(conversation.members.get('ben'), { ...user, role: 'owner', online: true });
  conversation.apply({ type: 'conversation', conversation: 'c', rev: 5, title: 'Renamed', deleted_at: null });
  assert.equal(conversation.title, 'Renamed');
  conversation.apply({ type: 'member', conversation: 'c', rev: 6, user: { ...user, id: SELF }, change: 'removed' });
  assert.equal(conversation.removed, true);
});

test('dropping old messages leaves a run without holes', () => {
  const conversation = live(20, 20);
  conversation.trim(5);
  assert.deepEqual(
    conversation.messages.map(({ seq }) => seq),
    [16, 17, 18, 19, 20],
  );
  assert.equal(conversation.floor, 16);
  assert.equal(conversation.byId.size, 5);
});

test('random histories, cuts, losses and pages end in what the server has', () => {
  for (let seed = 1; seed <= 400; seed += 1) {
    const run = new Run(seed);
    run.go();
    try {
      run.check();
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
});

/**
 * One reader behind a connection that delays, loses and breaks, while three people change the
 * conversation.
 */
class Run {
  /** @type {any[]} frames under way */
  queue = [];
  /** @type {HistoryPage | null} asked for and not there yet */
  page = null;
  /** @type {ReturnType<FakeServer['connect']>} */
  connection;
  /** Of the latest subscribe frame. */
  ref = 0;

  /** @param {number} seed */
  constructor(seed) {
    this.random = new Random(seed);
    this.server = new FakeServer();
    this.people = ['Ann', 'Ben', 'Cleo'].map((name) => this.server.addUser(name));
    this.talk = this.server.createConversation('Talk', this.people[0]);
    this.view = new Conversation(this.talk.id, this.people[0].id);
    this.connect();
  }

  go() {
    for (let step = 0; step < 150; step += 1) {
      const dice = this.random.next();
      if (dice < 0.5) this.change();
      else if (dice < 0.85) this.deliver(1 + this.random.below(6));
      else if (dice < 0.89) this.cut();
      else if (dice < 0.92) this.lose();
      else if (dice < 0.94) this.startPage();
      else if (dice < 0.96) this.endPage();
      else if (dice < 0.98 && this.view.phase === 'live') this.view.trim(3 + this.random.below(10));
      else this.again();
    }
    this.deliver(Infinity);
    this.page = null;
    while (!this.view.complete) {
      this.startPage();
      this.endPage();
    }
  }

  connect() {
    this.queue = [];
    this.connection = this.server.connect(this.people[0], (frame) => this.queue.push(frame));
    this.subscribe(this.view.begin());
  }

  /** @param {number} [after] */
  subscribe(after) {
    this.ref += 1;
    this.connection.receive({
      type: 'subscribe',
      conversation: this.talk.id,
      ref: String(this.ref),
      ...(after === undefined ? {} : { after }),
    });
  }

  again() {
    if (this.view.phase !== 'live') return;
    this.subscribe(this.view.begin({ sameConnection: true }));
  }

  cut() {
    this.connection.close();
    this.view.end();
    this.connect();
  }

  /** A live frame that never arrives: what the continuity check is for. */
  lose() {
    const durable = ['message', 'updated', 'member', 'conversation'];
    if (this.view.phase !== 'live') return;
    const idx = this.queue.findIndex((frame) => durable.includes(frame.type));
    const following = this.queue.slice(idx + 1).filter((frame) => durable.includes(frame.type));
    if (idx >= 0 && following.length > 0 && !this.queue.some((frame) => frame.type === 'subscribed')) {
      this.queue.splice(idx, 1);
    }
  }

  /** @param {number} count */
  deliver(count) {
    for (let n = 0; n < count && this.queue.length > 0; n += 1) {
      const frame = this.queue.shift();
      // A resubscription was sent while this was under way; its `subscribed` carries the latest
      // `ref`.
      if (frame.type === 'subscribed' && frame.ref !== String(this.ref)) continue;
      if (frame.conversation !== this.talk.id) continue;
      const outcome = this.view.apply(frame);
      if (outcome === 'gap') this.subscribe(this.view.begin({ sameConnection: true }));
      const seqs = this.view.messages.map(({ seq }) => seq);
      assert.deepEqual(
        seqs,
        [...new Set(seqs)].sort((a, b) => a - b),
        'in order, none twice',
      );
    }
  }

  startPage() {
    const { floor, complete } = this.view;
    if (floor === null || complete) return;
    const older = [...this.talk.messages.values()].filter(({ seq }) => seq < floor);
    this.page = {
      rev: this.talk.rev,
      items: older.slice(-7).map((item) => structuredClone(messageFrame(item, 'message'))),
    };
  }

  endPage() {
    if (this.page) this.view.mergeHistory(this.page);
    this.page = null;
  }

  change() {
    const { server, talk, random } = this;
    const author = random.pick(this.people);
    const known = [...talk.messages.values()].filter(({ deleted_at: deletedAt }) => !deletedAt);
    const dice = random.next();
    if (dice < 0.55 || known.length === 0) server.post(talk, author, { body: `text ${talk.lastSeq + 1}` });
    else if (dice < 0.68) {
      server.change(talk, random.pick(known).id, { body: `edited at ${talk.rev}`, edited_at: server.now() });
    } else if (dice < 0.74) {
      server.change(talk, random.pick(known).id, { body: null, reactions: [], deleted_at: server.now() });
    } else if (dice < 0.86) {
      server.react(talk, random.pick(known).id, author.id, random.pick(['👍', '🎉']), random.chance(0.7));
    } else if (dice < 0.92) server.rename(talk, `Talk ${talk.rev}`);
    else if (random.chance(0.5)) {
      /** @type {('member' | 'moderator')[]} */
      const roles = ['member', 'moderator'];
      server.setMember(talk, random.pick(this.people.slice(1)), random.pick(roles));
    } else server.removeMember(talk, random.pick(this.people.slice(1)).id);
  }

  check() {
    const { view, talk, server } = this;
    const self = this.people[0].id;
    /** @param {{ reactions: { emoji: string, users: string[] }[] }} message */
    const mine = ({ reactions }) => reactions.filter(({ users }) => users.includes(self)).map(({ emoji }) => emoji);
    const truth = server.truth(talk).map(({ rev, ...rest }) => ({ ...rest, mine: mine(rest) }));
    assert.equal(view.phase, 'live');
    assert.equal(view.rev, talk.rev);
    assert.equal(view.lastSeq, talk.lastSeq);
    assert.equal(view.title, talk.title);
    assert.deepEqual(view.messages.map(({ rev, ...rest }) => ({ ...rest })).map(sorted), truth.map(sorted));
    const members = [...talk.members.values()]
      .filter(({ removed }) => !removed)
      .map(({ user, role }) => `${user.id} ${role}`);
    assert.deepEqual([...view.members.values()].map(({ id, role }) => `${id} ${role}`).sort(), members.sort());
    assert.equal(view.memberCount, members.length);
  }
}

/** @param {object} record */
const sorted = (record) => Object.fromEntries(Object.entries(record).sort());
