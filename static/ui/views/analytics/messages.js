/**
 * Messages over time, all together or stacked by what they are grouped by.
 *
 * @import { Granularity } from '../../store/analytics/calendar.js'
 * @import { Messages, Series } from '../../store/analytics/questions.js'
 * @import { Layer } from '../../widgets/chart.js'
 * @import { Column } from '../../widgets/data-table.js'
 * @import { Context, Part } from './panel.js'
 */
import { longNames, shortName } from '../../store/analytics/calendar.js';
import { GROUPS } from '../../store/analytics/view.js';
import { Chart, legend } from '../../widgets/chart.js';
import { compact, count } from '../../widgets/numbers.js';
import { hiddenTitle, nameless, untitled } from './names.js';
import { Panel, choice } from './panel.js';

/** @type {Record<string, string>} */
const KINDS = { person: 'People', agent: 'Agents', system: 'System' };
const OTHER = '--series-other';

/**
 * @param {Context} context
 * @returns {Part}
 */
export function messagesPart({ view, change }) {
  const group = choice({
    label: 'Group messages',
    testid: 'group',
    options: GROUPS,
    value: view.group,
    choose: (value) => change({ group: value }),
  });
  const panel = new Panel({
    title: 'Messages',
    testid: 'messages',
    hint: 'Counted when they were written; edits and deletions change nothing.',
    choices: [group],
    wide: true,
  });
  return {
    panel,
    follow: (next) => (group.value = next.group),
    draw(answers, context) {
      const [answer, before] = /** @type {[Messages, Messages?]} */ (answers);
      const total = answer.series.reduce((sum, series) => sum + series.total, 0);
      if (total === 0) return panel.nothing('Nothing was written in this range.');
      return panel.show(shown(answer, before, total, context));
    },
  };
}

/**
 * @param {Messages} answer
 * @param {Messages | undefined} before
 * @param {number} total
 * @param {Context} context
 */
function shown({ points, granularity, series }, before, total, { view, zoom, file }) {
  const layers = series.map((one, idx) => layerOf(one, idx, view.group));
  const names = longNames(points, granularity);
  const earlier = before && aligned(before, points.length);
  /** @type {Layer[]} */
  const lines = earlier ? [{ label: 'Before', color: '--text', shape: 'dashes', values: earlier }] : [];
  const together = points.map((_, idx) => series.reduce((sum, { values }) => sum + values[idx], 0));
  const highest = together.indexOf(Math.max(...together));
  const chart = new Chart({
    label:
      `Messages, ${GROUPS[view.group].toLowerCase()}: ${count(total)} in ${count(points.length)} points; ` +
      `most at ${names[highest]}: ${count(together[highest])}. The table has every number.`,
    ticks: points.map((at) => shortName(at, granularity)),
    names,
    layers: [...layers, ...lines],
    format: count,
    axis: compact,
    counts: true,
    sum: true,
    zoom: (first, last) => zoom(points[first], points[last], granularity),
  });
  const entries = layers.map(({ label, color }, idx) => ({ label, color, value: count(series[idx].total) }));
  const key =
    layers.length > 1 || earlier ? legend([...entries, ...lines.map(({ label, color }) => ({ label, color }))]) : null;
  return {
    picture: key ? [chart.node, key] : chart.node,
    data: {
      caption: 'Messages',
      columns: columnsOf(granularity, layers, earlier),
      rows: rowsOf(points, series, earlier, names),
    },
    file: file('messages'),
    note: view.group === 'conversation' && series.some(isUntitled) ? untitled : undefined,
    destroy: () => chart.destroy(),
  };
}

/** @param {Series} series */
const isUntitled = ({ key, label }) => key !== 'other' && label === null;

/**
 * @param {Series} series
 * @param {number} idx
 * @param {string} group
 * @returns {Layer}
 */
function layerOf({ key, label, values }, idx, group) {
  const color = key === 'other' ? OTHER : `--series-${(idx % 10) + 1}`;
  return { label: nameOf(key, label, group), color, shape: 'bars', values };
}

/**
 * @param {string} key
 * @param {string | null} label
 * @param {string} group
 */
function nameOf(key, label, group) {
  if (key === 'all') return 'Messages';
  if (key === 'other') return 'All others';
  if (group === 'kind') return KINDS[key] ?? key;
  return label ?? (group === 'user' ? nameless : hiddenTitle(key));
}

/**
 * The range before, point beside point. It may have one more or less: weeks and months are cut
 * elsewhere.
 *
 * @param {Messages} before
 * @param {number} length
 * @returns {(number | null)[]}
 */
function aligned({ series }, length) {
  const values = series[0]?.values ?? [];
  return Array.from({ length }, (_, idx) => values[idx] ?? null);
}

/**
 * @param {Granularity} granularity
 * @param {Layer[]} layers
 * @param {(number | null)[] | undefined} earlier
 * @returns {Column[]}
 */
function columnsOf(granularity, layers, earlier) {
  /** @type {(label: string, name?: string) => Column} */
  const numbers = (label, name = label) => ({ name, label, numeric: true, show: count });
  return [
    { name: 'at', label: 'At', fileOnly: true },
    { name: granularity, label: granularity[0].toUpperCase() + granularity.slice(1) },
    ...layers.map(({ label }) => numbers(label, label === 'Messages' ? 'messages' : label)),
    ...(earlier ? [numbers('Before', 'before')] : []),
  ];
}

/**
 * @param {string[]} points
 * @param {Series[]} series
 * @param {(number | null)[] | undefined} earlier
 * @param {string[]} names
 */
const rowsOf = (points, series, earlier, names) =>
  points.map((at, idx) => [
    at,
    names[idx],
    ...series.map(({ values }) => values[idx]),
    ...(earlier ? [earlier[idx]] : []),
  ]);
