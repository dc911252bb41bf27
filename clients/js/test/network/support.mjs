// A real `linecast up`, a publisher, and the processes behind its ports.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const binary = process.env.LINECAST;
const basePort = Number(process.env.LINECAST_BASE_PORT ?? 31400);
const required = process.env.LINECAST_REQUIRE_CLIENTS === '1';

/** Waits until `good()` is true, or what it answers; fails with `what` after `ms`. */
export async function until(what, good, ms = 5_000) {
  const end = performance.now() + ms;
  for (;;) {
    const value = await good();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Why tests with a network are skipped, or false. They must not be where the environment says so. */
export function skipped() {
  if (binary) return false;
  if (required) throw new Error('LINECAST_REQUIRE_CLIENTS=1 but LINECAST does not name the binary `linecast`');
  return 'set LINECAST to the path of the binary `linecast` (cargo build --release -p deploy)';
}

/** The path of Chromium, or null. */
export function chromium() {
  const found = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => {
    try {
      readFileSync(path, { flag: 'r' });
      return true;
    } catch {
      return false;
    }
  });
  if (!found && required) throw new Error('LINECAST_REQUIRE_CLIENTS=1 but there is no Chromium in /usr/bin');
  return found ?? null;
}

/** A network on this machine. */
export class Network {
  svrlist = `http://127.0.0.1:${basePort + 100}`;
  api = `http://127.0.0.1:${basePort}`;

  static async up() {
    const network = new Network();
    network.child = spawn(binary, ['up', '--ephemeral', '--base-port', String(basePort)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    const hear = (data) => { said += data; };
    network.child.stdout.on('data', hear);
    network.child.stderr.on('data', hear);
    const end = performance.now() + 60_000;
    while (!/Linecast is up/.test(said) || !(await network.listsAll())) {
      if (network.child.exitCode !== null || performance.now() > end) {
        await network.down();
        throw new Error(`linecast up did not come up:\n${said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return network;
  }

  async listsAll() {
    try {
      const response = await fetch(`${this.svrlist}/svrlist?room=live:1000`);
      return (await response.json()).servers.length === 3;
    } catch {
      return false;
    }
  }

  /** How many rows of clients' reports svrlist has taken, by outcome. */
  async reports() {
    const response = await fetch(`http://127.0.0.1:${basePort + 109}/metrics`);
    const samples = (await response.text()).matchAll(/^linecast_svrlist_client_reports_total\{outcome="(\w+)"\} (\d+)$/gm);
    return Object.fromEntries([...samples].map(([, outcome, count]) => [outcome, Number(count)]));
  }

  /** As Ctrl-C. */
  async down() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGINT');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 30_000);
    await ended;
    clearTimeout(timer);
  }

  async publish(channel, data) {
    const response = await fetch(`${this.api}/api/publish`, {
      method: 'POST', headers: { 'x-api-key': 'dev' }, body: JSON.stringify({ channel, data }),
    });
    const answer = await response.json();
    if (answer.error) throw new Error(JSON.stringify(answer.error));
  }

  /** Publishes numbers from `first` on, one each `everyMs`, until told to stop. Answers how many there are. */
  numbers(channel, first, everyMs) {
    let n = first;
    let going = true;
    const done = (async () => {
      while (going) {
        await this.publish(channel, { n });
        n += 1;
        await new Promise((resolve) => setTimeout(resolve, everyMs));
      }
      return n;
    })();
    return { count: () => n, stop: () => { going = false; return done; } };
  }

  /** Kills the process that listens on a port, as `kill -9` does; it must belong to this network. */
  kill(port) {
    const pid = listener(port);
    if (pid === null) throw new Error(`nobody listens on ${port}`);
    if (parent(pid) !== this.child.pid) throw new Error(`${port} is no port of this network`);
    process.kill(pid, 'SIGKILL');
    return pid;
  }

  /** Ends it as an operator does: its clients are sent on. */
  drain(port) {
    const pid = listener(port);
    if (pid === null || parent(pid) !== this.child.pid) throw new Error(`${port} is no port of this network`);
    process.kill(pid, 'SIGTERM');
  }
}

/** The process that listens on a TCP port of 127.0.0.1, by what Linux tells in /proc. */
function listener(port) {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inode = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1).map((line) => line.trim().split(/\s+/))
    .find(([, local, , state]) => local?.endsWith(wanted) && state === '0A')?.[9];
  if (inode === undefined) return null;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const files = readdirSync(`/proc/${pid}/fd`);
      if (files.some((file) => link(`/proc/${pid}/fd/${file}`) === `socket:[${inode}]`)) return Number(pid);
    } catch {
      // It has ended, or is not ours.
    }
  }
  return null;
}

function link(path) {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function parent(pid) {
  return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
