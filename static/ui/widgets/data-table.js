/**
 * The numbers of a picture as a table, for keyboards, screen readers, and people who want to know
 * exactly; and as a CSV file. Both are made of one description, so they say the same.
 *
 * A long table is shown in pieces: thousands of rows at once would make the page slow.
 *
 * @import { Child } from './dom.js'
 * @import { Cell } from './csv.js'
 */
import { toCsv } from './csv.js';
import { h } from './dom.js';

const ROWS = 100;

/**
 * @typedef {object} Column
 * @property {string} name in the file
 * @property {string} label on the page
 * @property {boolean} [numeric]
 * @property {boolean} [fileOnly] the page shows it otherwise
 * @property {(value: any, row: number) => Child} [show] on the page; as it is by default
 */

/**
 * @typedef {object} Data
 * @property {string} caption
 * @property {Column[]} columns
 * @property {Cell[][]} rows
 */

/** @param {Data} data */
export const csvOf = ({ columns, rows }) =>
  toCsv(
    columns.map(({ name }) => name),
    rows,
  );

/**
 * @param {Data} data
 * @param {{ caption?: boolean }} [options] whether the caption can be seen
 */
export function dataTable({ caption, columns, rows }, { caption: seen = false } = {}) {
  const shown = columns.map((column, idx) => ({ ...column, idx })).filter(({ fileOnly }) => !fileOnly);
  const body = h('tbody', {});
  /**
   * @param {Cell[]} row
   * @param {number} number
   */
  const line = (row, number) =>
    h(
      'tr',
      {},
      shown.map(({ idx, numeric, show }, at) =>
        h(
          at === 0 ? 'th' : 'td',
          { ...(at === 0 ? { scope: 'row' } : {}), class: numeric ? 'numeric' : '' },
          show ? show(row[idx], number) : String(row[idx] ?? ''),
        ),
      ),
    );
  const more = h('button', { type: 'button', class: 'button', dataset: { testid: 'more-rows' } });
  const grow = () => {
    const from = body.rows.length;
    body.append(...rows.slice(from, from + ROWS).map((row, idx) => line(row, from + idx)));
    more.textContent = `Show more (${rows.length - body.rows.length} left)`;
    more.hidden = body.rows.length === rows.length;
  };
  more.addEventListener('click', grow);
  grow();
  const table = h(
    'table',
    { class: 'data-table' },
    h('caption', { class: seen ? '' : 'visually-hidden', text: caption }),
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        shown.map(({ label, numeric }) => h('th', { scope: 'col', class: numeric ? 'numeric' : '', text: label })),
      ),
    ),
    body,
  );
  // It may be wider than its place; whoever has only keys scrolls it by them.
  return h(
    'div',
    { class: 'table-place', tabIndex: 0, role: 'region', 'aria-label': caption, dataset: { testid: 'table' } },
    table,
    more,
  );
}
