/**
 * What somebody looks at on the page of numbers, and how the address says it. Pure.
 *
 * The address holds all of it, so that it can be sent. What an address says wrongly is taken for
 * the default: whoever follows a link wants to see something. A preset stays one in an address
 * (“the last 30 days”), dates stay dates. The zone is always written, since the reader's may be
 * another.
 *
 * @import { Granularity } from './calendar.js'
 */
import { addDays, countDays, dateIn, isDate, zoneNamed } from './calendar.js';

/** The server answers for no more. */
export const RANGE_DAYS_MAX = 732;
/** The server gives no more points. */
const POINTS_MAX = 10_000;

/** @typedef {{ from: string, through: string }} Dates both ends are in it */

/** @type {Record<string, { label: string, days: number }>} */
export const PRESETS = {
  today: { label: 'Today', days: 1 },
  '7d': { label: '7 days', days: 7 },
  '30d': { label: '30 days', days: 30 },
  '90d': { label: '90 days', days: 90 },
  '1y': { label: '1 year', days: 365 },
};

/** @type {Record<string, string>} */
export const GRANULARITIES = { auto: 'Automatic', hour: 'By hour', day: 'By day', week: 'By week', month: 'By month' };
/** @type {Record<string, string>} */
export const GROUPS = {
  none: 'All together',
  conversation: 'By conversation',
  user: 'By person',
  kind: 'By kind of author',
};
/** @type {Record<string, string>} */
export const SORTS = { messages: 'Most messages', participants: 'Most people', recent: 'Latest message' };
/** @type {Record<string, string>} */
export const LATENCIES = { append: 'Until stored', deliver: 'Until delivered' };

/**
 * @typedef {object} View
 * @property {string | null} preset one of `PRESETS`, unless there are dates
 * @property {Dates | null} dates
 * @property {string} zone
 * @property {string} granularity one of `GRANULARITIES`
 * @property {string} group one of `GROUPS`
 * @property {boolean} compare with the range before
 * @property {string} sort one of `SORTS`, of conversations
 * @property {string} latency one of `LATENCIES`
 */

/** The names in the address are those of the server's parameters, where there are such. */
const CHOICES = /** @type {const} */ ([
  { field: 'granularity', name: 'granularity', options: GRANULARITIES, standard: 'auto' },
  { field: 'group', name: 'group_by', options: GROUPS, standard: 'none' },
  { field: 'sort', name: 'sort', options: SORTS, standard: 'messages' },
  { field: 'latency', name: 'of', options: LATENCIES, standard: 'append' },
]);
const PRESET = '30d';

/**
 * @param {string} search the address from its question mark on
 * @param {string} zone where the address names none
 * @returns {View}
 */
export function parseView(search, zone) {
  const given = new URLSearchParams(search);
  const dates = { from: given.get('from') ?? '', through: given.get('through') ?? '' };
  const preset = given.get('range') ?? '';
  const hasDates = rangeFault(dates) === null;
  const view = {
    preset: hasDates ? null : Object.hasOwn(PRESETS, preset) ? preset : PRESET,
    dates: hasDates ? dates : null,
    zone: zoneNamed(given.get('tz') ?? '') ?? zone,
    compare: given.get('compare') === 'true',
    granularity: '',
    group: '',
    sort: '',
    latency: '',
  };
  for (const { field, name, options, standard } of CHOICES) {
    const choice = given.get(name) ?? '';
    view[field] = Object.hasOwn(options, choice) ? choice : standard;
  }
  return view;
}

/**
 * @param {View} view
 * @returns {string} the address from its question mark on
 */
export function formatView(view) {
  const query = new URLSearchParams(view.dates ?? { range: view.preset ?? PRESET });
  query.set('tz', view.zone);
  for (const { field, name, standard } of CHOICES) if (view[field] !== standard) query.set(name, view[field]);
  if (view.compare) query.set('compare', 'true');
  // A slash may stand in a query, and people read addresses.
  return `?${query.toString().replaceAll('%2F', '/')}`;
}

/**
 * What is wrong with dates that somebody chose; null if nothing is.
 *
 * @param {Dates} dates
 */
export function rangeFault({ from, through }) {
  if (!isDate(from) || !isDate(through) || addDays(through, 1) === null) return 'Choose two dates.';
  if (from > through) return 'The first day is after the last one.';
  if (countDays(from, through) > RANGE_DAYS_MAX) return `Choose at most ${RANGE_DAYS_MAX} days.`;
  return null;
}

/**
 * The days that are looked at.
 *
 * @param {View} view
 * @param {Date} now
 * @returns {Dates}
 */
export function datesOf({ preset, dates, zone }, now) {
  if (dates) return dates;
  const today = dateIn(zone, now);
  return { from: addDays(today, 1 - PRESETS[preset ?? PRESET].days) ?? today, through: today };
}

/**
 * As many days, right before; null before the first year.
 *
 * @param {Dates} dates
 * @returns {Dates | null}
 */
export function datesBefore({ from, through }) {
  const [first, last] = [addDays(from, -countDays(from, through)), addDays(from, -1)];
  return first && last ? { from: first, through: last } : null;
}

/**
 * Whether the server would give so many points.
 *
 * @param {string} granularity
 * @param {Dates} dates
 */
export function isFineEnough(granularity, { from, through }) {
  // A day has at most 25 hours, and that at most twice a year.
  return granularity !== 'hour' || countDays(from, through) * 24 + 8 <= POINTS_MAX;
}

/**
 * The granularity that is asked for.
 *
 * @param {View} view
 * @param {Dates} dates
 * @returns {Granularity}
 */
export function granularityOf({ granularity }, dates) {
  const chosen = granularity !== 'auto' && isFineEnough(granularity, dates);
  if (chosen) return /** @type {Granularity} */ (granularity);
  const days = countDays(dates.from, dates.through);
  if (days <= 2) return 'hour';
  return days <= 120 ? 'day' : 'week';
}

/**
 * The days of some points, of those that are looked at.
 *
 * @param {string} first its point
 * @param {string} last
 * @param {Granularity} granularity
 * @param {Dates} dates
 * @returns {Dates}
 */
export function datesOfPoints(first, last, granularity, { from, through }) {
  const [begin, end] = [first.slice(0, 10), lastDay(last.slice(0, 10), granularity)];
  return { from: begin < from ? from : begin, through: end > through ? through : end };
}

/**
 * @param {string} date the first of its bucket
 * @param {Granularity} granularity
 */
function lastDay(date, granularity) {
  if (granularity === 'week') return addDays(date, 6) ?? date;
  if (granularity !== 'month') return date;
  const next = addDays(`${date.slice(0, 8)}28`, 4) ?? date;
  return addDays(`${next.slice(0, 8)}01`, -1) ?? date;
}
