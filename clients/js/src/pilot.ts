// Brings one client to an edge, and to the next: drives the route, asks for lists, races edges, keeps the
// open socket until the client takes it, and hears how each connection ends.
//
// Invariant: at most one journey runs, at most one socket waits, at most one is in the client's hands.

import { type Edge, same } from './answer.js';
import { wait, DEFAULT_BACKOFF } from './backoff.js';
import type { Berth, End, Harbour } from './berth.js';
import { type GoAway, readGoAway, resolveNext } from './goaway.js';
import { type List, type Lists, NoList } from './lists.js';
import { background, type Platform } from './platform.js';
import { discard, type Passage, race } from './race.js';
import { HELD_MS, Route } from './route.js';
import { Tally } from './tally.js';

/** What the client is about. */
export type State =
  /** The application has not connected, or has disconnected. */
  | { readonly name: 'idle' }
  /** Getting a list. */
  | { readonly name: 'asking' }
  /** Waiting as long as svrlist says, or until the device has a network. */
  | { readonly name: 'waiting'; readonly ms: number }
  /** Opening connections to these. */
  | { readonly name: 'racing'; readonly edges: readonly Edge[] }
  /** One is open; the edge has not answered. */
  | { readonly name: 'opening'; readonly edge: Edge }
  | { readonly name: 'connected'; readonly edge: Edge };

export interface PilotOptions {
  readonly staggerMs: number;
  readonly openTimeoutMs: number;
  readonly protocol: string;
  readonly onState: (state: State) => void;
  readonly onList: (list: List) => void;
  readonly onGoAway: (edge: Edge, goAway: GoAway) => void;
  readonly onFault: (what: string, edge: Edge | null) => void;
}

interface Held {
  readonly berth: Berth;
  readonly passage: Passage;
  /** When the edge answered; null before. */
  since: number | null;
  /** Set once the client has closed it; why comes later. */
  left: boolean;
  timer?: ReturnType<typeof setTimeout>;
}

export class Pilot implements Harbour {
  readonly tally = new Tally();
  readonly #route: Route;
  readonly #lists: Lists;
  readonly #options: PilotOptions;
  readonly #platform: Platform;
  #protocol: string;
  #state: State = { name: 'idle' };
  #journey: { readonly done: Promise<void>; readonly abort: AbortController } | null = null;
  #parked: Passage | null = null;
  #held: Held | null = null;
  #wake: (() => void) | null = null;

  constructor(options: PilotOptions, lists: Lists, platform: Platform) {
    this.#options = options;
    this.#protocol = options.protocol;
    this.#lists = lists;
    this.#platform = platform;
    this.#route = new Route(platform.random);
  }

  get state(): State {
    return this.#state;
  }

  /** The edge that the client is connected to. */
  get edge(): Edge | null {
    return this.#state.name === 'connected' ? this.#state.edge : null;
  }

  /** Resolves once a socket is open for the client to claim. Never rejects; a `leave` ends it. */
  arrive(): Promise<void> {
    this.#judge();
    if (this.#parked !== null) return Promise.resolve();
    return this.#travel();
  }

  claim(protocol: string, berth: Berth): Passage | null {
    const passage = this.#parked;
    this.#parked = null;
    if (passage === null) return null;
    if (passage.protocol !== protocol) {
      // The client speaks another encoding than was said. Now it is known.
      this.#protocol = protocol;
      discard(passage.socket);
      this.#route.handleAgain(passage.edge, this.#edges(), true);
      return null;
    }
    this.#held = { berth, passage, since: null, left: false };
    this.#enter({ name: 'opening', edge: passage.edge });
    return passage;
  }

  handleEnd(berth: Berth, passage: Passage, end: End): void {
    const held = this.#held;
    if (held?.berth !== berth) return;
    if (end.kind === 'left') {
      // Why, the client says a moment later: `handleConnecting`, `leave`, or nothing before it comes again.
      held.left = true;
      return;
    }
    this.#release(end.code < CODES_OF_SERVERS && held.since !== null);
    this.#ended(held, passage.edge, end.code, end.reason);
  }

  /** The edge answered the client. */
  handleConnected(): void {
    const held = this.#held;
    if (held === null) return;
    const now = this.#platform.now();
    const { edge, openMs } = held.passage;
    held.since = now;
    held.timer = setTimeout(() => this.#route.handleHeld(), HELD_MS);
    background(held.timer);
    const opening = openMs / (edge.url.startsWith('wss:') ? ROUND_TRIPS_TLS : ROUND_TRIPS);
    this.tally.handleConnected(edge.id, held.berth.replyMs ?? opening, now);
    this.#enter({ name: 'connected', edge });
  }

  /** The client, once connected, ended that itself and says why. */
  handleConnecting(code: number, reason: string): void {
    const held = this.#held;
    if (held === null || !held.left || held.since === null) return;
    const { edge } = held.passage;
    this.#release(code === NO_PING);
    // An edge may say in a message what others say by closing.
    if (code >= CODES_OF_SERVERS) this.#ended(held, edge, code, reason);
    else this.#route.handleDrop(edge, this.#edges(), this.#hasHeld(held) || code !== NO_PING);
  }

  /** The edge refused the client's token: that is no fault of the edge, which is asked again with another. */
  handleTokenExpired(): void {
    const held = this.#held;
    if (held === null || held.since !== null) return;
    const { edge } = held.passage;
    this.#release(false);
    this.tally.handleAttempt(edge.id, false);
    this.#route.handleAgain(edge, this.#edges(), false);
  }

  /** The application disconnected: nothing is open or tried any more. */
  leave(): void {
    this.#cancel();
    if (this.#parked !== null) discard(this.#parked.socket);
    this.#parked = null;
    this.#release(false);
    this.#route.reset();
    this.#enter({ name: 'idle' });
  }

  /** Whatever is waited for may be tried now. */
  wake(): void {
    this.#wake?.();
  }

  /** Drops all plans; the next step is the list. For another network. */
  replan(): void {
    this.#route.reset();
    if (this.#journey !== null) {
      // Whoever waits for the old journey gets the new one's end.
      const { abort } = this.#journey;
      this.#journey = null;
      void this.#travel();
      abort.abort();
    }
  }

  /** Opens a connection to the best edge, and only then leaves the present one. */
  async move(): Promise<void> {
    const held = this.#held;
    if (held === null || held.since === null) return;
    if (this.#parked === null) {
      this.#route.reset();
      await this.#travel();
    }
    if (this.#held !== held || this.#parked === null) return;
    this.#release(false);
    held.berth.abandon();
  }

  #travel(): Promise<void> {
    if (this.#journey !== null) return this.#journey.done;
    const abort = new AbortController();
    const done = this.#run(abort.signal).then(
      () => (this.#journey !== null && this.#journey.abort !== abort ? this.#journey.done : undefined),
    );
    this.#journey = { done, abort };
    void done.then(() => {
      if (this.#journey?.abort === abort) this.#journey = null;
    });
    return done;
  }

  async #run(signal: AbortSignal): Promise<void> {
    // Not before whoever started the journey has noted it.
    await Promise.resolve();
    while (!signal.aborted) {
      if (!this.#platform.onLine()) await this.#rest(OFFLINE_MS, signal);
      if (signal.aborted) return;
      const step = this.#route.poll();
      if (step.waitMs > 0) await this.#rest(step.waitMs, signal);
      if (signal.aborted) return;
      if (step.kind === 'ask') {
        const list = await this.#list(step.fresh, signal);
        if (list !== null && !signal.aborted) this.#route.handleList(list.answer.edges, list.answer.backoff);
        continue;
      }
      this.#travelState({ name: 'racing', edges: step.edges });
      const rest = new Set(step.edges);
      const passage = await race(step.edges, {
        protocol: this.#protocol,
        staggerMs: this.#options.staggerMs,
        timeoutMs: this.#options.openTimeoutMs,
        signal,
        onAttempt: (edge, failed, why) => {
          rest.delete(edge);
          // What was opened counts once the edge has answered, or has not.
          if (!failed) return;
          this.tally.handleAttempt(edge.id, true);
          this.#options.onFault(why, edge);
        },
      }, this.#platform);
      if (passage === null) continue;
      if (signal.aborted) {
        discard(passage.socket);
        return;
      }
      this.#route.handleOpened([...rest]);
      this.#park(passage);
      return;
    }
  }

  async #list(fresh: boolean, signal: AbortSignal): Promise<List | null> {
    const cached = fresh ? null : this.#lists.cached();
    if (cached !== null) {
      this.#options.onList(cached);
      return cached;
    }
    for (let n = 0; !signal.aborted; n += 1) {
      this.#travelState({ name: 'asking' });
      try {
        const list = await this.#lists.ask();
        if (!signal.aborted) this.#options.onList(list);
        return list;
      } catch (error) {
        if (signal.aborted) return null;
        this.#options.onFault(error instanceof Error ? error.message : String(error), null);
        // What was true once is better than nothing; the route's waits keep that slow.
        const last = this.#lists.last();
        if (last !== null) return last;
        const waitMs = error instanceof NoList ? error.waitMs : 0;
        await this.#rest(Math.max(waitMs, wait(DEFAULT_BACKOFF, n, this.#platform.random())), signal);
      }
    }
    return null;
  }

  #park(passage: Passage): void {
    const { socket, edge } = passage;
    this.#parked = passage;
    const lost = (code: number, reason: string) => {
      clearTimeout(timer);
      if (this.#parked !== passage) return;
      this.#parked = null;
      this.#refused(edge, code, reason);
    };
    // An edge waits only so long for the first word.
    const timer = setTimeout(() => {
      if (this.#parked !== passage) return;
      this.#parked = null;
      discard(socket);
    }, PARKED_MS);
    background(timer);
    socket.onopen = null;
    socket.onerror = () => undefined;
    // An edge that turns clients away closes right after opening: the socket may be closing by now, and
    // its event, which says where to go, is still to come.
    socket.onclose = ({ code, reason }) => lost(code, reason);
  }

  /** The client comes again without having said why it closed: a connection that failed before the answer. */
  #judge(): void {
    const held = this.#held;
    if (held === null) return;
    const { edge } = held.passage;
    const connected = held.since !== null;
    this.#release(false);
    if (connected) this.#route.handleDrop(edge, this.#edges(), true);
    else this.#refused(edge, 1006, '');
  }

  #ended(held: Held, edge: Edge, code: number, reason: string): void {
    if (held.since === null) {
      this.#refused(edge, code, reason);
      return;
    }
    const goAway = readGoAway(code, reason);
    const lasted = this.#hasHeld(held);
    if (goAway === null) {
      this.#route.handleDrop(edge, this.#edges(), lasted);
      return;
    }
    this.#options.onGoAway(edge, goAway);
    this.#route.handleGoAway(edge, this.#next(goAway, edge), this.#edges(), true, lasted);
  }

  /** The edge ended the connection before it answered the client. */
  #refused(edge: Edge, code: number, reason: string): void {
    const goAway = readGoAway(code, reason);
    this.tally.handleAttempt(edge.id, goAway === null);
    if (goAway === null) {
      this.#options.onFault(`closed with ${code} ${reason} before it answered`, edge);
      return;
    }
    this.#options.onGoAway(edge, goAway);
    this.#route.handleGoAway(edge, this.#next(goAway, edge), this.#edges(), false, false);
  }

  #next(goAway: GoAway, from: Edge): Edge | null {
    const edge = goAway.next === null ? null : resolveNext(goAway.next, from, this.#edges());
    return edge !== null && !same(edge, from) ? edge : null;
  }

  #release(drop: boolean): void {
    const held = this.#held;
    if (held === null) return;
    this.#held = null;
    clearTimeout(held.timer);
    this.tally.handleEnd(drop, this.#platform.now());
  }

  #hasHeld(held: Held): boolean {
    return held.since !== null && this.#platform.now() - held.since >= HELD_MS;
  }

  #edges(): readonly Edge[] {
    return this.#lists.last()?.answer.edges ?? [];
  }

  #cancel(): void {
    const journey = this.#journey;
    this.#journey = null;
    journey?.abort.abort();
    this.#wake?.();
  }

  #rest(ms: number, signal: AbortSignal): Promise<void> {
    this.#travelState({ name: 'waiting', ms });
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        if (this.#wake === end) this.#wake = null;
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener('abort', end);
      this.#wake = end;
    });
  }

  /** A journey that prepares a move is no change of state: the client is connected meanwhile. */
  #travelState(state: State): void {
    if (this.#state.name !== 'connected' || this.#held === null) this.#enter(state);
  }

  #enter(state: State): void {
    this.#state = state;
    this.#options.onState(state);
  }
}

/** Close codes below are WebSocket's or the client's own; from here on a server means something by them. */
const CODES_OF_SERVERS = 3000;

/** The client's own code for an edge that is silent. */
const NO_PING = 2;

/** Round trips until a WebSocket is open: TCP and HTTP, and TLS 1.3. */
const ROUND_TRIPS = 2;
const ROUND_TRIPS_TLS = 3;

/** How long an open socket waits for the client; edges wait 10 s (`centrifuge.connect_timeout`). */
const PARKED_MS = 5_000;

/** How long a device is believed that it has no network. */
const OFFLINE_MS = 10_000;
