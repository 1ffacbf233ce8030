/**
 * A picture of values over time: bars on each other, lines, and what the pointer is at.
 *
 * Drawn by uPlot on a canvas, which screen readers cannot read and the Tab key cannot reach: who
 * shows a chart also offers its table. Points stand side by side at equal distances and are named
 * by the caller, so no zone of time is computed here. Colours are custom properties of the page,
 * read again when the system changes its palette. A picture is as wide as its place.
 *
 * @import { Axis, Options, Series } from '../../vendor/uplot/uPlot.esm.js'
 */
import uPlot from '../../vendor/uplot/uPlot.esm.js';
import { h } from './dom.js';

const HEIGHT_PX = 260;
const HEIGHT_PX_NARROW = 210;
const NARROW_PX = 480;
/** Bars thinner than this say less than an area. */
const BARS_MAX = 190;
const TICK_PX = 68;
const FONT = '12px system-ui, sans-serif';
const DARK = matchMedia('(prefers-color-scheme: dark)');
/** Steps between the named points; multiples of a week and of a day among them. */
const STEPS = [1, 2, 3, 4, 6, 7, 12, 14, 24, 28, 48, 56, 72, 84, 96, 168];
const COUNT_STEPS = Array.from({ length: 30 }, (_, idx) => [1, 2, 5][idx % 3] * 10 ** Math.floor(idx / 3));

/**
 * @typedef {object} Layer
 * @property {string} label
 * @property {string} color name of a custom property
 * @property {'bars' | 'line' | 'dashes'} shape bars stand on each other, the first at the bottom
 * @property {(number | null)[]} values
 * @property {boolean} [right] measured by the axis on the right
 */

/**
 * @typedef {object} ChartOptions
 * @property {string} label what screen readers are told in the picture's place
 * @property {string[]} ticks names of the points, short
 * @property {string[]} names in full
 * @property {Layer[]} layers
 * @property {(value: number | null) => string} format
 * @property {(value: number) => string} axis the same, as short as an axis needs it
 * @property {(value: number | null) => string} [right] of the values measured on the right
 * @property {boolean} [counts] there is nothing between two whole numbers
 * @property {boolean} [sum] whether the bars of a point are told together, too
 * @property {(first: number, last: number) => void} [zoom] some points were marked by dragging
 */

export class Chart {
  #options;
  /** @type {uPlot | null} */
  #plot = null;
  #abort = new AbortController();
  #tip = h('div', { class: 'chart-tip', hidden: true });
  /** @type {Map<string, string>} colours that were read, by name */
  #colors = new Map();

  /** @param {ChartOptions} options */
  constructor(options) {
    this.#options = options;
    this.node = h('div', { class: 'chart', role: 'img', 'aria-label': options.label, dataset: { testid: 'chart' } });
    const sizes = new ResizeObserver(() => this.#fit());
    sizes.observe(this.node);
    this.#abort.signal.addEventListener('abort', () => sizes.disconnect());
    DARK.addEventListener('change', () => this.#recolor(), { signal: this.#abort.signal });
  }

  destroy() {
    this.#abort.abort();
    this.#plot?.destroy();
    this.#plot = null;
  }

  /** Draws it when there is a place, and again when the place changes. */
  #fit() {
    const width = Math.floor(this.node.clientWidth);
    if (width === 0 || this.#abort.signal.aborted) return;
    const height = width < NARROW_PX ? HEIGHT_PX_NARROW : HEIGHT_PX;
    if (this.#plot) {
      if (this.#plot.width !== width || this.#plot.height !== height) this.#plot.setSize({ width, height });
      return;
    }
    this.#plot = new uPlot(this.#plan(width, height), this.#data(), this.node);
    this.#plot.over.append(this.#tip);
    this.node.dataset.drawn = 'true';
  }

  #recolor() {
    this.#colors.clear();
    // With the paths: bars keep the colour they were made with.
    this.#plot?.redraw(true, true);
  }

  /** @param {string} name of a custom property */
  #color(name) {
    const known = this.#colors.get(name);
    if (known !== undefined) return known;
    const color = getComputedStyle(this.node).getPropertyValue(name).trim();
    this.#colors.set(name, color);
    return color;
  }

  /**
   * The layers in the order of drawing: the bars from the highest sum down, so that each hides what
   * is below it, then the lines.
   */
  #ordered() {
    const bars = this.#options.layers.filter(({ shape }) => shape === 'bars');
    return [...bars.reverse(), ...this.#options.layers.filter(({ shape }) => shape !== 'bars')];
  }

  /** @returns {uPlot.AlignedData} */
  #data() {
    const points = this.#options.ticks.map((_, idx) => idx);
    const sums = points.map(() => 0);
    const tops = new Map();
    for (const layer of this.#options.layers) {
      if (layer.shape !== 'bars') continue;
      layer.values.forEach((value, idx) => (sums[idx] += value ?? 0));
      tops.set(layer, [...sums]);
    }
    return [points, ...this.#ordered().map((layer) => tops.get(layer) ?? layer.values)];
  }

  /**
   * @param {number} width
   * @param {number} height
   * @returns {Options}
   */
  #plan(width, height) {
    const { ticks, zoom, right } = this.#options;
    const last = ticks.length - 1;
    /** @type {(self: uPlot, min: number | null, max: number | null) => [number, number]} */
    const fromZero = (_self, _min, max) => [0, max && max > 0 ? max * 1.06 : 1];
    return {
      width,
      height,
      padding: [10, right ? 0 : 14, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: Boolean(zoom), y: false, setScale: false, dist: 8 } },
      scales: {
        x: { time: false, range: () => [-0.5, last + 0.5] },
        y: { range: fromZero },
        right: { range: fromZero },
      },
      axes: this.#axes(),
      series: [{}, ...this.#ordered().map((layer) => this.#series(layer))],
      hooks: { setCursor: [() => this.#point()], setSelect: [() => this.#selected()] },
    };
  }

  /** @returns {Axis[]} */
  #axes() {
    const { ticks, axis, right, counts } = this.#options;
    const stroke = () => this.#color('--muted');
    const grid = { stroke: () => this.#color('--line'), width: 1 };
    /** @type {(format: (value: number) => string) => Axis} */
    const vertical = (format) => ({
      stroke,
      grid,
      font: FONT,
      ticks: { show: false },
      gap: 6,
      ...(counts ? { incrs: COUNT_STEPS } : {}),
      values: (_self, splits) => splits.map(format),
      size: (_self, texts) => 14 + 7 * Math.max(2, ...(texts ?? []).map((text) => String(text).length)),
    });
    return [
      {
        stroke,
        font: FONT,
        grid: { show: false },
        ticks: { show: false },
        gap: 6,
        size: 28,
        splits: (self) => everyFew(ticks.length, self.width),
        values: (_self, splits) => splits.map((idx) => ticks[idx] ?? ''),
      },
      vertical(axis),
      ...(right
        ? [{ ...vertical((value) => right(value)), incrs: undefined, scale: 'right', side: 1, grid: { show: false } }]
        : []),
    ];
  }

  /**
   * @param {Layer} layer
   * @returns {Series}
   */
  #series({ label, color, shape, values, right = false }) {
    const paint = () => this.#color(color);
    const scale = right ? 'right' : 'y';
    if (shape === 'bars') {
      const isArea = values.length > BARS_MAX;
      const paths = isArea ? uPlot.paths.linear?.() : uPlot.paths.bars?.({ size: [0.76, 44], radius: 0 });
      return { label, scale, fill: paint, stroke: paint, width: 0, paths, points: { show: false } };
    }
    const dash = shape === 'dashes' ? [5, 5] : undefined;
    const points = { show: values.some(isAlone), size: 5, fill: paint };
    return { label, scale, stroke: paint, width: 2, dash, points };
  }

  /** Tells what the pointer is at. */
  #point() {
    const { idx, left = -1 } = this.#plot?.cursor ?? {};
    const { names, layers, format, right, sum } = this.#options;
    this.#tip.hidden = left < 0 || typeof idx !== 'number' || names[idx] === undefined;
    if (this.#tip.hidden || typeof idx !== 'number' || !this.#plot) return;
    const bars = layers.filter(({ shape }) => shape === 'bars');
    const whole = bars.reduce((total, { values }) => total + (values[idx] ?? 0), 0);
    this.#tip.replaceChildren(
      h('strong', { text: names[idx] }),
      ...layers.map(({ label, color, values, ...layer }) =>
        tipRow(label, (layer.right && right ? right : format)(values[idx] ?? null), color),
      ),
      ...(sum && bars.length > 1 ? [tipRow('Together', format(whole), null)] : []),
    );
    const { width, height } = this.#tip.getBoundingClientRect();
    const { clientWidth } = this.#plot.over;
    const beside = left + 14 + width > clientWidth ? left - 14 - width : left + 14;
    this.#tip.style.left = `${Math.max(-40, beside)}px`;
    this.#tip.style.top = `${Math.min(8, this.#plot.over.clientHeight - height)}px`;
  }

  #selected() {
    const plot = this.#plot;
    if (!plot || plot.select.width === 0) return;
    const { left, width } = plot.select;
    const at = (/** @type {number} */ px) => Math.round(plot.posToVal(px, 'x'));
    const last = this.#options.ticks.length - 1;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.#options.zoom?.(Math.max(0, at(left)), Math.min(last, at(left + width)));
  }
}

/**
 * A value between two that are not there makes no line.
 *
 * @param {number | null} value
 * @param {number} idx
 * @param {(number | null)[]} values
 */
function isAlone(value, idx, values) {
  return value !== null && (values[idx - 1] ?? null) === null && (values[idx + 1] ?? null) === null;
}

/**
 * The points that are named, as many as there is room for.
 *
 * @param {number} points
 * @param {number} width in pixels
 */
function everyFew(points, width) {
  const least = points / Math.max(1, Math.floor((width - 60) / TICK_PX));
  const step = STEPS.find((one) => one >= least) ?? Math.ceil(least);
  return Array.from({ length: Math.ceil(points / step) }, (_, idx) => idx * step);
}

/**
 * @param {string} label
 * @param {string} text
 * @param {string | null} color name of a custom property
 */
function tipRow(label, text, color) {
  return h(
    'span',
    { class: 'chart-tip-row' },
    swatch(color),
    h('span', { class: 'chart-tip-label', text: label }),
    h('b', { text }),
  );
}

/**
 * A piece of colour that leads from a name to its picture.
 *
 * @param {string | null} color name of a custom property
 */
function swatch(color) {
  const node = h('i', { class: 'swatch', 'aria-hidden': 'true' });
  if (color) node.style.setProperty('--swatch', `var(${color})`);
  return node;
}

/**
 * What the colours stand for.
 *
 * @param {{ label: string, color: string, value?: string }[]} entries
 */
export function legend(entries) {
  return h(
    'ul',
    { class: 'legend' },
    entries.map(({ label, color, value }) =>
      h(
        'li',
        {},
        swatch(color),
        h('span', { class: 'legend-label', text: label }),
        value ? h('span', { class: 'muted', text: value }) : null,
      ),
    ),
  );
}
