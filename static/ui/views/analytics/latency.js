/**
 * How long the server took, as most people, few and very few had it.
 *
 * @import { Latency } from '../../store/analytics/questions.js'
 * @import { Layer } from '../../widgets/chart.js'
 * @import { Column } from '../../widgets/data-table.js'
 * @import { Context, Part } from './panel.js'
 */
import { longNames, shortName } from '../../store/analytics/calendar.js';
import { LATENCIES } from '../../store/analytics/view.js';
import { Chart, legend } from '../../widgets/chart.js';
import { count, duration } from '../../widgets/numbers.js';
import { Panel, choice } from './panel.js';

/** @typedef {{ field: 'p50_ms' | 'p95_ms' | 'p99_ms', label: string, color: string }} Quantile */

/** @type {Quantile[]} */
const QUANTILES = [
  { field: 'p50_ms', label: 'p50', color: '--series-1' },
  { field: 'p95_ms', label: 'p95', color: '--series-2' },
  { field: 'p99_ms', label: 'p99', color: '--series-9' },
];

/**
 * @param {Context} context
 * @returns {Part}
 */
export function latencyPart({ view, change }) {
  const of = choice({
    label: 'What is measured',
    testid: 'latency-of',
    options: LATENCIES,
    value: view.latency,
    choose: (value) => change({ latency: value }),
  });
  const panel = new Panel({
    title: 'Latency',
    testid: 'latency',
    hint: 'How long messages took: half of them (p50), and all but 5 or 1 in a hundred (p95, p99).',
    choices: [of],
    wide: true,
  });
  return {
    panel,
    follow: (next) => (of.value = next.latency),
    draw(answers, context) {
      const [answer] = /** @type {Latency[]} */ (answers);
      if (answer.points.every((point) => point.count === 0))
        return panel.nothing('Nothing was measured in this range.');
      return panel.show(shown(answer, context));
    },
  };
}

/**
 * @param {Latency} answer
 * @param {Context} context
 */
function shown({ points }, { view, granularity, zoom, file }) {
  const moments = points.map(({ at }) => at);
  const names = longNames(moments, granularity);
  const layers = QUANTILES.map(
    ({ field, label, color }) =>
      /** @type {Layer} */ ({
        label,
        color,
        shape: 'line',
        values: points.map((point) => point[field]),
      }),
  );
  const slowest = Math.max(...points.map(({ p99_ms: p99 }) => p99 ?? 0));
  const chart = new Chart({
    label:
      `Latency, ${LATENCIES[view.latency].toLowerCase()}: ${count(points.length)} points; ` +
      `p99 at most ${duration(slowest)}. The table has every number.`,
    ticks: moments.map((at) => shortName(at, granularity)),
    names,
    layers,
    format: duration,
    axis: duration,
    zoom: (first, last) => zoom(moments[first], moments[last], granularity),
  });
  /** @type {(name: string, label: string) => Column} */
  const time = (name, label) => ({ name, label, numeric: true, show: duration });
  return {
    picture: [chart.node, legend(layers)],
    data: {
      caption: `Latency, ${LATENCIES[view.latency].toLowerCase()}`,
      columns: [
        { name: 'at', label: 'At', fileOnly: true },
        { name: granularity, label: granularity[0].toUpperCase() + granularity.slice(1) },
        { name: 'count', label: 'Measured', numeric: true, show: count },
        ...QUANTILES.map(({ field, label }) => time(field, label)),
        time('max_ms', 'Longest'),
      ],
      rows: points.map((point, idx) => [
        point.at,
        names[idx],
        point.count,
        point.p50_ms,
        point.p95_ms,
        point.p99_ms,
        point.max_ms,
      ]),
    },
    file: file(`latency-${view.latency}`),
    destroy: () => chart.destroy(),
  };
}
