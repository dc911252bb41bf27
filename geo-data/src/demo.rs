//! The demo's place database: loopback addresses that belong to cells of Chinese cities.
//!
//! Linux answers on all of 127.0.0.0/8, so a client that binds 127.0.3.1 (or a request that a
//! trusted proxy marks so) is a mobile user in Guangzhou. `linecast up` and the tests use it.
//!
//! | network | region | carrier |
//! |---|---|---|
//! | 127.0.0.0/24, 127.0.1.0/24, ::1, the rest of 127/8 | Beijing | telecom |
//! | 127.0.2.0/24 | Shanghai | unicom |
//! | 127.0.3.0/24 | Guangzhou | mobile |
//! | 127.0.4.0/24 | Shanghai | telecom |
//! | 127.0.5.0/24 | Guangzhou | telecom |
//! | 127.0.6.0/24 | Beijing | unicom |
//! | 127.0.7.0/24 | Chengdu | mobile |
//! | 127.0.8.0/24 | Wuhan | unicom |
//! | 127.0.9.0/24 | Xi'an | telecom |
//! | 127.0.20.0/24 | Beijing | cernet |
//! | 127.0.21.0/24 | Beijing | cstnet |
//! | 127.0.22.0/24 | Beijing | drpeng |
//! | 127.0.23.0/24 | Hangzhou | cloud |
//! | 127.0.24.0/24 | Guangdong, city unknown | mobile |
//! | 127.0.25.0/24 | Hong Kong | overseas |
//! | 127.0.26.0/24 | Singapore | overseas |
//! | 127.0.27.0/24 | Harbin | unicom |
//! | 127.0.28.0/24 | Urumqi | telecom |
//! | 127.0.29.0/24 | Shenyang | unknown |

use std::time::{Duration, SystemTime};

use crate::carrier::Carrier;
use crate::region::Region;
use crate::write::{self, Entry};

/// The database's bytes, always the same; open them as [`Kind::Own`](crate::database::Kind::Own).
pub fn database() -> Vec<u8> {
    let entries: Vec<Entry> = TABLE.iter().map(entry).collect();
    let built_at = SystemTime::UNIX_EPOCH + BUILT_AT;
    // The entries are constants, and a test builds them.
    write::database(&entries, built_at).expect("the demo table can be written")
}

fn entry((network, region, carrier): &(&str, &str, Carrier)) -> Entry {
    Entry {
        network: network.parse().expect("the demo table holds networks"),
        region: Region::parse(region).expect("the demo table holds regions"),
        city_abroad: (*region == "SG").then(|| "Singapore".to_owned()),
        carrier: *carrier,
    }
}

const TABLE: &[(&str, &str, Carrier)] = &[
    ("127.0.0.0/8", "110000", Carrier::Telecom),
    ("::1/128", "110000", Carrier::Telecom),
    ("127.0.2.0/24", "310000", Carrier::Unicom),
    ("127.0.3.0/24", "440100", Carrier::Mobile),
    ("127.0.4.0/24", "310000", Carrier::Telecom),
    ("127.0.5.0/24", "440100", Carrier::Telecom),
    ("127.0.6.0/24", "110000", Carrier::Unicom),
    ("127.0.7.0/24", "510100", Carrier::Mobile),
    ("127.0.8.0/24", "420100", Carrier::Unicom),
    ("127.0.9.0/24", "610100", Carrier::Telecom),
    ("127.0.20.0/24", "110000", Carrier::Cernet),
    ("127.0.21.0/24", "110000", Carrier::Cstnet),
    ("127.0.22.0/24", "110000", Carrier::Drpeng),
    ("127.0.23.0/24", "330100", Carrier::Cloud),
    ("127.0.24.0/24", "440000", Carrier::Mobile),
    ("127.0.25.0/24", "810000", Carrier::Overseas),
    ("127.0.26.0/24", "SG", Carrier::Overseas),
    ("127.0.27.0/24", "230100", Carrier::Unicom),
    ("127.0.28.0/24", "650100", Carrier::Telecom),
    ("127.0.29.0/24", "210100", Carrier::Unknown),
];

/// The first of January 2026, so that the bytes never change.
const BUILT_AT: Duration = Duration::from_secs(1_767_225_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{Database, Kind};
    use crate::databases::Databases;

    #[test]
    fn loopback_belongs_to_cells() {
        let own = Database::from_bytes(Kind::Own, "demo", database()).unwrap();
        let databases = Databases { own: Some(own), ..Databases::default() };
        let cell = |ip: &str| databases.lookup(ip.parse().unwrap()).cell().to_string();
        assert_eq!(cell("127.0.0.1"), "110000/telecom");
        assert_eq!(cell("127.0.1.200"), "110000/telecom");
        assert_eq!(cell("::1"), "110000/telecom");
        assert_eq!(cell("127.0.2.5"), "310000/unicom");
        assert_eq!(cell("::ffff:127.0.3.1"), "440100/mobile");
        assert_eq!(cell("127.0.29.1"), "210100/unknown");
        assert_eq!(cell("8.8.8.8"), "unknown/unknown");
        let singapore = databases.lookup("127.0.26.1".parse().unwrap());
        assert_eq!(singapore.city(), Some("Singapore"));
    }
}
