//! The account of a line: bytes over all its connections, time without one, and the 95th percentile
//! that carriers bill.
//!
//! Billing takes the bytes of every five minutes of a month, 8,640 samples, and charges the rate that
//! 95 % of them do not exceed: the 432 highest, 36 hours, are free.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Towards here.
    pub incoming: u64,
    /// Away from here.
    pub outgoing: u64,
}

/// The account of one line since this process began.
#[derive(Clone, Debug)]
pub struct Ledger {
    total: Bytes,
    /// What the present connection had carried when it was last looked at.
    last: Bytes,
    looked_at: Instant,
    down: Duration,
    sample_began: Instant,
    sample: Bytes,
    samples: VecDeque<Bytes>,
}

impl Ledger {
    /// An account that begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            total: Bytes::default(),
            last: Bytes::default(),
            looked_at: now,
            down: Duration::ZERO,
            sample_began: now,
            sample: Bytes::default(),
            samples: VecDeque::new(),
        }
    }

    /// The line's connection has carried so much since it opened; `None`: there is none.
    pub fn look(&mut self, carried: Option<Bytes>, now: Instant) {
        let elapsed = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        while now.saturating_duration_since(self.sample_began) >= SAMPLE {
            self.sample_began += SAMPLE;
            self.samples.push_back(std::mem::take(&mut self.sample));
            if self.samples.len() > SAMPLES_MAX {
                self.samples.pop_front();
            }
        }
        let Some(carried) = carried else {
            self.last = Bytes::default();
            self.down += elapsed;
            return;
        };
        // Less than before is another connection.
        let since = |now: u64, last: u64| if now < last { now } else { now - last };
        let more = Bytes {
            incoming: since(carried.incoming, self.last.incoming),
            outgoing: since(carried.outgoing, self.last.outgoing),
        };
        self.last = carried;
        for sum in [&mut self.total, &mut self.sample] {
            sum.incoming += more.incoming;
            sum.outgoing += more.outgoing;
        }
    }

    /// Bytes of all connections.
    pub fn total(&self) -> Bytes {
        self.total
    }

    /// Time without a connection.
    pub fn down(&self) -> Duration {
        self.down
    }

    /// The rate that 95 % of the samples of the last 30 days do not exceed, bits per second, incoming
    /// and outgoing; the sample under way counts for what it has.
    pub fn percentile_95(&self) -> [f64; 2] {
        let rate = |of: fn(&Bytes) -> u64| {
            let mut bytes: Vec<u64> = self.samples.iter().chain([&self.sample]).map(of).collect();
            bytes.sort_unstable_by(|a, b| b.cmp(a));
            let free = bytes.len() / 20;
            bytes.get(free).map_or(0.0, |bytes| *bytes as f64 * 8.0 / SAMPLE.as_secs_f64())
        };
        [rate(|bytes| bytes.incoming), rate(|bytes| bytes.outgoing)]
    }
}

/// What one sample of a carrier's bill spans.
pub const SAMPLE: Duration = Duration::from_secs(300);
/// Thirty days of them.
const SAMPLES_MAX: usize = 8640;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_charged_without_its_highest_36_hours() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let mut now = Instant::now();
        let mut ledger = Ledger::new(now);
        let mut carried = Bytes::default();
        for sample in 0..SAMPLES_MAX as u64 {
            // 431 samples at 80 Mbit/s, the others at 8 Mbit/s in and none out.
            carried.incoming +=
                if sample % 20 == 0 && sample > 0 { 3_000_000_000 } else { 300_000_000 };
            ledger.look(Some(carried), now + SAMPLE / 2);
            now += SAMPLE;
            ledger.look(Some(carried), now);
        }
        assert_eq!(ledger.percentile_95(), [8_000_000.0, 0.0]);
        assert_eq!(ledger.total(), carried);
    }

    #[test]
    fn another_connection_counts_on_and_time_without_one_is_told() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut ledger = Ledger::new(start);
        let bytes = |incoming| Some(Bytes { incoming, outgoing: 0 });
        ledger.look(bytes(100), start + second);
        ledger.look(None, start + 2 * second);
        ledger.look(None, start + 3 * second);
        ledger.look(bytes(30), start + 4 * second);
        ledger.look(bytes(20), start + 5 * second);
        assert_eq!(ledger.total().incoming, 150);
        assert_eq!(ledger.down(), 2 * second);
    }
}
