/**
 * The page as people get it from an installation: through nginx, its files from nginx's disk, with nginx's limits on.
 */
import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Nginx } from './support/nginx.js';
import { eventually, openBrowser, roomOfTwo } from './support/person.js';
import { Server } from './support/server.js';

const HERE = dirname(fileURLToPath(import.meta.url));

let server;
let nginx;
let browser;

before(async () => {
  server = await Server.start({ TRUSTED_PROXIES: '127.0.0.1' });
  nginx = await Nginx.before(server);
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await nginx?.stop();
  await server?.stop();
});

test('two people talk through nginx, and the page comes from its disk', async () => {
  const { ada, ben } = await roomOfTwo(browser, nginx);
  await ada.say('Through nginx');
  await ben.sees('Through nginx');
  await ben.say('Both ways');
  await ada.sees('Both ways');
  await ada.confirmed('Through nginx');
  await ada.page.screenshot({ path: join(HERE, 'output/nginx.png') });

  // A reload asks for the page, and for nothing that is kept for ever.
  await ada.page.reload();
  await ada.inRoom();
  await ada.sees('Both ways');
  const sizes = await ada.page.evaluate(() => {
    const files = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/static/'));
    return files.map(({ transferSize }) => transferSize);
  });
  assert.ok(sizes.length > 10, `${sizes.length} files`);
  assert.deepEqual(
    sizes.filter((size) => size !== 0),
    [],
    'nothing of the page came over the network again',
  );

  const files = await eventually('the access log has the files', () => {
    const lines = nginx.logged().filter(({ path }) => path.startsWith('/static/'));
    return lines.length > 10 && lines;
  });
  for (const line of files) assert.deepEqual([line.status, line.upstream], [200, ''], line.path);
  assert.ok(!nginx.logged().some(({ status }) => status === 429), 'the limits are no hindrance to people');
  for (const person of [ada, ben]) assert.deepEqual(person.problems(), []);
});
