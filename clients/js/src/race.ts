// Happy eyeballs: of two edges the one whose WebSocket is open first.

import type { Edge } from './answer.js';
import type { Platform, Socket } from './platform.js';

/** An open socket that nobody uses yet. */
export interface Passage {
  readonly edge: Edge;
  readonly socket: Socket;
  /** The subprotocol it was opened with, '' for none. */
  readonly protocol: string;
  /** How long it took to open, in milliseconds. */
  readonly openMs: number;
}

export interface RaceOptions {
  readonly protocol: string;
  /** Head start of each edge before the next, unless it fails earlier. */
  readonly staggerMs: number;
  /** After so long an edge has failed. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Told of each edge that was opened or failed. A loser is neither. */
  readonly onAttempt: (edge: Edge, failed: boolean, why: string) => void;
}

/** Opens a socket to each of `edges`, in turn; the first that is open wins. Null if none is, or on abort. */
export function race(edges: readonly Edge[], options: RaceOptions, platform: Platform): Promise<Passage | null> {
  const { protocol, staggerMs, timeoutMs, signal, onAttempt } = options;
  return new Promise((resolve) => {
    const waiting = [...edges];
    const running = new Set<() => void>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;

    const finish = (passage: Passage | null) => {
      over = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      for (const cancel of running) cancel();
      resolve(passage);
    };
    const abort = () => finish(null);
    const next = () => {
      clearTimeout(timer);
      const edge = waiting.shift();
      if (edge === undefined) {
        if (running.size === 0) finish(null);
        return;
      }
      const began = platform.now();
      const cancel = open(edge, protocol, timeoutMs, platform, (result) => {
        running.delete(cancel);
        if (over) {
          if (typeof result !== 'string') discard(result);
          return;
        }
        onAttempt(edge, typeof result === 'string', typeof result === 'string' ? result : '');
        if (typeof result === 'string') next();
        else finish({ edge, socket: result, protocol, openMs: platform.now() - began });
      });
      running.add(cancel);
      if (waiting.length > 0) timer = setTimeout(next, staggerMs);
    };

    if (signal.aborted) {
      resolve(null);
      return;
    }
    signal.addEventListener('abort', abort);
    next();
  });
}

/** Opens one socket; `done` is told of the open socket or of what failed, later than this returns. */
function open(
  edge: Edge, protocol: string, timeoutMs: number, platform: Platform, done: (result: Socket | string) => void,
): () => void {
  let socket: Socket | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let over = false;
  const end = (result: Socket | string) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    if (socket !== null && typeof result === 'string') discard(socket);
    done(result);
  };
  try {
    if (platform.WebSocket === null) throw new Error('no WebSocket');
    // Without a protocol there must not be an argument either: browsers send what `undefined` spells.
    const made = protocol === '' ? new platform.WebSocket(edge.url) : new platform.WebSocket(edge.url, protocol);
    const opened = made as Socket;
    socket = opened;
    opened.onopen = () => end(opened);
    opened.onerror = (event) => end((event as { message?: string } | undefined)?.message ?? 'not opened');
    opened.onclose = ({ code, reason }) => end(`closed with ${code} ${reason}`);
    timer = setTimeout(() => end(`not open after ${timeoutMs} ms`), timeoutMs);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    queueMicrotask(() => end(why));
  }
  return () => {
    over = true;
    clearTimeout(timer);
    if (socket !== null) discard(socket);
  };
}

/** Closes a socket of which nobody wants to hear again. */
export function discard(socket: Socket): void {
  const ignore = () => undefined;
  socket.onopen = () => socket.close();
  // `ws` reports that a connection was given up before it was open as an error, which must have a listener.
  socket.onerror = ignore;
  socket.onclose = ignore;
  socket.onmessage = ignore;
  try {
    socket.close();
  } catch {
    // It was never opened.
  }
}
