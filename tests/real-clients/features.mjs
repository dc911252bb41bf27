// What the scenario of features needs: named checks that do not stop each other, tokens, and waiting for events.

import { createHmac } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';

const base64url = (text) => Buffer.from(text).toString('base64url');

/** A JWT signed with HS256. `claims.exp` and friends are seconds since 1970. */
export function token(secret, claims) {
  const signed = `${base64url('{"alg":"HS256","typ":"JWT"}')}.${base64url(JSON.stringify(claims))}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** Seconds since 1970, `seconds` from now. */
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

/** Resolves with the context of the next `event` of `emitter`; rejects after `ms`. */
export function once(emitter, event, ms = 5000) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no event ${event} within ${ms} ms`)), ms);
    emitter.once(event, (context) => { clearTimeout(timer); resolve(context); });
  });
}

/** Asks `read` until `good(answer)`; throws with the last answer after `ms`. */
export async function until(read, good, ms = 5000) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await read();
    if (good(answer)) return answer;
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(answer)} after ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Throws unless both are the same value. */
export function same(got, expected, what = 'value') {
  if (isDeepStrictEqual(got, expected)) return;
  throw new Error(`${what}: got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`);
}

/** Resolves with what `promise` rejects with; throws if it resolves. */
export async function refused(promise, what) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`${what} was accepted`);
}

/** Runs checks one after the other and keeps what each said. */
export class Checks {
  passed = [];
  failed = [];

  async run(name, check, ms = 20_000) {
    let timer;
    const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done after ${ms} ms`)), ms); });
    try {
      await Promise.race([check(), late]);
      this.passed.push(name);
    } catch (error) {
      this.failed.push({ name, error: error instanceof Error ? error.message : JSON.stringify(error) });
    } finally {
      clearTimeout(timer);
    }
  }
}
