//! Edges with their score for one cell.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use geo_data::{Carrier, Cell};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::score::{Cost, Terms, prior};
use super::{Conditions, Policy, SERVERS_MAX, Vantage};
use crate::edge::Edge;
use crate::learning::Row;

/// An edge as it stands for a cell.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) edge: Arc<Edge>,
    /// The name, hashed once.
    pub(super) hash: u64,
    pub(super) standing: Standing,
    pub(super) cost: Cost,
    pub(super) terms: Terms,
    pub(super) score: f64,
    pub(super) weight: f64,
    pub(super) reports: f64,
    pub(super) event: bool,
    /// Whether its zone has a share of users of its own.
    pub(super) is_zoned: bool,
    /// Set once the best is known.
    pub(super) near: bool,
    pub(super) share: f64,
}

impl Entry {
    /// Every edge that may be told to the cell, the best first.
    pub(super) fn all<'a>(
        vantage: Vantage,
        cell: Cell,
        edges: impl IntoIterator<Item = &'a Arc<Edge>>,
        conditions: &Conditions,
    ) -> Vec<Self> {
        // Those who count as clients of several carriers meet at each edge what its carrier's clients met.
        let row = conditions.view.row(cell);
        let also = vantage.also.iter().map(|carrier| conditions.view.row(Cell { carrier, ..cell }));
        let also: Vec<Row<'_>> = also.collect();
        let Conditions { policy, prices, .. } = conditions;
        let entry = |edge: &Arc<Edge>| {
            let carrier = vantage.carrier_at(edge.carrier);
            let row = also.iter().find(|row| row.cell().carrier == carrier).unwrap_or(&row);
            let estimate = row.estimate(edge, vantage.position);
            let price = prices.get(&edge.site).copied().unwrap_or(0.0);
            let terms = Terms::of(edge, &estimate, price);
            let weight = policy.weight(edge);
            Self {
                edge: Arc::clone(edge),
                hash: xxh3_64_with_seed(edge.name.as_bytes(), 0),
                standing: Standing::of(edge, weight, estimate.cut),
                cost: prior(carrier, vantage.position, edge),
                terms,
                score: terms.score(),
                weight,
                reports: estimate.reports,
                event: estimate.event,
                is_zoned: policy.zone_shares.contains_key(&edge.zone),
                near: false,
                share: 0.0,
            }
        };
        let mut entries: Vec<Self> = edges.into_iter().map(entry).collect();
        entries.sort_unstable_by(Self::order);
        if entries.len() > ENTRIES_MAX {
            Self::thin(&mut entries, policy);
        }
        entries
    }

    /// Of thousands, keeps the best, and some of each carrier and zone.
    fn thin(entries: &mut Vec<Self>, policy: &Policy) {
        let mut of_carrier: BTreeMap<Carrier, usize> = BTreeMap::new();
        let mut of_zone: BTreeMap<String, usize> = BTreeMap::new();
        let mut kept = 0;
        entries.retain(|entry| {
            let carrier = of_carrier.entry(entry.edge.carrier).or_default();
            let mut keeps = kept < ENTRIES_MAX
                || *carrier < SERVERS_MAX
                || policy.is_preferred(&entry.edge.name);
            *carrier += 1;
            if !policy.zone_shares.is_empty() {
                let zone = of_zone.entry(entry.edge.zone.clone()).or_default();
                keeps |= *zone < ENTRIES_MAX / 8;
                *zone += 1;
            }
            kept += usize::from(keeps);
            keeps
        });
        entries.shrink_to_fit();
    }

    /// Whether it is in the zone that [`Policy::zone`] answered.
    pub(super) fn suits(&self, zone: Option<&str>) -> bool {
        zone.map_or(!self.is_zoned, |zone| self.edge.zone == zone)
    }

    /// The score, doubt held against it.
    pub(super) fn cautious(&self) -> f64 {
        self.score + self.terms.doubt
    }

    fn order(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        let by_name = || self.edge.name.cmp(&other.edge.name);
        self.standing.cmp(&other.standing).then(by_score).then_with(by_name)
    }
}

/// What an edge can be given, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// New clients.
    Open,
    /// Nothing: at [`LOAD_FULL`] or more.
    Full,
    /// Nothing new: clients of several cells fail there.
    Cut,
    /// Nothing new: no line to its upstream is up.
    CutOff,
    /// Nothing: it asks for none, or the operator drained it or gave it weight 0.
    Draining,
}

impl Standing {
    pub(super) fn of(edge: &Edge, weight: f64, cut: bool) -> Self {
        if edge.draining || weight <= 0.0 {
            Self::Draining
        } else if edge.cut_off {
            Self::CutOff
        } else if cut {
            Self::Cut
        } else if edge.load >= LOAD_FULL {
            Self::Full
        } else {
            Self::Open
        }
    }
}

/// Load at which an edge gets no more clients.
pub const LOAD_FULL: f64 = 0.98;

/// Edges of which a ranking is made: more than any client can be told of.
const ENTRIES_MAX: usize = 256;
