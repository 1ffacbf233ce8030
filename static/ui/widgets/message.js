/**
 * One row of the thread: a message, one's own message that is not confirmed yet, or a line between
 * messages.
 *
 * Rows are built once for a state and thrown away when it changes; the thread decides when.
 * Everything people wrote becomes text nodes.
 *
 * @import { Message, PendingMessage } from '../../client/types.js'
 * @import { IconName } from './icons.js'
 */
import { h } from './dom.js';
import { avatar, icon } from './icons.js';
import { clockDigits, clockTime, dayName, fullTime, isJumbo, linkify, nameList, plural } from './text.js';

/**
 * What a person can do with a message. The conversation view and the thread do it.
 *
 * @typedef {object} MessageActions
 * @property {string | null} self id of the user
 * @property {(id: string) => void} show brings a message into view
 * @property {(message: Message, emoji: string, on: boolean) => void} react
 * @property {(message: Message) => void} reply
 * @property {(message: Message) => void} edit
 * @property {(message: Message) => void} remove
 * @property {(entry: PendingMessage) => void} retry
 * @property {(entry: PendingMessage) => void} discard
 */

/** @typedef {(id: string) => string} NameOf */

/**
 * Text with its links.
 *
 * @param {string} text
 */
export function bodyOf(text) {
  return linkify(text).map((part) =>
    part.href
      ? h('a', { href: part.href, target: '_blank', rel: 'noopener noreferrer nofollow', text: part.text })
      : part.text,
  );
}

/**
 * The first words of a message, for quotes and lists.
 *
 * @param {string | null | undefined} body null once deleted
 * @param {number} [length] in characters
 */
export function excerpt(body, length = 140) {
  if (body === null || body === undefined) return 'Message deleted';
  const line = body.replace(/\s+/gu, ' ').trim();
  return line.length > length ? `${line.slice(0, length)}…` : line;
}

/** @param {string} iso */
export function dayRow(iso) {
  return h(
    'div',
    { class: 'row-day', role: 'separator', dataset: { testid: 'day' } },
    h('span', { text: dayName(iso) }),
  );
}

export function dividerRow() {
  return h(
    'div',
    { class: 'row-divider', role: 'separator', dataset: { testid: 'new-divider' } },
    h('span', { text: 'New messages' }),
  );
}

/**
 * Above the oldest message held: that there is more, or that this is where it began.
 *
 * @param {{ complete: boolean, title: string, invite: (() => void) | null }} options
 */
export function topRow({ complete, title, invite }) {
  if (!complete) {
    return h(
      'div',
      { class: 'row-top loading', dataset: { testid: 'history-loading' } },
      h('span', { class: 'spinner', 'aria-label': 'Loading earlier messages', role: 'img' }),
    );
  }
  return h(
    'div',
    { class: 'row-top', dataset: { testid: 'history-start' } },
    h('h2', { text: title }),
    h('p', { text: 'This is where the conversation begins.' }),
    invite &&
      h(
        'button',
        { type: 'button', class: 'button', dataset: { testid: 'empty-invite' }, on: { click: invite } },
        icon('link'),
        'Invite people',
      ),
  );
}

/**
 * What a row needs to know besides its message.
 *
 * @typedef {object} RowContext
 * @property {boolean} grouped under the heading of the message before it
 * @property {string} name of its author
 * @property {Message | null | undefined} quoted the message it replies to, if it is held
 * @property {NameOf} nameOf
 * @property {MessageActions} actions
 */

/**
 * A message of the conversation.
 *
 * @param {Message} message
 * @param {RowContext & { own: boolean, seen: string[], last: boolean, read: boolean }} context
 *   `seen`: who has read up to here; `last`: whether it is the newest own one; `read`: whether
 *   somebody has read it
 */
export function messageRow(message, context) {
  const { own, grouped, name, seen, last, nameOf, actions } = context;
  if (message.kind === 'system') {
    return h(
      'div',
      { class: 'row-system', id: `m-${message.id}`, dataset: { testid: 'system-message', seq: String(message.seq) } },
      h('span', { text: message.body ?? '' }),
    );
  }
  const deleted = message.deleted_at !== null;
  const { reply_to: replyTo, reactions } = message;
  const text = message.body ?? '';
  const body = deleted
    ? h('p', { class: 'body deleted', dataset: { testid: 'body' }, text: 'Message deleted' })
    : h('p', { class: isJumbo(text) ? 'body jumbo' : 'body', dir: 'auto', dataset: { testid: 'body' } }, bodyOf(text));
  return h(
    'article',
    {
      class: grouped ? 'row grouped' : 'row',
      id: `m-${message.id}`,
      tabIndex: -1,
      'aria-label': `${name}, ${clockTime(message.created_at)}: ${excerpt(message.body)}`,
      dataset: {
        testid: 'message',
        id: message.id,
        seq: String(message.seq),
        own: String(own),
        state: deleted ? 'deleted' : 'confirmed',
      },
    },
    gutter(message, grouped, name),
    h(
      'div',
      { class: 'content' },
      !grouped && head(message, name, own),
      replyTo && !deleted && quote(context.quoted, nameOf, () => actions.show(replyTo)),
      body,
      message.edited_at &&
        !deleted &&
        h('span', {
          class: 'edited',
          title: fullTime(message.edited_at),
          dataset: { testid: 'edited' },
          text: 'edited',
        }),
      reactions.length > 0 && reactionList(message, nameOf, actions),
    ),
    h(
      'div',
      { class: 'state' },
      seenBy(seen, nameOf),
      own && last && !seen.length && (context.read ? tick('checks', 'Seen', true) : tick('check', 'Sent')),
    ),
  );
}

/**
 * @param {{ author: string, created_at: string }} message
 * @param {boolean} grouped
 * @param {string} name
 */
function gutter(message, grouped, name) {
  const time = h('time', {
    class: 'gutter-time',
    dateTime: message.created_at,
    title: fullTime(message.created_at),
    text: clockDigits(message.created_at),
  });
  return h('div', { class: 'gutter' }, grouped ? time : avatar(message.author, name));
}

/**
 * @param {{ kind: string, created_at: string }} message
 * @param {string} name
 * @param {boolean} own
 */
function head(message, name, own) {
  return h(
    'header',
    { class: 'head' },
    h('span', { class: 'author', dataset: { testid: 'author' }, text: name }),
    own && h('span', { class: 'you', text: 'you' }),
    message.kind === 'agent' && h('span', { class: 'you', text: 'agent' }),
    h('time', {
      dateTime: message.created_at,
      title: fullTime(message.created_at),
      text: clockTime(message.created_at),
    }),
  );
}

/**
 * @param {Message | null | undefined} quoted
 * @param {NameOf} nameOf
 * @param {() => void} show
 */
function quote(quoted, nameOf, show) {
  return h(
    'button',
    { type: 'button', class: 'quote', dataset: { testid: 'quote', key: 'quote' }, on: { click: show } },
    h('span', { class: 'quote-author', text: quoted ? nameOf(quoted.author) : 'Earlier message' }),
    h('span', { class: 'quote-text', text: quoted ? excerpt(quoted.body) : 'Show it' }),
  );
}

/**
 * @param {Message} message
 * @param {NameOf} nameOf
 * @param {MessageActions} actions
 */
function reactionList(message, nameOf, actions) {
  return h(
    'div',
    { class: 'reactions' },
    message.reactions.map(({ emoji, count, users }) => {
      const mine = message.mine.includes(emoji);
      const who = nameList(users.map(nameOf), 10);
      return h(
        'button',
        {
          type: 'button',
          class: 'reaction',
          'aria-pressed': String(mine),
          'aria-label': `${emoji}, ${plural(count, 'reaction')}: ${who}`,
          title: who,
          dataset: { testid: 'reaction', emoji, key: `reaction-${emoji}` },
          on: { click: () => actions.react(message, emoji, !mine) },
        },
        h('span', { text: emoji }),
        h('span', { class: 'reaction-count', text: String(count) }),
      );
    }),
  );
}

/**
 * @param {string[]} seen user ids
 * @param {NameOf} nameOf
 */
function seenBy(seen, nameOf) {
  if (!seen.length) return null;
  const names = `Seen by ${nameList(seen.map(nameOf), 8)}`;
  return h(
    'span',
    { class: 'seen', role: 'img', 'aria-label': names, title: names, dataset: { testid: 'seen' } },
    seen.slice(0, 4).map((id) => avatar(id, nameOf(id), { size: 'tiny' })),
    seen.length > 4 && h('span', { class: 'seen-more', text: `+${seen.length - 4}` }),
  );
}

/**
 * @param {IconName} symbol
 * @param {string} label
 * @param {boolean} [read]
 */
function tick(symbol, label, read = false) {
  return h(
    'span',
    { class: 'tick', role: 'img', 'aria-label': label, title: label, dataset: { testid: 'tick', read: String(read) } },
    icon(symbol),
  );
}

/**
 * One's own message on its way: shown at once, marked until it is durable.
 *
 * @param {PendingMessage} entry
 * @param {RowContext} context
 */
export function pendingRow(entry, context) {
  const failed = entry.status === 'failed';
  const { reply_to: replyTo } = entry;
  const { grouped, name, actions } = context;
  return h(
    'article',
    {
      class: `row pending${grouped ? ' grouped' : ''}${failed ? ' failed' : ''}`,
      id: `m-${entry.id}`,
      tabIndex: -1,
      dataset: {
        testid: 'message',
        id: entry.id,
        own: 'true',
        state: entry.status === 'acked' ? 'confirmed' : entry.status,
        ...(entry.seq && { seq: String(entry.seq) }),
      },
    },
    gutter({ author: actions.self ?? '', created_at: entry.created_at }, grouped, name),
    h(
      'div',
      { class: 'content' },
      !grouped && head({ created_at: entry.created_at, kind: 'person' }, name, true),
      replyTo && quote(context.quoted, context.nameOf, () => actions.show(replyTo)),
      h(
        'p',
        { class: isJumbo(entry.body) ? 'body jumbo' : 'body', dir: 'auto', dataset: { testid: 'body' } },
        bodyOf(entry.body),
      ),
      failed && failure(entry, actions),
    ),
    h(
      'div',
      { class: 'state' },
      failed ? null : entry.status === 'acked' ? tick('check', 'Sent') : tick('clock', 'Sending'),
    ),
  );
}

/**
 * Why a message was not sent, and what can be done about it.
 *
 * @param {PendingMessage} entry
 * @param {MessageActions} actions
 */
function failure(entry, actions) {
  return h(
    'div',
    { class: 'failure', role: 'alert', dataset: { testid: 'failure' } },
    icon('warning'),
    h('span', { text: `Not sent. ${entry.error?.message ?? ''}` }),
    h(
      'button',
      {
        type: 'button',
        class: 'link',
        dataset: { testid: 'retry', key: 'retry' },
        on: { click: () => actions.retry(entry) },
      },
      'Try again',
    ),
    h(
      'button',
      {
        type: 'button',
        class: 'link danger',
        dataset: { testid: 'discard', key: 'discard' },
        on: { click: () => actions.discard(entry) },
      },
      'Discard',
    ),
  );
}
