// Pieces that many views are made of: panels, figures, links, and what stands where data should be.

import { el } from './dom.js';
import { mark } from './words.js';
import { cellPath, edgePath, pathWith } from './routes.js';

// The head of a view. The heading takes the focus when the view opens.
export function heading(title, ...beside) {
  return el('div', { class: 'heading' }, el('h1', { tabindex: -1 }, title), ...beside);
}

export function panel({ title, id, beside, level = 2, plain = false }, ...children) {
  return el('section', { class: plain ? 'panel plain' : 'panel', key: id, 'aria-labelledby': title ? `${id}-title` : null },
    title && el('div', { class: 'panel-head' }, el(`h${level}`, { id: `${id}-title` }, title), beside),
    ...children);
}

// A few large numbers. An item is {label, value, note?, grade?, href?}.
export function figures(items) {
  return el('dl', { class: 'figures' }, items.filter(Boolean).map(({ label, value, note, grade, href }) =>
    el('div', { key: label, class: grade ?? null },
      el('dt', {}, label),
      el('dd', {}, grade && grade !== 'good' && mark(grade), href ? el('a', { href }, value) : value),
      note && el('dd', { class: 'note' }, note))));
}

// Pairs of a name and a value, for facts that do not change all the time.
export function facts(pairs) {
  return el('dl', { class: 'facts' }, pairs.filter(Boolean).map(([name, value]) =>
    el('div', { key: name }, el('dt', {}, name), el('dd', {}, value ?? '–'))));
}

export const edgeLink = (name) => el('a', { href: edgePath(name) }, name);
export const cellLink = (cell, text = cell) => el('a', { href: cellPath(cell) }, text);
export const siteLink = (site) => el('a', { href: pathWith('/sites', { q: site }) }, site);

// A state in which there is nothing to show, with what to do about it.
export function notice({ title, grade = 'note', text, action }) {
  return el('div', { class: `notice ${grade}` }, mark(grade === 'note' ? 'info' : grade),
    el('div', {}, el('p', { class: 'notice-title' }, title), text && el('p', {}, text), action));
}

// Grey bars where a view will be, so that nothing jumps when it comes.
export function loading(what) {
  return el('div', { class: 'loading', role: 'status' }, el('p', { class: 'unseen' }, `Loading ${what}`),
    [90, 60, 75, 40].map((width) => el('span', { style: { width: `${width}%` } })));
}

// What became of a request that failed.
export function failing(failure, again) {
  if (failure.isSignedOut) {
    return notice({
      title: 'Please sign in', grade: 'note', text: 'This svrlist shows its dashboard to its operators alone.',
      action: el('a', { class: 'button', href: pathWith('/sign-in', { to: location.pathname + location.search }) }, 'Sign in'),
    });
  }
  if (failure.isForbidden) return notice({ title: 'Not allowed', grade: 'warn', text: `${failure.message}.` });
  return notice({
    title: 'This could not be loaded', grade: 'bad', text: `${failure.message}.`,
    action: el('button', { type: 'button', onclick: again }, 'Try again'),
  });
}

// The data of a resource as `draw` has them, or what stands in their place. Old data stay while new ones fail.
export function drawn(resource, what, draw) {
  if (resource.data !== null) return draw(resource.data);
  if (resource.failure !== null) return failing(resource.failure, () => resource.refresh());
  return loading(what);
}

// Buttons of which one is chosen.
export function choice({ label, options, value, onChoose }) {
  return el('div', { class: 'choice', role: 'group', 'aria-label': label },
    options.map(([key, text]) => el('button', {
      type: 'button', 'aria-pressed': String(key === value), onclick: () => onChoose(key),
    }, text)));
}
