//! Pulls: where an edge reads in a channel, and how much it may be sent. Decisions only; the line's
//! task (`io/line.rs`) reads and writes.
//!
//! Invariant: a pull is told `opened` before its first message and again after every jump of its
//! cursor, and never sends more messages than it has credit for.

use shared::message::Position;
use shared::ring::Cursor;
use shared::wire::frame::Frame;

/// One pull of a line session.
#[derive(Debug)]
pub struct Pull<C> {
    /// The number the edge gave it.
    pub id: u64,
    /// What it reads from.
    pub source: C,
    wish: Option<Cursor>,
    cursor: Option<Cursor>,
    credit: u32,
}

impl<C> Pull<C> {
    /// A pull that wants to begin at `wish`, or with what comes next.
    pub fn new(id: u64, source: C, wish: Option<Cursor>, credit: u32) -> Self {
        Self { id, source, wish, cursor: None, credit }
    }

    /// Messages that may be sent at the moment.
    pub fn credit(&self) -> usize {
        self.credit as usize
    }

    /// The edge has consumed messages.
    pub fn grant(&mut self, messages: u32) {
        self.credit = self.credit.saturating_add(messages);
    }

    /// Messages were sent; the cursor has moved to `cursor`.
    pub fn sent(&mut self, messages: usize, cursor: Cursor) {
        self.credit = self.credit.saturating_sub(u32::try_from(messages).unwrap_or(u32::MAX));
        self.cursor = Some(cursor);
    }

    /// Where it reads next, once it has been told so.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Chooses where to begin among what can be read, `oldest` to `top`, and says so. What the edge
    /// wished for and cannot have is a gap it learns of by the later beginning.
    pub fn open(&mut self, oldest: Cursor, top: Position) -> Frame {
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
    pub fn skip(&mut self, oldest: Cursor, top: Position) -> Frame {
        self.jump(oldest, top)
    }

    fn jump(&mut self, to: Cursor, top: Position) -> Frame {
        self.cursor = Some(to);
        Frame::Opened { pull: self.id, epoch: to.epoch, next: to.next, top: top.offset }
    }
}

#[cfg(test)]
mod tests {
    use shared::message::Epoch;

    use super::*;

    fn cursor(epoch: u32, next: u64) -> Cursor {
        Cursor { epoch: Epoch::new(epoch).expect("not zero"), next }
    }

    fn opened(wish: Option<Cursor>) -> Frame {
        let mut pull = Pull::new(3, (), wish, 10);
        let top = Position { epoch: cursor(7, 0).epoch, offset: 20 };
        let frame = pull.open(cursor(7, 5), top);
        let Frame::Opened { epoch, next, .. } = frame else { panic!("{frame:?}") };
        assert_eq!(pull.cursor(), Some(Cursor { epoch, next }));
        frame
    }

    fn at(next: u64) -> Frame {
        Frame::Opened { pull: 3, epoch: cursor(7, 0).epoch, next, top: 20 }
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
    fn credit_is_spent_and_granted() {
        let mut pull = Pull::new(3, (), None, 10);
        pull.sent(10, cursor(7, 31));
        assert_eq!(pull.credit(), 0);
        pull.grant(5);
        assert_eq!(pull.credit(), 5);
        pull.sent(9, cursor(7, 40));
        assert_eq!(pull.credit(), 0);
    }
}
