//! A database built of real lists, against a slow reference that asks every list about every address.
//! The lists lie beside the workspace, in `../shared/data`; without that folder the tests say so and
//! pass.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "helpers of tests: the lints know only functions marked #[test]"
)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use geo_data::database::{Database, Kind};
use geo_data::io::Sources;
use geo_data::{Carrier, Carriers, Databases, Region, diff, write};

fn data() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let path = workspace.parent()?.join("shared/data");
    if path.join("carriers").is_dir() && path.join("regions").is_dir() {
        return Some(path);
    }
    println!("skipped: no lists in {}", path.display());
    None
}

fn build(sources: &Sources) -> Vec<u8> {
    let gathered = sources.gather(|_| ()).unwrap();
    let built = gathered.builder.build(|_| ());
    println!("{:?}", gathered.remarks);
    write::packed(&built.records, &built.networks, SystemTime::UNIX_EPOCH, |_| ()).unwrap()
}

fn open(bytes: Vec<u8>) -> Database {
    Database::from_bytes(Kind::Own, "own", bytes).unwrap()
}

/// A line of a list, read without any code of the builder.
struct Line {
    first: u128,
    last: u128,
    prefix: u32,
    /// The carrier of the list, or the code of the region.
    of: Result<Carrier, u32>,
}

/// Lines of all lists of a family, in one heap for each first eight (IPv6: sixteen) bits.
struct Reference {
    heaps: Vec<Vec<Line>>,
    bits: u32,
    shift: u32,
}

impl Reference {
    fn read(data: &Path, v6: bool) -> Self {
        let (bits, shift) = if v6 { (128, 112) } else { (32, 24) };
        let mut this = Self { heaps: Vec::new(), bits, shift };
        this.heaps.resize_with(1 << (bits - shift), Vec::new);
        for folder in ["carriers", "regions"] {
            for entry in fs::read_dir(data.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
                let of = match stem.trim_end_matches('6') {
                    _ if folder == "regions" && stem != "names" => {
                        Err(match stem.parse().unwrap() {
                            // Of the codes in the lists, these are not in our table.
                            code @ (110_100 | 120_100 | 310_100) => code / 10_000 * 10_000,
                            code => code,
                        })
                    }
                    "chinanet" => Ok(Carrier::Telecom),
                    "unicom" => Ok(Carrier::Unicom),
                    "cmcc" => Ok(Carrier::Mobile),
                    "cernet" => Ok(Carrier::Cernet),
                    "cstnet" => Ok(Carrier::Cstnet),
                    "drpeng" => Ok(Carrier::Drpeng),
                    _ => continue,
                };
                for line in fs::read_to_string(path).unwrap().lines() {
                    let (address, prefix) = line.trim().split_once('/').unwrap();
                    let prefix: u32 = prefix.parse().unwrap();
                    let first = match address.parse::<IpAddr>().unwrap() {
                        IpAddr::V4(address) if !v6 => u128::from(address.to_bits()),
                        IpAddr::V6(address) if v6 => address.to_bits(),
                        _ => continue,
                    };
                    let last = first + ((1_u128 << (bits - prefix)) - 1);
                    for heap in first >> shift..=last >> shift {
                        let line = Line { first, last, prefix, of };
                        this.heaps[heap as usize].push(line);
                    }
                }
            }
        }
        this
    }

    /// Every first and last address of a network and those beside them, and others by chance.
    fn addresses(&self, by_chance: usize) -> Vec<u128> {
        let all = u128::MAX >> (128 - self.bits);
        let mut addresses: Vec<u128> = Vec::new();
        for line in self.heaps.iter().flatten() {
            addresses.extend([line.first, line.last]);
            addresses.extend(line.first.checked_sub(1));
            addresses.extend((line.last < all).then(|| line.last + 1));
        }
        // Numbers of a generator whose seed is known (SplitMix64), so that a failure repeats.
        let mut state = 20_260_216_u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u128::from(z ^ (z >> 31))
        };
        for _ in 0..by_chance {
            let address = (next() << 64 | next()) & all;
            // Half of those of IPv6 where there is anything at all.
            let inside = 0x2400_u128 << 112 | address >> 7;
            let inside = if self.bits == 128 && address & 1 == 1 { inside } else { address };
            addresses.push(inside);
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// What the written order makes of an address.
    fn place(&self, address: u128) -> (String, Carrier, Carriers) {
        let heap = &self.heaps[(address >> self.shift) as usize];
        let about: Vec<&Line> =
            heap.iter().filter(|line| (line.first..=line.last).contains(&address)).collect();
        let mut carriers: Vec<(u32, Carrier)> =
            about.iter().filter_map(|line| Some((line.prefix, line.of.ok()?))).collect();
        use Carrier::{Cernet, Cstnet, Drpeng, Mobile, Telecom, Unicom};
        let order = [Cernet, Cstnet, Drpeng, Unicom, Mobile, Telecom];
        let rank = |carrier: Carrier| order.iter().position(|of| *of == carrier).unwrap();
        carriers.sort_by_key(|(prefix, carrier)| (128 - prefix, rank(*carrier)));
        let carrier = carriers.first().map(|(_, carrier)| *carrier);
        let also = carriers.iter().map(|(_, of)| *of).filter(|of| Some(*of) != carrier).collect();
        // A city's code is larger than its province's, and that than the country's.
        let regions = about.iter().filter_map(|line| Some((line.prefix, line.of.err()?)));
        let region = regions.max().map(|(_, code)| code);
        let abroad = region.is_some_and(|code| matches!(code / 10_000, 71 | 81 | 82));
        let otherwise = if abroad { Carrier::Overseas } else { Carrier::Unknown };
        let region = region.map_or("unknown".to_owned(), |code| code.to_string());
        (region, carrier.unwrap_or(otherwise), also)
    }
}

#[test]
fn lookups_are_what_the_lists_say() {
    let Some(data) = data() else { return };
    let sources = Sources {
        carriers: vec![data.join("carriers")],
        regions: vec![data.join("regions")],
        ..Sources::default()
    };
    let began = Instant::now();
    let bytes = build(&sources);
    println!("{} bytes in {:?}", bytes.len(), began.elapsed());
    let databases = Databases { own: Some(open(bytes)), ..Databases::default() };
    for v6 in [false, true] {
        let reference = Reference::read(&data, v6);
        let addresses = reference.addresses(20_000);
        println!("{} addresses", addresses.len());
        assert!(addresses.len() > 20_000);
        let mut known = 0;
        for number in addresses {
            let address: IpAddr = if v6 {
                Ipv6Addr::from_bits(number).into()
            } else {
                Ipv4Addr::from_bits(number as u32).into()
            };
            if shared_spelling(address) {
                continue;
            }
            let place = databases.lookup(address);
            let found = (place.region.to_string(), place.carrier, place.also);
            assert_eq!(found, reference.place(number), "{address}");
            known +=
                u32::from(place.region != Region::Unknown || place.carrier != Carrier::Unknown);
        }
        assert!(known > 2_000, "{known}");
    }
}

/// Whether it is looked up as the IPv4 address inside it.
fn shared_spelling(address: IpAddr) -> bool {
    let IpAddr::V6(v6) = address else { return false };
    let [a, b, ..] = v6.segments();
    v6.to_bits() >> 32 <= 0xffff || a == 0x2002 || (a, b) == (0x2001, 0) || (a, b) == (0x64, 0xff9b)
}

#[test]
fn licensed_layouts_are_merged_too() {
    let Some(data) = data() else { return };
    let mmdb = data.join("mmdb");
    let sources = Sources {
        carriers: vec![data.join("carriers")],
        regions: vec![data.join("regions")],
        city: Some(mmdb.join("GeoIP2-City-Test.mmdb")),
        isp: Some(mmdb.join("GeoIP2-ISP-Test.mmdb")),
        asn: Some(mmdb.join("GeoLite2-ASN-Test.mmdb")),
        ..Sources::default()
    };
    let with = open(build(&sources));
    let without = open(build(&Sources { city: None, isp: None, asn: None, ..sources.clone() }));
    let diff = diff::diff((&without, "without"), (&with, "with")).unwrap();
    assert!(diff.families.iter().all(|moved| moved.moved > 0), "{diff:?}");
    let databases = Databases { own: Some(with), ..Databases::default() };
    let lookup = |address: &str| databases.lookup(address.parse().unwrap());
    let london = lookup("81.2.69.160");
    assert_eq!((london.cell().to_string(), london.city()), ("GB/overseas".into(), Some("London")));
    // City says Changchun; the lists, which know no better than it, come first.
    assert_eq!(lookup("175.16.199.7").region.to_string(), "220200");
    assert_eq!(lookup("2001:250::1").carrier, Carrier::Cernet);
}

#[test]
fn what_is_no_list_is_named() {
    let Some(data) = data() else { return };
    let sources = Sources { carriers: vec![data.join("regions")], ..Sources::default() };
    let error = sources.gather(|_| ()).unwrap_err().to_string();
    assert!(error.contains("regions/100000.txt: \"100000\" is no carrier; allowed are"), "{error}");
    assert!(error.contains("and 3") && error.lines().count() == 21, "{error}");
    let nothing = Sources::default().gather(|_| ()).unwrap_err().to_string();
    assert!(nothing.starts_with("no source is named"), "{nothing}");
}
