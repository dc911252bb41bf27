// How fresh what the page shows is, over a made-up stream and clock. Run by `node --test svrlist/pages/tests/`.

import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

class Stream extends EventTarget {
  static all = [];
  closed = false;

  constructor(url) {
    super();
    this.url = url;
    Stream.all.push(this);
  }

  static get last() { return Stream.all.at(-1); }

  tell(name, body) {
    this.dispatchEvent(Object.assign(new Event(name), { data: typeof body === 'string' ? body : JSON.stringify(body) }));
  }

  close() { this.closed = true; }
}

const document = Object.assign(new EventTarget(), { hidden: false });
Object.assign(globalThis, { document });
// What `/api/overview` answers: a status and a body, or nothing at all.
let answer = null;
globalThis.fetch = async () => {
  if (answer === null) throw new TypeError('no connection');
  return { ok: answer.status < 400, status: answer.status, json: async () => answer.body };
};

const { Live } = await import('../dashboard/live.js');
const settle = () => new Promise((done) => setImmediate(done));

mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
const pass = async (ms) => { mock.timers.tick(ms); await settle(); await settle(); };

let live = null;

function begin() {
  live?.stop();
  live = new Live(Stream);
  const states = [];
  live.addEventListener('state', () => states.push(live.state.name));
  live.start();
  return { live, states };
}

const body = (more) => ({ now_ms: 990_000, stale: false, edges: [], sites: [], zones: [], alerts: [], ...more });

beforeEach(() => {
  live?.stop();
  Stream.all.length = 0;
  answer = null;
  document.hidden = false;
});

test('an overview makes it live, and tells the clock of svrlist', () => {
  const { live, states } = begin();
  assert.equal(live.state.name, 'connecting');
  Stream.last.tell('overview', body());
  assert.deepEqual(states, ['live']);
  assert.equal(live.now(), 990_000);
  Stream.last.tell('overview', body({ stale: true }));
  assert.equal(live.state.name, 'stale');
});

test('what is no JSON changes nothing', () => {
  const { live } = begin();
  Stream.last.tell('overview', '{');
  assert.equal(live.overview, null);
});

test('silence is stale, and the stream is opened anew', async () => {
  const { live } = begin();
  Stream.last.tell('overview', body());
  const first = Stream.last;
  await pass(15_000);
  assert.equal(live.state.name, 'stale');
  assert.ok(first.closed);
  assert.notEqual(Stream.last, first);
  first.tell('overview', body({ generation: 7 }));
  assert.notEqual(live.overview.generation, 7, 'the old stream is not listened to');
  Stream.last.tell('overview', body());
  assert.equal(live.state.name, 'live');
});

test('a lost stream comes back by itself, later each time, and says since when it is gone', async () => {
  const { live, states } = begin();
  Stream.last.tell('overview', body());
  const begun = Date.now();
  const waits = [];
  for (let round = 0; round < 5; round += 1) {
    const opened = Stream.all.length;
    Stream.last.dispatchEvent(new Event('error'));
    await settle();
    await settle();
    let waited = 0;
    while (Stream.all.length === opened && waited < 60_000) {
      await pass(250);
      waited += 250;
    }
    waits.push(waited);
  }
  assert.deepEqual(states, ['live', 'disconnected']);
  assert.equal(live.state.since, begun);
  assert.ok(waits[0] <= 1250 && waits[4] >= 8000 && waits[4] <= 16_500, String(waits));
  assert.equal(live.overview.now_ms, 990_000, 'what was heard last stays');
});

test('who must sign in is told so, and is not asked again and again', async () => {
  const { live } = begin();
  answer = { status: 401, body: { error: 'sign in' } };
  Stream.last.dispatchEvent(new Event('error'));
  await settle();
  await settle();
  assert.equal(live.state.name, 'refused');
  const opened = Stream.all.length;
  await pass(120_000);
  assert.equal(Stream.all.length, opened);
  live.again();
  Stream.last.tell('overview', body());
  assert.equal(live.state.name, 'live');
});

test('only who shows the map asks for it', () => {
  const { live } = begin();
  assert.equal(Stream.last.url, '/api/live?events=overview');
  live.wantsMap = true;
  assert.equal(Stream.last.url, '/api/live?events=overview,map');
  live.wantsMap = true;
  assert.equal(Stream.all.length, 2);
});

test('a page that nobody sees gives its stream back, and has it again when it is seen', async () => {
  const { live } = begin();
  Stream.last.tell('overview', body());
  document.hidden = true;
  document.dispatchEvent(new Event('visibilitychange'));
  answer = { status: 200, body: body({ generation: 2 }) };
  await pass(60_000);
  assert.ok(Stream.all.every(({ closed }) => closed));
  assert.equal(live.overview.generation, 2, 'its title still tells of alerts');
  document.hidden = false;
  document.dispatchEvent(new Event('visibilitychange'));
  assert.ok(!Stream.last.closed);
});
