/**
 * The client as a package: what is in its tarball, and that the example of its README runs with it
 * against a real server. No browser.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { ROOT, Server } from './support/server.js';

const run = promisify(execFile);
const STATIC = join(ROOT, 'static');
/** Before Node 22, sockets were behind an option. */
const SOCKETS = 'WebSocket' in globalThis ? [] : ['--experimental-websocket'];

/** Where the package is installed, as it would be for somebody who uses it. */
const home = mkdtempSync(join(tmpdir(), 'parlance-client-'));
const unpacked = join(home, 'node_modules/parlance-client');
/** @type {string[]} */
let packed;

before(async () => {
  mkdirSync(unpacked, { recursive: true });
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', home], { cwd: STATIC });
  const [tarball] = JSON.parse(stdout);
  packed = tarball.files.map((/** @type {{ path: string }} */ { path }) => path);
  await run('tar', ['-xzf', join(home, tarball.filename), '-C', unpacked, '--strip-components=1']);
});

after(() => rmSync(home, { recursive: true, force: true }));

test('the tarball has the client, its README and the licence, and nothing else', () => {
  const client = readdirSync(join(STATIC, 'client')).map((name) => `client/${name}`);
  assert.deepEqual(packed.sort(), ['LICENSE', ...client, 'package.json', 'parlance-client.js'].sort());
  assert.ok(client.includes('client/README.md'));
  assert.deepEqual(readFileSync(join(unpacked, 'LICENSE')), readFileSync(join(ROOT, 'LICENSE')));
  const { version } = JSON.parse(readFileSync(join(unpacked, 'package.json'), 'utf8'));
  const [, server] = /^version = "(.+)"$/mu.exec(readFileSync(join(ROOT, 'Cargo.toml'), 'utf8')) ?? [];
  assert.equal(version, server, 'the client has the version of the server');
});

test('what is unpacked can be imported', async () => {
  const code = "console.log(Object.keys(await import('parlance-client')).join());";
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', code], { cwd: home });
  assert.equal(stdout.trim(), 'Conversation,ParlanceClient,Problem,Refusal,backoffDelay,uuidv7,verdict');
});

test('the example of the README runs, and its message is stored', async () => {
  const readme = readFileSync(join(unpacked, 'client/README.md'), 'utf8');
  const [, example] = /^```js\n(.*?)^```$/msu.exec(readme) ?? [];
  assert.ok(example, 'the README has an example');
  writeFileSync(join(home, 'hello.mjs'), example);
  const server = await Server.start();
  try {
    const person = { email: 'ada@example.org', password: 'a long enough secret', name: 'Ada' };
    const { access_token: token } = await post(server, '/auth/register', person);
    const conversation = await post(server, '/api/conversations', { title: 'Harbour festival' }, token);
    const key = await post(server, '/api/keys', { name: 'Hello', scopes: ['chat'] }, token);
    const env = {
      ...process.env,
      PARLANCE_URL: server.url,
      PARLANCE_KEY: key.secret,
      CONVERSATION: conversation.id,
    };
    const { stdout } = await run(process.execPath, [...SOCKETS, 'hello.mjs'], { cwd: home, env, timeout: 30_000 });
    assert.match(stdout, /^Stored as message 1\.$/mu);
    const messages = await request(server, 'GET', `/api/conversations/${conversation.id}/messages`, { token });
    assert.deepEqual(
      messages.items.map((/** @type {{ body: string }} */ { body }) => body),
      ['Hello from a program'],
    );
  } finally {
    await server.stop();
  }
});

/**
 * @param {Server} server
 * @param {string} method
 * @param {string} path
 * @param {{ token?: string, body?: object }} content
 * @returns {Promise<any>}
 */
async function request(server, method, path, { token, body }) {
  const headers = { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(server.url + path, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.json();
}

/**
 * @param {Server} server
 * @param {string} path
 * @param {object} body
 * @param {string} [token]
 */
const post = (server, path, body, token) => request(server, 'POST', path, { token, body });
