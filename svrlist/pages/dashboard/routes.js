// Which URL shows which view: data alone. svrlist serves the same document for all of them.

// `:name` stands for one part of the path. `nav` is what the navigation calls it; `key` is what goes there
// after `g`.
export const ROUTES = [
  { path: '/', view: 'overview', nav: 'Overview', key: 'o' },
  { path: '/alerts', view: 'alerts', nav: 'Alerts', key: 'a' },
  { path: '/map', view: 'rates', nav: 'Drop rates', key: 'd' },
  { path: '/lines', view: 'lines', nav: 'Lines', key: 'l' },
  { path: '/sites', view: 'sites', nav: 'Sites', key: 's' },
  { path: '/zones', view: 'zones', nav: 'Zones', key: 'z' },
  { path: '/geography', view: 'geography', nav: 'Geography', key: 'm' },
  { path: '/control', view: 'control', nav: 'Control', key: 'c' },
  { path: '/edge/:name', view: 'edge' },
  { path: '/cell/:region/:carrier', view: 'cell' },
  { path: '/sign-in', view: 'sign-in' },
];

// The route of a path and what stands for its names; null for none of ours.
export function match(path) {
  const parts = path.split('/');
  for (const route of ROUTES) {
    const wanted = route.path.split('/');
    if (wanted.length !== parts.length) continue;
    const params = {};
    const fits = wanted.every((part, at) => {
      if (!part.startsWith(':')) return part === parts[at];
      const value = decoded(parts[at]);
      params[part.slice(1)] = value;
      return value !== null && value !== '';
    });
    if (fits) return { route, params };
  }
  return null;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

export const edgePath = (name) => `/edge/${encodeURIComponent(name)}`;

// `cell` is `110000/telecom`.
export const cellPath = (cell) => `/cell/${cell.split('/').map(encodeURIComponent).join('/')}`;

// A path with a query, without what is empty.
export function pathWith(path, query) {
  const kept = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(kept).toString();
  return text === '' ? path : `${path}?${text}`;
}
