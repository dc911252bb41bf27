// Asking svrlists: who is asked, when, and what is kept.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Lists } from '../../dist/lists.js';
import { Device, FakeEdge, FakeSvrlist, quiet } from '../support.mjs';

async function lists(svrlists, device = new Device(), options = {}) {
  return new Lists({
    svrlists: svrlists.map(({ url }) => url), query: { room: 'live:1000', uid: '', platform: 'web' }, tls: undefined,
    overtakeMs: 100, timeoutMs: 400, store: false, network: device.platform.network, ...options,
  }, device.platform);
}

async function svrlists(count) {
  const edge = await FakeEdge.start('a');
  return Promise.all(Array.from({ length: count }, () => FakeSvrlist.start([edge])));
}

test('the question names room, user and platform', async () => {
  const [svrlist] = await svrlists(1);
  const list = await (await lists([svrlist])).ask();
  assert.equal(svrlist.asked[0].path, '/svrlist');
  assert.deepEqual(svrlist.asked[0].query, { room: 'live:1000', platform: 'web' });
  assert.equal(list.svrlist, svrlist.url);
  assert.equal(list.answer.edges[0].id, 'a');
  assert.equal(list.answer.token, 'cell-token');
});

test('the next svrlist is asked at once when one fails', async () => {
  const [dead, broken, good] = await svrlists(3);
  dead.stop();
  broken.instead = [200, {}, '{"servers": ['];
  const began = performance.now();
  const asked = await lists([dead, broken, good], new Device(), { overtakeMs: 5_000 });
  assert.equal((await asked.ask()).svrlist, good.url);
  assert.ok(performance.now() - began < 1_000);
  await asked.ask();
  assert.equal(broken.asked.length, 1, 'the one that answered is asked first from then on');
});

test('a svrlist that is slow is overtaken, and the first answer counts', async () => {
  const [silent, good] = await svrlists(2);
  silent.instead = 'silent';
  const began = performance.now();
  assert.equal((await (await lists([silent, good])).ask()).svrlist, good.url);
  assert.ok(performance.now() - began >= 95);
});

test('nobody answers in time', async () => {
  const [silent] = await svrlists(1);
  silent.instead = 'silent';
  await assert.rejects((await lists([silent])).ask(), { name: 'NoList', message: /no answer in 400 ms/, waitMs: 0 });
});

test('one question at a time', async () => {
  const [svrlist] = await svrlists(1);
  const asked = await lists([svrlist]);
  const [one, two] = await Promise.all([asked.ask(), asked.ask()]);
  assert.equal(one, two);
  assert.equal(svrlist.asked.length, 1);
});

test('a list holds for its ttl, in its network', async () => {
  const [svrlist] = await svrlists(1);
  const device = new Device();
  const asked = await lists([svrlist], device);
  const list = await asked.ask();
  assert.equal(asked.cached(), list);
  device.name = 'cellular';
  assert.equal(asked.cached(), null);
  assert.equal(asked.last(), list, 'old news is better than none');
  device.name = 'wifi';
  assert.equal(asked.cached(), list);
  device.wallOffset = 60_001;
  assert.equal(asked.cached(), null);
  assert.equal(asked.last(), list);
});

test('another network of the same name', async () => {
  const [svrlist] = await svrlists(1);
  const asked = await lists([svrlist], new Device(), { store: true });
  await asked.ask();
  asked.forget();
  assert.equal(asked.cached(), null);
});

test('a question from the old network is given up', async () => {
  const [svrlist] = await svrlists(1);
  const asked = await lists([svrlist]);
  svrlist.instead = 'silent';
  const old = asked.ask();
  asked.forget();
  svrlist.instead = null;
  await assert.rejects(old, /the network changed/);
  assert.equal((await asked.ask()).svrlist, svrlist.url);
});

test('the list is kept in localStorage while it holds', async () => {
  const [svrlist] = await svrlists(1);
  const device = new Device();
  await (await lists([svrlist], device, { store: true })).ask();
  const later = await lists([svrlist], device, { store: true });
  assert.equal(later.cached().source, 'storage');
  assert.equal(later.cached().answer.edges[0].id, 'a');
  device.wallOffset = 60_001;
  assert.equal(later.cached(), null);
  device.wallOffset = -60_001;
  assert.equal(later.cached(), null, 'a clock that was set back');
  device.wallOffset = 0;
  for (const key of device.stored.keys()) device.stored.set(key, '{"answer": 3');
  assert.equal(later.cached(), null, 'what is damaged is not there');
  assert.equal((await lists([svrlist], device)).cached(), null, 'only if it is wanted');
});

test('Retry-After is obeyed, and others are asked meanwhile', async () => {
  const [busy, good] = await svrlists(2);
  busy.instead = [429, { 'retry-after': '30' }, '{"error":{}}'];
  const device = new Device();
  const asked = await lists([busy, good], device);
  assert.equal((await asked.ask()).svrlist, good.url);
  good.instead = [503, { 'retry-after': '20' }, ''];
  await assert.rejects(asked.ask(), /status 503/);
  await assert.rejects(asked.ask(), (error) => error.waitMs > 19_000 && error.waitMs <= 20_000);
  await quiet(50);
  assert.equal(busy.asked.length, 1);
  assert.equal(good.asked.length, 2);
  device.wallOffset = 20_100;
  good.instead = null;
  assert.equal((await asked.ask()).svrlist, good.url);
});
