/**
 * API keys: the list, a new one, its secret (shown once), and deleting one. Loaded only by those
 * who open it.
 *
 * One dialog at a time: each closes before the next opens, and all lead back to the list. The
 * server decides what may be done; here only what it would refuse anyway is not offered.
 *
 * @import { Rest } from '../../client/rest.js'
 * @import { User } from '../../client/types.js'
 * @import { DialogOptions } from '../widgets/dialog.js'
 */
import { isAdmin } from '../store.js';
import { copyRow, dialog, field } from '../widgets/dialog.js';
import { h } from '../widgets/dom.js';
import { icon, iconButton } from '../widgets/icons.js';
import { clockTime, dayName, longDate } from '../widgets/text.js';

/**
 * @typedef {object} Key
 * @property {string} id
 * @property {string} name
 * @property {string[]} scopes
 * @property {string | null} expires_at
 * @property {string | null} last_used_at
 */

/** @typedef {{ rest: Rest, me: User, back: () => void }} Context `back` opens the list again */

const SCOPES = [
  { scope: 'chat', label: 'Chat', hint: 'Read and write in your conversations.' },
  { scope: 'analytics:read', label: 'Read analytics', hint: 'Numbers about the workspace.', admins: true },
  { scope: 'admin', label: 'Administer', hint: 'Change the workspace and its people.', admins: true },
];
const LIVES = [
  ['30', '30 days'],
  ['90', '90 days'],
  ['365', 'A year'],
  ['', 'Until I delete it'],
];
const DAY_MS = 86_400_000;

/** @param {{ rest: Rest, me: User }} options */
export function openKeys({ rest, me }) {
  const back = () => openKeys({ rest, me });
  /** @type {HTMLElement} */
  const list = h('ul', { class: 'keys', dataset: { testid: 'keys' } }, h('li', { class: 'muted', text: 'Loading…' }));
  const node = dialog({
    title: 'API keys',
    content: [
      h('p', {
        class: 'dialog-text',
        text: 'For programs of yours: a key lets them in as you, as far as its scopes go, without your password.',
      }),
      list,
    ],
    action: 'New key',
    testid: 'keys-dialog',
    cancel: 'Close',
    perform: async () => () => create({ rest, me, back }),
  });
  load(rest).then(
    (keys) =>
      list.replaceChildren(
        ...(keys.length
          ? keys.map((key) => row(key, () => (node.close(), confirmDelete({ rest, key, back }))))
          : [h('li', { class: 'muted', dataset: { testid: 'no-keys' }, text: 'There are none yet.' })]),
      ),
    (problem) => list.replaceChildren(h('li', { class: 'form-error', role: 'alert', text: problem.message })),
  );
}

/**
 * @param {Rest} rest
 * @returns {Promise<Key[]>}
 */
async function load(rest) {
  // Nobody has more than fit on one page.
  return (await rest.get('/api/keys', { limit: 100 })).items;
}

/**
 * @param {Key} key
 * @param {() => void} remove
 */
function row(key, remove) {
  const over = key.expires_at && Date.parse(key.expires_at) <= Date.now();
  const words = [
    key.last_used_at ? `Last used ${usedWhen(key.last_used_at)}` : 'Never used',
    key.expires_at ? `${over ? 'ran out' : 'runs out'} on ${longDate(key.expires_at)}` : 'never runs out',
  ];
  return h(
    'li',
    { class: 'key', dataset: { testid: 'key', id: key.id } },
    h(
      'span',
      { class: 'key-text' },
      h('span', { class: 'key-name', text: key.name }),
      h(
        'span',
        { class: 'key-scopes' },
        key.scopes.map((scope) => h('code', { class: 'key-scope', text: scope })),
      ),
      h('span', { class: 'muted', text: words.join(' · ') }),
    ),
    iconButton('trash', `Delete ${key.name}`, {
      class: 'danger',
      dataset: { testid: 'delete-key' },
      on: { click: remove },
    }),
  );
}

/** @param {string} iso */
function usedWhen(iso) {
  const day = dayName(iso).replace(/^(Today|Yesterday)$/u, (word) => word.toLowerCase());
  return `${day}, ${clockTime(iso)}`;
}

/**
 * Opens a dialog that leads back to the list unless what it does leads elsewhere.
 *
 * @param {DialogOptions & Pick<Required<DialogOptions>, 'perform'> & { back: () => void }} options
 */
function step({ back, perform, ...options }) {
  let done = false;
  const node = dialog({
    ...options,
    perform: async (data) => {
      const then = await perform(data);
      done = true;
      return then ?? back;
    },
  });
  node.addEventListener('close', () => done || back());
  return node;
}

/** @param {Context} context */
function create({ rest, me, back }) {
  const offered = SCOPES.filter(({ admins }) => isAdmin(me) || !admins);
  /** @param {(typeof SCOPES)[number]} offer */
  const choice = ({ scope, label, hint }) =>
    h(
      'label',
      { class: 'choice' },
      h('input', {
        type: 'checkbox',
        name: 'scope',
        value: scope,
        checked: scope === 'chat',
        dataset: { testid: `scope-${scope}` },
      }),
      h('span', {}, h('span', { text: label }), h('span', { class: 'field-hint choice-hint', text: hint })),
    );
  step({
    back,
    title: 'New API key',
    content: [
      field(
        'Name',
        { name: 'name', required: true, maxLength: 100, placeholder: 'Build bot', dataset: { testid: 'key-name' } },
        'To tell it from the others later.',
      ),
      h(
        'fieldset',
        { class: 'field' },
        h('legend', { class: 'field-label', text: 'What it may do' }),
        offered.map(choice),
      ),
      h(
        'label',
        { class: 'field' },
        h('span', { class: 'field-label', text: 'How long it works' }),
        h(
          'select',
          { class: 'input', name: 'days', dataset: { testid: 'key-life' } },
          LIVES.map(([days, label]) => h('option', { value: days, selected: days === '90', text: label })),
        ),
      ),
    ],
    action: 'Create key',
    testid: 'new-key-dialog',
    perform: async (data) => {
      const days = Number(data.get('days'));
      const issued = await rest.post('/api/keys', {
        name: String(data.get('name')).trim(),
        scopes: data.getAll('scope'),
        ...(days ? { expires_at: new Date(Date.now() + days * DAY_MS).toISOString() } : {}),
      });
      return () => show(issued, back);
    },
  });
}

/**
 * The only time the secret is seen: it is nowhere but in this dialog, and gone with it.
 *
 * @param {Key & { secret: string }} issued
 * @param {() => void} back
 */
function show(issued, back) {
  const { row: secret, button } = copyRow({
    value: issued.secret,
    label: 'API key',
    action: 'Copy key',
    testid: 'key-secret',
    copyTestid: 'copy-key',
  });
  const node = dialog({
    title: `Your key “${issued.name}”`,
    content: [
      h(
        'p',
        { class: 'dialog-text' },
        icon('warning'),
        ' Copy it now and keep it like a password: it is not shown again.',
      ),
      secret,
      h('p', { class: 'dialog-text', text: 'Programs send it with each request:' }),
      h('code', { class: 'key-usage', text: 'Authorization: Bearer pk_…' }),
    ],
    testid: 'key-secret-dialog',
    cancel: 'Done',
  });
  node.addEventListener('close', back);
  button.focus();
}

/** @param {{ rest: Rest, key: Key, back: () => void }} options */
function confirmDelete({ rest, key, back }) {
  step({
    back,
    title: 'Delete this key?',
    content: [
      h('blockquote', { class: 'dialog-quote', text: key.name }),
      h('p', {
        class: 'dialog-text',
        text: 'Programs that use it are signed out within seconds. This cannot be undone.',
      }),
    ],
    action: 'Delete',
    danger: true,
    testid: 'delete-key-dialog',
    perform: async () => {
      try {
        await rest.delete(`/api/keys/${key.id}`);
      } catch (problem) {
        // Deleted in another window: what was wanted.
        if (problem.code !== 'not_found') throw problem;
      }
    },
  });
}
