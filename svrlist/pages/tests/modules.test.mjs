// What the dashboard's modules decide, without a browser. Run by `node --test svrlist/pages/tests/`.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ordered } from '../dashboard/alert.js';
import { nearest, path, scale, summary, timeTicks } from '../dashboard/chart.js';
import { age, bare, bits, count, many, ms, percent, points, span, unit } from '../dashboard/format.js';
import { apart, bow, frame, reaches } from '../dashboard/geometry.js';
import { allLines, linesOf, primary, role, way } from '../dashboard/lines.js';
import { drainedOf, entriesOf, names, shareOf, withEntry, withRule, withoutRule } from '../dashboard/policy.js';
import { ratemap, fitting, seen, stepOf, worstPairs } from '../dashboard/ratemap.js';
import { cellPath, edgePath, match, pathWith } from '../dashboard/routes.js';
import { fits, sortRows } from '../dashboard/table.js';
import { scoreOf, termsOf } from '../dashboard/terms.js';
import { edgeWords, lineWords, worst } from '../dashboard/words.js';
import { pastOf } from '../dashboard/views/alerts.js';
import { why } from '../dashboard/views/cell.js';
import { bundles, placed } from '../dashboard/views/geography.js';
import { ways } from '../dashboard/views/lines.js';
import { totals } from '../dashboard/views/overview.js';
import { target } from '../dashboard/views/sign-in.js';
import { standing } from '../dashboard/views/sites.js';
import { shares } from '../dashboard/views/zones.js';
import { map, network, overview } from './network.mjs';

test('numbers carry their unit and no more digits than they are worth', () => {
  assert.deepEqual([0, 950, 9500, 12_345, 1_999_999].map(count), ['0', '950', '9,500', '12.3 k', '2 M']);
  assert.deepEqual([0, 999.6, 1500, 5.12e9].map(bits), ['0 bit/s', '1 kbit/s', '1.5 kbit/s', '5.12 Gbit/s']);
  assert.deepEqual([0.123, 41.26, 12_000].map(ms), ['0.12 ms', '41.3 ms', '12 s']);
  assert.deepEqual([0, 0.0001, 0.051, 0.5, 0.99999, 1].map(percent), ['0 %', '< 0.1 %', '5.1 %', '50 %', '> 99.9 %', '100 %']);
  assert.deepEqual([0, 0.001, 1.234, 12.34].map(points), ['0 pp', '< 0.01 pp', '1.23 pp', '12.3 pp']);
  assert.deepEqual([0.04, 9.94, 9.96, 23.4].map(bare), ['0.0', '9.9', '10', '23']);
  assert.equal(many(1, 'edge'), '1 edge');
  assert.equal(many(2, 'entry', 'entries'), '2 entries');
  assert.deepEqual([[1, 'ms'], [0.5, 'share'], [1e6, 'bit/s'], [3, 'connections'], [2, 'pp']].map(([value, name]) => unit(value, name)), ['1 ms', '50 %', '1 Mbit/s', '3', '2 pp']);
});

test('what is not known is no number', () => {
  for (const form of [count, bits, ms, percent, points, span]) {
    for (const value of [null, undefined, NaN, Infinity, 'text']) assert.equal(form(value), '–', form.name);
  }
});

test('ages are spans of two units', () => {
  assert.deepEqual([0.25, 45, 185, 7500, 90_000, 7 * 86_400].map(span), ['0.3 s', '45 s', '3 min', '2 h 5 min', '1 d 1 h', '7 d']);
  assert.equal(age(1000, 1500), 'now');
  assert.equal(age(0, 61_000), '1 min ago');
});

test('a path names a view, and what stands for its names', () => {
  assert.equal(match('/').route.view, 'overview');
  assert.deepEqual(match('/edge/%E4%B8%8A%2F1').params, { name: '上/1' });
  assert.deepEqual(match('/cell/110000/telecom').params, { region: '110000', carrier: 'telecom' });
  for (const path of ['/edge/', '/edge/%zz', '/cell/1', '/nowhere', '/map/']) assert.equal(match(path), null, path);
  assert.deepEqual(match(edgePath('a/b c')).params, { name: 'a/b c' });
  assert.equal(cellPath('110000/telecom'), '/cell/110000/telecom');
  assert.equal(pathWith('/lines', { q: 'a b', sort: '', only: null }), '/lines?q=a+b');
});

test('after signing in one goes to a page of ours alone', () => {
  assert.equal(target('/lines?q=a'), '/lines?q=a');
  for (const to of [undefined, '', '//evil.example', 'https://evil.example', '/svrlist', 'control']) assert.equal(target(to), '/', to);
});

test('rows are sorted by number or text, and what has no value comes last either way', () => {
  const columns = [{ id: 'n', sort: ({ n }) => n }, { id: 't', sort: ({ t }) => t }];
  const rows = [{ n: 2, t: 'e10' }, { n: null, t: 'e9' }, { n: 1, t: 'a' }, { n: undefined, t: 'b' }];
  const order = (sort) => sortRows(rows, columns, sort).map(({ n }) => n);
  assert.deepEqual(order({ id: 'n', down: false }), [1, 2, null, undefined]);
  assert.deepEqual(order({ id: 'n', down: true }), [2, 1, null, undefined]);
  assert.deepEqual(sortRows(rows, columns, { id: 't', down: false }).map(({ t }) => t), ['a', 'b', 'e9', 'e10']);
  assert.deepEqual(sortRows(rows, columns, { id: 'none' }), rows);
});

test('a filter wants all of its words', () => {
  assert.ok(fits('', 'anything'));
  assert.ok(fits('GUANG uni', 'guangdong', ['unicom']));
  assert.ok(!fits('guang telecom', 'guangdong', 'unicom', null));
});

test('a curve has gaps where nothing was measured', () => {
  const same = (value) => value;
  assert.equal(path([[0, 1], [1, 2], [2, null], [3, 4]], same, same), 'M0.0 1.0L1.0 2.0M3.0 4.0h1');
  assert.equal(path([[0, null]], same, same), '');
  assert.deepEqual(summary([[0, 3], [1, null], [2, 1], [3, 2]]), { least: 1, middle: 2, most: 3, last: 2 });
  assert.equal(summary([[0, null]]), null);
  assert.equal(nearest([[0, 1], [10, 1], [20, 1]], 14), 1);
  assert.equal(nearest([], 14), null);
});

test('axes end at round numbers above everything', () => {
  assert.deepEqual(scale(0.31).ticks, [0, 0.2, 0.4]);
  assert.deepEqual(scale(100).ticks, [0, 50, 100]);
  assert.deepEqual(scale(0), { top: 1, ticks: [0, 1] });
  for (const most of [1e-4, 0.7, 3, 41, 999, 5.1e9]) {
    const { top, ticks } = scale(most);
    assert.ok(top >= most && top <= most * 2.1 && ticks.length <= 5, `${most}: ${ticks}`);
  }
  for (const length of [60_000, 3_600_000, 86_400_000, 7 * 86_400_000]) {
    const ticks = timeTicks(1e12, 1e12 + length);
    assert.ok(ticks.length >= 1 && ticks.length <= 6 && ticks.every((at) => at >= 1e12 && at <= 1e12 + length), `${length}: ${ticks.length}`);
  }
});

test('unknown states are shown as they are called, and never as good', () => {
  assert.equal(edgeWords('open').grade, 'good');
  assert.deepEqual([edgeWords('new-state').grade, edgeWords('new-state').word], ['warn', 'new-state']);
  assert.equal(lineWords({ up: false, state: 'good' }).word, 'down');
  assert.equal(lineWords({ up: false, state: 'silent' }).word, 'silent');
  assert.equal(worst(['good', 'warn', 'gone']), 'gone');
});

test('lines: which carries, which are up, what they are called', () => {
  const line = (more) => ({ up: true, state: 'good', primary: false, primary_up: false, local: 'a:0', remote: 'b:1', local_carrier: '', remote_carrier: 'telecom', ...more });
  const edge = { name: 'e', site: 's', state: 'open', lines: [line({ up: false, primary: true }), line({ primary_up: true }), line({ primary: true, line: 7 })] };
  assert.equal(primary(edge), edge.lines[2]);
  assert.deepEqual(linesOf(edge), { up: 2, all: 3, grade: 'warn' });
  assert.equal(linesOf({ lines: [line({ up: false })] }).grade, 'bad');
  assert.equal(linesOf({ lines: [] }).grade, 'note');
  assert.deepEqual(allLines([edge]).map(({ key }) => key), ['e/0', 'e/1', 'e/7']);
  assert.equal(way(edge.lines[0]), 'any → telecom');
  assert.deepEqual(edge.lines.map(role), ['', 'primary to the origin', 'primary to the edge']);
});

const net = network();

test('the map is brought to groups without losing an incident', () => {
  const whole = map(net);
  assert.deepEqual(fitting(whole), { columns: 'site', rows: 'cell' });
  assert.deepEqual(fitting({ edges: Array(3), cells: Array(1000) }), { columns: 'edge', rows: 'region' });
  for (const columns of ['edge', 'site', 'carrier']) {
    for (const rows of ['cell', 'region', 'carrier']) {
      const grouped = ratemap(whole, { columns, rows });
      assert.ok(grouped.rows.some(({ event }) => event), `${columns} ${rows}`);
      const pairs = grouped.rows.flatMap(({ values }) => values).reduce((sum, value) => sum + (value?.pairs ?? 0), 0);
      assert.equal(pairs, whole.cells.flatMap(({ values }) => values).filter(Boolean).length);
    }
  }
  const one = ratemap(whole, { columns: 'site', rows: 'cell', keepEdge: ({ site }) => site === 'guangdong' });
  assert.deepEqual([one.columns.length, one.rows.length], [1, 90]);
});

test('a group is the mean of its pairs by reports', () => {
  const value = (edge, drop_pp, reports) => ({ edge, drop_pp, reports, event: false, share: 0.5 });
  const small = { edges: [{ name: 'a', site: 's', carrier: 'x' }, { name: 'b', site: 's', carrier: 'x' }], cells: [{ cell: '1/x', name: 'one', carrier: 'x', reports: 100, values: [value('a', 1, 30), value('b', 5, 10)] }] };
  const [[{ drop, share, worst: bad }]] = ratemap(small, { columns: 'site', rows: 'cell' }).rows.map(({ values }) => values);
  assert.deepEqual([drop, share, bad.edge], [2, 1, 'b']);
  small.cells[0].values = [null, null];
  assert.equal(ratemap(small, { columns: 'site', rows: 'cell' }).rows[0].values[0], null);
});

test('the pairs that cost most come first, incidents before all', () => {
  const pairs = worstPairs(map(net), 500);
  assert.ok(pairs[0].event);
  assert.equal(pairs[0].edge.name, 'guangdong-unicom');
  const calm = pairs.filter(({ event }) => !event).map(({ lost }) => lost);
  assert.deepEqual(calm, calm.slice().sort((a, b) => b - a));
});

test('steps of the scale, and the window onto a large map', () => {
  assert.deepEqual([0, 0.49, 0.5, 3.9, 16, 90].map(stepOf), [0, 0, 1, 3, 6, 6]);
  assert.deepEqual(seen(0, 100, 10, 300, 0), [0, 10]);
  assert.deepEqual(seen(995, 100, 10, 300, 0), [99, 110]);
  assert.deepEqual(seen(2950, 100, 10, 300, 0), [295, 300]);
  assert.deepEqual(seen(9000, 100, 10, 300), [300, 300]);
});

test('a thousand edges by three hundred cells are grouped within a frame or a few', () => {
  const large = map(network({ sites: 334, edges: 1000, regions: 100 }));
  const begun = performance.now();
  const grouped = ratemap(large, { columns: 'site', rows: 'cell' });
  const took = performance.now() - begun;
  assert.deepEqual([grouped.columns.length, grouped.rows.length], [334, 300]);
  assert.ok(took < 1000, `${took} ms`);
});

test('sums of the network leave out what is lost', () => {
  const sums = totals(overview(net));
  assert.deepEqual([sums.edges, sums.lost, sums.lines, sums.linesDown], [100, 1, 297, 3]);
  assert.ok(sums.takes < 100 && sums.clients > 0 && sums.outMost > sums.out);
  assert.equal(totals({ edges: [], sites: [] }).clients, 0);
});

test('lines of two carriers together', () => {
  const all = ways(allLines(net.edges));
  assert.equal(all.length, 9);
  assert.equal(all[0].way, 'unicom → unicom', 'the worst first');
  assert.equal(all.reduce((sum, { count: number }) => sum + number, 0), 300);
});

test('alerts: the worst first, what is seen to last', () => {
  const alert = (id, severity, since_ms, acknowledged = null) => ({ id, severity, since_ms, acknowledged });
  const order = ordered([alert('a', 'warning', 9), alert('b', 'critical', 1, { by: 'x' }), alert('c', 'critical', 2), alert('d', 'critical', 5), alert('e', 'odd', 9)]);
  assert.deepEqual(order.map(({ id }) => id), ['d', 'c', 'a', 'e', 'b']);
  assert.deepEqual(pastOf({ alerts: [{ id: 'open', until_ms: null }, { id: 'over', until_ms: 5 }] }).map(({ id }) => id), ['over']);
});

test('how a site stands to its budget', () => {
  const site = (bits_out, budget) => standing({ bits_out, budget }).word;
  assert.equal(site(1, null), 'no level');
  assert.equal(site(1, { level: 0 }), 'no level');
  assert.equal(site(9, { level: 10, price: 0 }), 'below level');
  assert.equal(site(9.9, { level: 10, price: 0.7 }), 'near level');
  assert.equal(site(11, { level: 10, price: 1 }), 'above level');
  assert.equal(site(11, { level: 10, price: 0, running: true }), 'spending');
});

test('zones without a share have what the others leave', () => {
  assert.deepEqual(shares([{ zone: 'a', share: 10 }, { zone: 'b', share: null }]).map(({ percent: part }) => part), [10, 90]);
  assert.deepEqual(shares([{ zone: 'a', share: null }, { zone: 'b', share: null }]).map(({ percent: part }) => part), [null, null]);
});

test('a score is the sum of its terms, whichever way it is told', () => {
  const terms = { mean: 1, residual: -3, load: 0.5, price: 0.25, line: 0.125 };
  assert.deepEqual(termsOf({ terms }), { drop: 0, load: 0.5, price: 0.25, line: 0.125 });
  assert.equal(scoreOf({ terms }), 0.875);
  assert.equal(scoreOf({ drop_pp: 2 }), 2);
  const entry = (edge, score, share, more) => ({ edge, score, share, state: 'open', event: false, ...more });
  assert.match(why([entry('a', 1, 0.9), entry('b', 0.5, 0, { state: 'full' })], 'x'), /1 edge gets.*a gets 90 %.*b scores better.*is full/);
  assert.match(why([entry('a', 1, 1), entry('b', 9, 0, { event: true })], 'unicom'), /incident between unicom and 1 edge/);
});

test('what is wanted is changed as a value', () => {
  const control = { weights: { a: 1 }, drained: { edges: { e: { rate: 5 } }, sites: {}, zones: { z: { rate: 0 } } }, zones: { z: { share: 5 } }, overrides: [{ network: '10.0.0.0/8' }], wishes: {} };
  assert.deepEqual(drainedOf(control), [{ kind: 'zone', name: 'z', rate: 0 }, { kind: 'edge', name: 'e', rate: 5 }]);
  assert.deepEqual([shareOf(control, 'z'), shareOf(control, 'y')], [5, null]);
  assert.deepEqual(entriesOf({ weights: { e10: 1, e9: 2 } }, 'weights'), [['e9', 2], ['e10', 1]]);
  assert.deepEqual(withEntry(control, 'weights', 'b', 2).weights, { a: 1, b: 2 });
  assert.deepEqual(withEntry(control, 'weights', 'a', null).weights, {});
  assert.deepEqual(control.weights, { a: 1 });
  assert.deepEqual(withRule(control, { network: '10.0.0.0/8', prefer: ['e'] }).overrides, [{ network: '10.0.0.0/8', prefer: ['e'] }]);
  assert.equal(withoutRule(control, '10.0.0.0/8').overrides.length, 0);
  assert.deepEqual(names(' a, b  a,'), ['a', 'b']);
});

test('the map of places holds everything, and labels keep apart', () => {
  const view = frame([{ lat: 20, lon: 100 }, { lat: 40, lon: 120 }], { width: 1000 });
  const { x, y } = view.at({ lat: 40, lon: 120 });
  assert.ok(x > 0 && x < 1000 && y > 0 && y < view.height);
  assert.ok(view.at({ lat: 30, lon: 100 }).y > y, 'north is up');
  const box = (x, y) => ({ x, y, width: 10, height: 10 });
  assert.deepEqual(apart([box(0, 0), box(5, 5), box(20, 0)]), [true, false, true]);
  assert.deepEqual(apart([box(0, 0), box(20, 0)], [box(0, 0), box(5, 5)]), [false, true]);
  assert.match(bow({ x: 0, y: 0 }, { x: 10, y: 0 }, 0.1), /^M0\.0 0\.0Q/);
  const discs = reaches([{ lat: 30, lon: 100 }, { lat: 30, lon: 101 }, { lat: 50, lon: 80 }]);
  assert.ok(discs.every(({ reach }) => reach >= 1.3 && reach <= 5.6));
});

test('lines of a site go to an origin, or to the site of a neighbour', () => {
  const here = overview(net);
  const sites = placed(here);
  assert.equal(sites.length, 30);
  const all = bundles(sites, here.edges);
  assert.ok(all.every(({ origin }) => origin === 'origin.central'));
  assert.equal(all.find(({ from }) => from === 'guangdong').grade, 'warn');
  const [a, b] = here.edges;
  const line = { ...a.lines[0], upstream: b.name, edge: a.name, site: a.site };
  const [bundle] = bundles([{ site: a.site, lines: [line] }], here.edges);
  assert.equal(bundle.site, b.site);
});
