//! What an edge that has too much to do leaves out, and when.
//!
//! First it refuses new connections; then it gives droppable messages to fewer and fewer; then it
//! writes less often, more at once. Messages of other classes are never left out. A machine without
//! I/O: it is told once a second how much is used of what there is.

use std::time::Duration;

/// How much is used of what may be used: 1 is all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of the busiest shard's core.
    pub cpu: f64,
    /// Of the uplink.
    pub bandwidth: f64,
}

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pressure {
    /// Whether new connections are refused.
    pub refuses: bool,
    /// The share of droppable messages that is kept, 0 to 1.
    pub keep: f64,
    /// The least time between two rounds of writing to the members of a room.
    pub sweep_interval: Duration,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { refuses: false, keep: 1.0, sweep_interval: Duration::ZERO }
    }
}

impl Pressure {
    /// The pressure a second later, if so much was used in it.
    pub fn next(self, usage: Usage) -> Self {
        let used = usage.cpu.max(usage.bandwidth);
        let refuses = used >= if self.refuses { ACCEPT_BELOW } else { REFUSE_FROM };
        let mut next = Self { refuses, ..self };
        if used > 1.0 {
            // By as much as is too much, and not below what would be hard to come back from.
            next.keep = self.keep * (1.0 / used).min(KEEP_STEP);
            if next.keep < KEEP_MIN {
                next.keep = 0.0;
                next.sweep_interval =
                    (self.sweep_interval * 2).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX);
            }
        } else if used >= ACCEPT_BELOW {
            // There is a little to spare.
            next.keep = (self.keep + KEEP_BACK / 5.0).min(1.0);
        } else {
            next.sweep_interval = self.sweep_interval / 2;
            if next.sweep_interval < SWEEP_INTERVAL_MIN {
                next.sweep_interval = Duration::ZERO;
                next.keep = (self.keep + KEEP_BACK).min(1.0);
            }
        }
        next
    }
}

/// New connections are refused from here on, before old ones notice anything.
const REFUSE_FROM: f64 = 0.95;
/// They are accepted again below, and less is left out.
const ACCEPT_BELOW: f64 = 0.85;
/// The share kept falls at least so fast.
const KEEP_STEP: f64 = 0.7;
/// A smaller share is none.
const KEEP_MIN: f64 = 0.05;
/// The share kept grows so much a second.
const KEEP_BACK: f64 = 0.1;
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Viewers do not notice half a second.
const SWEEP_INTERVAL_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: usize, start: Pressure, used: f64) -> Pressure {
        let usage = Usage { cpu: used, bandwidth: used / 2.0 };
        (0..seconds).fold(start, |pressure, _| pressure.next(usage))
    }

    #[test]
    fn new_connections_are_refused_before_anything_is_left_out() {
        let full = after(60, Pressure::default(), 0.97);
        assert_eq!(full, Pressure { refuses: true, ..Pressure::default() });
        assert!(after(1, full, 0.9).refuses, "not to and fro");
        assert_eq!(after(1, full, 0.8), Pressure::default());
        assert!(!after(60, Pressure::default(), 0.9).refuses);
    }

    #[test]
    fn droppable_messages_go_before_writing_is_delayed() {
        let one = after(1, Pressure::default(), 1.05);
        assert!(one.keep < 0.75 && one.sweep_interval.is_zero());
        let nine = after(9, Pressure::default(), 1.05);
        assert_eq!((nine.keep, nine.sweep_interval), (0.0, SWEEP_INTERVAL_MIN));
        let all = after(60, Pressure::default(), 3.0);
        assert_eq!((all.keep, all.sweep_interval), (0.0, SWEEP_INTERVAL_MAX));
    }

    #[test]
    fn what_was_left_out_comes_back_in_the_other_order() {
        let all = after(60, Pressure::default(), 1.5);
        let some = after(3, all, 0.5);
        assert!(some.keep < 0.01 && some.sweep_interval > Duration::ZERO);
        assert_eq!(after(20, all, 0.5), Pressure::default());
    }
}
