// Light, dark, or as the system has it; what somebody chose is kept in this browser.

const KEPT = 'linecast.theme';
const THEMES = ['system', 'light', 'dark'];

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    // A browser that keeps nothing still shows everything.
    return null;
  }
}

export function theme() {
  const chosen = kept();
  return THEMES.includes(chosen) ? chosen : 'system';
}

export function apply(chosen = theme()) {
  if (chosen === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

// The next one in turn.
export function turn() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  try {
    localStorage.setItem(KEPT, next);
  } catch {
    // Then it holds for this page alone.
  }
  apply(next);
  return next;
}
