//! An answer for one user: which servers, in which order.
//!
//! Users are drawn by the shares of the fill, each in an order of its own. The best few of that order are
//! the answer, changed as little as it takes to name two carriers and two sites; for few users, one
//! of the later places goes to an edge of which little is known.

use std::net::IpAddr;
use std::sync::Arc;

use geo_data::Carrier;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::draw::{draw, unit};
use super::entry::Entry;
use super::place::{Candidate, Enough, Group, Tier};
use super::why::{Explain, Placed, Why};
use super::{Ranking, fill};
use crate::edge::Edge;

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// What its place among equals hangs on.
    pub user: &'a [u8],
    /// Its address, for the operator's rules.
    pub address: Option<IpAddr>,
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

impl Ranking {
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
            } else if entry.suits(zone) {
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

/// Servers of an answer at most.
pub const SERVERS_MAX: usize = 5;

/// Servers of an answer at least, where there are so many.
pub const SERVERS_MIN: usize = 3;

/// Of the answers, those in which the second or third server is an exploration.
pub const EXPLORE_SHARE: f64 = 0.02;

/// Keeps the hash of a user apart from the hash of an edge of the same name.
pub(super) const USER_SEED: u64 = 1;

/// And from the dice of exploration.
const EXPLORE_SEED: u64 = 0x0e71_0000_0000_0000;

const _: () = assert!(SERVERS_MIN <= SERVERS_MAX && SERVERS_MIN >= 3);
