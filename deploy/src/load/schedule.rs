//! When each message is due, fixed before the run.
//!
//! Message `n` of a room is due at `start + (n + phase) / rate`; phases spread the rooms over an
//! interval. Latency counts from there, so that a stall anywhere weighs on every message that was due
//! meanwhile, and not only on the one that was late (no coordinated omission).
//!
//! Invariant: messages come out in the order in which they are due, each once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::rooms::Rooms;

/// A message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When, in microseconds of the monotonic clock.
    pub at: u64,
    /// In which room.
    pub room: u32,
    /// Its number in the room.
    pub sequence: u32,
}

/// What some rooms' messages are due when.
#[derive(Debug)]
pub struct Schedule {
    start: u64,
    end: u64,
    /// Of each room: microseconds between messages, and from the start to the first.
    pace: Vec<(f64, f64)>,
    next: BinaryHeap<Reverse<Due>>,
}

impl Schedule {
    /// The schedule of the rooms whose number leaves the remainder `part` when divided by `parts`, from
    /// `start` until before `end`.
    pub fn new(rooms: &Rooms, part: u32, parts: u32, start: u64, end: u64) -> Self {
        let mut pace = Vec::new();
        let mut next = BinaryHeap::new();
        for room in 0..rooms.count() {
            let interval = 1e6 / rooms.groups[rooms.group_of(room)].rate;
            let phase = (f64::from(room) * GOLDEN).fract() * interval;
            pace.push((interval, phase));
            let at = start + phase as u64;
            if room % parts == part && at < end {
                next.push(Reverse(Due { at, room, sequence: 0 }));
            }
        }
        Self { start, end, pace, next }
    }

    /// When the next message is due; `None` after the last.
    pub fn next_at(&self) -> Option<u64> {
        self.next.peek().map(|Reverse(due)| due.at)
    }

    /// Takes what is due at `now`, at most `max` messages.
    pub fn take(&mut self, now: u64, max: usize, into: &mut Vec<Due>) {
        while into.len() < max {
            let Some(Reverse(due)) = self.next.peek().copied() else { return };
            if due.at > now {
                return;
            }
            self.next.pop();
            into.push(due);
            let (interval, phase) = self.pace[due.room as usize];
            let sequence = due.sequence + 1;
            let at = self.start + (phase + f64::from(sequence) * interval) as u64;
            if at < self.end {
                self.next.push(Reverse(Due { at, sequence, ..due }));
            }
        }
    }
}

/// The golden ratio's fraction: phases of successive rooms are far from one another.
const GOLDEN: f64 = 0.618_033_988_749_895;

#[cfg(test)]
mod tests {
    use super::super::rooms::RoomsArg;
    use super::*;

    fn all(mut schedule: Schedule, step: u64) -> Vec<Due> {
        let mut due = Vec::new();
        let mut now = 0;
        while schedule.next_at().is_some() {
            now += step;
            let mut some = Vec::new();
            schedule.take(now, usize::MAX, &mut some);
            assert!(some.iter().all(|due| due.at <= now && due.at > now.saturating_sub(step)));
            due.extend(some);
        }
        due
    }

    #[test]
    fn every_message_is_due_once_and_in_order() {
        let said = ["big=1@40", "small*7=1@3"].map(|text| RoomsArg::parse(text).unwrap());
        let rooms = Rooms::new(&said, 100, 1.0);
        let due = all(Schedule::new(&rooms, 0, 1, 1_000, 2_001_000), 777);
        assert!(due.is_sorted_by_key(|due| due.at));
        for room in 0..8 {
            let sequences: Vec<u32> =
                due.iter().filter(|due| due.room == room).map(|due| due.sequence).collect();
            let count = if room == 0 { 80 } else { 6 };
            assert_eq!(sequences, (0..count).collect::<Vec<u32>>(), "room {room}");
        }
        let halves = [0, 1].map(|part| all(Schedule::new(&rooms, part, 2, 1_000, 2_001_000), 999));
        assert_eq!(halves.concat().len(), due.len());
    }

    #[test]
    fn what_is_due_can_be_taken_in_parts() {
        let rooms = Rooms::new(&[RoomsArg::parse("a=1").unwrap()], 1, 1000.0);
        let mut schedule = Schedule::new(&rooms, 0, 1, 0, 1_000_000);
        let mut due = Vec::new();
        schedule.take(100_000, 7, &mut due);
        assert_eq!((due.len(), due[6].at), (7, 6_000));
        schedule.take(100_000, usize::MAX, &mut due);
        assert_eq!(due.len(), 101);
    }
}
