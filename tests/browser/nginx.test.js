/**
 * The page as people get it from an installation: through nginx, its files from nginx's disk, with
 * nginx's limits on.
 */
import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually } from './support/person.js';
import { useSite } from './support/site.js';

const HERE = dirname(fileURLToPath(import.meta.url));

const site = useSite({ environment: { TRUSTED_PROXIES: '127.0.0.1' }, nginx: true });
const logged = () => site.nginx?.logged() ?? [];

test('two people talk through nginx, and the page comes from its disk', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await ada.say('Through nginx');
  await ben.sees('Through nginx');
  await ben.say('Both ways');
  await ada.sees('Both ways');
  await ada.confirmed('Through nginx');
  await ada.page.screenshot({ path: join(HERE, 'output/nginx.png') });

  // A reload asks for the page, and for nothing that is kept for ever.
  await ada.page.reload();
  await ada.inConversation();
  await ada.sees('Both ways');
  const sizes = await ada.page.evaluate(() => {
    const files = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/static/'));
    return /** @type {PerformanceResourceTiming[]} */ (files).map(({ transferSize }) => transferSize);
  });
  assert.ok(sizes.length > 10, `${sizes.length} files`);
  assert.deepEqual(
    sizes.filter((size) => size !== 0),
    [],
    'nothing of the page came over the network again',
  );

  const files = await eventually('the access log has the files', () => {
    const lines = logged().filter(({ path }) => path.startsWith('/static/'));
    return lines.length > 10 && lines;
  });
  for (const line of files) assert.deepEqual([line.status, line.upstream], [200, ''], line.path);
  assert.ok(!logged().some(({ status }) => status === 429), 'the limits are no hindrance to people');
  for (const person of [ada, ben]) assert.deepEqual(person.problems(), []);
});
