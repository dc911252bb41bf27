// Every line of every edge, the worst first, and what lines between two carriers are like together.

import { chart, spark } from '../chart.js';
import { el } from '../dom.js';
import { many, ms, percent } from '../format.js';
import { Histories, RANGES, rangeMs } from '../history.js';
import { allLines, role, series, way } from '../lines.js';
import { choice, edgeLink, figures, heading, loading, notice, panel, siteLink } from '../parts.js';
import { filterField, fits, table } from '../table.js';
import { badge, lineWords, rank } from '../words.js';

const SPARK_POINTS = 60;

// How much is wrong with a line, for sorting: in whole percent, so that rows do not dance.
const trouble = (line) => (4 - rank(lineWords(line).grade)) * 1000 + Math.round(Math.max(line.loss, line.loss_up) * 100);

// What the lines from one carrier to another are like.
export function ways(lines) {
  const found = new Map();
  for (const line of lines) {
    const key = way(line);
    if (!found.has(key)) found.set(key, { way: key, lines: [] });
    found.get(key).lines.push(line);
  }
  const middle = (list, of) => {
    const sorted = list.map(of).sort((a, b) => a - b);
    return sorted.length > 0 ? sorted[sorted.length >> 1] : null;
  };
  return [...found.values()].map(({ way, lines }) => {
    const up = lines.filter((line) => line.up);
    return {
      way, count: lines.length, up: up.length, good: up.filter((line) => lineWords(line).grade === 'good').length,
      rtt: middle(up, (line) => line.rtt_ms), loss: middle(up, (line) => line.loss), lossUp: middle(up, (line) => line.loss_up),
      worst: up.length > 0 ? Math.max(...up.map((line) => Math.max(line.loss, line.loss_up))) : null,
    };
  }).sort((a, b) => (b.worst ?? 1) - (a.worst ?? 1));
}

const WAYS = [
  { id: 'way', title: 'From edge → to', cell: ({ way }) => way },
  { id: 'up', title: 'Up', number: true, cell: ({ up, count }) => `${up} of ${count}` },
  { id: 'good', title: 'Good', number: true, cell: ({ good, count }) => `${good} of ${count}` },
  { id: 'rtt', title: 'RTT, middle', number: true, cell: ({ rtt }) => ms(rtt) },
  { id: 'loss', title: 'Loss to edge, middle', number: true, cell: ({ loss }) => percent(loss) },
  { id: 'lossUp', title: 'Loss to origin, middle', number: true, cell: ({ lossUp }) => percent(lossUp) },
  { id: 'worst', title: 'Worst loss', number: true, cell: ({ worst }) => percent(worst) },
];

const both = (down, up) => [el('span', { class: 'two' }, el('span', {}, el('span', { class: 'dir', title: 'to the edge' }, '↓ '), down), el('span', {}, el('span', { class: 'dir', title: 'to the origin' }, '↑ '), up))];

function columns(kept) {
  const graph = (kind, label, unit, top) => (line) => {
    const found = kept.sparks.of(series(line, kind));
    return spark({ points: found?.points, unit: found?.unit ?? unit, label: `${label} of line ${line.number} of ${line.edge}`, top });
  };
  const open = (line) => el('button', {
    type: 'button', class: 'quiet', 'aria-expanded': String(kept.open === line.key), 'aria-label': `History of line ${line.number} of ${line.edge}`,
    onclick: () => { kept.open = kept.open === line.key ? null : line.key; kept.changed(); },
  }, 'History');
  return [
    { id: 'edge', title: 'Edge', sort: ({ edge }) => edge, least: true, cell: ({ edge }) => edgeLink(edge) },
    { id: 'line', title: 'Line', sort: way, least: true, cell: (line) => [`${line.number}: ${way(line)}`] },
    { id: 'state', title: 'State', sort: trouble, cell: (line) => badge(lineWords(line)) },
    { id: 'role', title: 'Used', sort: role, least: true, cell: (line) => role(line) || '–' },
    { id: 'rtt', title: 'RTT', number: true, sort: (line) => (line.up ? line.rtt_ms : null), cell: (line) => (line.up ? ms(line.rtt_ms) : '–') },
    { id: 'rttGraph', title: 'RTT, 1 h', cell: graph('rtt_ms', 'Round trip', 'ms') },
    { id: 'loss', title: 'Loss', number: true, sort: (line) => (line.up ? Math.max(line.loss, line.loss_up) : 1), hint: 'To the edge (↓) and to the origin (↑)', cell: (line) => (line.up ? both(percent(line.loss), percent(line.loss_up)) : '–') },
    { id: 'lossGraph', title: 'Loss to edge, 1 h', cell: graph('loss', 'Loss to the edge', 'share', 0.05) },
    { id: 'jitter', title: 'Jitter', number: true, sort: (line) => (line.up ? line.jitter_ms : null), cell: (line) => (line.up ? ms(line.jitter_ms) : '–') },
    { id: 'upstream', title: 'To', sort: ({ upstream }) => upstream, least: true, cell: ({ upstream }) => upstream || '–' },
    { id: 'site', title: 'Site', sort: ({ site }) => site, least: true, cell: ({ site }) => siteLink(site) },
    { id: 'open', title: 'More', cell: open },
  ];
}

// The charts of one line: round trip, loss by direction, jitter.
export function lineCharts(line, histories, nowMs) {
  const of = (kind, label, unit) => {
    const found = histories.of(series(line, kind));
    return { name: kind, label, unit: found?.unit ?? unit, points: found?.points ?? [], missing: found === null };
  };
  const [rtt, down, up, jitter] = [of('rtt_ms', 'round trip', 'ms'), of('loss', 'to the edge', 'share'), of('loss_up', 'to the origin', 'share'), of('jitter_ms', 'jitter', 'ms')];
  if ([rtt, down, up, jitter].every(({ missing }) => missing)) return histories.failure ? notice({ grade: 'warn', title: 'No history', text: `${histories.failure.message}.` }) : loading('its history');
  const frame = { fromMs: histories.from, toMs: histories.to, nowMs };
  return el('div', { class: 'charts' },
    chart({ title: 'Round trip', series: [rtt], ...frame }),
    chart({ title: 'Loss', series: [down, up], ...frame }),
    chart({ title: 'Jitter', series: [jitter], ...frame }));
}

function opened(lines, kept, { query, set, now }) {
  const line = lines.find(({ key }) => key === kept.open);
  if (!line) return null;
  const range = query.range ?? '1h';
  kept.histories.length = rangeMs(range);
  return panel({
    title: `Line ${line.number} of ${line.edge}: ${way(line)}`, id: 'history',
    beside: choice({ label: 'History of the last', options: RANGES.map(([id, text]) => [id, text]), value: range, onChoose: (range) => set({ range }) }),
  },
  el('p', {}, badge(lineWords(line)), ` ${role(line)}`), lineCharts(line, kept.histories, now()));
}

export default {
  title: () => 'Lines',
  needs: 'overview',

  start({ changed, now }) {
    const kept = { changed, open: null, shown: undefined };
    kept.sparks = new Histories({ lengthMs: 3_600_000, points: SPARK_POINTS, changed, now });
    kept.histories = new Histories({ lengthMs: 3_600_000, points: 180, changed, now });
    kept.stop = () => { kept.sparks.stop(); kept.histories.stop(); };
    return kept;
  },

  draw(context) {
    const { overview, query, set, kept, changed } = context;
    const lines = allLines(overview.edges).filter(({ lost }) => !lost);
    const filter = query.q ?? '';
    const only = query.only ?? 'all';
    const rows = lines.filter((line) => fits(filter, line.edge, line.site, way(line), line.upstream, lineWords(line).word, role(line)) &&
      (only === 'all' || (only === 'primary' ? line.primary || line.primary_up : lineWords(line).grade !== 'good')));
    const by = (grade) => lines.filter((line) => lineWords(line).grade === grade).length;
    const sort = { id: query.sort ?? 'state', down: query.sort ? query.down === '1' : true };
    return [
      heading('Lines', el('p', { class: 'quiet-text' }, 'What carries messages between the origin and edges, each through its own carrier.')),
      figures([
        { label: 'Good', value: `${by('good')} of ${lines.length}` },
        { label: 'Lossy, slow or full', value: String(by('warn')), grade: by('warn') > 0 ? 'warn' : 'good' },
        { label: 'Down or silent', value: String(by('bad')), grade: by('bad') > 0 ? 'bad' : 'good' },
        { label: 'Held or draining', value: String(by('note')) },
      ]),
      opened(lines, kept, context),
      panel({
        title: 'All lines', id: 'lines',
        beside: el('div', { class: 'controls' },
          choice({ label: 'Show', options: [['all', 'all'], ['trouble', 'not good'], ['primary', 'primary']], value: only, onChoose: (only) => set({ only: only === 'all' ? '' : only }) }),
          filterField({ value: filter, label: 'Filter lines: edge, carrier, state', onFilter: (q) => set({ q }), count: rows.length, of: lines.length, unit: 'line' })),
      },
      table({
        caption: 'Lines', columns: columns(kept), rows, keyOf: ({ key }) => key, sort,
        onSort: ({ id, down }) => set({ sort: id, down: down ? '1' : '' }), shown: kept.shown ?? 40,
        onMore: (shown) => { kept.shown = shown; changed(); },
        onRow: ({ key }) => (kept.open === key ? { class: 'chosen' } : {}),
        empty: lines.length === 0 ? 'No edge has reported a line yet.' : 'No line fits.',
      })),
      panel({ title: 'By carriers', id: 'ways', beside: el('p', { class: 'quiet-text' }, many(ways(lines).length, 'way')) },
        table({ caption: 'Lines by carriers', columns: WAYS, rows: ways(lines), keyOf: ({ way }) => way, empty: 'No lines.' })),
    ];
  },
};
