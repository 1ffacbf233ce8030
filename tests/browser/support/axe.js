/**
 * What axe-core finds on a page.
 *
 * @import { Page } from 'playwright-core'
 * @import { Person } from './person.js'
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** @typedef {{ id: string, impact: string, where: string[] }} Violation */

/**
 * @param {Page} page
 * @returns {Promise<Violation[]>}
 */
export async function violations(page) {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { axe } = /** @type {any} */ (window);
    const found = await axe.run(document, { resultTypes: ['violations'] });
    return found.violations.map((/** @type {any} */ { id, impact, nodes }) => ({
      id,
      impact,
      where: nodes
        .slice(0, 3)
        .map((/** @type {any} */ { html, failureSummary }) => `${html.slice(0, 160)} — ${failureSummary}`),
    }));
  });
}

/**
 * Nothing that axe-core calls serious or critical. Colours that are still fading in would be taken
 * for faint ones.
 *
 * @param {Person} person
 * @param {string} view
 */
export async function accessible(person, view) {
  await person.page.evaluate(() =>
    Promise.all(
      document
        .getAnimations()
        .filter((animation) => animation.effect?.getComputedTiming().endTime !== Infinity)
        .map((animation) => animation.finished.catch(() => {})),
    ),
  );
  const found = await violations(person.page);
  const serious = found.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(serious, [], `${view}: ${JSON.stringify(serious, null, 1)}`);
}

/**
 * The same in both palettes.
 *
 * @param {Person} person
 * @param {string} view
 */
export async function accessibleInBoth(person, view) {
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await person.page.emulateMedia({ colorScheme });
    await accessible(person, `${view}, ${colorScheme}`);
  }
}
