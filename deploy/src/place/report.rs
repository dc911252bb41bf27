//! What a database was built of, in tables.

use std::cmp::Reverse;

use geo_data::build::{Overlap, Report, Sort, Tally};
use geo_data::{Carrier, Region};

use super::table::{addresses, grouped, share, table};

/// A report, for people.
pub fn report(report: &Report) -> String {
    let mut sections = vec![sources(report), coverage(&report.tallies), carriers(&report.tallies)];
    sections.extend(overlaps(&report.tallies));
    sections.extend(conflicts(&report.tallies));
    sections.extend(disagreements(report));
    sections.extend(organisations(&report.tallies));
    sections.join("\n")
}

fn sources(report: &Report) -> String {
    let mut rows =
        vec![["source", "networks", "IPv4", "believed", "IPv6 /48", "believed"].map(str::to_owned)];
    for source in &report.sources {
        let [v4, v6] = addresses(source.addresses);
        // A source's word counts for the region or for the carrier; an override's for either.
        let believed =
            |at: usize| share(source.regions[at].max(source.carriers[at]), source.addresses[at]);
        let kind = match source.sort {
            Sort::Override => "overrides ",
            Sort::CarrierList => "carrier ",
            Sort::RegionList => "",
            Sort::City => "city ",
            Sort::Isp => "isp ",
            Sort::Asn => "asn ",
        };
        let networks = source.networks.iter().sum::<usize>();
        rows.push([
            format!("{kind}{}", source.name),
            grouped(networks as u128),
            v4,
            believed(0),
            v6,
            believed(1),
        ]);
    }
    table(&rows)
}

fn coverage(tallies: &[Tally; 2]) -> String {
    let mut rows = vec![["known", "IPv4", "share", "IPv6 /48", "share"].map(str::to_owned)];
    let mut row = |name: &str, of: fn(&Tally) -> u128, whole: fn(&Tally) -> u128| {
        let [v4, v6] = addresses([of(&tallies[0]), of(&tallies[1])]);
        let shares = tallies.each_ref().map(|tally| share(of(tally), whole(tally)));
        let [share4, share6] = shares;
        rows.push([name.to_owned(), v4, share4, v6, share6]);
    };
    row("anything said", |tally| tally.said, |tally| tally.said);
    row("  region", |tally| tally.region, |tally| tally.said);
    row("  carrier", |tally| tally.carrier, |tally| tally.said);
    row("  several carriers", |tally| tally.multi_homed, |tally| tally.said);
    row("in the mainland", |tally| tally.mainland, |tally| tally.mainland);
    row("  province", |tally| tally.mainland_province, |tally| tally.mainland);
    row("  city", |tally| tally.mainland_city, |tally| tally.mainland);
    row("  carrier", |tally| tally.mainland_carrier, |tally| tally.mainland);
    table(&rows)
}

fn carriers(tallies: &[Tally; 2]) -> String {
    let mut rows = vec![["carrier", "IPv4", "share", "IPv6 /48", "share"].map(str::to_owned)];
    for carrier in Carrier::ALL {
        let of = tallies.each_ref().map(|tally| tally.by_carrier.get(&carrier).copied());
        if of == [None; 2] {
            continue;
        }
        let of = of.map(Option::unwrap_or_default);
        let [v4, v6] = addresses(of);
        let [share4, share6] = [0, 1].map(|at| share(of[at], tallies[at].said));
        rows.push([carrier.to_string(), v4, share4, v6, share6]);
    }
    table(&rows)
}

fn overlaps(tallies: &[Tally; 2]) -> Option<String> {
    pairs("listed by both", tallies, Tally::carriers_in_two_lists, |carrier: Carrier| {
        carrier.to_string()
    })
}

fn conflicts(tallies: &[Tally; 2]) -> Option<String> {
    pairs("listed in both", tallies, Tally::regions_in_conflict, |region: Region| {
        let name = region.division().map_or("", |division| division.name);
        format!("{region} {name}")
    })
}

/// Pairs with what they share, in either family; `None` where there is none.
fn pairs<T: Copy + Ord>(
    title: &str,
    tallies: &[Tally; 2],
    of: impl Fn(&Tally) -> Vec<Overlap<T>>,
    name: impl Fn(T) -> String,
) -> Option<String> {
    let [v4, v6] = tallies.each_ref().map(of);
    let shared = |overlaps: &[Overlap<T>], between: (T, T)| {
        let found = overlaps.iter().find(|overlap| overlap.between == between);
        found.map_or(0, |overlap| overlap.addresses)
    };
    let mut all: Vec<(T, T)> = v4.iter().chain(&v6).map(|overlap| overlap.between).collect();
    all.sort();
    all.dedup();
    all.sort_by_key(|between| Reverse((shared(&v4, *between), shared(&v6, *between))));
    if all.is_empty() {
        return None;
    }
    let mut rows = vec![[title, "IPv4", "IPv6 /48"].map(str::to_owned)];
    for between in all.iter().take(PAIRS_MAX) {
        let [v4, v6] = addresses([shared(&v4, *between), shared(&v6, *between)]);
        rows.push([format!("{} and {}", name(between.0), name(between.1)), v4, v6]);
    }
    let mut text = table(&rows);
    if all.len() > PAIRS_MAX {
        text.push_str(&format!("and {} pairs more\n", all.len() - PAIRS_MAX));
    }
    Some(text)
}

fn disagreements(report: &Report) -> Option<String> {
    let mut rows = vec![["disagreement", "IPv4", "IPv6 /48"].map(str::to_owned)];
    let mut row = |name: &str, of: fn(&Tally) -> u128| {
        let of = report.tallies.each_ref().map(of);
        if of != [0; 2] {
            let [v4, v6] = addresses(of);
            rows.push([name.to_owned(), v4, v6]);
        }
    };
    row("listed by a carrier, outside the mainland", |tally| tally.listed_abroad);
    row("City names another region than the lists", |tally| tally.city_differs);
    row("ISP or ASN names a carrier that does not list it", |tally| tally.networks_differ);
    for source in report.sources.iter().filter(|source| source.unreachable > 0) {
        let name = format!("networks of {} that nobody looks up", source.name);
        rows.push([name, source.unreachable.to_string(), String::new()]);
    }
    (rows.len() > 1).then(|| table(&rows))
}

fn organisations(tallies: &[Tally; 2]) -> Option<String> {
    let of = |at: usize, name: &str| tallies[at].organisations.get(name).copied().unwrap_or(0);
    let mut names: Vec<&str> =
        tallies.iter().flat_map(|tally| tally.organisations.keys().map(AsRef::as_ref)).collect();
    names.sort_unstable();
    names.dedup();
    names.sort_by_key(|name| Reverse((of(0, name), of(1, name))));
    if names.is_empty() {
        return None;
    }
    let mut rows = vec![["no carrier that we know", "IPv4", "IPv6 /48"].map(str::to_owned)];
    for name in names.iter().take(ORGANISATIONS_MAX) {
        let [v4, v6] = addresses([of(0, name), of(1, name)]);
        // The name is a stranger's.
        let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
        rows.push([name, v4, v6]);
    }
    let mut text = table(&rows);
    if names.len() > ORGANISATIONS_MAX {
        text.push_str(&format!("and {} more\n", names.len() - ORGANISATIONS_MAX));
    }
    Some(text)
}

/// Pairs that are listed: those of all carriers are 28.
const PAIRS_MAX: usize = 28;

/// Organisations that are listed.
const ORGANISATIONS_MAX: usize = 10;

/// As much of an organisation's name is shown.
const NAME_CHARS_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use geo_data::build::{Builder, Words};

    use super::*;

    #[test]
    fn a_report_shows_what_there_is() {
        let mut builder = Builder::default();
        let carrier = |carrier| Words { carrier: Some(carrier), ..Words::default() };
        let region = |code| Words { region: Region::parse(code), ..Words::default() };
        let stranger = Words { organisation: Some("Acme\n".into()), ..Words::default() };
        for (sort, name, words, network) in [
            (Sort::CarrierList, "chinanet", carrier(Carrier::Telecom), "10.0.0.0/24"),
            (Sort::CarrierList, "unicom", carrier(Carrier::Unicom), "10.0.0.0/25"),
            (Sort::CarrierList, "unicom", carrier(Carrier::Unicom), "2001:250::/32"),
            (Sort::CarrierList, "unicom", carrier(Carrier::Unicom), "2002::/16"),
            (Sort::RegionList, "regions", region("440000"), "10.0.0.0/23"),
            (Sort::RegionList, "regions", region("430100"), "10.0.0.0/26"),
            (Sort::Isp, "isp.mmdb", stranger, "10.0.1.0/24"),
        ] {
            builder.add(sort, name, words, [network.parse().unwrap()]).unwrap();
        }
        let text = report(&builder.build(|_| ()).report);
        for line in [
            "source             networks   IPv4   believed   IPv6 /48   believed",
            "carrier chinanet          1    256    50.00 %          0",
            "carrier unicom            2    128   100.00 %     65,536   100.00 %",
            "regions                   2    512   100.00 %          0",
            "anything said         512   100.00 %     65,536   100.00 %",
            "  city                 64    12.50 %          0",
            "telecom    128   25.00 %          0     0.00 %",
            "telecom and unicom    128          0",
            "430100 长沙市 and 440000 广东省     64          0",
            "networks of unicom that nobody looks up      1",
            "Acme                       256          0",
        ] {
            assert!(text.lines().any(|of| of == line), "{line:?} is not in\n{text}");
        }
    }
}
