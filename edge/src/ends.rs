//! How sessions ended, by the networks their clients are in, until every svrlist has taken it.
//!
//! A shard notes ends in a [`Table`] of its own; what it holds goes into an [`Outbox`] for each svrlist,
//! which tells it in numbered [`Batch`]es. A batch is told again, unchanged, by every new line until the
//! svrlist says that it took it, and nothing else is told before that: so each end counts once at each
//! svrlist, whatever happens to lines.
//!
//! Invariant: a table holds at most [`PREFIXES_MAX`] prefixes; ends of others are counted together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

use bytes::Bytes;
use shared::address;
use shared::wire::control;

use crate::session::Blame;

/// The network of a client: /24 of IPv4 or /48 of IPv6, or all others together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Prefix {
    Others,
    V4([u8; 3]),
    V6([u8; 6]),
}

/// Ends of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    normal: u32,
    reset: u32,
    time_out: u32,
    protocol: u32,
    ours: u32,
}

/// Ends by prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    prefixes: BTreeMap<Prefix, Counts>,
}

/// What one svrlist has not been told, or has not taken.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    waiting: Table,
    /// The batch that was told and not taken, and whether by the line that is open.
    told: Option<(Batch, bool)>,
    /// How many batches there were.
    number: u64,
    /// Where the last batch ended, so that all prefixes have their turn.
    after: Option<Prefix>,
}

/// What is told at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Counts up from 1.
    pub number: u64,
    /// At most [`BATCH_MAX`].
    pub prefixes: Vec<control::PrefixEnds>,
}

impl Table {
    /// A session of a client at `address` ended.
    pub fn note(&mut self, address: IpAddr, blame: Blame) {
        let mut counts = Counts::default();
        match blame {
            Blame::Left | Blame::Order => counts.normal = 1,
            Blame::Network => counts.reset = 1,
            Blame::Silence => counts.time_out = 1,
            Blame::Peer => counts.protocol = 1,
            Blame::Us => counts.ours = 1,
        }
        self.add(Prefix::of(address), counts);
    }

    /// Takes all of another table.
    pub fn merge(&mut self, other: &Self) {
        for (prefix, counts) in &other.prefixes {
            self.add(*prefix, *counts);
        }
    }

    /// Whether nothing ended.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    fn add(&mut self, prefix: Prefix, counts: Counts) {
        let known = self.prefixes.len() < PREFIXES_MAX || self.prefixes.contains_key(&prefix);
        let prefix = if known { prefix } else { Prefix::Others };
        self.prefixes.entry(prefix).or_default().add(counts);
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        let Self { normal, reset, time_out, protocol, ours } = self;
        for (count, more) in [
            (normal, other.normal),
            (reset, other.reset),
            (time_out, other.time_out),
            (protocol, other.protocol),
            (ours, other.ours),
        ] {
            *count = count.saturating_add(more);
        }
    }
}

impl Prefix {
    fn of(address: IpAddr) -> Self {
        match address::canonical(address) {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Others => &[],
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }
}

impl Outbox {
    /// More sessions ended.
    pub fn handle_ends(&mut self, ends: &Table) {
        self.waiting.merge(ends);
    }

    /// A new line to the svrlist is open: what was told by others may not have arrived.
    pub fn handle_line(&mut self) {
        if let Some((_, told)) = &mut self.told {
            *told = false;
        }
    }

    /// The svrlist has taken a batch.
    pub fn handle_taken(&mut self, number: u64) {
        self.told.take_if(|(batch, _)| batch.number == number);
    }

    /// What is to be told by the line that is open, if anything.
    pub fn poll_batch(&mut self) -> Option<Batch> {
        if let Some((batch, told)) = &mut self.told {
            return (!std::mem::replace(told, true)).then(|| batch.clone());
        }
        let mut prefixes = Vec::new();
        while prefixes.len() < BATCH_MAX
            && let Some((prefix, counts)) = self.take_next()
        {
            let Counts { normal, reset, time_out, protocol, ours } = counts;
            let prefix = Bytes::copy_from_slice(prefix.bytes());
            prefixes.push(control::PrefixEnds { prefix, normal, reset, time_out, protocol, ours });
        }
        if prefixes.is_empty() {
            return None;
        }
        self.number += 1;
        let batch = Batch { number: self.number, prefixes };
        self.told = Some((batch.clone(), true));
        Some(batch)
    }

    /// The next prefix after the last one told, round and round.
    fn take_next(&mut self) -> Option<(Prefix, Counts)> {
        let prefixes = &mut self.waiting.prefixes;
        let rest = (self.after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let next = prefixes.range(rest).next().or_else(|| prefixes.iter().next());
        let prefix = *next?.0;
        self.after = Some(prefix);
        prefixes.remove_entry(&prefix)
    }
}

/// Prefixes whose ends are told apart, about 50 bytes each: 3 MiB for each svrlist at most.
pub const PREFIXES_MAX: usize = 1 << 16;

/// Prefixes that are told in one report: at most 80 KiB.
pub const BATCH_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn table(ends: &[(&str, Blame)]) -> Table {
        let mut table = Table::default();
        for (at, blame) in ends {
            table.note(address(at), *blame);
        }
        table
    }

    /// Prefix, then normal, reset, time-out, protocol, ours.
    fn rows(batch: &Batch) -> Vec<(Vec<u8>, [u32; 5])> {
        let row = |p: &control::PrefixEnds| {
            (p.prefix.to_vec(), [p.normal, p.reset, p.time_out, p.protocol, p.ours])
        };
        batch.prefixes.iter().map(row).collect()
    }

    fn sum(batch: &Batch) -> u32 {
        rows(batch).iter().map(|(_, counts)| counts.iter().sum::<u32>()).sum()
    }

    #[test]
    fn ends_are_counted_by_kind_and_network() {
        let mut outbox = Outbox::default();
        outbox.handle_ends(&table(&[
            ("10.0.0.1", Blame::Left),
            ("10.0.0.2", Blame::Order),
            ("10.0.0.255", Blame::Network),
            ("::ffff:10.0.1.1", Blame::Silence),
            ("10.0.1.2", Blame::Peer),
            ("2001:db8:1:2::1", Blame::Us),
            ("2001:db8:1:3::1", Blame::Us),
        ]));
        let batch = outbox.poll_batch().unwrap();
        assert_eq!(
            rows(&batch),
            [
                (vec![10, 0, 0], [2, 1, 0, 0, 0]),
                (vec![10, 0, 1], [0, 0, 1, 1, 0]),
                (vec![0x20, 0x01, 0x0d, 0xb8, 0, 1], [0, 0, 0, 0, 2]),
            ]
        );
        outbox.handle_taken(batch.number);
        assert_eq!(outbox.poll_batch(), None);
    }

    #[test]
    fn a_line_that_breaks_repeats_nothing_and_loses_nothing() {
        let mut outbox = Outbox::default();
        outbox.handle_ends(&table(&[("10.0.0.1", Blame::Left)]));
        let first = outbox.poll_batch().unwrap();
        outbox.handle_ends(&table(&[("10.0.0.1", Blame::Left), ("10.0.9.1", Blame::Left)]));
        assert_eq!(outbox.poll_batch(), None, "the first is on its way");
        outbox.handle_line();
        assert_eq!(outbox.poll_batch(), Some(first.clone()), "the same again");
        outbox.handle_taken(first.number + 1);
        assert_eq!(outbox.poll_batch(), None, "that was another one");
        outbox.handle_taken(first.number);
        let second = outbox.poll_batch().unwrap();
        assert_eq!((second.number, sum(&second)), (first.number + 1, 2));
        outbox.handle_taken(first.number);
        outbox.handle_line();
        assert_eq!(
            outbox.poll_batch(),
            Some(second),
            "told late, and twice, that it has the first"
        );
    }

    #[test]
    fn a_million_networks_are_bounded_and_none_is_lost() {
        let mut table = Table::default();
        for n in 0..1_000_000_u32 {
            table.note(IpAddr::from((n << 8).to_be_bytes()), Blame::Network);
        }
        assert_eq!(table.prefixes.len(), PREFIXES_MAX + 1);
        let mut outbox = Outbox::default();
        outbox.handle_ends(&table);
        outbox.handle_ends(&table);
        let mut told = 0;
        while let Some(batch) = outbox.poll_batch() {
            assert!(batch.prefixes.len() <= BATCH_MAX);
            told += sum(&batch);
            outbox.handle_taken(batch.number);
        }
        assert_eq!(told, 2_000_000);
    }

    #[test]
    fn every_network_has_its_turn() {
        let all = |n: u32| IpAddr::from((n << 8).to_be_bytes());
        let mut outbox = Outbox::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let mut table = Table::default();
            (0..3 * BATCH_MAX as u32).for_each(|n| table.note(all(n), Blame::Left));
            outbox.handle_ends(&table);
            let batch = outbox.poll_batch().unwrap();
            seen.extend(batch.prefixes.iter().map(|p| p.prefix.clone()));
            outbox.handle_taken(batch.number);
        }
        assert_eq!(seen.len(), 3 * BATCH_MAX);
    }
}
