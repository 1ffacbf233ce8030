/**
 * The messages of the open conversation: draws what `Conversation` holds, keeps the scroll
 * position, loads history.
 *
 * Used by the conversation view. At most 600 messages are held at the end; beyond that the oldest
 * are dropped.
 *
 * The list is redrawn as a whole but changed only where a row's inputs changed (compared by
 * identity), so a burst of frames costs one pass per animation frame and a person's focus and
 * selection survive. Browsers differ in how they hold the scroll position when rows appear above
 * it, so it is done here: at the end one stays at the end, elsewhere the first visible row stays
 * where it is.
 *
 * @import { Conversation } from '../../client/conversation.js'
 * @import { ParlanceClient } from '../../parlance-client.js'
 * @import { People } from '../store/people.js'
 * @import { MessageActions } from '../widgets/message.js'
 * @import { InviteActions, Row } from './thread-rows.js'
 */
import { HistoryLoader } from '../store/history-loader.js';
import { focusedIn, h, reconcile, scheduler } from '../widgets/dom.js';
import { icon } from '../widgets/icons.js';
import { MessageToolbar } from '../widgets/message-toolbar.js';
import { nameList, plural } from '../widgets/text.js';
import { threadRows } from './thread-rows.js';

/** So near to the end counts as at the end. */
const END_PX = 48;
/** History is asked for when this much of it is left above the view. */
const PREFETCH_PX = 700;
/** Beyond so many messages, those far above the end are dropped, but not what is in view. */
const HELD_MAX = 600;
const HELD_KEPT = 200;
const READ_DELAY_MS = 250;
/**
 * Pages that are loaded to find a message that was replied to, or found; and their size where it is
 * far back.
 */
const SHOW_PAGES_MAX = 10;
const SHOW_PAGE = 100;

/**
 * What a person can do in the thread, but for what the thread does itself.
 *
 * @typedef {Omit<MessageActions, 'self' | 'show'> & InviteActions} ThreadActions
 */

export class Thread {
  #client;
  #conversation;
  #people;
  #actions;
  /** @type {Map<string, { inputs: unknown[], node: HTMLElement }>} by the row's key */
  #rows = new Map();
  #atEnd = true;
  #top = 0;
  #opened = false;
  /** @type {number | null} the `seq` after which the new messages begin */
  #dividerAfter = null;
  #lastSeen = 0;
  /** @type {((value?: unknown) => void)[]} called once the conversation is there */
  #waiting = [];
  /** @type {ReturnType<typeof setTimeout> | null} */
  #readTimer = null;
  #abort = new AbortController();
  #resize = new ResizeObserver(() => this.#atEnd && this.toEnd());

  /**
   * @param {object} options
   * @param {ParlanceClient} options.client
   * @param {Conversation} options.conversation
   * @param {People} options.people
   * @param {ThreadActions} options.actions
   */
  constructor({ client, conversation, people, actions }) {
    this.#client = client;
    this.#conversation = conversation;
    this.#people = people;
    this.#actions = { ...actions, self: conversation.self, show: (/** @type {string} */ id) => this.show(id, null) };
    this.list = h('div', {
      class: 'log',
      role: 'log',
      'aria-label': 'Messages',
      tabIndex: 0,
      dataset: { testid: 'log' },
    });
    this.scroller = h('div', { class: 'scroller', dataset: { testid: 'scroller' } }, this.list);
    this.count = h('span', { class: 'jump-count', dataset: { testid: 'jump-count' } });
    this.jump = h(
      'button',
      {
        type: 'button',
        class: 'jump',
        hidden: true,
        'aria-label': 'Jump to the latest message',
        dataset: { testid: 'jump-latest' },
        on: { click: () => this.toEnd() },
      },
      this.count,
      icon('down'),
    );
    this.typing = h('div', { class: 'typing', 'aria-live': 'polite', dataset: { testid: 'typing' } });
    this.node = h('div', { class: 'thread' }, this.scroller, this.jump, this.typing);
    this.toolbar = new MessageToolbar({
      list: this.list,
      find: (id) => conversation.byId.get(id),
      moderates: () => conversation.may.has('moderate'),
      actions: this.#actions,
    });
    this.history = new HistoryLoader({
      conversation,
      load: (limit) => client.loadOlder(conversation.id, limit),
      wanted: () => this.scroller.isConnected && this.scroller.scrollTop <= PREFETCH_PX,
      busy: (busy) => this.list.setAttribute('aria-busy', String(busy)),
      loaded: () => this.#draw(),
    });
    this.draw = scheduler(() => this.#draw());
    this.#listen();
    this.draw();
  }

  #listen() {
    const { signal } = this.#abort;
    this.scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true, signal });
    for (const event of ['focus', 'visibilitychange']) {
      window.addEventListener(event, () => this.#planRead(), { signal });
      document.addEventListener(event, () => this.#planRead(), { signal });
    }
    this.#resize.observe(this.scroller);
    // The list grows without being drawn when a message's actions open below it.
    this.#resize.observe(this.list);
    this.list.addEventListener('keydown', (event) => this.#move(event), { signal });
  }

  destroy() {
    this.#abort.abort();
    this.history.close();
    this.#resize.disconnect();
    if (this.#readTimer !== null) clearTimeout(this.#readTimer);
  }

  /** What an own message does to the view: one sees it, and has seen what came before. */
  sent() {
    this.#dividerAfter = null;
    this.#atEnd = true;
    this.draw();
  }

  /** At once and not smoothly: frames that arrive on the way would stop the movement half-way. */
  toEnd() {
    this.#atEnd = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** Whether a person is looking. */
  #active() {
    return document.visibilityState === 'visible' && document.hasFocus();
  }

  #draw() {
    const conversation = this.#conversation;
    if (this.#abort.signal.aborted) return;
    if (conversation.floor === null) return this.#drawWaiting();
    const anchor = this.#atEnd ? null : this.#anchor();
    this.#noteNew();
    this.#trim();
    const rows = threadRows({
      conversation,
      people: this.#people,
      dividerAfter: this.#dividerAfter,
      actions: this.#actions,
    });
    const nodes = rows.map((row) => this.#row(row));
    const wanted = new Set(nodes);
    for (const [key, row] of this.#rows) if (!wanted.has(row.node)) this.#rows.delete(key);
    reconcile(this.list, nodes);
    this.#place(anchor);
    this.#drawAround();
    this.toolbar.refresh();
    this.#planRead();
    this.history.fill();
    if (conversation.phase === 'live') for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Not in very high windows, where it would be loaded again at once. */
  #trim() {
    const held = this.#conversation.messages.length;
    if (!this.#atEnd || held <= HELD_MAX) return;
    const { scrollHeight, clientHeight } = this.scroller;
    const left = (scrollHeight / held) * HELD_KEPT;
    if (left > 2 * (clientHeight + PREFETCH_PX)) this.#conversation.trim(HELD_KEPT);
  }

  #drawWaiting() {
    if (this.list.childElementCount) return;
    this.list.append(
      ...Array.from({ length: 6 }, (_, idx) =>
        h(
          'div',
          { class: 'skeleton', 'aria-hidden': 'true', dataset: { width: String(idx % 3) } },
          h('span'),
          h('span'),
        ),
      ),
    );
  }

  /**
   * The divider marks what came while nobody looked; it stays until the next time, or until one
   * writes.
   */
  #noteNew() {
    const { readSeq, lastSeq, messages } = this.#conversation;
    if (lastSeq <= readSeq || messages.at(-1)?.author === this.#conversation.self) return;
    const away = !this.#active() && (this.#dividerAfter ?? 0) < readSeq;
    if (!this.#opened || away) this.#dividerAfter = readSeq;
  }

  /** @param {Row} row */
  #row({ key, inputs, build }) {
    const known = this.#rows.get(key);
    const same = known?.inputs.length === inputs.length && known.inputs.every((input, idx) => input === inputs[idx]);
    if (known && same) return known.node;
    const node = build();
    this.#rows.set(key, { inputs, node });
    if (known) this.#takeOver(known.node, node);
    return node;
  }

  /**
   * A rebuilt row keeps the focus of the one it replaces.
   *
   * @param {HTMLElement} old
   * @param {HTMLElement} node
   */
  #takeOver(old, node) {
    if (!old.isConnected) return;
    const focused = focusedIn(old);
    old.replaceWith(node);
    this.toolbar.moved(old, node);
    if (!focused || node.contains(document.activeElement)) return;
    const { key } = focused.dataset;
    const part = key ? node.querySelector(`[data-key="${CSS.escape(key)}"]`) : null;
    (part instanceof HTMLElement ? part : node).focus({ preventScroll: true });
  }

  /** The first visible row, and where it is. */
  #anchor() {
    const top = this.scroller.getBoundingClientRect().top;
    for (const row of this.#shown()) {
      const box = row.getBoundingClientRect();
      if (box.bottom > top + 1 && row.dataset.id) return { id: row.id, offset: box.top };
    }
    return null;
  }

  #shown() {
    return /** @type {HTMLElement[]} */ ([...this.list.children]);
  }

  /**
   * @param {{ id: string, offset: number } | null} anchor what stays where it is; null at the end
   */
  #place(anchor) {
    if (!this.#opened && this.#conversation.phase === 'live') {
      this.#opened = true;
      const divider = this.list.querySelector('.row-divider');
      const below = divider ? this.list.getBoundingClientRect().bottom - divider.getBoundingClientRect().top : 0;
      if (divider && below > this.scroller.clientHeight) {
        this.#atEnd = false;
        this.scroller.scrollTop += divider.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top - 80;
        return;
      }
    }
    if (this.#atEnd) this.toEnd();
    else if (anchor) {
      const row = document.getElementById(anchor.id);
      const moved = row ? row.getBoundingClientRect().top - anchor.offset : 0;
      // Setting it to what it is would end the momentum of a finger's swipe.
      if (Math.abs(moved) >= 1) this.scroller.scrollTop += moved;
    }
  }

  #drawAround() {
    const conversation = this.#conversation;
    if (this.#atEnd) this.#lastSeen = conversation.lastSeq;
    const fresh = conversation.messages.filter(
      (message) => message.seq > this.#lastSeen && message.author !== conversation.self,
    ).length;
    this.jump.hidden = this.#atEnd;
    this.count.textContent = fresh > 0 ? plural(fresh, 'new message') : '';
    const typists = [...conversation.typing].map((id) => this.#people.of(id));
    const text = typists.length ? `${nameList(typists)} ${typists.length === 1 ? 'is' : 'are'} typing` : '';
    if (this.typing.dataset.text !== text) {
      this.typing.dataset.text = text;
      this.typing.replaceChildren(
        ...(text ? [h('span', { class: 'typing-dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), text] : []),
      );
    }
  }

  #scrolled() {
    // What stands there until the messages come is no place to stay at.
    if (this.#conversation.floor === null) return;
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    // Who has not gone up stays at the end, also when the list has grown.
    const stays = this.#atEnd && scrollTop >= this.#top;
    this.#top = scrollTop;
    const atEnd = stays || scrollHeight - scrollTop - clientHeight < END_PX;
    if (atEnd !== this.#atEnd) {
      this.#atEnd = atEnd;
      this.#drawAround();
    }
    this.#planRead();
    this.history.fill();
  }

  #planRead() {
    this.#readTimer ??= setTimeout(() => {
      this.#readTimer = null;
      this.#markRead();
    }, READ_DELAY_MS);
  }

  #markRead() {
    const conversation = this.#conversation;
    if (!this.#active() || conversation.phase !== 'live' || !this.scroller.isConnected) return;
    if (this.#atEnd) return this.#client.read(conversation.id, conversation.lastSeq);
    const bottom = this.scroller.getBoundingClientRect().bottom;
    const visible = this.#shown().findLast((row) => row.dataset.seq && row.getBoundingClientRect().bottom <= bottom);
    if (visible) this.#client.read(conversation.id, Number(visible.dataset.seq));
  }

  /**
   * Arrow keys walk from message to message.
   *
   * @param {KeyboardEvent} event
   */
  #move(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const from = /** @type {HTMLElement} */ (event.target);
    if (event.key === 'End') this.toEnd();
    if (!step || from.closest('input, textarea')) return;
    const rows = [...this.list.querySelectorAll('article')];
    const at = rows.findIndex((row) => row === from.closest('article'));
    const next = at === -1 ? rows.at(-1) : rows[Math.min(rows.length - 1, Math.max(0, at + step))];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  /**
   * Brings a message into view, loading history until it is there.
   *
   * @param {string} id
   * @param {number | null} seq its number, if it is known: what is too far back is not even tried
   * @returns {Promise<boolean>} whether it is in view
   */
  async show(id, seq) {
    const conversation = this.#conversation;
    if (conversation.floor === null || !this.#opened) await new Promise((resolve) => this.#waiting.push(resolve));
    if (seq !== null && (conversation.floor ?? 0) - seq > SHOW_PAGES_MAX * SHOW_PAGE) return false;
    // At the end, history that is loaded would be dropped again.
    if (!conversation.byId.has(id)) this.#atEnd = false;
    for (let page = 0; page < SHOW_PAGES_MAX && !conversation.byId.has(id); page += 1) {
      if (!(await this.history.page(seq === null ? undefined : SHOW_PAGE))) break;
    }
    if (this.#abort.signal.aborted) return true;
    this.#draw();
    const row = document.getElementById(`m-${id}`);
    if (!row) return false;
    this.#atEnd = false;
    row.scrollIntoView({ block: 'center' });
    row.classList.remove('flash');
    requestAnimationFrame(() => row.classList.add('flash'));
    row.focus({ preventScroll: true });
    return true;
  }
}
