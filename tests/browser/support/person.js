/**
 * A person at a browser: what they do and what they see, in words, so that tests read like what happened.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

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
/** What a browser writes when a server is away; everything else on the console is a mistake of the page. */
const NETWORK_NOISE = /net::ERR_|WebSocket connection to .* failed|status of 50[23]/u;

export async function openBrowser() {
  if (!existsSync(CHROMIUM))
    throw new Error(`There is no Chromium at ${CHROMIUM}; run scripts/browser.sh, or set CHROMIUM.`);
  return chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
}

/** Waits until `check` gives something true, which it returns; fails with the words otherwise. */
export async function eventually(what, check, patience = PATIENCE_MS) {
  const until = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
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

export class Person {
  #problems = [];

  /** A person in a browser profile of their own. */
  static async arrive(browser, server, name, options = {}) {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      permissions: ['clipboard-read', 'clipboard-write'],
      reducedMotion: 'reduce',
      ...options,
    });
    return new Person(context, await context.newPage(), server, name);
  }

  constructor(context, page, server, name) {
    this.context = context;
    this.page = page;
    this.server = server;
    this.name = name;
    this.email = `${name.toLowerCase().replace(/\W+/gu, '.')}.${process.pid}.${(arrived += 1)}@example.org`;
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('console', (entry) => ['error', 'warning'].includes(entry.type()) && this.#problems.push(entry.text()));
    page.on('pageerror', (error) => this.#problems.push(error.stack ?? String(error)));
  }

  /** Another tab of the same person. */
  async anotherTab() {
    return new Person(this.context, await this.context.newPage(), this.server, this.name);
  }

  by(testid) {
    return this.page.getByTestId(testid);
  }

  /** What the console said that it should not have. */
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
    await this.page.goto(this.server.url);
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

  async signUpByInvite(link) {
    await this.page.goto(link);
    await this.by('show-sign-up').click();
    await this.fillAccount();
    await this.inRoom();
  }

  async joinAsGuest(link) {
    await this.page.goto(link);
    await this.by('guest-name').fill(this.name);
    await this.by('submit').click();
    await this.inRoom();
  }

  async create(title) {
    await this.by('new-conversation').click();
    await this.by('new-title').fill(title);
    await this.by('dialog-submit').click();
    await this.inRoom();
  }

  async inRoom() {
    await this.by('composer').waitFor();
    await this.connected();
    await eventually('the conversation is shown', () =>
      this.page.locator('[data-testid=history-start], [data-testid=history-loading]').count(),
    );
  }

  async connected() {
    await this.page.locator('[data-testid=connection][data-state=online]').waitFor({ state: 'attached' });
  }

  /** Makes an invite link and reads it from the dialog. */
  async inviteLink() {
    await this.by('invite').click();
    const link = await this.by('invite-link').inputValue();
    await this.by('dialog-cancel').click();
    await this.by('invite-dialog').waitFor({ state: 'detached' });
    return link;
  }

  async open(title) {
    await this.by('conversation').filter({ hasText: title }).click();
    await this.inRoom();
  }

  /** Writes and sends, without waiting for anyone. */
  async say(text) {
    await this.by('composer').fill(text);
    await this.by('composer').press('Enter');
  }

  /** Writes and sends several at once, faster than anyone types. */
  burst(texts) {
    return this.by('composer').evaluate((input, lines) => {
      for (const line of lines) {
        input.value = line;
        input.dispatchEvent(new Event('input', { bubbles: true }));
        input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
      }
    }, texts);
  }

  message(text) {
    return this.by('message').filter({ has: this.page.getByTestId('body').getByText(text, { exact: true }) });
  }

  async sees(text) {
    await this.message(text).first().waitFor();
  }

  async confirmed(text) {
    await eventually(
      `“${text}” is confirmed`,
      async () => (await this.message(text).getAttribute('data-state')) === 'confirmed',
    );
  }

  /** The texts on the screen, in order. */
  bodies() {
    return this.by('body').allTextContents();
  }

  /** The messages on the screen: text, number and state. */
  shown() {
    return this.by('message').evaluateAll((rows) =>
      rows.map((row) => ({
        body: row.querySelector('[data-testid=body]').textContent,
        seq: Number(row.dataset.seq ?? 0),
        state: row.dataset.state,
        id: row.dataset.id,
      })),
    );
  }

  /** Does something from the toolbar of a message. */
  async act(text, action) {
    await this.message(text).first().hover();
    await this.by(action).click();
  }

  /** A request of the page's own, with its cookies. */
  api(method, path, body) {
    return this.page.evaluate(
      async ([verb, url, json]) => {
        const answer = await fetch(url, {
          method: verb,
          headers: { 'content-type': 'application/json' },
          body: json === null ? undefined : JSON.stringify(json),
        });
        return { status: answer.status, body: await answer.json().catch(() => null) };
      },
      [method, path, body ?? null],
    );
  }

  get conversationId() {
    return /#\/c\/([0-9a-f-]{36})/u.exec(this.page.url())[1];
  }
}

/** A room with two people in it, and its invite link. */
export async function roomOfTwo(browser, server, title = 'Harbour festival') {
  const ada = await Person.arrive(browser, server, 'Ada Lindqvist');
  await ada.signUp();
  await ada.create(title);
  const link = await ada.inviteLink();
  const ben = await Person.arrive(browser, server, 'Ben Okafor');
  await ben.signUpByInvite(link);
  return { ada, ben, link };
}

/** All of them see the same messages, in the same order, each once, numbered without holes. */
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
