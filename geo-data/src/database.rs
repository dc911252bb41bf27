//! One MMDB file: opened only if it is sound, then asked for facts.
//!
//! An operator's file may be truncated, half written or hostile, so opening verifies the whole
//! search tree and every record that it names before the first lookup, within limits on the size;
//! whatever is wrong is a value ([`OpenError`]), also where the parser itself should fail. A record
//! is decoded once and then remembered by its offset, since thousands of networks share each.
//!
//! Invariant: a [`Database`] that exists answers every address, without error and without panic.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use moka::sync::Cache;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::carrier::{Carrier, Carriers};
use crate::position::Position;
use crate::region::{Country, Region, prefecture, province_of_iso};

/// What a database is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Our own (country, region, city, carrier) records.
    Own,
    /// GeoIP2/GeoLite2 City layout; Enterprise and Country fit too.
    City,
    /// GeoIP2 ISP layout.
    Isp,
    /// GeoLite2 ASN layout.
    Asn,
}

impl Kind {
    /// Words of which the file's own `database_type` must contain one, in lower case.
    const fn accepted(self) -> &'static [&'static str] {
        match self {
            Self::Own => &["linecast-place"],
            Self::City => &["city", "enterprise", "country"],
            Self::Isp => &["isp", "enterprise"],
            Self::Asn => &["asn"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "place",
            Self::City => "city",
            Self::Isp => "isp",
            Self::Asn => "asn",
        })
    }
}

/// Why a database was refused. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("cannot read the {kind} database {name}")]
    Read {
        /// What it was to be used as.
        kind: Kind,
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any such database.
    #[error("the {kind} database {name} has {size} bytes, more than the {FILE_BYTES_MAX} allowed")]
    TooLarge {
        /// What it was to be used as.
        kind: Kind,
        /// The file.
        name: String,
        /// Its size.
        size: u64,
    },
    /// The content is no sound MMDB.
    #[error("the {kind} database {name} is broken")]
    Broken {
        /// What it was to be used as.
        kind: Kind,
        /// The file.
        name: String,
        /// What is wrong with it, and at which offset.
        #[source]
        source: MaxMindDbError,
    },
    /// The content made the parser panic: broken in a way it does not know.
    #[error("the {kind} database {name} is broken: the parser gave up on it")]
    Unparsable {
        /// What it was to be used as.
        kind: Kind,
        /// The file.
        name: String,
    },
    /// A sound MMDB of another kind.
    #[error("{name} is a database of type {found:?} and cannot serve as the {kind} database")]
    WrongKind {
        /// What it was to be used as.
        kind: Kind,
        /// The file.
        name: String,
        /// What the file says of itself.
        found: String,
    },
}

/// A verified MMDB, in memory.
pub struct Database {
    kind: Kind,
    reader: Reader<Vec<u8>>,
    facts: Cache<usize, Facts>,
    unreadable: AtomicU64,
}

impl Database {
    /// Verifies `bytes`; `name` appears in errors. Costs a walk over every node and record:
    /// milliseconds for our own database, a second or two for a full City file.
    pub fn from_bytes(kind: Kind, name: &str, bytes: Vec<u8>) -> Result<Self, OpenError> {
        let name = || name.to_owned();
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(OpenError::TooLarge { kind, name: name(), size: bytes.len() as u64 });
        }
        let opened = panic::catch_unwind(AssertUnwindSafe(|| {
            let reader = Reader::from_source(bytes)?;
            reader.verify()?;
            Ok(reader)
        }));
        let reader = match opened {
            Ok(Ok(reader)) => reader,
            Ok(Err(source)) => return Err(OpenError::Broken { kind, name: name(), source }),
            Err(_panic) => return Err(OpenError::Unparsable { kind, name: name() }),
        };
        let found = reader.metadata().database_type.clone();
        let lower = found.to_lowercase();
        if !kind.accepted().iter().any(|word| lower.contains(word)) {
            return Err(OpenError::WrongKind { kind, name: name(), found });
        }
        let facts = Cache::new(REMEMBERED_RECORDS_MAX);
        Ok(Self { kind, reader, facts, unreadable: AtomicU64::new(0) })
    }

    /// What the database says of an address, which must be in its normal form; `None` when it has
    /// no record of it, or one that does not have the layout of the kind.
    pub(crate) fn facts(&self, address: IpAddr) -> Option<Facts> {
        // The only error of a verified file: an IPv6 address asked of an IPv4 database.
        let record = self.reader.lookup(address).ok()?;
        let offset = record.offset()?;
        if let Some(facts) = self.facts.get(&offset) {
            return Some(facts);
        }
        let facts = self.read(&record);
        self.facts.insert(offset, facts.clone());
        Some(facts)
    }

    /// Everything that the database holds, record by record. Blocks for as long as that takes.
    pub(crate) fn content(&self, name: &str) -> Result<Content, OpenError> {
        let (kind, name) = (self.kind, || name.to_owned());
        // Iterating has assertions of its own; a file that trips one is refused like any other.
        match panic::catch_unwind(AssertUnwindSafe(|| self.networks())) {
            Ok(Ok(content)) => Ok(content),
            Ok(Err(source)) => Err(OpenError::Broken { kind, name: name(), source }),
            Err(_panic) => Err(OpenError::Unparsable { kind, name: name() }),
        }
    }

    fn networks(&self) -> Result<Content, MaxMindDbError> {
        let mut content = Content::default();
        let mut known = HashMap::new();
        for found in self.reader.networks(WithinOptions::default())? {
            let found = found?;
            let Some(offset) = found.offset() else { continue };
            let network = found.network()?;
            let Ok(network) = IpNet::new(network.ip(), network.prefix()) else { continue };
            let at = *known.entry(offset).or_insert_with(|| {
                content.facts.push(self.read(&found));
                content.facts.len() - 1
            });
            content.networks.push((network, at));
        }
        Ok(content)
    }

    fn read(&self, record: &LookupResult<'_, Vec<u8>>) -> Facts {
        let decoded = match self.kind {
            Kind::Own => decode::<OwnRecord>(record).map(OwnRecord::facts),
            Kind::City => decode::<CityRecord>(record).map(|record| record.facts()),
            Kind::Isp | Kind::Asn => decode::<NetworkRecord>(record).map(|record| record.facts()),
        };
        decoded.unwrap_or_else(|| {
            self.unreadable.fetch_add(1, Ordering::Relaxed);
            Facts::default()
        })
    }

    /// What it is asked for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many distinct records did not have the layout of the kind and were taken as empty.
    pub fn unreadable_records(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("kind", &self.kind)
            .field("type", &self.reader.metadata().database_type)
            .finish_non_exhaustive()
    }
}

fn decode<T: DeserializeOwned>(record: &LookupResult<'_, Vec<u8>>) -> Option<T> {
    record.decode::<T>().ok().flatten()
}

/// A database as a list: networks, each with the place of what is said of it among the facts.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) networks: Vec<(IpNet, usize)>,
    pub(crate) facts: Vec<Facts>,
}

/// What one record says, whatever its layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) country: Option<Country>,
    pub(crate) region: Option<Region>,
    pub(crate) city_abroad: Option<Arc<str>>,
    pub(crate) carrier: Option<Carrier>,
    pub(crate) also: Carriers,
    /// The name that no carrier is known by; `None` where the carrier is known.
    pub(crate) organisation: Option<Arc<str>>,
    pub(crate) position: Option<Position>,
}

/// The layout of our own database; [`crate::write`] writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OwnRecord {
    pub(crate) country: String,
    pub(crate) region: String,
    pub(crate) city: String,
    pub(crate) carrier: String,
    pub(crate) also: Vec<String>,
}

impl OwnRecord {
    fn facts(self) -> Facts {
        let region = Region::parse(&self.region).filter(|region| *region != Region::Unknown);
        let abroad = region.is_some_and(|region| region.division().is_none());
        Facts {
            country: Country::parse(&self.country),
            region,
            city_abroad: (abroad && !self.city.is_empty()).then(|| self.city.into()),
            carrier: Carrier::parse(&self.carrier).filter(|carrier| *carrier != Carrier::Unknown),
            also: self.also.iter().filter_map(|name| Carrier::parse(name)).collect(),
            ..Facts::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CityRecord {
    country: Named,
    subdivisions: Vec<Named>,
    city: Named,
    location: Location,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    iso_code: String,
    names: Names,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    en: String,
    #[serde(rename = "zh-CN")]
    zh: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl CityRecord {
    fn facts(&self) -> Facts {
        let country = Country::parse(&self.country.iso_code);
        let region = match country {
            Some(Country::CHINA) => Some(self.division()),
            Some(country) => Some(Region::of_country(country)),
            None => None,
        };
        let position = || Position::new(self.location.latitude?, self.location.longitude?);
        let city = &self.city.names.en;
        let abroad = country.is_some_and(|country| country != Country::CHINA);
        Facts {
            country,
            region,
            city_abroad: (abroad && !city.is_empty()).then(|| city.as_str().into()),
            position: position(),
            ..Facts::default()
        }
    }

    /// The finest division of China that the record names.
    fn division(&self) -> Region {
        let named = self.subdivisions.first().and_then(|first| province_of_iso(&first.iso_code));
        let Some(province) = named else { return Region::of_country(Country::CHINA) };
        let names = [self.city.names.zh.as_str(), self.city.names.en.as_str()];
        Region::Division(prefecture(province, &names).unwrap_or(province))
    }
}

/// ISP and ASN databases: the latter have the last two fields only.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NetworkRecord {
    isp: String,
    organization: String,
    autonomous_system_number: u32,
    autonomous_system_organization: String,
}

impl NetworkRecord {
    /// The number is the surest sign; then the names, from what the subscriber sees to the
    /// registry's.
    fn facts(&self) -> Facts {
        let names = [&self.isp, &self.organization, &self.autonomous_system_organization];
        let carrier = Carrier::of_autonomous_system(self.autonomous_system_number)
            .or_else(|| names.into_iter().find_map(|name| Carrier::of_organisation(name)));
        let named = || names.into_iter().find(|name| !name.is_empty());
        let numbered = || format!("AS{}", self.autonomous_system_number);
        let organisation = || named().map_or_else(numbered, String::clone).into();
        let organisation = carrier.is_none().then(organisation);
        Facts { carrier, organisation, ..Facts::default() }
    }
}

/// The largest file that is read: ten times a full City database.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Distinct records remembered in decoded form: 64 Ki × about 100 bytes = 6 MiB at most.
const REMEMBERED_RECORDS_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: Kind, bytes: &[u8]) -> OpenError {
        Database::from_bytes(kind, "test.mmdb", bytes.to_vec()).unwrap_err()
    }

    #[test]
    fn what_is_no_database_is_named() {
        for bytes in [&b""[..], b"hello", b"\xab\xcd\xefMaxMind.com", &[0; 4096]] {
            let error = refused(Kind::City, bytes);
            assert!(matches!(error, OpenError::Broken { .. }), "{error:?}");
            assert!(error.to_string().contains("test.mmdb"));
        }
    }

    #[test]
    fn a_database_of_another_kind_is_refused() {
        let error = refused(Kind::City, &crate::demo::database());
        assert_eq!(
            error.to_string(),
            "test.mmdb is a database of type \"Linecast-Place\" and cannot serve as the city \
             database"
        );
    }

    #[test]
    fn truncated_anywhere_is_refused_or_answers() {
        let whole = crate::demo::database();
        for length in 0..whole.len() {
            if let Ok(database) = Database::from_bytes(Kind::Own, "cut", whole[..length].to_vec()) {
                database.facts("127.0.3.7".parse().unwrap());
            }
        }
    }

    #[test]
    fn any_byte_changed_is_refused_or_answers() {
        let whole = crate::demo::database();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            if let Ok(database) = Database::from_bytes(Kind::Own, "changed", bytes) {
                for address in ["127.0.3.7", "127.0.26.1", "::1", "2001:db8::1"] {
                    database.facts(address.parse().unwrap());
                }
            }
        }
    }

    #[test]
    fn the_number_outranks_the_names() {
        let record = NetworkRecord {
            isp: "China Mobile".to_owned(),
            autonomous_system_number: 4837,
            ..NetworkRecord::default()
        };
        assert_eq!(record.facts().carrier, Some(Carrier::Unicom));
    }
}
