// Drop rates by cells and edges, brought to a size that can be looked at: rows and columns are groups,
// a value is the mean of what is in it by reports, with the worst of it.

const COLUMN = {
  edge: ({ name }) => ({ key: name, title: name }),
  site: ({ site }) => ({ key: site, title: site }),
  carrier: ({ carrier }) => ({ key: carrier, title: carrier }),
};

const ROW = {
  cell: ({ cell, name, carrier }) => ({ key: cell, title: `${name} ${carrier}` }),
  region: ({ cell, name }) => ({ key: cell.split('/')[0], title: name }),
  carrier: ({ carrier }) => ({ key: carrier, title: carrier }),
};

export const COLUMNS = Object.keys(COLUMN);
export const ROWS = Object.keys(ROW);

// Below these, everything fits a screen as it is.
const EDGES_EASY = 24;
const CELLS_EASY = 120;

// How a map of this size is best shown first.
export const fitting = (map) => ({
  columns: map.edges.length <= EDGES_EASY ? 'edge' : 'site',
  rows: map.cells.length <= CELLS_EASY ? 'cell' : 'region',
});

function groups(list, of, keep) {
  const found = new Map();
  list.forEach((one, at) => {
    if (!keep(one)) return;
    const { key, title } = of(one);
    if (!found.has(key)) found.set(key, { key, title, members: [] });
    found.get(key).members.push(at);
  });
  return [...found.values()];
}

// {columns: [{key, title}], rows: [{key, title, values, worst, lost}]}; a value is null or {drop, reports,
// event, share, worst: {edge, cell, drop}, pairs}.
export function ratemap(map, { columns, rows, keepEdge = () => true, keepCell = () => true }) {
  const across = groups(map.edges, COLUMN[columns], keepEdge);
  const down = groups(map.cells, ROW[rows], keepCell);
  for (const row of down) {
    row.values = across.map(({ members }) => together(map, row.members, members));
    row.worst = Math.max(0, ...row.values.map((value) => value?.drop ?? 0));
    row.lost = row.values.reduce((total, value) => total + (value?.lost ?? 0), 0);
    row.event = row.values.some((value) => value?.event);
    row.weight = row.members.reduce((total, at) => total + clientsOf(map.cells[at]), 0);
  }
  return { columns: across, rows: down };
}

// How many clients a cell has, as far as anybody tells.
export const clientsOf = (cell) => cell.sessions ?? cell.reports ?? 0;

function together(map, cells, edges) {
  let [reports, sum, plain, pairs, share, lost] = [0, 0, 0, 0, 0, 0];
  let event = false;
  let worst = null;
  for (const c of cells) {
    const cell = map.cells[c];
    for (const e of edges) {
      const value = cell.values[e];
      if (!value) continue;
      pairs += 1;
      plain += value.drop_pp;
      reports += value.reports;
      sum += value.drop_pp * value.reports;
      share += value.share;
      lost += lostOf(cell, value);
      event ||= value.event;
      if (worst === null || value.drop_pp > worst.drop) worst = { edge: map.edges[e].name, cell: cell.cell, drop: value.drop_pp };
    }
  }
  if (pairs === 0) return null;
  return { drop: reports > 0 ? sum / reports : plain / pairs, reports, event, share: share / cells.length, lost, worst, pairs };
}

// Clients of a cell that are to be lost on an edge: what a bad pair costs.
const lostOf = (cell, value) => (value.drop_pp / 100) * value.share * clientsOf(cell);

// The pairs that cost most clients, and incidents first.
export function worstPairs(map, count) {
  const pairs = [];
  for (const cell of map.cells) {
    cell.values.forEach((value, at) => {
      if (value && (value.event || value.share > 0)) pairs.push({ ...value, cell, edge: map.edges[at], lost: lostOf(cell, value) });
    });
  }
  pairs.sort((a, b) => b.event - a.event || b.lost - a.lost || b.drop_pp - a.drop_pp);
  return pairs.slice(0, count);
}

// Upper bounds of the steps of the scale, in percentage points; the last has none.
export const STEPS = [0.5, 1, 2, 4, 8, 16];

export const stepOf = (drop) => {
  const at = STEPS.findIndex((bound) => drop < bound);
  return at < 0 ? STEPS.length : at;
};

// What of `count` things of one size is seen through a window: [first, end).
export function seen(scroll, length, size, count, spare = 4) {
  const first = Math.max(0, Math.floor(scroll / size) - spare);
  const end = Math.min(count, Math.ceil((scroll + length) / size) + spare);
  return [Math.min(first, count), Math.max(Math.min(first, count), end)];
}
