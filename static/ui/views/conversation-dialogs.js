/**
 * The dialogs of the open conversation: what is asked before something is changed or gone.
 *
 * Used by the conversation view. The server decides what may be done; a dialog shows its refusal
 * and stays.
 *
 * @import { Conversation } from '../../client/conversation.js'
 * @import { Member, Message, User, WireMessage } from '../../client/types.js'
 * @import { ParlanceClient } from '../../parlance-client.js'
 */
import { dialog, field } from '../widgets/dialog.js';
import { h } from '../widgets/dom.js';
import { excerpt } from '../widgets/message.js';
import { fullTime } from '../widgets/text.js';

/** @param {string} id of a conversation */
export const apiPath = (id) => `/api/conversations/${id}`;

/** @param {string} text */
const paragraph = (text) => h('p', { class: 'dialog-text', text });

/**
 * @param {ParlanceClient} client
 * @param {Conversation} conversation
 * @param {Message} message
 */
export function confirmDeleteMessage(client, conversation, message) {
  dialog({
    title: 'Delete this message?',
    content: [
      h('blockquote', { class: 'dialog-quote', text: excerpt(message.body) }),
      paragraph('It is gone for everyone, for good.'),
    ],
    action: 'Delete',
    danger: true,
    testid: 'delete-dialog',
    perform: () => client.delete(conversation.id, message.id),
  });
}

/**
 * @param {ParlanceClient} client
 * @param {Conversation} conversation
 */
export function askRename(client, conversation) {
  const { title } = conversation;
  dialog({
    title: 'Rename conversation',
    content: [
      field('Name', {
        name: 'title',
        required: true,
        maxLength: 100,
        value: title,
        dataset: { testid: 'rename-title' },
      }),
    ],
    action: 'Rename',
    perform: (data) => client.rest.patch(apiPath(conversation.id), { title: String(data.get('title')).trim() }),
  });
}

/**
 * @param {ParlanceClient} client
 * @param {Conversation} conversation
 */
export function confirmLeave(client, conversation) {
  dialog({
    title: `Leave ${conversation.title}?`,
    content: [paragraph('You will no longer see it. Someone has to invite you to come back.')],
    action: 'Leave',
    danger: true,
    perform: () => client.rest.delete(`${apiPath(conversation.id)}/members/${conversation.self}`),
  });
}

/**
 * @param {ParlanceClient} client
 * @param {Conversation} conversation
 */
export function confirmDeleteConversation(client, conversation) {
  dialog({
    title: `Delete ${conversation.title}?`,
    content: [paragraph('The conversation and its messages disappear for all members.')],
    action: 'Delete',
    danger: true,
    perform: () => client.rest.delete(apiPath(conversation.id)),
  });
}

/**
 * @param {ParlanceClient} client
 * @param {Conversation} conversation
 * @param {Member} member
 */
export function confirmRemoveMember(client, conversation, member) {
  dialog({
    title: `Remove ${member.name}?`,
    content: [paragraph('They will no longer see this conversation.')],
    action: 'Remove',
    danger: true,
    perform: () => client.rest.delete(`${apiPath(conversation.id)}/members/${member.id}`),
  });
}

/**
 * @param {ParlanceClient} client
 * @param {Conversation} conversation
 * @param {User[]} users of the workspace
 */
export function askPeople(client, conversation, users) {
  const others = users.filter(({ id }) => !conversation.members.has(id));
  /** @param {User} user */
  const choice = (user) =>
    h(
      'label',
      { class: 'choice' },
      h('input', { type: 'checkbox', name: 'user', value: user.id }),
      h('span', { text: user.name }),
    );
  dialog({
    title: 'Add people',
    content: [
      others.length
        ? h('div', { class: 'choices' }, others.map(choice))
        : paragraph('Everyone in your workspace is here already. Share the invite link to bring in others.'),
    ],
    action: others.length ? 'Add' : null,
    testid: 'add-dialog',
    perform: async (data) => {
      for (const id of data.getAll('user')) {
        await client.rest.post(`${apiPath(conversation.id)}/members`, { user_id: id });
      }
    },
  });
}

/**
 * A message that is too far back, among those around it.
 *
 * @param {object} options
 * @param {string} options.title of the conversation
 * @param {WireMessage[]} options.messages
 * @param {string} options.id of the message that was looked for
 * @param {(user: string) => string} options.nameOf
 */
export function showContext({ title, messages, id: wanted, nameOf }) {
  /** @param {WireMessage} message */
  const row = ({ id, author, created_at: at, body }) =>
    h(
      'div',
      {
        class: id === wanted ? 'context-hit' : '',
        dataset: { testid: id === wanted ? 'context-hit' : 'context-other' },
      },
      h('div', { class: 'muted', text: `${nameOf(author)}, ${fullTime(at)}` }),
      body ?? 'This message was deleted.',
    );
  const list = { class: 'context', tabIndex: 0, role: 'group', 'aria-label': 'Messages' };
  const node = dialog({
    title,
    content: [h('div', list, messages.map(row))],
    testid: 'context-dialog',
    cancel: 'Close',
  });
  node.querySelector('.context-hit')?.scrollIntoView({ block: 'center' });
}
