//! Flap damping: a line that was bad is not preferred again at once.
//!
//! Each time it turns bad it is held down twice as long after it has recovered; a quiet minute takes
//! half of that back.

use std::time::{Duration, Instant};

/// The record of one line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    bad: bool,
    /// How long it is held down when it recovers next.
    hold: Duration,
    held_until: Option<Instant>,
}

impl Standing {
    /// It turned bad.
    pub(super) fn turn_bad(&mut self) {
        if !std::mem::replace(&mut self.bad, true) {
            self.hold = (self.hold * 2).clamp(HOLD_MIN, HOLD_MAX);
        }
    }

    /// Whether it is bad at `now`. Answers whether it is held down, if it is not.
    pub(super) fn review(&mut self, bad: bool, now: Instant) -> bool {
        if bad {
            self.turn_bad();
            return true;
        }
        if std::mem::replace(&mut self.bad, false) {
            self.held_until = Some(now + self.hold);
        }
        let Some(until) = self.held_until else { return false };
        if now < until {
            return true;
        }
        if now >= until + FORGIVEN_AFTER {
            self.hold /= 2;
            self.held_until = (self.hold >= HOLD_MIN).then_some(now);
        }
        false
    }
}

/// How long a line is held down at least: 20 beats.
const HOLD_MIN: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(60);
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_longer_each_time_and_forgives() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let mut now = Instant::now();
        let mut standing = Standing::default();
        assert!(!standing.review(false, now), "a new line is not held");
        let mut holds = Vec::new();
        for _ in 0..8 {
            assert!(standing.review(true, now));
            let since = now;
            while standing.review(false, now) {
                now += Duration::from_millis(500);
            }
            holds.push((now - since).as_secs());
        }
        assert_eq!(holds, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..7 {
            now += FORGIVEN_AFTER;
            assert!(!standing.review(false, now));
        }
        assert!(standing.review(true, now));
        let since = now;
        while standing.review(false, now) {
            now += Duration::from_millis(100);
        }
        assert!(now - since < Duration::from_secs(2));
    }
}
