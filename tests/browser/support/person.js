/**
 * A person at a browser: what they do and what they see, in words, so that tests read like what
 * happened.
 *
 * `Site` makes them. Every wait is for something seen on the page, for 15 s at most.
 *
 * @import { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { BACKOFF_MAX_MS } from '../../../static/client/policy.js';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const PATIENCE_MS = 15_000;
/**
 * What a browser writes when a server is away; everything else on the console is a mistake of the
 * page.
 */
const NETWORK_NOISE = /net::ERR_|WebSocket connection to .* failed|status of 50[23]/u;

export async function openBrowser() {
  if (!existsSync(CHROMIUM))
    throw new Error(`There is no Chromium at ${CHROMIUM}; run scripts/browser.sh, or set CHROMIUM.`);
  return chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
}

/**
 * Waits until `check` gives something true, which it returns. Fails with the words otherwise.
 *
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} check
 * @param {number} [patience] in milliseconds
 * @returns {Promise<Exclude<T, false | 0 | '' | null | undefined>>}
 */
export async function eventually(what, check, patience = PATIENCE_MS) {
  const until = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return /** @type {any} */ (last);
    } catch (error) {
      last = error;
    }
    if (Date.now() > until)
      throw new Error(
        `It did not happen: ${what} (last: ${last instanceof Error ? last.message : JSON.stringify(last)})`,
      );
    await new Promise((done) => setTimeout(done, 40));
  }
}

let arrived = 0;

/**
 * The text of an element.
 *
 * @param {import('playwright-core').Locator} locator
 */
export const textOf = async (locator) => (await locator.textContent()) ?? '';

/** @typedef {{ body: string, seq: number, state: string, id: string }} ShownMessage */

export class Person {
  /** @type {string[]} */
  #problems = [];

  /**
   * A person in a browser profile of their own.
   *
   * @param {Browser} browser
   * @param {string} url of the site
   * @param {string} name
   * @param {BrowserContextOptions} [options]
   */
  static async arrive(browser, url, name, options = {}) {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      permissions: ['clipboard-read', 'clipboard-write'],
      reducedMotion: 'reduce',
      ...options,
    });
    return new Person(context, await context.newPage(), url, name);
  }

  /**
   * @param {BrowserContext} context
   * @param {Page} page
   * @param {string} url
   * @param {string} name
   */
  constructor(context, page, url, name) {
    this.context = context;
    this.page = page;
    this.url = url;
    this.name = name;
    this.email = `${name.toLowerCase().replace(/\W+/gu, '.')}.${process.pid}.${(arrived += 1)}@example.org`;
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('console', (entry) => ['error', 'warning'].includes(entry.type()) && this.#problems.push(entry.text()));
    page.on('pageerror', (error) => this.#problems.push(error.stack ?? String(error)));
  }

  /** Another tab of the same person. */
  async anotherTab() {
    return new Person(this.context, await this.context.newPage(), this.url, this.name);
  }

  /** @param {string} testid */
  by(testid) {
    return this.page.getByTestId(testid);
  }

  /**
   * What the console said that it should not have.
   *
   * @param {{ network?: boolean }} [options] with `network`, what a browser writes about a server
   *   that is away is left out
   */
  problems({ network = false } = {}) {
    return this.#problems.filter((text) => !network || !NETWORK_NOISE.test(text));
  }

  async fillAccount() {
    await this.by('name').fill(this.name);
    await this.by('email').fill(this.email);
    await this.by('password').fill('a long enough secret');
    await this.by('submit').click();
  }

  async signUp() {
    await this.page.goto(this.url);
    await this.by('entry').waitFor();
    if ((await this.by('sign-up-form').count()) === 0) await this.by('show-sign-up').click();
    await this.fillAccount();
    await this.by('chat').waitFor();
  }

  async signIn(password = 'a long enough secret') {
    if ((await this.by('sign-in-form').count()) === 0) await this.by('show-sign-in').click();
    await this.by('email').fill(this.email);
    await this.by('password').fill(password);
    await this.by('submit').click();
  }

  /** @param {string} link */
  async signUpByInvite(link) {
    await this.page.goto(link);
    await this.by('show-sign-up').click();
    await this.fillAccount();
    await this.inConversation();
  }

  /** @param {string} link */
  async joinAsGuest(link) {
    await this.page.goto(link);
    await this.by('guest-name').fill(this.name);
    await this.by('submit').click();
    await this.inConversation();
  }

  /** @param {string} title */
  async create(title) {
    await this.by('new-conversation').click();
    await this.by('new-title').fill(title);
    await this.by('dialog-submit').click();
    await this.#titled(title);
  }

  async inConversation() {
    await this.by('composer').waitFor();
    await this.connected();
    await eventually('the conversation is shown', () =>
      this.page.locator('[data-testid=history-start], [data-testid=history-loading]').count(),
    );
  }

  /** Waits as long as the page may wait before it tries again. */
  async connected() {
    await this.page
      .locator('[data-testid=connection][data-state=online]')
      .waitFor({ state: 'attached', timeout: BACKOFF_MAX_MS + PATIENCE_MS });
  }

  /** Makes an invite link and reads it from the dialog. */
  async inviteLink() {
    await this.by('invite').click();
    const link = await this.by('invite-link').inputValue();
    await this.by('dialog-cancel').click();
    await this.by('invite-dialog').waitFor({ state: 'detached' });
    return link;
  }

  /** @param {string} title */
  async open(title) {
    await this.by('conversation').filter({ hasText: title }).click();
    await this.#titled(title);
  }

  /**
   * Waits until a conversation is open: another one may have been until now.
   *
   * @param {string} title
   */
  async #titled(title) {
    await eventually(`${title} is open`, async () => (await textOf(this.by('title'))) === title);
    await this.inConversation();
  }

  /**
   * Writes and sends, without waiting for anyone.
   *
   * @param {string} text
   */
  async say(text) {
    await this.by('composer').fill(text);
    await this.by('composer').press('Enter');
  }

  /**
   * Writes and sends several at once, faster than anyone types.
   *
   * @param {string[]} texts
   */
  burst(texts) {
    return this.by('composer').evaluate((node, lines) => {
      const input = /** @type {HTMLTextAreaElement} */ (node);
      for (const line of lines) {
        input.value = line;
        input.dispatchEvent(new Event('input', { bubbles: true }));
        input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
      }
    }, texts);
  }

  /** @param {string} text the whole body */
  message(text) {
    return this.by('message').filter({ has: this.page.getByTestId('body').getByText(text, { exact: true }) });
  }

  /** @param {string} text */
  async sees(text) {
    await this.message(text).first().waitFor();
  }

  /** @param {string} text */
  async confirmed(text) {
    await eventually(
      `“${text}” is confirmed`,
      async () => (await this.message(text).getAttribute('data-state')) === 'confirmed',
    );
  }

  /**
   * Waits until the focus is on an element.
   *
   * @param {string} testid
   */
  focused(testid) {
    return eventually(`the focus is on ${testid}`, () =>
      this.page.evaluate((id) => document.activeElement?.getAttribute('data-testid') === id, testid),
    );
  }

  /**
   * Searches, and waits for what is found.
   *
   * @param {string} words
   */
  async search(words) {
    await this.by('search').fill(words);
    await this.by('search').press('Enter');
    await eventually('the search is over', async () => (await textOf(this.by('search-status'))) !== 'Searching…');
  }

  /** The texts on the screen, in order. */
  bodies() {
    return this.by('body').allTextContents();
  }

  /**
   * The messages on the screen: text, number and state.
   *
   * @returns {Promise<ShownMessage[]>}
   */
  shown() {
    return this.by('message').evaluateAll((rows) =>
      rows.map((row) => ({
        body: row.querySelector('[data-testid=body]')?.textContent ?? '',
        seq: Number(row.dataset.seq ?? 0),
        state: row.dataset.state ?? '',
        id: row.dataset.id ?? '',
      })),
    );
  }

  /**
   * Posts many messages over REST: the first and the last alone, the others many at once, so that
   * they share commits.
   *
   * @param {string[]} texts
   */
  fill(texts) {
    return this.page.evaluate(
      async ([url, bodies]) => {
        /** @param {string} body */
        const post = async (body) => {
          const response = await fetch(url, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ id: crypto.randomUUID(), body }),
          });
          if (!response.ok) throw new Error(`refused: ${response.status}`);
        };
        const rest = bodies.slice(1, -1);
        await post(bodies[0]);
        while (rest.length > 0) await Promise.all(rest.splice(0, 100).map(post));
        await post(bodies[bodies.length - 1]);
      },
      /** @type {const} */ ([`/api/conversations/${this.conversationId}/messages`, texts]),
    );
  }

  /**
   * Does something from the toolbar of a message.
   *
   * @param {string} text
   * @param {string} action its testid
   */
  async act(text, action) {
    await this.message(text).first().hover();
    await this.by(action).click();
  }

  /**
   * A request of the page's own, with its cookies.
   *
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<{ status: number, body: any }>}
   */
  api(method, path, body) {
    const headers = { 'content-type': 'application/json' };
    return this.page.evaluate(
      async ([url, options]) => {
        const response = await fetch(url, options);
        return { status: response.status, body: await response.json().catch(() => null) };
      },
      /** @type {const} */ ([path, { method, headers, body: body && JSON.stringify(body) }]),
    );
  }

  /** Of the conversation that is open. */
  get conversationId() {
    const [, id] = /#\/c\/([0-9a-f-]{36})/u.exec(this.page.url()) ?? [];
    assert.ok(id, `no conversation is open at ${this.page.url()}`);
    return id;
  }
}

/**
 * All of them see the same messages, in the same order, each once, numbered without holes.
 *
 * @param {Person[]} people
 * @param {string[]} texts
 */
export async function agree(people, texts) {
  const views = await eventually(
    'all see all of it',
    async () => {
      const shown = await Promise.all(people.map((person) => person.shown()));
      return (
        shown.every((view) => view.length === texts.length && view.every(({ state }) => state === 'confirmed')) && shown
      );
    },
    45_000,
  );
  for (const view of views) {
    assert.deepEqual(
      view.map(({ seq }) => seq),
      texts.map((_, idx) => idx + 1),
    );
    assert.deepEqual(
      view.map(({ body }) => body),
      views[0].map(({ body }) => body),
    );
    assert.deepEqual(view.map(({ body }) => body).sort(), [...texts].sort());
  }
  return views[0];
}
