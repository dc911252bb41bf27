// A score by what it is made of, as a bar: each term has its pattern, its letter and its colour.

import { el } from './dom.js';
import { points } from './format.js';

// In the order in which they are added up.
export const TERMS = [
  ['drop', 'drop rate', 'what clients of the cell met there: usual, and right now'],
  ['load', 'load', 'what one more client does to it'],
  ['price', 'price', 'what its bandwidth costs'],
  ['line', 'lines', 'what its own lines to the origin lose'],
];

// The terms of a ranked edge; the drop rate is never below zero, as in the score itself.
export function termsOf({ terms, drop_pp: drop }) {
  if (!terms) return { drop: drop ?? 0, load: 0, price: 0, line: 0 };
  return { drop: Math.max(0, terms.mean + terms.residual), load: terms.load, price: terms.price, line: terms.line };
}

export const scoreOf = (entry) => entry.score ?? TERMS.reduce((sum, [key]) => sum + termsOf(entry)[key], 0);

// `most` is the score that fills the bar.
export function termsBar(entry, most) {
  const terms = termsOf(entry);
  const words = TERMS.filter(([key]) => terms[key] > 0).map(([key, name]) => `${name} ${points(terms[key])}`).join(', ') || 'nothing';
  return el('span', { class: 'terms', role: 'img', 'aria-label': words, title: words },
    TERMS.filter(([key]) => terms[key] > 0).map(([key]) => el('span', { class: `term ${key}`, style: { width: `${Math.min(100, (terms[key] / most) * 100).toFixed(2)}%` } })));
}

export const termsLegend = () => el('ul', { class: 'terms-legend' },
  TERMS.map(([key, name, why]) => el('li', {}, el('span', { class: `term ${key}` }), el('strong', {}, name), ` ${why}`)));
