//! A token bucket.

use std::time::Instant;

/// What may still be done at once, and when that was counted.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    left: f64,
    counted_at: Instant,
}

impl Tokens {
    /// A full bucket.
    pub fn new(burst: f64, now: Instant) -> Self {
        Self { left: burst, counted_at: now }
    }

    /// Takes one, if there is one. There are at most `burst`, and `per_second` more every second.
    pub fn take(&mut self, per_second: f64, burst: f64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.left = (self.left + elapsed * per_second).min(burst);
        self.counted_at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }

    /// Whether it would be full by now.
    pub fn is_full(&self, per_second: f64, burst: f64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.left + elapsed * per_second >= burst
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut tokens = Tokens::new(3.0, start);
        let mut take = |ms| {
            let now = start + Duration::from_millis(ms);
            (0..).take_while(|_| tokens.take(10.0, 3.0, now)).count()
        };
        assert_eq!([take(0), take(99), take(100), take(1000), take(5000)], [3, 0, 1, 3, 3]);
        let mut tokens = Tokens::new(2.0, start);
        assert!(tokens.is_full(1.0, 2.0, start));
        assert!(tokens.take(1.0, 2.0, start));
        assert!(!tokens.is_full(1.0, 2.0, start + Duration::from_millis(999)));
        assert!(tokens.is_full(1.0, 2.0, start + Duration::from_millis(1000)));
    }
}
