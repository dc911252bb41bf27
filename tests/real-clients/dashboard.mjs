// The dashboard in a real Chromium: signs in, opens every page on a desk and on a phone, in light and dark, lets
// axe judge whether everybody can use it, breaks a line and heals it, changes a zone's share and takes that back,
// loses an edge, and comes back to a svrlist that was away.
//
// Options: url, edge (whose line breaks), line (its name at the relay), lost (an edge that the test ends), zone?
// (whose share changes), chromium, folder (empty, for the profile), pictures? (a folder), timeoutMs. Says `ready`
// when `lost` may be ended, and `alone` when svrlist may be; svrlist should be back soon afterwards.

import { join } from 'node:path';

import axe from 'axe-core';

import { open } from './browser.mjs';
import { deadline, finish, options, say } from './script.mjs';

const given = options();
const { url, edge, line, lost, zone, pictures, timeoutMs } = given;
const faults = [];
const done = [];
let seen = [];
deadline(timeoutMs, () => ({ faults: [...faults, ...seen], done }));

const DESK = { width: 1440, height: 900 };
const PHONE = { width: 360, height: 740 };
const PAGES = ['/', '/alerts', '/map', '/lines', '/sites', '/zones', '/geography', ...(zone === undefined ? [] : ['/control']), `/edge/${edge}`, '/cell/110000/telecom', '/sign-in'];

const live = (page) => page.waitForSelector('#status[data-state="connected"]', { state: 'attached' });

/** Opens a page by its URL and waits until it shows what it is about. */
async function visit(page, path) {
  await page.goto(url + path);
  await live(page);
  await page.waitForSelector('main[aria-busy="false"] h1');
  await page.waitForFunction(() => !document.querySelector('main .loading'));
}

async function check(page, path, size) {
  const where = `${path} at ${size.width}`;
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wider > 0) faults.push(`${where} scrolls sideways by ${wider}`);
  await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
  if (passes.length === 0) faults.push(`${where}: axe found nothing to judge`);
  for (const { id, help, nodes } of violations) faults.push(`${where}: ${id}: ${help}: ${nodes[0].html.slice(0, 120)} and ${nodes.length - 1} more`);
}

async function everyPage(page) {
  for (const [size, scheme] of [[DESK, 'light'], [DESK, 'dark'], [PHONE, 'light']]) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme: scheme });
    for (const path of PAGES) {
      await visit(page, path);
      await check(page, path, size);
      const name = `${path.replaceAll(/\W+/g, '-')}-${size.width}-${scheme}.png`;
      if (pictures !== undefined) await page.screenshot({ path: join(pictures, name) });
    }
  }
  await page.setViewportSize(DESK);
  await page.emulateMedia({ colorScheme: 'light' });
}

async function signIn(page) {
  await visit(page, '/sign-in?to=/zones');
  await page.getByLabel('Name').fill('dev');
  await page.getByLabel('Password').fill('dev');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${url}/zones`);
  await page.getByText('dev (admin)').waitFor();
}

async function keys(page) {
  await visit(page, '/');
  await page.keyboard.press('g');
  await page.keyboard.press('l');
  await page.waitForURL(`${url}/lines`);
  await page.keyboard.press('/');
  await page.keyboard.type(edge);
  await page.waitForURL(`${url}/lines?q=${edge}`);
  await page.keyboard.press('Escape');
  await page.keyboard.press('Shift+?');
  await page.getByRole('heading', { name: 'Keys' }).waitFor();
  await page.keyboard.press('Escape');
  const rows = page.getByRole('table', { name: 'Lines', exact: true }).getByRole('rowheader').getByRole('link');
  await rows.first().focus();
  await page.keyboard.press('ArrowDown');
  const second = await rows.nth(1).evaluate((link) => link === document.activeElement);
  if (!second) faults.push('an arrow does not lead to the next row');
  await page.goBack();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
}

/** Breaks or heals a line as the demo room does. */
const change = (page, preset) => page.evaluate(async ({ line, preset }) => {
  const response = await fetch(`/demo/lines/${line}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ preset }) });
  if (!response.ok) throw new Error(await response.text());
}, { line, preset });

async function brokenLine(page) {
  const row = page.getByRole('row').filter({ hasText: edge }).filter({ hasText: /→ telecom/ });
  await visit(page, `/lines?q=${edge}`);
  await row.getByText('good', { exact: true }).waitFor();
  await change(page, 'blackhole');
  await row.locator('.badge.bad').waitFor();
  const said = await row.locator('.badge').textContent();
  await change(page, 'clean');
  await row.getByText('good', { exact: true }).or(row.getByText('held', { exact: true })).waitFor();
  return said;
}

async function zoneShare(page) {
  await visit(page, '/control');
  const shares = page.getByRole('group', { name: `Share of ${zone}` });
  const five = shares.getByRole('button', { name: '5 %', exact: true });
  await five.click();
  await five.and(page.locator('[aria-pressed="true"]')).waitFor();
  await page.getByRole('button', { name: 'Undo it' }).click();
  await page.getByRole('button', { name: 'Yes' }).click();
  await shares.getByRole('button', { name: 'the rest' }).and(page.locator('[aria-pressed="true"]')).waitFor();
  await page.getByRole('table', { name: 'Audit log' }).getByText(`share of zone ${zone}: what is left → 5 %`).first().waitFor();
}

async function lostEdge(page) {
  await visit(page, '/');
  say('ready');
  await page.getByRole('row').filter({ hasText: lost }).getByText('lost', { exact: true }).waitFor();
  const alert = page.locator('.alert').filter({ hasText: lost }).first();
  await alert.waitFor();
  const said = await alert.locator('.alert-title').textContent();
  await page.keyboard.press('g');
  await page.keyboard.press('a');
  await page.getByRole('button', { name: /^Acknowledge/ }).first().click();
  await page.getByText('acknowledged by dev').first().waitFor();
  return said;
}

async function notThere(page) {
  await visit(page, '/');
  const before = seen.length;
  await page.goto(`${url}/edge/none-of-ours`);
  await page.getByText('No edge called none-of-ours has reported of late').waitFor();
  await page.goto(`${url}/nowhere`);
  await page.getByText('There is no such page').waitFor();
  // The browser logs answers with status 404 as errors, which they are not here.
  seen.splice(before, seen.length - before, ...seen.slice(before).filter((fault) => !fault.includes('404')));
}

async function away(page) {
  await visit(page, '/');
  const before = seen.length;
  say('alone');
  await page.waitForSelector('#status[data-state="failed"]');
  const said = await page.locator('#status').textContent();
  await page.locator('#banner').waitFor();
  if (await page.getByRole('row').count() < 2) faults.push('what was heard last is gone');
  await live(page);
  // A connection that is refused is logged by the browser as an error.
  seen.splice(before, seen.length - before, ...seen.slice(before).filter((fault) => !/ERR_|Failed to load/.test(fault)));
  return said;
}

try {
  const { page, faults: logged, close } = await open({ ...given, viewport: DESK });
  seen = logged;
  const step = async (name, act) => {
    const said = await act(page);
    done.push(said === undefined ? name : `${name}: ${said}`);
  };
  try {
    await step('sign-in', signIn);
    await step('pages', everyPage);
    await step('keys', keys);
    await step('line', brokenLine);
    if (zone !== undefined) await step('zone', zoneShare);
    await step('edge', lostEdge);
    await step('not there', notThere);
    await step('away', away);
    faults.push(...seen);
    await close();
    finish(faults.length === 0, { done, faults });
  } catch (error) {
    if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'failed.png'), fullPage: true }).catch(() => {});
    faults.push(...seen);
    await close();
    throw error;
  }
} catch (error) {
  finish(false, { reason: String(error), done, faults });
}
