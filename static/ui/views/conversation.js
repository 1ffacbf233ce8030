/**
 * The open conversation: its head, thread, composer and details, and what a person can do there.
 *
 * Used by the chat view, one at a time. It draws the client's `Conversation` and holds nothing of
 * it. What the server refuses is shown as a toast.
 *
 * @import { Conversation } from '../../client/conversation.js'
 * @import { WireMessage } from '../../client/types.js'
 * @import { ParlanceClient } from '../../parlance-client.js'
 * @import { People } from '../store/people.js'
 * @import { MenuItem } from '../widgets/menu.js'
 * @import { ThreadActions } from './thread.js'
 */
import { Composer } from '../widgets/composer.js';
import { linkDialog } from '../widgets/dialog.js';
import { h } from '../widgets/dom.js';
import { icon, iconButton } from '../widgets/icons.js';
import { menu } from '../widgets/menu.js';
import { plural } from '../widgets/text.js';
import { toast } from '../widgets/toast.js';
import * as dialogs from './conversation-dialogs.js';
import { Details } from './details.js';
import { Thread } from './thread.js';

const WIDE = '(min-width: 1180px)';
/** Shown around a message that is too far back. */
const CONTEXT_MESSAGES = 15;

/**
 * @typedef {object} ConversationOptions
 * @property {ParlanceClient} client
 * @property {Conversation} conversation
 * @property {People} people
 * @property {string} title until the conversation is loaded
 * @property {Map<string, string>} drafts the person's, by conversation id
 * @property {() => void} back to the list
 */

export class ConversationView {
  #client;
  #conversation;
  #people;
  #detailsOpen = false;
  #abort = new AbortController();
  #offPaused;
  /** @type {HTMLElement} */
  inviteButton;
  /** @type {HTMLElement} */
  membersButton;

  /** @param {ConversationOptions} options */
  constructor({ client, conversation, people, title, drafts, back }) {
    this.#client = client;
    this.#conversation = conversation;
    this.#people = people;
    this.thread = new Thread({ client, conversation, people, actions: this.#actions() });
    this.composer = this.#composer(title, drafts);
    this.#offPaused = client.on('paused', ({ until }) => this.composer.paused(until));
    this.details = this.#details();
    this.heading = h('h1', { class: 'conversation-heading', dataset: { testid: 'title' }, text: title });
    this.subtitle = h('button', {
      type: 'button',
      class: 'conversation-subtitle',
      dataset: { testid: 'subtitle' },
      on: { click: () => this.#showDetails(!this.#detailsOpen) },
    });
    this.node = this.#layout(back);
    this.#showDetails(matchMedia(WIDE).matches, false);
    // A panel beside the thread must not end up over it when the window gets narrow.
    matchMedia(WIDE).addEventListener('change', ({ matches }) => this.#showDetails(matches, false), {
      signal: this.#abort.signal,
    });
    this.draw();
  }

  /** @returns {ThreadActions} */
  #actions() {
    const client = this.#client;
    const conversation = this.#conversation;
    return {
      react: (message, emoji, on) => this.#try(client.react(conversation.id, message.id, emoji, on)),
      reply: (message) => this.composer.reply(message),
      edit: (message) => this.composer.edit(message),
      remove: (message) => dialogs.confirmDeleteMessage(client, conversation, message),
      retry: (entry) => client.resend(conversation.id, entry.id),
      discard: (entry) => client.discard(conversation.id, entry.id),
      invite: () => this.invite(),
      mayInvite: () => conversation.may.has('invite'),
    };
  }

  /**
   * @param {string} title
   * @param {Map<string, string>} drafts
   */
  #composer(title, drafts) {
    const { id, self } = this.#conversation;
    return new Composer({
      id,
      title,
      drafts,
      bytesMax: () => this.#client.limits.body_bytes,
      nameOf: (user) => (user === self ? 'yourself' : this.#people.of(user)),
      lastOwn: () => this.#conversation.messages.findLast((message) => message.author === self && !message.deleted_at),
      typing: (on) => this.#client.typing(id, on),
      send: (body, replyTo) => {
        this.#client.send(id, body, { replyTo });
        this.thread.sent();
      },
      edit: (message, body) => this.#try(this.#client.edit(id, message.id, body)),
    });
  }

  #details() {
    const client = this.#client;
    const conversation = this.#conversation;
    const path = dialogs.apiPath(conversation.id);
    return new Details({
      conversation,
      self: conversation.self,
      close: () => this.#showDetails(false),
      invite: () => this.invite(),
      addPeople: () => this.#addPeople(),
      changeRole: (member, role) => this.#try(client.rest.patch(`${path}/members/${member.id}`, { role })),
      removeMember: (member) => dialogs.confirmRemoveMember(client, conversation, member),
    });
  }

  /** @param {() => void} back */
  #layout(back) {
    this.inviteButton = h(
      'button',
      {
        type: 'button',
        class: 'button head-invite',
        'aria-label': 'Invite',
        dataset: { testid: 'invite' },
        on: { click: () => this.invite() },
      },
      icon('link'),
      h('span', { text: 'Invite' }),
    );
    this.membersButton = iconButton('people', 'Members', {
      'aria-pressed': 'false',
      dataset: { testid: 'show-members' },
      on: { click: () => this.#showDetails(!this.#detailsOpen) },
    });
    /** @type {HTMLElement} */
    const more = iconButton('more', 'More', {
      dataset: { testid: 'conversation-menu' },
      on: { click: () => menu(more, this.#menu()) },
    });
    return h(
      'div',
      { class: 'conversation-view', dataset: { testid: 'room' } },
      h(
        'main',
        { class: 'conversation-main' },
        h(
          'header',
          { class: 'conversation-head' },
          iconButton('back', 'Back to the list', {
            class: 'only-narrow',
            dataset: { testid: 'back' },
            on: { click: back },
          }),
          h('div', { class: 'conversation-names' }, this.heading, this.subtitle),
          h('div', { class: 'conversation-actions' }, this.inviteButton, this.membersButton, more),
        ),
        this.thread.node,
        this.composer.node,
      ),
      this.details.node,
    );
  }

  draw() {
    const { title, members, may } = this.#conversation;
    this.#people.learn(members.values());
    if (title) {
      this.heading.textContent = title;
      this.composer.titled(title);
    }
    this.subtitle.textContent = this.#subtitleText();
    this.inviteButton.hidden = !may.has('invite');
    this.thread.draw();
    this.details.draw();
  }

  #subtitleText() {
    const { members, memberCount, rev } = this.#conversation;
    if (rev === null) return ' ';
    if (memberCount === 1) return 'Only you';
    const online = [...members.values()].filter((member) => member.online).length;
    return [plural(memberCount, 'member'), online && `${online} online`].filter(Boolean).join(' · ');
  }

  /**
   * Brings a message that was found into view. One that is too far back to load all that came after
   * it is shown in a dialog.
   *
   * @param {{ id: string, seq: number }} message
   */
  async showAt({ id, seq }) {
    if (await this.thread.show(id, seq)) return;
    const path = `${dialogs.apiPath(this.#conversation.id)}/messages`;
    const page = await this.#try(this.#client.rest.get(path, { around: seq, limit: CONTEXT_MESSAGES }));
    if (!page) return;
    const nameOf = (/** @type {string} */ user) => this.#people.of(user);
    dialogs.showContext({ title: this.#conversation.title, messages: page.items, id, nameOf });
  }

  destroy() {
    this.#abort.abort();
    this.#offPaused();
    this.thread.destroy();
    this.composer.destroy();
  }

  /**
   * @param {boolean} open
   * @param {boolean} [focus] whether the focus goes along
   */
  #showDetails(open, focus = true) {
    this.#detailsOpen = open;
    this.node.classList.toggle('with-details', open);
    this.membersButton.setAttribute('aria-pressed', String(open));
    this.details.node.inert = !open;
    if (open && focus && !matchMedia(WIDE).matches) this.details.node.querySelector('button')?.focus();
    else if (!open && focus) this.membersButton.focus();
  }

  /** @returns {(MenuItem | false)[]} */
  #menu() {
    const client = this.#client;
    const conversation = this.#conversation;
    const { may } = conversation;
    return [
      { label: 'Members', symbol: 'people', testid: 'menu-members', perform: () => this.#showDetails(true) },
      may.has('rename') && {
        label: 'Rename',
        symbol: 'edit',
        testid: 'rename',
        perform: () => dialogs.askRename(client, conversation),
      },
      may.has('invite') && {
        label: 'Invite link',
        symbol: 'link',
        testid: 'menu-invite',
        perform: () => this.invite(),
      },
      {
        label: 'Leave',
        symbol: 'leave',
        danger: true,
        testid: 'leave',
        perform: () => dialogs.confirmLeave(client, conversation),
      },
      may.has('delete') && {
        label: 'Delete conversation',
        symbol: 'trash',
        danger: true,
        testid: 'delete-conversation',
        perform: () => dialogs.confirmDeleteConversation(client, conversation),
      },
    ];
  }

  /**
   * @template T
   * @param {Promise<T>} promise
   * @returns {Promise<T | null>} null when it failed, which was shown
   */
  async #try(promise) {
    try {
      return await promise;
    } catch (problem) {
      toast(problem.message, { tone: 'danger' });
      return null;
    }
  }

  async invite() {
    const path = `${dialogs.apiPath(this.#conversation.id)}/invites`;
    const invite = await this.#try(this.#client.rest.post(path, {}));
    if (!invite) return;
    linkDialog({
      title: 'Invite people',
      text: 'Anyone with this link can join: with their account, a new one, or as a guest with just a name.',
      link: `${location.origin}/i/${invite.code}`,
    });
  }

  async #addPeople() {
    const page = await this.#try(this.#client.rest.get('/api/users', { limit: 100 }));
    if (page) dialogs.askPeople(this.#client, this.#conversation, page.items);
  }
}
