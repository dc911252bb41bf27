// The demo room: asks svrlist, connects to the edge it names, shows and sends messages.

import { Channel } from '/pages/centrifuge.js';
import { Lines } from '/pages/lines.js';
import { Stage } from '/pages/stage.js';

// Every viewer asks this often, half of it more or less, so that those who came together spread.
const STATS_MS = 15_000;
// With a list at hand there is no use in waiting longer for the next.
const SVRLIST_MS = 5000;
const MESSAGES_KEPT = 300;
const TEXT_CHARS_MAX = 500;

const at = (id) => document.getElementById(id);
const stage = new Stage(at('stage'));
const lines = new Lines(at('lines'));
const room = roomName();
const user = userId();
let received = 0;
let current = null;

// `?room=1000` is short for `live:1000`.
function roomName() {
  const wanted = new URLSearchParams(location.search).get('room')?.trim() || 'live:demo';
  return wanted.includes(':') ? wanted : `live:${wanted}`;
}

function stored(key, fallback) {
  try {
    const value = localStorage.getItem(key) ?? fallback();
    localStorage.setItem(key, value);
    return value;
  } catch {
    // A browser that keeps nothing: it is a new user each time.
    return fallback();
  }
}

function userId() {
  const dice = () => crypto.getRandomValues(new Uint32Array(2)).join('-');
  return stored('linecast-user', () => `demo-${dice()}`);
}

function guestName() {
  return `guest-${(crypto.getRandomValues(new Uint16Array(1))[0] % 9000) + 1000}`;
}

// The servers to try, with a URL this page may open.
async function servers() {
  const query = new URLSearchParams({ room, uid: user, platform: 'web' });
  const signal = AbortSignal.timeout(SVRLIST_MS);
  const response = await fetch(`/svrlist?${query}`, { cache: 'no-store', signal });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `svrlist answers ${response.status}`);
  showCell(answer.cell);
  const secure = location.protocol === 'https:';
  const usable = answer.servers
    .map((server) => ({ ...server, url: secure ? server.urls.wss : server.urls.ws ?? server.urls.wss }))
    .filter((server) => server.url);
  showServers(usable);
  return usable;
}

function showCell({ place, city, region, carrier }) {
  at('cell').textContent = `${place ?? city ?? region}, ${carrier}`;
}

function showServers(list) {
  const items = list.map((server) => {
    const li = document.createElement('li');
    li.dataset.server = server.id;
    const why = document.createElement('span');
    why.className = 'why';
    why.textContent = ` ${server.why}`;
    li.append(server.name, why);
    return li;
  });
  at('servers').replaceChildren(...items);
  markServer();
}

function markServer() {
  for (const li of at('servers').children) {
    li.classList.toggle('used', li.dataset.server === current?.id);
  }
}

function showState(state, text) {
  at('status').dataset.state = state;
  at('status').textContent = text;
  at('send').disabled = state !== 'connected';
}

// Any body as a line of text and, if it says so, who sent it.
function readable(data) {
  const short = (text) => (text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX)}…` : text);
  if (typeof data === 'string') return { text: short(data) };
  if (data !== null && typeof data === 'object') {
    // Danmaku bodies keep text and sender in an array.
    if (Array.isArray(data.info) && typeof data.info[1] === 'string') {
      return { text: short(data.info[1]), from: data.info[2]?.[1] };
    }
    const text = [data.text, data.message, data.msg, data.content].find((t) => typeof t === 'string');
    const from = [data.from, data.user, data.name].find((t) => typeof t === 'string');
    if (text !== undefined) return { text: short(text), from };
  }
  return { text: short(JSON.stringify(data)) };
}

function add(li) {
  const list = at('messages');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(li);
  while (list.children.length > MESSAGES_KEPT) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function note(text) {
  const li = document.createElement('li');
  li.className = 'note';
  li.textContent = text;
  add(li);
}

function showMessage(data) {
  const { text, from } = readable(data);
  const own = data?.user === user;
  received += 1;
  at('received').textContent = received;
  const li = document.createElement('li');
  if (own) li.className = 'own';
  if (from) {
    const who = document.createElement('span');
    who.className = 'from';
    who.textContent = `${from}: `;
    li.append(who);
  }
  li.append(text);
  add(li);
  stage.show(text, own);
}

const channel = new Channel(room, servers);

channel.addEventListener('state', ({ detail: { state, server, reason } }) => {
  if (state === 'connected') {
    current = server;
    lines.used = server.id;
    at('edge').textContent = `${server.name} (${server.place ?? server.city ?? server.region})`;
    at('carrier').textContent = server.carrier;
    showState('connected', 'connected');
    measure();
  } else if (state === 'connecting') {
    showState('connecting', `connecting to ${server.name}`);
  } else {
    if (current) note(`Connection lost: ${reason}. Trying again.`);
    current = null;
    at('latency').textContent = '–';
    showState('connecting', `waiting: ${reason}`);
  }
  markServer();
});
channel.addEventListener('message', ({ detail }) => showMessage(detail.data));
channel.addEventListener('gap', () => note('Some messages were missed and cannot be had any more.'));
channel.addEventListener('end', ({ detail }) => {
  showState('failed', detail.reason);
  note(`The room is closed: ${detail.reason}.`);
});

// The round trip is that of asking how many are here.
async function measure() {
  const started = performance.now();
  const elapsed = () => `${(performance.now() - started).toFixed(1)} ms`;
  try {
    const stats = await channel.stats();
    at('latency').textContent = elapsed();
    at('online').textContent = stats.num_clients ?? '–';
  } catch (error) {
    // A refusal is an answer too, and took as long.
    if (error.code) at('latency').textContent = elapsed();
  }
}

// Pages that nobody looks at ask nothing.
let nextMeasure = 0;

function measureLater() {
  clearTimeout(nextMeasure);
  if (document.hidden) return;
  nextMeasure = setTimeout(() => {
    if (current) measure();
    measureLater();
  }, STATS_MS * (0.5 + Math.random()));
}

document.addEventListener('visibilitychange', measureLater);
measureLater();

at('room').textContent = room;
document.title = `${room} – Linecast demo room`;
at('name').value = stored('linecast-name', guestName);
at('name').addEventListener('change', () => {
  const name = at('name').value.trim() || guestName();
  at('name').value = name;
  try {
    localStorage.setItem('linecast-name', name);
  } catch {
    // Then it holds for this visit.
  }
});

at('compose').addEventListener('submit', async (event) => {
  event.preventDefault();
  const input = at('message');
  const text = input.value.trim();
  if (text === '') return;
  at('fault').textContent = '';
  try {
    await channel.publish({ text, from: at('name').value, user });
    // Whatever was typed while it was on its way stays.
    if (input.value.trim() === text) input.value = '';
  } catch (error) {
    at('fault').textContent = `Not sent: ${error.message}.`;
  }
});

channel.open();
