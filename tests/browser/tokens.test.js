/**
 * Access tokens run out and refresh tokens may be used once: whatever tabs do at the same moment, nobody is signed out.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Person, agree, openBrowser, roomOfTwo } from './support/person.js';
import { Server } from './support/server.js';

let server;
let browser;

before(async () => {
  server = await Server.start({ ACCESS_TOKEN_TTL: '6' });
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

for (const [way, locks] of [
  ['with locks', true],
  ['without locks, as on plain http', false],
]) {
  test(`two tabs renew at the same moment, and one is reloaded meanwhile: nobody is signed out (${way})`, async () => {
    const ada = await Person.arrive(browser, server, 'Ada Lindqvist');
    if (!locks) await ada.context.addInitScript(() => Object.defineProperty(navigator, 'locks', { value: undefined }));
    const refused = [];
    let renewed = 0;
    ada.context.on('response', (answer) => {
      if (!answer.url().endsWith('/auth/refresh')) return;
      renewed += 1;
      if (!answer.ok()) refused.push(answer.status());
    });
    await ada.signUp();
    const tab = await ada.anotherTab();
    await tab.page.goto(server.url);
    await tab.connected();
    const renew = (person) =>
      person.page.evaluate(async () => {
        const { ParlanceClient } = await import(
          document.querySelector('script[type=module]').src.replace('app.js', 'parlance-client.js')
        );
        window.renewing ??= new ParlanceClient();
        await window.renewing.rest.refresh();
      });
    for (let round = 0; round < 4; round += 1) await Promise.all([renew(ada), renew(tab)]);
    assert.ok(renewed >= 4, `${renewed} renewals`);
    for (let round = 0; round < (locks ? 2 : 1); round += 1) {
      await renew(ada);
      const asked = ada.page.waitForRequest((request) => request.url().endsWith('/auth/refresh'));
      renew(ada).catch(() => {});
      await asked;
      await ada.page.reload();
      await Promise.all([ada.connected(), renew(tab)]);
    }
    assert.deepEqual(refused, []);
    await renew(ada);
    assert.equal((await ada.api('GET', '/api/me')).status, 200);
    for (const person of [ada, tab]) assert.equal(await person.by('chat').count(), 1);
  });
}

test('the access token runs out and is renewed under two open tabs', async () => {
  const { ada, ben } = await roomOfTwo(browser, server);
  const tab = await ada.anotherTab();
  await tab.page.goto(ada.page.url());
  await tab.inRoom();
  const until = Date.now() + 11_000;
  const texts = [];
  for (let n = 1; Date.now() < until; n += 1) {
    texts.push(`tick ${n}`);
    await ben.say(`tick ${n}`);
    await ada.page.waitForTimeout(1_000);
  }
  await agree([ada, tab, ben], texts);
  for (const person of [ada, tab, ben]) {
    assert.equal(await person.by('chat').count(), 1, 'nobody was signed out');
    assert.deepEqual(person.problems({ network: true }), []);
  }
  await ada.page.reload();
  await ada.sees(texts.at(-1));
});
