/**
 * Reading the page of numbers in a browser: its pictures, its tables, its files.
 *
 * @import { BrowserContextOptions } from 'playwright-core'
 * @import { Person } from './person.js'
 * @import { Site } from './site.js'
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FakeAnalytics } from './analytics.js';
import { eventually } from './person.js';
import { ROOT } from './server.js';

export const PARTS = ['messages', 'active', 'heatmap', 'people', 'conversations-top', 'latency'];
/** Those that are drawn on a canvas. */
export const DRAWN = ['messages', 'active', 'latency'];
export const BERLIN = { timezoneId: 'Europe/Berlin', locale: 'en-GB' };
export const OCTOBER = 'from=2026-10-01&through=2026-10-31&tz=Europe/Berlin';
/** Where pictures of the page are left, to be looked at. */
export const SHOTS = join(ROOT, 'tests/browser/output');

/**
 * An admin with made up numbers, who has not opened the page of them.
 *
 * @param {Site} site
 * @param {BrowserContextOptions} [options]
 */
export async function admin(site, options = BERLIN) {
  const ada = await site.arrive('Ada Lindqvist', options);
  await ada.signUp();
  const fake = new FakeAnalytics();
  await fake.answerFor(ada.page);
  return { ada, fake, page: ada.page };
}

/**
 * @param {Person} person
 * @param {string} [search]
 */
export async function look(person, search = '') {
  await person.page.goto(`${person.url}/analytics${search && `?${search}`}`);
  await person.by('analytics-page').waitFor();
  await settled(person);
}

/**
 * Waits until nothing is under way, and every picture is drawn.
 *
 * @param {Person} person
 */
export async function settled(person) {
  await eventually('everything is there', () =>
    person.page.evaluate(
      () =>
        document.querySelectorAll('.analytics').length === 1 &&
        document.querySelectorAll('.analytics [aria-busy=true]').length === 0 &&
        [...document.querySelectorAll('[data-testid=chart]')].every((chart) => chart.querySelector('canvas')),
    ),
  );
}

/**
 * How many different colours a picture has besides those of its ground and letters: drawn, not only
 * there.
 *
 * @param {Person} person
 * @param {string} part
 */
export function colors(person, part) {
  return person
    .by(part)
    .locator('canvas')
    .evaluate((node) => {
      const canvas = /** @type {HTMLCanvasElement} */ (node);
      const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).getImageData(
        0,
        0,
        canvas.width,
        canvas.height,
      );
      const counted = new Map();
      for (let at = 0; at < data.length; at += 4) {
        const [red, green, blue, alpha] = data.slice(at, at + 4);
        // Grey is for axes and letters.
        if (alpha < 255 || Math.max(red, green, blue) - Math.min(red, green, blue) < 40) continue;
        const color = `${red},${green},${blue}`;
        counted.set(color, (counted.get(color) ?? 0) + 1);
      }
      return [...counted].filter(([, pixels]) => pixels > 60).map(([color]) => color);
    });
}

/**
 * The cells of a part's table.
 *
 * @param {Person} person
 * @param {string} part
 * @returns {Promise<string[][]>}
 */
export function table(person, part) {
  return person
    .by(part)
    .locator('table')
    .evaluate((node) =>
      [.../** @type {HTMLTableElement} */ (node).rows].map((row) =>
        [...row.cells].map((cell) => (cell.textContent ?? '').trim()),
      ),
    );
}

/**
 * Downloads a part's file.
 *
 * @param {Person} person
 * @param {string} button
 */
export async function file(person, button) {
  const [download] = await Promise.all([person.page.waitForEvent('download'), person.by(button).click()]);
  const text = readFileSync(await download.path(), 'utf8');
  return { name: download.suggestedFilename(), lines: text.replace('\ufeff', '').trimEnd().split('\r\n') };
}

/** @param {number} value */
export const en = (value) => value.toLocaleString('en-GB');

/**
 * @param {FakeAnalytics} fake
 * @param {string} route
 * @returns {any} what was answered last
 */
export function answered(fake, route) {
  const url = fake.asked.filter(({ pathname }) => pathname === `/api/analytics/${route}`).at(-1);
  assert.ok(url, `${route} was asked`);
  return fake.respond(url);
}
