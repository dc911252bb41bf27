// Danmaku over a stage: texts that fly from right to left in lanes, without ever overlapping.
//
// Every text crosses in the same time, so longer ones fly faster. A lane takes a text when the one
// before it has entered completely and will have left before the new one could catch up. When no
// lane is free, texts wait; past a bound the oldest are left out, the chat has them anyway.

const CROSSING_MS = 8000;
const GAP_PX = 24;
const WAITING_MAX = 100;
// Someone who asked for less motion gets texts that stand for a while.
const STANDING_MS = 4000;

export class Stage {
  #element;
  #lanes = [];
  #waiting = [];
  #timer = 0;
  #still = matchMedia('(prefers-reduced-motion: reduce)');

  constructor(element) {
    this.#element = element;
    // Flights are laid out for one size: a new one begins with an empty stage.
    new ResizeObserver(() => this.#clear()).observe(element);
  }

  #clear() {
    for (const item of this.#element.querySelectorAll('.flying')) item.remove();
    this.#lanes = [];
  }

  // Shows a text; `own` marks what this client sent.
  show(text, own) {
    // Nobody sees it now, and a thousand at once later would help nobody either.
    if (document.hidden) return;
    this.#element.querySelector('.empty')?.remove();
    this.#waiting.push({ text, own });
    if (this.#waiting.length > WAITING_MAX) this.#waiting.shift();
    this.#launch();
  }

  #launch() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    while (this.#waiting.length > 0) {
      const { text, own } = this.#waiting[0];
      if (!this.#fly(text, own)) {
        this.#timer = setTimeout(() => this.#launch(), 100);
        return;
      }
      this.#waiting.shift();
    }
  }

  #fly(text, own) {
    const item = document.createElement('span');
    item.className = own ? 'flying own' : 'flying';
    item.textContent = text;
    item.style.visibility = 'hidden';
    this.#element.append(item);
    const { width, height } = item.getBoundingClientRect();
    const stage = this.#element.clientWidth;
    const now = performance.now();
    const still = this.#still.matches;
    const speed = (stage + width) / CROSSING_MS;
    const count = Math.max(1, Math.floor(this.#element.clientHeight / height));
    const lane = this.#freeLane(count, now, still, stage / speed);
    if (lane < 0) {
      item.remove();
      return false;
    }
    const enteredMs = (width + GAP_PX) / speed;
    this.#lanes[lane] = still
      ? { entered: now + STANDING_MS, left: 0 }
      : { entered: now + enteredMs, left: now + CROSSING_MS };
    const y = `${lane * height}px`;
    const frames = still
      ? [{ transform: `translate(0, ${y})`, opacity: 1 }, { transform: `translate(0, ${y})`, opacity: 0.6 }]
      : [{ transform: `translate(${stage}px, ${y})` }, { transform: `translate(${-width}px, ${y})` }];
    const flight = item.animate(frames, { duration: still ? STANDING_MS : CROSSING_MS, fill: 'both' });
    flight.onfinish = () => item.remove();
    item.style.visibility = '';
    return true;
  }

  // The topmost lane that is free for a text whose head crosses in `headMs`; -1 if there is none.
  #freeLane(count, now, still, headMs) {
    for (let lane = 0; lane < count; lane += 1) {
      const last = this.#lanes[lane];
      if (!last) return lane;
      if (last.entered <= now && (still || now + headMs >= last.left)) return lane;
    }
    return -1;
  }
}
