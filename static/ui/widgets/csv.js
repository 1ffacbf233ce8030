/**
 * Tables as CSV files (RFC 4180), for spreadsheets and programs. Pure but for `download`.
 *
 * A spreadsheet takes a text that begins like a formula for one, and people choose titles and
 * names. Such a text gets an apostrophe in front, which spreadsheets show as text. Numbers are
 * written as they are, whatever their sign.
 */
import { h } from './dom.js';

/** A byte order mark tells spreadsheets that this is UTF-8. */
const MARK = '\ufeff';
/** What makes a formula of a text, also in full width, and also after white space. */
const FORMULA = /^[\s\u0000]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/u; // eslint-disable-line no-control-regex
const QUOTED = /[",\r\n;\t]|^\s|\s$/u;

/** @typedef {string | number | boolean | null} Cell */

/** @param {Cell} cell */
function field(cell) {
  if (cell === null) return '';
  if (typeof cell !== 'string') return String(cell);
  const text = FORMULA.test(cell) ? `'${cell}` : cell;
  return QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * @param {string[]} head
 * @param {Cell[][]} rows
 */
export function toCsv(head, rows) {
  return `${MARK}${[head, ...rows].map((row) => row.map(field).join(',')).join('\r\n')}\r\n`;
}

/**
 * Gives a file to the person.
 *
 * @param {string} name
 * @param {string} text
 */
export function download(name, text) {
  const href = URL.createObjectURL(new Blob([text], { type: 'text/csv;charset=utf-8' }));
  const link = h('a', { href, download: name });
  link.click();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
