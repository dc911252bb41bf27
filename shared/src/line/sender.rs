//! The sending end of pulls: how many copies of what go where, what is marked, what is repaired.
//!
//! Urgent messages go twice, on lines that share no carrier and seldom lose the same; all others
//! once. A third or second copy is added only while a chosen line is in trouble, within a budget of
//! bytes. What is asked for again goes twice: redundancy is cheapest on repairs (Hairpin, NSDI'24).
//!
//! Invariant: the highest offset sent of each pull is told in beats until one that told it was heard.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::LineId;
use super::pool::{Pool, Tier};
use crate::message::{Class, Epoch};
use crate::wire::datagram::{MARKS_MAX, Mark, Nack};

/// What a sender has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Messages sent for the first time.
    pub messages: u64,
    /// Their frames' bytes.
    pub bytes: u64,
    /// Further copies of them.
    pub copies: u64,
    /// Their bytes.
    pub copy_bytes: u64,
    /// Messages sent because they were asked for, each copy of them.
    pub repairs: u64,
    /// Their bytes.
    pub repair_bytes: u64,
}

/// What a trunk's upstream knows of what it sends.
#[derive(Debug, Default)]
pub struct Sender {
    /// The last offset of pulls that sent lately, until the other end has heard of it.
    marks: BTreeMap<u64, Told>,
    /// Pulls whose mark no beat has told yet, oldest first; some of them may be closed.
    untold: VecDeque<u64>,
    /// Where the next beat goes on with the others, if not all fit in one.
    marked: u64,
    /// The other end's beats that were looked at.
    heard: (u64, u64),
    /// Bytes of further copies that may be sent.
    spare: f64,
    /// Messages that are not sent again before an instant, oldest first.
    repairs: VecDeque<(u64, u64)>,
    repaired: HashMap<(u64, u64), Instant>,
    counts: SenderCounts,
}

/// A mark, and the beats that told it: the last one, and which of the 63 before it; 0 for none.
#[derive(Clone, Copy, Debug)]
struct Told {
    epoch: Epoch,
    high: u64,
    beat: u64,
    beats: u64,
}

impl Sender {
    /// A message is sent for the first time: beats tell it until one of them was heard.
    pub fn mark(&mut self, pull: u64, epoch: Epoch, offset: u64) {
        let known = self.marks.get(&pull);
        // Offsets of another life say nothing about this one.
        if known.is_some_and(|known| known.epoch == epoch && known.high >= offset) {
            return;
        }
        if known.is_none_or(|known| known.beats != 0) {
            self.untold.push_back(pull);
        }
        self.marks.insert(pull, Told { epoch, high: offset, beat: 0, beats: 0 });
    }

    /// Chooses the lines for a message that is sent for the first time.
    pub fn send(&mut self, pool: &Pool, class: Class, bytes: usize) -> Vec<LineId> {
        self.first(bytes);
        let mut lines = pool.copies();
        let lossy = |line: Option<&LineId>| {
            line.is_some_and(|id| {
                pool.tier(*id).is_some_and(|tier| tier >= Tier::Gray) || pool.loss_out(*id) >= LOSSY
            })
        };
        let usable = |id: &LineId| pool.tier(*id).is_some_and(|tier| tier < Tier::Full);
        let mut count = match class {
            Class::Urgent if lossy(lines.first()) && lossy(lines.get(1)) => 3,
            Class::Urgent => 2,
            Class::Normal | Class::Droppable if lossy(lines.first()) => 2,
            Class::Normal | Class::Droppable => 1,
        };
        // The second copy of an urgent message is what the class promises; others must be affordable.
        let promised = if class == Class::Urgent { 2 } else { 1 };
        while count > promised && self.spare < ((count - 1) * bytes) as f64 {
            count -= 1;
        }
        lines.retain(|id| usable(id));
        if lines.is_empty() {
            lines.extend(pool.primary());
        }
        lines.truncate(count);
        self.copy(lines.len().saturating_sub(1), bytes);
        lines
    }

    /// Chooses the lines for a message that the other end misses and asked for on `line`. `None`
    /// where it was sent again just now; `again` is how long an answer takes to arrive.
    pub fn repair(
        &mut self,
        pool: &Pool,
        (pull, offset): (u64, u64),
        line: LineId,
        again: Duration,
        now: Instant,
    ) -> Option<Vec<LineId>> {
        if self.repaired.get(&(pull, offset)).is_some_and(|until| *until > now) {
            return None;
        }
        let is_again = self.repaired.contains_key(&(pull, offset));
        self.spare_until((pull, offset), now + again, now);
        let usable = |id: &LineId| pool.tier(*id).is_some_and(|tier| tier < Tier::Full);
        let others = pool.copies().into_iter().filter(|other| *other != line && usable(other));
        let mut lines: Vec<LineId> = Some(line).filter(usable).into_iter().chain(others).collect();
        lines.truncate(if is_again { REPAIR_COPIES + 1 } else { REPAIR_COPIES });
        Some(lines)
    }

    /// A repair of so many bytes left on so many lines.
    pub fn count_repair(&mut self, lines: usize, bytes: usize) {
        self.counts.repairs += lines as u64;
        self.counts.repair_bytes += (lines * bytes) as u64;
        self.spare = (self.spare - (lines * bytes) as f64).max(-SPARE_MAX);
    }

    /// What to tell in a beat, so much as fits in `bytes`: first what none has told yet, then the
    /// others in turn.
    pub fn marks(&mut self, beat: u64, bytes: usize) -> Vec<Mark> {
        let mut told = Vec::new();
        let mut left = bytes;
        while let Some(pull) = self.untold.front().copied() {
            if let Some(mark) = self.marks.get_mut(&pull).filter(|mark| mark.beats == 0)
                && !mark.tell(pull, beat, &mut left, &mut told)
            {
                return told;
            }
            self.untold.pop_front();
        }
        let from = self.marked;
        let after = (Bound::Excluded(from), Bound::Unbounded);
        for range in [after, (Bound::Unbounded, Bound::Included(from))] {
            for (pull, mark) in self.marks.range_mut(range).filter(|(_, mark)| mark.beat != beat) {
                if !mark.tell(*pull, beat, &mut left, &mut told) {
                    return told;
                }
                self.marked = *pull;
            }
        }
        told
    }

    /// Whether something waits that no beat has told yet.
    pub fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// The other end heard our beats: bit `i` of `heard` is beat `base - i`.
    pub fn handle_beats(&mut self, base: u64, heard: u64) {
        if std::mem::replace(&mut self.heard, (base, heard)) != (base, heard) {
            self.marks.retain(|_, mark| !mark.was_heard(base, heard));
        }
    }

    /// A message went by a stream, on so many lines: it is not sent again while it may still arrive.
    pub fn sent_by_stream(
        &mut self,
        (pull, offset): (u64, u64),
        bytes: usize,
        lines: usize,
        now: Instant,
    ) {
        self.first(bytes);
        self.copy(lines.saturating_sub(1), bytes);
        self.spare_until((pull, offset), now + STREAM_PATIENCE, now);
    }

    /// A pull is closed.
    pub fn handle_close(&mut self, pull: u64) {
        self.marks.remove(&pull);
    }

    /// What happened so far.
    pub fn counts(&self) -> SenderCounts {
        self.counts
    }

    fn spare_until(&mut self, key: (u64, u64), until: Instant, now: Instant) {
        while let Some(oldest) = self.repairs.front().copied() {
            // Kept for a while after, to know what is asked for again.
            let is_over = |until: &Instant| *until + ASKED_AGAIN <= now;
            let is_over = self.repaired.get(&oldest).is_none_or(is_over);
            if !is_over && self.repairs.len() < REPAIRS_MAX {
                break;
            }
            self.repairs.pop_front();
            self.repaired.remove(&oldest);
        }
        if self.repaired.insert(key, until).is_none() {
            self.repairs.push_back(key);
        }
    }

    fn first(&mut self, bytes: usize) {
        self.counts.messages += 1;
        self.counts.bytes += bytes as u64;
        self.spare = (self.spare + bytes as f64 * COPIES_MAX).min(SPARE_MAX);
    }

    fn copy(&mut self, count: usize, bytes: usize) {
        self.counts.copies += count as u64;
        self.counts.copy_bytes += (count * bytes) as u64;
        self.spare = (self.spare - (count * bytes) as f64).max(-SPARE_MAX);
    }
}

impl Told {
    /// Tells it in a beat, unless it takes more than what is `left` of that.
    fn tell(&mut self, pull: u64, beat: u64, left: &mut usize, told: &mut Vec<Mark>) -> bool {
        let mark = Mark { pull, life: Mark::life_of(self.epoch), high: self.high };
        let Some(after) = left.checked_sub(mark.encoded_len()).filter(|_| told.len() < MARKS_MAX)
        else {
            return false;
        };
        *left = after;
        told.push(mark);
        let step = beat.saturating_sub(self.beat);
        self.beats =
            u32::try_from(step).ok().and_then(|n| self.beats.checked_shl(n)).unwrap_or(0) | 1;
        self.beat = beat;
        true
    }

    /// Whether a beat that told it is among those heard: bit `i` of `heard` is beat `base - i`.
    fn was_heard(&self, base: u64, heard: u64) -> bool {
        let aligned = |bits: u64, by: u64| {
            u32::try_from(by).ok().and_then(|by| bits.checked_shr(by)).unwrap_or(0)
        };
        let both = match base.checked_sub(self.beat) {
            Some(newer) => aligned(heard, newer) & self.beats,
            None => aligned(self.beats, self.beat - base) & heard,
        };
        both != 0
    }
}

/// Asks that one nack makes, oldest first.
pub fn asked(nack: &Nack) -> impl Iterator<Item = u64> {
    let ranges = nack.ranges.iter().copied();
    ranges.flat_map(|(first, count)| first..first.saturating_add(count)).take(NACK_MESSAGES_MAX)
}

/// How long a stream may take before what it carries is sent another way.
const STREAM_PATIENCE: Duration = Duration::from_millis(250);
/// Loss from which on one line alone is not trusted.
const LOSSY: f64 = 0.35;
/// Copies of a repair.
const REPAIR_COPIES: usize = 2;
/// Bytes of copies and repairs over those of first sends.
const COPIES_MAX: f64 = 1.5;
/// What may be saved of it.
const SPARE_MAX: f64 = 65_536.0;
/// How long after a repair the same request counts as one for what was lost again.
const ASKED_AGAIN: Duration = Duration::from_millis(500);
/// Repairs that are remembered, so that a request that came twice is answered once.
const REPAIRS_MAX: usize = 8192;
/// Messages that one request may ask for.
const NACK_MESSAGES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
