// Keys: `g` and a letter go to a page, `/` to the filter, `?` shows them all, Escape leaves.

import { el, show } from './dom.js';
import { ROUTES } from './routes.js';

// How long after `g` its letter may come.
const CHORD_MS = 1500;

const OTHERS = [
  ['/', 'go to the filter of the page'],
  ['↑ ↓', 'go from row to row in a table; all four arrows walk the drop-rate map'],
  ['← →', 'read a chart that has the focus, point by point'],
  ['t', 'light, dark, or as the system has it'],
  ['?', 'show or hide this help'],
  ['Esc', 'close this help, leave the filter'],
];

export function shortcuts({ go, turnTheme, dialog }) {
  show(dialog, help(() => dialog.close()));
  let chord = 0;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const typing = event.target.closest?.('input, select, textarea');
    if (typing) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    if (event.timeStamp - chord < CHORD_MS) {
      chord = 0;
      const route = ROUTES.find(({ key }) => key === event.key);
      if (route) {
        event.preventDefault();
        go(route.path);
        return;
      }
    }
    const act = {
      g: () => { chord = event.timeStamp; },
      t: turnTheme,
      '?': () => (dialog.open ? dialog.close() : dialog.showModal()),
      '/': () => document.querySelector('[data-filter]')?.focus(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

const keys = (text) => text.split(' ').map((key) => el('kbd', {}, key));

function help(close) {
  const row = (combination, what) => el('div', {}, el('dt', {}, keys(combination)), el('dd', {}, what));
  return [
    el('h2', { id: 'help-title' }, 'Keys'),
    el('dl', { class: 'keys' },
      ROUTES.filter(({ nav }) => nav).map(({ nav, key }) => row(`g ${key}`, nav)),
      OTHERS.map(([combination, what]) => row(combination, what))),
    el('p', {}, el('button', { type: 'button', onclick: close }, 'Close')),
  ];
}
