//! Distributions over the relay's dice.

use deploy::relay::Dice;

/// Dice that also roll what is not even.
#[derive(Clone, Debug)]
pub(super) struct Luck(Dice);

impl Luck {
    pub(super) fn new(seed: u64) -> Self {
        Self(Dice::new(seed))
    }

    /// Evenly between two numbers.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.share()
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.0.happens(probability)
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.0.share() * count as f64) as usize
    }

    /// Around 0, with a standard deviation of 1.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.share()).cos()
    }

    /// A gamma variable of shape 2, with this mean.
    pub(super) fn gamma2(&mut self, mean: f64) -> f64 {
        let both = (1.0 - self.0.share()) * (1.0 - self.0.share());
        -both.ln() * mean / 2.0
    }

    /// About how many of so many expected ones come.
    pub(super) fn count(&mut self, expected: f64) -> f64 {
        if expected > 30.0 {
            return (expected + expected.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-expected).exp(), 1.0, -1.0);
        while product > limit {
            product *= 1.0 - self.0.share();
            count += 1.0;
        }
        f64::max(count, 0.0)
    }
}
