//! A mean that forgets: observations count half as much after each half-life.
//!
//! Reading does not change it, and the time is an argument. Units are those of what is put in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A decaying sum of weights and of weighted values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mean {
    weight: f64,
    sum: f64,
    /// When both were as written, in seconds of the clock of whoever owns it.
    at: f64,
}

impl Mean {
    /// Takes `weight` observations whose mean is `value`.
    pub(super) fn add(&mut self, value: f64, weight: f64, at: f64, half_life: Duration) {
        self.fade(at, half_life);
        self.weight += weight;
        self.sum += value * weight;
    }

    /// Lets time pass.
    pub(super) fn fade(&mut self, at: f64, half_life: Duration) {
        let left = left(at - self.at, half_life);
        self.weight *= left;
        self.sum *= left;
        self.at = self.at.max(at);
    }

    /// Forgets all but this share.
    pub(super) fn fade_by(&mut self, left: f64) {
        self.weight *= left;
        self.sum *= left;
    }

    /// When it last changed.
    pub(super) fn at(&self) -> f64 {
        self.at
    }

    /// Forgets all but so much.
    pub(super) fn limit(&mut self, weight: f64) {
        if self.weight > weight {
            self.sum *= weight / self.weight;
            self.weight = weight;
        }
    }

    /// The mean, where `prior` counts like `prior_weight` observations; never far from the prior
    /// when there are few.
    pub(super) fn get(&self, prior: f64, prior_weight: f64, at: f64, half_life: Duration) -> f64 {
        let left = left(at - self.at, half_life);
        let weight = prior_weight + self.weight * left;
        if weight > 0.0 { (prior * prior_weight + self.sum * left) / weight } else { prior }
    }

    /// How many observations it still knows of.
    pub(super) fn weight(&self, at: f64, half_life: Duration) -> f64 {
        self.weight * left(at - self.at, half_life)
    }
}

/// The share that is left after some seconds.
pub(super) fn left(seconds: f64, half_life: Duration) -> f64 {
    if seconds <= 0.0 { 1.0 } else { (-seconds / half_life.as_secs_f64()).exp2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_secs(10);

    #[test]
    fn halves_with_each_half_life() {
        let mut mean = Mean::default();
        mean.add(0.5, 8.0, 0.0, HALF);
        assert_eq!(mean.weight(10.0, HALF), 4.0);
        assert_eq!(mean.get(0.0, 4.0, 10.0, HALF), 0.25);
        assert_eq!(mean.get(0.0, 0.0, 100.0, HALF), 0.5, "the mean itself does not fade");
        mean.add(1.0, 4.0, 10.0, HALF);
        assert_eq!(mean.get(0.0, 0.0, 10.0, HALF), 0.75);
        mean.limit(2.0);
        assert_eq!((mean.weight(10.0, HALF), mean.get(0.0, 0.0, 10.0, HALF)), (2.0, 0.75));
    }

    #[test]
    fn nothing_known_is_the_prior_and_time_never_runs_back() {
        let mut mean = Mean::default();
        assert_eq!(mean.get(0.3, 4.0, 5.0, HALF), 0.3);
        mean.add(1.0, 1.0, 5.0, HALF);
        mean.add(1.0, 1.0, 4.0, HALF);
        assert_eq!(mean.weight(5.0, HALF), 2.0);
    }
}
