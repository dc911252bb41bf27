//! A line: two links and what is under way on them.
//!
//! The shell offers what arrives, takes what is due, and says what it could not send. It owns the
//! sockets or whatever stands for them, and the clock.
//!
//! Invariant: in each direction, `offered` = `passed` + everything in `dropped` + `waiting`, in
//! datagrams and in bytes, after every call.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::link::{Fate, Link, Reason};
use super::settings::Settings;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the side that calls, an edge, to its upstream.
    Up,
    /// Back to the side that called.
    Down,
}

impl Direction {
    /// Both, with their names.
    pub const NAMED: [(&str, Self); 2] = [("up", Self::Up), ("down", Self::Down)];
}

/// Something for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    /// Of [`Direction::Up`].
    pub up: T,
    /// Of [`Direction::Down`].
    pub down: T,
}

impl<T> Both<T> {
    /// That of one direction.
    pub fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// That of one direction, to be changed.
    pub fn of_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// Something else for each direction.
    pub fn map<U>(self, mut map: impl FnMut(T) -> U) -> Both<U> {
        Both { up: map(self.up), down: map(self.down) }
    }
}

/// An amount of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// Their payload.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, len: usize) {
        self.datagrams += 1;
        self.bytes += len as u64;
    }

    fn take(&mut self, len: usize) {
        self.datagrams = self.datagrams.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len as u64);
    }
}

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All that came.
    pub offered: Traffic,
    /// Those that left.
    pub passed: Traffic,
    /// Those that are under way.
    pub waiting: Traffic,
    /// The longest that one left after it was due.
    pub late_max: Duration,
    /// How long all of them together left after they were due.
    pub late_sum: Duration,
    dropped: [Traffic; Reason::NAMED.len()],
}

impl Counters {
    /// Those that were lost for a reason.
    pub fn dropped(&self, reason: Reason) -> Traffic {
        self.dropped[reason as usize]
    }

    /// How long a datagram left after it was due, on average.
    pub fn late_mean(&self) -> Duration {
        let passed = u32::try_from(self.passed.datagrams).unwrap_or(u32::MAX);
        self.late_sum.checked_div(passed).unwrap_or_default()
    }

    fn drop(&mut self, reason: Reason, len: usize) {
        self.dropped[reason as usize].add(len);
    }
}

/// A datagram that is to leave now.
#[derive(Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// Where it goes.
    pub direction: Direction,
    /// Its payload's length.
    pub len: usize,
    /// What the shell gave.
    pub datagram: T,
}

#[derive(Debug)]
struct Lane {
    link: Link,
    counters: Counters,
}

/// A line with what is under way on it; `T` is what the shell calls a datagram.
#[derive(Debug)]
pub struct Line<T> {
    lanes: Both<Lane>,
    waiting: BinaryHeap<Waiting<T>>,
    /// Numbers datagrams, so that those due at the same time keep their order.
    next: u64,
}

impl<T> Line<T> {
    /// A line with nothing under way. The seed decides the luck of both directions.
    pub fn new(settings: Both<Settings>, seed: u64, now: Instant) -> Self {
        let mut dice = Dice::new(seed);
        let lanes = settings.map(|settings| Lane {
            link: Link::new(settings, dice.number(), now),
            counters: Counters::default(),
        });
        Self { lanes, waiting: BinaryHeap::new(), next: 0 }
    }

    /// A datagram with `len` bytes of payload came; `datagram` is asked for only if it is carried.
    pub fn handle_datagram(
        &mut self,
        direction: Direction,
        len: usize,
        now: Instant,
        datagram: impl FnOnce() -> T,
    ) {
        let Lane { link, counters } = self.lanes.of_mut(direction);
        counters.offered.add(len);
        let at = match link.offer(len, now) {
            Fate::Drop(reason) => return counters.drop(reason, len),
            Fate::Deliver(at) => at,
        };
        let Traffic { datagrams, bytes } = counters.waiting;
        if datagrams >= WAITING_DATAGRAMS_MAX || bytes + len as u64 > WAITING_BYTES_MAX {
            return counters.drop(Reason::Full, len);
        }
        counters.waiting.add(len);
        let due = Due { direction, len, datagram: datagram() };
        self.waiting.push(Waiting { at, number: self.next, due });
        self.next += 1;
    }

    /// The next datagram that is due; it counts as passed.
    pub fn poll_due(&mut self, now: Instant) -> Option<Due<T>> {
        if self.next_deadline()? > now {
            return None;
        }
        let Waiting { at, due, .. } = self.waiting.pop()?;
        let counters = &mut self.lanes.of_mut(due.direction).counters;
        counters.waiting.take(due.len);
        counters.passed.add(due.len);
        let late = now - at;
        counters.late_sum += late;
        counters.late_max = counters.late_max.max(late);
        Some(due)
    }

    /// A datagram that was due could not be sent.
    pub fn handle_unsent(&mut self, direction: Direction, len: usize) {
        let counters = &mut self.lanes.of_mut(direction).counters;
        counters.passed.take(len);
        counters.drop(Reason::Socket, len);
    }

    /// A datagram came that there is no way to send on.
    pub fn handle_lost(&mut self, direction: Direction, len: usize) {
        let counters = &mut self.lanes.of_mut(direction).counters;
        counters.offered.add(len);
        counters.drop(Reason::Socket, len);
    }

    /// When the next datagram is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.peek().map(|waiting| waiting.at)
    }

    /// How good it is.
    pub fn settings(&self) -> Both<Settings> {
        Both { up: self.lanes.up.link.settings(), down: self.lanes.down.link.settings() }
    }

    /// Changes how good it is, from `now` on.
    pub fn set(&mut self, settings: Both<Settings>, now: Instant) {
        self.lanes.up.link.set(settings.up, now);
        self.lanes.down.link.set(settings.down, now);
    }

    /// What became of all datagrams.
    pub fn counters(&self) -> Both<Counters> {
        Both { up: self.lanes.up.counters, down: self.lanes.down.counters }
    }
}

/// A datagram under way. Those that are due first are the greatest.
#[derive(Debug)]
struct Waiting<T> {
    at: Instant,
    number: u64,
    due: Due<T>,
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Waiting<T> {}

/// Payload under way in one direction: 640 Mbit/s at 200 ms.
const WAITING_BYTES_MAX: u64 = 16 << 20;

/// Datagrams under way in one direction: small ones, of 256 bytes, fill the bytes above.
const WAITING_DATAGRAMS_MAX: u64 = WAITING_BYTES_MAX / 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::settings::Preset;
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn both(settings: Settings) -> Both<Settings> {
        Both { up: settings, down: settings }
    }

    fn slow(delay: u64) -> Settings {
        Settings { delay: Duration::from_millis(delay), ..Settings::default() }
    }

    fn check(line: &Line<u32>) {
        for (name, direction) in Direction::NAMED {
            let counters = *line.counters().of(direction);
            let dropped = Reason::NAMED.map(|(_, reason)| counters.dropped(reason));
            let sum = |of: fn(&Traffic) -> u64| {
                of(&counters.passed) + of(&counters.waiting) + dropped.iter().map(of).sum::<u64>()
            };
            assert_eq!(counters.offered.datagrams, sum(|of| of.datagrams), "{name}");
            assert_eq!(counters.offered.bytes, sum(|of| of.bytes), "{name}");
        }
    }

    #[test]
    fn datagrams_leave_when_they_are_due() {
        let start = start();
        let mut line = Line::new(Both { up: slow(20), down: slow(10) }, 1, start);
        line.handle_datagram(Direction::Up, 5, start, || 1);
        line.handle_datagram(Direction::Up, 6, start, || 2);
        line.handle_datagram(Direction::Down, 7, start, || 3);
        let mut left = Vec::new();
        while let Some(now) = line.next_deadline() {
            assert_eq!(line.poll_due(now - Duration::from_nanos(1)), None);
            let due = line.poll_due(now).unwrap();
            left.push(((now - start).as_millis(), due.direction, due.len, due.datagram));
            check(&line);
        }
        let (up, down) = (Direction::Up, Direction::Down);
        assert_eq!(left, [(10, down, 7, 3), (20, up, 5, 1), (20, up, 6, 2)]);
    }

    #[test]
    fn a_blackhole_ends_nothing_that_is_under_way_and_heals() {
        let start = start();
        let mut line = Line::new(both(slow(10)), 1, start);
        line.handle_datagram(Direction::Up, 5, start, || 1);
        line.set(line.settings().map(|own| Preset::Blackhole.over(own)), start);
        line.handle_datagram(Direction::Up, 5, start, || panic!("nobody needs it"));
        line.set(both(slow(10)), start);
        line.handle_datagram(Direction::Up, 5, start, || 3);
        let later = start + Duration::from_millis(10);
        let left = [line.poll_due(later), line.poll_due(later), line.poll_due(later)];
        assert_eq!(left.map(|due| due.map(|due| due.datagram)), [Some(1), Some(3), None]);
        assert_eq!(line.counters().up.dropped(Reason::Blackhole).datagrams, 1);
        check(&line);
    }

    #[test]
    fn what_cannot_be_sent_is_lost_and_counted() {
        let start = start();
        let mut line = Line::new(both(Settings::default()), 1, start);
        line.handle_datagram(Direction::Down, 5, start, || 1);
        let due = line.poll_due(start).unwrap();
        line.handle_unsent(due.direction, due.len);
        line.handle_lost(Direction::Up, 7);
        check(&line);
        let counters = line.counters();
        assert_eq!(counters.down.dropped(Reason::Socket), Traffic { datagrams: 1, bytes: 5 });
        assert_eq!(counters.up.dropped(Reason::Socket), Traffic { datagrams: 1, bytes: 7 });
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let start = start();
        for len in [0, 65_000] {
            let mut line = Line::new(both(slow(1000)), 1, start);
            for n in 0..WAITING_DATAGRAMS_MAX as u32 + 10 {
                line.handle_datagram(Direction::Up, len, start, || n);
            }
            check(&line);
            let Traffic { datagrams, bytes } = line.counters().up.waiting;
            assert!(datagrams <= WAITING_DATAGRAMS_MAX && bytes <= WAITING_BYTES_MAX);
            assert!(line.counters().up.dropped(Reason::Full).datagrams >= 10);
        }
    }

    #[test]
    fn lateness_is_told() {
        let start = start();
        let mut line = Line::new(both(Settings::default()), 1, start);
        for late in [100, 300] {
            line.handle_datagram(Direction::Up, 5, start, || 1);
            line.poll_due(start + Duration::from_micros(late)).unwrap();
        }
        assert_eq!(line.counters().up.late_max, Duration::from_micros(300));
        assert_eq!(line.counters().up.late_mean(), Duration::from_micros(200));
    }

    proptest! {
        #[test]
        fn every_datagram_is_accounted_for(
            seed: u64,
            preset in prop::sample::select(Preset::NAMED.map(|(_, preset)| preset).to_vec()),
            steps in prop::collection::vec((0_u64..5_000, any::<bool>(), 0_usize..1500), 1..200),
        ) {
            let mut now = start();
            let own = Settings { bits_per_second: 2_000_000, ..slow(20) };
            let mut line = Line::new(both(own).map(|own| preset.over(own)), seed, now);
            for (number, (pause, up, len)) in (0..).zip(steps) {
                now += Duration::from_micros(pause);
                let direction = if up { Direction::Up } else { Direction::Down };
                line.handle_datagram(direction, len, now, || number);
                while line.poll_due(now).is_some() {}
                check(&line);
            }
            let far = now + Duration::from_secs(60);
            while line.poll_due(far).is_some() {}
            check(&line);
            prop_assert_eq!(line.counters().up.waiting, Traffic::default());
        }
    }
}
