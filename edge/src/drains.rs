//! Whether operators want this edge's clients sent on, and how fast: a machine that hears each
//! svrlist.
//!
//! Svrlists do not talk to each other and may say different things: the edge sends its clients on
//! while any of them says so, as fast as the one that says most. A svrlist that is not heard keeps
//! its word for [`KEPT_FOR`], so that neither its restart nor a bad network ends a drain; after that it
//! can no longer end what it began, and is not listened to.

use std::time::{Duration, Instant};

/// What each svrlist said last.
#[derive(Debug)]
pub struct Drains {
    said: Vec<Said>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    rate: f64,
    /// Since when it is not heard.
    lost: Option<Instant>,
}

impl Drains {
    /// Of so many svrlists, none of which said anything.
    pub fn new(svrlists: usize) -> Self {
        Self { said: vec![Said { rate: 0.0, lost: None }; svrlists] }
    }

    /// A svrlist wants so many clients a second sent on; 0 for none.
    pub fn handle_word(&mut self, svrlist: usize, rate: f64) {
        if let Some(said) = self.said.get_mut(svrlist) {
            let rate = if rate.is_nan() { 0.0 } else { rate.clamp(0.0, RATE_MAX) };
            *said = Said { rate, lost: None };
        }
    }

    /// A svrlist is not heard any more.
    pub fn handle_lost(&mut self, svrlist: usize, now: Instant) {
        if let Some(said) = self.said.get_mut(svrlist) {
            said.lost.get_or_insert(now);
        }
    }

    /// Clients a second to be sent on; 0 for none.
    pub fn rate(&self, now: Instant) -> f64 {
        let counts = |said: &&Said| {
            said.lost.is_none_or(|lost| now.saturating_duration_since(lost) < KEPT_FOR)
        };
        self.said.iter().filter(counts).map(|said| said.rate).fold(0.0, f64::max)
    }
}

/// How long a svrlist's word holds after it was heard last.
pub const KEPT_FOR: Duration = Duration::from_secs(600);
/// Fastest drain, clients a second.
const RATE_MAX: f64 = 1e6;

/// Counts clients out at a rate.
#[derive(Debug, Default)]
pub struct Turnstile {
    due: f64,
    at: Option<Instant>,
}

impl Turnstile {
    /// How many of those who are here go now: this part's share of `rate`, by how many of `all` are
    /// `here`.
    pub fn pass(&mut self, rate: f64, here: usize, all: usize, now: Instant) -> usize {
        let last = self.at.replace(now).unwrap_or(now);
        if rate <= 0.0 || here == 0 {
            *self = Self::default();
            return 0;
        }
        let share = rate * here as f64 / here.max(all) as f64;
        // What a thread that was held up for long missed is not made up for at once.
        let missed = now.saturating_duration_since(last).min(Duration::from_secs(1));
        self.due += share * missed.as_secs_f64();
        let whole = self.due.floor().min(here as f64);
        self.due = (self.due - whole).min(1.0);
        whole as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn an_edge_drains_while_any_svrlist_says_so() {
        let now = some_instant();
        let mut drains = Drains::new(2);
        assert_eq!(drains.rate(now), 0.0);
        drains.handle_word(0, 5.0);
        drains.handle_word(1, 20.0);
        assert_eq!(drains.rate(now), 20.0);
        drains.handle_word(1, 0.0);
        assert_eq!(drains.rate(now), 5.0, "the other still says so");
        drains.handle_word(0, 0.0);
        assert_eq!(drains.rate(now), 0.0);
        drains.handle_word(7, 1.0);
        drains.handle_word(0, f64::NAN);
        assert_eq!(drains.rate(now), 0.0, "nonsense is nothing");
    }

    #[test]
    fn a_word_outlives_its_line_for_a_while() {
        let start = some_instant();
        let mut drains = Drains::new(2);
        drains.handle_word(0, 5.0);
        drains.handle_lost(0, start);
        drains.handle_lost(0, start + KEPT_FOR / 2);
        assert_eq!(drains.rate(start + KEPT_FOR / 2), 5.0);
        assert_eq!(drains.rate(start + KEPT_FOR), 0.0);
        drains.handle_word(0, 5.0);
        assert_eq!(drains.rate(start + 3 * KEPT_FOR), 5.0, "it is heard again");
    }

    #[test]
    fn clients_go_at_the_rate_whatever_the_shards() {
        let mut now = some_instant();
        let mut here = [300_usize, 100];
        let mut turnstiles = [Turnstile::default(), Turnstile::default()];
        let mut gone = Vec::new();
        for _ in 0..=50 {
            let all = here.iter().sum();
            let mut count = 0;
            for (here, turnstile) in here.iter_mut().zip(&mut turnstiles) {
                let go = turnstile.pass(20.0, *here, all, now);
                *here -= go;
                count += go;
            }
            gone.push(count);
            now += Duration::from_millis(100);
        }
        let sum: usize = gone.iter().sum();
        assert!((98..=101).contains(&sum), "{sum} in five seconds");
        assert!(gone.iter().all(|count| *count <= 4), "evenly: {gone:?}");
        assert_eq!(turnstiles[0].pass(20.0, 200, 200, now + Duration::from_secs(60)), 20);
        assert_eq!(turnstiles[0].pass(0.0, 200, 200, now + Duration::from_secs(61)), 0);
        assert_eq!(turnstiles[0].pass(20.0, 200, 200, now + Duration::from_secs(62)), 0, "anew");
    }
}
