/**
 * The page of numbers in a browser, with answers that are made up: every picture and its table,
 * range, zone, granularity, comparison, the address that holds them, and files.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeAnalytics, PEOPLE, TITLES } from './support/analytics.js';
import {
  DRAWN,
  OCTOBER,
  SHOTS,
  admin,
  answered,
  colors,
  en,
  file,
  look,
  settled,
  table,
} from './support/analytics-page.js';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

test('an admin finds the numbers: sums with their change, and every picture with its table', async () => {
  const { ada, fake } = await admin(site);
  await ada.create('Harbour festival');
  await ada.by('composer').fill('not sent yet');
  await ada.by('account').click();
  await ada.by('analytics').click();
  await ada.by('analytics-page').waitFor();
  await settled(ada);
  const { search, pathname } = new URL(ada.page.url());
  assert.deepEqual([pathname, search], ['/analytics', '?range=30d&tz=Europe/Berlin']);

  const { current, previous } = answered(fake, 'summary');
  const card = await textOf(ada.by('card-messages'));
  assert.ok(card.includes(en(current.messages)), card);
  const percent = Math.abs(current.messages / previous.messages - 1) * 100;
  const shown = Number(/([\d.]+)%/u.exec(card)?.[1]);
  assert.ok(Math.abs(shown - percent) <= 0.5, `${card}: ${percent}`);
  for (const field of ['active_users', 'active_conversations', 'new_users'])
    assert.ok((await textOf(ada.by(`card-${field}`))).includes(en(current[field])), field);
  assert.match(await textOf(ada.by('card-reply_delay_p50_ms')), /\d+ min|\d s/u);
  assert.match(await textOf(ada.by('fresh')), /Complete up to \d/u);

  for (const part of DRAWN) {
    assert.ok((await colors(ada, part)).length >= 1, `${part} is drawn`);
    assert.match((await ada.by(part).getByTestId('chart').getAttribute('aria-label')) ?? '', /\d/u, part);
    await ada.by(`${part}-table`).click();
    assert.equal(await ada.by(`${part}-table`).getAttribute('aria-pressed'), 'true');
  }
  const messages = answered(fake, 'messages');
  const rows = await table(ada, 'messages');
  assert.deepEqual(
    rows.slice(1).map(([, value]) => value),
    messages.series[0].values.map(en),
  );
  const active = answered(fake, 'users/active').points;
  assert.deepEqual(
    (await table(ada, 'active')).slice(1).map((row) => row.slice(1, 6)),
    active.map((/** @type {any} */ point) =>
      [point.active, point.new, point.returning, point.weekly, point.monthly].map(en),
    ),
  );
  assert.equal((await table(ada, 'latency')).length, answered(fake, 'latency').points.length + 1);
  assert.deepEqual(
    (await table(ada, 'heatmap')).slice(1).map((row) => row.slice(1)),
    answered(fake, 'heatmap').cells.map((/** @type {number[]} */ row) => row.map(en)),
  );
  const people = await table(ada, 'people');
  assert.ok(
    PEOPLE.every((name, n) => people[n + 1][0].endsWith(name)),
    people.join('\n'),
  );
  assert.ok((await table(ada, 'conversations-top'))[5][0].startsWith('Conversation …'), 'a title that is not ours');

  await ada.by('leave-analytics').click();
  await ada.by('chat').waitFor();
  await ada.open('Harbour festival');
  assert.equal(await ada.by('composer').inputValue(), 'not sent yet');
  assert.deepEqual(ada.problems(), []);
});

test('range, zone, granularity, groups and comparison ask for what they say, and the address holds them', async () => {
  const { ada, fake, page } = await admin(site);
  await look(ada);
  const today = new Intl.DateTimeFormat('sv', { timeZone: 'Europe/Berlin' }).format(new Date());
  await ada.by('preset-7d').click();
  await settled(ada);
  const week = fake.questions('summary').at(-1);
  assert.equal(Date.parse(week?.to ?? '') - Date.parse(week?.from ?? ''), 7 * 86_400_000);
  assert.equal(await ada.by('range-through').inputValue(), today);
  assert.equal(await ada.by('preset-7d').getAttribute('aria-pressed'), 'true');

  await ada.by('range-from').fill('2026-10-01');
  await ada.by('range-through').fill('2026-10-31');
  await settled(ada);
  assert.equal(new URL(page.url()).search, `?${OCTOBER}`);
  assert.deepEqual(fake.questions('heatmap').at(-1), { from: '2026-10-01', to: '2026-11-01', tz: 'Europe/Berlin' });
  assert.equal(await page.locator('.preset[aria-pressed=true]').count(), 0);

  // What makes no range is said, and not asked.
  const asked = fake.asked.length;
  await ada.by('range-from').fill('2026-11-05');
  assert.match(await textOf(ada.by('range-fault')), /after the last/u);
  await ada.by('range-from').fill('2020-11-05');
  assert.match(await textOf(ada.by('range-fault')), /732 days/u);
  assert.equal(fake.asked.length, asked);
  await ada.by('range-from').fill('2026-10-01');
  await eventually('the fault is gone', () => ada.by('range-fault').isHidden());

  await ada.by('zone').selectOption('Asia/Kathmandu');
  await settled(ada);
  assert.equal(fake.questions('summary').at(-1)?.tz, 'Asia/Kathmandu');
  assert.match(answered(fake, 'messages').points[0], /\+05:45$/u);
  await ada.by('zone').selectOption('Europe/Berlin');
  await ada.by('granularity').selectOption('week');
  await settled(ada);
  assert.equal(fake.questions('messages').at(-1)?.granularity, 'week');
  await ada.by('granularity').selectOption('hour');
  await settled(ada);
  assert.equal(fake.questions('messages').at(-1)?.granularity, 'hour');
  assert.equal(fake.questions('users/active').at(-1)?.granularity, 'day');
  // 31 days with the hour that comes twice.
  await ada.by('messages-table').click();
  await ada.by('messages').getByTestId('more-rows').click();
  const hours = answered(fake, 'messages').points.length;
  assert.equal(hours, 31 * 24 + 1);
  assert.match(await textOf(ada.by('messages').getByTestId('more-rows')), new RegExp(`${hours - 200} left`, 'u'));
  await ada.by('messages-table').click();
  await ada.by('granularity').selectOption('auto');
  await settled(ada);

  // Only what changes is asked for again.
  const before = fake.asked.length;
  await ada.by('group').selectOption('conversation');
  await settled(ada);
  assert.deepEqual(
    fake.asked.slice(before).map(({ pathname }) => pathname),
    ['/api/analytics/messages'],
  );
  assert.ok((await colors(ada, 'messages')).length >= 8, 'a colour for each group');
  const legend = await ada.by('messages').locator('.legend').innerText();
  for (const name of ['Harbour festival', 'Conversation …', 'All others']) assert.ok(legend.includes(name), legend);

  await ada.by('compare').check();
  await settled(ada);
  assert.deepEqual(
    fake
      .questions('messages')
      .slice(-2)
      .map(({ from, to }) => `${from} ${to}`)
      .sort(),
    ['2026-08-31 2026-10-01', '2026-10-01 2026-11-01'],
  );
  assert.match(await textOf(ada.by('card-messages')), /before: [\d,]+/u);
  await ada.by('sort').selectOption('participants');
  await ada.by('latency-of').selectOption('deliver');
  await settled(ada);
  assert.equal(fake.questions('conversations/top').at(-1)?.sort, 'participants');
  assert.equal(fake.questions('latency').at(-1)?.of, 'deliver');

  const whole = `${OCTOBER}&group_by=conversation&sort=participants&of=deliver&compare=true`;
  assert.equal(new URL(page.url()).search, `?${whole}`);
  await page.screenshot({ path: join(SHOTS, 'analytics-all.png'), fullPage: false });
  await page.goBack();
  await settled(ada);
  assert.equal(await ada.by('latency-of').inputValue(), 'append');
  await page.goBack();
  await page.goBack();
  await settled(ada);
  assert.equal(await ada.by('compare').isChecked(), false);
  assert.equal(await ada.by('group').inputValue(), 'conversation');

  // Somebody else, in another zone, follows the link.
  const mira = await site.arrive('Mira', { timezoneId: 'America/New_York', locale: 'en-GB' });
  await mira.signUp();
  const other = new FakeAnalytics();
  await other.answerFor(mira.page);
  await look(mira, whole);
  assert.equal(new URL(mira.page.url()).search, `?${whole}`);
  assert.deepEqual(other.questions('summary'), [{ from: '2026-10-01', to: '2026-11-01', tz: 'Europe/Berlin' }]);
  assert.equal(await mira.by('zone').inputValue(), 'Europe/Berlin');
  assert.equal(await mira.by('sort').inputValue(), 'participants');
  assert.deepEqual([...ada.problems(), ...mira.problems()], []);
});

test('a picture tells what the pointer is at, and dragging over it looks closer', async () => {
  const { ada, fake, page } = await admin(site);
  await look(ada, OCTOBER);
  const over = ada.by('messages').locator('.u-over');
  await over.scrollIntoViewIfNeeded();
  const box = await over.boundingBox();
  assert.ok(box);
  const at = (/** @type {number} */ day) => box.x + ((day - 0.5) / 31) * box.width;
  await page.mouse.move(at(7), box.y + 60);
  const tip = ada.by('messages').locator('.chart-tip');
  const seventh = en(answered(fake, 'messages').series[0].values[6]);
  await eventually('the seventh is told', async () => {
    const text = await textOf(tip);
    return text.includes('7 October') && text.includes(seventh);
  });
  await page.mouse.move(at(5), box.y + 60);
  await page.mouse.down();
  await page.mouse.move(at(7), box.y + 70, { steps: 4 });
  await page.mouse.move(at(9), box.y + 70, { steps: 4 });
  await page.mouse.up();
  await eventually('the marked days are looked at', () => page.url().includes('from=2026-10-05&through=2026-10-09'));
  await settled(ada);
  assert.deepEqual(ada.problems(), []);
});

test('files hold what is shown, and no formula', async () => {
  const { ada, fake } = await admin(site);
  await look(ada, `${OCTOBER}&group_by=conversation`);
  const messages = await file(ada, 'messages-csv');
  assert.equal(messages.name, 'parlance-messages-2026-10-01-to-2026-10-31.csv');
  const { points, series } = answered(fake, 'messages');
  assert.equal(messages.lines.length, points.length + 1);
  assert.ok(messages.lines[0].startsWith('at,day,'), messages.lines[0]);
  assert.ok(messages.lines[0].includes(`"'=HYPERLINK(""https://evil.example"",""Budget"")"`), messages.lines[0]);
  assert.ok(
    messages.lines[1].startsWith(points[0]) &&
      messages.lines[1].endsWith(series.map((/** @type {any} */ one) => one.values[0]).join(',')),
    messages.lines[1],
  );
  const people = await file(ada, 'people-csv');
  assert.equal(people.lines[0], 'user_id,name,kind,messages,conversations,active_days,last_message_at');
  assert.ok(people.lines[5].includes(`,'@SUM(1+1),person,`), people.lines[5]);
  const conversations = await file(ada, 'conversations-top-csv');
  assert.equal(conversations.lines.length, TITLES.slice(0, 10).length + 1);
  const heat = await file(ada, 'heatmap-csv');
  assert.deepEqual(
    heat.lines.slice(1).map((line) => line.split(',').slice(1).map(Number)),
    answered(fake, 'heatmap').cells,
  );
  const sums = await file(ada, 'summary-csv');
  const { current, previous } = answered(fake, 'summary');
  assert.ok(sums.lines.includes(`messages,${current.messages},${previous.messages}`), sums.lines.join('\n'));
  for (const part of ['active', 'latency']) assert.equal((await file(ada, `${part}-csv`)).lines.length, 32, part);
  assert.deepEqual(ada.problems(), []);
});
