// What states are called, how serious they are and which mark stands for them. A mark has a shape of its
// own: colour only repeats what shape and word say.

import { el, svg } from './dom.js';

// Grades, best first: `good`, `note` (wanted so), `warn`, `bad`, `gone`.
const EDGE = {
  open: ['good', 'open', 'takes new clients'],
  busy: ['warn', 'busy', 'refuses new clients: it has too much to do'],
  full: ['warn', 'full', 'has all the clients it can hold'],
  draining: ['note', 'draining', 'asks for no more clients'],
  drained: ['note', 'drained', 'an operator wants no new clients here'],
  cut: ['bad', 'cut', 'clients fail there: it is told to nobody'],
  'cut-off': ['bad', 'cut off', 'no line to its upstream is up'],
  lost: ['gone', 'lost', 'does not report any more'],
};

const LINE = {
  good: ['good', 'good', 'usable without reserve'],
  held: ['note', 'held', 'good again, but held down for a while because it failed'],
  gray: ['warn', 'gray', 'loses or delays too much'],
  full: ['warn', 'full', 'its bandwidth is used up'],
  draining: ['note', 'draining', 'about to be given up'],
  silent: ['bad', 'silent', 'nothing is heard on it'],
  down: ['bad', 'down', 'not connected'],
};

const SEVERITY = {
  critical: ['bad', 'critical', 'clients suffer'],
  warning: ['warn', 'warning', 'worth a look'],
};

const GRADES = ['gone', 'bad', 'warn', 'note', 'good'];

const said = (table, state) => {
  const [grade, word, why] = table[state] ?? ['warn', state || 'unknown', ''];
  return { grade, word, why };
};

export const edgeWords = (state) => said(EDGE, state);
export const lineWords = ({ up, state }) => said(LINE, up || state === 'silent' || state === 'down' ? state : 'down');
export const severityWords = (severity) => said(SEVERITY, severity);

// Worst first, for sorting.
export const rank = (grade) => GRADES.indexOf(grade);

// The worst of some grades.
export const worst = (grades) => GRADES.find((grade) => grades.includes(grade)) ?? 'good';

const SHAPES = {
  good: () => svg('circle', { cx: 8, cy: 8, r: 5.5 }),
  note: () => svg('path', { d: 'M3.5 3h3v10h-3zM9.5 3h3v10h-3z' }),
  warn: () => svg('path', { d: 'M8 1.5 15 14H1z' }),
  bad: () => svg('path', { d: 'M4.2 1.8 8 5.6l3.8-3.8 2.4 2.4L10.4 8l3.8 3.8-2.4 2.4L8 10.4l-3.8 3.8-2.4-2.4L5.6 8 1.8 4.2z' }),
  gone: () => svg('circle', { cx: 8, cy: 8, r: 5.5, class: 'hollow' }),
  info: () => svg('path', { d: 'M6.5 1.5h3v3h-3zM5 6h4.5v6H11v2.5H5V12h1.5V8.5H5z' }),
};

// The mark alone; the word stands beside it.
export const mark = (grade) =>
  svg('svg', { class: `mark ${grade}`, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, SHAPES[grade]());

// Mark and word.
export function badge({ grade, word, why }) {
  return el('span', { class: `badge ${grade}`, title: why || null }, mark(grade), word);
}
