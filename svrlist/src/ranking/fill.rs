//! How much of each cell every edge takes: capacity, so that nobody's best edge is everybody's.
//!
//! Cells choose by themselves and do not know of each other, so the best edge of many would be
//! overrun before its load shows. Per tick, an edge may gain what leaves it and [`ROOM_SHARE`] of its
//! room. The fill asks every cell with its demand, adds up what each edge would get, and writes down
//! the share that it *accepts*; what is refused spills over to edges that have room, those that are
//! little worse first. A ranking repeats the same steps for its one cell with what is written here,
//! so a cell that nobody expected is served by the same rules.
//!
//! Invariant: what is accepted never exceeds a quota by more than the last round has to place
//! somewhere.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::{Entry, LOAD_FULL, Standing};
use super::score::LOAD_EASY;
use crate::edge::Edge;

/// What every edge accepts of what is offered, as of one tick. The default accepts everything.
#[derive(Clone, Debug, Default)]
pub struct Fill {
    edges: HashMap<Arc<str>, Rounds>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rounds {
    /// The accepted share of what is offered in each round.
    accept: [f64; ROUNDS],
    /// Sessions that it can still take at the beginning of each round.
    left: [f64; ROUNDS],
}

/// What one edge can take in one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// The edge.
    pub edge: Arc<str>,
    /// Sessions.
    pub sessions: f64,
}

impl Quota {
    /// What an edge may gain in a tick: `departures` (sessions that leave it within the tick), a share
    /// of its room, and of the last of its room, which costs, a smaller one.
    pub fn of(edge: &Edge, departures: f64) -> Self {
        Self::over(edge, departures, 1.0)
    }

    /// The same over so many ticks of the same plan, with the departures of all of them.
    pub fn over(edge: &Edge, departures: f64, ticks: f64) -> Self {
        let of_room = |share: f64| 1.0 - (1.0 - share).powf(ticks);
        let easy = capacity(edge) * (LOAD_EASY - edge.load).max(0.0);
        let gain = of_room(ROOM_SHARE) * easy + of_room(LAST_ROOM_SHARE) * (room(edge) - easy);
        let sessions = (departures + gain).max(0.0);
        // Beyond the last few percent, not even those who leave are replaced.
        let sessions = if edge.load >= LOAD_FULL { 0.0 } else { sessions };
        Self { edge: Arc::clone(&edge.name), sessions }
    }
}

/// A cell's entries, and how many sessions it will start within the tick.
pub(super) struct Offer<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) sessions: f64,
}

impl Fill {
    /// Fills the edges with what cells offer.
    pub(super) fn new(quotas: &[Quota], offers: &[Offer<'_>], near_pp: f64) -> Self {
        let rounds = |quota: &Quota| {
            let rounds = Rounds { accept: [1.0; ROUNDS], left: [quota.sessions; ROUNDS] };
            (Arc::clone(&quota.edge), rounds)
        };
        let mut fill = Self { edges: quotas.iter().map(rounds).collect() };
        let mut kernels: Vec<Kernel> =
            offers.iter().map(|offer| Kernel::of(offer.entries, &fill, near_pp)).collect();
        for round in 0..ROUNDS {
            let mut offered: HashMap<Arc<str>, f64> = HashMap::new();
            for (offer, kernel) in offers.iter().zip(&mut kernels) {
                for (at, share) in kernel.offer(offer.entries, &fill, round) {
                    let name = &offer.entries[at].edge.name;
                    match offered.get_mut(name) {
                        Some(sum) => *sum += share * offer.sessions,
                        None => drop(offered.insert(Arc::clone(name), share * offer.sessions)),
                    }
                }
            }
            for (name, rounds) in &mut fill.edges {
                let sum = offered.get(name).copied().unwrap_or(0.0);
                let left = rounds.left[round];
                rounds.accept[round] = if sum > left { left / sum } else { 1.0 };
                let taken = sum.min(left);
                rounds.left[round + 1..].fill(left - taken);
            }
            for (offer, kernel) in offers.iter().zip(&mut kernels) {
                kernel.settle(offer.entries, &fill, round);
            }
        }
        fill
    }

    fn accept(&self, edge: &Edge, round: usize) -> f64 {
        self.edges.get(&edge.name).map_or(1.0, |rounds| rounds.accept[round])
    }

    fn left(&self, edge: &Edge, round: usize) -> f64 {
        self.edges.get(&edge.name).map_or_else(|| room(edge), |rounds| rounds.left[round])
    }
}

/// The share of a cell's new sessions that each of its entries gets; they sum to 1 where any entry
/// is open.
pub(super) fn shares(entries: &[Entry], fill: &Fill, near_pp: f64) -> Vec<f64> {
    let mut kernel = Kernel::of(entries, fill, near_pp);
    for round in 0..ROUNDS {
        kernel.offer(entries, fill, round);
        kernel.settle(entries, fill, round);
    }
    kernel.close(entries)
}

/// The shares by which open entries take those who are sent to them all at once: less the further behind
/// the best, more where there is more room.
pub(super) fn spread(entries: &[Entry]) -> Vec<f64> {
    let best = entries.first().map_or(0.0, |entry| entry.score);
    let weight = |entry: &Entry| (-(entry.score - best).max(0.0) / SPILL_PP).exp() * pull(entry);
    let mut weights: Vec<f64> = entries.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight = if sum > 0.0 { *weight / sum } else { 0.0 });
    weights
}

/// A cell in the middle of the fill.
struct Kernel {
    /// The best score of those that take anybody, and the same with doubt held against them.
    best: f64,
    surest: f64,
    near_pp: f64,
    /// How many of the entries, which are in order, are open.
    open: usize,
    taken: Vec<f64>,
    /// What is offered in this round.
    offers: Vec<(usize, f64)>,
    /// The share that nobody has taken.
    over: f64,
}

impl Kernel {
    fn of(entries: &[Entry], fill: &Fill, near_pp: f64) -> Self {
        let open = entries.partition_point(|entry| entry.standing == Standing::Open);
        let takes = |entry: &&Entry| fill.left(&entry.edge, 0) >= 1.0;
        let first = entries[..open].iter().find(takes).or(entries.first());
        let (best, surest) = first.map_or((0.0, 0.0), |entry| (entry.score, entry.cautious()));
        let sure = entries[..open].iter().filter(takes).map(Entry::cautious);
        let surest = sure.fold(surest, f64::min);
        let taken = vec![0.0; entries.len()];
        Self { best, surest, near_pp, open, taken, offers: Vec::new(), over: 1.0 }
    }

    fn offer(&mut self, entries: &[Entry], fill: &Fill, round: usize) -> Vec<(usize, f64)> {
        self.offers.clear();
        if self.over > OVER_MIN {
            // Entries are in the order of their score: what is too far behind ends the search.
            for (at, entry) in entries[..self.open].iter().enumerate() {
                let behind = entry.score - self.best;
                let weight = if round == 0 {
                    if behind > NEAR_TAIL * self.near_pp + DOUBT_MAX_PP {
                        break;
                    }
                    self.appeal(entry) * pull(entry)
                } else {
                    if behind > SPILL_PP * SPILL_MAX {
                        break;
                    }
                    (-behind / SPILL_PP).exp() * entry.weight * fill.left(&entry.edge, round)
                };
                if weight > 0.0 {
                    self.offers.push((at, weight));
                }
            }
            let sum: f64 = self.offers.iter().map(|(_, weight)| weight).sum();
            self.offers.iter_mut().for_each(|(_, weight)| *weight *= self.over / sum);
        }
        self.offers.clone()
    }

    /// How much an edge is as good as the best, doubt held against it: clients go where it is known to be
    /// good. One that may be better than is known gets few, whose reports settle it, rather than a flood that
    /// leaves again.
    fn appeal(&self, entry: &Entry) -> f64 {
        let sure = nearness(entry.cautious() - self.surest, self.near_pp);
        let hoped = nearness(entry.score - entry.terms.doubt - self.best, self.near_pp);
        sure.max(HOPED_SHARE * hoped)
    }

    fn settle(&mut self, entries: &[Entry], fill: &Fill, round: usize) {
        for (at, share) in self.offers.drain(..) {
            let taken = share * fill.accept(&entries[at].edge, round);
            self.taken[at] += taken;
            self.over -= taken;
        }
    }

    /// Somebody has to take the rest: all that are open, by their room.
    fn close(mut self, entries: &[Entry]) -> Vec<f64> {
        if self.over > OVER_MIN {
            for (taken, share) in self.taken.iter_mut().zip(spread(&entries[..self.open])) {
                *taken += self.over * share;
            }
        }
        self.taken
    }
}

/// 1 for the best, and the same part less for every point behind: scores waver by hundredths of a point, and so a
/// share may change by no more than a part of itself. Were there a rim, an edge near it with much room would
/// get a third of a cell in one tick and nobody in the next.
pub(super) fn nearness(behind: f64, near_pp: f64) -> f64 {
    if behind <= 0.0 {
        1.0
    } else if behind <= NEAR_TAIL * near_pp {
        (-NEAR_FOLDS * behind / near_pp).exp()
    } else {
        0.0
    }
}

/// The pull of an edge on those for whom it is as good as others: two random candidates of which the
/// emptier wins would give shares by the order of loads; by the room itself they move smoothly.
fn pull(entry: &Entry) -> f64 {
    entry.weight * room(&entry.edge).max(0.01)
}

/// Sessions that an edge has room for.
fn room(edge: &Edge) -> f64 {
    capacity(edge) * (LOAD_FULL - edge.load).max(0.0)
}

/// Sessions of a full edge, by the scarcest of what it has.
pub(super) fn capacity(edge: &Edge) -> f64 {
    if edge.load > LOAD_TELLING && edge.connections > 0 {
        f64::from(edge.connections) / edge.load
    } else {
        f64::from(if edge.connections_max > 0 { edge.connections_max } else { CONNECTIONS })
    }
}

/// Edges within so many points of the best are the near-best: from the evaluation of rankings. With less, cells
/// go back and forth between their best edges when one of them gets its price of load.
pub const NEAR_PP: f64 = 0.6;

/// [`nearness`] falls to 1/e so often over the width of the near-best: less costs drop rate, more makes shares
/// waver.
const NEAR_FOLDS: f64 = 3.0;

/// At so many widths a ten-thousandth is left of it.
const NEAR_TAIL: f64 = 3.0;

/// The part of its clients that an edge gets which is as good as the best only by hope.
const HOPED_SHARE: f64 = 0.03;

/// How far doubt reaches at most.
const DOUBT_MAX_PP: f64 = 0.5;

/// What finds no room spills over by this; the evaluation's point is too loose where most is spilt.
const SPILL_PP: f64 = 0.5;

/// Beyond so many times [`SPILL_PP`] nothing is spilt.
const SPILL_MAX: f64 = 12.0;

/// Of an edge's room, what it may gain in one tick: loads are known late.
pub const ROOM_SHARE: f64 = 0.25;

/// And of the room beyond the easy load: the price of load follows two ticks late, and what comes in until
/// then must not swing it past its aim.
const LAST_ROOM_SHARE: f64 = 0.03;

/// The near-best, then three times what spills.
const ROUNDS: usize = 4;

/// Less is nobody.
const OVER_MIN: f64 = 1e-6;

/// From this load on, it tells what an edge can carry.
const LOAD_TELLING: f64 = 0.05;

/// What an edge of which nothing is known is thought to carry.
const CONNECTIONS: u32 = 10_000;
