// What a browser or Node provides. Everything else takes it as a value, so that tests can replace it.

/** A WebSocket, as browsers, Node and the `ws` package have it. */
export interface Socket {
  readonly readyState: number;
  binaryType: string;
  onopen: ((event: unknown) => void) | null;
  onerror: ((event: unknown) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  send(data: unknown): void;
  close(code?: number, reason?: string): void;
}

/** How to open one. */
export type SocketConstructor = new (url: string, protocols?: string | string[]) => unknown;

/** Clock, dice, network and page. */
export interface Platform {
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  readonly WebSocket: SocketConstructor | null;
  /** Milliseconds of a clock that never runs backwards. */
  readonly now: () => number;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Whether the page came over TLS, which forbids it anything else. */
  readonly secure: boolean;
  readonly storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null;
  /** A name for the network that the device is in, such as `wifi`; the same name may mean another network. */
  readonly network: () => string;
  /** False if the device knows that it has no network. */
  readonly onLine: () => boolean;
  /** Calls back when the device came online or into another network. Answers how to end that. */
  readonly onNetwork: (listener: (what: 'online' | 'change') => void) => () => void;
  /** Calls back when the page goes away. Answers how to end that. */
  readonly onHide: (listener: () => void) => () => void;
  /** Sends what must outlive the page. False if that cannot be done. */
  readonly beacon: (url: string, body: string) => boolean;
}

/** The platform that the module runs on. */
export function defaultPlatform(): Platform {
  const navigator = globals.navigator;
  const connection = navigator?.connection;
  return {
    fetch: (url, init) => globals.fetch(url, init),
    WebSocket: globals.WebSocket ?? null,
    now: () => performance.now(),
    wall: () => Date.now(),
    random: Math.random,
    secure: globals.location?.protocol === 'https:',
    storage: storage(),
    network: () => connection?.type ?? '',
    onLine: () => navigator?.onLine !== false,
    onNetwork: (listener) => {
      const online = () => listener('online');
      const change = () => listener('change');
      globals.addEventListener?.('online', online);
      connection?.addEventListener?.('change', change);
      return () => {
        globals.removeEventListener?.('online', online);
        connection?.removeEventListener?.('change', change);
      };
    },
    onHide: (listener) => {
      globals.addEventListener?.('pagehide', listener);
      return () => globals.removeEventListener?.('pagehide', listener);
    },
    beacon: (url, body) => navigator?.sendBeacon?.(url, body) ?? false,
  };
}

/** Lets a timer that nobody waits for not keep a Node process. */
export function background(timer: ReturnType<typeof setTimeout>): void {
  (timer as unknown as { unref?: () => void }).unref?.();
}

/** `readyState` of an open socket. */
export const OPEN = 1;

interface Globals {
  fetch: typeof fetch;
  WebSocket?: SocketConstructor;
  location?: { protocol: string };
  localStorage?: Storage;
  navigator?: {
    onLine?: boolean;
    connection?: Partial<EventTarget> & { type?: string };
    sendBeacon?: (url: string, body: string) => boolean;
  };
  addEventListener?: (type: string, listener: () => void) => void;
  removeEventListener?: (type: string, listener: () => void) => void;
}

const globals = globalThis as unknown as Globals;

function storage(): Storage | null {
  try {
    // Reading the property throws where cookies are blocked; Node warns, and has no use for it.
    return globals.location === undefined ? null : (globals.localStorage ?? null);
  } catch {
    return null;
  }
}
