//! Conditional loss: how often a second line loses what a first one lost.
//!
//! Both ends beat on all lines at once with one number, so each beat is a joint trial of every
//! pair. Paths that share an access network lose together (70 % back to back on one path, 60 % over
//! different ones were measured between universities), and copies on such lines are worth little.

use std::collections::BTreeMap;

use super::LineId;
use crate::wire::datagram::LineNote;

/// What was counted of all pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    /// The last beat that was counted.
    counted: u64,
    lost: BTreeMap<LineId, f64>,
    /// Ordered pairs: lower id first.
    both: BTreeMap<(LineId, LineId), f64>,
}

impl Pairs {
    /// Learns from what the other end says of our beats up to `base`. `first_beat` is the first that
    /// was sent on a line.
    pub(super) fn learn(
        &mut self,
        base: u64,
        notes: &[LineNote],
        first_beat: impl Fn(LineId) -> u64,
    ) {
        // The latest beats may still be under way on slower lines.
        let until = base.saturating_sub(SETTLED);
        let from = (self.counted + 1).max(base.saturating_sub(63));
        for number in from..=until {
            let is_lost = |note: &&LineNote| {
                number >= first_beat(LineId(note.line)) && note.beats >> (base - number) & 1 == 0
            };
            let lost: Vec<LineId> =
                notes.iter().filter(is_lost).map(|note| LineId(note.line)).collect();
            self.lost.values_mut().chain(self.both.values_mut()).for_each(|sum| *sum *= KEPT);
            for (at, id) in lost.iter().enumerate() {
                *self.lost.entry(*id).or_default() += 1.0;
                for other in &lost[at + 1..] {
                    let pair = (*id.min(other), *id.max(other));
                    *self.both.entry(pair).or_default() += 1.0;
                }
            }
        }
        self.counted = self.counted.max(until);
    }

    /// The chance that `second`, which usually loses `loss`, loses what `first` lost.
    pub(super) fn conditional(&self, first: LineId, second: LineId, loss: f64) -> f64 {
        let pair = (first.min(second), first.max(second));
        let both = self.both.get(&pair).copied().unwrap_or(0.0);
        let lost = self.lost.get(&first).copied().unwrap_or(0.0);
        ((both + loss * PRIOR_WEIGHT) / (lost + PRIOR_WEIGHT)).min(1.0)
    }

    /// A line is gone, and with it what was known of it.
    pub(super) fn forget(&mut self, id: LineId) {
        self.lost.remove(&id);
        self.both.retain(|(a, b), _| *a != id && *b != id);
    }
}

/// Beats behind the latest one after which none arrives any more.
const SETTLED: u64 = 6;
/// Share of a sum that is kept from beat to beat: half is forgotten after 35 s at 20 beats a second.
const KEPT: f64 = 0.999;
/// Losses that count as seen before there were any.
const PRIOR_WEIGHT: f64 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_lines_that_fail_together_from_others() {
        let mut pairs = Pairs::default();
        let [a, b, c] = [LineId(0), LineId(1), LineId(2)];
        let mut history = [0u64; 3];
        for number in 1..=2000u64 {
            // a and b lose every fourth beat together, c every fourth as well, but others.
            let lost = [number % 4 == 0, number % 4 == 0, number % 4 == 2];
            for (bits, lost) in history.iter_mut().zip(lost) {
                *bits = *bits << 1 | u64::from(!lost);
            }
            let notes: Vec<LineNote> = (0..3u32)
                .map(|line| LineNote { line, beats: history[line as usize], ..LineNote::default() })
                .collect();
            if number % 3 == 0 {
                pairs.learn(number, &notes, |_| 1);
            }
        }
        assert!(pairs.conditional(a, b, 0.25) > 0.95, "{}", pairs.conditional(a, b, 0.25));
        assert!(pairs.conditional(a, c, 0.25) < 0.02);
        pairs.forget(b);
        assert!((pairs.conditional(a, b, 0.25) - 0.01).abs() < 0.02);
    }
}
