// What every scenario shares: its input, what it says on stdout, and how it ends.
//
// A scenario is started as `node <scenario>.mjs '<options as JSON>'`. It prints one JSON object a line:
// `{"event":"ready"}` once the world may begin, `{"event":"progress",…}` as it goes, and last
// `{"event":"result","ok":…,…}`. Exit code 0 if `ok`, else 1. Whatever else it has to say goes to stderr.

/** The options object the scenario was started with. */
export function options(defaults = {}) {
  const given = process.argv[2];
  if (given === undefined) {
    process.stderr.write(`usage: node ${process.argv[1]} '{"option": "value", …}'\n`);
    process.exit(64);
  }
  return { timeoutMs: 30_000, ...defaults, ...JSON.parse(given) };
}

/** Prints one event line. */
export function say(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

let finished = false;

/** Prints the result line and ends the process once it is written. The first call counts. */
export function finish(ok, fields = {}) {
  if (finished) return;
  finished = true;
  process.stdout.write(`${JSON.stringify({ event: 'result', ok, ...fields })}\n`, () => process.exit(ok ? 0 : 1));
}

/** Ends the scenario with what `partial()` knows when it takes longer than `ms`. */
export function deadline(ms, partial = () => ({})) {
  const timer = setTimeout(() => finish(false, { reason: `not done after ${ms} ms`, ...partial() }), ms);
  timer.unref();
  return timer;
}

/** Resolves after `ms`. Only for watching that something does *not* happen. */
export const quiet = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Checks one stream of numbered messages: 0, 1, 2 … each exactly once and in that order.
 * Offsets, where the protocol has them, must be dense too.
 */
export class Stream {
  seen = new Set();
  next = 0;
  duplicates = [];
  outOfOrder = [];
  offsetJumps = [];
  lastOffset = undefined;

  /** Takes the number of one message and its offset if it came with one. */
  take(n, offset) {
    if (this.seen.has(n)) this.duplicates.push(n);
    else if (n !== this.next) this.outOfOrder.push({ expected: this.next, got: n });
    this.seen.add(n);
    this.next = n + 1;
    if (offset !== undefined && this.lastOffset !== undefined && offset !== this.lastOffset + 1) {
      this.offsetJumps.push({ after: this.lastOffset, got: offset });
    }
    if (offset !== undefined) this.lastOffset = offset;
  }

  /** Numbers below `count` that never came. */
  missing(count) {
    const missing = [];
    for (let n = 0; n < count; n += 1) if (!this.seen.has(n)) missing.push(n);
    return missing;
  }

  /** True if exactly 0 … count - 1 came, in order, once. */
  perfect(count) {
    return this.seen.size === count && this.missing(count).length === 0 &&
      this.duplicates.length === 0 && this.outOfOrder.length === 0 && this.offsetJumps.length === 0;
  }

  /** What to print; long lists are cut. */
  report(count) {
    const cut = (list) => list.slice(0, 10);
    const missing = this.missing(count);
    return {
      received: this.seen.size,
      missing: missing.length,
      missingFirst: cut(missing),
      duplicates: cut(this.duplicates),
      outOfOrder: cut(this.outOfOrder),
      offsetJumps: cut(this.offsetJumps),
    };
  }
}
