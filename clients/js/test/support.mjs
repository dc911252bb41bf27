// Fake svrlists and edges in a network that is made up too, a made-up device, and clients that end with their
// test. Time is virtual: see clock.mjs.

import { afterEach } from 'node:test';

import { Linecast } from '../dist/index.js';
import { wall } from './clock.mjs';

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

/** Everything takes so long from one end to the other. */
const LATENCY_MS = 1;

const later = (call) => setTimeout(call, LATENCY_MS);

/** Who listens, by `host:port`. */
const listeners = new Map();
let port = 20_000;

function listen(host) {
  port += 1;
  const address = `127.0.0.1:${port}`;
  listeners.set(address, host);
  return address;
}

/** A browser's WebSocket, as far as the client uses it. */
export class WebSocket {
  readyState = 0;
  binaryType = 'blob';
  onopen = null;
  onerror = null;
  onclose = null;
  onmessage = null;
  /** The edge's end. */
  peer = null;

  constructor(url, protocol = '') {
    this.protocol = protocol;
    const { host } = new URL(url);
    later(() => {
      const edge = listeners.get(host);
      if (edge === undefined) this.fail('connection refused');
      else edge.upgrade(this);
    });
  }

  accept(peer) {
    this.peer = peer;
    later(() => {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.onopen?.({});
    });
  }

  fail(message) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onerror?.({ message });
    this.onclose?.({ code: 1006, reason: '' });
  }

  send(data) {
    if (this.readyState === 1) later(() => this.peer?.handleMessage(data));
  }

  close(code = 1005) {
    if (this.readyState >= 2) return;
    if (this.readyState === 0) {
      later(() => this.fail('closed before the connection was established'));
      this.peer?.end(1006);
      return;
    }
    this.readyState = 2;
    later(() => {
      this.peer.end(code);
      later(() => this.ended(code, ''));
    });
  }

  ended(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/** An edge's end of a WebSocket. */
class Peer {
  open = true;

  constructor(edge, socket) {
    this.edge = edge;
    this.socket = socket;
    this.protocol = socket.protocol;
  }

  handleMessage(data) {
    // Protobuf it does not speak.
    if (!this.open || this.protocol !== '') return;
    for (const line of String(data).split('\n').filter(Boolean)) this.edge.answer(this, JSON.parse(line));
  }

  send(data) {
    later(() => {
      if (this.socket.readyState === 1) this.socket.onmessage?.({ data });
    });
  }

  close(code, reason) {
    later(() => this.socket.ended(code, reason));
    this.end(code);
  }

  terminate() {
    this.close(1006, '');
  }

  end(code) {
    if (!this.open) return;
    this.open = false;
    this.edge.sockets.delete(this);
    this.edge.closes.push(code);
  }
}

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
    edge.host = listen(edge);
    edge.url = `ws://${edge.host}/connection/websocket`;
    endings.push(() => edge.stop());
    return edge;
  }

  /** As svrlist lists it. */
  get server() {
    return { id: this.id, name: this.id, urls: { ws: this.url, wss: this.url.replace('ws:', 'wss:') }, why: 'test' };
  }

  upgrade(socket) {
    this.asked.push(performance.now());
    if (this.silent) return;
    if (this.refuse !== null) {
      later(() => socket.fail(`status ${this.refuse}`));
      return;
    }
    if (this.delayMs > 0) setTimeout(() => this.#accept(socket), this.delayMs);
    else this.#accept(socket);
  }

  #accept(socket) {
    if (socket.readyState !== 0 || !listeners.has(this.host)) return;
    this.opened += 1;
    const peer = new Peer(this, socket);
    this.subprotocols.push(peer.protocol);
    this.sockets.add(peer);
    socket.accept(peer);
    if (this.door) later(() => peer.close(...this.door));
  }

  answer(client, { id, connect, subscribe }) {
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
    listeners.delete(this.host);
    this.cut();
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
    svrlist.host = listen(svrlist);
    svrlist.url = `http://${svrlist.host}`;
    endings.push(() => svrlist.stop());
    return svrlist;
  }

  /** The answer, or null for none. */
  handle(url, init) {
    if (url.pathname === '/report') {
      this.contentTypes.push(init.headers['content-type']);
      this.reports.push(JSON.parse(init.body));
      this.onReport?.();
      const [status, headers] = this.reported;
      return new Response(null, { status, headers });
    }
    this.asked.push({ at: performance.now(), path: url.pathname, query: Object.fromEntries(url.searchParams) });
    if (this.instead === 'silent') return null;
    if (this.instead) {
      const [status, headers, body] = this.instead;
      return new Response(body, { status, headers });
    }
    const servers = this.edges.map((edge) => edge.server);
    const headers = { 'content-type': 'application/json' };
    return new Response(JSON.stringify({ ...this.answer, servers }), { headers });
  }

  stop() {
    listeners.delete(this.host);
  }
}

/** Asks one of the svrlists above. */
globalThis.fetch = (address, init = {}) => new Promise((resolve, reject) => {
  const url = new URL(address);
  const { signal } = init;
  const abort = () => reject(signal.reason);
  if (signal?.aborted) return abort();
  signal?.addEventListener('abort', abort);
  later(() => {
    if (signal?.aborted) return;
    const svrlist = listeners.get(url.host);
    if (svrlist === undefined) return reject(new TypeError('fetch failed'));
    const answer = svrlist.handle(url, init);
    if (answer !== null) later(() => resolve(answer));
  });
});

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
    wall: () => wall() + this.wallOffset,
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
