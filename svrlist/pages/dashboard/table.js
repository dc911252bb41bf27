// Tables: sorted by their heads, narrowed by a filter, walked by arrow keys, stacked on a phone.
//
// Long ones show their first rows and say how many there are: whoever looks for one of a thousand edges
// types a part of its name.

import { el, unseen } from './dom.js';
import { many } from './format.js';

export const ROWS = 60;

// A column is {id, title, cell(row), sort?(row), number?, hint?, least?}: `sort` answers a number or a text,
// `least` sorts small ones first at the first click.
export function table({ caption, columns, rows, keyOf, sort, onSort, shown = ROWS, onMore, empty, onRow }) {
  const sorted = sortRows(rows, columns, sort);
  const visible = sorted.slice(0, shown);
  const head = columns.map((column) => headCell(column, sort, onSort));
  const body = visible.map((row) => el('tr', { role: 'row', key: keyOf(row), ...onRow?.(row) },
    columns.map((column, at) => bodyCell(column, row, at === 0))));
  if (rows.length === 0) return el('p', { class: 'empty' }, empty ?? 'Nothing here.');
  return [
    el('div', { class: 'scroll' },
      el('table', { class: 'stacks', role: 'table', 'aria-label': caption, onkeydown: walk },
        el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, head)),
        el('tbody', { role: 'rowgroup' }, body))),
    sorted.length > visible.length && el('p', { class: 'more' },
      `${visible.length} of ${many(sorted.length, 'row')}. `,
      el('button', { type: 'button', class: 'quiet', onclick: () => onMore(shown + ROWS * 4) }, 'Show more')),
  ];
}

function headCell(column, sort, onSort) {
  const props = { role: 'columnheader', scope: 'col', class: column.number ? 'number' : null, title: column.hint ?? null };
  if (!column.sort || !onSort) return el('th', props, column.title);
  const is = sort?.id === column.id;
  const direction = is ? (sort.down ? 'descending' : 'ascending') : 'none';
  const next = { id: column.id, down: is ? !sort.down : !column.least };
  return el('th', { ...props, 'aria-sort': direction },
    el('button', { type: 'button', class: 'sort', onclick: () => onSort(next) }, column.title,
      el('span', { class: 'arrow', 'aria-hidden': 'true' }, is ? (sort.down ? '▼' : '▲') : '')));
}

function bodyCell(column, row, first) {
  const props = { role: first ? 'rowheader' : 'cell', class: [column.number && 'number', column.wide && 'wide'].filter(Boolean).join(' ') || null, 'data-label': column.title, 'data-column': column.id };
  return first ? el('th', { ...props, scope: 'row' }, column.cell(row)) : el('td', props, column.cell(row));
}

// A copy in order; what has no value comes last, whichever way.
export function sortRows(rows, columns, sort) {
  const by = sort && columns.find(({ id }) => id === sort.id)?.sort;
  if (!by) return rows.slice();
  const sign = sort.down ? -1 : 1;
  const missing = (value) => value === null || value === undefined || Number.isNaN(value);
  return rows
    .map((row, at) => ({ row, at, value: by(row) }))
    .sort((a, b) => {
      if (missing(a.value) || missing(b.value)) return missing(a.value) - missing(b.value) || a.at - b.at;
      const order = typeof a.value === 'string' ? a.value.localeCompare(b.value, 'en', { numeric: true }) : a.value - b.value;
      return sign * order || a.at - b.at;
    })
    .map(({ row }) => row);
}

// Whether all words of a filter are among some texts.
export function fits(filter, ...texts) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const text = texts.flat().filter(Boolean).join(' ').toLowerCase();
  return words.every((word) => text.includes(word));
}

// The field that narrows a list; `/` goes there.
export function filterField({ value, label, onFilter, count, of, unit }) {
  return el('div', { class: 'filter' },
    el('label', {}, unseen(label),
      el('input', { type: 'search', value, placeholder: label, 'data-filter': '', autocomplete: 'off', spellcheck: 'false', oninput: (event) => onFilter(event.target.value) })),
    el('span', { class: 'quiet-text', role: 'status' }, count === of ? many(of, unit) : `${count} of ${many(of, unit)}`));
}

// Arrow keys go from row to row, to the same link or button where there is one.
function walk(event) {
  const steps = { ArrowDown: 1, ArrowUp: -1 };
  const step = steps[event.key];
  const row = event.target.closest('tbody tr');
  if (!row || !(step || event.key === 'Home' || event.key === 'End')) return;
  if (event.target.matches('input, select')) return;
  const rows = [...row.parentElement.children];
  const at = event.key === 'Home' ? 0 : event.key === 'End' ? rows.length - 1 : rows.indexOf(row) + step;
  const place = [...row.querySelectorAll('a, button')].indexOf(event.target);
  const there = rows[at]?.querySelectorAll('a, button');
  if (!there || there.length === 0) return;
  event.preventDefault();
  there[Math.min(place, there.length - 1)].focus();
}
