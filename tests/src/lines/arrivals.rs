//! What arrived, and when a reader who wants order could have it.
//!
//! Invariant: a message is delivered in order when it and all messages before it have arrived, and never
//! if one of them never does.

use std::time::{Duration, Instant};

use super::row::Row;

/// Message `n` arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Its number, from 0 with the warm-up.
    pub(super) n: u64,
    /// When.
    pub(super) at: Instant,
}

/// What became of a message that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// When it was due, after the first that counts.
    pub due: Duration,
    /// From due to arrived, whatever was before it.
    pub arrived: Option<Duration>,
    /// From due to delivered in order.
    pub delivered: Option<Duration>,
}

/// All arrivals of a run.
#[derive(Debug)]
pub(super) struct Arrivals {
    first: Vec<Option<Instant>>,
    /// How many are still to come.
    missing: usize,
    /// Above every number that arrived.
    next: u64,
    /// Arrivals of what was there already.
    pub(super) duplicated: u64,
    /// Arrivals after a later message.
    pub(super) out_of_order: u64,
    /// Arrivals of what was never sent.
    pub(super) foreign: u64,
}

impl Arrivals {
    /// None yet, of `count` messages.
    pub(super) fn new(count: u64) -> Self {
        let first = vec![None; count as usize];
        let missing = first.len();
        Self { first, missing, next: 0, duplicated: 0, out_of_order: 0, foreign: 0 }
    }

    /// Takes one.
    pub(super) fn take(&mut self, Arrival { n, at }: Arrival) {
        match self.first.get_mut(n as usize) {
            None => self.foreign += 1,
            Some(Some(_)) => self.duplicated += 1,
            Some(first) => {
                *first = Some(at);
                self.missing -= 1;
                if n < self.next {
                    self.out_of_order += 1;
                }
                self.next = self.next.max(n + 1);
            }
        }
    }

    /// Whether every message arrived.
    pub(super) fn are_complete(&self) -> bool {
        self.missing == 0
    }

    /// What became of the messages that count, if the first of all was due at `begin`.
    pub(super) fn messages(&self, row: &Row, begin: Instant) -> Vec<Message> {
        let mut before = Some(begin);
        let mut messages = Vec::new();
        for (n, first) in (0..).zip(&self.first) {
            before = before.zip(*first).map(|(before, first)| before.max(first));
            if n >= row.warm() {
                let due = row.due(n);
                let since = |at: Instant| at.saturating_duration_since(begin + due);
                messages.push(Message {
                    due: due - row.due(row.warm()),
                    arrived: first.map(since),
                    delivered: before.map(since),
                });
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::smoke;
    use super::*;

    /// 100 messages a second, each arriving so many milliseconds after the first was due.
    fn arrivals(of: &[(u64, u64)], count: u64) -> (Arrivals, Vec<Message>) {
        let begin = Instant::now();
        let row = Row { warm_up: Duration::ZERO, ..smoke() };
        let mut arrivals = Arrivals::new(count);
        for (n, millis) in of {
            arrivals.take(Arrival { n: *n, at: begin + Duration::from_millis(*millis) });
        }
        let messages = arrivals.messages(&row, begin);
        (arrivals, messages)
    }

    fn millis(latency: Option<Duration>) -> Option<u128> {
        latency.map(|latency| latency.as_millis())
    }

    #[test]
    fn a_late_message_holds_up_those_behind_it() {
        let (arrivals, messages) = arrivals(&[(0, 20), (2, 40), (1, 75), (3, 80)], 4);
        let arrived: Vec<_> = messages.iter().map(|message| millis(message.arrived)).collect();
        let delivered: Vec<_> = messages.iter().map(|message| millis(message.delivered)).collect();
        assert_eq!(arrived, [20, 65, 20, 50].map(Some));
        assert_eq!(delivered, [20, 65, 55, 50].map(Some));
        assert!(arrivals.are_complete());
        assert_eq!((arrivals.out_of_order, arrivals.duplicated), (1, 0));
    }

    #[test]
    fn what_is_behind_a_lost_message_is_never_in_order() {
        let (arrivals, messages) = arrivals(&[(0, 20), (2, 40), (2, 41), (9, 50)], 3);
        let delivered: Vec<_> = messages.iter().map(|message| millis(message.delivered)).collect();
        assert_eq!(delivered, [Some(20), None, None]);
        assert_eq!(millis(messages[2].arrived), Some(20));
        assert!(!arrivals.are_complete());
        assert_eq!((arrivals.duplicated, arrivals.foreign), (1, 1));
    }

    #[test]
    fn the_warm_up_does_not_count_but_holds_up() {
        let begin = Instant::now();
        let row = Row { warm_up: Duration::from_millis(10), ..smoke() };
        let mut arrivals = Arrivals::new(2);
        for (n, millis) in [(1, 30), (0, 100)] {
            arrivals.take(Arrival { n, at: begin + Duration::from_millis(millis) });
        }
        let messages = arrivals.messages(&row, begin);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].due, Duration::ZERO);
        assert_eq!(millis(messages[0].arrived), Some(20));
        assert_eq!(millis(messages[0].delivered), Some(90));
    }
}
