// Where to go next, and when. A pure machine: ends of connections and lists go in, steps come out.
//
// 1. At first: the list, two edges at a time.
// 2. An edge sent the client on: the edge it named, then the rest of the list.
// 3. A connection broke: the same edge once, alone; after a short random wait the others.
// 4. All of these failed: the list is asked for anew, the first time after a short random wait, then after
//    svrlist's back-off, which grows until a connection holds.
//
// Invariant: between two lists an edge that sent the client on is not tried again, so every chain of
// go-aways ends; a connection that does not hold counts towards the waits, so no circle is fast.

import { type Edge, same } from './answer.js';
import { type Backoff, DEFAULT_BACKOFF, spread, wait } from './backoff.js';

/** What to do next, after waiting. */
export type Step =
  /** Race these one or two edges. */
  | { readonly kind: 'race'; readonly waitMs: number; readonly edges: readonly Edge[] }
  /** Get a list; a `fresh` one must not come from the cache. */
  | { readonly kind: 'ask'; readonly waitMs: number; readonly fresh: boolean };

/** The way of one client. */
export class Route {
  #queue: Edge[] = [];
  #away: Edge[] = [];
  /** Whether the first edge of the queue is tried alone, and what to wait after it. */
  #alone = false;
  #waitMs = 0;
  #asks = 0;
  /** Successive connections that did not hold. */
  #restless = 0;
  #backoff = DEFAULT_BACKOFF;
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** The next step. What it names is taken as tried. */
  poll(): Step {
    const waitMs = this.#waitMs;
    this.#waitMs = 0;
    if (this.#queue.length > 0) {
      const edges = this.#queue.splice(0, this.#alone ? 1 : 2);
      if (this.#alone) this.#waitMs = spread(this.#backoff, this.#random());
      this.#alone = false;
      return { kind: 'race', waitMs, edges };
    }
    const fresh = this.#asks > 0;
    const before = this.#asks === 0 ? 0
      : this.#asks === 1 ? spread(this.#backoff, this.#random())
      : this.#pause(this.#asks - 2);
    this.#asks += 1;
    return { kind: 'ask', waitMs: Math.max(waitMs, before), fresh };
  }

  /** One of the edges raced was opened; `rest` are those that had not failed, and come next should it fail. */
  handleOpened(rest: readonly Edge[]): void {
    this.#queue.unshift(...rest);
  }

  /** A list came that was asked for. */
  handleList(edges: readonly Edge[], backoff: Backoff): void {
    this.#backoff = backoff;
    const rest = without(edges, this.#away);
    this.#queue = rest.length > 0 ? rest : [...edges];
    this.#away = [];
    this.#alone = false;
  }

  /** `edge` sent the client on, to `next` if it named one; `held` if the connection had held. */
  handleGoAway(edge: Edge, next: Edge | null, list: readonly Edge[], connected: boolean, held: boolean): void {
    this.#away.push(edge);
    // Turned away at the door: what is left of this round stays, with the named edge in front.
    const rest = connected ? list : this.#queue;
    const named = next !== null && without([next], this.#away).length > 0 ? [next] : [];
    this.#queue = [...named, ...without(rest, [...this.#away, ...named])];
    this.#alone = false;
    this.#waitMs = 0;
    if (connected) this.#ended(held);
  }

  /** The connection to `edge` broke. */
  handleDrop(edge: Edge, list: readonly Edge[], held: boolean): void {
    this.#away = [];
    this.#queue = [edge, ...without(list, [edge])];
    this.#alone = true;
    this.#waitMs = 0;
    this.#ended(held);
  }

  /** `edge` is to be tried again, alone: the connection ended for a reason that is not the edge's. */
  handleAgain(edge: Edge, list: readonly Edge[], held: boolean): void {
    this.handleDrop(edge, list, held);
  }

  /** A connection has held for `HELD_MS`. */
  handleHeld(): void {
    this.#restless = 0;
    this.#asks = Math.min(this.#asks, 1);
  }

  /** Everything starts anew: the network is another, or the application disconnected. */
  reset(): void {
    this.#queue = [];
    this.#away = [];
    this.#alone = false;
    this.#waitMs = 0;
    this.#asks = 0;
    this.#restless = 0;
  }

  #ended(held: boolean): void {
    if (held) {
      this.handleHeld();
      return;
    }
    this.#restless += 1;
    if (this.#restless > RESTLESS_FREE) this.#waitMs = this.#pause(this.#restless - RESTLESS_FREE - 1);
  }

  #pause(n: number): number {
    return wait(this.#backoff, n, this.#random());
  }
}

function without(edges: readonly Edge[], others: readonly Edge[]): Edge[] {
  return edges.filter((edge) => !others.some((other) => same(edge, other)));
}

/** So many connections in a row may break early before the next has to wait. */
const RESTLESS_FREE = 2;

/** A connection that lasts so long holds: what broke it is no reason to wait. */
export const HELD_MS = 10_000;
