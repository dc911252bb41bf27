//! A congestion controller with a bandwidth budget, for paths that lose packets whatever is sent.
//!
//! Controllers that take every loss for congestion collapse where a carrier loses a quarter of all
//! packets at night: stock Cubic delivers a third of a 1.4 Mbit/s stream then. Here an operator says
//! what a line may use, and the window follows from it: twice the budget times the round-trip time.
//! It shrinks for the two signs that *we* are the cause: a queue that builds up (delay well above the
//! least seen), and loss that is higher while the line is full than while it is not. A delay that
//! stays while next to nothing is sent is no queue of ours: the path has become longer.
//!
//! Invariant: `WINDOW_MIN <= window <= WINDOW_MAX`, whatever the path does.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

/// What lines may use; makes a [`Budget`] for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetFactory {
    /// Bits per second that a line may use.
    pub bits_per_second: u64,
}

impl Default for BudgetFactory {
    fn default() -> Self {
        Self { bits_per_second: BITS_PER_SECOND }
    }
}

impl ControllerFactory for BudgetFactory {
    fn build(self: Arc<Self>, now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Budget::new(self.bits_per_second, now))
    }
}

/// The controller of one connection.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes_per_second: f64,
    /// The part of the budget that the path seems to carry, at most 1.
    share: f64,
    rtt: Duration,
    /// The least round-trip time of the path as it is now.
    rtt_min: Duration,
    /// Since when the share has been at its least, and the least round-trip time since then.
    least: Option<(Instant, Duration)>,
    period: Period,
    /// Loss in periods in which the line was not full: what the path loses anyway.
    loss_idle: f64,
}

/// What happened since the last decision.
#[derive(Clone, Copy, Debug)]
struct Period {
    began: Instant,
    acked: u64,
    lost: u64,
    /// Acknowledgements of packets that were sent while the window was the limit.
    full: u32,
    idle: u32,
}

impl Period {
    fn new(now: Instant) -> Self {
        Self { began: now, acked: 0, lost: 0, full: 0, idle: 0 }
    }
}

impl Budget {
    /// A controller that assumes a moderate path until it has measured one.
    pub fn new(bits_per_second: u64, now: Instant) -> Self {
        Self {
            bytes_per_second: bits_per_second as f64 / 8.0,
            share: 1.0,
            rtt: RTT_ASSUMED,
            rtt_min: Duration::MAX,
            least: None,
            period: Period::new(now),
            loss_idle: 0.0,
        }
    }

    /// Bytes that may be in flight.
    pub fn window(&self) -> u64 {
        let wanted = 2.0 * self.share * self.bytes_per_second * self.rtt.as_secs_f64();
        (wanted as u64).clamp(WINDOW_MIN, WINDOW_MAX)
    }

    /// `bytes` arrived; `limited` tells whether the window, not the application, was the limit.
    pub fn handle_acked(&mut self, bytes: u64, limited: bool, rtt: Duration, now: Instant) {
        self.rtt = rtt;
        self.rtt_min = self.rtt_min.min(rtt);
        self.period.acked += bytes;
        if limited {
            self.period.full += 1;
        } else {
            self.period.idle += 1;
        }
        let length = rtt.max(PERIOD_MIN);
        if now.saturating_duration_since(self.period.began) >= length {
            self.decide(now);
            self.period = Period::new(now);
        }
    }

    /// `bytes` were lost.
    pub fn handle_lost(&mut self, bytes: u64) {
        self.period.lost += bytes;
    }

    fn decide(&mut self, now: Instant) {
        let Period { acked, lost, full, idle, .. } = self.period;
        if acked + lost == 0 {
            return;
        }
        let loss = lost as f64 / (acked + lost) as f64;
        let was_full = full > idle;
        if !was_full {
            self.loss_idle += (loss - self.loss_idle) * LOSS_GAIN;
        }
        let queueing = self.rtt > self.rtt_min + QUEUE_MIN.max(self.rtt_min / 2);
        let ours = was_full && loss > self.loss_idle + LOSS_RISE;
        if queueing || ours {
            self.share = (self.share * BACK_OFF).max(SHARE_MIN);
            if ours {
                // Should loss stay when we send less, it was not ours after all.
                self.loss_idle += (loss - self.loss_idle) * LOSS_GAIN;
            }
        } else {
            self.share = (self.share * RECOVER).min(1.0);
        }
        if self.share > SHARE_MIN {
            self.least = None;
            return;
        }
        let (since, least) = self.least.get_or_insert((now, self.rtt));
        *least = self.rtt.min(*least);
        if now.saturating_duration_since(*since) >= LONGER_AFTER {
            self.rtt_min = *least;
            self.least = None;
        }
    }
}

impl Controller for Budget {
    fn on_ack(
        &mut self,
        now: Instant,
        _sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.handle_acked(bytes, !app_limited, rtt.get(), now);
    }

    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.handle_lost(lost_bytes);
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        self.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The least window: what lets a thin stream repair 25 % loss at 200 ms without waiting for it.
pub const WINDOW_MIN: u64 = 64 << 10;
/// The largest window: 320 Mbit/s at 200 ms.
pub const WINDOW_MAX: u64 = 8 << 20;
/// What a line may use where nobody says otherwise: 100 Mbit/s, 40,000 messages a second of 300 B.
pub const BITS_PER_SECOND: u64 = 100_000_000;
/// Round-trip time before any was measured.
const RTT_ASSUMED: Duration = Duration::from_millis(100);
/// Decisions are made at most so often, and not within a round trip of each other.
const PERIOD_MIN: Duration = Duration::from_millis(100);
/// Queueing delay that is no sign of congestion yet.
const QUEUE_MIN: Duration = Duration::from_millis(30);
const BACK_OFF: f64 = 0.7;
const RECOVER: f64 = 1.05;
const SHARE_MIN: f64 = 0.02;
/// A delay that is still there after so long at the least share is the path's: a queue of ours, of
/// two windows at most, is gone long before.
const LONGER_AFTER: Duration = Duration::from_secs(5);
/// Weight of a period in the estimate of what the path loses anyway.
const LOSS_GAIN: f64 = 0.2;
/// Loss above that estimate that counts as caused by us: 5 percentage points.
const LOSS_RISE: f64 = 0.05;

const _: () = assert!(WINDOW_MIN < WINDOW_MAX);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn now() -> Instant {
        Instant::now()
    }

    /// Runs `rounds` of 100 ms at 10 kB each; the window after the last.
    fn run(
        budget: &mut Budget,
        start: Instant,
        rounds: u32,
        loss: f64,
        limited: bool,
        rtt: Duration,
    ) {
        for round in 1..=rounds {
            let lost = (10_000.0 * loss) as u64;
            budget.handle_lost(lost);
            let now = start + round * Duration::from_millis(101);
            budget.handle_acked(10_000 - lost, limited, rtt, now);
        }
    }

    #[test]
    fn loss_that_the_path_has_anyway_changes_nothing() {
        let start = now();
        let mut budget = Budget::new(20_000_000, start);
        run(&mut budget, start, 100, 0.25, false, RTT);
        assert_eq!(budget.window(), 200_000, "2 x 20 Mbit/s x 40 ms");
        // Now the same loss while the line is full: it is not ours.
        run(&mut budget, start + Duration::from_secs(60), 20, 0.25, true, RTT);
        assert_eq!(budget.window(), 200_000);
    }

    #[test]
    fn loss_that_comes_with_our_rate_makes_room() {
        let start = now();
        let mut budget = Budget::new(20_000_000, start);
        run(&mut budget, start, 50, 0.01, false, RTT);
        run(&mut budget, start + Duration::from_secs(60), 3, 0.3, true, RTT);
        assert!(budget.window() < 100_000, "{}", budget.window());
        run(&mut budget, start + Duration::from_secs(120), 60, 0.01, true, RTT);
        assert_eq!(budget.window(), 200_000);
    }

    #[test]
    fn a_queue_makes_room_and_a_longer_path_does_not() {
        let start = now();
        let mut budget = Budget::new(20_000_000, start);
        run(&mut budget, start, 1, 0.0, true, RTT);
        run(&mut budget, start + Duration::from_secs(1), 8, 0.0, true, Duration::from_millis(120));
        assert!(budget.share < 0.4, "{}", budget.share);
        run(&mut budget, start + Duration::from_secs(60), 60, 0.0, true, Duration::from_millis(65));
        assert!(budget.share > 0.99, "{}", budget.share);
        // Another route, for good: no way to send less makes it shorter.
        let later = start + Duration::from_secs(120);
        run(&mut budget, later, 300, 0.0, true, Duration::from_millis(200));
        assert!(budget.share > 0.99, "{}", budget.share);
        assert_eq!(budget.window(), 1_000_000, "2 x 20 Mbit/s x 200 ms");
    }

    #[test]
    fn a_queue_of_ours_is_never_taken_for_the_path() {
        let mut now = now();
        let mut budget = Budget::new(100_000_000, now);
        budget.handle_acked(10_000, false, RTT, now);
        // A bottleneck of a tenth of the budget, which the window fills whenever it can, for an hour.
        let mut rtt = RTT;
        for _ in 0..36_000 {
            now += Duration::from_millis(101);
            rtt = Duration::from_secs_f64(budget.window() as f64 / 1_250_000.0).max(RTT);
            budget.handle_acked(10_000, true, rtt, now);
        }
        assert_eq!(budget.rtt_min, RTT);
        assert!(rtt < 4 * RTT, "{rtt:?}");
    }

    proptest! {
        #[test]
        fn the_window_keeps_its_bounds(
            bits in 0u64..10_000_000_000,
            steps in proptest::collection::vec((0u64..100_000, 0u64..100_000, any::<bool>(), 0u64..5_000_000), 0..100),
        ) {
            let mut now = now();
            let mut budget = Budget::new(bits, now);
            for (acked, lost, limited, rtt_us) in steps {
                now += Duration::from_millis(37);
                budget.handle_lost(lost);
                budget.handle_acked(acked, limited, Duration::from_micros(rtt_us), now);
                prop_assert!((WINDOW_MIN..=WINDOW_MAX).contains(&budget.window()));
                prop_assert!((SHARE_MIN..=1.0).contains(&budget.share));
            }
        }
    }
}
