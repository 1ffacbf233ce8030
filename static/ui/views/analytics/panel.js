/**
 * The frame of one part of the page of numbers: its heading, its choices, and what it shows:
 * nothing yet, a picture, its table, that there is nothing, or what went wrong.
 *
 * Used by the parts beside it. The picture before stays while the next one is on its way, so that
 * the page does not jump. Every part can be read as a table and taken away as a CSV file.
 *
 * @import { Granularity } from '../../store/analytics/calendar.js'
 * @import { Common } from '../../store/analytics/questions.js'
 * @import { Dates, View } from '../../store/analytics/view.js'
 * @import { Child } from '../../widgets/dom.js'
 * @import { Data } from '../../widgets/data-table.js'
 */
import { download } from '../../widgets/csv.js';
import { csvOf, dataTable } from '../../widgets/data-table.js';
import { h } from '../../widgets/dom.js';
import { icon, iconButton } from '../../widgets/icons.js';
import { plural } from '../../widgets/text.js';

/**
 * What is said of a `Problem`.
 *
 * @typedef {object} Failure
 * @property {string} code
 * @property {string} message
 * @property {{ message: string }[]} [errors]
 * @property {number | null} retryAfterMs
 */

/** @typedef {(first: string, last: string, granularity: Granularity) => void} Zoom by points */

/**
 * What a part is given by the page.
 *
 * @typedef {object} Context
 * @property {View} view what is looked at
 * @property {Dates} dates
 * @property {Granularity} granularity
 * @property {(changes: Partial<View>) => void} change looks at something else
 * @property {Zoom} zoom looks at the time of some points only
 * @property {(part: string) => string} file a name for a file of this view
 * @property {(conversationId: string) => void} open
 */

/**
 * @typedef {object} Part
 * @property {Panel} panel
 * @property {(view: View) => void} follow its choices show the view
 * @property {(answers: Common[], context: Context) => void} draw
 */

/**
 * @typedef {object} Shown
 * @property {Child} picture
 * @property {Data} data
 * @property {string} file name of the CSV file
 * @property {string} [note] a word below
 * @property {boolean} [isTable] the picture is a table itself
 * @property {() => void} [destroy] ends the picture
 */

export class Panel {
  /** @type {Shown | null} */
  #shown = null;
  #asTable = false;
  #testid;

  /**
   * @param {object} options
   * @param {string} options.title
   * @param {string} options.testid
   * @param {string} options.hint what is counted
   * @param {HTMLElement[]} [options.choices]
   * @param {boolean} [options.wide]
   */
  constructor({ title, testid, hint, choices = [], wide = false }) {
    this.#testid = testid;
    this.choices = choices;
    this.table = iconButton('table', `Show ${title} as a table`, {
      'aria-pressed': 'false',
      dataset: { testid: `${testid}-table` },
      on: { click: () => this.#toggle() },
    });
    this.csv = iconButton('download', `Download ${title} as CSV`, {
      dataset: { testid: `${testid}-csv` },
      on: { click: () => this.#shown && download(this.#shown.file, csvOf(this.#shown.data)) },
    });
    this.body = h('div', { class: 'panel-body' });
    const id = `panel-${testid}`;
    this.node = h(
      'section',
      { class: wide ? 'panel wide' : 'panel', 'aria-labelledby': id, 'aria-busy': 'true', dataset: { testid } },
      h(
        'header',
        { class: 'panel-head' },
        h('div', { class: 'panel-names' }, h('h2', { id, text: title }), h('p', { class: 'panel-hint', text: hint })),
        h('div', { class: 'panel-tools' }, choices, this.table, this.csv),
      ),
      this.body,
    );
    this.#enable(false);
    this.body.append(skeleton());
  }

  destroy() {
    this.#shown?.destroy?.();
    this.#shown = null;
  }

  /** Something is on its way. */
  busy() {
    this.node.setAttribute('aria-busy', 'true');
    // What is said instead of a picture is out of date now; a picture is good until the next one.
    if (!this.#shown) this.body.replaceChildren(skeleton());
  }

  /** @param {Shown} shown */
  show(shown) {
    this.#settle();
    this.#shown = shown;
    this.#enable(true);
    this.table.hidden = Boolean(shown.isTable);
    this.#draw();
  }

  /**
   * There is nothing to show.
   *
   * @param {string} text
   */
  nothing(text) {
    this.#settle();
    this.body.replaceChildren(
      h('p', { class: 'panel-nothing', dataset: { testid: `${this.#testid}-nothing` } }, icon('chart'), text),
    );
  }

  /**
   * @param {Failure} problem
   * @param {() => void} again
   */
  fail(problem, again) {
    this.#settle();
    this.body.replaceChildren(
      h(
        'div',
        { class: 'panel-fault', role: 'alert', dataset: { testid: `${this.#testid}-fault` } },
        icon('warning'),
        h('p', { text: faultText(problem) }),
        h(
          'button',
          { type: 'button', class: 'button', dataset: { testid: `${this.#testid}-again` }, on: { click: again } },
          'Try again',
        ),
      ),
    );
  }

  #settle() {
    this.destroy();
    this.node.setAttribute('aria-busy', 'false');
    this.#enable(false);
  }

  /** @param {boolean} yes */
  #enable(yes) {
    for (const button of [this.table, this.csv]) /** @type {HTMLButtonElement} */ (button).disabled = !yes;
  }

  #toggle() {
    this.#asTable = !this.#asTable;
    this.table.setAttribute('aria-pressed', String(this.#asTable));
    this.#draw();
  }

  #draw() {
    if (!this.#shown) return;
    const { picture, data, note, isTable } = this.#shown;
    const content = this.#asTable && !isTable ? dataTable(data) : picture;
    this.body.replaceChildren(
      ...[content, note ? h('p', { class: 'panel-note', text: note }) : null].flat().filter(isNode),
    );
  }
}

/**
 * @param {unknown} child
 * @returns {child is Node}
 */
const isNode = (child) => child instanceof Node;

/** In a picture's place until there is one. */
function skeleton() {
  return h(
    'div',
    { class: 'skeleton', role: 'status' },
    h('span', { class: 'visually-hidden', text: 'Loading…' }),
    Array.from({ length: 9 }, () => h('i', {})),
  );
}

/** @param {Failure} problem */
export function faultText({ code, message, errors, retryAfterMs }) {
  const wait = retryAfterMs ? ` Try again in ${plural(Math.ceil(retryAfterMs / 1_000), 'second')}.` : '';
  if (code === 'rate_limited') return `That were too many questions for now.${wait}`;
  if (code === 'overloaded') return `The server is busy with other questions.${wait}`;
  return `${errors?.[0]?.message ?? message}${wait}`;
}

/**
 * A choice among a few, without a visible label.
 *
 * @param {object} options
 * @param {string} options.label
 * @param {string} options.testid
 * @param {Record<string, string>} options.options words by value
 * @param {string} options.value
 * @param {(value: string) => void} options.choose
 */
export function choice({ label, testid, options, value, choose }) {
  /** @type {HTMLSelectElement} */
  const select = h(
    'select',
    {
      class: 'input choice-select',
      'aria-label': label,
      dataset: { testid },
      on: { change: () => choose(select.value) },
    },
    Object.entries(options).map(([key, text]) => h('option', { value: key, selected: key === value, text })),
  );
  return select;
}
