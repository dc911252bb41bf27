//! What is wrong with an edge for a whole carrier right now: the fast part of the estimate.
//!
//! An incident hits (carrier, edge), and so every region of that carrier at once. The residual is the
//! mean of what was observed minus what is usual, over all cells of the carrier, with a short memory.
//! A cumulative sum watches it in both directions: when what comes in no longer fits what is
//! remembered, the memory is dropped and only what comes in counts. So an incident is believed
//! within a tick where many report it, and so is its end.
//!
//! Invariant: without observations nothing changes but by fading towards "nothing is wrong".

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::mean::{Mean, left};

/// The residual of one (carrier, edge), in shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Residual {
    memory: Mean,
    /// Evidence, in standard errors, that things are worse than remembered.
    worse: f64,
    /// Evidence that they are better.
    better: f64,
    event: bool,
    /// How far one observation scatters, as of the last ones.
    #[serde(default)]
    scatter: f64,
}

impl Residual {
    /// Takes the observations of a tick: `reports` of them, on average `excess` above what is
    /// usual, which is `usual`.
    pub(super) fn add(&mut self, excess: f64, usual: f64, reports: f64, at: f64) {
        if reports <= 0.0 {
            return;
        }
        let off = excess - self.remembered(at);
        // As if every observation were a yes or no: more than any other kind of it can scatter.
        let likely = usual.clamp(SHARE_MIN, 0.5);
        self.scatter = (likely * (1.0 - likely)).sqrt();
        let error = (self.scatter / reports.sqrt()).max(ERROR_MIN);
        // Few observations add up over a few ticks; none of them is believed alone.
        let trust = reports / (reports + TRUST_REPORTS);
        let step = |off: f64| trust * (off - SHIFT_MIN) / error;
        let faded = self.evidence_left(at);
        self.worse = (self.worse * faded + step(off)).clamp(0.0, EVIDENCE_MAX);
        self.better = (self.better * faded + step(-off)).clamp(0.0, EVIDENCE_MAX);
        self.memory.fade(at, self.half_life());
        if self.worse.max(self.better) >= EVIDENCE_ENOUGH {
            self.event = self.worse > self.better || self.event;
            self.memory = Mean::default();
            (self.worse, self.better) = (0.0, 0.0);
        } else if self.event {
            self.memory.fade_by(left_of_memory(reports));
        }
        self.memory.add(excess, reports, at, self.half_life());
        if self.event {
            self.memory.limit(EVENT_REPORTS_MAX);
        }
        self.event = self.event && self.get(at) > EVENT_OVER;
    }

    /// What is to be added to the usual drop rate. Outside of incidents nothing that chance makes, too: it is
    /// common to all cells of a carrier, who would leave an edge with few clients together and come back.
    pub(super) fn get(&self, at: f64) -> f64 {
        let remembered = self.remembered(at);
        if self.event {
            return remembered;
        }
        let reports = PSEUDO_REPORTS + self.memory.weight(at, self.half_life());
        let chance = CHANCE_ERRORS * self.scatter / reports.sqrt();
        remembered.signum() * (remembered.abs() - chance).max(0.0)
    }

    /// What of an observation is not the pair's own. In an incident all that is remembered: what is held
    /// back from clients out of caution would stay in the means for minutes after it.
    pub(super) fn explains(&self, at: f64) -> f64 {
        if self.event { self.memory.get(0.0, 0.0, at, self.half_life()) } else { self.get(at) }
    }

    fn remembered(&self, at: f64) -> f64 {
        self.memory.get(0.0, PSEUDO_REPORTS, at, self.half_life())
    }

    /// Whether an incident is going on.
    pub(super) fn event(&self, at: f64) -> bool {
        self.event && self.get(at) > EVENT_OVER
    }

    /// Whether it says anything still.
    pub(super) fn is_faded(&self, at: f64) -> bool {
        self.memory.weight(at, self.half_life()) < 0.01
    }

    /// During an incident memory lasts: clients leave, so few report, and that is no good news.
    fn half_life(&self) -> Duration {
        if self.event { EVENT_HALF_LIFE } else { HALF_LIFE }
    }

    fn evidence_left(&self, at: f64) -> f64 {
        left(at - self.memory.at(), EVIDENCE_HALF_LIFE)
    }
}

/// How much of an incident's memory so many new observations leave.
fn left_of_memory(reports: f64) -> f64 {
    EVENT_REPORTS_MAX / (EVENT_REPORTS_MAX + reports)
}

/// Pooled over a carrier there are many observations; twelve ticks' worth would be slow, one would
/// be noise. From the evaluation of rankings.
pub(super) const HALF_LIFE: Duration = Duration::from_secs(15);

/// An incident lasts minutes, and nobody who has left can tell of its end: what is known of it
/// fades so slowly that a new attempt is made every few minutes.
pub(super) const EVENT_HALF_LIFE: Duration = Duration::from_secs(90);

/// The residual is believed half when there are so many observations.
pub(super) const PSEUDO_REPORTS: f64 = 20.0;

/// So many standard errors of what is remembered may be chance.
const CHANCE_ERRORS: f64 = 2.0;

/// Observations of an incident that are remembered: the first clients to find it over are heard.
const EVENT_REPORTS_MAX: f64 = 200.0;

/// A shift smaller than this is no incident; the slow mean follows it.
const SHIFT_MIN: f64 = 0.02;

/// An incident is over when this is left of it.
const EVENT_OVER: f64 = 0.01;

/// Standard errors beyond [`SHIFT_MIN`] that make an incident.
const EVIDENCE_ENOUGH: f64 = 6.0;

const EVIDENCE_MAX: f64 = 10.0;

/// Evidence of some ticks adds up, of minutes ago does not.
const EVIDENCE_HALF_LIFE: Duration = Duration::from_secs(30);

/// However many agree, the world is not more constant than this.
const ERROR_MIN: f64 = 0.0025;

/// No rate is taken for so small that one yes would be a proof.
const SHARE_MIN: f64 = 0.005;

/// Observations of one tick that are half believed.
const TRUST_REPORTS: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A residual that has seen nothing unusual for a minute.
    fn calm(reports: f64) -> Residual {
        let mut residual = Residual::default();
        for tick in 0..12 {
            residual.add(0.0, 0.01, reports, f64::from(tick) * 5.0);
        }
        residual
    }

    #[test]
    fn an_incident_is_believed_in_one_tick_and_so_is_its_end() {
        let mut residual = calm(2000.0);
        residual.add(0.08, 0.01, 2000.0, 60.0);
        assert!(residual.event(60.0) && residual.get(60.0) > 0.07, "{residual:?}");
        residual.add(0.0, 0.01, 2000.0, 65.0);
        assert!(!residual.event(65.0) && residual.get(65.0) < 0.005, "{residual:?}");
    }

    #[test]
    fn an_incident_nobody_reports_on_fades_slowly() {
        let mut residual = calm(500.0);
        residual.add(0.2, 0.01, 500.0, 60.0);
        assert!(residual.get(120.0) > 0.15 && residual.get(3600.0) < 0.005, "{residual:?}");
        assert!(!residual.event(3600.0));
    }

    #[test]
    fn one_bad_report_among_few_is_no_incident() {
        let mut residual = calm(5.0);
        residual.add(0.2, 0.01, 5.0, 60.0);
        assert!(!residual.event(60.0), "{residual:?}");
        let mut residual = calm(2000.0);
        residual.add(0.01, 0.01, 2000.0, 60.0);
        assert!(!residual.event(60.0), "a point is for the slow mean: {residual:?}");
    }

    #[test]
    fn few_reports_that_agree_are_believed_after_some_ticks() {
        let mut residual = calm(5.0);
        let ticks = (0..12_u32).find(|tick| {
            let at = 60.0 + f64::from(*tick) * 5.0;
            residual.add(0.3, 0.01, 5.0, at);
            residual.event(at)
        });
        assert!(ticks.is_some_and(|ticks| (1..5).contains(&ticks)), "{ticks:?}");
    }

    #[test]
    fn chance_is_not_added() {
        let mut residual = calm(100.0);
        residual.add(0.01, 0.01, 100.0, 60.0);
        assert_eq!(residual.get(60.0), 0.0, "{residual:?}");
        residual.add(0.019, 0.001, 20_000.0, 65.0);
        assert!((0.01..0.019).contains(&residual.get(65.0)), "{residual:?}");
    }

    #[test]
    fn an_incident_explains_all_of_itself() {
        let mut residual = calm(500.0);
        residual.add(0.1, 0.01, 20.0, 60.0);
        residual.add(0.1, 0.01, 500.0, 65.0);
        assert!(residual.event(65.0) && residual.get(65.0) < 0.095, "{residual:?}");
        assert!((residual.explains(65.0) - 0.1).abs() < 1e-9, "{residual:?}");
    }
}
