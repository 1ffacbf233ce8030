/**
 * What lies over the page: dialogs, menus, the emoji picker, toasts.
 *
 * Dialogs are `<dialog>` and menus are `popover`s, so that focus, Escape and clicks outside are the browser's business.
 */
import { h, icon } from './dom.js';

const TOAST_MS = 5_000;
const TOASTS_MAX = 3;

/** A short word about something that happened; read out by screen readers. */
export function toast(text, { tone = 'neutral' } = {}) {
  const list = document.getElementById('toasts');
  while (list.children.length >= TOASTS_MAX) list.firstChild.remove();
  const node = h('p', { class: 'toast', dataset: { tone, testid: 'toast' }, text });
  list.append(node);
  setTimeout(() => node.remove(), TOAST_MS);
}

/**
 * Asks something in a dialog.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {(Node | string)[]} options.content
 * @param {string} options.action name of the button that does it
 * @param {() => Promise<any>} options.perform does it; the dialog stays, with the error, when it fails. A function it gives
 *   is called once the dialog is closed, which gives the focus back to where it came from.
 */
export function dialog({ title, content, action, perform, danger = false, testid = 'dialog', cancel = 'Cancel' }) {
  const error = h('p', { class: 'form-error', role: 'alert', hidden: true, dataset: { testid: 'dialog-error' } });
  const submit = action
    ? h(
        'button',
        { type: 'submit', class: danger ? 'button danger' : 'button primary', dataset: { testid: 'dialog-submit' } },
        action,
      )
    : null;
  const form = h(
    'form',
    { method: 'dialog', class: 'dialog-body' },
    h('h2', { text: title, id: 'dialog-title' }),
    content,
    error,
    h(
      'div',
      { class: 'dialog-actions' },
      h(
        'button',
        { type: 'button', class: 'button', dataset: { testid: 'dialog-cancel' }, on: { click: () => node.close() } },
        cancel,
      ),
      submit,
    ),
  );
  const node = h('dialog', { class: 'dialog', 'aria-labelledby': 'dialog-title', dataset: { testid } }, form);
  node.addEventListener('close', () => node.remove());
  node.addEventListener('pointerdown', (event) => event.target === node && node.close());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!submit || submit.disabled) return;
    submit.disabled = true;
    try {
      const then = await perform(new FormData(form));
      node.close();
      if (typeof then === 'function') then();
    } catch (problem) {
      error.textContent = problem.errors?.map(({ message }) => message).join(' ') || problem.message;
      error.hidden = false;
    }
    submit.disabled = false;
  });
  document.body.append(node);
  node.showModal();
  return node;
}

/** A labelled text field. */
export function field(label, props, hint = null) {
  const input = h('input', { class: 'input', ...props });
  return h(
    'label',
    { class: 'field' },
    h('span', { class: 'field-label', text: label }),
    input,
    hint && h('span', { class: 'field-hint', text: hint }),
  );
}

/** Opens a popover beside its button and keeps it inside the window. */
function openBeside(anchor, node) {
  node.setAttribute('popover', 'auto');
  document.body.append(node);
  node.addEventListener('toggle', (event) => {
    if (event.newState !== 'closed') return;
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

/** A menu; arrows move in it. */
export function menu(anchor, items) {
  const node = h(
    'div',
    { class: 'menu', role: 'menu' },
    items.filter(Boolean).map(({ label, symbol, danger, testid, perform }) =>
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

/** A small emoji picker. */
export function emojiPicker(anchor, pick) {
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

function moveWithArrows(node, columns) {
  const buttons = [...node.querySelectorAll('button')];
  buttons[0]?.focus();
  node.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = buttons.indexOf(document.activeElement);
    buttons[(at + step + buttons.length) % buttons.length]?.focus();
  });
}

/** A text to copy, with its button, which says whether it worked: a toast would lie behind the dialog. */
export function copyRow({ value, label, action, testid, copyTestid }) {
  const input = h('input', {
    class: 'input',
    readOnly: true,
    value,
    'aria-label': label,
    dataset: { testid },
    on: { focus: () => input.select() },
  });
  const word = h('span', { role: 'status', text: action });
  const button = h(
    'button',
    {
      type: 'button',
      class: 'button primary copy-button',
      dataset: { testid: copyTestid },
      on: {
        click: async () => {
          try {
            await navigator.clipboard.writeText(value);
            word.textContent = 'Copied';
          } catch {
            input.focus();
            input.select();
            word.textContent = 'Press Ctrl+C';
          }
        },
      },
    },
    icon('copy'),
    word,
  );
  return { row: h('div', { class: 'copy-row' }, input, button), button };
}

/** Shows a link to copy. */
export function linkDialog({ title, text, link }) {
  const { row, button } = copyRow({
    value: link,
    label: 'Invite link',
    action: 'Copy link',
    testid: 'invite-link',
    copyTestid: 'copy-invite',
  });
  const node = dialog({
    title,
    content: [h('p', { class: 'dialog-text', text }), row],
    testid: 'invite-dialog',
    cancel: 'Done',
  });
  button.focus();
  return node;
}
