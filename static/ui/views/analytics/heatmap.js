/**
 * When people write: the hours of the week. The picture is a table, so it needs no other.
 *
 * @import { Heatmap } from '../../store/analytics/questions.js'
 * @import { Context, Part } from './panel.js'
 */
import { hourName, weekdays } from '../../store/analytics/calendar.js';
import { h } from '../../widgets/dom.js';
import { count } from '../../widgets/numbers.js';
import { plural } from '../../widgets/text.js';
import { Panel } from './panel.js';

const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
/** Shades besides that of nothing. */
const SHADES = 6;

/** @returns {Part} */
export function heatmapPart() {
  const panel = new Panel({
    title: 'Hours of the week',
    testid: 'heatmap',
    hint: 'Messages by weekday and hour, in the zone above.',
  });
  return {
    panel,
    follow: () => {},
    draw(answers, { file }) {
      const [{ cells, total }] = /** @type {Heatmap[]} */ (answers);
      if (total === 0) return panel.nothing('Nothing was written in this range.');
      const days = weekdays();
      return panel.show({
        picture: picture(cells),
        data: {
          caption: 'Messages by weekday and hour',
          columns: [
            { name: 'weekday', label: 'Weekday' },
            ...HOURS.map((hour) => ({
              name: String(hour).padStart(2, '0'),
              label: hourName(hour),
              numeric: true,
              show: count,
            })),
          ],
          rows: cells.map((row, day) => [days[day].long, ...row]),
        },
        file: file('hours-of-the-week'),
      });
    },
  };
}

/** @param {number[][]} cells */
function picture(cells) {
  const days = weekdays();
  const most = Math.max(...cells.flat());
  const head = HOURS.map((hour) =>
    h('th', { scope: 'col' }, h('span', { class: hourClass(hour), text: hourName(hour) })),
  );
  const rows = cells.map((row, day) =>
    h(
      'tr',
      {},
      h('th', { scope: 'row' }, h('abbr', { title: days[day].long, text: days[day].short })),
      row.map((value, hour) => cell(value, most, `${days[day].long}, ${hourName(hour)}`)),
    ),
  );
  const table = h(
    'table',
    { class: 'heat', dataset: { testid: 'heat' } },
    h('caption', { class: 'visually-hidden', text: 'Messages by weekday and hour' }),
    h('thead', {}, h('tr', {}, h('td', {}), head)),
    h('tbody', {}, rows),
  );
  return [h('div', { class: 'heat-place' }, table), scale(most)];
}

/**
 * Every third hour is named on the page, on phones every sixth, and all of them to screen readers.
 *
 * @param {number} hour
 */
function hourClass(hour) {
  if (hour % 3 !== 0) return 'visually-hidden';
  return hour % 6 === 0 ? 'heat-hour' : 'heat-hour heat-hour-minor';
}

/**
 * @param {number} value
 * @param {number} most
 * @param {string} when
 */
function cell(value, most, when) {
  return h(
    'td',
    { dataset: { shade: String(shadeOf(value, most)) }, title: `${when}: ${plural(value, 'message')}` },
    h('span', { class: 'visually-hidden', text: count(value) }),
  );
}

/**
 * Most hours have far less than the busiest one; by the square root they still differ.
 *
 * @param {number} value
 * @param {number} most
 */
const shadeOf = (value, most) => (value === 0 ? 0 : Math.max(1, Math.ceil(Math.sqrt(value / most) * SHADES)));

/** @param {number} most */
function scale(most) {
  return h(
    'p',
    { class: 'heat-scale', 'aria-hidden': 'true' },
    h('span', { text: '0' }),
    Array.from({ length: SHADES + 1 }, (_, shade) => h('i', { dataset: { shade: String(shade) } })),
    h('span', { text: `${count(most)} an hour of the week` }),
  );
}
