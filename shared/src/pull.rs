//! Pulls: where an edge reads in a channel, and how far it may be sent. Decisions only; the trunk's
//! task of whoever is pulled from reads and writes.
//!
//! Invariant: a pull is told `opened` before its first message and again after every jump of its
//! cursor, and nothing at or after the offset that its credit reaches is sent.

use std::collections::{HashSet, VecDeque};

use crate::message::Position;
use crate::ring::Cursor;
use crate::wire::control::Opened;

/// One pull of a trunk.
#[derive(Debug)]
pub struct Pull<C> {
    /// The number the edge gave it.
    pub id: u64,
    /// What it reads from.
    pub source: C,
    wish: Option<Cursor>,
    cursor: Option<Cursor>,
    /// Messages that may be sent from any beginning.
    credit: u32,
    /// Messages before this offset may be sent.
    until: u64,
}

impl<C> Pull<C> {
    /// A pull that wants to begin at `wish`, or with what comes next.
    pub fn new(id: u64, source: C, wish: Option<Cursor>, credit: u32) -> Self {
        Self { id, source, wish, cursor: None, credit, until: 0 }
    }

    /// Messages that may be sent at the moment.
    pub fn credit(&self) -> usize {
        let left = self.cursor.map_or(0, |cursor| self.until.saturating_sub(cursor.next));
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// The edge takes messages before this offset.
    pub fn grant(&mut self, until: u64) {
        self.until = self.until.max(until);
    }

    /// Messages were sent; the cursor has moved to `cursor`.
    pub fn sent(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// Where it reads next, once it has been told so.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Chooses where to begin among what can be read, `oldest` to `top`, and says so. What the edge
    /// wished for and cannot have is a gap it learns of by the later beginning.
    pub fn open(&mut self, oldest: Cursor, top: Position) -> Opened {
        let end = Cursor::after(top);
        let start = match self.wish.take() {
            Some(wish) if wish.epoch == top.epoch && wish.next <= end.next => {
                Cursor { next: wish.next.max(oldest.next), ..wish }
            }
            Some(wish) => {
                if wish.epoch == top.epoch {
                    // The log's owner gives a damaged log another epoch, so this cannot be ours.
                    tracing::error!(pull = self.id, ?wish, ?top, "an edge is ahead of the log");
                }
                end
            }
            None => end,
        };
        self.jump(start, top)
    }

    /// What comes next is gone: goes on at `oldest`, and says so.
    pub fn skip(&mut self, oldest: Cursor, top: Position) -> Opened {
        self.jump(oldest, top)
    }

    fn jump(&mut self, to: Cursor, top: Position) -> Opened {
        self.cursor = Some(to);
        self.until = self.until.max(to.next.saturating_add(self.credit.into()));
        Opened { pull: self.id, epoch: to.epoch.number(), next: to.next, top: top.offset }
    }
}

/// Pulls that wait for something, in order, each once.
#[derive(Debug, Default)]
pub struct Turns {
    order: VecDeque<u64>,
    waiting: HashSet<u64>,
}

impl Turns {
    /// A pull waits; nothing changes if it does already.
    pub fn push(&mut self, pull: u64) {
        if self.waiting.insert(pull) {
            self.order.push_back(pull);
        }
    }

    /// The pull that has waited longest.
    pub fn pop(&mut self) -> Option<u64> {
        let pull = self.order.pop_front()?;
        self.waiting.remove(&pull);
        Some(pull)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Epoch;

    fn cursor(epoch: u32, next: u64) -> Cursor {
        Cursor { epoch: Epoch::new(epoch).expect("not zero"), next }
    }

    fn opened(wish: Option<Cursor>) -> Opened {
        let mut pull = Pull::new(3, (), wish, 10);
        let top = Position { epoch: cursor(7, 0).epoch, offset: 20 };
        let opened = pull.open(cursor(7, 5), top);
        assert_eq!(pull.cursor(), Some(cursor(opened.epoch, opened.next)));
        assert_eq!(pull.credit(), 10);
        opened
    }

    fn at(next: u64) -> Opened {
        Opened { pull: 3, epoch: 7, next, top: 20 }
    }

    #[test]
    fn begins_where_it_wishes_or_as_near_as_can_be() {
        assert_eq!(opened(None), at(21));
        assert_eq!(opened(Some(cursor(7, 10))), at(10));
        assert_eq!(opened(Some(cursor(7, 21))), at(21));
        assert_eq!(opened(Some(cursor(7, 2))), at(5), "a gap, and all that is left after it");
        assert_eq!(opened(Some(cursor(8, 10))), at(21), "another life of the log");
        assert_eq!(opened(Some(cursor(7, 30))), at(21), "what was never written");
    }

    #[test]
    fn credit_is_a_place_that_only_moves_on() {
        let mut pull = Pull::new(3, (), Some(cursor(7, 21)), 10);
        assert_eq!(pull.credit(), 0, "not open yet");
        pull.open(cursor(7, 5), Position { epoch: cursor(7, 0).epoch, offset: 40 });
        pull.sent(cursor(7, 31));
        assert_eq!(pull.credit(), 0);
        pull.grant(36);
        pull.grant(33);
        assert_eq!(pull.credit(), 5);
        pull.skip(cursor(7, 100), Position { epoch: cursor(7, 0).epoch, offset: 140 });
        assert_eq!(pull.credit(), 10, "a jump brings its own");
    }

    #[test]
    fn turns_come_in_order_and_each_pull_has_one() {
        let mut turns = Turns::default();
        [3, 1, 3, 2].into_iter().for_each(|pull| turns.push(pull));
        assert_eq!(turns.pop(), Some(3));
        turns.push(3);
        let rest: Vec<u64> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(rest, [1, 2, 3]);
        assert!(turns.is_empty());
    }
}
