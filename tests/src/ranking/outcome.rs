//! What a run was like, and the table of all.

use std::collections::BTreeMap;
use std::fmt;

use svrlist::ranking::Ranking;

use super::drive::{carrier_number, churn, lists};
use super::world::{CARRIERS, TICK_SECONDS, World};

/// One policy in one world.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The policy.
    pub policy: &'static str,
    /// The world's.
    pub seed: u64,
    /// Mean drop rate of all sessions, in shares as all that follows.
    pub drop: f64,
    /// The same, tick by tick, from the beginning.
    pub ticks: Vec<f64>,
    /// The highest load of any edge, in each tick that counts.
    pub loads: Vec<f64>,
    /// Sessions on edges beyond their capacity.
    pub overloaded: f64,
    /// Seconds until nine tenths of the new sessions went elsewhere, for each incident.
    pub moved: Vec<f64>,
    /// The same for edges that died.
    pub buried: Vec<f64>,
    /// How often a (carrier, edge) pair lost nine tenths of its new sessions though nothing had happened: a tick in
    /// which it got a tenth or less of what was usual in the minute before, which was at least half a percent of
    /// all that the carrier's clients began; once in two minutes at most. First where the edge had
    /// room all that minute, then all, as load moves sessions too.
    pub false_moves: [usize; 2],
    /// Incidents that were believed in, summed over ticks.
    pub believed: usize,
    /// Parts of the lists, and of the first servers, that changed from asking to asking.
    pub churn: Option<(f64, f64)>,
}

/// Watches a run.
pub(super) struct Judge {
    world: World,
    width: usize,
    ticks: Vec<f64>,
    lost: f64,
    all: f64,
    over: f64,
    loads: Vec<f64>,
    /// The load of each edge, tick by tick.
    each: Vec<Vec<f64>>,
    /// New sessions by (carrier, edge), tick by tick.
    begun: Vec<Vec<f64>>,
    believed: usize,
    lists: Vec<Vec<String>>,
    churn: Vec<(f64, f64)>,
}

impl Judge {
    pub(super) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            width: world.edges.len(),
            ticks: Vec::new(),
            lost: 0.0,
            all: 0.0,
            over: 0.0,
            loads: Vec::new(),
            each: Vec::new(),
            begun: Vec::new(),
            believed: 0,
            lists: Vec::new(),
            churn: Vec::new(),
        }
    }

    pub(super) fn tick(
        &mut self,
        tick: usize,
        sessions: &[f64],
        begun: &[f64],
        drops: &[f64],
        loads: &[f64],
        believed: usize,
    ) {
        let (mut lost, mut all, mut over) = (0.0, 0.0, 0.0);
        for (at, (sessions, drop)) in sessions.iter().zip(drops).enumerate() {
            lost += sessions * drop;
            all += sessions;
            over += if loads[at % self.width] > 1.0 { *sessions } else { 0.0 };
        }
        self.ticks.push(if all > 0.0 { lost / all } else { 0.0 });
        let mut new = vec![0.0; 3 * self.width];
        for (at, begun) in begun.iter().enumerate() {
            let carrier = carrier_number(&self.world, at / self.width);
            new[carrier * self.width + at % self.width] += begun;
        }
        self.begun.push(new);
        self.each.push(loads.to_vec());
        if tick >= WARM_UP_TICKS {
            self.lost += lost;
            self.all += all;
            self.over += over;
            self.loads.push(loads.iter().copied().fold(0.0, f64::max));
            self.believed += believed;
        }
    }

    pub(super) fn lists(&mut self, rankings: &[Ranking]) {
        let lists = lists(rankings);
        if self.begun.len() > WARM_UP_TICKS {
            self.churn.extend(churn(&self.lists, &lists));
        }
        self.lists = lists;
    }

    pub(super) fn outcome(self, policy: &'static str, seed: u64) -> Outcome {
        let (moved, buried) = self.moves();
        let mean = |of: fn(&(f64, f64)) -> f64| {
            self.churn.iter().map(of).sum::<f64>() / self.churn.len().max(1) as f64
        };
        Outcome {
            policy,
            seed,
            drop: self.lost / self.all,
            overloaded: self.over / self.all,
            moved,
            buried,
            false_moves: self.false_moves(),
            believed: self.believed,
            churn: (!self.churn.is_empty()).then(|| (mean(|c| c.0), mean(|c| c.1))),
            ticks: self.ticks,
            loads: self.loads,
        }
    }

    /// New sessions of a (carrier, edge) in a tick, as a share of the carrier's.
    fn share(&self, tick: usize, carrier: usize, edge: usize) -> f64 {
        let row = &self.begun[tick][carrier * self.width..(carrier + 1) * self.width];
        row[edge] / row.iter().sum::<f64>().max(1.0)
    }

    /// The mean over the minute before a tick.
    fn usual(&self, tick: usize, carrier: usize, edge: usize) -> f64 {
        let ticks = tick.saturating_sub(12)..tick;
        let count = ticks.len().max(1) as f64;
        ticks.map(|tick| self.share(tick, carrier, edge)).sum::<f64>() / count
    }

    fn moves(&self) -> (Vec<f64>, Vec<f64>) {
        let mut moved = Vec::new();
        for event in &self.world.events {
            let carrier = CARRIERS.iter().position(|of| *of == event.carrier).unwrap_or(0);
            // An earlier illness that lasts has moved them already.
            let fresh = !self.world.events.iter().any(|other| {
                let same = (other.edge, other.carrier) == (event.edge, event.carrier);
                same && other.from < event.from && event.from <= other.to + 60
            });
            if fresh && event.from >= WARM_UP_TICKS && !self.world.is_dead(event.edge, event.from) {
                moved.extend(self.moved_after(event.from, carrier, event.edge, event.to));
            }
        }
        let mut buried = Vec::new();
        for (edge, node) in self.world.edges.iter().enumerate() {
            let carrier = CARRIERS.iter().position(|of| *of == node.model.carrier).unwrap_or(0);
            if let Some(dies) = node.dies.filter(|dies| *dies >= WARM_UP_TICKS) {
                buried.extend(self.moved_after(dies, carrier, edge, usize::MAX));
            }
        }
        (moved, buried)
    }

    /// Seconds until no more than a tenth of what it was goes there; `None` where little did.
    fn moved_after(&self, from: usize, carrier: usize, edge: usize, to: usize) -> Option<f64> {
        let usual = self.usual(from, carrier, edge);
        if usual < SHARE_TELLING || from + 12 >= self.begun.len() {
            return None;
        }
        let end = to.min(self.begun.len());
        let away = (from..end).find(|tick| self.share(*tick, carrier, edge) <= 0.1 * usual);
        Some((away.unwrap_or(end) - from) as f64 * TICK_SECONDS)
    }

    fn false_moves(&self) -> [usize; 2] {
        if !self.world.events.is_empty() {
            return [0, 0];
        }
        let mut moves = [0, 0];
        for carrier in 0..3 {
            for edge in 0..self.width {
                let mut quiet = 0_usize;
                for tick in WARM_UP_TICKS..self.begun.len() {
                    quiet = quiet.saturating_sub(1);
                    let usual = self.usual(tick, carrier, edge);
                    let gone =
                        usual >= SHARE_TELLING && self.share(tick, carrier, edge) <= 0.1 * usual;
                    if gone && quiet == 0 {
                        let roomy = (tick - 12..=tick).all(|tick| self.each[tick][edge] < ROOMY);
                        moves[0] += usize::from(roomy);
                        moves[1] += 1;
                        quiet = 24;
                    }
                }
            }
        }
        moves
    }
}

/// Outcomes side by side, the oracle's among them.
#[derive(Clone, Debug, Default)]
pub struct Table {
    outcomes: Vec<Outcome>,
}

/// A policy over all seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The policy.
    pub policy: &'static str,
    /// Mean drop rate.
    pub drop: f64,
    /// How many times the oracle's that is.
    pub of_oracle: Option<f64>,
    /// The difference to it.
    pub regret: Option<f64>,
    /// The drop rate that one tick in a hundred exceeds.
    pub p99_tick: f64,
    /// The load that an edge exceeds in one tick of a hundred.
    pub p99_load: f64,
    /// Sessions on edges beyond their capacity.
    pub overloaded: f64,
    /// Seconds in which nine of ten incidents, the median one, and the slowest were left.
    pub moved: Option<[f64; 3]>,
    /// Of incidents, those that were left within thirty seconds.
    pub in_time: f64,
    /// The slowest burial of a dead edge.
    pub buried: Option<f64>,
    /// Parts of the lists, and of the first servers, that changed.
    pub churn: Option<(f64, f64)>,
}

impl Table {
    /// Adds a run.
    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// All runs.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// A line for each policy, in the order in which they came.
    pub fn lines(&self) -> Vec<Line> {
        let mut names: Vec<&'static str> = Vec::new();
        for outcome in &self.outcomes {
            if !names.contains(&outcome.policy) {
                names.push(outcome.policy);
            }
        }
        let oracle: BTreeMap<u64, f64> = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.policy == "oracle")
            .map(|outcome| (outcome.seed, outcome.drop))
            .collect();
        names.into_iter().map(|name| self.line(name, &oracle)).collect()
    }

    fn line(&self, name: &'static str, oracle: &BTreeMap<u64, f64>) -> Line {
        let runs: Vec<&Outcome> = self.outcomes.iter().filter(|run| run.policy == name).collect();
        let count = runs.len().max(1) as f64;
        let mean =
            |of: &dyn Fn(&Outcome) -> f64| runs.iter().map(|run| of(run)).sum::<f64>() / count;
        let drop = mean(&|run| run.drop);
        let known: Vec<f64> =
            runs.iter().filter_map(|run| oracle.get(&run.seed).copied()).collect();
        let best = (known.len() == runs.len()).then(|| known.iter().sum::<f64>() / count);
        let all = |of: &dyn Fn(&Outcome) -> Vec<f64>| runs.iter().flat_map(|run| of(run)).collect();
        let moved: Vec<f64> = all(&|run| run.moved.clone());
        let in_time = moved.iter().filter(|seconds| **seconds <= 30.0).count() as f64;
        let buried: Vec<f64> = all(&|run| run.buried.clone());
        let churn: Vec<(f64, f64)> = runs.iter().filter_map(|run| run.churn).collect();
        let of_churn =
            |of: fn(&(f64, f64)) -> f64| churn.iter().map(of).sum::<f64>() / churn.len() as f64;
        Line {
            policy: name,
            drop,
            of_oracle: best.map(|best| drop / best),
            regret: best.map(|best| drop - best),
            p99_tick: percentile(
                all(&|run| run.ticks[WARM_UP_TICKS.min(run.ticks.len())..].to_vec()),
                0.99,
            ),
            p99_load: percentile(all(&|run| run.loads.clone()), 0.99),
            overloaded: mean(&|run| run.overloaded),
            in_time: if moved.is_empty() { 1.0 } else { in_time / moved.len() as f64 },
            moved: (!moved.is_empty())
                .then(|| [0.5, 0.9, 1.0].map(|part| percentile(moved.clone(), part))),
            buried: buried.into_iter().reduce(f64::max),
            churn: (!churn.is_empty()).then(|| (of_churn(|c| c.0), of_churn(|c| c.1))),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<25} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>17} {:>8} {:>6} {:>13}",
            "policy",
            "drop",
            "x oracle",
            "regret",
            "p99 tick",
            "max load",
            "overload",
            "moved 50/90/100 %",
            "<= 30 s",
            "dead",
            "churn, first"
        )?;
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        write!(
            f,
            "{:<25} {:>6.3} % {:>8} {:>8} {:>6.2} % {:>8.2} {:>7.3} % {:>17} {:>6.1} % {:>6} {:>13}",
            self.policy,
            self.drop * 100.0,
            or(self.of_oracle.map(|times| format!("{times:.2}"))),
            or(self.regret.map(|regret| format!("{:.2} pp", regret * 100.0))),
            self.p99_tick * 100.0,
            self.p99_load,
            self.overloaded * 100.0,
            or(self.moved.map(|[a, b, c]| format!("{a:.0}/{b:.0}/{c:.0} s"))),
            self.in_time * 100.0,
            or(self.buried.map(|seconds| format!("{seconds:.0} s"))),
            or(self.churn.map(|(all, first)| format!(
                "{:.1}, {:.1} %",
                all * 100.0,
                first * 100.0
            ))),
        )
    }
}

/// The value that this part of the values does not exceed.
pub(super) fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part).ceil() as usize).max(1) - 1;
    values.get(at).copied().unwrap_or(0.0)
}

/// Until sessions have come, nothing counts: ten minutes.
pub(super) const WARM_UP_TICKS: usize = 120;

/// Below it, load costs nothing.
const ROOMY: f64 = 0.8;

/// A (carrier, edge) with less of the carrier's new sessions tells nothing.
const SHARE_TELLING: f64 = 0.005;
