//! Which source is believed; the order is the module's above.
//!
//! Invariant: a pure function of what is said of an address, whatever the order it is said in.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Claim, Sort};
use crate::carrier::{Carrier, Carriers};
use crate::region::Region;
use crate::write::Record;

/// What is written of an address, and whose word that was.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) record: Record,
    /// The source of the region; `None` where nothing is known.
    pub(super) region_by: Option<usize>,
    /// The source of the carrier; `None` where nothing is known, or where the region decided.
    pub(super) carrier_by: Option<usize>,
}

/// A word, with how specific its network is.
type Inside<'a> = (u8, &'a Claim);

/// Decides between all that is said of an address.
pub(super) fn decide(inside: &[Inside<'_>]) -> Decision {
    let (region, city_abroad, region_by) = region(inside);
    let (carrier, also, carrier_by) = carrier(inside, region);
    Decision { record: Record { region, city_abroad, carrier, also }, region_by, carrier_by }
}

fn region(inside: &[Inside<'_>]) -> (Region, Option<Arc<str>>, Option<usize>) {
    let says_region = |(_, claim): &&Inside<'_>| claim.words.region.is_some();
    let of = |sort| of(inside, sort).filter(says_region);
    let lies_in = |claim: &&Claim| Reverse(claim.words.region.map(Region::depth));
    let best = |sort| {
        let longest = of(sort).map(|(prefix, _)| *prefix).max()?;
        let tied = of(sort).filter(|(prefix, _)| *prefix == longest).map(|(_, claim)| *claim);
        tied.min_by_key(|claim| (lies_in(claim), claim.words.region))
    };
    let (listed, city) = (best(Sort::RegionList), best(Sort::City));
    let finer = match (listed, city) {
        (Some(listed), Some(city)) => {
            let inside = listed.words.region.zip(city.words.region);
            let finer =
                inside.is_some_and(|(outer, inner)| outer != inner && outer.contains(inner));
            Some(if finer { city } else { listed })
        }
        (listed, city) => listed.or(city),
    };
    match best(Sort::Override).or(finer) {
        Some(claim) => {
            let region = claim.words.region.unwrap_or_default();
            (region, claim.words.city_abroad.clone(), Some(claim.source))
        }
        None => (Region::Unknown, None, None),
    }
}

fn carrier(inside: &[Inside<'_>], region: Region) -> (Carrier, Carriers, Option<usize>) {
    let says_carrier = |(_, claim): &&Inside<'_>| claim.words.carrier.is_some();
    let of = |sort| of(inside, sort).filter(says_carrier);
    let alone = |claim: &Claim| {
        (claim.words.carrier.unwrap_or_default(), Carriers::default(), Some(claim.source))
    };
    let rank = |(prefix, claim): &&Inside<'_>| (*prefix, Reverse(claim.words.carrier));
    let longest = |sort| of(sort).max_by_key(rank).map(|(_, claim)| *claim);
    let abroad = region != Region::Unknown && !region.is_mainland();
    let overseas = (Carrier::Overseas, Carriers::default(), None);
    match longest(Sort::Override) {
        // Whoever is abroad is overseas to us even where nobody knows its carrier.
        Some(claim) if claim.words.carrier == Some(Carrier::Unknown) && abroad => return overseas,
        Some(claim) => return alone(claim),
        None => {}
    }
    if let Some(prefix) = of(Sort::CarrierList).map(|(prefix, _)| *prefix).max() {
        let named = |(_, claim): &Inside<'_>| claim.words.carrier;
        let all: Carriers = of(Sort::CarrierList).filter_map(named).collect();
        let tied = || of(Sort::CarrierList).filter(move |(of, _)| *of == prefix);
        let carrier = among(tied().filter_map(named).collect(), || {
            let heard = |sort| longest(sort).and_then(|claim| claim.words.carrier);
            heard(Sort::Isp).or_else(|| heard(Sort::Asn))
        });
        let by =
            tied().find(|inside| named(inside) == Some(carrier)).map(|(_, claim)| claim.source);
        return (carrier, all.without(carrier), by);
    }
    if abroad {
        return overseas;
    }
    match longest(Sort::Isp).or_else(|| longest(Sort::Asn)) {
        Some(claim) => alone(claim),
        None => (Carrier::Unknown, Carriers::default(), None),
    }
}

/// The one of several carriers that list the same network.
fn among(tied: Carriers, heard: impl FnOnce() -> Option<Carrier>) -> Carrier {
    let first = |order: &[Carrier]| order.iter().copied().find(|carrier| tied.contains(*carrier));
    if let Some(carrier) = first(&CAMPUS_FIRST) {
        return carrier;
    }
    if tied.iter().count() > 1
        && let Some(carrier) = heard().filter(|carrier| tied.contains(*carrier))
    {
        return carrier;
    }
    first(&LARGE_LAST).or_else(|| tied.iter().next()).unwrap_or_default()
}

fn of<'a, 'b>(
    inside: &'a [Inside<'b>],
    sort: Sort,
) -> impl Iterator<Item = &'a Inside<'b>> + Clone {
    inside.iter().filter(move |(_, claim)| claim.sort == sort)
}

/// Networks for one sort of people, which the large carriers list because they carry them on.
const CAMPUS_FIRST: [Carrier; 3] = [Carrier::Cernet, Carrier::Cstnet, Carrier::Drpeng];

/// The largest last: it lists most of what is not its own.
const LARGE_LAST: [Carrier; 3] = [Carrier::Unicom, Carrier::Mobile, Carrier::Telecom];
