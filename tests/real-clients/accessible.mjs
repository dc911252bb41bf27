// What can be checked of a page's accessibility without knowing what it is about: names, ids, order of headings,
// contrast. A function for the page: it answers sentences about what is wrong.

export function accessibilityFaults() {
  const faults = [];
  const fault = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
  const shown = (selector) => [...document.querySelectorAll(selector)].filter(isShown);

  const ids = [...document.querySelectorAll('[id]')];
  for (const element of ids) if (ids.some((other) => other !== element && other.id === element.id)) fault('an id twice', element);
  for (const name of ['aria-labelledby', 'aria-controls', 'aria-describedby', 'list']) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      const known = element.getAttribute(name).split(' ').every((id) => document.getElementById(id));
      if (!known) fault(`${name} names nothing`, element);
    }
  }

  const nameOf = (element) => {
    const labels = (element.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ');
    const label = [...(element.labels ?? [])].map((label) => label.textContent).join(' ');
    const image = element.querySelector?.('img')?.alt ?? '';
    return [element.getAttribute('aria-label'), labels, label, element.textContent, image].some((text) => text?.trim());
  };
  for (const element of shown('a[href], button, input, select, summary, [role="button"], [role="img"], [role="meter"], [role="grid"], nav, table')) {
    if (!nameOf(element)) fault('no name', element);
  }
  for (const element of shown('[role="button"], [role="grid"] [aria-selected="true"]')) if (element.tabIndex < 0) fault('cannot be reached by keys', element);
  for (const element of document.querySelectorAll('img:not([alt])')) fault('no text for a picture', element);

  const headings = shown('h1, h2, h3, h4').map((element) => [Number(element.localName[1]), element]);
  if (headings.filter(([level]) => level === 1).length !== 1) faults.push(`${headings.filter(([level]) => level === 1).length} headings of the first level`);
  headings.forEach(([level, element], at) => { if (at > 0 && level > headings[at - 1][0] + 1) fault('a level of headings left out', element); });
  if (!document.documentElement.lang || !document.title) faults.push('the page has no language or no title');

  // Colours as [r, g, b, a], each from 0 to 1, whatever their notation.
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  const colours = new Map();
  const colour = (text) => {
    if (!colours.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      colours.set(text, [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255));
    }
    return colours.get(text);
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== 'none') return null;
      const found = colour(style.backgroundColor);
      if (found[3] > 0.99) return found;
    }
    return [1, 1, 1, 1];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !isShown(element) || element.closest('svg, noscript, .unseen, option, :disabled')) continue;
    const behind = ground(element);
    if (behind === null) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(colour(style.color)), luminance(behind)].sort((x, y) => y - x);
    const size = Number.parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) fault(`contrast ${ratio.toFixed(2)}`, element);
  }
  return faults.slice(0, 10);
}
