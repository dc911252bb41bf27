// What svrlist answers, read with suspicion: whatever is missing or absurd gets its default, and an
// answer without a usable edge is none.

import { type Backoff, DEFAULT_BACKOFF } from './backoff.js';

/** An edge that a client can connect to. */
export interface Edge {
  /** svrlist's name of it, or null for one that only a go-away named. */
  readonly id: string | null;
  /** Its Centrifuge endpoint, `ws://…` or `wss://…`. */
  readonly url: string;
  /** Why svrlist put it where it is, for people. */
  readonly why: string;
}

/** Where svrlist thinks the client is. */
export interface Cell {
  readonly region: string;
  readonly carrier: string;
}

/** One answer of svrlist. */
export interface Answer {
  readonly cell: Cell;
  /** Best first, never empty. */
  readonly edges: readonly Edge[];
  /** Whether svrlist hears so few edges that this is only the last state known. */
  readonly stale: boolean;
  /** How long it holds. */
  readonly ttlMs: number;
  readonly backoff: Backoff;
  /** The signed cell that reports carry, where svrlist signs one. */
  readonly token: string | null;
  /** How often to report at most. */
  readonly reportIntervalMs: number;
}

/** Reads an answer; `tls` chooses between an edge's `wss` and `ws` endpoints. Throws what is wrong with it. */
export function readAnswer(json: unknown, tls: boolean): Answer {
  const answer = object(json);
  const cell = object(answer.cell);
  const servers = Array.isArray(answer.servers) ? answer.servers : [];
  const edges = servers.flatMap((server) => readEdge(object(server), tls));
  if (edges.length === 0) throw new Error(`no edge with a ${tls ? 'wss' : 'ws'} endpoint among ${servers.length}`);
  return {
    cell: { region: text(cell.region) ?? '', carrier: text(cell.carrier) ?? '' },
    edges,
    stale: answer.stale === true,
    ttlMs: Math.min(Math.max(seconds(answer.ttl) ?? TTL_MS, TTL_MS_MIN), TTL_MS_MAX),
    backoff: readBackoff(object(answer.backoff)),
    token: text(answer.token),
    reportIntervalMs: Math.max(seconds(answer.report_interval) ?? REPORT_INTERVAL_MS, REPORT_INTERVAL_MS_MIN),
  };
}

/** Whether two edges are the same: by svrlist's name, or by address where only a go-away named one. */
export function same(a: Edge, b: Edge): boolean {
  return a.url === b.url || (a.id !== null && a.id === b.id);
}

function readEdge(server: Fields, tls: boolean): Edge[] {
  const urls = object(server.urls);
  const url = text(tls ? urls.wss : urls.ws);
  const id = text(server.id);
  if (url === null || id === null || !isUrl(url, tls ? 'wss:' : 'ws:')) return [];
  return [{ id, url, why: text(server.why) ?? '' }];
}

function readBackoff(backoff: Fields): Backoff {
  const baseMs = seconds(backoff.base_delay) ?? DEFAULT_BACKOFF.baseMs;
  return {
    baseMs,
    maxMs: Math.max(seconds(backoff.max_delay) ?? DEFAULT_BACKOFF.maxMs, baseMs),
    factor: Math.max(number(backoff.factor) ?? DEFAULT_BACKOFF.factor, 1),
    jitter: Math.min(Math.max(number(backoff.jitter) ?? DEFAULT_BACKOFF.jitter, 0), 1),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function object(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function seconds(value: unknown): number | null {
  const given = number(value);
  return given !== null && given > 0 ? given * 1000 : null;
}

function isUrl(url: string, protocol: string): boolean {
  try {
    return new URL(url).protocol === protocol;
  } catch {
    return false;
  }
}

const TTL_MS = 60_000;
const TTL_MS_MIN = 1_000;
const TTL_MS_MAX = 3_600_000;
const REPORT_INTERVAL_MS = 60_000;
const REPORT_INTERVAL_MS_MIN = 1_000;

/** Whether two cells are one. */
export function isSameCell(a: Cell | undefined, b: Cell | undefined): boolean {
  return a?.region === b?.region && a?.carrier === b?.carrier;
}
