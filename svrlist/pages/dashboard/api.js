// Asking svrlist: every answer is JSON or a `Failure` that says what went wrong in a sentence.

const ANSWER_MS = 10_000;

export class Failure extends Error {
  // `status` is 0 where nothing answered; `answer` is the body, if it was JSON.
  constructor(status, message, answer = null) {
    super(message);
    this.status = status;
    this.answer = answer;
  }

  get isUnknown() { return this.status === 404; }
  get isSignedOut() { return this.status === 401; }
  get isForbidden() { return this.status === 403; }
}

export const get = (path, signal) => ask('GET', path, { signal });

// Changes something. `revision` is what it is a change of.
export const send = (method, path, body, revision) => ask(method, path, { body, revision });

async function ask(method, path, { body, revision, signal } = {}) {
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (revision !== undefined) headers['if-match'] = `"${revision}"`;
  const limit = AbortSignal.timeout(ANSWER_MS);
  const request = {
    method, headers, cache: 'no-store', credentials: 'same-origin',
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  };
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(0, limit.aborted ? 'svrlist takes too long to answer' : 'svrlist does not answer');
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  if (response.ok) throw new Failure(response.status, 'svrlist answered what is no JSON');
  throw new Failure(response.status, answer?.error ?? `svrlist answers with status ${response.status}`, answer);
}

// Something that is asked for again and again while a view shows it.
export class Resource {
  data = null;
  failure = null;
  // When the data came, on the monotonic clock.
  #timer = 0;
  #abort = new AbortController();
  #busy = false;
  #again = false;

  // `path` is a text or a function that answers one, or null for not yet. `everyMs` 0 asks once.
  constructor(path, { everyMs = 0, changed }) {
    this.path = path;
    this.everyMs = everyMs;
    this.changed = changed;
    this.refresh();
  }

  get loading() {
    return this.data === null && this.failure === null;
  }

  async refresh() {
    clearTimeout(this.#timer);
    if (this.#abort.signal.aborted) return;
    if (this.#busy) {
      this.#again = true;
      return;
    }
    const path = typeof this.path === 'function' ? this.path() : this.path;
    if (path !== null) await this.#ask(path);
    if (this.#abort.signal.aborted) return;
    if (this.#again) {
      this.#again = false;
      this.refresh();
    } else if (this.everyMs > 0) {
      this.#timer = setTimeout(() => this.refresh(), this.everyMs);
    }
  }

  async #ask(path) {
    this.#busy = true;
    try {
      this.data = await get(path, this.#abort.signal);
      this.failure = null;
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.failure = error;
    } finally {
      this.#busy = false;
    }
    this.changed();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#abort.abort();
  }
}
