/**
 * The page of numbers in a browser: what is said while there is nothing yet, nothing at all or a
 * fault, who is not let in, keys alone, every width, both palettes, and what axe-core finds.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeAnalytics, PEOPLE } from './support/analytics.js';
import { BERLIN, DRAWN, OCTOBER, PARTS, SHOTS, admin, colors, look, settled, table } from './support/analytics-page.js';
import { accessible, accessibleInBoth } from './support/axe.js';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

test('while nothing is there, when there is nothing, and when something fails, the page says so', async () => {
  const { ada, fake, page } = await admin(site);
  /** @type {(value: unknown) => void} */
  let release = () => {};
  const holding = new Promise((done) => (release = done));
  fake.held = async () => holding;
  await page.goto(`${site.url}/analytics`);
  await ada.by('analytics-page').waitFor();
  assert.equal(await page.locator('.panel[aria-busy=true] .skeleton').count(), PARTS.length);
  assert.ok(await ada.by('messages-csv').isDisabled());
  await accessible(ada, 'loading');
  release(null);
  await settled(ada);

  fake.empty = true;
  await ada.by('preset-90d').click();
  await settled(ada);
  for (const part of PARTS) await ada.by(`${part}-nothing`).waitFor();
  assert.match(await textOf(ada.by('card-messages')), /^Messages0No change/u);
  assert.match(await textOf(ada.by('card-reply_delay_p50_ms')), /–Nothing before/u);
  assert.ok(await ada.by('messages-csv').isDisabled());
  await accessibleInBoth(ada, 'nothing');
  fake.empty = false;

  fake.refuses = ({ pathname }) =>
    pathname.endsWith('/heatmap')
      ? { status: 500, body: { code: 'internal', title: 'Internal error', detail: 'Something broke.' } }
      : pathname.endsWith('/summary')
        ? { status: 429, body: { code: 'rate_limited', detail: 'Slow down.' }, headers: { 'retry-after': '30' } }
        : null;
  await ada.by('preset-30d').click();
  await settled(ada);
  assert.match(await textOf(ada.by('heatmap-fault')), /Something broke/u);
  assert.match(await textOf(ada.by('summary-fault')), /in 30 seconds/u);
  assert.ok((await colors(ada, 'messages')).length >= 1, 'the others stand');
  await accessibleInBoth(ada, 'faults');
  fake.refuses = () => null;
  await ada.by('heatmap-again').click();
  await ada.by('summary-again').click();
  await settled(ada);
  await ada.by('heat').waitFor();
  await ada.by('card-messages').waitFor();

  // What means "later" is asked again without a word.
  let busy = 2;
  fake.refuses = ({ pathname }) =>
    pathname.endsWith('/users/top') && busy-- > 0
      ? { status: 503, body: { code: 'overloaded', detail: 'Busy.' }, headers: { 'retry-after': '1' } }
      : null;
  await ada.by('refresh').click();
  await settled(ada);
  assert.equal(busy, -1);
  assert.equal((await table(ada, 'people')).length, PEOPLE.length + 1);
  // Those that were meant to be refused are written down by the browser.
  assert.deepEqual(
    ada.problems().filter((text) => !/status of (?:500|503|429)/u.test(text)),
    [],
  );
});

test('who is no admin is not offered the numbers, and is refused', async () => {
  const { ben, link } = await site.conversationOfTwo();
  const people = [ben, await site.arrive('Mira')];
  await people[1].joinAsGuest(link);
  for (const person of people) {
    await person.by('account').click();
    await person.by('sign-out').waitFor();
    assert.equal(await person.by('analytics').count(), 0);
    /** @type {string[]} */
    const asked = [];
    person.page.on('request', (request) => {
      if (request.url().includes('/api/analytics/')) asked.push(request.url());
    });
    await person.page.goto(`${site.url}/analytics`);
    await person.by('analytics-refused').waitFor();
    assert.deepEqual(asked, []);
    await accessibleInBoth(person, 'refused');
    await person.by('leave-analytics').click();
    await person.by('chat').waitFor();
    assert.equal(new URL(person.page.url()).pathname, '/');
    assert.deepEqual(person.problems(), []);
  }
  // A role can be taken while one looks.
  const { ada, fake } = await admin(site);
  await look(ada);
  fake.refuses = () => ({ status: 403, body: { code: 'forbidden', detail: 'This is for admins.' } });
  await ada.by('refresh').click();
  await ada.by('analytics-refused').waitFor();

  // Nobody in particular signs in first, and is then where the link leads.
  const carl = await site.arrive('Carl', BERLIN);
  await new FakeAnalytics().answerFor(carl.page);
  await carl.page.goto(`${site.url}/analytics?range=7d&tz=Asia/Tokyo`);
  await carl.by('sign-up-form').waitFor();
  await carl.fillAccount();
  await carl.by('analytics-page').waitFor();
  await settled(carl);
  assert.equal(await carl.by('zone').inputValue(), 'Asia/Tokyo');
  assert.deepEqual(carl.problems(), []);
});

test('it can be used by keys alone', async () => {
  const { ada, page } = await admin(site);
  await look(ada, OCTOBER);
  const { keyboard } = page;
  await ada.by('preset-30d').focus();
  await keyboard.press('Enter');
  await eventually('the range is chosen', () => page.url().includes('range=30d'));
  await ada.focused('preset-30d');
  await settled(ada);
  await ada.focused('preset-30d');
  await ada.by('messages-table').focus();
  await keyboard.press('Space');
  await keyboard.press('Tab');
  await ada.focused('messages-csv');
  await keyboard.press('Tab');
  await ada.focused('table');
  await keyboard.press('End');
  await ada.by('group').focus();
  await keyboard.press('ArrowDown');
  await eventually('a group is chosen', () => page.url().includes('group_by=conversation'));
  await ada.focused('group');
  assert.deepEqual(ada.problems(), []);
});

test('it fits every width, in light and dark, and axe finds nothing', async () => {
  const { ada, page } = await admin(site);
  mkdirSync(SHOTS, { recursive: true });
  await look(ada, `${OCTOBER}&group_by=conversation&compare=true`);
  for (const [width, height] of [
    [320, 640],
    [390, 844],
    [768, 1_024],
    [1_440, 900],
    [2_560, 1_300],
  ]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
      await page.emulateMedia({ colorScheme });
      await settled(ada);
      const wide = await page.evaluate(() => {
        const root = /** @type {HTMLElement} */ (document.querySelector('.analytics'));
        const sticking = [...root.querySelectorAll('.panel, .card, .controls, .presets, .input, canvas, .heat')]
          .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5)
          .map((node) => node.className);
        return [root.scrollWidth > root.clientWidth ? 'the page' : '', ...sticking].filter(Boolean);
      });
      assert.deepEqual(wide, [], `${width} ${colorScheme}`);
      await accessible(ada, `${width} ${colorScheme}`);
      const tall = await page.evaluate(() => document.querySelector('.analytics')?.scrollHeight ?? 0);
      await page.setViewportSize({ width, height: tall });
      await settled(ada);
      await page.screenshot({ path: join(SHOTS, `analytics-${width}-${colorScheme}.png`), animations: 'disabled' });
      await page.setViewportSize({ width, height });
    }
  }
  for (const part of DRAWN) await ada.by(`${part}-table`).click();
  await page.setViewportSize({ width: 390, height: 844 });
  await accessibleInBoth(ada, 'tables on a phone');
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.deepEqual(ada.problems(), []);
});
