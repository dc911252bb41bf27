//! A sample of droppable messages: what a screen can show, and less of them under pressure.

use std::time::Instant;

use crate::tokens::Tokens;

/// Admits a part of the droppable messages of a room: evenly so many of a hundred, and of those at
/// most its rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampler {
    /// Messages a second; 0 is all.
    pub(super) rate: u32,
    tokens: Option<Tokens>,
    credit: f64,
}

impl Sampler {
    /// Whether the next message is in the sample. `keep` is the share that pressure leaves, 0 to 1.
    pub(super) fn admits(&mut self, keep: f64, now: Instant) -> bool {
        self.credit += keep;
        if self.credit < 1.0 {
            return false;
        }
        self.credit -= 1.0;
        let rate = f64::from(self.rate);
        // What comes together is read together: a quarter of a second's worth may.
        let burst = (rate / 4.0).max(1.0);
        self.rate == 0
            || self.tokens.get_or_insert_with(|| Tokens::new(burst, now)).take(rate, burst, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn admitted(rate: u32, keep: f64, per_second: u32) -> usize {
        let start = Instant::now();
        let mut sampler = Sampler { rate, ..Sampler::default() };
        let at = |n: u32| start + Duration::from_secs(1) * n / per_second;
        (0..10 * per_second).filter(|n| sampler.admits(keep, at(*n))).count()
    }

    #[test]
    fn a_sample_has_its_rate() {
        assert_eq!(admitted(0, 1.0, 1000), 10_000);
        assert!((400..=410).contains(&admitted(40, 1.0, 1000)));
        assert_eq!(admitted(40, 1.0, 30), 300, "it is not filled up");
    }

    #[test]
    fn pressure_leaves_a_share() {
        assert_eq!(admitted(0, 0.25, 1000), 2500);
        assert_eq!(admitted(0, 0.0, 1000), 0);
        assert!((6990..=7010).contains(&admitted(0, 0.7, 1000)));
        assert!((8990..=9010).contains(&admitted(0, 0.9, 1000)));
        assert_eq!(admitted(40, 0.5, 40), 200);
    }
}
