/**
 * API keys on the page: made, shown once, used by a program, deleted; by mouse, and as axe-core
 * sees it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessibleInBoth as accessible } from './support/axe.js';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

/** @param {import('./support/person.js').Person} person */
async function openKeys(person) {
  await person.by('account').click();
  await person.by('api-keys').click();
  await person.by('keys-dialog').waitFor();
}

/**
 * A request of a program that has nothing but its key.
 *
 * @param {string} secret
 * @param {string} path
 * @returns {Promise<{ status: number, body: any }>}
 */
async function program(secret, path) {
  const response = await fetch(site.url + path, { headers: { authorization: `Bearer ${secret}` } });
  return { status: response.status, body: await response.json() };
}

test('a key is made, shown once, used, and deleted', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await openKeys(ada);
  await ada.by('no-keys').waitFor();
  await accessible(ada, 'no keys');
  await ada.by('dialog-submit').click();
  await ada.by('new-key-dialog').waitFor();
  await accessible(ada, 'new key');

  // What the server refuses is said where one is.
  await ada.by('key-name').fill('Build bot');
  await ada.by('scope-chat').uncheck();
  await ada.by('dialog-submit').click();
  await ada.by('dialog-error').waitFor();
  assert.match(await textOf(ada.by('dialog-error')), /scope/u);
  await ada.by('scope-chat').check();
  await ada.by('scope-admin').check();
  await ada.by('dialog-submit').click();

  await ada.by('key-secret-dialog').waitFor();
  const secret = await ada.by('key-secret').inputValue();
  assert.match(secret, /^pk_[\w-]{43}$/u);
  await accessible(ada, 'secret');
  await ada.by('copy-key').click();
  await eventually('it says that it is copied', async () => (await textOf(ada.by('copy-key'))) === 'Copied');
  assert.equal(await ada.page.evaluate(() => navigator.clipboard.readText()), secret);
  await ada.by('dialog-cancel').click();

  const row = ada.by('key').filter({ hasText: 'Build bot' });
  await row.waitFor();
  assert.match(await textOf(row), /chatadmin.*Never used · runs out on/u);
  assert.ok(!(await ada.page.content()).includes(secret), 'the secret is nowhere any more');
  await accessible(ada, 'keys');

  const me = await program(secret, '/api/me');
  assert.equal(me.body.name, ada.name);
  assert.equal((await program(secret, '/api/conversations')).body.items[0].title, 'Harbour festival');
  await ada.by('dialog-cancel').click();
  await ada.by('keys-dialog').waitFor({ state: 'detached' });
  await eventually('the list says that it was used', async () => {
    await openKeys(ada);
    await row.waitFor();
    const text = await textOf(row);
    if (/Last used today/u.test(text)) return true;
    await ada.by('dialog-cancel').click();
    await ada.by('keys-dialog').waitFor({ state: 'detached' });
    return false;
  });

  // To be asked is not to have said yes.
  await row.getByTestId('delete-key').click();
  await ada.by('delete-key-dialog').waitFor();
  await accessible(ada, 'delete key');
  await ada.by('dialog-cancel').click();
  await row.waitFor();
  assert.equal((await program(secret, '/api/me')).status, 200);
  await row.getByTestId('delete-key').click();
  await ada.by('delete-key-dialog').waitFor();
  await ada.by('dialog-submit').click();
  await ada.by('no-keys').waitFor();
  assert.equal((await program(secret, '/api/me')).status, 401);
  await ada.page.keyboard.press('Escape');
  await ada.by('keys-dialog').waitFor({ state: 'detached' });

  // Who is no admin is not offered what admins do, and the keys of others are not theirs to see.
  await openKeys(ben);
  await ben.by('no-keys').waitFor();
  await ben.by('dialog-submit').click();
  await ben.by('new-key-dialog').waitFor();
  assert.equal(await ben.by('scope-admin').count(), 0);
  await ben.by('dialog-cancel').click();
  await ben.by('keys-dialog').waitFor();
  assert.deepEqual(
    ada.problems().filter((text) => !/status of 400/u.test(text)),
    [],
  );
  assert.deepEqual(ben.problems(), []);
});

test('by keyboard alone, and on a phone; not for guests', async () => {
  const { ada, link } = await site.conversationOfTwo();
  const { keyboard } = ada.page;
  await ada.by('account').focus();
  await keyboard.press('Enter');
  await ada.focused('api-keys');
  await keyboard.press('Enter');
  await ada.by('no-keys').waitFor();
  await ada.by('dialog-submit').focus();
  await keyboard.press('Enter');
  await ada.focused('key-name');
  await keyboard.type('Typed');
  await keyboard.press('Enter');
  await ada.focused('copy-key');
  await keyboard.press('Enter');
  await keyboard.press('Escape');
  await ada.by('key').filter({ hasText: 'Typed' }).waitFor();
  await keyboard.press('Escape');
  await ada.by('keys-dialog').waitFor({ state: 'detached' });
  await ada.page.setViewportSize({ width: 390, height: 844 });
  await ada.by('back').click();
  await openKeys(ada);
  await ada.by('key').waitFor();
  await accessible(ada, 'keys on a phone');
  assert.ok(await ada.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
  assert.deepEqual(ada.problems(), []);

  const mira = await site.arrive('Mira');
  await mira.joinAsGuest(link);
  await mira.by('account').click();
  await mira.by('sign-out').waitFor();
  assert.equal(await mira.by('api-keys').count(), 0);
});
