// Happy eyeballs.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { race } from '../../dist/race.js';
import { Device, FakeEdge, quiet, until } from '../support.mjs';

async function run(edges, options = {}) {
  const attempts = [];
  const passage = await race(edges.map(({ server }) => ({ id: server.id, url: server.urls.ws, why: '' })), {
    protocol: '', staggerMs: 150, timeoutMs: 1_000, signal: new AbortController().signal,
    onAttempt: (edge, failed) => attempts.push([edge.id, failed]), ...options,
  }, new Device().platform);
  passage?.socket.close();
  return { won: passage?.edge.id ?? null, attempts, passage };
}

const two = () => Promise.all([FakeEdge.start('a'), FakeEdge.start('b')]);

test('a quick first edge is alone', async () => {
  const [a, b] = await two();
  const { won, attempts, passage } = await run([a, b], { staggerMs: 1_000 });
  assert.equal(won, 'a');
  assert.ok(passage.openMs > 0 && passage.openMs < 1_000);
  await quiet(1_100);
  assert.deepEqual([a.asked.length, b.asked.length], [1, 0]);
  assert.deepEqual(attempts, [['a', false]]);
});

test('the second starts 150 ms later, may win, and the loser is closed', async () => {
  const [a, b] = await two();
  a.delayMs = 1_500;
  const { won, attempts } = await run([a, b], { timeoutMs: 5_000 });
  assert.equal(won, 'b');
  const head = b.asked[0] - a.asked[0];
  // Seen from the edges, of which the first may have been slow to notice.
  assert.ok(head >= 120 && head < 1_000, `${head} ms`);
  await quiet(1_500);
  assert.equal(a.sockets.size, 0);
  assert.deepEqual(attempts, [['b', false]], 'a loser neither failed nor was opened');
});

test('the first may still win after the second started', async () => {
  const [a, b] = await two();
  a.delayMs = 250;
  b.delayMs = 400;
  assert.equal((await run([a, b])).won, 'a');
  await quiet(400);
  assert.equal(b.sockets.size, 0);
});

test('a loser that opens in the same moment is closed', async () => {
  const [a, b] = await two();
  a.delayMs = 200;
  b.delayMs = 50;
  const { won } = await run([a, b]);
  const loser = won === 'a' ? b : a;
  await until('closed', () => loser.sockets.size === 0);
});

test('the second starts at once if the first fails', async () => {
  for (const fail of [(edge) => { edge.refuse = 503; }, (edge) => edge.stop()]) {
    const [a, b] = await two();
    fail(a);
    const began = performance.now();
    const { won, attempts } = await run([a, b], { staggerMs: 5_000 });
    assert.equal(won, 'b');
    assert.ok(performance.now() - began < 1_000);
    assert.deepEqual(attempts, [['a', true], ['b', false]]);
  }
});

test('nobody is open in time', async () => {
  const [a, b] = await two();
  a.silent = true;
  b.refuse = 404;
  const { won, attempts } = await run([a, b], { timeoutMs: 300 });
  assert.equal(won, null);
  assert.deepEqual(attempts.map(([id, failed]) => [id, failed]).sort(), [['a', true], ['b', true]]);
});

test('it can be ended', async () => {
  const [a] = await two();
  a.silent = true;
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  assert.equal((await run([a], { signal: abort.signal })).won, null);
  assert.equal((await run([a], { signal: abort.signal })).won, null, 'also before it begins');
});

test('a URL that no socket takes is a failure', async () => {
  const [, b] = await two();
  const bad = { server: { id: 'bad', urls: { ws: 'nonsense' } } };
  assert.equal((await run([bad, b])).won, 'b');
});
