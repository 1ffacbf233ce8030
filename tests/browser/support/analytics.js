/**
 * Analytics as the contract has it, made up: the same numbers for the same question, every time.
 *
 * It answers the page's questions in the browser, before they reach the server, so that a test says
 * what there is, how long it takes, and what is refused. `asked` holds the questions.
 *
 * @import { Page, Route } from 'playwright-core'
 */

const HOUR_MS = 3_600_000;
/** Of a day's messages, by hour; people sleep, eat and go home. */
const HOURS = [1, 1, 0, 0, 0, 1, 2, 5, 11, 14, 13, 12, 7, 9, 12, 13, 11, 9, 6, 4, 4, 3, 2, 1];
const HOURS_SUM = HOURS.reduce((sum, share) => sum + share, 0);
/** From Monday on. */
const WEEKDAYS = [1, 1.08, 1.05, 1.02, 0.88, 0.22, 0.15];

export const TITLES = [
  'Harbour festival',
  'Customer support',
  '=HYPERLINK("https://evil.example","Budget")',
  'Release train',
  null,
  'Volunteers, "Saturday"',
  'Design reviews',
  'Kitchen',
  'On call',
  'Hiring',
  'Bikes',
  'Choir',
];
export const PEOPLE = [
  'Ada Lindqvist',
  'Ben Okafor',
  'Mira Castellanos',
  'Jun Watanabe',
  '@SUM(1+1)',
  'Chiara Bellini',
  'Tomasz Nowak',
  'Leila Haddad',
  'Oscar Björk',
  'Priya Raman',
];

/**
 * A number from 0 to 1 that belongs to a text.
 *
 * @param {string} text
 */
function chance(text) {
  let hash = 2_166_136_261;
  for (const char of text) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16_777_619);
  return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32;
}

/** @param {number} n */
const id = (n) => `01931f00-0000-7000-8000-0000000${(0xa1b00 + n).toString(16)}`;

/**
 * How far the clocks of a zone are ahead at an instant, in milliseconds.
 *
 * @param {string} zone
 * @param {number} instant
 */
function offsetAt(zone, instant) {
  const format = new Intl.DateTimeFormat('en', { timeZone: zone, timeZoneName: 'longOffset' });
  const name = format.formatToParts(instant).find(({ type }) => type === 'timeZoneName')?.value ?? '';
  const [, sign = '+', hours = '0', minutes = '0'] = /GMT([+-])(\d\d):(\d\d)/u.exec(name) ?? [];
  return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000;
}

/**
 * The first instant of a date in a zone.
 *
 * @param {string} date
 * @param {string} zone
 */
function midnight(date, zone) {
  const guess = Date.parse(`${date}T00:00:00Z`);
  const first = guess - offsetAt(zone, guess);
  return guess - offsetAt(zone, first);
}

/**
 * An instant as the clocks of a zone show it, with their offset.
 *
 * @param {number} instant
 * @param {string} zone
 */
function zoned(instant, zone) {
  const offset = offsetAt(zone, instant);
  const minutes = Math.abs(offset) / 60_000;
  const two = (/** @type {number} */ value) => String(Math.floor(value)).padStart(2, '0');
  const suffix = offset === 0 ? 'Z' : `${offset < 0 ? '-' : '+'}${two(minutes / 60)}:${two(minutes % 60)}`;
  return new Date(instant + offset).toISOString().replace('Z', suffix);
}

/**
 * @param {string} date
 * @param {number} days
 */
const later = (date, days) => new Date(Date.parse(date) + days * 24 * HOUR_MS).toISOString().slice(0, 10);

/** @typedef {{ status: number, body: object, headers?: Record<string, string> }} Refusal */

/**
 * @typedef {{ at: string, hours: { date: string, hour: number }[] }} Bucket
 */

export class FakeAnalytics {
  /** @type {URL[]} */
  asked = [];
  titles = TITLES;
  people = PEOPLE;
  /** Nobody has written anything. */
  empty = false;
  /** @type {(url: URL) => Refusal | null} */
  refuses = () => null;
  /** @type {(url: URL) => Promise<unknown>} settles when an answer may leave */
  held = async () => {};

  /**
   * Answers what a page asks from now on.
   *
   * @param {Page} page
   */
  async answerFor(page) {
    await page.route(/\/api\/analytics\//u, (route) => this.#answer(route));
  }

  /** @param {Route} route */
  async #answer(route) {
    const url = new URL(route.request().url());
    this.asked.push(url);
    await this.held(url);
    const refused = this.refuses(url);
    const { status, body, headers } = refused ?? { status: 200, body: this.respond(url), headers: {} };
    const contentType = refused ? 'application/problem+json' : 'application/json';
    // Who does not wait any more is not answered.
    await route.fulfill({ status, contentType, headers, body: JSON.stringify(body) }).catch(() => {});
  }

  /**
   * The questions to a route so far.
   *
   * @param {string} route
   */
  questions(route) {
    const path = `/api/analytics/${route}`;
    return this.asked
      .filter(({ pathname }) => pathname === path)
      .map(({ searchParams }) => Object.fromEntries(searchParams));
  }

  /**
   * What is answered to a question.
   *
   * @param {URL} url
   * @returns {any}
   */
  respond(url) {
    const query = Object.fromEntries(url.searchParams);
    const { from, to, tz, granularity = 'day' } = query;
    const now = new Date();
    const common = {
      from: new Date(midnight(from, tz)).toISOString(),
      to: new Date(midnight(to, tz)).toISOString(),
      tz,
      generated_at: now.toISOString(),
      data_through: new Date(now.getTime() - 1_200).toISOString(),
    };
    const buckets = this.#buckets(from, to, tz, granularity);
    const route = url.pathname.replace('/api/analytics/', '');
    /** @type {Record<string, () => object>} */
    const answers = {
      summary: () => this.#summary(from, to),
      messages: () => ({ granularity, points: buckets.map(({ at }) => at), series: this.#series(buckets, query) }),
      'users/active': () => ({ points: buckets.map((bucket) => this.#active(bucket)) }),
      'users/top': () => ({ items: this.#people(from, to) }),
      'conversations/top': () => ({ items: this.#conversations(from, to, query.sort) }),
      heatmap: () => this.#heatmap(from, to),
      latency: () => ({ points: buckets.map((bucket) => this.#latency(bucket, query.of)) }),
    };
    return { ...common, ...answers[route]() };
  }

  /**
   * Messages in an hour of a date. Work grows over the years.
   *
   * @param {string} date
   * @param {number} hour
   */
  messagesIn(date, hour) {
    if (this.empty || Date.parse(date) > Date.now()) return 0;
    const weekday = (new Date(date).getUTCDay() + 6) % 7;
    const growth = 0.75 + 0.25 * Math.sin(Date.parse(date) / 4e9) + (Date.parse(date) - 1.76e12) / 8e10;
    const day = 900 * WEEKDAYS[weekday] * Math.max(0.1, growth) * (0.8 + 0.4 * chance(date));
    return Math.round((day * HOURS[hour] * (0.7 + 0.6 * chance(`${date} ${hour}`))) / HOURS_SUM);
  }

  /**
   * @param {string} from
   * @param {string} to
   * @param {string} tz
   * @param {string} granularity
   * @returns {Bucket[]}
   */
  #buckets(from, to, tz, granularity) {
    /** @type {Bucket[]} */
    const buckets = [];
    if (granularity === 'hour') {
      for (let instant = midnight(from, tz); instant < midnight(to, tz); instant += HOUR_MS) {
        const at = zoned(instant, tz);
        buckets.push({ at, hours: [{ date: at.slice(0, 10), hour: Number(at.slice(11, 13)) }] });
      }
      return buckets;
    }
    for (let date = from; date < to; date = later(date, 1)) {
      const weekday = (new Date(date).getUTCDay() + 6) % 7;
      const starts = { day: date, week: later(date, -weekday), month: `${date.slice(0, 8)}01` };
      const at = zoned(midnight(starts[/** @type {'day'} */ (granularity)], tz), tz);
      if (buckets.at(-1)?.at !== at) buckets.push({ at, hours: [] });
      buckets.at(-1)?.hours.push(...HOURS.map((_, hour) => ({ date, hour })));
    }
    return buckets;
  }

  /** @param {Bucket['hours']} hours */
  #sum(hours) {
    return hours.reduce((sum, { date, hour }) => sum + this.messagesIn(date, hour), 0);
  }

  /**
   * @param {Bucket[]} buckets
   * @param {Record<string, string>} query
   */
  #series(buckets, { group_by: group = 'none', limit = '10' }) {
    const wholes = buckets.map(({ hours }) => this.#sum(hours));
    const total = (/** @type {number[]} */ values) => values.reduce((sum, value) => sum + value, 0);
    if (group === 'none') return [{ key: 'all', label: null, values: wholes, total: total(wholes) }];
    const kinds = [
      ['person', 'person'],
      ['agent', 'agent'],
      ['system', 'system'],
    ];
    const keys =
      {
        conversation: this.titles.map((title, n) => [id(n), title]),
        user: [...this.people, 'Noor', 'Sam'].map((name, n) => [id(n + 100), name]),
        kind: kinds,
      }[group] ?? kinds;
    const weights = keys.map((_, n) => 1 / (n + 1.4));
    const whole = total(weights);
    const left = [...wholes];
    const all = keys.map(([key, label], n) => {
      const values = wholes.map((value, idx) => {
        const part = Math.round((value * weights[n] * (0.6 + 0.8 * chance(`${key} ${buckets[idx].at}`))) / whole);
        const taken = n === keys.length - 1 ? left[idx] : Math.min(part, left[idx]);
        left[idx] -= taken;
        return taken;
      });
      return { key, label, values, total: total(values) };
    });
    const groups = all.filter((one) => one.total > 0).sort((a, b) => b.total - a.total);
    const [shown, rest] = [groups.slice(0, Number(limit)), groups.slice(Number(limit))];
    if (rest.length === 0) return shown;
    const others = wholes.map((_, idx) => total(rest.map(({ values }) => values[idx])));
    return [...shown, { key: 'other', label: null, values: others, total: total(others) }];
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  #sums(from, to) {
    const buckets = this.#buckets(from, to, 'UTC', 'day');
    const messages = buckets.reduce((sum, { hours }) => sum + this.#sum(hours), 0);
    const people = messages === 0 ? 0 : Math.min(48, Math.round(11 + buckets.length * 0.7 + 4 * chance(from)));
    return {
      messages,
      active_users: people,
      active_conversations: Math.min(messages, Math.round(people * 0.9)),
      conversations_started: Math.min(messages, Math.round(buckets.length / 5)),
      new_users: messages === 0 ? 0 : Math.round(buckets.length / 6 + 2 * chance(from)),
      reply_delay_p50_ms: messages === 0 ? null : Math.round(84_000 + 60_000 * chance(to)),
    };
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  #summary(from, to) {
    const days = (Date.parse(to) - Date.parse(from)) / (24 * HOUR_MS);
    return { current: this.#sums(from, to), previous: this.#sums(later(from, -days), from) };
  }

  /** @param {Bucket} bucket */
  #active({ at, hours }) {
    const messages = this.#sum(hours);
    const monthly = this.empty ? 0 : Math.round(38 + 6 * chance(`m${at}`));
    const active = Math.min(monthly, Math.round(Math.sqrt(messages) * (0.85 + 0.2 * chance(at))));
    const fresh = Math.min(active, Math.floor(3 * chance(`n${at}`)));
    return {
      at,
      active,
      new: fresh,
      returning: active - fresh,
      weekly: Math.max(active, monthly - 5),
      monthly,
      stickiness: monthly === 0 ? null : active / monthly,
    };
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  #people(from, to) {
    const { messages } = this.#sums(from, to);
    return this.people
      .map((name, n) => ({
        user: { id: id(n + 100), name, kind: 'person' },
        messages: Math.round(messages / (5 + n * 2.2)),
        conversations: 12 - n,
        active_days: Math.max(1, 22 - 2 * n),
        last_message_at: new Date(Date.now() - n * 5 * HOUR_MS).toISOString(),
      }))
      .filter((person) => person.messages > 0);
  }

  /**
   * @param {string} from
   * @param {string} to
   * @param {string} sort
   */
  #conversations(from, to, sort) {
    const { messages } = this.#sums(from, to);
    const items = this.titles.slice(0, 10).map((title, n) => ({
      conversation: { id: id(n), title },
      messages: Math.round(messages / (4 + n * 2.6)),
      participants: 5 + ((n * 7) % 19),
      last_message_at: new Date(Date.now() - ((n * 5) % 11) * 3 * HOUR_MS).toISOString(),
    }));
    const shown = items.filter((item) => item.messages > 0);
    if (sort === 'participants') shown.sort((a, b) => b.participants - a.participants);
    if (sort === 'recent') shown.sort((a, b) => b.last_message_at.localeCompare(a.last_message_at));
    return shown;
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  #heatmap(from, to) {
    const cells = Array.from({ length: 7 }, () => HOURS.map(() => 0));
    for (let date = from; date < to; date = later(date, 1)) {
      const row = cells[(new Date(date).getUTCDay() + 6) % 7];
      for (let hour = 0; hour < 24; hour += 1) row[hour] += this.messagesIn(date, hour);
    }
    return { cells, total: cells.flat().reduce((sum, value) => sum + value, 0) };
  }

  /**
   * @param {Bucket} bucket
   * @param {string} of
   */
  #latency({ at, hours }, of = 'append') {
    const count = this.#sum(hours);
    if (count === 0) return { at, count, p50_ms: null, p95_ms: null, p99_ms: null, max_ms: null };
    const base = of === 'deliver' ? 0.6 : 2.1;
    const p50 = base * (0.9 + 0.3 * chance(at));
    return { at, count, p50_ms: p50, p95_ms: p50 * 2.4, p99_ms: p50 * (4 + 2 * chance(`9${at}`)), max_ms: p50 * 14 };
  }
}
