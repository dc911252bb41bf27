//! Whose turn it is: rooms that have something to write, each at most once in the queue, and those
//! that must wait until an instant.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Instant;

/// Rooms to be swept, first come first served.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: VecDeque<usize>,
    queued: HashSet<usize>,
    timers: BTreeSet<(Instant, usize)>,
}

impl Turns {
    /// A room has something to write, from `at` on; `None` is at once.
    pub(super) fn push(&mut self, room: usize, at: Option<Instant>) {
        match at {
            Some(at) => drop(self.timers.insert((at, room))),
            None if self.queued.insert(room) => self.queue.push_back(room),
            None => {}
        }
    }

    /// The room whose turn it is.
    pub(super) fn pop(&mut self) -> Option<usize> {
        while let Some(room) = self.queue.pop_front() {
            if self.queued.remove(&room) {
                return Some(room);
            }
        }
        None
    }

    /// Whether it is some room's turn.
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// A room is gone. (Its place in the queue is passed over, or serves the room that has its number
    /// next.)
    pub(super) fn remove(&mut self, room: usize) {
        self.queued.remove(&room);
        self.timers.retain(|(_, waiting)| *waiting != room);
    }

    /// Time has come to `now`: rooms that waited until then have their turn.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        while let Some((at, room)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            self.push(room, None);
        }
    }

    /// When [`Turns::handle_deadline`] wants to be called next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }
}
