// One edge: how it is, its lines with their history, and what cells have to expect of it.

import { alertItem } from '../alert.js';
import { Resource } from '../api.js';
import { chart } from '../chart.js';
import { el } from '../dom.js';
import { age, bits, bytes, count, many, ms, percent, points, span } from '../format.js';
import { Histories, RANGES, rangeMs } from '../history.js';
import { linesOf, primary, role, way } from '../lines.js';
import { cellLink, choice, drawn, facts, failing, figures, heading, loading, notice, panel, siteLink } from '../parts.js';
import { ROWS, table } from '../table.js';
import { badge, edgeWords, lineWords } from '../words.js';
import { lineCharts } from './lines.js';

const AGAIN_MS = 10_000;

const CELLS = [
  { id: 'cell', title: 'Cell', sort: ({ name, cell }) => name ?? cell, least: true, cell: (row) => cellLink(row.cell, `${row.name ?? row.cell} ${row.carrier ?? ''}`.trim()) },
  { id: 'drop', title: 'Drop rate', number: true, sort: (row) => row.drop_pp, cell: (row) => points(row.drop_pp) },
  { id: 'mean', title: 'Usual', number: true, sort: (row) => row.mean_pp, cell: (row) => points(row.mean_pp) },
  { id: 'residual', title: 'Right now', number: true, hint: 'Added to what is usual, for what happened in the last minutes', sort: (row) => row.residual_pp, cell: (row) => (row.residual_pp > 0 ? `+${points(row.residual_pp)}` : points(row.residual_pp)) },
  { id: 'event', title: 'Incident', sort: ({ event }) => Number(event), cell: ({ event }) => (event ? badge({ grade: 'bad', word: 'going on' }) : 'none') },
  { id: 'rtt', title: 'RTT', number: true, sort: (row) => row.rtt_ms, cell: (row) => ms(row.rtt_ms) },
  { id: 'reports', title: 'Reports', number: true, sort: ({ reports }) => reports, cell: ({ reports }) => count(reports) },
];

function linePanel(line, { kept, now, set, query }) {
  const { grade, word } = lineWords(line);
  const isOpen = query.line === String(line.number);
  return el('li', { key: String(line.number), class: `line ${grade}` },
    el('div', { class: 'line-head' }, badge({ grade, word }), el('strong', {}, `${line.number}: ${way(line)}`), role(line) && el('span', { class: 'tag' }, role(line)),
      el('button', { type: 'button', class: 'quiet push', 'aria-expanded': String(isOpen), 'aria-label': `History of line ${line.number}`, onclick: () => set({ line: isOpen ? '' : line.number }) }, isOpen ? 'Hide history' : 'History')),
    facts([
      ['RTT', line.up ? ms(line.rtt_ms) : '–'], ['Jitter', line.up ? ms(line.jitter_ms) : '–'],
      ['Loss to the edge', line.up ? percent(line.loss) : '–'], ['Loss to the origin', line.up ? percent(line.loss_up) : '–'],
      ['To', line.upstream || 'upstream'], ['Address', line.remote], ['Brought first', `${count(line.firsts)} messages`],
      ['Received', bytes(line.bytes_in)], ['Down in all', line.down_ms > 0 ? span(line.down_ms / 1000) : 'never'],
    ]),
    isOpen && lineCharts(line, kept.histories, now()));
}

function charts(edge, { kept, now }) {
  const { histories } = kept;
  const of = (kind, title, unit, levels = []) => {
    const found = histories.of(`edge.${edge.name}.${kind}`);
    return found && chart({ title, series: [{ ...found, label: title, unit }], levels, fromMs: histories.from, toMs: histories.to, nowMs: now() });
  };
  const all = [
    of('connections', 'Clients', ''),
    of('load', 'Load', 'share', [{ value: 0.92, label: 'high' }]),
    of('bits_out', 'Out to clients', 'bit/s'),
  ];
  if (all.some(Boolean)) return el('div', { class: 'charts' }, all);
  return histories.failure ? notice({ grade: 'warn', title: 'No history', text: `${histories.failure.message}.` }) : loading('its history');
}

function draw(answer, context) {
  const { overview, query, set, kept, now, session, changed, params } = context;
  // The overview is fresher, where it has the edge.
  const edge = overview?.edges.find(({ name }) => name === params.name) ?? answer.edge;
  const words = edgeWords(edge.state);
  const lines = edge.lines.map((line, at) => ({ ...line, edge: edge.name, number: line.line ?? at }));
  const { up, all } = linesOf(edge);
  const best = primary(edge);
  const alerts = (overview?.alerts ?? []).filter((alert) => [alert, ...(alert.related ?? [])].some(({ about }) => about?.edge === edge.name));
  const sort = { id: query.sort ?? 'drop', down: query.sort ? query.down === '1' : true };
  const range = query.range ?? '1h';
  kept.histories.length = rangeMs(range);
  return [
    heading(edge.name, badge(words), el('p', { class: 'quiet-text' }, words.why)),
    alerts.length > 0 && el('ul', { class: 'alerts brief' }, alerts.map((alert) => alertItem(alert, { nowMs: now(), brief: true }))),
    figures([
      { label: 'Clients', value: count(edge.connections), note: edge.connections_max > 0 ? `${percent(edge.connections / edge.connections_max)} of ${count(edge.connections_max)}` : null },
      { label: 'Load', value: percent(edge.load), grade: edge.load >= 0.92 ? 'bad' : edge.load >= 0.8 ? 'warn' : 'good', note: 'the scarcest of its means' },
      { label: 'Out to clients', value: bits(edge.bits_out), note: edge.bits_out_max > 0 ? `of ${bits(edge.bits_out_max)}` : null },
      { label: 'Lines up', value: `${up} of ${all}`, grade: linesOf(edge).grade === 'note' ? 'good' : linesOf(edge).grade, note: best ? `${ms(best.rtt_ms)} to ${best.upstream || 'its upstream'}` : null },
    ]),
    panel({ title: 'What it is', id: 'facts', beside: session.isAdmin && el('a', { class: 'button', href: `/control?q=${encodeURIComponent(edge.name)}` }, 'Drain or weigh it') }, facts([
      ['Site', siteLink(edge.site)], ['Place', edge.place ?? edge.city ?? edge.region], ['Carrier', edge.carrier],
      ['Zone', edge.zone ? el('a', { href: '/zones' }, edge.zone) : 'none'], ['Version', edge.version || '–'], ['Weight', String(edge.weight)],
      ['Started', edge.started_ms ? age(edge.started_ms, now()) : '–'], ['Heard', `${span(edge.heard_s)} ago`],
    ])),
    panel({ title: 'Lines', id: 'lines', beside: el('span', { class: 'quiet-text' }, many(all, 'line')) },
      lines.length > 0 ? el('ul', { class: 'line-list' }, lines.map((line) => linePanel(line, context))) : el('p', { class: 'empty' }, 'It has not reported a line.')),
    panel({ title: 'History', id: 'history', beside: choice({ label: 'History of the last', options: RANGES.map(([id, text]) => [id, text]), value: range, onChoose: (range) => set({ range }) }) }, charts(edge, context)),
    panel({ title: 'What cells have to expect of it', id: 'cells', beside: el('span', { class: 'quiet-text' }, many(answer.cells.length, 'cell')) },
      table({
        caption: 'Cells', columns: CELLS, rows: answer.cells, keyOf: ({ cell }) => cell, sort, shown: kept.shown,
        onSort: ({ id, down }) => set({ sort: id, down: down ? '1' : '' }), onMore: (shown) => { kept.shown = shown; changed(); },
        empty: 'No client of any cell was seen there of late.',
      })),
  ];
}

export default {
  title: ({ name }) => name,

  start({ params, changed, now }) {
    const kept = { shown: ROWS / 2 };
    kept.page = new Resource(`/api/edges/${encodeURIComponent(params.name)}`, { everyMs: AGAIN_MS, changed });
    kept.histories = new Histories({ lengthMs: 3_600_000, points: 180, changed, now });
    kept.stop = () => { kept.page.stop(); kept.histories.stop(); };
    return kept;
  },

  draw(context) {
    const { kept: { page }, params } = context;
    if (page.failure?.isUnknown) {
      return [heading(params.name), notice({
        grade: 'gone', title: `No edge called ${params.name} has reported of late`,
        text: 'An edge that is lost is shown for an hour. Perhaps its name is spelt otherwise, or it reports to another svrlist.',
        action: el('a', { class: 'button', href: '/' }, 'To all edges'),
      })];
    }
    if (page.data === null) return [heading(params.name), page.failure ? failing(page.failure, () => page.refresh()) : loading('the edge')];
    return drawn(page, 'the edge', (answer) => draw(answer, context));
  },
};
