/**
 * The state of someone who is signed in: their conversations, the names of people, what is not sent
 * yet.
 *
 * Owned by the chat view, which draws it, and gone with the person. It listens to the client's
 * events, changes its parts and reports that there is something to draw. The list is loaded once
 * after each `hello`, in at most ten pages; notices keep it true.
 *
 * @import { Conversation, ParlanceClient, Problem } from '../parlance-client.js'
 * @import { NoticeFrame, Status, User } from '../client/types.js'
 */
import { growingPause } from '../client/policy.js';
import { ConversationList } from './store/conversation-list.js';
import { Outbox } from './store/outbox.js';
import { People } from './store/people.js';

const PAUSE_MS = 2_000;
const PAGES_MAX = 10;

/**
 * @typedef {object} Observer
 * @property {() => void} changed something is to be drawn
 * @property {() => void} listed the list was loaded
 * @property {(id: string, title: string | undefined) => void} gone a conversation went away
 */

export class Store {
  #client;
  #observer;
  /** @type {object | null} stands for the loading under way */
  #loading = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** Loadings in a row that failed. */
  #failures = 0;
  #closed = false;
  #offs;
  list = new ConversationList();
  /** @type {string | null} id of the open conversation */
  openId = null;

  /**
   * @param {ParlanceClient} client
   * @param {User} me
   * @param {Observer} observer
   * @param {Map<string, string>} [drafts] what is written and not sent, by conversation id
   */
  constructor(client, me, observer, drafts = new Map()) {
    this.#client = client;
    this.#observer = observer;
    this.drafts = drafts;
    this.me = me;
    this.guest = isGuest(me);
    this.people = new People((id) => client.rest.get(`/api/users/${id}`), observer.changed);
    this.people.learn([me]);
    this.outbox = new Outbox(client, me.id);
    this.#offs = [
      client.on('change', ({ conversation }) => this.#follow(conversation)),
      client.on('notice', (frame) => this.#notice(frame)),
      client.on('gone', ({ id, code }) => this.#remove(id, code)),
      client.on('hello', () => this.load()),
      client.on('status', (status) => this.#status(status)),
    ];
  }

  destroy() {
    this.#closed = true;
    this.#loading = null;
    for (const off of this.#offs) off();
    clearTimeout(this.#retry);
  }

  /** @param {Conversation} conversation */
  #follow(conversation) {
    this.people.learn(conversation.members.values());
    this.list.follow(conversation);
    this.outbox.note(conversation);
    this.#observer.changed();
  }

  /** @param {NoticeFrame} frame */
  #notice(frame) {
    const { last_message: last } = frame;
    if (last?.author_name) this.people.learn([{ id: last.author, name: last.author_name }]);
    this.list.notice(frame, Date.now());
    this.#observer.changed();
  }

  /**
   * @param {string} id
   * @param {string} code why it cannot be followed
   */
  #remove(id, code) {
    const title = this.list.get(id)?.title;
    // Otherwise it is only the server that cannot show it now.
    if (code === 'not_found') this.list.remove(id);
    this.#observer.gone(id, title);
  }

  /**
   * Where no `hello` comes, the list need not wait for it.
   *
   * @param {Status} status
   */
  #status({ state, code }) {
    const without = state === 'waiting' || (state === 'stopped' && code !== undefined);
    if (without && !this.list.loaded && !this.#loading && this.#failures === 0) this.load();
  }

  /** Loads the list; tries again later when that fails. */
  async load() {
    clearTimeout(this.#retry);
    const loading = (this.#loading = {});
    const since = this.list.turn;
    let problem;
    try {
      const items = [];
      let cursor;
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const response = await this.#client.rest.get('/api/conversations', { limit: 100, cursor });
        if (this.#loading !== loading) return;
        items.push(...response.items);
        cursor = response.next;
        if (!cursor) break;
      }
      this.list.replace(items, since);
      this.#failures = 0;
    } catch (failure) {
      problem = failure;
    }
    if (this.#loading !== loading) return;
    this.#loading = null;
    if (problem) return this.#planRetry(problem);
    if (this.openId) this.list.follow(this.#client.conversation(this.openId));
    this.#observer.listed();
  }

  /** @param {Problem} problem */
  #planRetry({ code, retryAfterMs }) {
    if (code === 'unauthenticated' || this.#closed) return;
    const pause = growingPause(PAUSE_MS, this.#failures);
    this.#failures += 1;
    this.#retry = setTimeout(() => this.load(), Math.max(pause, retryAfterMs ?? 0));
  }

  /**
   * Makes a conversation and puts it on top of the list.
   *
   * @param {string} title
   * @returns {Promise<string>} its id
   */
  async create(title) {
    const conversation = await this.#client.rest.post('/api/conversations', { title });
    this.list.put(conversation);
    return conversation.id;
  }
}

/**
 * Owners and admins look after the workspace, and see its numbers.
 *
 * @param {User} me
 */
export const isAdmin = (me) => me.role === 'owner' || me.role === 'admin';

/**
 * Guests belong to the one conversation of their invite link.
 *
 * @param {User} me
 */
export const isGuest = (me) => me.role === 'guest' || me.tier === 'anonymous';
