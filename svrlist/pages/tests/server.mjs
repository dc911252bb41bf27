// The pages over the made-up network: `node svrlist/pages/tests/server.mjs [port]`, for designing them.
// `?sites=&edges=&regions=` of the environment variable NETWORK make it another size.
//
// It serves the files as svrlist does, with the same headers, and answers the routes that pages ask.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { alerts, dice, divisions, map, network, overview } from './network.mjs';
import { Desk } from './desk.mjs';

const PAGES = fileURLToPath(new URL('..', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.svg': 'image/svg+xml' };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const SHELL = /^\/(map|lines|sites|zones|alerts|geography|control|sign-in|edge\/[^/]+|cell\/[^/]+\/[^/]+)?$/;

// A server on `port` (0: any free one). `open` false asks for a sign-in.
export async function serve({ port = 0, size = {}, open = true } = {}) {
  const net = network(size);
  const desk = new Desk({ open });
  const streams = new Set();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    try {
      if (url.pathname.startsWith('/api/')) await api({ net, desk, streams }, url, request, response);
      else if (url.pathname === '/svrlist') json(response, 200, { cell: { place: 'Beijing', carrier: 'telecom' } });
      else await file(url.pathname, response);
    } catch (error) {
      json(response, 500, { error: String(error) });
    }
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  const close = () => {
    for (const stream of streams) stream.destroy();
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, net, desk, streams, close };
}

async function file(path, response) {
  const name = SHELL.test(path) ? 'index.html' : path.startsWith('/pages/') ? normalize(path.slice(7)) : null;
  if (path === '/pages/seats.json') return json(response, 200, divisions().map(({ position: { lat, lon } }) => [lat, lon]));
  const body = name !== null && !name.startsWith('..') ? await readFile(`${PAGES}${name}`).catch(() => null) : null;
  if (body === null) return json(response, 404, { error: 'no such path' });
  response.writeHead(200, { 'content-type': TYPES[extname(name)], 'content-security-policy': POLICY, 'cache-control': 'no-cache' });
  response.end(body);
}

function json(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(body === null ? undefined : JSON.stringify(body));
}

async function api({ net, desk, streams }, url, request, response) {
  const path = url.pathname.slice(4).split('/').slice(1).map(decodeURIComponent);
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks)) : null;
  const decided = desk.answer(request, path, body);
  if (decided) {
    if (decided.cookie) response.setHeader('set-cookie', decided.cookie);
    return json(response, decided.status, decided.body);
  }
  if (!desk.mayRead(request)) return json(response, 401, { error: 'sign in first' });
  switch (path[0]) {
    case 'overview': return json(response, 200, desk.changed(overview(net)));
    case 'map': return json(response, 200, map(net));
    case 'alerts': return json(response, 200, { now_ms: Date.now(), alerts: desk.changed({ alerts: alerts(net) }).alerts, past: past() });
    case 'history': return json(response, 200, history(url.searchParams));
    case 'edges': return edge(net, path[1], response);
    case 'cells': return cell(net, `${path[1]}/${path[2]}`, response);
    case 'live': return live({ net, desk, streams }, url, response);
    default: return json(response, 404, { error: 'no such path' });
  }
}

function edge(net, name, response) {
  const found = net.edges.find((edge) => edge.name === name);
  if (!found) return json(response, 404, { error: `no edge is called ${name}` });
  const cells = net.cells.flatMap((cell) => cell.values.filter((value) => value?.edge === name).map((value) => ({ cell: cell.cell, name: cell.name, ...value })));
  return json(response, 200, { now_ms: Date.now(), edge: found, cells, alerts: alerts(net).filter(({ about }) => about.edge === name) });
}

function cell(net, name, response) {
  const found = net.cells.find((cell) => cell.cell === name);
  if (!found) return json(response, 404, { error: `no client of cell ${name} was seen` });
  const ranking = found.values.map((value, at) => {
    const { name, site, carrier, load, state } = net.edges[at];
    const mean = value ? value.drop_pp : 1 + (carrier === found.carrier ? 0 : 6);
    const terms = { mean, residual: value?.event ? 6 : 0, load: load > 0.8 ? (load - 0.8) * 8 : 0, price: site === 'liaoning' ? 0.72 : 0, line: 0.02, doubt: value ? 1 / Math.sqrt(4 + value.reports) : 0.5 };
    const score = terms.mean + terms.residual + terms.load + terms.price + terms.line;
    return { drop_pp: Math.max(0, mean + terms.residual), edge: name, site, carrier, state, score, terms, share: value?.share ?? 0, reports: value?.reports ?? 0, event: value?.event ?? false, near: false, distance_km: 300 + at * 12 };
  }).sort((a, b) => a.score - b.score);
  ranking.forEach((entry) => { entry.behind = entry.score - ranking[0].score; entry.near = entry.behind < 0.3; });
  return json(response, 200, { now_ms: Date.now(), cell: found.cell, name: found.name, carrier: found.carrier, known: true, edges: ranking });
}

const past = () => [{ id: 'old', cause: 'edge-lost', severity: 'critical', title: 'jilin-mobile did not report', since_ms: Date.now() - 9e7, until_ms: Date.now() - 8.8e7, about: { edge: 'jilin-mobile' }, related: [] }];

const UNITS = { rtt_ms: 'ms', jitter_ms: 'ms', loss: 'share', loss_up: 'share', up: '', connections: '', load: 'share', bits_out: 'bit/s', price: 'pp', drop_pp: 'pp' };
const BASES = { rtt_ms: 34, jitter_ms: 2, loss: 0.004, loss_up: 0.002, up: 1, connections: 12_000, load: 0.55, bits_out: 3e7, price: 0.1, drop_pp: 0.8 };

function history(query) {
  const to = Number(query.get('to_ms') ?? Date.now());
  const from = Number(query.get('from_ms') ?? to - 3_600_000);
  const count = Math.min(500, Number(query.get('points') ?? 120));
  const names = query.getAll('series').flatMap((text) => text.split(','));
  return {
    now_ms: Date.now(), from_ms: from, to_ms: to,
    series: names.map((name) => {
      const kind = name.split('.').at(-1);
      const roll = dice([...name].reduce((hash, letter) => Math.imul(hash, 31) + letter.charCodeAt(0) | 0, 7));
      const points = Array.from({ length: count }, (_, at) => {
        const t = from + (to - from) * at / (count - 1);
        const day = 1 + 0.35 * Math.sin(t / 86_400_000 * 2 * Math.PI);
        const bad = /guangdong.*\.1\.|guangdong-unicom/.test(name) && t > to - 420_000;
        const gap = at > count * 0.4 && at < count * 0.43;
        if (kind === 'up') return [t, gap ? 0 : 1];
        return [t, gap ? null : BASES[kind] * day * (0.85 + roll() * 0.3) * (bad ? (kind.startsWith('loss') ? 60 : 3) : 1)];
      });
      return { name, unit: UNITS[kind] ?? '', points };
    }),
  };
}

function live({ net, desk, streams }, url, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  streams.add(response.socket);
  const wanted = (url.searchParams.get('events') ?? 'overview,map').split(',');
  const tell = (name, body) => { if (wanted.includes(name)) response.write(`event: ${name}\ndata: ${JSON.stringify(body)}\n\n`); };
  response.write('retry: 2000\n\n');
  const roll = dice(Date.now());
  const tellOverview = () => {
    for (const edge of net.edges) {
      if (edge.state === 'lost') edge.heard_s += 2;
      else edge.heard_s = roll() * 2;
      edge.connections += edge.connections > 100 ? Math.round((roll() - 0.5) * 20) : 0;
    }
    tell('overview', desk.changed(overview(net)));
  };
  tellOverview();
  tell('map', map(net));
  const timers = [setInterval(tellOverview, 2000), setInterval(() => tell('map', map(net)), 5000)];
  response.on('close', () => timers.forEach(clearInterval));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const size = Object.fromEntries([...new URLSearchParams(process.env.NETWORK ?? '')].map(([key, value]) => [key, Number(value)]));
  const { url } = await serve({ port: Number(process.argv[2] ?? 25900), size, open: process.env.OPEN !== 'no' });
  process.stdout.write(`${url}\n`);
}
