// Sessions and the operators' control of the made-up svrlist: enough to sign in and to change things.

const OPERATORS = { dev: { password: 'dev', role: 'admin' }, look: { password: 'look', role: 'viewer' } };

export class Desk {
  #open;
  #sessions = new Map();
  #last = 0;
  #acknowledged = new Map();
  revisions = [];
  audit = [];

  constructor({ open }) {
    this.#open = open;
    this.#keep('nobody', 'start', { weights: { 'beijin-telecom': 1.5 }, drained: { edges: ['fujian-mobile'], sites: [], zones: [] }, zones: { canary: { share: 10 } }, overrides: [], budgets: {} });
  }

  get policy() { return this.revisions.at(-1).policy; }
  get revision() { return this.revisions.at(-1).revision; }

  operator(request) {
    const id = /linecast_session=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
    return this.#sessions.get(id) ?? null;
  }

  mayRead(request) { return this.#open || this.operator(request) !== null; }

  // An answer, or null for what is no business of this desk.
  answer(request, [room, ...path], body) {
    const operator = this.operator(request);
    if (room === 'session') return this.#session(request, operator, body);
    if (room === 'alerts' && request.method === 'POST') {
      if (operator === null) return { status: 401, body: { error: 'sign in first' } };
      this.#acknowledged.set(path[0], { by: operator.name, at_ms: Date.now() });
      return { status: 200, body: {} };
    }
    if (room === 'audit') return this.mayRead(request) ? { status: 200, body: { entries: this.audit.slice().reverse() } } : { status: 401, body: { error: 'sign in first' } };
    if (room !== 'control') return null;
    if (request.method === 'GET') return this.mayRead(request) ? { status: 200, body: this.#document() } : { status: 401, body: { error: 'sign in first' } };
    if (operator === null) return { status: 401, body: { error: 'sign in first' } };
    if (operator.role !== 'admin') return { status: 403, body: { error: 'a viewer changes nothing' } };
    return this.#change(operator, path[0], body, request.headers['if-match']);
  }

  #session(request, operator, body) {
    if (request.method === 'POST') {
      const known = OPERATORS[body?.name];
      if (!known || known.password !== body.password) return { status: 401, body: { error: 'name or password is wrong' } };
      this.#last += 1;
      this.#sessions.set(String(this.#last), { name: body.name, role: known.role });
      return { status: 200, body: { operator: { name: body.name, role: known.role }, open: this.#open }, cookie: `linecast_session=${this.#last}; Path=/; HttpOnly; SameSite=Strict` };
    }
    if (request.method === 'DELETE') {
      this.#sessions.clear();
      return { status: 204, body: null, cookie: 'linecast_session=; Path=/; Max-Age=0' };
    }
    return { status: 200, body: { operator, open: this.#open } };
  }

  #document() {
    const history = this.revisions.map(({ revision, at_ms, by, what }) => ({ revision, at_ms, by, what })).reverse();
    return { revision: this.revision, policy: this.policy, history };
  }

  #change({ name }, what, body, match) {
    if (match !== undefined && match !== `"${this.revision}"`) return { status: 412, body: { error: `revision ${this.revision} is in force by now` } };
    const policy = structuredClone(this.policy);
    if (what === 'drain') {
      const [kind, target] = ['edge', 'site', 'zone'].map((kind) => [kind, body[kind]]).find(([, target]) => target !== undefined) ?? [];
      const list = policy.drained[`${kind}s`];
      policy.drained[`${kind}s`] = body.drained ? [...new Set([...list, target])] : list.filter((one) => one !== target);
      this.#keep(name, `${body.drained ? 'drained' : 'undrained'} ${kind} ${target}`, policy);
    } else if (what === 'zone') {
      policy.zones[body.zone] = { share: body.share };
      this.#keep(name, `zone ${body.zone} gets ${body.share} %`, policy);
    } else if (what === 'rollback') {
      const old = this.revisions.find(({ revision }) => revision === body.revision);
      if (!old) return { status: 404, body: { error: `no revision ${body.revision}` } };
      this.#keep(name, `back to revision ${body.revision}`, old.policy);
    } else {
      this.#keep(name, 'changed the policy', body);
    }
    return { status: 200, body: this.#document() };
  }

  #keep(by, what, policy) {
    const revision = this.revisions.length + 1;
    const at_ms = Date.now() - (revision === 1 ? 86_400_000 : 0);
    this.revisions.push({ revision, at_ms, by, what, policy });
    this.audit.push({ at_ms, operator: by, what, revision });
  }

  // What is told, with what operators did.
  changed(told) {
    const alerts = told.alerts.map((alert) => ({ ...alert, acknowledged: this.#acknowledged.get(alert.id) ?? null }));
    const zones = told.zones?.map((zone) => ({ ...zone, share: this.policy.zones[zone.zone]?.share ?? zone.share }));
    return { ...told, alerts, ...(zones && { zones }) };
  }
}
