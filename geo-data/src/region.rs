//! Regions: where a client or an edge is, as a value that compares, hashes and copies.
//!
//! In China a region is an administrative division (province, or prefecture where it is known),
//! named by its six-digit code; anywhere else it is the country. The table of divisions with names
//! and seats is `regions.csv` beside this crate's manifest, part of the binary.
//!
//! Invariant: a place has one spelling. `110100` (Beijing's urban area) and `110000` (Beijing) are
//! the same region, and a code that the table lacks becomes its province.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use crate::position::Position;

/// A region of the world, as fine as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// A division of China by its canonical code, for example 440100 for Guangzhou.
    Division(DivisionCode),
    /// A country outside the mainland.
    Country(Country),
    /// Nothing is known.
    #[default]
    Unknown,
}

impl Region {
    /// Reads what [`Display`](fmt::Display) prints: six digits, two letters of a country, or
    /// `unknown`; `None` for anything else and for codes of no known province.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "unknown" {
            return Some(Self::Unknown);
        }
        if text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return DivisionCode::new(text.parse().ok()?).map(Self::Division);
        }
        Country::parse(text).map(Self::of_country)
    }

    /// The region of a country when no more is known; Hong Kong, Macao and Taiwan have divisions.
    pub fn of_country(country: Country) -> Self {
        let code = match country.as_str() {
            "CN" => 100_000,
            "HK" => 810_000,
            "MO" => 820_000,
            "TW" => 710_000,
            _ => return Self::Country(country),
        };
        DivisionCode::new(code).map_or(Self::Country(country), Self::Division)
    }

    /// The division's row of the table; `None` for countries and the unknown.
    pub fn division(self) -> Option<&'static Division> {
        match self {
            Self::Division(code) => Some(code.division()),
            Self::Country(_) | Self::Unknown => None,
        }
    }

    /// The province's row of the table; the division itself where that is a province.
    pub fn province(self) -> Option<&'static Division> {
        match self {
            Self::Division(code) => table().by_code.get(&code.province()),
            Self::Country(_) | Self::Unknown => None,
        }
    }

    /// Where the region's seat is; `None` for other countries and for China as a whole, whose
    /// middle says nothing about a client.
    pub fn position(self) -> Option<Position> {
        self.division().filter(|division| division.code.0 != WHOLE_COUNTRY).map(|d| d.position)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Division(code) => write!(f, "{:06}", code.0),
            Self::Country(country) => f.write_str(country.as_str()),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A canonical six-digit code that the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DivisionCode(u32);

impl DivisionCode {
    /// The canonical form of a code: itself, or its province where the table does not hold it;
    /// `None` where it holds neither.
    pub fn new(code: u32) -> Option<Self> {
        let exact = Self(code);
        let known = |code: &Self| table().by_code.contains_key(code);
        Some(exact).filter(known).or_else(|| Some(exact.province()).filter(known))
    }

    /// The province this division belongs to.
    fn province(self) -> Self {
        Self(self.0 / 10_000 * 10_000)
    }

    fn division(self) -> &'static Division {
        // A code exists only through `new`, which found it in the same table.
        &table().by_code[&self]
    }
}

/// One row of the table of divisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// Its code.
    pub code: DivisionCode,
    /// Its Chinese name, for example `广州市`.
    pub name: &'static str,
    /// Its name in Latin letters, for example `Guangzhou`.
    pub latin: &'static str,
    /// Where its seat is.
    pub position: Position,
    /// For a province, what follows `CN-` in ISO 3166-2.
    iso: &'static str,
}

/// Every division, by code.
pub fn divisions() -> impl Iterator<Item = &'static Division> {
    table().ordered.iter().filter_map(|code| table().by_code.get(code))
}

/// The province that ISO 3166-2 calls `CN-<iso>`, in today's letters or in the two digits used
/// until 2017.
pub fn province_of_iso(iso: &str) -> Option<DivisionCode> {
    if iso.len() == 2 && iso.bytes().all(|byte| byte.is_ascii_digit()) {
        let code = iso.parse::<u32>().ok()? * 10_000;
        return DivisionCode::new(code).filter(|found| found.0 == code);
    }
    divisions().find(|row| !row.iso.is_empty() && row.iso == iso).map(|row| row.code)
}

/// The prefecture of `province` that a database calls by one of these names; Chinese names may
/// lack their suffix (`长春` is `长春市`), Latin ones may be written with or without apostrophes.
pub fn prefecture(province: DivisionCode, names: &[&str]) -> Option<DivisionCode> {
    let matches = |row: &Division| {
        names.iter().any(|name| {
            !name.is_empty()
                && (row.name.starts_with(name)
                    || row.latin.chars().map(|c| c.to_ascii_lowercase()).eq(plain_letters(name)))
        })
    };
    divisions()
        .filter(|row| row.code != province && row.code.province() == province)
        .find(|row| matches(row))
        .map(|row| row.code)
}

fn plain_letters(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().filter(|c| !matches!(c, '\'' | '’')).flat_map(char::to_lowercase)
}

/// A country or territory by its two letters of ISO 3166-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// China.
    pub const CHINA: Self = Self(*b"CN");

    /// Two capital letters; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        // Only ASCII capitals pass `parse`, so this never takes the other branch.
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Table {
    by_code: HashMap<DivisionCode, Division>,
    ordered: Vec<DivisionCode>,
}

const WHOLE_COUNTRY: u32 = 100_000;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let rows = include_str!("../regions.csv").lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<Division> = rows.filter_map(row).collect();
    Table {
        ordered: rows.iter().map(|row| row.code).collect(),
        by_code: rows.into_iter().map(|row| (row.code, row)).collect(),
    }
});

fn table() -> &'static Table {
    &TABLE
}

/// Reads one line of the table; a test holds every line to this form.
fn row(line: &'static str) -> Option<Division> {
    let mut fields = line.split(',');
    let code = DivisionCode(fields.next()?.parse().ok()?);
    let (name, latin) = (fields.next()?, fields.next()?);
    let position = Position::new(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)?;
    Some(Division { code, name, latin, position, iso: fields.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(text: &str) -> Region {
        Region::parse(text).unwrap()
    }

    #[test]
    fn every_line_of_the_table_is_a_row_near_its_province() {
        let lines = include_str!("../regions.csv").lines().filter(|l| !l.starts_with('#')).count();
        assert_eq!(divisions().count(), lines);
        assert_eq!(table().by_code.len(), lines);
        for row in divisions() {
            let province = Region::Division(row.code).province().unwrap();
            let km = row.position.distance_km(province.position);
            assert!(km < 1_600.0, "{} is {km} km from {}", row.name, province.name);
            let (lat, lon) = (row.position.latitude(), row.position.longitude());
            assert!((16.0..54.0).contains(&lat) && (73.0..136.0).contains(&lon), "{}", row.name);
        }
    }

    #[test]
    fn codes_have_one_spelling() {
        assert_eq!(region("110100"), region("110000"));
        assert_eq!(region("440199"), region("440000"));
        assert_eq!(region("440100").to_string(), "440100");
        assert_eq!(region("110100").to_string(), "110000");
        for bad in ["990000", "44010", "4401000", "cn", "CHN", "", "44010x"] {
            assert_eq!(Region::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn countries_and_the_territories_that_have_divisions() {
        assert_eq!(region("HK"), region("810000"));
        assert_eq!(region("SG").to_string(), "SG");
        assert_eq!(region("SG").position(), None);
        assert_eq!(region("CN").position(), None);
        assert_eq!(region("unknown"), Region::Unknown);
    }

    #[test]
    fn provinces_by_iso_code_old_and_new() {
        let jilin = province_of_iso("JL").unwrap();
        assert_eq!(Region::Division(jilin), region("220000"));
        assert_eq!(province_of_iso("22"), Some(jilin));
        assert_eq!(province_of_iso("99"), None);
        assert_eq!(province_of_iso(""), None);
        assert_eq!(prefecture(jilin, &["Changchun"]).map(Region::Division), Some(region("220100")));
        assert_eq!(prefecture(jilin, &["", "长春"]).map(Region::Division), Some(region("220100")));
        assert_eq!(prefecture(jilin, &["Paris"]), None);
        let shaanxi = province_of_iso("SN").unwrap();
        assert_eq!(prefecture(shaanxi, &["Xi’an"]).map(Region::Division), Some(region("610100")));
    }
}
