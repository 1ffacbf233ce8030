/**
 * Runs the tests of this folder and closes with one plain line, `N passed, M failed`, which scripts read.
 *
 *     node run.js            all files
 *     node run.js client     those whose name begins so: the client without a browser or server
 */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

/** Each file has a server and a browser of its own and waits most of the time; more at once would make them wait longer. */
const AT_ONCE = 2;
/** The longest first, so that none of them is alone at the end. */
const FIRST = ['resilience', 'chat', 'newcomer', 'tokens'];

const folder = dirname(fileURLToPath(import.meta.url));
const prefix = process.argv[2] ?? '';
const rank = (name) => (FIRST.includes(name.split('.')[0]) ? FIRST.indexOf(name.split('.')[0]) : FIRST.length);
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.js') && name.startsWith(prefix))
  .sort((a, b) => rank(a) - rank(b))
  .map((name) => join(folder, name));

let passed = 0;
let failed = 0;
const stream = run({ files, concurrency: AT_ONCE, timeout: 300_000 });
const counts = (event) => event.details?.type !== 'suite' && !(event.nesting === 0 && files.includes(event.name));
stream.on('test:pass', (event) => counts(event) && (passed += 1));
stream.on('test:fail', () => (failed += 1));
const reporter = stream.compose(spec);
reporter.on('end', () => {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
});
reporter.pipe(process.stdout, { end: false });
