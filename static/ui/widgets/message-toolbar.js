/**
 * The actions of a message: one toolbar for the whole list, put into the row that is pointed at,
 * focused or tapped.
 *
 * Used by the thread. One instead of one per row keeps long histories light, and in the row it is
 * next in the tab order.
 *
 * @import { Message } from '../../client/types.js'
 * @import { MessageActions } from './message.js'
 */
import { focusedIn, h } from './dom.js';
import { iconButton } from './icons.js';
import { QUICK_EMOJIS, emojiPicker } from './menu.js';

export class MessageToolbar {
  #find;
  #moderates;
  #actions;
  /** @type {HTMLElement | null} the row it is in */
  #row = null;
  /** @type {Message | null | undefined} */
  #message = null;

  /**
   * @param {object} options
   * @param {HTMLElement} options.list of the rows
   * @param {(id: string) => Message | undefined} options.find
   * @param {() => boolean} options.moderates whether the user may delete others' messages
   * @param {MessageActions} options.actions
   */
  constructor({ list, find, moderates, actions }) {
    this.#find = find;
    this.#moderates = moderates;
    this.#actions = actions;
    this.node = h('div', {
      class: 'toolbar',
      role: 'toolbar',
      'aria-label': 'Message actions',
      dataset: { testid: 'toolbar' },
    });
    list.addEventListener('pointerover', (event) => event.pointerType === 'mouse' && this.#attach(rowOf(event)));
    list.addEventListener(
      'pointerleave',
      (event) => event.pointerType === 'mouse' && !focusedIn(this.node) && this.#attach(null),
    );
    list.addEventListener('focusin', (event) => this.#attach(rowOf(event)));
    list.addEventListener('click', (event) => {
      if (!elementOf(event)?.closest('a, button')) this.#attach(rowOf(event));
    });
  }

  /** @param {HTMLElement | null} row */
  #attach(row) {
    const message = row?.dataset.id ? this.#find(row.dataset.id) : null;
    if (row === this.#row && message === this.#message) return;
    this.#row = row;
    this.#message = message;
    if (!row || !message || message.deleted_at) this.node.remove();
    else {
      this.#fill(message);
      row.append(this.node);
      // On narrow screens it is a line of the row, which may end below the view then.
      if (getComputedStyle(this.node).position === 'static') this.node.scrollIntoView({ block: 'nearest' });
    }
  }

  /**
   * The row was rebuilt.
   *
   * @param {HTMLElement} old
   * @param {HTMLElement} row
   */
  moved(old, row) {
    if (this.#row !== old) return;
    const focused = focusedIn(this.node)?.dataset.testid;
    this.#row = null;
    this.#attach(row);
    if (!focused) return;
    const button = this.node.querySelector(`[data-testid="${focused}"]`);
    (button instanceof HTMLElement ? button : row).focus({ preventScroll: true });
  }

  /** The list was redrawn; the row may be gone. */
  refresh() {
    if (this.#row && !this.#row.isConnected) this.#attach(null);
  }

  /** @param {Message} message */
  #fill(message) {
    const own = message.author === this.#actions.self;
    const moderates = this.#moderates();
    /** @param {string} emoji */
    const mine = (emoji) => message.mine.includes(emoji);
    /** @param {string} emoji */
    const toggle = (emoji) => this.#actions.react(message, emoji, !mine(emoji));
    /** @type {HTMLElement} */
    const add = iconButton('smile', 'Add a reaction', {
      dataset: { testid: 'react' },
      on: { click: () => emojiPicker(add, toggle) },
    });
    this.node.replaceChildren(
      ...QUICK_EMOJIS.map((emoji) =>
        h(
          'button',
          {
            type: 'button',
            class: 'icon-button quick',
            'aria-label': `React with ${emoji}`,
            title: `React with ${emoji}`,
            dataset: { testid: `quick-${emoji}` },
            on: { click: () => toggle(emoji) },
          },
          emoji,
        ),
      ),
      add,
      iconButton('reply', 'Reply', { dataset: { testid: 'reply' }, on: { click: () => this.#actions.reply(message) } }),
      ...(own
        ? [
            iconButton('edit', 'Edit', {
              dataset: { testid: 'edit' },
              on: { click: () => this.#actions.edit(message) },
            }),
          ]
        : []),
      ...(own || moderates
        ? [
            iconButton('trash', 'Delete', {
              class: 'danger',
              dataset: { testid: 'delete' },
              on: { click: () => this.#actions.remove(message) },
            }),
          ]
        : []),
    );
  }
}

/**
 * @param {Event} event
 * @returns {Element | null}
 */
const elementOf = (event) => (event.target instanceof Element ? event.target : null);

/**
 * @param {Event} event
 * @returns {HTMLElement | null} the row it happened in
 */
const rowOf = (event) => elementOf(event)?.closest('article') ?? null;
