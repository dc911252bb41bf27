//! What a build found: how much each source covers, where sources contradict each other, what is
//! known in the end.
//!
//! Addresses are counted, not networks: one /8 weighs more than a thousand /24.
//!
//! Invariant: an address counts once in every number that it counts in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::precedence::Decision;
use super::{Claim, Sort};
use crate::carrier::{Carrier, Carriers};
use crate::region::Region;
use crate::span::Family;

/// What a build found. Pairs are IPv4 and IPv6.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each source, in the order they were added.
    pub sources: Vec<SourceReport>,
    /// All sources together.
    pub tallies: [Tally; 2],
    /// Different records in the database.
    pub records: usize,
    /// Networks in it.
    pub networks: usize,
}

/// What one source gave.
#[derive(Clone, Debug)]
pub struct SourceReport {
    /// Its sort.
    pub sort: Sort,
    /// Its name.
    pub name: String,
    /// Networks in it.
    pub networks: [usize; 2],
    /// Those among its networks that nobody looks up: other spellings of IPv4 addresses.
    pub unreachable: usize,
    /// Addresses in them.
    pub addresses: [u128; 2],
    /// Addresses whose region it decided.
    pub regions: [u128; 2],
    /// Addresses whose carrier it decided.
    pub carriers: [u128; 2],
}

/// Addresses of one family.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Of which a source says anything.
    pub said: u128,
    /// Whose region is known.
    pub region: u128,
    /// Whose carrier is known.
    pub carrier: u128,
    /// In the mainland of China.
    pub mainland: u128,
    /// Of those: with the province known.
    pub mainland_province: u128,
    /// Of those: with the city known.
    pub mainland_city: u128,
    /// Of those: with the carrier known.
    pub mainland_carrier: u128,
    /// Reached by several carriers.
    pub multi_homed: u128,
    /// By carrier.
    pub by_carrier: BTreeMap<Carrier, u128>,
    /// In lists by carrier, and in a region outside the mainland.
    pub listed_abroad: u128,
    /// Where a City database names another region, neither of which lies in the other.
    pub city_differs: u128,
    /// Where ISP, or else ASN, names a carrier that does not list it.
    pub networks_differ: u128,
    /// In the mainland or nobody knows where, and of organisations that are no carrier we know.
    pub organisations: HashMap<Arc<str>, u128>,
    in_lists: HashMap<Carriers, u128>,
    in_regions: HashMap<(Region, Region), u128>,
}

/// Addresses that two sources of one sort both claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlap<T> {
    /// The one and the other.
    pub between: (T, T),
    /// How many.
    pub addresses: u128,
}

impl Tally {
    /// Pairs of carriers that list the same addresses, most addresses first.
    pub fn carriers_in_two_lists(&self) -> Vec<Overlap<Carrier>> {
        let mut pairs = BTreeMap::new();
        for (carriers, addresses) in &self.in_lists {
            for one in carriers.iter() {
                for other in carriers.iter().filter(|other| *other > one) {
                    *pairs.entry((one, other)).or_default() += addresses;
                }
            }
        }
        most_first(pairs)
    }

    /// Pairs of regions that list the same addresses though neither lies in the other.
    pub fn regions_in_conflict(&self) -> Vec<Overlap<Region>> {
        most_first(self.in_regions.iter().map(|(between, addresses)| (*between, *addresses)))
    }
}

fn most_first<T: Ord + Copy>(pairs: impl IntoIterator<Item = ((T, T), u128)>) -> Vec<Overlap<T>> {
    let overlap = |(between, addresses)| Overlap { between, addresses };
    let mut pairs: Vec<Overlap<T>> = pairs.into_iter().map(overlap).collect();
    pairs.sort_by_key(|pair| (std::cmp::Reverse(pair.addresses), pair.between));
    pairs
}

impl Report {
    pub(super) fn new(
        names: &[(Sort, String)],
        networks: &[[usize; 2]],
        unreachable: &[usize],
    ) -> Self {
        let sources = names.iter().zip(networks).zip(unreachable);
        let source = |((name, networks), unreachable): ((&(Sort, String), &[usize; 2]), &usize)| {
            SourceReport {
                sort: name.0,
                name: name.1.clone(),
                networks: *networks,
                unreachable: *unreachable,
                addresses: [0; 2],
                regions: [0; 2],
                carriers: [0; 2],
            }
        };
        Self { sources: sources.map(source).collect(), ..Self::default() }
    }

    pub(super) fn written(&mut self, records: usize, networks: usize) {
        (self.records, self.networks) = (records, networks);
    }

    /// Counts addresses of which the same is said.
    pub(super) fn count(
        &mut self,
        family: Family,
        addresses: u128,
        inside: &[(u8, &Claim)],
        decision: &Decision,
    ) {
        let at = family as usize;
        for (place, (_, claim)) in inside.iter().enumerate() {
            // A source that says several things of an address counts once.
            if inside[..place].iter().all(|(_, before)| before.source != claim.source) {
                self.sources[claim.source].addresses[at] += addresses;
            }
        }
        if let Some(source) = decision.region_by {
            self.sources[source].regions[at] += addresses;
        }
        if let Some(source) = decision.carrier_by {
            self.sources[source].carriers[at] += addresses;
        }
        self.tallies[at].count(addresses, inside, decision);
    }
}

impl Tally {
    fn count(&mut self, addresses: u128, inside: &[(u8, &Claim)], decision: &Decision) {
        let (region, carrier) = (decision.record.region, decision.record.carrier);
        let add = |number: &mut u128, counts: bool| {
            // One address fewer than there are is no matter; a wrap would be.
            *number = number.saturating_add(if counts { addresses } else { 0 });
        };
        let known = carrier != Carrier::Unknown;
        add(&mut self.said, true);
        add(&mut self.region, region != Region::Unknown);
        add(&mut self.carrier, known);
        add(&mut self.mainland, region.is_mainland());
        add(&mut self.mainland_province, region.is_mainland() && region.depth() > 0);
        add(&mut self.mainland_city, region.is_mainland() && region.is_city());
        add(&mut self.mainland_carrier, region.is_mainland() && known);
        add(&mut self.multi_homed, !decision.record.also.is_empty());
        add(self.by_carrier.entry(carrier).or_default(), true);

        let of = |sort| inside.iter().filter(move |(_, claim)| claim.sort == sort).map(|(_, c)| *c);
        let listed: Carriers =
            of(Sort::CarrierList).filter_map(|claim| claim.words.carrier).collect();
        if !listed.is_empty() {
            add(self.in_lists.entry(listed).or_default(), true);
            add(&mut self.listed_abroad, region != Region::Unknown && !region.is_mainland());
            let heard = |sort| of(sort).find_map(|claim| claim.words.carrier);
            let heard = heard(Sort::Isp).or_else(|| heard(Sort::Asn));
            add(&mut self.networks_differ, heard.is_some_and(|heard| !listed.contains(heard)));
        }
        let apart = |one: Region, other: Region| !one.contains(other) && !other.contains(one);
        let regions = || of(Sort::RegionList).filter_map(|claim| claim.words.region);
        let (mut conflicts, mut differs) = (Vec::new(), false);
        for (place, one) in regions().enumerate() {
            for other in regions().skip(place + 1).filter(|other| apart(one, *other)) {
                let pair = (one.min(other), one.max(other));
                if !conflicts.contains(&pair) {
                    conflicts.push(pair);
                }
            }
            differs |=
                of(Sort::City).filter_map(|claim| claim.words.region).any(|city| apart(one, city));
        }
        for pair in conflicts {
            add(self.in_regions.entry(pair).or_default(), true);
        }
        add(&mut self.city_differs, differs);
        if !known && (region == Region::Unknown || region.is_mainland()) {
            let named = inside.iter().find_map(|(_, claim)| claim.words.organisation.as_ref());
            if let Some(name) = named {
                add(self.organisations.entry(Arc::clone(name)).or_default(), true);
            }
        }
    }
}
