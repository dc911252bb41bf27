// How long to wait between attempts, as svrlist says it.

/** Waiting between attempts: `min(base * factor^n, max)`, of which the share `jitter` is random. */
export interface Backoff {
  /** First wait, in milliseconds. */
  readonly baseMs: number;
  /** Longest wait, in milliseconds. */
  readonly maxMs: number;
  /** Growth from wait to wait, at least 1. */
  readonly factor: number;
  /** Share of each wait that is random, 0 to 1. */
  readonly jitter: number;
}

/** What svrlist says by default; holds until it has said anything. */
export const DEFAULT_BACKOFF: Backoff = { baseMs: 3_000, maxMs: 300_000, factor: 1.8, jitter: 0.3 };

/** The wait after `n` waits before it: between `1 - jitter` and `1` of the full one. `random` is in [0, 1). */
export function wait(backoff: Backoff, n: number, random: number): number {
  const full = Math.min(backoff.baseMs * backoff.factor ** n, backoff.maxMs);
  return full * (1 - backoff.jitter * random);
}

/** A short wait that only spreads clients which all lost the same edge: the first wait's random share. */
export function spread(backoff: Backoff, random: number): number {
  return backoff.baseMs * backoff.jitter * random;
}
