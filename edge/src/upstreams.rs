//! Which upstream is pulled from: the origin, or another edge on the way to it.
//!
//! An edge pulls from its origin by its own lines. It goes over to a neighbour, another edge that
//! pulls from the origin itself, when its own lines have not worked for [`LOST_AFTER`], or when the
//! way through the neighbour has been better by [`BETTER_SHARE`] and [`BETTER_BY`] for
//! [`BETTER_FOR`]. It returns when its own lines have been good for a while, which doubles each time
//! that they turn bad again soon after. Decisions only: `io/uplink/` carries them out.
//!
//! **No loops.** An edge serves pulls of others only while its own choice is the origin: whoever goes
//! over drops all pulls that it serves before it opens its first pull elsewhere, and drops those that
//! come later, so that *an edge which pulls through an edge serves none*. In a loop every edge would
//! do both at once. This needs no agreement: when two edges choose each other at the same moment, each
//! has dropped what the other opens, both learn it by the other's path, and both go back. Paths (the
//! names from an edge up to its origin) keep them from choosing each other knowingly: [`is_one_hop`].
//!
//! Invariant: the choice is a neighbour only if that one's way worked when it was last decided.

use std::time::{Duration, Instant};

/// Whom an edge pulls from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Its origin, by its own lines.
    #[default]
    Origin,
    /// The neighbour at this place of the configured list.
    Neighbour(usize),
}

/// The edge's own way to its origin, while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnWay {
    /// How long a message takes.
    pub delivery: Duration,
    /// Whether the line that brings messages is neither bad nor held down.
    pub steady: bool,
}

/// Chooses the upstream.
#[derive(Debug)]
pub struct Upstreams {
    choice: Choice,
    /// The edge's own lines have not worked since then.
    lost_since: Option<Instant>,
    /// A neighbour's way has been better since then.
    better: Option<(usize, Instant)>,
    /// For how long the edge's own way has been good while a neighbour is the choice: bad moments
    /// count [`BAD_WEIGHT`] times.
    good_for: Duration,
    /// How long it must be before the edge returns to it.
    hold: Duration,
    decided_at: Option<Instant>,
    returned_at: Option<Instant>,
    switches: u64,
}

impl Default for Upstreams {
    fn default() -> Self {
        Self {
            choice: Choice::Origin,
            lost_since: None,
            better: None,
            good_for: Duration::ZERO,
            hold: RETURN_AFTER,
            decided_at: None,
            returned_at: None,
            switches: 0,
        }
    }
}

impl Upstreams {
    /// The choice at `now`, from what is known of the edge's own way and of the time that messages
    /// take through each neighbour; `None` where a way does not work or may not be gone.
    pub fn decide(
        &mut self,
        own: Option<OwnWay>,
        neighbours: &[Option<Duration>],
        now: Instant,
    ) -> Choice {
        let passed = self.decided_at.replace(now).map(|at| now.saturating_duration_since(at));
        // What was not looked at was not seen to be good.
        let passed = passed.unwrap_or_default().min(LOST_AFTER);
        match own {
            Some(_) => self.lost_since = None,
            None => drop(self.lost_since.get_or_insert(now)),
        }
        let ways = neighbours.iter().enumerate();
        let best = ways.filter_map(|(at, way)| Some((way.as_ref()?, at))).min();
        match self.choice {
            Choice::Origin => {
                let goes = best.filter(|(way, at)| self.goes(own, **way, *at, now));
                match goes {
                    Some((_, at)) => self.go(at, now),
                    None if best.is_none() => self.better = None,
                    None => {}
                }
            }
            Choice::Neighbour(at) => match neighbours.get(at).copied().flatten() {
                Some(way) => {
                    if self.returns(own, way, passed) {
                        self.go_back(now);
                    }
                }
                // Without any way the origin's lines are those that are waited for.
                None => match best.filter(|_| own.is_none()) {
                    Some((_, other)) => self.go(other, now),
                    None => self.go_back(now),
                },
            },
        }
        self.choice
    }

    /// The choice as it was last decided.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// Times that the choice changed.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    /// Whether the way through the neighbour `at` has been preferable to the edge's own for long enough.
    fn goes(&mut self, own: Option<OwnWay>, way: Duration, at: usize, now: Instant) -> bool {
        let Some(own) = own else {
            self.better = None;
            let since = self.lost_since.unwrap_or(now);
            return now.saturating_duration_since(since) >= LOST_AFTER;
        };
        if !is_better(way, own.delivery) {
            self.better = None;
            return false;
        }
        match self.better {
            Some((known, since)) if known == at => {
                now.saturating_duration_since(since) >= BETTER_FOR
            }
            _ => {
                self.better = Some((at, now));
                false
            }
        }
    }

    /// Whether the edge's own way has been good for long enough.
    fn returns(&mut self, own: Option<OwnWay>, way: Duration, passed: Duration) -> bool {
        if own.is_some_and(|own| own.steady && !is_better(way, own.delivery)) {
            self.good_for += passed;
        } else {
            self.good_for = self.good_for.saturating_sub(BAD_WEIGHT * passed);
        }
        self.good_for >= self.hold
    }

    fn go(&mut self, at: usize, now: Instant) {
        if self.choice == Choice::Origin {
            let returned = self.returned_at.map(|then| now.saturating_duration_since(then));
            self.hold = match returned {
                Some(stayed) if stayed < FORGIVEN_AFTER.max(2 * self.hold) => {
                    (2 * self.hold).min(RETURN_AFTER_MAX)
                }
                _ => RETURN_AFTER,
            };
        }
        self.switch(Choice::Neighbour(at));
    }

    fn go_back(&mut self, now: Instant) {
        self.returned_at = Some(now);
        self.switch(Choice::Origin);
    }

    fn switch(&mut self, choice: Choice) {
        self.choice = choice;
        self.switches += 1;
        (self.better, self.good_for) = (None, Duration::ZERO);
    }
}

/// Whether a node with this path pulls from its origin itself, so that others may pull through it.
pub fn is_beside_origin(path: &[String]) -> bool {
    path.len() == 2
}

/// Whether an edge called `own` may pull through `neighbour`, which tells this path: it must be that
/// edge and its origin, nothing between.
pub fn is_one_hop(path: &[String], neighbour: &str, own: &str) -> bool {
    is_beside_origin(path)
        && path.first().is_some_and(|first| first == neighbour)
        && path.iter().all(|node| node != own)
}

/// Whether a way is so much better than another that going over is worth it.
fn is_better(way: Duration, than: Duration) -> bool {
    than.checked_sub(way).is_some_and(|gain| gain >= BETTER_BY.max(than.mul_f64(BETTER_SHARE)))
}

/// How long the edge's own lines may not work before it goes over: a few times what it takes a line to
/// be opened again.
pub const LOST_AFTER: Duration = Duration::from_secs(1);
/// A neighbour's way is better when it saves this share of the time,
pub const BETTER_SHARE: f64 = 0.25;
/// this much at least,
pub const BETTER_BY: Duration = Duration::from_millis(20);
/// and has done so for this long.
pub const BETTER_FOR: Duration = Duration::from_secs(3);
/// How long the edge's own way must be good before it returns for the first time,
pub const RETURN_AFTER: Duration = Duration::from_secs(10);
/// and after it has turned bad again and again.
pub const RETURN_AFTER_MAX: Duration = Duration::from_secs(600);
/// A moment in which the own way is bad takes so much of the good time back, so that one that is bad
/// for a tenth of the time is not returned to, and a single late beat does not begin it anew.
const BAD_WEIGHT: u32 = 10;
/// An edge that stayed with its own lines for so long since it returned begins anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Decides every 100 ms; tells after how many milliseconds the choice changes, if within a while.
    struct Run {
        upstreams: Upstreams,
        now: Instant,
    }

    impl Run {
        fn new() -> Self {
            #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
            let now = Instant::now();
            Self { upstreams: Upstreams::default(), now }
        }

        fn until(&mut self, wanted: Choice, own: Option<OwnWay>, ways: &[Option<u64>]) -> u64 {
            let ways: Vec<_> = ways.iter().map(|way| way.map(Duration::from_millis)).collect();
            let start = self.now;
            for _ in 0..20_000 {
                let choice = self.upstreams.decide(own, &ways, self.now);
                let passed = self.now - start;
                if choice == wanted {
                    return passed.as_millis() as u64;
                }
                self.now += Duration::from_millis(100);
            }
            panic!("{wanted:?} is never chosen: {:?}", self.upstreams);
        }

        fn stays(&mut self, own: Option<OwnWay>, ways: &[Option<u64>], seconds: u64) {
            let before = self.upstreams.choice();
            let ways: Vec<_> = ways.iter().map(|way| way.map(Duration::from_millis)).collect();
            for _ in 0..seconds * 10 {
                assert_eq!(self.upstreams.decide(own, &ways, self.now), before);
                self.now += Duration::from_millis(100);
            }
        }
    }

    fn own(millis: u64) -> Option<OwnWay> {
        Some(OwnWay { delivery: Duration::from_millis(millis), steady: true })
    }

    const A: Choice = Choice::Neighbour(0);
    const B: Choice = Choice::Neighbour(1);

    #[test]
    fn lost_lines_are_left_after_a_second_for_the_best_neighbour() {
        let mut run = Run::new();
        run.stays(own(20), &[Some(30), Some(25)], 10);
        assert_eq!(run.until(B, None, &[Some(30), Some(25)]), 1000);
        run.stays(None, &[Some(10), Some(25)], 10);
        assert_eq!(run.until(A, None, &[Some(10), None]), 0, "the next one at once");
        assert_eq!(run.until(Choice::Origin, None, &[None, None]), 0, "nobody");
        assert_eq!(run.until(A, None, &[Some(10), None]), 0, "lost for long");
        assert_eq!(run.until(Choice::Origin, own(500), &[None, None]), 0, "bad, but the only one");
        assert_eq!(run.upstreams.switches(), 5);
    }

    #[test]
    fn a_moment_without_lines_is_no_reason() {
        let mut run = Run::new();
        for _ in 0..10 {
            run.stays(own(20), &[Some(25)], 1);
            run.now -= Duration::from_millis(100);
            run.stays(None, &[Some(25)], 1);
        }
    }

    #[test]
    fn only_a_clearly_better_way_is_gone_and_only_after_a_while() {
        let mut run = Run::new();
        run.stays(own(40), &[Some(21)], 60); // half of it, but 19 ms
        run.stays(own(200), &[Some(151)], 60); // 49 ms, but not a quarter
        run.stays(own(200), &[Some(150)], 2);
        run.stays(own(190), &[Some(150)], 1);
        assert_eq!(run.until(A, own(200), &[Some(150)]), 3000);
        run.stays(own(200), &[Some(150)], 60);
        run.stays(Some(OwnWay { steady: false, ..own(20).unwrap() }), &[Some(150)], 60);
        assert_eq!(run.until(Choice::Origin, own(20), &[Some(150)]), 9_900);
    }

    #[test]
    fn a_bad_moment_takes_some_of_the_good_time_back() {
        let mut run = Run::new();
        run.until(A, None, &[Some(30)]);
        run.stays(own(20), &[Some(30)], 9);
        run.stays(None, &[Some(30)], 1);
        assert_eq!(run.until(Choice::Origin, own(20), &[Some(30)]), 9_900, "all of it");
        run.stays(own(20), &[Some(30)], 1300);
        run.until(A, None, &[Some(30)]);
        run.stays(own(20), &[Some(30)], 9);
        let unsteady = own(20).map(|own| OwnWay { steady: false, ..own });
        run.upstreams.decide(unsteady, &[Some(Duration::from_millis(30))], run.now);
        assert!((1000..=2500).contains(&run.until(Choice::Origin, own(20), &[Some(30)])));
    }

    #[test]
    fn flapping_lines_are_returned_to_later_each_time() {
        let mut run = Run::new();
        let mut holds = Vec::new();
        for _ in 0..8 {
            run.until(A, None, &[Some(30)]);
            holds.push(run.until(Choice::Origin, own(20), &[Some(30)]) / 1000);
            run.stays(own(20), &[Some(30)], 5);
        }
        assert_eq!(holds, [10, 20, 40, 80, 160, 320, 600, 600]);
        run.stays(own(20), &[Some(30)], 1300);
        run.until(A, None, &[Some(30)]);
        assert_eq!(run.until(Choice::Origin, own(20), &[Some(30)]), 10_000, "forgiven");
    }

    #[test]
    fn only_an_edge_beside_its_origin_is_pulled_through() {
        let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let may = |names: &[&str]| is_one_hop(&path(names), "edge.a", "edge.b");
        assert!(may(&["edge.a", "origin.o"]));
        assert!(!may(&[]) && !may(&["edge.a"]) && !may(&["edge.a", "edge.c", "origin.o"]));
        assert!(!may(&["edge.c", "origin.o"]), "another name than its certificate's");
        assert!(!is_one_hop(&path(&["edge.b", "origin.o"]), "edge.b", "edge.b"), "itself");
    }
}
