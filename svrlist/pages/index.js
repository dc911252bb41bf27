// The overview: the edges that are listed now, asked for again every two seconds.

const PERIOD_MS = 2000;

const status = document.querySelector('#status');
const rows = document.querySelector('#edges');
const place = document.querySelector('#place');

function cell(text, className) {
  const td = document.createElement('td');
  td.textContent = text;
  if (className) td.className = className;
  return td;
}

function load(edge) {
  const td = document.createElement('td');
  const meter = document.createElement('meter');
  Object.assign(meter, { min: 0, max: 1, high: 0.92, optimum: 0, value: edge.load });
  meter.setAttribute('aria-label', `load of ${edge.name}`);
  td.append(meter, ` ${Math.round(edge.load * 100)} %`);
  return td;
}

// How many lines are up, and what each is like.
function lines(edge) {
  const up = edge.lines.filter((line) => line.up);
  const td = cell(`${up.length} of ${edge.lines.length}`);
  const primary = up.find((line) => line.primary_in);
  if (primary) td.append(`, ${primary.rtt_ms.toFixed(1)} ms`);
  td.title = edge.lines
    .map((line) => `${line.remote}: ${line.state}${line.up ? `, ${line.rtt_ms.toFixed(1)} ms` : ''}`)
    .join('\n');
  return td;
}

function row(edge) {
  const tr = document.createElement('tr');
  const name = cell(edge.name);
  if (edge.draining) name.append(' (draining)');
  if (edge.cut_off) name.append(' (cut off from its upstream)');
  const most = edge.connections_max > 0 ? ` / ${edge.connections_max}` : '';
  tr.append(
    name,
    cell(edge.place ?? edge.city ?? edge.region),
    cell(edge.carrier),
    cell(edge.site),
    cell(`${edge.connections}${most}`, 'number'),
    load(edge),
    lines(edge),
    cell(edge.weight, 'number'),
    cell(edge.version),
    cell(`${edge.heard_s.toFixed(1)} s ago`, 'number'),
  );
  return tr;
}

function nobody() {
  const tr = document.createElement('tr');
  const td = cell('No edge has reported yet.');
  td.colSpan = 10;
  tr.append(td);
  return tr;
}

function say(state, text) {
  if (status.textContent === text) return;
  status.dataset.state = state;
  status.textContent = text;
}

async function refresh() {
  try {
    const response = await fetch('/edges', { cache: 'no-store' });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const { edges, stale } = await response.json();
    rows.replaceChildren(...(edges.length > 0 ? edges.map(row) : [nobody()]));
    if (stale) say('failed', 'most edges are silent: last state');
    else say(edges.length > 0 ? 'connected' : 'connecting', `${edges.length} live`);
  } catch {
    say('failed', 'svrlist does not answer');
  }
}

async function findPlace() {
  const response = await fetch('/svrlist?platform=web', { cache: 'no-store' });
  if (!response.ok) return;
  const { cell: found } = await response.json();
  const where = found.place ?? found.city ?? found.region;
  place.textContent = `You are in the cell ${where}, ${found.carrier}.`;
}

async function follow() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((done) => setTimeout(done, PERIOD_MS));
  }
}

follow();
// The place is an extra: without an edge there is no list to take it from.
findPlace().catch(() => {});
