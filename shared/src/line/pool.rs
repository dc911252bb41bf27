//! The pool: the connected lines of a trunk, what is known of each, and which carries what.
//!
//! Each end chooses for the direction away from it, by what the other end tells of it in beats: the
//! receiving end measures, the sending end obeys. A line is left at once when the other end calls it
//! gray or silent. Between good lines the primary changes only for one that is better by a quarter
//! and 5 ms for half a second, so equal lines do not take turns. A line that was bad is held down
//! before it is preferred again, twice as long each time.
//!
//! Invariant: whenever a line is connected there is a primary.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::meter::{BEAT_IDLE, Meter, MeterCounts, Rtt};
use super::{LineEnd, LineId};
use crate::wire::datagram::{Beat, LineNote, Verdict};

mod pairs;
mod standing;

use pairs::Pairs;
use standing::Standing;

/// How a line can be used for what leaves here. Declared best first: this order is the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// As good as it usually is.
    Good,
    /// Good again, but not for long enough.
    Held,
    /// It loses far more than usual.
    Gray,
    /// It takes nothing more at the moment.
    Full,
    /// About to be closed.
    Draining,
    /// Nothing arrives at the other end.
    Silent,
}

impl Tier {
    /// Its name in reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Held => "held",
            Self::Gray => "gray",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Silent => "silent",
        }
    }
}

#[derive(Debug)]
struct Line {
    local: LineEnd,
    remote: LineEnd,
    meter: Meter,
    /// Datagrams and bytes sent.
    sent: u64,
    bytes_out: u64,
    bytes_in: u64,
    /// What the other end says of the direction towards it.
    note: LineNote,
    /// Its last beat: when it was sent, by its clock, and when it was heard.
    echo: Option<(u64, Instant)>,
    /// The first beat of ours that was sent on it, and the first of the other end's heard on it.
    first_beat: u64,
    first_heard: Option<u64>,
    /// What was last told of the direction towards here.
    told: Verdict,
    draining: bool,
    full: bool,
    tier: Tier,
    /// Expected time to deliver what is sent on it, microseconds.
    score: f64,
}

/// What is known of a line.
#[derive(Clone, Debug)]
pub struct LineStatus {
    /// The line.
    pub id: LineId,
    /// The end here.
    pub local: LineEnd,
    /// The other end.
    pub remote: LineEnd,
    /// How it can be used.
    pub tier: Tier,
    /// Whether it is the primary of what leaves here.
    pub primary_out: bool,
    /// Whether it is that of what the other end sends.
    pub primary_in: bool,
    /// Round trips.
    pub rtt: Option<Rtt>,
    /// Share lost towards here, 0 to 1.
    pub loss_in: f64,
    /// Share lost towards the other end, as it says.
    pub loss_out: f64,
    /// Of the direction towards here.
    pub counts: MeterCounts,
    /// Of the one-way delay towards here.
    pub jitter: Duration,
    /// How far that delay stands above its least of the last minute.
    pub delay_rise: Duration,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes of datagrams sent.
    pub bytes_out: u64,
    /// Bytes of datagrams received.
    pub bytes_in: u64,
}

/// The primary changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The line that was left, unless it is closed.
    pub from: Option<LineId>,
    /// The line that is used now.
    pub to: LineId,
    /// What was wrong with the line that was left; good: it was merely worse.
    pub why: Tier,
}

/// The connected lines of one end of a trunk.
#[derive(Debug)]
pub struct Pool {
    lines: BTreeMap<LineId, Line>,
    /// Survives a line's connection.
    standings: BTreeMap<LineId, Standing>,
    pairs: Pairs,
    primary: Option<LineId>,
    /// The other end's primary, as it says.
    primary_in: Option<LineId>,
    /// A line that has been better than the primary since then.
    better: Option<(LineId, Instant)>,
    switched: Option<Switch>,
    started: Instant,
    /// Our last beat, when it was sent, when the next is due, and until when beats come quickly.
    beat: u64,
    beaten_at: Instant,
    beat_at: Instant,
    live_until: Instant,
    live_at: Instant,
    /// The usual time between live messages.
    live_gap: Duration,
    urgent_until: Instant,
    /// The other end's last beat on any line, and when it was heard.
    base: u64,
    base_at: Instant,
    /// The number of the other end's beat whose notes are in use.
    noted: u64,
    /// Our last beat that the other end had heard then.
    noted_base: u64,
    dice: u64,
}

impl Pool {
    /// A pool without lines. `seed` spreads the beats of many trunks.
    pub fn new(seed: u64, now: Instant) -> Self {
        Self {
            lines: BTreeMap::new(),
            standings: BTreeMap::new(),
            pairs: Pairs::default(),
            primary: None,
            primary_in: None,
            better: None,
            switched: None,
            started: now,
            beat: 0,
            beaten_at: now,
            beat_at: now,
            live_until: now,
            live_at: now,
            live_gap: LIVE_FOR,
            urgent_until: now,
            base: 0,
            base_at: now,
            noted: 0,
            noted_base: 0,
            dice: seed | 1,
        }
    }

    /// A line is connected.
    pub fn handle_opened(&mut self, id: LineId, local: LineEnd, remote: LineEnd, now: Instant) {
        let line = Line {
            local,
            remote,
            meter: Meter::new(now),
            sent: 0,
            bytes_out: 0,
            bytes_in: 0,
            note: LineNote { line: id.0, ..LineNote::default() },
            echo: None,
            first_beat: self.beat + 1,
            first_heard: None,
            told: Verdict::Good,
            draining: false,
            full: false,
            tier: Tier::Held,
            score: f64::MAX,
        };
        self.lines.insert(id, line);
        self.beat_at = now;
        self.review(now);
    }

    /// A line's connection ended.
    pub fn handle_closed(&mut self, id: LineId, now: Instant) {
        if self.lines.remove(&id).is_some() {
            self.standings.entry(id).or_default().turn_bad();
            self.pairs.forget(id);
            self.review(now);
        }
    }

    /// The other end is about to close a line: it is used only where there is no other.
    pub fn handle_draining(&mut self, id: LineId, now: Instant) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.draining = true;
            self.review(now);
        }
    }

    /// Whether a line takes more at the moment.
    pub fn handle_space(&mut self, id: LineId, has_space: bool, now: Instant) {
        if let Some(line) = self.lines.get_mut(&id)
            && line.full == has_space
        {
            line.full = !has_space;
            self.review(now);
        }
    }

    /// A datagram arrived.
    pub fn handle_datagram(&mut self, id: LineId, seq: u64, bytes: usize, now: Instant) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.bytes_in += bytes as u64;
        line.meter.handle_datagram(seq, now);
        if line.meter.verdict(now) != line.told {
            self.beat_at = self.beat_at.min(now + BEAT_SOON);
        }
    }

    /// A stream of the line brought something: a sign of life.
    pub fn handle_heard(&mut self, id: LineId, bytes: usize, now: Instant) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.bytes_in += bytes as u64;
            line.meter.handle_heard(now);
        }
    }

    /// A beat arrived on a line.
    pub fn handle_beat(&mut self, id: LineId, beat: &Beat, now: Instant) {
        let now_us = self.now_us(now);
        let Some(line) = self.lines.get_mut(&id) else { return };
        let period = Duration::from_millis(beat.period_ms).clamp(BEAT_URGENT, BEAT_IDLE);
        let transit_us = now_us as i64 - beat.sent_us as i64;
        line.meter.handle_beat(beat.number, period, transit_us, now);
        line.first_heard = Some(line.first_heard.map_or(beat.number, |n| n.min(beat.number)));
        line.echo = line.echo.max(Some((beat.sent_us, now)));
        if let Some((sent_us, held_us)) = beat.echo
            && let Some(rtt_us) = now_us.checked_sub(sent_us).and_then(|us| us.checked_sub(held_us))
        {
            line.meter.handle_rtt(Duration::from_micros(rtt_us.min(RTT_US_MAX)));
        }
        if beat.number > self.base {
            (self.base, self.base_at) = (beat.number, now);
        }
        if beat.number > self.noted {
            self.noted = beat.number;
            self.primary_in = beat.primary.map(LineId);
            self.noted_base = beat.base.min(self.beat);
            let slacks = self.lags_us();
            // Of lines that it does not name, the other end hears nothing.
            self.lines.values_mut().for_each(|line| line.note.beats = 0);
            for note in &beat.lines {
                let Some(line) = self.lines.get_mut(&LineId(note.line)) else { continue };
                line.note = *note;
                // An earlier beat tells of an earlier connection of that line; and before one has
                // come by it, nobody knows how slow it is.
                let is_of_this = line.first_heard.is_some_and(|first| beat.number >= first);
                if LineId(note.line) != id && is_of_this {
                    let slack = slacks.get(&LineId(note.line)).copied().unwrap_or(0);
                    line.meter.handle_sent(note.sent, Duration::from_micros(slack), now);
                }
            }
            let first = |id: LineId| self.lines.get(&id).map_or(u64::MAX, |line| line.first_beat);
            self.pairs.learn(self.noted_base, &beat.lines, first);
        }
        self.review(now);
    }

    /// Live messages leave or arrive: beats come quickly for a while.
    pub fn handle_live(&mut self, urgent: bool, now: Instant) {
        let was_idle = self.live_until <= now;
        self.live_until = now + LIVE_FOR;
        let gap = now.saturating_duration_since(self.live_at).min(LIVE_FOR);
        self.live_gap = (self.live_gap * 7 + gap) / 8;
        self.live_at = now;
        if urgent {
            self.urgent_until = now + LIVE_FOR;
        }
        if was_idle {
            self.beat_at = self.beat_at.min(now + self.period(now));
        }
    }

    /// Whether live messages follow closely.
    pub fn is_dense(&self) -> bool {
        self.live_gap <= DENSE
    }

    /// Something waits to be told in a beat: the next one comes within [`BEAT_URGENT`], and no
    /// sooner than that after the last.
    pub fn beat_soon(&mut self, now: Instant) {
        let at = (now + BEAT_SOON).max(self.beaten_at + BEAT_URGENT);
        self.beat_at = self.beat_at.min(at);
    }

    /// More waits to be told than fits a beat: the next one comes after [`BEAT_FULL`].
    pub fn beat_again(&mut self, now: Instant) {
        self.beat_at = self.beat_at.min(now + BEAT_FULL);
    }

    /// Time has come to `now`. Answers whether a beat is due on every line.
    pub fn handle_deadline(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for line in self.lines.values_mut() {
            line.meter.handle_deadline(now);
            changed |= line.meter.verdict(now) != line.told;
        }
        if changed {
            self.beat_at = self.beat_at.min(now + BEAT_SOON);
        }
        self.review(now);
        if self.beat_at > now || self.lines.is_empty() {
            return false;
        }
        self.beat += 1;
        self.beaten_at = now;
        self.lines.values_mut().for_each(|line| line.told = line.meter.verdict(now));
        let period = self.period(now);
        // A tenth more or less, so that trunks do not beat in step. xorshift64.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.beat_at = now + period.mul_f64(0.9 + (self.dice % 1024) as f64 / 5120.0);
        true
    }

    /// The beat that is due, for one line. `acked` is the last control message had in order.
    pub fn beat(&self, id: LineId, acked: u64, now: Instant) -> Beat {
        let lags = self.lags_us();
        // Of a line that has carried little, little is known: it is taken for an average one.
        let evidence = self.lines.values().map(|line| line.meter.evidence());
        let (lost, all) = evidence.fold((0.0, 0.0), |(a, b), (lost, all)| (a + lost, b + all));
        let usual = lost / (all + 1.0);
        let loss = |line: &Line| {
            let (lost, all) = line.meter.evidence();
            (lost + usual * EVIDENCE_MIN) / (all + EVIDENCE_MIN)
        };
        let note = |(id, line): (&LineId, &Line)| LineNote {
            line: id.0,
            sent: line.sent,
            loss_permille: ((loss(line) * 1000.0) as u64).min(1000),
            lag_us: lags.get(id).copied().unwrap_or(0),
            verdict: line.meter.verdict(now),
            beats: line.meter.beats(self.base),
        };
        let echo = self.lines.get(&id).and_then(|line| line.echo);
        let held_us = |at: Instant| now.saturating_duration_since(at).as_micros() as u64;
        Beat {
            number: self.beat,
            period_ms: self.period(now).as_millis() as u64,
            sent_us: self.now_us(now),
            acked,
            base: self.base,
            primary: self.primary.map(|line| line.0),
            echo: echo.map(|(sent_us, at)| (sent_us, held_us(at))),
            lines: self.lines.iter().map(note).collect(),
        }
    }

    /// The number of the next datagram on a line, which will be this long.
    pub fn next_seq(&mut self, id: LineId, bytes: usize) -> Option<u64> {
        let line = self.lines.get_mut(&id)?;
        line.sent += 1;
        line.bytes_out += bytes as u64;
        Some(line.sent)
    }

    /// When [`Pool::handle_deadline`] wants to be called next.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let of_lines = self.lines.values().map(|line| line.meter.next_deadline());
        // Silence that was noticed already is no deadline.
        of_lines
            .filter(|at| *at > now)
            .chain([self.beat_at])
            .min()
            .filter(|_| !self.lines.is_empty())
    }

    /// The line that single copies go by.
    pub fn primary(&self) -> Option<LineId> {
        self.primary
    }

    /// Whether what is sent now is likely to arrive by some line.
    pub fn is_alive(&self) -> bool {
        self.lines.values().any(|line| line.tier < Tier::Full)
    }

    /// Whether some line takes more.
    pub fn has_space(&self) -> bool {
        self.lines.values().any(|line| line.tier < Tier::Silent && !line.full)
    }

    /// Whether anything was heard lately on some line.
    pub fn is_heard(&self, now: Instant) -> bool {
        self.lines.values().any(|line| line.meter.verdict(now) != Verdict::Silent)
    }

    /// The line that the other end's single copies come by, as it says.
    pub fn primary_in(&self) -> Option<LineId> {
        self.primary_in
    }

    /// How long what the other end sends takes to be delivered here, losses included: by its primary,
    /// or by the best line that is heard where that one is not. `None` while no line works both ways.
    pub fn delivery_in(&self, now: Instant) -> Option<Duration> {
        if !self.is_alive() {
            return None;
        }
        let rtt = self.rtt().unwrap_or(RTT_ASSUMED).as_micros() as f64;
        let lags = self.lags_us();
        let score = |(id, line): (&LineId, &Line)| {
            let lag = lags.get(id).copied().unwrap_or(0) as f64;
            rtt / 2.0 + lag + line.meter.loss() * (3.0 * rtt + REPAIR_US)
        };
        let heard = || self.lines.iter().filter(|(_, l)| l.meter.verdict(now) != Verdict::Silent);
        let primary = heard().find(|(id, _)| Some(**id) == self.primary_in).map(score);
        let micros = primary.or_else(|| heard().map(score).min_by(f64::total_cmp))?;
        Some(Duration::from_micros(micros as u64))
    }

    /// The lines, the primary first, then by tier and score.
    pub fn ranked(&self) -> Vec<LineId> {
        let mut ids: Vec<LineId> = self.lines.keys().copied().collect();
        ids.sort_by(|a, b| self.rank(*a).partial_cmp(&self.rank(*b)).unwrap_or(a.cmp(b)));
        ids
    }

    /// The primary and the lines that share least with it, best first: where copies go.
    pub fn copies(&self) -> Vec<LineId> {
        let Some(primary) = self.primary else { return Vec::new() };
        let Some(first) = self.lines.get(&primary) else { return Vec::new() };
        let mut others: Vec<(Tier, bool, f64, LineId)> = self
            .lines
            .iter()
            .filter(|(id, _)| **id != primary)
            .map(|(id, line)| {
                let shared = line.local.shares_carrier(&first.local)
                    || line.remote.shares_carrier(&first.remote);
                let both = self.pairs.conditional(primary, *id, self.loss_out(*id));
                // A line that is held down carries copies all the same.
                let tier = if line.tier == Tier::Held { Tier::Good } else { line.tier };
                (tier, shared, line.score + both * BOTH_LOST_US, *id)
            })
            .collect();
        others.sort_by(|a, b| a.partial_cmp(b).unwrap_or(a.3.cmp(&b.3)));
        std::iter::once(primary).chain(others.into_iter().map(|(.., id)| id)).collect()
    }

    /// Share of what is sent on a line that does not arrive, as the other end says.
    pub fn loss_out(&self, id: LineId) -> f64 {
        self.lines.get(&id).map_or(0.0, |line| line.note.loss_permille as f64 / 1000.0)
    }

    /// The chance that a second line loses what a first one lost, 0 to 1.
    pub fn conditional_loss(&self, first: LineId, second: LineId) -> f64 {
        self.pairs.conditional(first, second, self.loss_out(second))
    }

    /// How a line can be used; `None` if it is not connected.
    pub fn tier(&self, id: LineId) -> Option<Tier> {
        self.lines.get(&id).map(|line| line.tier)
    }

    /// The least smoothed round-trip time of lines that are heard.
    pub fn rtt(&self) -> Option<Duration> {
        let rtts = self.lines.values().filter(|line| line.tier < Tier::Silent);
        rtts.filter_map(|line| line.meter.rtt()).map(|rtt| rtt.smoothed).min()
    }

    /// How much later than on the fastest line things arrive here, at most [`LAG_MAX`].
    pub fn lag(&self, id: LineId) -> Duration {
        let lag = self.lags_us().get(&id).copied().unwrap_or(0);
        Duration::from_micros(lag).min(LAG_MAX)
    }

    /// A line from which nothing was heard for [`DOWN_AFTER`].
    pub fn dead(&self, now: Instant) -> Option<LineId> {
        let dead = |line: &Line| now.saturating_duration_since(line.meter.heard_at()) >= DOWN_AFTER;
        self.lines.iter().find(|(_, line)| dead(line)).map(|(id, _)| *id)
    }

    /// The number of our last beat.
    pub fn beats(&self) -> u64 {
        self.beat
    }

    /// Our beats that were heard on any line, as the other end says: bit `i` is beat `base - i`.
    pub fn heard_beats(&self) -> (u64, u64) {
        let heard = self.lines.values().map(|line| line.note.beats).fold(0, |all, one| all | one);
        (self.noted_base, heard)
    }

    /// The change of primary that was not yet told of.
    pub fn take_switch(&mut self) -> Option<Switch> {
        self.switched.take()
    }

    /// How many lines are connected.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The connected lines' ids.
    pub fn ids(&self) -> impl Iterator<Item = LineId> {
        self.lines.keys().copied()
    }

    /// What is known of every line.
    pub fn status(&self) -> impl Iterator<Item = LineStatus> {
        self.lines.iter().map(|(id, line)| LineStatus {
            id: *id,
            local: line.local.clone(),
            remote: line.remote.clone(),
            tier: line.tier,
            primary_out: self.primary == Some(*id),
            primary_in: self.primary_in == Some(*id),
            rtt: line.meter.rtt(),
            loss_in: line.meter.loss(),
            loss_out: self.loss_out(*id),
            counts: line.meter.counts(),
            jitter: line.meter.jitter(),
            delay_rise: line.meter.delay_rise(),
            sent: line.sent,
            bytes_out: line.bytes_out,
            bytes_in: line.bytes_in,
        })
    }

    fn period(&self, now: Instant) -> Duration {
        // Where messages follow closely, the next one tells sooner than a beat what is missing.
        if self.urgent_until > now && self.live_gap > DENSE {
            BEAT_URGENT
        } else if self.live_until > now {
            BEAT_LIVE
        } else {
            BEAT_IDLE
        }
    }

    fn now_us(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_micros() as u64
    }

    fn lags_us(&self) -> BTreeMap<LineId, u64> {
        let delays = || self.lines.iter().filter_map(|(id, l)| Some((*id, l.meter.delay_us()?)));
        let least = delays().map(|(_, delay)| delay).fold(f64::MAX, f64::min);
        delays().map(|(id, delay)| (id, (delay - least).max(0.0) as u64)).collect()
    }

    fn rank(&self, id: LineId) -> (bool, Tier, f64) {
        let line = self.lines.get(&id);
        let (tier, score) = line.map_or((Tier::Silent, f64::MAX), |line| (line.tier, line.score));
        (self.primary != Some(id), tier, score)
    }

    /// Looks at every line anew and chooses the primary.
    fn review(&mut self, now: Instant) {
        let rtt = self.rtt().unwrap_or(RTT_ASSUMED).as_micros() as f64;
        // Notes come by any line; without any, only what is heard here is known.
        let is_told = now.saturating_duration_since(self.base_at) < 4 * BEAT_IDLE;
        for (id, line) in &mut self.lines {
            let heard = line.meter.verdict(now) != Verdict::Silent;
            let bad = match line.note.verdict {
                Verdict::Silent => Some(Tier::Silent),
                Verdict::Gray => Some(Tier::Gray),
                Verdict::Good if !heard && !is_told => Some(Tier::Silent),
                Verdict::Good => None,
            };
            let standing = self.standings.entry(*id).or_default();
            let held = standing.review(bad.is_some(), now) || !heard;
            line.tier = match bad {
                Some(Tier::Silent) => Tier::Silent,
                _ if line.draining => Tier::Draining,
                Some(tier) => tier,
                None if line.full => Tier::Full,
                None if held => Tier::Held,
                None => Tier::Good,
            };
            let loss = line.note.loss_permille as f64 / 1000.0;
            let unmeasured = if line.echo.is_none() { UNMEASURED_US } else { 0.0 };
            line.score =
                rtt / 2.0 + line.note.lag_us as f64 + loss * (3.0 * rtt + REPAIR_US) + unmeasured;
        }
        self.choose(now);
    }

    fn choose(&mut self, now: Instant) {
        let best = self.lines.iter().min_by(|(a, l), (b, r)| {
            (l.tier, l.score).partial_cmp(&(r.tier, r.score)).unwrap_or(a.cmp(b))
        });
        let Some((&best_id, best)) = best else {
            self.primary = None;
            return;
        };
        let current = self.primary.and_then(|id| Some((id, self.lines.get(&id)?)));
        let Some((id, line)) = current else {
            return self.switch(best_id, Tier::Silent);
        };
        if line.tier >= Tier::Gray && best.tier < line.tier {
            let why = line.tier;
            return self.switch(best_id, why);
        }
        let margin = (line.score * SWITCH_SHARE).max(SWITCH_US);
        if best_id == id || best.tier > line.tier || best.score + margin > line.score {
            self.better = None;
            return;
        }
        match self.better {
            Some((better, since)) if better == best_id => {
                if now.saturating_duration_since(since) >= SWITCH_AFTER {
                    self.switch(best_id, Tier::Good);
                }
            }
            _ => self.better = Some((best_id, now)),
        }
    }

    fn switch(&mut self, to: LineId, why: Tier) {
        let from = self.primary.replace(to).filter(|from| *from != to);
        self.better = None;
        self.switched = Some(Switch { from, to, why });
    }
}

/// Time between beats while live messages flow.
pub const BEAT_LIVE: Duration = Duration::from_millis(50);
/// The same while urgent ones do.
pub const BEAT_URGENT: Duration = Duration::from_millis(25);
/// Live messages that are closer than this.
const DENSE: Duration = Duration::from_millis(12);
/// How soon something is told that cannot wait for the next beat.
const BEAT_SOON: Duration = Duration::from_millis(2);
/// How soon a beat follows one that could not tell everything: 12,000 marks a second.
const BEAT_FULL: Duration = Duration::from_millis(10);
/// How long after a live message beats come quickly.
const LIVE_FOR: Duration = Duration::from_secs(1);
/// Silence after which a connection is given up. A silent line carries nothing long before, and one
/// that wakes up within this time needs no handshake.
pub const DOWN_AFTER: Duration = Duration::from_secs(2);
/// Datagrams after which a line is judged by its own losses rather than by all lines'.
const EVIDENCE_MIN: f64 = 100.0;
/// A better line is switched to when it is better by this share of the primary's score,
const SWITCH_SHARE: f64 = 0.25;
/// by this many microseconds at least,
const SWITCH_US: f64 = 5_000.0;
/// and for so long.
const SWITCH_AFTER: Duration = Duration::from_millis(500);
/// What a loss costs beside three one-way trips: reordering, and the wait for a beat.
const REPAIR_US: f64 = 60_000.0;
/// What losing both copies costs, for choosing the second line.
const BOTH_LOST_US: f64 = 200_000.0;
/// A line without a beat yet comes after all that are known.
const UNMEASURED_US: f64 = 1_000_000.0;
const RTT_ASSUMED: Duration = Duration::from_millis(100);
const RTT_US_MAX: u64 = 60_000_000;
/// Differences of delay between lines that are waited for at most.
pub const LAG_MAX: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
