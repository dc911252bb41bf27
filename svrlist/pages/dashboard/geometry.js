// Where things are on the map: equirectangular, with the middle latitude's width.

// The window onto the map: all given points with room around them.
export function frame(points, { width, pad = 2.2 }) {
  const lats = points.map(({ lat }) => lat);
  const lons = points.map(({ lon }) => lon);
  const [south, north] = [Math.min(...lats) - pad, Math.max(...lats) + pad];
  const [west, east] = [Math.min(...lons) - pad, Math.max(...lons) + pad];
  const squeeze = Math.cos(((south + north) / 2) * Math.PI / 180);
  const scale = width / ((east - west) * squeeze);
  return {
    south, north, west, east, width, height: (north - south) * scale, scale,
    at: ({ lat, lon }) => ({ x: (lon - west) * squeeze * scale, y: (north - lat) * scale }),
  };
}

// Round degrees within two.
export function degrees(from, to, step) {
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

// A bow from one point to another; `bend` is its height as a share of the way.
export function bow(a, b, bend) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const [mx, my] = [(a.x + b.x) / 2 - dy * bend, (a.y + b.y) / 2 + dx * bend];
  const n = (value) => value.toFixed(1);
  return `M${n(a.x)} ${n(a.y)}Q${n(mx)} ${n(my)} ${n(b.x)} ${n(b.y)}`;
}

const clear = (a, b) => a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;

// Which labels can be shown: `boxes` ({x, y, width, height}) come with the most important first, and none may
// cover another or what is at `taken`, but for its own mark (of the same place in that list).
export function apart(boxes, taken = []) {
  const put = [];
  return boxes.map((box, at) => {
    const free = put.every((other) => clear(box, other)) && taken.every((mark, of) => of === at || clear(box, mark));
    if (free) put.push(box);
    return free;
  });
}

// How far each place's disc reaches, in degrees: to its neighbours, so that sparse land holds together.
export function reaches(places) {
  const away = (a, b) => Math.hypot(a.lat - b.lat, (a.lon - b.lon) * Math.cos(a.lat * Math.PI / 180));
  return places.map((place) => {
    const near = places.map((other) => away(place, other)).sort((a, b) => a - b);
    const neighbour = near[Math.min(REACH.neighbour, near.length - 1)];
    return { ...place, reach: Math.min(REACH.most, Math.max(REACH.least, neighbour * REACH.share)) };
  });
}

const REACH = { least: 1.3, most: 5.6, neighbour: 4, share: 1 };
