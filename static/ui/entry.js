/**
 * The way in: sign in, sign up, and what an invite link offers. Draws itself and reports who came in; it keeps nothing.
 */
import { brand, h } from './dom.js';
import { field } from './overlays.js';

/**
 * @param {object} options
 * @param {import('../parlance-client.js').ParlanceClient} options.client
 * @param {string | null} options.invite code of the invite link that was followed
 * @param {string} [options.notice] why the person is here, if it was not their wish
 * @param {(session: object) => void} options.entered
 */
export function entryView({ client, invite, notice = null, entered }) {
  const panel = h('section', { class: 'entry-panel' });
  const show = (mode) => {
    panel.replaceChildren(...forms[mode]());
    focusFirst(panel);
  };
  const forms = {
    invited: () => [
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
        perform: (data) => client.rest.enter('/auth/guest', { name: data.get('name').trim(), invite }),
        entered,
      }),
      h('div', { class: 'entry-or' }, h('span', { text: 'or' })),
      h(
        'div',
        { class: 'entry-choices' },
        h(
          'button',
          { type: 'button', class: 'button', dataset: { testid: 'show-sign-up' }, on: { click: () => show('signUp') } },
          'Create an account',
        ),
        h(
          'button',
          { type: 'button', class: 'button', dataset: { testid: 'show-sign-in' }, on: { click: () => show('signIn') } },
          'Sign in',
        ),
      ),
    ],
    signIn: () =>
      [
        h('h1', { text: 'Welcome back' }),
        h('p', { class: 'entry-lead', text: notice ?? 'Sign in to go on where you left off.' }),
        form({
          testid: 'sign-in-form',
          fields: [
            email(),
            field('Password', {
              name: 'password',
              type: 'password',
              autocomplete: 'current-password',
              required: true,
              dataset: { testid: 'password' },
            }),
          ],
          action: 'Sign in',
          perform: (data) =>
            client.rest.enter('/auth/login', { email: data.get('email').trim(), password: data.get('password') }),
          entered,
        }),
        other('New here?', 'Create an account', 'show-sign-up', () => show('signUp')),
        invite && other('No account?', 'Join as guest', 'show-guest', () => show('invited')),
      ].filter(Boolean),
    signUp: () =>
      [
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
            field(
              'Password',
              {
                name: 'password',
                type: 'password',
                autocomplete: 'new-password',
                required: true,
                minLength: 8,
                maxLength: 256,
                dataset: { testid: 'password' },
              },
              'At least 8 characters.',
            ),
          ],
          action: 'Create account',
          perform: (data) =>
            client.rest.enter('/auth/register', {
              name: data.get('name').trim(),
              email: data.get('email').trim(),
              password: data.get('password'),
              ...(invite ? { invite } : {}),
            }),
          entered,
        }),
        other('Have an account?', 'Sign in', 'show-sign-in', () => show('signIn')),
        invite && other('Just visiting?', 'Join as guest', 'show-guest', () => show('invited')),
      ].filter(Boolean),
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

/** On touch screens the keyboard would cover what one has not read yet. */
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

function other(question, action, testid, perform) {
  return h(
    'p',
    { class: 'entry-other' },
    `${question} `,
    h('button', { type: 'button', class: 'link', dataset: { testid }, on: { click: perform } }, action),
  );
}

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
    try {
      entered(await perform(new FormData(node)));
    } catch (problem) {
      explain(node, error, problem);
      submit.disabled = false;
    }
  });
  return node;
}

/** Says what is wrong and puts the cursor where it can be put right. */
function explain(node, error, problem) {
  const errors = problem.errors ?? [];
  error.textContent = errors.length
    ? errors
        .map(({ field: name, message }) => sentence(`${name[0].toUpperCase()}${name.slice(1)}: ${message}`))
        .join(' ')
    : problem.code === 'not_found'
      ? 'This invite link is no longer valid. Ask for a new one.'
      : problem.message;
  error.hidden = false;
  for (const { field: name } of errors)
    node.querySelector(`[name="${CSS.escape(name)}"]`)?.setAttribute('aria-invalid', 'true');
  const wrong = problem.code === 'unauthenticated' ? node.querySelector('[type=password]') : null;
  (node.querySelector('[aria-invalid]') ?? wrong ?? node.querySelector('input')).focus();
  wrong?.select();
}

const sentence = (text) => (/[.!?]$/u.test(text) ? text : `${text}.`);
