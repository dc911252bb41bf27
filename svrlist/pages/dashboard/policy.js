// The operators' policy as a value: reading it, and making the one that a change leads to.

// Steps of a zone's share, in percent.
export const SHARE_STEPS = [0, 1, 5, 10, 20, 50, 100];

const sorted = (entries) => entries.sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));

export const weightsOf = (policy) => sorted(Object.entries(policy.weights ?? {}));
export const budgetsOf = (policy) => sorted(Object.entries(policy.budgets ?? {}));
export const overridesOf = (policy) => policy.overrides ?? [];

// What is drained: [{kind, name}].
export function drainedOf(policy) {
  const drained = policy.drained ?? {};
  return [['zone', 'zones'], ['site', 'sites'], ['edge', 'edges']].flatMap(([kind, key]) => {
    const names = Array.isArray(drained[key]) ? drained[key] : Object.keys(drained[key] ?? {});
    return names.map((name) => ({ kind, name }));
  });
}

// The share that an operator gave a zone, in percent; null for none.
export function shareOf(policy, zone) {
  const given = (policy.zone_shares ?? policy.zones ?? {})[zone];
  return typeof given === 'object' && given !== null ? given.share ?? null : given ?? null;
}

const without = (object, key) => Object.fromEntries(Object.entries(object ?? {}).filter(([name]) => name !== key));

// A policy with one thing changed; `value` null takes it away.
export function changed(policy, what, key, value) {
  const rest = without(policy[what], key);
  return { ...policy, [what]: value === null ? rest : { ...rest, [key]: value } };
}

export const withOverride = (policy, rule) => ({ ...policy, overrides: [...overridesOf(policy).filter(({ network }) => network !== rule.network), rule] });
export const withoutOverride = (policy, network) => ({ ...policy, overrides: overridesOf(policy).filter((rule) => rule.network !== network) });

// Names out of a text with commas or spaces between them.
export const names = (text) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];
