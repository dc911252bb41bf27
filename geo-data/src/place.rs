//! What is known of an address: a [`Place`], and the [`Cell`] that it belongs to.
//!
//! Each field of a place says which database it came from, because an operator who sees a client in
//! the wrong city asks exactly that.

use std::fmt;
use std::sync::Arc;

use crate::carrier::{Carrier, Carriers};
use crate::position::Position;
use crate::region::{Country, Region};

/// What the databases say of one address. Unknown fields are unknown, never a guess.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// The country.
    pub country: Option<Country>,
    /// The division of China, or the country elsewhere.
    pub region: Region,
    /// The city's name where the table of divisions has none: outside the mainland.
    pub city_abroad: Option<Arc<str>>,
    /// The carrier.
    pub carrier: Carrier,
    /// Other carriers that the address is reached by as well: it is multi-homed.
    pub also: Carriers,
    /// Where about: the region's seat in China, a database's point elsewhere.
    pub position: Option<Position>,
    /// Where each of the above came from.
    pub found: Found,
}

impl Place {
    /// The group of clients that is ranked and measured as one.
    pub fn cell(&self) -> Cell {
        Cell { region: self.region, carrier: self.carrier }
    }

    /// The city's name, as well as it is known: Chinese for divisions below the province.
    pub fn city(&self) -> Option<&str> {
        match self.region.division() {
            Some(division) if self.region.is_city() => Some(division.name),
            Some(_) | None => self.city_abroad.as_deref(),
        }
    }

    /// The province's name in Chinese; `None` abroad, and where only the country is known.
    pub fn province(&self) -> Option<&'static str> {
        let province = self.region.province()?;
        (Region::Division(province.code) != Region::of_country(Country::CHINA))
            .then_some(province.name)
    }
}

/// Which database each field of a [`Place`] came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Source of the country.
    pub country: Source,
    /// Source of the region and the city.
    pub region: Source,
    /// Source of the carrier.
    pub carrier: Source,
    /// Source of the position.
    pub position: Source,
}

/// Where a fact came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Our own (region, carrier) database.
    Own,
    /// A City database.
    City,
    /// An ISP database.
    Isp,
    /// An ASN database.
    Asn,
    /// The built-in table of divisions, by the region.
    Table,
    /// Nowhere.
    #[default]
    Nowhere,
}

impl Source {
    /// The name printed in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::City => "city",
            Self::Isp => "isp",
            Self::Asn => "asn",
            Self::Table => "table",
            Self::Nowhere => "nowhere",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A group of clients: one region, one carrier. Prints as `440100/mobile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Where they are.
    pub region: Region,
    /// Who connects them.
    pub carrier: Carrier,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.carrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(region: &str) -> Place {
        Place { region: Region::parse(region).unwrap(), ..Place::default() }
    }

    #[test]
    fn names_of_cities_and_provinces() {
        assert_eq!(place("440100").city(), Some("广州市"));
        assert_eq!(place("440100").province(), Some("广东省"));
        assert_eq!(place("440000").city(), None);
        assert_eq!(place("110000").city(), Some("北京市"));
        assert_eq!(place("100000").province(), None);
        assert_eq!(place("SG").province(), None);
        let abroad = Place { city_abroad: Some("Singapore".into()), ..place("SG") };
        assert_eq!(abroad.city(), Some("Singapore"));
    }

    #[test]
    fn a_cell_prints_both_halves() {
        let cell = Place { carrier: Carrier::Mobile, ..place("440100") }.cell();
        assert_eq!(cell.to_string(), "440100/mobile");
        assert_eq!(Cell::default().to_string(), "unknown/unknown");
    }
}
