/**
 * The sums of a range, with their change against the range before.
 *
 * @import { Sums, Summary } from '../../store/analytics/questions.js'
 * @import { Failure } from './panel.js'
 */
import { download } from '../../widgets/csv.js';
import { csvOf } from '../../widgets/data-table.js';
import { h } from '../../widgets/dom.js';
import { iconButton } from '../../widgets/icons.js';
import { change, count, duration } from '../../widgets/numbers.js';
import { plural } from '../../widgets/text.js';
import { faultText } from './panel.js';

/**
 * @typedef {object} Card
 * @property {keyof Sums} field
 * @property {string} label
 * @property {(value: number | null) => string} [format]
 * @property {(sums: Sums) => string} [more]
 * @property {boolean} [lessIsBetter]
 */

/** @type {Card[]} */
const CARDS = [
  { field: 'messages', label: 'Messages' },
  { field: 'active_users', label: 'Active people' },
  {
    field: 'active_conversations',
    label: 'Conversations',
    more: ({ conversations_started: started }) => `${count(started)} started`,
  },
  { field: 'new_users', label: 'New people' },
  { field: 'reply_delay_p50_ms', label: 'Median reply', format: duration, lessIsBetter: true },
];

export class Cards {
  /** @type {(() => void) | null} */
  #save = null;

  constructor() {
    this.list = h('ul', { class: 'cards' }, CARDS.map(emptyCard));
    this.fault = h('div', { class: 'cards-fault', role: 'alert', hidden: true, dataset: { testid: 'summary-fault' } });
    this.csv = iconButton('download', 'Download the sums as CSV', {
      class: 'cards-csv',
      disabled: true,
      dataset: { testid: 'summary-csv' },
      on: { click: () => this.#save?.() },
    });
    this.node = h(
      'section',
      { class: 'summary', 'aria-label': 'Sums', 'aria-busy': 'true', dataset: { testid: 'summary' } },
      this.list,
      this.fault,
    );
  }

  busy() {
    this.node.setAttribute('aria-busy', 'true');
  }

  /**
   * @param {Summary} summary
   * @param {{ before: string, compare: boolean, file: string }} options words for the range before
   */
  show({ current, previous }, { before, compare, file }) {
    this.node.setAttribute('aria-busy', 'false');
    this.fault.hidden = true;
    this.list.hidden = false;
    this.list.replaceChildren(...CARDS.map((card) => shownCard(card, { current, previous, before, compare })));
    const columns = ['sum', 'current', 'previous'].map((name) => ({ name, label: name }));
    const fields = /** @type {(keyof Sums)[]} */ (Object.keys(current));
    const rows = fields.map((field) => [field, current[field], previous[field]]);
    this.#save = () => download(file, csvOf({ caption: 'Sums', columns, rows }));
    this.csv.disabled = false;
  }

  /**
   * @param {Failure} problem
   * @param {() => void} again
   */
  fail(problem, again) {
    this.node.setAttribute('aria-busy', 'false');
    this.list.hidden = true;
    this.csv.disabled = true;
    this.fault.hidden = false;
    this.fault.replaceChildren(
      h('p', { text: faultText(problem) }),
      h(
        'button',
        { type: 'button', class: 'button', dataset: { testid: 'summary-again' }, on: { click: again } },
        'Try again',
      ),
    );
  }
}

/** @param {Card} card */
const emptyCard = ({ label }) =>
  h('li', { class: 'card' }, h('span', { class: 'card-label', text: label }), h('span', { class: 'card-wait' }));

/**
 * @param {Card} card
 * @param {{ current: Sums, previous: Sums, before: string, compare: boolean }} values
 */
function shownCard({ field, label, format = count, more, lessIsBetter }, { current, previous, before, compare }) {
  const [now, was] = [current[field], previous[field]];
  return h(
    'li',
    { class: 'card', dataset: { testid: `card-${field}` } },
    h('span', { class: 'card-label', text: label }),
    h('strong', { class: 'card-value', text: format(now) }),
    h(
      'span',
      { class: 'card-more' },
      changeOf(now, was, Boolean(lessIsBetter), before),
      compare ? h('span', { class: 'card-before', text: `before: ${format(was)}` }) : null,
      more ? h('span', { class: 'card-before', text: more(current) }) : null,
    ),
  );
}

/**
 * @param {number | null} now
 * @param {number | null} was
 * @param {boolean} lessIsBetter
 * @param {string} before
 */
function changeOf(now, was, lessIsBetter, before) {
  const changed = change(now, was);
  if (!changed) return h('span', { class: 'change', dataset: { tone: 'none' }, text: 'Nothing before' });
  const better = lessIsBetter ? -changed.sign : changed.sign;
  return h(
    'span',
    { class: 'change', title: before, dataset: { tone: better > 0 ? 'good' : better < 0 ? 'bad' : 'none' } },
    changed.text,
    h('span', { class: 'visually-hidden', text: ` against ${before}` }),
  );
}

/**
 * The words for the range before.
 *
 * @param {number} days
 */
export const beforeWords = (days) => (days === 1 ? 'the day before' : `the ${plural(days, 'day')} before`);
