/**
 * Operations across lost connections: on which condition they are sent again.
 *
 * @import { ClientFrame } from '../../static/client/types.js'
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Operations } from '../../static/client/operations.js';

/** @param {string} id @param {string} body @returns {ClientFrame} */
const edit = (id, body) => ({ type: 'edit', conversation: 'c', id, body });

test('what is sent again is done only if nobody has edited the message since', () => {
  /** @type {any[]} */
  let sent = [];
  const operations = new Operations((frame) => sent.push(frame));
  const ask = (/** @type {ClientFrame} */ frame, /** @type {number} */ seen) => {
    operations.ask(frame, { repeat: true, seen }).catch(() => {});
  };
  operations.open(64);
  ask(edit('a', 'one'), 5);
  ask(edit('b', 'one'), 7);
  ask(edit('a', 'two'), 5);
  const told = () => sent.map(({ id, body, if_rev: seen }) => [id, body, seen]);
  assert.deepEqual(
    told(),
    [
      ['a', 'one', undefined],
      ['b', 'one', undefined],
      ['a', 'two', undefined],
    ],
    'sent for the first time',
  );
  operations.handleReply({ type: 'ok', ref: sent[1].ref, rev: 8 });
  sent = [];
  operations.close();
  ask(edit('d', 'late'), 9);
  operations.open(64);
  assert.deepEqual(
    told(),
    [
      ['a', 'one', 5],
      // The first of the two is what has changed since.
      ['a', 'two', undefined],
      ['d', 'late', undefined],
    ],
    'sent again',
  );
  operations.rejectAll(/** @type {any} */ (new Error('the end')));
});
