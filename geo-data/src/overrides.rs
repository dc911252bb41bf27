//! What an operator knows better: a table of networks with what holds for them, whatever all other
//! sources say.
//!
//! ```text
//! network,country,region,city,carrier
//! 203.0.113.0/24,,440100,,mobile      # a division of China by its code
//! 198.51.100.0/24,CN,,广州,            # or by its city's name; the carrier is as others say
//! 192.0.2.0/24,SG,,Singapore,overseas # abroad the region is the country
//! 2001:db8::/32,,,,unknown            # nobody knows, whatever others say
//! ```
//!
//! (The remarks are for the reader here; in a file a comment has a line of its own.) Columns other
//! than `network` may be left out. An empty field says nothing; the longest network that says
//! something of a field wins.
//!
//! Invariant: a row that is accepted says something, and nothing in it contradicts the rest of it.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::build::Words;
use crate::carrier::Carrier;
use crate::lists::{Fault, Faults, network, rows};
use crate::region::{Country, Region, city_named};
use crate::span::Block;

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The networks.
    pub network: IpNet,
    /// What holds for it.
    pub words: Words,
}

/// Which networks were met already, and where.
pub type Met = HashMap<IpNet, String>;

/// Reads a table. A network may stand only once in all tables, hence `met`.
pub fn read(file: &str, bytes: &[u8], met: &mut Met) -> Result<Vec<Override>, Faults> {
    let mut faults = Faults::default();
    let mut overrides = Vec::new();
    for row in rows(file, bytes, &COLUMNS, &mut faults) {
        let [network, country, region, city, carrier] = COLUMNS.map(|name| row.get(name));
        match parse(network, country, region, city, carrier) {
            Ok(parsed) => {
                let here = format!("{file}:{}", row.line());
                match met.insert(parsed.network, here) {
                    Some(there) => {
                        let what = format!("{} is in {there} already", parsed.network);
                        faults.push(row.fault(what));
                    }
                    None => overrides.push(parsed),
                }
            }
            Err(what) => faults.push(row.fault(what)),
        }
    }
    if overrides.is_empty() && faults.is_empty() {
        let what = "says nothing; allowed are rows such as 10.0.0.0/8,CN,440100,,mobile";
        faults.push(Fault { file: file.to_owned(), line: None, what: what.to_owned() });
    }
    faults.or(overrides)
}

fn parse(
    of: &str,
    country: &str,
    region: &str,
    city: &str,
    carrier: &str,
) -> Result<Override, String> {
    let network = network(of, None)?;
    Block::of(network)
        .map_err(|error| format!("{network} {error}; allowed is the IPv4 network"))?;
    let carrier = match carrier {
        "" => None,
        "unknown" => Some(Carrier::Unknown),
        name => Some(Carrier::of_list(name).ok_or_else(|| {
            let allowed = Carrier::ALL.map(Carrier::as_str).join(", ");
            format!("{name:?} is no carrier; allowed are {allowed}")
        })?),
    };
    let (region, city_abroad) = match (place(country, region)?, city) {
        (region, "") => (region, None),
        (None | Some(Region::Unknown), _) => {
            return Err(format!("{city:?} is nowhere: a city needs a country or a region"));
        }
        (Some(country @ Region::Country(_)), city) => {
            if city.chars().count() > CITY_CHARS_MAX || city.chars().any(char::is_control) {
                return Err(format!("the city is no name of at most {CITY_CHARS_MAX} letters"));
            }
            (Some(country), Some(city.into()))
        }
        (Some(within), city) => match city_named(within, city) {
            Some(city) => (Some(city), None),
            None => {
                let allowed = "the names in geo-data/regions.csv, or none and the city's code";
                return Err(format!("{within} has no city {city:?}; allowed are {allowed}"));
            }
        },
    };
    if region.is_none() && carrier.is_none() {
        return Err("says nothing of its network; allowed are a region, a carrier or both".into());
    }
    Ok(Override { network, words: Words { region, city_abroad, carrier, organisation: None } })
}

/// What the columns for country and region say together.
fn place(country: &str, region: &str) -> Result<Option<Region>, String> {
    let by_country = match country {
        "" => None,
        "unknown" => Some(Region::Unknown),
        letters => Some(Country::parse(letters).map(Region::of_country).ok_or_else(|| {
            format!("{letters:?} is no country; allowed are two capital letters, such as CN")
        })?),
    };
    let by_region = match region {
        "" => None,
        text => {
            Some(Region::parse(text).filter(|parsed| is_exact(*parsed, text)).ok_or_else(|| {
                format!(
                    "{text:?} is no region; allowed are the codes in geo-data/regions.csv, such as \
                 440100, two capital letters of a country, and unknown"
                )
            })?)
        }
    };
    match (by_country, by_region) {
        (Some(country), Some(region)) if country.country() != region.country() => {
            let letters = region.country().map_or_else(|| "unknown".into(), |c| c.to_string());
            Err(format!("{region} is not in {country}; allowed is {letters}, or no country"))
        }
        (by_country, by_region) => Ok(by_region.or(by_country)),
    }
}

/// Whether a code is the region's own and not one that became its province: a wrong digit would go
/// unnoticed. A municipality's urban area (110100) is the municipality.
fn is_exact(region: Region, text: &str) -> bool {
    let own = region.to_string() == text || region.depth() == 0;
    own || region.is_city() && text.ends_with("0100")
}

const COLUMNS: [&str; 5] = ["network", "country", "region", "city", "carrier"];

/// The longest names of cities have less than 60.
const CITY_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &str) -> Result<Vec<Override>, String> {
        let text = format!("network,country,region,city,carrier\n{rows}");
        read("o.csv", text.as_bytes(), &mut Met::new()).map_err(|faults| faults.to_string())
    }

    fn row(row: &str) -> String {
        let [row] = &table(row).unwrap()[..] else { panic!("one row") };
        let words = &row.words;
        let region = words.region.map_or("-".to_owned(), |region| region.to_string());
        let carrier = words.carrier.map_or("-", Carrier::as_str);
        format!(
            "{} {region} {} {carrier}",
            row.network,
            words.city_abroad.as_deref().unwrap_or("-")
        )
    }

    #[test]
    fn a_row_says_what_it_says() {
        assert_eq!(row("10.0.0.0/8,CN,440100,,mobile"), "10.0.0.0/8 440100 - mobile");
        assert_eq!(row("10.0.0.0/8,,440100,广州市,cmcc"), "10.0.0.0/8 440100 - mobile");
        assert_eq!(row("10.0.0.0/8,CN,,广州,"), "10.0.0.0/8 440100 - -");
        assert_eq!(row("10.0.0.0/8,CN,,,"), "10.0.0.0/8 100000 - -");
        assert_eq!(row("10.0.0.1,,110100,,telecom"), "10.0.0.1/32 110000 - telecom");
        assert_eq!(row("::1/128,SG,,Singapore,overseas"), "::1/128 SG Singapore overseas");
        assert_eq!(row("10.0.0.0/8,HK,810000,,"), "10.0.0.0/8 810000 - -");
        assert_eq!(row("10.0.0.0/8,HK,,,"), "10.0.0.0/8 810000 - -");
        assert_eq!(row("10.0.0.0/8,unknown,,,unknown"), "10.0.0.0/8 unknown - unknown");
        assert_eq!(row("10.0.0.0/8,US,,\"Portland, Oregon\","), "10.0.0.0/8 US Portland, Oregon -");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (row, part) in [
            ("10.0.0.0/8,,,,", "says nothing of its network"),
            ("10.0.0.0/33,CN,,,", "\"10.0.0.0/33\" is no network"),
            ("10.0.0.1/8,CN,,,", "allowed is 10.0.0.0/8"),
            ("2002::/16,CN,,,", "2002::/16 lies where IPv6 spells IPv4"),
            ("::/0,CN,,,", "::/0 covers ::/96"),
            ("10.0.0.0/8,cn,,,", "\"cn\" is no country; allowed are two capital letters"),
            ("10.0.0.0/8,,440199,,", "\"440199\" is no region; allowed are the codes in"),
            ("10.0.0.0/8,CN,810000,,", "810000 is not in 100000; allowed is HK"),
            ("10.0.0.0/8,SG,440100,,", "440100 is not in SG; allowed is CN"),
            ("10.0.0.0/8,,440000,深圳x,", "440000 has no city \"深圳x\""),
            ("10.0.0.0/8,,440100,深圳,", "440100 has no city \"深圳\""),
            ("10.0.0.0/8,,,深圳,", "a city needs a country or a region"),
            ("10.0.0.0/8,,,,chianet", "\"chianet\" is no carrier; allowed are telecom, unicom"),
            ("10.0.0.0/8,CN,,", "has 4 fields; allowed are 5"),
        ] {
            let error = table(row).unwrap_err();
            assert!(error.starts_with("o.csv:2: ") && error.contains(part), "{row}: {error}");
        }
        let twice = table("10.0.0.0/8,CN,,,\n# again\n10.0.0.0/8,SG,,,\n").unwrap_err();
        assert_eq!(twice, "o.csv:4: 10.0.0.0/8 is in o.csv:2 already");
        assert!(table("").unwrap_err().starts_with("o.csv: says nothing"));
    }

    #[test]
    fn columns_may_be_left_out_but_not_invented() {
        let read = |text: &str| read("o.csv", text.as_bytes(), &mut Met::new());
        assert_eq!(read("carrier,network\nunicom,10.0.0.0/8\n").unwrap().len(), 1);
        let error = read("network,isp\n10.0.0.0/8,x\n").unwrap_err().to_string();
        assert!(error.starts_with("o.csv:1: has a column \"isp\"; allowed are network"), "{error}");
    }
}
