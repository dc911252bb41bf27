// What svrlist tells by itself: the last overview and the last map, and how fresh they are.
//
// Events: `overview` and `map` when there is a new one, `state` when the freshness changed.
//
// States: `connecting` (nothing yet), `live`, `stale` (connected, but silent, or svrlist itself hears
// nothing), `disconnected` (it comes back by itself), `refused` (somebody has to sign in). Each has
// `since`, the time of the page's clock from which it holds.

import { get } from './api.js';

// An overview comes every ten seconds even where nothing is new; this long without one is silence.
const SILENCE_MS = 15_000;
const BACKOFF_MS = { least: 1_000, most: 30_000 };
// A page that nobody sees gives its connection back after this long, for browsers have few to one host,
const HIDDEN_MS = 60_000;
// and asks now and then, for its title tells of alerts.
const GLANCE_MS = 20_000;

export class Live extends EventTarget {
  overview = null;
  map = null;
  state = { name: 'connecting', since: Date.now() };
  // The page's clock less svrlist's, for ages.
  skewMs = 0;
  #source = null;
  #attempts = 0;
  #timer = 0;
  #watchdog = 0;
  #hidden = 0;
  #wantsMap = false;
  #Source;

  constructor(Source = globalThis.EventSource) {
    super();
    this.#Source = Source;
  }

  // svrlist's time, as far as it is known.
  now() {
    return Date.now() - this.skewMs;
  }

  start() {
    document.addEventListener('visibilitychange', () => this.#seen());
    this.#connect();
  }

  // Gives the stream back; `again` takes it up.
  stop() {
    for (const timer of [this.#timer, this.#watchdog, this.#hidden]) clearTimeout(timer);
    this.#source?.close();
    this.#source = null;
  }

  // Only pages that show the map ask for it: it is by far the largest.
  set wantsMap(wanted) {
    if (wanted === this.#wantsMap) return;
    this.#wantsMap = wanted;
    if (this.#source) this.#connect();
  }

  // Tries again at once, for example after a sign-in.
  again() {
    this.#attempts = 0;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    const events = this.#wantsMap ? 'overview,map' : 'overview';
    const source = new this.#Source(`/api/live?events=${events}`);
    this.#source = source;
    const take = (name) => (event) => {
      if (source === this.#source) this.#take(name, event.data);
    };
    source.addEventListener('overview', take('overview'));
    source.addEventListener('map', take('map'));
    source.addEventListener('error', () => {
      if (source === this.#source) this.#lost();
    });
    this.#watch();
  }

  #take(name, text) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return;
    }
    this.#watch();
    this.#attempts = 0;
    this[name] = data;
    if (name === 'overview') {
      this.skewMs = Date.now() - data.now_ms;
      this.#be(data.stale ? 'stale' : 'live', data.stale ? 'most edges are silent' : '');
    }
    this.dispatchEvent(new Event(name));
  }

  // The browser would try again by itself, but not after a refusal and without drawing back.
  async #lost() {
    this.#source.close();
    clearTimeout(this.#watchdog);
    const source = this.#source;
    this.#be('disconnected');
    const failure = await get('/api/overview').then(() => null, (error) => error);
    if (source !== this.#source) return;
    if (failure?.isSignedOut || failure?.isForbidden) {
      this.#be('refused', failure.message);
      return;
    }
    const most = Math.min(BACKOFF_MS.most, BACKOFF_MS.least * 2 ** this.#attempts);
    this.#attempts += 1;
    // All operators' pages lose it together; they should not come back together.
    this.#timer = setTimeout(() => this.#connect(), most / 2 + Math.random() * most / 2);
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      if (this.state.name === 'live') this.#be('stale', 'nothing new came');
      // A connection can be dead without anybody having been told.
      this.#connect();
    }, SILENCE_MS);
  }

  #seen() {
    clearTimeout(this.#hidden);
    if (document.hidden) {
      this.#hidden = setTimeout(() => this.#rest(), HIDDEN_MS);
    } else if (!this.#source) {
      this.again();
    }
  }

  async #rest() {
    if (!document.hidden) return;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
    const overview = await get('/api/overview').catch(() => null);
    if (this.#source) return;
    if (overview) {
      this.overview = overview;
      this.dispatchEvent(new Event('overview'));
    }
    this.#hidden = setTimeout(() => this.#rest(), GLANCE_MS);
  }

  #be(name, why = '') {
    if (this.state.name === name && this.state.why === why) return;
    const since = this.state.name === name ? this.state.since : Date.now();
    this.state = { name, why, since };
    this.dispatchEvent(new Event('state'));
  }
}
