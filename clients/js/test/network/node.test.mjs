// A client in Node over a real network: edges die and end under it, and it misses nothing.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';

import { connect } from '../../dist/index.js';
import { Network, skipped, until } from './support.mjs';

const skip = skipped();
let network;

before(async () => {
  if (!skip) network = await Network.up();
}, { timeout: 90_000 });
after(() => network?.down());

/** A client in a room that notes numbers, and how each subscription came back. */
async function viewer(channel) {
  const linecast = await connect({ svrlist: network.svrlist, room: channel, WebSocket });
  const subscription = linecast.centrifuge.newSubscription(channel, { positioned: true, recoverable: true });
  const numbers = [];
  const recovered = [];
  subscription.on('publication', ({ data }) => numbers.push(data.n));
  subscription.on('subscribed', (context) => {
    if (context.wasRecovering) recovered.push(context.recovered);
  });
  subscription.subscribe();
  await subscription.ready(5_000);
  return { linecast, subscription, numbers, recovered };
}

const port = ({ edge }) => Number(new URL(edge.url).port);
const dense = (count) => Array.from({ length: count }, (_, n) => n);

test('an edge is drained, another killed: every message once, in order', { skip, timeout: 120_000 }, async () => {
  const channel = `live:js-${process.pid}`;
  const { linecast, numbers, recovered } = await viewer(channel);
  const goaways = [];
  linecast.on('goaway', (goaway) => goaways.push(goaway));
  const publisher = network.numbers(channel, 0, 10);
  await until('the first', () => numbers.length >= 50, 20_000);

  const first = linecast.edge;
  network.drain(port(linecast));
  await until('sent on', () => linecast.edge !== null && linecast.edge.url !== first.url, 60_000);
  assert.equal(goaways[0].code, 3001);
  const second = linecast.edge;
  assert.ok(goaways[0].next === null || goaways[0].next === new URL(second.url).host);
  const drained = numbers.length;
  await until('some more', () => numbers.length >= drained + 50, 20_000);

  // `linecast up` starts it anew, so that it may be the same edge again; but nothing that it remembers.
  let back = 0;
  linecast.centrifuge.on('connected', () => { back = performance.now(); });
  const began = performance.now();
  network.kill(port(linecast));
  await until('connected again', () => back > began, 30_000);
  const killed = numbers.length;
  await until('some more', () => numbers.length >= killed + 50, 20_000);

  const count = await publisher.stop();
  await until('the last', () => numbers.length >= count, 10_000);
  assert.deepEqual(numbers, dense(count));
  assert.deepEqual(recovered, [true, true]);
  const { id } = linecast.edge;
  console.log(`# ${count} messages; ${Math.round(back - began)} ms from the kill of ${second.id} until on ${id}`);
  linecast.close();
});
