// What operators want as a value: reading it, and making the one that a change leads to.

// Steps of a zone's share, in percent.
export const SHARE_STEPS = [0, 1, 5, 10, 20, 50, 100];

// The entries of one of its tables, by name.
export const entriesOf = (control, what) => Object.entries(control[what]).sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));

// What is drained: [{kind, name, rate}], the largest first.
export function drainedOf({ drained }) {
  return [['zone', 'zones'], ['site', 'sites'], ['edge', 'edges']]
    .flatMap(([kind, key]) => Object.entries(drained[key]).map(([name, { rate }]) => ({ kind, name, rate })));
}

// The share that an operator gave a zone, in percent; null for what the others leave.
export const shareOf = (control, zone) => control.zones[zone]?.share ?? null;

// With one entry of a table set; `value` null takes it away.
export function withEntry(control, what, key, value) {
  const { [key]: _, ...rest } = control[what];
  return { ...control, [what]: value === null ? rest : { ...rest, [key]: value } };
}

const others = (control, network) => control.overrides.filter((rule) => rule.network !== network);

// With a rule for a network, in place of the one that was there.
export const withRule = (control, rule) => ({ ...control, overrides: [...others(control, rule.network), rule] });
export const withoutRule = (control, network) => ({ ...control, overrides: others(control, network) });

// Names out of a text with commas or spaces between them.
export const names = (text) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];
