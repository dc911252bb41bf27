// Histories of many series: asked for together, kept while a view shows them, asked again now and then.

import { get } from './api.js';

// More names in one request make its URL too long for somebody on the way.
export const BATCH = 24;
const AGAIN_MS = 30_000;

export const RANGES = [['1h', '1 h', 3_600_000], ['6h', '6 h', 21_600_000], ['24h', '24 h', 86_400_000], ['7d', '7 d', 604_800_000]];

export const rangeMs = (id) => (RANGES.find(([key]) => key === id) ?? RANGES[0])[2];

export class Histories {
  #series = new Map();
  #wanted = new Set();
  #timer = 0;
  #soon = false;
  #abort = new AbortController();
  #changed;
  #now;
  failure = null;
  // What the last answers were about, for the axes.
  from = 0;
  to = 0;

  constructor({ lengthMs, points, changed, now }) {
    this.lengthMs = lengthMs;
    this.points = points;
    this.#changed = changed;
    this.#now = now;
    this.to = now();
    this.from = this.to - lengthMs;
  }

  // The series of this name, or null so far; from now on it is asked for. To be called while drawing.
  of(name) {
    if (!this.#wanted.has(name)) {
      this.#wanted.add(name);
      this.#ask();
    }
    return this.#series.get(name) ?? null;
  }

  // Other lengths are other answers.
  set length(lengthMs) {
    if (lengthMs === this.lengthMs) return;
    this.lengthMs = lengthMs;
    this.#series.clear();
    this.#wanted.clear();
    this.#abort.abort();
    this.#abort = new AbortController();
    this.to = this.#now();
    this.from = this.to - lengthMs;
  }

  #ask() {
    if (this.#soon) return;
    this.#soon = true;
    // What one drawing asks for goes together.
    queueMicrotask(() => {
      this.#soon = false;
      const missing = [...this.#wanted].filter((name) => !this.#series.has(name));
      this.#fetch(missing);
    });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), AGAIN_MS);
  }

  async #again() {
    await this.#fetch([...this.#wanted]);
    // Only what is still drawn is asked for once more.
    this.#wanted.clear();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), AGAIN_MS);
    this.#changed();
  }

  async #fetch(names) {
    const { signal } = this.#abort;
    const to = Math.round(this.#now());
    const from = to - this.lengthMs;
    for (let at = 0; at < names.length; at += BATCH) {
      const query = new URLSearchParams({ from_ms: from, to_ms: to, points: this.points });
      for (const name of names.slice(at, at + BATCH)) query.append('series', name);
      try {
        const answer = await get(`/api/history?${query}`, signal);
        for (const one of answer.series) this.#series.set(one.name, one);
        Object.assign(this, { failure: null, from: answer.from_ms ?? from, to: answer.to_ms ?? to });
      } catch (error) {
        if (signal.aborted) return;
        this.failure = error;
      }
      this.#changed();
    }
  }

  stop() {
    clearTimeout(this.#timer);
    this.#abort.abort();
  }
}
