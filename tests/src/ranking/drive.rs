//! Runs one policy through one world, tick by tick.

use std::collections::{HashMap, HashSet, VecDeque};

use svrlist::learning::Tally;
use svrlist::ranking::Ranking;

use super::dice::Luck;
use super::outcome::{Judge, Outcome};
use super::policy::{Decides, Policy, Shares, Told};
use super::world::{CARRIERS, SESSION_TICKS, World};

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Edges.
    pub edges: usize,
    /// Sessions at the peak.
    pub sessions: f64,
    /// Ticks of five seconds.
    pub ticks: usize,
    /// Whether edges fall ill and die.
    pub incidents: bool,
}

impl Scale {
    /// Two hours of the evaluation that the baselines come from.
    pub const USUAL: Self =
        Self { edges: 100, sessions: 1_080_000.0, ticks: 1440, incidents: true };

    /// A thousand edges with ten million sessions.
    pub const LARGE: Self =
        Self { edges: 1000, sessions: 10_000_000.0, ticks: 720, incidents: true };
}

/// What may be changed about the product, to see what it is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Variant {
    /// The width of the near-best set in percentage points.
    pub near_pp: Option<f64>,
}

/// Runs a policy through the world of a seed.
pub fn measure(policy: Policy, seed: u64, scale: &Scale, variant: &Variant) -> Outcome {
    let world = World::new(seed, scale);
    let mut run = Run::new(&world, policy, seed, variant);
    for tick in 0..scale.ticks {
        run.tick(tick);
    }
    run.judge.outcome(policy.name(), seed)
}

struct Run<'a> {
    world: &'a World,
    width: usize,
    policy: Box<dyn Decides>,
    hears_ends: bool,
    luck: Luck,
    /// Sessions by (cell, edge).
    sessions: Vec<f64>,
    loads: Vec<f64>,
    /// Loads of the last ticks, the latest first.
    late: VecDeque<Vec<f64>>,
    /// Reports on their way, by how many ticks they have to go.
    reports: VecDeque<Vec<(usize, usize, Tally)>>,
    ends: Vec<(usize, usize, Tally)>,
    demand: Vec<f64>,
    /// Sessions that ask again in the next tick, by cell.
    again: Vec<f64>,
    judge: Judge,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, policy: Policy, seed: u64, variant: &Variant) -> Self {
        let (cells, width) = (world.cells.len(), world.edges.len());
        let demand = world.cells.iter().map(|place| place.weight * world.arrivals).collect();
        Self {
            world,
            width,
            policy: policy.start(world, seed, variant),
            hears_ends: policy.hears_ends(),
            // Everybody meets the same luck, as far as they do the same.
            luck: Luck::new(seed ^ 0x1dea_5eed),
            sessions: vec![0.0; cells * width],
            loads: vec![0.0; width],
            late: std::iter::repeat_n(vec![0.0; width], LOAD_LATE + 1).collect(),
            reports: std::iter::repeat_n(Vec::new(), REPORTS_LATE).collect(),
            ends: Vec::new(),
            demand,
            again: vec![0.0; cells],
            judge: Judge::new(world),
        }
    }

    fn tick(&mut self, tick: usize) {
        let drops = self.world.drops(tick, &self.loads);
        let mut heard = self.reports.pop_front().unwrap_or_default();
        heard.append(&mut self.ends);
        let edges = self.world.listed(tick, &self.late[LOAD_LATE]);
        let numbers: Vec<usize> = self.numbers(&edges);
        let told = Told {
            world: self.world,
            tick,
            edges: &edges,
            numbers: &numbers,
            heard: &heard,
            demand: &self.demand,
            drops: &drops,
            loads: &self.loads,
        };
        let shares = self.policy.decide(&told);
        let begun = self.begin(tick, &shares);
        self.weigh();
        let drops = self.world.drops(tick, &self.loads);
        self.judge.tick(tick, &self.sessions, &begun, &drops, &self.loads, self.policy.events());
        if tick.is_multiple_of(LIST_TICKS) {
            self.judge.lists(self.policy.rankings());
        }
        self.live(tick, &drops);
        self.late.pop_back();
        self.weigh();
        self.late.push_front(self.loads.clone());
    }

    fn numbers(&self, edges: &[std::sync::Arc<svrlist::edge::Edge>]) -> Vec<usize> {
        let names: HashMap<&str, usize> =
            self.world.edges.iter().enumerate().map(|(at, node)| (&*node.model.name, at)).collect();
        edges.iter().map(|edge| names[&*edge.name]).collect()
    }

    /// New sessions begin; answers how many by (cell, edge).
    fn begin(&mut self, tick: usize, shares: &[Shares]) -> Vec<f64> {
        let mut begun = vec![0.0; self.sessions.len()];
        let hour = tick as f64 / 720.0;
        let busy = 0.95 + 0.05 * (std::f64::consts::PI * hour).sin();
        for (cell, place) in self.world.cells.iter().enumerate() {
            let fresh = self.luck.count(self.world.arrivals * place.weight * busy);
            let come = fresh + std::mem::take(&mut self.again[cell]);
            self.demand[cell] += (come - self.demand[cell]) * DEMAND_GAIN;
            let unknown: Vec<usize> = match self.policy.rankings().get(cell) {
                Some(ranking) => self.unknown(ranking),
                None => Vec::new(),
            };
            let explored = if unknown.is_empty() { 0.0 } else { EXPLORED };
            let row = cell * self.width;
            for (edge, share) in &shares[cell] {
                begun[row + edge] += come * share * (1.0 - explored);
            }
            for edge in &unknown {
                begun[row + edge] += come * explored / unknown.len() as f64;
            }
        }
        for (sessions, begun) in self.sessions.iter_mut().zip(&begun) {
            *sessions += begun;
        }
        begun
    }

    fn unknown(&self, ranking: &Ranking) -> Vec<usize> {
        let number = |name: &str| name.strip_prefix("edge-").and_then(|at| at.parse().ok());
        ranking.unknown().filter_map(|edge| number(&edge.name)).collect()
    }

    fn weigh(&mut self) {
        self.loads.fill(0.0);
        for row in self.sessions.chunks(self.width) {
            self.loads.iter_mut().zip(row).for_each(|(load, sessions)| *load += sessions);
        }
        for (load, node) in self.loads.iter_mut().zip(&self.world.edges) {
            *load /= node.capacity;
        }
    }

    /// Sessions report, end, and leave what is bad.
    fn live(&mut self, tick: usize, drops: &[f64]) {
        let leaving = 1.0 - (-1.0 / SESSION_TICKS).exp();
        let mut told = Vec::new();
        #[allow(clippy::needless_range_loop, reason = "several lists share the index")]
        for at in 0..self.sessions.len() {
            let sessions = self.sessions[at];
            if sessions <= 0.0 {
                continue;
            }
            let (cell, edge, drop) = (at / self.width, at % self.width, drops[at]);
            if self.world.is_dead(edge, tick) {
                // They fail, try again elsewhere, and tell.
                self.again[cell] += sessions;
                self.sessions[at] = 0.0;
                let reports = self.luck.count(sessions / REPORT_TICKS * HEARD);
                told.push((cell, edge, Tally { reports, bad: reports, ..Tally::default() }));
                continue;
            }
            let reports = self.luck.count(sessions / REPORT_TICKS * HEARD);
            if reports > 0.0 {
                let mean = drop + NOISE / reports.sqrt() * self.luck.normal();
                let bad = reports * mean.clamp(0.0, 1.0);
                told.push((cell, edge, Tally { reports, bad, ..Tally::default() }));
            }
            let away = sessions / REPORT_TICKS * over((drop - UNBEARABLE) / NOISE);
            let gone = sessions * leaving;
            if self.hears_ends {
                let ends = self.luck.count(gone);
                let abnormal = (0.05 + drop).min(1.0);
                let scatter = (ends * abnormal * (1.0 - abnormal)).sqrt();
                let abnormal = (ends * abnormal + scatter * self.luck.normal()).round();
                let abnormal = abnormal.clamp(0.0, ends);
                self.ends.push((cell, edge, Tally { ends, abnormal, ..Tally::default() }));
            }
            self.again[cell] += away;
            self.sessions[at] = (sessions - away - gone).max(0.0);
            // What is left of few is nobody.
            if self.sessions[at] < 1e-3 {
                self.sessions[at] = 0.0;
            }
        }
        self.reports.push_back(told);
    }
}

/// How much of a normal distribution is below so many standard deviations; to a few thousandths.
fn over(deviations: f64) -> f64 {
    1.0 / (1.0 + (-1.702 * deviations).exp())
}

/// Of lists and users, samples: how much of the lists differs from one asking to the next.
pub(super) fn lists(rankings: &[Ranking]) -> Vec<Vec<String>> {
    let mut lists = Vec::new();
    for ranking in rankings.iter().step_by(rankings.len().div_ceil(15).max(1)) {
        for user in 0..20_u32 {
            let choices = ranking.choose(&user.to_le_bytes(), |_| true);
            lists.push(choices.iter().map(|choice| choice.edge.name.to_string()).collect());
        }
    }
    lists
}

/// Shares of the lists, and of their first servers, that are new.
pub(super) fn churn(before: &[Vec<String>], after: &[Vec<String>]) -> Option<(f64, f64)> {
    let (mut changed, mut firsts, mut all) = (0.0, 0.0, 0.0);
    for (before, after) in before.iter().zip(after) {
        let had: HashSet<&String> = before.iter().collect();
        let new = after.iter().filter(|name| !had.contains(name)).count();
        changed += new as f64 / after.len().max(1) as f64;
        firsts += f64::from(u8::from(before.first() != after.first()));
        all += 1.0;
    }
    (all > 0.0).then(|| (changed / all, firsts / all))
}

pub(super) fn carrier_number(world: &World, cell: usize) -> usize {
    let carrier = world.cells[cell].cell.carrier;
    CARRIERS.iter().position(|of| *of == carrier).unwrap_or(0)
}

/// Ticks until svrlist knows of a load: ten seconds.
const LOAD_LATE: usize = 2;

/// Ticks until a report arrives: twenty seconds.
const REPORTS_LATE: usize = 4;

/// A session reports every so many ticks.
const REPORT_TICKS: f64 = 6.0;

/// Of reports, those that arrive.
const HEARD: f64 = 0.9;

/// The standard deviation of a client's report.
const NOISE: f64 = 0.02;

/// The drop rate at which a client asks again.
const UNBEARABLE: f64 = 0.08;

/// Of lists, those with an exploration among the first three, and of their clients, those who win with it.
const EXPLORED: f64 = 0.02 * 0.05;

/// Lists are asked for again after 45 seconds.
const LIST_TICKS: usize = 9;

/// Demand is smoothed over about a minute.
const DEMAND_GAIN: f64 = 0.1;
