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

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use geo_data::{Carrier, Carriers, Cell, Position};
use shared::wire::control;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::edge::Edge;
use crate::learning::{Row, View};

mod fill;
mod policy;
mod score;
mod why;

pub use self::fill::{Fill, NEAR_PP, Quota, ROOM_SHARE};
pub use self::policy::{Drained, Override, Policy, PolicyError};
pub use self::score::{Cost, Terms, prior};
pub use self::why::{Explain, Placed, Why};

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

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// What its place among equals hangs on.
    pub user: &'a [u8],
    /// Its address, for the operator's rules.
    pub address: Option<IpAddr>,
}

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

#[derive(Clone, Debug)]
struct Entry {
    edge: Arc<Edge>,
    /// The name, hashed once.
    hash: u64,
    standing: Standing,
    cost: Cost,
    terms: Terms,
    score: f64,
    weight: f64,
    reports: f64,
    event: bool,
    /// Set once the best is known.
    near: bool,
    share: f64,
}

/// One server of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    /// The edge.
    pub edge: &'a Arc<Edge>,
    /// Why it stands where it does.
    pub why: Why,
    /// The same with all terms.
    pub explain: Explain,
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
            entry.near = entry.standing == Standing::Open
                && fill::nearness(behind, conditions.near_pp) > 0.0;
            entry.share = share;
        }
        let Conditions { policy, turn, near_pp, .. } = conditions;
        Self { entries, policy: Arc::clone(policy), turn: *turn, near_pp: *near_pp }
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

    /// The servers for one user among the edges that `admits` lets pass, best first: at most
    /// [`SERVERS_MAX`], at least [`SERVERS_MIN`] where there are so many.
    pub fn choose(&self, user: &[u8], admits: impl Fn(&Edge) -> bool) -> Vec<Choice<'_>> {
        self.choose_for(&Asker { user, address: None }, admits)
    }

    /// The same for somebody whose address is known.
    pub fn choose_for(&self, asker: &Asker<'_>, admits: impl Fn(&Edge) -> bool) -> Vec<Choice<'_>> {
        let user = xxh3_64_with_seed(asker.user, USER_SEED);
        let rule = self.policy.rule(asker.address);
        let forbidden = |name: &str| rule.is_some_and(|rule| rule.forbid.contains(name));
        let zoned = !self.policy.zone_shares.is_empty();
        let zone = if zoned { self.policy.zone(user) } else { None };
        let mut placed: Vec<Candidate<'_>> = Vec::with_capacity(4 * SERVERS_MAX);
        let mut enough = Enough::default();
        for entry in &self.entries {
            // Entries are in order: behind those with shares, a few are as good as all of them.
            if entry.share == 0.0 && !zoned && rule.is_none() && enough.is_reached(entry.standing) {
                break;
            }
            if forbidden(&entry.edge.name) || !admits(&entry.edge) {
                continue;
            }
            let group = if rule.is_some_and(|rule| rule.prefer.contains(&*entry.edge.name)) {
                Group::Preferred
            } else if !zoned || self.policy.suits(&entry.edge, zone) {
                Group::Own
            } else {
                Group::Other
            };
            enough.count(entry);
            placed.push(Candidate::of(entry, group, user));
        }
        share_among_near(&mut placed, user, self.near_pp);
        spread(&mut placed);
        self.explore(&mut placed, user, &|edge: &Edge| !forbidden(&edge.name) && admits(edge));
        let best = self.entries.first().map_or(0.0, |entry| entry.score);
        placed.into_iter().map(|candidate| candidate.choice(best)).collect()
    }

    /// Puts an edge of which little is known in the place of the second or third server, for few.
    fn explore<'a>(
        &'a self,
        placed: &mut [Candidate<'a>],
        user: u64,
        admits: &impl Fn(&Edge) -> bool,
    ) {
        let dice = xxh3_64_with_seed(&user.to_le_bytes(), EXPLORE_SEED ^ self.turn);
        if unit(dice >> 32) >= EXPLORE_SHARE || placed.len() <= SERVERS_MIN {
            return;
        }
        let own = placed[0].place;
        let fits = |entry: &&Entry| {
            let there = placed.iter().any(|candidate| candidate.entry.edge.name == entry.edge.name);
            !there && admits(&entry.edge) && own.standing == entry.standing
        };
        let unknown: Vec<&Entry> = self.unexplored().filter(fits).collect();
        if unknown.is_empty() || own.group != Group::Own || !self.policy.zone_shares.is_empty() {
            return;
        }
        let entry = unknown[(dice & 0xffff) as usize % unknown.len()];
        let at = 1 + (dice >> 16 & 1) as usize;
        let replaced = placed[at];
        let two = [varied(placed, carrier), varied(placed, site)];
        placed[at] = Candidate { entry, why: Some(Placed::Exploration), ..replaced };
        if [varied(placed, carrier), varied(placed, site)] != two {
            placed[at] = replaced;
        }
    }
}

impl Entry {
    /// Every edge that may be told to the cell, the best first.
    fn all<'a>(
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
        let named =
            |edge: &Edge| policy.overrides.iter().any(|rule| rule.prefer.contains(&*edge.name));
        let mut of_carrier: BTreeMap<Carrier, usize> = BTreeMap::new();
        let mut of_zone: BTreeMap<String, usize> = BTreeMap::new();
        let mut kept = 0;
        entries.retain(|entry| {
            let carrier = of_carrier.entry(entry.edge.carrier).or_default();
            let mut keeps = kept < ENTRIES_MAX || *carrier < SERVERS_MAX || named(&entry.edge);
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

    fn order(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        let by_name = || self.edge.name.cmp(&other.edge.name);
        self.standing.cmp(&other.standing).then(by_score).then_with(by_name)
    }
}

/// Whether those seen suffice for any answer, given that the rest is worse.
#[derive(Default)]
struct Enough {
    unshared: usize,
    first: Option<Standing>,
    of: Option<(Carrier, Arc<str>)>,
    two_carriers: bool,
    two_sites: bool,
}

impl Enough {
    fn count(&mut self, entry: &Entry) {
        self.first.get_or_insert(entry.standing);
        self.unshared += usize::from(entry.share == 0.0);
        match &self.of {
            None => self.of = Some((entry.edge.carrier, Arc::clone(&entry.edge.site))),
            Some((carrier, site)) => {
                self.two_carriers |= *carrier != entry.edge.carrier;
                self.two_sites |= *site != entry.edge.site;
            }
        }
    }

    fn is_reached(&self, standing: Standing) -> bool {
        // Of the next standing there is need only where the first has too few.
        let plenty = self.unshared >= 2 * SERVERS_MAX;
        plenty && self.two_carriers && (self.two_sites || self.first != Some(standing))
    }
}

/// An entry in the order of one user.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    place: Place<'a>,
    entry: &'a Entry,
    /// What brought it here, other than its place.
    why: Option<Placed>,
}

impl<'a> Candidate<'a> {
    fn of(entry: &'a Entry, group: Group, user: u64) -> Self {
        let tier = if entry.share > 0.0 {
            Tier::Drawn(draw(user, entry.hash, entry.share))
        } else {
            Tier::Scored(entry.score)
        };
        let name = Reverse(&*entry.edge.name);
        let place = Place { standing: entry.standing, group, tier, name };
        Self { place, entry, why: None }
    }

    fn choice(&self, best: f64) -> Choice<'a> {
        let Entry { edge, cost, standing, .. } = self.entry;
        Choice {
            edge,
            why: Why { cost: *cost, standing: *standing, load: edge.load },
            explain: Explain::of(self.entry, best, self.placed()),
        }
    }

    fn placed(&self) -> Placed {
        if let Some(why) = self.why {
            return why;
        }
        match (self.place.standing, self.place.group, self.place.tier) {
            (Standing::Open, Group::Preferred, _) => Placed::Preferred,
            (Standing::Open, Group::Other, _) => Placed::OtherZone,
            (Standing::Open, Group::Own, Tier::Drawn(_)) if self.entry.near => Placed::NearBest,
            (Standing::Open, Group::Own, Tier::Drawn(_)) => Placed::Spill,
            (Standing::Open, Group::Own, Tier::Scored(_)) => Placed::Next,
            _ => Placed::LastResort,
        }
    }
}

/// Where the shares say nothing of those who are left (another zone, a kind of client that few edges serve),
/// the near-best of them share the users all the same.
fn share_among_near(placed: &mut [Candidate<'_>], user: u64, near_pp: f64) {
    let first =
        placed.iter().map(|candidate| (candidate.place.standing, candidate.place.group)).min();
    let Some(first) = first else { return };
    let of_first = |c: &&mut Candidate<'_>| (c.place.standing, c.place.group) == first;
    let drawn = placed.iter_mut().filter(of_first).any(|c| matches!(c.place.tier, Tier::Drawn(_)));
    if drawn {
        return;
    }
    let scores = placed.iter_mut().filter(of_first).map(|c| c.entry.score);
    let best = scores.fold(f64::INFINITY, f64::min);
    for candidate in placed.iter_mut().filter(of_first) {
        let near = fill::nearness(candidate.entry.score - best, near_pp);
        if near > 0.0 {
            let weight = if candidate.entry.weight > 0.0 { candidate.entry.weight } else { 1.0 };
            candidate.place.tier = Tier::Drawn(draw(user, candidate.entry.hash, near * weight));
        }
    }
}

/// Weighted rendezvous hashing: -ln(u) / w of a uniform u is exponentially distributed with rate w,
/// and the smallest of such values falls to each of those that are drawn in proportion to its weight.
fn draw(user: u64, of: u64, weight: f64) -> f64 {
    let bits = xxh3_64_with_seed(&user.to_le_bytes(), of);
    -unit(bits >> 32).ln() / weight
}

/// Where the clients of an edge may go instead: the listeners of other edges that take new clients, the
/// best first, each with its share of those who are told. The better an edge is for the clients of this one
/// and the more room it has, the more are told of it; none gets all unless it is alone.
pub fn elsewhere<'a>(
    of: &Edge,
    edges: impl IntoIterator<Item = &'a Arc<Edge>>,
    conditions: &Conditions,
) -> Vec<control::Alternative> {
    let others = edges.into_iter().filter(|edge| edge.name != of.name);
    let vantage = Vantage { carrier: of.carrier, position: of.position, ..Vantage::default() };
    let cell = Cell { region: of.region, carrier: of.carrier };
    let mut entries = Entry::all(vantage, cell, others, conditions);
    entries.retain(|entry| entry.standing == Standing::Open);
    // Who is in a zone with a share of its own stays in it, and nobody else is sent there.
    let zone = Some(of.zone.as_str()).filter(|zone| conditions.policy.takes_users(zone));
    let suits = |entry: &Entry| conditions.policy.suits(&entry.edge, zone);
    if !conditions.policy.zone_shares.is_empty() && entries.iter().any(suits) {
        entries.retain(suits);
    }
    let mut shared: Vec<(f64, &Entry)> = fill::spread(&entries).into_iter().zip(&entries).collect();
    shared.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let told = shared.iter().take(SERVERS_MAX).enumerate().flat_map(|(at, (share, entry))| {
        // In steps, so that not every change of a load is told to every edge.
        let share = (share * SHARE_STEPS).round() / SHARE_STEPS;
        // Somebody is told of the first, whatever is rounded.
        let share = if at == 0 { share.max(1.0 / SHARE_STEPS) } else { share };
        let listed = (share > 0.0).then_some(&entry.edge.endpoints).into_iter().flatten();
        listed.map(move |endpoint| {
            let endpoint = control::Endpoint {
                protocol: endpoint.transport.name().into(),
                host: endpoint.host.clone(),
                port: endpoint.port.into(),
            };
            control::Alternative { endpoint: Some(endpoint), share }
        })
    });
    told.collect()
}

/// Shortens the edges to an answer, sorted: the best, as few as possible of lesser standing, and
/// towards the end those that add a second carrier and a second site if the best have but one.
fn spread(placed: &mut Vec<Candidate<'_>>) {
    let by_place = |a: &Candidate<'_>, b: &Candidate<'_>| a.place.cmp(&b.place);
    let mut rest = Vec::new();
    if placed.len() > SERVERS_MAX {
        // Only the best are wanted in order, of hundreds.
        placed.select_nth_unstable_by(SERVERS_MAX, by_place);
        rest = placed.split_off(SERVERS_MAX);
    }
    placed.sort_by(by_place);
    let Some(best) = placed.first() else { return };
    let standing = best.place.standing;
    let of_the_best = placed.partition_point(|candidate| candidate.place.standing == standing);
    rest.extend(placed.drain(of_the_best.max(SERVERS_MIN).min(placed.len())..));
    let worst = placed.last().map(|candidate| candidate.place.standing);
    // Neither may cost the variety of the other kind that is there.
    let two_sites = varied(placed, site);
    let other = Placed::OtherCarrier;
    bring_in(placed, &rest, carrier, other, |chosen| !two_sites || varied(chosen, site));
    placed.sort_by(by_place);
    // A site of its own is no reason to name an edge of lesser standing than there are already.
    rest.retain(|candidate| Some(candidate.place.standing) <= worst);
    let two_carriers = varied(placed, carrier);
    let other = Placed::OtherSite;
    bring_in(placed, &rest, site, other, |chosen| !two_carriers || varied(chosen, carrier));
    placed.sort_by(by_place);
}

fn carrier(entry: &Entry) -> Carrier {
    entry.edge.carrier
}

fn site(entry: &Entry) -> &str {
    &entry.edge.site
}

/// Whether the chosen have more than one `key`.
fn varied<'a, K: PartialEq>(chosen: &[Candidate<'a>], key: fn(&'a Entry) -> K) -> bool {
    chosen.windows(2).any(|pair| key(pair[0].entry) != key(pair[1].entry))
}

/// If all the chosen have one `key`, adds the best of the rest with another; where there is no room
/// for it, in place of the worst chosen for which `allows` agrees, never of the first.
fn bring_in<'a, K: PartialEq>(
    chosen: &mut Vec<Candidate<'a>>,
    rest: &[Candidate<'a>],
    key: fn(&'a Entry) -> K,
    why: Placed,
    allows: impl Fn(&[Candidate<'a>]) -> bool,
) {
    let Some(first) = chosen.first() else { return };
    if varied(chosen, key) {
        return;
    }
    let only = key(first.entry);
    let others = rest.iter().filter(|candidate| key(candidate.entry) != only);
    let Some(other) = others.min_by(|a, b| a.place.cmp(&b.place)) else { return };
    let other = Candidate { why: Some(why), ..*other };
    if chosen.len() < SERVERS_MAX {
        chosen.push(other);
        return;
    }
    for at in (1..chosen.len()).rev() {
        let before = std::mem::replace(&mut chosen[at], other);
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
    group: Group,
    tier: Tier,
    /// Makes the order total.
    name: Reverse<&'a str>,
}

impl Place<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Draws and scores are never NaN: they are made from checked numbers and positive weights.
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
}

/// By the operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Preferred,
    Own,
    Other,
}

/// First those that share the cell, in an order of the user's own, then the others as they are.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Tier {
    Drawn(f64),
    Scored(f64),
}

/// 32 random bits as a number above 0 and below 1.
fn unit(bits: u64) -> f64 {
    ((bits & 0xffff_ffff) as f64 + 0.5) / 4_294_967_296.0
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
    fn of(edge: &Edge, weight: f64, cut: bool) -> Self {
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

/// Servers of an answer at most.
pub const SERVERS_MAX: usize = 5;

/// Servers of an answer at least, where there are so many.
pub const SERVERS_MIN: usize = 3;

/// Load at which an edge gets no more clients.
pub const LOAD_FULL: f64 = 0.98;

/// Of the answers, those in which the second or third server is an exploration.
pub const EXPLORE_SHARE: f64 = 0.02;

/// How much worse than the best an edge may be thought to be and still be tried.
pub const EXPLORE_PP: f64 = 2.0;

/// Edges that are explored at a time.
const EXPLORED_MAX: usize = 8;

/// An edge with so many reports is known.
const REPORTS_KNOWN: f64 = 20.0;

/// And one that so many of the cell's clients go to will be.
const SHARE_KNOWN: f64 = 0.01;

/// Edges of which a ranking is made: more than any client can be told of.
const ENTRIES_MAX: usize = 256;

/// Shares of those who are told to go elsewhere are multiples of one in so many.
const SHARE_STEPS: f64 = 20.0;

/// Keeps the hash of a user apart from the hash of an edge of the same name.
const USER_SEED: u64 = 1;

/// And from the dice of exploration.
const EXPLORE_SEED: u64 = 0x0e71_0000_0000_0000;

const _: () = assert!(SERVERS_MIN <= SERVERS_MAX && SERVERS_MIN >= 3);

#[cfg(test)]
mod tests;
