//! A whole svrlist on sockets of its own: an edge reports, a client asks.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::Value;
use shared::io::tls::NodeFiles;
use shared::wire::control::{Ends, Hello, PrefixEnds, Report, Up, down, up};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;
use crate::fixture;
use crate::registry::RELISTS_AT_ONCE;

mod board;
mod contract;
mod reports;
mod strangers;

/// Longer than any test should take: reaching it is the failure.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a private CA, which goes away with the test.
pub(super) struct Pki {
    pub(super) folder: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("linecast-svrlist-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let this = Self { folder, ca };
        this.write("ca.pem", this.ca.pem());
        this
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn node(&self, name: &str) -> NodeFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        NodeFiles {
            ca: self.folder.join("ca.pem"),
            certificate: self.write(&format!("{name}.pem"), certificate.pem()),
            key: self.write(&format!("{name}.key"), key.serialize_pem()),
            revoked: None,
        }
    }

    /// A svrlist on free ports with the demo's places.
    pub(super) fn config(&self) -> Config {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = crate::config::tests::config("dashboard.open = true").unwrap();
        config.node = self.node("svrlist.one.linecast");
        config.places.own = Some(self.write("places.mmdb", geo_data::demo::database()));
        (config.listen, config.admin, config.line) = (any, any, any);
        config
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A svrlist that serves until it is ended.
pub(super) struct Running {
    pub(super) addresses: Addresses,
    shutdown: Shutdown,
    serving: JoinSet<Result<(), RunError>>,
}

impl Running {
    pub(super) async fn start(config: Config) -> Self {
        Self::serve(Svrlist::open(config).await.unwrap())
    }

    fn serve(svrlist: Svrlist) -> Self {
        let addresses = svrlist.addresses().unwrap();
        let shutdown = Shutdown::new();
        let mut serving = JoinSet::new();
        serving.spawn(svrlist.serve(shutdown.clone()));
        Self { addresses, shutdown, serving }
    }

    pub(super) async fn end(mut self) {
        self.shutdown.trigger();
        self.serving.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// An edge's line, and the endpoint that must live as long.
pub(super) struct EdgeLine {
    pub(super) call: line::Call,
    _endpoint: Endpoint,
}

impl EdgeLine {
    pub(super) async fn open(pki: &Pki, name: &str, svrlist: SocketAddr) -> Self {
        let nodes = Nodes::load(&pki.node(&format!("edge.{name}.linecast"))).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint =
            line::calling(any, &nodes, Role::Svrlist, line::Settings::default()).unwrap();
        let hello = Hello { protocol: 1, node: name.to_owned(), session: 1, ..Hello::default() };
        let call = line::call(&endpoint, svrlist, hello).await.unwrap();
        Self { call, _endpoint: endpoint }
    }

    pub(super) async fn report(&mut self, report: Report) {
        self.call.up.send(&Up { kind: Some(up::Kind::Report(report)), number: 0 }).await.unwrap();
    }
}

async fn get_text(address: SocketAddr, target: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn get(address: SocketAddr, target: &str) -> (u16, Value) {
    let (status, body) = get_text(address, target).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// Asks until `holds`.
async fn until_text(address: SocketAddr, target: &str, holds: impl Fn(&str) -> bool) -> String {
    let asking = async {
        loop {
            let (_, text) = get_text(address, target).await;
            if holds(&text) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

/// Asks for JSON until `holds`.
pub(super) async fn until(
    address: SocketAddr,
    target: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    let json = |text: &str| serde_json::from_str(text).unwrap();
    json(&until_text(address, target, |text| holds(&json(text))).await)
}

#[tokio::test]
async fn an_edge_reports_and_a_client_is_told_of_it() {
    let pki = Pki::new();
    let running = Running::start(pki.config()).await;
    let Addresses { listen: http, line, .. } = running.addresses;

    assert_eq!(get(http, "/svrlist").await.0, 503);
    let mut edge = EdgeLine::open(&pki, "bj-1", line).await;
    assert_eq!(edge.call.welcome.node, "one");
    edge.report(fixture::report("bj-1", "110000", "telecom")).await;
    let answer = until(http, "/svrlist?uid=42", |answer| answer["servers"].is_array()).await;
    assert_eq!(answer["servers"][0]["id"], "bj-1");
    assert_eq!(answer["servers"][0]["why"], "same carrier, 0 km, load 0 %");

    // A report in another's name is refused, and the line goes on.
    edge.report(fixture::report("sh-1", "310000", "unicom")).await;
    let mut leaving = fixture::report("bj-1", "110000", "telecom");
    leaving.draining = true;
    edge.report(leaving).await;
    let draining = |edges: &Value| edges["edges"][0]["draining"] == true;
    let edges = until(http, "/api/overview", draining).await;
    assert_eq!(edges["edges"].as_array().unwrap().len(), 1);
    let (_, page) = get(http, "/api/edges/bj-1").await;
    assert_eq!(
        (&page["edge"]["name"], &page["edge"]["state"]),
        (&"bj-1".into(), &"draining".into())
    );
    assert_eq!(get(http, "/api/edges/sh-1").await.0, 404);

    running.end().await;
}

#[test]
fn news_of_edges_waits_for_no_lesson() {
    // Lessons are learnt where one thread does what takes a while, and that is held for as long as this lasts.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let pki = Pki::new();
        let svrlist = Svrlist::open(pki.config()).await.unwrap();
        let desk = Arc::clone(&svrlist.desk);
        let (free, held) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv());
        let running = Running::serve(svrlist);
        let listed = async {
            // The first are listed at once, the others when it is their turn.
            for at in 1..=RELISTS_AT_ONCE as usize + 4 {
                let edge = fixture::edge(&format!("bj-{at}"), "110000", "telecom");
                desk.tell(|registry, now| registry.handle_report(edge, now));
                while desk.site.list().edges.len() < at {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        let listed = tokio::time::timeout(PATIENCE, listed).await;
        drop(free);
        running.end().await;
        listed.expect("all are listed while the lesson lasts");
    });
}

#[tokio::test]
async fn a_broken_database_ends_the_start_with_its_name() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.places.city = Some(pki.write("city.mmdb", "no database"));
    let error = Svrlist::open(config).await.unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("city.mmdb") && cause.contains("broken"), "{cause}");
}

#[tokio::test]
async fn the_certificate_of_another_role_is_refused() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.node = pki.node("origin.one.linecast");
    let error = Svrlist::open(config).await.unwrap_err().to_string();
    assert!(error.contains("origin.one.linecast"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let pki = Pki::new();
    let first = Svrlist::open(pki.config()).await.unwrap();
    let mut config = pki.config();
    config.listen = first.addresses().unwrap().listen;
    let error = Svrlist::open(config).await.unwrap_err().to_string();
    assert!(error.contains("cannot listen on 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn replaced_places_count_without_a_restart() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.places_poll = Duration::from_millis(10);
    let path = config.places.own.clone().unwrap();
    let running = Running::start(config).await;
    let Addresses { listen: http, admin, line } = running.addresses;
    let mut edge = EdgeLine::open(&pki, "bj-1", line).await;
    edge.report(fixture::report("bj-1", "110000", "telecom")).await;
    until(http, "/svrlist", |answer| answer["cell"]["carrier"] == "telecom").await;

    std::fs::write(&path, "no database").unwrap();
    let refused = "place_reloads_total{outcome=\"refused\"} 1";
    until_text(admin, "/metrics", |metrics| metrics.contains(refused)).await;
    assert_eq!(get(http, "/svrlist").await.1["cell"]["carrier"], "telecom");

    std::fs::write(&path, places_of(geo_data::Carrier::Mobile)).unwrap();
    until(http, "/svrlist", |answer| answer["cell"]["carrier"] == "mobile").await;
    running.end().await;
}

/// A database in which everybody is a client of one carrier.
fn places_of(carrier: geo_data::Carrier) -> Vec<u8> {
    let entry = geo_data::write::Entry {
        network: "127.0.0.0/8".parse().unwrap(),
        region: geo_data::Region::parse("440100").unwrap(),
        city_abroad: None,
        carrier,
    };
    geo_data::write::database(&[entry], SystemTime::UNIX_EPOCH).unwrap()
}

/// How often databases were looked at anew, by outcome.
fn reloads(metrics: &str, outcome: &str) -> u64 {
    let name = format!("place_reloads_total{{outcome=\"{outcome}\"}} ");
    let count = metrics.lines().find_map(|line| line.split_once(&name)?.1.parse().ok());
    count.unwrap_or_default()
}

#[tokio::test]
async fn no_request_is_lost_while_places_change() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.places_poll = Duration::from_millis(5);
    let path = config.places.own.clone().unwrap();
    let running = Running::start(config).await;
    let Addresses { listen: http, admin, line } = running.addresses;
    let mut edge = EdgeLine::open(&pki, "bj-1", line).await;
    edge.report(fixture::report("bj-1", "110000", "telecom")).await;
    until(http, "/svrlist", |answer| answer["servers"].is_array()).await;

    let swapped = Shutdown::new();
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let swapped = swapped.clone();
        clients.spawn(async move {
            let mut answers = 0;
            while !swapped.is_triggered() {
                let (status, answer) = get(http, "/svrlist").await;
                let carrier = answer["cell"]["carrier"].as_str().unwrap_or_default().to_owned();
                assert!(status == 200 && ["telecom", "mobile"].contains(&&*carrier), "{answer}");
                answers += 1;
            }
            answers
        });
    }
    for (number, carrier) in ["mobile", "telecom"].into_iter().cycle().take(20).enumerate() {
        // Half of them as an operator should, half while the watch may read what is half written.
        let bytes = places_of(geo_data::Carrier::parse(carrier).unwrap());
        if number % 2 == 0 {
            let new = pki.write("places.mmdb.new", bytes);
            std::fs::rename(new, &path).unwrap();
        } else {
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            tokio::time::sleep(Duration::from_millis(7)).await;
            std::fs::write(&path, bytes).unwrap();
        }
        until(http, "/svrlist", |answer| answer["cell"]["carrier"] == carrier).await;
    }
    swapped.trigger();
    while let Some(answers) = clients.join_next().await {
        assert!(answers.unwrap() > 0);
    }
    until_text(admin, "/metrics", |metrics| reloads(metrics, "taken") >= 20).await;
    running.end().await;
}

/// MaxMind's broken databases lie beside the workspace; without them the test says so and passes.
#[tokio::test]
async fn broken_places_are_refused_and_clients_are_answered() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let (good, bad) = (data.join("mmdb/GeoLite2-City-Test.mmdb"), data.join("mmdb-bad"));
    if !good.is_file() || !bad.is_dir() {
        println!("skipped: no databases in {}", data.display());
        return;
    }
    let pki = Pki::new();
    let mut config = pki.config();
    config.places_poll = Duration::from_millis(5);
    let path = pki.write("city.mmdb", std::fs::read(&good).unwrap());
    config.places.city = Some(path.clone());
    let running = Running::start(config).await;
    let Addresses { listen: http, admin, line } = running.addresses;
    let mut edge = EdgeLine::open(&pki, "bj-1", line).await;
    edge.report(fixture::report("bj-1", "110000", "telecom")).await;
    until(http, "/svrlist", |answer| answer["servers"].is_array()).await;

    let files = std::fs::read_dir(bad).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 20);
    for (before, file) in (0..).zip(&files) {
        let new = pki.write("city.mmdb.new", std::fs::read(file).unwrap());
        std::fs::rename(new, &path).unwrap();
        let looked = |metrics: &str| reloads(metrics, "taken") + reloads(metrics, "refused");
        until_text(admin, "/metrics", |metrics| looked(metrics) > before).await;
        let (status, answer) = get(http, "/svrlist").await;
        assert_eq!((status, &answer["cell"]["carrier"]), (200, &"telecom".into()), "{file:?}");
    }
    let (_, metrics) = get_text(admin, "/metrics").await;
    assert!(reloads(&metrics, "refused") > 15, "{metrics}");
    let taken = reloads(&metrics, "taken");
    std::fs::copy(&good, pki.folder.join("city.mmdb.new")).unwrap();
    std::fs::rename(pki.folder.join("city.mmdb.new"), &path).unwrap();
    until_text(admin, "/metrics", |metrics| reloads(metrics, "taken") > taken).await;
    running.end().await;
}

#[tokio::test]
async fn a_restarted_svrlist_answers_before_anybody_reports() {
    let pki = Pki::new();
    let mut config = pki.config();
    let folder = pki.folder.join("state");
    config.state.folder = Some(folder.clone());
    let first = Running::start(config.clone()).await;
    let mut edges = Vec::new();
    for (name, region, carrier) in [("bj-1", "110000", "telecom"), ("sh-1", "310000", "unicom")] {
        let mut edge = EdgeLine::open(&pki, name, first.addresses.line).await;
        edge.report(fixture::report(name, region, carrier)).await;
        edges.push(edge);
    }
    let http = first.addresses.listen;
    let two = |answer: &Value| answer["servers"].as_array().is_some_and(|all| all.len() == 2);
    let before = until(http, "/svrlist?uid=42", two).await;
    assert_eq!(before["stale"], false);
    first.end().await;
    drop(edges);

    let second = Running::start(config.clone()).await;
    let (status, after) = get(second.addresses.listen, "/svrlist?uid=42").await;
    assert_eq!((status, &after["stale"]), (200, &true.into()));
    let names = |answer: &Value| -> Vec<String> {
        let servers = answer["servers"].as_array().unwrap();
        servers.iter().map(|server| server["id"].to_string()).collect()
    };
    assert_eq!(names(&after), names(&before));
    // An edge reports, and soon the other one is believed to be gone.
    let mut edge = EdgeLine::open(&pki, "bj-1", second.addresses.line).await;
    edge.report(fixture::report("bj-1", "110000", "telecom")).await;
    until(second.addresses.listen, "/svrlist", |answer| answer["stale"] == false).await;
    second.end().await;

    // Damaged files are set aside, and it starts all the same.
    for name in ["learning.json", "budgets.json", "edges.json"] {
        let path = folder.join(name);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    }
    let third = Running::start(config).await;
    assert_eq!(get(third.addresses.listen, "/svrlist").await.0, 503);
    third.end().await;
    let kept = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut kept: Vec<String> = kept.map(|name| name.into_string().unwrap()).collect();
    kept.retain(|name| name.contains(".damaged-"));
    assert_eq!(kept.len(), 3, "{kept:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_ends_the_start_with_its_name() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.state.folder = Some(pki.write("a file", "").join("state"));
    let error = Svrlist::open(config).await.unwrap_err().to_string();
    assert!(error.contains("a file/state (state.folder)"), "{error}");
}

#[tokio::test]
async fn how_sessions_ended_is_taken_once_and_answered_each_time() {
    let pki = Pki::new();
    let running = Running::start(pki.config()).await;
    let batch = |number, normal| {
        let prefix = vec![127, 0, 3].into();
        let ends = PrefixEnds { prefix, normal, ..PrefixEnds::default() };
        Some(Ends { session: 7, number, prefixes: vec![ends] })
    };
    let report = |ends| Report {
        begun: 100,
        ended: 100,
        ends,
        ..fixture::report("bj-1", "110000", "telecom")
    };
    // The second is told again by another line; the third claims more than have ended.
    for told in [vec![batch(1, 10), batch(2, 10)], vec![batch(2, 10), batch(3, 1000)]] {
        let mut edge = EdgeLine::open(&pki, "bj-1", running.addresses.line).await;
        for ends in told {
            let number = ends.as_ref().unwrap().number;
            edge.report(report(ends)).await;
            let taken = async {
                loop {
                    let heard = edge.call.down.receive().await.unwrap().unwrap();
                    if let Some(down::Kind::EndsTaken(taken)) = heard.kind {
                        return taken;
                    }
                }
            };
            let taken = tokio::time::timeout(PATIENCE, taken).await.unwrap();
            assert_eq!((taken.session, taken.number), (7, number));
        }
    }
    let (_, metrics) = get_text(running.addresses.admin, "/metrics").await;
    let count = |outcome: &str| {
        let label = format!("end_batches_total{{outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find(|line| line.contains(&label));
        line.and_then(|line| line.split(' ').nth(1)).unwrap_or("0").to_owned()
    };
    assert_eq!((count("taken").as_str(), count("refused").as_str()), ("3", "1"), "{metrics}");
    running.end().await;
}
