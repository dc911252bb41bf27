//! A svrlist process of its own, with places for the addresses that are asked from and edges that report.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use deploy::network::Layout;
use geo_data::region::divisions;
use geo_data::write::{Entry, database};
use geo_data::{Carrier, Region};
use ipnet::Ipv4Net;
use shared::io::line::{self, LineError};
use shared::io::tls::{Nodes, Role};
use shared::wire::control::{Endpoint, Ends, Hello, LineReport, PrefixEnds, Report, Up, up};
use tokio::runtime::Runtime;

use super::{FIRST, loopback};
use crate::metrics::Metrics;
use crate::network::{Process, Program, runtime, show_logs};
use crate::wait::until;

/// Edges at most. Those beyond the provinces and carriers below share them.
pub const EDGES_MAX: usize = 1000;

/// What edges tell beside their load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Lines of each edge, all good.
    pub lines: u32,
    /// Networks of clients of whose sessions each edge tells the ends, every time: of a cell each.
    pub networks: u32,
}

/// A running svrlist; dropping it ends the process.
#[derive(Debug)]
pub struct World {
    /// The process.
    pub svrlist: Process,
    /// Where clients ask.
    pub address: std::net::SocketAddr,
    /// Its admin listener as `http://host:port`.
    pub admin: String,
    /// How many cells the addresses belong to.
    pub cells: usize,
    /// The edges report here.
    _edges: Runtime,
}

impl World {
    /// Starts a svrlist with so many edges; everything is written into `folder`.
    pub fn start(
        program: Program,
        folder: &Path,
        edges: usize,
        told: Told,
        settings: &[String],
    ) -> Result<Self> {
        ensure!((1..=EDGES_MAX).contains(&edges), "1 to {EDGES_MAX} edges");
        let ports = crate::network::ports(edges)?;
        let files = deploy::network::write(folder, &ports).context("write the configuration")?;
        let layout = Layout::new(folder, &ports);
        let (database, cells) = places()?;
        let places = folder.join("answers.mmdb");
        std::fs::write(&places, database).context("write the places")?;
        let config = files.svrlist.display().to_string();
        let mut arguments =
            ["svrlist", "--end-with-stdin", "--config", &config].map(str::to_owned).to_vec();
        let own = [format!("place.own={}", places.display()), "log=warn".to_owned()];
        arguments
            .extend(own.iter().chain(settings).flat_map(|set| ["--set".to_owned(), set.clone()]));
        let admin = format!("http://127.0.0.1:{}", ports.svrlist_admin);
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        let log = logs.join("svrlist.log");
        let ready = format!("{admin}/readyz");
        let mut svrlist = Process::new("svrlist", program, arguments, log, ready);
        let runtime = runtime()?;
        let line = loopback(ports.svrlist_line);
        // Starting a child takes the runtime that will watch it.
        let _inside = runtime.enter();
        svrlist.start()?;
        let ready = async {
            for at in 0..edges {
                let nodes = Nodes::load(&layout.pki().node_files(&layout.nodes()[2 + at]))?;
                let mut stand = Stand::new(at, nodes, told);
                runtime.spawn(async move {
                    // Of many that call at once some have to call again.
                    while stand.report(line).await.is_err() {
                        tokio::time::sleep(REPORT_EVERY).await;
                    }
                });
                // Not all of many at once: each makes certificates be checked.
                if (at + 1).is_multiple_of(TOGETHER) || at + 1 == edges {
                    svrlist.ready().await?;
                    let listed =
                        async || Metrics::read(&admin).await?.get("linecast_svrlist_live_edges");
                    let all = |listed: &f64| *listed == (at + 1) as f64;
                    until("every edge is listed", listed, all).await?;
                }
            }
            anyhow::Ok(())
        };
        if let Err(error) = runtime.block_on(ready) {
            show_logs(folder);
            return Err(error);
        }
        let address = loopback(ports.svrlist);
        Ok(Self { svrlist, address, admin, cells, _edges: runtime })
    }
}

/// An edge that reports and does nothing else.
struct Stand {
    nodes: Nodes,
    report: Report,
    networks: u32,
    turn: u32,
}

impl Stand {
    /// Edge `at`: three to a province, each of another carrier, with room for many clients.
    fn new(at: usize, nodes: Nodes, told: Told) -> Self {
        let name = nodes.name().name;
        let region = provinces().nth(at / CARRIERS.len() % provinces().count());
        let region = region.map(|region| region.to_string()).unwrap_or_default();
        let endpoint = |protocol: &str, port| Endpoint {
            protocol: protocol.to_owned(),
            host: format!("{name}.edges.example"),
            port,
        };
        let report = Report {
            region,
            carrier: CARRIERS[at % CARRIERS.len()].as_str().to_owned(),
            site: format!("site-{}", at / CARRIERS.len()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoints: vec![
                endpoint("goim-tcp", 3101),
                endpoint("goim-tcp-tls", 3103),
                endpoint("http", 3102),
                endpoint("https", 443),
            ],
            weight: 1.0,
            connections_max: 100_000,
            started_ms: 1,
            edge: name,
            lines: (0..told.lines).map(line_report).collect(),
            ..Report::default()
        };
        Self { nodes, report, networks: told.networks, turn: 0 }
    }

    /// Reports until the runtime ends; the load moves, as it does in life.
    async fn report(&mut self, svrlist: SocketAddr) -> Result<(), LineError> {
        let settings = line::Settings::default();
        let endpoint = line::calling(loopback(0), &self.nodes, Role::Svrlist, settings)?;
        let hello =
            Hello { protocol: 1, node: self.report.edge.clone(), session: 1, ..Hello::default() };
        let mut call = line::call(&endpoint, svrlist, hello).await?;
        let mut interval = tokio::time::interval(REPORT_EVERY);
        loop {
            let turn = self.turn;
            self.turn += 1;
            interval.tick().await;
            self.report.connections = 40_000 + turn * 997 % 10_000;
            if self.networks > 0 {
                let networks = (0..self.networks).map(|network| ends(network, turn));
                let prefixes: Vec<PrefixEnds> = networks.collect();
                let ended: u32 = prefixes.iter().map(|ends| ends.normal + ends.reset).sum();
                self.report.begun += u64::from(ended);
                self.report.ended += u64::from(ended);
                self.report.ends = Some(Ends { session: 1, number: u64::from(turn) + 1, prefixes });
            }
            let kind = Some(up::Kind::Report(self.report.clone()));
            call.up.send(&Up { kind, number: 0 }).await?;
        }
    }
}

/// A good line to one of four carriers' addresses.
fn line_report(line: u32) -> LineReport {
    LineReport {
        line,
        local: format!("198.51.100.{line}:0"),
        remote: format!("203.0.113.{line}:7401"),
        local_carrier: CARRIERS[line as usize % CARRIERS.len()].as_str().to_owned(),
        remote_carrier: CARRIERS[line as usize / 2 % CARRIERS.len()].as_str().to_owned(),
        upstream: "origin".to_owned(),
        up: true,
        state: "good".to_owned(),
        primary: line == 0,
        rtt_ms: 40.25 + f64::from(line),
        loss: 0.0125,
        jitter_ms: 1.75,
        bytes_in: 123_456_789_012,
        bytes_out: 1_234_567_890,
        bits_in_p95: 12_345_678.0,
        ..LineReport::default()
    }
}

/// How sessions of a network's cell ended: a few, and sometimes one badly.
fn ends(network: u32, turn: u32) -> PrefixEnds {
    let first = FIRST + network * NETWORK;
    let prefix = first.to_be_bytes()[..3].to_vec().into();
    PrefixEnds {
        prefix,
        normal: 3,
        reset: u32::from(turn.is_multiple_of(16)),
        ..PrefixEnds::default()
    }
}

/// A database in which the addresses belong to all divisions and carriers, and how many cells that makes.
fn places() -> Result<(Vec<u8>, usize)> {
    let cells: Vec<(Region, Carrier)> = divisions()
        .map(|division| Region::Division(division.code))
        .flat_map(|region| CARRIERS.map(|carrier| (region, carrier)))
        .collect();
    let entry = |at: u32| {
        let (region, carrier) = cells[at as usize % cells.len()];
        let network = Ipv4Net::new(Ipv4Addr::from_bits(FIRST + at * NETWORK), NETWORK_PREFIX)?;
        Ok(Entry { network: network.into(), region, city_abroad: None, carrier })
    };
    let entries: Vec<Entry> = (0..NETWORKS).map(entry).collect::<Result<_>>()?;
    Ok((database(&entries, SystemTime::UNIX_EPOCH)?, cells.len().min(NETWORKS as usize)))
}

fn provinces() -> impl Iterator<Item = Region> {
    let regions = divisions().map(|division| Region::Division(division.code));
    regions.filter(|region| region.depth() == 1)
}

const CARRIERS: [Carrier; 3] = [Carrier::Telecom, Carrier::Unicom, Carrier::Mobile];

/// Edges that open their lines at the same time.
const TOGETHER: usize = 100;

/// As edges do.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// The /8 of the addresses in networks of this prefix.
const NETWORK_PREFIX: u8 = 20;
const NETWORK: u32 = 1 << (32 - NETWORK_PREFIX);
const NETWORKS: u32 = 1 << (NETWORK_PREFIX - 8);
