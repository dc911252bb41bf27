// Time that passes by itself when nothing else happens: timers of the tests and of what they test fire in their
// order as soon as everything before them is done, however long they were set for. So a test of an hour takes
// a moment, and one on a busy machine sees the same times as on an idle one.

import { afterEach, beforeEach } from 'node:test';

const { setImmediate, clearImmediate } = globalThis;

/** Milliseconds since the start. */
let now = 0;
let number = 0;
const timers = new Map();

class Timer {
  constructor(call, ms, every) {
    this.call = call;
    this.every = every;
    this.number = number += 1;
    this.set(ms);
  }

  set(ms) {
    this.at = now + Math.max(Number(ms) || 0, 1);
    timers.set(this.number, this);
  }

  unref() { return this; }

  ref() { return this; }

  [Symbol.toPrimitive]() { return this.number; }
}

globalThis.setTimeout = (call, ms, ...values) => new Timer(() => call(...values), ms, null);
globalThis.setInterval = (call, ms, ...values) => new Timer(() => call(...values), ms, ms);
globalThis.clearTimeout = (timer) => { if (timer) timers.delete(Number(timer)); };
globalThis.clearInterval = globalThis.clearTimeout;
Object.defineProperty(performance, 'now', { value: () => now });

/** Milliseconds since 1970. */
export const wall = () => EPOCH + now;

/** Fires the next timer. */
function step() {
  let next = null;
  for (const timer of timers.values()) {
    if (next === null || timer.at < next.at || (timer.at === next.at && timer.number < next.number)) next = timer;
  }
  if (next === null) return;
  timers.delete(next.number);
  now = Math.max(now, next.at);
  if (next.every !== null) next.set(next.every);
  next.call();
}

let driver = null;

/** A turn of the event loop ends all promises that can be ended; some take a second turn. */
function drive(turns = TURNS) {
  driver = setImmediate(() => {
    if (turns === 1) step();
    drive(turns === 1 ? TURNS : turns - 1);
  });
}

beforeEach(() => drive());
afterEach(() => {
  clearImmediate(driver);
  timers.clear();
});

/** Any day will do. */
const EPOCH = Date.UTC(2026, 0, 1);

const TURNS = 3;
