//! Control messages in order over lines that come and go.
//!
//! The sending end numbers them, keeps each until it is acknowledged, and sends it again on another
//! line when its line is gone or the acknowledgement is overdue. The receiving end drops what it
//! had and holds what is early. Bodies are shared, so keeping one costs a reference.
//!
//! At most [`FLIGHT_MAX`] are under way: so many at a time recover when a line fails, and so many
//! the other end may have to hold. While acknowledgements show that they move, none is overdue: a
//! long queue takes longer than one message.
//!
//! Invariant: the receiving end takes every message exactly once, in order, as long as both ends
//! live and some line works.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LineId;
use crate::limits::CONTROL_BYTES_MAX;
use crate::ring::Weigh;

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

/// More waits than an end may keep, or has been sent than it may send: the trunk must start anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {OUTBOX_MAX} control messages wait, or {FLIGHT_MAX} are under way")]
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
    pub fn handle_ack(&mut self, number: u64, now: Instant) {
        let before = self.sent;
        while self.sent > 0 && self.waiting.pop_front_if(|first| first.number <= number).is_some() {
            self.sent -= 1;
        }
        if self.sent < before {
            for waiting in self.waiting.iter_mut().take(self.sent) {
                waiting.again_at = waiting.again_at.max(now + waiting.pause);
            }
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
        let mut sent = self.waiting.iter_mut().take(self.sent);
        if let Some(waiting) = sent.find(|waiting| waiting.again_at <= now) {
            let other = lines.iter().copied().find(|line| Some(*line) != waiting.line);
            return Some(waiting.send(other.unwrap_or(best), overdue, now));
        }
        let waiting = self.waiting.get_mut(self.sent).filter(|_| self.sent < FLIGHT_MAX)?;
        self.sent += 1;
        Some(waiting.send(best, overdue, now))
    }

    /// When [`Outbox::poll`] may have something to send again.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().take(self.sent).map(|waiting| waiting.again_at).min()
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
    /// What the early ones weigh.
    held: usize,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self { had: 0, early: BTreeMap::new(), held: 0 }
    }
}

impl<M: Weigh> Inbox<M> {
    /// A message arrived on some line; what can be taken now is appended to `ready`. An early one
    /// that there is no memory for is dropped, as it is sent again.
    ///
    /// # Errors
    /// If it is earlier than the other end may send it.
    pub fn handle(
        &mut self,
        number: u64,
        message: M,
        ready: &mut VecDeque<M>,
    ) -> Result<(), Overflow> {
        if number <= self.had || self.early.contains_key(&number) {
            return Ok(());
        }
        if number > self.had + FLIGHT_MAX as u64 {
            return Err(Overflow);
        }
        let weight = message.weight();
        if number > self.had + 1 && self.held.saturating_add(weight) > EARLY_BYTES_MAX {
            return Ok(());
        }
        self.held += weight;
        self.early.insert(number, message);
        while let Some(next) = self.early.remove(&(self.had + 1)) {
            self.had += 1;
            self.held -= next.weight();
            ready.push_back(next);
        }
        Ok(())
    }
}

impl<M> Inbox<M> {
    /// The last message that was had in order: what is acknowledged.
    pub fn had(&self) -> u64 {
        self.had
    }
}

/// Control messages that may wait. A new trunk is told everything at once, in pieces of 200:
/// 8 million subscriptions with presence are 40,000 of them.
pub const OUTBOX_MAX: usize = 65_536;
/// Control messages that are sent before the first of them is acknowledged.
const FLIGHT_MAX: usize = 1024;
/// Bytes of early control messages that are held: four of the longest.
const EARLY_BYTES_MAX: usize = 4 * CONTROL_BYTES_MAX;
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
        outbox.handle_ack(1, now);
        assert_eq!(outbox.next_deadline(), Some(now + RTT));
        assert_eq!(sent(&mut outbox, now + RTT), Some((b, 2)));
        assert_eq!(sent(&mut outbox, now + 2 * RTT), None, "its second pause is longer");
        outbox.handle_line_gone(b, now + 2 * RTT);
        assert_eq!(sent(&mut outbox, now + 2 * RTT), Some((a, 2)));
        outbox.handle_ack(2, now + 2 * RTT);
        assert!(outbox.is_empty());
    }

    /// A message of so many bytes.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Sized(usize);

    impl Weigh for Sized {
        fn weight(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn both_ends_are_bounded() {
        let now = start();
        let mut outbox = Outbox::default();
        for _ in 0..OUTBOX_MAX {
            outbox.push((), now).unwrap();
        }
        assert_eq!(outbox.push((), now), Err(Overflow));
        outbox.handle_ack(7, now);
        assert_eq!(outbox.len(), OUTBOX_MAX, "none was sent");

        let (mut inbox, mut ready) = (Inbox::default(), VecDeque::new());
        let early = FLIGHT_MAX as u64 + 1;
        assert_eq!(inbox.handle(early, Sized(1), &mut ready), Err(Overflow));
        let half = Sized(EARLY_BYTES_MAX / 2);
        for number in [5, 4, 4, 3, 2] {
            inbox.handle(number, half, &mut ready).unwrap();
        }
        assert_eq!((inbox.early.len(), inbox.held), (2, EARLY_BYTES_MAX));
        for number in [1, 2, 3] {
            inbox.handle(number, half, &mut ready).unwrap();
        }
        assert_eq!((ready.len(), inbox.had(), inbox.held), (5, 5, 0), "what comes next is taken");
    }

    #[test]
    fn a_long_queue_is_sent_once_while_it_moves_and_recovers_at_once() {
        let mut now = start();
        let (a, b) = (LineId(0), LineId(1));
        let mut outbox = Outbox::default();
        for _ in 0..5000 {
            outbox.push((), now).unwrap();
        }
        // The line takes half a round trip for every hundred.
        let mut sent = 0;
        for acked in (0..4000).step_by(100) {
            outbox.handle_ack(acked, now);
            while let Some((_, number, _)) = outbox.poll(&[a, b], RTT, now) {
                sent += 1;
                assert_eq!(number, sent, "once each");
            }
            assert_eq!(sent, acked + FLIGHT_MAX as u64);
            now += RTT / 2;
        }
        // It fails: all that it carried goes by the other line.
        outbox.handle_line_gone(a, now);
        let mut again = Vec::new();
        while let Some((line, number, _)) = outbox.poll(&[b], RTT, now) {
            assert_eq!(line, b);
            again.push(number);
        }
        assert_eq!(again, (3901..3901 + FLIGHT_MAX as u64).collect::<Vec<_>>());
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
                outbox.push(Sized(number as usize), now).unwrap();
            }
            let mut flying: Vec<(LineId, u64, Arc<Sized>)> = Vec::new();
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
                        outbox.handle_ack(inbox.had(), now);
                    }
                }
            }
            while !outbox.is_empty() {
                while let Some((_, number, message)) = outbox.poll(&lines, RTT, now) {
                    inbox.handle(number, *message, &mut ready).unwrap();
                }
                outbox.handle_ack(inbox.had(), now);
                now += PAUSE_MAX;
            }
            prop_assert_eq!(Vec::from(ready), (0..count as usize).map(Sized).collect::<Vec<_>>());
        }
    }
}
