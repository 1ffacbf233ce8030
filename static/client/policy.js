/**
 * The decisions of the client that need no connection: how long to wait, what a close code means,
 * how an id is made.
 *
 * Used by the other files of the client. All of it is pure (time and randomness are arguments), so
 * tests cover it by tables.
 */

/** First step of the back-off. */
export const BACKOFF_MIN_MS = 500;
/** Longest step of the back-off. */
export const BACKOFF_MAX_MS = 30_000;
/** A connection that lived this long makes the next failure the first one again. */
export const HEALTHY_MS = 30_000;

/**
 * Full jitter: anything between nothing and a step that doubles from 500 ms to 30 s. The whole
 * range is random because a server that comes back is met by all of its clients at once.
 *
 * @param {number} attempt failures in a row so far, from 0
 * @param {() => number} random a number in [0, 1)
 * @returns {number} milliseconds to wait
 */
export function backoffDelay(attempt, random = Math.random) {
  const step = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(attempt, 20));
  return Math.floor(random() * step);
}

const PAUSE_MAX_MS = 300_000;

/**
 * The pause after a failure in the background: trying again must not use up the person's quota.
 *
 * @param {number} firstMs
 * @param {number} failures in a row before this one
 */
export function growingPause(firstMs, failures) {
  return Math.min(PAUSE_MAX_MS, firstMs * 2 ** Math.min(failures, 20));
}

/**
 * What a close code asks of the client; the first two digits are the verdict.
 *
 * @param {number} code
 * @returns {'stop' | 'back_off' | 'refresh' | 'at_once'} `stop`: tell the person, do not come back;
 *   `refresh`: renew the credentials, then back off; `at_once`: reconnect now, or after
 *   `goodbye.retry_after_ms`
 */
export function verdict(code) {
  // Nobody here asked for it: proxies that are restarted say so.
  if (code === 1000 || code === 1001) return 'at_once';
  if (code === 1002 || code === 1007 || code === 1009) return 'stop';
  if (code === 4103) return 'refresh';
  switch (Math.floor(code / 100)) {
    case 40:
      return 'stop';
    case 42:
      return 'at_once';
    default:
      // 41xx, and 1006: the connection broke and nobody said why.
      return 'back_off';
  }
}

/**
 * Refusals that mean *not done, try again with the same id*.
 *
 * @param {string} code
 */
export function isRetryable(code) {
  return code === 'rate_limited' || code === 'overloaded' || code === 'unavailable';
}

/**
 * Frames that the server takes from the user's quota.
 *
 * @param {string} type
 */
export function isLimited(type) {
  return type === 'send' || type === 'edit' || type === 'delete' || type === 'react';
}

/**
 * A UUID version 7: sorted by time, so that the server's index inserts stay local.
 *
 * @param {number} nowMs Unix time in milliseconds
 * @param {Uint8Array} random sixteen random bytes; they are changed
 */
export function uuidv7(nowMs = Date.now(), random = globalThis.crypto.getRandomValues(new Uint8Array(16))) {
  const bytes = random;
  for (let i = 0; i < 6; i += 1) bytes[i] = Math.floor(nowMs / 2 ** (8 * (5 - i))) & 0xff;
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/**
 * Length in bytes of UTF-8, which is what the server's limits count.
 *
 * @param {string} text
 */
export function utf8Length(text) {
  return new TextEncoder().encode(text).length;
}
