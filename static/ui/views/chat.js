/**
 * The page of someone who is signed in: the list, the open conversation, the banner about the
 * connection.
 *
 * Made by `app.js`. It owns the store and the router, and ties them to the views. One conversation
 * is open at a time.
 *
 * @import { Status, User } from '../../client/types.js'
 * @import { ParlanceClient } from '../../parlance-client.js'
 */
import { Router } from '../router.js';
import { Store, isAdmin } from '../store.js';
import { dialog, field } from '../widgets/dialog.js';
import { h, scheduler } from '../widgets/dom.js';
import { toast } from '../widgets/toast.js';
import { ConversationView } from './conversation.js';
import { Sidebar, welcome } from './sidebar.js';

/** A short break is not worth a banner. */
const BANNER_DELAY_MS = 1_200;

/** @type {Record<number, string>} what people are shown, by close code */
const STOPPED = {
  4003: 'Your account is suspended.',
  4005: 'Too many windows are open with this account. Close one, then reconnect here.',
};

export class Chat {
  #client;
  #me;
  #store;
  #router;
  /** @type {ConversationView | null} */
  #view = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #bannerTimer = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  #offStatus;
  #wasListed = false;
  #closed = false;

  /**
   * @param {object} options
   * @param {ParlanceClient} options.client
   * @param {User} options.me
   * @param {Map<string, string>} options.drafts what is written and not sent, by conversation id
   * @param {() => void} options.analytics opens the numbers of the workspace
   * @param {() => void} options.signOut
   */
  constructor({ client, me, drafts, analytics, signOut }) {
    this.#client = client;
    this.#me = me;
    this.draw = scheduler(() => this.#draw());
    const observer = {
      changed: () => this.draw(),
      listed: () => this.#listed(),
      gone: (/** @type {string} */ id, /** @type {string | undefined} */ title) => this.#gone(id, title),
    };
    const store = new Store(client, me, observer, drafts);
    this.#store = store;
    this.#router = new Router((id) => this.#show(id));
    this.sidebar = new Sidebar({
      me,
      list: store.list,
      people: store.people,
      guest: store.guest,
      rest: client.rest,
      create: () => this.#create(),
      openAt: (id, message) => this.#openAt(id, message),
      keys: () => this.#keys(),
      analytics: isAdmin(me) ? analytics : null,
      signOut,
    });
    this.banner = h('div', { class: 'banner', role: 'status', hidden: true, dataset: { testid: 'banner' } });
    this.main = h('div', { class: 'main' });
    this.node = h(
      'div',
      { class: 'shell', dataset: { testid: 'chat' } },
      this.sidebar.node,
      h('div', { class: 'stage' }, this.banner, this.main),
    );
    this.#offStatus = client.on('status', (status) => this.#status(status));
  }

  start() {
    this.#showMain();
    this.#client.connect();
    this.#router.route();
    this.#store.outbox.restore();
  }

  #listed() {
    const { guest, list, openId } = this.#store;
    const first = !this.#wasListed;
    this.#wasListed = true;
    if (first && guest && !openId && list.size > 0) {
      this.#router.open(list.sorted()[0].id, { replace: true });
    }
    this.#showMain();
  }

  destroy() {
    // What is still under way must not bring this person back.
    this.#closed = true;
    this.#router.destroy();
    this.#store.destroy();
    this.#offStatus();
    if (this.#bannerTimer !== null) clearTimeout(this.#bannerTimer);
    clearInterval(this.#countdown);
    this.#view?.destroy();
    document.title = 'Parlance';
  }

  /** Drops what was not sent; for signing out. */
  clearOutbox() {
    this.#store.outbox.clear();
  }

  /**
   * Opens a conversation at one of its messages.
   *
   * @param {string} id
   * @param {{ id: string, seq: number }} message
   */
  #openAt(id, message) {
    if (id !== this.#store.openId) this.#router.open(id);
    this.#view?.showAt(message);
  }

  /**
   * Shows what the address says.
   *
   * @param {string | null} id of a conversation
   */
  #show(id) {
    const store = this.#store;
    if (this.#closed || id === store.openId) return;
    if (store.openId) this.#client.unsubscribe(store.openId);
    this.#view?.destroy();
    this.#view = null;
    store.openId = id;
    if (id) {
      const conversation = this.#client.subscribe(id);
      conversation.self ??= this.#me.id;
      this.#view = new ConversationView({
        client: this.#client,
        conversation,
        people: store.people,
        title: conversation.title || store.list.get(id)?.title || '',
        drafts: store.drafts,
        back: () => this.#router.close(),
      });
    }
    this.#showMain();
    if (this.#view && matchMedia('(pointer: fine)').matches) this.#view.composer.focus();
  }

  #showMain() {
    const { list, guest, openId } = this.#store;
    this.node.classList.toggle('open', this.#view !== null);
    const empty = list.loaded && list.size === 0;
    const state = this.#view ? String(openId) : String(empty);
    if (this.main.dataset.shown !== state) {
      this.main.dataset.shown = state;
      this.main.replaceChildren(this.#view?.node ?? welcome({ empty, guest, create: () => this.#create() }));
      this.#view?.thread.toEnd();
    }
    this.draw();
  }

  #draw() {
    if (this.#closed) return;
    const { list, openId } = this.#store;
    this.sidebar.draw(openId);
    this.#view?.draw();
    const { unread } = list;
    const title = (openId && list.get(openId)?.title) || '';
    const count = unread > 0 ? `(${unread > 99 ? '99+' : unread}) ` : '';
    document.title = `${count}${title ? `${title} · ` : ''}Parlance`;
  }

  /**
   * @param {string} id
   * @param {string | undefined} title
   */
  #gone(id, title) {
    if (id === this.#store.openId) {
      this.#router.close({ replace: true });
      toast(title ? `You are no longer in ${title}.` : 'This conversation does not exist, or you are not in it.');
    }
    this.#showMain();
  }

  #create() {
    dialog({
      title: 'New conversation',
      content: [
        field(
          'Name',
          {
            name: 'title',
            required: true,
            maxLength: 100,
            placeholder: 'Weekend plans',
            dataset: { testid: 'new-title' },
          },
          'You can invite people once it exists.',
        ),
      ],
      action: 'Create',
      testid: 'new-dialog',
      perform: async (data) => {
        const id = await this.#store.create(String(data.get('title')).trim());
        return () => this.#router.open(id);
      },
    });
  }

  async #keys() {
    // Few ever open it, so it does not come with the first visit.
    const { openKeys } = await import('./keys.js');
    openKeys({ rest: this.#client.rest, me: this.#me });
  }

  /** @param {Status} status */
  #status(status) {
    this.sidebar.connection(status);
    clearInterval(this.#countdown);
    if (status.state === 'online') {
      if (this.#bannerTimer !== null) clearTimeout(this.#bannerTimer);
      this.#bannerTimer = null;
      this.banner.hidden = true;
      return;
    }
    this.#fillBanner(status);
    if (status.state === 'stopped' && status.code) this.banner.hidden = false;
    else this.#bannerTimer ??= setTimeout(() => (this.banner.hidden = false), BANNER_DELAY_MS);
    if (status.state === 'waiting') this.#countdown = setInterval(() => this.#fillBanner(status), 1_000);
  }

  /** @param {Status} status */
  #fillBanner(status) {
    const stopped = status.state === 'stopped';
    const again = stopped ? () => this.#client.connect() : () => this.#client.nudge();
    this.banner.dataset.tone = stopped ? 'danger' : 'warning';
    this.banner.replaceChildren(
      h('span', { class: 'banner-dot' }),
      h('span', { text: bannerText(status) }),
      h(
        'button',
        { type: 'button', class: 'link', dataset: { testid: 'reconnect' }, on: { click: again } },
        stopped ? 'Reconnect' : 'Try now',
      ),
    );
  }
}

/** @param {Status} status */
function bannerText({ state, retryAt, code, reason }) {
  if (state === 'stopped') {
    return STOPPED[code ?? 0] ?? `The server ended the connection${reason ? ` (${reason})` : ''}.`;
  }
  const offline = navigator.onLine === false ? 'You are offline.' : 'Connection lost.';
  const seconds = retryAt ? Math.ceil((retryAt - Date.now()) / 1_000) : 0;
  return seconds > 1 ? `${offline} Trying again in ${seconds} s.` : `${offline} Reconnecting…`;
}
