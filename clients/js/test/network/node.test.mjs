// A client in Node over a real network: edges die and end under it, and it misses nothing.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';

import { connect, Linecast } from '../../dist/index.js';
import { defaultPlatform } from '../../dist/platform.js';
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

test('an edge is killed under a dozen clients: all are elsewhere within seconds', { skip, timeout: 120_000 }, async () => {
  const channel = `live:many-${process.pid}`;
  const viewers = await Promise.all(Array.from({ length: 12 }, () => viewer(channel)));
  const publisher = network.numbers(channel, 0, 10);
  await until('the first', () => viewers.every(({ numbers }) => numbers.length >= 50), 20_000);

  // Most are where their cell's clients are sent first.
  const ports = viewers.map(({ linecast }) => port(linecast));
  const [killed] = ports.toSorted((a, b) => ports.filter((p) => p === b).length - ports.filter((p) => p === a).length);
  const hit = viewers.filter((_, n) => ports[n] === killed);
  const reached = hit.map(({ linecast }) => new Promise((resolve) => {
    linecast.centrifuge.on('connected', () => resolve({ at: performance.now(), on: port(linecast) }));
  }));
  const began = performance.now();
  const pid = network.kill(killed);
  const back = await Promise.all(reached);
  const took = back.map(({ at }) => at - began);
  assert.ok(Math.max(...took) < 10_000, `${took}`);
  // It is started anew after a while; most must not have waited for that.
  const elsewhere = back.filter(({ on }) => on !== killed).length;
  assert.ok(elsewhere >= hit.length / 2, `${elsewhere} of ${hit.length}`);

  const seen = publisher.count();
  await until('some more', () => viewers.every(({ numbers }) => numbers.length >= seen + 50), 20_000);
  const count = await publisher.stop();
  await until('the last', () => viewers.every(({ numbers }) => numbers.length >= count), 10_000);
  for (const { numbers } of viewers) assert.deepEqual(numbers, dense(count));
  console.log(`# process ${pid} killed under ${hit.length} of 12; ${elsewhere} elsewhere, all within ${Math.round(Math.max(...took))} ms`);

  // What became of it is told when they leave; of so many in one network few are heard.
  const rows = ({ heard = 0, prefix = 0 }) => heard + prefix;
  const before = rows(await network.reports());
  for (const { linecast } of viewers) linecast.close();
  await until('all have reported', async () => rows(await network.reports()) >= before + viewers.length, 20_000);
  const { malformed, token } = await network.reports();
  assert.deepEqual([malformed ?? 0, token ?? 0], [0, 0]);
});

/** A client in a network of its own, from where one port cannot be reached. */
function device(number, unreachable) {
  const platform = defaultPlatform();
  const from = { 'x-forwarded-for': `127.1.${number}.1` };
  class Partial extends WebSocket {
    constructor(url, protocols) {
      // Nobody listens on port 9.
      super(Number(new URL(url).port) === unreachable ? 'ws://127.0.0.1:9/' : url, protocols);
    }
  }
  const statuses = [];
  const linecast = new Linecast({ svrlist: network.svrlist, WebSocket: Partial }, {
    ...platform, fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...from } }),
  });
  linecast.on('report', ({ status }) => statuses.push(status));
  return { linecast, statuses };
}

test('svrlist hears what clients report, and sends others elsewhere', { skip, timeout: 120_000 }, async () => {
  const ask = async () => {
    const response = await fetch(`${network.svrlist}/svrlist?explain=1&uid=asker`, { headers: { 'x-forwarded-for': '127.9.9.9' } });
    return response.json();
  };
  // The edge killed above has to be there again.
  await until('all edges are listed', () => network.listsAll(), 30_000);
  const before = (await ask()).servers[0];
  const { heard = 0 } = await network.reports();
  const devices = Array.from({ length: 60 }, (_, n) => device(n + 1, before.ports.http));
  for (const { linecast } of devices) linecast.centrifuge.connect();
  await Promise.all(devices.map(({ linecast }) => linecast.centrifuge.ready(30_000)));
  assert.ok(devices.every(({ linecast }) => linecast.edge.id !== before.id));
  for (const { linecast } of devices) linecast.close();
  await until('they are heard', async () => (await network.reports()).heard >= heard + 60, 20_000);
  const after = await until('another is first', async () => {
    const { servers } = await ask();
    return servers[0].id !== before.id && servers;
  }, 30_000);
  const now = after.find(({ id }) => id === before.id)?.explain;
  assert.ok(now === undefined || now.mean + now.residual > before.explain.mean, JSON.stringify(now));
  console.log(`# ${before.id} was first; after 60 devices failed there it is ${after[0].id}`);
});

test('a report that comes too often is told when to come again', { skip, timeout: 30_000 }, async () => {
  const { token, servers } = await (await fetch(`${network.svrlist}/svrlist`)).json();
  const post = () => fetch(`${network.svrlist}/report`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain;charset=UTF-8', 'x-forwarded-for': '127.77.7.7' },
    body: JSON.stringify({ token, session: `again-${process.pid}-x`, reports: [{ edge: servers[0].id, attempts: 1 }] }),
  });
  assert.equal((await post()).status, 204);
  const again = await post();
  assert.equal(again.status, 429);
  assert.ok(Number(again.headers.get('retry-after')) > 0);
});
