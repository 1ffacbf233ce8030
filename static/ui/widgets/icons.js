/**
 * What is drawn and not written: icons, the mark of the product, discs with initials. Used by views
 * and widgets.
 *
 * Icons are made from path data with `createElementNS`, because `h` takes no markup.
 *
 * @import { Props } from './dom.js'
 */
import { h } from './dom.js';

const ICONS = {
  add: 'M12 5v14M5 12h14',
  back: 'M15 5l-7 7 7 7',
  chart: 'M4 20h16M7 16v-5M12 16V6M17 16v-8',
  check: 'M5 12.5l4.5 4.500L19 7.5',
  checks: 'M2.5 12.5l4.5 4.500L15 8.500M11.5 16.500l1 .5L21 8.5',
  clock: 'M12 7.500V12l3 2M12 3.500a8.5 8.5 0 100 17 8.5 8.5 0 000-17z',
  close: 'M6 6l12 12M18 6L6 18',
  copy: 'M9 9h10v10H9zM5 15V5h10',
  crown: 'M4 18h16M4.5 15L4 7l5 3.500L12 5l3 5.500L20 7l-.5 8z',
  down: 'M12 5v14M6 13l6 6 6-6',
  download: 'M12 4v11M7 10.500l5 5 5-5M5 20h14',
  edit: 'M4 20l1-4.500L16.5 4l3.5 3.500L8.5 19z',
  key: 'M8 19a4.500 4.500 0 100-9 4.500 4.500 0 000 9zM11.200 11.300L20 3M16 6.800l3 3',
  leave: 'M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9',
  link: 'M10 14a4 4 0 005.700 0l3-3A4 4 0 0013 5.300l-1 1M14 10a4 4 0 00-5.700 0l-3 3A4 4 0 0011 18.700l1-1',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  people:
    'M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.5 20c0-3.5 2.900-6 6.5-6s6.5 2.5 6.5 6' +
    'M16 4.500a3.5 3.5 0 010 6.500M18.5 14.500c1.800.9 3 2.800 3 5.5',
  reply: 'M10 6l-6 6 6 6M4 12h10a6 6 0 016 6v1',
  retry: 'M19.5 12a7.5 7.5 0 11-2.200-5.300L20 9M20 4v5h-5',
  search: 'M11 4.500a6.5 6.5 0 100 13 6.5 6.5 0 000-13zM20 20l-4.400-4.400',
  send: 'M4.5 12L4 4.5 20.5 12 4 19.500zM4.5 12H12',
  shield: 'M12 3l7 3v5c0 4.5-3 8-7 10-4-2-7-5.5-7-10V6z',
  smile: 'M12 3.500a8.5 8.5 0 100 17 8.5 8.5 0 000-17zM9 10h.01M15 10h.01M8.5 14c.8 1.300 2 2 3.5 2s2.700-.7 3.5-2',
  table: 'M4 5h16v14H4zM4 10h16M4 14.500h16M10 10v9',
  trash: 'M4.5 7h15M10 7V4.500h4V7M6.5 7l1 13h9l1-13M10 11v5.500M14 11v5.5',
  warning: 'M12 4l9 16H3zM12 10v4.500M12 17.500h.01',
};

/** @typedef {keyof typeof ICONS} IconName */

/**
 * A decorative icon; its button carries the name for screen readers.
 *
 * @param {IconName} name
 */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button that shows only an icon.
 *
 * @param {IconName} name
 * @param {string} label
 * @param {Props} [props]
 */
export function iconButton(name, label, props = {}) {
  return h(
    'button',
    { type: 'button', 'aria-label': label, title: label, ...props, class: `icon-button ${props.class ?? ''}` },
    icon(name),
  );
}

/** The mark of the product. */
export function brand() {
  return h(
    'span',
    { class: 'brand' },
    h('span', { class: 'brand-mark', 'aria-hidden': 'true' }),
    h('span', { text: 'Parlance' }),
  );
}

/**
 * A disc with initials, in a colour that belongs to the id.
 *
 * @param {string} id
 * @param {string} name
 * @param {object} [options]
 * @param {'medium' | 'tiny'} [options.size]
 * @param {boolean | null} [options.online] shown by a dot, unless it is null
 */
export function avatar(id, name, { size = 'medium', online = null } = {}) {
  const node = h(
    'span',
    { class: `avatar avatar-${size}`, 'aria-hidden': 'true', dataset: { hue: String(hueOf(id)) } },
    size === 'tiny' ? initials(name).slice(0, 1) : initials(name),
  );
  if (online === null) return node;
  return h('span', { class: 'avatar-frame' }, node, h('span', { class: 'dot', dataset: { online: String(online) } }));
}

/** @param {string | undefined} name */
export function initials(name) {
  const words = (name ?? '').trim().split(/\s+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join('') || '?';
}

/**
 * One of twelve colours, the same for the same id everywhere.
 *
 * @param {string} id
 */
export function hueOf(id) {
  let hash = 0;
  for (const char of id) hash = (hash * 31 + char.charCodeAt(0)) >>> 0;
  return hash % 12;
}
