//! Real files: MaxMind's test databases, their collection of broken ones, and the names of regions.
//! They lie beside the workspace, in `../shared/data`; without that folder the tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests: the lints know only functions marked #[test]"
)]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use geo_data::build::Builder;
use geo_data::database::Kind;
use geo_data::io::{Paths, open};
use geo_data::{Carrier, Databases, Place, Region, Source};

/// A folder of the data, or `None` after a printed message.
fn data(folder: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let path = workspace.parent()?.join("shared/data").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no folder {}", path.display());
    None
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Addresses all over both families, so that lookups end in many records.
fn sample() -> impl Iterator<Item = IpAddr> {
    let v4 = (0..=u16::MAX)
        .step_by(7)
        .map(|high| IpAddr::from((u32::from(high) << 16 | 9).to_be_bytes()));
    let v6 = (0..=u16::MAX)
        .step_by(7)
        .map(|high| IpAddr::from((u128::from(high) << 112 | 9).to_be_bytes()));
    v4.chain(v6)
}

#[test]
fn every_broken_database_is_refused_or_answers() {
    let Some(folder) = data("mmdb-bad") else { return };
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        for kind in [Kind::Own, Kind::City, Kind::Isp, Kind::Asn] {
            let (sender, receiver) = mpsc::channel();
            let path = file.clone();
            // On a thread, so that a hang is a failure with a name.
            thread::spawn(move || sender.send(try_out(kind, &path)));
            match receiver.recv_timeout(Duration::from_secs(20)) {
                Ok(outcome) => println!("{} as {kind}: {outcome}", file.display()),
                Err(error) => panic!("{} as {kind}: {error}", file.display()),
            }
        }
    }
}

/// Opens a file and looks up a sample in it; the outcome in words. A refusal must name the file.
fn try_out(kind: Kind, path: &Path) -> String {
    match open(kind, path) {
        Ok(database) => {
            // Whatever can be opened can also be walked through, or is refused then.
            let walked = Builder::default().add_database(&database, "bad");
            println!("{} walked: {:?}", path.display(), walked.is_ok());
            let mut databases = Databases::default();
            match kind {
                Kind::Own => databases.own = Some(database),
                Kind::City => databases.city = Some(database),
                Kind::Isp => databases.isp = Some(database),
                Kind::Asn => databases.asn = Some(database),
            }
            let known = sample().filter(|address| databases.lookup(*address) != Place::default());
            format!("answers {} of the sample", known.count())
        }
        Err(error) => {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{error}");
            error.to_string()
        }
    }
}

#[test]
fn the_layouts_of_licensed_files() {
    let Some(folder) = data("mmdb") else { return };
    let paths = Paths {
        own: None,
        city: Some(folder.join("GeoIP2-City-Test.mmdb")),
        isp: Some(folder.join("GeoIP2-ISP-Test.mmdb")),
        asn: Some(folder.join("GeoLite2-ASN-Test.mmdb")),
    };
    let databases = paths.open().unwrap();

    let changchun = databases.lookup(ip("175.16.199.7"));
    assert_eq!(changchun.region, Region::parse("220100").unwrap());
    assert_eq!((changchun.city(), changchun.province()), (Some("长春市"), Some("吉林省")));
    assert_eq!(changchun.found.region, Source::City);
    assert_eq!(databases.lookup(ip("::ffff:175.16.199.7")), changchun);

    let cernet = databases.lookup(ip("2001:250::1"));
    assert_eq!(cernet.country.map(|country| country.to_string()).as_deref(), Some("CN"));

    let london = databases.lookup(ip("81.2.69.160"));
    assert_eq!(london.cell().to_string(), "GB/overseas");
    assert_eq!(london.city(), Some("London"));
    assert_eq!(london.found.position, Source::City);

    assert_eq!(databases.lookup(ip("127.0.0.1")).carrier, Carrier::Unknown);
    sample().for_each(|address| drop(databases.lookup(address)));
    assert_eq!(databases.unreadable_records(), 0);
}

#[test]
fn other_layouts_serve_or_are_refused_by_name() {
    let Some(folder) = data("mmdb") else { return };
    for city in ["GeoLite2-City-Test.mmdb", "GeoLite2-Country-Test.mmdb"] {
        let city = open(Kind::City, &folder.join(city)).unwrap();
        let databases = Databases { city: Some(city), ..Databases::default() };
        assert_eq!(databases.lookup(ip("81.2.69.160")).cell().to_string(), "GB/overseas");
    }
    let wrong = folder.join("GeoIP2-Connection-Type-Test.mmdb");
    let error = open(Kind::Isp, &wrong).unwrap_err().to_string();
    assert!(error.contains("GeoIP2-Connection-Type") && error.contains("isp"), "{error}");
}

#[test]
fn every_listed_region_is_in_the_table() {
    let Some(folder) = data("regions") else { return };
    let names = fs::read_to_string(folder.join("names.csv")).unwrap();
    for line in names.lines().skip(1) {
        let code = line.split(',').next().unwrap();
        let region = Region::parse(code).unwrap_or_else(|| panic!("{line} is not in the table"));
        assert_eq!(region.to_string(), code, "{line}");
    }
}
