/**
 * The page of numbers against the routes themselves: what was written in conversations is what is
 * counted, the zones, groups and granularities that the page offers are taken, and titles are for
 * members only.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeAnalytics } from './support/analytics.js';
import { colors, file, look, settled, table } from './support/analytics-page.js';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();
/** The server may be so far behind, and a busy machine as much again. */
const BEHIND_MS = 20_000;

/**
 * Latency comes by the minute, so a test would wait for it too long: it alone is made up.
 *
 * @param {import('./support/person.js').Person} person
 */
async function withLatency(person) {
  const fake = new FakeAnalytics();
  await person.page.route(/\/api\/analytics\/latency/u, (route) =>
    route.fulfill({ json: fake.respond(new URL(route.request().url())) }),
  );
}

test('what was written is counted, and every choice of the page is taken by the server', async () => {
  const ada = await site.arrive('Ada Lindqvist', { timezoneId: 'Europe/Berlin', locale: 'en-GB' });
  await ada.signUp();
  await ada.create('Harbour festival');
  const ben = await site.arrive('Ben Okafor');
  await ben.signUpByInvite(await ada.inviteLink());
  await ada.fill(Array.from({ length: 30 }, (_, idx) => `line ${idx + 1}`));
  for (const text of ['Good morning', 'And good night']) await ben.say(text);
  await ben.confirmed('And good night');
  const shared = await ben.api('GET', '/api/conversations');
  const me = await ben.api('GET', '/api/me');
  assert.equal(me.body.role, 'member', JSON.stringify(me.body));
  await ben.create('Between us');
  await ben.fill(['one', 'two', 'three', 'four', 'five']);
  assert.equal(shared.body.items.length, 1);

  await withLatency(ada);
  await look(ada);
  await eventually(
    'all of it is counted',
    async () => {
      await ada.by('refresh').click();
      await settled(ada);
      return (await textOf(ada.by('card-messages'))).startsWith('Messages37');
    },
    BEHIND_MS,
  );
  assert.match(await textOf(ada.by('card-active_users')), /^Active people2/u);
  assert.match(await textOf(ada.by('card-new_users')), /^New people2/u);
  for (const part of ['messages', 'active']) assert.ok((await colors(ada, part)).length >= 1, part);
  const people = await table(ada, 'people');
  assert.deepEqual(
    people.slice(1).map(([name, messages]) => [name.slice(1), messages]),
    [
      ['Ada Lindqvist', '30'],
      ['Ben Okafor', '7'],
    ],
  );
  const tops = await table(ada, 'conversations-top');
  assert.deepEqual(
    tops.slice(1).map(([, messages, participants]) => [messages, participants]),
    [
      ['32', '2'],
      ['5', '1'],
    ],
  );
  assert.equal(tops[1][0], 'Harbour festival');
  assert.match(tops[2][0], /^Conversation …/u, 'a title is for members');
  const heat = await table(ada, 'heatmap');
  const cells = heat.slice(1).flatMap((row) => row.slice(1).map(Number));
  assert.equal(cells.length, 7 * 24);
  assert.equal(
    cells.reduce((sum, value) => sum + value, 0),
    37,
  );

  for (const group of ['conversation', 'user', 'kind']) {
    await ada.by('group').selectOption(group);
    await settled(ada);
    const { lines } = await file(ada, 'messages-csv');
    // After the point and its name, which may have a comma of its own.
    const values = (lines.at(-1) ?? '').replace(/^[^,]*,(?:"[^"]*"|[^,]*),/u, '');
    const last = values.split(',').map(Number);
    assert.equal(
      last.reduce((sum, value) => sum + value, 0),
      37,
      `${group}: ${lines.at(-1)}`,
    );
  }
  await ada.by('compare').check();
  await settled(ada);
  for (const granularity of ['hour', 'day', 'week', 'month']) {
    await ada.by('granularity').selectOption(granularity);
    await settled(ada);
  }
  for (const sort of ['participants', 'recent', 'messages']) await ada.by('sort').selectOption(sort);
  await ada.by('latency-of').selectOption('deliver');
  for (const zone of ['Asia/Kathmandu', 'UTC', 'Pacific/Chatham', 'Asia/Kolkata']) {
    await ada.by('zone').selectOption(zone);
    await settled(ada);
  }
  for (const preset of ['today', '7d', '90d', '1y']) {
    await ada.by(`preset-${preset}`).click();
    await settled(ada);
  }
  await ada.by('range-from').fill('2024-11-28');
  await ada.by('range-through').fill('2026-11-28');
  await settled(ada);
  assert.equal(await ada.page.locator('[data-testid$=-fault]:visible').count(), 0, 'nothing was refused');
  assert.deepEqual(ada.problems(), []);

  await ben.page.goto(`${site.url}/analytics`);
  await ben.by('analytics-refused').waitFor();
  assert.equal((await ben.api('GET', '/api/analytics/summary')).status, 403);
});

test('every zone that can be chosen is known to the server', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  await ada.signUp();
  await withLatency(ada);
  await look(ada);
  const zones = await ada
    .by('zone')
    .locator('option')
    .evaluateAll((options) => options.map((option) => /** @type {HTMLOptionElement} */ (option).value));
  assert.ok(zones.length > 300);
  /** @type {string[]} */
  const unknown = [];
  for (const tz of zones) {
    const { status } = await ada.api('GET', `/api/analytics/heatmap?tz=${encodeURIComponent(tz)}&from=2026-01-01`);
    if (status !== 200) unknown.push(`${tz}: ${status}`);
  }
  assert.deepEqual(unknown, []);
});
