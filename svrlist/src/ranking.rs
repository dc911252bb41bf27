//! Which edges a client is told to try, best first. A pure function of values.
//!
//! The whole policy, in the order in which it decides:
//!
//! 1. [`Standing`]: edges that are full, cut off from their upstream, draining or weightless come
//!    after all others, and only as far as those are too few or of one carrier. (Silent edges are
//!    not in the list at all, see [`crate::registry`].)
//! 2. `Band`: edges are compared by [`Cost`], the drop rate to be expected in percentage points:
//!    another carrier, then distance, then load. Costs within one band of `BAND_PP` are equal.
//! 3. `Draw`: among equals, weighted rendezvous hashing of the user: each user has an order of its
//!    own that does not change while the edges stay, and each edge gets clients by its weight.
//! 4. [`choose`](Ranking::choose): three to five servers, over two carriers wherever there is a
//!    choice, and over two sites where that names no edge of lesser standing.
//!
//! Every edge is placed on an absolute scale, whatever the others are. So the order does not depend
//! on the order of the input, and an edge that goes moves only the users that were on it.
//!
//! Load moves users gradually: each user feels an edge's load penalty times a factor from 0 to 2
//! that is fixed for (user, edge), so that an edge which fills up first loses the users who feel it
//! most, rather than all of them at the same moment.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::sync::Arc;

use geo_data::{Carrier, Position};
use shared::wire::control;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::edge::Edge;

/// For whom edges are ranked: what the clients of one cell have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vantage {
    /// Their carrier.
    pub carrier: Carrier,
    /// Where about they are; `None` if unknown.
    pub position: Option<Position>,
}

/// Edges with their cost for one vantage; what is left to do depends on the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    edge: Arc<Edge>,
    /// The name, hashed once.
    hash: u64,
    standing: Standing,
    cost: Cost,
}

/// One server of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    /// The edge.
    pub edge: &'a Arc<Edge>,
    /// Why it stands where it does.
    pub why: Why,
}

impl Ranking {
    /// Prices every edge for a vantage.
    pub fn new<'a>(vantage: Vantage, edges: impl IntoIterator<Item = &'a Arc<Edge>>) -> Self {
        let entries = edges.into_iter().map(|edge| Entry {
            edge: Arc::clone(edge),
            hash: xxh3_64_with_seed(edge.name.as_bytes(), 0),
            standing: Standing::of(edge),
            cost: Cost::of(vantage, edge),
        });
        Self { entries: entries.collect() }
    }

    /// The servers for one user among the edges that `admits` lets pass, best first: at most
    /// [`SERVERS_MAX`], at least [`SERVERS_MIN`] where there are so many.
    pub fn choose(&self, user: &[u8], admits: impl Fn(&Edge) -> bool) -> Vec<Choice<'_>> {
        let user = xxh3_64_with_seed(user, USER_SEED);
        let admitted = self.entries.iter().filter(|entry| admits(&entry.edge));
        let mut placed: Vec<(Place<'_>, &Entry)> =
            admitted.map(|entry| (Place::of(entry, user), entry)).collect();
        spread(&mut placed);
        placed
            .iter()
            .map(|(_, entry)| Choice {
                edge: &entry.edge,
                why: Why { cost: entry.cost, standing: entry.standing, load: entry.edge.load },
            })
            .collect()
    }
}

/// Where the clients of an edge may go instead: the listeners of other edges that take new clients,
/// best first.
pub fn elsewhere<'a>(
    of: &Edge,
    edges: impl IntoIterator<Item = &'a Arc<Edge>>,
) -> Vec<control::Endpoint> {
    let others = edges.into_iter().filter(|edge| edge.name != of.name);
    let vantage = Vantage { carrier: of.carrier, position: of.position };
    let ranking = Ranking::new(vantage, others);
    let open = ranking.choose(of.name.as_bytes(), |edge| Standing::of(edge) == Standing::Open);
    let endpoints = open.iter().flat_map(|choice| &choice.edge.endpoints);
    let told = endpoints.map(|endpoint| control::Endpoint {
        protocol: endpoint.transport.name().into(),
        host: endpoint.host.clone(),
        port: endpoint.port.into(),
    });
    told.collect()
}

/// Shortens the edges to an answer, sorted: the best, as few as possible of lesser standing, and
/// towards the end those that add a second carrier and a second site if the best have but one.
fn spread<'a>(placed: &mut Vec<(Place<'a>, &'a Entry)>) {
    let by_place = |(a, _): &(Place<'a>, &Entry), (b, _): &(Place<'a>, &Entry)| a.cmp(b);
    let mut rest = Vec::new();
    if placed.len() > SERVERS_MAX {
        // Only the best are wanted in order, of hundreds.
        placed.select_nth_unstable_by(SERVERS_MAX, by_place);
        rest = placed.split_off(SERVERS_MAX);
    }
    placed.sort_by(by_place);
    let Some((best, _)) = placed.first() else { return };
    let of_the_best = placed.partition_point(|(place, _)| place.standing == best.standing);
    rest.extend(placed.drain(of_the_best.max(SERVERS_MIN).min(placed.len())..));
    // Neither may cost the variety of the other kind that is there.
    let two_sites = varied(placed, site);
    bring_in(placed, &rest, carrier, |chosen| !two_sites || varied(chosen, site));
    placed.sort_by(by_place);
    // A site of its own is no reason to name an edge of lesser standing than there are already.
    let worst = placed.last().map(|(place, _)| place.standing);
    rest.retain(|(place, _)| Some(place.standing) <= worst);
    let two_carriers = varied(placed, carrier);
    bring_in(placed, &rest, site, |chosen| !two_carriers || varied(chosen, carrier));
    placed.sort_by(by_place);
}

fn carrier(entry: &Entry) -> Carrier {
    entry.edge.carrier
}

fn site(entry: &Entry) -> &str {
    &entry.edge.site
}

/// Whether the chosen have more than one `key`.
fn varied<'a, K: PartialEq>(chosen: &[(Place<'a>, &'a Entry)], key: fn(&'a Entry) -> K) -> bool {
    chosen.windows(2).any(|pair| key(pair[0].1) != key(pair[1].1))
}

/// If all the chosen have one `key`, adds the best of the rest with another; where there is no room
/// for it, in place of the worst chosen for which `allows` agrees, never of the first.
fn bring_in<'a, K: PartialEq>(
    chosen: &mut Vec<(Place<'a>, &'a Entry)>,
    rest: &[(Place<'a>, &'a Entry)],
    key: fn(&'a Entry) -> K,
    allows: impl Fn(&[(Place<'a>, &'a Entry)]) -> bool,
) {
    let Some((_, first)) = chosen.first() else { return };
    if varied(chosen, key) {
        return;
    }
    let only = key(first);
    let others = rest.iter().filter(|(_, entry)| key(entry) != only);
    let Some(other) = others.min_by(|(a, _), (b, _)| a.cmp(b)) else { return };
    if chosen.len() < SERVERS_MAX {
        chosen.push(*other);
        return;
    }
    for at in (1..chosen.len()).rev() {
        let before = std::mem::replace(&mut chosen[at], *other);
        if allows(chosen) {
            return;
        }
        chosen[at] = before;
    }
}

/// Where an edge stands for one user. The order of the fields is the policy.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Place<'a> {
    standing: Standing,
    band: Band,
    draw: Draw,
    /// Makes the order total.
    name: Reverse<&'a str>,
}

impl<'a> Place<'a> {
    fn of(entry: &'a Entry, user: u64) -> Self {
        let draw = xxh3_64_with_seed(&user.to_le_bytes(), entry.hash);
        // Two independent halves of one hash.
        let feels = 2.0 * unit(draw >> 32);
        Self {
            standing: entry.standing,
            band: Band::of(entry.cost.carrier + entry.cost.distance + entry.cost.load * feels),
            draw: Draw::of(unit(draw & 0xffff_ffff), entry.edge.weight),
            name: Reverse(&entry.edge.name),
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        // Bands and draws are never NaN, see their constructors.
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
}

/// 32 random bits as a number above 0 and below 1.
fn unit(bits: u64) -> f64 {
    (bits as f64 + 0.5) / 4_294_967_296.0
}

/// What an edge can be given, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// New clients.
    Open,
    /// Nothing: at [`LOAD_FULL`] or more.
    Full,
    /// Nothing new: no line to its upstream is up.
    CutOff,
    /// Nothing: it asks for none, or the operator gave it weight 0.
    Draining,
}

impl Standing {
    fn of(edge: &Edge) -> Self {
        if edge.draining || edge.weight <= 0.0 {
            Self::Draining
        } else if edge.cut_off {
            Self::CutOff
        } else if edge.load >= LOAD_FULL {
            Self::Full
        } else {
            Self::Open
        }
    }
}

/// The drop rate to be expected, in percentage points, by what causes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// For crossing from one carrier to another.
    pub carrier: f64,
    /// For the way.
    pub distance: f64,
    /// For what the edge carries already; the mean over all users.
    pub load: f64,
    /// The way in kilometres, where both ends are known.
    pub distance_km: Option<f64>,
}

impl Cost {
    fn of(vantage: Vantage, edge: &Edge) -> Self {
        let distance_km =
            vantage.position.zip(edge.position).map(|(client, edge)| client.distance_km(edge));
        Self {
            carrier: carrier_cost(vantage.carrier, edge.carrier),
            distance: match (distance_km, vantage.position) {
                (Some(km), _) => (km / KM_PER_PP).min(DISTANCE_MAX_PP),
                (None, Some(_)) => DISTANCE_UNKNOWN_PP,
                // All edges are equally far from nowhere.
                (None, None) => 0.0,
            },
            load: load_cost(edge.load),
            distance_km,
        }
    }
}

fn carrier_cost(client: Carrier, edge: Carrier) -> f64 {
    match (client, edge) {
        // It may be the same one; two unknown ones are no more likely to be.
        (Carrier::Unknown, _) | (_, Carrier::Unknown) => BETWEEN_CARRIERS_PP,
        _ if client == edge => 0.0,
        // A cloud is connected to every carrier.
        (Carrier::Cloud, _) | (_, Carrier::Cloud) => BETWEEN_CARRIERS_PP,
        _ => OTHER_CARRIER_PP,
    }
}

/// Nothing up to [`LOAD_EASY`], then a gentle line to [`LOAD_HIGH`], then a steep one.
fn load_cost(load: f64) -> f64 {
    if load <= LOAD_EASY {
        0.0
    } else if load <= LOAD_HIGH {
        LOAD_HIGH_PP * (load - LOAD_EASY) / (LOAD_HIGH - LOAD_EASY)
    } else {
        let steep = (load - LOAD_HIGH) / (LOAD_FULL - LOAD_HIGH);
        LOAD_HIGH_PP + (LOAD_FULL_PP - LOAD_HIGH_PP) * steep.min(1.0)
    }
}

/// Costs that count as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Band(u32);

impl Band {
    fn of(cost: f64) -> Self {
        // Costs are finite, at least 0, and some tens at most.
        Self((cost / BAND_PP) as u32)
    }
}

/// An edge's place among equals in one user's order; the smaller the better.
///
/// Weighted rendezvous hashing: -ln(u) / w of a uniform u is exponentially distributed with rate w,
/// and the smallest of such values falls to each edge in proportion to its weight.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Draw(f64);

impl Draw {
    fn of(uniform: f64, weight: f64) -> Self {
        // A weight of 0 is in a standing of its own; among its like all are equal.
        Self(-uniform.ln() / if weight > 0.0 { weight } else { 1.0 })
    }
}

/// Why an edge stands where it does, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Why {
    /// Its cost.
    pub cost: Cost,
    /// What it can be given.
    pub standing: Standing,
    /// Its load, 1 being exhausted.
    pub load: f64,
}

impl Why {
    /// How the edge's carrier relates to the client's, as a word for metrics.
    pub fn carrier_match(&self) -> &'static str {
        if self.cost.carrier == 0.0 {
            "same"
        } else if self.cost.carrier < OTHER_CARRIER_PP {
            "between"
        } else {
            "other"
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.carrier_match() {
            "same" => "same carrier",
            "between" => "reached over any carrier",
            _ => "other carrier",
        })?;
        match self.cost.distance_km {
            Some(km) => write!(f, ", {km:.0} km")?,
            None => f.write_str(", distance unknown")?,
        }
        write!(f, ", load {:.0} %", self.load * 100.0)?;
        match self.standing {
            Standing::Open => Ok(()),
            Standing::Full => f.write_str(", full"),
            Standing::CutOff => f.write_str(", cut off from its upstream"),
            Standing::Draining => f.write_str(", draining"),
        }
    }
}

/// Servers of an answer at most.
pub const SERVERS_MAX: usize = 5;

/// Servers of an answer at least, where there are so many.
pub const SERVERS_MIN: usize = 3;

/// Costs closer than this are equal: the width of the near-best set in which the evaluation of
/// rankings found the least regret without running edges full.
const BAND_PP: f64 = 0.5;

/// Crossing between two carriers, which costs 1 to 10 points and several tens of milliseconds.
const OTHER_CARRIER_PP: f64 = 6.0;

/// From or to a cloud or an unknown carrier.
const BETWEEN_CARRIERS_PP: f64 = 2.0;

/// Within one carrier, a thousand kilometres (ten milliseconds there and back) cost a point.
const KM_PER_PP: f64 = 1_000.0;

/// The way costs no more than this, or the far west would have no carrier of its own.
const DISTANCE_MAX_PP: f64 = 5.0;

/// The way to an edge whose place is unknown.
const DISTANCE_UNKNOWN_PP: f64 = 2.5;

/// Load that costs nothing.
const LOAD_EASY: f64 = 0.80;

/// Load from which every client more is felt.
const LOAD_HIGH: f64 = 0.92;

/// Load at which an edge gets no more clients.
pub const LOAD_FULL: f64 = 0.98;

/// Cost of [`LOAD_HIGH`]: as far as two thousand kilometres.
const LOAD_HIGH_PP: f64 = 2.0;

/// Cost of [`LOAD_FULL`]: worse than any carrier at any distance.
const LOAD_FULL_PP: f64 = 20.0;

/// Keeps the hash of a user apart from the hash of an edge of the same name.
const USER_SEED: u64 = 1;

const _: () = assert!(SERVERS_MIN <= SERVERS_MAX && SERVERS_MIN >= 2);
// The same carrier anywhere beats another carrier next door, while neither is loaded.
const _: () = assert!(DISTANCE_MAX_PP < OTHER_CARRIER_PP);
const _: () = assert!(BETWEEN_CARRIERS_PP < OTHER_CARRIER_PP);
const _: () = assert!(LOAD_FULL_PP > OTHER_CARRIER_PP + DISTANCE_MAX_PP);
const _: () = assert!(LOAD_EASY < LOAD_HIGH && LOAD_HIGH < LOAD_FULL);

#[cfg(test)]
mod tests;
