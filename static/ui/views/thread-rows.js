/**
 * Which rows the thread has, from top to bottom: what each depends on, and how it is built.
 *
 * Used by the thread, which builds a row again only when one of its inputs is another one. Pure but
 * for `build`.
 *
 * @import { Conversation } from '../../client/conversation.js'
 * @import { Message, PendingMessage } from '../../client/types.js'
 * @import { People } from '../store/people.js'
 * @import { MessageActions } from '../widgets/message.js'
 */
import { dayRow, dividerRow, messageRow, pendingRow, topRow } from '../widgets/message.js';
import { dayKey } from '../widgets/text.js';

/** Messages of one author within this time share one heading. */
const GROUP_MS = 5 * 60_000;
/** An invitation to invite stands above conversations with fewer messages. */
const NEW_MESSAGES_MAX = 3;

/**
 * @typedef {object} Row
 * @property {string} key the same row has the same key in each drawing
 * @property {unknown[]} inputs compared by identity
 * @property {() => HTMLElement} build
 */

/**
 * @typedef {{ author: string | null, kind: string, created_at: string }} Heading the message above,
 *   if it may be joined
 */

/** @typedef {{ invite: () => void, mayInvite: () => boolean }} InviteActions */

/**
 * @typedef {object} ThreadState
 * @property {Conversation} conversation
 * @property {People} people
 * @property {number | null} dividerAfter the `seq` after which the new messages begin
 * @property {MessageActions & InviteActions} actions
 */

/**
 * @param {ThreadState} state
 * @returns {Row[]}
 */
export function threadRows(state) {
  const { conversation } = state;
  const rows = [top(state)];
  const seen = seenBy(conversation);
  const lastOwn = conversation.messages.findLast((message) => message.author === conversation.self)?.id;
  /** @type {Heading | null} */
  let before = null;
  for (const message of conversation.messages) {
    before = separate(rows, before, message.created_at, message.seq, state.dividerAfter);
    const last = message.id === lastOwn;
    rows.push(confirmed(state, message, { before, seen: seen.get(message.seq) ?? [], last }));
    before = message;
  }
  for (const entry of conversation.pending.values()) {
    before = separate(rows, before, entry.created_at, null, null);
    rows.push(unconfirmed(state, entry, before));
    before = { author: conversation.self, kind: 'person', created_at: entry.created_at };
  }
  return rows;
}

/**
 * @param {ThreadState} state
 * @returns {Row}
 */
function top({ conversation, actions }) {
  const { complete, title, lastSeq } = conversation;
  const invite = complete && lastSeq < NEW_MESSAGES_MAX && actions.mayInvite() ? actions.invite : null;
  return {
    key: 'top',
    inputs: [complete, title, invite === null],
    build: () => topRow({ complete, title, invite }),
  };
}

/**
 * Adds the lines between two messages: another day, the first new one.
 *
 * @param {Row[]} rows
 * @param {Heading | null} before
 * @param {string} iso when the next message was written
 * @param {number | null} seq of the next message, if it has one
 * @param {number | null} dividerAfter
 * @returns {Heading | null} what the next message may be joined with
 */
function separate(rows, before, iso, seq, dividerAfter) {
  let last = before;
  const day = dayKey(iso);
  if (!last || dayKey(last.created_at) !== day) {
    rows.push({ key: `day:${day}:${seq ?? 'pending'}`, inputs: [], build: () => dayRow(iso) });
    last = null;
  }
  if (seq !== null && dividerAfter !== null && seq === dividerAfter + 1) {
    rows.push({ key: 'divider', inputs: [], build: dividerRow });
    last = null;
  }
  return last;
}

/**
 * @param {Heading | null} before
 * @param {{ author: string | null, created_at: string, reply_to: string | null }} message
 */
function isGrouped(before, { author, created_at: createdAt, reply_to: replyTo }) {
  return (
    before !== null &&
    before.author === author &&
    before.kind !== 'system' &&
    !replyTo &&
    Date.parse(createdAt) - Date.parse(before.created_at) < GROUP_MS
  );
}

/**
 * @param {ThreadState} state
 * @param {Message} message
 * @param {{ before: Heading | null, seen: string[], last: boolean }} place
 * @returns {Row}
 */
function confirmed({ conversation, people, actions }, message, { before, seen, last }) {
  const { self, byId, readers } = conversation;
  const grouped = isGrouped(before, message);
  const quoted = message.reply_to ? byId.get(message.reply_to) : null;
  const name = people.of(message.author);
  /** @param {string} id */
  const nameOf = (id) => (id === self ? 'You' : people.of(id));
  const read = last && [...readers.values()].some((marker) => marker >= message.seq);
  const names = message.reactions.length ? people.version : 0;
  const own = message.author === self;
  return {
    key: message.id,
    inputs: [message, grouped, quoted, name, last, read, seen.join(), names],
    build: () => messageRow(message, { own, grouped, name, quoted, seen, last, read, nameOf, actions }),
  };
}

/**
 * @param {ThreadState} state
 * @param {PendingMessage} entry
 * @param {Heading | null} before
 * @returns {Row}
 */
function unconfirmed({ conversation, people, actions }, entry, before) {
  const { self, byId } = conversation;
  const grouped = isGrouped(before, { ...entry, author: self });
  const quoted = entry.reply_to ? byId.get(entry.reply_to) : null;
  const name = people.of(self ?? '');
  /** @param {string} id */
  const nameOf = (id) => people.of(id);
  return {
    key: entry.id,
    inputs: [entry, grouped, quoted, name],
    build: () => pendingRow(entry, { grouped, name, quoted, nameOf, actions }),
  };
}

/**
 * At which message each reader stands. A reader's own message says it already.
 *
 * @param {Conversation} conversation
 * @returns {Map<number, string[]>} `seq` → user ids
 */
function seenBy({ readers, byId, messages, floor }) {
  const bySeq = new Map();
  const first = messages[0]?.seq ?? floor ?? 0;
  const newest = messages.at(-1)?.seq ?? 0;
  for (const [user, marker] of readers) {
    const message = messages[Math.min(marker, newest) - first];
    if (!message || message.author === user || !byId.has(message.id)) continue;
    bySeq.set(message.seq, [...(bySeq.get(message.seq) ?? []), user]);
  }
  return bySeq;
}
