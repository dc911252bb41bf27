//! Who decides where new sessions go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use svrlist::edge::Edge;
use svrlist::learning::{Learning, Tally};
use svrlist::ranking::{Conditions, Demand, Quota, Ranking, plan};

use super::baselines;
use super::drive::Variant;
use super::world::{SESSION_TICKS, World};

/// What a policy is told at the beginning of a tick.
pub(super) struct Told<'a> {
    pub(super) world: &'a World,
    pub(super) tick: usize,
    /// The edges that svrlist lists, with loads of a while ago.
    pub(super) edges: &'a [Arc<Edge>],
    /// The numbers of these edges in the world.
    pub(super) numbers: &'a [usize],
    /// What arrived since the last tick: cell, edge, tally.
    pub(super) heard: &'a [(usize, usize, Tally)],
    /// Sessions that each cell is expected to begin.
    pub(super) demand: &'a [f64],
    /// The truth, for oracles: drop rates by cell and edge.
    pub(super) drops: &'a [f64],
    /// The truth about loads.
    pub(super) loads: &'a [f64],
}

/// Where a cell's new sessions go: edges of the world with their shares.
pub(super) type Shares = Vec<(usize, f64)>;

/// A policy.
pub(super) trait Decides {
    /// Where each cell's new sessions go.
    fn decide(&mut self, told: &Told<'_>) -> Vec<Shares>;

    /// Its rankings of this tick, for those that make lists.
    fn rankings(&self) -> &[Ranking] {
        &[]
    }

    /// Incidents that it believes in.
    fn events(&self) -> usize {
        0
    }
}

/// A policy by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// One that others use.
    Baseline(baselines::Kind),
    /// The product's.
    Linecast,
    /// The product's, told of sessions' ends too.
    LinecastEnds,
    /// The product's capacity rule with bandits' estimates.
    ThompsonFill,
    /// The product's ranking, knowing everything.
    Informed,
    /// The least drop within the product's quotas, knowing everything.
    Oracle,
}

/// All of them, in the order of the table.
pub const NAMES: [(&str, Policy); 13] = [
    ("nearest same-carrier", Policy::Baseline(baselines::Kind::Nearest)),
    ("round robin nearest 3", Policy::Baseline(baselines::Kind::RoundRobin)),
    ("greedy EWMA", Policy::Baseline(baselines::Kind::Greedy)),
    ("greedy + load penalty", Policy::Baseline(baselines::Kind::GreedyLoad)),
    ("D-UCB", Policy::Baseline(baselines::Kind::Ucb)),
    ("Thompson", Policy::Baseline(baselines::Kind::Thompson)),
    ("P2C over top-8 + load", Policy::Baseline(baselines::Kind::TwoOfEight)),
    ("P2C near-best 1 pp", Policy::Baseline(baselines::Kind::TwoOfNear)),
    ("Thompson + capacity fill", Policy::ThompsonFill),
    ("linecast", Policy::Linecast),
    ("linecast + ends", Policy::LinecastEnds),
    ("linecast, knowing all", Policy::Informed),
    ("oracle", Policy::Oracle),
];

/// The policy of a name.
pub fn named(name: &str) -> Option<Policy> {
    NAMES.iter().find(|(of, _)| *of == name).map(|(_, policy)| *policy)
}

impl Policy {
    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, policy)| *policy == self).map_or("?", |(name, _)| name)
    }

    pub(super) fn start(self, world: &World, seed: u64, variant: &Variant) -> Box<dyn Decides> {
        let width = world.edges.len();
        match self {
            Self::Baseline(kind) => Box::new(baselines::Baseline::new(kind, world, seed)),
            Self::Linecast | Self::LinecastEnds => Box::new(Linecast::new(variant)),
            Self::ThompsonFill => {
                let beliefs = baselines::Beliefs::new(world, seed);
                Box::new(Filled { knows: Knows::Sampled(Box::new(beliefs)), width })
            }
            Self::Informed => Box::new(Filled { knows: Knows::All, width }),
            Self::Oracle => Box::new(Oracle { prices: vec![0.0; width] }),
        }
    }

    /// Whether it hears of sessions' ends.
    pub(super) fn hears_ends(self) -> bool {
        self == Self::LinecastEnds
    }
}

/// The product.
struct Linecast {
    learning: Learning,
    start: Instant,
    near_pp: Option<f64>,
    rankings: Vec<Ranking>,
    events: usize,
}

impl Linecast {
    fn new(variant: &Variant) -> Self {
        let start = Instant::now();
        let near_pp = variant.near_pp;
        Self { learning: Learning::new(), start, near_pp, rankings: Vec::new(), events: 0 }
    }
}

impl Decides for Linecast {
    fn decide(&mut self, told: &Told<'_>) -> Vec<Shares> {
        let World { cells, edges, .. } = told.world;
        for (cell, edge, tally) in told.heard {
            self.learning.handle_tally(&edges[*edge].model.name, cells[*cell].cell, tally);
        }
        let now = self.start + Duration::from_secs(5) * told.tick as u32;
        let view = self.learning.handle_tick(told.edges, now);
        self.events = view.events().count();
        let mut conditions =
            Conditions { view, turn: told.tick as u64 / 12, ..Conditions::default() };
        if let Some(near_pp) = self.near_pp {
            conditions.near_pp = near_pp;
        }
        let (shares, rankings) = planned(told, &conditions);
        self.rankings = rankings;
        shares
    }

    fn rankings(&self) -> &[Ranking] {
        &self.rankings
    }

    fn events(&self) -> usize {
        self.events
    }
}

/// The product's fill over somebody else's knowledge.
struct Filled {
    knows: Knows,
    width: usize,
}

enum Knows {
    All,
    Sampled(Box<baselines::Beliefs>),
}

impl Decides for Filled {
    fn decide(&mut self, told: &Told<'_>) -> Vec<Shares> {
        let drops = match &mut self.knows {
            Knows::All => told.drops.to_vec(),
            Knows::Sampled(beliefs) => beliefs.sample(told),
        };
        let edges: Vec<Arc<Edge>> = match self.knows {
            Knows::Sampled(_) => told.edges.to_vec(),
            // Of this moment, and without the dead.
            Knows::All => {
                let of = |(edge, at): (&Arc<Edge>, &usize)| {
                    let load = told.loads[*at];
                    let connections = (load * told.world.edges[*at].capacity) as u32;
                    Arc::new(Edge { load, connections, ..(**edge).clone() })
                };
                let alive = |(_, at): &(_, &usize)| !told.world.is_dead(**at, told.tick);
                told.edges.iter().zip(told.numbers).filter(alive).map(of).collect()
            }
        };
        let conditions = exactly(told.world, &edges, &drops, self.width);
        planned(&Told { edges: &edges, ..*told }, &conditions).0
    }
}

/// Prices on edges, found by trial: where more would come than the quota, the price rises. Each cell then
/// goes where drop and price together are least, which is the least drop there is within the quotas.
struct Oracle {
    /// By edge of the world, in shares, kept from tick to tick.
    prices: Vec<f64>,
}

impl Decides for Oracle {
    fn decide(&mut self, told: &Told<'_>) -> Vec<Shares> {
        let World { edges, cells, .. } = told.world;
        let width = edges.len();
        let leaving = 1.0 - (-1.0 / SESSION_TICKS).exp();
        let quotas: Vec<f64> = edges
            .iter()
            .zip(told.loads)
            .enumerate()
            .map(|(at, (node, load))| {
                let alive = !told.world.is_dead(at, told.tick);
                let room = (ORACLE_FULL - load) * node.capacity;
                let gain = load * node.capacity * leaving + room * svrlist::ranking::ROOM_SHARE;
                if alive { gain.max(0.0) } else { 0.0 }
            })
            .collect();
        let mut shares = Vec::new();
        for trial in 0..ORACLE_TRIALS {
            let mut offered = vec![0.0; width];
            shares = told.drops.chunks(width).map(|row| self.split(row, &quotas)).collect();
            for (shares, demand) in shares.iter().zip(told.demand) {
                for (edge, share) in shares {
                    offered[*edge] += share * demand;
                }
            }
            let step = ORACLE_STEP / f64::from(1 + trial / 4);
            for (price, (offered, quota)) in self.prices.iter_mut().zip(offered.iter().zip(&quotas))
            {
                let over = (offered - quota) / (quota + 1.0);
                *price = (*price + step * over.clamp(-1.0, 1.0)).clamp(0.0, 1.0);
            }
        }
        debug_assert_eq!(shares.len(), cells.len());
        shares
    }
}

impl Oracle {
    fn split(&self, drops: &[f64], quotas: &[f64]) -> Shares {
        let costs = || drops.iter().zip(&self.prices).map(|(drop, price)| drop + price);
        let open = |at: usize| quotas[at] > 0.0;
        let least = costs().enumerate().filter(|(at, _)| open(*at)).map(|(_, cost)| cost);
        let least = least.fold(f64::INFINITY, f64::min);
        let weight = |(at, cost): (usize, f64)| {
            let behind = (cost - least) / ORACLE_SPREAD;
            (open(at) && behind < 8.0).then(|| (at, (-behind).exp()))
        };
        let mut shares: Shares = costs().enumerate().filter_map(weight).collect();
        let sum: f64 = shares.iter().map(|(_, weight)| weight).sum();
        shares.iter_mut().for_each(|(_, weight)| *weight /= sum);
        shares
    }
}

/// Conditions in which these drop rates are known for certain.
pub(super) fn exactly(
    world: &World,
    edges: &[Arc<Edge>],
    drops: &[f64],
    width: usize,
) -> Conditions {
    let mut learning = Learning::new();
    let now = Instant::now();
    learning.handle_tick(edges, now);
    for (row, place) in drops.chunks(width).zip(&world.cells) {
        for (node, drop) in world.edges.iter().zip(row) {
            let tally = Tally { reports: CERTAIN, bad: CERTAIN * drop, ..Tally::default() };
            learning.handle_tally(&node.model.name, place.cell, &tally);
        }
    }
    let view = learning.handle_tick(edges, now);
    Conditions { view, near_pp: 0.02, ..Conditions::default() }
}

/// What the product's plan is, in the world's numbers.
pub(super) fn planned(told: &Told<'_>, conditions: &Conditions) -> (Vec<Shares>, Vec<Ranking>) {
    planned_over(told, conditions, 1.0)
}

/// The same for a plan that holds for so many ticks, with demands of all of them.
pub(super) fn planned_over(
    told: &Told<'_>,
    conditions: &Conditions,
    ticks: f64,
) -> (Vec<Shares>, Vec<Ranking>) {
    let leaving = 1.0 - (-ticks / SESSION_TICKS).exp();
    let quota = |edge: &Arc<Edge>| Quota::over(edge, f64::from(edge.connections) * leaving, ticks);
    let quotas: Vec<Quota> = told.edges.iter().map(quota).collect();
    let demands: Vec<Demand> = told
        .world
        .cells
        .iter()
        .zip(told.demand)
        .map(|(place, sessions)| Demand {
            cell: place.cell,
            vantage: place.vantage,
            sessions: *sessions,
        })
        .collect();
    let plan = plan(conditions, told.edges, &quotas, &demands);
    let numbers: HashMap<&str, usize> =
        told.world.edges.iter().enumerate().map(|(at, node)| (&*node.model.name, at)).collect();
    let shares = |ranking: &Ranking| -> Shares {
        ranking.shares().map(|(edge, share)| (numbers[&*edge.name], share)).collect()
    };
    (plan.rankings.iter().map(shares).collect(), plan.rankings)
}

/// The oracle fills edges as far as the product would at most.
const ORACLE_FULL: f64 = 0.98;

const ORACLE_TRIALS: u32 = 40;

/// How far a price moves in one trial, in shares of drop.
const ORACLE_STEP: f64 = 0.002;

/// Edges as good as each other within a twentieth of a point share a cell.
const ORACLE_SPREAD: f64 = 0.0005;

/// Reports that leave no doubt.
const CERTAIN: f64 = 1e9;
