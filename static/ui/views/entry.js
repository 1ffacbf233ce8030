/**
 * The way in: sign in, sign up, and what an invite link offers.
 *
 * Used by `app.js`. It draws itself and reports who came in; it keeps nothing.
 *
 * @import { SignedIn } from '../../client/types.js'
 * @import { ParlanceClient, Problem } from '../../parlance-client.js'
 * @import { Child, Props } from '../widgets/dom.js'
 */
import { field } from '../widgets/dialog.js';
import { h } from '../widgets/dom.js';
import { brand } from '../widgets/icons.js';

/** @typedef {'invited' | 'signIn' | 'signUp'} Mode */

/**
 * @typedef {object} EntryOptions
 * @property {ParlanceClient} client
 * @property {string | null} invite code of the invite link that was followed
 * @property {string | null} [notice] why the person is here, if it was not their wish
 * @property {(session: SignedIn) => void} entered
 */

/** @typedef {EntryOptions & { show: (mode: Mode) => void }} Context */

/** @param {EntryOptions} options */
export function entryView(options) {
  const { invite, notice } = options;
  const panel = h('section', { class: 'entry-panel' });
  /** @param {Mode} mode */
  const show = (mode) => {
    const context = { ...options, show };
    const content = { invited, signIn, signUp }[mode](context);
    panel.replaceChildren(...content.filter((node) => node !== false));
    focusFirst(panel);
  };
  const node = h(
    'main',
    { class: 'entry' },
    h('div', { class: 'entry-card', dataset: { testid: 'entry' } }, brand(), panel),
  );
  show(invite ? 'invited' : notice ? 'signIn' : 'signUp');
  // The first form is drawn before it is on the page, where nothing can be focused yet.
  queueMicrotask(() => focusFirst(panel));
  return node;
}

/**
 * @param {Context} context
 * @returns {(HTMLElement | false)[]}
 */
function invited({ client, invite, entered, show }) {
  /**
   * @param {string} testid
   * @param {Mode} mode
   * @param {string} text
   */
  const choice = (testid, mode, text) =>
    h('button', { type: 'button', class: 'button', dataset: { testid }, on: { click: () => show(mode) } }, text);
  return [
    h('h1', { text: 'You are invited' }),
    h('p', {
      class: 'entry-lead',
      text: 'Someone shared a conversation with you. Join it with just a name, or with an account that stays.',
    }),
    form({
      testid: 'guest-form',
      fields: [
        field('Your name', {
          name: 'name',
          autocomplete: 'nickname',
          required: true,
          maxLength: 60,
          dataset: { testid: 'guest-name' },
        }),
      ],
      action: 'Join as guest',
      perform: (value) => client.rest.enter('/auth/guest', { name: value('name').trim(), invite }),
      entered,
    }),
    h('div', { class: 'entry-or' }, h('span', { text: 'or' })),
    h(
      'div',
      { class: 'entry-choices' },
      choice('show-sign-up', 'signUp', 'Create an account'),
      choice('show-sign-in', 'signIn', 'Sign in'),
    ),
  ];
}

/**
 * @param {Context} context
 * @returns {(HTMLElement | false)[]}
 */
function signIn({ client, invite, notice, entered, show }) {
  return [
    h('h1', { text: 'Welcome back' }),
    h('p', { class: 'entry-lead', text: notice ?? 'Sign in to go on where you left off.' }),
    form({
      testid: 'sign-in-form',
      fields: [email(), password({ autocomplete: 'current-password' })],
      action: 'Sign in',
      perform: (value) =>
        client.rest.enter('/auth/login', { email: value('email').trim(), password: value('password') }),
      entered,
    }),
    other('New here?', 'Create an account', 'show-sign-up', () => show('signUp')),
    invite !== null && other('No account?', 'Join as guest', 'show-guest', () => show('invited')),
  ];
}

/**
 * @param {Context} context
 * @returns {(HTMLElement | false)[]}
 */
function signUp({ client, invite, entered, show }) {
  return [
    h('h1', { text: invite ? 'Join the conversation' : 'Create your workspace' }),
    h('p', {
      class: 'entry-lead',
      text: invite
        ? 'Your account belongs to the workspace that invited you.'
        : 'A place for your conversations. Bring people in with a link.',
    }),
    form({
      testid: 'sign-up-form',
      fields: [
        field('Your name', {
          name: 'name',
          autocomplete: 'name',
          required: true,
          maxLength: 60,
          dataset: { testid: 'name' },
        }),
        email(),
        password({ autocomplete: 'new-password', minLength: 8, maxLength: 256 }, 'At least 8 characters.'),
      ],
      action: 'Create account',
      perform: (value) =>
        client.rest.enter('/auth/register', {
          name: value('name').trim(),
          email: value('email').trim(),
          password: value('password'),
          ...(invite ? { invite } : {}),
        }),
      entered,
    }),
    other('Have an account?', 'Sign in', 'show-sign-in', () => show('signIn')),
    invite !== null && other('Just visiting?', 'Join as guest', 'show-guest', () => show('invited')),
  ];
}

/**
 * On touch screens the keyboard would cover what one has not read yet.
 *
 * @param {HTMLElement} panel
 */
function focusFirst(panel) {
  if (matchMedia('(pointer: fine)').matches) panel.querySelector('input')?.focus();
}

const email = () =>
  field('Email', {
    name: 'email',
    type: 'email',
    autocomplete: 'email',
    required: true,
    maxLength: 254,
    dataset: { testid: 'email' },
  });

/**
 * @param {Props} props
 * @param {string | null} [hint]
 */
const password = (props, hint) =>
  field(
    'Password',
    { name: 'password', type: 'password', required: true, dataset: { testid: 'password' }, ...props },
    hint,
  );

/**
 * @param {string} question
 * @param {string} action
 * @param {string} testid
 * @param {() => void} perform
 */
function other(question, action, testid, perform) {
  return h(
    'p',
    { class: 'entry-other' },
    `${question} `,
    h('button', { type: 'button', class: 'link', dataset: { testid }, on: { click: perform } }, action),
  );
}

/**
 * @param {object} options
 * @param {string} options.testid
 * @param {Child[]} options.fields
 * @param {string} options.action name of the button
 * @param {(value: (name: string) => string) => Promise<SignedIn>} options.perform is given the
 *   fields by name
 * @param {(session: SignedIn) => void} options.entered
 */
function form({ testid, fields, action, perform, entered }) {
  const error = h('p', { class: 'form-error', role: 'alert', hidden: true, dataset: { testid: 'form-error' } });
  const submit = h('button', { type: 'submit', class: 'button primary wide', dataset: { testid: 'submit' } }, action);
  const node = h('form', { class: 'entry-form', dataset: { testid } }, fields, error, submit);
  node.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    submit.disabled = true;
    error.hidden = true;
    for (const input of node.querySelectorAll('input')) input.removeAttribute('aria-invalid');
    const data = new FormData(node);
    try {
      entered(await perform((name) => String(data.get(name))));
    } catch (problem) {
      explain(node, error, problem);
      submit.disabled = false;
    }
  });
  return node;
}

/**
 * Says what is wrong and puts the cursor where it can be put right.
 *
 * @param {HTMLFormElement} node
 * @param {HTMLElement} error
 * @param {Problem} problem
 */
function explain(node, error, problem) {
  const errors = problem.errors ?? [];
  error.textContent = explanation(problem);
  error.hidden = false;
  for (const { field: name } of errors) {
    node.querySelector(`[name="${CSS.escape(name)}"]`)?.setAttribute('aria-invalid', 'true');
  }
  /** @param {string} selector */
  const input = (selector) => /** @type {HTMLInputElement | null} */ (node.querySelector(selector));
  const wrong = problem.code === 'unauthenticated' ? input('[type=password]') : null;
  (input('[aria-invalid]') ?? wrong ?? input('input'))?.focus();
  wrong?.select();
}

/** @param {Problem} problem */
function explanation(problem) {
  const errors = problem.errors ?? [];
  if (errors.length > 0) {
    return errors
      .map(({ field: name, message }) => sentence(`${name[0].toUpperCase()}${name.slice(1)}: ${message}`))
      .join(' ');
  }
  return problem.code === 'not_found' ? 'This invite link is no longer valid. Ask for a new one.' : problem.message;
}

/** @param {string} text */
const sentence = (text) => (/[.!?]$/u.test(text) ? text : `${text}.`);
