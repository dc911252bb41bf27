// Elements out of values, and trees patched in place.
//
// A view is a function from data to a fresh tree; `morph` makes what is on the page equal to it and
// keeps every element that stays, so that focus, selection, scrolling and what is read aloud stay.
// Texts become text nodes alone: nothing here parses markup.

const SVG = 'http://www.w3.org/2000/svg';
const HANDLERS = ['onclick', 'oninput', 'onchange', 'onsubmit', 'onkeydown', 'onfocus', 'onpointermove', 'onpointerleave', 'onscroll'];

// An element. Of `props`: `class`, `data` and `style` (objects), handlers by their `on…` name; `key` names
// it among its siblings; everything else is an attribute, left out where it is null or false.
export function el(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

// The same in SVG.
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'key') element.dataset.key = value;
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'style') for (const [key, part] of Object.entries(value)) element.style.setProperty(key, part);
    else if (HANDLERS.includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === '') continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// For who listens and does not look.
export const unseen = (text) => el('span', { class: 'unseen' }, text);

// Writes only what differs.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Makes the children of `parent` equal to `children`.
export function show(parent, ...children) {
  const fresh = document.createDocumentFragment();
  append(fresh, children);
  morphChildren(parent, fresh);
}

function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // What has a life of its own says so.
  if (fresh.hasAttribute('data-own')) return;
  morphAttributes(old, fresh);
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
  morphChildren(old, fresh);
  if (old.localName === 'select' || old.localName === 'input') morphValue(old, fresh);
}

function morphAttributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    // The page's policy refuses style as text; as an object it is allowed.
    if (name === 'style') continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // Who opened a <details> does not want it shut.
    const theirs = name === 'style' || (name === 'open' && old.localName === 'details');
    if (!theirs && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
}

// What somebody is about to change is theirs.
function morphValue(old, fresh) {
  if (old === document.activeElement && old.type !== 'checkbox' && old.localName !== 'select') return;
  if (old.type === 'checkbox' || old.type === 'radio') old.checked = fresh.checked;
  else if (old.value !== fresh.value) old.value = fresh.value;
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);
const alike = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function morphChildren(parent, fresh) {
  const keyed = new Map();
  for (const child of parent.childNodes) {
    const key = keyOf(child);
    if (key !== undefined) keyed.set(key, child);
  }
  let at = parent.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    const known = key === undefined ? null : keyed.get(key);
    if (known && known.nodeName === wanted.nodeName) {
      if (known === at) at = at.nextSibling;
      else parent.insertBefore(known, at);
      morph(known, wanted);
    } else if (at && alike(at, wanted)) {
      const next = at.nextSibling;
      morph(at, wanted);
      at = next;
    } else {
      parent.insertBefore(wanted, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
