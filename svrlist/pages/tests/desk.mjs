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
    this.#keep('', [], { weights: {}, drained: { edges: {}, sites: {}, zones: {} }, zones: {}, overrides: [], wishes: {} });
    this.#keep('dev', ['weight of beijing-telecom: its own → 1.5', 'edge hunan-mobile: not drained → drained at 200/s', 'share of zone canary: what is left → 10 %'], { weights: { 'beijing-telecom': 1.5 }, drained: { edges: { 'hunan-mobile': { rate: 200 } }, sites: {}, zones: {} }, zones: { canary: { share: 10 } }, overrides: [{ network: '203.0.113.0/24', prefer: ['shanghai-unicom'], forbid: [] }], wishes: { beijing: 2e8 } });
  }

  get control() { return this.revisions.at(-1).control; }
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
    if (room === 'alerts' && request.method !== 'GET') {
      if (operator === null) return { status: 401, body: { error: 'sign in first' } };
      if (request.method === 'POST') this.#acknowledged.set(path[0], { by: operator.name, at_ms: Date.now() });
      else this.#acknowledged.delete(path[0]);
      return { status: 204, body: null };
    }
    if (room === 'audit') return operator ? { status: 200, body: { entries: this.audit.slice().reverse() } } : { status: 401, body: { error: 'sign in first' } };
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
    const revisions = this.revisions.map(({ control: _, ...one }) => one).reverse();
    const zones = ['main', 'canary'].map((zone) => ({ zone, share: this.control.zones[zone]?.share ?? null, versions: ['0.8.2'], edges: [], connections: 1000 }));
    return { revision: this.revision, digest: '', control: this.control, zones, file: null, file_error: null, warnings: [], revisions };
  }

  #change({ name }, what, { note, ...body }, match) {
    if (match !== undefined && match !== `"${this.revision}"`) return { status: 412, body: { error: `revision ${this.revision} is in force by now` } };
    let control = structuredClone(this.control);
    let said = 'changed';
    if (what === 'drain') {
      const kind = ['edge', 'site', 'zone'].find((kind) => body[kind] !== undefined);
      if (body.drained) control.drained[`${kind}s`][body[kind]] = { rate: body.rate };
      else delete control.drained[`${kind}s`][body[kind]];
      said = `${kind} ${body[kind]}: ${body.drained ? `drained at ${body.rate}/s` : 'not drained'}`;
    } else if (what === 'zone') {
      if (body.share === null) delete control.zones[body.zone];
      else control.zones[body.zone] = { share: body.share };
      said = `share of zone ${body.zone}: ${body.share} %`;
    } else if (what === 'rollback') {
      control = this.revisions.find(({ revision }) => revision === body.revision)?.control;
      said = `back to revision ${body.revision}`;
    } else {
      control = body;
    }
    if (!control) return { status: 404, body: { error: `no revision ${body.revision} is kept` } };
    this.#keep(name, [said], control, note);
    return { status: 200, body: this.#document() };
  }

  #keep(who, changes, control, note = '') {
    const revision = this.revisions.length;
    const at_ms = Date.now() - (2 - Math.min(2, revision)) * 43_200_000;
    this.revisions.push({ revision, who, from: '127.0.0.1', at_ms, changes, note, control });
    this.audit.push({ id: revision, at_ms, who, from: '127.0.0.1', action: 'change', outcome: 'ok', detail: changes, note, revision });
  }

  // What is told, with what operators did.
  changed(told) {
    const alerts = told.alerts.map((alert) => ({ ...alert, acknowledged: this.#acknowledged.get(alert.id) ?? null }));
    const zones = told.zones?.map((zone) => ({ ...zone, share: this.control.zones[zone.zone]?.share ?? zone.share }));
    return { ...told, alerts, ...(zones && { zones }) };
  }
}
