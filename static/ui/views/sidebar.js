/**
 * The list of conversations, who one is, and whether one is connected.
 *
 * Used by the chat view. A row is made once and filled again only when what it shows has changed.
 *
 * @import { Status, User } from '../../client/types.js'
 * @import { Rest } from '../../client/rest.js'
 * @import { ConversationList, ListItem } from '../store/conversation-list.js'
 * @import { People } from '../store/people.js'
 */
import { h, reconcile } from '../widgets/dom.js';
import { avatar, brand, hueOf, icon, iconButton, initials } from '../widgets/icons.js';
import { menu } from '../widgets/menu.js';
import { excerpt } from '../widgets/message.js';
import { plural, shortTime } from '../widgets/text.js';
import { SearchPanel } from './search.js';

/**
 * @typedef {object} SidebarOptions
 * @property {User} me
 * @property {boolean} guest
 * @property {ConversationList} list
 * @property {People} people
 * @property {Rest} rest
 * @property {() => void} create
 * @property {(conversationId: string, message: { id: string, seq: number }) => void} openAt
 * @property {() => void} keys
 * @property {(() => void) | null} analytics for those who may see the numbers
 * @property {() => void} signOut
 */

/** @type {Record<Status['state'], string>} */
const CONNECTION = {
  online: 'Connected',
  connecting: 'Connecting…',
  waiting: 'Reconnecting…',
  stopped: 'Disconnected',
};

export class Sidebar {
  /** @type {Map<string, { inputs: string, node: HTMLElement, link: HTMLElement }>} by id */
  #rows = new Map();
  #options;

  /** @param {SidebarOptions} options */
  constructor(options) {
    this.#options = options;
    const { me, guest } = options;
    this.rows = h('ul', { class: 'conversations', dataset: { testid: 'conversations' } });
    this.empty = emptyNotice(options);
    this.nav = h('nav', { 'aria-label': 'Conversations' }, this.rows, this.empty);
    this.search = new SearchPanel({
      rest: options.rest,
      people: options.people,
      me,
      open: options.openAt,
      shown: (yes) => this.#searching(yes),
    });
    const create = guest
      ? null
      : iconButton('add', 'New conversation', {
          class: 'filled',
          dataset: { testid: 'new-conversation' },
          on: { click: options.create },
        });
    this.statusText = h('span', { class: 'connection-text', text: CONNECTION.connecting });
    this.status = h(
      'span',
      { class: 'connection', dataset: { testid: 'connection', state: 'connecting' } },
      h('span', { class: 'connection-dot' }),
      this.statusText,
    );
    this.node = h(
      'aside',
      { class: 'sidebar', 'aria-label': 'Conversations' },
      h('header', { class: 'sidebar-head' }, brand(), create),
      this.search.form,
      h('div', { class: 'sidebar-list' }, this.nav, this.search.results),
      h(
        'footer',
        { class: 'sidebar-foot' },
        avatar(me.id, me.name),
        h(
          'span',
          { class: 'me' },
          h('span', { class: 'me-name', dataset: { testid: 'me' }, text: me.name }),
          this.status,
        ),
        accountButton(options),
      ),
    );
  }

  /** @param {string | null} activeId the open conversation */
  draw(activeId) {
    const { list } = this.#options;
    const items = list.sorted();
    const seen = new Set(items.map(({ id }) => id));
    for (const id of this.#rows.keys()) if (!seen.has(id)) this.#rows.delete(id);
    reconcile(
      this.rows,
      items.map((item) => this.#row(item, item.id === activeId)),
    );
    this.empty.hidden = !list.loaded || items.length > 0;
    this.search.draw();
  }

  /**
   * What was found stands where the list was.
   *
   * @param {boolean} yes
   */
  #searching(yes) {
    this.nav.hidden = yes;
  }

  /**
   * @param {ListItem} item
   * @param {boolean} active
   */
  #row(item, active) {
    const { people, me } = this.#options;
    const last = item.last_message;
    const author = last?.author === me.id ? 'You' : last && people.of(last.author).split(' ')[0];
    const preview = last
      ? `${last.kind === 'system' ? '' : `${author}: `}${excerpt(last.body, 80)}`
      : 'No messages yet';
    const when = item.last_message_at ? shortTime(item.last_message_at) : '';
    const inputs = [item.title, preview, when, item.unread, active].join('\u0000');
    const known = this.#rows.get(item.id);
    if (known?.inputs === inputs) return known.node;
    const content = [
      h(
        'span',
        { class: 'avatar avatar-conversation', 'aria-hidden': 'true', dataset: { hue: String(hueOf(item.id)) } },
        initials(item.title),
      ),
      h(
        'span',
        { class: 'conversation-text' },
        h('span', { class: 'conversation-title', text: item.title }),
        h('time', { text: when }),
      ),
      h(
        'span',
        { class: 'conversation-text' },
        h('span', { class: 'conversation-preview', text: preview }),
        item.unread > 0 &&
          h('span', {
            class: 'badge',
            'aria-label': plural(item.unread, 'unread message'),
            dataset: { testid: 'unread' },
            text: item.unread > 99 ? '99+' : String(item.unread),
          }),
      ),
    ];
    const link = known?.link ?? h('a', { class: 'conversation', href: `#/c/${item.id}` });
    link.replaceChildren(...content);
    link.dataset.testid = 'conversation';
    link.dataset.id = item.id;
    link.classList.toggle('unread', item.unread > 0);
    if (active) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    const node = known?.node ?? h('li', {}, link);
    this.#rows.set(item.id, { inputs, node, link });
    return node;
  }

  /** @param {Status} status */
  connection(status) {
    this.status.dataset.state = status.state;
    this.statusText.textContent = CONNECTION[status.state];
  }
}

/**
 * In the list's place while there is none.
 *
 * @param {SidebarOptions} options
 */
function emptyNotice({ guest, create }) {
  return h(
    'div',
    { class: 'sidebar-empty', hidden: true, dataset: { testid: 'no-conversations' } },
    h('p', { text: guest ? 'The conversation you were invited to is no longer here.' : 'No conversations yet.' }),
    !guest && h('p', { class: 'muted', text: 'Create one and invite people with a link.' }),
    // Where the stage is not in view, the list is the first page.
    !guest &&
      h(
        'button',
        {
          type: 'button',
          class: 'button primary only-narrow',
          dataset: { testid: 'empty-create' },
          on: { click: create },
        },
        icon('add'),
        'New conversation',
      ),
  );
}

/** @param {SidebarOptions} options */
function accountButton({ guest, keys, analytics, signOut }) {
  /** @type {HTMLElement} */
  const button = iconButton('more', 'Account', {
    dataset: { testid: 'account' },
    on: {
      click: () =>
        menu(button, [
          !guest && { label: 'API keys', symbol: 'key', testid: 'api-keys', perform: keys },
          analytics && { label: 'Analytics', symbol: 'chart', testid: 'analytics', perform: analytics },
          { label: guest ? 'Leave' : 'Sign out', symbol: 'leave', testid: 'sign-out', perform: signOut },
        ]),
    },
  });
  return button;
}

/**
 * What the main area shows while no conversation is open.
 *
 * @param {{ empty: boolean, guest: boolean, create: () => void }} options
 */
export function welcome({ empty, guest, create }) {
  return h(
    'main',
    { class: 'welcome', dataset: { testid: 'welcome' } },
    h('div', { class: 'welcome-art', 'aria-hidden': 'true' }),
    h('h1', { text: empty ? 'Start your first conversation' : 'Choose a conversation' }),
    h('p', {
      text: empty
        ? 'Give it a name, then share its invite link: people can join with an account, or just with a name.'
        : 'Pick one from the list, or start a new one.',
    }),
    !guest &&
      h(
        'button',
        { type: 'button', class: 'button primary', dataset: { testid: 'welcome-create' }, on: { click: create } },
        icon('add'),
        'New conversation',
      ),
  );
}
