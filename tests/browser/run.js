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

const folder = dirname(fileURLToPath(import.meta.url));
const prefix = process.argv[2] ?? '';
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.js') && name.startsWith(prefix))
  .map((name) => join(folder, name));

let passed = 0;
let failed = 0;
/** One file at a time: each has a server and a browser of its own, and the machines that run this are small. */
const stream = run({ files, concurrency: 1, timeout: 300_000 });
const counts = (event) => event.details?.type !== 'suite' && !(event.nesting === 0 && files.includes(event.name));
stream.on('test:pass', (event) => counts(event) && (passed += 1));
stream.on('test:fail', (event) => (failed += 1));
const reporter = stream.compose(spec);
reporter.on('end', () => {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
});
reporter.pipe(process.stdout, { end: false });
