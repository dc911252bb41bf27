// What svrlist hears, when, and what becomes of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connected, quiet, until, world } from '../support.mjs';

async function reporting(change = () => undefined) {
  const here = await world(2);
  here.svrlist.answer.report_interval = 1;
  change(here);
  return { ...here, ...(await connected(here)) };
}

test('once in an interval: what became of each edge', async () => {
  const { svrlist, edges: [a, b], linecast } = await reporting();
  a.refuse = 503;
  a.cut();
  await until('on b', () => linecast.edge?.id === 'b');
  await until('a report', () => svrlist.reports.length === 1);
  const { token, session, reports } = svrlist.reports[0];
  assert.equal(token, 'cell-token');
  assert.match(session, /^[0-9a-f]{32}$/);
  assert.deepEqual(Object.keys(svrlist.reports[0]), ['token', 'session', 'reports']);
  const [ofA, ofB] = reports;
  assert.deepEqual([ofA.edge, ofA.attempts, ofA.failures, ofA.drops], ['a', 2, 1, 1]);
  assert.deepEqual([ofB.edge, ofB.attempts, ofB.failures, ofB.drops], ['b', 1, 0, 0]);
  assert.ok(ofA.rtt_ms > 0 && ofA.rtt_ms < 1_000);
  assert.ok(ofB.seconds > 0 && ofB.seconds <= 1.1);
  assert.equal(svrlist.contentTypes[0], 'text/plain;charset=UTF-8', 'which needs no preflight');
  b.cut();
  await until('a second report', () => svrlist.reports.length === 2);
  assert.equal(svrlist.reports[1].session, session);
  const again = svrlist.reports[1].reports.find(({ edge }) => edge === 'b');
  assert.equal(again.drops, 1);
  assert.ok(again.seconds > 0.8 && again.seconds < 1.3, `${again.seconds} s since the last`);
});

test('a go-away is neither a failure nor a drop', async () => {
  const { svrlist, edges: [a, b] } = await reporting();
  a.close(3001, `shutdown; next: ${b.host}`);
  await until('a report', () => svrlist.reports.length === 1);
  for (const row of svrlist.reports[0].reports) assert.deepEqual([row.failures, row.drops], [0, 0], row.edge);
});

test('60 s is the interval where svrlist says none; no token, no report', async () => {
  const one = await reporting(({ svrlist }) => { delete svrlist.answer.report_interval; });
  const two = await reporting(({ svrlist }) => { delete svrlist.answer.token; });
  await quiet(1_300);
  assert.equal(one.svrlist.reports.length, 0);
  assert.equal(one.linecast.answer.reportIntervalMs, 60_000);
  assert.equal(two.svrlist.reports.length, 0);
});

test('404: not again before the next list', async () => {
  const { svrlist, linecast, seen } = await reporting(({ svrlist }) => { svrlist.reported = [404, {}]; });
  await until('tried', () => seen.reports.length === 1);
  assert.equal(seen.reports[0].status, 404);
  await quiet(1_300);
  assert.equal(svrlist.reports.length, 1);
  svrlist.reported = [204, {}];
  await linecast.move();
  await until('tried again', () => svrlist.reports.length === 2);
  assert.equal(svrlist.reports[1].reports[0].attempts, 2, 'nothing was forgotten');
});

test('429: not before Retry-After, and nothing is forgotten', async () => {
  const { svrlist, seen } = await reporting(({ svrlist }) => { svrlist.reported = [429, { 'retry-after': '2' }]; });
  await until('tried', () => seen.reports.length === 1);
  svrlist.reported = [204, {}];
  await quiet(1_500);
  assert.equal(svrlist.reports.length, 1);
  await until('tried again', () => svrlist.reports.length === 2);
  assert.equal(svrlist.reports[1].reports[0].attempts, 1);
});

test('401: a new list brings a new token', async () => {
  const { svrlist, seen } = await reporting(({ svrlist }) => {
    svrlist.reported = [401, {}];
    svrlist.onReport = () => { svrlist.answer.token = 'second'; };
  });
  await until('tried', () => seen.reports.length === 1);
  svrlist.reported = [204, {}];
  await until('asked', () => svrlist.asked.length === 2);
  await until('tried again', () => svrlist.reports.length === 2);
  assert.equal(svrlist.reports[1].token, 'second');
  assert.equal(svrlist.reports[1].reports[0].attempts, 1);
  await until('answered', () => seen.reports.at(-1).status === 204);
});

test('another cell: what was met in the old one is told by its token', async () => {
  const { device, svrlist, edges: [a, b], linecast } = await reporting(({ svrlist }) => { svrlist.answer.report_interval = 2; });
  a.cut();
  await until('connected again', () => linecast.edge !== null && a.asked.length + b.asked.length > 1);
  svrlist.answer.cell = { region: '440100', carrier: 'mobile' };
  svrlist.answer.token = 'token of mobile';
  svrlist.answer.report_interval = 1;
  device.name = 'cellular';
  device.tell('change');
  await until('two reports', () => svrlist.reports.length === 2);
  const [before, after] = svrlist.reports;
  assert.deepEqual([before.token, after.token], ['cell-token', 'token of mobile']);
  assert.equal(before.reports.find(({ edge }) => edge === 'a').drops, 1);
  assert.ok(after.reports.every(({ drops }) => drops === 0), 'each is told once');
  assert.ok(after.reports.some(({ attempts }) => attempts > 0), 'it moved');
});

test('another cell while a report is under way, which fails: it is told again by its own token', async () => {
  const { device, svrlist, seen } = await reporting(({ svrlist }) => { svrlist.reported = [503, {}]; });
  svrlist.onReport = () => {
    svrlist.onReport = () => undefined;
    svrlist.answer.cell = { region: '440100', carrier: 'mobile' };
    svrlist.answer.token = 'token of mobile';
    device.name = 'cellular';
    device.tell('change');
  };
  await until('tried', () => seen.reports.length === 1);
  svrlist.reported = [204, {}];
  await until('three reports', () => svrlist.reports.length >= 3 && svrlist.reports.at(-1).token === 'token of mobile');
  const told = svrlist.reports.slice(1).filter(({ token }) => token === 'cell-token').flatMap(({ reports }) => reports);
  assert.equal(told.reduce((sum, { attempts }) => sum + attempts, 0), 1, 'nothing was forgotten, nothing told twice');
});

test('the page goes away in another cell: each edge is told of once, in the cell that the client is in', async () => {
  const { device, svrlist, linecast } = await reporting(({ svrlist }) => { svrlist.answer.report_interval = 60; });
  svrlist.answer.cell = { region: '440100', carrier: 'mobile' };
  svrlist.answer.token = 'token of mobile';
  device.name = 'cellular';
  device.tell('change');
  await until('moved', () => linecast.answer.token === 'token of mobile' && linecast.state.name === 'connected');
  await quiet(500);
  device.hide();
  assert.deepEqual(device.beacons.map(({ body }) => body.token), ['token of mobile']);
});

test('400: dropped', async () => {
  const { svrlist } = await reporting(({ svrlist }) => { svrlist.reported = [400, {}]; });
  await until('two reports', () => svrlist.reports.length === 2);
  assert.equal(svrlist.reports[1].reports[0].attempts, 0);
});

test('415: as JSON from then on', async () => {
  const { svrlist } = await reporting(({ svrlist }) => { svrlist.reported = [415, {}]; });
  await until('two reports', () => svrlist.reports.length === 2);
  assert.deepEqual(svrlist.contentTypes.slice(0, 2), ['text/plain;charset=UTF-8', 'application/json']);
  assert.equal(svrlist.reports[1].reports[0].attempts, 1);
});

test('the page goes away: reported at once, by a beacon', async () => {
  const { device, svrlist } = await reporting(({ svrlist }) => { svrlist.answer.report_interval = 60; });
  device.hide();
  assert.equal(device.beacons.length, 1);
  const [{ url, body }] = device.beacons;
  assert.equal(url, `${svrlist.url}/report`);
  assert.equal(body.reports[0].edge, 'a');
  assert.equal(body.reports[0].attempts, 1);
  assert.match(body.session, /^[0-9a-f]{32}$/);
});

test('reports can be turned off', async () => {
  const here = await world(1);
  here.svrlist.answer.report_interval = 1;
  await connected(here, { report: false });
  here.device.hide();
  await quiet(1_200);
  assert.equal(here.svrlist.reports.length, 0);
  assert.equal(here.device.beacons.length, 0);
});

test('an edge that opens and does not answer has failed as often as it was tried', async () => {
  const { svrlist } = await reporting(({ edges: [a] }) => { a.door = [1011, 'broken']; });
  await until('a report', () => svrlist.reports.length === 1);
  const [ofA, ofB] = svrlist.reports[0].reports;
  assert.deepEqual([ofA.attempts, ofA.failures, ofA.drops], [1, 1, 0]);
  assert.deepEqual([ofB.attempts, ofB.failures, ofB.drops], [1, 0, 0]);
});
