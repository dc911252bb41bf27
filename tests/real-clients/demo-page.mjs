// The /demo page in a real Chromium: waits until it is connected, sends a message, sees it come back.
//
// Options: url, text, chromium (path of the browser), screenshot? (path of a PNG), folder (empty, for the profile),
// timeoutMs. Fails too if the page logs an error or asks anything of a host that is not loopback.

import { chromium } from 'playwright-core';
import { deadline, finish, options, say } from './script.mjs';

const { url, text, chromium: executablePath, screenshot, folder, timeoutMs } =
  options({ chromium: '/usr/bin/chromium', text: `hello ${process.pid}` });
const faults = [];
deadline(timeoutMs, () => ({ faults }));

const context = await chromium.launchPersistentContext(folder, {
  executablePath,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
  viewport: { width: 1100, height: 760 },
});
const fail = async (reason) => {
  await context.close();
  finish(false, { reason, faults });
};

try {
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(timeoutMs);
  page.on('pageerror', (error) => faults.push(`page error: ${error}`));
  page.on('console', (message) => { if (message.type() === 'error') faults.push(`console: ${message.text()}`); });
  page.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    const local = ['127.0.0.1', 'localhost', '[::1]'].includes(hostname) || !/^(https?|wss?):$/.test(protocol);
    if (!local) faults.push(`request to ${hostname}`);
  });
  await page.goto(url);
  await page.waitForSelector('#status[data-state="connected"]', { state: 'attached' });
  say('ready');
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
  await page.locator('#messages').getByText(text, { exact: false }).first().waitFor();
  const copies = await page.locator('#messages').getByText(text, { exact: false }).count();
  if (screenshot !== undefined) await page.screenshot({ path: screenshot });
  const title = await page.title();
  await context.close();
  finish(copies === 1 && faults.length === 0, { title, copies, faults });
} catch (error) {
  await fail(String(error));
}
