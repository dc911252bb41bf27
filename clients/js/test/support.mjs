// Fake svrlists and edges on loopback, a made-up device, and clients that end with their test.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterEach } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';

import { Linecast } from '../dist/index.js';

/** What to end after each test, the last made first. */
const endings = [];
afterEach(() => {
  for (const end of endings.splice(0).reverse()) end();
});

/** Waits until `good()` is true, or what it answers; fails with `what` after `ms`. */
export async function until(what, good, ms = 5_000) {
  const end = performance.now() + ms;
  for (;;) {
    const value = good();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Only for watching that something does not happen. */
export const quiet = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** An edge that speaks as much of Centrifuge's JSON protocol as a client needs to connect and subscribe. */
export class FakeEdge {
  /** When each upgrade was asked for. */
  asked = [];
  /** Open connections. */
  sockets = new Set();
  /** Connections that were opened, and those that a client connected through. */
  opened = 0;
  connected = 0;
  subprotocols = [];
  connects = [];
  closes = [];
  /** Milliseconds before an upgrade is accepted. */
  delayMs = 0;
  /** Whether upgrades are answered at all, or with a status. */
  silent = false;
  refuse = null;
  /** Closes each connection as soon as it is open: [code, reason]. */
  door = null;
  /** An error to answer connect commands with. */
  error = null;

  static async start(id) {
    const edge = new FakeEdge();
    edge.id = id;
    edge.ws = new WebSocketServer({ noServer: true });
    edge.http = createServer();
    edge.http.on('upgrade', (request, socket, head) => edge.#upgrade(request, socket, head));
    edge.http.listen(0, '127.0.0.1');
    await once(edge.http, 'listening');
    edge.port = edge.http.address().port;
    edge.host = `127.0.0.1:${edge.port}`;
    edge.url = `ws://${edge.host}/connection/websocket`;
    endings.push(() => edge.stop());
    return edge;
  }

  /** As svrlist lists it. */
  get server() {
    return { id: this.id, name: this.id, urls: { ws: this.url, wss: this.url.replace('ws:', 'wss:') }, why: 'test' };
  }

  #upgrade(request, socket, head) {
    this.asked.push(performance.now());
    socket.on('error', () => undefined);
    if (this.silent) return;
    if (this.refuse !== null) {
      socket.end(`HTTP/1.1 ${this.refuse} No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    setTimeout(() => {
      if (socket.destroyed) return;
      this.ws.handleUpgrade(request, socket, head, (client) => this.#accept(client));
    }, this.delayMs);
  }

  #accept(client) {
    this.opened += 1;
    this.subprotocols.push(client.protocol);
    this.sockets.add(client);
    client.on('close', (code) => {
      this.sockets.delete(client);
      this.closes.push(code);
    });
    if (this.door) client.close(...this.door);
    client.on('message', (data) => {
      // Protobuf it does not speak.
      if (client.protocol !== '') return;
      for (const line of String(data).split('\n').filter(Boolean)) this.#answer(client, JSON.parse(line));
    });
  }

  #answer(client, { id, connect, subscribe }) {
    if (connect) {
      this.connects.push(connect);
      if (this.error) {
        client.send(JSON.stringify({ id, error: this.error }));
        return;
      }
      this.connected += 1;
      client.send(JSON.stringify({ id, connect: { client: `c${this.connected}`, ping: 25, pong: true } }));
    }
    if (subscribe) client.send(JSON.stringify({ id, subscribe: {} }));
  }

  publish(channel, data) {
    for (const client of this.sockets) client.send(JSON.stringify({ push: { channel, pub: { data } } }));
  }

  /** Ends all connections as a go-away does. */
  close(code, reason) {
    for (const client of this.sockets) client.close(code, reason);
  }

  /** Ends all connections as a broken network does. */
  cut() {
    for (const client of this.sockets) client.terminate();
  }

  /** As `kill -9`: nothing answers there any more. */
  stop() {
    this.cut();
    this.http.close();
    this.http.closeAllConnections();
  }
}

/** A svrlist that lists `edges` and takes reports. */
export class FakeSvrlist {
  asked = [];
  reports = [];
  contentTypes = [];
  /** What the answer has beside its servers. */
  answer = { cell: { region: '110000', carrier: 'telecom' }, ttl: 60, report_interval: 60, token: 'cell-token',
    backoff: { base_delay: 0.05, max_delay: 1, factor: 1.8, jitter: 0.3 }, stale: false };
  /** [status, headers, body], or 'silent', instead of the list. */
  instead = null;
  /** [status, headers] for reports. */
  reported = [204, {}];

  static async start(edges) {
    const svrlist = new FakeSvrlist();
    svrlist.edges = edges;
    svrlist.http = createServer((request, response) => svrlist.#answer(request, response));
    svrlist.http.listen(0, '127.0.0.1');
    await once(svrlist.http, 'listening');
    svrlist.url = `http://127.0.0.1:${svrlist.http.address().port}`;
    endings.push(() => svrlist.stop());
    return svrlist;
  }

  #answer(request, response) {
    const url = new URL(request.url, this.url);
    if (url.pathname === '/report') {
      let body = '';
      request.on('data', (data) => { body += data; });
      request.on('end', () => {
        this.contentTypes.push(request.headers['content-type']);
        this.reports.push(JSON.parse(body));
        this.onReport?.();
        response.writeHead(...this.reported).end();
      });
      return;
    }
    this.asked.push({ at: performance.now(), path: url.pathname, query: Object.fromEntries(url.searchParams) });
    if (this.instead === 'silent') return;
    if (this.instead) {
      const [status, headers, body] = this.instead;
      response.writeHead(status, headers).end(body);
      return;
    }
    const servers = this.edges.map((edge) => edge.server);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...this.answer, servers }));
  }

  stop() {
    this.http.close();
    this.http.closeAllConnections();
  }
}

/** A device whose network and page are moved by hand, and whose dice always fall the same. */
export class Device {
  random = 0.5;
  isOnLine = true;
  name = 'wifi';
  networkListeners = new Set();
  hideListeners = new Set();
  beacons = [];
  stored = new Map();
  wallOffset = 0;

  platform = {
    fetch: (url, init) => fetch(url, init),
    WebSocket,
    now: () => performance.now(),
    wall: () => Date.now() + this.wallOffset,
    random: () => this.random,
    secure: false,
    storage: {
      getItem: (key) => this.stored.get(key) ?? null,
      setItem: (key, value) => { this.stored.set(key, value); },
      removeItem: (key) => { this.stored.delete(key); },
    },
    network: () => this.name,
    onLine: () => this.isOnLine,
    onNetwork: (listener) => {
      this.networkListeners.add(listener);
      return () => this.networkListeners.delete(listener);
    },
    onHide: (listener) => {
      this.hideListeners.add(listener);
      return () => this.hideListeners.delete(listener);
    },
    beacon: (url, body) => {
      this.beacons.push({ url, body: JSON.parse(body) });
      return true;
    },
  };

  tell(what) {
    for (const listener of this.networkListeners) listener(what);
  }

  hide() {
    for (const listener of this.hideListeners) listener();
  }
}

/** Edges `a`, `b` …, a svrlist, a device. */
export async function world(count = 3) {
  const edges = await Promise.all([...'abcdef'].slice(0, count).map((id) => FakeEdge.start(id)));
  const svrlist = await FakeSvrlist.start(edges);
  return { edges, svrlist, device: new Device() };
}

/** A `Linecast` that notes its events, and is closed after the test. */
export function client({ svrlist, device }, options = {}) {
  const linecast = new Linecast({ svrlist: svrlist.url, room: 'live:1000', ...options }, device.platform);
  const seen = { states: [], lists: [], edges: [], goaways: [], faults: [], reports: [], errors: [] };
  linecast.on('state', (state) => seen.states.push(state.name));
  linecast.on('list', (list) => seen.lists.push(list));
  linecast.on('edge', ({ edge }) => seen.edges.push(edge.id ?? edge.url));
  linecast.on('goaway', (goaway) => seen.goaways.push(goaway));
  linecast.on('fault', (fault) => seen.faults.push(fault));
  linecast.on('report', (report) => seen.reports.push(report));
  linecast.centrifuge.on('error', (error) => seen.errors.push(error));
  endings.push(() => linecast.close());
  return { linecast, centrifuge: linecast.centrifuge, seen };
}

/** The same, connected. */
export async function connected(world, options) {
  const made = client(world, options);
  made.centrifuge.connect();
  await made.centrifuge.ready(5_000);
  return made;
}
