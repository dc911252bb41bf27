// What became of connections, counted for each edge until it is reported.

/** What svrlist hears of one edge. */
export interface Row {
  readonly edge: string;
  /** Connections tried whose end is known; one that was given up for a faster one is not among them. */
  readonly attempts: number;
  /** Of these, those that were not opened, or broke before the edge answered. */
  readonly failures: number;
  /** Connections that broke later, without a word from the edge or the client. */
  readonly drops: number;
  /** The shortest round trip measured, or null. */
  readonly rtt_ms: number | null;
  /** How long the client was connected. */
  readonly seconds: number;
}

interface Counts {
  attempts: number;
  failures: number;
  drops: number;
  rttMs: number | null;
  connectedMs: number;
}

/** Counters by edge. Time is an argument, in milliseconds of any clock that never runs backwards. */
export class Tally {
  readonly #edges = new Map<string, Counts>();
  #connected: { readonly edge: string; since: number } | null = null;

  /** A connection was tried, and how that ended is known: so failures are never more than attempts. */
  handleAttempt(edge: string | null, failed: boolean): void {
    const counts = this.#of(edge);
    if (!counts) return;
    counts.attempts += 1;
    if (failed) counts.failures += 1;
  }

  handleConnected(edge: string | null, rttMs: number | null, now: number): void {
    this.handleEnd(false, now);
    this.handleAttempt(edge, false);
    const counts = this.#of(edge);
    if (!counts || edge === null) return;
    if (rttMs !== null) counts.rttMs = Math.min(rttMs, counts.rttMs ?? Infinity);
    this.#connected = { edge, since: now };
  }

  /** The connection ended; `drop` if nobody wanted that. */
  handleEnd(drop: boolean, now: number): void {
    if (!this.#connected) return;
    this.#settle(now);
    const counts = this.#of(this.#connected.edge);
    if (drop && counts) counts.drops += 1;
    this.#connected = null;
  }

  /** All counts since they were last taken. They start anew. */
  take(now: number): Row[] {
    this.#settle(now);
    const rows = [...this.#edges].map(([edge, counts]) => ({
      edge,
      attempts: Math.min(counts.attempts, COUNT_MAX),
      failures: Math.min(counts.failures, COUNT_MAX),
      drops: Math.min(counts.drops, COUNT_MAX),
      rtt_ms: counts.rttMs === null ? null : Math.min(Math.round(counts.rttMs * 10) / 10, RTT_MS_MAX),
      seconds: Math.min(Math.round(counts.connectedMs / 100) / 10, SECONDS_MAX),
    }));
    this.#edges.clear();
    const telling = rows.filter((row) => row.attempts > 0 || row.drops > 0 || row.seconds > 0);
    return telling.slice(-EDGES_MAX);
  }

  /** Puts back rows that could not be reported. */
  restore(rows: readonly Row[]): void {
    for (const row of rows) {
      const counts = this.#of(row.edge);
      if (!counts) continue;
      counts.attempts += row.attempts;
      counts.failures += row.failures;
      counts.drops += row.drops;
      counts.connectedMs += row.seconds * 1000;
      if (row.rtt_ms !== null) counts.rttMs = Math.min(row.rtt_ms, counts.rttMs ?? Infinity);
    }
  }

  #settle(now: number): void {
    if (!this.#connected) return;
    const counts = this.#of(this.#connected.edge);
    if (counts) counts.connectedMs += Math.max(now - this.#connected.since, 0);
    this.#connected.since = now;
  }

  #of(edge: string | null): Counts | null {
    // svrlist knows no edge without a name.
    if (edge === null) return null;
    let counts = this.#edges.get(edge);
    if (!counts) {
      counts = { attempts: 0, failures: 0, drops: 0, rttMs: null, connectedMs: 0 };
      this.#edges.set(edge, counts);
    }
    return counts;
  }
}

// What svrlist takes at most in one report.
const EDGES_MAX = 16;
const COUNT_MAX = 1_000;
const RTT_MS_MAX = 60_000;
const SECONDS_MAX = 86_400;
