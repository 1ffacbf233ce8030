/**
 * The documents for people: both pages are drawn from what the server publishes, without anything from elsewhere and
 * without a word from the Content-Security-Policy; a request can be tried out; and the vendored files are what they say.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Person, eventually, openBrowser } from './support/person.js';
import { Server } from './support/server.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const VENDOR = join(HERE, '../../static/vendor/swagger-ui');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let server;
let browser;

before(async () => {
  mkdirSync(join(HERE, 'output'), { recursive: true });
  server = await Server.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A visitor whose every request is noted, with the policy's complaints. */
async function visitor(options) {
  const person = await Person.arrive(browser, server, 'Visitor', options);
  const foreign = [];
  person.page.on(
    'request',
    (request) =>
      request.url().startsWith(server.url) || request.url().startsWith('data:') || foreign.push(request.url()),
  );
  await person.page.addInitScript(() => {
    window.complaints = [];
    document.addEventListener('securitypolicyviolation', (event) =>
      window.complaints.push(`${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  const check = async () => {
    assert.deepEqual(await person.page.evaluate(() => window.complaints), []);
    assert.deepEqual(person.problems(), []);
    assert.deepEqual(foreign, []);
  };
  return { person, page: person.page, check };
}

const published = (name) => fetch(`${server.url}/${name}`).then((answer) => answer.json());

test('the REST API can be read, searched and tried out under the policy', async () => {
  const { page, check } = await visitor();
  await page.goto(`${server.url}/docs`);
  await page.locator('.opblock').first().waitFor();
  const { paths } = await published('openapi.json');
  const operations = Object.values(paths).flatMap((item) => Object.keys(item));
  assert.equal(await page.locator('.opblock').count(), operations.length, 'every operation of the document is there');
  await page.screenshot({ path: join(HERE, 'output/docs.png') });

  const live = page.locator('.opblock', { has: page.locator('[data-path="/health/live"]') });
  await live.locator('.opblock-summary-control').click();
  await live.getByRole('button', { name: 'Try it out' }).click();
  await live.getByRole('button', { name: 'Execute' }).click();
  await eventually('the answer is shown', async () =>
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
  await page.goto(`${server.url}/docs`);
  await page.locator('.opblock').first().waitFor();
  const light = await page
    .locator('.info .title')
    .evaluate((title) => Number(getComputedStyle(title).color.match(/\d+/gu)[0]));
  assert.ok(light > 150, `dark letters on a dark page: ${light}`);
  await page.screenshot({ path: join(HERE, 'output/docs-dark.png') });
  await check();
});

test('the socket can be read: every frame with its fields, in a form that anybody can use', async () => {
  const { page, check } = await visitor();
  await page.goto(`${server.url}/docs/socket#server_hello`);
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
  for (const link of await page
    .locator('#socket a')
    .evaluateAll((links) => links.map((one) => one.getAttribute('href')))) {
    assert.equal(await page.locator(`[id="${link.slice(1)}"]`).count(), 1, `${link} leads nowhere`);
  }
  await eventually('the fragment is in view', () =>
    page.locator('#server_hello').evaluate((one) => Math.abs(one.getBoundingClientRect().top) < innerHeight),
  );
  await page.screenshot({ path: join(HERE, 'output/docs-socket.png') });
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run());
  assert.deepEqual(
    violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`),
    [],
  );
  await page.setViewportSize({ width: 390, height: 800 });
  assert.ok(
    await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
    'a narrow page does not scroll sideways',
  );
  await check();
});

test('the vendored files are those that were looked at, and travel small', async () => {
  const rows = [
    ...readFileSync(join(VENDOR, 'README.md'), 'utf8').matchAll(/^\| `([\w.-]+)` \| `([0-9a-f]{64})` \|$/gmu),
  ];
  assert.ok(rows.length >= 2);
  for (const [, name, hash] of rows)
    assert.equal(
      createHash('sha256')
        .update(readFileSync(join(VENDOR, name)))
        .digest('hex'),
      hash,
      name,
    );
  const page = await fetch(`${server.url}/docs`).then((answer) => answer.text());
  const bundle = page.match(/\/static\/\w+\/vendor\/swagger-ui\/swagger-ui-bundle\.js/u)[0];
  const answer = await fetch(server.url + bundle, { headers: { 'Accept-Encoding': 'gzip' } });
  assert.equal(answer.headers.get('content-encoding'), 'gzip');
  assert.equal(answer.headers.get('vary'), 'accept-encoding');
  assert.ok(
    Number(answer.headers.get('content-length')) < 600_000,
    `${answer.headers.get('content-length')} bytes on the way`,
  );
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), readFileSync(join(VENDOR, 'swagger-ui-bundle.js')));
  const plain = await fetch(server.url + bundle, { headers: { 'Accept-Encoding': 'identity' } });
  assert.equal(plain.headers.get('content-encoding'), null);
});
