//! One direction of a line: when a datagram that is offered arrives, or why it never does.
//!
//! What a datagram meets, in this order: the blackhole; a burst; loss of its own; the rate, with what
//! waits before it; the delay with its jitter. Bursts are a Gilbert-Elliott model in time, not in
//! datagrams: whether the link is bad is a Markov chain in continuous time, and as such needs to be
//! looked at only when a datagram comes.
//!
//! Invariants, as long as the settings stay as they are:
//! 1. A datagram that arrives was under way for `delay` at least, and longer by the wait for the rate,
//!    its own transmission and `jitter` at most.
//! 2. Without `reorder` datagrams arrive in the order in which they were offered.
//! 3. Within any span of time no more payload leaves than the rate allows and one datagram.
//! 4. No datagram waits for the rate longer than `queue`.
//!
//! A change is like another path: what was taken before it arrives when it was to arrive, what comes
//! after it is measured by the new settings alone.

use std::time::{Duration, Instant};

use super::dice::Dice;
use super::settings::Settings;

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is lost.
    Drop(Reason),
    /// It arrives then.
    Deliver(Instant),
}

/// Why a datagram was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The link is a blackhole.
    Blackhole,
    /// It came during a burst.
    Burst,
    /// It met loss of its own.
    Loss,
    /// Too much waited for the rate before it.
    Queue,
    /// More is under way than a [`Line`](super::Line) holds. A link alone never says so.
    Full,
    /// The system did not take it. A link alone never says so.
    Socket,
}

impl Reason {
    /// All, with their names.
    pub const NAMED: [(&str, Self); 6] = [
        ("blackhole", Self::Blackhole),
        ("burst", Self::Burst),
        ("loss", Self::Loss),
        ("queue", Self::Queue),
        ("full", Self::Full),
        ("socket", Self::Socket),
    ];
}

/// The model of one direction of a line.
#[derive(Clone, Debug)]
pub struct Link {
    settings: Settings,
    dice: Dice,
    /// Whether it was in a burst when it was looked at last.
    bad: bool,
    looked_at: Instant,
    /// When everything that waits for the rate has left.
    free_at: Instant,
    /// When the last datagram arrives.
    last_at: Instant,
}

impl Link {
    /// A link that is good at first. The seed decides all its luck.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        let dice = Dice::new(seed);
        Self { settings, dice, bad: false, looked_at: now, free_at: now, last_at: now }
    }

    /// How good it is.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Changes how good it is, from `now` on.
    pub fn set(&mut self, settings: Settings, now: Instant) {
        let old = std::mem::replace(&mut self.settings, settings);
        let burst = |of: Settings| (of.burst_loss, of.burst_bad, of.burst_good);
        if burst(old) != burst(settings) {
            (self.bad, self.looked_at) = (false, now);
        }
        if old.bits_per_second != settings.bits_per_second {
            self.free_at = now;
        }
        let way = |of: Settings| (of.bits_per_second, of.delay, of.jitter, of.reorder);
        if way(old) != way(settings) {
            self.last_at = now;
        }
    }

    /// Decides about a datagram with `len` bytes of payload. Time must not run backwards.
    pub fn offer(&mut self, len: usize, now: Instant) -> Fate {
        let settings = self.settings;
        if settings.blackhole {
            return Fate::Drop(Reason::Blackhole);
        }
        if settings.burst_loss > 0.0 && self.is_bad(now) && self.dice.happens(settings.burst_loss) {
            return Fate::Drop(Reason::Burst);
        }
        if settings.loss > 0.0 && self.dice.happens(settings.loss) {
            return Fate::Drop(Reason::Loss);
        }
        let starts_at = self.free_at.max(now);
        if starts_at - now > settings.queue {
            return Fate::Drop(Reason::Queue);
        }
        self.free_at = starts_at + transmission(len, settings.bits_per_second);
        let mut at = self.free_at + settings.delay;
        if !settings.jitter.is_zero() {
            at += settings.jitter.mul_f64(self.dice.share());
        }
        if !settings.reorder {
            at = at.max(self.last_at);
        }
        self.last_at = at.max(self.last_at);
        Fate::Deliver(at)
    }

    /// Whether the link is in a burst, given what it was when it was looked at last: the exact
    /// transition probability of a chain with two states, which forgets at the sum of its rates.
    fn is_bad(&mut self, now: Instant) -> bool {
        let [bad, good] = [self.settings.burst_bad, self.settings.burst_good]
            .map(|mean| mean.as_secs_f64().max(f64::MIN_POSITIVE));
        let elapsed = now.saturating_duration_since(self.looked_at).as_secs_f64();
        let kept = (-elapsed * (1.0 / bad + 1.0 / good)).exp();
        let usually = bad / (bad + good);
        let was = f64::from(u8::from(self.bad));
        self.bad = self.dice.happens(usually + (was - usually) * kept);
        self.looked_at = now;
        self.bad
    }
}

/// How long `len` bytes take to leave, rounded up.
fn transmission(len: usize, bits_per_second: u64) -> Duration {
    if bits_per_second == 0 {
        return Duration::ZERO;
    }
    let nanos = (len as u128 * 8 * 1_000_000_000).div_ceil(u128::from(bits_per_second));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::settings::Preset;
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// The share of datagrams that are lost at one every 20 ms.
    fn lost(settings: Settings, seed: u64, count: u32) -> f64 {
        let start = start();
        let mut link = Link::new(settings, seed, start);
        let lost = (0..count)
            .filter(|n| matches!(link.offer(300, start + *n * millis(20)), Fate::Drop(_)))
            .count();
        lost as f64 / f64::from(count)
    }

    #[test]
    fn a_good_link_is_a_wire() {
        let start = start();
        let mut link = Link::new(Settings::default(), 0, start);
        for n in 0..100 {
            let now = start + n * millis(1);
            assert_eq!(link.offer(1200, now), Fate::Deliver(now));
        }
    }

    #[test]
    fn presets_lose_what_they_say() {
        for (preset, share) in [
            (Preset::Clean, 0.0),
            (Preset::Loss1, 0.01),
            (Preset::Loss5, 0.05),
            (Preset::Loss25, 0.25),
            (Preset::Gray60, 0.6),
            (Preset::Bursts25, 0.92 * 350.0 / 1350.0),
            (Preset::Blackhole, 1.0),
            (Preset::Delay200, 0.0),
        ] {
            for seed in 0..4 {
                let found = lost(preset.over(Settings::default()), seed, 200_000);
                assert!((found - share).abs() < 0.01, "{preset} with seed {seed}: {found}");
            }
        }
    }

    /// A thin and a thick stream see bursts of the same length, in time.
    #[test]
    fn bursts_last_as_long_as_they_should() {
        let settings = Settings {
            burst_loss: 1.0,
            burst_bad: millis(350),
            burst_good: millis(1000),
            ..Settings::default()
        };
        for (every, seed) in [(millis(1), 1), (millis(10), 2), (millis(50), 3)] {
            let start = start();
            let mut link = Link::new(settings, seed, start);
            let (mut bursts, mut bad, mut before) = (0_u32, 0_u32, false);
            let count = (4_000_000 / every.as_millis()) as u32;
            for n in 0..count {
                let lost = link.offer(300, start + n * every) == Fate::Drop(Reason::Burst);
                bursts += u32::from(lost && !before);
                bad += u32::from(lost);
                before = lost;
            }
            let mean = every * bad / bursts;
            assert!((millis(310)..millis(410)).contains(&mean), "every {every:?}: {mean:?}");
        }
    }

    #[test]
    fn what_came_before_a_change_arrives_as_it_was_to() {
        let start = start();
        let slow = Settings { delay: millis(200), bits_per_second: 8_000, ..Settings::default() };
        let mut link = Link::new(slow, 0, start);
        // 50 bytes at 1,000 bytes a second, and the delay.
        assert_eq!(link.offer(50, start), Fate::Deliver(start + millis(250)));
        link.set(slow, start);
        assert_eq!(link.offer(10, start), Fate::Deliver(start + millis(260)));
        link.set(Settings { loss: 0.0, queue: millis(1), ..slow }, start);
        assert_eq!(link.offer(10, start), Fate::Drop(Reason::Queue));
        link.set(Settings::default(), start + millis(1));
        assert_eq!(link.offer(10, start + millis(1)), Fate::Deliver(start + millis(1)));
    }

    #[test]
    fn a_seed_is_a_run() {
        let settings = Settings { jitter: millis(9), ..Preset::Bursts25.over(Settings::default()) };
        let start = start();
        let run = |seed| -> Vec<Fate> {
            let mut link = Link::new(settings, seed, start);
            (0..500).map(|n| link.offer(300, start + n * millis(20))).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn jitter_may_change_the_order_when_asked() {
        let start = start();
        let settings = Settings { jitter: millis(50), reorder: true, ..Settings::default() };
        let mut link = Link::new(settings, 1, start);
        let arrivals: Vec<Fate> = (0..50).map(|n| link.offer(300, start + n * millis(1))).collect();
        let at = |fate: &Fate| match fate {
            Fate::Deliver(at) => *at,
            Fate::Drop(_) => start,
        };
        assert!(!arrivals.is_sorted_by_key(at));
    }

    fn settings() -> impl Strategy<Value = Settings> {
        let losses = (prop::sample::select(vec![0.0, 0.05, 0.5]), prop::bool::ANY);
        let rate = prop_oneof![Just(0), 8_000_u64..1_000_000, 1_000_000_u64..1_000_000_000];
        let times = (0_u64..200, 0_u64..50, 0_u64..100);
        (losses, rate, times).prop_map(
            |((loss, bursts), bits_per_second, (delay, jitter, queue))| Settings {
                loss,
                burst_loss: if bursts { 0.9 } else { 0.0 },
                bits_per_second,
                queue: millis(queue),
                delay: millis(delay),
                jitter: millis(jitter),
                ..Settings::default()
            },
        )
    }

    proptest! {
        #[test]
        fn the_invariants_hold(
            settings in settings(),
            seed: u64,
            offers in prop::collection::vec((0_u64..30_000, 0_usize..1500), 1..300),
        ) {
            let start = start();
            let mut link = Link::new(settings, seed, start);
            let mut now = start;
            let mut last = start;
            // Of what arrives: when it had left at the latest, and its payload.
            let mut left: Vec<(Instant, usize)> = Vec::new();
            for (pause, len) in offers {
                now += Duration::from_micros(pause);
                let Fate::Deliver(at) = link.offer(len, now) else { continue };
                let sending = transmission(len, settings.bits_per_second);
                let least = now + settings.delay + sending;
                prop_assert!(at >= least, "sooner than the delay");
                prop_assert!(at >= last, "out of order");
                last = at;
                if settings.jitter.is_zero() {
                    prop_assert!(at <= least + settings.queue, "waited longer than the queue");
                    left.push((at, len));
                }
            }
            // Payload after the first of a span against the length of the span.
            for (from, (begin, _)) in left.iter().enumerate() {
                let mut bits = 0_u128;
                for (end, len) in &left[from + 1..] {
                    bits += *len as u128 * 8 * 1_000_000_000;
                    let allowed = (*end - *begin).as_nanos() * u128::from(settings.bits_per_second);
                    prop_assert!(settings.bits_per_second == 0 || bits <= allowed, "too fast");
                }
            }
        }

        #[test]
        fn jitter_is_bounded(seed: u64, jitter in 1_u64..1000) {
            let start = start();
            let jitter = Duration::from_micros(jitter);
            let mut link = Link::new(Settings { jitter, ..Settings::default() }, seed, start);
            for n in 0..100 {
                let now = start + n * millis(1);
                let Fate::Deliver(at) = link.offer(300, now) else { panic!("lost") };
                prop_assert!((now..=now + jitter).contains(&at));
            }
        }

        #[test]
        fn a_blackhole_takes_everything(mut settings in settings(), seed: u64) {
            settings.blackhole = true;
            let start = start();
            let mut link = Link::new(settings, seed, start);
            for n in 0..100 {
                let fate = link.offer(300, start + n * millis(20));
                prop_assert_eq!(fate, Fate::Drop(Reason::Blackhole));
            }
        }
    }
}
