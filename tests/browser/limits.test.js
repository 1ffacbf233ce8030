/**
 * A person who writes more than their quota, against the real server: the page says that sending is paused and for how
 * long, nothing fails, and what was written waits.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually, openBrowser, roomOfTwo } from './support/person.js';
import { Server } from './support/server.js';

let server;
let browser;

before(async () => {
  server = await Server.start({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_REGULAR_PER_MINUTE: '60' });
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('who writes more than the quota is told so, and nothing is lost', async () => {
  const { ada } = await roomOfTwo(browser, server);
  await ada.burst(Array.from({ length: 70 }, (_, idx) => `line ${idx}`));
  await eventually('Ada is told', () => ada.by('composer-notice').isVisible());
  assert.match(await ada.by('composer-notice').textContent(), /^Sending paused, \d+ s$/);
  const shown = await ada.shown();
  assert.ok(shown.some(({ state }) => state === 'confirmed') && shown.some(({ state }) => state === 'pending'));
  assert.ok(!shown.some(({ state }) => state === 'failed'), JSON.stringify(shown));
});
