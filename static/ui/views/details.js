/**
 * Who is in the conversation, and what one may do about it. Shows what the person's role allows;
 * the server decides.
 *
 * Used by the conversation view. At most 200 members are listed; larger conversations have no list.
 *
 * @import { Conversation } from '../../client/conversation.js'
 * @import { Member, Role } from '../../client/types.js'
 * @import { IconName } from '../widgets/icons.js'
 * @import { MenuItem } from '../widgets/menu.js'
 */
import { h } from '../widgets/dom.js';
import { avatar, icon, iconButton } from '../widgets/icons.js';
import { menu } from '../widgets/menu.js';
import { plural } from '../widgets/text.js';

/**
 * @typedef {object} DetailsOptions
 * @property {Conversation} conversation
 * @property {string | null} self id of the user
 * @property {() => void} close
 * @property {() => void} invite
 * @property {() => void} addPeople
 * @property {(member: Member, role: Role) => void} changeRole
 * @property {(member: Member) => void} removeMember
 */

export class Details {
  #options;

  /** @param {DetailsOptions} options */
  constructor(options) {
    this.#options = options;
    this.count = h('h2', { text: 'Members' });
    this.members = h('ul', { class: 'members', dataset: { testid: 'members' } });
    this.actions = h('div', { class: 'details-actions' });
    this.node = h(
      'aside',
      { class: 'details', 'aria-label': 'Members', dataset: { testid: 'details' } },
      h(
        'header',
        { class: 'details-head' },
        this.count,
        iconButton('close', 'Close', { dataset: { testid: 'close-details' }, on: { click: options.close } }),
      ),
      this.actions,
      this.members,
    );
    this.node.addEventListener('keydown', (event) => event.key === 'Escape' && options.close());
    this.signature = '';
  }

  draw() {
    const { conversation } = this.#options;
    const members = [...conversation.members.values()].sort(
      (a, b) => Number(b.online) - Number(a.online) || rank(b.role) - rank(a.role) || a.name.localeCompare(b.name),
    );
    const { may } = conversation;
    const signature = JSON.stringify([members, conversation.memberCount, [...may]]);
    if (signature === this.signature) return;
    this.signature = signature;
    this.count.textContent = plural(conversation.memberCount, 'member');
    this.actions.replaceChildren(
      ...(may.has('invite') ? [action('details-invite', 'link', 'Invite link', this.#options.invite)] : []),
      ...(may.has('add_members') ? [action('add-people', 'add', 'Add people', this.#options.addPeople)] : []),
    );
    this.members.replaceChildren(
      ...(conversation.membersListed
        ? members.map((member) => this.#member(member))
        : [h('li', { class: 'muted', text: 'This conversation is too large to list everyone.' })]),
    );
  }

  /** @param {Member} member */
  #member(member) {
    const { conversation, self } = this.#options;
    const own = member.id === self;
    const items = this.#items(member);
    /** @type {HTMLElement | false} */
    const more =
      items.length > 0 &&
      iconButton('more', `Manage ${member.name}`, {
        dataset: { testid: 'manage-member' },
        on: { click: () => more && menu(more, items) },
      });
    return h(
      'li',
      {
        class: 'member',
        dataset: { testid: 'member', id: member.id, online: String(member.online), role: member.role },
      },
      avatar(member.id, member.name, { online: member.online }),
      h(
        'span',
        { class: 'member-text' },
        h('span', { class: 'member-name' }, member.name, own && h('span', { class: 'you', text: 'you' })),
        h('span', {
          class: 'muted',
          text: [member.online ? 'Online' : 'Offline', member.role === 'member' ? null : member.role]
            .filter(Boolean)
            .join(' · '),
        }),
      ),
      conversation && more,
    );
  }

  /**
   * @param {Member} member
   * @returns {MenuItem[]}
   */
  #items(member) {
    const { conversation, self, changeRole, removeMember } = this.#options;
    const { may } = conversation;
    // Only those who give roles remove who has one.
    const givesRoles = may.has('change_roles');
    if (member.id === self || !may.has('remove_members') || (!givesRoles && member.role !== 'member')) return [];
    /** @type {(MenuItem | false)[]} */
    const items = [
      givesRoles &&
        member.role === 'member' && {
          label: 'Make moderator',
          symbol: 'shield',
          testid: 'make-moderator',
          perform: () => changeRole(member, 'moderator'),
        },
      givesRoles &&
        member.role !== 'owner' && {
          label: 'Make owner',
          symbol: 'crown',
          testid: 'make-owner',
          perform: () => changeRole(member, 'owner'),
        },
      givesRoles &&
        member.role !== 'member' && {
          label: 'Make member',
          symbol: 'people',
          testid: 'make-member',
          perform: () => changeRole(member, 'member'),
        },
      { label: 'Remove', symbol: 'leave', danger: true, testid: 'remove-member', perform: () => removeMember(member) },
    ];
    return items.filter((item) => item !== false);
  }
}

/**
 * @param {string} testid
 * @param {IconName} symbol
 * @param {string} label
 * @param {() => void} click
 */
const action = (testid, symbol, label, click) =>
  h('button', { type: 'button', class: 'button', dataset: { testid }, on: { click } }, icon(symbol), label);

/**
 * @param {Role | null} role
 * @returns {number} more is more; -1 when it is not known
 */
const rank = (role) => ['member', 'moderator', 'owner'].indexOf(role ?? '');
