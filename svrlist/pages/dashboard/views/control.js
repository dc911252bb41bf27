// What operators want: shares of zones, drains, weights, budgets, rules for networks; who changed what, and the
// way back.
//
// Every change names the revision that it is a change of: of two who change the same thing at the same
// time, the second is told so and sees what the first did.

import { Failure, Resource, send } from '../api.js';
import { el, unseen } from '../dom.js';
import { age, bits, count, many, moment } from '../format.js';
import { edgeLink, drawn, heading, notice, panel, siteLink } from '../parts.js';
import { SHARE_STEPS, budgetsOf, changed as policyWith, drainedOf, names, overridesOf, shareOf, weightsOf, withOverride, withoutOverride } from '../policy.js';
import { fits, table } from '../table.js';

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
    const stale = error.status === 409 || error.status === 412;
    kept.told = { bad: true, text: stale ? `${words}: not done, since somebody else changed the policy meanwhile. This is how it stands now; look again and repeat.` : `${words}: not done. ${error.message}.` };
  }
  kept.busy = false;
  kept.control.refresh();
  kept.audit.refresh();
  changed();
}

const put = (context, words, answer, policy) => run(context, words, () => send('PUT', '/api/control', policy, answer.revision));
const post = (context, words, what, body) => run(context, words, () => send('POST', `/api/control/${what}`, body));

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
  const { overview } = context;
  const known = [...new Set([...(overview?.zones ?? []).map(({ zone }) => zone), ...Object.keys(answer.policy.zone_shares ?? answer.policy.zones ?? {})])];
  const row = (zone) => {
    const share = shareOf(answer.policy, zone);
    const clients = overview?.zones.find((one) => one.zone === zone)?.connections;
    const step = (to) => {
      const words = `${zone || 'unnamed'} gets ${to} % of users`;
      const act = () => post(context, words, 'zone', { zone, share: to });
      const large = to === 0 || to === 100 || Math.abs(to - (share ?? 0)) > 20;
      return large && share !== to
        ? asking(context, { id: `zone ${zone} ${to}`, text: `${to} %`, question: `Really give ${zone || 'it'} ${to} % of users?`, act })
        : el('button', { key: String(to), type: 'button', 'aria-pressed': String(share === to), disabled: context.kept.busy, onclick: act }, `${to} %`);
    };
    return el('li', { key: zone, class: 'control-row' },
      el('strong', {}, zone || 'unnamed'),
      el('span', {}, share === null ? 'shares what the others leave' : `${share} % of users`, clients !== undefined && `, ${count(clients)} clients now`),
      context.session.isAdmin && el('span', { class: 'choice', role: 'group', 'aria-label': `Share of ${zone || 'the unnamed zone'}` }, SHARE_STEPS.map(step)));
  };
  return panel({ title: 'Zones', id: 'zones', beside: el('p', { class: 'quiet-text' }, 'Users that are moved by a smaller share stay where they were moved to.') },
    known.length > 0 ? el('ul', { class: 'control-list' }, known.map(row)) : el('p', { class: 'empty' }, 'No edge has reported a zone yet.'));
}

function drains(answer, context) {
  const { overview, session, kept } = context;
  const drained = drainedOf(answer.policy);
  const list = { edge: (overview?.edges ?? []).map(({ name }) => name), site: (overview?.sites ?? []).map(({ site }) => site), zone: (overview?.zones ?? []).map(({ zone }) => zone) };
  const link = { edge: edgeLink, site: siteLink, zone: (name) => el('a', { href: '/zones' }, name) };
  const undo = ({ kind, name }) => post(context, `${kind} ${name} takes clients again`, 'drain', { [kind]: name, drained: false });
  const ask = ({ kind, name, rate }) => {
    kept.drain = { kind, name, rate: Number(rate) };
    kept.asking = 'drain';
    context.changed();
  };
  const act = () => {
    const { kind, name, rate } = kept.drain;
    post(context, `Drain ${kind} ${name}`, 'drain', { [kind]: name, drained: true, rate });
  };
  return panel({ title: 'Drains', id: 'drains', beside: el('p', { class: 'quiet-text' }, 'What is drained is told to no new client; those who are there are told to move, so many a second.') },
    drained.length > 0
      ? el('ul', { class: 'control-list' }, drained.map((one) => el('li', { key: `${one.kind} ${one.name}`, class: 'control-row' },
        el('strong', {}, `${one.kind} `, link[one.kind](one.name)),
        session.isAdmin && el('button', { type: 'button', disabled: kept.busy, onclick: () => undo(one), 'aria-label': `Take clients again: ${one.kind} ${one.name}` }, 'Take clients again'))))
      : el('p', { class: 'empty' }, 'Nothing is drained.'),
    session.isAdmin && (kept.asking === 'drain'
      ? asking(context, { id: 'drain', question: `Really drain ${kept.drain.kind} ${kept.drain.name}?`, act })
      : form(ask,
        el('label', { class: 'field-label' }, 'Drain ', el('select', { name: 'kind', onchange: (event) => { kept.kind = event.target.value; context.changed(); } },
          ['edge', 'site', 'zone'].map((kind) => el('option', { value: kind, selected: kind === (kept.kind ?? 'edge') }, kind)))),
        field('called', { name: 'name', required: true, list: 'drainable' }), suggestions('drainable', list[kept.kind ?? 'edge']),
        field('clients a second', { name: 'rate', type: 'number', min: 1, max: 100_000, value: RATE, required: true }),
        el('button', { disabled: kept.busy }, 'Drain'))));
}

// A table of names and numbers that can be set and taken away.
function numbers(answer, context, { title, id, what, hint, entries, link, show, input, suggest, unit }) {
  const { session, kept, query } = context;
  const set = ({ name, value }) => put(context, `${title}: ${name}`, answer, policyWith(answer.policy, what, name, Number(value) * (unit ?? 1)));
  const unset = (name) => put(context, `${title}: ${name} taken away`, answer, policyWith(answer.policy, what, name, null));
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
  const list = overridesOf(answer.policy);
  const add = ({ network, prefer, forbid }) => put(context, `Rule for ${network}`, answer, withOverride(answer.policy, { network, prefer: names(prefer), forbid: names(forbid) }));
  const said = (words, edges) => (edges?.length > 0 ? el('span', {}, `${words} `, edges.map((edge, at) => [at > 0 && ', ', edgeLink(edge)])) : null);
  return panel({ title: 'Rules for networks', id: 'rules', beside: el('p', { class: 'quiet-text' }, 'The first that fits a client’s address holds.') },
    list.length === 0 ? el('p', { class: 'empty' }, 'There is none.') : el('ul', { class: 'control-list' }, list.map((rule) => el('li', { key: rule.network, class: 'control-row' },
      el('strong', {}, rule.network), said('prefers', rule.prefer), said('never', rule.forbid),
      session.isAdmin && el('button', { type: 'button', disabled: kept.busy, onclick: () => put(context, `Rule for ${rule.network} taken away`, answer, withoutOverride(answer.policy, rule.network)), 'aria-label': `Take away: rule for ${rule.network}` }, 'Take away')))),
    session.isAdmin && form(add, field('Network', { name: 'network', required: true, placeholder: '203.0.113.0/24' }), field('prefers', { name: 'prefer', placeholder: 'edges' }), field('never', { name: 'forbid', placeholder: 'edges' }), el('button', { disabled: kept.busy }, 'Add')));
}

function history(answer, context) {
  const { session, kept, now } = context;
  const revisions = revisionsOf(answer);
  const back = (revision) => asking(context, { id: `back ${revision}`, text: 'Roll back to it', question: `Really return to revision ${revision}?`, act: () => post(context, `Back to revision ${revision}`, 'rollback', { revision }) });
  const columns = [
    { id: 'revision', title: 'Revision', cell: ({ revision }) => String(revision) },
    { id: 'when', title: 'When', cell: ({ at_ms: at }) => el('span', { title: moment(at, now()) }, age(at, now())) },
    { id: 'by', title: 'By', cell: ({ by }) => by || '–' },
    { id: 'what', title: 'What', wide: true, cell: ({ what }) => what || '–' },
    { id: 'back', title: 'Back', cell: ({ revision }) => (revision === answer.revision ? 'in force' : session.isAdmin ? back(revision) : '–') },
  ];
  return panel({ title: 'Revisions', id: 'revisions' }, table({
    caption: 'Revisions', columns, rows: revisions, keyOf: ({ revision }) => String(revision), shown: kept.revisions ?? SHOWN,
    onMore: (shown) => { kept.revisions = shown; context.changed(); }, empty: 'Nothing has been changed yet.',
  }));
}

// The revisions, newest first, by one set of names.
export function revisionsOf(answer) {
  const list = answer.history ?? answer.revisions ?? [];
  return list.map((one) => ({ ...one, by: one.by ?? one.operator, what: one.what ?? one.note ?? one.change })).sort((a, b) => b.revision - a.revision);
}

// The audit log, newest first.
export function auditOf(answer) {
  const list = answer.entries ?? answer.audit ?? [];
  return list.map((one) => ({ ...one, by: one.operator ?? one.by ?? '', what: typeof (one.what ?? one.action) === 'string' ? one.what ?? one.action : JSON.stringify(one.what ?? one.action ?? '') })).sort((a, b) => b.at_ms - a.at_ms);
}

function audit(answer, { kept, changed, now }) {
  const columns = [
    { id: 'when', title: 'When', cell: ({ at_ms: at }) => moment(at, now()) },
    { id: 'by', title: 'Who', cell: ({ by, address }) => [by || '–', address && el('span', { class: 'quiet-text' }, ` ${address}`)] },
    { id: 'what', title: 'What', wide: true, cell: ({ what, outcome }) => [what, outcome && outcome !== 'done' && ` (${outcome})`] },
    { id: 'revision', title: 'Revision', number: true, cell: ({ revision }) => (revision ? String(revision) : '–') },
  ];
  const rows = auditOf(answer);
  return table({ caption: 'Audit log', columns, rows, keyOf: (row) => `${row.at_ms} ${row.what}`, shown: kept.entries ?? SHOWN, onMore: (shown) => { kept.entries = shown; changed(); }, empty: 'Nobody has done anything yet.' });
}

function top(answer, context) {
  const { session, kept, now } = context;
  const [newest, before] = revisionsOf(answer);
  return el('div', { class: 'control-row' },
    el('p', {}, el('strong', {}, `Revision ${answer.revision}`), newest && ` by ${newest.by || 'nobody'}, ${age(newest.at_ms, now())}${newest.what ? `: ${newest.what}` : ''}`),
    session.isAdmin && before && asking(context, { id: 'undo', text: 'Undo it', question: `Really return to revision ${before.revision}?`, act: () => post(context, `Back to revision ${before.revision}`, 'rollback', { revision: before.revision }) }),
    kept.told && el('p', { class: kept.told.bad ? 'told bad' : 'told', role: 'status' }, kept.told.text));
}

function draw(answer, context) {
  const { session, overview, query, set } = context;
  const edges = (overview?.edges ?? []).map(({ name }) => name);
  const sites = (overview?.sites ?? []).map(({ site }) => site);
  return [
    !session.operator && notice({ title: 'You may look', text: 'Changes are made by operators who are signed in.', action: el('a', { class: 'button', href: '/sign-in?to=/control' }, 'Sign in') }),
    session.operator && !session.isAdmin && notice({ title: 'You may look', text: `${session.operator.name} is a viewer; admins change things.` }),
    top(answer, context),
    el('label', {}, unseen('Filter weights and budgets'), el('input', { type: 'search', 'data-filter': '', placeholder: 'Filter weights and budgets by name', value: query.q ?? '', oninput: (event) => set({ q: event.target.value }) })),
    zones(answer, context), drains(answer, context),
    el('div', { class: 'halves' },
      numbers(answer, context, { title: 'Weights', id: 'weights', what: 'weights', hint: 'In place of what an edge says of itself; 0 takes no new clients.', entries: weightsOf(answer.policy), link: edgeLink, show: (value) => String(value), input: { name: 'Edge', value: 'weight', max: 1000, step: 0.01 }, suggest: edges }),
      numbers(answer, context, { title: 'Budgets', id: 'budgets', what: 'budgets', hint: 'The level that a site’s month is to stay below.', entries: budgetsOf(answer.policy), link: siteLink, show: bits, input: { name: 'Site', value: 'Mbit/s', max: 10_000_000, step: 0.1 }, suggest: sites, unit: 1e6 })),
    rules(answer, context),
    history(answer, context),
  ];
}

export default {
  title: () => 'Control',

  start({ changed }) {
    const kept = { told: null, asking: null, busy: false };
    kept.control = new Resource('/api/control', { everyMs: AGAIN_MS, changed });
    kept.audit = new Resource('/api/audit', { everyMs: AGAIN_MS * 3, changed });
    kept.stop = () => { kept.control.stop(); kept.audit.stop(); };
    return kept;
  },

  draw(context) {
    const { kept } = context;
    const rows = kept.audit.data ? auditOf(kept.audit.data).length : 0;
    return [
      heading('Control', el('p', { class: 'quiet-text' }, 'What operators want, whatever was measured. It holds at once and survives a restart.')),
      drawn(kept.control, 'what is in force', (answer) => draw(answer, context)),
      panel({ title: 'Audit log', id: 'audit', beside: rows > 0 && el('span', { class: 'quiet-text' }, many(rows, 'entry', 'entries')) }, drawn(kept.audit, 'the audit log', (answer) => audit(answer, context))),
    ];
  },
};
