// What operators want: shares of zones, drains, weights, budgets, rules for networks; who changed what, and the
// way back.
//
// Every change names the revision that it is a change of: of two who change the same thing at the same
// time, the second is told so and sees what the first did.

import { Failure, Resource, send } from '../api.js';
import { el, unseen } from '../dom.js';
import { age, bits, count, moment } from '../format.js';
import { edgeLink, drawn, heading, notice, panel, siteLink } from '../parts.js';
import { SHARE_STEPS, drainedOf, entriesOf, names, shareOf, withEntry, withRule, withoutRule } from '../policy.js';
import { fits, table } from '../table.js';
import { badge } from '../words.js';

const AGAIN_MS = 10_000;
const SHOWN = 15;
// Clients told to move each second, unless an operator says otherwise; as much as a small edge takes in.
const RATE = 200;

// Does something, says how it went, and looks again.
async function run(context, words, request) {
  const { kept, changed } = context;
  if (kept.busy) return;
  Object.assign(kept, { busy: true, told: null, asking: null });
  changed();
  try {
    await request();
    kept.told = { text: `${words}: done.` };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const stale = error.status === 412;
    kept.told = { bad: true, text: stale ? `${words}: not done, since somebody else changed the policy meanwhile. Look at how it stands now, and repeat it.` : `${words}: not done. ${error.message}.` };
  }
  kept.busy = false;
  kept.control.refresh();
  kept.audit?.refresh();
  changed();
}

// Why it is done, as the operator says; kept with the change.
const noted = ({ kept }, body) => (kept.note ? { ...body, note: kept.note } : body);
const put = (context, words, answer, control) => run(context, words, () => send('PUT', '/api/control', noted(context, control), answer.revision));
const post = (context, words, answer, what, body) => run(context, words, () => send('POST', `/api/control/${what}`, noted(context, body), answer.revision));

// A button that asks once more before it does what touches many.
function asking(context, { id, text, question, act, kind }) {
  const { kept, changed } = context;
  if (kept.asking !== id) {
    return el('button', { key: id, type: 'button', class: kind ?? null, disabled: kept.busy, onclick: () => { kept.asking = id; changed(); } }, text);
  }
  return el('span', { key: `${id}?`, class: 'inline-form', role: 'group', 'aria-label': question }, el('strong', {}, question),
    el('button', { type: 'button', class: 'danger', onclick: act }, 'Yes'),
    el('button', { type: 'button', onclick: () => { kept.asking = null; changed(); } }, 'No'));
}

const form = (act, ...children) => el('form', { class: 'inline-form', onsubmit: (event) => {
  event.preventDefault();
  const data = Object.fromEntries(new FormData(event.currentTarget));
  act(Object.fromEntries(Object.entries(data).map(([key, value]) => [key, String(value).trim()])));
} }, ...children);

const field = (label, props) => el('label', { class: 'field-label' }, `${label} `, el('input', { autocomplete: 'off', spellcheck: 'false', ...props }));

const suggestions = (id, list) => el('datalist', { id }, list.map((value) => el('option', { value })));

function zones(answer, context) {
  const row = ({ zone, connections, versions }) => {
    const share = shareOf(answer.control, zone);
    const step = (to) => {
      const words = `${zone || 'unnamed'} gets ${to === null ? 'what the others leave' : `${to} % of users`}`;
      const act = () => post(context, words, answer, 'zone', { zone, share: to });
      const large = to === null || to === 0 || to === 100 || Math.abs(to - (share ?? 0)) > 20;
      const text = to === null ? 'the rest' : `${to} %`;
      return large && share !== to
        ? asking(context, { id: `zone ${zone} ${to}`, text, question: `Really give ${zone || 'it'} ${text}${to === null ? '' : ' of users'}?`, act })
        : el('button', { key: String(to), type: 'button', 'aria-pressed': String(share === to), disabled: context.kept.busy, onclick: act }, text);
    };
    return el('li', { key: zone, class: 'control-row' },
      el('strong', {}, zone || 'unnamed'),
      el('span', {}, share === null ? 'shares what the others leave' : `${share} % of users`, `, ${count(connections)} clients now`, versions.length > 0 && `, version ${versions.join(', ')}`),
      context.session.isAdmin && el('span', { class: 'choice', role: 'group', 'aria-label': `Share of ${zone || 'the unnamed zone'}` }, [...SHARE_STEPS, null].map(step)));
  };
  return panel({ title: 'Zones', id: 'zones', beside: el('p', { class: 'quiet-text' }, 'A share that grows takes in users and lets none go.') },
    answer.zones.length > 0 ? el('ul', { class: 'control-list' }, answer.zones.map(row)) : el('p', { class: 'empty' }, 'No edge has reported a zone yet.'));
}

function drains(answer, context) {
  const { overview, session, kept } = context;
  const drained = drainedOf(answer.control);
  const list = { edge: (overview?.edges ?? []).map(({ name }) => name), site: (overview?.sites ?? []).map(({ site }) => site), zone: (overview?.zones ?? []).map(({ zone }) => zone) };
  const link = { edge: edgeLink, site: siteLink, zone: (name) => el('a', { href: '/zones' }, name) };
  const undo = ({ kind, name }) => post(context, `${kind} ${name} takes clients again`, answer, 'drain', { [kind]: name, drained: false });
  const ask = ({ kind, name, rate }) => {
    kept.drain = { kind, name, rate: Number(rate) };
    kept.asking = 'drain';
    context.changed();
  };
  const act = () => {
    const { kind, name, rate } = kept.drain;
    post(context, `Drain ${kind} ${name}`, answer, 'drain', { [kind]: name, drained: true, rate });
  };
  return panel({ title: 'Drains', id: 'drains', beside: el('p', { class: 'quiet-text' }, 'What is drained is told to no new client; those who are there are told to move, so many a second.') },
    drained.length > 0
      ? el('ul', { class: 'control-list' }, drained.map((one) => el('li', { key: `${one.kind} ${one.name}`, class: 'control-row' },
        el('strong', {}, `${one.kind} `, link[one.kind](one.name)), el('span', {}, one.rate > 0 ? `${one.rate} clients a second are told to move` : 'who is there may stay'),
        session.isAdmin && el('button', { type: 'button', disabled: kept.busy, onclick: () => undo(one), 'aria-label': `Take clients again: ${one.kind} ${one.name}` }, 'Take clients again'))))
      : el('p', { class: 'empty' }, 'Nothing is drained.'),
    session.isAdmin && (kept.asking === 'drain'
      ? asking(context, { id: 'drain', question: `Really drain ${kept.drain.kind} ${kept.drain.name}?`, act })
      : form(ask,
        el('label', { class: 'field-label' }, 'Drain ', el('select', { name: 'kind', onchange: (event) => { kept.kind = event.target.value; context.changed(); } },
          ['edge', 'site', 'zone'].map((kind) => el('option', { value: kind, selected: kind === (kept.kind ?? 'edge') }, kind)))),
        field('called', { name: 'name', required: true, list: 'drainable' }), suggestions('drainable', list[kept.kind ?? 'edge']),
        field('clients a second', { name: 'rate', type: 'number', min: 0, max: 100_000, value: RATE, required: true }),
        el('button', { disabled: kept.busy }, 'Drain'))));
}

// A table of names and numbers that can be set and taken away.
function numbers(answer, context, { title, id, what, hint, link, show, input, suggest, unit }) {
  const { session, kept, query } = context;
  const set = ({ name, value }) => put(context, `${title}: ${name}`, answer, withEntry(answer.control, what, name, Number(value) * (unit ?? 1)));
  const unset = (name) => put(context, `${title}: ${name} taken away`, answer, withEntry(answer.control, what, name, null));
  const entries = entriesOf(answer.control, what);
  const shown = entries.filter(([name]) => fits(query.q ?? '', name));
  return panel({ title, id, beside: el('p', { class: 'quiet-text' }, hint) },
    entries.length === 0 ? el('p', { class: 'empty' }, 'None is set.') : el('ul', { class: 'control-list' }, shown.map(([name, value]) => el('li', { key: name, class: 'control-row' },
      el('strong', {}, link(name)), el('span', {}, show(value)),
      session.isAdmin && el('button', { type: 'button', disabled: kept.busy, onclick: () => unset(name), 'aria-label': `Take away: ${title} of ${name}` }, 'Take away')))),
    entries.length > shown.length && el('p', { class: 'quiet-text' }, `${shown.length} of ${entries.length} fit the filter.`),
    session.isAdmin && form(set, field(input.name, { name: 'name', required: true, list: `${id}-names` }), suggestions(`${id}-names`, suggest),
      field(input.value, { name: 'value', type: 'number', min: 0, max: input.max, step: input.step, required: true }), el('button', { disabled: kept.busy }, 'Set')));
}

function rules(answer, context) {
  const { session, kept } = context;
  const list = answer.control.overrides;
  const add = ({ network, prefer, forbid }) => put(context, `Rule for ${network}`, answer, withRule(answer.control, { network, prefer: names(prefer), forbid: names(forbid) }));
  const told = (words, edges) => edges.length > 0 && el('span', {}, `${words} `, edges.map((edge, at) => [at > 0 && ', ', edgeLink(edge)]));
  return panel({ title: 'Rules for networks', id: 'rules', beside: el('p', { class: 'quiet-text' }, 'The first that fits a client’s address holds.') },
    list.length === 0 ? el('p', { class: 'empty' }, 'There is none.') : el('ul', { class: 'control-list' }, list.map((rule) => el('li', { key: rule.network, class: 'control-row' },
      el('strong', {}, rule.network), told('prefers', rule.prefer), told('never', rule.forbid),
      session.isAdmin && el('button', { type: 'button', disabled: kept.busy, onclick: () => put(context, `Rule for ${rule.network} taken away`, answer, withoutRule(answer.control, rule.network)), 'aria-label': `Take away: rule for ${rule.network}` }, 'Take away')))),
    session.isAdmin && form(add, field('Network', { name: 'network', required: true, placeholder: '203.0.113.0/24' }), field('prefers', { name: 'prefer', placeholder: 'edges' }), field('never', { name: 'forbid', placeholder: 'edges' }), el('button', { disabled: kept.busy }, 'Add')));
}

function history(answer, context) {
  const { session, kept, now } = context;
  const back = (revision) => asking(context, { id: `back ${revision}`, text: 'Roll back to it', question: `Really return to revision ${revision}?`, act: () => post(context, `Back to revision ${revision}`, answer, 'rollback', { revision }) });
  const columns = [
    { id: 'revision', title: 'Revision', cell: ({ revision }) => String(revision) },
    { id: 'when', title: 'When', cell: ({ at_ms: at }) => (at > 0 ? el('span', { title: moment(at, now()) }, age(at, now())) : 'at first') },
    { id: 'who', title: 'Who', cell: ({ who, from }) => [who || '–', from && el('span', { class: 'quiet-text' }, ` ${from}`)] },
    { id: 'what', title: 'What', wide: true, cell: ({ changes, note }) => said(changes, note) },
    { id: 'back', title: 'Back', cell: ({ revision }) => (revision === answer.revision ? 'in force' : session.isAdmin ? back(revision) : '–') },
  ];
  return panel({ title: 'Revisions', id: 'revisions' }, table({
    caption: 'Revisions', columns, rows: answer.revisions, keyOf: ({ revision }) => String(revision), shown: kept.revisions ?? SHOWN,
    onMore: (shown) => { kept.revisions = shown; context.changed(); }, empty: 'Nothing has been changed yet.',
  }));
}

// Lines of a change, and why it was made.
function said(lines, note) {
  if (lines.length === 0 && !note) return '–';
  return [el('ul', {}, lines.map((line) => el('li', {}, line))), note && el('span', { class: 'quiet-text' }, `“${note}”`)];
}

function audit({ entries }, { kept, changed, now }) {
  const columns = [
    { id: 'when', title: 'When', cell: ({ at_ms: at }) => moment(at, now()) },
    { id: 'who', title: 'Who', cell: ({ who, from }) => [who || '–', from && el('span', { class: 'quiet-text' }, ` ${from}`)] },
    { id: 'action', title: 'Action', cell: ({ action, outcome }) => (outcome === 'ok' ? action : badge({ grade: 'warn', word: `${action}: ${outcome}` })) },
    { id: 'what', title: 'What', wide: true, cell: ({ detail, note }) => said(detail, note) },
    { id: 'revision', title: 'Revision', number: true, cell: ({ revision }) => (revision === undefined ? '–' : String(revision)) },
  ];
  return table({ caption: 'Audit log', columns, rows: entries, keyOf: ({ id }) => String(id), shown: kept.entries ?? SHOWN, onMore: (shown) => { kept.entries = shown; changed(); }, empty: 'Nobody has done anything yet.' });
}

function top(answer, context) {
  const { session, kept, now } = context;
  const [newest, before] = answer.revisions;
  return [
    answer.file_error && notice({ grade: 'bad', title: 'The control file is not followed', text: answer.file_error }),
    answer.file && notice({ title: `${answer.file.path} is followed`, text: `It has ${answer.file.parts.join(', ')}: these are changed there alone.` }),
    answer.warnings.length > 0 && notice({ grade: 'warn', title: 'Look at this', text: answer.warnings.join('; ') }),
    el('div', { class: 'control-row' },
      el('p', {}, el('strong', {}, `Revision ${answer.revision}`), answer.revision > 0 && newest && ` by ${newest.who}, ${age(newest.at_ms, now())}${newest.changes.length > 0 ? `: ${newest.changes.slice(0, 3).join('; ')}` : ''}`),
      session.isAdmin && before && asking(context, { id: 'undo', text: 'Undo it', question: `Really return to revision ${before.revision}?`, act: () => post(context, `Back to revision ${before.revision}`, answer, 'rollback', { revision: before.revision }) })),
    kept.told && el('p', { class: kept.told.bad ? 'told bad' : 'told', role: 'status' }, kept.told.text),
    el('div', { class: 'controls' },
      el('label', { class: 'field-label' }, unseen('Filter weights and budgets'), el('input', { type: 'search', 'data-filter': '', placeholder: 'Filter weights and budgets', value: context.query.q ?? '', oninput: (event) => context.set({ q: event.target.value }) })),
      session.isAdmin && el('label', { class: 'field-label' }, 'Why (kept with your next changes) ', el('input', { maxlength: 200, value: kept.note ?? '', oninput: (event) => { kept.note = event.target.value.trim(); } }))),
  ];
}

function draw(answer, context) {
  const { session, overview } = context;
  const edges = (overview?.edges ?? []).map(({ name }) => name);
  const sites = (overview?.sites ?? []).map(({ site }) => site);
  return [
    !session.operator && notice({ title: 'You may look', text: 'Changes are made by operators who are signed in.', action: el('a', { class: 'button', href: '/sign-in?to=/control' }, 'Sign in') }),
    session.operator && !session.isAdmin && notice({ title: 'You may look', text: `${session.operator.name} is a viewer; admins change things.` }),
    top(answer, context),
    zones(answer, context), drains(answer, context),
    el('div', { class: 'halves' },
      numbers(answer, context, { title: 'Weights', id: 'weights', what: 'weights', hint: 'In place of what an edge says of itself; 0 takes no new clients.', link: edgeLink, show: (value) => String(value), input: { name: 'Edge', value: 'weight', max: 1000, step: 0.01 }, suggest: edges }),
      numbers(answer, context, { title: 'Budgets', id: 'budgets', what: 'wishes', hint: 'The level that a site’s 95th percentile is to stay below.', link: siteLink, show: bits, input: { name: 'Site', value: 'Mbit/s', max: 10_000_000, step: 0.1 }, suggest: sites, unit: 1e6 })),
    rules(answer, context),
    history(answer, context),
  ];
}

export default {
  title: () => 'Control',

  start({ changed }) {
    const kept = { told: null, asking: null, busy: false, audit: null };
    kept.control = new Resource('/api/control', { everyMs: AGAIN_MS, changed });
    kept.stop = () => { kept.control.stop(); kept.audit?.stop(); };
    return kept;
  },

  draw(context) {
    const { kept, session, changed } = context;
    // Where others were is for operators alone.
    if (session.operator && !kept.audit) kept.audit = new Resource('/api/audit?limit=200', { everyMs: AGAIN_MS, changed });
    return [
      heading('Control', el('p', { class: 'quiet-text' }, 'What operators want, whatever was measured. It holds at once and survives a restart.')),
      drawn(kept.control, 'what is in force', (answer) => draw(answer, context)),
      session.operator && panel({ title: 'Audit log', id: 'audit' }, drawn(kept.audit, 'the audit log', (answer) => audit(answer, context))),
    ];
  },
};
