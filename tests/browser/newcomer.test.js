/**
 * Someone who has never been here, and someone who cannot use a mouse or see the screen: the way
 * from the first page to a talk by keyboard alone, what the page's files weigh, and what axe-core
 * finds on each view.
 */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { test } from 'node:test';
import { accessible, accessibleInBoth as inBoth } from './support/axe.js';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

/** There is no build step, so comments and types travel with the code: they are a quarter of it. */
const FIRST_VISIT_BYTES = 92_000;

const site = useSite();

test('from the first page to a talk without a mouse', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  const { keyboard } = ada.page;
  await ada.page.goto(site.url);
  await ada.focused('name');
  for (const [testid, text] of [
    ['name', ada.name],
    ['email', ada.email],
    ['password', 'a long enough secret'],
  ]) {
    await ada.focused(testid);
    await keyboard.type(text);
    await keyboard.press('Tab');
  }
  await keyboard.press('Enter');
  await ada.by('welcome').waitFor();
  await keyboard.press('Tab');
  await ada.focused('new-conversation');
  await keyboard.press('Enter');
  await ada.focused('new-title');
  await keyboard.type('Harbour festival');
  await keyboard.press('Enter');
  await ada.inConversation();
  await ada.focused('composer');
  await keyboard.type('Is anyone here?');
  await keyboard.press('Enter');
  await ada.sees('Is anyone here?');
  await ada.by('empty-invite').focus();
  await keyboard.press('Enter');
  await ada.focused('copy-invite');
  await keyboard.press('Enter');
  await eventually('it says that it is copied', async () => (await textOf(ada.by('copy-invite'))) === 'Copied');
  const link = await ada.page.evaluate(() => navigator.clipboard.readText());
  await keyboard.press('Escape');
  await ada.focused('empty-invite');

  const mira = await site.arrive('Mira');
  await mira.page.goto(link);
  await mira.focused('guest-name');
  await mira.page.keyboard.type('Mira');
  await mira.page.keyboard.press('Enter');
  await mira.inConversation();
  assert.equal(await mira.by('empty-invite').count(), 0, 'a guest is not offered what the server would refuse');
  await mira.page.keyboard.type('Yes, hello!');
  await mira.page.keyboard.press('Enter');
  await ada.sees('Yes, hello!');
  for (const person of [ada, mira]) assert.deepEqual(person.problems(), []);
});

test('axe-core finds nothing serious, light and dark, wide and narrow', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  await ada.page.goto(site.url);
  await ada.by('sign-up-form').waitFor();
  await inBoth(ada, 'sign up');
  await ada.signIn('not the right secret');
  await ada.by('form-error').waitFor();
  await inBoth(ada, 'sign in, refused');
  await ada.by('show-sign-up').click();
  await ada.fillAccount();
  await ada.by('chat').waitFor();
  await ada.connected();
  await accessible(ada, 'empty list');
  await ada.create('Harbour festival');
  await accessible(ada, 'empty conversation');
  await ada.by('invite').click();
  await ada.by('invite-link').waitFor();
  await inBoth(ada, 'invite');
  const link = await ada.by('invite-link').inputValue();
  await ada.by('dialog-cancel').click();
  const mira = await site.arrive('Mira');
  await mira.page.goto(link);
  await mira.by('guest-form').waitFor();
  await accessible(mira, 'invited');
  await mira.joinAsGuest(link);
  for (const text of ['Look: https://example.org/programme', 'Second', '🎉']) await mira.say(text);
  await ada.sees('🎉');
  await ada.act('Second', 'quick-👍');
  await ada.message('Second').getByTestId('reaction').waitFor();
  await inBoth(ada, 'conversation');
  await ada.by('conversation-menu').click();
  await ada.by('rename').waitFor();
  await inBoth(ada, 'menu');
  await ada.page.keyboard.press('Escape');
  await ada.page.setViewportSize({ width: 390, height: 844 });
  await ada.message('Second').getByTestId('body').click();
  await ada.by('toolbar').waitFor();
  await accessible(ada, 'conversation on a phone');
  await ada.by('show-members').click();
  await accessible(ada, 'members on a phone');
  await ada.page.keyboard.press('Escape');
  await ada.by('back').click();
  await inBoth(ada, 'list on a phone');
});

test('the page arrives compressed, once for ever, and from one place', async () => {
  const ada = await site.arrive('Ada Lindqvist');
  /** @type {URL[]} */
  const files = [];
  ada.page.on('response', (response) => files.push(new URL(response.url())));
  await ada.page.goto(site.url);
  await ada.by('entry').waitFor();
  assert.ok(
    files.every(({ origin }) => origin === site.url),
    'nothing comes from elsewhere',
  );
  const paths = files.map(({ pathname }) => pathname).filter((path) => path.startsWith('/static/'));
  assert.ok(paths.length > 10);
  let weight = 0;
  for (const path of paths) {
    const { headers, bytes } = await raw(site.url + path);
    weight += bytes;
    assert.match(headers['cache-control'], /public, max-age=31536000, immutable/u, path);
    // The smallest ones would not become smaller.
    assert.ok(/^(br|gzip|zstd)$/u.test(headers['content-encoding']) || bytes < 1_024, path);
  }
  assert.ok(weight < FIRST_VISIT_BYTES, `the first visit weighs ${weight} bytes`);
  const seen = new Set(paths);
  files.length = 0;
  await ada.page.reload();
  await ada.by('entry').waitFor();
  const asked = await ada.page.evaluate(() =>
    /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType('resource'))
      .filter(({ name, transferSize }) => name.includes('/static/') && transferSize > 0)
      .map(({ name }) => name),
  );
  assert.deepEqual(asked, [], 'the second visit asks for no file again');
  assert.ok(
    files.filter(({ pathname }) => pathname.startsWith('/static/')).every(({ pathname }) => seen.has(pathname)),
  );
  assert.deepEqual(ada.problems(), []);
});

/**
 * As it is on the wire; `fetch` would unpack it.
 *
 * @param {string} url
 * @returns {Promise<{ headers: Record<string, any>, bytes: number }>}
 */
function raw(url) {
  return new Promise((resolve, reject) => {
    get(url, { headers: { 'accept-encoding': 'gzip, br' } }, (response) => {
      let bytes = 0;
      response.on('data', (chunk) => (bytes += chunk.length));
      response.on('end', () => resolve({ headers: response.headers, bytes }));
    }).on('error', reject);
  });
}
