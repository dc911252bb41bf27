//! What time it is on the calendar: a machine that holds the calendar against the clock that only runs forward.
//!
//! A machine's calendar may be put right, or be wrong: then what was counted by months would be billed, and what
//! is kept for a month be forgotten, in a moment. So one that jumps is believed once it has stayed where it
//! jumped to: for [`SETTLED_AFTER`]; after a jump by more than [`FAR`] for as long as it was right before, within
//! [`FAR_SETTLED_AFTER`]. Until then the time is what it would have been. After a restart a calendar may be far
//! ahead because the machine was away; one far behind what was known before is wrong, and settles last.
//!
//! Invariant: from one look to the next the time goes on by what passed on the other clock, give or take
//! [`DRIFT_MAX`], unless a jump has settled.

use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::site::Moment;

/// The machine. The default knows nothing and believes what it is told first.
#[derive(Debug, Default)]
pub struct Calendar {
    /// When something was known last, before this process.
    last: Option<Duration>,
    /// The time at the last look.
    time: Option<(Instant, Duration)>,
    /// Since when the calendar is believed; jumps that have not settled make no difference.
    right_since: Option<Instant>,
    /// A calendar that says something else, by how much in seconds, and since when.
    other: Option<(i64, Instant)>,
}

impl Calendar {
    /// Goes on after a restart. `last` is when something was known last, since 1970: it is later than that by
    /// now, by no more than [`AWAY_MAX`], or the calendar has jumped.
    pub fn resumed(last: Duration) -> Self {
        Self { last: Some(last), ..Self::default() }
    }

    /// Looks at both clocks. Answers whether the calendar is believed.
    pub fn handle_time(&mut self, now: Moment) -> bool {
        let said = now.calendar.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = match (self.time, self.last) {
            (None, None) => said,
            (None, Some(last)) => last,
            (Some((then, time)), _) => time + now.monotonic.saturating_duration_since(then),
        };
        // Seconds since 1970 fit for longer than there will be calendars.
        let off = said.as_secs() as i64 - time.as_secs() as i64;
        let later = |last| last <= said + DRIFT_MAX && said <= last + AWAY_MAX;
        let goes_on = off.unsigned_abs() <= DRIFT_MAX.as_secs()
            || self.right_since.is_none() && self.last.is_some_and(later);
        if goes_on {
            self.believe(now.monotonic, said);
            return true;
        }
        self.time = Some((now.monotonic, time));
        let since = match self.other {
            Some((other, since)) if other.abs_diff(off) <= DRIFT_MAX.as_secs() => since,
            _ => now.monotonic,
        };
        self.other = Some((off, since));
        if now.monotonic.saturating_duration_since(since) >= self.settled_after(off, since) {
            self.right_since = None;
            self.believe(now.monotonic, said);
        }
        false
    }

    /// The time since 1970, as of the last look; none before the first.
    pub fn time(&self) -> Duration {
        self.time.map_or(Duration::ZERO, |(_, time)| time)
    }

    fn believe(&mut self, now: Instant, said: Duration) {
        self.time = Some((now, said));
        self.right_since.get_or_insert(now);
        self.other = None;
    }

    /// How long a calendar that is off by so many seconds `since` then must stay there.
    fn settled_after(&self, off: i64, since: Instant) -> Duration {
        if off.unsigned_abs() <= FAR.as_secs() {
            return SETTLED_AFTER;
        }
        match self.right_since {
            Some(right) => {
                let right = since.saturating_duration_since(right);
                right.clamp(SETTLED_AFTER, FAR_SETTLED_AFTER)
            }
            // Nobody is away for less than no time: this clock has no battery, and waits for the network's.
            None if self.last.is_some() && off < 0 => FAR_SETTLED_AFTER,
            None => SETTLED_AFTER,
        }
    }
}

/// How far the calendar may differ from the other clock from one look to the next.
pub const DRIFT_MAX: Duration = Duration::from_secs(60);

/// How long a calendar that jumped must stay there to be believed.
pub const SETTLED_AFTER: Duration = Duration::from_secs(600);

/// Jumps by more than this are nothing that usually happens.
pub const FAR: Duration = Duration::from_secs(86_400);

/// How long a calendar that jumped so far must stay there at most: long enough to be looked after.
pub const FAR_SETTLED_AFTER: Duration = Duration::from_secs(86_400);

/// How long a svrlist may have been away.
pub const AWAY_MAX: Duration = Duration::from_secs(31 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15 08:00:00 UTC.
    const START: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    /// A calendar, and both clocks.
    struct World {
        calendar: Calendar,
        now: Moment,
    }

    impl World {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the zero of the test"
        )]
        fn new(calendar: Calendar, said: u64) -> Self {
            let said = UNIX_EPOCH + Duration::from_secs(said);
            Self { calendar, now: Moment { monotonic: Instant::now(), calendar: said } }
        }

        fn look(&mut self) -> bool {
            self.calendar.handle_time(self.now)
        }

        fn jump(&mut self, seconds: i64) {
            let by = Duration::from_secs(seconds.unsigned_abs());
            let calendar = &mut self.now.calendar;
            *calendar = if seconds < 0 { *calendar - by } else { *calendar + by };
        }

        /// Looks every minute; answers for how many minutes the calendar is not believed.
        fn pass(&mut self, minutes: u64) -> u64 {
            let mut disbelieved = 0;
            for _ in 0..minutes {
                self.now.monotonic += Duration::from_secs(60);
                self.jump(60);
                disbelieved += u64::from(!self.look());
            }
            disbelieved
        }

        fn off(&self) -> i64 {
            let said = self.now.calendar.duration_since(UNIX_EPOCH).unwrap();
            said.as_secs() as i64 - self.calendar.time().as_secs() as i64
        }
    }

    #[test]
    fn a_small_jump_settles_in_ten_minutes_and_a_far_one_in_a_day() {
        for (jump, settles) in
            [(3600, 10), (-3600, 10), (400 * 86_400, 1440), (-400 * 86_400, 1440)]
        {
            let mut world = World::new(Calendar::default(), START);
            assert!(world.look());
            assert_eq!(world.pass(2 * 1440), 0);
            world.jump(jump);
            assert!(!world.look());
            assert_eq!(world.pass(settles - 1), settles - 1);
            assert_eq!(world.off(), jump, "the time goes on as it was");
            assert_eq!(world.pass(10), 1);
            assert_eq!(world.off(), 0);
            world.jump(-jump);
            assert_eq!(world.pass(9), 9, "and the way back is as long at least");
            // It turns out to be none.
            world.jump(jump);
            assert_eq!(world.pass(100), 0);
        }
    }

    #[test]
    fn a_machine_that_began_without_a_clock_is_set_right_soon() {
        let mut world = World::new(Calendar::default(), 0);
        assert!(world.look());
        world.pass(2);
        world.jump(START as i64);
        assert_eq!(world.pass(100), 11);
        assert_eq!(world.off(), 0);
    }

    #[test]
    fn after_a_restart_it_is_later_but_not_by_years() {
        let last = Duration::from_secs(START);
        for (said, is_believed) in [
            (START, true),
            (START - 30, true),
            (START + 30 * DAY, true),
            (START + 32 * DAY, false),
            (START + 4000 * DAY, false),
            (START - DAY, false),
            (0, false),
        ] {
            let mut world = World::new(Calendar::resumed(last), said);
            assert_eq!(world.look(), is_believed, "{said}");
            let off = if is_believed { 0 } else { said as i64 - START as i64 };
            assert_eq!(world.off(), off);
            // The clock is set right after a moment: it was an hour's outage.
            world.pass(2);
            world.jump((START + 3600 + 120) as i64 - (said + 120) as i64);
            if !is_believed {
                assert!(world.look(), "{said}");
                assert_eq!(world.off(), 0);
            }
        }
        // The time comes from the network, and that is late.
        let mut world = World::new(Calendar::resumed(last), 0);
        assert!(!world.look());
        assert_eq!(world.pass(60), 60);
        world.jump(START as i64);
        assert!(world.look());
        assert_eq!(world.off(), 0);
        let mut world = World::new(Calendar::resumed(last), 0);
        world.look();
        assert_eq!(world.pass(2000), 1440, "unless it stays so");
        assert_eq!(world.off(), 0);
        let mut world = World::new(Calendar::resumed(last), START + 4000 * DAY);
        world.look();
        assert_eq!(world.pass(100), 10, "or it was away for so long");
        assert_eq!(world.off(), 0);
    }
}
