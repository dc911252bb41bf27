// The demo's channel over a made-up socket and clock. Run by `node --test svrlist/pages/tests/`.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { beforeEach, test } from 'node:test';

// The page's import without a server: a module of the same text.
const source = await readFile(new URL('../centrifuge.js', import.meta.url), 'utf8');
const { Channel } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

// A clock that runs when it is told to.
const clock = {
  now: 0,
  timers: new Map(),
  last: 0,

  set(call, ms) {
    this.last += 1;
    this.timers.set(this.last, { call, at: this.now + ms });
    return this.last;
  },

  async pass(ms) {
    const until = this.now + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= until);
      if (due.length === 0) break;
      const [id, { call, at }] = due.reduce((a, b) => (b[1].at < a[1].at ? b : a));
      this.timers.delete(id);
      this.now = at;
      call();
      await settle();
    }
    this.now = until;
  },
};

// A socket whose server answers whatever it is asked, or nobody at all.
class Socket {
  static OPEN = 1;
  static opened = [];
  static dead = new Set();

  readyState = 1;

  constructor(url) {
    this.url = url;
    Socket.opened.push(this);
    const alive = !Socket.dead.has(url);
    queueMicrotask(() => (alive ? this.onopen() : this.onclose({ code: 1006, reason: '' })));
  }

  send(frame) {
    for (const line of frame.split('\n')) {
      const { id, connect, subscribe } = JSON.parse(line);
      if (connect) this.#answer({ id, connect: { client: 'c', ping: 25 } });
      if (subscribe) this.#answer({ id, subscribe: {} });
    }
  }

  #answer(reply) {
    queueMicrotask(() => this.onmessage({ data: JSON.stringify(reply) }));
  }

  close() {}
}

beforeEach(() => {
  clock.timers.clear();
  globalThis.setTimeout = (call, ms) => clock.set(call, ms);
  globalThis.clearTimeout = (id) => clock.timers.delete(id);
  globalThis.WebSocket = Socket;
  Socket.opened = [];
  Socket.dead = new Set();
});

// Lets every promise that is settled be heard of.
async function settle() {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

function lose(socket) {
  Socket.dead.add(socket.url);
  socket.onclose({ code: 1006, reason: '' });
}

const urls = () => Socket.opened.map((socket) => socket.url);
const list = (...names) => names.map((url) => ({ url }));

test('after a steady connection the list is asked for anew', async () => {
  const lists = [list('a', 'b', 'c'), list('d', 'b')];
  const channel = new Channel('live:1', async () => lists.shift());
  Socket.dead.add('a');
  channel.open();
  await settle();
  await clock.pass(500);
  assert.deepEqual(urls(), ['a', 'b'], 'the next is tried where one does not answer');
  await clock.pass(10_000);
  lose(Socket.opened[1]);
  await clock.pass(500);
  assert.deepEqual(urls(), ['a', 'b', 'd']);
  channel.close();
});

test('a server that does not keep the connection is left for the next', async () => {
  let asked = 0;
  const channel = new Channel('live:1', async () => {
    asked += 1;
    return list('a', 'b');
  });
  channel.open();
  await settle();
  await clock.pass(1000);
  lose(Socket.opened[0]);
  await clock.pass(500);
  assert.deepEqual([urls(), asked], [['a', 'b'], 1]);
  channel.close();
});

test('the last list holds while svrlist does not answer', async () => {
  let asked = 0;
  const channel = new Channel('live:1', async () => {
    asked += 1;
    if (asked > 1) throw new Error('svrlist is gone');
    return list('a');
  });
  channel.open();
  await settle();
  await clock.pass(10_000);
  lose(Socket.opened[0]);
  Socket.dead.clear();
  await clock.pass(500);
  assert.deepEqual([urls(), asked], [['a', 'a'], 2]);
  channel.close();
});
