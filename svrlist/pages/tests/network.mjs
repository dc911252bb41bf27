// A made-up network, in the shapes that svrlist answers: 30 sites, 100 edges, 90 cells, and an incident.
// The carrier unicom breaks in Guangdong: lines lose, clients of unicom fall off the edges there. One
// edge is lost, one site is near its budget, one edge is drained.

import { readFileSync } from 'node:fs';

const CARRIERS = ['telecom', 'unicom', 'mobile'];
const NOW = Date.now();

// A generator of numbers from 0 to 1 that are the same in every run.
export function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

// The divisions of China that the product knows: code, names, seat.
export function divisions() {
  const text = readFileSync(new URL('../../../geo-data/regions.csv', import.meta.url), 'utf8');
  return text.split('\n').filter((line) => /^\d/.test(line)).map((line) => {
    const [code, name, latin, lat, lon] = line.split(',');
    return { code, name, latin, position: { lat: Number(lat), lon: Number(lon) } };
  });
}

const provinces = () => divisions().filter(({ code }) => code.endsWith('0000') && code !== '100000');

const short = (latin) => latin.toLowerCase().replace(/[^a-z]/g, '');

// `size`: how many of everything. The default is the network that pages are designed with.
export function network({ sites: siteCount = 30, edges: edgeCount = 100, regions = 30, carriers = CARRIERS } = {}) {
  const roll = dice(7);
  const all = provinces();
  const home = (at) => all[at % all.length];
  const sites = Array.from({ length: siteCount }, (_, at) => ({
    site: at < all.length ? short(home(at).latin) : `${short(home(at).latin)}-${Math.floor(at / all.length) + 1}`,
    ...home(at), edges: [],
  }));
  const edges = Array.from({ length: edgeCount }, (_, at) => {
    const home = sites[at % siteCount];
    const round = Math.floor(at / siteCount);
    const carrier = CARRIERS[(round + at) % 3];
    const name = `${home.site}-${carrier}${round >= 3 ? `-${Math.floor(round / 3) + 1}` : ''}`;
    const edge = makeEdge({ name, home, carrier, at, roll });
    home.edges.push(edge);
    return edge;
  });
  const incident = (edge) => edge.region === '440000' && edge.carrier === 'unicom';
  for (const edge of edges) if (incident(edge)) spoil(edge);
  Object.assign(edges[11], { state: 'lost', heard_s: 94, connections: 0, load: 0, bits_out: 0 });
  Object.assign(edges[17], { state: 'drained', weight: 0 });
  Object.assign(edges[23], { state: 'full', load: 1, connections: edges[23].connections_max });
  for (const line of edges[29].lines) Object.assign(line, { up: false, state: 'down' });
  edges[29].state = 'cut-off';
  const cells = [];
  for (let at = 0; at < regions; at += 1) {
    for (const carrier of carriers) {
      const region = divisionsFor(regions)[at];
      cells.push({ cell: `${region.code}/${carrier}`, name: region.latin, carrier, sessions: Math.round(20 + roll() ** 3 * 4000), position: region.position });
    }
  }
  for (const cell of cells) cell.values = edges.map((edge) => value(cell, edge, roll, incident(edge)));
  for (const cell of cells) shares(cell);
  return { roll, sites, edges, cells };
}

function divisionsFor(count) {
  const all = provinces();
  return count <= all.length ? all : divisions().filter(({ code }) => code !== '100000');
}

function makeEdge({ name, home, carrier, at, roll }) {
  const most = 20_000 * (1 + at % 3);
  const share = 0.3 + roll() * 0.55;
  const line = (remote, order) => {
    const rtt = 12 + Math.abs(home.position.lon - 113) * 1.2 + Math.abs(home.position.lat - 34) + (remote === carrier ? 0 : 14) + roll() * 4;
    return {
      line: order, local: `10.${at}.0.1:0`, remote: `203.0.113.${order + 1}:7401`, local_carrier: carrier, remote_carrier: remote,
      upstream: 'origin.central', up: true, state: 'good', primary: remote === carrier, primary_up: remote === carrier,
      rtt_ms: rtt, jitter_ms: 0.4 + roll() * 3, delay_rise_ms: roll() * 2, loss: roll() ** 6 * 0.03, loss_up: roll() ** 6 * 0.03,
      burst: 1.2, firsts: Math.round(roll() * 9e6), repeats: Math.round(roll() * 9e4), bytes_in: Math.round(roll() * 8e11),
      bytes_out: Math.round(roll() * 2e10), down_ms: 0, bits_in_p95: 3e7 * (1 + roll()), bits_out_p95: 2e6 * (1 + roll()),
    };
  };
  return {
    name, site: home.site, zone: at % 10 === 3 ? 'canary' : 'main', region: home.code, place: home.latin, city: home.name,
    carrier, position: home.position, version: at % 10 === 3 ? '0.9.0' : '0.8.2', connections: Math.round(most * share), connections_max: most,
    load: share, weight: 1, bits_out: most * share * 2400, bits_out_max: most * 3000, state: share > 0.83 ? 'busy' : 'open',
    heard_s: roll() * 2, lines: CARRIERS.map(line),
  };
}

function spoil(edge) {
  for (const line of edge.lines) {
    if (line.remote_carrier === 'unicom') Object.assign(line, { up: true, state: 'gray', loss: 0.31, loss_up: 0.04, jitter_ms: 28, rtt_ms: line.rtt_ms + 60, primary: false, primary_up: false });
    else if (line.remote_carrier === 'telecom') Object.assign(line, { primary: true, primary_up: true });
  }
}

function value(cell, edge, roll, broken) {
  const way = Math.hypot(cell.position.lon - edge.position.lon, cell.position.lat - edge.position.lat);
  const reports = Math.round(cell.sessions * (edge.carrier === cell.carrier ? 1 : 0.15) / (1 + way));
  if (reports < 2 && roll() < 0.9) return null;
  const usual = 0.1 + way * 0.06 + (edge.carrier === cell.carrier ? 0 : 2.2) + roll() ** 4 * 1.5;
  const event = broken && cell.carrier === 'unicom';
  return { edge: edge.name, drop_pp: usual + (event ? 14 + roll() * 8 : 0), reports, event, share: 0 };
}

function shares(cell) {
  const known = cell.values.filter(Boolean).sort((a, b) => a.drop_pp - b.drop_pp).slice(0, 4);
  const weight = (at) => [0.55, 0.25, 0.15, 0.05][at];
  known.forEach((one, at) => { one.share = weight(at); });
}

// The body of `/api/overview`.
export function overview(net, nowMs = Date.now()) {
  return {
    now_ms: nowMs, generation: 4812, stale: false,
    edges: net.edges,
    sites: net.sites.map((site, at) => account(site, at)),
    zones: ['main', 'canary'].map((zone) => {
      const edges = net.edges.filter((edge) => edge.zone === zone);
      return {
        zone, share: zone === 'canary' ? 10 : 90, versions: [...new Set(edges.map(({ version }) => version))],
        edges: edges.map(({ name }) => name), connections: sum(edges, 'connections'), drained: false,
      };
    }),
    alerts: alerts(net),
  };
}

const sum = (list, key) => list.reduce((total, one) => total + one[key], 0);

function account({ site, code, latin, position, edges }, at) {
  const out = sum(edges, 'bits_out');
  const level = out * (at === 4 ? 1.02 : 1.35);
  const budget = { level, billed: level * 0.92, left: 432 - at * 9, saved: 30 - at * 2, running: at === 6, price: at === 4 ? 0.72 : 0 };
  return {
    site, region: code, place: latin, carriers: [...new Set(edges.map(({ carrier }) => carrier))], position,
    edges: edges.map(({ name }) => name), connections: sum(edges, 'connections'),
    load: Math.max(0, ...edges.map(({ load }) => load)), bits_out: out, bits_out_max: sum(edges, 'bits_out_max'),
    budget: at % 7 === 5 ? null : budget,
  };
}

export function alerts(net) {
  const alert = (id, cause, severity, title, agoMs, about, related = []) =>
    ({ id, cause, severity, title, since_ms: NOW - agoMs, until_ms: null, about, related, acknowledged: null });
  const lost = net.edges[11];
  const off = net.edges[29];
  const broken = net.edges.filter((edge) => edge.region === '440000' && edge.carrier === 'unicom');
  const list = [];
  if (broken.length > 0) {
    list.push(alert('carrier-unicom-440000', 'carrier', 'critical', 'unicom clients are dropped in Guangdong', 412_000,
      { carrier: 'unicom', site: broken[0].site }, [
        ...broken.map((edge) => alert(`line-${edge.name}-1`, 'line-lossy', 'warning', `line 1 of ${edge.name} loses 31 %`, 430_000, { edge: edge.name, line: 1 })),
        ...broken.map((edge) => alert(`cut-${edge.name}`, 'edge-cut', 'warning', `${edge.name} is told to fewer clients of unicom`, 395_000, { edge: edge.name })),
      ]));
  }
  list.push(
    alert(`lost-${lost.name}`, 'edge-lost', 'critical', `${lost.name} does not report`, 94_000, { edge: lost.name, site: lost.site }),
    alert(`off-${off.name}`, 'edge-cut-off', 'critical', `${off.name} has no line to its upstream`, 1_250_000, { edge: off.name }),
    alert(`budget-${net.sites[4].site}`, 'budget', 'warning', `${net.sites[4].site} is near the level it is billed at`, 7_800_000, { site: net.sites[4].site }),
  );
  return list;
}

// The body of `/api/map`.
export const map = (net) => ({
  edges: net.edges.map(({ name, site, carrier }) => ({ name, site, carrier })),
  cells: net.cells.map(({ position: _, ...cell }) => cell),
});
