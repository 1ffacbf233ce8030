/**
 * A person who goes beyond a quota, against the real server. The page says what is paused and for
 * how long; nothing that was written fails, and it waits.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite({
  environment: {
    RATE_LIMIT_ENABLED: 'true',
    RATE_LIMIT_REGULAR_PER_MINUTE: '60',
    RATE_LIMIT_EXPENSIVE_PER_MINUTE: '2',
  },
});

test('who writes more than the quota sees it, and nothing is lost', async () => {
  const { ada } = await site.conversationOfTwo();
  await ada.burst(Array.from({ length: 70 }, (_, idx) => `line ${idx}`));
  await eventually('Ada sees that it is paused', () => ada.by('composer-notice').isVisible());
  assert.match(await textOf(ada.by('composer-notice')), /^Sending paused, \d+ s$/u);
  const shown = await ada.shown();
  assert.ok(shown.some(({ state }) => state === 'confirmed') && shown.some(({ state }) => state === 'pending'));
  assert.ok(!shown.some(({ state }) => state === 'failed'), JSON.stringify(shown));
});

test('too many searches say how long to wait', async () => {
  const { ada } = await site.conversationOfTwo();
  for (let n = 0; n < 3; n += 1) await ada.search('x');
  assert.match(await textOf(ada.by('search-status')), /^Too many searches; try again in \d+ seconds?\.$/u);
});
