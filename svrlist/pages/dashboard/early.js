// Before anything is drawn: the theme somebody chose, so that nobody is flashed at.
try {
  const chosen = localStorage.getItem('linecast.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // As the system has it, then.
}
