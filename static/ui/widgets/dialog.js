/**
 * Dialogs and what stands in them: fields, texts to copy. They are `<dialog>`s, so that focus and
 * Escape are the browser's business.
 *
 * @import { Child, Props } from './dom.js'
 */
import { h } from './dom.js';
import { icon } from './icons.js';

/**
 * @typedef {object} DialogOptions
 * @property {string} title
 * @property {Child[]} content
 * @property {string | null} [action] name of the button that does it; without it there is only the
 *   one that closes
 * @property {(data: FormData) => Promise<unknown>} [perform] does it; the dialog stays, with the
 *   error, when it fails. A function it gives is called once the dialog is closed, which gives the
 *   focus back to where it came from.
 * @property {boolean} [danger]
 * @property {string} [testid]
 * @property {string} [cancel] name of the button that closes
 */

/**
 * Asks something in a dialog.
 *
 * @param {DialogOptions} options
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
  /** @type {HTMLDialogElement} */
  const node = h('dialog', { class: 'dialog', 'aria-labelledby': 'dialog-title', dataset: { testid } }, form);
  node.addEventListener('close', () => node.remove());
  node.addEventListener('pointerdown', (event) => event.target === node && node.close());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!submit || submit.disabled) return;
    submit.disabled = true;
    try {
      const then = await perform?.(new FormData(form));
      node.close();
      if (typeof then === 'function') then();
    } catch (problem) {
      error.textContent = messages(problem) || problem.message;
      error.hidden = false;
    }
    submit.disabled = false;
  });
  document.body.append(node);
  node.showModal();
  return node;
}

/** Removes dialogs, menus and toasts, which are of the person before. */
export function closeOverlays() {
  for (const node of document.querySelectorAll('dialog, [popover], .toast')) node.remove();
}

/** @param {{ errors?: { message: string }[] }} problem */
const messages = (problem) => problem.errors?.map(({ message }) => message).join(' ');

/**
 * A labelled text field.
 *
 * @param {string} label
 * @param {Props} props of the input
 * @param {string | null} [hint]
 */
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

/**
 * A text to copy, with its button, which says whether it worked: a toast would lie behind the
 * dialog.
 *
 * @param {object} options
 * @param {string} options.value
 * @param {string} options.label
 * @param {string} options.action name of the button
 * @param {string} options.testid of the text
 * @param {string} options.copyTestid of the button
 */
export function copyRow({ value, label, action, testid, copyTestid }) {
  /** @type {HTMLInputElement} */
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

/**
 * Shows a link to copy.
 *
 * @param {{ title: string, text: string, link: string }} options
 */
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
