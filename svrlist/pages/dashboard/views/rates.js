// The drop-rate map: cells by edges, each field with its number, coloured by it, marked in an incident.
//
// Only what is seen through the window is drawn, so that a thousand edges by three hundred cells scroll
// as three by nine do.

import { chart } from '../chart.js';
import { el } from '../dom.js';
import { bare, count, many, percent, points } from '../format.js';
import { Histories } from '../history.js';
import { cellLink, choice, edgeLink, facts, heading, loading, notice, panel } from '../parts.js';
import { fits, table } from '../table.js';
import { STEPS, fitting, ratemap, seen, stepOf, worstPairs } from '../ratemap.js';
import { mark } from '../words.js';

const HEAD = { row: 168, column: 104 };
const NARROW_HEAD = 104;
const FIELD = { width: 40, most: 116, height: 26 };
// From this width on, a head fits lying.
const LYING = 100;
const PAIRS = 12;
const HISTORY_MS = 6 * 3_600_000;

const ORDERS = { name: null, worst: (row) => row.worst, lost: (row) => row.lost, clients: (row) => row.weight };

function options(map, query) {
  const fit = fitting(map);
  return { columns: query.by ?? fit.columns, rows: query.cells ?? fit.rows, q: query.q ?? '', edges: query.edges ?? '', order: query.order ?? 'name' };
}

// The grouped map, made again only when the map or the wishes changed.
function grouped(map, wish, kept) {
  const key = JSON.stringify(wish);
  if (kept.map === map && kept.key === key) return kept.grouped;
  const result = ratemap(map, {
    columns: wish.columns, rows: wish.rows,
    keepEdge: (edge) => fits(wish.edges, edge.name, edge.site, edge.carrier),
    keepCell: (cell) => fits(wish.q, cell.name, cell.city, cell.carrier, cell.cell),
  });
  const order = ORDERS[wish.order];
  if (order) result.rows.sort((a, b) => order(b) - order(a));
  Object.assign(kept, { map, key, grouped: result });
  return result;
}

// The same of the pairs: all of them are looked at.
function costliest(map, kept) {
  if (kept.pairsOf !== map) Object.assign(kept, { pairsOf: map, pairs: worstPairs(map, PAIRS) });
  return kept.pairs;
}

function grid({ columns, rows }, kept, changed) {
  const total = kept.width - 2;
  const head = kept.width < 600 ? NARROW_HEAD : HEAD.row;
  const width = Math.min(FIELD.most, Math.max(FIELD.width, Math.floor((total - head) / columns.length)));
  const lying = width >= LYING;
  const top = lying ? 34 : HEAD.column;
  const size = { width: head + width * columns.length, height: top + FIELD.height * rows.length };
  const [firstRow, endRow] = seen(kept.top, kept.height - top, FIELD.height, rows.length);
  const [firstColumn, endColumn] = seen(kept.left, total - head, width, columns.length);
  const px = (value) => `${value}px`;
  const at = kept.at ?? { row: 0, column: 0 };
  const field = (row, r, c) => {
    const value = row.values[c];
    const is = at.row === r && at.column === c;
    return el('div', {
      role: 'gridcell', key: columns[c].key, 'aria-colindex': c + 2, tabindex: is ? 0 : -1, 'aria-selected': String(Boolean(kept.at) && is),
      class: value ? `field step${stepOf(value.drop)}${value.event ? ' event' : ''}` : 'field nothing',
      'aria-label': spoken(row, columns[c], value), 'data-row': r, 'data-column': c,
      style: { left: px(head + c * width), width: px(width) },
    },
    value ? bare(value.drop) : '·',
    value?.event && el('span', { class: 'flag', 'aria-hidden': 'true' }, '▲'),
    value && value.share > 0.005 && el('span', { class: 'sent', 'aria-hidden': 'true', style: { width: `${Math.round(Math.min(1, value.share) * 100)}%` } }));
  };
  const range = (first, end) => Array.from({ length: end - first }, (_, index) => first + index);
  return el('div', {
    class: 'ratemap', role: 'grid', 'aria-label': 'Drop rates by cell and edge, in percentage points',
    'aria-rowcount': rows.length + 1, 'aria-colcount': columns.length + 1,
    style: { '--top': px(top), '--head': px(head), height: px(Math.min(size.height + 14, kept.tall)) },
    onscroll: (event) => {
      const { scrollTop, scrollLeft, clientHeight } = event.currentTarget;
      Object.assign(kept, { top: scrollTop, left: scrollLeft, height: clientHeight });
      changed();
    },
    onkeydown: (event) => walk(event, { columns, rows, kept, changed, width, head, top }),
    onclick: (event) => {
      const target = event.target.closest('[role="gridcell"]');
      if (!target) return;
      kept.at = { row: Number(target.dataset.row), column: Number(target.dataset.column) };
      changed();
    },
  },
  el('div', { class: 'whole', role: 'presentation', style: { width: px(size.width), height: px(size.height) } },
    el('div', { role: 'row', class: 'heads', 'aria-rowindex': 1 },
      el('div', { role: 'columnheader', class: 'corner', 'aria-colindex': 1 }, 'Cells'),
      range(firstColumn, endColumn).map((c) => el('div', {
        role: 'columnheader', key: columns[c].key, class: lying ? 'head lying' : 'head', 'aria-colindex': c + 2, title: columns[c].title,
        style: { left: px(head + c * width), width: px(width) },
      }, el('span', {}, columns[c].title)))),
    range(firstRow, endRow).map((r) => el('div', {
      role: 'row', key: rows[r].key, class: 'row', 'aria-rowindex': r + 2, style: { top: px(top + r * FIELD.height) },
    },
    el('div', { role: 'rowheader', class: 'name', 'aria-colindex': 1, title: rows[r].title }, rows[r].title),
    range(firstColumn, endColumn).map((c) => field(rows[r], r, c))))));
}

function spoken(row, column, value) {
  if (!value) return `${row.title}, ${column.title}: nothing known`;
  const sent = value.share > 0.005 ? `, ${percent(value.share)} of new clients` : '';
  return `${row.title}, ${column.title}: ${points(value.drop)}${value.event ? ', incident' : ''}${sent}`;
}

function walk(event, { columns, rows, kept, changed, width, head, top }) {
  const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [10, 0], PageUp: [-10, 0], Home: [0, -Infinity], End: [0, Infinity] };
  const step = steps[event.key];
  if (!step) return;
  event.preventDefault();
  const bound = (value, most) => Math.max(0, Math.min(most, value));
  const from = kept.at ?? { row: 0, column: 0 };
  const at = { row: bound(from.row + step[0], rows.length - 1), column: bound(from.column + step[1], columns.length - 1) };
  kept.at = at;
  // Bring it into the window; what is drawn there takes the focus.
  const box = event.currentTarget;
  const into = (scroll, size, start, end) => (start < scroll ? start : end > scroll + size ? end - size : scroll);
  box.scrollTop = into(box.scrollTop, box.clientHeight - top, at.row * FIELD.height, (at.row + 1) * FIELD.height);
  box.scrollLeft = into(box.scrollLeft, box.clientWidth - head, at.column * width, (at.column + 1) * width);
  Object.assign(kept, { top: box.scrollTop, left: box.scrollLeft, focus: true });
  changed();
}

const legend = () => el('ul', { class: 'legend-steps', 'aria-label': 'Legend' },
  [...STEPS, null].map((bound, at) => el('li', {}, el('span', { class: `field step${at}` }, at === 0 ? '0' : String(STEPS[at - 1])),
    at === 0 ? `under ${bound}` : bound === null ? `${STEPS.at(-1)} pp and more` : '')),
  el('li', {}, el('span', { class: 'field nothing' }, '·'), 'nothing known'),
  el('li', {}, el('span', { class: 'field step4 event' }, '8', el('span', { class: 'flag', 'aria-hidden': 'true' }, '▲')), 'incident'),
  el('li', {}, el('span', { class: 'field step0' }, '0', el('span', { class: 'sent', style: { width: '60%' } })), 'bar: share of new clients'));

function detail({ columns, rows }, wish, context) {
  const { kept, set, now } = context;
  const row = rows[kept.at?.row];
  const column = columns[kept.at?.column];
  if (!row || !column) return el('p', { class: 'empty' }, 'Choose a field to see what it is made of.');
  const value = row.values[kept.at.column];
  const pair = wish.rows === 'cell' && wish.columns === 'edge';
  const narrower = () => set({ by: 'edge', cells: 'cell', edges: wish.columns === 'edge' ? wish.edges : column.title, q: wish.rows === 'cell' ? wish.q : row.title });
  return [
    el('h3', {}, wish.rows === 'cell' ? cellLink(row.key, row.title) : row.title, ' at ', wish.columns === 'edge' ? edgeLink(column.key) : column.title),
    value === null ? el('p', { class: 'empty' }, 'Nobody reported, and nobody is sent there.') : facts([
      ['Drop rate', points(value.drop)], ['Reports of late', count(value.reports)],
      ['Share of new clients', percent(value.share)], ['Incident', value.event ? [mark('bad'), ' going on'] : 'none'],
      !pair && ['Pairs in it', count(value.pairs)],
      !pair && ['Worst of them', [cellLink(value.worst.cell), ' at ', edgeLink(value.worst.edge), `, ${points(value.worst.drop)}`]],
    ]),
    !pair && value !== null && el('button', { type: 'button', onclick: () => { kept.at = null; narrower(); } }, 'Show its cells and edges'),
    pair && value !== null && history(row.key, column.key, context, now()),
  ];
}

function history(cell, edge, { kept }, nowMs) {
  const name = `pair.${cell}.${edge}.drop_pp`;
  const found = kept.histories.of(name);
  if (found === null) return kept.histories.failure ? null : loading('its history');
  return chart({ title: 'Drop rate, 6 h', series: [{ ...found, label: 'drop rate' }], fromMs: kept.histories.from, toMs: kept.histories.to, nowMs });
}

const pairColumns = [
  { id: 'cell', title: 'Cell', cell: ({ cell }) => cellLink(cell.cell, `${cell.name} ${cell.carrier}`) },
  { id: 'edge', title: 'Edge', cell: ({ edge }) => edgeLink(edge.name) },
  { id: 'drop', title: 'Drop rate', number: true, cell: (pair) => points(pair.drop_pp) },
  { id: 'event', title: 'Incident', cell: ({ event }) => (event ? el('span', { class: 'badge bad' }, mark('bad'), 'going on') : 'none') },
  { id: 'share', title: 'Of new clients', number: true, cell: ({ share }) => percent(share) },
  { id: 'reports', title: 'Reports', number: true, cell: ({ reports }) => count(reports) },
];

const FILTERS = [['q', 'Filter cells: region, carrier'], ['edges', 'Filter edges: name, site, carrier']];

export default {
  title: () => 'Drop rates',
  wantsMap: true,

  start({ changed, now }) {
    const kept = { top: 0, left: 0, width: Math.min(innerWidth, 1600) - 32, height: 500, tall: Math.max(280, innerHeight * 0.68), at: null };
    kept.histories = new Histories({ lengthMs: HISTORY_MS, points: 180, changed, now });
    const measure = () => {
      const box = document.querySelector('.ratemap-room');
      if (!box) return;
      const width = box.clientWidth;
      const tall = Math.max(280, innerHeight * 0.68);
      if (width === kept.width && tall === kept.tall) return;
      Object.assign(kept, { width, tall, height: tall });
      changed();
    };
    addEventListener('resize', measure);
    kept.measure = measure;
    kept.stop = () => {
      removeEventListener('resize', measure);
      kept.histories.stop();
    };
    return kept;
  },

  draw(context) {
    const { live: { map, state }, query, set, kept, changed } = context;
    if (map === null) {
      const silent = state.name === 'disconnected' || state.name === 'refused';
      return [heading('Drop rates'), silent ? notice({ grade: 'bad', title: 'No map yet', text: state.name === 'refused' ? 'Sign in to see it.' : 'svrlist does not answer.' }) : loading('the map')];
    }
    const wish = options(map, query);
    const shown = grouped(map, wish, kept);
    const put = (change) => { kept.at = null; set(change); };
    requestAnimationFrame(() => {
      kept.measure();
      if (!kept.focus) return;
      kept.focus = false;
      document.querySelector('.ratemap [tabindex="0"]')?.focus({ preventScroll: true });
    });
    const isEmpty = map.cells.length === 0 || map.edges.length === 0;
    return [
      heading('Drop rates', el('p', { class: 'quiet-text' }, 'What clients of a cell have to expect of an edge: of a hundred sessions, those that end badly.')),
      isEmpty ? notice({ title: 'Nothing has been reported yet', text: 'Rates are learnt from how sessions end on edges, and from what clients report. They come within seconds of the first clients.' }) : [
        el('div', { class: 'controls' },
          choice({ label: 'Cells by', options: [['carrier', 'carriers'], ['region', 'regions'], ['cell', 'cells']], value: wish.rows, onChoose: (cells) => put({ cells }) }),
          el('span', { class: 'quiet-text' }, 'by'),
          choice({ label: 'Edges by', options: [['carrier', 'carriers'], ['site', 'sites'], ['edge', 'edges']], value: wish.columns, onChoose: (by) => put({ by }) }),
          FILTERS.map(([key, label], at) => el('label', { key, class: 'field-label' }, el('span', { class: 'unseen' }, label),
            el('input', { type: 'search', placeholder: label, value: wish[key], 'data-filter': at === 0 ? '' : null, autocomplete: 'off', oninput: (event) => put({ [key]: event.target.value }) }))),
          el('label', { class: 'field-label' }, 'Order ', el('select', { onchange: (event) => put({ order: event.target.value }) },
            [['name', 'as they come'], ['worst', 'worst rate'], ['lost', 'clients lost'], ['clients', 'most clients']].map(([key, text]) => el('option', { value: key, selected: key === wish.order }, text))))),
        el('p', { class: 'quiet-text', role: 'status' }, `${many(shown.rows.length, 'row')} by ${many(shown.columns.length, 'column')}, out of ${many(map.cells.length, 'cell')} by ${many(map.edges.length, 'edge')}${map.left_out > 0 ? `; ${many(map.left_out, 'cell')} with the fewest reports left out` : ''}.`),
        el('div', { class: 'ratemap-room' }, shown.rows.length === 0 || shown.columns.length === 0
          ? el('p', { class: 'empty' }, 'Nothing fits these filters.')
          : grid(shown, kept, changed)),
        legend(),
        el('div', { class: 'halves' },
          panel({ title: 'The field', id: 'field' }, detail(shown, wish, context)),
          panel({ title: 'Where most clients are lost', id: 'worst' },
            table({ caption: 'Pairs that cost most clients', columns: pairColumns, rows: costliest(map, kept), keyOf: ({ cell, edge }) => `${cell.cell} ${edge.name}`, empty: 'No pair loses clients.' }))),
      ],
    ];
  },
};
