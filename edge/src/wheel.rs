//! A timing wheel: when to look at each of very many connections again, kept coarsely.
//!
//! A deadline that moves later, as heartbeats do all the time, costs nothing: the connection is looked
//! at as was planned, and put in again. (Varghese and Lauck, SOSP 1987, scheme 4, with lazy moves.)
//!
//! Invariant: whoever was put in is handed out by the first [`Wheel::turn`] at or after its tick, and
//! no entry lies further ahead than the wheel reaches.

use std::time::Instant;

use crate::shard::TICK;

/// Counts the wheel's ticks, [`Wheel::new`]'s being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

/// Keys by the tick at which they are looked at.
#[derive(Debug)]
pub struct Wheel<K> {
    started: Instant,
    /// The next tick to be handed out; its slot is `next % SLOTS`.
    next: u64,
    slots: Vec<Vec<K>>,
}

impl<K> Wheel<K> {
    /// An empty wheel.
    pub fn new(now: Instant) -> Self {
        Self { started: now, next: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() }
    }

    /// The tick at which to look at something that is due `at` an instant: not before it, but as
    /// early as the wheel reaches.
    pub fn tick(&self, at: Instant) -> Tick {
        let ticks = at.saturating_duration_since(self.started).as_nanos() / TICK.as_nanos();
        let tick = u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1);
        Tick(tick.clamp(self.next, self.next + SLOTS as u64 - 1))
    }

    /// Puts a key in, to be handed out at `tick`, which [`Wheel::tick`] has just answered.
    pub fn insert(&mut self, tick: Tick, key: K) {
        self.slots[(tick.0 % SLOTS as u64) as usize].push(key);
    }

    /// Hands out what is to be looked at by `now`, with the tick it was put in for.
    pub fn turn(&mut self, now: Instant) -> Vec<(Tick, K)> {
        let now = now.saturating_duration_since(self.started).as_nanos() / TICK.as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        // After a long pause of the machine one whole turn holds everything.
        let last = now.min(self.next.saturating_add(SLOTS as u64 - 1));
        let mut due = Vec::new();
        for tick in self.next..=last {
            let slot = &mut self.slots[(tick % SLOTS as u64) as usize];
            due.extend(std::mem::take(slot).into_iter().map(|key| (Tick(tick), key)));
        }
        self.next = self.next.max(now.saturating_add(1));
        due
    }
}

/// How far it reaches: 51 s, more than the usual 25 to 30 s between heartbeats.
const SLOTS: usize = 512;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn what_is_far_ahead_is_looked_at_on_the_way() {
        let start = start();
        let mut wheel = Wheel::new(start);
        let far = start + 10 * SLOTS as u32 * TICK;
        let tick = wheel.tick(far);
        wheel.insert(tick, 'a');
        assert_eq!(wheel.turn(start + (SLOTS as u32 - 2) * TICK), []);
        assert_eq!(wheel.turn(start + SLOTS as u32 * TICK), [(tick, 'a')]);
    }

    #[test]
    fn a_pause_of_the_machine_loses_nobody() {
        let start = start();
        let mut wheel = Wheel::new(start);
        for seconds in [1, 20, 50] {
            let tick = wheel.tick(start + Duration::from_secs(seconds));
            wheel.insert(tick, seconds);
        }
        let later = start + Duration::from_secs(3600);
        let due: Vec<u64> = wheel.turn(later).into_iter().map(|(_, key)| key).collect();
        assert_eq!(due, [1, 20, 50]);
        let tick = wheel.tick(later + Duration::from_secs(1));
        wheel.insert(tick, 4);
        assert_eq!(wheel.turn(later), []);
        assert_eq!(wheel.turn(later + Duration::from_millis(1200)), [(tick, 4)]);
    }

    proptest! {
        /// Everything is handed out once, not before it is due and at most two ticks after.
        #[test]
        fn nothing_is_early_or_late(
            keys in proptest::collection::vec(0u64..40_000, 1..50),
            steps in proptest::collection::vec(1u64..90, 1..20),
        ) {
            let start = start();
            let mut wheel = Wheel::new(start);
            for (index, ms) in keys.iter().enumerate() {
                let tick = wheel.tick(start + Duration::from_millis(*ms));
                wheel.insert(tick, index);
            }
            let mut seen = vec![0; keys.len()];
            let mut now = 0;
            for step in steps.iter().cycle() {
                let before = now;
                now += step;
                for (_, index) in wheel.turn(start + Duration::from_millis(now)) {
                    prop_assert!(keys[index] <= now);
                    prop_assert!(keys[index] + 200 > before, "{} at {now}", keys[index]);
                    seen[index] += 1;
                }
                if now > 41_000 { break }
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
        }
    }
}
