//! Compares two of our own databases: how much of the address space moved, in which field, and from
//! where to where.
//!
//! Invariant: an address moved exactly if a lookup in the two answers differently.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::carrier::{Carrier, Carriers};
use crate::database::{Database, Facts, OpenError};
use crate::region::{Country, Region};
use crate::span::{Block, Family, Said, sweep};

/// What moved between two databases.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// IPv4 and IPv6.
    pub families: [Moved; 2],
}

/// What moved in one family, in addresses.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Of which either database knows anything.
    pub known: u128,
    /// With a difference in any field.
    pub moved: u128,
    /// With another country.
    pub country: u128,
    /// With another region.
    pub region: u128,
    /// With another city abroad.
    pub city: u128,
    /// With another carrier.
    pub carrier: u128,
    /// With other carriers beside it.
    pub also: u128,
    /// From where to where, most addresses first.
    pub moves: Vec<Move>,
}

/// Addresses that moved together.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// What the first database says.
    pub from: Spot,
    /// What the second one says.
    pub to: Spot,
    /// How many.
    pub addresses: u128,
    /// The first of them.
    pub example: IpAddr,
}

/// What a database says of an address. Prints as `440100/mobile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The country.
    pub country: Option<Country>,
    /// The region.
    pub region: Region,
    /// The city abroad.
    pub city: Option<Arc<str>>,
    /// The carrier.
    pub carrier: Carrier,
    /// Other carriers.
    pub also: Carriers,
}

impl From<&Facts> for Spot {
    fn from(facts: &Facts) -> Self {
        Self {
            country: facts.country,
            region: facts.region.unwrap_or_default(),
            city: facts.city_abroad.clone(),
            carrier: facts.carrier.unwrap_or_default(),
            also: facts.also.without(facts.carrier.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.region)?;
        if let Some(city) = &self.city {
            write!(f, " {city}")?;
        }
        write!(f, "/{}", self.carrier)?;
        for carrier in self.also.iter() {
            write!(f, "+{carrier}")?;
        }
        Ok(())
    }
}

/// Compares two databases; the names are for errors.
pub fn diff(before: (&Database, &str), after: (&Database, &str)) -> Result<Diff, OpenError> {
    let mut spots: Vec<Spot> = Vec::new();
    let mut said: [Vec<Said<(Side, usize)>>; 2] = Default::default();
    for (side, (database, name)) in [(Side::Before, before), (Side::After, after)] {
        let content = database.content(name)?;
        let base = spots.len();
        spots.extend(content.facts.iter().map(Spot::from));
        for (network, at) in content.networks {
            // What has no place of its own is never looked up.
            if let Ok((family, block)) = Block::of(network) {
                said[family as usize].push(Said { block, what: (side, base + at) });
            }
        }
    }
    let mut diff = Diff::default();
    let nowhere = Spot::default();
    for (family, said) in Family::ALL.into_iter().zip(&mut said) {
        let moved = &mut diff.families[family as usize];
        let mut moves: HashMap<(&Spot, &Spot), (u128, IpAddr)> = HashMap::new();
        sweep(family, said, |span, inside| {
            let spot = |side| {
                let said = inside.iter().rev().find(|said| said.what.0 == side);
                said.map_or(&nowhere, |said| &spots[said.what.1])
            };
            let (from, to) = (spot(Side::Before), spot(Side::After));
            let addresses = span.addresses();
            moved.count(addresses, from, to);
            if from != to {
                let entry = moves.entry((from, to)).or_insert((0, span.address(family)));
                entry.0 = entry.0.saturating_add(addresses);
            }
        });
        moved.moves = moves
            .into_iter()
            .map(|((from, to), (addresses, example))| Move {
                from: from.clone(),
                to: to.clone(),
                addresses,
                example,
            })
            .collect();
        moved.moves.sort_by(|one, other| {
            let by_size = other.addresses.cmp(&one.addresses);
            by_size.then_with(|| (&one.from, &one.to).cmp(&(&other.from, &other.to)))
        });
    }
    Ok(diff)
}

impl Moved {
    fn count(&mut self, addresses: u128, from: &Spot, to: &Spot) {
        let nowhere = Spot::default();
        let add = |number: &mut u128, counts: bool| {
            *number = number.saturating_add(if counts { addresses } else { 0 });
        };
        add(&mut self.known, *from != nowhere || *to != nowhere);
        add(&mut self.moved, from != to);
        add(&mut self.country, from.country != to.country);
        add(&mut self.region, from.region != to.region);
        add(&mut self.city, from.city != to.city);
        add(&mut self.carrier, from.carrier != to.carrier);
        add(&mut self.also, from.also != to.also);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::database::Kind;
    use crate::write::{self, Entry};

    fn database(entries: &[(&str, &str, Carrier)]) -> Database {
        let entry = |(network, region, carrier): &(&str, &str, Carrier)| Entry {
            network: network.parse().unwrap(),
            region: Region::parse(region).unwrap(),
            city_abroad: None,
            carrier: *carrier,
        };
        let entries: Vec<Entry> = entries.iter().map(entry).collect();
        let bytes = write::database(&entries, SystemTime::UNIX_EPOCH).unwrap();
        Database::from_bytes(Kind::Own, "own", bytes).unwrap()
    }

    #[test]
    fn moves_weigh_what_they_hold() {
        let before = database(&[
            ("10.0.0.0/8", "440100", Carrier::Mobile),
            ("2001:250::/32", "110000", Carrier::Cernet),
        ]);
        let after = database(&[
            ("10.0.0.0/8", "440100", Carrier::Mobile),
            ("10.1.0.0/16", "440100", Carrier::Telecom),
            ("10.2.0.0/24", "HK", Carrier::Mobile),
            ("11.0.0.0/24", "SG", Carrier::Overseas),
            ("2001:250::/32", "110000", Carrier::Cernet),
        ]);
        let found = diff((&before, "a"), (&after, "b")).unwrap();
        let [v4, v6] = &found.families;
        assert_eq!((v4.known, v4.moved), ((1 << 24) + 256, (1 << 16) + 512));
        assert_eq!((v4.carrier, v4.region, v4.country), ((1 << 16) + 256, 512, 512));
        assert_eq!((v6.known, v6.moved), (1 << 96, 0));
        let moves: Vec<String> = v4
            .moves
            .iter()
            .map(|m| format!("{} {} > {} at {}", m.addresses, m.from, m.to, m.example))
            .collect();
        assert_eq!(
            moves,
            [
                "65536 440100/mobile > 440100/telecom at 10.1.0.0",
                "256 unknown/unknown > SG/overseas at 11.0.0.0",
                "256 440100/mobile > 810000/mobile at 10.2.0.0",
            ]
        );
        let none = diff((&after, "b"), (&after, "b")).unwrap();
        assert!(none.families.iter().all(|moved| moved.moved == 0 && moved.moves.is_empty()));
    }
}
