// One cell: which edges its clients are told, in which order, and why.

import { Resource } from '../api.js';
import { chart } from '../chart.js';
import { el } from '../dom.js';
import { count, many, ms, percent, points } from '../format.js';
import { Histories, RANGES, rangeMs } from '../history.js';
import { choice, edgeLink, failing, figures, heading, loading, notice, panel } from '../parts.js';
import { filterField, fits, table } from '../table.js';
import { scoreOf, termsBar, termsLegend, termsOf } from '../terms.js';
import { badge, edgeWords } from '../words.js';

const AGAIN_MS = 5_000;
const CHARTED = 4;
// The bars' scale ends at the score of this place.
const SCALED = 25;

const nameOf = (answer) => `${answer.name ?? answer.cell} ${answer.carrier}`;

const rightNow = (entry) => entry.terms?.residual ?? entry.residual_pp;

const term = (id, title, of, hint) => ({ id, title, number: true, hint, sort: of, cell: (entry) => (of(entry) ? points(of(entry)) : '0 pp') });

const columns = (most) => [
  { id: 'edge', title: 'Edge', sort: ({ edge }) => edge, least: true, cell: ({ edge }) => edgeLink(edge) },
  { id: 'state', title: 'State', sort: ({ state }) => state, least: true, cell: ({ state }) => badge(edgeWords(state)) },
  { id: 'share', title: 'Of new clients', number: true, sort: ({ share }) => share, cell: ({ share }) => percent(share) },
  { id: 'score', title: 'Score', number: true, sort: scoreOf, least: true, hint: 'The smaller, the better', cell: (entry) => points(scoreOf(entry)) },
  { id: 'terms', title: 'What it is made of', cell: (entry) => termsBar(entry, most) },
  term('mean', 'Usual', (entry) => entry.terms?.mean ?? entry.mean_pp, 'The usual drop rate'),
  { id: 'residual', title: 'Right now', number: true, hint: 'Added to what is usual for what happened in the last minutes', sort: rightNow, cell: (entry) => (entry.event ? badge({ grade: 'bad', word: points(rightNow(entry)), why: 'an incident is going on' }) : points(rightNow(entry))) },
  term('load', 'Load', (entry) => termsOf(entry).load, 'For what it carries already'),
  term('price', 'Price', (entry) => termsOf(entry).price, 'For the bandwidth of its site'),
  term('line', 'Lines', (entry) => termsOf(entry).line, 'For what its lines lose'),
  term('doubt', 'Doubt', (entry) => entry.terms?.doubt, 'How far the score may be too high, because little was heard'),
  { id: 'reports', title: 'Reports', number: true, sort: ({ reports }) => reports, cell: ({ reports }) => count(reports) },
  { id: 'rtt', title: 'RTT', number: true, sort: (entry) => entry.rtt_ms, cell: (entry) => ms(entry.rtt_ms) },
  { id: 'distance', title: 'Distance', number: true, sort: (entry) => entry.distance_km, least: true, cell: (entry) => (entry.distance_km === null || entry.distance_km === undefined ? '–' : `${Math.round(entry.distance_km)} km`) },
  { id: 'carrier', title: 'Carrier', sort: ({ carrier }) => carrier, least: true, cell: ({ carrier }) => carrier },
];

// Why the first of them is first, in a sentence.
export function why(entries, carrier) {
  const taken = entries.filter(({ share }) => share > 0.005).sort((a, b) => b.share - a.share);
  if (taken.length === 0) return 'No edge is told to its clients first: none takes any.';
  const [first] = taken;
  const best = entries.slice().sort((a, b) => scoreOf(a) - scoreOf(b))[0];
  const said = [`${many(taken.length, 'edge')} ${taken.length === 1 ? 'gets' : 'share'} its new clients; ${first.edge} gets ${percent(first.share)} of them, at a score of ${points(scoreOf(first))}.`];
  if (best.edge !== first.edge && scoreOf(first) > scoreOf(best)) said.push(`${best.edge} scores better (${points(scoreOf(best))}), but ${best.state === 'open' ? 'has no room for more' : `is ${edgeWords(best.state).word}`}.`);
  const events = entries.filter(({ event }) => event);
  if (events.length > 0) said.push(`An incident between ${carrier} and ${many(events.length, 'edge')} is going on: they cost more until it is over.`);
  return said.join(' ');
}

function draw(answer, { params, query, set, kept, changed, now }) {
  const entries = answer.edges;
  const filter = query.q ?? '';
  const rows = entries.filter((entry) => fits(filter, entry.edge, entry.site, entry.carrier, edgeWords(entry.state).word));
  const taken = entries.filter(({ share }) => share > 0.005).sort((a, b) => b.share - a.share);
  // What is much worse than what anybody is sent to may stick out.
  const scores = entries.map(scoreOf).sort((a, b) => a - b);
  const most = Math.max(1, scores[Math.min(scores.length - 1, SCALED)] ?? 1);
  const range = query.range ?? '6h';
  kept.histories.length = rangeMs(range);
  const cell = `${params.region}/${params.carrier}`;
  const series = (taken.length > 0 ? taken : entries).slice(0, CHARTED).map(({ edge }) => {
    const found = kept.histories.of(`pair.${cell}.${edge}.drop_pp`);
    return found && { ...found, label: edge, unit: 'pp' };
  }).filter(Boolean);
  const expected = taken.reduce((sum, entry) => sum + entry.share * (entry.drop_pp ?? termsOf(entry).drop), 0);
  return [
    heading(nameOf(answer), answer.city && el('span', { class: 'quiet-text' }, answer.city), el('p', { class: 'quiet-text' }, `cell ${cell}`)),
    el('p', { class: 'lead' }, why(entries, answer.carrier)),
    figures([
      { label: 'Drop rate to expect', value: taken.length > 0 ? points(expected) : '–', note: 'where its clients are sent' },
      { label: 'Edges that share its clients', value: String(taken.length), note: `of ${entries.length}` },
      { label: 'Reports of late', value: count(entries.reduce((sum, { reports }) => sum + reports, 0)) },
    ]),
    answer.known === false && notice({ title: 'Nobody of this cell has been heard', text: 'What stands here is a guess by carrier, distance and what the whole carrier met.' }),
    panel({ title: 'Its ranking', id: 'ranking', beside: filterField({ value: filter, label: 'Filter edges: name, site, carrier, state', onFilter: (q) => set({ q }), count: rows.length, of: entries.length, unit: 'edge' }) },
      termsLegend(),
      table({
        caption: 'Ranking', columns: columns(most), rows, keyOf: ({ edge }) => edge, shown: kept.shown,
        sort: { id: query.sort ?? 'share', down: query.sort ? query.down === '1' : true },
        onSort: ({ id, down }) => set({ sort: id, down: down ? '1' : '' }), onMore: (shown) => { kept.shown = shown; changed(); },
        empty: 'No edge fits.',
      })),
    panel({ title: 'Drop rates where most of them are sent', id: 'history', beside: choice({ label: 'History of the last', options: RANGES.map(([id, text]) => [id, text]), value: range, onChoose: (range) => set({ range }) }) },
      series.length > 0
        ? chart({ title: 'Drop rate', series, fromMs: kept.histories.from, toMs: kept.histories.to, nowMs: now(), tall: true })
        : kept.histories.failure ? notice({ grade: 'warn', title: 'No history', text: `${kept.histories.failure.message}.` }) : loading('its history')),
  ];
}

export default {
  title: ({ region, carrier }) => `Cell ${region}/${carrier}`,

  start({ params, changed, now }) {
    const kept = { shown: 30 };
    kept.page = new Resource(`/api/cells/${encodeURIComponent(params.region)}/${encodeURIComponent(params.carrier)}`, { everyMs: AGAIN_MS, changed });
    kept.histories = new Histories({ lengthMs: 21_600_000, points: 180, changed, now });
    kept.stop = () => { kept.page.stop(); kept.histories.stop(); };
    return kept;
  },

  draw(context) {
    const { kept: { page }, params } = context;
    const name = `Cell ${params.region}/${params.carrier}`;
    if (page.data !== null) return draw(page.data, context);
    if (page.failure === null) return [heading(name), loading('the cell')];
    if (page.failure.isUnknown || page.failure.status === 400) {
      return [heading(name), notice({ grade: 'gone', title: 'There is no such cell', text: `${page.failure.message}.`, action: el('a', { class: 'button', href: '/map' }, 'To all cells') })];
    }
    return [heading(name), failing(page.failure, () => page.refresh())];
  },
};
