// What an application holds: a Centrifuge client, and what brings it to edges.

import { Centrifuge, type Options as CentrifugeOptions } from 'centrifuge';

import { type Answer, type Edge, isSameCell } from './answer.js';
import { DEFAULT_BACKOFF, wait } from './backoff.js';
import { berthClass } from './berth.js';
import { Emitter } from './emitter.js';
import type { GoAway } from './goaway.js';
import { type List, Lists, NoList } from './lists.js';
import { Pilot, type State } from './pilot.js';
import { background, defaultPlatform, type Platform, type SocketConstructor } from './platform.js';
import { type Reported, Reports } from './reports.js';

/** What both builds of the Centrifuge SDK have in common, as far as it is used here. */
export interface CentrifugeLike {
  connect(): void;
  disconnect(): void;
  ready(timeout?: number): Promise<void>;
  setData(data: unknown): void;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- both builds type their events themselves
  on(event: any, listener: any): unknown;
}

/** Everything but `svrlist` has a default. Times are in milliseconds. */
export interface LinecastOptions<Client extends CentrifugeLike = Centrifuge> {
  /** Base URLs of svrlists, the preferred one first: `https://svrlist.example`. */
  svrlist: string | readonly string[];
  /** The room that matters most, such as `live:1000`; svrlist may place its viewers together. */
  room?: string;
  /** The user, whom svrlist sends to the same edge again where it can. */
  uid?: string;
  /** What to be counted as; default `web`. */
  platform?: string;
  /** Options of the Centrifuge client. `websocket`, `minReconnectDelay` and `getData` are passed through to it changed. */
  centrifuge?: Partial<CentrifugeOptions>;
  /** The Centrifuge class; default that of `centrifuge`, which speaks JSON. */
  Centrifuge?: new (endpoint: string, options: Partial<CentrifugeOptions>) => Client;
  /** The subprotocol of that class: '' for JSON, `centrifuge-protobuf`. Found out by one attempt if it is not said. */
  protocol?: string;
  /** The WebSocket class; default `centrifuge.websocket`, else the global one (Node 22 and browsers). */
  WebSocket?: SocketConstructor;
  /** Whether to connect by `wss`; default as the page or, without one, the svrlist that answers. */
  tls?: boolean;
  /** Whether to keep the list in localStorage as long as it holds; default false. */
  store?: boolean;
  /** Names the network that the device is in; default the kind that browsers tell, such as `wifi`. */
  network?: () => string;
  /** Whether to report to svrlist; default true. */
  report?: boolean;
  /** Head start of the first edge before the second; default 150. */
  stagger?: number;
  /** How long an edge may take to open; default 5,000. */
  openTimeout?: number;
  /** How long a svrlist may take before the next is asked too; default 1,000. */
  askOvertake?: number;
  /** How long a svrlist may take at all; default 4,000. */
  askTimeout?: number;
}

/** What can be listened for with `on`. */
export interface LinecastEvents {
  /** Another state. */
  state: State;
  /** A list, from svrlist or from the cache. */
  list: { readonly answer: Answer; readonly svrlist: string; readonly source: 'svrlist' | 'storage' };
  /** Connected through this edge, where it was another before, or none. */
  edge: { readonly edge: Edge; readonly previous: Edge | null };
  /** An edge sent the client on. */
  goaway: { readonly edge: Edge } & GoAway;
  /** Something failed that is handled: an edge, or a svrlist (`edge` is null). For logs. */
  fault: { readonly what: string; readonly edge: Edge | null };
  /** A report was sent, or tried. */
  report: Reported;
}

/**
 * Keeps one Centrifuge client connected through the best edge.
 *
 * The client is an ordinary one, made here: `connect()` and `disconnect()` on it do what they always do, and
 * its subscriptions outlive every move from edge to edge, with recovery where the namespace has it.
 */
export class Linecast<Client extends CentrifugeLike = Centrifuge> {
  /** The client to use. It is not connected until its `connect()` is called. */
  readonly centrifuge: Client;
  readonly #platform: Platform;
  readonly #lists: Lists;
  readonly #pilot: Pilot;
  readonly #reports: Reports | null;
  readonly #events = new Emitter<LinecastEvents>();
  readonly #ends: (() => void)[] = [];
  #network: string;
  #list: List | null = null;
  #edge: Edge | null = null;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #refreshFailures = 0;
  #askedAt = -Infinity;
  #closed = false;

  /** `platform` is for tests. */
  constructor(options: LinecastOptions<Client>, platform: Platform = defaultPlatform()) {
    const svrlists = [options.svrlist].flat().map((url) => url.replace(/\/+$/, ''));
    if (svrlists.length === 0) throw new Error('no svrlist');
    for (const url of svrlists) new URL(url);
    const given = options.centrifuge ?? {};
    const WebSocket = options.WebSocket ?? (given.websocket as SocketConstructor | null | undefined) ?? platform.WebSocket;
    if (WebSocket === null) throw new Error('no WebSocket: pass one as the option `WebSocket`, such as that of `ws`');
    const network = options.network ?? platform.network;
    this.#platform = { ...platform, WebSocket, network };
    this.#network = network();
    this.#lists = new Lists({
      svrlists,
      query: { room: options.room, uid: options.uid, platform: options.platform ?? 'web' },
      tls: options.tls,
      overtakeMs: options.askOvertake ?? 1_000,
      timeoutMs: options.askTimeout ?? 4_000,
      store: options.store ?? false,
      network,
    }, this.#platform);
    this.#pilot = new Pilot({
      staggerMs: options.stagger ?? 150,
      openTimeoutMs: options.openTimeout ?? 5_000,
      protocol: options.protocol ?? '',
      onState: (state) => this.#handleState(state),
      onList: (list) => this.#handleList(list),
      onGoAway: (edge, goAway) => this.#events.emit('goaway', { edge, ...goAway }),
      onFault: (what, edge) => this.#events.emit('fault', { what, edge }),
    }, this.#lists, this.#platform);
    this.#reports = options.report === false ? null : new Reports(
      this.#pilot.tally, this.#platform, (reported) => this.#events.emit('report', reported), () => void this.#refresh(),
    );
    this.centrifuge = this.#client(options.Centrifuge ?? (Centrifuge as never), given);
    this.#ends.push(this.#platform.onNetwork((what) => this.#handleNetwork(what)));
    this.#ends.push(this.#platform.onHide(() => this.#reports?.handleHide()));
  }

  /** What is being done. */
  get state(): State {
    return this.#pilot.state;
  }

  /** The edge that the client is connected through, or null. */
  get edge(): Edge | null {
    return this.#pilot.edge;
  }

  /** The last answer of svrlist, or null. */
  get answer(): Answer | null {
    return this.#list?.answer ?? null;
  }

  /** Calls `listener` at every event of this name. Answers how to end that. */
  on<Name extends keyof LinecastEvents>(name: Name, listener: (value: LinecastEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** Asks svrlist anew and moves to the best edge: connects there first, then leaves the present one. */
  async move(): Promise<void> {
    await this.#refresh();
    await this.#pilot.move();
  }

  /** Disconnects the client for good, and reports what has not been reported. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.centrifuge.disconnect();
    this.#reports?.close();
    clearTimeout(this.#refreshTimer);
    for (const end of this.#ends) end();
  }

  #client(
    Client: new (endpoint: string, options: Partial<CentrifugeOptions>) => Client, given: Partial<CentrifugeOptions>,
  ): Client {
    let data: unknown = given.data ?? null;
    const options: Partial<CentrifugeOptions> = {
      ...given,
      websocket: berthClass(this.#pilot, this.#platform),
      // Every wait between attempts is the pilot's: the SDK's own would come on top of it.
      minReconnectDelay: 0,
      // The one hook before each attempt that has no deadline: here the client waits until an edge is reached.
      getData: async () => {
        if (given.getData) data = await this.#paced(given.getData);
        await this.#pilot.arrive();
        return data;
      },
    };
    const { getToken } = given;
    if (getToken) options.getToken = (context) => this.#paced(() => getToken(context));
    const client = new Client(PLACEHOLDER, options);
    // The SDK takes what `getData` answers instead of what was set; so that has to be known here.
    const setData = client.setData.bind(client);
    client.setData = (value) => {
      data = value;
      setData(value);
    };
    client.on('state', ({ newState }: { newState: string }) => {
      if (newState === 'disconnected') this.#pilot.leave();
    });
    client.on('connected', () => this.#pilot.handleConnected());
    client.on('connecting', ({ code, reason }: { code: number; reason: string }) => {
      this.#pilot.handleConnecting(code, reason);
    });
    client.on('error', ({ type, error }: { type: string; error?: { code?: number } }) => {
      if (type === 'connect' && error?.code === TOKEN_EXPIRED) this.#pilot.handleTokenExpired();
    });
    return client;
  }

  #callFailures = 0;

  /** An application's callback that fails is called again at once by a client without a delay; so its failure waits. */
  async #paced<T>(call: () => Promise<T>): Promise<T> {
    try {
      const value = await call();
      this.#callFailures = 0;
      return value;
    } catch (error) {
      // `UnauthorizedError` of either build: the client gives up.
      if ((error as Error | undefined)?.constructor?.name === 'UnauthorizedError') throw error;
      const waitMs = wait(CALL_BACKOFF, this.#callFailures, this.#platform.random());
      this.#callFailures += 1;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      throw error;
    }
  }

  #handleState(state: State): void {
    if (state.name === 'idle') {
      clearTimeout(this.#refreshTimer);
      this.#refreshTimer = undefined;
      this.#edge = null;
    } else if (this.#refreshTimer === undefined && this.#list !== null) {
      this.#schedule(this.#list);
    }
    this.#events.emit('state', state);
    if (state.name === 'connected') {
      const previous = this.#edge;
      this.#edge = state.edge;
      if (previous?.url !== state.edge.url) this.#events.emit('edge', { edge: state.edge, previous });
    }
  }

  #handleList(list: List): void {
    // Whoever joined a question in progress gets the same list.
    if (list === this.#list) return;
    if (list.source === 'svrlist') this.#askedAt = this.#platform.now();
    this.#list = list;
    this.#refreshFailures = 0;
    this.#reports?.handleList(list);
    this.#schedule(list);
    const { answer, svrlist, source } = list;
    this.#events.emit('list', { answer, svrlist, source });
  }

  #handleNetwork(what: 'online' | 'change'): void {
    if (this.state.name === 'idle') return;
    const network = this.#platform.network();
    const another = network !== this.#network;
    this.#network = network;
    // Browsers tell of each new estimate of a connection's speed, too.
    if (!another && what === 'change' && this.#platform.now() - this.#askedAt < ESTIMATES_MS) return;
    if (what === 'online' || another) {
      this.#lists.forget();
      this.#pilot.replan();
    }
    this.#pilot.wake();
    const before = this.#list?.answer.cell;
    void this.#refresh().then(() => {
      // What was opened in another network may be dead without a word, or goes a long way round.
      if (another || !isSameCell(this.#list?.answer.cell, before)) return this.#pilot.move();
      return undefined;
    });
  }

  /** Asks svrlist anew; never rejects. */
  async #refresh(): Promise<void> {
    clearTimeout(this.#refreshTimer);
    try {
      const list = await this.#lists.ask();
      if (!this.#closed) this.#handleList(list);
    } catch (error) {
      if (this.#closed) return;
      this.#events.emit('fault', { what: error instanceof Error ? error.message : String(error), edge: null });
      const backoff = this.#list?.answer.backoff ?? DEFAULT_BACKOFF;
      const waitMs = wait(backoff, this.#refreshFailures, this.#platform.random());
      this.#refreshFailures += 1;
      this.#timer(Math.max(waitMs, error instanceof NoList ? error.waitMs : 0));
    }
  }

  #schedule(list: List): void {
    const remainingMs = Math.max(list.until - this.#platform.wall(), 0);
    this.#timer(remainingMs * (1 - TTL_JITTER + 2 * TTL_JITTER * this.#platform.random()));
  }

  #timer(ms: number): void {
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = undefined;
    if (this.#closed || this.state.name === 'idle') return;
    this.#refreshTimer = setTimeout(() => void this.#refresh(), ms);
    background(this.#refreshTimer);
  }
}

/** Makes a `Linecast` and resolves once its client is connected. */
export async function connect<Client extends CentrifugeLike = Centrifuge>(
  options: LinecastOptions<Client>,
): Promise<Linecast<Client>> {
  const linecast = new Linecast(options);
  linecast.centrifuge.connect();
  await linecast.centrifuge.ready();
  return linecast;
}

/** Where a client would connect that had not been given a socket. */
const PLACEHOLDER = 'wss://edge.invalid/connection/websocket';

/** Centrifuge's error for a token that has expired. */
const TOKEN_EXPIRED = 109;

/** Waits after an application's callback failed. */
const CALL_BACKOFF = { ...DEFAULT_BACKOFF, baseMs: 500, maxMs: 20_000, factor: 2 };

/** Share by which a list is renewed earlier or later than it says, so that clients spread. */
const TTL_JITTER = 0.3;

/** Changes of the same network within so long after a list are estimates of its speed. */
const ESTIMATES_MS = 10_000;
