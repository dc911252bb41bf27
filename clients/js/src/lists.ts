// Lists from svrlists: asked for, cached, one question at a time.
//
// A svrlist that has not answered for a while is overtaken by the next one; the first good answer counts.
// One that said `Retry-After` is left alone until then.

import { type Answer, readAnswer } from './answer.js';
import type { Platform } from './platform.js';

/** An answer, and where and when it came from. */
export interface List {
  readonly answer: Answer;
  /** Base URL of the svrlist. */
  readonly svrlist: string;
  readonly source: 'svrlist' | 'storage';
  /** Until when it holds, in milliseconds since 1970. */
  readonly until: number;
}

/** Nobody gave a list. */
export class NoList extends Error {
  override readonly name = 'NoList';

  /** `waitMs`: how long every svrlist wants to be left alone; 0 if one of them may be asked at any time. */
  constructor(message: string, readonly waitMs: number) {
    super(message);
  }
}

export interface ListsOptions {
  /** Base URLs, without a trailing slash. */
  readonly svrlists: readonly string[];
  readonly query: Readonly<Record<string, string | undefined>>;
  /** Whether edges are wanted by `wss`; by default as the page or else the svrlist. */
  readonly tls: boolean | undefined;
  /** After so long without an answer the next svrlist is asked too. */
  readonly overtakeMs: number;
  /** After so long it is given up. */
  readonly timeoutMs: number;
  /** Whether the list is kept in localStorage. */
  readonly store: boolean;
  readonly network: () => string;
}

export class Lists {
  readonly #options: ListsOptions;
  readonly #platform: Platform;
  readonly #memory = new Map<string, List>();
  #latest: List | null = null;
  readonly #notBefore = new Map<string, number>();
  #asking: { readonly list: Promise<List>; readonly abort: AbortController } | null = null;
  /** The svrlist that answered last is asked first. */
  #first = 0;

  constructor(options: ListsOptions, platform: Platform) {
    this.#options = options;
    this.#platform = platform;
  }

  /** The last list, however old; one for this network if there is any. */
  last(): List | null {
    const key = this.#key();
    return this.#memory.get(key) ?? this.#stored(key) ?? this.#latest;
  }

  /** The list for this network if it still holds. */
  cached(): List | null {
    const key = this.#key();
    const list = this.#memory.get(key) ?? this.#stored(key);
    return list !== null && list.until > this.#platform.wall() ? list : null;
  }

  /** The device came into another network, of which nothing is known, whatever its name. */
  forget(): void {
    this.#memory.delete(this.#key());
    this.#storage((storage) => storage.removeItem(this.#key()));
    this.#asking?.abort.abort();
    this.#asking = null;
  }

  /** Asks the svrlists, or joins whoever asks. Rejects with `NoList`. */
  ask(): Promise<List> {
    if (this.#asking) return this.#asking.list;
    const abort = new AbortController();
    const key = this.#key();
    const list = this.#askAll(abort).then((list) => {
      if (!abort.signal.aborted) this.#keep(key, list);
      return list;
    });
    const asking = { list, abort };
    this.#asking = asking;
    const done = () => {
      if (this.#asking === asking) this.#asking = null;
    };
    list.then(done, done);
    return list;
  }

  #askAll(abort: AbortController): Promise<List> {
    const { svrlists, overtakeMs } = this.#options;
    const order = svrlists.map((_, i) => (this.#first + i) % svrlists.length);
    const now = this.#platform.wall();
    const open = order.filter((i) => (this.#notBefore.get(svrlists[i] ?? '') ?? 0) <= now);
    if (open.length === 0) {
      const earliest = Math.min(...this.#notBefore.values());
      return Promise.reject(new NoList('every svrlist asked to be left alone for a while', earliest - now));
    }
    return new Promise((resolve, reject) => {
      const stop = new AbortController();
      const faults: string[] = [];
      let pending = 0;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const next = () => {
        clearTimeout(timer);
        const i = open.shift();
        if (i === undefined || stop.signal.aborted) return;
        const svrlist = svrlists[i] ?? '';
        pending += 1;
        this.#askOne(svrlist, stop.signal).then(
          (list) => {
            clearTimeout(timer);
            this.#first = i;
            resolve(list);
            // This answer has been read to its end; the others are not wanted.
            stop.abort();
          },
          (error: unknown) => {
            pending -= 1;
            faults.push(`${svrlist}: ${error instanceof Error ? error.message : String(error)}`);
            next();
            if (pending === 0) reject(new NoList(faults.join('; '), 0));
          },
        );
        if (open.length > 0) timer = setTimeout(next, overtakeMs);
      };
      abort.signal.addEventListener('abort', () => {
        clearTimeout(timer);
        stop.abort();
        reject(new NoList('the network changed', 0));
      });
      next();
    });
  }

  async #askOne(svrlist: string, signal: AbortSignal): Promise<List> {
    const url = new URL(`${svrlist}/svrlist`);
    for (const [key, value] of Object.entries(this.#options.query)) {
      if (value !== undefined && value !== '') url.searchParams.set(key, value);
    }
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal.addEventListener('abort', stop);
    const timer = setTimeout(stop, this.#options.timeoutMs);
    try {
      const response = await this.#platform.fetch(url.href, {
        signal: abort.signal, cache: 'no-store', credentials: 'omit', headers: { accept: 'application/json' },
      });
      if (!response.ok) {
        const waitMs = retryAfter(response.headers.get('retry-after'), this.#platform.wall());
        if (waitMs !== null) this.#notBefore.set(svrlist, this.#platform.wall() + waitMs);
        await discardBody(response);
        throw new Error(`status ${response.status}`);
      }
      const json: unknown = await response.json();
      const answer = readAnswer(json, this.#tls(svrlist));
      return { answer, svrlist, source: 'svrlist', until: this.#platform.wall() + answer.ttlMs };
    } catch (error) {
      throw abort.signal.aborted ? new Error(`no answer in ${this.#options.timeoutMs} ms`) : error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  #tls(svrlist: string): boolean {
    return this.#options.tls ?? (this.#platform.secure || svrlist.startsWith('https:'));
  }

  #key(): string {
    const { svrlists, query, tls, network } = this.#options;
    return `linecast ${JSON.stringify([svrlists, query.room ?? '', query.uid ?? '', tls ?? null, network()])}`;
  }

  #keep(key: string, list: List): void {
    this.#memory.set(key, list);
    this.#latest = list;
    this.#storage((storage) => storage.setItem(key, JSON.stringify(list)));
  }

  #stored(key: string): List | null {
    return this.#storage((storage) => {
      const stored: unknown = JSON.parse(storage.getItem(key) ?? 'null');
      if (typeof stored !== 'object' || stored === null) return null;
      const list = stored as List;
      const now = this.#platform.wall();
      // Only a list that this version wrote, and that holds by a clock which has not been set back.
      const good = list.answer?.edges?.length > 0 && list.until > now && list.until <= now + list.answer.ttlMs &&
        this.#options.svrlists.includes(list.svrlist) && list.answer.edges.every(({ url }) => new URL(url));
      return good ? { ...list, source: 'storage' as const } : null;
    });
  }

  #storage<T>(use: (storage: NonNullable<Platform['storage']>) => T): T | null {
    const storage = this.#options.store ? this.#platform.storage : null;
    if (storage === null) return null;
    try {
      return use(storage);
    } catch {
      // Full, forbidden or somebody else's: then there is no cache.
      return null;
    }
  }
}

/** Reads nothing of a response, so that its connection is free at once and not when it is collected. */
export async function discardBody(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => undefined);
}

/** Milliseconds that a `Retry-After` header asks for, in seconds or as a date; null if it asks for nothing. */
export function retryAfter(header: string | null, now: number): number | null {
  if (header === null) return null;
  const seconds = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), RETRY_AFTER_MS_MAX) : null;
}

const RETRY_AFTER_MS_MAX = 3_600_000;
