// Alerts: one for each cause, what it led to under it. What is open is told live; what is over is asked for.

import { alertItem, ordered } from '../alert.js';
import { Failure, Resource, send } from '../api.js';
import { el } from '../dom.js';
import { many } from '../format.js';
import { drawn, heading, notice, panel } from '../parts.js';
import { badge, severityWords } from '../words.js';

const AGAIN_MS = 30_000;

const list = (alerts, options) => el('ul', { class: 'alerts' }, alerts.map((alert) => alertItem(alert, options)));

function summary(open) {
  if (open.length === 0) return notice({ grade: 'good', title: 'Nothing is wrong', text: 'An alert appears here within seconds of its cause, with everything that it led to.' });
  const by = (severity) => open.filter((alert) => alert.severity === severity).length;
  const led = open.reduce((total, { related }) => total + (related?.length ?? 0), 0);
  return el('p', { class: 'row' },
    ['critical', 'warning'].filter((severity) => by(severity) > 0).map((severity) => badge({ ...severityWords(severity), word: `${by(severity)} ${severity}` })),
    led > 0 && el('span', { class: 'quiet-text' }, `with ${many(led, 'thing')} that they led to`));
}

export default {
  title: () => 'Alerts',
  needs: 'overview',

  start({ changed }) {
    const kept = { failure: null, changed };
    kept.past = new Resource('/api/alerts', { everyMs: AGAIN_MS, changed });
    kept.stop = () => kept.past.stop();
    return kept;
  },

  draw({ overview, kept, session, now, live }) {
    const open = ordered(overview.alerts.filter(({ until_ms: until }) => !until));
    const acknowledge = async (alert) => {
      try {
        const seen = Boolean(alert.acknowledged);
        await send(seen ? 'DELETE' : 'POST', `/api/alerts/${encodeURIComponent(alert.id)}/ack`);
        kept.failure = null;
        alert.acknowledged = seen ? null : { by: session.operator.name, at_ms: live.now() };
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        kept.failure = error;
      }
      kept.changed();
    };
    const options = { nowMs: now(), onAcknowledge: session.isAdmin ? acknowledge : null };
    return [
      heading('Alerts'),
      summary(open),
      kept.failure && notice({ grade: 'bad', title: 'That was not done', text: `${kept.failure.message}.` }),
      open.length > 0 && list(open, options),
      open.length > 0 && !session.operator && el('p', { class: 'quiet-text' }, el('a', { href: '/sign-in?to=/alerts' }, 'Sign in'), ' to acknowledge alerts.'),
      panel({ title: 'Over', id: 'past', plain: true }, drawn(kept.past, 'past alerts', (answer) => {
        const over = pastOf(answer);
        return over.length > 0 ? list(over, { nowMs: now() }) : el('p', { class: 'empty' }, 'Nothing else of late.');
      })),
    ];
  },
};

// What is over, newest first.
export function pastOf(answer) {
  const all = [...(answer.past ?? []), ...(answer.alerts ?? [])];
  return all.filter(({ until_ms: until }) => until).sort((a, b) => b.until_ms - a.until_ms);
}
