// The lines of a demo's network: what the relay does to each, what the edge measures on it, and
// buttons that break and heal it.
//
// Elements stay the same from one look to the next, so that focus and what is read aloud stay, too.

const PERIOD_MS = 1000;
const ANSWER_MS = 6000;
const SAMPLES = 60;
// Below this rate a curve is flat rather than full of nothing.
const SCALE_MIN = 10;
// Less than that shows as nothing.
const LOSS_SHOWN = 0.005;
const WAYS = [['up', 'to origin'], ['down', 'to edge']];
const PRESETS = [['blackhole', 'Break'], ['loss25', '25 % loss'], ['clean', 'Heal']];

const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

const drawn = (tag, attributes = {}) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

// Writes only what differs.
const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const percent = (share) => `${Number((share * 100).toFixed(1))} %`;
const count = new Intl.NumberFormat('en');

// What a direction's settings do to it, in a few words; nothing where it is perfect.
function faults(settings) {
  if (settings.blackhole) return 'broken';
  const said = [];
  if (settings.loss > 0) said.push(`${percent(settings.loss)} loss`);
  if (settings.burst_loss > 0) said.push(`${percent(settings.burst_loss)} loss in bursts`);
  if (settings.bits_per_second > 0) said.push(`${count.format(settings.bits_per_second / 1000)} kbit/s`);
  if (settings.delay !== '0s') said.push(`delay ${settings.delay}`);
  if (settings.jitter !== '0s') said.push(`jitter ${settings.jitter}`);
  return said.join(', ');
}

// The same of a whole line: a state and its words.
function condition({ up, down }) {
  const [there, back] = [faults(up.settings), faults(down.settings)];
  if (there === '' && back === '') return ['connected', 'clean'];
  const state = up.settings.blackhole || down.settings.blackhole ? 'failed' : 'connecting';
  if (there === back) return [state, there];
  return [state, `to origin ${there || 'clean'}, to edge ${back || 'clean'}`];
}

// Datagrams a second of one direction: what was offered behind, what passed in front, so that loss
// shows as what sticks out.
class Curve {
  #offered = drawn('path', { class: 'offered' });
  #passed = drawn('path', { class: 'passed' });
  #samples = [];

  constructor() {
    this.element = drawn('svg', {
      class: 'curve', viewBox: `0 0 ${SAMPLES - 1} 20`, preserveAspectRatio: 'none', 'aria-hidden': 'true',
    });
    this.element.append(this.#offered, this.#passed);
  }

  get highest() {
    return Math.max(0, ...this.#samples.map(({ offered }) => offered));
  }

  add(sample) {
    this.#samples.push(sample);
    if (this.#samples.length > SAMPLES) this.#samples.shift();
  }

  draw(scale) {
    const first = SAMPLES - this.#samples.length;
    const area = (of) => {
      const points = this.#samples.map((sample, at) => {
        const y = 20 - Math.min(1, of(sample) / scale) * 19;
        return `L${first + at} ${y.toFixed(2)}`;
      });
      return points.length > 0 ? `M${first} 20${points.join('')}L${SAMPLES - 1} 20Z` : '';
    };
    this.#offered.setAttribute('d', area(({ offered }) => offered));
    this.#passed.setAttribute('d', area(({ passed }) => passed));
  }
}

// One direction of a line, as a row.
class Way {
  #rate = make('span', 'rate');
  #loss = make('span', 'loss');
  #share = make('span', 'share');
  #last = null;

  constructor(name) {
    this.curve = new Curve();
    this.cells = [make('span', 'way', name), this.curve.element, this.#rate, this.#loss, this.#share];
  }

  // `loss` is what the edge measures, the rest what the relay counts.
  show({ offered, passed }, loss, now) {
    const last = this.#last;
    this.#last = { now, offered: offered.datagrams, passed: passed.datagrams };
    write(this.#loss, loss >= LOSS_SHOWN ? `−${Math.round(loss * 100)} %` : '');
    this.#loss.title = 'loss, as the edge measures it';
    write(this.#share, `${count.format(passed.datagrams)} of ${count.format(offered.datagrams)}`);
    // A relay that began anew counts from nothing.
    if (!last || now <= last.now || offered.datagrams < last.offered) return;
    const rate = (datagrams, before) => Math.max(0, datagrams - before) / ((now - last.now) / 1000);
    const sample = {
      offered: rate(offered.datagrams, last.offered), passed: rate(passed.datagrams, last.passed),
    };
    this.curve.add(sample);
    write(this.#rate, `${Math.round(sample.passed)}/s`);
  }
}

// What an edge measures on a line, in words: for each of its local addresses.
function measurements(measured) {
  if (measured.length === 0) return 'not in use';
  const words = ({ up, state, rtt_ms }) => (up ? `${state}, ${rtt_ms.toFixed(1)} ms` : state);
  return measured.map(words).join(' · ');
}

// What messages are sent on first, in words.
function primary(measured) {
  const to = [
    measured.some(({ primary_up: primaryUp }) => primaryUp) && 'origin',
    measured.some(({ primary }) => primary) && 'edge',
  ].filter(Boolean);
  if (to.length === 2) return 'primary';
  return to.length === 1 ? `primary to ${to[0]}` : '';
}

class Line {
  #primary = make('span', 'primary');
  #condition = make('span', 'status');
  #measured = make('span', 'measured');
  #ways = WAYS.map(([key, name]) => [key, new Way(name)]);
  #buttons = new Map();

  constructor({ name, carrier }, edge, change) {
    const title = carrier ?? name;
    this.element = make('div', 'line');
    this.element.setAttribute('role', 'group');
    this.element.setAttribute('aria-label', `line of ${edge}, ${title}`);
    const head = make('div', 'line-head');
    head.append(make('strong', '', title), this.#primary, this.#measured, this.#condition);
    const ways = make('div', 'ways');
    for (const [, way] of this.#ways) ways.append(...way.cells);
    const buttons = make('div', 'line-do');
    for (const [preset, text] of PRESETS) {
      const button = make('button', 'small', text);
      button.type = 'button';
      button.dataset.preset = preset;
      button.addEventListener('click', () => change(name, preset));
      this.#buttons.set(preset, button);
      buttons.append(button);
    }
    this.element.append(head, ways, buttons);
  }

  get highest() {
    return Math.max(...this.#ways.map(([, { curve }]) => curve.highest));
  }

  show(line, now) {
    const [state, words] = condition(line);
    this.#condition.dataset.state = state;
    write(this.#condition, words);
    write(this.#measured, measurements(line.measured));
    const first = primary(line.measured);
    this.#primary.hidden = first === '';
    write(this.#primary, first);
    const losses = { up: ({ loss_out }) => loss_out, down: ({ loss_in }) => loss_in };
    for (const [key, way] of this.#ways) {
      way.show(line[key], Math.max(0, ...line.measured.map(losses[key])), now);
    }
    const { settings: up } = line.up;
    const { settings: down } = line.down;
    this.#press('blackhole', up.blackhole && down.blackhole);
    this.#press('loss25', !up.blackhole && up.loss === 0.25 && down.loss === 0.25);
  }

  draw(scale) {
    for (const [, { curve }] of this.#ways) curve.draw(scale);
  }

  #press(preset, pressed) {
    this.#buttons.get(preset).setAttribute('aria-pressed', String(pressed));
  }
}

class Edge {
  #lines = new Map();
  #used = make('span', 'used', 'yours');
  #list = make('div', 'card');

  constructor(name, change) {
    this.name = name;
    this.element = make('section', 'edge-lines');
    this.element.setAttribute('aria-label', `lines of ${name}`);
    const head = make('div', 'edge-head');
    const all = [['blackhole', 'Break all'], ['clean', 'Heal all']].map(([preset, text]) => {
      const button = make('button', 'small', text);
      button.type = 'button';
      button.dataset.preset = preset;
      button.addEventListener('click', () => change(name, preset));
      return button;
    });
    head.append(make('h3', '', name), this.#used, ...all);
    this.element.append(head, this.#list);
    this.change = change;
  }

  show(lines, used, now) {
    this.#used.hidden = !used;
    for (const line of lines) {
      let shown = this.#lines.get(line.name);
      if (!shown) {
        shown = new Line(line, this.name, this.change);
        this.#lines.set(line.name, shown);
        this.#list.append(shown.element);
      }
      shown.show(line, now);
    }
    const all = [...this.#lines.values()];
    // One scale for an edge: traffic that moves from one line to another is seen to move.
    const scale = Math.max(SCALE_MIN, ...all.map(({ highest }) => highest));
    for (const line of all) line.draw(scale);
  }
}

export class Lines {
  #section;
  #edges = new Map();
  #used = null;
  #timer = 0;
  #looking = false;

  // `section` is shown once there are lines, with an element for each of `edges`, `said` and `fault`.
  constructor(section) {
    this.#section = section;
    document.addEventListener('visibilitychange', () => this.#look());
    this.#look();
  }

  // The edge that this page is connected to.
  set used(name) {
    this.#used = name;
  }

  #at(part) {
    return this.#section.querySelector(`[data-part="${part}"]`);
  }

  // Pages that nobody looks at ask nothing.
  async #look() {
    clearTimeout(this.#timer);
    if (document.hidden || this.#looking) return;
    this.#looking = true;
    try {
      const response = await ask('/demo/lines');
      if (response.status === 204) return;
      const { edges } = await understood(response);
      this.#show(edges);
      write(this.#at('fault'), '');
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#looking = false;
    }
    this.#timer = setTimeout(() => this.#look(), PERIOD_MS);
  }

  #show(edges) {
    const now = performance.now();
    for (const { name, lines } of edges) {
      let edge = this.#edges.get(name);
      if (!edge) {
        edge = new Edge(name, (line, preset) => this.#change(line, preset));
        this.#edges.set(name, edge);
        this.#at('edges').append(edge.element);
      }
      edge.show(lines, name === this.#used, now);
    }
    this.#reveal();
  }

  #reveal() {
    this.#section.hidden = false;
    this.#section.parentElement.classList.add('with-lines');
  }

  #fail(error) {
    this.#reveal();
    write(this.#at('fault'), `${error.message}.`);
  }

  async #change(name, preset) {
    try {
      const { edges } = await understood(await ask(`/demo/lines/${name}`, { preset }));
      const changed = edges.flatMap(({ lines }) => lines);
      const told = changed.map((line) => `${line.name}: ${condition(line)[1]}`);
      write(this.#at('said'), `${told.join('; ')}.`);
      write(this.#at('fault'), '');
      await this.#look();
    } catch (error) {
      this.#fail(error);
    }
  }
}

function ask(path, body) {
  const signal = AbortSignal.timeout(ANSWER_MS);
  const headers = { 'content-type': 'application/json' };
  const post = { method: 'POST', headers, body: JSON.stringify(body) };
  return fetch(path, { cache: 'no-store', signal, ...(body && post) }).catch(() => {
    throw new Error('svrlist does not answer');
  });
}

async function understood(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `svrlist answers ${response.status}`);
  return answer;
}
