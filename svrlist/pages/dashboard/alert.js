// Alerts as lists: one for each cause, what it led to under it.

import { el } from './dom.js';
import { age, many, moment } from './format.js';
import { cellLink, edgeLink, siteLink } from './parts.js';
import { mark, severityWords } from './words.js';

const WEIGHT = { critical: 0, warning: 1 };

// The worst first, then the newest; what somebody has seen to after what nobody has.
export function ordered(alerts) {
  const order = (alert) => [alert.acknowledged ? 1 : 0, WEIGHT[alert.severity] ?? 2, -alert.since_ms];
  return alerts.slice().sort((a, b) => {
    const [x, y] = [order(a), order(b)];
    return x[0] - y[0] || x[1] - y[1] || x[2] - y[2];
  });
}

// Links to whatever an alert is about.
export function about(alert) {
  const { edge, site, cell, zone, line, carrier } = alert.about ?? {};
  return [
    edge && edgeLink(edge), line !== undefined && line !== null && `line ${line}`, site && siteLink(site),
    cell && cellLink(cell), zone && el('a', { href: '/zones' }, `zone ${zone}`), carrier && `carrier ${carrier}`,
  ].filter(Boolean).flatMap((part, at) => (at > 0 ? [', ', part] : [part]));
}

// One alert with what it led to. `onAcknowledge` null where nobody may.
export function alertItem(alert, { nowMs, onAcknowledge = null, brief = false }) {
  const { grade, word } = severityWords(alert.severity);
  const related = alert.related ?? [];
  const seen = alert.acknowledged;
  const links = about(alert);
  return el('li', { key: alert.id, class: `alert ${alert.until_ms ? 'over' : grade} ${seen ? 'seen' : ''}`.trim() },
    el('div', { class: 'alert-head' }, mark(alert.until_ms ? 'gone' : grade),
      el('div', { class: 'alert-words' },
        el('p', { class: 'alert-title' }, alert.title),
        el('p', { class: 'quiet-text' }, el('span', { class: `severity ${grade}` }, word), ` · ${since(alert, nowMs)}`,
          links.length > 0 && [' · ', ...links],
          seen && ` · acknowledged${seen.by ? ` by ${seen.by}` : ''}${seen.at_ms ? `, ${age(seen.at_ms, nowMs)}` : ''}`)),
      onAcknowledge && !alert.until_ms && el('button', { type: 'button', class: 'quiet', onclick: () => onAcknowledge(alert), 'aria-label': `${seen ? 'Take back the acknowledgement of' : 'Acknowledge'}: ${alert.title}` }, seen ? 'Take back' : 'Acknowledge')),
    related.length > 0 && (brief
      ? el('p', { class: 'quiet-text related-count' }, `and ${many(related.length, 'thing')} that it led to`)
      : el('details', { class: 'related', open: related.length <= 6 },
        el('summary', {}, `${many(related.length, 'thing')} that it led to`),
        el('ul', {}, related.map((one) => relatedItem(one, nowMs))))));
}

function relatedItem(alert, nowMs) {
  const { grade, word } = severityWords(alert.severity);
  const links = about(alert);
  return el('li', { key: alert.id }, mark(grade), el('span', {}, alert.title, el('span', { class: 'quiet-text' }, ` · ${word} · ${since(alert, nowMs)}`, links.length > 0 && [' · ', ...links])));
}

function since(alert, nowMs) {
  if (alert.until_ms) return `${moment(alert.since_ms, nowMs)} to ${moment(alert.until_ms, nowMs)}`;
  return `began ${age(alert.since_ms, nowMs)}`;
}
