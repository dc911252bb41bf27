// Time series as small SVG charts: a spark for a row of a table, a chart with axes for a page.
//
// Where nothing was measured there is a gap and no line. Several series differ by dash as well as by
// colour. A chart says in words what it shows, and its numbers by pointer or arrow keys.

import { el, svg, write } from './dom.js';
import { moment, span, unit as inUnit } from './format.js';

// The units that paths are drawn in; the page stretches them to the room there is, and sets all text itself.
const WIDTH = 1000;
const HEIGHT = 100;

const isValue = (value) => typeof value === 'number' && Number.isFinite(value);

// Least, middle, greatest and last of some points; null where there is none.
export function summary(points) {
  const values = points.map(([, value]) => value).filter(isValue);
  if (values.length === 0) return null;
  const sorted = values.slice().sort((a, b) => a - b);
  return { least: sorted[0], middle: sorted[sorted.length >> 1], most: sorted.at(-1), last: values.at(-1) };
}

// The path of some points; a point without neighbours is drawn as a short dash, or nobody would see it.
export function path(points, x, y) {
  let text = '';
  let begun = false;
  points.forEach(([at, value], index) => {
    if (!isValue(value)) {
      begun = false;
      return;
    }
    const place = `${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    text += begun ? `L${place}` : `M${place}`;
    if (!begun && !isValue(points[index + 1]?.[1])) text += 'h1';
    begun = true;
  });
  return text;
}

// From 0 (unless `floor` says otherwise) to a round number above everything.
export function scale(most, steps = 3) {
  if (!(most > 0)) return { top: 1, ticks: [0, 1] };
  const rough = most / steps;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const ticks = [];
  for (let at = 0; at < most + step * 0.999; at += step) ticks.push(Number(at.toPrecision(12)));
  return { top: ticks.at(-1), ticks };
}

// Round times between two, at most some five.
export function timeTicks(from, to) {
  const sizes = [60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800].map((seconds) => seconds * 1000);
  const size = sizes.find((size) => (to - from) / size <= 5) ?? sizes.at(-1);
  const offset = new Date(from).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let at = Math.ceil((from - offset) / size) * size + offset; at <= to; at += size) ticks.push(at);
  return ticks;
}

// A line without axes. `label` says of what.
export function spark({ points, label, unit, top = null, width = 120, height = 24, grade = 'plain' }) {
  const all = summary(points ?? []);
  if (!all) return el('span', { class: 'spark none' }, '');
  const from = points[0][0];
  const to = points.at(-1)[0];
  const most = Math.max(top ?? 0, all.most) || 1;
  const x = (at) => (to > from ? ((at - from) / (to - from)) * (width - 2) + 1 : 1);
  const y = (value) => height - 2 - (value / most) * (height - 4);
  const words = `${label}: ${inUnit(all.least, unit)} to ${inUnit(all.most, unit)}, last ${inUnit(all.last, unit)}`;
  return svg('svg', { class: `spark ${grade}`, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': words, preserveAspectRatio: 'none' },
    svg('path', { d: path(points, x, y) }));
}

// A chart. `series` are {name, label, unit, points}; `levels` are horizontal lines {value, label}.
export function chart({ title, series, fromMs, toMs, nowMs, levels = [], tall = false }) {
  const unit = series[0]?.unit ?? '';
  const sums = series.map(({ points }) => summary(points));
  if (sums.every((sum) => sum === null)) {
    return el('figure', { class: 'chart' }, el('figcaption', {}, title), el('p', { class: 'empty' }, 'No history yet: it begins when edges report.'));
  }
  const most = Math.max(...sums.map((sum) => sum?.most ?? 0), ...levels.map(({ value }) => value));
  const { top, ticks } = scale(most);
  const x = (at) => ((at - fromMs) / (toMs - fromMs)) * WIDTH;
  const y = (value) => HEIGHT - (Math.min(value, top) / top) * HEIGHT;
  const across = (at) => `${(x(at) / WIDTH * 100).toFixed(2)}%`;
  const up = (value) => `${(100 - y(value)).toFixed(2)}%`;
  const words = series.map(({ label }, at) => {
    const sum = sums[at];
    return sum ? `${label}: ${inUnit(sum.least, unit)} to ${inUnit(sum.most, unit)}, middle ${inUnit(sum.middle, unit)}, last ${inUnit(sum.last, unit)}` : `${label}: nothing`;
  }).join('. ');
  const lines = svg('svg', { class: 'lines', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    ticks.map((tick) => svg('path', { class: 'grid', d: `M0 ${y(tick)}H${WIDTH}` })),
    levels.map(({ value }) => svg('path', { class: 'level', d: `M0 ${y(value)}H${WIDTH}` })),
    series.map(({ points }, at) => svg('path', { class: `series s${at % 4}`, d: path(points, x, y) })));
  const read = (element, at) => showReading(element, { at, series, unit, across, nowMs });
  const plot = el('div', {
    class: tall ? 'plot tall' : 'plot', role: 'img', tabindex: 0, 'aria-label': `${title}, last ${span((toMs - fromMs) / 1000)}. ${words}.`,
    onpointermove: (event) => read(event.currentTarget, indexAt(event, series[0].points, fromMs, toMs)),
    onpointerleave: (event) => read(event.currentTarget, null),
    onkeydown: (event) => step(event, series[0].points.length, read),
  },
  lines,
  ticks.map((tick) => el('span', { class: 'tick-y', style: { bottom: up(tick) } }, inUnit(tick, unit))),
  timeTicks(fromMs, toMs).map((tick) => el('span', { class: 'tick-x', style: { left: across(tick) } }, clock(tick, toMs - fromMs))),
  levels.map(({ value, label }) => el('span', { class: 'level-name', style: { bottom: up(value) } }, label)),
  el('span', { class: 'cursor', 'data-own': '' }));
  return el('figure', { class: 'chart' },
    el('figcaption', {}, el('span', {}, title), series.length > 1 && el('span', { class: 'legend' },
      series.map(({ label }, at) => el('span', {}, svg('svg', { class: 'key', viewBox: '0 0 24 8', 'aria-hidden': 'true' }, svg('path', { class: `series s${at % 4}`, d: 'M1 4H23' })), label))),
    el('span', { class: 'reading', role: 'status', 'data-own': '' })),
    plot);
}

function clock(at, length) {
  const date = new Date(at);
  const two = (number) => String(number).padStart(2, '0');
  if (length > 2 * 86_400_000) return `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

// The point nearest to where the pointer is.
function indexAt(event, points, fromMs, toMs) {
  const box = event.currentTarget.querySelector('.lines').getBoundingClientRect();
  return nearest(points, fromMs + ((event.clientX - box.left) / box.width) * (toMs - fromMs));
}

// The place of the point whose time is nearest; null where there is none.
export function nearest(points, time) {
  let best = null;
  points.forEach(([at], index) => {
    if (best === null || Math.abs(at - time) < Math.abs(points[best][0] - time)) best = index;
  });
  return best;
}

function step(event, length, read) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const plot = event.currentTarget;
  const cursor = plot.querySelector('.cursor');
  const before = cursor.dataset.at === undefined ? length : Number(cursor.dataset.at);
  const at = Math.max(0, Math.min(length - 1, before + steps[event.key]));
  read(plot, at);
}

function showReading(plot, { at, series, unit, across, nowMs }) {
  const reading = plot.closest('.chart').querySelector('.reading');
  const cursor = plot.querySelector('.cursor');
  const point = at === null ? undefined : series[0].points[at];
  cursor.classList.toggle('on', point !== undefined);
  if (!point) {
    delete cursor.dataset.at;
    write(reading, '');
    return;
  }
  cursor.dataset.at = at;
  cursor.style.left = across(point[0]);
  const values = series.map(({ label, points }) => (series.length > 1 ? `${label} ${inUnit(points[at]?.[1], unit)}` : inUnit(points[at]?.[1], unit)));
  write(reading, `${moment(point[0], nowMs)}: ${values.join(', ')}`);
}
