//! Makes our own database out of what others know: lists of networks by carrier and by region, City,
//! ISP and ASN databases, and the operator's overrides.
//!
//! The sources contradict each other, so what is believed is written down here and nowhere else
//! ([`precedence`]). Each field is decided on its own. First that knows wins:
//!
//! | field | order |
//! |---|---|
//! | region, city | overrides; lists by region; City. City counts inside what a list says: a city of that province |
//! | carrier | overrides; lists by carrier; `overseas` where the region is known and not in the mainland; ISP; ASN |
//!
//! Within the overrides, and within the lists of one sort, the longest prefix wins. Of carriers that
//! list the very same network: cernet, cstnet, drpeng; then whom ISP, or else ASN, names of those; then
//! unicom, mobile, telecom. Of regions that do: the one that lies in the other. An address in the lists
//! of several carriers, whatever the prefixes, is multi-homed: the others are kept beside its carrier.
//!
//! Invariant: the result does not depend on the order in which sources are added.

mod precedence;
mod report;

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

pub use self::report::{Overlap, Report, SourceReport, Tally};
use crate::carrier::Carrier;
use crate::database::{Database, Kind, OpenError};
use crate::region::Region;
use crate::span::{Block, Family, Said, Unstorable, sweep};
use crate::write::Record;
use precedence::decide;

/// The sorts of sources, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// What the operator says.
    Override,
    /// Networks by carrier.
    CarrierList,
    /// Networks by region.
    RegionList,
    /// A City database.
    City,
    /// An ISP database.
    Isp,
    /// An ASN database.
    Asn,
}

/// What a source says of some networks. `None` is "nothing"; an override may also say "unknown".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    /// Where they are.
    pub region: Option<Region>,
    /// The city's name abroad.
    pub city_abroad: Option<Arc<str>>,
    /// Who connects them.
    pub carrier: Option<Carrier>,
    /// Who connects them, where that is no carrier that we know.
    pub organisation: Option<Arc<str>>,
}

/// What one source says, with which source that is.
#[derive(Clone, Debug)]
struct Claim {
    source: usize,
    sort: Sort,
    words: Words,
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done, for people.
    pub step: &'static str,
    /// How much of it was done.
    pub done: usize,
    /// Of how much.
    pub of: usize,
}

/// The sources, as they are gathered.
#[derive(Debug, Default)]
pub struct Builder {
    names: Vec<(Sort, String)>,
    counts: Vec<[usize; 2]>,
    unreachable: Vec<usize>,
    claims: Vec<Claim>,
    said: [Vec<Said<u32>>; 2],
}

/// More networks than a database may be built of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sources have more than the {NETWORKS_MAX} networks allowed")]
pub struct TooMany;

/// Why a database was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It cannot be read through.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It has too many networks.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// A database that was built, not written yet.
#[derive(Debug)]
pub struct Built {
    /// All different records.
    pub records: Vec<Record>,
    /// Networks, each apart from all others, with the place of its record.
    pub networks: Vec<(IpNet, u32)>,
    /// What it was made of.
    pub report: Report,
}

impl Builder {
    /// Adds what a source says of networks. The name, with the sort, is the source's in the report;
    /// a source may come in parts. Networks that nobody looks up, being other spellings of IPv4, are
    /// counted and left out.
    pub fn add(
        &mut self,
        sort: Sort,
        name: &str,
        words: Words,
        networks: impl IntoIterator<Item = IpNet>,
    ) -> Result<(), TooMany> {
        let source = self.source(sort, name);
        let claim = self.claim(Claim { source, sort, words });
        networks.into_iter().try_for_each(|network| self.say(claim, network))
    }

    /// Adds a City, ISP or ASN database, or one of our own as if it were a list of overrides.
    pub fn add_database(&mut self, database: &Database, name: &str) -> Result<(), AddError> {
        let sort = match database.kind() {
            Kind::Own => Sort::Override,
            Kind::City => Sort::City,
            Kind::Isp => Sort::Isp,
            Kind::Asn => Sort::Asn,
        };
        let content = database.content(name)?;
        let source = self.source(sort, name);
        let claims: Vec<u32> = content
            .facts
            .into_iter()
            .map(|facts| {
                let words = Words {
                    region: facts.region,
                    city_abroad: facts.city_abroad,
                    carrier: facts.carrier,
                    organisation: facts.organisation,
                };
                self.claim(Claim { source, sort, words })
            })
            .collect();
        for (network, at) in content.networks {
            self.say(claims[at], network)?;
        }
        Ok(())
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.said.iter().all(Vec::is_empty)
    }

    /// Decides every address. The report tells what was decided against whom.
    pub fn build(mut self, mut progress: impl FnMut(Progress)) -> Built {
        let mut records = Records::default();
        let mut networks = Vec::new();
        let mut report = Report::new(&self.names, &self.counts, &self.unreachable);
        let of = self.said.iter().map(Vec::len).sum();
        let mut done = 0;
        for (family, said) in Family::ALL.into_iter().zip(&mut self.said) {
            let claims = &self.claims;
            let mut inside: Vec<(u8, &Claim)> = Vec::new();
            let mut run: Option<(crate::span::Span, u32)> = None;
            let mut visits = 0;
            let total = said.len();
            sweep(family, said, |span, said| {
                inside.clear();
                inside.extend(
                    said.iter().map(|said| (said.block.prefix(), &claims[said.what as usize])),
                );
                let decision = decide(&inside);
                report.count(family, span.addresses(), &inside, &decision);
                let record = records.number(decision.record);
                match &mut run {
                    Some((whole, same)) if *same == record && whole.last + 1 == span.first => {
                        whole.last = span.last;
                    }
                    _ => {
                        let ended = run.replace((span, record));
                        networks.extend(cut(family, ended));
                    }
                }
                visits += 1;
                if visits % PROGRESS_EVERY == 0 {
                    // There are at most twice as many spans as networks.
                    progress(Progress {
                        step: "merging",
                        done: done + (visits / 2).min(total),
                        of,
                    });
                }
            });
            networks.extend(cut(family, run));
            done += total;
            progress(Progress { step: "merging", done, of });
        }
        // A record that knows nothing is as good as none.
        let records = records.all;
        networks.retain(|(_, record)| records[*record as usize] != Record::default());
        report.written(records.len(), networks.len());
        Built { records, networks, report }
    }

    fn source(&mut self, sort: Sort, name: &str) -> usize {
        let known = self.names.iter().position(|(known, of)| *known == sort && of == name);
        known.unwrap_or_else(|| {
            self.names.push((sort, name.to_owned()));
            self.counts.push([0; 2]);
            self.unreachable.push(0);
            self.names.len() - 1
        })
    }

    fn claim(&mut self, claim: Claim) -> u32 {
        self.claims.push(claim);
        // At most one claim a network and source, which NETWORKS_MAX bounds.
        (self.claims.len() - 1) as u32
    }

    fn say(&mut self, claim: u32, network: IpNet) -> Result<(), TooMany> {
        let source = self.claims[claim as usize].source;
        match Block::of(network) {
            Ok((family, block)) => {
                if self.said.iter().map(Vec::len).sum::<usize>() >= NETWORKS_MAX {
                    return Err(TooMany);
                }
                self.counts[source][family as usize] += 1;
                self.said[family as usize].push(Said { block, what: claim });
            }
            Err(Unstorable::Alias | Unstorable::CoversIpv4) => self.unreachable[source] += 1,
        }
        Ok(())
    }
}

/// Records, each with a number.
#[derive(Default)]
struct Records {
    all: Vec<Record>,
    numbers: HashMap<Record, u32>,
}

impl Records {
    fn number(&mut self, record: Record) -> u32 {
        if let Some(number) = self.numbers.get(&record) {
            return *number;
        }
        // At most two records a network, which NETWORKS_MAX bounds.
        let number = self.all.len() as u32;
        self.all.push(record.clone());
        self.numbers.insert(record, number);
        number
    }
}

fn cut(
    family: Family,
    run: Option<(crate::span::Span, u32)>,
) -> impl Iterator<Item = (IpNet, u32)> {
    let run = run.into_iter();
    run.flat_map(move |(span, record)| span.networks(family).map(move |network| (network, record)))
}

/// Networks of all sources together: 16 Mi, three times a full City database, or 1 GiB of them.
pub const NETWORKS_MAX: usize = 1 << 24;

/// Spans between two words about progress.
const PROGRESS_EVERY: usize = 1 << 14;

#[cfg(test)]
mod tests;
