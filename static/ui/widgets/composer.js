/**
 * Where messages are written: new ones, replies, and changes of old ones.
 *
 * Used by the conversation view. It keeps a draft for each conversation, in the store's map, which
 * goes when the person goes; and reports typing. It decides nothing about sending.
 *
 * @import { Message } from '../../client/types.js'
 * @import { IconName } from './icons.js'
 */
import { utf8Length } from '../../client/policy.js';
import { h } from './dom.js';
import { icon, iconButton } from './icons.js';
import { emojiPicker } from './menu.js';
import { excerpt } from './message.js';

/** Typing counts as stopped after so long without a key. */
const IDLE_MS = 5_000;
/** What is left of the bytes of a message is shown when it gets short. */
const WARN_BYTES = 1_000;

/** On a touch keyboard there is no Shift+Enter: Enter begins a line there, and the button sends. */
const touches = () => matchMedia('(pointer: coarse)').matches;

/**
 * @typedef {object} ComposerOptions
 * @property {string} id of the conversation
 * @property {string} title of the conversation
 * @property {Map<string, string>} drafts the person's, by conversation id
 * @property {() => number} bytesMax of a message
 * @property {(body: string, replyTo: string | null) => void} send
 * @property {(message: Message, body: string) => void} edit
 * @property {(on: boolean) => void} typing
 * @property {() => Message | undefined} lastOwn the newest own message, which the up key edits
 * @property {(user: string) => string} nameOf
 */

export class Composer {
  #id;
  #drafts;
  #options;
  /** @type {Message | null} */
  #replyTo = null;
  /** @type {Message | null} */
  #editing = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #idle;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pause;

  /** @param {ComposerOptions} options */
  constructor(options) {
    this.#id = options.id;
    this.#drafts = options.drafts;
    this.#options = options;
    this.input = h('textarea', {
      class: 'composer-input',
      rows: 1,
      dir: 'auto',
      'aria-label': 'Message',
      enterKeyHint: touches() ? 'enter' : 'send',
      dataset: { testid: 'composer' },
    });
    this.input.value = this.#drafts.get(this.#id) ?? '';
    this.context = h('div', { class: 'composer-context', hidden: true, dataset: { testid: 'composer-context' } });
    this.left = h('span', { class: 'composer-left', role: 'status', dataset: { testid: 'composer-room' } });
    this.notice = h('p', {
      class: 'composer-notice',
      role: 'status',
      hidden: true,
      dataset: { testid: 'composer-notice' },
    });
    this.submit = h(
      'button',
      { type: 'submit', class: 'send-button', 'aria-label': 'Send', title: 'Send', dataset: { testid: 'send' } },
      icon('send'),
    );
    /** @type {HTMLElement} */
    const emoji = iconButton('smile', 'Insert an emoji', {
      dataset: { testid: 'insert-emoji' },
      on: { click: () => emojiPicker(emoji, (text) => this.#insert(text)) },
    });
    this.node = h(
      'form',
      { class: 'composer', dataset: { testid: 'composer-form' } },
      this.notice,
      this.context,
      h('div', { class: 'composer-box' }, emoji, this.input, this.left, this.submit),
    );
    this.node.addEventListener('submit', (event) => (event.preventDefault(), this.#send()));
    this.input.addEventListener('input', () => this.#changed(true));
    this.input.addEventListener('keydown', (event) => this.#key(event));
    this.input.addEventListener('blur', () => this.#stopTyping());
    this.titled(options.title);
    queueMicrotask(() => this.#changed(false));
  }

  /** @param {string} title of the conversation */
  titled(title) {
    this.input.placeholder = title ? `Message ${title}` : 'Message';
  }

  /**
   * Says that what is sent waits.
   *
   * @param {number} until in Unix milliseconds
   */
  paused(until) {
    clearInterval(this.#pause);
    const show = () => {
      const seconds = Math.ceil((until - Date.now()) / 1_000);
      this.notice.hidden = seconds <= 0;
      this.notice.textContent = seconds > 0 ? `Sending paused, ${seconds} s` : '';
      if (seconds <= 0) clearInterval(this.#pause);
    };
    this.#pause = setInterval(show, 1_000);
    show();
  }

  focus() {
    this.input.focus({ preventScroll: true });
  }

  destroy() {
    clearInterval(this.#pause);
    if (this.#editing) this.cancel();
    this.#stopTyping();
  }

  /** @param {Message} message */
  reply(message) {
    this.cancel();
    this.#replyTo = message;
    this.#showContext('reply', `Replying to ${this.#options.nameOf(message.author)}`, excerpt(message.body, 90));
  }

  /** @param {Message} message */
  edit(message) {
    this.cancel();
    this.#editing = message;
    this.input.value = message.body ?? '';
    this.#showContext('edit', 'Editing your message', 'Esc to cancel');
    this.#changed(false);
  }

  cancel() {
    if (this.#editing) this.input.value = this.#drafts.get(this.#id) ?? '';
    this.#editing = null;
    this.#replyTo = null;
    this.context.hidden = true;
    this.context.replaceChildren();
    this.#changed(false);
  }

  /**
   * @param {IconName} symbol
   * @param {string} title
   * @param {string} text
   */
  #showContext(symbol, title, text) {
    this.context.replaceChildren(
      icon(symbol),
      h('span', { class: 'context-text' }, h('strong', { text: title }), h('span', { text })),
      iconButton('close', 'Cancel', {
        dataset: { testid: 'cancel-context' },
        on: { click: () => (this.cancel(), this.focus()) },
      }),
    );
    this.context.hidden = false;
    this.focus();
    this.input.setSelectionRange(this.input.value.length, this.input.value.length);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey && !touches()) {
      event.preventDefault();
      this.#send();
    } else if (event.key === 'Escape' && !this.context.hidden) {
      event.preventDefault();
      this.cancel();
    } else if (event.key === 'ArrowUp' && this.input.value === '' && !this.#editing) {
      const message = this.#options.lastOwn();
      if (!message) return;
      event.preventDefault();
      this.edit(message);
    }
  }

  #send() {
    const body = this.input.value;
    if (!this.#sendable(body)) return;
    const message = this.#editing;
    const replyTo = this.#replyTo;
    if (message) {
      this.cancel();
      if (body !== message.body) this.#options.edit(message, body);
    } else {
      this.input.value = '';
      this.#drafts.delete(this.#id);
      this.cancel();
      this.#options.send(body, replyTo?.id ?? null);
    }
    this.#stopTyping();
    this.focus();
  }

  /** @param {string} body */
  #sendable(body) {
    return body.trim() !== '' && !body.includes('\0') && utf8Length(body) <= this.#options.bytesMax();
  }

  /** @param {string} text */
  #insert(text) {
    this.input.setRangeText(text, this.input.selectionStart, this.input.selectionEnd, 'end');
    this.focus();
    this.#changed(true);
  }

  /** @param {boolean} byPerson whether a person has just written */
  #changed(byPerson) {
    const { value } = this.input;
    // Browsers without `field-sizing` need to be told the height.
    if (!CSS.supports('field-sizing', 'content')) {
      this.input.style.height = 'auto';
      this.input.style.height = `${this.input.scrollHeight}px`;
    }
    const left = this.#options.bytesMax() - utf8Length(value);
    this.left.textContent = left < WARN_BYTES ? left.toLocaleString() : '';
    this.left.dataset.over = String(left < 0);
    this.submit.disabled = !this.#sendable(value);
    this.submit.setAttribute('aria-label', this.#editing ? 'Save' : 'Send');
    if (this.#editing) return;
    if (value) this.#drafts.set(this.#id, value);
    else this.#drafts.delete(this.#id);
    if (!byPerson) return;
    if (value.trim()) this.#startTyping();
    else this.#stopTyping();
  }

  #startTyping() {
    this.#options.typing(true);
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#stopTyping(), IDLE_MS);
  }

  #stopTyping() {
    clearTimeout(this.#idle);
    this.#options.typing(false);
  }
}
