/**
 * The page's addresses: `/` is the list, `/#/c/<id>` an open conversation, `/i/<code>` an invite
 * link, `/analytics?…` the numbers of the workspace.
 *
 * Used by `app.js`, the chat view and the page of numbers. Only this file knows what addresses look
 * like, and writes them.
 */
const CONVERSATION = /^#\/c\/([0-9a-f-]{36})$/iu;
/**
 * The code, and what messengers and people add to a link: a slash, the full stop of a sentence,
 * brackets and quotes around it.
 */
const INVITE = /^\/i\/([\w-]{4,128})(?:[^\w-].*)?$/su;

export class Router {
  #changed;
  #abort = new AbortController();

  /**
   * @param {(conversationId: string | null) => void} changed called after the address changed, by
   *   whatever way
   */
  constructor(changed) {
    this.#changed = changed;
    window.addEventListener('hashchange', () => this.route(), { signal: this.#abort.signal });
  }

  destroy() {
    this.#abort.abort();
  }

  /** Reports what the address says now. */
  route() {
    this.#changed(CONVERSATION.exec(location.hash)?.[1]?.toLowerCase() ?? null);
  }

  /**
   * @param {string} id of a conversation
   * @param {{ replace?: boolean }} [options] whether the way back leads past the present address
   */
  open(id, { replace = false } = {}) {
    if (replace) replaceAddress(conversationPath(id));
    else pushAddress(conversationPath(id));
    this.route();
  }

  /**
   * Back to the list.
   *
   * @param {{ replace?: boolean }} [options]
   */
  close({ replace = false } = {}) {
    if (replace) replaceAddress('/');
    else pushAddress('/');
    this.route();
  }
}

/** @param {string} id */
export const conversationPath = (id) => `/#/c/${id}`;

/** The path of the numbers; what is looked at stands behind it. */
export const ANALYTICS = '/analytics';

/** @param {string} pathname */
export const isAnalytics = (pathname) => pathname === ANALYTICS;

/** @param {string} path */
export const pushAddress = (path) => history.pushState(null, '', path);

/** @param {string} path */
export const replaceAddress = (path) => history.replaceState(null, '', path);

/**
 * @param {string} pathname
 * @returns {string | null} the code in an invite link
 */
export function inviteCode(pathname) {
  let path = pathname;
  try {
    path = decodeURIComponent(pathname);
  } catch {
    // What is no text is no part of a code.
  }
  return INVITE.exec(path)?.[1] ?? null;
}
