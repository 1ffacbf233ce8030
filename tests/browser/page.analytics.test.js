/**
 * The page of numbers without a browser: what an address means, what is asked for it, how points
 * and numbers are named, and what stands in a file.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Answers } from '../../static/ui/store/analytics/answers.js';
import {
  addDays,
  allZones,
  countDays,
  dateIn,
  isDate,
  isZone,
  longNames,
  momentIn,
  shortName,
  weekdays,
  zoneNamed,
} from '../../static/ui/store/analytics/calendar.js';
import { questionsFor } from '../../static/ui/store/analytics/questions.js';
import {
  PRESETS,
  datesBefore,
  datesOf,
  datesOfPoints,
  formatView,
  granularityOf,
  isFineEnough,
  parseView,
  rangeFault,
} from '../../static/ui/store/analytics/view.js';
import { toCsv } from '../../static/ui/widgets/csv.js';
import { change, compact, count, duration, share } from '../../static/ui/widgets/numbers.js';
import { Random } from './support/random.js';
import { pass, settle, useClock } from './support/world.js';

useClock();

/** The clock of these tests, half past midnight in Auckland on the day after. */
const NOW = new Date('2026-11-22T11:30:00Z');
const ZONE = 'Europe/Berlin';

test('dates are moved by the calendar, and those that are none are not taken', () => {
  for (const date of ['0001-01-01', '0099-12-31', '2024-02-29', '9999-12-31']) assert.ok(isDate(date), date);
  for (const text of ['', '2026-2-1', '2026-02-29', '2026-13-01', '0000-01-01', '10000-01-01', '2026-01-01T00:00'])
    assert.ok(!isDate(text), text);
  assert.equal(addDays('2026-12-31', 1), '2027-01-01');
  assert.equal(addDays('2024-03-01', -1), '2024-02-29');
  assert.equal(addDays('0099-12-31', 1), '0100-01-01');
  assert.equal(addDays('0001-01-01', -1), null);
  assert.equal(addDays('9999-12-31', 1), null);
  assert.equal(countDays('2026-03-28', '2026-03-30'), 3);
  const random = new Random(12);
  for (let n = 0; n < 500; n += 1) {
    const days = random.below(3_000_000);
    const date = addDays('0001-01-01', days);
    assert.equal(date && countDays('0001-01-01', date), days + 1);
  }
});

test('today is the date of the zone, and zones are names', () => {
  assert.equal(dateIn('UTC', NOW), '2026-11-22');
  assert.equal(dateIn('Pacific/Auckland', NOW), '2026-11-23');
  assert.equal(dateIn('Pacific/Pago_Pago', new Date('2026-11-22T10:59:59Z')), '2026-11-21');
  assert.equal(dateIn('Asia/Kathmandu', new Date('2026-11-22T18:15:00Z')), '2026-11-23');
  for (const zone of ['UTC', 'Asia/Kathmandu', 'America/Argentina/Buenos_Aires']) assert.ok(isZone(zone), zone);
  for (const text of ['', '+01:00', '-5', 'Mars/Olympus', 'Europe', '"']) assert.ok(!isZone(text), text);
  assert.equal(zoneNamed('europe/BERLIN'), 'Europe/Berlin', 'as the server has it');
  assert.equal(zoneNamed('Asia/Calcutta'), 'Asia/Calcutta', 'a link stays one');
  assert.equal(zoneNamed('Mars/Olympus'), null);
  const zones = allZones();
  assert.ok(zones.includes('UTC') && zones.length > 300);
  assert.ok(zones.includes('Asia/Kathmandu') && !zones.includes('Asia/Katmandu'), 'by their present names');
  assert.deepEqual(zones, [...new Set(zones)].sort());
});

test('an address holds the whole view, and a wrong one is taken for the default', () => {
  const standard = parseView('', ZONE);
  assert.deepEqual(standard, {
    preset: '30d',
    dates: null,
    zone: ZONE,
    granularity: 'auto',
    group: 'none',
    compare: false,
    sort: 'messages',
    latency: 'append',
  });
  assert.equal(formatView(standard), '?range=30d&tz=Europe/Berlin');
  const whole =
    '?from=2026-10-01&through=2026-10-31&tz=Asia/Kathmandu&granularity=week&group_by=conversation' +
    '&sort=recent&of=deliver&compare=true';
  assert.equal(formatView(parseView(whole, ZONE)), whole);
  for (const wrong of [
    '?range=31d&tz=Nowhere&granularity=minute&group_by=toString&sort=&of=constructor&compare=1',
    '?range=__proto__&from=2026-10-01',
    '?from=2026-10-31&through=2026-10-01',
    '?from=2024-01-01&through=2026-10-01',
    '?from=x&through=9999-12-31&tz=%2B02:00',
  ])
    assert.deepEqual(parseView(wrong, ZONE), standard, wrong);
  for (const preset of Object.keys(PRESETS)) {
    assert.deepEqual(parseView(formatView({ ...standard, preset }), 'UTC'), { ...standard, preset });
  }
});

test('ranges end today in the zone, and the one before is as long', () => {
  const auckland = { ...parseView('?range=7d', 'Pacific/Auckland') };
  assert.deepEqual(datesOf(auckland, NOW), { from: '2026-11-17', through: '2026-11-23' });
  assert.deepEqual(datesOf(parseView('?range=today', 'UTC'), NOW), { from: '2026-11-22', through: '2026-11-22' });
  assert.deepEqual(datesBefore({ from: '2026-11-01', through: '2026-11-30' }), {
    from: '2026-10-02',
    through: '2026-10-31',
  });
  assert.deepEqual(datesBefore({ from: '2026-11-22', through: '2026-11-22' }), {
    from: '2026-11-21',
    through: '2026-11-21',
  });
  assert.equal(datesBefore({ from: '0001-01-02', through: '0001-01-03' }), null);
  assert.equal(rangeFault({ from: '2024-01-01', through: '2026-01-01' }), null, '732 days');
  assert.match(rangeFault({ from: '2024-01-01', through: '2026-01-02' }) ?? '', /732/u);
  assert.match(rangeFault({ from: '2026-01-02', through: '2026-01-01' }) ?? '', /after/u);
  assert.match(rangeFault({ from: '', through: '2026-01-01' }) ?? '', /two dates/u);
  assert.match(rangeFault({ from: '9999-12-31', through: '9999-12-31' }) ?? '', /two dates/u);
});

test('the granularity suits the range, and never asks for more points than there may be', () => {
  /** @type {[string, string][]} */
  const automatic = [
    ['today', 'hour'],
    ['7d', 'day'],
    ['30d', 'day'],
    ['90d', 'day'],
    ['1y', 'week'],
  ];
  for (const [range, granularity] of automatic) {
    const view = parseView(`?range=${range}`, 'UTC');
    assert.equal(granularityOf(view, datesOf(view, NOW)), granularity, range);
  }
  const long = { from: '2025-01-01', through: '2026-06-30' };
  assert.ok(!isFineEnough('hour', long) && isFineEnough('day', long));
  assert.equal(granularityOf(parseView('?granularity=hour', 'UTC'), long), 'week');
  assert.equal(granularityOf(parseView('?granularity=month', 'UTC'), long), 'month');
  const points = { from: '2025-01-01', through: addDays('2025-01-01', 415) ?? '' };
  assert.ok(isFineEnough('hour', points));
  assert.ok(!isFineEnough('hour', { ...points, through: addDays(points.through, 1) ?? '' }));
});

test('marked points become dates within the range', () => {
  const dates = { from: '2026-11-04', through: '2026-12-20' };
  const of = (/** @type {string} */ first, /** @type {string} */ last, /** @type {any} */ granularity) =>
    datesOfPoints(`${first}T00:00:00.000+01:00`, `${last}T00:00:00.000+01:00`, granularity, dates);
  assert.deepEqual(of('2026-11-05', '2026-11-07', 'day'), { from: '2026-11-05', through: '2026-11-07' });
  assert.deepEqual(of('2026-11-02', '2026-11-09', 'week'), { from: '2026-11-04', through: '2026-11-15' });
  assert.deepEqual(of('2026-11-01', '2026-11-01', 'month'), { from: '2026-11-04', through: '2026-11-30' });
  assert.deepEqual(of('2026-12-01', '2026-12-01', 'month'), { from: '2026-12-01', through: '2026-12-20' });
});

test('the questions are those of the contract, half open and in the zone', () => {
  const view = parseView('?from=2026-10-01&through=2026-10-31&tz=Asia/Kathmandu', ZONE);
  const asked = questionsFor(view, NOW);
  const range = { from: '2026-10-01', to: '2026-11-01', tz: 'Asia/Kathmandu' };
  assert.deepEqual(asked.summary, [{ path: '/api/analytics/summary', query: range }]);
  assert.deepEqual(asked.messages, [{ path: '/api/analytics/messages', query: { ...range, granularity: 'day' } }]);
  assert.deepEqual(asked.heatmap, [{ path: '/api/analytics/heatmap', query: range }]);
  assert.deepEqual(asked.people, [{ path: '/api/analytics/users/top', query: { ...range, limit: 10 } }]);
  const more = questionsFor({ ...view, compare: true, group: 'kind', granularity: 'hour', sort: 'recent' }, NOW);
  const before = { from: '2026-08-31', to: '2026-10-01', tz: 'Asia/Kathmandu' };
  assert.deepEqual(
    more.messages.map(({ query }) => query),
    [
      { ...range, granularity: 'hour', group_by: 'kind', limit: 10 },
      { ...before, granularity: 'hour' },
    ],
  );
  assert.deepEqual(
    more.active.map(({ query }) => query),
    [
      { ...range, granularity: 'day' },
      { ...before, granularity: 'day' },
    ],
    'people are counted by the day at least',
  );
  assert.equal(more.conversations[0].query.sort, 'recent');
  assert.equal(more.latency[0].query.of, 'append');
});

test('points are named by their own clocks, whatever the zone of the browser', () => {
  const hours = ['2026-10-25T01:00:00.000+02:00', '2026-10-25T02:00:00.000+02:00', '2026-10-25T02:00:00.000+01:00'];
  const names = longNames(hours, 'hour');
  assert.equal(new Set(names).size, 3, 'the hour that comes twice');
  assert.match(names[2], /UTC\+01:00/u);
  assert.doesNotMatch(names[0], /UTC/u);
  assert.equal(shortName('2026-11-05T00:00:00.000+05:45', 'hour'), shortName('2026-11-05T00:00:00Z', 'day'));
  assert.notEqual(shortName('2026-11-05T14:00:00.000+05:45', 'hour'), shortName('2026-11-05T15:00:00Z', 'hour'));
  assert.match(longNames(['2026-11-01T00:00:00.000-03:00'], 'month')[0], /November.*2026|2026.*November/u);
  assert.match(longNames(['0099-11-02T00:00:00.000Z'], 'week')[0], /^Week of .*99/u);
  assert.equal(weekdays()[0].long, 'Monday');
  assert.equal(weekdays()[6].long, 'Sunday');
  assert.match(momentIn('2026-11-22T11:20:00Z', 'Asia/Kathmandu', NOW), /^0?5:05/u);
});

test('numbers for people', () => {
  assert.equal(count(1_234_567), (1_234_567).toLocaleString());
  assert.equal(count(null), '–');
  assert.equal(compact(12_345), '12.3K');
  assert.equal(share(0.256), '26%');
  /** @type {[number | null, string][]} */
  const durations = [
    [null, '–'],
    [0, '0 ms'],
    [0.6244, '0.62 ms'],
    [2.137, '2.1 ms'],
    [12.5, '12.5 ms'],
    [849.6, '850 ms'],
    [999.6, '1,000 ms'],
    [1_000, '1 s'],
    [12_440, '12.4 s'],
    [59_960, '1 min'],
    [250_000, '4 min 10 s'],
    [3_599_600, '1 h'],
    [7_500_000, '2 h 5 min'],
    [86_399_999, '24 h'],
  ];
  for (const [ms, text] of durations) assert.equal(duration(ms), text, `${ms}`);
  assert.deepEqual(change(112, 100), { sign: 1, text: '+12%' });
  assert.deepEqual(change(98.5, 100), { sign: -1, text: '-1.5%' });
  assert.deepEqual(change(100, 100), { sign: 0, text: 'No change' });
  assert.deepEqual(change(0, 0), { sign: 0, text: 'No change' });
  assert.deepEqual(change(0, 7), { sign: -1, text: '-100%' });
  assert.deepEqual(change(100_000, 7)?.text, `× ${(14_286).toLocaleString()}`);
  for (const [now, before] of [
    [5, 0],
    [null, 5],
    [5, null],
  ])
    assert.equal(change(now, before), null);
});

test('a file for spreadsheets holds what was there, and no formula', () => {
  const text = toCsv(
    ['at', 'title', 'messages'],
    [
      ['2026-11-01T00:00:00.000+01:00', 'Plain', 3],
      ['', 'Comma, "quotes"\r\nand lines', -3],
      [null, 'Semicolon; tab\t', 0.5],
    ],
  );
  assert.equal(
    text,
    '\ufeffat,title,messages\r\n' +
      '2026-11-01T00:00:00.000+01:00,Plain,3\r\n' +
      ',"Comma, ""quotes""\r\nand lines",-3\r\n' +
      ',"Semicolon; tab\t",0.5\r\n',
  );
  for (const begin of [
    '=',
    '+',
    '-',
    '@',
    '\t',
    '\r',
    '\n',
    ' =',
    '\u00a0=',
    '\u3000@',
    '＝',
    '＋',
    '－',
    '＠',
    '\u0000=',
  ]) {
    const [, line] = toCsv(['x'], [[`${begin}1+1`]]).split(/(?<=x)\r\n/u);
    assert.match(line, /^"?'/u, JSON.stringify(begin));
  }
  for (const plain of ['1-1', 'a=b', 'mail@example.org', '’=', 'Ann']) {
    assert.equal(toCsv(['x'], [[plain]]), `\ufeffx\r\n${plain}\r\n`);
  }
});

/**
 * A server that answers when the test says so.
 */
function slowServer() {
  /** @typedef {{ answer: (value: any) => void, refuse: (problem: object) => void }} Asker */
  /** @type {(Asker & { path: string, signal: AbortSignal })[]} */
  const open = [];
  const rest = {
    get: (/** @type {string} */ path, /** @type {object} */ _query, /** @type {any} */ { signal }) =>
      new Promise((answer, refuse) => open.push({ path, signal, answer, refuse })),
  };
  return { open, answers: new Answers(/** @type {any} */ (rest)) };
}

test('a few questions are asked at once, and each gets its turn', async () => {
  const { open, answers } = slowServer();
  const { signal } = new AbortController();
  const asked = Array.from({ length: 5 }, (_, n) => answers.ask({ path: `${n}`, query: {} }, signal));
  await settle();
  assert.equal(open.length, 2);
  for (let n = 0; n < 5; n += 1) {
    open[n].answer(n);
    await settle();
    assert.equal(open.length, Math.min(5, n + 3));
  }
  assert.deepEqual(await Promise.all(asked), [0, 1, 2, 3, 4]);
});

test('what is to be asked later is asked later, but not without end', async () => {
  const { open, answers } = slowServer();
  const { signal } = new AbortController();
  const asked = answers.ask({ path: 'x', query: {} }, signal);
  await settle();
  open[0].refuse({ code: 'overloaded', retryAfterMs: 2_000 });
  await pass(1_900);
  assert.equal(open.length, 1);
  await pass(200);
  assert.equal(open.length, 2);
  open[1].answer('there');
  assert.equal(await asked, 'there');

  for (const [code, retryAfterMs, attempts] of /** @type {const} */ ([
    ['unavailable', null, 4],
    ['rate_limited', 60_000, 1],
    ['bad_request', null, 1],
  ])) {
    const server = slowServer();
    const refused = server.answers.ask({ path: code, query: {} }, signal).then(
      () => assert.fail('an answer'),
      (problem) => problem.code,
    );
    for (let n = 0; n < attempts; n += 1) {
      await pass(4_100);
      server.open[n].refuse({ code, retryAfterMs });
    }
    assert.equal(await refused, code);
    assert.equal(server.open.length, attempts, code);
  }
});

test('a question that nobody waits for is broken off, and one that waits its turn is never asked', async () => {
  const { open, answers } = slowServer();
  const [running, waiting, retrying] = [new AbortController(), new AbortController(), new AbortController()];
  const ends = [running, retrying, waiting].map(({ signal }, n) =>
    answers.ask({ path: `${n}`, query: {} }, signal).then(
      () => 'answered',
      (problem) => problem.name ?? problem.code,
    ),
  );
  await settle();
  assert.equal(open[0].signal, running.signal, 'the request is given the signal');
  waiting.abort();
  open[1].refuse({ code: 'overloaded', retryAfterMs: 4_000 });
  await settle();
  retrying.abort();
  running.abort();
  open[0].refuse({ code: 'network' });
  await settle();
  assert.deepEqual(await Promise.all(ends), ['network', 'AbortError', 'AbortError']);
  assert.equal(open.length, 2);
});
