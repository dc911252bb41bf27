//! Control messages in order over lines that come and go.
//!
//! The sending end numbers them, keeps each until it is acknowledged, and sends it again on another
//! line when its line is gone or the acknowledgement is overdue. The receiving end drops what it
//! had and holds what is early. Bodies are shared, so keeping one costs a reference.
//!
//! Invariant: the receiving end takes every message exactly once, in order, as long as both ends
//! live and some line works.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LineId;

/// What one end has sent and the other has not acknowledged.
#[derive(Debug)]
pub struct Outbox<M> {
    /// The number of the next message.
    next: u64,
    waiting: VecDeque<Waiting<M>>,
    /// How many at the front have been sent at least once.
    sent: usize,
}

#[derive(Debug)]
struct Waiting<M> {
    number: u64,
    message: Arc<M>,
    line: Option<LineId>,
    /// When it is sent again unless acknowledged.
    again_at: Instant,
    pause: Duration,
}

/// More waits than an end may keep: the trunk must start anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{OUTBOX_MAX} control messages wait for an acknowledgement")]
pub struct Overflow;

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self { next: 1, waiting: VecDeque::new(), sent: 0 }
    }
}

impl<M> Outbox<M> {
    /// Takes a message to be sent.
    pub fn push(&mut self, message: M, now: Instant) -> Result<(), Overflow> {
        if self.waiting.len() >= OUTBOX_MAX {
            return Err(Overflow);
        }
        self.waiting.push_back(Waiting {
            number: self.next,
            message: Arc::new(message),
            line: None,
            again_at: now,
            pause: Duration::ZERO,
        });
        self.next += 1;
        Ok(())
    }

    /// Everything up to `number` has arrived.
    pub fn handle_ack(&mut self, number: u64) {
        while self.waiting.pop_front_if(|first| first.number <= number).is_some() {
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// A line is gone, and with it perhaps what it carried.
    pub fn handle_line_gone(&mut self, line: LineId, now: Instant) {
        for waiting in self.waiting.iter_mut().take(self.sent).filter(|w| w.line == Some(line)) {
            waiting.line = None;
            waiting.again_at = now;
        }
    }

    /// What to send now: new messages on the best of `lines`; those whose acknowledgement is
    /// overdue on the best that did not carry them last. `overdue` is how long one usually takes.
    pub fn poll(
        &mut self,
        lines: &[LineId],
        overdue: Duration,
        now: Instant,
    ) -> Option<(LineId, u64, Arc<M>)> {
        let best = *lines.first()?;
        let resent = self.waiting.iter_mut().take(self.sent.min(RESENT_MAX));
        if let Some(waiting) = resent.into_iter().find(|waiting| waiting.again_at <= now) {
            let other = lines.iter().copied().find(|line| Some(*line) != waiting.line);
            return Some(waiting.send(other.unwrap_or(best), overdue, now));
        }
        let waiting = self.waiting.get_mut(self.sent)?;
        self.sent += 1;
        Some(waiting.send(best, overdue, now))
    }

    /// When [`Outbox::poll`] may have something to send again.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().take(self.sent.min(RESENT_MAX)).map(|waiting| waiting.again_at).min()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether everything has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<M> Waiting<M> {
    fn send(&mut self, line: LineId, overdue: Duration, now: Instant) -> (LineId, u64, Arc<M>) {
        self.line = Some(line);
        self.pause = if self.pause.is_zero() { overdue } else { self.pause * 2 }.min(PAUSE_MAX);
        self.again_at = now + self.pause;
        (line, self.number, Arc::clone(&self.message))
    }
}

/// What one end has had of the other's messages.
#[derive(Debug)]
pub struct Inbox<M> {
    had: u64,
    early: BTreeMap<u64, M>,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self { had: 0, early: BTreeMap::new() }
    }
}

impl<M> Inbox<M> {
    /// A message arrived on some line; what can be taken now is appended to `ready`.
    ///
    /// # Errors
    /// If more is held than the other end may have sent.
    pub fn handle(
        &mut self,
        number: u64,
        message: M,
        ready: &mut VecDeque<M>,
    ) -> Result<(), Overflow> {
        if number <= self.had {
            return Ok(());
        }
        if number > self.had + OUTBOX_MAX as u64 {
            return Err(Overflow);
        }
        self.early.insert(number, message);
        while let Some(next) = self.early.remove(&(self.had + 1)) {
            self.had += 1;
            ready.push_back(next);
        }
        Ok(())
    }

    /// The last message that was had in order: what is acknowledged.
    pub fn had(&self) -> u64 {
        self.had
    }
}

/// Control messages that may wait. A new trunk is told everything at once, in pieces of 200:
/// 8 million subscriptions with presence are 40,000 of them.
pub const OUTBOX_MAX: usize = 65_536;
/// Only so many of the oldest are sent again: what follows them is most often not lost, but waits.
const RESENT_MAX: usize = 64;
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    const RTT: Duration = Duration::from_millis(40);

    #[test]
    fn what_is_overdue_goes_by_another_line() {
        let now = start();
        let (a, b) = (LineId(0), LineId(1));
        let mut outbox = Outbox::default();
        outbox.push("one", now).unwrap();
        outbox.push("two", now).unwrap();
        let sent = |outbox: &mut Outbox<_>, now| {
            outbox.poll(&[a, b], RTT, now).map(|(line, number, _)| (line, number))
        };
        assert_eq!(sent(&mut outbox, now), Some((a, 1)));
        assert_eq!(sent(&mut outbox, now), Some((a, 2)));
        assert_eq!(sent(&mut outbox, now), None);
        outbox.handle_ack(1);
        assert_eq!(outbox.next_deadline(), Some(now + RTT));
        assert_eq!(sent(&mut outbox, now + RTT), Some((b, 2)));
        assert_eq!(sent(&mut outbox, now + 2 * RTT), None, "its second pause is longer");
        outbox.handle_line_gone(b, now + 2 * RTT);
        assert_eq!(sent(&mut outbox, now + 2 * RTT), Some((a, 2)));
        outbox.handle_ack(2);
        assert!(outbox.is_empty());
    }

    #[test]
    fn both_ends_are_bounded() {
        let now = start();
        let mut outbox = Outbox::default();
        for _ in 0..OUTBOX_MAX {
            outbox.push((), now).unwrap();
        }
        assert_eq!(outbox.push((), now), Err(Overflow));
        let mut inbox = Inbox::default();
        assert_eq!(inbox.handle(OUTBOX_MAX as u64 + 1, (), &mut VecDeque::new()), Err(Overflow));
    }

    proptest! {
        /// Over lines that lose, repeat and reorder everything arrives once, in order.
        #[test]
        fn everything_arrives_once_in_order(
            count in 1u32..50,
            fates in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..300),
        ) {
            let mut now = start();
            let lines = [LineId(0), LineId(1), LineId(2)];
            let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
            for number in 0..count {
                outbox.push(number, now).unwrap();
            }
            let mut flying: Vec<(LineId, u64, Arc<u32>)> = Vec::new();
            let mut ready = VecDeque::new();
            for (fate, index) in fates {
                while let Some(sent) = outbox.poll(&lines, RTT, now) {
                    flying.push(sent);
                }
                now += RTT;
                if flying.is_empty() { continue }
                let at = index.index(flying.len());
                match fate {
                    0 => drop(flying.remove(at)),
                    1 => outbox.handle_line_gone(flying[at].0, now),
                    2 => {
                        let (_, number, message) = flying[at].clone();
                        inbox.handle(number, *message, &mut ready).unwrap();
                    }
                    _ => {
                        let (_, number, message) = flying.remove(at);
                        inbox.handle(number, *message, &mut ready).unwrap();
                        outbox.handle_ack(inbox.had());
                    }
                }
            }
            while !outbox.is_empty() {
                while let Some((_, number, message)) = outbox.poll(&lines, RTT, now) {
                    inbox.handle(number, *message, &mut ready).unwrap();
                }
                outbox.handle_ack(inbox.had());
                now += PAUSE_MAX;
            }
            prop_assert_eq!(Vec::from(ready), (0..count).collect::<Vec<_>>());
        }
    }
}
