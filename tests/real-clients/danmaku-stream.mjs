// One bilibili-live-ws client that reads one room's stream of numbered messages `{"n":0}`, `{"n":1}` …
//
// Options: transport (tcp | ws), host + port (tcp) or address (ws), room (a number), count, protover (0 plain, 2 zlib,
// 3 brotli), timeoutMs, settleMs. Says `ready` when the SDK says `live` and has had its first online count.
//
// Order is looked at twice. `wire`: what the edge sent, taken from the SDK's raw packets. `sdk`: what the SDK handed
// out. They could differ for compressed streams: the SDK inflates packets concurrently in libuv's thread pool and hands
// each out as it is ready. An edge therefore leaves a tick between compressed packets.

import { LiveTCP, LiveWS } from 'bilibili-live-ws';
import { brotliDecompressSync, inflateSync } from 'node:zlib';
import { deadline, finish, options, quiet, say, Stream } from './script.mjs';

const { transport, host, port, address, room, count, protover, timeoutMs, settleMs } =
  options({ transport: 'tcp', room: 1000, count: 1000, protover: 0, settleMs: 300 });

const wire = new Stream();
const sdk = new Stream();
const packets = { plain: 0, zlib: 0, brotli: 0 };
const report = () => ({ ...sdk.report(count), wire: wire.report(count), packets, online: live.online });

/** Numbers of the pushes in `bytes`, a run of packets, opening compressed ones. */
function* pushes(bytes) {
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readInt32BE(at);
    const version = bytes.readInt16BE(at + 6);
    const operation = bytes.readInt32BE(at + 8);
    const body = bytes.subarray(at + 16, at + length);
    if (operation === 5) {
      if (version === 2) { packets.zlib += 1; yield* pushes(inflateSync(body)); }
      else if (version === 3) { packets.brotli += 1; yield* pushes(brotliDecompressSync(body)); }
      else { packets.plain += 1; yield JSON.parse(body.toString()).n; }
    }
    at += length;
  }
}

const live = transport === 'tcp'
  ? new LiveTCP(room, { host, port, protover })
  : new LiveWS(room, { address, protover });
deadline(timeoutMs, report);

live.on('message', (packet) => {
  for (const n of pushes(packet)) wire.take(n);
});
live.on('msg', async ({ n }) => {
  sdk.take(n);
  if (sdk.seen.size % 50 === 0) say('progress', { received: sdk.seen.size });
  if (sdk.seen.size === count) {
    await quiet(settleMs);
    live.close();
    finish(sdk.perfect(count) && wire.perfect(count), report());
  }
});
live.once('heartbeat', (online) => say('ready', { online }));
live.on('error', (error) => finish(false, { reason: `error: ${error}`, ...report() }));
live.on('close', () => {
  if (sdk.seen.size < count) finish(false, { reason: 'closed by the edge', ...report() });
});
