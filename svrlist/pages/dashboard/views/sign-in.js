// Signing in. Names and passwords go to svrlist alone and are kept nowhere in the page.

import { Failure } from '../api.js';
import { el } from '../dom.js';
import { heading, notice } from '../parts.js';
import { match } from '../routes.js';

// Where to go afterwards: a page of ours, whatever the URL says.
export const target = (to) => (to && to.startsWith('/') && !to.startsWith('//') && match(to.split(/[?#]/)[0]) ? to : '/');

export default {
  title: () => 'Sign in',
  start: () => ({ failure: null, busy: false }),

  draw({ session, kept, query, go, live, changed }) {
    if (session.operator) {
      return [heading('Sign in'), notice({
        grade: 'good', title: `You are ${session.operator.name}`,
        text: session.isAdmin ? 'You may read and change everything.' : 'You may read everything and change nothing.',
        action: el('a', { class: 'button', href: target(query.to) }, 'Go on'),
      })];
    }
    const submit = async (event) => {
      event.preventDefault();
      if (kept.busy) return;
      const form = new FormData(event.currentTarget);
      Object.assign(kept, { busy: true, failure: null });
      changed();
      try {
        await session.signIn(String(form.get('name')), String(form.get('password')));
        live.again();
        go(target(query.to));
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        kept.failure = error.isSignedOut || error.isForbidden ? 'Name or password is wrong.' : `${error.message}.`;
      }
      kept.busy = false;
      changed();
    };
    return [
      heading('Sign in'),
      el('form', { class: 'sign-in-form panel', onsubmit: submit },
        el('label', {}, 'Name', el('input', { name: 'name', autocomplete: 'username', required: true, autocapitalize: 'none', spellcheck: 'false' })),
        el('label', {}, 'Password', el('input', { name: 'password', type: 'password', autocomplete: 'current-password', required: true })),
        el('p', { class: 'fault', role: 'alert' }, kept.failure ?? ''),
        el('button', { class: 'main-button', disabled: kept.busy }, kept.busy ? 'One moment' : 'Sign in')),
      el('p', { class: 'quiet-text' }, 'Operators are named in the configuration of svrlist (operator.NAME). Programs sign in with a key: Authorization: Bearer KEY.'),
    ];
  },
};
