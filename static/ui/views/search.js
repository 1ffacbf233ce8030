/**
 * Search over all conversations: a field above the list, and what it found in the list's place.
 *
 * Used by the sidebar. It searches with Enter and not with each letter: the server counts searches
 * among what costs much. Hits come as pieces of text, so they are marked by elements of our own and
 * never by markup of a message.
 *
 * @import { Rest } from '../../client/rest.js'
 * @import { User, WireMessage } from '../../client/types.js'
 * @import { People } from '../store/people.js'
 */
import { focusedIn, h } from '../widgets/dom.js';
import { icon, iconButton } from '../widgets/icons.js';
import { plural, shortTime } from '../widgets/text.js';

const PAGE = 20;

/**
 * @typedef {object} Hit
 * @property {WireMessage} message
 * @property {{ id: string, title: string }} conversation
 * @property {{ text: string, hit: boolean }[]} snippet
 */

/**
 * @typedef {object} SearchOptions
 * @property {Rest} rest
 * @property {People} people
 * @property {User} me
 * @property {(conversationId: string, message: WireMessage) => void} open
 * @property {(yes: boolean) => void} shown whether hits take the place of the list
 */

export class SearchPanel {
  #options;
  #query = '';
  /** @type {string | null} cursor of the next page */
  #next = null;
  /** @type {Hit[]} */
  #items = [];
  #complete = true;
  /** Counts searches: the response to one that was replaced is not shown. */
  #searches = 0;
  /** @type {number | null} the version of the names that are drawn */
  #drawn = null;

  /** @param {SearchOptions} options */
  constructor(options) {
    this.#options = options;
    /** @type {HTMLInputElement} */
    this.input = h('input', {
      class: 'input search-input',
      type: 'search',
      name: 'q',
      placeholder: 'Search messages',
      'aria-label': 'Search messages',
      autocomplete: 'off',
      enterKeyHint: 'search',
      maxLength: 256,
      dataset: { testid: 'search' },
      on: { input: () => this.input.value || this.clear(), keydown: (event) => event.key === 'Escape' && this.clear() },
    });
    this.form = h(
      'form',
      { class: 'search', role: 'search', on: { submit: (event) => (event.preventDefault(), this.#begin()) } },
      icon('search'),
      this.input,
    );
    this.status = h('p', { class: 'search-status', role: 'status', dataset: { testid: 'search-status' } });
    this.list = h('ul', { class: 'hits', dataset: { testid: 'search-hits' } });
    this.more = h(
      'button',
      {
        type: 'button',
        class: 'button',
        hidden: true,
        dataset: { testid: 'search-more' },
        on: { click: () => this.#load() },
      },
      'Show more',
    );
    this.results = h(
      'section',
      { class: 'search-results', hidden: true, 'aria-label': 'Search results', dataset: { testid: 'search-results' } },
      h(
        'div',
        { class: 'search-head' },
        this.status,
        iconButton('close', 'End the search', {
          dataset: { testid: 'search-close' },
          on: { click: () => (this.clear(), this.input.focus()) },
        }),
      ),
      this.list,
      this.more,
    );
  }

  /** Back to the list. */
  clear() {
    this.#searches += 1;
    this.input.value = '';
    this.results.hidden = true;
    this.#options.shown(false);
  }

  #begin() {
    this.#query = this.input.value.trim();
    if (!this.#query) return this.clear();
    [this.#items, this.#next, this.#complete] = [[], null, true];
    this.list.replaceChildren();
    this.results.hidden = false;
    this.#options.shown(true);
    return this.#load();
  }

  async #load() {
    const search = (this.#searches += 1);
    this.more.hidden = true;
    this.status.textContent = 'Searching…';
    try {
      const page = await this.#options.rest.get('/api/search', { q: this.#query, limit: PAGE, cursor: this.#next });
      if (search !== this.#searches) return;
      this.#items.push(...page.items);
      [this.#next, this.#complete] = [page.next, page.complete];
      this.#sayFound();
      this.#drawn = null;
      this.draw();
    } catch (problem) {
      if (search !== this.#searches) return;
      const seconds = Math.ceil((problem.retryAfterMs ?? 0) / 1_000);
      this.status.textContent =
        problem.code === 'rate_limited'
          ? `Too many searches; try again in ${plural(seconds || 1, 'second')}.`
          : (problem.errors[0]?.message ?? problem.message);
    }
    this.more.hidden = this.#next === null;
  }

  #sayFound() {
    const count = this.#items.length;
    const found =
      count === 0 ? 'Nothing was found.' : `${plural(count, 'message')}${this.#next ? ' so far' : ''}, newest first.`;
    this.status.textContent = this.#complete ? found : `${found} Very old messages were not searched.`;
  }

  /** Again, with names that were learnt meanwhile. */
  draw() {
    const { version } = this.#options.people;
    if (this.results.hidden || this.#drawn === version) return;
    this.#drawn = version;
    const focused = focusedIn(this.list)?.dataset.id;
    this.list.replaceChildren(...this.#items.map((item) => this.#row(item)));
    if (!focused) return;
    const hit = this.list.querySelector(`button[data-id="${CSS.escape(focused)}"]`);
    if (hit instanceof HTMLElement) hit.focus({ preventScroll: true });
  }

  /** @param {Hit} hit */
  #row({ message, conversation, snippet }) {
    const { me, people, open } = this.#options;
    const author = message.author === me.id ? 'You' : people.of(message.author);
    /** @type {HTMLElement} */
    const row = h(
      'button',
      {
        type: 'button',
        class: 'hit',
        dataset: { testid: 'search-hit', id: message.id },
        on: { click: () => (this.#choose(row), open(conversation.id, message)) },
      },
      h(
        'span',
        { class: 'hit-head' },
        h('span', { class: 'hit-title', text: conversation.title }),
        h('time', { dateTime: message.created_at, text: shortTime(message.created_at) }),
      ),
      h(
        'span',
        { class: 'hit-text' },
        h('span', { class: 'hit-author', text: `${author}: ` }),
        snippet.map(({ text, hit }) => (hit ? h('mark', { text }) : text)),
      ),
    );
    return h('li', {}, row);
  }

  /** @param {HTMLElement} row */
  #choose(row) {
    for (const other of this.list.querySelectorAll('[aria-current]')) other.removeAttribute('aria-current');
    row.setAttribute('aria-current', 'true');
  }
}
