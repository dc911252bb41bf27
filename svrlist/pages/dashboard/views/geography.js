// Sites where they stand, and the lines between them and their upstreams.
//
// The land is drawn from the seats of the regions that the product knows: each is a disc, and their
// outline together is the ground. An origin tells no position: it is drawn beside the land.

import { Resource } from '../api.js';
import { el, svg } from '../dom.js';
import { bits, count, many, ms, percent } from '../format.js';
import { apart, bow, degrees, frame, reaches } from '../geometry.js';
import { allLines } from '../lines.js';
import { edgeLink, facts, heading, notice, panel, siteLink } from '../parts.js';
import { table } from '../table.js';
import { badge, edgeWords, lineWords, mark, rank, worst } from '../words.js';

const WIDTH = 1000;
const CHINA = [{ lat: 17, lon: 75 }, { lat: 52, lon: 133 }];
const LETTER = 6.4;
// On a narrow screen the map is small, and what stands on it twice as large.
const NARROW = 740;

// Sites with a position, and what their edges and lines are like together.
export function placed(overview) {
  const lines = allLines(overview.edges);
  return overview.sites.filter(({ position }) => position).map((site) => {
    const edges = overview.edges.filter(({ site: name }) => name === site.site);
    const grades = edges.map(({ state }) => edgeWords(state).grade);
    return { ...site, here: edges, grade: worst(grades), lines: lines.filter((line) => line.site === site.site && !line.lost) };
  });
}

// Lines from each site to each upstream, as one bow: its worst grade, its middle numbers.
export function bundles(sites, edges) {
  const home = new Map(edges.map(({ name, site }) => [name, site]));
  const found = new Map();
  for (const site of sites) {
    for (const line of site.lines) {
      const neighbour = line.upstream.startsWith('edge.') ? home.get(line.upstream.slice(5)) : home.get(line.upstream);
      const to = neighbour && neighbour !== site.site ? { site: neighbour } : { origin: line.upstream || 'origin' };
      const key = `${site.site} ${to.site ?? to.origin}`;
      if (!found.has(key)) found.set(key, { key, from: site.site, ...to, lines: [] });
      found.get(key).lines.push(line);
    }
  }
  return [...found.values()].map((bundle) => {
    const up = bundle.lines.filter((line) => line.up);
    const grades = bundle.lines.map((line) => lineWords(line).grade);
    const good = grades.filter((grade) => grade === 'good' || grade === 'note').length;
    // Some bad lines beside good ones are a warning; all bad is worse.
    const grade = up.length === 0 ? 'bad' : good === grades.length ? 'good' : 'warn';
    const rtts = up.map((line) => line.rtt_ms).sort((a, b) => a - b);
    return { ...bundle, grade, up: up.length, good, rtt: rtts.length > 0 ? rtts[rtts.length >> 1] : null, worst: Math.max(0, ...up.map((line) => Math.max(line.loss, line.loss_up))) };
  });
}

function ground(seats, view) {
  const discs = (extra) => seats.map((seat) => {
    const { x, y } = view.at(seat);
    const r = (seat.reach * view.scale + extra).toFixed(1);
    return `M${(x - r).toFixed(1)} ${y.toFixed(1)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
  }).join('');
  return svg('g', { key: 'ground', class: 'ground', 'aria-hidden': 'true' },
    // What is more than half covered once it is blurred is land: discs flow into each other.
    svg('filter', { id: 'smooth' }, svg('feGaussianBlur', { stdDeviation: 13 }), svg('feColorMatrix', { values: '1 0 0 0 0 0 1 0 0 0 0 0 1 0 0 0 0 0 40 -18' })),
    svg('g', { class: 'discs' }, svg('path', { class: 'coast', d: discs(1.6) })), svg('g', { class: 'discs' }, svg('path', { class: 'land', d: discs(0) })),
    svg('path', { class: 'seats', d: seats.map((seat) => { const { x, y } = view.at(seat); return `M${x.toFixed(1)} ${y.toFixed(1)}h0`; }).join('') }));
}

function graticule(view) {
  const step = view.east - view.west > 90 ? 20 : 10;
  return svg('g', { key: 'grid', class: 'graticule', 'aria-hidden': 'true' },
    degrees(view.west, view.east, step).map((lon) => {
      const { x } = view.at({ lat: 0, lon });
      return svg('g', { key: `x${lon}` }, svg('path', { d: `M${x.toFixed(1)} 0V${view.height.toFixed(1)}` }), svg('text', { x: x + 3, y: view.height - 5 }, `${lon}° E`));
    }),
    degrees(view.south, view.north, step).map((lat) => {
      const { y } = view.at({ lat, lon: 0 });
      return svg('g', { key: `y${lat}` }, svg('path', { d: `M0 ${y.toFixed(1)}H${WIDTH}` }), svg('text', { x: 4, y: y - 3 }, `${lat}° N`));
    }));
}

const SHAPES = {
  good: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  note: (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  warn: (r) => `M0 ${-1.25 * r}L${1.2 * r} ${0.9 * r}H${-1.2 * r}z`,
  bad: (r) => `M${-r} ${-0.45 * r}L${-0.45 * r} ${-r}H${0.45 * r}L${r} ${-0.45 * r}V${0.45 * r}L${0.45 * r} ${r}H${-0.45 * r}L${-r} ${0.45 * r}z`,
};
SHAPES.gone = SHAPES.good;

function drawMap(sites, all, seats, { query, set }) {
  const view = frame([...CHINA, ...sites.map(({ position }) => position)], { width: WIDTH });
  const large = innerWidth < NARROW ? 2.2 : 1;
  const most = Math.max(1, ...sites.map(({ connections }) => connections));
  const origins = [...new Set(all.filter(({ origin }) => origin).map(({ origin }) => origin))];
  const originAt = new Map(origins.map((name, at) => [name, { x: 150 + at * 180, y: view.height - 70 }]));
  const points = new Map(sites.map((site) => [site.site, view.at(site.position)]));
  const radius = ({ connections }) => (5 + 8 * Math.sqrt(connections / most)) * Math.sqrt(large);
  const byNeed = sites.slice().sort((a, b) => (b.site === query.site) - (a.site === query.site) || rank(a.grade) - rank(b.grade) || b.connections - a.connections);
  const labels = byNeed.map((site) => {
    const { x, y } = points.get(site.site);
    return { x: x + radius(site) + 2, y: y - 7 * large, width: site.site.length * LETTER * large, height: 14 * large };
  });
  const marks = byNeed.map((site) => {
    const [{ x, y }, r] = [points.get(site.site), radius(site)];
    return { x: x - r, y: y - r, width: 2 * r, height: 2 * r };
  });
  const shownLabels = apart(labels, marks);
  const order = ['good', 'note', 'warn', 'gone', 'bad'];
  const chosen = (bundle) => bundle.from === query.site || bundle.site === query.site;
  return svg('svg', { class: `geography${query.site ? ' has-chosen' : ''}`, viewBox: `0 0 ${WIDTH} ${view.height.toFixed(0)}`, style: { '--letters': `${11.5 * large}px` }, role: 'group', 'aria-label': 'Map of sites and lines' },
    ground(seats, view), graticule(view),
    svg('g', { key: 'lines', 'aria-hidden': 'true' }, all.slice().sort((a, b) => order.indexOf(a.grade) - order.indexOf(b.grade)).map((bundle) => {
      const to = bundle.site ? points.get(bundle.site) : originAt.get(bundle.origin);
      return to && svg('path', { key: bundle.key, class: `line ${bundle.grade}${chosen(bundle) ? ' chosen' : ''}`, d: bow(points.get(bundle.from), to, bundle.site ? 0.16 : 0.08) });
    })),
    origins.map((name) => {
      const { x, y } = originAt.get(name);
      return svg('g', { key: `origin ${name}`, class: 'origin', transform: `translate(${x} ${y})` }, svg('rect', { x: -9, y: -9, width: 18, height: 18, rx: 3 }), svg('text', { y: 14 + 12 * large, 'text-anchor': 'middle' }, name));
    }),
    byNeed.slice().reverse().map((site) => {
      const { x, y } = points.get(site.site);
      const words = `${site.site}: ${many(site.here.length, 'edge')}, ${edgeWordsOf(site)}, ${count(site.connections)} clients`;
      const choose = () => set({ site: query.site === site.site ? '' : site.site });
      return svg('g', {
        key: `site ${site.site}`, class: `site ${site.grade}${query.site === site.site ? ' chosen' : ''}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        tabindex: 0, role: 'button', 'aria-pressed': String(query.site === site.site), 'aria-label': words, onclick: choose,
        onkeydown: (event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); choose(); } },
      }, svg('title', {}, words), svg('circle', { class: 'touch', r: 16 }), svg('path', { d: SHAPES[site.grade](Number(radius(site).toFixed(1))) }));
    }),
    svg('g', { key: 'labels', class: 'labels', 'aria-hidden': 'true' }, byNeed.map((site, at) => shownLabels[at] && svg('text', { key: site.site, x: labels[at].x, y: labels[at].y + 11 * large }, site.site))));
}

const edgeWordsOf = (site) => ({ good: 'all well', note: 'some drained', warn: 'some with trouble', bad: 'some cut', gone: 'some lost' }[site.grade]);

const BUNDLES = [
  { id: 'from', title: 'From', sort: ({ from }) => from, least: true, cell: ({ from }) => siteLink(from) },
  { id: 'to', title: 'To', sort: (bundle) => bundle.site ?? bundle.origin, least: true, cell: (bundle) => (bundle.site ? siteLink(bundle.site) : bundle.origin) },
  { id: 'state', title: 'Lines', sort: ({ grade }) => rank(grade), least: true, cell: ({ grade, good, lines }) => badge({ grade, word: `${good} of ${lines.length} good` }) },
  { id: 'rtt', title: 'RTT, middle', number: true, sort: ({ rtt }) => rtt, cell: ({ rtt }) => ms(rtt) },
  { id: 'worst', title: 'Worst loss', number: true, sort: ({ worst }) => worst, cell: ({ worst }) => percent(worst) },
];

function detail(site) {
  return [
    facts([
      ['Place', site.place ?? site.region], ['Carriers', site.carriers.join(', ')], ['Clients', count(site.connections)],
      ['Out', bits(site.bits_out)], ['Load', percent(site.load)],
    ]),
    el('ul', { class: 'plain-list' }, site.here.map((edge) => el('li', { key: edge.name }, edgeLink(edge.name), ' ', badge(edgeWords(edge.state))))),
    el('p', {}, el('a', { href: `/sites?site=${encodeURIComponent(site.site)}` }, 'Its bandwidth and budget'), ' · ', el('a', { href: `/lines?q=${encodeURIComponent(site.site)}` }, 'its lines')),
  ];
}

export default {
  title: () => 'Geography',
  needs: 'overview',

  start({ changed }) {
    const kept = { seats: new Resource('/pages/seats.json', { changed }) };
    kept.stop = () => kept.seats.stop();
    return kept;
  },

  draw(context) {
    const { overview, query, set, kept } = context;
    const sites = placed(overview);
    const all = bundles(sites, overview.edges);
    kept.ground ??= kept.seats.data && reaches(kept.seats.data.map(([lat, lon]) => ({ lat, lon })));
    const seats = kept.ground ?? [];
    const chosen = sites.find(({ site }) => site === query.site);
    const nowhere = overview.sites.length - sites.length;
    const sort = { id: query.sort ?? 'state', down: query.down === '1' };
    return [
      heading('Geography', el('p', { class: 'quiet-text' }, 'Sites where they stand; a larger one has more clients. Choose one for its edges and lines.')),
      overview.sites.length === 0 && notice({ title: 'No edge has reported yet', text: 'Sites appear with the first reports of their edges.' }),
      el('div', { class: 'map-and-more' },
        el('div', { class: 'map-room' }, drawMap(sites, all, seats, context),
          el('ul', { class: 'map-legend' },
            [['good', 'all well'], ['note', 'drained'], ['warn', 'trouble'], ['bad', 'cut'], ['gone', 'lost']].map(([grade, text]) => el('li', {}, svg('svg', { class: `site-key site ${grade}`, viewBox: '-9 -9 18 18', 'aria-hidden': 'true' }, svg('path', { d: SHAPES[grade](6) })), text)),
            [['good', 'lines good'], ['warn', 'some not good'], ['bad', 'all down']].map(([grade, text]) => el('li', {}, svg('svg', { class: 'line-key', viewBox: '0 0 30 8', 'aria-hidden': 'true' }, svg('path', { class: `line ${grade}`, d: 'M1 4H29' })), text)))),
        panel({ title: chosen ? chosen.site : 'No site chosen', id: 'chosen', beside: chosen && el('button', { type: 'button', class: 'quiet', onclick: () => set({ site: '' }) }, 'Leave it') },
          chosen ? detail(chosen) : el('p', { class: 'empty' }, sites.length > 0 ? 'Click a site, or go there with Tab and press Enter.' : 'There is none with a position.'))),
      nowhere > 0 && el('p', { class: 'quiet-text' }, mark('note'), ` ${many(nowhere, 'site')} of unknown position not drawn.`),
      panel({ title: chosen ? `Lines of ${chosen.site}` : 'Lines between sites and upstreams', id: 'bundles' },
        table({
          caption: 'Lines by site', columns: BUNDLES, rows: chosen ? all.filter(({ from, site }) => from === chosen.site || site === chosen.site) : all, keyOf: ({ key }) => key, sort,
          onSort: ({ id, down }) => set({ sort: id, down: down ? '1' : '' }), shown: kept.shown ?? 20, onMore: (shown) => { kept.shown = shown; context.changed(); }, empty: 'No line has been reported.',
        })),
    ];
  },
};
