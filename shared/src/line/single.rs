//! The pool: opens lines, probes them, gives them up and tries again.
//!
//! Invariant: a line has at most one attempt or connection at a time, and every line that is not up
//! has a deadline at which it is tried again.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Names a line of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(pub u32);

/// What the shell must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect, then call [`Pool::handle_opened`] or [`Pool::handle_closed`].
    Open {
        /// The line.
        line: LineId,
        /// Where to.
        remote: SocketAddr,
    },
    /// Send a heartbeat; whatever arrives on the line is told by [`Pool::handle_heard`].
    Ping(LineId),
    /// The line has been silent too long: drop its connection at once. The pool counts it as closed.
    Abandon(LineId),
}

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected; tried again at the instant.
    Down {
        /// When.
        retry_at: Instant,
    },
    /// A connection attempt is under way.
    Opening,
    /// Connected and heard of lately.
    Up,
    /// Connected, but silent for longer than [`SUSPECT_AFTER`].
    Suspect,
}

#[derive(Debug)]
struct Line {
    remote: SocketAddr,
    state: State,
    failures: u32,
    heard_at: Instant,
    ping_at: Instant,
    rtt: Option<Duration>,
}

/// All lines to one upstream.
#[derive(Debug)]
pub struct Pool {
    lines: BTreeMap<LineId, Line>,
    actions: VecDeque<Action>,
    dice: u64,
}

impl Pool {
    /// A pool of lines to `remotes`, all of which are opened at once. `seed` spreads the retries of
    /// many edges.
    pub fn new(remotes: impl IntoIterator<Item = SocketAddr>, seed: u64, now: Instant) -> Self {
        let lines = remotes.into_iter().zip(0..).map(|(remote, id)| {
            let state = State::Down { retry_at: now };
            let line = Line { remote, state, failures: 0, heard_at: now, ping_at: now, rtt: None };
            (LineId(id), line)
        });
        let mut pool = Self { lines: lines.collect(), actions: VecDeque::new(), dice: seed | 1 };
        pool.handle_deadline(now);
        pool
    }

    /// The connection of a line stands.
    pub fn handle_opened(&mut self, id: LineId, now: Instant) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.state = State::Up;
            line.heard_at = now;
            line.ping_at = now + PING_EVERY;
        }
    }

    /// An attempt failed or the connection ended.
    pub fn handle_closed(&mut self, id: LineId, now: Instant) {
        let dice = self.roll();
        let Some(line) = self.lines.get_mut(&id) else { return };
        if matches!(line.state, State::Down { .. }) {
            return; // abandoned before
        }
        // A line that had worked is tried again at once, and only then with growing pauses.
        if matches!(line.state, State::Up | State::Suspect) {
            line.failures = 0;
        }
        line.state = State::Down { retry_at: now + pause(line.failures, dice) };
        line.failures = line.failures.saturating_add(1);
        line.rtt = None;
    }

    /// Something arrived on a line.
    pub fn handle_heard(&mut self, id: LineId, now: Instant) {
        if let Some(line) = self.lines.get_mut(&id)
            && matches!(line.state, State::Up | State::Suspect)
        {
            line.state = State::Up;
            line.heard_at = now;
            line.failures = 0;
        }
    }

    /// A heartbeat came back after `rtt`.
    pub fn handle_rtt(&mut self, id: LineId, rtt: Duration, now: Instant) {
        self.handle_heard(id, now);
        if let Some(line) = self.lines.get_mut(&id) {
            // RFC 6298's smoothing, gain 1/8.
            line.rtt = Some(line.rtt.map_or(rtt, |old| old.mul_f64(0.875) + rtt.mul_f64(0.125)));
        }
    }

    /// Time has come to `now`.
    pub fn handle_deadline(&mut self, now: Instant) {
        for (id, line) in &mut self.lines {
            match line.state {
                State::Down { retry_at } if retry_at <= now => {
                    line.state = State::Opening;
                    self.actions.push_back(Action::Open { line: *id, remote: line.remote });
                }
                State::Up | State::Suspect => {
                    let silence = now.saturating_duration_since(line.heard_at);
                    if silence >= DOWN_AFTER {
                        line.state = State::Down { retry_at: now };
                        line.rtt = None;
                        self.actions.push_back(Action::Abandon(*id));
                        continue;
                    }
                    if silence >= SUSPECT_AFTER {
                        line.state = State::Suspect;
                    }
                    if line.ping_at <= now {
                        line.ping_at = now + PING_EVERY;
                        self.actions.push_back(Action::Ping(*id));
                    }
                }
                State::Down { .. } | State::Opening => {}
            }
        }
    }

    /// What to do next, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Pool::handle_deadline`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lines
            .values()
            .filter_map(|line| match line.state {
                State::Down { retry_at } => Some(retry_at),
                State::Opening => None, // the attempt has a deadline of its own
                State::Up => Some(line.ping_at.min(line.heard_at + SUSPECT_AFTER)),
                State::Suspect => Some(line.ping_at.min(line.heard_at + DOWN_AFTER)),
            })
            .min()
    }

    /// The line that live messages should come by: the one up with the least round-trip time.
    pub fn primary(&self) -> Option<LineId> {
        let up = self.lines.iter().filter(|(_, line)| line.state == State::Up);
        up.min_by_key(|(id, line)| (line.rtt.unwrap_or(Duration::MAX), **id)).map(|(id, _)| *id)
    }

    /// Every line with its remote address, state and smoothed round-trip time.
    pub fn lines(&self) -> impl Iterator<Item = (LineId, SocketAddr, State, Option<Duration>)> {
        self.lines.iter().map(|(id, line)| (*id, line.remote, line.state, line.rtt))
    }

    fn roll(&mut self) -> u64 {
        // xorshift64: spreading retries needs no more.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }
}

/// The pause before attempt `failures + 1`: doubled each time, half of it random.
fn pause(failures: u32, dice: u64) -> Duration {
    let full = PAUSE_MIN.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
    full / 2 + (full / 2).mul_f64((dice % 1024) as f64 / 1024.0)
}

/// How often an idle line is probed.
pub const PING_EVERY: Duration = Duration::from_millis(200);
/// Silence after which a line is no longer chosen: three and a half probes.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(700);
/// Silence after which a line is dropped: ten probes.
pub const DOWN_AFTER: Duration = Duration::from_secs(2);
/// The first pause between attempts.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest one: an upstream that returns is found within this.
pub const PAUSE_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(SUSPECT_AFTER.as_millis() < DOWN_AFTER.as_millis());

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 7401))
    }

    fn actions(pool: &mut Pool) -> Vec<Action> {
        std::iter::from_fn(|| pool.poll_action()).collect()
    }

    #[test]
    fn opens_probes_and_abandons() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let start = Instant::now();
        let line = LineId(0);
        let mut pool = Pool::new([remote()], 1, start);
        assert_eq!(actions(&mut pool), [Action::Open { line, remote: remote() }]);
        assert_eq!(pool.primary(), None);
        pool.handle_opened(line, start);
        assert_eq!(pool.primary(), Some(line));

        let mut now = start;
        let mut pings = 0;
        while actions(&mut pool).iter().all(|action| *action != Action::Abandon(line)) {
            now = pool.next_deadline().expect("an open line has deadlines");
            pool.handle_deadline(now);
            pings += usize::from(pool.actions.contains(&Action::Ping(line)));
            if now - start >= SUSPECT_AFTER {
                assert_eq!(pool.primary(), None, "a silent line is not chosen");
            }
        }
        assert_eq!(now - start, DOWN_AFTER);
        assert_eq!(pings, 9);
        pool.handle_closed(line, now);
        pool.handle_deadline(now);
        assert_eq!(actions(&mut pool), [Action::Open { line, remote: remote() }]);
    }

    #[test]
    fn retries_with_growing_bounded_pauses() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let mut now = Instant::now();
        let line = LineId(0);
        let mut pool = Pool::new([remote()], 7, now);
        actions(&mut pool);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            pool.handle_closed(line, now);
            let next = pool.next_deadline().expect("a retry");
            pauses.push(next - now);
            now = next;
            pool.handle_deadline(now);
            assert_eq!(actions(&mut pool), [Action::Open { line, remote: remote() }]);
        }
        assert!(pauses[0] <= PAUSE_MIN && pauses[0] >= PAUSE_MIN / 2, "{pauses:?}");
        assert!(pauses[9] <= PAUSE_MAX && pauses[9] >= PAUSE_MAX / 2, "{pauses:?}");
    }

    #[test]
    fn a_sign_of_life_ends_suspicion() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let start = Instant::now();
        let line = LineId(0);
        let mut pool = Pool::new([remote()], 1, start);
        pool.handle_opened(line, start);
        pool.handle_deadline(start + SUSPECT_AFTER);
        assert_eq!(pool.primary(), None);
        pool.handle_rtt(line, Duration::from_millis(40), start + SUSPECT_AFTER);
        assert_eq!(pool.primary(), Some(line));
    }
}
