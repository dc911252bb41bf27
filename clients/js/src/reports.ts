// Tells svrlist what became of connections: at most once in an interval, and when the page goes away.

import { type Edge, isSameCell } from './answer.js';
import { discardBody, type List, retryAfter } from './lists.js';
import { background, type Platform } from './platform.js';
import type { Row, Tally } from './tally.js';

/** What one report came to. */
export interface Reported {
  readonly rows: readonly Row[];
  /** svrlist's status, 0 if it could not be reached, or null if the page went away. */
  readonly status: number | null;
}

/** Rows, and the list by whose token they are to be told. */
interface Told {
  readonly list: List;
  readonly rows: readonly Row[];
}

export class Reports {
  /** One for all reports of this client, so that svrlist can tell them from another's. */
  readonly #session: string;
  readonly #tally: Tally;
  readonly #platform: Platform;
  readonly #onReport: (reported: Reported) => void;
  readonly #onToken: () => void;
  #list: List | null = null;
  /** What was met in cells before, which the new cell's token does not speak for; told first, the oldest first. */
  readonly #left: Told[] = [];
  /** False once svrlist said that it takes none; until the next list. */
  #supported = true;
  #sending = false;
  #dueAt: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #type = 'text/plain;charset=UTF-8';

  /** `onToken` is called when svrlist wants another token, which only a new list brings. */
  constructor(tally: Tally, platform: Platform, onReport: (reported: Reported) => void, onToken: () => void) {
    this.#tally = tally;
    this.#platform = platform;
    this.#onReport = onReport;
    this.#onToken = onToken;
    this.#session = hex(platform);
    this.#dueAt = -Infinity;
  }

  handleList(list: List): void {
    const before = this.#list;
    if (before !== null && before.answer.token !== null && !isOfCell(before, list)) {
      const rows = this.#tally.take(this.#platform.now());
      if (rows.length > 0) this.#leave({ list: before, rows });
    }
    const first = before === null;
    // The cache's token is as good as its list, but says nothing new about what svrlist supports.
    if (list.source === 'svrlist') this.#supported = true;
    this.#list = list;
    if (first) this.#dueAt = this.#platform.now() + list.answer.reportIntervalMs;
    if (this.#timer === undefined) this.#schedule();
  }

  /** The page goes away: whatever there is to say is said now, and no answer is waited for. */
  handleHide(): void {
    const list = this.#list;
    if (list === null || !this.#can(list)) return;
    // svrlist hears each edge once in an interval: of two cells, the one that the client is in.
    const named = new Set<string>();
    for (const { list: of, rows: all } of [{ list, rows: this.#tally.take(this.#platform.now()) }, ...this.#left.splice(0)]) {
      const rows = all.filter(({ edge }) => !named.has(edge));
      for (const { edge } of rows) named.add(edge);
      if (rows.length === 0) continue;
      const url = `${of.svrlist}/report`;
      const body = this.#body({ list: of, rows });
      if (!this.#platform.beacon(url, body)) {
        const init = { ...POST, keepalive: true, headers: { 'content-type': this.#type }, body };
        this.#platform.fetch(url, init).catch(() => undefined);
      }
      this.#dueAt = this.#platform.now() + list.answer.reportIntervalMs;
      this.#onReport({ rows, status: null });
    }
  }

  close(): void {
    this.handleHide();
    clearTimeout(this.#timer);
    this.#list = null;
  }

  #leave(told: Told): void {
    this.#left.push(told);
    if (this.#left.length > LEFT_MAX) this.#left.shift();
  }

  #can(list: List): boolean {
    return this.#supported && !this.#sending && list.answer.token !== null && list.answer.edges.some(isNamed);
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      void this.#send().then(() => {
        if (this.#list !== null) this.#schedule();
      });
    }, Math.max(this.#dueAt - this.#platform.now(), 0));
    background(this.#timer);
  }

  async #send(): Promise<void> {
    const list = this.#list;
    if (list === null) return;
    this.#dueAt = this.#platform.now() + list.answer.reportIntervalMs;
    if (!this.#can(list)) return;
    const told = this.#left.shift() ?? { list, rows: this.#tally.take(this.#platform.now()) };
    if (told.rows.length === 0) return;
    this.#sending = true;
    const status = await this.#post(told);
    this.#sending = false;
    // 400: it would be as bad the next time.
    const spent = (status >= 200 && status < 300) || status === 400;
    const isHere = this.#list === null || isOfCell(told.list, this.#list);
    if (!spent && isHere) this.#tally.restore(told.rows);
    // A token of a cell that the client has left does not come again.
    if (!spent && !isHere && status !== 401) this.#leave(told);
    if (status === 404) this.#supported = false;
    if (status === 401 && isHere) this.#onToken();
    this.#onReport({ rows: told.rows, status });
  }

  async #post(told: Told): Promise<number> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const response = await this.#platform.fetch(`${told.list.svrlist}/report`, {
        ...POST, headers: { 'content-type': this.#type }, body: this.#body(told), signal: abort.signal,
      });
      // A svrlist that insists on the type costs browsers a preflight for each report from here on.
      if (response.status === 415) this.#type = 'application/json';
      if (response.status === 429 || response.status === 503) {
        const waitMs = retryAfter(response.headers.get('retry-after'), this.#platform.wall()) ?? 0;
        this.#dueAt = Math.max(this.#dueAt, this.#platform.now() + waitMs);
      }
      await discardBody(response);
      return response.status;
    } catch {
      return 0;
    } finally {
      clearTimeout(timer);
    }
  }

  #body({ list, rows }: Told): string {
    return JSON.stringify({ token: list.answer.token, session: this.#session, reports: rows });
  }
}

// Plain text is what browsers send anywhere without asking first, also while the page goes away.
const POST = { method: 'POST', credentials: 'omit', cache: 'no-store' } as const;

const TIMEOUT_MS = 5_000;

// Who changes cells more often within an interval is on a train, and met the same there.
const LEFT_MAX = 3;

function isOfCell(a: List, b: List): boolean {
  return isSameCell(a.answer.cell, b.answer.cell);
}

function isNamed(edge: Edge): boolean {
  return edge.id !== null;
}

function hex(platform: Platform): string {
  // Random enough to tell clients apart; no secret depends on it.
  const byte = () => Math.floor(platform.random() * 256).toString(16).padStart(2, '0');
  return Array.from({ length: 16 }, byte).join('');
}
