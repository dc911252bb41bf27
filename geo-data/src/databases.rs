//! The set of databases in use, and which one is believed when several know something.
//!
//! Precedence, first that knows wins:
//!
//! | field | order |
//! |---|---|
//! | country | own, City |
//! | region, city | own, City |
//! | carrier | own; `overseas` where the country is known and not China; ISP; ASN |
//! | position | the region's seat where the region is a division; City |
//!
//! The country outranks ISP and ASN for the carrier because a Chinese carrier's network abroad does
//! not reach its home network any better than others do.

use std::net::IpAddr;

use shared::address::normalise;

use crate::carrier::{Carrier, Carriers};
use crate::database::{Database, Facts};
use crate::place::{Found, Place, Source};
use crate::region::Country;

/// Any subset of the four kinds of database. Empty, it answers that nothing is known.
#[derive(Debug, Default)]
pub struct Databases {
    /// Our own (region, carrier) database.
    pub own: Option<Database>,
    /// GeoIP2/GeoLite2 City, Enterprise or Country.
    pub city: Option<Database>,
    /// GeoIP2 ISP.
    pub isp: Option<Database>,
    /// GeoLite2 ASN.
    pub asn: Option<Database>,
}

impl Databases {
    /// What is known of an address; IPv4 written as IPv6 (mapped, 6to4, NAT64) is looked up as
    /// IPv4. Never fails: what no database knows stays unknown.
    pub fn lookup(&self, address: IpAddr) -> Place {
        let address = normalise(address);
        let ask = |database: &Option<Database>| {
            database.as_ref().and_then(|database| database.facts(address)).unwrap_or_default()
        };
        let (own, city) = (ask(&self.own), ask(&self.city));
        // The network databases are asked only where the answer could matter.
        let networks = || [(ask(&self.isp), Source::Isp), (ask(&self.asn), Source::Asn)];
        merge(own, city, networks)
    }

    /// Records of any database that did not have its layout.
    pub fn unreadable_records(&self) -> u64 {
        let all = [&self.own, &self.city, &self.isp, &self.asn];
        all.into_iter().flatten().map(Database::unreadable_records).sum()
    }
}

fn merge(own: Facts, city: Facts, networks: impl FnOnce() -> [(Facts, Source); 2]) -> Place {
    let mut found = Found::default();

    let country = own.country.or(city.country);
    found.country = source(own.country.is_some(), city.country.is_some());

    let region = own.region.or(city.region).unwrap_or_default();
    found.region = source(own.region.is_some(), city.region.is_some());
    let city_abroad = if own.region.is_some() { own.city_abroad } else { city.city_abroad };

    let carrier = match (own.carrier, country) {
        (Some(carrier), _) => {
            found.carrier = Source::Own;
            carrier
        }
        (None, Some(country)) if country != Country::CHINA => {
            found.carrier = found.country;
            Carrier::Overseas
        }
        (None, _) => {
            let network = networks().into_iter().find(|(facts, _)| facts.carrier.is_some());
            found.carrier = network.as_ref().map_or(Source::Nowhere, |(_, source)| *source);
            network.and_then(|(facts, _)| facts.carrier).unwrap_or_default()
        }
    };

    let also = if own.carrier.is_some() { own.also.without(carrier) } else { Carriers::default() };

    let seat = region.position();
    // A City database's point counts only for a region that it was asked for, not for another one.
    let point = city.position.filter(|_| own.region.is_none() || own.region == city.region);
    found.position = match (seat, point) {
        (Some(_), _) => Source::Table,
        (None, Some(_)) => Source::City,
        (None, None) => Source::Nowhere,
    };
    Place { country, region, city_abroad, carrier, also, position: seat.or(point), found }
}

fn source(own: bool, city: bool) -> Source {
    match (own, city) {
        (true, _) => Source::Own,
        (false, true) => Source::City,
        (false, false) => Source::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;
    use crate::region::Region;

    fn facts(country: &str, region: &str, carrier: Option<Carrier>) -> Facts {
        Facts {
            country: Country::parse(country),
            region: Region::parse(region).filter(|region| *region != Region::Unknown),
            carrier,
            ..Facts::default()
        }
    }

    fn nothing() -> [(Facts, Source); 2] {
        [(Facts::default(), Source::Isp), (Facts::default(), Source::Asn)]
    }

    fn networks(isp: Option<Carrier>, asn: Option<Carrier>) -> [(Facts, Source); 2] {
        [(facts("", "", isp), Source::Isp), (facts("", "", asn), Source::Asn)]
    }

    #[test]
    fn our_own_database_comes_first() {
        let own = facts("CN", "440100", Some(Carrier::Mobile));
        let city = facts("CN", "220100", None);
        let place = merge(own, city, || networks(Some(Carrier::Telecom), None));
        assert_eq!(place.cell().to_string(), "440100/mobile");
        assert_eq!((place.found.region, place.found.carrier), (Source::Own, Source::Own));
        assert_eq!(place.found.position, Source::Table);
    }

    #[test]
    fn each_field_falls_back_on_its_own() {
        let city = facts("CN", "220100", None);
        let place = merge(Facts::default(), city, || networks(None, Some(Carrier::Unicom)));
        assert_eq!(place.cell().to_string(), "220100/unicom");
        assert_eq!((place.found.region, place.found.carrier), (Source::City, Source::Asn));

        let own = facts("", "", Some(Carrier::Cernet));
        let place = merge(own, facts("CN", "220000", None), nothing);
        assert_eq!(place.cell().to_string(), "220000/cernet");
        assert_eq!((place.found.region, place.found.carrier), (Source::City, Source::Own));
    }

    #[test]
    fn a_chinese_carrier_abroad_is_overseas() {
        let city = Facts { position: Position::new(1.35, 103.82), ..facts("SG", "SG", None) };
        let place = merge(Facts::default(), city, || networks(Some(Carrier::Telecom), None));
        assert_eq!(place.cell().to_string(), "SG/overseas");
        assert_eq!(place.found.carrier, Source::City);
        assert_eq!(place.found.position, Source::City);
    }

    #[test]
    fn no_point_of_another_region() {
        let city = Facts { position: Position::new(1.35, 103.82), ..facts("SG", "SG", None) };
        let place = merge(facts("US", "US", None), city, nothing);
        assert_eq!(place.position, None);
    }

    #[test]
    fn an_empty_set_knows_nothing() {
        let place = Databases::default().lookup("127.0.0.1".parse().unwrap());
        assert_eq!(place, Place::default());
    }
}
