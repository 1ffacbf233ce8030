/**
 * The list of conversations, who one is, and whether one is connected.
 */
import { avatar, brand, h, hueOf, icon, iconButton, initials, reconcile } from './dom.js';
import { excerpt } from './message.js';
import { menu } from './overlays.js';
import { SearchPanel } from './search.js';
import { plural, shortTime } from './text.js';

export class Sidebar {
  #rows = new Map();
  #options;

  /** @param {object} options `{me, list, names, rest, create(), openAt(conversationId, message), keys(), signOut(), reconnect(), guest}` */
  constructor(options) {
    this.#options = options;
    const { me, guest } = options;
    this.rows = h('ul', { class: 'conversations', dataset: { testid: 'conversations' } });
    this.empty = h(
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
            on: { click: options.create },
          },
          icon('add'),
          'New conversation',
        ),
    );
    this.search = new SearchPanel({
      rest: options.rest,
      names: options.names,
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
    this.status = h(
      'span',
      { class: 'connection', dataset: { testid: 'connection', state: 'connecting' } },
      h('span', { class: 'connection-dot' }),
      h('span', { class: 'connection-text', text: 'Connecting…' }),
    );
    const account = iconButton('more', 'Account', {
      dataset: { testid: 'account' },
      on: {
        click: () =>
          menu(account, [
            !guest && { label: 'API keys', symbol: 'key', testid: 'api-keys', perform: options.keys },
            { label: guest ? 'Leave' : 'Sign out', symbol: 'leave', testid: 'sign-out', perform: options.signOut },
          ]),
      },
    });
    this.node = h(
      'aside',
      { class: 'sidebar', 'aria-label': 'Conversations' },
      h('header', { class: 'sidebar-head' }, brand(), create),
      this.search.form,
      h(
        'div',
        { class: 'sidebar-list' },
        (this.nav = h('nav', { 'aria-label': 'Conversations' }, this.rows, this.empty)),
        this.search.results,
      ),
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
        account,
      ),
    );
  }

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

  /** What was found stands where the list was. */
  #searching(yes) {
    this.nav.hidden = yes;
  }

  #row(item, active) {
    const { names, me } = this.#options;
    const last = item.last_message;
    const author = last?.author === me.id ? 'You' : last && names.of(last.author).split(' ')[0];
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
        { class: 'avatar avatar-room', 'aria-hidden': 'true', dataset: { hue: String(hueOf(item.id)) } },
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

  connection(status) {
    const text = { online: 'Connected', connecting: 'Connecting…', waiting: 'Reconnecting…', stopped: 'Disconnected' }[
      status.state
    ];
    this.status.dataset.state = status.state;
    this.status.lastChild.textContent = text;
  }
}

/** What the main area shows while no conversation is open. */
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
