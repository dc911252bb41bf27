//! What one end of a line sees of the direction towards it: loss, bursts, delay, round trips.
//!
//! Every datagram of a line is numbered, so a number that is skipped is a loss once the time for
//! reordering is over. Two estimates are kept. A slow one tells good lines from better ones and is
//! steady enough that equal lines stay equal. A cumulative sum of log-likelihood ratios (Page 1954)
//! between "loses what it usually does" and "loses 35 points more" notices within a dozen datagrams
//! when a line turns bad.
//!
//! Invariant: every number up to `highest` was received, counted as lost, or is in `missing`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::wire::datagram::Verdict;

/// The incoming direction of one line.
#[derive(Clone, Debug)]
pub struct Meter {
    heard_at: Instant,
    /// Silence after which the direction counts as dead.
    silence_max: Duration,
    highest: u64,
    /// Numbers that were skipped, ascending, and when each counts as lost.
    missing: VecDeque<(u64, Instant)>,
    counts: MeterCounts,
    last_lost: u64,
    loss: Decayed,
    alarm: Alarm,
    /// The highest beat heard on this line, and which of those before it were: bit 0 is itself.
    beat: u64,
    beats: u64,
    delay: Delay,
    rtt: Option<Rtt>,
}

/// What a meter has counted since its line opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterCounts {
    /// Datagrams that arrived.
    pub received: u64,
    /// Datagrams that did not.
    pub lost: u64,
    /// Runs of consecutive losses: `lost / bursts` is the mean burst length.
    pub bursts: u64,
}

/// Round-trip time in both forms that decisions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    /// Smoothed with a gain of 1/8 (RFC 6298).
    pub smoothed: Duration,
    /// The least seen.
    pub least: Duration,
}

/// One-way delay on a clock of its own: only differences mean anything.
#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    smoothed_us: Option<f64>,
    last_us: f64,
    jitter_us: f64,
    /// The least of this period and of the one before it.
    least_us: [f64; 2],
    until: Option<Instant>,
}

impl Meter {
    /// A meter of a line that has just opened.
    pub fn new(now: Instant) -> Self {
        Self {
            heard_at: now,
            silence_max: SILENT_BEATS * BEAT_IDLE,
            highest: 0,
            missing: VecDeque::new(),
            counts: MeterCounts::default(),
            last_lost: 0,
            loss: Decayed::default(),
            alarm: Alarm::default(),
            beat: 0,
            beats: 0,
            delay: Delay::default(),
            rtt: None,
        }
    }

    /// Datagram `seq` arrived. One that was counted as lost by then stays so.
    pub fn handle_datagram(&mut self, seq: u64, now: Instant) {
        self.heard_at = now;
        if seq > self.highest {
            self.skip_to(seq - 1, now + REORDER);
            self.highest = seq;
        } else {
            match self.missing.binary_search_by_key(&seq, |(missing, _)| *missing) {
                Ok(index) => drop(self.missing.remove(index)),
                Err(_) => return,
            }
        }
        self.counts.received += 1;
        self.learn(false, now);
    }

    /// Something other than a datagram arrived: a sign of life.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// The other end says, on another line, that it had sent up to `seq` on this one. What is under
    /// way arrives within `slack`, or is lost.
    pub fn handle_sent(&mut self, seq: u64, slack: Duration, now: Instant) {
        if seq > self.highest {
            self.skip_to(seq, now + slack + REORDER);
            self.highest = seq;
        }
    }

    /// A beat arrived on this line.
    pub fn handle_beat(&mut self, number: u64, period: Duration, transit_us: i64, now: Instant) {
        self.silence_max = (period * 7 / 2).max(SILENCE_MIN);
        if number > self.beat {
            let step = number - self.beat;
            self.beats = if step < 64 { self.beats << step | 1 } else { 1 };
            self.beat = number;
        } else if self.beat - number < 64 {
            self.beats |= 1 << (self.beat - number);
        }
        self.delay.learn(transit_us as f64, now);
    }

    /// A beat of ours came back after `rtt`.
    pub fn handle_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(Rtt { smoothed: rtt, least: rtt }, |old| Rtt {
            smoothed: old.smoothed.mul_f64(0.875) + rtt.mul_f64(0.125),
            least: old.least.min(rtt),
        }));
    }

    /// Time has come to `now`: what is overdue is lost.
    pub fn handle_deadline(&mut self, now: Instant) {
        while let Some((seq, _)) = self.missing.pop_front_if(|(_, at)| *at <= now) {
            self.count_lost(seq, 1, now);
        }
    }

    /// What this end thinks of the direction.
    pub fn verdict(&self, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.heard_at) >= self.silence_max {
            Verdict::Silent
        } else if self.alarm.raised.is_some() {
            Verdict::Gray
        } else {
            Verdict::Good
        }
    }

    /// When something last arrived.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// When the verdict or the counts may change though nothing arrives.
    pub fn next_deadline(&self) -> Instant {
        let silent_at = self.heard_at + self.silence_max;
        self.missing.front().map_or(silent_at, |(_, at)| silent_at.min(*at))
    }

    /// The usual share of datagrams that do not arrive, 0 to 1: half-life [`LOSS_HALF_LIFE`].
    pub fn loss(&self) -> f64 {
        self.loss.mean()
    }

    /// What that share is made of: datagrams lost and datagrams in all, both forgotten by and by.
    pub fn evidence(&self) -> (f64, f64) {
        (self.loss.sum, self.loss.weight)
    }

    /// What was counted.
    pub fn counts(&self) -> MeterCounts {
        self.counts
    }

    /// Round-trip time, where one is known.
    pub fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }

    /// Smoothed one-way delay, microseconds on a clock shared by all lines of a trunk.
    pub fn delay_us(&self) -> Option<f64> {
        self.delay.smoothed_us
    }

    /// How far the one-way delay stands above the least of the last minute: what queues build up.
    pub fn delay_rise(&self) -> Duration {
        let Delay { smoothed_us, least_us: [this, before], .. } = self.delay;
        let rise = smoothed_us.map_or(0.0, |smoothed| smoothed - this.min(before));
        Duration::from_micros(rise.max(0.0) as u64)
    }

    /// Variation of the one-way delay from beat to beat, as RFC 3550's interarrival jitter.
    pub fn jitter(&self) -> Duration {
        Duration::from_micros(self.delay.jitter_us as u64)
    }

    /// Which of the beats up to `base` were heard: bit `i` is beat `base - i`.
    pub fn beats(&self, base: u64) -> u64 {
        match base.checked_sub(self.beat) {
            Some(behind) if behind < 64 => self.beats << behind,
            Some(_) => 0,
            None => self.beats.checked_shr((self.beat - base) as u32).unwrap_or(0),
        }
    }

    fn skip_to(&mut self, seq: u64, at: Instant) {
        let count = seq.saturating_sub(self.highest);
        if count > MISSING_MAX {
            // An outage: listing all of it would only cost memory.
            self.count_lost(seq - MISSING_MAX, count - MISSING_MAX, at);
        }
        let from = self.highest.max(seq.saturating_sub(MISSING_MAX));
        self.missing.extend((from + 1..=seq).map(|seq| (seq, at)));
        while self.missing.len() as u64 > MISSING_MAX {
            if let Some((seq, _)) = self.missing.pop_front() {
                self.count_lost(seq, 1, at);
            }
        }
    }

    /// Counts `count` numbers up to `seq`, the rest of them right before it.
    fn count_lost(&mut self, seq: u64, count: u64, now: Instant) {
        self.counts.lost += count;
        self.counts.bursts += u64::from(self.last_lost + count != seq);
        self.last_lost = seq;
        for _ in 0..count.min(MISSING_MAX) {
            self.learn(true, now);
        }
    }

    fn learn(&mut self, lost: bool, now: Instant) {
        self.alarm.learn(lost, self.loss.mean());
        self.loss.learn(f64::from(u8::from(lost)), now);
    }
}

impl Delay {
    fn learn(&mut self, transit_us: f64, now: Instant) {
        let Some(smoothed) = self.smoothed_us else {
            *self = Self {
                smoothed_us: Some(transit_us),
                last_us: transit_us,
                jitter_us: 0.0,
                least_us: [transit_us; 2],
                until: Some(now + DELAY_PERIOD),
            };
            return;
        };
        self.smoothed_us = Some(smoothed + (transit_us - smoothed) / 8.0);
        self.jitter_us += ((transit_us - self.last_us).abs() - self.jitter_us) / 16.0;
        self.last_us = transit_us;
        if self.until.is_some_and(|until| now >= until) {
            self.least_us = [transit_us, self.least_us[0]];
            self.until = Some(now + DELAY_PERIOD);
        }
        self.least_us[0] = self.least_us[0].min(transit_us);
    }
}

/// A mean that forgets with a half-life.
#[derive(Clone, Copy, Debug, Default)]
struct Decayed {
    sum: f64,
    weight: f64,
    at: Option<Instant>,
}

impl Decayed {
    fn learn(&mut self, value: f64, now: Instant) {
        let age = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let kept = (-age * std::f64::consts::LN_2 / LOSS_HALF_LIFE.as_secs_f64()).exp();
        self.sum = self.sum * kept + value;
        self.weight = self.weight * kept + 1.0;
        self.at = self.at.max(Some(now));
    }

    /// Shrunk towards nothing lost while little is known.
    fn mean(&self) -> f64 {
        self.sum / (self.weight + LOSS_PRIOR_WEIGHT)
    }
}

/// The cumulative sum that notices a change.
#[derive(Clone, Copy, Debug, Default)]
struct Alarm {
    sum: f64,
    /// What the line usually lost before it was raised.
    raised: Option<f64>,
    /// The last outcomes, bit 0 the newest; set: lost. And how many there are.
    outcomes: u32,
    known: u32,
}

impl Alarm {
    fn learn(&mut self, lost: bool, usual: f64) {
        let usual = self.raised.unwrap_or(usual).clamp(USUAL_LOSS_MIN, USUAL_LOSS_MAX);
        self.outcomes = self.outcomes << 1 | u32::from(lost);
        self.known = (self.known + 1).min(RECOVERY_OUTCOMES);
        if self.raised.is_some() {
            let lately = self.outcomes & ((1 << RECOVERY_OUTCOMES) - 1);
            let share = f64::from(lately.count_ones()) / f64::from(RECOVERY_OUTCOMES);
            if self.known == RECOVERY_OUTCOMES && share <= usual + RECOVERY_LOSS {
                *self = Self::default();
            }
            return;
        }
        let bad = usual + LOSS_STEP;
        let ratio = if lost { bad / usual } else { (1.0 - bad) / (1.0 - usual) };
        self.sum = (self.sum + ratio.ln()).max(0.0);
        if self.sum >= ALARM_AT {
            self.raised = Some(usual);
            self.known = 0;
        }
    }
}

/// Time between beats while nothing live was sent for a while.
pub const BEAT_IDLE: Duration = Duration::from_millis(250);
/// Beats whose absence means silence: three and a half, so that two may be lost.
const SILENT_BEATS: u32 = 4;
const SILENCE_MIN: Duration = Duration::from_millis(80);
/// How long a datagram may be overtaken by later ones of its line.
const REORDER: Duration = Duration::from_millis(15);
/// Skipped numbers that are listed at most; more are an outage.
const MISSING_MAX: u64 = 1024;
/// The usual loss forgets by half in this time: at 20 beats a second the estimate of an idle line
/// at 5 % loss has a standard error of 0.9 points.
pub const LOSS_HALF_LIFE: Duration = Duration::from_secs(20);
const LOSS_PRIOR_WEIGHT: f64 = 10.0;
/// The least usual loss that the alarm assumes: single losses on a clean line are nothing.
const USUAL_LOSS_MIN: f64 = 0.05;
const USUAL_LOSS_MAX: f64 = 0.6;
/// The rise that the alarm looks for.
const LOSS_STEP: f64 = 0.35;
/// A false alarm at the usual loss comes about once in `e^14` datagrams, 1.2 million.
const ALARM_AT: f64 = 14.0;
/// A line has recovered when of this many datagrams no more than usual and 15 points were lost.
const RECOVERY_OUTCOMES: u32 = 20;
const RECOVERY_LOSS: f64 = 0.15;
const DELAY_PERIOD: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
