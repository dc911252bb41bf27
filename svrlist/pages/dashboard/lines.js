// What all views know of lines: the one that carries messages, how many are up, what they are called.

import { lineWords, worst } from './words.js';

// The line that messages to the edge come by, else the one its own go by.
export const primary = (edge) => edge.lines.find((line) => line.up && line.primary) ?? edge.lines.find((line) => line.up && line.primary_up) ?? null;

// How many of an edge's lines are up, and the grade of all of them: one of many down is a warning.
export function linesOf(edge) {
  const up = edge.lines.filter((line) => line.up).length;
  const all = edge.lines.length;
  if (all === 0) return { up, all, grade: 'note' };
  if (up === 0) return { up, all, grade: 'bad' };
  const grade = worst(edge.lines.map((line) => lineWords(line).grade));
  return { up, all, grade: grade === 'good' || grade === 'note' ? 'good' : 'warn' };
}

// A row for every line of every edge.
export function allLines(edges) {
  return edges.flatMap((edge) => edge.lines.map((line, at) => ({
    ...line, number: line.line ?? at, edge: edge.name, site: edge.site, lost: edge.state === 'lost',
    key: `${edge.name}/${line.line ?? at}`,
  })));
}

// From where to where, by carriers where they are told.
export const way = (line) => `${line.local_carrier || 'any'} → ${line.remote_carrier || line.remote}`;

// What it is first choice for, in words; empty where for nothing.
export function role({ primary: down, primary_up: up, up: connected }) {
  if (!connected) return '';
  if (down && up) return 'primary';
  if (down) return 'primary to the edge';
  return up ? 'primary to the origin' : 'backup';
}

export const series = (line, kind) => `line.${line.edge}.${line.number}.${kind}`;
