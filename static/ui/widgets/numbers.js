/**
 * Numbers for people: counts, shares, durations, changes. Pure but for the language of the browser.
 */

const COUNT = new Intl.NumberFormat();
const COMPACT = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const DECIMAL = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const SMALL = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 });
const SHARE = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 0 });
const CHANGE = new Intl.NumberFormat(undefined, {
  style: 'percent',
  maximumFractionDigits: 0,
  signDisplay: 'exceptZero',
});
const CHANGE_FINE = new Intl.NumberFormat(undefined, {
  style: 'percent',
  maximumFractionDigits: 1,
  signDisplay: 'exceptZero',
});

/** What stands where there is no number. */
export const NO_NUMBER = '–';

/** @param {number | null} value */
export const count = (value) => (value === null ? NO_NUMBER : COUNT.format(value));

/**
 * As short as an axis needs it: 1.2K.
 *
 * @param {number} value
 */
export const compact = (value) => COMPACT.format(value);

/** @param {number | null} value of the whole */
export const share = (value) => (value === null ? NO_NUMBER : SHARE.format(value));

/**
 * A duration in its two largest units: 850 ms, 12.4 s, 4 min 10 s, 2 h 5 min.
 *
 * @param {number | null} ms
 */
export function duration(ms) {
  if (ms === null) return NO_NUMBER;
  if (ms < 1_000) return `${(ms < 1 ? SMALL : ms < 100 ? DECIMAL : COUNT).format(ms < 100 ? ms : Math.round(ms))} ms`;
  if (ms < 59_950) return `${DECIMAL.format(ms / 1_000)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return twoUnits(Math.floor(seconds / 60), 'min', seconds % 60, 's');
  const minutes = Math.round(seconds / 60);
  return twoUnits(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
}

/**
 * @param {number} large
 * @param {string} unit
 * @param {number} small
 * @param {string} smallUnit
 */
const twoUnits = (large, unit, small, smallUnit) =>
  small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smallUnit}`;

/**
 * By how much something changed: its sign and its words. null where there is nothing to compare
 * with.
 *
 * @param {number | null} now
 * @param {number | null} before
 * @returns {{ sign: -1 | 0 | 1, text: string } | null}
 */
export function change(now, before) {
  if (now === null || before === null) return null;
  if (before === 0) return now === 0 ? { sign: 0, text: 'No change' } : null;
  const by = now / before - 1;
  if (now === before) return { sign: 0, text: 'No change' };
  const text = (Math.abs(by) < 0.1 ? CHANGE_FINE : CHANGE).format(by);
  return { sign: by > 0 ? 1 : -1, text: Math.abs(by) >= 100 ? `× ${COUNT.format(Math.round(now / before))}` : text };
}
