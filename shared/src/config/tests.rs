//! How a whole configuration is read, refused and printed.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use super::cli::{effective, reference};
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    Fsync,
    Os,
}

#[derive(Debug)]
struct Sample {
    tcp: SocketAddr,
    name: String,
    pings: Duration,
    batch: u32,
    share: f64,
    frame: ByteSize,
    trusted: Vec<IpNet>,
    durability: Durability,
    data: Option<PathBuf>,
    compress: bool,
    api_key: Option<Secret>,
    tokens: Vec<Secret>,
    namespaces: Vec<(String, u64)>,
}

impl Configure for Sample {
    fn read(reader: &mut Reader) -> Self {
        let durability = [("fsync", Durability::Fsync), ("os", Durability::Os)];
        reader.renamed("goim.listen", "goim.tcp");
        let sample = Self {
            tcp: reader.value("goim.tcp", "127.0.0.1:7612".parse().unwrap(), "goim over TCP"),
            name: reader.required("name", "bj-telecom".to_owned(), "this edge's name"),
            pings: reader.ranged(
                "ping.interval",
                Duration::from_secs(25),
                Duration::from_secs(1)..=Duration::from_secs(300),
                "time between pings",
            ),
            batch: reader.ranged("batch", 64, 1..=4096, "messages in a batch"),
            share: reader.value("share", 0.5, "share of | traffic"),
            frame: reader.value("frame_max", ByteSize::kib(64), "largest frame"),
            trusted: reader.list("trusted-proxies", Vec::new(), "proxies"),
            durability: reader.one_of("durability", Durability::Fsync, &durability, "how safe"),
            data: reader.optional("data", "where the log is kept"),
            compress: reader.value("compress", false, "whether to compress"),
            api_key: reader.secret("api.key", "key of the back end"),
            tokens: reader.secrets("api.tokens", "keys of tokens"),
            namespaces: reader
                .names("namespace")
                .into_iter()
                .map(|name| {
                    let key = format!("namespace.{name}.history");
                    let history = reader.value(&key, 100, "messages kept");
                    (name, history)
                })
                .collect(),
        };
        if sample.batch == 13 {
            reader.fault("batch", "is unlucky together with durability");
        }
        sample
    }
}

fn layers(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Layers {
    let variables = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Layers::new("LINECAST_EDGE")
        .with_file("linecast.toml", file)
        .with_environment(variables)
        .with_flags(flags.iter().copied())
}

fn secret_file(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/run/key") => Ok("from-the-file\n".to_owned()),
        Some("/run/keys") => Ok("one\n\n two \n".to_owned()),
        Some("/run/empty") => Ok("\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn read(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Sample, Faults> {
    resolve(layers(file, environment, flags), secret_file)
}

/// The faults as `key|source|value|problem`.
fn faults(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let faults = read(file, environment, flags).unwrap_err();
    let show = |f: &Fault| format!("{}|{}|{}|{}", f.key, f.source, f.value, f.problem);
    faults.list().iter().map(show).collect()
}

const FULL: &str = r#"
name = "sh-unicom"
batch = 128
share = 1
frame_max = "1MiB"
trusted-proxies = ["10.0.0.0/8", "192.0.2.1"]
durability = "os"
data = "/var/lib/linecast"
compress = true

[goim]
tcp = "[::]:7612"

[ping]
interval = "1m30s"

[api]
key = "hunter2"
tokens = ["a", "b"]

[namespace.live]
history = 1000

[namespace.chat]
"#;

#[test]
fn nothing_said_means_defaults() {
    let sample = read("", &[("LINECAST_EDGE_NAME", "a")], &[]).unwrap();
    assert_eq!(sample.name, "a");
    assert_eq!(sample.tcp.port(), 7612);
    assert_eq!(sample.pings, Duration::from_secs(25));
    assert_eq!(sample.durability, Durability::Fsync);
    assert!(sample.api_key.is_none() && sample.data.is_none() && sample.namespaces.is_empty());
}

#[test]
fn a_full_file_is_read() {
    let sample = read(FULL, &[], &[]).unwrap();
    assert_eq!(sample.tcp.to_string(), "[::]:7612");
    assert_eq!(sample.name, "sh-unicom");
    assert_eq!(sample.pings, Duration::from_secs(90));
    assert_eq!((sample.batch, sample.share), (128, 1.0));
    assert_eq!(sample.frame, ByteSize::mib(1));
    let trusted: Vec<String> = sample.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(sample.durability, Durability::Os);
    assert_eq!(sample.data, Some(PathBuf::from("/var/lib/linecast")));
    assert!(sample.compress);
    assert_eq!(sample.api_key.unwrap().expose(), "hunter2");
    assert_eq!(sample.tokens.len(), 2);
    assert_eq!(sample.namespaces, [("chat".to_owned(), 100), ("live".to_owned(), 1000)]);
}

#[test]
fn flags_go_over_the_environment_over_the_file() {
    let file = "name = \"a\"\nbatch = 1";
    let environment =
        [("LINECAST_EDGE_BATCH", "2"), ("LINECAST_EDGE_TRUSTED_PROXIES", "::1, 10.0.0.0/8")];
    assert_eq!(read(file, &[], &[]).unwrap().batch, 1);
    let sample = read(file, &environment, &[]).unwrap();
    assert_eq!((sample.batch, sample.trusted.len()), (2, 2));
    assert_eq!(read(file, &environment, &["batch=3", "batch=4"]).unwrap().batch, 4);
    let deep = [("LINECAST_EDGE_NAMESPACE_LIVE_HISTORY", "7")];
    let sample = read("name = \"a\"\n[namespace.live]", &deep, &[]).unwrap();
    assert_eq!(sample.namespaces, [("live".to_owned(), 7)]);
    let sample = read("name = \"a\"", &[], &["namespace.live.history=8"]).unwrap();
    assert_eq!(sample.namespaces, [("live".to_owned(), 8)]);
}

#[test]
fn each_bad_value_is_refused_with_what_is_allowed() {
    let cases = [
        ("goim.tcp = \"here\"", "goim.tcp", "must be an address and port"),
        ("goim.tcp = 7612", "goim.tcp", "must be an address and port"),
        ("ping.interval = \"400s\"", "ping.interval", "must be \"1s\" to \"5m\""),
        ("ping.interval = 25", "ping.interval", "must be a duration such as"),
        ("batch = 0", "batch", "must be 1 to 4096"),
        ("batch = -1", "batch", "must be a whole number from 0 to 4294967295"),
        ("batch = \"64\"", "batch", "must be a whole number"),
        ("batch = 1.5", "batch", "must be a whole number"),
        ("share = nan", "share", "must be a number"),
        ("frame_max = \"64KiBs\"", "frame_max", "must be a size such as"),
        (
            "trusted-proxies = [\"10.0.0.0/33\"]",
            "trusted-proxies",
            "\"10.0.0.0/33\" must be a network",
        ),
        ("trusted-proxies = \"10.0.0.0/8\"", "trusted-proxies", "must be a list, each a network"),
        ("durability = \"maybe\"", "durability", "must be one of fsync, os"),
        ("data = \"\"", "data", "must be a path"),
        ("compress = \"yes\"", "compress", "must be true or false"),
        ("compress = 2020-01-01", "compress", "must be true or false"),
        ("batch = 13", "batch", "is unlucky together with durability"),
    ];
    for (line, key, problem) in cases {
        let found = faults(&format!("name = \"a\"\n{line}"), &[], &[]);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        let start = format!("{key}|file linecast.toml:2|");
        assert!(found[0].starts_with(&start), "{line}: {found:?}");
        assert!(found[0].contains(&format!("|{problem}")), "{line}: {found:?}");
    }
}

#[test]
fn all_faults_are_found_at_once() {
    let file = "batch = 0\nshare = true\nunknown = 1\n[goim]\ntcp = \"x\"";
    let environment =
        [("LINECAST_EDGE_COMPRESS", "maybe"), ("LINECAST_EDGE_NONSENSE", "1"), ("OTHER", "1")];
    let found = faults(file, &environment, &["ping.interval=0s", "no-equals-sign"]);
    let keys: Vec<&str> = found.iter().filter_map(|fault| fault.split('|').next()).collect();
    let expected =
        ["", "goim.tcp", "name", "ping.interval", "batch", "share", "compress", "unknown", ""];
    assert_eq!(keys, expected, "{found:#?}");
    assert!(found[3].contains("flag --set ping.interval=…"), "{found:#?}");
    assert!(found[6].contains("environment LINECAST_EDGE_COMPRESS|\"maybe\""), "{found:#?}");
    assert!(found[8].contains("environment LINECAST_EDGE_NONSENSE"), "{found:#?}");
}

#[test]
fn faults_print_one_aligned_line_each() {
    let faults = read("name = \"a\"\nbatch = 0\ncompress = 1", &[], &[]).unwrap_err();
    let text = faults.to_string();
    assert_eq!(
        text,
        "configuration: 2 faults\n  \
         batch     file linecast.toml:2  0  must be 1 to 4096\n  \
         compress  file linecast.toml:3  1  must be true or false"
    );
}

#[test]
fn unknown_keys_fail_and_name_their_neighbour() {
    let cases = [
        ("bacth = 1", "bacth|file linecast.toml:2||is not a known key; did you mean batch?"),
        (
            "[gomi]\ntcp = 1",
            "gomi.tcp|file linecast.toml:3||is not a known key; did you mean goim.tcp?",
        ),
        ("zebra = 1", "zebra|file linecast.toml:2||is not a known key"),
        ("[gomi]", "gomi|file linecast.toml:2||is not a known key"),
        ("goim = 1", "goim|file linecast.toml:2||is a table, with keys such as goim.listen"),
        ("namespace.live = 1", "namespace.live|file linecast.toml:2||is not a known key"),
        ("batch.size = 1", "batch.size|file linecast.toml:2||is not a known key"),
        (
            "[namespace.live]\nhistroy = 1",
            "namespace.live.histroy|file linecast.toml:3||is not a known key; did you mean namespace.live.history?",
        ),
    ];
    for (line, expected) in cases {
        let found = faults(&format!("name = \"a\"\n{line}"), &[], &[]);
        assert_eq!(found, [expected]);
    }
    let found = faults("name = \"a\"", &[("LINECAST_EDGE_BACTH", "1")], &[]);
    let expected = "|environment LINECAST_EDGE_BACTH||is not a known variable; did you mean LINECAST_EDGE_BATCH?";
    assert_eq!(found, [expected]);
    assert!(read("name = \"a\"\n[goim]", &[], &[]).is_ok(), "an empty known table");
}

#[test]
fn a_broken_file_says_where() {
    let found = faults("name = \"a\"\nbatch = = 1", &[], &[]);
    assert!(found[0].starts_with("|file linecast.toml:2||"), "{found:?}");
    let found = faults("name = \"a\"\n[namespace.\"a.b\"]\nhistory = 1", &[], &[]);
    assert!(found[0].contains("names consist of"), "{found:?}");
}

#[test]
fn an_old_key_names_the_new_one() {
    let found = faults("name = \"a\"\ngoim.listen = 1", &[], &[]);
    assert_eq!(found, ["goim.listen|file linecast.toml:2||is now called goim.tcp"]);
}

#[test]
fn a_required_key_says_how_to_set_it() {
    let found = faults("", &[], &[]);
    let expected =
        "name|default||must be set here or in LINECAST_EDGE_NAME, for example \"bj-telecom\"";
    assert_eq!(found, [expected]);
    assert_eq!(faults("name = 1", &[], &[]), ["name|file linecast.toml:1|1|must be a text"]);
}

#[test]
fn secrets_come_from_files_and_the_environment() {
    let key = |file: &str, environment: &[(&str, &str)]| {
        let sample = read(&format!("name = \"a\"\n{file}"), environment, &[]).unwrap();
        sample.api_key.map(|key| key.expose().to_owned())
    };
    assert_eq!(key("api.key = \"k\"", &[]), Some("k".to_owned()));
    assert_eq!(key("api.key_file = \"/run/key\"", &[]), Some("from-the-file".to_owned()));
    let environment = [("LINECAST_EDGE_API_KEY", "e")];
    assert_eq!(key("api.key_file = \"/run/key\"", &environment), Some("e".to_owned()));
    let environment = [("LINECAST_EDGE_API_KEY_FILE", "/run/key")];
    assert_eq!(key("api.key = \"k\"", &environment), Some("from-the-file".to_owned()));
    let sample = read("name = \"a\"\napi.tokens_file = \"/run/keys\"", &[], &[]).unwrap();
    let tokens: Vec<&str> = sample.tokens.iter().map(Secret::expose).collect();
    assert_eq!(tokens, ["one", "two"]);
}

#[test]
fn bad_secrets_are_faults_that_do_not_show_them() {
    let cases = [
        (
            "api.key = \"k\"\napi.key_file = \"/run/key\"",
            &[][..],
            "must not be set beside api.key_file",
        ),
        ("api.key_file = \"/run/absent\"", &[], "cannot be read"),
        ("api.key_file = \"/run/empty\"", &[], "is an empty file"),
        ("api.key_file = \"/run/keys\"", &[], "must be a single secret"),
        ("api.key = 5", &[], "must be a text that is not empty"),
        ("api.key = \"\"", &[], "must be a text that is not empty"),
        ("", &["api.key=hunter2"], "a flag is visible to every user"),
        ("api.kye = \"hunter2\"", &[], "did you mean api.key?"),
    ];
    for (line, flags, problem) in cases {
        let found = faults(&format!("name = \"a\"\n{line}"), &[], flags);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(problem) && !found[0].contains("hunter2"), "{line}: {found:?}");
    }
}

#[test]
fn a_secret_never_prints() {
    let sample = read(FULL, &[], &[]).unwrap();
    let key = sample.api_key.as_ref().unwrap();
    assert_eq!(format!("{key} {key:?}"), "*** ***");
    assert!(key.matches(b"hunter2") && !key.matches(b"hunter") && !key.matches(b"hunter3"));
    assert!(!format!("{sample:?}").contains("hunter2"));
    let printed = effective::<Sample>(layers(FULL, &[], &[])).unwrap();
    assert!(printed.contains("# key = \"***\""), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn what_is_printed_can_be_loaded_again() {
    let first = effective::<Sample>(layers(FULL, &[], &["batch=7"])).unwrap();
    assert!(first.contains("from: flag --set batch=…\nbatch = 7\n"), "{first}");
    let again = read(&first, &[], &[]).unwrap();
    let mut expected = read(FULL, &[], &["batch=7"]).unwrap();
    (expected.api_key, expected.tokens) = (None, Vec::new());
    assert_eq!(format!("{again:?}"), format!("{expected:?}"));
}

#[test]
fn the_reference_lists_every_key() {
    let text = reference::<Sample>("LINECAST_EDGE");
    assert!(text.contains("| `batch` | `64` | 1 to 4096 | messages in a batch |"), "{text}");
    assert!(
        text.contains("| `name` | must be set | a text; for example \"bj-telecom\" |"),
        "{text}"
    );
    assert!(text.contains("| `namespace.NAME.history` | `100` |"), "{text}");
    assert!(text.contains("share of \\| traffic"), "{text}");
    assert!(!text.contains("goim.listen"), "{text}");
}

#[test]
fn service_links_of_kubernetes_are_no_faults() {
    let links = [
        ("LINECAST_EDGE_SERVICE_HOST", "10.0.0.1"),
        ("LINECAST_EDGE_SERVICE_PORT", "80"),
        ("LINECAST_EDGE_SERVICE_PORT_GOIM", "80"),
        ("LINECAST_EDGE_PORT", "tcp://10.0.0.1:80"),
        ("LINECAST_EDGE_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("LINECAST_EDGE_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(read("name = \"a\"", &links, &[]).is_ok());
    assert!(read("name = \"a\"", &[("LINECAST_EDGE_PORT_80", "1")], &[]).is_err());
}

#[test]
fn durations_and_sizes_are_exact() {
    let duration = |text: &str| Duration::parse(&Raw::Text(text.to_owned()));
    for (text, ms) in
        [("50ms", 50), ("1.5s", 1500), ("1h30m", 5_400_000), ("7d", 604_800_000), ("0s", 0)]
    {
        assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
    }
    for bad in [
        "",
        "5",
        "s",
        "-5s",
        "5 s",
        "1..5s",
        ".5s",
        "5.s",
        "0.1ns",
        "101y",
        "40000d",
        "99999999999999999999s",
    ] {
        assert!(duration(bad).is_err(), "{bad}");
    }
    let size = |text: &str| ByteSize::parse(&Raw::Word(text.to_owned()));
    for (text, bytes) in [
        ("0", 0),
        ("4096", 4096),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("1.5MiB", 1_572_864),
        ("2MB", 2_000_000),
    ] {
        assert_eq!(size(text), Ok(ByteSize(bytes)), "{text}");
    }
    for bad in ["", "KiB", "-1", "1QiB", "0.3B", "99999999TiB"] {
        assert!(size(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn every_duration_prints_back(ns in 0_u64..3_000_000_000_000_000_000) {
        let duration = Duration::from_nanos(ns);
        prop_assert_eq!(Duration::parse(&duration.print()), Ok(duration));
    }

    #[test]
    fn every_size_prints_back(bytes: u64, shift in 0_u32..64) {
        let size = ByteSize(bytes >> shift << (shift / 2));
        prop_assert_eq!(ByteSize::parse(&size.print()), Ok(size));
    }

    #[test]
    fn every_text_prints_back(text: String) {
        let file = format!("name = {}", text.print());
        prop_assert_eq!(read(&file, &[], &[]).unwrap().name, text);
    }

    #[test]
    fn no_file_panics(text in "[a-z\\[\\]=.\"'#\n 0-9{}]{0,80}") {
        let _ = read(&text, &[], &[]);
    }
}
