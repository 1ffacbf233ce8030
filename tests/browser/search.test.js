/**
 * Search on the page: asked for, found, marked, and the message that was found brought into view, however far back it is.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessibleInBoth as accessible } from './support/axe.js';
import { eventually, openBrowser, roomOfTwo } from './support/person.js';
import { Server } from './support/server.js';

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

async function search(person, words) {
  await person.by('search').fill(words);
  await person.by('search').press('Enter');
  await eventually(
    'the answer is there',
    async () => (await person.by('search-status').textContent()) !== 'Searching…',
  );
}

const hits = (person) => person.by('search-hit').locator('.hit-text').allTextContents();

/** Posts many messages: the first alone, the others many at once, so that they share commits. */
function fill(person, room, texts) {
  return person.page.evaluate(
    async ([id, bodies]) => {
      const post = async (body) => {
        const answer = await fetch(`/api/conversations/${id}/messages`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ id: crypto.randomUUID(), body }),
        });
        if (!answer.ok) throw new Error(`refused: ${answer.status}`);
      };
      await post(bodies.shift());
      while (bodies.length > 0) await Promise.all(bodies.splice(0, 100).map(post));
    },
    [room, texts],
  );
}

async function inView(person, text) {
  const row = person.message(text).first();
  await row.waitFor();
  await eventually(`“${text}” is in view`, () =>
    row.evaluate((node) => {
      const [box, frame] = [
        node.getBoundingClientRect(),
        node.closest('[data-testid=scroller]').getBoundingClientRect(),
      ];
      return box.top >= frame.top && box.bottom <= frame.bottom;
    }),
  );
}

test('what was said is found, marked, and brought into view', async () => {
  const { ada, ben } = await roomOfTwo(browser, server);
  const room = ada.conversationId;
  await ben.say('The lighthouse keeper <b>has</b> the key');
  await ben.confirmed('The lighthouse keeper <b>has</b> the key');
  await fill(
    ada,
    room,
    Array.from({ length: 150 }, (_, n) => `line ${n + 1}`),
  );
  await ada.create('Budget');
  await ada.say('A lighthouse costs too much');
  await ada.confirmed('A lighthouse costs too much');

  await search(ada, 'lighthouse');
  assert.deepEqual(await hits(ada), [
    'You: A lighthouse costs too much',
    'Ben Okafor: The lighthouse keeper <b>has</b> the key',
  ]);
  assert.deepEqual(await ada.by('search-hits').locator('mark').allTextContents(), ['lighthouse', 'lighthouse']);
  assert.equal(await ada.by('search-hits').locator('b').count(), 0, 'a message is no markup');
  assert.equal(await ada.by('search-status').textContent(), '2 messages, newest first.');
  await accessible(ada, 'search results');

  await ada.by('search-hit').nth(1).click();
  await ada.inRoom();
  assert.equal(ada.conversationId, room);
  await inView(ada, 'The lighthouse keeper <b>has</b> the key');
  // In the same conversation again, from where one is now.
  await search(ada, '"line 149"');
  await ada.by('search-hit').first().click();
  await inView(ada, 'line 149');

  await search(ada, 'submarine');
  assert.equal(await ada.by('search-status').textContent(), 'Nothing was found.');
  assert.equal(await ada.by('conversations').isVisible(), false);
  await ada.by('search').press('Escape');
  await ada.by('conversations').waitFor();
  assert.equal(await ada.by('search-results').isVisible(), false);
  assert.deepEqual(ada.problems(), []);
  await Promise.all([ada, ben].map(({ context }) => context.close()));
});

test('more is shown on demand, and what is very far back by itself', async () => {
  const { ada, ben } = await roomOfTwo(browser, server);
  await fill(ada, ada.conversationId, [
    'the first anchor',
    ...Array.from({ length: 1_100 }, (_, n) => (n % 40 === 0 ? `anchor ${n}` : `line ${n}`)),
  ]);
  await search(ada, 'anchor');
  assert.equal((await hits(ada)).length, 20);
  assert.equal(await ada.by('search-status').textContent(), '20 messages so far, newest first.');
  await ada.by('search-more').click();
  await eventually('the rest is there', async () => (await hits(ada)).length === 29);
  assert.equal(await ada.by('search-more').isVisible(), false);
  const oldest = ada.by('search-hit').last();
  assert.match(await oldest.textContent(), /the first anchor/u);
  await oldest.click();
  await ada.by('context-dialog').waitFor();
  assert.match(await ada.by('context-hit').textContent(), /the first anchor/u);
  assert.ok((await ada.by('context-other').count()) >= 5);
  await accessible(ada, 'a message by itself');
  await ada.by('dialog-cancel').click();
  assert.deepEqual(ada.problems(), []);
  await Promise.all([ada, ben].map(({ context }) => context.close()));
});

test('too many searches say how long to wait', async () => {
  const strict = await Server.start({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_EXPENSIVE_PER_MINUTE: '2' });
  try {
    const { ada } = await roomOfTwo(browser, strict);
    for (let n = 0; n < 3; n += 1) await search(ada, 'x');
    assert.match(await ada.by('search-status').textContent(), /^Too many searches; try again in \d+ seconds?\.$/u);
  } finally {
    await strict.stop();
  }
});
