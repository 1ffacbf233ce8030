/**
 * Words for people: dates, names, links in messages. Used by views and widgets. Pure but for the
 * time zone and language of the browser.
 */

/** Control characters, invisible ones and those that turn the direction of writing end a link. */
// eslint-disable-next-line no-control-regex
const LINK = /\bhttps?:\/\/[^\s<>"'`\u0000-\u001f\u200b-\u200f\u202a-\u202e\u2066-\u2069]+/giu;

/**
 * Cuts a text into plain parts and links. Only `http` and `https` become links: everything else
 * people can write after a colon (`javascript:`, `data:`) stays text. Punctuation at the end
 * belongs to the sentence, and so does a closing bracket that was not opened in the link.
 *
 * @param {string} text
 * @returns {{ text: string, href?: string }[]}
 */
export function linkify(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const raw = trimEnd(match[0]);
    const href = safeHref(raw);
    if (!href) continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: raw, href });
    end = match.index + raw.length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

/** @type {Record<string, string>} */
const OPENING = { ')': '(', ']': '[', '}': '{' };

/** @param {string} raw */
function trimEnd(raw) {
  let text = raw;
  for (;;) {
    const last = text[text.length - 1];
    const open = OPENING[last];
    const unopened = open && text.split(last).length > text.split(open).length;
    if (!unopened && !'.,;:!?*_~…'.includes(last)) return text;
    text = text.slice(0, -1);
  }
}

/** @param {string} raw */
function safeHref(raw) {
  try {
    const url = new URL(raw);
    return (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname ? url.href : null;
  } catch {
    return null;
  }
}

/**
 * Whether a text is nothing but one to three emojis, which are then shown large.
 *
 * @param {string} text
 */
export function isJumbo(text) {
  const trimmed = text.trim();
  if (
    trimmed.length > 48 ||
    !/^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|\u200d|\ufe0f|\s)+$/u.test(trimmed)
  )
    return false;
  const segments = [...new Intl.Segmenter().segment(trimmed.replace(/\s/gu, ''))];
  return segments.length <= 3;
}

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const yearFormat = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const weekdayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'short' });
const shortFormat = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

/** @param {string} iso */
export const clockTime = (iso) => timeFormat.format(new Date(iso));

/**
 * Without “AM” or “PM”, for where there is room for five characters.
 *
 * @param {string} iso
 */
export const clockDigits = (iso) =>
  timeFormat
    .formatToParts(new Date(iso))
    .filter(({ type }) => type !== 'dayPeriod')
    .map(({ value }) => value)
    .join('')
    .trim();

/** @param {string} iso */
export const longDate = (iso) => yearFormat.format(new Date(iso));

/** @param {string} iso */
export const fullTime = (iso) => fullFormat.format(new Date(iso));

/**
 * A day in the local zone, as a key to compare by.
 *
 * @param {string} iso
 */
export function dayKey(iso) {
  const date = new Date(iso);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

/**
 * @param {string} iso
 * @param {Date} now
 */
function daysAgo(iso, now) {
  /** @param {Date} date */
  const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(now) - midnight(new Date(iso))) / 86_400_000);
}

/**
 * The heading of a day: Today, Yesterday, a weekday with date, or a date with year.
 *
 * @param {string} iso
 * @param {Date} [now]
 */
export function dayName(iso, now = new Date()) {
  const days = daysAgo(iso, now);
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return (days < 180 ? dayFormat : yearFormat).format(new Date(iso));
}

/**
 * When something happened, as short as a list needs it.
 *
 * @param {string} iso
 * @param {Date} [now]
 */
export function shortTime(iso, now = new Date()) {
  const days = daysAgo(iso, now);
  if (days <= 0) return clockTime(iso);
  return (days < 7 ? weekdayFormat : shortFormat).format(new Date(iso));
}

/**
 * “Ann”, “Ann and Ben”, “Ann, Ben and 3 others”.
 *
 * @param {string[]} names
 * @param {number} [shown] how many are named at most
 */
export function nameList(names, shown = 3) {
  if (names.length <= 1) return names[0] ?? '';
  if (names.length <= shown) return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
  const rest = names.length - (shown - 1);
  return `${names.slice(0, shown - 1).join(', ')} and ${rest} others`;
}

/**
 * “1 member”, “2 members”.
 *
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`;
