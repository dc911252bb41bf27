//! Writes our own (country, region, city, carrier) database as an MMDB file.
//!
//! Records carry names for people who open the file with other tools; the reader goes by the codes
//! alone. Entries may overlap: the more specific network wins, whatever the order they come in, and
//! of two entries for one network the later one. [`packed`] is for whoever has cut them apart already.
//!
//! Invariant: the same entries and time give the same bytes.

use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use mmdb_writer::{Value, Writer};

use crate::carrier::{Carrier, Carriers};
use crate::region::Region;

/// What is known of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The addresses.
    pub network: IpNet,
    /// Where they are.
    pub region: Region,
    /// The city's name, for regions that are countries; the table names the others.
    pub city_abroad: Option<String>,
    /// Who connects them.
    pub carrier: Carrier,
}

/// Why a database could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A network cannot be stored: it lies where IPv6 stores IPv4 under another name.
    #[error("cannot store the network {network}")]
    Network {
        /// The network.
        network: IpNet,
        /// Why.
        #[source]
        source: mmdb_writer::Error,
    },
    /// The whole cannot be serialised.
    #[error("cannot serialise the database")]
    Serialise(#[source] mmdb_writer::Error),
}

/// What is known of some networks, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Where they are.
    pub region: Region,
    /// The city's name, for regions that are countries; the table names the others.
    pub city_abroad: Option<Arc<str>>,
    /// Who connects them.
    pub carrier: Carrier,
    /// Who else does.
    pub also: Carriers,
}

/// Serialises `entries`; `built_at` goes into the file's metadata.
pub fn database(entries: &[Entry], built_at: SystemTime) -> Result<Vec<u8>, WriteError> {
    let record = |entry: &Entry| Record {
        region: entry.region,
        city_abroad: entry.city_abroad.as_deref().map(Arc::from),
        carrier: entry.carrier,
        also: Carriers::default(),
    };
    let records: Vec<Record> = entries.iter().map(record).collect();
    // There are as many records as entries, and fewer than a u32 can count.
    let networks = (0_u32..).zip(entries).map(|(at, entry)| (entry.network, at));
    let mut networks: Vec<(IpNet, u32)> = networks.collect();
    // Wider networks first, so that the writer's "later wins" means "more specific wins". IPv4
    // lives at ::/96 of the tree. The sort keeps the order of entries of equal width.
    networks.sort_by_key(|(network, _)| match network {
        IpNet::V4(network) => 96 + u16::from(network.prefix_len()),
        IpNet::V6(network) => u16::from(network.prefix_len()),
    });
    packed(&records, &networks, built_at, |_| ())
}

/// Serialises networks, each with the place of its record; of two that overlap the later one wins.
/// `progress` is told now and then how many networks are in.
pub fn packed(
    records: &[Record],
    networks: &[(IpNet, u32)],
    built_at: SystemTime,
    mut progress: impl FnMut(usize),
) -> Result<Vec<u8>, WriteError> {
    let mut writer = Writer::builder(DATABASE_TYPE)
        .description(&[("en", "Linecast places: country, region, city, carrier")])
        .build_epoch(built_at)
        .build();
    let values: Vec<Value> = records.iter().map(value).collect();
    for (at, (network, record)) in networks.iter().enumerate() {
        if at % PROGRESS_EVERY == 0 {
            progress(at);
        }
        writer
            .insert_value(*network, values[*record as usize].clone())
            .map_err(|source| WriteError::Network { network: *network, source })?;
    }
    progress(networks.len());
    writer.to_bytes().map_err(WriteError::Serialise)
}

fn value(record: &Record) -> Value {
    let mut fields: Vec<(&str, Value)> = Vec::new();
    let mut put = |key, text: &str| {
        if !text.is_empty() {
            fields.push((key, Value::from(text)));
        }
    };
    if let Some(country) = record.region.country() {
        put("country", country.as_str());
        put("region", &record.region.to_string());
    }
    put("province", record.region.province().map_or("", |province| province.name));
    let city = record.region.division().map(|division| division.name);
    put("city", city.or(record.city_abroad.as_deref()).unwrap_or_default());
    put("carrier", record.carrier.as_str());
    if !record.also.is_empty() {
        let names = record.also.iter().map(|carrier| Value::from(carrier.as_str()));
        fields.push(("also", Value::Array(names.collect())));
    }
    Value::map(fields)
}

/// Networks between two words about progress.
const PROGRESS_EVERY: usize = 1 << 14;

/// What the file says it is.
const DATABASE_TYPE: &str = "Linecast-Place";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{Database, Kind};
    use crate::databases::Databases;

    fn entry(network: &str, region: &str, carrier: Carrier) -> Entry {
        let region = Region::parse(region).unwrap();
        Entry { network: network.parse().unwrap(), region, city_abroad: None, carrier }
    }

    fn open(entries: &[Entry]) -> Databases {
        let bytes = database(entries, SystemTime::UNIX_EPOCH).unwrap();
        let own = Database::from_bytes(Kind::Own, "own", bytes).unwrap();
        Databases { own: Some(own), ..Databases::default() }
    }

    #[test]
    fn the_more_specific_network_wins_in_any_order() {
        let mut entries = vec![
            entry("10.1.0.0/16", "440100", Carrier::Mobile),
            entry("10.0.0.0/8", "110000", Carrier::Telecom),
            entry("2001:250::/32", "110000", Carrier::Cernet),
        ];
        for _ in 0..entries.len() {
            let databases = open(&entries);
            let cell = |ip: &str| databases.lookup(ip.parse().unwrap()).cell().to_string();
            assert_eq!(cell("10.1.2.3"), "440100/mobile");
            assert_eq!(cell("10.2.0.1"), "110000/telecom");
            assert_eq!(cell("::ffff:10.1.2.3"), "440100/mobile");
            assert_eq!(cell("2001:250::1"), "110000/cernet");
            assert_eq!(cell("11.0.0.1"), "unknown/unknown");
            entries.rotate_left(1);
        }
    }

    #[test]
    fn the_same_entries_give_the_same_bytes() {
        let entries = [entry("10.0.0.0/8", "SG", Carrier::Overseas)];
        let write = || database(&entries, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(write(), write());
    }

    #[test]
    fn an_aliased_network_is_named() {
        let entries = [entry("2002::/16", "110000", Carrier::Telecom)];
        let error = database(&entries, SystemTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.to_string(), "cannot store the network 2002::/16");
    }
}
