// The lines on the /demo page in a real Chromium: breaks the one that messages come over, sees them come over another
// one, and heals it again, by the page's buttons and the keyboard; not one message may be missing, come twice or early.
//
// Options: url (with the room), count (of messages in all), before (how many come before the line breaks), chromium,
// folder (empty, for the profile), screenshot? (path of a PNG), timeoutMs. Says `broken` once the relay loses what
// is sent on the line; the rest of the messages should come then.

import { open } from './browser.mjs';
import { Stream, deadline, finish, options, say } from './script.mjs';

const given = options();
const { count, before, screenshot, timeoutMs } = given;
const faults = [];
deadline(timeoutMs, () => ({ faults }));

/** The numbers of the messages that the page shows, in its order. */
const shown = (page) => page.locator('#messages li').allTextContents();
const arrived = (page, least) => page.waitForFunction(
  (least) => Number(document.querySelector('#received').textContent) >= least, least);

/** Waits for the words that the page has for a line's condition. */
const condition = (line, words) => line.locator('.status').getByText(words, { exact: true }).waitFor();

async function press(line, preset) {
  await line.locator(`button[data-preset="${preset}"]`).focus();
  await line.page().keyboard.press('Enter');
}

/** How many datagrams to the origin were offered on a line, and did not pass. */
async function lost(line) {
  const share = await line.locator('.share').first().textContent();
  const [passed, offered] = share.replaceAll(',', '').split(' of ').map(Number);
  return offered - passed;
}

async function run(page) {
  await page.locator('#lines .edge-lines').first().waitFor();
  const lines = await page.locator('#lines .line').count();
  const edge = page.locator('#lines .edge-lines').filter({ has: page.locator('.used:visible') });
  const primary = edge.locator('.line').filter({ has: page.locator('.primary', { hasText: /^primary( to edge)?$/ }) });
  await primary.waitFor();
  const name = await primary.getAttribute('aria-label');
  const line = edge.locator(`.line[aria-label="${name}"]`);
  say('ready');
  await arrived(page, before);
  await press(line, 'blackhole');
  await condition(line, 'broken');
  while (await lost(line) === 0) await page.waitForTimeout(50);
  say('broken', { line: name });
  await arrived(page, count);
  const others = edge.locator(`.line:not([aria-label="${name}"])`);
  const another = others.filter({ has: page.locator('.primary', { hasText: /^primary( to edge)?$/ }) });
  await another.waitFor();
  const next = await another.getAttribute('aria-label');
  if (screenshot !== undefined) await page.screenshot({ path: screenshot, fullPage: true });
  await press(line, 'clean');
  await condition(line, 'clean');
  const stream = new Stream();
  for (const text of await shown(page)) stream.take(JSON.parse(text).n);
  return { lines, broken: name, next, perfect: stream.perfect(count), ...stream.report(count) };
}

try {
  const { page, faults: seen, close } = await open(given);
  try {
    const outcome = await run(page);
    faults.push(...seen);
    await close();
    finish(outcome.perfect && faults.length === 0, { ...outcome, faults });
  } catch (error) {
    faults.push(...seen);
    await close();
    throw error;
  }
} catch (error) {
  finish(false, { reason: String(error), faults });
}
