// The parts that decide, without sockets: answers, go-aways, waits, routes, counts.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readAnswer } from '../../dist/answer.js';
import { spread, wait } from '../../dist/backoff.js';
import { readGoAway, resolveNext } from '../../dist/goaway.js';
import { retryAfter } from '../../dist/lists.js';
import { Route } from '../../dist/route.js';
import { Tally } from '../../dist/tally.js';

const edge = (id, port = 1) => ({ id, url: `ws://${id}.test:${port}/connection/websocket`, why: '' });
const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((id) => edge(id));
const backoff = { baseMs: 1_000, maxMs: 10_000, factor: 2, jitter: 0.4 };

test('an answer as svrlist gives it', () => {
  const answer = readAnswer({
    cell: { country: 'CN', region: '110000', carrier: 'telecom' },
    servers: [
      { id: 'a', urls: { ws: 'ws://h:1/connection/websocket', wss: 'wss://h:2/connection/websocket' }, why: 'near' },
      { id: 'goim-only', urls: { goim_tcp: 'tcp://h:3' } },
    ],
    stale: true, ttl: 56, backoff: { max_delay: 300, base_delay: 3, factor: 1.8, jitter: 0.3 }, token: 't',
    report_interval: 30,
  }, true);
  assert.deepEqual(answer, {
    cell: { region: '110000', carrier: 'telecom' },
    edges: [{ id: 'a', url: 'wss://h:2/connection/websocket', why: 'near' }],
    stale: true, ttlMs: 56_000, backoff: { baseMs: 3_000, maxMs: 300_000, factor: 1.8, jitter: 0.3 }, token: 't',
    reportIntervalMs: 30_000,
  });
});

test('what is missing or absurd in an answer gets its default', () => {
  const servers = [{ id: 'a', urls: { ws: 'ws://h:1/' } }];
  const answer = readAnswer({ servers, ttl: -1, backoff: { base_delay: 'x', factor: 0, jitter: 9 } }, false);
  assert.equal(answer.ttlMs, 60_000);
  assert.equal(answer.reportIntervalMs, 60_000);
  assert.equal(answer.token, null);
  assert.deepEqual(answer.backoff, { baseMs: 3_000, maxMs: 300_000, factor: 1, jitter: 1 });
});

test('an answer without a usable edge is none', () => {
  for (const json of [null, 1, 'x', [], {}, { servers: 3 }, { servers: [null, 7, { id: 'a' }] },
    { servers: [{ id: 'a', urls: { ws: 'javascript:alert(1)' } }] }, { servers: [{ id: 'a', urls: { wss: 'wss://h:1/' } }] }]) {
    assert.throws(() => readAnswer(json, false), /no edge with a ws endpoint/, JSON.stringify(json));
  }
});

test('go-aways', () => {
  const read = (code, reason) => readGoAway(code, reason)?.next;
  assert.equal(read(3001, 'shutdown; next: 192.0.2.7:7602'), '192.0.2.7:7602');
  assert.equal(read(4001, 'full; next: [2001:db8::1]:7602'), '[2001:db8::1]:7602');
  assert.equal(read(4001, 'busy'), null);
  assert.equal(read(3001, ''), null);
  assert.equal(read(3008, 'slow; next: 192.0.2.7:7602'), undefined);
  assert.equal(read(1006, ''), undefined);
});

test('the edge behind an address is a known one, or one with the scheme and path of the last', () => {
  assert.equal(resolveNext('b.test:1', a, [a, b]), b);
  assert.deepEqual(resolveNext('x.test:9', a, [a, b]),
    { id: null, url: 'ws://x.test:9/connection/websocket', why: 'named by a go-away' });
  assert.equal(resolveNext('[2001:db8::1]:9', a, []).url, 'ws://[2001:db8::1]:9/connection/websocket');
  for (const bad of ['x.test:99999', 'user@x.test:9', 'x.test:9/path', '::', ':9', '']) {
    assert.equal(resolveNext(bad, a, []), null, bad);
  }
});

test('waits grow up to the longest, less a random share', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 50].map((n) => wait(backoff, n, 0)), [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  assert.equal(wait(backoff, 1, 0.5), 1_600);
  assert.equal(spread(backoff, 0.5), 200);
});

test('Retry-After in seconds and as a date', () => {
  const now = Date.parse('Sat, 21 Nov 2026 09:00:00 GMT');
  assert.equal(retryAfter('7', now), 7_000);
  assert.equal(retryAfter('Sat, 21 Nov 2026 09:00:10 GMT', now), 10_000);
  assert.equal(retryAfter('Sat, 21 Nov 2026 08:00:00 GMT', now), 0);
  assert.equal(retryAfter('soon', now), null);
  assert.equal(retryAfter(null, now), null);
  assert.equal(retryAfter('999999999', now), 3_600_000);
});

function route(edges = [a, b, c]) {
  const made = new Route(() => 0.5);
  assert.deepEqual(made.poll(), { kind: 'ask', waitMs: 0, fresh: false });
  made.handleList(edges, backoff);
  return made;
}
const raced = (step) => [step.waitMs, ...(step.kind === 'race' ? step.edges.map(({ id, url }) => id ?? url) : ['ask', step.fresh])];
const steps = (made, count) => Array.from({ length: count }, () => raced(made.poll()));

test('at first the list, two edges at a time, then lists with the growing wait', () => {
  const made = route();
  assert.deepEqual(steps(made, 3), [[0, 'a', 'b'], [0, 'c'], [200, 'ask', true]]);
  made.handleList([b, c], backoff);
  assert.deepEqual(steps(made, 2), [[0, 'b', 'c'], [800, 'ask', true]]);
  made.handleList([b], backoff);
  assert.deepEqual(steps(made, 2), [[0, 'b'], [1_600, 'ask', true]]);
});

test('a go-away: the named edge, the rest of the list, a new list', () => {
  const made = route([a, b, c, d]);
  made.poll();
  made.handleGoAway(a, c, [a, b, c, d], true, true);
  assert.deepEqual(steps(made, 3), [[0, 'c', 'b'], [0, 'd'], [200, 'ask', true]]);
  made.handleList([a, b], backoff);
  assert.deepEqual(steps(made, 1), [[0, 'b']], 'not the one that sent it on');
});

test('edges that name each other end nowhere', () => {
  const made = route([a, b]);
  made.poll();
  made.handleGoAway(a, b, [a, b], false, false);
  assert.deepEqual(steps(made, 1), [[0, 'b']]);
  made.handleGoAway(b, a, [a, b], false, false);
  assert.deepEqual(steps(made, 1), [[200, 'ask', true]]);
  made.handleList([a, b], backoff);
  assert.deepEqual(steps(made, 1), [[0, 'a', 'b']], 'if there is nothing else');
});

test('the loser of a race is next should the winner fail after all', () => {
  const made = route();
  made.poll();
  made.handleOpened([b]);
  assert.deepEqual(steps(made, 2), [[0, 'b', 'c'], [200, 'ask', true]]);
});

test('a broken connection: the same edge once, alone, then the others', () => {
  const made = route();
  made.poll();
  made.handleDrop(b, [a, b, c], true);
  assert.deepEqual(steps(made, 3), [[0, 'b'], [200, 'a', 'c'], [200, 'ask', true]]);
});

test('connections that do not hold wait longer and longer', () => {
  const made = route([a]);
  const waits = [];
  for (let n = 0; n < 5; n += 1) {
    made.handleDrop(a, [a], false);
    waits.push(made.poll().waitMs);
  }
  assert.deepEqual(waits, [0, 0, 800, 1_600, 3_200]);
  made.handleHeld();
  made.handleDrop(a, [a], false);
  assert.equal(made.poll().waitMs, 0);
});

test('counts by edge', () => {
  const tally = new Tally();
  tally.handleAttempt('a', true);
  tally.handleConnected('b', 12.345, 1_000);
  assert.deepEqual(tally.take(3_000), [
    { edge: 'a', attempts: 1, failures: 1, drops: 0, rtt_ms: null, seconds: 0 },
    { edge: 'b', attempts: 1, failures: 0, drops: 0, rtt_ms: 12.3, seconds: 2 },
  ]);
  tally.handleEnd(true, 4_500);
  const rows = tally.take(9_000);
  assert.deepEqual(rows, [{ edge: 'b', attempts: 0, failures: 0, drops: 1, rtt_ms: null, seconds: 1.5 }]);
  assert.deepEqual(tally.take(10_000), []);
  tally.restore(rows);
  assert.deepEqual(tally.take(10_000), rows);
});

test('no more than svrlist takes in one report', () => {
  const tally = new Tally();
  for (let n = 0; n < 20; n += 1) tally.handleAttempt(`edge ${n}`, true);
  for (let n = 0; n < 2_000; n += 1) tally.handleAttempt('edge 19', true);
  tally.handleConnected('edge 19', 1e9, 0);
  const rows = tally.take(1e12);
  assert.equal(rows.length, 16);
  assert.deepEqual(rows.at(-1),
    { edge: 'edge 19', attempts: 1_000, failures: 1_000, drops: 0, rtt_ms: 60_000, seconds: 86_400 });
});

test('an edge without a name is not counted', () => {
  const tally = new Tally();
  tally.handleAttempt(null, true);
  tally.handleConnected(null, 1, 0);
  tally.handleEnd(true, 9);
  assert.deepEqual(tally.take(10), []);
});
