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

    /// The country that the region is or lies in, as ISO 3166 has it: Hong Kong, Macao and Taiwan
    /// have divisions and letters of their own. `None` where nothing is known.
    pub fn country(self) -> Option<Country> {
        match self {
            Self::Division(code) => Some(match code.province().0 {
                710_000 => Country(*b"TW"),
                810_000 => Country(*b"HK"),
                820_000 => Country(*b"MO"),
                _ => Country::CHINA,
            }),
            Self::Country(country) => Some(country),
            Self::Unknown => None,
        }
    }

    /// Whether it is China's mainland or lies in it, which is where China's carriers are at home.
    pub fn is_mainland(self) -> bool {
        self.country() == Some(Country::CHINA)
    }

    /// Whether `other` is this region, or lies in it.
    pub fn contains(self, other: Self) -> bool {
        let whole = Self::of_country(Country::CHINA);
        self == other
            || (self == whole && other.is_mainland())
            || matches!((self, other), (Self::Division(outer), Self::Division(inner))
                if outer != inner && inner.province() == outer)
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

    /// How far down it lies: 0 for a country and the unknown, 1 for a province, 2 for a prefecture.
    pub fn depth(self) -> u8 {
        match self {
            Self::Division(DivisionCode(WHOLE_COUNTRY)) | Self::Country(_) | Self::Unknown => 0,
            Self::Division(code) => 1 + u8::from(code != code.province()),
        }
    }

    /// Whether it is a city: a prefecture, or a municipality that is province and city at once.
    pub fn is_city(self) -> bool {
        let Self::Division(code) = self else { return false };
        code != code.province() || matches!(code.0 / 10_000, 11 | 12 | 31 | 50 | 81 | 82)
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

impl Division {
    /// Whether a Chinese name, which may lack its suffix, or a Latin one, which may have apostrophes,
    /// is this division's.
    fn is_called(&self, name: &str) -> bool {
        let latin = || self.latin.chars().map(|c| c.to_ascii_lowercase());
        !name.is_empty() && (self.name.starts_with(name) || latin().eq(plain_letters(name)))
    }
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
    divisions()
        .filter(|row| row.code != province && row.code.province() == province)
        .find(|row| names.iter().any(|name| row.is_called(name)))
        .map(|row| row.code)
}

/// The division of `within` that people call by this name: a prefecture, or a municipality, which is
/// province and city at once. `None` where there is none.
pub fn city_named(within: Region, name: &str) -> Option<Region> {
    let province = |row: &&Division| row.code == row.code.province();
    let inside = |row: &&Division| within.contains(Region::Division(row.code));
    let provinces = || {
        divisions().filter(province).filter(|row| {
            let region = Region::Division(row.code);
            inside(row) || region.contains(within)
        })
    };
    let prefectures = provinces().find_map(|row| prefecture(row.code, &[name]));
    let municipality = || {
        let city = |row: &&Division| Region::Division(row.code).is_city() && row.is_called(name);
        provinces().find(city).map(|row| row.code)
    };
    prefectures.or_else(municipality).map(Region::Division).filter(|city| within.contains(*city))
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
    fn what_lies_where() {
        let (china, guangdong, guangzhou) = (region("CN"), region("440000"), region("440100"));
        assert!(china.contains(guangdong) && china.contains(guangzhou));
        assert!(guangdong.contains(guangzhou) && guangdong.contains(guangdong));
        assert!(!guangzhou.contains(guangdong) && !guangdong.contains(china));
        assert!(!guangdong.contains(region("430100")) && !china.contains(region("HK")));
        assert!(!china.contains(Region::Unknown) && !Region::Unknown.contains(china));
        let letters = |text: &str| region(text).country().map(|country| country.to_string());
        assert_eq!(letters("440100").as_deref(), Some("CN"));
        assert_eq!(letters("810000").as_deref(), Some("HK"));
        assert_eq!(letters("SG").as_deref(), Some("SG"));
        assert_eq!(letters("unknown"), None);
    }

    #[test]
    fn cities_by_name() {
        let named = |within, name| city_named(region(within), name).map(|city| city.to_string());
        assert_eq!(named("CN", "广州").as_deref(), Some("440100"));
        assert_eq!(named("440000", "Guangzhou").as_deref(), Some("440100"));
        assert_eq!(named("440100", "广州市").as_deref(), Some("440100"));
        assert_eq!(named("440300", "广州市"), None);
        assert_eq!(named("430000", "广州市"), None);
        assert_eq!(named("CN", "北京").as_deref(), Some("110000"));
        assert_eq!(named("110000", "北京市").as_deref(), Some("110000"));
        assert_eq!(named("CN", "吉林").as_deref(), Some("220200"));
        assert_eq!(named("CN", "Atlantis"), None);
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
