/**
 * Search on the page: asked for, found, marked, and the message that was found brought into view,
 * however far back it is.
 *
 * @import { Person } from './support/person.js'
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessibleInBoth as accessible } from './support/axe.js';
import { eventually, textOf } from './support/person.js';
import { useSite } from './support/site.js';

const site = useSite();

/** @param {Person} person */
const hits = (person) => person.by('search-hit').locator('.hit-text').allTextContents();

/**
 * @param {Person} person
 * @param {string} text
 */
async function inView(person, text) {
  const row = person.message(text).first();
  await row.waitFor();
  await eventually(`“${text}” is in view`, () =>
    row.evaluate((node) => {
      const box = node.getBoundingClientRect();
      const frame = node.closest('[data-testid=scroller]')?.getBoundingClientRect();
      return frame !== undefined && box.top >= frame.top && box.bottom <= frame.bottom;
    }),
  );
}

test('what was said is found, marked, and brought into view', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  const first = ada.conversationId;
  await ben.say('The lighthouse keeper <b>has</b> the key');
  await ben.confirmed('The lighthouse keeper <b>has</b> the key');
  await ada.fill(Array.from({ length: 150 }, (_, n) => `line ${n + 1}`));
  await ada.create('Budget');
  await ada.say('A lighthouse costs too much');
  await ada.confirmed('A lighthouse costs too much');

  await ada.search('lighthouse');
  assert.deepEqual(await hits(ada), [
    'You: A lighthouse costs too much',
    'Ben Okafor: The lighthouse keeper <b>has</b> the key',
  ]);
  assert.deepEqual(await ada.by('search-hits').locator('mark').allTextContents(), ['lighthouse', 'lighthouse']);
  assert.equal(await ada.by('search-hits').locator('b').count(), 0, 'a message is no markup');
  assert.equal(await textOf(ada.by('search-status')), '2 messages, newest first.');
  await accessible(ada, 'search results');

  await ada.by('search-hit').nth(1).click();
  await ada.inConversation();
  assert.equal(ada.conversationId, first);
  await inView(ada, 'The lighthouse keeper <b>has</b> the key');
  // In the same conversation again, from where one is now.
  await ada.search('"line 149"');
  await ada.by('search-hit').first().click();
  await inView(ada, 'line 149');

  await ada.search('submarine');
  assert.equal(await textOf(ada.by('search-status')), 'Nothing was found.');
  assert.equal(await ada.by('conversations').isVisible(), false);
  await ada.by('search').press('Escape');
  await ada.by('conversations').waitFor();
  assert.equal(await ada.by('search-results').isVisible(), false);
  assert.deepEqual(ada.problems(), []);
  await Promise.all([ada, ben].map(({ context }) => context.close()));
});

test('more is shown on demand, and what is very far back by itself', async () => {
  const { ada, ben } = await site.conversationOfTwo();
  await ada.fill([
    'the first anchor',
    ...Array.from({ length: 1_100 }, (_, n) => (n % 40 === 0 ? `anchor ${n}` : `line ${n}`)),
  ]);
  await ada.search('anchor');
  assert.equal((await hits(ada)).length, 20);
  assert.equal(await textOf(ada.by('search-status')), '20 messages so far, newest first.');
  await ada.by('search-more').click();
  await eventually('the rest is there', async () => (await hits(ada)).length === 29);
  assert.equal(await ada.by('search-more').isVisible(), false);
  const oldest = ada.by('search-hit').last();
  assert.match(await textOf(oldest), /the first anchor/u);
  await oldest.click();
  await ada.by('context-dialog').waitFor();
  assert.match(await textOf(ada.by('context-hit')), /the first anchor/u);
  assert.ok((await ada.by('context-other').count()) >= 5);
  await accessible(ada, 'a message by itself');
  await ada.by('dialog-cancel').click();
  assert.deepEqual(ada.problems(), []);
  await Promise.all([ada, ben].map(({ context }) => context.close()));
});
