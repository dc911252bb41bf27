// The whole network at a glance: what is wrong, how much there is, every edge in a row.

import { alertItem, ordered } from '../alert.js';
import { el } from '../dom.js';
import { bits, count, exact, many, ms, percent, span } from '../format.js';
import { linesOf, primary } from '../lines.js';
import { meter } from '../meter.js';
import { edgeLink, figures, heading, notice, panel, siteLink } from '../parts.js';
import { filterField, fits, table } from '../table.js';
import { standing } from './sites.js';
import { badge, edgeWords, lineWords, rank } from '../words.js';

const ALERTS_SHOWN = 4;

const sum = (list, of) => list.reduce((total, one) => total + (of(one) ?? 0), 0);

export function totals({ edges, sites }) {
  const present = edges.filter(({ state }) => state !== 'lost');
  const lines = present.flatMap((edge) => edge.lines);
  const known = present.filter((edge) => edge.bits_out_max > 0);
  return {
    edges: edges.length, sites: sites.length,
    takes: present.filter(({ state }) => state === 'open').length,
    lost: edges.length - present.length,
    clients: sum(present, ({ connections }) => connections),
    room: sum(present, (edge) => edge.connections_max),
    lines: lines.length,
    linesGood: lines.filter((line) => line.up && lineWords(line).grade === 'good').length,
    linesDown: lines.filter((line) => !line.up).length,
    out: sum(present, (edge) => edge.bits_out),
    budgets: sites.filter(({ budget }) => budget?.level > 0).length,
    below: sites.filter((site) => site.budget?.level > 0 && standing(site).grade !== 'bad').length,
    outMost: known.length === present.length ? sum(known, (edge) => edge.bits_out_max) : null,
  };
}

const COLUMNS = [
  { id: 'name', title: 'Edge', sort: ({ name }) => name, least: true, cell: ({ name }) => edgeLink(name) },
  { id: 'state', title: 'State', sort: ({ state }) => rank(edgeWords(state).grade), least: true, cell: ({ state }) => badge(edgeWords(state)) },
  { id: 'place', title: 'Place', sort: (edge) => edge.place ?? edge.region, least: true, cell: (edge) => edge.place ?? edge.city ?? edge.region },
  { id: 'carrier', title: 'Carrier', sort: ({ carrier }) => carrier, least: true, cell: ({ carrier }) => carrier },
  { id: 'site', title: 'Site', sort: ({ site }) => site, least: true, cell: ({ site }) => siteLink(site) },
  { id: 'clients', title: 'Clients', number: true, sort: ({ connections }) => connections, cell: (edge) => (edge.connections_max > 0 ? `${count(edge.connections)} / ${count(edge.connections_max)}` : count(edge.connections)) },
  { id: 'load', title: 'Load', sort: ({ load }) => load, hint: 'The scarcest of connections, processor and bandwidth', cell: (edge) => meter({ share: edge.load, label: `load of ${edge.name}` }) },
  { id: 'out', title: 'Out', number: true, sort: (edge) => edge.bits_out, cell: (edge) => bits(edge.bits_out) },
  { id: 'lines', title: 'Lines up', sort: (edge) => edge.lines.filter(({ up }) => up).length / Math.max(1, edge.lines.length), least: true, cell: linesCell },
  { id: 'rtt', title: 'RTT', number: true, sort: (edge) => primary(edge)?.rtt_ms, hint: 'Round trip on the line that messages to the edge come by', cell: (edge) => ms(primary(edge)?.rtt_ms) },
  { id: 'loss', title: 'Loss', number: true, sort: (edge) => primary(edge)?.loss, hint: 'Loss towards the edge on that line', cell: (edge) => percent(primary(edge)?.loss) },
  { id: 'weight', title: 'Weight', number: true, sort: ({ weight }) => weight, cell: ({ weight }) => String(Number(weight.toFixed(2))) },
  { id: 'version', title: 'Version', sort: ({ version }) => version, cell: ({ version }) => version || '–' },
  { id: 'heard', title: 'Heard', number: true, sort: (edge) => edge.heard_s, cell: (edge) => `${span(edge.heard_s)} ago` },
];

function linesCell(edge) {
  const { up, all, grade } = linesOf(edge);
  return badge({ grade, word: all === 0 ? 'none' : `${up} of ${all}`, why: edge.lines.map((line) => `${line.remote_carrier || line.remote}: ${lineWords(line).word}`).join(', ') });
}

function health(list, sums) {
  const open = list.filter(({ until_ms: until }) => !until);
  const critical = open.filter(({ severity }) => severity === 'critical').length;
  if (open.length === 0) {
    const quiet = sums.edges > 0;
    return notice({ grade: quiet ? 'good' : 'note', title: quiet ? 'All is well' : 'No edge has reported yet', text: quiet ? null : 'An edge is on the list from its first report on. It needs svrlist.addresses and a certificate of the same authority.' });
  }
  return notice({
    grade: critical > 0 ? 'bad' : 'warn',
    title: `${many(open.length, 'alert')}${critical > 0 ? `, ${critical} critical` : ''}`,
    action: el('a', { href: '/alerts' }, 'All alerts'),
  });
}

export default {
  title: () => 'Overview',
  needs: 'overview',

  start: () => ({ shown: undefined }),

  draw({ overview, query, set, kept, changed, now }) {
    const sums = totals(overview);
    const filter = query.q ?? '';
    const edges = overview.edges.filter((edge) => fits(filter, edge.name, edge.site, edge.place, edge.city, edge.carrier, edge.zone, edge.version, edgeWords(edge.state).word));
    const sort = { id: query.sort ?? 'state', down: query.down === '1' };
    const list = ordered(overview.alerts.filter(({ until_ms: until }) => !until));
    return [
      heading('Overview'),
      figures([
        { label: 'Clients', value: count(sums.clients), note: sums.room > 0 ? `${percent(sums.clients / sums.room)} of ${count(sums.room)}` : null },
        { label: 'Edges that take clients', value: `${sums.takes} of ${sums.edges}`, note: sums.lost > 0 ? `${sums.lost} lost` : `at ${many(sums.sites, 'site')}`, grade: sums.lost > 0 ? 'bad' : 'good' },
        { label: 'Lines that are good', value: `${exact(sums.linesGood)} of ${exact(sums.lines)}`, note: sums.linesDown > 0 ? `${sums.linesDown} down` : null, grade: sums.linesDown > 0 ? 'bad' : sums.linesGood < sums.lines ? 'warn' : 'good', href: '/lines' },
        { label: 'Out to clients', value: bits(sums.out), note: sums.outMost ? `${percent(sums.out / sums.outMost)} of ${bits(sums.outMost)}` : null, href: '/sites' },
        sums.budgets > 0 && { label: 'Sites below their level', value: `${sums.below} of ${sums.budgets}`, note: 'what their bandwidth is billed by', grade: sums.below < sums.budgets ? 'warn' : 'good', href: '/sites?sort=budget&down=1' },
      ]),
      health(overview.alerts, sums),
      overview.stale && notice({ grade: 'warn', title: 'Most edges are silent', text: 'They may be well and only their reports lost: the list stays as it was.' }),
      list.length > 0 && el('ul', { class: 'alerts brief columns' }, list.slice(0, ALERTS_SHOWN).map((alert) => alertItem(alert, { nowMs: now(), brief: true }))),
      panel({ title: 'Edges', id: 'edges', beside: filterField({ value: filter, label: 'Filter edges: name, site, place, carrier, state', onFilter: (q) => set({ q }), count: edges.length, of: overview.edges.length, unit: 'edge' }) },
        table({
          caption: 'Edges', columns: COLUMNS, rows: edges, keyOf: ({ name }) => name, sort,
          onSort: ({ id, down }) => set({ sort: id, down: down ? '1' : '' }), shown: kept.shown,
          onMore: (shown) => { kept.shown = shown; changed(); },
          empty: filter ? `No edge fits “${filter}”.` : 'No edge has reported yet.',
        })),
    ];
  },
};
