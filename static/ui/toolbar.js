/**
 * The actions of a message: one toolbar for the whole list, put into the row that is pointed at, focused or tapped.
 *
 * One instead of one per row keeps long histories light, and in the row it is next in the tab order.
 */
import { h, iconButton } from './dom.js';
import { QUICK_EMOJIS, emojiPicker } from './overlays.js';

export class MessageToolbar {
  #find;
  #role;
  #actions;
  #row = null;
  #message = null;

  constructor({ list, find, role, actions }) {
    this.#find = find;
    this.#role = role;
    this.#actions = actions;
    this.node = h('div', {
      class: 'toolbar',
      role: 'toolbar',
      'aria-label': 'Message actions',
      dataset: { testid: 'toolbar' },
    });
    list.addEventListener(
      'pointerover',
      (event) => event.pointerType === 'mouse' && this.#attach(event.target.closest('article')),
    );
    list.addEventListener(
      'pointerleave',
      (event) => event.pointerType === 'mouse' && !this.node.contains(document.activeElement) && this.#attach(null),
    );
    list.addEventListener('focusin', (event) => this.#attach(event.target.closest('article')));
    list.addEventListener('click', (event) => {
      if (!event.target.closest('a, button')) this.#attach(event.target.closest('article'));
    });
  }

  #attach(row) {
    const message = row?.dataset.id ? this.#find(row.dataset.id) : null;
    if (row === this.#row && message === this.#message) return;
    this.#row = row;
    this.#message = message;
    if (!message || message.deleted_at) this.node.remove();
    else {
      this.#fill(message);
      row.append(this.node);
      // On narrow screens it is a line of the row, which may end below the view then.
      if (getComputedStyle(this.node).position === 'static') this.node.scrollIntoView({ block: 'nearest' });
    }
  }

  /** The row was rebuilt. */
  moved(old, row) {
    if (this.#row !== old) return;
    const focused = this.node.contains(document.activeElement) ? document.activeElement.dataset.testid : null;
    this.#row = null;
    this.#attach(row);
    if (focused) (this.node.querySelector(`[data-testid="${focused}"]`) ?? row).focus({ preventScroll: true });
  }

  /** The list was redrawn; the row may be gone. */
  refresh() {
    if (this.#row && !this.#row.isConnected) this.#attach(null);
  }

  #fill(message) {
    const own = message.author === this.#actions.self;
    const moderates = ['owner', 'moderator'].includes(this.#role());
    const mine = (emoji) =>
      message.reactions.some((reaction) => reaction.emoji === emoji && reaction.users.includes(this.#actions.self));
    const toggle = (emoji) => this.#actions.react(message, emoji, !mine(emoji));
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
