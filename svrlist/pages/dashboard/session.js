// Who is signed in. Reading may be open to everybody; changes never are.

import { Failure, get, send } from './api.js';

export class Session extends EventTarget {
  // {name, role} or null.
  operator = null;
  // Whether anybody may read.
  open = false;

  get isAdmin() {
    return this.operator?.role === 'admin';
  }

  async look() {
    try {
      const { operator, open } = await get('/api/session');
      this.open = open;
      this.#be(operator);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#be(null);
    }
  }

  async signIn(name, password) {
    const { operator } = await send('POST', '/api/session', { name, password });
    this.#be(operator);
  }

  async signOut() {
    await send('DELETE', '/api/session');
    this.#be(null);
  }

  #be(operator) {
    this.operator = operator;
    this.dispatchEvent(new Event('change'));
  }
}
