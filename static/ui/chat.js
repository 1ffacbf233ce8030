/**
 * The page of someone who is signed in: list, open conversation, connection. It ties the client's events to the views.
 */
import { h, scheduler } from './dom.js';
import { ConversationList } from './list.js';
import { dialog, field, toast } from './overlays.js';
import { Outbox } from './outbox.js';
import { People } from './people.js';
import { Room } from './room.js';
import { Sidebar, welcome } from './sidebar.js';

/** The list is loaded again for previews at most once in this time. */
const RELOAD_MS = 2_000;
/** A short break is not worth a banner. */
const BANNER_DELAY_MS = 1_200;
const PAGES_MAX = 10;

export class Chat {
  #client;
  #me;
  #list = new ConversationList();
  #names;
  #room = null;
  #openId = null;
  #reloadTimer = null;
  #bannerTimer = null;
  #countdown = null;
  #offs = [];
  #abort = new AbortController();

  /** @param {object} options `{client, me, signOut()}` */
  constructor({ client, me, signOut }) {
    this.#client = client;
    this.#me = me;
    this.guest = me.role === 'guest' || me.tier === 'anonymous';
    this.#names = new People(
      (id) => client.rest.get(`/api/users/${id}`),
      () => this.draw(),
    );
    this.#names.learn([me]);
    this.outbox = new Outbox(client, me.id);
    this.sidebar = new Sidebar({
      me,
      list: this.#list,
      names: this.#names,
      guest: this.guest,
      rest: client.rest,
      create: () => this.#create(),
      openAt: (id, message) => this.#openAt(id, message),
      keys: () => this.#keys(),
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
    this.draw = scheduler(() => this.#draw());
    this.#offs = [
      client.on('change', ({ conversation }) => this.#changed(conversation)),
      client.on('notice', (frame) => this.#noticed(frame)),
      client.on('gone', ({ id }) => this.#gone(id)),
      client.on('status', (status) => this.#status(status)),
      client.on('hello', () => this.#reload()),
    ];
    window.addEventListener('hashchange', () => this.#route(), { signal: this.#abort.signal });
  }

  async start() {
    this.#showMain();
    this.#client.connect();
    this.#route();
    this.outbox.restore();
    await this.#reload();
    if (this.guest && !this.#openId && this.#list.size > 0) this.open(this.#list.sorted()[0].id, { replace: true });
  }

  destroy() {
    this.#abort.abort();
    for (const off of this.#offs) off();
    clearTimeout(this.#reloadTimer);
    clearTimeout(this.#bannerTimer);
    clearInterval(this.#countdown);
    this.#room?.destroy();
    document.title = 'Parlance';
  }

  open(id, { replace = false } = {}) {
    const url = `/#/c/${id}`;
    if (replace) history.replaceState(null, '', url);
    else history.pushState(null, '', url);
    this.#route();
  }

  /** Opens a conversation at one of its messages. */
  #openAt(id, message) {
    if (id !== this.#openId) this.open(id);
    this.#room?.showAt(message);
  }

  #route() {
    const id = /^#\/c\/([0-9a-f-]{36})$/iu.exec(location.hash)?.[1]?.toLowerCase() ?? null;
    if (id === this.#openId) return;
    if (this.#openId) this.#client.unsubscribe(this.#openId);
    this.#room?.destroy();
    this.#room = null;
    this.#openId = id;
    if (id) {
      const conversation = this.#client.subscribe(id);
      conversation.self ??= this.#me.id;
      const title = conversation.title || this.#list.get(id)?.title || '';
      this.#room = new Room({
        client: this.#client,
        conversation,
        names: this.#names,
        title,
        back: () => this.#close(),
      });
    }
    this.#showMain();
    if (this.#room && matchMedia('(pointer: fine)').matches) this.#room.composer.focus();
  }

  #close() {
    history.pushState(null, '', '/');
    this.#route();
  }

  #showMain() {
    this.node.classList.toggle('open', this.#room !== null);
    const empty = this.#list.loaded && this.#list.size === 0;
    const state = this.#room ? this.#openId : String(empty);
    if (this.main.dataset.shown !== state) {
      this.main.dataset.shown = state;
      this.main.replaceChildren(
        this.#room?.node ?? welcome({ empty, guest: this.guest, create: () => this.#create() }),
      );
      this.#room?.thread.toEnd();
    }
    this.draw();
  }

  #draw() {
    this.sidebar.draw(this.#openId);
    this.#room?.draw();
    const { unread } = this.#list;
    const title = (this.#openId && this.#list.get(this.#openId)?.title) || '';
    document.title = `${unread > 0 ? `(${unread > 99 ? '99+' : unread}) ` : ''}${title ? `${title} · ` : ''}Parlance`;
  }

  #changed(conversation) {
    this.#names.learn(conversation.members.values());
    this.#list.follow(conversation);
    this.outbox.note(conversation);
    this.draw();
  }

  #noticed(frame) {
    if (this.#list.notice(frame, Date.now())) this.#planReload();
    this.draw();
  }

  #gone(id) {
    const title = this.#list.get(id)?.title;
    this.#list.remove(id);
    if (id === this.#openId) {
      history.replaceState(null, '', '/');
      this.#route();
      toast(title ? `You are no longer in ${title}.` : 'This conversation does not exist, or you are not in it.');
    }
    this.#planReload();
    this.#showMain();
  }

  #planReload() {
    this.#reloadTimer ??= setTimeout(() => {
      this.#reloadTimer = null;
      this.#reload();
    }, RELOAD_MS);
  }

  async #reload() {
    try {
      const items = [];
      let cursor;
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const answer = await this.#client.rest.get('/api/conversations', { limit: 100, cursor });
        items.push(...answer.items);
        cursor = answer.next;
        if (!cursor) break;
      }
      this.#list.replace(items);
      if (this.#openId) this.#list.follow(this.#client.conversation(this.#openId));
      this.#showMain();
    } catch (problem) {
      if (problem.code !== 'unauthenticated' && !this.#abort.signal.aborted) this.#planReload();
    }
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
        const conversation = await this.#client.rest.post('/api/conversations', { title: data.get('title').trim() });
        this.#list.put({
          last_seq: 0,
          unread: 0,
          last_message: null,
          last_message_at: null,
          ...conversation,
          created_at: new Date().toISOString(),
        });
        return () => this.open(conversation.id);
      },
    });
  }

  async #keys() {
    // Few ever open it, so it does not come with the first visit.
    const { openKeys } = await import('./keys.js');
    openKeys({ rest: this.#client.rest, me: this.#me });
  }

  #status(status) {
    this.sidebar.connection(status);
    clearInterval(this.#countdown);
    if (status.state === 'online') {
      clearTimeout(this.#bannerTimer);
      this.#bannerTimer = null;
      this.banner.hidden = true;
      return;
    }
    this.#fillBanner(status);
    if (status.state === 'stopped' && status.code) this.banner.hidden = false;
    else this.#bannerTimer ??= setTimeout(() => (this.banner.hidden = false), BANNER_DELAY_MS);
    if (status.state === 'waiting') this.#countdown = setInterval(() => this.#fillBanner(status), 1_000);
  }

  #fillBanner({ state, retryAt, code, reason }) {
    const seconds = retryAt ? Math.ceil((retryAt - Date.now()) / 1_000) : 0;
    const stopped =
      {
        4003: 'Your account is suspended.',
        4005: 'Too many windows are open with this account. Close one, then reconnect here.',
      }[code] ?? `The server ended the connection${reason ? ` (${reason})` : ''}.`;
    const offline = navigator.onLine === false ? 'You are offline.' : 'Connection lost.';
    const text =
      state === 'stopped'
        ? stopped
        : seconds > 1
          ? `${offline} Trying again in ${seconds} s.`
          : `${offline} Reconnecting…`;
    const again = state === 'stopped' ? () => this.#client.connect() : () => this.#client.nudge();
    this.banner.dataset.tone = state === 'stopped' ? 'danger' : 'warning';
    this.banner.replaceChildren(
      h('span', { class: 'banner-dot' }),
      h('span', { text }),
      h(
        'button',
        { type: 'button', class: 'link', dataset: { testid: 'reconnect' }, on: { click: again } },
        state === 'stopped' ? 'Reconnect' : 'Try now',
      ),
    );
  }
}
