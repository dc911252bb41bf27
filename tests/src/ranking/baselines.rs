//! What others do: an estimate per (cell, edge), and a choice by it.

use svrlist::ranking::prior;

use super::dice::Luck;
use super::policy::{Decides, Shares, Told};
use super::world::World;

/// How a baseline chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The nearest edge of the client's carrier.
    Nearest,
    /// The three nearest of them in turn.
    RoundRobin,
    /// The least mean.
    Greedy,
    /// The least of mean and load's penalty.
    GreedyLoad,
    /// The least lower confidence bound, discounted.
    Ucb,
    /// The least of a sample from what is believed, for each of some groups of sessions.
    Thompson,
    /// The emptier of two random ones of the best eight by mean and load.
    TwoOfEight,
    /// The emptier of two random ones of those within a point of the best.
    TwoOfNear,
}

/// What is believed of every (cell, edge): decaying means with the product's prior.
pub(super) struct Beliefs {
    width: usize,
    weight: Vec<f64>,
    sum: Vec<f64>,
    prior: Vec<f64>,
    luck: Luck,
}

impl Beliefs {
    pub(super) fn new(world: &World, seed: u64) -> Self {
        let mut priors = Vec::new();
        for place in &world.cells {
            for node in &world.edges {
                let cost = prior(place.cell.carrier, place.vantage.position, &node.model);
                priors.push((0.5 + cost.carrier + cost.distance) / 100.0);
            }
        }
        let none = vec![0.0; priors.len()];
        let luck = Luck::new(seed ^ 0xbe11ef);
        Self { width: world.edges.len(), weight: none.clone(), sum: none, prior: priors, luck }
    }

    fn hear(&mut self, told: &Told<'_>) {
        let left = (-5.0_f64 / 180.0).exp2();
        self.weight.iter_mut().chain(&mut self.sum).for_each(|value| *value *= left);
        for (cell, edge, tally) in told.heard {
            let at = cell * self.width + edge;
            self.weight[at] += tally.reports;
            self.sum[at] += tally.bad;
        }
    }

    fn mean(&self, at: usize) -> f64 {
        (4.0 * self.prior[at] + self.sum[at]) / (4.0 + self.weight[at])
    }

    fn error(&self, at: usize) -> f64 {
        0.02 / (4.0 + self.weight[at]).sqrt()
    }

    /// One draw of everything that is believed.
    pub(super) fn sample(&mut self, told: &Told<'_>) -> Vec<f64> {
        self.hear(told);
        let mut drawn = Vec::with_capacity(self.prior.len());
        for at in 0..self.prior.len() {
            let noise = self.luck.normal();
            drawn.push((self.mean(at) + self.error(at) * noise).max(0.0));
        }
        drawn
    }
}

/// A baseline.
pub(super) struct Baseline {
    kind: Kind,
    beliefs: Beliefs,
}

impl Baseline {
    pub(super) fn new(kind: Kind, world: &World, seed: u64) -> Self {
        Self { kind, beliefs: Beliefs::new(world, seed) }
    }

    fn shares(&mut self, told: &Told<'_>, cell: usize) -> Shares {
        let row = cell * self.beliefs.width;
        let listed = told.numbers.iter().zip(told.edges);
        let load: Vec<f64> = told.edges.iter().map(|edge| edge.load).collect();
        let beliefs = &mut self.beliefs;
        let mut scored: Vec<(f64, f64, usize)> = listed
            .zip(&load)
            .map(|((at, _), load)| {
                let score = match self.kind {
                    Kind::Nearest | Kind::RoundRobin => beliefs.prior[row + at],
                    Kind::Greedy => beliefs.mean(row + at),
                    Kind::Ucb => beliefs.mean(row + at) - 2.0 * beliefs.error(row + at),
                    Kind::Thompson => beliefs.mean(row + at),
                    Kind::GreedyLoad | Kind::TwoOfEight | Kind::TwoOfNear => {
                        beliefs.mean(row + at) + penalty(*load)
                    }
                };
                (score, *load, *at)
            })
            .collect();
        scored.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        match self.kind {
            Kind::Nearest | Kind::Greedy | Kind::GreedyLoad | Kind::Ucb => vec![(scored[0].2, 1.0)],
            Kind::RoundRobin => scored[..3].iter().map(|(.., at)| (*at, 1.0 / 3.0)).collect(),
            Kind::Thompson => {
                let mut shares = Shares::new();
                for _ in 0..THOMPSON_GROUPS {
                    let drawn = scored.iter().map(|(mean, _, at)| {
                        (mean + beliefs.error(row + at) * beliefs.luck.normal(), *at)
                    });
                    let best = drawn.min_by(|a, b| a.0.total_cmp(&b.0));
                    shares.extend(best.map(|(_, at)| (at, 1.0 / f64::from(THOMPSON_GROUPS))));
                }
                shares
            }
            Kind::TwoOfEight => two_choices(&mut scored[..8]),
            Kind::TwoOfNear => {
                let near = scored.partition_point(|(score, ..)| *score <= scored[0].0 + 0.01);
                two_choices(&mut scored[..near])
            }
        }
    }
}

impl Decides for Baseline {
    fn decide(&mut self, told: &Told<'_>) -> Vec<Shares> {
        self.beliefs.hear(told);
        (0..told.world.cells.len()).map(|cell| self.shares(told, cell)).collect()
    }
}

/// Of two random ones the emptier: of k, the one with rank r wins 2 (k - 1 - r) + 1 times in k squared.
fn two_choices(of: &mut [(f64, f64, usize)]) -> Shares {
    of.sort_by(|a, b| a.1.total_cmp(&b.1));
    let count = of.len() as f64;
    let share = |(rank, (.., at)): (usize, &(f64, f64, usize))| {
        (*at, (2.0 * (count - 1.0 - rank as f64) + 1.0) / (count * count))
    };
    of.iter().enumerate().map(share).collect()
}

/// The product's, in shares.
fn penalty(load: f64) -> f64 {
    let gentle = 0.02 * ((load - 0.80) / 0.12).clamp(0.0, 1.0);
    gentle + 0.18 * ((load - 0.92) / 0.06).clamp(0.0, 1.0)
}

const THOMPSON_GROUPS: u32 = 20;
