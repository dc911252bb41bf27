//! What the operator wants, whatever was measured: a value, checked where it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::draw::draw;
use crate::edge::Edge;

/// The operator's word. The default wants nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// The share of clients of an edge relative to its equals, in place of what it says of itself.
    pub weights: BTreeMap<String, f64>,
    /// What takes no new clients.
    pub drained: Drained,
    /// Percent of users that a zone gets; zones that are not named share the rest. A zone with 0 is
    /// drained.
    pub zone_shares: BTreeMap<String, f64>,
    /// Rules for clients of some networks; the first that fits holds.
    pub overrides: Vec<Override>,
}

/// Edges, sites and zones by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drained {
    /// Edges.
    pub edges: BTreeSet<String>,
    /// Sites.
    pub sites: BTreeSet<String>,
    /// Zones.
    pub zones: BTreeSet<String>,
}

/// A rule for clients of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Whose addresses it is for.
    pub network: IpNet,
    /// Edges that come before all others of the same standing.
    pub prefer: BTreeSet<String>,
    /// Edges that these clients are never told.
    pub forbid: BTreeSet<String>,
}

/// A policy that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// A weight is none.
    #[error("the weight of {0} is {1}, must be a number from 0 to 1000")]
    Weight(String, f64),
    /// A share is none.
    #[error("zone {0} has {1} % of users, must be from 0 to 100")]
    Share(String, f64),
    /// Shares are too many.
    #[error("zones have {0} % of users together, must be at most 100")]
    Shares(f64),
}

impl Policy {
    /// Whether it can be followed.
    pub fn check(&self) -> Result<(), PolicyError> {
        for (edge, weight) in &self.weights {
            if !(0.0..=1000.0).contains(weight) {
                return Err(PolicyError::Weight(edge.clone(), *weight));
            }
        }
        for (zone, share) in &self.zone_shares {
            if !(0.0..=100.0).contains(share) {
                return Err(PolicyError::Share(zone.clone(), *share));
            }
        }
        let sum: f64 = self.zone_shares.values().sum();
        if sum > 100.0 + 1e-9 { Err(PolicyError::Shares(sum)) } else { Ok(()) }
    }

    /// Whether an edge is drained by its own name, its site's or its zone's.
    pub(crate) fn drains(&self, edge: &Edge) -> bool {
        let Drained { edges, sites, zones } = &self.drained;
        edges.contains(&*edge.name) || sites.contains(&*edge.site) || zones.contains(&edge.zone)
    }

    /// The weight of an edge; 0 when it is drained in any way.
    pub(crate) fn weight(&self, edge: &Edge) -> f64 {
        let closed = self.zone_shares.get(&edge.zone).is_some_and(|share| *share <= 0.0);
        if closed || self.drains(edge) {
            return 0.0;
        }
        self.weights.get(&*edge.name).copied().unwrap_or(edge.weight)
    }

    /// The zone that a user belongs to, by a number that is the user's for ever; `None` for any that has no
    /// share of its own. Drawn like edges are, by weighted rendezvous hashing: a share that grows takes in
    /// users and lets none go, as long as no other grows, and what stays in proportion stays in place.
    pub(super) fn zone(&self, user: u64) -> Option<&str> {
        let named = self.zone_shares.iter().map(|(zone, share)| (Some(zone.as_str()), *share));
        let rest = 100.0 - self.zone_shares.values().sum::<f64>();
        // What is left of rounding is no share.
        let rest = if rest > SHARE_MIN { rest } else { 0.0 };
        let draw = |zone: Option<&str>, share: f64| {
            let seed = zone.map_or(REST_SEED, |zone| xxh3_64_with_seed(zone.as_bytes(), ZONE_SEED));
            draw(user, seed, share)
        };
        let drawn = named.chain([(None, rest)]).filter(|(_, share)| *share > 0.0);
        let drawn = drawn.map(|(zone, share)| (draw(zone, share), zone));
        drawn.min_by(|(a, _), (b, _)| a.total_cmp(b)).and_then(|(_, zone)| zone)
    }

    /// Whether a zone has a share of its own, and anybody in it.
    pub(super) fn takes_users(&self, zone: &str) -> bool {
        self.zone_shares.get(zone).is_some_and(|share| *share > 0.0)
    }

    /// Whether an edge is in the zone that [`zone`](Self::zone) answered.
    pub(super) fn suits(&self, edge: &Edge, zone: Option<&str>) -> bool {
        match zone {
            Some(zone) => edge.zone == zone,
            None => !self.zone_shares.contains_key(&edge.zone),
        }
    }

    /// The rule for an address.
    pub(super) fn rule(&self, address: Option<IpAddr>) -> Option<&Override> {
        let address = address?.to_canonical();
        self.overrides.iter().find(|rule| rule.network.contains(&address))
    }
}

/// Percent of users; less is nobody.
const SHARE_MIN: f64 = 1e-9;

/// Keeps the hash of a zone apart from that of an edge of the same name.
const ZONE_SEED: u64 = 0x2095;

/// Stands for all zones without a share.
const REST_SEED: u64 = 0x4e57;

#[cfg(test)]
mod tests;
