// The /demo page in a real Chromium: waits until it is connected, sends a message, sees it come back.
//
// Options: url, text, chromium (path of the browser), screenshot? (path of a PNG), folder (empty, for the profile),
// timeoutMs. Fails too if the page logs an error, asks anything of a host that is not loopback, or shows lines
// where there is no relay.

import { open } from './browser.mjs';
import { deadline, finish, options, say } from './script.mjs';

const given = options({ text: `hello ${process.pid}` });
const { text, screenshot, timeoutMs } = given;
const faults = [];
deadline(timeoutMs, () => ({ faults }));

try {
  const { page, faults: seen, close } = await open(given);
  say('ready');
  try {
    await page.fill('#message', text);
    await page.press('#message', 'Enter');
    await page.locator('#messages').getByText(text, { exact: false }).first().waitFor();
    const copies = await page.locator('#messages').getByText(text, { exact: false }).count();
    const lines = await page.locator('#lines').isVisible();
    if (screenshot !== undefined) await page.screenshot({ path: screenshot });
    const title = await page.title();
    faults.push(...seen);
    await close();
    finish(copies === 1 && !lines && faults.length === 0, { title, copies, lines, faults });
  } catch (error) {
    faults.push(...seen);
    await close();
    throw error;
  }
} catch (error) {
  finish(false, { reason: String(error), faults });
}
