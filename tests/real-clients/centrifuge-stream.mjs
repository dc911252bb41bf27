// One Centrifuge client that reads one channel's stream of numbered messages `{"n":0}`, `{"n":1}` …
//
// Options: url, protocol (json | protobuf), channel, count, timeoutMs, token?, settleMs (how long to watch for a
// message too many). Says `ready` when first subscribed and `progress` every 50 messages, so that whoever publishes
// can kill and restart things in between. The SDK recovers by itself: the scenario never touches it after the start.

import { build } from './centrifuge.mjs';
import { deadline, finish, options, quiet, say, Stream } from './script.mjs';

const { url, protocol, channel, count, timeoutMs, token, settleMs } = options({ protocol: 'json', count: 1000, settleMs: 300 });
const { client: connect, decode } = build(protocol);
const stream = new Stream();
const counts = { subscribed: 0, recovered: 0, notRecovered: 0, connecting: [] };
const report = () => ({ ...stream.report(count), ...counts });
deadline(timeoutMs, report);

const client = connect(url, token === undefined ? {} : { token });
const subscription = client.newSubscription(channel, { recoverable: true, positioned: true });

subscription.on('subscribed', ({ wasRecovering, recovered }) => {
  counts.subscribed += 1;
  if (wasRecovering && recovered) counts.recovered += 1;
  if (wasRecovering && !recovered) counts.notRecovered += 1;
  say(counts.subscribed === 1 ? 'ready' : 'resubscribed', { wasRecovering, recovered });
});

subscription.on('publication', async ({ data, offset }) => {
  stream.take(decode(data).n, offset);
  if (stream.seen.size % 50 === 0) say('progress', { received: stream.seen.size });
  if (stream.seen.size === count) {
    await quiet(settleMs);
    client.disconnect();
    finish(stream.perfect(count), report());
  }
});

client.on('connecting', ({ code, reason }) => counts.connecting.push(`${code} ${reason}`));
client.on('error', ({ type, error }) => process.stderr.write(`error ${type}: ${JSON.stringify(error)}\n`));
client.on('disconnected', ({ code, reason }) => {
  if (code !== 0) finish(false, { reason: `disconnected for good: ${code} ${reason}`, ...report() });
});
subscription.on('unsubscribed', ({ code, reason }) => {
  if (code !== 0) finish(false, { reason: `unsubscribed for good: ${code} ${reason}`, ...report() });
});

subscription.subscribe();
client.connect();
