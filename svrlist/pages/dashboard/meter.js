// Shares of a whole as short bars, with the number beside: what a `<meter>` is, in our colours.

import { el } from './dom.js';
import { percent } from './format.js';

// `marks` are other shares to point out: [{at, title}]. A share beyond 1 fills the bar and says so.
export function meter({ share, label, text = percent(share), warn = 0.8, bad = 0.92, marks = [] }) {
  const known = typeof share === 'number' && Number.isFinite(share);
  const value = known ? Math.min(1, Math.max(0, share)) : 0;
  const grade = !known ? 'gone' : share >= bad ? 'bad' : share >= warn ? 'warn' : 'good';
  return el('span', { class: `meter ${grade}` },
    el('span', {
      class: 'bar', role: 'meter', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 1,
      'aria-valuenow': Number(value.toFixed(3)), 'aria-valuetext': text,
    },
    el('span', { class: 'fill', style: { width: `${(value * 100).toFixed(1)}%` } }),
    marks.map(({ at, title }) => el('span', { class: 'tick', title, style: { left: `${(Math.min(1, at) * 100).toFixed(1)}%` } }))),
    el('span', { class: 'value' }, text));
}
