//! The figures of many runs together, and which goals they miss.

use std::fmt;

use super::{Figures, Goals};

/// What many runs of one scenario measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    messages: usize,
    arrived_ms: [f64; 4],
    delivered_ms: [f64; 4],
    over_useful: f64,
    switches_per_hour: f64,
    left_ms: Option<f64>,
    /// The slowest message of a run, in 99 of 100 runs.
    worst_ms: f64,
    /// Of all runs, the longest time to leave the primary.
    left_max_ms: Option<f64>,
}

impl Summary {
    /// The columns.
    pub const HEAD: &'static str = "scenario          messages  arrived p50    p99  p99.9    max  \
                                    in order p50    p99  p99.9    max  bytes/useful  switches/h  \
                                    left after p95/max ms";

    /// Of these runs.
    pub fn of(figures: &[Figures]) -> Self {
        let sum = |of: fn(&Figures) -> f64| figures.iter().map(of).sum::<f64>();
        let mut left: Vec<f64> = figures.iter().filter_map(|figures| figures.left_ms).collect();
        left.sort_by(f64::total_cmp);
        let mut worst: Vec<f64> = figures.iter().map(Figures::worst_ms).collect();
        worst.sort_by(f64::total_cmp);
        let hours = sum(|figures| figures.lasted.as_secs_f64()) / 3600.0;
        Self {
            messages: figures.iter().map(|figures| figures.arrived_ms.len()).sum(),
            arrived_ms: shares(figures.iter().flat_map(|figures| &figures.arrived_ms)),
            delivered_ms: shares(figures.iter().flat_map(|figures| &figures.delivered_ms)),
            over_useful: sum(|figures| figures.down_bytes as f64)
                / sum(|figures| figures.useful as f64),
            switches_per_hour: sum(|figures| figures.switches as f64) / hours / LINES,
            worst_ms: worst.get(worst.len() * 99 / 100).copied().unwrap_or(f64::NAN),
            left_ms: left.get(left.len() * 95 / 100).copied(),
            left_max_ms: left.last().copied(),
        }
    }

    /// The goals that are missed, in words.
    pub fn missed(&self, goals: &Goals) -> Vec<String> {
        let [_, p99, p999, _] = self.arrived_ms;
        let checks = [
            ("p99", Some(p99), goals.p99_ms),
            ("p99.9", Some(p999), goals.p999_ms),
            ("worst", Some(self.worst_ms), goals.max_ms),
            ("bytes/useful", Some(self.over_useful), goals.over_useful),
            ("switches/h", Some(self.switches_per_hour), goals.switches_per_hour),
            ("left after", self.left_ms, goals.left_ms),
        ];
        let missed = |(what, found, goal): (&str, Option<f64>, Option<f64>)| {
            let goal = goal?;
            let is_met = found.is_some_and(|found| found <= goal);
            (!is_met).then(|| format!("  {what} is above {goal}"))
        };
        checks.into_iter().filter_map(missed).collect()
    }
}

/// The median, 99 %, 99.9 % and the highest.
fn shares<'a>(values: impl Iterator<Item = &'a f64>) -> [f64; 4] {
    let mut values: Vec<f64> = values.copied().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    [0.5, 0.99, 0.999, 1.0].map(|share| {
        let at = (last as f64 * share).ceil() as usize;
        values.get(at.min(last)).copied().unwrap_or(f64::NAN)
    })
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.arrived_ms;
        write!(out, "{:>8}  {a:>11.1} {b:>6.1} {c:>6.1} {d:>6.1}", self.messages)?;
        let [a, b, c, d] = self.delivered_ms;
        write!(out, "  {a:>12.1} {b:>6.1} {c:>6.1} {d:>6.1}")?;
        write!(out, "  {:>12.2}  {:>10.2}", self.over_useful, self.switches_per_hour)?;
        match (self.left_ms, self.left_max_ms) {
            (Some(p95), Some(max)) => write!(out, "  {p95:>10.0} {max:>10.0}"),
            _ => write!(out, "  {:>10} {:>10}", "-", "-"),
        }
    }
}

const LINES: f64 = 3.0;
