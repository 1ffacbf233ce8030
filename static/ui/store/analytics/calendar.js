/**
 * Dates of the calendar and zones of time, for the numbers of a workspace. Pure.
 *
 * A date is a text (`2026-11-01`). Moving it needs no zone: only "today" asks for one. Where days
 * begin and end in a zone is the server's business: its points carry the zone's offset, so their
 * names are read off them and never computed here.
 */

const DAY_MS = 86_400_000;
const DATE = /^(\d{4})-(\d\d)-(\d\d)$/u;
const POINT = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)[\d:.]*(Z|[+-][\d:]+)$/u;

/** @typedef {'hour' | 'day' | 'week' | 'month'} Granularity */

/**
 * `Date.UTC` takes the years below 100 for those of the last century.
 *
 * @param {number[]} parts year, month, day, and hour and minute where there are any
 */
function utc([year, month, day, hour = 0, minute = 0]) {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute);
  return date;
}

/**
 * @param {string} text
 * @returns {boolean} whether it is a date of the calendar that the server takes
 */
export function isDate(text) {
  const parts = DATE.exec(text)?.slice(1).map(Number);
  return parts !== undefined && parts[0] >= 1 && utc(parts).toISOString().slice(0, 10) === text;
}

/** @param {string} date */
const dayNumber = (date) => utc(date.split('-').map(Number)).getTime() / DAY_MS;

/**
 * @param {string} date
 * @param {number} days
 * @returns {string | null} null outside the years 1 to 9999
 */
export function addDays(date, days) {
  const moved = new Date((dayNumber(date) + days) * DAY_MS).toISOString().slice(0, 10);
  return isDate(moved) ? moved : null;
}

/**
 * The days of a range, both ends among them.
 *
 * @param {string} from
 * @param {string} through
 */
export const countDays = (from, through) => dayNumber(through) - dayNumber(from) + 1;

/**
 * The date in a zone.
 *
 * @param {string} zone
 * @param {Date} now
 */
export function dateIn(zone, now) {
  const format = new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', {
    timeZone: zone,
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
  });
  const parts = Object.fromEntries(format.formatToParts(now).map(({ type, value }) => [type, value]));
  return `${parts.year.padStart(4, '0')}-${parts.month}-${parts.day}`;
}

/**
 * Some browsers name places as they were called decades ago. Whoever looks for theirs looks for its
 * present name.
 *
 * @type {Record<string, string>}
 */
const RENAMED = {
  'Africa/Asmera': 'Africa/Asmara',
  'America/Buenos_Aires': 'America/Argentina/Buenos_Aires',
  'America/Godthab': 'America/Nuuk',
  'America/Indianapolis': 'America/Indiana/Indianapolis',
  'Asia/Calcutta': 'Asia/Kolkata',
  'Asia/Katmandu': 'Asia/Kathmandu',
  'Asia/Rangoon': 'Asia/Yangon',
  'Asia/Saigon': 'Asia/Ho_Chi_Minh',
  'Atlantic/Faeroe': 'Atlantic/Faroe',
  'Europe/Kiev': 'Europe/Kyiv',
};

/** @param {string} zone */
function present(zone) {
  const name = Object.hasOwn(RENAMED, zone) ? RENAMED[zone] : zone;
  return isZone(name) ? name : zone;
}

/** The zone of this browser; UTC where it knows none. */
export function ownZone() {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  return timeZone && timeZone !== 'Etc/Unknown' ? present(timeZone) : 'UTC';
}

/** Every zone that can be chosen, by name. */
export function allZones() {
  return [...new Set([...Intl.supportedValuesOf('timeZone').map(present), 'UTC'])].sort();
}

/**
 * Whether a text names a zone. Offsets do not: they know nothing of summer.
 *
 * @param {string} text
 */
export function isZone(text) {
  if (!/^[A-Za-z]/u.test(text)) return false;
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: text }));
  } catch {
    return false;
  }
}

/**
 * The zone that a text names, in whatever case. The server takes it only as it is written.
 *
 * @param {string} text
 * @returns {string | null}
 */
export function zoneNamed(text) {
  if (!isZone(text)) return null;
  const lower = text.toLowerCase();
  const zones = allZones();
  return zones.includes(text) ? text : (zones.find((zone) => zone.toLowerCase() === lower) ?? text);
}

/** @type {(options: Intl.DateTimeFormatOptions) => Intl.DateTimeFormat} */
const words = (options) => new Intl.DateTimeFormat(undefined, { ...options, timeZone: 'UTC' });
const SHORT_DAY = words({ day: 'numeric', month: 'short' });
const HOUR = words({ hour: '2-digit', minute: '2-digit' });
const SHORT_MONTH = words({ month: 'short', year: '2-digit' });
const LONG_DAY = words({ weekday: 'short', day: 'numeric', month: 'long', year: 'numeric' });
const DATE_ONLY = words({ day: 'numeric', month: 'long', year: 'numeric' });
const LONG_MONTH = words({ month: 'long', year: 'numeric' });
const WEEKDAY = words({ weekday: 'long' });
const SHORT_WEEKDAY = words({ weekday: 'short' });
/** A Monday. */
const MONDAY = [2024, 1, 1];

/**
 * What the clocks of its zone say at a point.
 *
 * @param {string} at with the zone's offset
 */
function wallClock(at) {
  const [, year, month, day, hour, minute, offset] = POINT.exec(at) ?? [];
  return { date: utc([year, month, day, hour, minute].map(Number)), offset };
}

/**
 * A point's name, as short as an axis needs it.
 *
 * @param {string} at
 * @param {Granularity} granularity
 */
export function shortName(at, granularity) {
  const { date } = wallClock(at);
  if (granularity === 'month') return SHORT_MONTH.format(date);
  if (granularity !== 'hour' || date.getUTCHours() === 0) return SHORT_DAY.format(date);
  return HOUR.format(date);
}

/**
 * A point's name in full.
 *
 * @param {string} at
 * @param {Granularity} granularity
 */
function longName(at, granularity) {
  const { date } = wallClock(at);
  if (granularity === 'month') return LONG_MONTH.format(date);
  if (granularity === 'week') return `Week of ${DATE_ONLY.format(date)}`;
  return granularity === 'hour' ? `${LONG_DAY.format(date)}, ${HOUR.format(date)}` : LONG_DAY.format(date);
}

/**
 * The names of points in full. An hour that comes twice, when clocks are set back, says which of
 * the two it is.
 *
 * @param {string[]} points
 * @param {Granularity} granularity
 */
export function longNames(points, granularity) {
  const names = points.map((at) => longName(at, granularity));
  return names.map((name, idx) => {
    const twice = name === names[idx - 1] || name === names[idx + 1];
    return twice ? `${name} (UTC${wallClock(points[idx]).offset})` : name;
  });
}

/**
 * A date for people.
 *
 * @param {string} date
 */
export const dateName = (date) => DATE_ONLY.format(utc(date.split('-').map(Number)));

/** The days of the week from Monday on, long and short. */
export function weekdays() {
  return Array.from({ length: 7 }, (_, idx) => {
    const date = utc([MONDAY[0], MONDAY[1], MONDAY[2] + idx]);
    return { long: WEEKDAY.format(date), short: SHORT_WEEKDAY.format(date) };
  });
}

/**
 * An hour of the day, as the clocks of the person write it.
 *
 * @param {number} hour
 */
export const hourName = (hour) => HOUR.format(utc([...MONDAY, hour]));

/**
 * A moment in a zone: a time, and the date where it is not today's.
 *
 * @param {string} iso
 * @param {string} zone
 * @param {Date} now
 */
export function momentIn(iso, zone, now) {
  const moment = new Date(iso);
  const today = dateIn(zone, moment) === dateIn(zone, now);
  const format = new Intl.DateTimeFormat(undefined, {
    timeZone: zone,
    timeStyle: 'short',
    ...(today ? {} : { dateStyle: 'medium' }),
  });
  return format.format(moment);
}
