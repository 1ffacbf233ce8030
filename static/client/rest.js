/**
 * The REST half of the client: requests, problems as errors, and the renewal of the access token.
 *
 * Used by `ParlanceClient` and, as `client.rest`, by whoever owns the client. A request fails after
 * 20 s.
 *
 * In a browser both tokens are HttpOnly cookies, so this file never keeps one. A refresh token may
 * be used once, and a second use revokes the whole login. Two tabs that renew at the same moment
 * would therefore sign each other out. So a renewal happens once in the tab (one promise) and once
 * across tabs (`navigator.locks`). The tab that renewed sends the new access token to the others
 * over a `BroadcastChannel`, and they hand it to their own sockets.
 *
 * A tab that is closed or reloaded meanwhile loses its lock but not its request (`keepalive`). So a
 * mark in the storage says that a renewal is under way. Without locks (plain http to another host)
 * there is only the mark. Besides, the storage holds only the time at which the access token runs
 * out: it says whether asking the server is worth while.
 *
 * @import { Fetch, RenewedToken, SignedIn, Storage, TokenSource } from './types.js'
 */

const LOCK = 'parlance.refresh';
const EXPIRES_AT = 'parlance.expires_at';
const RENEWING_SINCE = 'parlance.renewing_since';
/** A renewal that began this long ago has its response, or never will have one. */
const RENEWAL_MS = 5_000;
/** Without locks, tabs that wake up together must not all look at the mark at the same moment. */
const SPREAD_MS = 400;
/** Longer than a mark takes to be seen by the other tabs. */
const SETTLE_MS = 250;
/** An access token with less life than this is renewed before it is relied upon. */
const MARGIN_MS = 60_000;
const REQUEST_TIMEOUT_MS = 20_000;

/**
 * A refused or failed request: `code` is the server's stable code, or `network` when no response
 * came.
 */
export class Problem extends Error {
  /**
   * @param {object} problem
   * @param {number} [problem.status] of HTTP; 0 without a response
   * @param {string} [problem.code]
   * @param {string} [problem.detail] for people
   * @param {{ field: string, message: string }[]} [problem.errors] for invalid input
   * @param {number | null} [problem.retryAfterMs]
   */
  constructor({
    status = 0,
    code = 'network',
    detail = 'The server could not be reached.',
    errors = [],
    retryAfterMs = null,
  }) {
    super(detail);
    this.name = 'Problem';
    this.status = status;
    this.code = code;
    this.errors = errors;
    this.retryAfterMs = retryAfterMs;
  }
}

export class Rest {
  #base;
  #token;
  #fetch;
  #storage;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {Promise<void> | null} */
  #refreshing = null;
  /** Tells this tab's mark from those of other tabs. */
  #mark = Math.random().toString(36).slice(2);
  #onRenewed;
  #onSignedOut;

  /**
   * @param {object} [options]
   * @param {string} [options.base] address of the server; the page's own by default
   * @param {TokenSource | null} [options.token] without it the cookies of the browser are used
   * @param {Fetch | null} [options.fetch]
   * @param {Storage} [options.storage]
   * @param {(renewed: RenewedToken) => void} [options.onRenewed] also for other tabs' renewals
   * @param {() => void} [options.onSignedOut] the login is over
   */
  constructor({
    base = '',
    token = null,
    fetch = null,
    storage = browserStorage(),
    onRenewed = () => {},
    onSignedOut = () => {},
  } = {}) {
    this.#base = base;
    this.#token = token;
    this.#fetch = fetch ?? ((...args) => globalThis.fetch(...args));
    this.#storage = storage;
    this.#onRenewed = onRenewed;
    this.#onSignedOut = onSignedOut;
    if (!token && typeof BroadcastChannel === 'function' && typeof document === 'object') {
      this.#channel = new BroadcastChannel('parlance.session');
      this.#channel.onmessage = ({ data }) => {
        if (data?.renewed) this.#onRenewed(data.renewed);
        if (data?.signedOut) this.#onSignedOut();
      };
    }
  }

  /** Whether this browser has been signed in; a guess that saves a request bound to be refused. */
  get maybeSignedIn() {
    return this.#token !== null || this.#storage.get(EXPIRES_AT) !== null;
  }

  /**
   * @param {string} path
   * @param {Record<string, unknown>} [query] null and undefined are left out
   * @param {{ signal?: AbortSignal }} [options] the signal breaks the request off
   */
  get(path, query, { signal } = {}) {
    return this.request('GET', path, { query, signal });
  }

  /**
   * @param {string} path
   * @param {object} [body]
   */
  post(path, body) {
    return this.request('POST', path, { body });
  }

  /**
   * @param {string} path
   * @param {object} body
   */
  patch(path, body) {
    return this.request('PATCH', path, { body });
  }

  /** @param {string} path */
  delete(path) {
    return this.request('DELETE', path);
  }

  /**
   * One request; an access token that ran out is renewed and the request repeated once.
   *
   * @param {string} method
   * @param {string} path
   * @param {{ query?: Record<string, unknown>, body?: object, signal?: AbortSignal }} [content]
   * @returns {Promise<any>} the JSON of the response, or null when there is none
   * @throws {Problem}
   */
  async request(method, path, content = {}) {
    const response = await this.#send(method, path, content);
    if (response.status === 401 && !this.#token) {
      await this.refresh();
      return read(await this.#send(method, path, content));
    }
    return read(response);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [content]
   * @param {Record<string, unknown>} [content.query]
   * @param {object} [content.body]
   * @param {boolean} [content.keepalive] it goes on when the page is left
   * @param {AbortSignal} [content.signal]
   */
  async #send(method, path, { query, body, keepalive = false, signal } = {}) {
    const url = new URL(this.#base + path, globalThis.location?.href);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    }
    /** @type {Record<string, string>} */
    const headers = { accept: 'application/json' };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const token = this.#token ? await this.#token() : null;
    if (token) headers.authorization = `Bearer ${token}`;
    const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    try {
      return await this.#fetch(url, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: this.#token ? 'omit' : 'same-origin',
        cache: 'no-store',
        keepalive,
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
    } catch {
      throw new Problem({});
    }
  }

  /**
   * Signs up, signs in or joins as a guest, by the route.
   *
   * @param {string} path
   * @param {object} body
   * @returns {Promise<SignedIn>}
   */
  async enter(path, body) {
    const session = await read(await this.#send('POST', path, { body }));
    this.#storage.set(EXPIRES_AT, session.expires_at);
    return session;
  }

  /**
   * Signs out here and in the other tabs; also when the server cannot be reached or knows nothing
   * of the login.
   */
  async leave() {
    try {
      await read(await this.#send('POST', '/auth/logout'));
    } catch (problem) {
      if (problem.code !== 'unauthenticated') throw problem;
    }
    this.#over();
    this.#channel?.postMessage({ signedOut: true });
  }

  /**
   * Makes sure that the cookie is good for a while: asks the server only when it is about to run
   * out.
   */
  async ensureFresh() {
    if (this.#token) return;
    const expiresAt = Date.parse(this.#storage.get(EXPIRES_AT) ?? '');
    if (!(expiresAt - Date.now() > MARGIN_MS)) await this.refresh();
  }

  /**
   * Renews the access token, once for all who ask meanwhile.
   *
   * @returns {Promise<void>}
   * @throws {Problem} `unauthenticated` when the login is over (`onSignedOut` was called)
   */
  refresh() {
    this.#refreshing ??= this.#refreshLocked().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  async #refreshLocked() {
    const seen = this.#storage.get(EXPIRES_AT);
    const locks = globalThis.navigator?.locks;
    const renew = async () => {
      if (!locks && this.#channel) await sleep(Math.random() * SPREAD_MS);
      for (;;) {
        while (this.#storage.get(EXPIRES_AT) === seen && this.#renewedElsewhere()) await sleep(50);
        // While this tab waited, another one has renewed and the cookie is fresh.
        if (this.#storage.get(EXPIRES_AT) !== seen) return;
        this.#storage.set(RENEWING_SINCE, `${Date.now()} ${this.#mark}`);
        if (locks || !this.#channel) break;
        // Who waited for the same mark to grow old writes at the same moment; the last to write
        // goes, the others wait.
        await sleep(SETTLE_MS);
        if (!this.#renewedElsewhere()) break;
      }
      // Without a response the mark stays: it may be this page that is going, and not the request.
      const response = await this.#send('POST', '/auth/refresh', { keepalive: true });
      this.#storage.remove(RENEWING_SINCE);
      if (response.status === 401 || response.status === 403) {
        this.#over();
        this.#onSignedOut();
      }
      const { access_token, expires_at } = await read(response);
      this.#storage.set(EXPIRES_AT, expires_at);
      const now = Date.parse(response.headers.get('date') ?? '') || Date.now();
      const renewed = { access_token, life_ms: Date.parse(expires_at) - now };
      this.#channel?.postMessage({ renewed });
      this.#onRenewed(renewed);
    };
    return locks ? locks.request(LOCK, renew) : renew();
  }

  #renewedElsewhere() {
    const [since = '', mark] = (this.#storage.get(RENEWING_SINCE) ?? '').split(' ');
    const age = Date.now() - Number(since);
    return mark !== this.#mark && age >= 0 && age < RENEWAL_MS;
  }

  #over() {
    this.#storage.remove(EXPIRES_AT);
  }
}

/**
 * @param {number} ms
 * @returns {Promise<void>}
 */
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * @param {Response} response
 * @returns {Promise<any>} its JSON, or null
 * @throws {Problem} for whatever is no success
 */
async function read(response) {
  const text = await response.text().catch(() => '');
  let json;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    json = null;
  }
  if (response.ok) return json;
  const retryAfter = Number(response.headers.get('retry-after'));
  throw new Problem({
    status: response.status,
    code: json?.code ?? (response.status >= 500 ? 'unavailable' : 'bad_request'),
    detail: json?.detail ?? json?.title ?? `The server answered ${response.status}.`,
    errors: json?.errors ?? [],
    retryAfterMs: retryAfter > 0 ? retryAfter * 1000 : null,
  });
}

/**
 * `localStorage`, or memory where the browser forbids it.
 *
 * @returns {Storage}
 */
function browserStorage() {
  /** @type {Map<string, string>} */
  const memory = new Map();
  /**
   * @param {(store: globalThis.Storage) => any} action
   * @param {() => any} otherwise
   * @returns {any}
   */
  const attempt = (action, otherwise) => {
    try {
      return globalThis.localStorage ? action(globalThis.localStorage) : otherwise();
    } catch {
      return otherwise();
    }
  };
  return {
    get: (key) =>
      attempt(
        (store) => store.getItem(key),
        () => memory.get(key) ?? null,
      ),
    set: (key, value) =>
      attempt(
        (store) => store.setItem(key, value),
        () => memory.set(key, value),
      ),
    remove: (key) =>
      attempt(
        (store) => store.removeItem(key),
        () => memory.delete(key),
      ),
  };
}
