//! Where an edge stands for one user.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use geo_data::Carrier;

use super::choose::{Choice, SERVERS_MAX};
use super::draw::draw;
use super::entry::{Entry, Standing};
use super::why::{Explain, Placed, Why};

/// An entry in the order of one user.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) place: Place<'a>,
    pub(super) entry: &'a Entry,
    /// What brought it here, other than its place.
    pub(super) why: Option<Placed>,
}

impl<'a> Candidate<'a> {
    pub(super) fn of(entry: &'a Entry, group: Group, user: u64) -> Self {
        let tier = if entry.share > 0.0 {
            Tier::Drawn(draw(user, entry.hash, entry.share))
        } else {
            Tier::Scored(entry.score)
        };
        let name = Reverse(&*entry.edge.name);
        let place = Place { standing: entry.standing, group, tier, name };
        Self { place, entry, why: None }
    }

    pub(super) fn choice(&self, best: f64) -> Choice<'a> {
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

/// Where an edge stands for one user. The order of the fields is the policy.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Place<'a> {
    pub(super) standing: Standing,
    pub(super) group: Group,
    pub(super) tier: Tier,
    /// Makes the order total.
    pub(super) name: Reverse<&'a str>,
}

impl Place<'_> {
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        // Draws and scores are never NaN: they are made from checked numbers and positive weights.
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
}

/// By the operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Preferred,
    Own,
    Other,
}

/// First those that share the cell, in an order of the user's own, then the others as they are.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Tier {
    Drawn(f64),
    Scored(f64),
}

/// Whether those seen suffice for any answer, given that the rest is worse.
#[derive(Default)]
pub(super) struct Enough {
    unshared: usize,
    first: Option<Standing>,
    of: Option<(Carrier, Arc<str>)>,
    two_carriers: bool,
    two_sites: bool,
}

impl Enough {
    pub(super) fn count(&mut self, entry: &Entry) {
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

    pub(super) fn is_reached(&self, standing: Standing) -> bool {
        // Of the next standing there is need only where the first has too few.
        let plenty = self.unshared >= 2 * SERVERS_MAX;
        plenty && self.two_carriers && (self.two_sites || self.first != Some(standing))
    }
}
