/**
 * The open conversation: its head, thread, composer and details, and what a person can do there.
 */
import { h, icon, iconButton } from './dom.js';
import { Composer } from './composer.js';
import { Details, rank } from './details.js';
import { dialog, field, linkDialog, menu, toast } from './overlays.js';
import { excerpt } from './message.js';
import { fullTime, plural } from './text.js';
import { Thread } from './thread.js';

const WIDE = '(min-width: 1180px)';
/** Shown around a message that is too far back. */
const CONTEXT_MESSAGES = 15;

export class Room {
  #client;
  #conversation;
  #names;
  #path;
  #detailsOpen = false;
  #abort = new AbortController();
  #unlisten;

  /** @param {object} options `{client, conversation, names, title, back(), changed()}` */
  constructor({ client, conversation, names, title, back }) {
    this.#client = client;
    this.#conversation = conversation;
    this.#names = names;
    this.#path = `/api/conversations/${conversation.id}`;
    const actions = {
      react: (message, emoji, on) => this.#try(client.react(conversation.id, message.id, emoji, on)),
      reply: (message) => this.composer.reply(message),
      edit: (message) => this.composer.edit(message),
      remove: (message) => this.#remove(message),
      retry: (entry) => client.resend(conversation.id, entry.id),
      discard: (entry) => client.discard(conversation.id, entry.id),
      invite: () => this.invite(),
      mayInvite: () => rank(conversation.role) >= 1,
    };
    this.thread = new Thread({ client, conversation, names, actions });
    this.composer = this.#composer(title);
    this.#unlisten = client.on('paused', ({ until }) => this.composer.paused(until));
    this.details = new Details({
      conversation,
      self: conversation.self,
      close: () => this.#showDetails(false),
      invite: () => this.invite(),
      addPeople: () => this.#addPeople(),
      changeRole: (member, role) => this.#try(client.rest.patch(`${this.#path}/members/${member.id}`, { role })),
      removeMember: (member) => this.#removeMember(member),
    });
    this.heading = h('h1', { class: 'room-title', dataset: { testid: 'title' }, text: title });
    this.subtitle = h('button', {
      type: 'button',
      class: 'room-subtitle',
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

  #composer(title) {
    const { id, self } = this.#conversation;
    return new Composer({
      id,
      title,
      bytesMax: () => this.#client.limits.body_bytes,
      nameOf: (user) => (user === self ? 'yourself' : this.#names.of(user)),
      lastOwn: () => this.#conversation.messages.findLast((message) => message.author === self && !message.deleted_at),
      typing: (on) => this.#client.typing(id, on),
      send: (body, replyTo) => {
        this.#client.send(id, body, { replyTo });
        this.thread.sent();
      },
      edit: (message, body) => this.#try(this.#client.edit(id, message.id, body)),
    });
  }

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
    const more = iconButton('more', 'More', {
      dataset: { testid: 'conversation-menu' },
      on: { click: () => menu(more, this.#menu()) },
    });
    return h(
      'div',
      { class: 'room', dataset: { testid: 'room' } },
      h(
        'main',
        { class: 'room-main' },
        h(
          'header',
          { class: 'room-head' },
          iconButton('back', 'Back to the list', {
            class: 'only-narrow',
            dataset: { testid: 'back' },
            on: { click: back },
          }),
          h('div', { class: 'room-names' }, this.heading, this.subtitle),
          h('div', { class: 'room-actions' }, this.inviteButton, this.membersButton, more),
        ),
        this.thread.node,
        this.composer.node,
      ),
      this.details.node,
    );
  }

  draw() {
    const { title, members, memberCount, rev } = this.#conversation;
    this.#names.learn(members.values());
    if (title) {
      this.heading.textContent = title;
      this.composer.titled(title);
    }
    const online = [...members.values()].filter((member) => member.online).length;
    this.subtitle.textContent =
      rev === null
        ? ' '
        : memberCount === 1
          ? 'Only you'
          : [plural(memberCount, 'member'), online && `${online} online`].filter(Boolean).join(' · ');
    this.inviteButton.hidden = rank(this.#conversation.role) < 1;
    this.thread.draw();
    this.details.draw();
  }

  /** Brings a message that was found into view; one that is too far back to load all that came after it, by itself. */
  async showAt(message) {
    if (await this.thread.show(message.id, message.seq)) return;
    const page = await this.#try(
      this.#client.rest.get(`${this.#path}/messages`, { around: message.seq, limit: CONTEXT_MESSAGES }),
    );
    if (!page) return;
    const row = ({ id, author, created_at: at, body }) =>
      h(
        'div',
        {
          class: id === message.id ? 'context-hit' : '',
          dataset: { testid: id === message.id ? 'context-hit' : 'context-other' },
        },
        h('div', { class: 'muted', text: `${this.#names.of(author)}, ${fullTime(at)}` }),
        body ?? 'This message was deleted.',
      );
    const node = dialog({
      title: this.#conversation.title,
      content: [
        h('div', { class: 'context', tabIndex: 0, role: 'group', 'aria-label': 'Messages' }, page.items.map(row)),
      ],
      testid: 'context-dialog',
      cancel: 'Close',
    });
    node.querySelector('.context-hit')?.scrollIntoView({ block: 'center' });
  }

  destroy() {
    this.#abort.abort();
    this.#unlisten();
    this.thread.destroy();
    this.composer.destroy();
  }

  #showDetails(open, focus = true) {
    this.#detailsOpen = open;
    this.node.classList.toggle('with-details', open);
    this.membersButton.setAttribute('aria-pressed', String(open));
    this.details.node.inert = !open;
    if (open && focus && !matchMedia(WIDE).matches) this.details.node.querySelector('button')?.focus();
    else if (!open && focus) this.membersButton.focus();
  }

  #menu() {
    const role = rank(this.#conversation.role);
    return [
      { label: 'Members', symbol: 'people', testid: 'menu-members', perform: () => this.#showDetails(true) },
      role >= 1 && { label: 'Rename', symbol: 'edit', testid: 'rename', perform: () => this.#rename() },
      role >= 1 && { label: 'Invite link', symbol: 'link', testid: 'menu-invite', perform: () => this.invite() },
      { label: 'Leave', symbol: 'leave', danger: true, testid: 'leave', perform: () => this.#leave() },
      role === 2 && {
        label: 'Delete conversation',
        symbol: 'trash',
        danger: true,
        testid: 'delete-conversation',
        perform: () => this.#deleteConversation(),
      },
    ];
  }

  async #try(promise) {
    try {
      return await promise;
    } catch (problem) {
      toast(problem.message, { tone: 'danger' });
      return null;
    }
  }

  async invite() {
    const invite = await this.#try(this.#client.rest.post(`${this.#path}/invites`, {}));
    if (!invite) return;
    linkDialog({
      title: 'Invite people',
      text: 'Anyone with this link can join: with their account, a new one, or as a guest with just a name.',
      link: `${location.origin}/i/${invite.code}`,
    });
  }

  #remove(message) {
    dialog({
      title: 'Delete this message?',
      content: [
        h('blockquote', { class: 'dialog-quote', text: excerpt(message.body) }),
        h('p', { class: 'dialog-text', text: 'It is gone for everyone, for good.' }),
      ],
      action: 'Delete',
      danger: true,
      testid: 'delete-dialog',
      perform: () => this.#client.delete(this.#conversation.id, message.id),
    });
  }

  #rename() {
    dialog({
      title: 'Rename conversation',
      content: [
        field('Name', {
          name: 'title',
          required: true,
          maxLength: 100,
          value: this.#conversation.title,
          dataset: { testid: 'rename-title' },
        }),
      ],
      action: 'Rename',
      perform: (data) => this.#client.rest.patch(this.#path, { title: data.get('title').trim() }),
    });
  }

  #leave() {
    dialog({
      title: `Leave ${this.#conversation.title}?`,
      content: [
        h('p', { class: 'dialog-text', text: 'You will no longer see it. Someone has to invite you to come back.' }),
      ],
      action: 'Leave',
      danger: true,
      perform: () => this.#client.rest.delete(`${this.#path}/members/${this.#conversation.self}`),
    });
  }

  #deleteConversation() {
    dialog({
      title: `Delete ${this.#conversation.title}?`,
      content: [h('p', { class: 'dialog-text', text: 'The conversation and its messages disappear for all members.' })],
      action: 'Delete',
      danger: true,
      perform: () => this.#client.rest.delete(this.#path),
    });
  }

  #removeMember(member) {
    dialog({
      title: `Remove ${member.name}?`,
      content: [h('p', { class: 'dialog-text', text: 'They will no longer see this conversation.' })],
      action: 'Remove',
      danger: true,
      perform: () => this.#client.rest.delete(`${this.#path}/members/${member.id}`),
    });
  }

  async #addPeople() {
    const page = await this.#try(this.#client.rest.get('/api/users', { limit: 100 }));
    if (!page) return;
    const others = page.items.filter(({ id }) => !this.#conversation.members.has(id));
    const content = others.length
      ? h(
          'div',
          { class: 'choices' },
          others.map((user) =>
            h(
              'label',
              { class: 'choice' },
              h('input', { type: 'checkbox', name: 'user', value: user.id }),
              h('span', { text: user.name }),
            ),
          ),
        )
      : h('p', {
          class: 'dialog-text',
          text: 'Everyone in your workspace is here already. Share the invite link to bring in others.',
        });
    dialog({
      title: 'Add people',
      content: [content],
      action: others.length ? 'Add' : null,
      testid: 'add-dialog',
      perform: async (data) => {
        for (const id of data.getAll('user')) await this.#client.rest.post(`${this.#path}/members`, { user_id: id });
      },
    });
  }
}
