use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::carrier::Carriers;
use crate::databases::Databases;
use crate::place::Place;
use crate::write;

/// What a test says: sort, network, region, carrier; a hyphen says nothing.
type Saying<'a> = (Sort, &'a str, &'a str, &'a str);

fn builder(sayings: &[Saying<'_>]) -> Builder {
    let mut builder = Builder::default();
    for (sort, network, region, carrier) in sayings {
        let words = Words {
            region: (*region != "-").then(|| Region::parse(region).unwrap()),
            carrier: (*carrier != "-").then(|| Carrier::parse(carrier).unwrap()),
            ..Words::default()
        };
        let name = if *sort == Sort::CarrierList { carrier } else { "one" };
        builder.add(*sort, name, words, [network.parse().unwrap()]).unwrap();
    }
    builder
}

fn databases(built: &Built) -> Databases {
    let bytes =
        write::packed(&built.records, &built.networks, SystemTime::UNIX_EPOCH, |_| ()).unwrap();
    let own = Database::from_bytes(Kind::Own, "own", bytes).unwrap();
    Databases { own: Some(own), ..Databases::default() }
}

fn lookup(databases: &Databases, address: &str) -> Place {
    databases.lookup(address.parse().unwrap())
}

/// What becomes of the address 10.0.0.1, whatever the order of what is said.
fn becomes(sayings: &[Saying<'_>]) -> String {
    let mut sayings = sayings.to_vec();
    let mut outcomes: Vec<String> = Vec::new();
    for _ in 0..sayings.len() {
        let place = lookup(&databases(&builder(&sayings).build(|_| ())), "10.0.0.1");
        let also: Vec<String> = place.also.iter().map(|carrier| format!("+{carrier}")).collect();
        outcomes.push(format!("{}{}", place.cell(), also.concat()));
        sayings.rotate_left(1);
    }
    outcomes.dedup();
    assert_eq!(outcomes.len(), 1, "depends on the order: {outcomes:?}");
    outcomes.remove(0)
}

use Sort::{Asn, CarrierList, City, Isp, Override, RegionList};

#[test]
fn the_longest_prefix_wins_among_carriers_and_the_others_are_kept() {
    let wide = (CarrierList, "10.0.0.0/8", "-", "telecom");
    let narrow = (CarrierList, "10.0.0.0/16", "-", "unicom");
    assert_eq!(becomes(&[wide, narrow]), "unknown/unicom+telecom");
    let campus = (CarrierList, "10.0.0.0/8", "-", "cernet");
    assert_eq!(becomes(&[wide, campus]), "unknown/cernet+telecom");
    assert_eq!(becomes(&[narrow, campus]), "unknown/unicom+cernet");
    let science = (CarrierList, "10.0.0.0/8", "-", "cstnet");
    let private = (CarrierList, "10.0.0.0/8", "-", "drpeng");
    assert_eq!(becomes(&[private, science, wide, campus]), "unknown/cernet+telecom+cstnet+drpeng");
    assert_eq!(becomes(&[private, science]), "unknown/cstnet+drpeng");
    assert_eq!(becomes(&[private, wide]), "unknown/drpeng+telecom");
    // A list that contains both does not make two carriers.
    assert_eq!(becomes(&[wide, (CarrierList, "10.0.0.0/9", "-", "telecom")]), "unknown/telecom");
}

#[test]
fn isp_and_asn_decide_between_large_carriers_only() {
    let [telecom, unicom, mobile, cernet] = ["telecom", "unicom", "mobile", "cernet"]
        .map(|name| (CarrierList, "10.0.0.0/8", "-", name));
    assert_eq!(becomes(&[telecom, unicom, mobile]), "unknown/unicom+telecom+mobile");
    assert_eq!(becomes(&[telecom, mobile]), "unknown/mobile+telecom");
    let isp = |name| (Isp, "10.0.0.0/24", "-", name);
    let asn = |name| (Asn, "10.0.0.0/24", "-", name);
    assert_eq!(becomes(&[telecom, unicom, isp("telecom")]), "unknown/telecom+unicom");
    assert_eq!(becomes(&[telecom, unicom, asn("telecom")]), "unknown/telecom+unicom");
    assert_eq!(
        becomes(&[telecom, unicom, isp("unicom"), asn("telecom")]),
        "unknown/unicom+telecom"
    );
    assert_eq!(becomes(&[telecom, unicom, isp("cloud")]), "unknown/unicom+telecom");
    assert_eq!(becomes(&[telecom, cernet, isp("telecom")]), "unknown/cernet+telecom");
    assert_eq!(becomes(&[telecom, isp("unicom")]), "unknown/telecom");
    assert_eq!(becomes(&[isp("unicom"), asn("telecom")]), "unknown/unicom");
    assert_eq!(becomes(&[asn("telecom")]), "unknown/telecom");
}

#[test]
fn the_finer_region_wins() {
    let list = |network, code| (RegionList, network, code, "-");
    let wide = list("10.0.0.0/8", "440000");
    assert_eq!(becomes(&[wide, list("10.0.0.0/16", "430100")]), "430100/unknown");
    assert_eq!(becomes(&[wide, list("10.0.0.0/8", "440100")]), "440100/unknown");
    assert_eq!(becomes(&[wide, list("10.0.0.0/8", "100000")]), "440000/unknown");
    let city = |code| (City, "10.0.0.0/24", code, "-");
    assert_eq!(becomes(&[wide, city("440300")]), "440300/unknown");
    assert_eq!(becomes(&[wide, city("430100")]), "440000/unknown");
    assert_eq!(becomes(&[wide, city("SG")]), "440000/unknown");
    assert_eq!(becomes(&[list("10.0.0.0/8", "440100"), city("440000")]), "440100/unknown");
    assert_eq!(becomes(&[list("10.0.0.0/8", "100000"), city("440100")]), "440100/unknown");
    assert_eq!(becomes(&[city("440100")]), "440100/unknown");
}

#[test]
fn abroad_is_overseas_unless_a_list_says_otherwise() {
    let abroad = (City, "10.0.0.0/8", "SG", "-");
    assert_eq!(becomes(&[abroad, (Isp, "10.0.0.0/8", "-", "telecom")]), "SG/overseas");
    assert_eq!(becomes(&[abroad, (CarrierList, "10.0.0.0/8", "-", "telecom")]), "SG/telecom");
    assert_eq!(becomes(&[(RegionList, "10.0.0.0/8", "810000", "-")]), "810000/overseas");
}

#[test]
fn overrides_outrank_all_field_by_field() {
    let below = [
        (CarrierList, "10.0.0.0/24", "-", "unicom"),
        (CarrierList, "10.0.0.0/24", "-", "telecom"),
        (RegionList, "10.0.0.0/24", "440100", "-"),
        (City, "10.0.0.0/32", "440300", "-"),
    ];
    let with = |overrides: &[Saying<'_>]| becomes(&[&below[..], overrides].concat());
    assert_eq!(with(&[]), "440100/unicom+telecom");
    assert_eq!(with(&[(Override, "10.0.0.0/8", "110000", "-")]), "110000/unicom+telecom");
    assert_eq!(with(&[(Override, "10.0.0.0/8", "-", "mobile")]), "440100/mobile");
    assert_eq!(with(&[(Override, "10.0.0.0/8", "unknown", "unknown")]), "unknown/unknown");
    let both = [(Override, "10.0.0.0/8", "-", "mobile"), (Override, "10.0.0.0/9", "SG", "-")];
    assert_eq!(with(&both), "SG/mobile");
    let nested = [(Override, "10.0.0.0/8", "-", "mobile"), (Override, "10.0.0.0/9", "-", "cloud")];
    assert_eq!(with(&nested), "440100/cloud");
}

#[test]
fn the_report_counts_addresses() {
    let built = builder(&[
        (CarrierList, "10.0.0.0/24", "-", "telecom"),
        (CarrierList, "10.0.0.0/25", "-", "unicom"),
        (CarrierList, "2001:250::/32", "-", "cernet"),
        (CarrierList, "2002::/16", "-", "cernet"),
        (RegionList, "10.0.0.0/25", "440000", "-"),
        (RegionList, "10.0.0.0/26", "430100", "-"),
        (RegionList, "10.0.1.0/24", "810000", "-"),
        (City, "10.0.0.0/25", "110000", "-"),
        (Isp, "10.0.0.0/24", "-", "mobile"),
    ])
    .build(|_| ());
    let report = &built.report;
    let [v4, v6] = &report.tallies;
    assert_eq!((v4.said, v4.region, v4.carrier), (512, 384, 512));
    assert_eq!((v4.mainland, v4.mainland_province, v4.mainland_city), (128, 128, 64));
    assert_eq!((v4.multi_homed, v4.networks_differ, v4.city_differs), (128, 256, 128));
    assert_eq!((v6.said, v6.carrier), (1 << 96, 1 << 96));
    let pair = Overlap { between: (Carrier::Telecom, Carrier::Unicom), addresses: 128 };
    assert_eq!(v4.carriers_in_two_lists(), [pair]);
    let regions = ["430100", "440000"].map(|code| Region::parse(code).unwrap());
    let pair = Overlap { between: (regions[0], regions[1]), addresses: 64 };
    assert_eq!(v4.regions_in_conflict(), [pair]);
    let source = |name: &str| report.sources.iter().find(|source| source.name == name).unwrap();
    assert_eq!((source("telecom").addresses[0], source("telecom").carriers[0]), (256, 128));
    assert_eq!((source("cernet").unreachable, source("cernet").networks), (1, [0, 1]));
    assert_eq!(v4.by_carrier[&Carrier::Overseas], 256);
}

#[test]
fn neighbours_with_the_same_place_become_one_network() {
    let halves = [
        (CarrierList, "10.0.0.0/9", "-", "telecom"),
        (CarrierList, "10.128.0.0/9", "-", "telecom"),
    ];
    let built = builder(&halves).build(|_| ());
    assert_eq!(built.networks, [("10.0.0.0/8".parse().unwrap(), 0)]);
}

#[test]
fn a_database_is_a_source_like_any_other() {
    let mut first = Builder::default();
    let demo = Database::from_bytes(Kind::Own, "demo", crate::demo::database()).unwrap();
    first.add_database(&demo, "demo").unwrap();
    let again = databases(&first.build(|_| ()));
    let demo = Databases { own: Some(demo), ..Databases::default() };
    for third in 0..=255 {
        let address = format!("127.0.{third}.9");
        assert_eq!(lookup(&again, &address), lookup(&demo, &address));
    }
    assert_eq!(lookup(&again, "::1"), lookup(&demo, "::1"));
}

/// The order once more, in other words: all that is said of one address, without any sweep.
fn reference(
    address: std::net::IpAddr,
    sayings: &[(Sort, IpNet, Words)],
) -> (Region, Carrier, Carriers) {
    let about: Vec<&(Sort, IpNet, Words)> =
        sayings.iter().filter(|(_, network, _)| network.contains(&address)).collect();
    let longest = |sort: Sort, says: &dyn Fn(&Words) -> bool| -> Vec<Words> {
        let of: Vec<_> = about.iter().filter(|said| said.0 == sort && says(&said.2)).collect();
        let prefix = of.iter().map(|said| said.1.prefix_len()).max();
        let longest = of.iter().filter(|said| Some(said.1.prefix_len()) == prefix);
        longest.map(|said| said.2.clone()).collect()
    };
    let region = |sort| {
        let mut regions: Vec<Region> = longest(sort, &|words| words.region.is_some())
            .iter()
            .map(|words| words.region.unwrap())
            .collect();
        // The deepest, and of those the first by code.
        regions.sort_by_key(|region| (-i32::from(region.depth()), *region));
        regions.first().copied()
    };
    let listed = match (region(RegionList), region(City)) {
        (Some(list), Some(city)) if list.contains(city) => Some(city),
        (Some(list), _) => Some(list),
        (None, city) => city,
    };
    let region = region(Override).or(listed).unwrap_or_default();
    let names = |sort| -> Vec<Carrier> {
        let words = longest(sort, &|words| words.carrier.is_some());
        words.iter().map(|words| words.carrier.unwrap()).collect()
    };
    let none = Carriers::default();
    let abroad = region != Region::Unknown && !region.is_mainland();
    if let Some(carrier) = names(Override).first() {
        let overseas = abroad && *carrier == Carrier::Unknown;
        return (region, if overseas { Carrier::Overseas } else { *carrier }, none);
    }
    let tied = names(CarrierList);
    let others = names(Isp).into_iter().chain(names(Asn)).next();
    if !tied.is_empty() {
        use Carrier::{Cernet, Cstnet, Drpeng, Mobile, Telecom, Unicom};
        let mut order = vec![Cernet, Cstnet, Drpeng];
        // Heard first where it is one of the tied, which the order needs not know.
        order.extend(others);
        order.extend([Unicom, Mobile, Telecom]);
        order.extend(Carrier::ALL);
        let carrier = order.into_iter().find(|carrier| tied.contains(carrier)).unwrap();
        let all = about.iter().filter(|said| said.0 == CarrierList);
        let all: Carriers = all.filter_map(|said| said.2.carrier).collect();
        return (region, carrier, all.without(carrier));
    }
    if abroad {
        return (region, Carrier::Overseas, none);
    }
    (region, others.unwrap_or_default(), none)
}

fn sort() -> impl Strategy<Value = Sort> {
    prop::sample::select(vec![Override, CarrierList, RegionList, City, Isp, Asn])
}

fn some_region() -> impl Strategy<Value = Region> {
    let all = ["100000", "440000", "440100", "440300", "430000", "110000", "810000", "SG", "US"];
    prop::sample::select(all.map(|text| Region::parse(text).unwrap()).to_vec())
}

fn some_network() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u8>(), 24_u8..=32).prop_map(|(low, prefix)| (format!("10.0.0.{low}"), prefix));
    let v6 = (any::<u8>(), 120_u8..=128)
        .prop_map(|(low, prefix)| (format!("2001:250::{low:x}"), prefix));
    prop_oneof![v4, v6]
        .prop_map(|(address, prefix)| IpNet::new(address.parse().unwrap(), prefix).unwrap().trunc())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// A whole database of a small world, written and read, against the reference.
    #[test]
    fn every_lookup_is_what_the_order_says(
        sayings in prop::collection::vec(
            (sort(), some_network(), some_region(), prop::sample::select(Carrier::ALL.to_vec()), 0_u8..4),
            1..40,
        ),
    ) {
        let mut all: Vec<(Sort, IpNet, Words)> = Vec::new();
        for (sort, network, region, carrier, which) in sayings {
            let known = carrier != Carrier::Unknown;
            let words = match sort {
                Override => Words {
                    region: (which != 1).then_some(region),
                    carrier: (which != 2).then_some(carrier),
                    ..Words::default()
                },
                RegionList | City => Words { region: Some(region), ..Words::default() },
                CarrierList | Isp | Asn => {
                    Words { carrier: known.then_some(carrier), ..Words::default() }
                }
            };
            // Those have each network once; lists of several carriers need not.
            let once = !matches!(sort, CarrierList | RegionList);
            let met = all.iter().any(|said| once && said.0 == sort && said.1 == network);
            if !met {
                all.push((sort, network, words));
            }
        }
        let mut builder = Builder::default();
        for (sort, network, words) in &all {
            builder.add(*sort, "one", words.clone(), [*network]).unwrap();
        }
        let databases = databases(&builder.build(|_| ()));
        for low in 0..=255_u8 {
            for address in [format!("10.0.0.{low}"), format!("2001:250::{low:x}")] {
                let place = lookup(&databases, &address);
                let expected = reference(address.parse().unwrap(), &all);
                prop_assert_eq!((place.region, place.carrier, place.also), expected, "{}", address);
            }
        }
    }
}
