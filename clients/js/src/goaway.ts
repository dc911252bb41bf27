// What an edge says when it sends a client on: close code 3001 (it ends) or 4001 (it is full or busy), and
// a reason such as `shutdown; next: 192.0.2.7:7602`.

import type { Edge } from './answer.js';

/** An edge's wish that the client goes elsewhere. */
export interface GoAway {
  readonly code: number;
  readonly reason: string;
  /** `host:port` of the edge to try, if one is named. */
  readonly next: string | null;
}

/** The go-away in a close code and its reason, or null if it is another end. */
export function readGoAway(code: number, reason: string): GoAway | null {
  if (code !== SHUTDOWN && code !== TURNED_AWAY) return null;
  const next = /;\s*next:\s*(\S+:\d{1,5})\s*$/.exec(reason)?.[1] ?? null;
  return { code, reason, next };
}

/**
 * The edge behind `next`: one of `known` if that has the address, else one with scheme and path of `from`,
 * because an edge names listeners of the kind that the client came by. Null if it is no address.
 */
export function resolveNext(next: string, from: Edge, known: readonly Edge[]): Edge | null {
  const wanted = address(next);
  if (wanted === null) return null;
  const match = known.find((edge) => new URL(edge.url).host === wanted);
  if (match) return match;
  const url = new URL(from.url);
  url.host = wanted;
  return url.host === wanted ? { id: null, url: url.href, why: 'named by a go-away' } : null;
}

function address(next: string): string | null {
  try {
    const url = new URL(`ws://${next}`);
    return url.pathname === '/' && url.username === '' && url.search === '' && url.hash === '' ? url.host : null;
  } catch {
    return null;
  }
}

/** The edge is about to end. */
const SHUTDOWN = 3001;

/** The edge is full or busy. */
const TURNED_AWAY = 4001;
