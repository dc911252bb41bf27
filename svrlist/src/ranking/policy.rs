//! What the operator wants, whatever was measured: a value, checked where it is made.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

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
    /// The same as every answer needs it.
    pub index: Index,
}

/// What answers need of a [`Policy`], worked out when it is first wanted. A copy of a policy has yet to work
/// out its own, as it is copied to be changed.
#[derive(Default)]
pub struct Index(OnceLock<Indexed>);

#[derive(Debug)]
struct Indexed {
    /// Those that anybody is in, with what their draws begin with; `None` for all without a share.
    zones: Vec<(Option<String>, u64, f64)>,
    /// Mask and network of each rule's network, and where the rule stands.
    v4: Vec<(u32, u32, usize)>,
    v6: Vec<(u128, u128, usize)>,
    /// Edges that some rule prefers.
    preferred: HashSet<String>,
}

impl Indexed {
    fn new(policy: &Policy) -> Self {
        let rest = 100.0 - policy.zone_shares.values().sum::<f64>();
        // What is left of rounding is no share.
        let rest = (rest > SHARE_MIN).then_some((None, REST_SEED, rest));
        let named = policy.zone_shares.iter().filter(|(_, share)| **share > 0.0);
        let named = named.map(|(zone, share)| {
            (Some(zone.clone()), xxh3_64_with_seed(zone.as_bytes(), ZONE_SEED), *share)
        });
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (at, rule) in policy.overrides.iter().enumerate() {
            match rule.network {
                IpNet::V4(net) => v4.push((net.netmask().to_bits(), net.network().to_bits(), at)),
                IpNet::V6(net) => v6.push((net.netmask().to_bits(), net.network().to_bits(), at)),
            }
        }
        let preferred = policy.overrides.iter().flat_map(|rule| &rule.prefer).cloned();
        Self { zones: named.chain(rest).collect(), v4, v6, preferred: preferred.collect() }
    }
}

impl Clone for Index {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It says nothing that its policy does not.
impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
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
        let drawn = self.indexed().zones.iter();
        let drawn = drawn.map(|(zone, seed, share)| (draw(user, *seed, *share), zone));
        drawn.min_by(|(a, _), (b, _)| a.total_cmp(b)).and_then(|(_, zone)| zone.as_deref())
    }

    fn indexed(&self) -> &Indexed {
        self.index.0.get_or_init(|| Indexed::new(self))
    }

    /// Whether a zone has a share of its own, and anybody in it.
    pub(super) fn takes_users(&self, zone: &str) -> bool {
        self.zone_shares.get(zone).is_some_and(|share| *share > 0.0)
    }

    /// The rule for an address.
    pub(super) fn rule(&self, address: Option<IpAddr>) -> Option<&Override> {
        let Indexed { v4, v6, .. } = self.indexed();
        let at = match address?.to_canonical() {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                v4.iter().find(|(mask, network, _)| bits & mask == *network).map(|rule| rule.2)
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                v6.iter().find(|(mask, network, _)| bits & mask == *network).map(|rule| rule.2)
            }
        };
        self.overrides.get(at?)
    }

    /// Whether some rule prefers an edge.
    pub(super) fn is_preferred(&self, edge: &str) -> bool {
        self.indexed().preferred.contains(edge)
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
