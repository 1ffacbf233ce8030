/**
 * The documents for people: both pages are drawn from what the server publishes, without anything
 * from elsewhere and without a word from the Content-Security-Policy, and a request can be tried
 * out.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { violations } from './support/axe.js';
import { eventually } from './support/person.js';
import { useSite } from './support/site.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const VENDOR = join(HERE, '../../static/vendor/swagger-ui');

const site = useSite();

/**
 * A visitor whose every request is noted, with the policy's complaints.
 *
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
async function visitor(options) {
  const person = await site.arrive('Visitor', options);
  /** @type {string[]} */
  const foreign = [];
  person.page.on(
    'request',
    (request) => request.url().startsWith(site.url) || request.url().startsWith('data:') || foreign.push(request.url()),
  );
  await person.page.addInitScript(() => {
    const page = /** @type {any} */ (window);
    page.complaints = [];
    document.addEventListener('securitypolicyviolation', (event) =>
      page.complaints.push(`${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  const check = async () => {
    assert.deepEqual(await person.page.evaluate(() => /** @type {any} */ (window).complaints), []);
    assert.deepEqual(person.problems(), []);
    assert.deepEqual(foreign, []);
  };
  return { person, page: person.page, check };
}

/**
 * @param {string} name of a document
 * @returns {Promise<any>}
 */
const published = (name) => fetch(`${site.url}/${name}`).then((response) => response.json());

test('the REST API can be read, searched and tried out under the policy', async () => {
  const { page, check } = await visitor();
  await page.goto(`${site.url}/docs`);
  await page.locator('.opblock').first().waitFor();
  const { paths } = await published('openapi.json');
  const operations = Object.values(paths).flatMap((item) => Object.keys(item));
  assert.equal(await page.locator('.opblock').count(), operations.length, 'every operation of the document is there');
  await page.screenshot({ path: join(HERE, 'output/docs.png') });

  const live = page.locator('.opblock', { has: page.locator('[data-path="/health/live"]') });
  await live.locator('.opblock-summary-control').click();
  await live.getByRole('button', { name: 'Try it out' }).click();
  await live.getByRole('button', { name: 'Execute' }).click();
  await eventually('the response is shown', async () =>
    /"uptime_seconds"/u.test(await live.locator('.live-responses-table').innerText()),
  );
  await page.screenshot({ path: join(HERE, 'output/docs-tried.png') });

  await page.locator('.operation-filter-input').fill('keys');
  await eventually('the search leaves what it was asked for', async () => {
    const tags = await page.locator('.opblock-tag').allInnerTexts();
    return tags.length === 1 && tags[0].includes('keys');
  });
  await check();
});

test('the REST API follows a dark system', async () => {
  const { page, check } = await visitor({ colorScheme: 'dark' });
  await page.goto(`${site.url}/docs`);
  await page.locator('.opblock').first().waitFor();
  const light = await page
    .locator('.info .title')
    .evaluate((title) => Number(/\d+/u.exec(getComputedStyle(title).color)?.[0]));
  assert.ok(light > 150, `dark letters on a dark page: ${light}`);
  await page.screenshot({ path: join(HERE, 'output/docs-dark.png') });
  await check();
});

test('the socket can be read: every frame with its fields, in a form that anybody can use', async () => {
  const { page, check } = await visitor();
  await page.goto(`${site.url}/docs/socket#server_hello`);
  await page.locator('#types article').first().waitFor();
  const { components } = await published('asyncapi.json');
  for (const [key, message] of Object.entries(components.messages)) {
    const fields = await page.locator(`#${key} tbody tr`).allInnerTexts();
    for (const field of Object.keys(message.payload.properties ?? {})) {
      assert.ok(
        fields.some((row) => row.trim().startsWith(field)),
        `${key}.${field} is not shown: ${fields}`,
      );
    }
  }
  const links = page.locator('#socket a');
  for (const link of await links.evaluateAll((nodes) => nodes.map((one) => one.getAttribute('href') ?? ''))) {
    assert.equal(await page.locator(`[id="${link.slice(1)}"]`).count(), 1, `${link} leads nowhere`);
  }
  await eventually('the fragment is in view', () =>
    page.locator('#server_hello').evaluate((one) => Math.abs(one.getBoundingClientRect().top) < innerHeight),
  );
  await page.screenshot({ path: join(HERE, 'output/docs-socket.png') });
  assert.deepEqual(await violations(page), []);
  await page.setViewportSize({ width: 390, height: 800 });
  assert.ok(
    await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
    'a narrow page does not scroll sideways',
  );
  await check();
});

test('the vendored files travel small', async () => {
  const page = await fetch(`${site.url}/docs`).then((response) => response.text());
  const bundle = page.match(/\/static\/\w+\/vendor\/swagger-ui\/swagger-ui-bundle\.js/u)?.[0];
  const response = await fetch(`${site.url}${bundle}`, { headers: { 'Accept-Encoding': 'gzip' } });
  assert.equal(response.headers.get('content-encoding'), 'gzip');
  assert.equal(response.headers.get('vary'), 'accept-encoding');
  assert.ok(
    Number(response.headers.get('content-length')) < 600_000,
    `${response.headers.get('content-length')} bytes on the way`,
  );
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), readFileSync(join(VENDOR, 'swagger-ui-bundle.js')));
  const plain = await fetch(`${site.url}${bundle}`, { headers: { 'Accept-Encoding': 'identity' } });
  assert.equal(plain.headers.get('content-encoding'), null);
});
