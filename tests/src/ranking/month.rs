//! A month of evenings: what sites are billed for, with and without a price on bandwidth.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use geo_data::Carrier;
use svrlist::budget::{AMBITION, Budget, take_turns};
use svrlist::edge::Edge;
use svrlist::ranking::{Conditions, Prices};

use super::drive::Scale;
use super::outcome::percentile;
use super::policy::{Told, exactly, planned_over};
use super::world::{Node, SESSION_TICKS, TICK_SECONDS, World};

/// What a month came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Month {
    /// The sum of the sites' 95th percentiles, in capacities of the mean site: by quality alone, and priced.
    pub bills: [f64; 2],
    /// Mean drop rates.
    pub drops: [f64; 2],
    /// The highest loads.
    pub loads: [f64; 2],
}

impl Month {
    /// How much lower the bill is, as a share.
    pub fn saved(&self) -> f64 {
        1.0 - self.bills[1] / self.bills[0]
    }

    /// What that cost clients, in percentage points.
    pub fn cost_pp(&self) -> f64 {
        (self.drops[1] - self.drops[0]) * 100.0
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.drops.map(|drop| drop * 100.0);
        let [free, priced] = self.loads;
        write!(
            f,
            "the sum of 95th percentiles is {:.1} % lower than by quality alone, at {:+.3} pp \
             ({before:.3} % to {after:.3} %), highest load {free:.2} to {priced:.2}",
            self.saved() * 100.0,
            self.cost_pp(),
        )
    }
}

/// A month of so many days in the world of a seed, first by quality alone, then wishing for
/// [`AMBITION`] of what that was billed.
pub fn bill(seed: u64, days: usize) -> Month {
    let scale = Scale { incidents: false, ..Scale::USUAL };
    let world = World::new(seed, &scale);
    let slots = (days * SLOTS_A_DAY) as u32;
    let free = run(&world, days, None);
    let wishes: BTreeMap<Arc<str>, f64> =
        free.billed.iter().map(|(site, bill)| (Arc::clone(site), AMBITION * bill)).collect();
    let budgets = wishes.into_iter().map(|(site, wish)| {
        let budget = Budget::new(slots, wish);
        (site, budget)
    });
    let priced = run(&world, days, Some(budgets.collect()));
    let sum = |run: &Ran| run.billed.values().sum::<f64>();
    Month {
        bills: [sum(&free), sum(&priced)],
        drops: [free.drop, priced.drop],
        loads: [free.load, priced.load],
    }
}

struct Ran {
    billed: BTreeMap<Arc<str>, f64>,
    drop: f64,
    load: f64,
}

fn run(world: &World, days: usize, mut budgets: Option<BTreeMap<Arc<str>, Budget>>) -> Ran {
    let width = world.edges.len();
    let numbers: Vec<usize> = (0..width).collect();
    let known = exactly(world, &world.listed(0, &vec![0.0; width]), world.base(), width).view;
    let carrier = |node: &Node| (Arc::clone(&node.model.site), node.model.carrier);
    let carriers: BTreeMap<Arc<str>, Carrier> = world.edges.iter().map(carrier).collect();
    let mut sessions = vec![0.0; world.cells.len() * width];
    let mut rates: BTreeMap<Arc<str>, Vec<f64>> = BTreeMap::new();
    let (mut lost, mut all, mut highest) = (0.0, 0.0, 0.0_f64);
    for slot in 0..days * SLOTS_A_DAY {
        let busy = busy((slot % SLOTS_A_DAY) as f64 * 24.0 / SLOTS_A_DAY as f64);
        let steps = if busy > BUSY { STEPS_BUSY } else { STEPS_CALM };
        let ticks = SLOT_TICKS / steps as f64;
        let stay = (-ticks / SESSION_TICKS).exp();
        let come = world.arrivals * ticks * busy;
        let demand: Vec<f64> = world.cells.iter().map(|place| place.weight * come).collect();
        let mut of_slot: BTreeMap<Arc<str>, f64> = BTreeMap::new();
        for _ in 0..steps {
            let loads = loads(world, &sessions);
            highest = loads.iter().copied().fold(highest, f64::max);
            let edges: Vec<Arc<Edge>> = world.listed(0, &loads);
            let sites = rates_of(world, &loads);
            let mut conditions = Conditions { view: known.clone(), ..Conditions::default() };
            if let Some(budgets) = &mut budgets {
                let price = |(site, rate): (&Arc<str>, &f64)| {
                    Some((Arc::clone(site), budgets.get(site)?.price(*rate)))
                };
                conditions.prices = Arc::new(sites.iter().filter_map(price).collect::<Prices>());
            }
            let told = Told {
                world,
                tick: slot,
                edges: &edges,
                numbers: &numbers,
                heard: &[],
                demand: &demand,
                drops: world.base(),
                loads: &loads,
            };
            let (shares, _) = planned_over(&told, &conditions, ticks);
            sessions.iter_mut().for_each(|sessions| *sessions *= stay);
            for (cell, shares) in shares.iter().enumerate() {
                for (edge, share) in shares {
                    sessions[cell * width + edge] += demand[cell] * share;
                }
            }
            for (sessions, drop) in sessions.iter().zip(world.base()) {
                lost += sessions * drop * ticks;
                all += sessions * ticks;
            }
            for (site, rate) in sites {
                if let Some(budget) = budgets.as_mut().and_then(|budgets| budgets.get_mut(&site)) {
                    budget.handle_rate(rate);
                }
                *of_slot.entry(site).or_default() += rate / steps as f64;
            }
        }
        for (site, rate) in of_slot {
            rates.entry(site).or_default().push(rate);
        }
        if let Some(budgets) = &mut budgets {
            budgets.values_mut().for_each(Budget::handle_slot_end);
            for carrier in Carrier::ALL {
                let of = |site: &Arc<str>| carriers.get(site) == Some(&carrier);
                take_turns(
                    budgets.iter_mut().filter(|(site, _)| of(site)).map(|(_, budget)| budget),
                );
            }
        }
    }
    let billed = rates.into_iter().map(|(site, rates)| (site, percentile(rates, 0.95)));
    Ran { billed: billed.collect(), drop: lost / all, load: highest }
}

fn loads(world: &World, sessions: &[f64]) -> Vec<f64> {
    let mut loads = vec![0.0; world.edges.len()];
    for (at, sessions) in sessions.iter().enumerate() {
        loads[at % world.edges.len()] += sessions;
    }
    loads.iter().zip(&world.edges).map(|(load, node)| load / node.capacity).collect()
}

/// What each site sends, in bits per second.
fn rates_of(world: &World, loads: &[f64]) -> BTreeMap<Arc<str>, f64> {
    let mut rates = BTreeMap::new();
    for (node, load) in world.edges.iter().zip(loads) {
        *rates.entry(Arc::clone(&node.model.site)).or_default() += load * node.capacity * BITS;
    }
    rates
}

/// How busy an hour is: an evening of four hours, a day at two thirds, a night.
fn busy(hour: f64) -> f64 {
    let bump = |middle: f64, width: f64| (-((hour - middle) / width).powi(2)).exp();
    (0.25 + 0.40 * bump(13.0, 4.5) + 0.72 * bump(21.0, 2.2)).min(1.0)
}

/// A session takes 100 kbit/s.
const BITS: f64 = 100_000.0;

const SLOTS_A_DAY: usize = 288;

const SLOT_TICKS: f64 = 300.0 / TICK_SECONDS;

/// Plans of a busy slot, each of which holds for half a minute with the quotas of as long: loads and prices follow
/// about as late as in the product, whose plans hold for five seconds and know of loads ten seconds late.
const STEPS_BUSY: usize = 10;

/// And while no edge is so full, and no site so near its level, that they matter.
const STEPS_CALM: usize = 2;

/// Of the peak's sessions, those from which a slot is busy.
const BUSY: f64 = 0.66;
