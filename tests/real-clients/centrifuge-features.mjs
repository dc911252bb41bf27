// What an application does with the Centrifuge SDK beside reading a stream, in one build of it.
//
// Options: url, protocol (json | protobuf), secret (HMAC key of client tokens), namespace (one with history, recovery,
// presence, join/leave and client publications), run (a word that makes channel names new), timeoutMs.

import { build } from './centrifuge.mjs';
import { Checks, inSeconds, once, refused, same, token, until } from './features.mjs';
import { deadline, finish, options, quiet } from './script.mjs';

const { url, protocol, secret, namespace, run, timeoutMs } = options({ protocol: 'json', namespace: 'live', timeoutMs: 90_000 });
const sdk = build(protocol);
const checks = new Checks();
deadline(timeoutMs, () => ({ passed: checks.passed, failed: checks.failed }));

const channelOf = (name) => `${namespace}:${run}-${protocol}-${name}`;
const as = (user, claims = {}) => token(secret, { sub: user, exp: inSeconds(600), ...claims });
const position = { recoverable: true, positioned: true };

/** Runs `use` with connected clients of the given users and disconnects them whatever happens. */
async function clients(users, use, config = {}) {
  const open = users.map((user) => sdk.client(url, { token: as(user), ...config }));
  try {
    for (const client of open) client.connect();
    await Promise.all(open.map((client) => client.ready(5000)));
    return await use(...open);
  } finally {
    for (const client of open) client.disconnect();
  }
}

/** A subscription that is in the subscribed state. */
async function subscribed(client, channel, config = position) {
  const subscription = client.newSubscription(channel, config);
  subscription.subscribe();
  await subscription.ready(5000);
  return subscription;
}

await checks.run('connect with a token gives a client id', () => clients(['42'], async (client) => {
  client.disconnect();
  const connected = once(client, 'connected');
  client.connect();
  const { client: id, transport } = await connected;
  if (typeof id !== 'string' || id.length < 8) throw new Error(`client id is ${id}`);
  same(transport, 'websocket', 'transport');
}));

await checks.run('own publication comes back with who sent it', () => clients(['42'], async (client) => {
  const subscription = await subscribed(client, channelOf('publish'));
  const publication = once(subscription, 'publication');
  await subscription.publish(sdk.encode({ text: '你好\n"quoted"' }));
  const { data, offset, info } = await publication;
  same(sdk.decode(data), { text: '你好\n"quoted"' }, 'data');
  same(offset, 1, 'offset');
  same(info.user, '42', 'user');
}));

await checks.run('a publication has its offset and the others see it', () => clients(['1', '2'], async (one, two) => {
  const channel = channelOf('between');
  const subscription = await subscribed(two, channel);
  const publication = once(subscription, 'publication');
  await one.publish(channel, sdk.encode({ n: 1 }));
  same((await publication).info.user, '1', 'user');
}));

await checks.run('history: position, forward, since, reverse', () => clients(['42'], async (client) => {
  const channel = channelOf('history');
  const subscription = await subscribed(client, channel);
  for (let n = 1; n <= 5; n += 1) await subscription.publish(sdk.encode({ n }));
  const numbers = ({ publications }) => publications.map(({ data }) => sdk.decode(data).n);
  const top = await subscription.history({ limit: 0 });
  same([top.offset, top.publications.length], [5, 0], 'position only');
  same(numbers(await subscription.history({ limit: 2 })), [1, 2], 'first two');
  same(numbers(await subscription.history({ limit: -1 })), [1, 2, 3, 4, 5], 'all');
  const { epoch } = top;
  same(numbers(await subscription.history({ limit: 10, since: { offset: 3, epoch } })), [4, 5], 'since 3');
  same(numbers(await subscription.history({ limit: 2, reverse: true })), [5, 4], 'reverse');
  same(numbers(await subscription.history({ limit: 10, reverse: true, since: { offset: 3, epoch } })), [2, 1], 'reverse since 3');
  const error = await refused(subscription.history({ limit: 1, since: { offset: 1, epoch: 'other' } }), 'another epoch');
  same(error.code, 112, 'code');
}));

await checks.run('presence tells who is there', () => clients(['7', '8'], async (one, two) => {
  const channel = channelOf('presence');
  const subscription = await subscribed(one, channel);
  await subscribed(two, channel);
  const stats = await until(() => subscription.presenceStats(), ({ numClients }) => numClients === 2);
  same(stats, { numClients: 2, numUsers: 2 }, 'stats');
  const { clients: present } = await subscription.presence();
  same(Object.values(present).map(({ user }) => user).sort(), ['7', '8'], 'users');
  for (const [id, info] of Object.entries(present)) same(info.client, id, 'client id');
}));

await checks.run('presence counts one user with two connections once', () => clients(['9', '9'], async (one, two) => {
  const channel = channelOf('two-devices');
  const subscription = await subscribed(one, channel);
  await subscribed(two, channel);
  await until(() => subscription.presenceStats(), ({ numClients, numUsers }) => numClients === 2 && numUsers === 1);
}));

await checks.run('unsubscribe leaves no presence', () => clients(['42', '43'], async (client, watcher) => {
  const channel = channelOf('leave');
  const subscription = await subscribed(client, channel);
  await until(() => watcher.presenceStats(channel), ({ numClients }) => numClients === 1);
  subscription.unsubscribe();
  await until(() => watcher.presenceStats(channel), ({ numClients }) => numClients === 0);
}));

await checks.run('unsubscribe before the subscribe reply leaves no presence', () => clients(['42', '43'], async (client, watcher) => {
  const channel = channelOf('hasty');
  const subscription = client.newSubscription(channel);
  subscription.subscribe();
  subscription.unsubscribe();
  await client.ready();
  same(await until(() => watcher.presenceStats(channel), ({ numClients }) => numClients === 0), { numClients: 0, numUsers: 0 });
}));

await checks.run('unsubscribe between connect and its reply', () => clients(['43'], async (watcher) => {
  const channel = channelOf('early');
  const client = sdk.client(url, { token: as('42') });
  try {
    const subscription = client.newSubscription(channel);
    subscription.subscribe();
    client.connect();
    subscription.unsubscribe();
    await client.ready(5000);
    await until(() => watcher.presenceStats(channel), ({ numClients }) => numClients === 0);
  } finally {
    client.disconnect();
  }
}));

await checks.run('subscribe, unsubscribe, subscribe on one channel', () => clients(['42'], async (client) => {
  const subscription = client.newSubscription(channelOf('again'), position);
  for (let turn = 0; turn < 5; turn += 1) {
    subscription.subscribe();
    subscription.unsubscribe();
  }
  subscription.subscribe();
  await subscription.ready(5000);
  const publication = once(subscription, 'publication');
  await subscription.publish(sdk.encode({ n: 1 }));
  await publication;
}));

await checks.run('join and leave are told', () => clients(['1', '2'], async (one, two) => {
  const channel = channelOf('join');
  const subscription = await subscribed(one, channel, { joinLeave: true });
  const join = new Promise((resolve) => subscription.on('join', ({ info }) => { if (info.user === '2') resolve(info); }));
  const leave = new Promise((resolve) => subscription.on('leave', ({ info }) => { if (info.user === '2') resolve(info); }));
  const guest = await subscribed(two, channel);
  const joined = await join;
  guest.unsubscribe();
  same((await leave).client, joined.client, 'client');
}));

await checks.run('rpc without a hook is not available', () => clients(['42'], async (client) => {
  same((await refused(client.rpc('anything', sdk.encode({})), 'rpc')).code, 108, 'code');
}));

await checks.run('a namespace that is not configured is refused for good', () => clients(['42'], async (client) => {
  const subscription = client.newSubscription('nosuchnamespace:1');
  const gone = once(subscription, 'unsubscribed');
  subscription.subscribe();
  same((await gone).code, 102, 'code');
}));

await checks.run('many commands in one frame', () => clients(['42'], async (client) => {
  const channel = channelOf('batch');
  const subscription = await subscribed(client, channel);
  const received = [];
  subscription.on('publication', ({ data }) => received.push(sdk.decode(data).n));
  client.startBatching();
  const acknowledged = Array.from({ length: 20 }, (_, n) => client.publish(channel, sdk.encode({ n })));
  client.stopBatching();
  await Promise.all(acknowledged);
  await until(() => received, (list) => list.length === 20);
  same(received, Array.from({ length: 20 }, (_, n) => n), 'order');
}));

await checks.run('recovery from a known place', () => clients(['42', '43'], async (client, late) => {
  const channel = channelOf('since');
  for (let n = 1; n <= 5; n += 1) await client.publish(channel, sdk.encode({ n }));
  const { epoch } = await client.history(channel, { limit: 0 });
  const subscription = late.newSubscription(channel, { ...position, since: { offset: 2, epoch } });
  const received = [];
  subscription.on('publication', ({ offset }) => received.push(offset));
  const context = once(subscription, 'subscribed');
  subscription.subscribe();
  const { wasRecovering, recovered } = await context;
  same([wasRecovering, recovered], [true, true], 'recovered');
  await until(() => received, (list) => list.length === 3);
  same(received, [3, 4, 5], 'offsets');
}));

await checks.run('recovery in another epoch fails and says so', () => clients(['42'], async (client) => {
  const channel = channelOf('epoch');
  await client.publish(channel, sdk.encode({ n: 1 }));
  const subscription = client.newSubscription(channel, { ...position, since: { offset: 1, epoch: 'other' } });
  const context = once(subscription, 'subscribed');
  subscription.subscribe();
  const { wasRecovering, recovered, streamPosition } = await context;
  same([wasRecovering, recovered, streamPosition.offset], [true, false, 1], 'context');
}));

await checks.run('a connection token is refreshed in time', async () => {
  let asked = 0;
  const getToken = async () => { asked += 1; return as('42', { exp: inSeconds(asked === 1 ? 3 : 600) }); };
  const client = sdk.client(url, { getToken });
  let connected = 0;
  client.on('connected', () => { connected += 1; });
  try {
    client.connect();
    await client.ready(5000);
    await until(() => asked, (count) => count === 2, 8000);
    await quiet(500);
    same([asked, connected, client.state], [2, 1, 'connected'], 'asked, connected, state');
  } finally {
    client.disconnect();
  }
});

await checks.run('an expired connection token makes the SDK ask for one', async () => {
  let asked = 0;
  const client = sdk.client(url, {
    token: as('42', { exp: inSeconds(-60) }),
    getToken: async () => { asked += 1; return as('42'); },
  });
  try {
    client.connect();
    await client.ready(8000);
    same(asked, 1, 'asked');
  } finally {
    client.disconnect();
  }
});

await checks.run('a token signed with another key ends it for good', async () => {
  const client = sdk.client(url, { token: token('not the key', { sub: '42' }) });
  try {
    const gone = once(client, 'disconnected');
    client.connect();
    same((await gone).code, 3500, 'code');
  } finally {
    client.disconnect();
  }
});

await checks.run('a private channel wants a token', () => clients(['42'], async (client) => {
  const subscription = client.newSubscription(`$${channelOf('private')}`);
  const gone = once(subscription, 'unsubscribed');
  subscription.subscribe();
  same((await gone).code, 103, 'code');
}));

await checks.run('a subscription token opens a private channel and is refreshed', () => clients(['42'], async (client) => {
  const channel = `$${channelOf('tokens')}`;
  let asked = 0;
  const getToken = async ({ channel: wanted }) => {
    asked += 1;
    return token(secret, { sub: '42', channel: wanted, exp: inSeconds(asked === 1 ? 3 : 600) });
  };
  const subscription = client.newSubscription(channel, { getToken });
  let times = 0;
  subscription.on('subscribed', () => { times += 1; });
  subscription.subscribe();
  await subscription.ready(5000);
  await until(() => asked, (count) => count === 2, 8000);
  await quiet(500);
  same([asked, times, subscription.state], [2, 1, 'subscribed'], 'asked, subscribed, state');
}));

await checks.run('a subscription token of another channel ends the connection', () => clients(['42'], async (client) => {
  const subscription = client.newSubscription(`$${channelOf('mine')}`, {
    token: token(secret, { sub: '42', channel: `$${channelOf('yours')}`, exp: inSeconds(600) }),
  });
  const gone = once(client, 'disconnected');
  subscription.subscribe();
  same((await gone).code, 3500, 'code');
}));

finish(checks.failed.length === 0, { passed: checks.passed, failed: checks.failed });
