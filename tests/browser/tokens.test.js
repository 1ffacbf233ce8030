/**
 * Access tokens run out and refresh tokens may be used once: whatever tabs do at the same moment,
 * nobody is signed out.
 *
 * @import { BrowserContext } from 'playwright-core'
 * @import { Person } from './support/person.js'
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agree, eventually } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite({ environment: { ACCESS_TOKEN_TTL: '6' } });

/**
 * Notes the status of each renewal, whichever tab asked for it.
 *
 * @param {BrowserContext} context
 * @returns {number[]} grows
 */
function renewals(context) {
  /** @type {number[]} */
  const statuses = [];
  context.on('response', (response) => {
    if (response.url().endsWith('/auth/refresh')) statuses.push(response.status());
  });
  return statuses;
}

/**
 * Renews by a client beside the page's own.
 *
 * @param {Person} person
 */
function renew(person) {
  return person.page.evaluate(async () => {
    const script = /** @type {HTMLScriptElement} */ (document.querySelector('script[type=module]'));
    const page = /** @type {any} */ (window);
    const { ParlanceClient } = await import(script.src.replace('app.js', 'parlance-client.js'));
    page.renewing ??= new ParlanceClient();
    await page.renewing.rest.refresh();
  });
}

for (const { way, locks } of [
  { way: 'with locks', locks: true },
  { way: 'without locks, as on plain http', locks: false },
]) {
  test(`two tabs renew at the same moment, and one is reloaded meanwhile: nobody is signed out (${way})`, async () => {
    const ada = await site.arrive('Ada Lindqvist');
    if (!locks) await ada.context.addInitScript(() => Object.defineProperty(navigator, 'locks', { value: undefined }));
    const statuses = renewals(ada.context);
    await ada.signUp();
    const tab = await ada.anotherTab();
    await tab.page.goto(site.url);
    await tab.connected();
    for (let round = 0; round < 4; round += 1) await Promise.all([renew(ada), renew(tab)]);
    assert.ok(statuses.length >= 4, `${statuses.length} renewals`);
    for (let round = 0; round < (locks ? 2 : 1); round += 1) {
      await renew(ada);
      const asked = ada.page.waitForRequest((request) => request.url().endsWith('/auth/refresh'));
      renew(ada).catch(() => {});
      await asked;
      await ada.page.reload();
      await Promise.all([ada.connected(), renew(tab)]);
    }
    assert.deepEqual(
      statuses.filter((status) => status !== 200),
      [],
    );
    await renew(ada);
    assert.equal((await ada.api('GET', '/api/me')).status, 200);
    for (const person of [ada, tab]) assert.equal(await person.by('chat').count(), 1);
  });
}

test('the access token runs out and is renewed under two open tabs', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  const tab = await ada.anotherTab();
  await tab.page.goto(ada.page.url());
  await tab.inConversation();
  const statuses = renewals(ada.context);
  const texts = [];
  // Each renewal comes after half the life of a token, so that after four the first one has run
  // out.
  for (let renewed = 1; renewed <= 4; renewed += 1) {
    texts.push(`after ${renewed}`);
    await eventually(`renewal ${renewed}`, () => statuses.length >= renewed);
    await ben.say(`after ${renewed}`);
  }
  await agree([ada, tab, ben], texts);
  for (const person of [ada, tab, ben]) {
    assert.equal(await person.by('chat').count(), 1, 'nobody was signed out');
    assert.deepEqual(person.problems({ network: true }), []);
  }
  await ada.page.reload();
  await ada.sees(texts[texts.length - 1]);
});
