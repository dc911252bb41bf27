// Sites: what their edges carry together, and what their bandwidth is billed by.

import { chart } from '../chart.js';
import { el } from '../dom.js';
import { bits, count, exact, percent, points } from '../format.js';
import { Histories, RANGES, rangeMs } from '../history.js';
import { meter } from '../meter.js';
import { choice, edgeLink, facts, heading, loading, notice, panel } from '../parts.js';
import { filterField, fits, table } from '../table.js';
import { badge, mark } from '../words.js';

const shareOf = (part, whole) => (whole > 0 ? part / whole : null);

// How a site stands to its budget: word and grade.
export function standing({ bits_out: out, budget }) {
  if (!budget || !(budget.level > 0)) return { grade: 'note', word: 'no level', why: 'Nothing was billed yet, and no level is wished for' };
  if (budget.running) return { grade: 'note', word: 'spending', why: 'Free samples are being spent: what flows now is not billed' };
  if (out > budget.level) return { grade: 'bad', word: 'above level', why: 'This counts against the free samples' };
  if (budget.price > 0) return { grade: 'warn', word: 'near level', why: 'New sessions are priced away' };
  return { grade: 'good', word: 'below level', why: 'What flows costs nothing more' };
}

const COLUMNS = [
  { id: 'site', title: 'Site', sort: ({ site }) => site, least: true, cell: (site) => el('button', { type: 'button', class: 'link', onclick: site.open, 'aria-expanded': String(site.isOpen) }, site.site) },
  { id: 'place', title: 'Place', sort: (site) => site.place ?? site.region, least: true, cell: (site) => site.place ?? site.region },
  { id: 'carriers', title: 'Carriers', cell: ({ carriers }) => carriers.join(', ') },
  { id: 'edges', title: 'Edges', number: true, sort: ({ edges }) => edges.length, cell: ({ edges }) => exact(edges.length) },
  { id: 'clients', title: 'Clients', number: true, sort: ({ connections }) => connections, cell: ({ connections }) => count(connections) },
  { id: 'load', title: 'Load', hint: 'The highest of its edges', sort: ({ load }) => load, cell: (site) => meter({ share: site.load, label: `load of ${site.site}` }) },
  { id: 'out', title: 'Out', sort: (site) => site.bits_out, cell: (site) => (site.bits_out_max > 0 ? meter({ share: site.bits_out / site.bits_out_max, label: `bandwidth of ${site.site}, of ${bits(site.bits_out_max)}`, text: bits(site.bits_out) }) : bits(site.bits_out)) },
  { id: 'level', title: 'Of its level', hint: 'What flows now against the level that the month is to stay below', sort: (site) => shareOf(site.bits_out, site.budget?.level), cell: (site) => (site.budget?.level > 0 ? meter({ share: site.bits_out / site.budget.level, label: `${site.site} against its level`, warn: 0.93, bad: 1 }) : '–') },
  { id: 'billed', title: '95th percentile', number: true, hint: 'What the month is billed at so far', sort: ({ budget }) => budget?.billed, cell: ({ budget }) => bits(budget?.billed) },
  { id: 'budget', title: 'Budget', sort: ({ budget }) => budget?.price, cell: (site) => badge(standing(site)) },
  { id: 'price', title: 'Price', number: true, hint: 'What the ranking adds to its edges', sort: ({ budget }) => budget?.price, cell: ({ budget }) => (budget ? points(budget.price) : '–') },
  { id: 'left', title: 'Free left', number: true, hint: 'Five-minute samples of the month that may still be above the level', sort: ({ budget }) => budget?.left, cell: ({ budget }) => exact(budget?.left) },
];

function opened(site, { kept, query, set, now, session }) {
  const { histories } = kept;
  const range = query.range ?? '24h';
  histories.length = rangeMs(range);
  const [out, price] = ['bits_out', 'price'].map((kind) => histories.of(`site.${site.site}.${kind}`));
  const levels = site.budget ? [{ value: site.budget.level, label: 'level' }, { value: site.budget.billed, label: '95th percentile' }].filter(({ value }) => value > 0) : [];
  const frame = { fromMs: histories.from, toMs: histories.to, nowMs: now() };
  return panel({
    title: `${site.site}, ${site.place ?? site.region}`, id: 'site',
    beside: choice({ label: 'History of the last', options: RANGES.map(([id, text]) => [id, text]), value: range, onChoose: (range) => set({ range }) }),
  },
  facts([
    ['Edges', site.edges.map((edge, at) => [at > 0 && ', ', edgeLink(edge)])],
    ['Position', site.position ? `${site.position.lat.toFixed(2)}° N, ${site.position.lon.toFixed(2)}° E` : 'not known'],
    site.budget && ['Level to keep', bits(site.budget.level)],
    site.budget && ['Billed so far', bits(site.budget.billed)],
    site.budget && ['Free samples left', `${exact(site.budget.left)} of five minutes`],
    site.budget && ['Saved for a run', `${exact(Math.round(site.budget.saved))}${site.budget.running ? ', spending now' : ''}`],
    site.budget && ['Price of a session', points(site.budget.price)],
  ]),
  out === null
    ? (histories.failure ? notice({ grade: 'warn', title: 'No history', text: `${histories.failure.message}.` }) : loading('its history'))
    : el('div', { class: 'charts' },
      chart({ title: 'Bandwidth to clients', series: [{ ...out, unit: 'bit/s', label: 'out' }], levels, ...frame }),
      price && chart({ title: 'Price', series: [{ ...price, unit: 'pp', label: 'price' }], ...frame })),
  session.isAdmin && el('p', {}, el('a', { class: 'button', href: `/control?q=${encodeURIComponent(site.site)}` }, 'Drain or change its budget')));
}

export default {
  title: () => 'Sites',
  needs: 'overview',

  start({ changed, now }) {
    const kept = { shown: undefined, histories: new Histories({ lengthMs: 86_400_000, points: 288, changed, now }) };
    kept.stop = () => kept.histories.stop();
    return kept;
  },

  draw(context) {
    const { overview, query, set, kept, changed } = context;
    const filter = query.q ?? '';
    const all = overview.sites.map((site) => ({ ...site, isOpen: query.site === site.site, open: () => set({ site: query.site === site.site ? '' : site.site }) }));
    const rows = all.filter((site) => fits(filter, site.site, site.place, site.region, site.carriers, site.edges, standing(site).word));
    const chosen = all.find(({ isOpen }) => isOpen) ?? (rows.length === 1 ? rows[0] : null);
    const above = all.filter((site) => standing(site).grade === 'bad').length;
    return [
      heading('Sites', el('p', { class: 'quiet-text' }, 'A site pays for the 95th percentile of its month: a twentieth of all five-minute samples is free.')),
      above > 0 && notice({ grade: 'warn', title: `${above} of ${all.length} sites are above their level`, text: 'Each five minutes of it spend a free sample.' }),
      chosen && opened(chosen, context),
      panel({ title: 'All sites', id: 'sites', beside: filterField({ value: filter, label: 'Filter sites: name, place, carrier, edge', onFilter: (q) => set({ q }), count: rows.length, of: all.length, unit: 'site' }) },
        table({
          caption: 'Sites', columns: COLUMNS, rows, keyOf: ({ site }) => site, sort: { id: query.sort ?? 'site', down: query.down === '1' },
          onSort: ({ id, down }) => set({ sort: id, down: down ? '1' : '' }), shown: kept.shown,
          onMore: (shown) => { kept.shown = shown; changed(); }, onRow: ({ isOpen }) => (isOpen ? { class: 'chosen' } : {}),
          empty: filter ? `No site fits “${filter}”.` : 'No edge has reported yet.',
        })),
      el('p', { class: 'quiet-text' }, mark('note'), ` ${percent(0.05)} of a month of thirty days are 432 samples: 36 hours.`),
    ];
  },
};
