// Numbers as people read them: always with their unit, never with more digits than they are worth.

const NOTHING = '–';
const group = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const known = (value) => typeof value === 'number' && Number.isFinite(value);

// Three digits that count: 0.12, 1.23, 12.3, 123.
function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95) return group.format(value);
  const places = size >= 9.995 ? 1 : 2;
  return String(Number(value.toFixed(places)));
}

const STEPS = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

function scaled(value, unit, from) {
  const step = Math.abs(value) >= from * 0.9995 && STEPS.find(([size]) => Math.abs(value) >= size * 0.9995);
  if (step) return `${digits(value / step[0])} ${step[1]}${unit}`.trim();
  return `${digits(value)} ${unit}`.trim();
}

// 950, 9,500, 12.3 k, 1.2 M.
export const count = (value) => {
  if (!known(value)) return NOTHING;
  return Math.abs(value) < 10_000 ? group.format(value) : scaled(value, '', 10_000);
};

// Every digit, for who wants it exactly.
export const exact = (value) => (known(value) ? group.format(value) : NOTHING);

// Bits per second, out of bits per second.
export const bits = (value) => (known(value) ? scaled(value, 'bit/s', 1000) : NOTHING);

export const bytes = (value) => (known(value) ? scaled(value, 'B', 1000) : NOTHING);

// Milliseconds; seconds where they are many.
export const ms = (value) => {
  if (!known(value)) return NOTHING;
  return value >= 9999.5 ? `${digits(value / 1000)} s` : `${digits(value)} ms`;
};

// A share of 1 as percent. What is there and small does not show as nothing.
export const percent = (share) => {
  if (!known(share)) return NOTHING;
  const value = share * 100;
  if (value > 0 && value < 0.05) return '< 0.1 %';
  if (value >= 99.95 && value < 100) return '> 99.9 %';
  return `${Math.abs(value) >= 9.95 ? Math.round(value) : Number(value.toFixed(1))} %`;
};

// Percentage points, the unit of drop rates and scores.
export const points = (value) => {
  if (!known(value)) return NOTHING;
  if (value > 0 && value < 0.005) return '< 0.01 pp';
  return `${Number(value.toFixed(Math.abs(value) >= 9.95 ? 1 : 2))} pp`;
};

// The same for the narrow cells of a table that says its unit elsewhere.
export const bare = (value) => {
  if (!known(value)) return '';
  if (value >= 9.95) return String(Math.round(value));
  return value.toFixed(1);
};

const SPANS = [[86_400, 'd'], [3600, 'h'], [60, 'min']];

// A length of time in its two largest units: 45 s, 3 min, 2 h 5 min, 3 d 4 h.
export function span(seconds) {
  if (!known(seconds)) return NOTHING;
  const whole = Math.max(0, seconds);
  if (whole < 10) return `${Number(whole.toFixed(1))} s`;
  if (whole < 60) return `${Math.floor(whole)} s`;
  const at = SPANS.findIndex(([size]) => whole >= size);
  const [size, unit] = SPANS[at];
  const first = Math.floor(whole / size);
  const next = SPANS[at + 1];
  const rest = next ? Math.floor((whole - first * size) / next[0]) : 0;
  return rest > 0 ? `${first} ${unit} ${rest} ${next[1]}` : `${first} ${unit}`;
}

// How long ago, coarser than `span`: nobody reads seconds of an hour.
export function age(thenMs, nowMs) {
  if (!known(thenMs) || !known(nowMs)) return NOTHING;
  const seconds = (nowMs - thenMs) / 1000;
  return seconds < 1 ? 'now' : `${span(Math.floor(seconds))} ago`;
}

// A moment of today as a time, of another day with its date, in the reader's zone.
export function moment(atMs, nowMs) {
  if (!known(atMs)) return NOTHING;
  const at = new Date(atMs);
  const today = at.toDateString() === new Date(nowMs).toDateString();
  const two = (number) => String(number).padStart(2, '0');
  const time = `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (today) return `${time}:${two(at.getSeconds())}`;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

// One of something, or several.
export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

// A value in the unit that the history names.
export function unit(value, name) {
  if (!known(value)) return NOTHING;
  switch (name) {
    case 'ms': return ms(value);
    case 'pp': return points(value);
    case 'bit/s': return bits(value);
    case 'share': return percent(value);
    case 'connections': case '': case undefined: return count(value);
    default: return `${digits(value)} ${name}`;
  }
}
