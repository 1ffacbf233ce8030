/**
 * What is asked of the server for a view, and what it answers. Pure.
 *
 * @import { Granularity } from './calendar.js'
 * @import { Dates, View } from './view.js'
 */
import { addDays } from './calendar.js';
import { datesBefore, datesOf, granularityOf } from './view.js';

/** @typedef {{ path: string, query: Record<string, string | number> }} Question */

/**
 * @typedef {object} Common what every answer has
 * @property {string} from
 * @property {string} to
 * @property {string} tz
 * @property {string} data_through everything up to then is in it
 */

/**
 * @typedef {object} Sums
 * @property {number} messages
 * @property {number} active_users
 * @property {number} active_conversations
 * @property {number} conversations_started
 * @property {number} new_users
 * @property {number | null} reply_delay_p50_ms
 */
/** @typedef {Common & { current: Sums, previous: Sums }} Summary */
/** @typedef {{ key: string, label: string | null, values: number[], total: number }} Series */
/** @typedef {Common & { granularity: Granularity, points: string[], series: Series[] }} Messages */

/**
 * @typedef {object} ActivePoint
 * @property {string} at
 * @property {number} active
 * @property {number} new
 * @property {number} returning
 * @property {number} weekly
 * @property {number} monthly
 * @property {number | null} stickiness
 */
/** @typedef {Common & { points: ActivePoint[] }} Active */

/**
 * @typedef {object} TopUser
 * @property {{ id: string, name: string | null, kind: string }} user
 * @property {number} messages
 * @property {number} conversations
 * @property {number} active_days
 * @property {string} last_message_at
 */
/** @typedef {Common & { items: TopUser[] }} TopUsers */

/**
 * @typedef {object} TopConversation
 * @property {{ id: string, title: string | null }} conversation
 * @property {number} messages
 * @property {number} participants
 * @property {string} last_message_at
 */
/** @typedef {Common & { items: TopConversation[] }} TopConversations */
/** @typedef {Common & { cells: number[][], total: number }} Heatmap */

/**
 * @typedef {object} LatencyPoint
 * @property {string} at
 * @property {number} count
 * @property {number | null} p50_ms
 * @property {number | null} p95_ms
 * @property {number | null} p99_ms
 * @property {number | null} max_ms
 */
/** @typedef {Common & { points: LatencyPoint[] }} Latency */

/** So many groups and rows are shown. */
const TOP = 10;

/**
 * What is asked for each part of the page, by its name. Where there is a second question, it is the
 * same about the range before.
 *
 * @param {View} view
 * @param {Date} now
 * @returns {Record<string, Question[]>}
 */
export function questionsFor(view, now) {
  const dates = datesOf(view, now);
  const before = view.compare ? datesBefore(dates) : null;
  const granularity = granularityOf(view, dates);
  /**
   * @param {string} route
   * @param {Question['query']} [query]
   * @param {Dates} [asked]
   * @returns {Question}
   */
  const about = (route, query = {}, asked = dates) => ({
    path: `/api/analytics/${route}`,
    query: { ...rangeQuery(asked), tz: view.zone, ...query },
  });
  /**
   * @param {string} route
   * @param {Question['query']} query
   */
  const again = (route, query) => (before ? [about(route, query, before)] : []);
  /** @type {Question['query']} */
  const grouped = view.group === 'none' ? {} : { group_by: view.group, limit: TOP };
  const peopleBy = { granularity: activeGranularity(granularity) };
  return {
    summary: [about('summary')],
    messages: [about('messages', { granularity, ...grouped }), ...again('messages', { granularity })],
    active: [about('users/active', peopleBy), ...again('users/active', peopleBy)],
    heatmap: [about('heatmap')],
    people: [about('users/top', { limit: TOP })],
    conversations: [about('conversations/top', { sort: view.sort, limit: TOP })],
    latency: [about('latency', { of: view.latency, granularity })],
  };
}

/**
 * Half open, as the server has it.
 *
 * @param {Dates} dates
 */
const rangeQuery = ({ from, through }) => ({ from, to: addDays(through, 1) ?? through });

/**
 * People are counted by the day at least.
 *
 * @param {Granularity} granularity
 */
export const activeGranularity = (granularity) => (granularity === 'hour' ? 'day' : granularity);
