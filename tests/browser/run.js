/**
 * Runs the tests of this folder and closes with one plain line, `N passed, M failed`, which scripts
 * read.
 *
 *     node run.js                all files
 *     node run.js client page    those whose name begins with one of these
 *
 * `client` and `page` need no browser and no server.
 */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

/**
 * Each file has a server and a browser of its own and waits most of the time. More at once would
 * make them wait longer.
 */
const AT_ONCE = 2;
/** The longest first, so that none of them is alone at the end. */
const FIRST = ['resilience', 'chat', 'layout', 'analytics', 'standing', 'newcomer', 'tokens'];

const folder = dirname(fileURLToPath(import.meta.url));
const prefixes = process.argv.length > 2 ? process.argv.slice(2) : [''];

/** @param {string} name */
function rank(name) {
  const at = FIRST.indexOf(name.split('.')[0]);
  return at === -1 ? FIRST.length : at;
}

const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.js') && prefixes.some((prefix) => name.startsWith(prefix)))
  .sort((a, b) => rank(a) - rank(b))
  .map((name) => join(folder, name));

let passed = 0;
let failed = 0;
const stream = run({ files, concurrency: AT_ONCE, timeout: 300_000 });
stream.on('test:pass', ({ details, nesting, name }) => {
  const isFile = nesting === 0 && files.includes(name);
  if (details.type !== 'suite' && !isFile) passed += 1;
});
stream.on('test:fail', () => (failed += 1));
const reporter = stream.compose(/** @type {any} */ (spec));
reporter.on('end', () => {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
});
reporter.pipe(process.stdout, { end: false });
