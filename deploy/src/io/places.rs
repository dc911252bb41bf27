//! `linecast place lookup`: opens databases and asks them.

use std::net::IpAddr;

use geo_data::Databases;
use geo_data::database::{Database, Kind, OpenError};
use geo_data::io::Paths;

use crate::place::describe;

/// What the databases know of an address; the demo's own database where none is named.
pub fn lookup(address: IpAddr, paths: &Paths) -> Result<String, OpenError> {
    let databases = if *paths == Paths::default() {
        let demo = Database::from_bytes(Kind::Own, "demo", geo_data::demo::database())?;
        Databases { own: Some(demo), ..Databases::default() }
    } else {
        paths.open()?
    };
    Ok(describe(address, &databases.lookup(address)))
}
