use proptest::prelude::*;

use super::*;

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A generator of its own, so that a failing seed says everything.
struct Dice(u64);

impl Dice {
    fn happens(&mut self, share: f64) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64 <= share
    }
}

/// Offers `count` datagrams, one every `every`, each lost with `share`; when the alarm first rose.
fn offer(
    meter: &mut Meter,
    dice: &mut Dice,
    from: (u64, Instant),
    count: u64,
    every: Duration,
    share: f64,
) -> (Option<Duration>, Instant) {
    let (first, start) = from;
    let mut raised = None;
    let mut now = start;
    for seq in first..first + count {
        now += every;
        meter.handle_deadline(now);
        if !dice.happens(share) {
            meter.handle_datagram(seq, now);
        }
        if raised.is_none() && meter.verdict(now) == Verdict::Gray {
            raised = Some(now - start);
        }
    }
    (raised, now)
}

#[test]
fn loses_are_counted_and_reordering_is_none() {
    let start = start();
    let mut meter = Meter::new(start);
    for seq in [1, 2, 4, 3, 5, 8] {
        meter.handle_datagram(seq, start);
    }
    meter.handle_datagram(4, start); // twice
    meter.handle_deadline(start + ms(14));
    assert_eq!(meter.counts(), MeterCounts { received: 6, lost: 0, bursts: 0 });
    meter.handle_deadline(start + ms(15));
    assert_eq!(meter.counts(), MeterCounts { received: 6, lost: 2, bursts: 1 });
    meter.handle_datagram(7, start + ms(16));
    assert_eq!(meter.counts().lost, 2, "it stays counted as lost");
}

#[test]
fn what_another_line_says_was_sent_is_missed() {
    let start = start();
    let mut meter = Meter::new(start);
    meter.handle_datagram(1, start);
    meter.handle_sent(3, ms(20), start);
    meter.handle_datagram(2, start + ms(10));
    meter.handle_deadline(start + ms(35));
    assert_eq!(meter.counts(), MeterCounts { received: 2, lost: 1, bursts: 1 });
}

#[test]
fn a_line_that_turns_gray_is_noticed_within_a_quarter_second() {
    for seed in 0..200 {
        let start = start();
        let (mut meter, mut dice) = (Meter::new(start), Dice(seed * 7 + 1));
        // 50 messages and 20 beats a second.
        let every = Duration::from_micros(14_286);
        let (early, now) = offer(&mut meter, &mut dice, (1, start), 1400, every, 0.01);
        assert_eq!(early, None, "seed {seed}");
        let (raised, now) = offer(&mut meter, &mut dice, (1401, now), 70, every, 0.6);
        let raised = raised.unwrap_or(Duration::MAX);
        assert!(raised < ms(700), "seed {seed}: {raised:?}");
        let (_, now) = offer(&mut meter, &mut dice, (1471, now), 200, every, 0.01);
        assert_eq!(meter.verdict(now), Verdict::Good, "seed {seed}");
    }
}

#[test]
fn steady_loss_raises_no_alarm_within_an_hour() {
    for (share, seed) in [(0.05, 1), (0.05, 2), (0.05, 3), (0.02, 4)] {
        let start = start();
        let (mut meter, mut dice) = (Meter::new(start), Dice(seed));
        let every = Duration::from_micros(14_286);
        let (raised, _) = offer(&mut meter, &mut dice, (1, start), 70 * 3600, every, share);
        assert_eq!(raised, None, "{share} with seed {seed}");
        assert!((meter.loss() - share).abs() < 0.03, "{}", meter.loss());
    }
}

#[test]
fn silence_and_its_end() {
    let start = start();
    let mut meter = Meter::new(start);
    meter.handle_beat(1, ms(50), 0, start);
    assert_eq!(meter.verdict(start + ms(174)), Verdict::Good);
    assert_eq!(meter.next_deadline(), start + ms(175));
    assert_eq!(meter.verdict(start + ms(175)), Verdict::Silent);
    meter.handle_heard(start + ms(200));
    assert_eq!(meter.verdict(start + ms(200)), Verdict::Good);
}

#[test]
fn beats_are_told_by_base() {
    let start = start();
    let mut meter = Meter::new(start);
    for number in [1, 2, 4, 70, 69] {
        meter.handle_beat(number, ms(50), 0, start);
    }
    assert_eq!(meter.beats(70), 0b11);
    assert_eq!(meter.beats(72), 0b1100);
    assert_eq!(meter.beats(69), 0b1);
    assert_eq!((meter.beats(200), meter.beats(0)), (0, 0));
}

#[test]
fn delay_is_told_by_its_rise() {
    let start = start();
    let mut meter = Meter::new(start);
    for n in 0..40 {
        meter.handle_beat(n, ms(50), -5_000_000, start);
    }
    assert_eq!(meter.delay_rise(), Duration::ZERO);
    for n in 40..120 {
        meter.handle_beat(n, ms(50), -4_800_000, start);
    }
    let rise = meter.delay_rise();
    assert!((ms(195)..=ms(200)).contains(&rise), "{rise:?}");
}

proptest! {
    /// Whatever comes, everything up to the highest is received, lost or still missing, in order.
    #[test]
    fn every_number_is_accounted_for(steps in prop::collection::vec((0u8..3, 1u64..60, 0u64..40), 1..200)) {
        let mut now = start();
        let mut meter = Meter::new(now);
        for (what, number, pause) in steps {
            now += ms(pause);
            match what {
                0 => meter.handle_sent(meter.highest + number, ms(20), now),
                1 => meter.handle_datagram(meter.highest.saturating_sub(number).max(1), now),
                _ => meter.handle_datagram(meter.highest + number, now),
            }
            meter.handle_deadline(now);
            let MeterCounts { received, lost, .. } = meter.counts();
            prop_assert_eq!(received + lost + meter.missing.len() as u64, meter.highest);
            prop_assert!(meter.missing.iter().is_sorted_by_key(|(seq, _)| *seq));
            prop_assert!((0.0..=1.0).contains(&meter.loss()));
        }
    }
}
