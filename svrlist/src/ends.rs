//! How sessions ended, as edges tell it: checked, counted once, and brought from networks to cells.
//!
//! An edge tells ends in numbered batches, and again what it does not know to have arrived. Edges
//! speak for themselves by their certificates, and are checked all the same: no more sessions can end
//! than the edge says have ended.
//!
//! Invariant: a batch counts once, or is refused for good; memory is bounded by [`EDGES_MAX`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use geo_data::{Cell, Databases};
use shared::wire::control;

use crate::edge::Edge;
use crate::learning::{EDGES_MAX, Ends};

/// What was taken of every edge.
#[derive(Debug, Default)]
pub struct Intake {
    edges: BTreeMap<Arc<str>, Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    session: u64,
    /// The last batch.
    number: u64,
    /// Ends of the session's batches so far.
    ends: u64,
}

/// Ends that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndsError {
    /// A batch is too large.
    #[error("{0} networks are told at once, must be at most {PREFIXES_MAX}")]
    Prefixes(usize),
    /// A network is none.
    #[error("a network has {0} bytes, must have 3 (IPv4), 6 (IPv6) or none")]
    Prefix(usize),
    /// More ended than can have.
    #[error("{told} ends are told, must be at most the {ended} sessions that have ended")]
    TooMany {
        /// By all batches of the edge's process.
        told: u64,
        /// By its report.
        ended: u64,
    },
    /// There are too many edges.
    #[error("ends of {EDGES_MAX} edges are taken already")]
    Edges,
}

impl Intake {
    /// An edge tells ends. Answers those of each cell; none if they were told before.
    pub fn handle_ends(
        &mut self,
        edge: &Edge,
        told: &control::Ends,
        places: &Databases,
    ) -> Result<BTreeMap<Cell, Ends>, EndsError> {
        if !self.edges.contains_key(&edge.name) && self.edges.len() >= EDGES_MAX {
            return Err(EndsError::Edges);
        }
        let taken = self.edges.entry(Arc::clone(&edge.name)).or_default();
        if taken.session != told.session {
            *taken = Taken { session: told.session, ..Taken::default() };
        }
        if told.number <= taken.number {
            return Ok(BTreeMap::new());
        }
        taken.number = told.number;
        if told.prefixes.len() > PREFIXES_MAX {
            return Err(EndsError::Prefixes(told.prefixes.len()));
        }
        let mut cells: BTreeMap<Cell, Ends> = BTreeMap::new();
        let mut sum = taken.ends;
        for prefix in &told.prefixes {
            let cell = match address(&prefix.prefix)? {
                Some(address) => places.lookup(address).cell(),
                None => Cell::default(),
            };
            let control::PrefixEnds { normal, reset, time_out, protocol, ours, .. } = *prefix;
            let ends = cells.entry(cell).or_default();
            for (count, more) in [
                (&mut ends.normal, normal),
                (&mut ends.reset, reset),
                (&mut ends.time_out, time_out),
                (&mut ends.protocol, protocol),
                (&mut ends.ours, ours),
            ] {
                *count += u64::from(more); // thousands of 32 bits each
                sum = sum.saturating_add(more.into());
            }
        }
        if sum > edge.ended {
            return Err(EndsError::TooMany { told: sum, ended: edge.ended });
        }
        taken.ends = sum;
        Ok(cells)
    }
}

/// An address of a network; `None` for those that are told together.
fn address(prefix: &[u8]) -> Result<Option<IpAddr>, EndsError> {
    Ok(match *prefix {
        [] => None,
        [a, b, c] => Some(Ipv4Addr::new(a, b, c, 1).into()),
        [a, b, c, d, e, f] => {
            let mut octets = [0; 16];
            octets[..6].copy_from_slice(&[a, b, c, d, e, f]);
            octets[15] = 1;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => return Err(EndsError::Prefix(prefix.len())),
    })
}

/// Networks in one batch, as edges bound it.
pub const PREFIXES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use geo_data::database::{Database, Kind};

    use super::*;
    use crate::fixture;

    /// An intake with the demo's places, and an edge of which so many sessions have ended.
    fn world(ended: u64) -> (Intake, Databases, Edge) {
        let own = Database::from_bytes(Kind::Own, "demo", geo_data::demo::database()).unwrap();
        let places = Databases { own: Some(own), ..Databases::default() };
        let edge = Edge { begun: ended, ended, ..fixture::edge("a", "110000", "telecom") };
        (Intake::default(), places, edge)
    }

    fn prefix(
        bytes: &[u8],
        [normal, reset, time_out, protocol, ours]: [u32; 5],
    ) -> control::PrefixEnds {
        let prefix = bytes.to_vec().into();
        control::PrefixEnds { prefix, normal, reset, time_out, protocol, ours }
    }

    fn batch(session: u64, number: u64, prefixes: Vec<control::PrefixEnds>) -> control::Ends {
        control::Ends { session, number, prefixes }
    }

    #[test]
    fn networks_become_cells_and_batches_count_once() {
        let (mut intake, places, edge) = world(1000);
        let first = batch(
            7,
            1,
            vec![
                prefix(&[127, 0, 3], [1, 2, 3, 4, 5]),
                prefix(&[127, 0, 2], [1, 0, 0, 0, 0]),
                prefix(&[0x20, 1, 0xd, 0xb8, 0, 0], [1, 0, 0, 0, 0]),
                prefix(&[], [1, 0, 0, 0, 0]),
            ],
        );
        let cells = intake.handle_ends(&edge, &first, &places).unwrap();
        let of = |address: &str| cells[&places.lookup(address.parse().unwrap()).cell()];
        let ends = Ends { normal: 1, reset: 2, time_out: 3, protocol: 4, ours: 5 };
        assert_eq!(of("127.0.3.99"), ends);
        assert_eq!(of("127.0.2.99").normal, 1);
        assert_eq!(cells[&Cell::default()].normal, 2, "who is nowhere is counted, too");
        // The line broke, and the edge tells it again.
        assert!(intake.handle_ends(&edge, &first, &places).unwrap().is_empty());
        let second = batch(7, 2, vec![prefix(&[127, 0, 3], [9, 0, 0, 0, 0])]);
        assert_eq!(intake.handle_ends(&edge, &second, &places).unwrap().len(), 1);
        // The edge restarts, and counts from 1 again.
        let restarted = batch(8, 1, vec![prefix(&[127, 0, 3], [9, 0, 0, 0, 0])]);
        assert_eq!(intake.handle_ends(&edge, &restarted, &places).unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let (mut intake, places, edge) = world(100);
        let mut tell = |number, prefixes: Vec<_>| {
            let told = intake.handle_ends(&edge, &batch(1, number, prefixes), &places);
            told.map(|cells| cells.len()).map_err(|error| error.to_string())
        };
        let fault = "101 ends are told, must be at most the 100 sessions that have ended";
        assert_eq!(tell(1, vec![prefix(&[127, 0, 3], [101, 0, 0, 0, 0])]), Err(fault.to_owned()));
        let all = [u32::MAX; 5];
        assert!(tell(2, vec![prefix(&[127, 0, 3], all); 2048]).is_err());
        let fault = "a network has 4 bytes, must have 3 (IPv4), 6 (IPv6) or none";
        assert_eq!(tell(3, vec![prefix(&[127, 0, 3, 1], [1; 5])]), Err(fault.to_owned()));
        let fault = "2049 networks are told at once, must be at most 2048";
        assert_eq!(tell(4, vec![prefix(&[127, 0, 3], [0; 5]); 2049]), Err(fault.to_owned()));
        // Nothing of what was refused counts.
        assert_eq!(tell(5, vec![prefix(&[127, 0, 3], [90, 10, 0, 0, 0])]), Ok(1));
        assert!(tell(6, vec![prefix(&[127, 0, 3], [1, 0, 0, 0, 0])]).is_err());
    }

    #[test]
    fn a_million_networks_are_a_few_cells() {
        let (mut intake, places, edge) = world(u64::MAX);
        let mut cells = std::collections::BTreeSet::new();
        for number in 0..489_u32 {
            let network = |n: u32| prefix(&((number * 2048 + n) << 8).to_be_bytes()[..3], [1; 5]);
            let told = batch(1, u64::from(number) + 1, (0..2048).map(network).collect());
            cells.extend(intake.handle_ends(&edge, &told, &places).unwrap().into_keys());
        }
        assert!(cells.len() < 100, "{}", cells.len());
        assert_eq!(intake.edges.len(), 1);
    }
}
