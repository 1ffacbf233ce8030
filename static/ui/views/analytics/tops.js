/**
 * Who writes most, and where most is written. Both are tables.
 *
 * @import { TopConversation, TopConversations } from '../../store/analytics/questions.js'
 * @import { TopUser, TopUsers } from '../../store/analytics/questions.js'
 * @import { Cell } from '../../widgets/csv.js'
 * @import { Column } from '../../widgets/data-table.js'
 * @import { Context, Part } from './panel.js'
 */
import { momentIn } from '../../store/analytics/calendar.js';
import { SORTS } from '../../store/analytics/view.js';
import { dataTable } from '../../widgets/data-table.js';
import { h } from '../../widgets/dom.js';
import { avatar } from '../../widgets/icons.js';
import { count } from '../../widgets/numbers.js';
import { hiddenTitle, nameless, untitled } from './names.js';
import { Panel, choice } from './panel.js';

/** @type {(name: string, label: string) => Column} */
const numbers = (name, label) => ({ name, label, numeric: true, show: count });

/**
 * @param {string} zone
 * @returns {Column}
 */
const lastMessage = (zone) => ({
  name: 'last_message_at',
  label: 'Latest message',
  numeric: true,
  show: (iso) => h('time', { dateTime: iso, text: momentIn(iso, zone, new Date()) }),
});

/**
 * A number, and its share of the highest one as a bar.
 *
 * @param {string} name
 * @param {string} label
 * @param {number[]} values
 * @returns {Column}
 */
function measured(name, label, values) {
  const most = Math.max(...values);
  return {
    ...numbers(name, label),
    show: (value) => {
      const bar = h('span', { class: 'meter', 'aria-hidden': 'true' });
      bar.style.setProperty('--share', `${(100 * value) / most}%`);
      return [bar, count(value)];
    },
  };
}

/** @returns {Part} */
export function peoplePart() {
  const panel = new Panel({ title: 'Top people', testid: 'people', hint: 'Who wrote most in this range.' });
  return {
    panel,
    follow: () => {},
    draw(answers, { view, file }) {
      const [{ items }] = /** @type {TopUsers[]} */ (answers);
      if (items.length === 0) return panel.nothing('Nobody wrote in this range.');
      const data = { caption: 'Top people', columns: peopleColumns(items, view.zone), rows: items.map(personRow) };
      return panel.show({ picture: dataTable(data), data, file: file('top-people'), isTable: true });
    },
  };
}

/**
 * @param {TopUser[]} items
 * @param {string} zone
 * @returns {Column[]}
 */
function peopleColumns(items, zone) {
  return [
    { name: 'user_id', label: 'Id', fileOnly: true },
    {
      name: 'name',
      label: 'Person',
      show: (name, row) => personName(items[row].user.id, name ?? nameless),
    },
    { name: 'kind', label: 'Kind', fileOnly: true },
    measured(
      'messages',
      'Messages',
      items.map(({ messages }) => messages),
    ),
    numbers('conversations', 'Conversations'),
    numbers('active_days', 'Active days'),
    lastMessage(zone),
  ];
}

/**
 * @param {string} id
 * @param {string} name
 */
const personName = (id, name) =>
  h('span', { class: 'top-name' }, avatar(id, name, { size: 'tiny' }), h('span', { text: name }));

/**
 * @param {TopUser} item
 * @returns {Cell[]}
 */
const personRow = ({ user, messages, conversations, active_days: days, last_message_at: last }) => [
  user.id,
  user.name,
  user.kind,
  messages,
  conversations,
  days,
  last,
];

/**
 * @param {Context} context
 * @returns {Part}
 */
export function conversationsPart({ view, change }) {
  const sort = choice({
    label: 'Sort conversations',
    testid: 'sort',
    options: SORTS,
    value: view.sort,
    choose: (value) => change({ sort: value }),
  });
  const panel = new Panel({
    title: 'Top conversations',
    testid: 'conversations-top',
    hint: 'Where most was written in this range.',
    choices: [sort],
  });
  return {
    panel,
    follow: (next) => (sort.value = next.sort),
    draw(answers, context) {
      const [{ items }] = /** @type {TopConversations[]} */ (answers);
      if (items.length === 0) return panel.nothing('Nothing was written in this range.');
      const columns = conversationColumns(items, context);
      const data = { caption: 'Top conversations', columns, rows: items.map(conversationRow) };
      const hidden = items.some(({ conversation }) => conversation.title === null);
      return panel.show({
        picture: dataTable(data),
        data,
        file: context.file('top-conversations'),
        isTable: true,
        note: hidden ? untitled : undefined,
      });
    },
  };
}

/**
 * @param {TopConversation[]} items
 * @param {Context} context
 * @returns {Column[]}
 */
function conversationColumns(items, { view, open }) {
  return [
    { name: 'conversation_id', label: 'Id', fileOnly: true },
    { name: 'title', label: 'Conversation', show: (_title, row) => conversationName(items[row].conversation, open) },
    measured(
      'messages',
      'Messages',
      items.map(({ messages }) => messages),
    ),
    numbers('participants', 'People'),
    lastMessage(view.zone),
  ];
}

/**
 * @param {TopConversation['conversation']} conversation
 * @param {(id: string) => void} open
 */
function conversationName({ id, title }, open) {
  if (title === null) return h('span', { class: 'top-name muted', text: hiddenTitle(id) });
  return h(
    'a',
    { class: 'top-name link', href: `/#/c/${id}`, on: { click: (event) => (event.preventDefault(), open(id)) } },
    h('span', { text: title }),
  );
}

/**
 * @param {TopConversation} item
 * @returns {Cell[]}
 */
const conversationRow = ({ conversation, messages, participants, last_message_at: last }) => [
  conversation.id,
  conversation.title,
  messages,
  participants,
  last,
];
