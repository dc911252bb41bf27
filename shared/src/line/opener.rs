//! Which lines a caller tries: the cross product of its own addresses and the upstream's, within a
//! bound, each with pauses that grow while it does not work.
//!
//! Lines that the caller is configured to have are tried for ever. Of those that an upstream told,
//! one that fails gives its place to another, and a line that is about to be left takes none.
//!
//! Invariant: a line has at most one attempt or connection at a time, and every line that has none
//! has an instant at which it is tried again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{LineEnd, LineId};
use crate::wire::datagram::LINES_MAX;

#[derive(Debug)]
struct Candidate {
    local: LineEnd,
    remote: LineEnd,
    state: State,
    /// Whether it was there from the beginning.
    configured: bool,
    /// Whether its other end is about to leave, or left.
    draining: bool,
    /// Attempts that failed since it last worked.
    failures: u32,
    /// Whether it ever worked.
    worked: bool,
    opened_at: Option<Instant>,
}

/// Where a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected; tried again at the instant.
    Down {
        /// When.
        retry_at: Instant,
    },
    /// An attempt is under way.
    Opening,
    /// Connected.
    Up,
}

/// A line to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The line.
    pub line: LineId,
    /// The address to call from.
    pub local: LineEnd,
    /// The address to call.
    pub remote: LineEnd,
}

/// The lines that a caller could have.
#[derive(Debug)]
pub struct Opener {
    locals: Vec<LineEnd>,
    candidates: BTreeMap<LineId, Candidate>,
    next_id: u32,
    dice: u64,
}

impl Opener {
    /// The lines between `locals` and `remotes`, all of which are tried at once.
    pub fn new(locals: Vec<LineEnd>, remotes: &[LineEnd], seed: u64, now: Instant) -> Self {
        let mut opener = Self { locals, candidates: BTreeMap::new(), next_id: 0, dice: seed | 1 };
        opener.add_remotes(remotes, now);
        opener.candidates.values_mut().for_each(|candidate| candidate.configured = true);
        opener
    }

    /// The upstream answers at these addresses too: lines to them are tried, those within one
    /// carrier first, until there are [`CANDIDATES_MAX`]. Answers whether there is any new one.
    pub fn add_remotes(&mut self, remotes: &[LineEnd], now: Instant) -> bool {
        for remote in remotes {
            for known in self.candidates.values_mut().map(|known| &mut known.remote) {
                if known.address == remote.address && known.carrier.is_empty() {
                    known.carrier.clone_from(&remote.carrier);
                }
            }
        }
        let mut pairs: Vec<(LineEnd, &LineEnd)> = self
            .locals
            .iter()
            .flat_map(|local| remotes.iter().map(move |remote| (local.clone(), remote)))
            .filter(|(local, remote)| local.address.is_ipv4() == remote.address.is_ipv4())
            .collect();
        pairs.sort_by_key(|(local, remote)| !local.shares_carrier(remote));
        let first = self.next_id;
        for (local, remote) in pairs {
            let known = self.candidates.values().any(|known| {
                known.local.address == local.address && known.remote.address == remote.address
            });
            if known || !self.make_room() {
                continue;
            }
            let candidate = Candidate {
                local,
                remote: remote.clone(),
                state: State::Down { retry_at: now },
                configured: false,
                draining: false,
                failures: 0,
                worked: false,
                opened_at: None,
            };
            self.candidates.insert(LineId(self.next_id), candidate);
            self.next_id += 1;
        }
        self.next_id > first
    }

    /// Answers whether there is a place for another line; one that fails gives its own.
    fn make_room(&mut self) -> bool {
        let staying = self.candidates.values().filter(|candidate| !candidate.draining).count();
        if staying < CANDIDATES_MAX && self.candidates.len() < LINES_MAX {
            return true;
        }
        let fails = |c: &Candidate| {
            !c.configured && c.failures > 0 && matches!(c.state, State::Down { .. })
        };
        let failing = self.candidates.iter().filter(|(_, candidate)| fails(candidate));
        let worst = failing.max_by_key(|(_, c)| (!c.worked, c.failures)).map(|(line, _)| *line);
        worst.is_some_and(|line| self.candidates.remove(&line).is_some())
    }

    /// The upstream is at `remote` now: every line that leads there and is down is tried at once.
    /// Answers whether any leads there.
    pub fn hasten(&mut self, remote: SocketAddr, now: Instant) -> bool {
        let mut leads = false;
        for candidate in self.candidates.values_mut().filter(|c| c.remote.address == remote) {
            leads = true;
            if let State::Down { retry_at } = &mut candidate.state {
                *retry_at = now;
            }
        }
        leads
    }

    /// The other end of a line is about to leave: once closed, it is tried as one that never worked.
    pub fn drain(&mut self, line: LineId) {
        if let Some(candidate) = self.candidates.get_mut(&line) {
            candidate.draining = true;
            candidate.worked = false;
            candidate.failures = candidate.failures.max(DRAINED_FAILURES);
            candidate.opened_at = None;
        }
    }

    /// The upstream wants none of our lines: each is tried within [`PAUSE_NEVER_MAX`], as one that
    /// never worked.
    pub fn handle_barred(&mut self, now: Instant) {
        for candidate in self.candidates.values_mut() {
            candidate.worked = false;
            candidate.failures = u32::MAX;
            candidate.opened_at = None;
            if let State::Down { retry_at } = &mut candidate.state {
                *retry_at = now + spread(PAUSE_NEVER_MAX, roll(&mut self.dice));
            }
        }
    }

    /// A line is connected.
    pub fn handle_opened(&mut self, line: LineId, now: Instant) {
        if let Some(candidate) = self.candidates.get_mut(&line) {
            candidate.state = State::Up;
            candidate.draining = false;
            candidate.worked = true;
            candidate.opened_at = Some(now);
        }
    }

    /// An attempt failed, or the connection ended.
    pub fn handle_closed(&mut self, line: LineId, now: Instant) {
        let dice = roll(&mut self.dice);
        let Some(candidate) = self.candidates.get_mut(&line) else { return };
        // A line that had worked for a while is tried again soon, and only then with growing pauses.
        let lasted = |at: Instant| now.saturating_duration_since(at) >= PAUSE_MAX;
        if candidate.opened_at.take().is_some_and(lasted) {
            candidate.failures = 0;
        }
        let max = if candidate.worked { PAUSE_MAX } else { PAUSE_NEVER_MAX };
        let full = PAUSE_MIN.saturating_mul(1 << candidate.failures.min(16)).min(max);
        candidate.state = State::Down { retry_at: now + spread(full, dice) };
        candidate.failures = candidate.failures.saturating_add(1);
    }

    /// Nothing is connected any more: all lines are tried within [`PAUSE_MAX`], those that fail then
    /// with pauses of their own again.
    pub fn handle_all_lost(&mut self, now: Instant) {
        for candidate in self.candidates.values_mut() {
            if let State::Down { retry_at } = &mut candidate.state {
                *retry_at = (*retry_at).min(now + spread(PAUSE_MAX, roll(&mut self.dice)));
            }
        }
    }

    /// The next line to open.
    pub fn poll(&mut self, now: Instant) -> Option<Open> {
        let due = |state: State| matches!(state, State::Down { retry_at } if retry_at <= now);
        let (line, candidate) = self.candidates.iter_mut().find(|(_, c)| due(c.state))?;
        candidate.state = State::Opening;
        let (local, remote) = (candidate.local.clone(), candidate.remote.clone());
        Some(Open { line: *line, local, remote })
    }

    /// When [`Opener::poll`] may have something.
    pub fn next_deadline(&self) -> Option<Instant> {
        let retries = self.candidates.values().filter_map(|candidate| match candidate.state {
            State::Down { retry_at } => Some(retry_at),
            State::Opening | State::Up => None,
        });
        retries.min()
    }

    /// Every line that is tried, with its ends and where it stands.
    pub fn candidates(&self) -> impl Iterator<Item = (LineId, &LineEnd, &LineEnd, State)> {
        self.candidates.iter().map(|(id, c)| (*id, &c.local, &c.remote, c.state))
    }
}

/// The next number: xorshift64, as spreading retries needs no more.
fn roll(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}

/// Between half of a pause and all of it, so that many callers do not come at once.
fn spread(pause: Duration, dice: u64) -> Duration {
    pause / 2 + (pause / 2).mul_f64((dice % 1024) as f64 / 1024.0)
}

/// Lines that are tried at most, beside those that are about to be left: four carriers at each end.
pub const CANDIDATES_MAX: usize = 16;
/// The first pause between attempts.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest one of a line that has worked: an upstream that returns is found within this.
pub const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Failures that a line counts whose other end left by its own decision: a pause of some seconds.
const DRAINED_FAILURES: u32 = 5;
/// The longest one of a line that never worked.
pub const PAUSE_NEVER_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(CANDIDATES_MAX <= LINES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(texts: &[&str]) -> Vec<LineEnd> {
        texts.iter().map(|text| text.parse().expect("an end")).collect()
    }

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn tries_the_cross_product_of_one_family_own_carriers_first() {
        let now = start();
        let locals = ends(&["10.0.0.1:0 telecom", "10.0.1.1:0 unicom", "[::1]:0"]);
        let remotes = ends(&["1.1.1.1:1 unicom", "1.1.1.2:1 telecom"]);
        let mut opener = Opener::new(locals, &remotes, 1, now);
        let opens: Vec<Open> = std::iter::from_fn(|| opener.poll(now)).collect();
        let shared: Vec<bool> =
            opens.iter().map(|open| open.local.shares_carrier(&open.remote)).collect();
        assert_eq!(shared, [true, true, false, false]);
        assert!(!opener.add_remotes(&remotes, now), "known already");
        assert_eq!(opener.poll(now), None);
        let many: Vec<LineEnd> = (1..60u16)
            .map(|n| LineEnd::of(std::net::SocketAddr::from(([2, 2, 2, 2], n))))
            .collect();
        assert!(opener.add_remotes(&many, now));
        assert_eq!(opener.candidates().count(), CANDIDATES_MAX);
    }

    #[test]
    fn an_upstream_that_goes_is_followed_whatever_is_tried() {
        let now = start();
        let told = |from: u16, count: u16| -> Vec<LineEnd> {
            let end = |n| LineEnd::of(std::net::SocketAddr::from(([2, 2, 2, 2], n)));
            (from..from + count).map(end).collect()
        };
        let mut opener = Opener::new(ends(&["10.0.0.1:0"]), &told(1, 14), 1, now);
        assert!(opener.add_remotes(&told(15, 2), now));
        let lines: Vec<LineId> =
            std::iter::from_fn(|| opener.poll(now)).map(|open| open.line).collect();
        assert_eq!(lines.len(), CANDIDATES_MAX);
        lines.iter().for_each(|line| opener.handle_opened(*line, now));
        assert!(!opener.add_remotes(&told(17, 1), now), "all places are in use");
        // A line that is about to be left takes no place.
        opener.drain(lines[0]);
        assert!(opener.add_remotes(&told(17, 1), now));
        let added = opener.poll(now).map(|open| open.line).expect("the new one");
        opener.handle_opened(added, now);
        assert!(!opener.add_remotes(&told(18, 1), now));
        // One that fails gives its own, unless it is configured.
        opener.handle_closed(lines[5], now);
        assert!(!opener.add_remotes(&told(18, 1), now));
        opener.handle_closed(lines[15], now);
        assert!(opener.add_remotes(&told(18, 1), now));
        let is_tried =
            |opener: &Opener, line| opener.candidates().any(|(tried, ..)| tried == lines[line]);
        assert!(is_tried(&opener, 0) && is_tried(&opener, 5) && !is_tried(&opener, 15));
    }

    #[test]
    fn carriers_are_learnt() {
        let now = start();
        let mut opener = Opener::new(ends(&["10.0.0.1:0 unicom"]), &ends(&["1.1.1.1:1"]), 1, now);
        assert!(!opener.add_remotes(&ends(&["1.1.1.1:1 telecom"]), now));
        assert!(!opener.add_remotes(&ends(&["1.1.1.1:1 unicom"]), now));
        assert!(!opener.add_remotes(&ends(&["1.1.1.1:1"]), now));
        assert_eq!(opener.poll(now).map(|open| open.remote), ends(&["1.1.1.1:1 telecom"]).pop());
    }

    #[test]
    fn what_never_worked_is_tried_rarely_and_what_worked_soon() {
        let mut now = start();
        let locals = ends(&["10.0.0.1:0"]);
        let mut opener = Opener::new(locals, &ends(&["1.1.1.1:1"]), 7, now);
        let line = opener.poll(now).expect("due at once").line;
        let fail = |opener: &mut Opener, now: &mut Instant| {
            opener.handle_closed(line, *now);
            let pause = opener.next_deadline().expect("a retry") - *now;
            *now += pause;
            assert_eq!(opener.poll(*now).map(|open| open.line), Some(line));
            pause
        };
        let first = fail(&mut opener, &mut now);
        assert!((PAUSE_MIN / 2..=PAUSE_MIN).contains(&first));
        let last = (0..12).map(|_| fail(&mut opener, &mut now)).last().expect("twelve");
        assert!(last >= PAUSE_NEVER_MAX / 2);
        opener.handle_closed(line, now);
        opener.handle_all_lost(now);
        let cut = opener.next_deadline().expect("a retry") - now;
        assert!((PAUSE_MAX / 2..PAUSE_MAX).contains(&cut), "spread: {cut:?}");
        now += PAUSE_MAX;
        opener.poll(now);
        opener.handle_closed(line, now);
        assert!(opener.next_deadline().expect("a retry") >= now + PAUSE_NEVER_MAX / 2);
        assert!(!opener.hasten(SocketAddr::from(([1, 1, 1, 1], 2)), now), "none leads there");
        assert!(opener.hasten(SocketAddr::from(([1, 1, 1, 1], 1)), now));
        assert_eq!(opener.next_deadline(), Some(now));
        for _ in 0..12 {
            opener.poll(now);
            opener.drain(line);
            opener.handle_closed(line, now);
            now = opener.next_deadline().expect("a retry").max(now);
        }
        opener.drain(line);
        opener.handle_closed(line, now);
        assert!(opener.next_deadline().expect("a retry") >= now + PAUSE_NEVER_MAX / 2, "refused");
        opener.handle_barred(now);
        assert!(opener.next_deadline().expect("a retry") >= now + PAUSE_NEVER_MAX / 2);
        opener.hasten(SocketAddr::from(([1, 1, 1, 1], 1)), now);
        opener.poll(now);
        opener.handle_opened(line, now);
        now += PAUSE_MAX;
        assert!(fail(&mut opener, &mut now) <= PAUSE_MIN, "it had worked");
    }
}
