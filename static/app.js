/**
 * The start of the page: finds out who is here, follows invite links, and shows the way in, the
 * conversations, or the numbers of the workspace.
 *
 * `index.html` loads it, and it owns the one client. The parts of the page are in `ui/`: the
 * address in `router.js`, the state in `store.js`, what is seen in `views/`, made of `widgets/`.
 *
 * Elements that tests and other tools hold on to carry `data-testid`; those names are stable.
 *
 * @import { SignedIn, User } from './client/types.js'
 * @import { Problem } from './parlance-client.js'
 */
import { ParlanceClient } from './parlance-client.js';
import { ANALYTICS, conversationPath, inviteCode, isAnalytics, pushAddress, replaceAddress } from './ui/router.js';
import { isGuest } from './ui/store.js';
import { Chat } from './ui/views/chat.js';
import { entryView } from './ui/views/entry.js';
import { closeOverlays } from './ui/widgets/dialog.js';
import { h } from './ui/widgets/dom.js';
import { brand } from './ui/widgets/icons.js';
import { toast } from './ui/widgets/toast.js';

const INVITE = 'parlance.invite';
/** A server that could not be reached is tried again after this time. */
const RETRY_MS = 4_000;

const root = /** @type {HTMLElement} */ (document.getElementById('app'));
const client = new ParlanceClient();
/**
 * What somebody who is signed in has before them. One at a time: who looks at numbers is not in the
 * conversations.
 *
 * @typedef {object} Place
 * @property {HTMLElement} node
 * @property {() => void} start
 * @property {() => void} destroy
 */
/** @type {Place | null} */
let place = null;
/** @type {User | null} who is signed in */
let me = null;
let inAnalytics = false;
/** What was written and not sent stays when one looks at numbers; by conversation id. */
const drafts = new Map();

/** @param {Node} node */
function show(node) {
  root.replaceChildren(node);
}

function leavePlace() {
  place?.destroy();
  place = null;
  client.clear();
  closeOverlays();
}

/**
 * Decides what to show; also after the login ended, here or in another tab.
 *
 * @param {string | null} notice why the person has to sign in, if it was not their wish
 */
async function boot(notice = null) {
  leavePlace();
  me = null;
  drafts.clear();
  if (!client.rest.maybeSignedIn) return enter(notice);
  try {
    await client.rest.ensureFresh();
    await admit(await client.rest.get('/api/me'));
  } catch (problem) {
    if (problem.code === 'unauthenticated' || problem.code === 'forbidden') enter(notice);
    else show(unreachable(problem));
  }
}

/** @param {string | null} notice */
function enter(notice = null) {
  const invite = inviteCode(location.pathname);
  /** @param {SignedIn} session */
  const entered = (session) => {
    if (invite) kept((storage) => storage.setItem(INVITE, invite));
    admit(session.user);
  };
  show(entryView({ client, invite, notice, entered }));
}

/**
 * Someone is signed in. An invite link still in the address is accepted first.
 *
 * @param {User} user
 */
async function admit(user) {
  const invite = inviteCode(location.pathname);
  let target = null;
  if (invite) {
    // A guest belongs to the one conversation of the link and has accepted it by coming in.
    if (!isGuest(user)) target = await accept(invite);
    else if (kept((storage) => storage.getItem(INVITE)) !== invite) {
      toast('You are a guest in this conversation. To join another one, leave it first.');
    }
    replaceAddress(target ? conversationPath(target) : '/');
  }
  me = user;
  await route();
}

/** Shows what the address asks for. */
async function route() {
  const user = me;
  if (!user) return;
  leavePlace();
  inAnalytics = isAnalytics(location.pathname);
  const next = inAnalytics ? await analytics(user) : conversations(user);
  // While a part of the page was loaded, one may have gone elsewhere, or out.
  if (!next || place || me !== user) return;
  place = next;
  show(place.node);
  place.start();
}

/** @param {string} path */
function go(path) {
  pushAddress(path);
  return route();
}

/** @param {User} user */
function conversations(user) {
  /** @type {Chat} */
  const chat = new Chat({
    client,
    me: user,
    drafts,
    analytics: () => go(ANALYTICS),
    signOut: () => signOut(chat),
  });
  return chat;
}

/**
 * Few ever open it, so it does not come with the first visit.
 *
 * @param {User} user
 */
async function analytics(user) {
  show(h('div', { class: 'boot' }, h('span', { class: 'brand-mark' })));
  try {
    const { openAnalytics } = await import('./ui/views/analytics.js');
    const open = (/** @type {string} */ id) => go(conversationPath(id));
    return await openAnalytics({ rest: client.rest, me: user, open, leave: () => go('/') });
  } catch (problem) {
    show(unreachable(problem));
    return null;
  }
}

/**
 * Accepting again what was accepted when signing up costs nothing and says which conversation it
 * is.
 *
 * @param {string} code
 * @returns {Promise<string | null>} id of the conversation
 */
async function accept(code) {
  try {
    return (await client.rest.post(`/api/invites/${code}/accept`)).id;
  } catch (problem) {
    const spent =
      'This invite is no longer valid, or belongs to another workspace. Sign out to use it as someone else.';
    toast(problem.code === 'not_found' ? spent : problem.message, { tone: 'danger' });
    return null;
  }
}

/**
 * By which link one came in, so that following it again is not taken for another one. Without
 * storage it is, which costs a hint that is not needed.
 *
 * @template T
 * @param {(storage: Storage) => T} use
 */
function kept(use) {
  try {
    return use(localStorage);
  } catch {
    return null;
  }
}

/** @param {Chat} chat */
async function signOut(chat) {
  try {
    client.disconnect();
    await client.rest.leave();
    chat.clearOutbox();
    kept((storage) => storage.removeItem(INVITE));
    replaceAddress('/');
    await boot('You are signed out.');
  } catch (problem) {
    client.connect();
    toast(problem.message, { tone: 'danger' });
  }
}

/** @param {Problem} problem */
function unreachable(problem) {
  const retry = h(
    'button',
    { type: 'button', class: 'button primary', dataset: { testid: 'retry-boot' }, on: { click: () => boot() } },
    'Try again',
  );
  const timer = setTimeout(() => retry.isConnected && boot(), problem.retryAfterMs ?? RETRY_MS);
  retry.addEventListener('click', () => clearTimeout(timer));
  return h(
    'main',
    { class: 'entry' },
    h(
      'div',
      { class: 'entry-card', dataset: { testid: 'unreachable' } },
      brand(),
      h('h1', { text: 'The server cannot be reached' }),
      h('p', { class: 'entry-lead', text: 'It will be tried again in a moment.' }),
      retry,
    ),
  );
}

client.on('signed_out', () => me && boot('Your session has ended. Sign in again.'));
window.addEventListener('popstate', () => isAnalytics(location.pathname) !== inAnalytics && route());
boot();
