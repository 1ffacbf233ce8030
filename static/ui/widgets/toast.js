/**
 * Short words about something that happened, which go by themselves. At most three are shown; an
 * older one makes room.
 */
import { h } from './dom.js';

const TOAST_MS = 5_000;
const TOASTS_MAX = 3;

/**
 * Screen readers read it out.
 *
 * @param {string} text
 * @param {{ tone?: 'neutral' | 'danger' }} [options]
 */
export function toast(text, { tone = 'neutral' } = {}) {
  const list = /** @type {HTMLElement} */ (document.getElementById('toasts'));
  while (list.children.length >= TOASTS_MAX) list.firstChild?.remove();
  const node = h('p', { class: 'toast', dataset: { tone, testid: 'toast' }, text });
  list.append(node);
  setTimeout(() => node.remove(), TOAST_MS);
}
