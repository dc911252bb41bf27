//! The receiving end of pulls: puts what several lines bring into order, drops what came before,
//! and asks for what is missing.
//!
//! A hole is known by a later message or by a mark in a beat. It is asked for after a short time for
//! reordering, on two lines, and again a round trip later on all. A pull goes on without it when the
//! upstream says that it is gone, or after a deadline, which passes only while something is heard:
//! both are a gap that is told and counted.
//!
//! Invariant: of each pull messages are delivered in order, each offset at most once, and nothing is
//! skipped without an [`Event::Opened`] that says where it goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::LineId;
use crate::message::{Class, ClientInfo, Epoch, Message};
use crate::ring::{Cursor, Weigh};
use crate::wire::datagram::{Mark, Nack, RANGES_MAX};

/// What a pull's reader is told, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The next message.
    Message {
        /// The pull it belongs to.
        pull: u64,
        /// The life of the log.
        epoch: Epoch,
        /// The message.
        message: Message,
        /// How long it waited for those before it.
        waited: Duration,
    },
    /// From here on the pull is served. Told again when messages before `next` are gone for good.
    Opened {
        /// The pull.
        pull: u64,
        /// The life of the log.
        epoch: Epoch,
        /// The offset that comes next.
        next: u64,
        /// The last offset of the log, as far as is known.
        top: u64,
    },
    /// The pull is not served.
    Refused {
        /// The pull.
        pull: u64,
        /// A Centrifuge error code.
        code: u32,
        /// Whether trying again later may help.
        temporary: bool,
        /// For a log, not for a client.
        reason: String,
    },
    /// A client came to the channel or left it.
    Presence {
        /// The pull.
        pull: u64,
        /// Came, or left.
        joined: bool,
        /// Who.
        info: ClientInfo,
    },
}

/// What a receiver has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Messages delivered.
    pub delivered: u64,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Messages that came only after they had been asked for.
    pub repaired: u64,
    /// Requests for missing messages.
    pub nacks: u64,
    /// Messages given up, because the upstream has them no more or never sent them in time.
    pub lost: u64,
    /// Early messages that were dropped because too many waited; they are asked for again.
    pub dropped: u64,
}

#[derive(Debug)]
struct Pull {
    /// Unknown until it is opened.
    cursor: Option<Cursor>,
    /// The life of the log that the rest is about: that of the first message, until it is opened.
    epoch: Option<Epoch>,
    /// The last offset that was sent of another life, should that be opened next.
    other: Option<(u16, u64)>,
    /// The last offset that the upstream has sent, as far as is known.
    high: u64,
    /// Messages that came early, and when.
    early: BTreeMap<u64, (Message, Instant)>,
    /// Offsets before this are gone: told by the upstream.
    gone_before: u64,
    /// What was noticed to be missing, ascending; much of it may have come since.
    holes: VecDeque<Hole>,
    /// When a hole is asked for.
    timer: Option<Instant>,
    /// When the hole was noticed, in time in which something was heard.
    hole_since: Option<Duration>,
    /// A stream has just brought what came next: nothing is asked for until then.
    patient_until: Option<Instant>,
}

/// Offsets that were noticed together to be missing.
#[derive(Clone, Copy, Debug)]
struct Hole {
    first: u64,
    last: u64,
    ask_at: Instant,
    asked: u32,
}

/// All pulls of one trunk, receiving.
#[derive(Debug)]
pub struct Receiver {
    pulls: HashMap<u64, Pull>,
    timers: BTreeSet<(Instant, u64)>,
    events: VecDeque<Event>,
    /// What all early messages weigh.
    held: usize,
    /// Time in which something was heard, and when it was last counted.
    audible: Duration,
    heard: Option<Instant>,
    counts: ReceiverCounts,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// A receiver without pulls.
    pub fn new() -> Self {
        Self {
            pulls: HashMap::new(),
            timers: BTreeSet::new(),
            events: VecDeque::new(),
            held: 0,
            audible: Duration::ZERO,
            heard: None,
            counts: ReceiverCounts::default(),
        }
    }

    /// A pull was asked for.
    pub fn handle_open(&mut self, pull: u64) {
        self.handle_close(pull);
        self.pulls.insert(
            pull,
            Pull {
                cursor: None,
                epoch: None,
                other: None,
                high: 0,
                early: BTreeMap::new(),
                gone_before: 0,
                holes: VecDeque::new(),
                timer: None,
                hole_since: None,
                patient_until: None,
            },
        );
    }

    /// A pull is closed: what still comes of it is dropped.
    pub fn handle_close(&mut self, id: u64) {
        if let Some(pull) = self.pulls.remove(&id) {
            self.held -= pull.early.values().map(|(message, _)| message.weight()).sum::<usize>();
            if let Some(at) = pull.timer {
                self.timers.remove(&(at, id));
            }
        }
    }

    /// The upstream serves a pull from `start` on, or tells that it has nothing before it any more.
    pub fn handle_opened(&mut self, id: u64, start: Cursor, top: u64, now: Instant) {
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        if pull.cursor.is_none_or(|cursor| cursor.epoch != start.epoch) {
            if pull.epoch.replace(start.epoch) != Some(start.epoch) {
                // Offsets of another life say nothing about this one.
                let early = std::mem::take(&mut pull.early);
                self.held -= early.values().map(|(message, _)| message.weight()).sum::<usize>();
                pull.high = 0;
                pull.holes.clear();
                pull.hole_since = None;
            }
            pull.cursor = Some(start);
            pull.gone_before = start.next;
            pull.high = pull.high.max(start.next - 1);
            if let Some((life, high)) = pull.other.take()
                && life == Mark::life_of(start.epoch)
            {
                pull.rise(high, high + 1, now + REORDER);
            }
            if top >= start.next {
                pull.patient_until = Some(now + PATIENCE);
            }
            let Cursor { epoch, next } = start;
            self.events.push_back(Event::Opened { pull: id, epoch, next, top });
        } else {
            pull.gone_before = pull.gone_before.max(start.next);
        }
        self.advance(id, now);
    }

    /// A message came, by a datagram or by a stream. Answers whether it had not come before.
    pub fn handle_message(
        &mut self,
        id: u64,
        epoch: Epoch,
        message: Message,
        by_stream: bool,
        now: Instant,
    ) -> bool {
        let Some(pull) = self.pulls.get_mut(&id) else { return false };
        let offset = message.offset;
        if *pull.epoch.get_or_insert(epoch) != epoch {
            pull.note_other(Mark::life_of(epoch), offset);
            return false;
        }
        if pull.cursor.is_some_and(|cursor| offset < cursor.next)
            || pull.early.contains_key(&offset)
        {
            self.counts.duplicates += 1;
            return false;
        }
        let weight = message.weight();
        let is_next = pull.cursor.is_some_and(|cursor| offset == cursor.next);
        if by_stream && is_next {
            pull.patient_until = Some(now + PATIENCE);
        }
        let is_kept = is_next
            || pull.early.len() < EARLY_MAX && self.held.saturating_add(weight) <= HELD_BYTES_MAX;
        pull.rise(offset, if is_kept { offset } else { offset + 1 }, now + REORDER);
        if !is_kept {
            self.counts.dropped += 1;
            self.advance(id, now);
            return false;
        }
        if pull.holes.iter().any(|hole| hole.asked > 0 && hole.contains(offset)) {
            self.counts.repaired += 1;
        }
        self.held += weight;
        pull.early.insert(offset, (message, now));
        self.advance(id, now);
        true
    }

    /// The upstream says how far it has sent. What is under way may come within `slack`.
    pub fn handle_mark(&mut self, mark: Mark, slack: Duration, now: Instant) {
        let Some(pull) = self.pulls.get_mut(&mark.pull) else { return };
        if pull.cursor.is_none_or(|cursor| Mark::life_of(cursor.epoch) != mark.life) {
            pull.note_other(mark.life, mark.high);
        } else if mark.high > pull.high {
            pull.rise(mark.high, mark.high + 1, now + REORDER + slack);
            self.look(mark.pull);
        }
    }

    /// Something is heard, or nothing is, from `now` on: deadlines pass only while it is.
    pub fn handle_heard(&mut self, is_heard: bool, now: Instant) {
        if let Some(since) = self.heard {
            self.audible += now.saturating_duration_since(since);
        }
        self.heard = is_heard.then_some(now);
    }

    /// Time has come to `now`. Answers what to ask for, and whether it is asked for the first time.
    /// `again` is how long an answer usually takes.
    pub fn handle_deadline(&mut self, again: Duration, now: Instant) -> Vec<(Nack, bool)> {
        self.handle_heard(self.heard.is_some(), now);
        let mut nacks = Vec::new();
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let audible = self.audible;
            let Some(pull) = self.pulls.get_mut(&id) else { continue };
            pull.timer = None;
            let Some(cursor) = pull.cursor else { continue };
            let since = *pull.hole_since.get_or_insert(audible);
            // An urgent message does not wait as long behind a hole as others.
            let is_urgent = pull.early.values().any(|(m, _)| m.content.class == Class::Urgent);
            let deadline = if is_urgent { DEADLINE_URGENT } else { DEADLINE };
            if audible.saturating_sub(since) >= deadline {
                let next = pull.early.keys().next().copied().unwrap_or(pull.high + 1);
                tracing::warn!(pull = id, from = cursor.next, next, "given up");
                pull.gone_before = next;
                self.advance(id, now);
                continue;
            }
            if let Some(until) = pull.patient_until.filter(|until| *until > now) {
                pull.holes.iter_mut().for_each(|hole| hole.ask_at = hole.ask_at.max(until));
                self.look(id);
                continue;
            }
            let [fresh, again_asked] = pull.ask(cursor.next, again, now);
            for (ranges, is_first) in [(fresh, true), (again_asked, false)] {
                for ranges in ranges.chunks(RANGES_MAX) {
                    self.counts.nacks += 1;
                    nacks.push((Nack { pull: id, ranges: ranges.to_vec() }, is_first));
                }
            }
            self.look(id);
        }
        nacks
    }

    /// Something of a pull that is no message. Of a pull that is closed nobody is told.
    pub fn handle_event(&mut self, pull: u64, event: Event) {
        if self.pulls.contains_key(&pull) {
            self.events.push_back(event);
        }
    }

    /// What to tell the readers next, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Receiver::handle_deadline`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What happened so far.
    pub fn counts(&self) -> ReceiverCounts {
        self.counts
    }

    /// Forgets every pull, and goes on counting.
    pub fn reset(&mut self) {
        *self = Self { counts: self.counts, ..Self::new() };
    }

    /// Bytes that early messages keep.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Delivers what follows, skips what is gone, and sets the timer for what is missing.
    fn advance(&mut self, id: u64, now: Instant) {
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        let Some(cursor) = pull.cursor.as_mut() else { return };
        let before = cursor.next;
        loop {
            while let Some(first) = pull.early.first_entry()
                && *first.key() <= cursor.next
            {
                let (message, came) = first.remove();
                self.held -= message.weight();
                if message.offset == cursor.next {
                    cursor.next += 1;
                    self.counts.delivered += 1;
                    let epoch = cursor.epoch;
                    let waited = now.saturating_duration_since(came);
                    self.events.push_back(Event::Message { pull: id, epoch, message, waited });
                }
            }
            if cursor.next >= pull.gone_before {
                break;
            }
            // Some of what is gone for the upstream may be here.
            let here = pull.early.keys().next().copied().unwrap_or(u64::MAX);
            let next = here.min(pull.gone_before);
            self.counts.lost = self.counts.lost.saturating_add(next - cursor.next);
            cursor.next = next;
            let (epoch, top) = (cursor.epoch, pull.high.max(next - 1));
            self.events.push_back(Event::Opened { pull: id, epoch, next, top });
        }
        pull.high = pull.high.max(cursor.next - 1);
        while pull.holes.pop_front_if(|hole| hole.last < cursor.next).is_some() {}
        if cursor.next != before {
            pull.hole_since = None; // another hole has its own time
        }
        self.look(id);
    }

    /// Sets the timer of a pull to when its next hole is asked for.
    fn look(&mut self, id: u64) {
        let Some(pull) = self.pulls.get(&id).filter(|pull| pull.cursor.is_some()) else { return };
        let at = pull.holes.iter().map(|hole| hole.ask_at).min();
        self.set_timer(id, at);
    }

    fn set_timer(&mut self, id: u64, at: Option<Instant>) {
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut pull.timer, at) {
            self.timers.remove(&(old, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }
}

impl Hole {
    fn contains(&self, offset: u64) -> bool {
        (self.first..=self.last).contains(&offset)
    }
}

impl Pull {
    /// The upstream has sent up to `high`; what lies before `come` and has not come is missing.
    fn rise(&mut self, high: u64, come: u64, ask_at: Instant) {
        let first = self.high.saturating_add(1);
        if high < first {
            return;
        }
        self.high = high;
        let last = come - 1;
        if last < first {
            return;
        }
        let is_full = self.holes.len() >= HOLES_MAX;
        match self.holes.back_mut() {
            Some(hole) if is_full => hole.last = last,
            _ => self.holes.push_back(Hole { first, last, ask_at, asked: 0 }),
        }
    }

    /// So far the upstream has sent of a life that is not opened: perhaps not yet.
    fn note_other(&mut self, life: u16, high: u64) {
        let known = self.other.filter(|(known, _)| *known == life).map_or(0, |(_, high)| high);
        self.other = Some((life, high.max(known)));
    }

    /// What to ask for now: for the first time, and again. At most [`ASKED_MAX`] messages: what
    /// follows them waits until some have come.
    fn ask(&mut self, next: u64, again: Duration, now: Instant) -> [Vec<(u64, u64)>; 2] {
        let mut asks = [Vec::new(), Vec::new()];
        let mut left = ASKED_MAX;
        self.holes.retain_mut(|hole| {
            if hole.ask_at > now {
                return true;
            }
            if left == 0 {
                hole.ask_at = now + REORDER;
                return true;
            }
            let ranges = missing(&self.early, hole.first.max(next), hole.last);
            let ask = &mut asks[usize::from(hole.asked > 0)];
            for (first, count) in &ranges {
                if left > 0 {
                    ask.push((*first, (*count).min(left)));
                    left -= (*count).min(left);
                }
            }
            hole.asked += 1;
            // Later requests are rarer: an upstream that answers nothing is asked four times a second.
            let pause = again.mul_f64(1.5f64.powi(hole.asked.saturating_sub(3).min(8) as i32));
            hole.ask_at = now + pause.min(AGAIN_MAX);
            !ranges.is_empty()
        });
        asks
    }
}

/// First offset and count of what is missing from `first` to `last`.
fn missing(early: &BTreeMap<u64, (Message, Instant)>, first: u64, last: u64) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    if first > last {
        return ranges;
    }
    let mut from = first;
    for end in early.range(first..=last).map(|(offset, _)| *offset).chain([last + 1]) {
        if end > from {
            ranges.push((from, end - from));
        }
        from = end + 1;
    }
    ranges
}

/// Whether a line brought a message first is worth knowing: shares by line.
#[derive(Clone, Debug, Default)]
pub struct Firsts(BTreeMap<LineId, (u64, u64)>);

impl Firsts {
    /// A message came by a line, for the first time or again.
    pub fn count(&mut self, line: LineId, first: bool) {
        let (firsts, again) = self.0.entry(line).or_default();
        *(if first { firsts } else { again }) += 1;
    }

    /// Messages that a line brought first, and those that had come before.
    pub fn of(&self, line: LineId) -> (u64, u64) {
        self.0.get(&line).copied().unwrap_or_default()
    }
}

/// How long a message may be overtaken by later ones before it is asked for.
pub const REORDER: Duration = Duration::from_millis(10);
/// How long a stream may take to bring what comes next.
const PATIENCE: Duration = Duration::from_millis(300);
/// After this much time in which something was heard a hole is given up,
pub const DEADLINE: Duration = Duration::from_secs(5);
/// sooner where an urgent message waits behind it: when bursts of 350 ms meet on all of three lines,
/// holes of more than a second have been seen.
pub const DEADLINE_URGENT: Duration = Duration::from_secs(3);
const AGAIN_MAX: Duration = Duration::from_millis(250);
/// Early messages of one pull.
pub const EARLY_MAX: usize = 4096;
/// Bytes of early messages of all pulls.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// Holes of a pull that are told apart.
const HOLES_MAX: usize = 128;
/// Messages asked for at once: at a round trip of 40 ms, 6,400 a second of each pull.
const ASKED_MAX: u64 = 256;

#[cfg(test)]
mod tests;
