// Zones: who gets which share of users, on which version, and how the two compare.

import { el } from '../dom.js';
import { count, exact, many, percent } from '../format.js';
import { edgeLink, heading, notice, panel } from '../parts.js';
import { badge, edgeWords, rank, worst } from '../words.js';

// Percent of users of each zone; those without a share of their own divide what is left among them all.
export function shares(zones) {
  const named = zones.reduce((total, { share }) => total + (share ?? 0), 0);
  const open = zones.filter(({ share }) => share === null || share === undefined);
  return zones.map((zone) => ({ ...zone, own: zone.share !== null && zone.share !== undefined, percent: zone.share ?? (open.length === 1 ? Math.max(0, 100 - named) : null) }));
}

function bar(zones) {
  const known = zones.filter(({ percent }) => percent > 0);
  const rest = 100 - known.reduce((total, zone) => total + zone.percent, 0);
  return el('div', { class: 'share-bar', role: 'img', 'aria-label': known.map((zone) => `${zone.zone || 'unnamed'} ${zone.percent} %`).join(', ') },
    known.map((zone, at) => el('span', { class: `part p${at % 4}`, style: { 'flex-grow': String(zone.percent) } }, `${zone.zone || 'unnamed'} ${Number(zone.percent.toFixed(1))} %`)),
    rest > 0.05 && el('span', { class: 'part rest', style: { 'flex-grow': String(rest) } }, `shared ${Number(rest.toFixed(1))} %`));
}

function stateOf(edges, bad) {
  const open = edges.filter(({ state }) => state === 'open').length;
  const calm = open === edges.length ? 'all edges take clients' : `${open} of ${many(edges.length, 'edge')} take clients`;
  const grade = worst(edges.map(({ state }) => edgeWords(state).grade));
  return { grade, word: bad.length === 0 ? calm : `${many(bad.length, 'edge')} with trouble` };
}

function zonePanel(zone, overview, { session }) {
  const edges = overview.edges.filter((edge) => edge.zone === zone.zone);
  const bad = edges.filter(({ state }) => rank(edgeWords(state).grade) < rank('note'));
  const total = overview.edges.reduce((sum, edge) => sum + edge.connections, 0);
  const of = (list, key) => list.reduce((sum, edge) => sum + edge[key], 0);
  const most = of(edges, 'connections_max');
  return panel({
    title: zone.zone || 'unnamed', id: `zone-${zone.zone}`,
    beside: zone.drained ? badge({ grade: 'note', word: 'drained' }) : badge(stateOf(edges, bad)),
  },
  el('dl', { class: 'figures' },
    el('div', {}, el('dt', {}, 'Share of users'), el('dd', {}, zone.percent === null ? 'shared' : `${Number(zone.percent.toFixed(1))} %`), el('dd', { class: 'note' }, zone.own ? 'set by an operator' : 'what the others leave')),
    el('div', {}, el('dt', {}, 'Clients now'), el('dd', {}, count(zone.connections)), el('dd', { class: 'note' }, total > 0 ? `${percent(zone.connections / total)} of all` : null)),
    el('div', {}, el('dt', {}, 'Edges'), el('dd', {}, exact(zone.edges.length)), most > 0 && el('dd', { class: 'note' }, `room for ${count(most)}`)),
    el('div', {}, el('dt', {}, zone.versions.length === 1 ? 'Version' : 'Versions'), el('dd', {}, zone.versions.join(', ') || '–'))),
  bad.length > 0 && el('ul', { class: 'plain-list' }, bad.slice(0, 12).map((edge) => el('li', { key: edge.name }, edgeLink(edge.name), ' ', badge(edgeWords(edge.state)))), bad.length > 12 && el('li', {}, `and ${bad.length - 12} more`)),
  session.isAdmin && el('p', {}, el('a', { class: 'button', href: '/control' }, 'Change its share, or drain it')));
}

export default {
  title: () => 'Zones',
  needs: 'overview',
  draw(context) {
    const { overview } = context;
    const zones = shares(overview.zones);
    return [
      heading('Zones', el('p', { class: 'quiet-text' }, 'Sets of edges that versions and traffic are moved by, a share of users at a time.')),
      zones.length === 0
        ? notice({ title: 'There is no zone yet', text: 'An edge names its zone by the key zone; those without are one zone together.' })
        : [bar(zones), el('div', { class: 'halves' }, zones.map((zone) => zonePanel(zone, overview, context)))],
    ];
  },
};
