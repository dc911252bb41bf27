// One Centrifuge client over several edges: how it gets there, and where it goes from there.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect, Linecast } from '../../dist/index.js';
import { client, connected, FakeEdge, FakeSvrlist, quiet, until, WebSocket, world } from '../support.mjs';

const on = (edge) => edge.sockets.size === 1;

test('connects through the best edge and hands over a ready client', async () => {
  const { edges: [a, b], svrlist } = await world(2);
  const linecast = await connect({ svrlist: svrlist.url, WebSocket });
  assert.equal(linecast.centrifuge.state, 'connected');
  assert.equal(linecast.edge.id, 'a');
  assert.equal(linecast.answer.cell.carrier, 'telecom');
  assert.ok(on(a));
  linecast.close();
  await until('closed', () => a.sockets.size === 0);
  assert.equal(b.asked.length, 0);
  assert.equal(linecast.state.name, 'idle');
});

test('states and events in order', async () => {
  const { seen } = await connected(await world());
  assert.deepEqual(seen.states, ['asking', 'racing', 'opening', 'connected']);
  assert.deepEqual(seen.edges, ['a']);
  assert.equal(seen.lists.length, 1);
  assert.deepEqual(seen.faults, []);
});

test('the second edge wins if the first is slow', async () => {
  const here = await world();
  here.edges[0].delayMs = 4_000;
  const { linecast } = await connected(here);
  assert.equal(linecast.edge.id, 'b');
  assert.ok(here.edges[1].asked[0] - here.edges[0].asked[0] >= 120);
});

test('subscriptions outlive a move', async () => {
  const here = await world();
  const [a, b] = here.edges;
  const { centrifuge, seen } = await connected(here);
  const subscription = centrifuge.newSubscription('live:1000');
  const got = [];
  subscription.on('publication', ({ data }) => got.push(data));
  subscription.subscribe();
  await subscription.ready();
  a.publish('live:1000', 1);
  await until('the first', () => got.length === 1);
  a.close(3001, `shutdown; next: ${b.host}`);
  await until('subscribed again', () => b.connected === 1 && subscription.state === 'subscribed');
  b.publish('live:1000', 2);
  await until('the second', () => got.length === 2);
  assert.deepEqual(got, [1, 2]);
  assert.deepEqual(seen.edges, ['a', 'b']);
  assert.deepEqual(seen.errors, []);
});

test('go-away 3001: to the named edge, although it is the last of the list', async () => {
  const here = await world();
  const [a, b, c] = here.edges;
  const { linecast, seen } = await connected(here);
  const began = performance.now();
  a.close(3001, `shutdown; next: ${c.host}`);
  await until('on c', () => linecast.edge?.id === 'c');
  assert.ok(performance.now() - began < 1_000, 'at once');
  assert.equal(b.asked.length, 0);
  assert.equal(a.asked.length, 1);
  assert.equal(seen.goaways[0].next, c.host);
});

test('go-away to an edge that svrlist did not list', async () => {
  const here = await world(1);
  const stranger = await FakeEdge.start('stranger');
  const { linecast } = await connected(here);
  here.edges[0].close(3001, `shutdown; next: ${stranger.host}`);
  await until('there', () => linecast.edge?.url === stranger.url);
  assert.equal(linecast.edge.id, null);
});

test('go-away, and the named edge is dead: the next of the list', async () => {
  const here = await world();
  const [a, b, c] = here.edges;
  const { linecast } = await connected(here);
  c.stop();
  a.close(3001, `shutdown; next: ${c.host}`);
  await until('on b', () => linecast.edge?.id === 'b');
  assert.equal(a.asked.length, 1);
  assert.equal(here.svrlist.asked.length, 1);
  assert.ok(on(b));
});

test('go-away, and nobody of the list is there: svrlist is asked anew', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  const fresh = await FakeEdge.start('fresh');
  const { linecast } = await connected(here);
  b.stop();
  here.svrlist.edges = [a, fresh];
  a.close(4001, `busy; next: ${b.host}`);
  await until('on the new one', () => linecast.edge?.id === 'fresh');
  assert.equal(here.svrlist.asked.length, 2);
  assert.equal(a.asked.length, 1, 'not where it was sent away');
});

test('full at the door, code 4001: to the named edge', async () => {
  const here = await world();
  const [a, b, c] = here.edges;
  a.door = [4001, `full; next: ${c.host}`];
  const { linecast, seen } = await connected(here);
  assert.equal(linecast.edge.id, 'c');
  assert.equal(a.asked.length, 1);
  assert.equal(b.asked.length, 0);
  assert.equal(seen.goaways.length, 1);
  assert.equal(here.svrlist.asked.length, 1);
});

test('edges that send a client round in circles are left', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  a.door = [4001, `full; next: ${b.host}`];
  b.door = [4001, `full; next: ${a.host}`];
  const { centrifuge } = client(here);
  centrifuge.connect();
  await until('asked again', () => here.svrlist.asked.length >= 3);
  const tries = a.asked.length + b.asked.length;
  assert.ok(tries <= 2 * here.svrlist.asked.length, `${tries} tries`);
  a.door = null;
  await centrifuge.ready(5_000);
});

test('a broken connection: the same edge once', async () => {
  const here = await world();
  const [a, b] = here.edges;
  const { linecast } = await connected(here);
  a.cut();
  await until('on a again', () => a.connected === 2 && linecast.edge?.id === 'a');
  assert.equal(b.asked.length, 0);
  assert.equal(here.svrlist.asked.length, 1);
});

test('an edge that died: once there, then the others', async () => {
  const here = await world();
  const [a, b] = here.edges;
  const { linecast, seen } = await connected(here);
  a.refuse = 503;
  a.cut();
  await until('on b', () => linecast.edge?.id === 'b');
  assert.equal(a.asked.length, 2);
  assert.ok(on(b));
  assert.deepEqual(seen.edges, ['a', 'b']);
  assert.equal(here.svrlist.asked.length, 1);
});

test('when all are dead, lists are asked for after svrlist\'s back-off, and it recovers', async () => {
  const here = await world(2);
  here.svrlist.answer.backoff = { base_delay: 0.2, max_delay: 2, factor: 2, jitter: 0.5 };
  const [a, b] = here.edges;
  const { linecast } = await connected(here);
  for (const edge of [a, b]) {
    edge.refuse = 503;
    edge.cut();
  }
  await until('asked four times', () => here.svrlist.asked.length >= 5);
  const times = here.svrlist.asked.map(({ at }) => at);
  const waits = times.slice(2).map((at, i) => at - times[i + 1]);
  // Three quarters of 0.2 s, 0.4 s, 0.8 s, for dice that fall on one half.
  for (const [i, due] of [150, 300, 600].entries()) {
    assert.ok(waits[i] >= due - 5 && waits[i] < due + 1_000, `wait ${i}: ${waits[i]} ms`);
  }
  b.refuse = null;
  await until('on b', () => linecast.edge?.id === 'b');
});

test('svrlist is down: the list that the client has is used', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  const { linecast, seen } = await connected(here);
  here.svrlist.instead = [500, {}, ''];
  for (const edge of [a, b]) {
    edge.refuse = 503;
    edge.cut();
  }
  await until('asked', () => here.svrlist.asked.length >= 2);
  b.refuse = null;
  await until('on b', () => linecast.edge?.id === 'b');
  assert.ok(seen.faults.some(({ what }) => what.includes('status 500')));
});

test('no svrlist at first: asked again, for ever', async () => {
  const here = await world(1);
  here.svrlist.instead = [503, { 'retry-after': '0' }, ''];
  here.device.random = 0.999;
  const { centrifuge, linecast } = client(here);
  centrifuge.connect();
  await until('waiting', () => linecast.state.name === 'waiting');
  here.svrlist.instead = null;
  here.device.tell('online');
  await centrifuge.ready(5_000);
});

test('an edge that accepts and answers nothing is left', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  a.door = [1011, 'broken'];
  const { linecast } = await connected(here);
  assert.equal(linecast.edge.id, 'b');
  assert.equal(a.asked.length, 1);
  assert.ok(on(b));
});

test('an edge whose connect reply is a passing error is left', async () => {
  const here = await world(2);
  const [a] = here.edges;
  a.error = { code: 100, message: 'internal', temporary: true };
  const { linecast } = await connected(here);
  assert.equal(linecast.edge.id, 'b');
});

test('a token that expired is renewed at the same edge', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  a.error = { code: 109, message: 'token expired' };
  let tokens = 0;
  const getToken = async () => {
    tokens += 1;
    if (tokens === 2) a.error = null;
    return `token ${tokens}`;
  };
  const { linecast } = await connected(here, { centrifuge: { getToken } });
  assert.equal(linecast.edge.id, 'a');
  assert.equal(tokens, 2);
  assert.equal(b.asked.length, 0);
  assert.deepEqual(a.connects.map(({ token }) => token), ['token 1', 'token 2']);
});

test('an application that cannot get a token is not asked in a circle', async () => {
  const here = await world(1);
  let calls = 0;
  const getToken = async () => {
    calls += 1;
    throw new Error('no');
  };
  const { centrifuge } = client(here, { centrifuge: { getToken } });
  centrifuge.connect();
  await quiet(1_000);
  assert.ok(calls >= 2 && calls <= 3, `${calls} calls`);
});

test('an edge that drops each client is not asked in a circle', async () => {
  const here = await world(1);
  here.svrlist.answer.backoff = { base_delay: 0.3, max_delay: 1, factor: 2, jitter: 0 };
  const [a] = here.edges;
  const { centrifuge } = await connected(here);
  centrifuge.on('connected', () => a.cut());
  a.cut();
  await quiet(1_000);
  assert.ok(a.asked.length >= 4 && a.asked.length <= 6, `${a.asked.length} connections`);
});

test('a server that ends it for good is obeyed', async () => {
  const here = await world(2);
  const { centrifuge, linecast } = await connected(here);
  here.edges[0].close(3500, 'invalid token');
  await until('disconnected', () => centrifuge.state === 'disconnected');
  await quiet(100);
  assert.equal(linecast.state.name, 'idle');
  assert.equal(here.edges[0].asked.length + here.edges[1].asked.length, 1);
});

test('disconnect and connect, at any time', async () => {
  const here = await world(1);
  const [a] = here.edges;
  a.delayMs = 60;
  const { centrifuge, linecast } = client(here);
  for (let ms = 0; ms < 120; ms += 7) {
    centrifuge.connect();
    await quiet(ms);
    centrifuge.disconnect();
    assert.equal(linecast.state.name, 'idle');
  }
  centrifuge.connect();
  centrifuge.disconnect();
  centrifuge.connect();
  await centrifuge.ready(5_000);
  await until('one connection', () => a.sockets.size === 1);
  await quiet(200);
  assert.equal(a.sockets.size, 1);
});

test('the client\'s data and options reach the edge', async () => {
  const here = await world(1);
  const [a] = here.edges;
  const { centrifuge } = await connected(here, { centrifuge: { data: { n: 1 }, name: 'app' } });
  centrifuge.setData({ n: 2 });
  a.cut();
  await until('again', () => a.connects.length === 2);
  assert.deepEqual(a.connects.map(({ data, name }) => [data.n, name]), [[1, 'app'], [2, 'app']]);
});

test('getData of the application is asked for each attempt', async () => {
  const here = await world(1);
  const [a] = here.edges;
  let n = 0;
  await connected(here, { centrifuge: { getData: async () => ({ n: n += 1 }) } });
  a.cut();
  await until('again', () => a.connects.length === 2);
  assert.deepEqual(a.connects.map(({ data }) => data.n), [1, 2]);
});

test('the Protobuf build: its subprotocol is found out', async () => {
  const { Centrifuge } = await import('centrifuge/build/protobuf');
  const here = await world(1);
  const { centrifuge } = client(here, { Centrifuge });
  centrifuge.connect();
  await until('asked with it', () => here.edges[0].subprotocols.includes('centrifuge-protobuf'));
  assert.deepEqual(here.edges[0].subprotocols.slice(0, 2), ['', 'centrifuge-protobuf']);
  const said = client(here, { Centrifuge, protocol: 'centrifuge-protobuf' });
  said.centrifuge.connect();
  await until('asked with it', () => here.edges[0].subprotocols.length >= 3);
  assert.equal(here.edges[0].subprotocols[2], 'centrifuge-protobuf');
});

test('the list is asked for anew after its ttl, 30 % earlier or later', async () => {
  for (const [dice, due] of [[0, 700], [0.999, 1_300]]) {
    const here = await world(1);
    here.svrlist.answer.ttl = 1;
    here.device.random = dice;
    const { linecast } = await connected(here);
    await until('asked again', () => here.svrlist.asked.length === 2);
    const [first, second] = here.svrlist.asked;
    const waited = second.at - first.at;
    assert.ok(waited > due - 20 && waited < due + 1_000, `${waited} ms`);
    assert.equal(here.edges[0].asked.length, 1, 'and the client stays where it is');
    linecast.close();
    await quiet(1_500);
    assert.equal(here.svrlist.asked.length, 2, 'not after the end');
  }
});

test('Retry-After holds for renewals too', async () => {
  const here = await world(1);
  here.svrlist.answer.ttl = 1;
  here.device.random = 0;
  await connected(here);
  here.svrlist.instead = [429, { 'retry-after': '1' }, '{"error":{}}'];
  await until('asked again', () => here.svrlist.asked.length === 2);
  await until('and again', () => here.svrlist.asked.length === 3);
  const [, second, third] = here.svrlist.asked;
  assert.ok(third.at - second.at >= 990, `${third.at - second.at} ms`);
});

test('a list from storage saves the question', async () => {
  const here = await world(1);
  (await connected(here, { store: true })).linecast.close();
  const { seen } = await connected(here, { store: true });
  assert.equal(seen.lists[0].source, 'storage');
  assert.equal(here.svrlist.asked.length, 1);
});

test('the device came online: a new list, and nobody moves without need', async () => {
  const here = await world(2);
  const { seen } = await connected(here);
  here.device.tell('online');
  await until('asked', () => here.svrlist.asked.length === 2);
  await quiet(100);
  assert.deepEqual(seen.edges, ['a']);
  assert.equal(here.edges[0].asked.length, 1);
});

test('another kind of network: moves, and opens the new connection first', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  const { linecast, centrifuge } = await connected(here);
  b.delayMs = 100;
  here.svrlist.edges = [b, a];
  here.device.name = 'cellular';
  here.device.tell('change');
  await until('b is being asked', () => b.asked.length === 1);
  assert.equal(centrifuge.state, 'connected');
  assert.equal(linecast.edge.id, 'a');
  await until('on b', () => linecast.edge?.id === 'b');
  await until('a is left', () => a.sockets.size === 0);
  assert.equal(b.sockets.size, 1);
});

test('another place in a network of the same name: moves', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  const { linecast } = await connected(here);
  here.svrlist.edges = [b, a];
  here.svrlist.answer.cell = { region: '440100', carrier: 'mobile' };
  here.device.tell('online');
  await until('on b', () => linecast.edge?.id === 'b');
});

test('estimates of a connection\'s speed are no change of network', async () => {
  const here = await world(1);
  await connected(here);
  for (let n = 0; n < 10; n += 1) here.device.tell('change');
  await quiet(100);
  assert.equal(here.svrlist.asked.length, 1);
});

test('a wait ends when the device comes online', async () => {
  const here = await world(1);
  here.device.isOnLine = false;
  const { centrifuge, linecast } = client(here);
  centrifuge.connect();
  await until('waiting', () => linecast.state.name === 'waiting');
  assert.equal(here.svrlist.asked.length, 0);
  here.device.isOnLine = true;
  const began = performance.now();
  here.device.tell('online');
  await centrifuge.ready(5_000);
  assert.ok(performance.now() - began < 2_000);
});

test('move() by the application', async () => {
  const here = await world(2);
  const [a, b] = here.edges;
  const { linecast } = await connected(here);
  here.svrlist.edges = [b, a];
  await linecast.move();
  await until('on b', () => linecast.edge?.id === 'b');
});

test('several svrlists', async () => {
  const here = await world(1);
  const dead = await FakeSvrlist.start([]);
  dead.stop();
  const { linecast } = await connected(here, { svrlist: [`${dead.url}/`, `${here.svrlist.url}/`] });
  assert.equal(linecast.edge.id, 'a');
});

test('what cannot work is said at once', async () => {
  const { device } = await world(0);
  assert.throws(() => new Linecast({ svrlist: [] }, device.platform), /no svrlist/);
  assert.throws(() => new Linecast({ svrlist: 'nonsense' }, device.platform), /Invalid URL/);
  assert.throws(() => new Linecast({ svrlist: 'http://x' }, { ...device.platform, WebSocket: null }), /no WebSocket/);
});
