// The same in a real Chromium: a page without a bundler, whose edge is killed.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { chromium, Network, skipped, until } from './support.mjs';

const browser = skipped() ? null : chromium();
const skip = skipped() || (browser === null && 'no Chromium in /usr/bin');
const root = new URL('../../', import.meta.url);
let network;

before(async () => {
  if (!skip) network = await Network.up();
}, { timeout: 90_000 });
after(() => network?.down());

/** Serves the page and hears what it says. */
async function page(options) {
  const said = [];
  const files = {
    '/': ['test/network/page.html', 'text/html'],
    '/centrifuge.js': ['node_modules/centrifuge/dist/centrifuge.js', 'text/javascript'],
  };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://page');
    const send = (type, body) => response.writeHead(200, { 'content-type': type }).end(body);
    if (pathname === '/said') {
      let body = '';
      for await (const data of request) body += data;
      said.push(JSON.parse(body));
      send('text/plain', '');
    } else if (pathname === '/options') {
      send('application/json', JSON.stringify(options));
    } else if (pathname === '/centrifuge-global.js') {
      send('text/javascript', 'export const { Centrifuge, UnauthorizedError } = globalThis;');
    } else {
      const [file, type] = files[pathname] ?? [pathname.slice(1), 'text/javascript'];
      if (!/^(dist|test|node_modules)\/[\w/.-]+$/.test(file) || file.includes('..')) {
        response.writeHead(404).end();
        return;
      }
      send(type, await readFile(new URL(file, root)).catch(() => ''));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { said, server, url: `http://127.0.0.1:${server.address().port}/` };
}

test('the edge of a page is killed: every message once, in order', { skip, timeout: 120_000 }, async (t) => {
  const channel = `live:page-${process.pid}`;
  const { said, server, url } = await page({ svrlist: network.svrlist, channel });
  const profile = await mkdtemp(join(tmpdir(), 'linecast-page-'));
  const child = spawn(browser, ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update', `--user-data-dir=${profile}`, url],
  { stdio: 'ignore' });
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGTERM');
    await ended;
    server.close();
    server.closeAllConnections();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  const last = (event) => said.findLast((one) => one.event === event);
  const faultless = () => {
    assert.equal(last('fault'), undefined);
    return true;
  };

  const ready = await until('the page is ready', () => faultless() && last('ready'), 60_000);
  assert.equal(ready.stored, 1, 'the list is in localStorage');
  const publisher = network.numbers(channel, 0, 10);
  await until('the first', () => faultless() && last('numbers')?.numbers.length >= 50, 20_000);

  network.kill(Number(new URL(ready.url).port));
  const back = await until('connected again', () => faultless() && last('connected'), 30_000);
  const killed = publisher.count();
  await until('some more', () => faultless() && last('numbers').numbers.length >= killed + 50, 20_000);

  const count = await publisher.stop();
  await network.publish(channel, { n: count, last: true });
  const whole = ({ event, numbers }) => event === 'numbers' && numbers.length === count + 1;
  const { numbers, recovered } = await until('the last', () => faultless() && said.find(whole), 10_000);
  assert.deepEqual(numbers, Array.from({ length: count + 1 }, (_, n) => n));
  assert.deepEqual(recovered, [true]);
  console.log(`# ${count + 1} messages; from ${ready.url} to ${back.url}`);
});
