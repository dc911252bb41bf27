//! Which edges a client is told to try, best first. A pure function of values.
//!
//! The whole policy, in the order in which it decides:
//!
//! 1. [`Standing`]: edges that are full, cut by those who use them, cut off from their upstream, draining
//!    or weightless come after all others, and only as far as those are too few or of one carrier.
//!    (Silent edges are not in the list at all, see [`crate::registry`].)
//! 2. The operator's [`Policy`]: what is preferred for the client's network, then the user's zone.
//! 3. [`Terms`]: the drop rate to be expected in percentage points, as it was learnt (before that: another
//!    carrier, then distance), then load, bandwidth's price, the edge's own lines.
//! 4. [`Fill`]: near-best edges share a cell's clients by the room they have, each takes no more
//!    than it can within a tick, and the rest spills over to where there is room. What comes out is a
//!    share for every edge, by which users are drawn.
//! 5. `Draw`: weighted rendezvous hashing of the user by these shares: each user has an order of its own
//!    that changes no more than the shares do.
//! 6. [`choose`](Ranking::choose): three to five servers, over two carriers wherever there is a choice, and
//!    over two sites where that names no edge of lesser standing. Once in a while the second or
//!    third is an edge of which little is known; never the first.
//!
//! Invariant: the order depends on the values alone, never on the order of the input, and each step
//! can say why ([`Explain`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use geo_data::{Carrier, Carriers, Cell, Position};

use crate::edge::Edge;
use crate::learning::View;

mod choose;
mod draw;
mod elsewhere;
mod entry;
mod fill;
mod place;
mod policy;
mod score;
mod why;

pub use self::choose::{Asker, Choice, EXPLORE_SHARE, SERVERS_MAX, SERVERS_MIN};
pub use self::elsewhere::elsewhere;
pub use self::entry::{LOAD_FULL, Standing};
pub use self::fill::{Fill, NEAR_PP, Quota, ROOM_SHARE};
pub use self::policy::{Drained, Override, Policy, PolicyError};
pub use self::score::{Cost, Terms, prior};
pub use self::why::{Explain, Placed, Why};

use self::entry::Entry;
use self::fill::Offer;

/// For whom edges are ranked: what the clients of one cell have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vantage {
    /// Their carrier.
    pub carrier: Carrier,
    /// Others that their addresses are announced by as well.
    pub also: Carriers,
    /// Where about they are; `None` if unknown.
    pub position: Option<Position>,
}

impl Vantage {
    /// As whose clients they count at an edge of this carrier: networks with several ways out take the one
    /// that the edge has, too.
    pub fn carrier_at(&self, edge: Carrier) -> Carrier {
        if self.also.contains(edge) { edge } else { self.carrier }
    }
}

/// Everything else that a ranking depends on; cheap to clone. The default knows and wants nothing.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// What was learnt.
    pub view: View,
    /// What the operator wants.
    pub policy: Arc<Policy>,
    /// What a session costs at each site, in percentage points.
    pub prices: Arc<Prices>,
    /// What edges take.
    pub fill: Arc<Fill>,
    /// Counts minutes or the like: whoever explores changes with it.
    pub turn: u64,
    /// Edges within so many percentage points of the best are as good as it; usually [`NEAR_PP`].
    pub near_pp: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            view: View::default(),
            policy: Arc::default(),
            prices: Arc::default(),
            fill: Arc::default(),
            turn: 0,
            near_pp: NEAR_PP,
        }
    }
}

/// Prices by site.
pub type Prices = BTreeMap<Arc<str>, f64>;

/// A cell, and how many sessions its clients will start within the next tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// The cell.
    pub cell: Cell,
    /// Its carrier and place.
    pub vantage: Vantage,
    /// Sessions, in the whole network: what other svrlists are asked counts.
    pub sessions: f64,
}

/// What [`plan`] answers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For [`Conditions::fill`], until the next tick.
    pub fill: Arc<Fill>,
    /// The rankings of the cells that were asked about, in their order.
    pub rankings: Vec<Ranking>,
}

/// Edges with their score for one cell; what is left to do depends on the user.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// In the order of [`Entry::order`].
    entries: Vec<Entry>,
    policy: Arc<Policy>,
    turn: u64,
    near_pp: f64,
}

/// Ranks edges for all cells at once, so that no edge is told to more clients than it can take in a tick.
/// `conditions.fill` is not read.
pub fn plan(
    conditions: &Conditions,
    edges: &[Arc<Edge>],
    quotas: &[Quota],
    demands: &[Demand],
) -> Plan {
    let priced = |demand: &Demand| Entry::all(demand.vantage, demand.cell, edges, conditions);
    let all: Vec<Vec<Entry>> = demands.iter().map(priced).collect();
    let pairs = all.iter().zip(demands);
    let offers: Vec<Offer<'_>> =
        pairs.map(|(entries, demand)| Offer { entries, sessions: demand.sessions }).collect();
    let fill = Arc::new(Fill::new(quotas, &offers, conditions.near_pp));
    let rankings = all.into_iter().map(|entries| Ranking::filled(entries, &fill, conditions));
    Plan { rankings: rankings.collect(), fill }
}

impl Ranking {
    /// Ranks edges for a vantage by place, carrier and load alone.
    pub fn new<'a>(vantage: Vantage, edges: impl IntoIterator<Item = &'a Arc<Edge>>) -> Self {
        let cell = Cell { carrier: vantage.carrier, ..Cell::default() };
        Self::of(vantage, cell, edges, &Conditions::default())
    }

    /// Ranks edges for a cell.
    pub fn of<'a>(
        vantage: Vantage,
        cell: Cell,
        edges: impl IntoIterator<Item = &'a Arc<Edge>>,
        conditions: &Conditions,
    ) -> Self {
        let entries = Entry::all(vantage, cell, edges, conditions);
        Self::filled(entries, &conditions.fill, conditions)
    }

    fn filled(mut entries: Vec<Entry>, fill: &Fill, conditions: &Conditions) -> Self {
        let best = entries.first().map_or(0.0, |entry| entry.score);
        let shares = fill::shares(&entries, fill, conditions.near_pp);
        for (entry, share) in entries.iter_mut().zip(shares) {
            let behind = entry.score - best - entry.terms.doubt;
            entry.near = entry.standing == Standing::Open && behind < conditions.near_pp;
            entry.share = share;
        }
        let Conditions { policy, turn, near_pp, .. } = conditions;
        Self { entries, policy: Arc::clone(policy), turn: *turn, near_pp: *near_pp }
    }

    /// What it takes in memory, without the edges, which all rankings share.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The share of the cell's new clients that each edge is told first to, for those that any are.
    pub fn shares(&self) -> impl Iterator<Item = (&Arc<Edge>, f64)> {
        let told = self.entries.iter().filter(|entry| entry.share > 0.0);
        told.map(|entry| (&entry.edge, entry.share))
    }

    /// What the score of each edge is made of, in the order in which they stand.
    pub fn terms(&self) -> impl Iterator<Item = (&Arc<Edge>, Terms)> {
        self.entries.iter().map(|entry| (&entry.edge, entry.terms))
    }

    /// The edges that somebody should try, of which little is known: no worse than the best by more
    /// than [`EXPLORE_PP`] if all goes well, and without an incident.
    pub fn unknown(&self) -> impl Iterator<Item = &Arc<Edge>> {
        self.unexplored().map(|entry| &entry.edge)
    }

    fn unexplored(&self) -> impl Iterator<Item = &Entry> {
        let best = self.entries.first().map_or(0.0, |entry| entry.score);
        let open = self.entries.iter().take_while(|entry| entry.standing == Standing::Open);
        let fits = move |entry: &&Entry| {
            let behind = entry.score - entry.terms.doubt - best;
            entry.share < SHARE_KNOWN
                && !entry.event
                && behind < EXPLORE_PP
                && entry.reports < REPORTS_KNOWN
        };
        open.filter(fits).take(EXPLORED_MAX)
    }
}

/// How much worse than the best an edge may be thought to be and still be tried.
pub const EXPLORE_PP: f64 = 2.0;

/// Edges that are explored at a time.
const EXPLORED_MAX: usize = 8;

/// An edge with so many reports is known.
const REPORTS_KNOWN: f64 = 20.0;

/// And one that so many of the cell's clients go to will be.
const SHARE_KNOWN: f64 = 0.01;

#[cfg(test)]
mod tests;
