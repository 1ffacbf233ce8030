/**
 * What a socket is opened with, and the renewal of an access token before it runs out.
 *
 * Owned by `ParlanceClient`. A page with cookies needs nothing in the address. With a token each
 * socket takes a ticket, which may be used once. With an API key a socket carries a header, which
 * browsers cannot send: keys are for programs. One timer at most is set; it is no matter if it is
 * lost, because a socket whose token ran out is closed with 4103.
 *
 * @import { Rest } from './rest.js'
 * @import { TokenSource } from './types.js'
 */

/** Where sockets fail for another reason, asking again would only cost of the quota. */
const GOOD_MS = 300_000;
/** A renewal that failed is repeated after half of this. */
const AGAIN_MS = 20_000;

export class Credentials {
  #rest;
  #base;
  #token;
  #goodUntil = 0;
  /** @type {string | null} the API key that the next socket carries */
  #key = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} options
   * @param {Rest} options.rest
   * @param {string} options.base
   * @param {TokenSource | null} options.token null: cookies, or sockets that somebody else opens
   */
  constructor({ rest, base, token }) {
    this.#rest = rest;
    this.#base = base;
    this.#token = token;
  }

  /**
   * The URL of the next socket.
   *
   * @param {boolean} doubtful the last attempt failed; a page cannot see whether its upgrade was
   *   refused, so REST is asked whether the credentials are still good
   */
  async address(doubtful) {
    await this.#rest.ensureFresh();
    if (doubtful && Date.now() > this.#goodUntil) {
      await this.#rest.get('/api/me');
      this.#goodUntil = Date.now() + GOOD_MS;
    }
    const url = new URL(`${this.#base}/ws`, globalThis.location?.href);
    url.protocol = url.protocol.replace('http', 'ws');
    if (this.#token) {
      const token = await this.#token();
      this.#key = token?.startsWith('pk_') ? token : null;
      if (!this.#key) url.searchParams.set('ticket', (await this.#rest.post('/auth/ticket')).ticket);
    }
    return url.href;
  }

  /**
   * A socket of the platform.
   *
   * @param {string} url from `address`
   * @param {string[]} protocols
   */
  openSocket(url, protocols) {
    const options = this.#key ? { protocols, headers: { authorization: `Bearer ${this.#key}` } } : protocols;
    // Node takes an object here; the types are those of browsers.
    return new WebSocket(url, /** @type {string[]} */ (options));
  }

  /**
   * Renews some time before the token runs out, spread out so that not all clients of a restarted
   * server come at once.
   *
   * @param {number | null} life of the token in milliseconds, by the server's clock alone: that of
   *   the browser may be wrong. null: for ever
   */
  planRenewal(life) {
    this.cancelRenewal();
    if (life === null || this.#token) return;
    const early = Math.min(life / 2, 60_000 + Math.random() * 60_000);
    this.#timer = setTimeout(
      () => {
        this.#rest.refresh().catch((problem) => {
          if (problem.code !== 'unauthenticated') this.planRenewal(Math.max(AGAIN_MS, problem.retryAfterMs ?? 0));
        });
      },
      Math.min(Math.max(1_000, life - early), 2 ** 31 - 1),
    );
  }

  cancelRenewal() {
    clearTimeout(this.#timer);
  }
}
