/**
 * The page: finds out who is here, follows invite links, and shows the way in or the conversations.
 *
 * Elements that tests and other tools hold on to carry `data-testid`; those names are stable.
 */
import { ParlanceClient } from './parlance-client.js';
import { Chat } from './ui/chat.js';
import { brand, h } from './ui/dom.js';
import { entryView } from './ui/entry.js';
import { toast } from './ui/overlays.js';
import { inviteCode } from './ui/text.js';

const INVITE = 'parlance.invite';

const root = document.getElementById('app');
const client = new ParlanceClient();
let chat = null;

function show(node) {
  root.replaceChildren(node);
}

/** Decides what to show; also after the log-in ended, here or in another tab. */
async function boot(notice = null) {
  chat?.destroy();
  chat = null;
  client.forget();
  if (!client.rest.maybeSignedIn) return enter(notice);
  try {
    await client.rest.ensureFresh();
    const me = await client.rest.get('/api/me');
    await open(me);
  } catch (problem) {
    if (problem.code === 'unauthenticated' || problem.code === 'forbidden') enter(notice);
    else show(unreachable(problem));
  }
}

function enter(notice = null) {
  const invite = inviteCode(location.pathname);
  const entered = (session) => {
    if (invite) remember(invite);
    open(session.user);
  };
  show(entryView({ client, invite, notice, entered }));
}

/** Someone is signed in; an invite link still in the address is accepted first. */
async function open(me) {
  const invite = inviteCode(location.pathname);
  let target = null;
  if (invite) {
    // A guest belongs to the one conversation of the link and has accepted it by coming in.
    const guest = me.role === 'guest' || me.tier === 'anonymous';
    if (!guest) target = await accept(invite);
    else if (remembered() !== invite)
      toast('You are a guest in this conversation. To join another one, leave it first.');
    history.replaceState(null, '', target ? `/#/c/${target}` : '/');
  }
  chat = new Chat({ client, me, signOut });
  show(chat.node);
  await chat.start();
}

/** Accepting again what was accepted when signing up costs nothing and tells which conversation it is. */
async function accept(code) {
  try {
    return (await client.rest.post(`/api/invites/${code}/accept`)).id;
  } catch (problem) {
    toast(
      problem.code === 'not_found'
        ? 'This invite is no longer valid, or belongs to another workspace. Sign out to use it as someone else.'
        : problem.message,
      { tone: 'danger' },
    );
    return null;
  }
}

/** Which link one came in by, so that following it again is not taken for another one. */
function remember(code) {
  try {
    localStorage.setItem(INVITE, code);
  } catch {
    // Then the link is taken for another one, which costs a hint that is not needed.
  }
}

function remembered() {
  try {
    return localStorage.getItem(INVITE);
  } catch {
    return null;
  }
}

async function signOut() {
  try {
    client.disconnect();
    await client.rest.leave();
    chat?.outbox.clear();
    history.replaceState(null, '', '/');
    await boot('You are signed out.');
  } catch (problem) {
    client.connect();
    toast(problem.message, { tone: 'danger' });
  }
}

function unreachable(problem) {
  const retry = h(
    'button',
    { type: 'button', class: 'button primary', dataset: { testid: 'retry-boot' }, on: { click: () => boot() } },
    'Try again',
  );
  const timer = setTimeout(() => retry.isConnected && boot(), problem.retryAfterMs ?? 4_000);
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

client.on('signed_out', () => chat && boot('Your session has ended. Sign in again.'));
boot();
