/**
 * What is chosen for the whole page of numbers: range, zone, granularity, comparison.
 *
 * Every choice is part of the view, which the address holds: this only shows it and says what was
 * chosen.
 *
 * @import { Dates, View } from '../../store/analytics/view.js'
 */
import { allZones, ownZone } from '../../store/analytics/calendar.js';
import {
  GRANULARITIES,
  PRESETS,
  datesOf,
  granularityOf,
  isFineEnough,
  rangeFault,
} from '../../store/analytics/view.js';
import { h } from '../../widgets/dom.js';
import { choice } from './panel.js';

export class Controls {
  #change;
  /** @type {Map<string, HTMLButtonElement>} */
  #presets = new Map();

  /**
   * @param {View} view
   * @param {(changes: Partial<View>) => void} change
   */
  constructor(view, change) {
    this.#change = change;
    this.from = dateField('First day', 'range-from', () => this.#picked());
    this.through = dateField('Last day', 'range-through', () => this.#picked());
    this.fault = h('p', { class: 'range-fault', role: 'alert', hidden: true, dataset: { testid: 'range-fault' } });
    this.zone = choice({
      label: 'Time zone',
      testid: 'zone',
      options: zoneOptions(view.zone),
      value: view.zone,
      choose: (zone) => change({ zone }),
    });
    this.granularity = choice({
      label: 'Granularity',
      testid: 'granularity',
      options: GRANULARITIES,
      value: view.granularity,
      choose: (granularity) => change({ granularity }),
    });
    /** @type {HTMLInputElement} */
    this.compare = h('input', {
      type: 'checkbox',
      dataset: { testid: 'compare' },
      on: { change: () => change({ compare: this.compare.checked }) },
    });
    this.node = h(
      'div',
      { class: 'controls' },
      h('div', { class: 'presets', role: 'group', 'aria-label': 'Range' }, this.#presetButtons()),
      h('div', { class: 'picker-dates' }, this.from, h('span', { 'aria-hidden': 'true', text: '–' }), this.through),
      this.granularity,
      this.zone,
      h('label', { class: 'compare' }, this.compare, h('span', { text: 'Compare' })),
      this.fault,
    );
  }

  #presetButtons() {
    return Object.entries(PRESETS).map(([preset, { label }]) => {
      const button = h(
        'button',
        {
          type: 'button',
          class: 'preset',
          dataset: { testid: `preset-${preset}` },
          on: { click: () => this.#change({ preset, dates: null }) },
        },
        label,
      );
      this.#presets.set(preset, button);
      return button;
    });
  }

  /**
   * Shows a view.
   *
   * @param {View} view
   * @param {Date} now
   */
  follow(view, now) {
    const dates = datesOf(view, now);
    for (const [preset, button] of this.#presets) button.setAttribute('aria-pressed', String(preset === view.preset));
    [this.from.value, this.through.value] = [dates.from, dates.through];
    this.fault.hidden = true;
    if (![...this.zone.options].some(({ value }) => value === view.zone)) {
      this.zone.prepend(h('option', { value: view.zone, text: view.zone }));
    }
    this.zone.value = view.zone;
    const automatic = granularityOf({ ...view, granularity: 'auto' }, dates);
    this.granularity.options[0].text = `Automatic (by ${automatic})`;
    for (const option of this.granularity.options) option.disabled = !isFineEnough(option.value, dates);
    this.granularity.value = isFineEnough(view.granularity, dates) ? view.granularity : 'auto';
    this.compare.checked = view.compare;
  }

  /** Both dates are taken when they make a range. */
  #picked() {
    /** @type {Dates} */
    const dates = { from: this.from.value, through: this.through.value };
    const fault = rangeFault(dates);
    this.fault.hidden = fault === null;
    this.fault.textContent = fault;
    if (fault === null) this.#change({ preset: null, dates });
  }
}

/**
 * @param {string} label
 * @param {string} testid
 * @param {() => void} picked
 */
function dateField(label, testid, picked) {
  return h('input', {
    type: 'date',
    class: 'input date-input',
    'aria-label': label,
    required: true,
    min: '0001-01-01',
    max: '9999-12-30',
    dataset: { testid },
    on: { change: picked },
  });
}

/**
 * The browser's zone first, then that of the view, then all.
 *
 * @param {string} zone
 * @returns {Record<string, string>}
 */
function zoneOptions(zone) {
  const own = ownZone();
  const names = [...new Set([own, zone, ...allZones()])];
  return Object.fromEntries(names.map((name) => [name, name === own ? `${readable(name)} (yours)` : readable(name)]));
}

/** @param {string} zone */
const readable = (zone) => zone.replaceAll('_', ' ');
