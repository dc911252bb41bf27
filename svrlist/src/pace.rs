//! How often something may happen: at once while it is rare, at a rate when it is not. Time is given.

use std::time::{Duration, Instant};

/// Lets through one in `every`, and so many at once after a rest.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    every: Duration,
    at_once: u32,
    /// When all that was let through is as if it had come evenly.
    even: Option<Instant>,
}

impl Pace {
    /// `at_once` from 1 up.
    pub const fn new(every: Duration, at_once: u32) -> Self {
        Self { every, at_once, even: None }
    }

    /// Whether one more may happen now. If so, it counts.
    pub fn pass(&mut self, now: Instant) -> bool {
        let free = self.free_at().is_none_or(|at| at <= now);
        if free {
            self.even = Some(self.even.map_or(now, |even| even.max(now)) + self.every);
        }
        free
    }

    /// When the next one may happen; `None` if that is now, whenever now is.
    pub fn free_at(&self) -> Option<Instant> {
        let even = self.even?;
        // An instant before all others is long past.
        even.checked_sub(self.every * (self.at_once - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the test")]
    fn rare_ones_pass_at_once_and_many_at_the_rate() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut pace = Pace::new(Duration::from_millis(200), 3);
        let passed = |pace: &mut Pace, from_ms: u64, to_ms: u64| {
            let at = |ms| start + Duration::from_millis(ms);
            (from_ms..to_ms).filter(|ms| pace.pass(at(*ms))).count()
        };
        assert_eq!(pace.free_at(), None);
        assert_eq!(passed(&mut pace, 0, 10), 3, "the first at once");
        assert_eq!(pace.free_at(), Some(start + Duration::from_millis(200)));
        assert_eq!(passed(&mut pace, 10, 2_000), 9, "then five a second");
        assert_eq!(passed(&mut pace, 60_000, 60_010), 3, "and after a rest at once again");
    }
}
