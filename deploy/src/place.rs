//! Places, for people to read: what is known of an address, what a database was built of, what moved
//! between two.

mod difference;
mod report;
mod table;

use std::net::IpAddr;

use geo_data::Place;

pub use self::difference::{difference, too_much};
pub use self::report::report;
pub use self::table::grouped;

/// What is known of an address, a line for each fact with the database it came from.
pub fn describe(address: IpAddr, place: &Place) -> String {
    let unknown = || "unknown".to_owned();
    let found = &place.found;
    let mut region = place.region.to_string();
    for name in [place.province(), place.city()].into_iter().flatten() {
        region.push_str(&format!(" {name}"));
    }
    let position = place.position.map_or_else(unknown, |position| {
        format!("{:.2}, {:.2}", position.latitude(), position.longitude())
    });
    let country = place.country.map_or_else(unknown, |country| country.to_string());
    let mut carrier = place.carrier.to_string();
    if !place.also.is_empty() {
        carrier.push_str(&format!(", also {}", place.also));
    }
    [
        format!("address   {address}"),
        format!("cell      {}", place.cell()),
        format!("country   {country}  (from: {})", found.country),
        format!("region    {region}  (from: {})", found.region),
        format!("carrier   {carrier}  (from: {})", found.carrier),
        format!("position  {position}  (from: {})", found.position),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use geo_data::Databases;
    use geo_data::database::{Database, Kind};

    use super::*;

    #[test]
    fn a_place_is_described_with_its_sources() {
        let demo = Database::from_bytes(Kind::Own, "demo", geo_data::demo::database()).unwrap();
        let databases = Databases { own: Some(demo), ..Databases::default() };
        let address = "127.0.3.1".parse().unwrap();
        let text = describe(address, &databases.lookup(address));
        assert!(text.contains("cell      440100/mobile\n"), "{text}");
        assert!(text.contains("country   CN  (from: own)\n"), "{text}");
        assert!(text.contains("carrier   mobile  (from: own)\n"), "{text}");
        assert!(text.contains("(from: table)"), "{text}");
        let nowhere = describe(address, &Databases::default().lookup(address));
        assert!(nowhere.contains("position  unknown  (from: nowhere)"), "{nowhere}");
    }
}
