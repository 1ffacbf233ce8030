/**
 * The page without a browser: the words it shows, the list of conversations, what its files import,
 * and that what others have written is as they have written it.
 *
 * @import { NoticeFrame } from '../../static/client/types.js'
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inviteCode } from '../../static/ui/router.js';
import { ConversationList } from '../../static/ui/store/conversation-list.js';
import { isJumbo, linkify, nameList } from '../../static/ui/widgets/text.js';

test('links are http and https only, without the punctuation around them', () => {
  /** @param {string} text */
  const hrefs = (text) =>
    linkify(text)
      .filter(({ href }) => href)
      .map(({ text: shown }) => shown);
  assert.deepEqual(hrefs('see https://a.example/x?y=1, or (http://b.example/p(1)).'), [
    'https://a.example/x?y=1',
    'http://b.example/p(1)',
  ]);
  assert.deepEqual(hrefs('javascript:alert(1) data:text/html,x ftp://x file:///etc https://'), []);
  for (const text of ['', 'https://x.example', 'a https://x.example b', '<img src=x onerror=alert(1)>']) {
    assert.equal(
      linkify(text)
        .map((part) => part.text)
        .join(''),
      text,
    );
  }
});

test('words for people', () => {
  assert.equal(isJumbo('🎉🎉'), true);
  assert.equal(isJumbo('🎉 done'), false);
  assert.equal(isJumbo('12'), false);
  assert.equal(nameList(['Ann', 'Ben', 'Cleo', 'Dan']), 'Ann, Ben and 2 others');
  assert.equal(inviteCode('/i/AbC-12_x'), 'AbC-12_x');
  for (const added of ['/', '//', '.', ',', ')', ').', '%29', '%E2%80%9D', '&utm_source=x', '/more', '%0A', '%ff'])
    assert.equal(inviteCode(`/i/AbC-12_x${added}`), 'AbC-12_x', added);
  for (const none of ['/i/../x', '/i/', '/i/abc', '/', '/x/i/AbC-12_x', `/i/${'x'.repeat(129)}`])
    assert.equal(inviteCode(none), null, none);
});

test('the list moves with notices and is not set back by an older response', () => {
  const list = new ConversationList();
  /**
   * @param {string} id
   * @param {number} rev of which each is a message
   * @param {string} at
   */
  const item = (id, rev, at) => ({
    id,
    title: id,
    rev,
    last_seq: rev,
    unread: 0,
    last_message: null,
    last_message_at: at,
  });
  list.replace([item('a', 5, '2026-11-22T10:00:00.000Z'), item('b', 5, '2026-11-22T09:00:00.000Z')]);
  assert.deepEqual(
    list.sorted().map(({ id }) => id),
    ['a', 'b'],
  );
  /**
   * @param {string} conversation
   * @param {number} rev
   * @param {Partial<NoticeFrame>} [extra]
   */
  const notice = (conversation, rev, extra = {}) =>
    list.notice(
      {
        type: 'notice',
        conversation,
        rev,
        title: conversation,
        last_seq: rev,
        last_message: null,
        last_message_at: '2026-11-22T11:00:00.000Z',
        unread: 1,
        ...extra,
      },
      Date.parse('2026-11-22T11:00:00.000Z'),
    );
  const ids = () => list.sorted().map(({ id }) => id);
  const asked = list.turn;
  notice('b', 6);
  assert.deepEqual(ids(), ['b', 'a']);
  assert.equal(list.unread, 1);
  notice('c', 1, { title: 'New here', last_message_at: null });
  notice('a', 7, { removed: true });
  const older = [item('a', 5, '2026-11-22T10:00:00.000Z'), item('b', 5, '2026-11-22T09:00:00.000Z')];
  list.replace(older, asked);
  assert.deepEqual(ids(), ['c', 'b'], 'what was noticed after the question counts');
  assert.equal(list.get('b')?.unread, 1);
  assert.equal(list.get('c')?.title, 'New here');
  notice('b', 5, { title: 'old news', unread: 9 });
  assert.equal(list.get('b')?.title, 'b', 'a notice that is late changes nothing');
  notice('b', 6, { unread: 0 });
  assert.equal(list.unread, 1, 'what was read elsewhere');
  list.replace([item('b', 8, '2026-11-22T12:00:00.000Z')]);
  assert.deepEqual(ids(), ['b'], 'what is not in a younger response is gone');
  assert.equal(list.get('b')?.last_seq, 8);
  for (let n = 0; n < 1_100; n += 1) notice(`n${n}`, 1);
  assert.equal(list.size, 1_000);
});

const STATIC = join(dirname(fileURLToPath(import.meta.url)), '../../static');
/** What is imported when the page starts; `import()` comes later and is not among it. */
const IMPORT = /^(?:import|export)\b[^;]*?\bfrom '(\.[^']+)';/gmu;

/**
 * @param {string} path of a module, from `static/`
 * @returns {string[]} the paths of those it imports
 */
function importsOf(path) {
  const text = readFileSync(join(STATIC, path), 'utf8');
  return [...text.matchAll(IMPORT)].map(([, name]) => join(dirname(path), name));
}

/**
 * @param {string} start path of a module
 * @returns {Set<string>} it, and all that it imports
 */
function reached(start) {
  const paths = new Set([start]);
  for (const path of paths) for (const found of importsOf(path)) paths.add(found);
  return paths;
}

/** All modules but vendored ones, from `static/`. */
function modules() {
  return readdirSync(STATIC, { recursive: true })
    .map(String)
    .filter((path) => path.endsWith('.js') && !path.startsWith('vendor'))
    .sort();
}

test('the modules that the page starts with are loaded before they are asked for, and no others', () => {
  const html = readFileSync(join(STATIC, 'index.html'), 'utf8');
  const preloaded = [...html.matchAll(/<link rel="modulepreload" href="__STATIC__\/([^"]+)" \/>/gu)];
  const paths = [...reached('app.js')].filter((path) => path !== 'app.js').sort();
  assert.deepEqual(
    preloaded.map(([, path]) => path),
    paths,
    'the modulepreload links of index.html, in the order of their paths',
  );
});

test('modules do not import each other in a circle, and each says what it is', () => {
  for (const path of modules()) {
    const circle = importsOf(path).find((found) => reached(found).has(path));
    assert.equal(circle, undefined, `${path} imports ${circle}, which leads back to it`);
    const text = readFileSync(join(STATIC, path), 'utf8');
    assert.match(text, /^\/\*\*\n \* \S.{20}/u, `${path} begins with a header`);
    for (const found of importsOf(path)) assert.ok(existsSync(join(STATIC, found)), `${path} imports ${found}`);
  }
});

test('the client needs nothing of the page', () => {
  for (const path of reached('parlance-client.js')) assert.ok(!path.startsWith('ui'), path);
});

test('the vendored files are those that were looked at, each with its version and licence', () => {
  const vendor = join(STATIC, 'vendor');
  for (const project of readdirSync(vendor)) {
    const readme = readFileSync(join(vendor, project, 'README.md'), 'utf8');
    assert.match(readme, /^- Package: `[\w-]+` \d+\.\d+\.\d+ from npm/mu, project);
    assert.match(readme, /^- Licence: (?:MIT|Apache-2\.0) \(`LICENSE`/mu, project);
    const rows = [...readme.matchAll(/^\| `([\w.-]+)` \| `([0-9a-f]{64})` \|$/gmu)];
    const files = readdirSync(join(vendor, project)).filter(
      (name) => !/^(?:README\.md|NOTICE|.*LICENSE.*)$/u.test(name),
    );
    assert.deepEqual(rows.map(([, name]) => name).sort(), files.sort(), project);
    for (const [, name, hash] of rows) {
      const content = readFileSync(join(vendor, project, name));
      assert.equal(createHash('sha256').update(content).digest('hex'), hash, `${project}/${name}`);
    }
    assert.ok(existsSync(join(vendor, project, 'LICENSE')), project);
  }
});
