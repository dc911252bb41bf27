// One channel over Centrifuge's JSON protocol: connects, subscribes with recovery, publishes,
// answers pings, and comes back by itself.
//
// Events: `state` {state, server, reason}, `message` {data, offset, tags}, `gap` (messages were
// missed that the server no longer has), `end` {reason} (nothing more will happen).

const CONNECT_MS = 5000;
const REPLY_MS = 5000;
// How much later than announced a server's ping may come.
const PING_SLACK_MS = 10_000;
const BACKOFF = { base: 500, max: 20_000 };
// A server that kept the connection this long was a good one; one that did not is left for the next.
const STEADY_MS = 10_000;

export class Channel extends EventTarget {
  #name;
  #servers;
  #turn = 0;
  #attempts = 0;
  #socket = null;
  #waiting = new Map();
  #lastId = 0;
  #position = null;
  #watchdog = 0;
  #pingMs = 0;
  #pong = false;
  #reconnect = 0;
  #ended = false;
  #ready = false;
  #steady = 0;

  // `servers` answers a promise of [{url, …}], best first. It is asked again after a full round and
  // when a connection that was steady is lost: what was best then may not be so now, and whoever
  // fell back to a lesser server finds its way to a better one. While it fails, the last list holds.
  constructor(name, servers) {
    super();
    this.#name = name;
    this.#servers = servers;
  }

  // Starts; `state` events tell the rest.
  async open() {
    const server = await this.#nextServer();
    if (this.#ended) return;
    if (server) this.#connect(server);
    else this.#later('no server');
  }

  // Sends data to the channel; rejects with the server's reason.
  publish(data) {
    return this.#call('publish', { channel: this.#name, data });
  }

  // How many are in the channel, where the server tells.
  stats() {
    return this.#call('presence_stats', { channel: this.#name });
  }

  // Goes away for good.
  close() {
    this.#end('closed');
  }

  #list = [];

  async #nextServer() {
    if (this.#turn >= this.#list.length) {
      try {
        this.#list = await this.#servers();
      } catch (error) {
        this.#tell('state', { state: 'waiting', reason: error.message });
      }
      this.#turn = 0;
    }
    return this.#list[this.#turn];
  }

  #connect(server) {
    this.#tell('state', { state: 'connecting', server });
    const socket = new WebSocket(server.url);
    this.#socket = socket;
    this.#ready = false;
    this.#pingMs = 0;
    this.#watch(CONNECT_MS);
    socket.onopen = () => this.#greet(socket, server);
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#receive(event.data);
    };
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#closed(event);
    };
  }

  // Connects and subscribes in one frame; the server answers in order.
  async #greet(socket, server) {
    if (socket !== this.#socket) return;
    const greeting = this.#command('connect', { name: 'linecast-demo' });
    const subscription = this.#command('subscribe', this.#wish());
    socket.send(`${JSON.stringify(greeting.command)}\n${JSON.stringify(subscription.command)}`);
    try {
      const connected = await greeting.reply;
      this.#pingMs = (connected.ping ?? 0) * 1000;
      this.#pong = connected.pong === true;
      // From here on silence is measured by the server's pings, not by its greeting.
      if (this.#pingMs > 0) this.#watch(this.#pingMs + PING_SLACK_MS);
      else clearTimeout(this.#watchdog);
      this.#subscribed(await subscription.reply);
      if (socket !== this.#socket) return;
      this.#ready = true;
      this.#steady = setTimeout(() => {
        this.#attempts = 0;
        this.#turn = this.#list.length;
      }, STEADY_MS);
      this.#tell('state', { state: 'connected', server });
    } catch (error) {
      if (socket !== this.#socket) return;
      if (error.temporary === false) this.#end(error.message);
      else this.#drop(error.message);
    }
  }

  #wish() {
    const { offset, epoch } = this.#position ?? {};
    return this.#position
      ? { channel: this.#name, recover: true, offset, epoch }
      : { channel: this.#name };
  }

  #subscribed(result) {
    for (const publication of result.publications ?? []) this.#publication(publication);
    const lost = result.was_recovering && !result.recovered;
    if (lost) this.#tell('gap', {});
    if (result.recoverable) {
      const { offset = 0, epoch = '' } = result;
      const caughtUp = this.#position?.epoch === epoch && this.#position.offset > offset && !lost;
      if (!caughtUp) this.#position = { offset, epoch };
    }
  }

  async #resubscribe() {
    const { command, reply } = this.#command('subscribe', this.#wish());
    this.#send(command);
    try {
      this.#subscribed(await reply);
    } catch (error) {
      this.#drop(error.message);
    }
  }

  #publication({ data, offset = 0, tags }) {
    // Recovered ones may meet those that came live.
    if (offset > 0 && this.#position) {
      if (offset <= this.#position.offset) return;
      this.#position.offset = offset;
    }
    this.#tell('message', { data, offset, tags });
  }

  #receive(frame) {
    if (this.#pingMs > 0) this.#watch(this.#pingMs + PING_SLACK_MS);
    for (const line of String(frame).split('\n')) {
      if (line.trim() === '') continue;
      let reply;
      try {
        reply = JSON.parse(line);
      } catch {
        this.#drop('the server sent what is no JSON');
        return;
      }
      if (reply.id) this.#answered(reply);
      else if (reply.push) this.#pushed(reply.push);
      else if (this.#pong) this.#send({});
    }
  }

  #answered(reply) {
    const waiter = this.#waiting.get(reply.id);
    if (!waiter) return;
    this.#waiting.delete(reply.id);
    clearTimeout(waiter.timer);
    if (reply.error) waiter.reject(new Refusal(reply.error));
    else waiter.resolve(reply[waiter.method] ?? {});
  }

  #pushed({ channel, pub, unsubscribe, disconnect }) {
    if (disconnect) {
      this.#finish(disconnect.code, disconnect.reason);
    } else if (channel === this.#name && pub) {
      this.#publication(pub);
    } else if (channel === this.#name && unsubscribe) {
      if (unsubscribe.code >= 2500) this.#resubscribe();
      else this.#end(unsubscribe.reason);
    }
  }

  #command(method, body) {
    this.#lastId += 1;
    const id = this.#lastId;
    const reply = new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Refusal({ message: 'no answer', temporary: true }));
      }, REPLY_MS);
      this.#waiting.set(id, { method, resolve, reject, timer });
    });
    // A reply nobody waits for any more is no fault of the page.
    reply.catch(() => {});
    return { command: { id, [method]: body }, reply };
  }

  #call(method, body) {
    if (!this.#ready) return Promise.reject(new Refusal({ message: 'not connected', temporary: true }));
    const { command, reply } = this.#command(method, body);
    this.#send(command);
    return reply;
  }

  #send(command) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }

  #watch(ms) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#drop('the server fell silent'), ms);
  }

  #closed({ code, reason }) {
    this.#finish(code, reason || `closed with code ${code}`);
  }

  // What a close code means, as in Centrifuge: these two ranges are final.
  #finish(code, reason) {
    const final = (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
    if (final) this.#end(reason);
    else this.#drop(reason);
  }

  // Leaves this server and tries the next after a while, or, if this one was steady, the best.
  #drop(reason) {
    if (this.#ended) return;
    this.#forget();
    this.#turn += 1;
    this.#later(reason);
  }

  #later(reason) {
    // Full jitter: clients that lost their edge together do not come back together.
    const ms = Math.random() * Math.min(BACKOFF.max, BACKOFF.base * 2 ** this.#attempts);
    this.#attempts += 1;
    this.#tell('state', { state: 'waiting', reason });
    clearTimeout(this.#reconnect);
    this.#reconnect = setTimeout(() => this.open(), ms);
  }

  #end(reason) {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#reconnect);
    this.#forget();
    this.#tell('end', { reason });
  }

  #forget() {
    clearTimeout(this.#watchdog);
    clearTimeout(this.#steady);
    const socket = this.#socket;
    this.#socket = null;
    this.#ready = false;
    socket?.close();
    for (const waiter of this.#waiting.values()) {
      clearTimeout(waiter.timer);
      waiter.reject(new Refusal({ message: 'the connection was lost', temporary: true }));
    }
    this.#waiting.clear();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

// Why the server did not do as it was asked. An expired token (109) is no reason to give up.
class Refusal extends Error {
  constructor({ code, message, temporary }) {
    super(message);
    this.code = code;
    this.temporary = temporary === true || code === 109;
  }
}
