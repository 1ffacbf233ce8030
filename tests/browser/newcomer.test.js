/**
 * Someone who has never been here, and someone who cannot use a mouse or see the screen: the way from the first page to
 * a talk by keyboard alone, what the page's files weigh, and what axe-core finds on each view.
 */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { after, before, test } from 'node:test';
import { accessible, accessibleInBoth as inBoth } from './support/axe.js';
import { Person, eventually, openBrowser } from './support/person.js';
import { Server } from './support/server.js';

const FIRST_VISIT_BYTES = 80_000;

let server;
let browser;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('from the first page to a talk without a mouse', async () => {
  const ada = await Person.arrive(browser, server, 'Ada Lindqvist');
  const { keyboard } = ada.page;
  const focused = (testid) =>
    eventually(`the focus is on ${testid}`, () =>
      ada.page.evaluate((id) => document.activeElement?.dataset.testid === id, testid),
    );
  await ada.page.goto(server.url);
  await focused('name');
  for (const [testid, text] of [
    ['name', ada.name],
    ['email', ada.email],
    ['password', 'a long enough secret'],
  ]) {
    await focused(testid);
    await keyboard.type(text);
    await keyboard.press('Tab');
  }
  await keyboard.press('Enter');
  await ada.by('welcome').waitFor();
  await keyboard.press('Tab');
  await focused('new-conversation');
  await keyboard.press('Enter');
  await focused('new-title');
  await keyboard.type('Harbour festival');
  await keyboard.press('Enter');
  await ada.inRoom();
  await focused('composer');
  await keyboard.type('Is anyone here?');
  await keyboard.press('Enter');
  await ada.sees('Is anyone here?');
  await ada.by('empty-invite').focus();
  await keyboard.press('Enter');
  await focused('copy-invite');
  await keyboard.press('Enter');
  await eventually('it says that it is copied', async () => (await ada.by('copy-invite').textContent()) === 'Copied');
  const link = await ada.page.evaluate(() => navigator.clipboard.readText());
  await keyboard.press('Escape');
  await focused('empty-invite');

  const mira = await Person.arrive(browser, server, 'Mira');
  await mira.page.goto(link);
  await eventually('the name is asked for', () =>
    mira.page.evaluate(() => document.activeElement?.dataset.testid === 'guest-name'),
  );
  await mira.page.keyboard.type('Mira');
  await mira.page.keyboard.press('Enter');
  await mira.inRoom();
  assert.equal(await mira.by('empty-invite').count(), 0, 'a guest is not offered what the server would refuse');
  await mira.page.keyboard.type('Yes, hello!');
  await mira.page.keyboard.press('Enter');
  await ada.sees('Yes, hello!');
  for (const person of [ada, mira]) assert.deepEqual(person.problems(), []);
});

test('axe-core finds nothing serious, light and dark, wide and narrow', async () => {
  const ada = await Person.arrive(browser, server, 'Ada Lindqvist');
  await ada.page.goto(server.url);
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
  const mira = await Person.arrive(browser, server, 'Mira');
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
  const ada = await Person.arrive(browser, server, 'Ada Lindqvist');
  const files = [];
  ada.page.on('response', (answer) => files.push(new URL(answer.url())));
  await ada.page.goto(server.url);
  await ada.by('entry').waitFor();
  assert.ok(
    files.every(({ origin }) => origin === server.url),
    'nothing comes from elsewhere',
  );
  const paths = files.map(({ pathname }) => pathname).filter((path) => path.startsWith('/static/'));
  assert.ok(paths.length > 10);
  let weight = 0;
  for (const path of paths) {
    const { headers, bytes } = await raw(server.url + path);
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
    performance
      .getEntriesByType('resource')
      .filter(({ name, transferSize }) => name.includes('/static/') && transferSize > 0)
      .map(({ name }) => name),
  );
  assert.deepEqual(asked, [], 'the second visit asks for no file again');
  assert.ok(
    files.filter(({ pathname }) => pathname.startsWith('/static/')).every(({ pathname }) => seen.has(pathname)),
  );
  assert.deepEqual(ada.problems(), []);
});

/** As it is on the wire; `fetch` would unpack it. */
function raw(url) {
  return new Promise((resolve, reject) => {
    get(url, { headers: { 'accept-encoding': 'gzip, br' } }, (answer) => {
      let bytes = 0;
      answer.on('data', (chunk) => (bytes += chunk.length));
      answer.on('end', () => resolve({ headers: answer.headers, bytes }));
    }).on('error', reject);
  });
}
