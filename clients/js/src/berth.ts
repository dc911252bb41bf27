// The WebSocket that a Centrifuge client gets to see: one that is open already, by the edge that won.
//
// A Centrifuge client knows one endpoint and makes a socket for each attempt with `new options.websocket(…)`.
// It is given a class whose instances take over an open socket and pretend to open it.

import type { Passage } from './race.js';
import { OPEN, type Platform, type Socket } from './platform.js';

/** How a connection ended: by the edge or the network (`closed`), or because the client closed it (`left`). */
export type End =
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string }
  | { readonly kind: 'left' };

/** Whoever provides open sockets and hears what becomes of them. */
export interface Harbour {
  /** The open socket for a client that wants this subprotocol, or null if there is none. */
  claim(protocol: string, berth: Berth): Passage | null;
  /** The client's socket ended, before the client hears of it. */
  handleEnd(berth: Berth, passage: Passage, end: End): void;
}

/** A socket in a client's hands. */
export interface Berth {
  /** From the first frame sent to the first received, in milliseconds; null until then. */
  readonly replyMs: number | null;
  /** Ends the connection as if the network had, so that the client makes a new one. */
  abandon(): void;
}

/** The class to give to a Centrifuge client as its `websocket`. */
export function berthClass(harbour: Harbour, platform: Platform): new (url: string, protocol?: string) => Berth {
  return class implements Berth {
    static readonly CONNECTING = 0;
    static readonly OPEN = OPEN;
    static readonly CLOSING = 2;
    static readonly CLOSED = 3;

    replyMs: number | null = null;
    onopen: Socket['onopen'] = null;
    onerror: Socket['onerror'] = null;
    onclose: Socket['onclose'] = null;
    onmessage: Socket['onmessage'] = null;
    readonly #passage: Passage | null;
    #sentAt: number | null = null;
    #over = false;

    constructor(_url: string, protocol = '') {
      const passage = harbour.claim(protocol, this);
      this.#passage = passage;
      if (passage === null) {
        // Handlers are set after construction.
        queueMicrotask(() => this.#close({ code: 1006, reason: '' }));
        return;
      }
      const { socket } = passage;
      socket.onopen = null;
      socket.onerror = (event) => this.onerror?.(event);
      socket.onmessage = (event) => {
        if (this.replyMs === null && this.#sentAt !== null) this.replyMs = platform.now() - this.#sentAt;
        this.onmessage?.(event);
      };
      socket.onclose = ({ code, reason }) => {
        if (this.#over) return;
        harbour.handleEnd(this, passage, { kind: 'closed', code, reason });
        this.#close({ code, reason });
      };
      queueMicrotask(() => {
        if (!this.#over) this.onopen?.({});
      });
    }

    get readyState(): number {
      return this.#passage === null || this.#over ? 3 : this.#passage.socket.readyState;
    }

    get binaryType(): string {
      return this.#passage?.socket.binaryType ?? 'blob';
    }

    set binaryType(type: string) {
      if (this.#passage) this.#passage.socket.binaryType = type;
    }

    send(data: unknown): void {
      this.#sentAt ??= platform.now();
      this.#passage?.socket.send(data);
    }

    close(code?: number, reason?: string): void {
      if (this.#passage === null) return;
      if (!this.#over) {
        this.#over = true;
        harbour.handleEnd(this, this.#passage, { kind: 'left' });
      }
      // `ws` takes no `undefined` for a code.
      if (code === undefined) this.#passage.socket.close();
      else this.#passage.socket.close(code, reason);
    }

    abandon(): void {
      if (this.#over || this.#passage === null) return;
      const { socket } = this.#passage;
      harbour.handleEnd(this, this.#passage, { kind: 'left' });
      this.#close({ code: 1006, reason: '' });
      socket.close();
    }

    #close(event: { code: number; reason: string }): void {
      if (this.#over) return;
      this.#over = true;
      this.onclose?.(event);
    }
  };
}
