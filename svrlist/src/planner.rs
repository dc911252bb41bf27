//! The plan: from what edges tell and clients ask, a machine that every [`TICK`]
//! makes the [`Planned`] by which all answers are ranked until the next one.
//!
//! - *Demand*: what each cell asked since the last tick, smoothed over about a minute. Answers are not
//!   sessions (clients ask again while they are connected, and other svrlists answer, too), so all
//!   of it is scaled to the sessions that edges say began.
//! - *Quotas*: an edge may gain what leaves it, smoothed, and a share of its room.
//! - *Prices*: what bandwidth costs at each site, by its [account](crate::accounts).
//!
//! Invariants: memory is bounded by [`DEMANDS_MAX`] and the list; while the list is stale, edges are
//! not believed to send, begin or end anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use geo_data::{Carrier, Cell, Region};

use crate::accounts::Accounts;
use crate::edge::Edge;
use crate::learning::{TICK, View};
use crate::ranking::{Conditions, Demand, Policy, Prices, Quota, Ranking, Vantage, plan};
use crate::registry::List;
use crate::site::Moment;

pub use crate::accounts::SiteAccount;

/// By what answers are ranked until the next tick.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Everything that a ranking depends on but for the list.
    pub conditions: Conditions,
    /// What sites send and what that costs.
    pub sites: BTreeMap<Arc<str>, SiteAccount>,
    /// The sessions that each cell is expected to begin in the whole network within a tick.
    pub demands: Vec<Demand>,
}

/// The machine.
#[derive(Debug, Default)]
pub struct Planner {
    policy: Arc<Policy>,
    accounts: Accounts,
    /// What cells ask in a tick, smoothed.
    asked: BTreeMap<(Cell, Vantage), f64>,
    /// The same of all cells, and the sessions that began, for the scale.
    sums: Option<(f64, f64)>,
    flows: BTreeMap<Arc<str>, Flow>,
    ticked: Option<Instant>,
}

/// How sessions come to an edge and go.
#[derive(Clone, Copy, Debug)]
struct Flow {
    started_ms: u64,
    begun: u64,
    ended: u64,
    /// Sessions that leave it within a tick, smoothed.
    leaving: f64,
}

impl Planner {
    /// Goes on with these accounts, with the wishes that were set.
    pub fn restore(&mut self, accounts: Accounts) {
        self.accounts.restore_from(accounts);
    }

    /// What the operator wants from now on.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// What sites are wished to send at most, in bits per second.
    pub fn set_wishes(&mut self, wishes: BTreeMap<Arc<str>, f64>) {
        self.accounts.set_wishes(wishes);
    }

    /// The sites' accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// To be called every [`TICK`] with what is known, and what cells asked since the last call.
    /// Answers the plan, with the rankings of the demands in their order, and whether the calendar
    /// is believed.
    pub fn handle_tick(
        &mut self,
        list: &List,
        view: View,
        asked: &[Asked],
        now: Moment,
    ) -> (Planned, Vec<Ranking>, bool) {
        let believed = self.accounts.handle_time(now);
        // A tick that was held up, or came early, counts as what it would have been in time.
        let since = self.ticked.map(|then| now.monotonic.saturating_duration_since(then));
        let per_tick = TICK.as_secs_f64() / since.unwrap_or(TICK).max(TICK / 5).as_secs_f64();
        self.ticked = Some(now.monotonic);
        let edges: Vec<Arc<Edge>> =
            list.edges.iter().map(|listed| Arc::clone(&listed.edge)).collect();
        self.flows.retain(|name, _| edges.binary_search_by(|edge| edge.name.cmp(name)).is_ok());
        let mut begun = 0.0;
        let mut quotas = Vec::with_capacity(edges.len());
        for edge in &edges {
            if let Some(flow) = self.flows.get_mut(&edge.name) {
                begun += flow.handle_edge(edge, per_tick);
            }
            let flow = self.flows.entry(Arc::clone(&edge.name)).or_insert_with(|| Flow::of(edge));
            quotas.push(Quota::of(edge, flow.leaving));
        }
        let sites = self.sites(&edges, list.stale);
        let scale = self.handle_asked(asked, begun, per_tick, list.stale);
        let demands: Vec<Demand> = self
            .asked
            .iter()
            .map(|((cell, vantage), asked)| Demand {
                cell: *cell,
                vantage: *vantage,
                sessions: asked * scale,
            })
            .collect();
        let prices: Prices =
            sites.iter().map(|(site, account)| (Arc::clone(site), account.price)).collect();
        let mut conditions = Conditions {
            view,
            policy: Arc::clone(&self.policy),
            prices: Arc::new(prices),
            turn: now.calendar.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
                / TURN_SECONDS,
            ..Conditions::default()
        };
        let planned = plan(&conditions, &edges, &quotas, &demands);
        conditions.fill = planned.fill;
        (Planned { conditions, sites, demands }, planned.rankings, believed)
    }

    /// Adds up what sites send, and lets their accounts hear it.
    fn sites(&mut self, edges: &[Arc<Edge>], stale: bool) -> BTreeMap<Arc<str>, SiteAccount> {
        let mut sums: BTreeMap<&Arc<str>, (Carrier, u64, Option<u64>)> = BTreeMap::new();
        for edge in edges {
            // A site of several carriers counts as one of its first edge's.
            let none = (edge.carrier, 0, Some(0));
            let (_, bits, max) = sums.entry(&edge.site).or_insert(none);
            *bits = bits.saturating_add(edge.bits_out);
            *max = max.filter(|_| edge.bits_out_max > 0);
            *max = max.map(|max| max.saturating_add(edge.bits_out_max));
        }
        let account = |(site, (carrier, bits, max)): (&Arc<str>, (Carrier, u64, Option<u64>))| {
            if !stale {
                self.accounts.handle_rate(site, carrier, bits as f64); // at most 10^14 for each edge
            }
            let account = self.accounts.account(site).unwrap_or_default();
            let bits_out_max = max.unwrap_or(0);
            (Arc::clone(site), SiteAccount { bits_out: bits, bits_out_max, ..account })
        };
        sums.into_iter().map(account).collect()
    }

    /// Smooths what was asked. Answers the sessions that begin for each answer.
    fn handle_asked(&mut self, asked: &[Asked], begun: f64, per_tick: f64, stale: bool) -> f64 {
        self.asked.values_mut().for_each(|demand| *demand *= 1.0 - DEMAND_GAIN);
        let mut sum = 0.0;
        for Asked { cell, vantage, count } in asked {
            let count = *count as f64 * per_tick; // counts of a few seconds
            sum += count;
            let known =
                self.asked.len() < DEMANDS_MAX || self.asked.contains_key(&(*cell, *vantage));
            if known && count > 0.0 {
                *self.asked.entry((*cell, *vantage)).or_default() += DEMAND_GAIN * count;
            }
        }
        self.asked.retain(|_, demand| *demand > DEMAND_MIN);
        if !stale {
            let sums = self.sums.get_or_insert((sum, begun));
            sums.0 += DEMAND_GAIN * (sum - sums.0);
            sums.1 += DEMAND_GAIN * (begun - sums.1);
        }
        match self.sums {
            // Edges that tell of no sessions are none to go by.
            Some((asked, begun)) if asked > DEMAND_MIN && begun > DEMAND_MIN => {
                (begun / asked).clamp(1.0 / SCALE_MAX, SCALE_MAX)
            }
            _ => 1.0,
        }
    }
}

impl Flow {
    fn of(edge: &Edge) -> Self {
        let Edge { started_ms, begun, ended, .. } = *edge;
        let leaving = f64::from(edge.connections) * LEAVING_SHARE;
        Self { started_ms, begun, ended, leaving }
    }

    /// The edge tells its counts anew. Answers the sessions that began since, by tick.
    fn handle_edge(&mut self, edge: &Edge, per_tick: f64) -> f64 {
        let before = *self;
        (self.started_ms, self.begun, self.ended) = (edge.started_ms, edge.begun, edge.ended);
        let goes_on = before.started_ms == edge.started_ms
            && before.begun <= edge.begun
            && before.ended <= edge.ended;
        if !goes_on || edge.begun == 0 {
            // It restarted, or does not count: sessions are as long as they usually are.
            self.leaving = f64::from(edge.connections) * LEAVING_SHARE;
            return 0.0;
        }
        // No more can come or go than the edge has places for, several times over.
        let most = f64::from(edge.connections_max.max(edge.connections).max(1)) * TURNOVER_MAX;
        let of_tick = |now: u64, then: u64| ((now - then) as f64).min(most) * per_tick;
        let ended = of_tick(edge.ended, before.ended);
        self.leaving += LEAVING_GAIN * (ended - self.leaving);
        of_tick(edge.begun, before.begun)
    }
}

/// Counts what cells ask: a counter each, which answers share without a lock.
#[derive(Debug, Default)]
pub struct Asks {
    counters: Mutex<HashMap<(Cell, Vantage), Arc<AtomicU64>>>,
}

/// What one cell asked since the last tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// The cell.
    pub cell: Cell,
    /// Its carrier and place.
    pub vantage: Vantage,
    /// Answers.
    pub count: u64,
}

impl Asks {
    /// The counter of a cell, for as long as its ranking lives. When there are too many cells, one
    /// for all others of its carrier.
    pub fn counter(&self, cell: Cell, vantage: Vantage) -> Arc<AtomicU64> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(&(cell, vantage)) {
            return Arc::clone(counter);
        }
        let spare = counters.len() + Carrier::ALL.len() < DEMANDS_MAX;
        let whole = Cell { region: Region::Unknown, carrier: cell.carrier };
        let of =
            if spare { (cell, vantage) } else { (whole, Vantage { position: None, ..vantage }) };
        Arc::clone(counters.entry(of).or_default())
    }

    /// What was asked since the last call. Forgets counters that nobody holds and nobody used.
    pub fn take(&self) -> Vec<Asked> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = Vec::new();
        counters.retain(|(cell, vantage), counter| {
            let count = counter.swap(0, Ordering::Relaxed);
            if count > 0 {
                asked.push(Asked { cell: *cell, vantage: *vantage, count });
            }
            count > 0 || Arc::strong_count(counter) > 1
        });
        asked
    }
}

/// Cells whose demand is told apart: every prefecture of China with every carrier, and countries.
pub const DEMANDS_MAX: usize = 4096;

/// Demand is smoothed over about a minute.
const DEMAND_GAIN: f64 = 0.1;

/// Departures too, somewhat faster.
const LEAVING_GAIN: f64 = 0.2;

/// Of an edge's sessions, those that leave within a tick if they last ten minutes on average.
const LEAVING_SHARE: f64 = TICK.as_secs() as f64 / 600.0;

/// Less is nobody.
const DEMAND_MIN: f64 = 1e-3;

/// Sessions that begin for an answer: however many svrlists there are, and however rarely their answers
/// bring a session.
const SCALE_MAX: f64 = 64.0;

/// All of an edge's places may change hands so often in a tick; whoever tells of more counts wrong.
const TURNOVER_MAX: f64 = 10.0;

/// Who explores changes every minute.
const TURN_SECONDS: u64 = 60;

const _: () = assert!(DEMANDS_MAX > Carrier::ALL.len());
const _: () = assert!(TICK.as_millis() >= Duration::from_secs(1).as_millis());

#[cfg(test)]
mod tests;
