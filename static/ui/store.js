/**
 * The state of someone who is signed in: their conversations, the names of people, what is not sent
 * yet.
 *
 * Owned by the chat view, which draws it. It listens to the client's events, changes its parts and
 * reports that there is something to draw. The list is loaded over REST: at most ten pages, and at
 * most once in two seconds.
 *
 * @import { Conversation, ParlanceClient } from '../parlance-client.js'
 * @import { User } from '../client/types.js'
 */
import { ConversationList } from './store/conversation-list.js';
import { Outbox } from './store/outbox.js';
import { People } from './store/people.js';

/** The list is loaded again for previews at most once in this time. */
const RELOAD_MS = 2_000;
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
  /** @type {ReturnType<typeof setTimeout> | null} */
  #reloadTimer = null;
  #closed = false;
  #offs;
  list = new ConversationList();
  /** @type {string | null} id of the open conversation */
  openId = null;

  /**
   * @param {ParlanceClient} client
   * @param {User} me
   * @param {Observer} observer
   */
  constructor(client, me, observer) {
    this.#client = client;
    this.#observer = observer;
    this.me = me;
    this.guest = isGuest(me);
    this.people = new People((id) => client.rest.get(`/api/users/${id}`), observer.changed);
    this.people.learn([me]);
    this.outbox = new Outbox(client, me.id);
    this.#offs = [
      client.on('change', ({ conversation }) => this.#follow(conversation)),
      client.on('notice', (frame) => {
        if (this.list.notice(frame, Date.now())) this.#planReload();
        observer.changed();
      }),
      client.on('gone', ({ id }) => this.#remove(id)),
      client.on('hello', () => this.reload()),
    ];
  }

  destroy() {
    this.#closed = true;
    for (const off of this.#offs) off();
    if (this.#reloadTimer !== null) clearTimeout(this.#reloadTimer);
  }

  /** @param {Conversation} conversation */
  #follow(conversation) {
    this.people.learn(conversation.members.values());
    this.list.follow(conversation);
    this.outbox.note(conversation);
    this.#observer.changed();
  }

  /** @param {string} id */
  #remove(id) {
    const title = this.list.get(id)?.title;
    this.list.remove(id);
    this.#observer.gone(id, title);
    this.#planReload();
  }

  #planReload() {
    this.#reloadTimer ??= setTimeout(() => {
      this.#reloadTimer = null;
      this.reload();
    }, RELOAD_MS);
  }

  /** Loads the list; tries again later when that fails. */
  async reload() {
    try {
      const items = [];
      let cursor;
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const response = await this.#client.rest.get('/api/conversations', { limit: 100, cursor });
        items.push(...response.items);
        cursor = response.next;
        if (!cursor) break;
      }
      this.list.replace(items);
      if (this.openId) this.list.follow(this.#client.conversation(this.openId));
      this.#observer.listed();
    } catch (problem) {
      if (problem.code !== 'unauthenticated' && !this.#closed) this.#planReload();
    }
  }

  /**
   * Makes a conversation and puts it on top of the list.
   *
   * @param {string} title
   * @returns {Promise<string>} its id
   */
  async create(title) {
    const conversation = await this.#client.rest.post('/api/conversations', { title });
    const blank = { last_seq: 0, unread: 0, last_message: null, last_message_at: null };
    this.list.put({ ...blank, ...conversation, created_at: new Date().toISOString() });
    return conversation.id;
  }
}

/**
 * Guests belong to the one conversation of their invite link.
 *
 * @param {User} me
 */
export const isGuest = (me) => me.role === 'guest' || me.tier === 'anonymous';
