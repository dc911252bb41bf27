// The shell: which view is shown, what it is told, and how fresh that is.
//
// A view is {title(params), start?(context), draw(context), needs?}: `start` answers what the view keeps
// while it is shown (with `stop`, if something is to end), `draw` answers the tree of the moment. `draw`
// runs once a frame at most, after anything changed.

import { el, show, write } from './dom.js';
import { age } from './format.js';
import { Live } from './live.js';
import { heading, loading, notice, failing } from './parts.js';
import { ROUTES, match, pathWith } from './routes.js';
import { Session } from './session.js';
import { shortcuts } from './shortcuts.js';
import { apply, theme, turn } from './theme.js';
import { Failure } from './api.js';
import alerts from './views/alerts.js';
import cell from './views/cell.js';
import control from './views/control.js';
import edge from './views/edge.js';
import geography from './views/geography.js';
import lines from './views/lines.js';
import overview from './views/overview.js';
import rates from './views/rates.js';
import signIn from './views/sign-in.js';
import sites from './views/sites.js';
import zones from './views/zones.js';

const VIEWS = { alerts, cell, control, edge, geography, lines, overview, rates, 'sign-in': signIn, sites, zones };

const at = (id) => document.getElementById(id);
const [main, status, banner, menu, menuButton, tools, place, help] =
  ['main', 'status', 'banner', 'menu', 'menu-button', 'tools', 'place', 'help'].map(at);

const live = new Live();
const session = new Session();
let shown = null;
let frame = 0;

// What views are told and may do.
const context = {
  live, session, go,
  params: {}, query: {}, kept: {},
  get overview() { return live.overview; },
  now: () => live.now(),
  changed,
  // Changes the query of the URL, and with it what the view shows; no new entry of the history.
  set(query) {
    context.query = { ...context.query, ...query };
    history.replaceState(null, '', pathWith(location.pathname, context.query));
    changed();
  },
};

function changed() {
  if (frame === 0) frame = requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  drawTop();
  const { view } = shown;
  if (view.needs === 'overview' && live.overview === null) {
    show(main, heading(view.title(context.params)), waiting());
  } else {
    show(main, view.draw(context));
  }
  main.setAttribute('aria-busy', String(view.needs === 'overview' && live.overview === null));
  if (shown.fresh) {
    shown.fresh = false;
    // A reader begins at the top; the first view is left to the browser.
    if (shown.moved) {
      scrollTo(0, 0);
      main.querySelector('h1')?.focus({ preventScroll: true });
    }
  }
}

// What stands in a view's place before the first overview came.
function waiting() {
  const { name, why } = live.state;
  if (name === 'refused') return failing(new Failure(401, why));
  if (name === 'disconnected') return notice({ title: 'svrlist does not answer', grade: 'bad', text: 'The page tries again by itself, at most half a minute apart.' });
  return loading('the network');
}

function drawTop() {
  drawFreshness();
  const list = live.overview?.alerts ?? [];
  const open = list.filter(({ until_ms: until }) => !until);
  show(menu, el('ul', {}, ROUTES.filter(({ nav }) => nav).map(({ path, nav }) => el('li', { key: path },
    el('a', { href: path, 'aria-current': path === location.pathname ? 'page' : null }, nav,
      path === '/alerts' && open.length > 0 && el('span', { class: 'bubble' }, String(open.length), el('span', { class: 'unseen' }, ' open')))))));
  show(tools, status,
    el('button', { type: 'button', key: 'theme', class: 'quiet', title: 'Light, dark, or as the system has it', onclick: turnTheme }, `Theme: ${theme()}`),
    el('button', { type: 'button', key: 'help', class: 'quiet', 'aria-label': 'Keys', onclick: () => help.showModal() }, '?'),
    session.operator
      ? el('span', { key: 'account', class: 'account' }, `${session.operator.name} (${session.operator.role})`,
        el('button', { type: 'button', class: 'quiet', onclick: leave }, 'Sign out'))
      : el('a', { key: 'sign-in', class: 'sign-in', href: '/sign-in' }, 'Sign in'));
  const title = shown.view.title(context.params);
  document.title = `${open.length > 0 ? `(${open.length}) ` : ''}${title} · Linecast`;
}

function drawFreshness() {
  const { name, why, since } = live.state;
  const ago = age(since, Date.now()).replace(/ ago$/, '');
  const words = {
    connecting: 'connecting', live: 'live', stale: `stale: ${why}`, refused: 'signed out',
    disconnected: `disconnected for ${ago === 'now' ? '0 s' : ago}`,
  }[name];
  // `connected` is what the other pages call it, too.
  status.dataset.state = { live: 'connected', stale: 'stale', connecting: 'connecting' }[name] ?? 'failed';
  write(status, words);
  banner.hidden = name !== 'disconnected' || live.overview === null;
  write(banner, banner.hidden ? '' : 'svrlist does not answer. What you see is the last that was heard; the page tries again by itself.');
}

function turnTheme() {
  turn();
  changed();
}

async function leave() {
  await session.signOut().catch(() => {});
  live.again();
}

// Shows what the URL names.
function open(moved) {
  const found = match(location.pathname);
  shown?.kept?.stop?.();
  const view = found ? VIEWS[found.route.view] : nowhere;
  context.params = found?.params ?? {};
  context.query = Object.fromEntries(new URLSearchParams(location.search));
  shown = { view, fresh: true, moved, kept: null };
  live.wantsMap = view.wantsMap === true;
  context.kept = {};
  context.kept = view.start?.(context) ?? {};
  shown.kept = context.kept;
  setMenu(false);
  draw();
}

const nowhere = {
  title: () => 'Not found',
  draw: () => [heading('Not found'), notice({
    title: 'There is no such page', text: `Nothing is at ${location.pathname}.`,
    action: el('a', { class: 'button', href: '/' }, 'To the overview'),
  })],
};

function go(path) {
  if (path === location.pathname + location.search) return;
  history.pushState(null, '', path);
  open(true);
}

// Links within the dashboard change the view alone.
function follow(event) {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.('a[href]');
  if (!link || link.target || link.origin !== location.origin || !match(link.pathname) || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

function setMenu(isOpen) {
  menuButton.setAttribute('aria-expanded', String(isOpen));
  document.body.classList.toggle('menu-open', isOpen);
}

// Where the reader's own address would be sent.
async function findPlace() {
  const response = await fetch('/svrlist?platform=web', { cache: 'no-store' });
  if (!response.ok) return;
  const { cell: found } = await response.json();
  if (found) write(place, `You are in the cell ${found.place ?? found.city ?? found.region}, ${found.carrier}.`);
}

apply();
document.addEventListener('click', follow);
addEventListener('popstate', () => open(true));
// A page that the browser keeps for the way back holds no stream.
addEventListener('pagehide', () => live.stop());
addEventListener('pageshow', (event) => { if (event.persisted) live.again(); });
menuButton.addEventListener('click', () => setMenu(menuButton.getAttribute('aria-expanded') !== 'true'));
for (const name of ['overview', 'map', 'state']) live.addEventListener(name, changed);
session.addEventListener('change', changed);
shortcuts({ go, turnTheme, dialog: help });
// Ages grow without news.
setInterval(() => { if (!document.hidden) changed(); }, 5000);
setInterval(() => { if (live.state.name === 'disconnected') changed(); }, 1000);
open(false);
session.look();
live.start();
// An extra: without an edge there is no list to take it from.
findPlace().catch(() => {});

