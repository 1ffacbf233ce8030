/**
 * People who wrote, over time: new ones and others, and how many of a month's people came.
 *
 * @import { Active, ActivePoint } from '../../store/analytics/questions.js'
 * @import { Layer } from '../../widgets/chart.js'
 * @import { Column } from '../../widgets/data-table.js'
 * @import { Context, Part } from './panel.js'
 */
import { longNames, shortName } from '../../store/analytics/calendar.js';
import { activeGranularity } from '../../store/analytics/questions.js';
import { Chart, legend } from '../../widgets/chart.js';
import { compact, count, share } from '../../widgets/numbers.js';
import { Panel } from './panel.js';

/** @returns {Part} */
export function activePart() {
  const panel = new Panel({
    title: 'Active people',
    testid: 'active',
    hint: 'Who wrote at least one message. Stickiness: those of them among the people of 30 days.',
  });
  return {
    panel,
    follow: () => {},
    draw(answers, context) {
      const [{ points }, before] = /** @type {[Active, Active?]} */ (answers);
      if (points.every(({ active }) => active === 0)) return panel.nothing('Nobody wrote in this range.');
      return panel.show(shown(points, before?.points, context));
    },
  };
}

/**
 * @param {ActivePoint[]} points
 * @param {ActivePoint[] | undefined} before
 * @param {Context} context
 */
function shown(points, before, { granularity: chosen, zoom, file }) {
  const granularity = activeGranularity(chosen);
  const moments = points.map(({ at }) => at);
  const names = longNames(moments, granularity);
  const earlier = before && points.map((_, idx) => before[idx]?.active ?? null);
  /** @type {Layer[]} */
  const layers = [
    { label: 'Known before', color: '--series-soft', shape: 'bars', values: points.map(({ returning }) => returning) },
    { label: 'New', color: '--series-2', shape: 'bars', values: points.map((point) => point.new) },
    ...(earlier ? [/** @type {Layer} */ ({ label: 'Before', color: '--text', shape: 'dashes', values: earlier })] : []),
    {
      label: 'Stickiness',
      color: '--series-6',
      shape: 'line',
      values: points.map(({ stickiness }) => stickiness),
      right: true,
    },
  ];
  const active = points.map((point) => point.active);
  const most = Math.max(...active);
  const chart = new Chart({
    label:
      `Active people: ${count(points.length)} points; most at ${names[active.indexOf(most)]}: ` +
      `${count(most)}. The table has every number.`,
    ticks: moments.map((at) => shortName(at, granularity)),
    names,
    layers,
    format: count,
    axis: compact,
    right: share,
    counts: true,
    sum: true,
    zoom: (first, last) => zoom(moments[first], moments[last], granularity),
  });
  return {
    picture: [chart.node, legend(layers)],
    data: { caption: 'Active people', columns: columnsOf(granularity, earlier), rows: rowsOf(points, names, earlier) },
    file: file('active-people'),
    destroy: () => chart.destroy(),
  };
}

/**
 * @param {string} granularity
 * @param {(number | null)[] | undefined} earlier
 * @returns {Column[]}
 */
function columnsOf(granularity, earlier) {
  /** @type {(name: string, label: string) => Column} */
  const numbers = (name, label) => ({ name, label, numeric: true, show: count });
  return [
    { name: 'at', label: 'At', fileOnly: true },
    { name: granularity, label: granularity[0].toUpperCase() + granularity.slice(1) },
    numbers('active', 'Active'),
    numbers('new', 'New'),
    numbers('returning', 'Known before'),
    numbers('weekly', 'In 7 days'),
    numbers('monthly', 'In 30 days'),
    { ...numbers('stickiness', 'Stickiness'), show: share },
    ...(earlier ? [numbers('before', 'Before')] : []),
  ];
}

/**
 * @param {ActivePoint[]} points
 * @param {string[]} names
 * @param {(number | null)[] | undefined} earlier
 */
const rowsOf = (points, names, earlier) =>
  points.map((point, idx) => [
    point.at,
    names[idx],
    point.active,
    point.new,
    point.returning,
    point.weekly,
    point.monthly,
    point.stickiness,
    ...(earlier ? [earlier[idx]] : []),
  ]);
