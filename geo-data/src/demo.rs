//! The demo's place database: loopback addresses that belong to cells of Chinese cities.
//!
//! Linux answers on all of 127.0.0.0/8, so a client that binds 127.0.3.1 (or a request that a
//! trusted proxy marks so) is a mobile user in Guangzhou. `linecast up` and the tests use it.
//!
//! `demo.csv` beside this crate's manifest has them. It is a table of [`overrides`], and the database
//! is built of it as an operator's is: with `linecast place build --overrides geo-data/demo.csv`.

use std::time::{Duration, SystemTime};

use crate::build::{Builder, Sort};
use crate::overrides::{self, Met};
use crate::write;

/// The database's bytes, always the same; open them as [`Kind::Own`](crate::database::Kind::Own).
pub fn database() -> Vec<u8> {
    let mut builder = Builder::default();
    let table = overrides::read("demo.csv", TABLE, &mut Met::new());
    // The table is part of the program, and a test builds it.
    for row in table.expect("the demo's table is sound") {
        let added = builder.add(Sort::Override, "demo.csv", row.words, [row.network]);
        added.expect("the demo's table is short");
    }
    let built = builder.build(|_| ());
    let built_at = SystemTime::UNIX_EPOCH + BUILT_AT;
    let packed = write::packed(&built.records, &built.networks, built_at, |_| ());
    packed.expect("the demo's table can be written")
}

const TABLE: &[u8] = include_bytes!("../demo.csv");

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
        assert_eq!(cell("127.0.7.1"), "510100/mobile");
        assert_eq!(cell("127.0.23.1"), "330100/cloud");
        assert_eq!(cell("127.0.25.1"), "810000/overseas");
        let singapore = databases.lookup("127.0.26.1".parse().unwrap());
        assert_eq!(singapore.city(), Some("Singapore"));
    }
}
