/**
 * The page of numbers about the workspace, for its admins: sums, series, hours, tops, latency.
 *
 * Loaded by `app.js` for those who open it. It owns the view (what is looked at), which the address
 * holds whole, and asks for each part what it needs: a part whose questions did not change is left
 * alone. Nothing is asked again by itself; an open page costs the server nothing. A part that fails
 * says so and the others stand. The server decides who may see it; here it is only not offered.
 *
 * @import { Rest } from '../../client/rest.js'
 * @import { User } from '../../client/types.js'
 * @import { Granularity } from '../store/analytics/calendar.js'
 * @import { Common, Question, Summary } from '../store/analytics/questions.js'
 * @import { View } from '../store/analytics/view.js'
 * @import { Context, Part } from './analytics/panel.js'
 */
import { ANALYTICS, pushAddress, replaceAddress } from '../router.js';
import { isAdmin } from '../store.js';
import { Answers } from '../store/analytics/answers.js';
import { countDays, dateName, momentIn, ownZone } from '../store/analytics/calendar.js';
import { questionsFor } from '../store/analytics/questions.js';
import { datesOf, datesOfPoints, formatView, granularityOf, parseView } from '../store/analytics/view.js';
import { h } from '../widgets/dom.js';
import { icon, iconButton } from '../widgets/icons.js';
import { stylesheet } from '../widgets/stylesheet.js';
import { activePart } from './analytics/active.js';
import { Cards, beforeWords } from './analytics/cards.js';
import { Controls } from './analytics/controls.js';
import { heatmapPart } from './analytics/heatmap.js';
import { latencyPart } from './analytics/latency.js';
import { messagesPart } from './analytics/messages.js';
import { conversationsPart, peoplePart } from './analytics/tops.js';

/**
 * @typedef {object} Options
 * @property {Rest} rest
 * @property {User} me
 * @property {() => void} leave goes back to the conversations
 * @property {(conversationId: string) => void} open
 */

/**
 * @typedef {object} Asked
 * @property {string} key what was asked last, to know whether it is asked for again
 * @property {AbortController} abort
 */

/**
 * The page, once its styles are there.
 *
 * @param {Options} options
 */
export async function openAnalytics(options) {
  const styles = ['../../vendor/uplot/uPlot.min.css', '../../css/analytics.css'];
  await Promise.all(styles.map((path) => stylesheet(new URL(path, import.meta.url).href)));
  return isAdmin(options.me) ? new Analytics(options) : { node: refusal(options.leave), start() {}, destroy() {} };
}

export class Analytics {
  #options;
  /** @type {View} */
  #view;
  #now = new Date();
  #answers;
  #end = new AbortController();
  /** @type {Map<string, Asked>} by part */
  #asked = new Map();
  /** @type {Summary | null} */
  #summary = null;
  /** @type {Record<string, Part>} */
  #parts;
  #cards = new Cards();

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#answers = new Answers(options.rest);
    this.#view = parseView(location.search, ownZone());
    this.controls = new Controls(this.#view, (changes) => this.#change(changes));
    this.#parts = {
      messages: messagesPart(this.#context()),
      active: activePart(),
      heatmap: heatmapPart(),
      people: peoplePart(),
      conversations: conversationsPart(this.#context()),
      latency: latencyPart(this.#context()),
    };
    this.range = h('p', { class: 'analytics-range', dataset: { testid: 'range' } });
    this.fresh = h('p', { class: 'analytics-fresh', role: 'status', dataset: { testid: 'fresh' } });
    this.node = this.#layout();
  }

  #layout() {
    const head = h(
      'header',
      { class: 'analytics-head' },
      iconButton('back', 'Back to the conversations', {
        dataset: { testid: 'leave-analytics' },
        on: { click: this.#options.leave },
      }),
      h('div', { class: 'analytics-names' }, h('h1', { text: 'Analytics' }), this.range),
      this.fresh,
      iconButton('retry', 'Refresh', { dataset: { testid: 'refresh' }, on: { click: () => this.#refresh() } }),
      this.#cards.csv,
    );
    const panels = Object.values(this.#parts).map(({ panel }) => panel.node);
    return h(
      'div',
      { class: 'analytics', dataset: { testid: 'analytics-page' } },
      head,
      h(
        'main',
        { class: 'analytics-main' },
        this.controls.node,
        this.#cards.node,
        h('div', { class: 'panels' }, panels),
      ),
    );
  }

  start() {
    document.title = 'Analytics · Parlance';
    const { signal } = this.#end;
    window.addEventListener('popstate', () => this.#follow(), { signal });
    replaceAddress(ANALYTICS + formatView(this.#view));
    this.#show();
  }

  destroy() {
    this.#end.abort();
    for (const { abort } of this.#asked.values()) abort.abort();
    for (const { panel } of Object.values(this.#parts)) panel.destroy();
    document.title = 'Parlance';
  }

  /** @param {Partial<View>} changes */
  #change(changes) {
    this.#view = { ...this.#view, ...changes };
    const address = ANALYTICS + formatView(this.#view);
    if (address !== location.pathname + location.search) pushAddress(address);
    this.#show();
  }

  /** The address changed, by the way back or forward. */
  #follow() {
    this.#view = parseView(location.search, ownZone());
    this.#show();
  }

  #refresh() {
    for (const { abort } of this.#asked.values()) abort.abort();
    this.#asked.clear();
    this.#show();
  }

  /** @returns {Context} */
  #context() {
    const [view, now] = [this.#view, this.#now];
    const dates = datesOf(view, now);
    return {
      view,
      dates,
      granularity: granularityOf(view, dates),
      change: (changes) => this.#change(changes),
      zoom: (first, last, granularity) => this.#zoom(first, last, granularity),
      file: (part) => `parlance-${part}-${dates.from}-to-${dates.through}.csv`,
      open: this.#options.open,
    };
  }

  /**
   * @param {string} first
   * @param {string} last
   * @param {Granularity} granularity
   */
  #zoom(first, last, granularity) {
    const dates = datesOfPoints(first, last, granularity, datesOf(this.#view, this.#now));
    this.#change({ preset: null, dates });
  }

  /** Shows the view: asks for what is not there yet. */
  #show() {
    this.#now = new Date();
    const context = this.#context();
    const { view, dates } = context;
    this.controls.follow(view, this.#now);
    const days =
      dates.from === dates.through ? dateName(dates.from) : `${dateName(dates.from)} – ${dateName(dates.through)}`;
    this.range.textContent = `${days} · ${view.zone.replaceAll('_', ' ')}`;
    const { summary, ...questions } = questionsFor(view, this.#now);
    if (this.#isNew('summary', summary)) this.#askSums(summary, context);
    else if (this.#summary) this.#showSums(this.#summary, context);
    for (const [name, part] of Object.entries(this.#parts)) {
      part.follow(view);
      if (this.#isNew(name, questions[name])) this.#askPart(name, questions[name], context);
    }
  }

  /**
   * @param {string} name of a part
   * @param {Question[]} questions
   */
  #isNew(name, questions) {
    return this.#asked.get(name)?.key !== JSON.stringify(questions);
  }

  /**
   * @param {string} name of a part
   * @param {Question[]} questions
   * @param {Context} context
   */
  #askPart(name, questions, context) {
    const { panel, draw } = this.#parts[name];
    panel.busy();
    this.#ask(name, questions, {
      done: (answers) => draw(answers, context),
      failed: (problem) => panel.fail(problem, () => this.#askPart(name, questions, context)),
    });
  }

  /**
   * @param {Question[]} questions
   * @param {Context} context
   */
  #askSums(questions, context) {
    this.#cards.busy();
    this.#summary = null;
    this.#ask('summary', questions, {
      done: ([answer]) => this.#showSums((this.#summary = /** @type {Summary} */ (answer)), context),
      failed: (problem) => this.#cards.fail(problem, () => this.#askSums(questions, context)),
    });
  }

  /**
   * @param {Summary} summary
   * @param {Context} context
   */
  #showSums(summary, { view, dates, file }) {
    const before = beforeWords(countDays(dates.from, dates.through));
    this.#cards.show(summary, { before, compare: view.compare, file: file('sums') });
    this.fresh.textContent = `Complete up to ${momentIn(summary.data_through, view.zone, new Date())}`;
  }

  /**
   * Asks for a part, instead of what was asked for it before.
   *
   * @param {string} name of the part
   * @param {Question[]} questions
   * @param {{ done: (answers: Common[]) => void, failed: (problem: any) => void }} then
   */
  async #ask(name, questions, { done, failed }) {
    this.#asked.get(name)?.abort.abort();
    const abort = new AbortController();
    const { signal } = abort;
    this.#asked.set(name, { key: JSON.stringify(questions), abort });
    try {
      const answers = await Promise.all(questions.map((question) => this.#answers.ask(question, signal)));
      if (!signal.aborted) done(answers);
    } catch (problem) {
      if (signal.aborted || problem.code === 'unauthenticated') return;
      abort.abort();
      if (problem.code === 'forbidden') this.#refused();
      else failed(problem);
    }
  }

  /** The role has changed meanwhile. */
  #refused() {
    this.destroy();
    this.node.replaceWith(refusal(this.#options.leave));
  }
}

/** @param {() => void} leave */
function refusal(leave) {
  return h(
    'main',
    { class: 'welcome', dataset: { testid: 'analytics-refused' } },
    icon('chart'),
    h('h1', { text: 'Analytics is for admins' }),
    h('p', { text: 'Owners and admins of the workspace see its numbers. Ask one of them to make you an admin.' }),
    h(
      'button',
      { type: 'button', class: 'button primary', dataset: { testid: 'leave-analytics' }, on: { click: leave } },
      'Back to the conversations',
    ),
  );
}
