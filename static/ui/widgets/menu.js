/**
 * What opens beside a button: menus and the emoji picker. They are `popover`s, so that Escape and
 * clicks outside are the browser's business. One is open at a time. Closing gives the focus back to
 * the button.
 *
 * @import { IconName } from './icons.js'
 */
import { h } from './dom.js';
import { icon } from './icons.js';

/**
 * @typedef {object} MenuItem
 * @property {string} label
 * @property {IconName} symbol
 * @property {string} testid
 * @property {boolean} [danger]
 * @property {() => unknown} perform
 */

/**
 * Opens a popover beside its button and keeps it inside the window.
 *
 * @param {HTMLElement} anchor
 * @param {HTMLElement} node
 */
function openBeside(anchor, node) {
  node.setAttribute('popover', 'auto');
  document.body.append(node);
  node.addEventListener('toggle', (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== 'closed') return;
    anchor.removeAttribute('aria-expanded');
    const inside = node.contains(document.activeElement) || document.activeElement === document.body;
    node.remove();
    if (inside && anchor.isConnected) anchor.focus({ preventScroll: true });
  });
  node.showPopover();
  anchor.setAttribute('aria-expanded', 'true');
  const button = anchor.getBoundingClientRect();
  const box = node.getBoundingClientRect();
  const left = Math.min(Math.max(8, button.right - box.width), innerWidth - box.width - 8);
  const below = button.bottom + 6;
  const top = below + box.height > innerHeight - 8 ? Math.max(8, button.top - box.height - 6) : below;
  node.style.left = `${left}px`;
  node.style.top = `${top}px`;
}

/**
 * A menu; arrows move in it.
 *
 * @param {HTMLElement} anchor
 * @param {(MenuItem | false | null)[]} items
 */
export function menu(anchor, items) {
  /** @type {HTMLElement} */
  const node = h(
    'div',
    { class: 'menu', role: 'menu' },
    items
      .filter((item) => item !== false && item !== null)
      .map(({ label, symbol, danger, testid, perform }) =>
        h(
          'button',
          {
            type: 'button',
            role: 'menuitem',
            class: danger ? 'menu-item danger' : 'menu-item',
            dataset: { testid },
            on: { click: () => (node.hidePopover(), perform()) },
          },
          icon(symbol),
          h('span', { text: label }),
        ),
      ),
  );
  openBeside(anchor, node);
  moveWithArrows(node, 1);
}

export const QUICK_EMOJIS = ['👍', '❤️', '😂'];
const EMOJIS = [
  ['👍', 'thumbs up'],
  ['❤️', 'heart'],
  ['😂', 'laughing'],
  ['🎉', 'party'],
  ['😮', 'surprised'],
  ['😢', 'sad'],
  ['🙏', 'thanks'],
  ['👀', 'looking'],
  ['😀', 'grinning'],
  ['😊', 'smiling'],
  ['😉', 'winking'],
  ['😍', 'in love'],
  ['🤔', 'thinking'],
  ['😅', 'relieved'],
  ['😎', 'cool'],
  ['🥳', 'celebrating'],
  ['😴', 'sleepy'],
  ['🤯', 'mind blown'],
  ['😡', 'angry'],
  ['🙃', 'upside down'],
  ['🤝', 'handshake'],
  ['👏', 'clapping'],
  ['💪', 'strong'],
  ['🙌', 'hooray'],
  ['👎', 'thumbs down'],
  ['👋', 'waving'],
  ['🤞', 'fingers crossed'],
  ['🔥', 'fire'],
  ['✨', 'sparkles'],
  ['💡', 'idea'],
  ['💯', 'hundred'],
  ['✅', 'done'],
  ['❌', 'no'],
  ['❓', 'question'],
  ['⚠️', 'warning'],
  ['🚀', 'rocket'],
  ['☕', 'coffee'],
  ['🍰', 'cake'],
  ['🌱', 'seedling'],
  ['🐛', 'bug'],
];

/**
 * A small emoji picker.
 *
 * @param {HTMLElement} anchor
 * @param {(emoji: string) => void} pick
 */
export function emojiPicker(anchor, pick) {
  /** @type {HTMLElement} */
  const node = h(
    'div',
    { class: 'picker', role: 'dialog', 'aria-label': 'Choose an emoji', dataset: { testid: 'emoji-picker' } },
    EMOJIS.map(([emoji, name]) =>
      h(
        'button',
        {
          type: 'button',
          class: 'picker-item',
          'aria-label': name,
          title: name,
          dataset: { emoji },
          on: { click: () => (node.hidePopover(), pick(emoji)) },
        },
        emoji,
      ),
    ),
  );
  openBeside(anchor, node);
  moveWithArrows(node, 8);
}

/**
 * @param {HTMLElement} node
 * @param {number} columns
 */
function moveWithArrows(node, columns) {
  const buttons = [...node.querySelectorAll('button')];
  buttons[0]?.focus();
  node.addEventListener('keydown', (event) => {
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const at = buttons.findIndex((button) => button === document.activeElement);
    buttons[(at + step + buttons.length) % buttons.length]?.focus();
  });
}
