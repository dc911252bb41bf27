// A page in a real Chromium, watched for errors and for requests that leave the machine.

import { chromium } from 'playwright-core';

/**
 * Opens `url` in the Chromium at `chromium`, with a profile in the empty folder `folder`. Answers the page, the
 * list of what was wrong so far, and how to close it.
 */
export async function open({ url, chromium: executablePath = '/usr/bin/chromium', folder, timeoutMs, viewport }) {
  const faults = [];
  const context = await chromium.launchPersistentContext(folder, {
    executablePath,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
    viewport: viewport ?? { width: 1100, height: 760 },
  });
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(timeoutMs);
  page.on('pageerror', (error) => faults.push(`page error: ${error}`));
  page.on('console', (message) => { if (message.type() === 'error') faults.push(`console: ${message.text()}`); });
  page.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    const local = ['127.0.0.1', 'localhost', '[::1]'].includes(hostname) || !/^(https?|wss?):$/.test(protocol);
    if (!local) faults.push(`request to ${hostname}`);
  });
  const close = () => context.close();
  try {
    await page.goto(url);
    await page.waitForSelector('#status[data-state="connected"]', { state: 'attached' });
  } catch (error) {
    await close();
    throw error;
  }
  return { page, faults, close };
}
