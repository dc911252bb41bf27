//! A whole network of real processes on loopback, for one test.
//!
//! [`run`] makes a folder, chooses ports, writes certificates and configuration with the same code as
//! `linecast up`, starts origin, svrlist, edges and, if asked for, the relay between them, waits until
//! each says it is ready, and hands the network to the test. Afterwards everything is killed and waited
//! for; if the test failed, the ends of all logs are shown and the folder is kept.
//!
//! Invariant: two networks share nothing, neither a port nor a file, so tests run side by side.

mod port;
mod process;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::api::{DemoLines, Origin, Relay, Svrlist};
use crate::real_client::RealClient;
use crate::wait::within_time;
pub use deploy::network::{API_KEY, LINES, TOKEN_SECRET, edge_name, line_name};
use deploy::network::{EdgePorts, Layout, Ports, RelayPorts, write};
pub use process::{Process, Program};

/// What a test wants its network to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many edges; the first three are of telecom, unicom and mobile.
    pub edges: usize,
    /// Settings of the origin over its file, `key=value`.
    pub origin: Vec<String>,
    /// Settings of every edge over its file, `key=value`.
    pub edge: Vec<String>,
    /// Which edge may pull through which other one (both from 0).
    pub neighbours: Vec<(usize, usize)>,
    /// How many svrlists, side by side.
    pub svrlists: usize,
    /// Whether edges call the origin through a relay that can make their lines bad.
    pub relay: bool,
    /// How long the test may take before it counts as failed.
    pub limit: Duration,
}

/// A running network.
#[derive(Debug)]
pub struct Network {
    folder: PathBuf,
    ports: Ports,
    svrlist_ports: Vec<SvrlistPorts>,
    /// The origin's process.
    pub origin: Process,
    /// The svrlist's process.
    pub svrlist: Process,
    /// Those of other svrlists, where the plan asks for them.
    pub svrlists: Vec<Process>,
    /// The edges' processes.
    pub edges: Vec<Process>,
    /// The relay's process, if the plan asks for one.
    pub relay: Option<Process>,
}

/// Where an edge listens for clients.
#[derive(Debug, Clone, Copy)]
pub struct EdgeAddress {
    /// goim and danmaku over TCP.
    pub tcp: SocketAddr,
    /// HTTP and every WebSocket protocol.
    pub http: SocketAddr,
    /// goim and danmaku over TCP with TLS.
    pub tcp_tls: SocketAddr,
    /// HTTP and every WebSocket protocol, with TLS.
    pub http_tls: SocketAddr,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            edges: 1,
            origin: Vec::new(),
            edge: Vec::new(),
            neighbours: Vec::new(),
            svrlists: 1,
            relay: false,
            limit: Duration::from_secs(120),
        }
    }
}

impl Plan {
    /// A plan with this many edges and nothing special.
    pub fn edges(edges: usize) -> Self {
        Self { edges, ..Self::default() }
    }
}

/// Runs `test` on a network of its own and panics with what went wrong.
///
/// # Panics
/// If the network does not start, the test fails or takes too long.
pub fn run(program: Program, plan: Plan, test: impl AsyncFnOnce(&mut Network) -> Result<()>) {
    let folder = new_folder();
    let outcome = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let mut network = Network::start(program, &plan, &folder).await?;
            within_time("the test", plan.limit, test(&mut network)).await
        })
    });
    match outcome {
        Ok(()) => drop(fs::remove_dir_all(&folder)),
        Err(error) => {
            show_logs(&folder);
            panic!("{error:#}\nlogs and data are kept in {}", folder.display());
        }
    }
}

impl Network {
    /// Starts a network whose files are in `folder` and waits until it is ready.
    pub async fn start(program: Program, plan: &Plan, folder: &Path) -> Result<Self> {
        let logs = folder.join(LOGS);
        fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
        let ports = choose_ports(plan)?;
        let files = write(folder, &ports).context("write the configuration")?;
        let process = |name: &str, config: &Path, settings: &[String], admin: u16| {
            let service = name.split('-').next().unwrap_or(name);
            let config = config.display().to_string();
            let mut arguments =
                [service, "--end-with-stdin", "--config", &config].map(str::to_owned).to_vec();
            arguments.extend(settings.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
            let log = logs.join(format!("{name}.log"));
            let ready = format!("http://127.0.0.1:{admin}/readyz");
            Process::new(name, program.clone(), arguments, log, ready)
        };
        let neighbours = neighbours(plan)?;
        let svrlist_ports = (1..plan.svrlists).map(|_| SvrlistPorts::choose());
        let svrlist_ports = svrlist_ports.collect::<Result<Vec<_>>>()?;
        let to_svrlists: Option<String> = (!svrlist_ports.is_empty()).then(|| {
            let lines = svrlist_ports.iter().map(|ports| ports.line);
            let all = [ports.svrlist_line].into_iter().chain(lines);
            let all: Vec<String> = all.map(|port| loopback(port).to_string()).collect();
            format!("svrlist.addresses={}", all.join(","))
        });
        let svrlists = svrlist_ports.iter().enumerate().map(|(at, ports)| {
            let name = format!("svrlist-{}", at + 2);
            let settings = ports.settings(&folder.join(&name));
            process(&name, &files.svrlist, &settings, ports.admin)
        });
        let edges = files.edges.iter().zip(&ports.edges).enumerate().map(|(at, (file, ports))| {
            let settings: Vec<String> =
                plan.edge.iter().chain(&neighbours[at]).chain(&to_svrlists).cloned().collect();
            process(&format!("edge-{}", at + 1), file, &settings, ports.admin)
        });
        let relay = files.relay.as_ref().zip(ports.relay.as_ref());
        let mut network = Self {
            relay: relay.map(|(file, ports)| process("relay", file, &[], ports.admin)),
            folder: folder.to_owned(),
            origin: process("origin", &files.origin, &plan.origin, ports.origin_admin),
            svrlist: process("svrlist", &files.svrlist, &[], ports.svrlist_admin),
            edges: edges.collect(),
            svrlists: svrlists.collect(),
            svrlist_ports,
            ports,
        };
        for process in network.processes() {
            process.start()?;
        }
        for process in network.processes() {
            process.ready().await?;
        }
        Ok(network)
    }

    /// The origin's APIs, on connections of their own.
    pub fn api(&self) -> Origin {
        Origin::new(self.api_url(), API_KEY)
    }

    /// The origin's address as `http://host:port`.
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.origin_api)
    }

    /// The svrlist's APIs.
    pub fn list(&self) -> Svrlist {
        Svrlist::new(self.list_url())
    }

    /// The svrlist's address as `http://host:port`.
    pub fn list_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.svrlist)
    }

    /// The addresses of all svrlists as `http://host:port`.
    pub fn list_urls(&self) -> Vec<String> {
        let others = self.svrlist_ports.iter().map(|ports| ports.http);
        let url = |port: u16| format!("http://{}", loopback(port));
        std::iter::once(self.ports.svrlist).chain(others).map(url).collect()
    }

    /// The lines, where the plan asks for a relay: [`LINES`] of each edge, called as [`line_name`] says.
    pub fn lines(&self) -> Result<Relay> {
        let relay = self.ports.relay.as_ref().context("the plan asks for no relay")?;
        Ok(Relay::new(format!("http://127.0.0.1:{}", relay.admin)))
    }

    /// The lines as svrlist's `/demo` page shows and changes them.
    pub fn demo_lines(&self) -> DemoLines {
        DemoLines::new(self.list_url())
    }

    /// The origin's admin listener as `http://host:port`.
    pub fn origin_admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.origin_admin)
    }

    /// The admin listener of edge `at` (from 0) as `http://host:port`.
    pub fn edge_admin_url(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports.edges[at].admin)
    }

    /// Where edge `at` (from 0) listens.
    pub fn edge(&self, at: usize) -> EdgeAddress {
        let ports = &self.ports.edges[at];
        EdgeAddress {
            tcp: loopback(ports.tcp),
            http: loopback(ports.http),
            tcp_tls: loopback(ports.tcp_tls),
            http_tls: loopback(ports.http_tls),
        }
    }

    /// The certificate that the edges' TLS listeners show. It is signed by itself, so clients are told
    /// to trust it.
    pub fn certificate(&self) -> PathBuf {
        Layout::new(&self.folder, &self.ports).pki().facing().certificate
    }

    /// Starts a scenario of a real client; its log lies with the others, it trusts the edges' certificate.
    pub fn client(&self, scenario: &str, options: &Value) -> Result<RealClient> {
        RealClient::start(scenario, options, &self.folder.join(LOGS), &self.certificate())
    }

    /// Every process, origin first.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        [&mut self.origin, &mut self.svrlist]
            .into_iter()
            .chain(&mut self.svrlists)
            .chain(&mut self.relay)
            .chain(&mut self.edges)
    }

    /// A new folder inside the network's own.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }
}

impl EdgeAddress {
    /// The URL that Centrifuge clients connect to.
    pub fn centrifuge(&self) -> String {
        format!("ws://{}/connection/websocket", self.http)
    }

    /// The same with TLS.
    pub fn centrifuge_tls(&self) -> String {
        format!("wss://{}/connection/websocket", self.http_tls)
    }

    /// The URL that goim and danmaku clients connect to.
    pub fn sub(&self) -> String {
        format!("ws://{}/sub", self.http)
    }

    /// The same with TLS.
    pub fn sub_tls(&self) -> String {
        format!("wss://{}/sub", self.http_tls)
    }
}

/// Where a svrlist beside the first one listens.
#[derive(Debug, Clone, Copy)]
struct SvrlistPorts {
    http: u16,
    line: u16,
    admin: u16,
}

impl SvrlistPorts {
    fn choose() -> Result<Self> {
        Ok(Self { http: port::free()?, line: port::free()?, admin: port::free()? })
    }

    /// Its settings over the first one's file, with a folder of its own.
    fn settings(&self, folder: &Path) -> Vec<String> {
        vec![
            format!("listen.http={}", loopback(self.http)),
            format!("listen.line={}", loopback(self.line)),
            format!("admin={}", loopback(self.admin)),
            format!("state.folder={}", folder.display()),
        ]
    }
}

/// A port that nobody listens on, and that nobody else in this process is told.
pub fn free_port() -> Result<u16> {
    port::free()
}

/// Free ports for a network with so many edges and nothing special.
pub fn ports(edges: usize) -> Result<Ports> {
    choose_ports(&Plan::edges(edges))
}

/// Free ports for a network as planned.
fn choose_ports(plan: &Plan) -> Result<Ports> {
    let edge = |_| -> Result<EdgePorts> {
        Ok(EdgePorts {
            tcp: port::free()?,
            http: port::free()?,
            tcp_tls: port::free()?,
            http_tls: port::free()?,
            admin: port::free()?,
        })
    };
    Ok(Ports {
        origin_api: port::free()?,
        origin_admin: port::free()?,
        origin_line: port::free()?,
        svrlist: port::free()?,
        svrlist_admin: port::free()?,
        svrlist_line: port::free()?,
        edges: (0..plan.edges).map(edge).collect::<Result<_>>()?,
        relay: plan.relay.then(|| relay_ports(plan.edges)).transpose()?,
    })
}

/// Settings of each edge by which they find each other as planned.
fn neighbours(plan: &Plan) -> Result<Vec<Vec<String>>> {
    let mut settings = vec![Vec::new(); plan.edges];
    if plan.neighbours.is_empty() {
        return Ok(settings);
    }
    let ports = (0..plan.edges).map(|_| port::free()).collect::<Result<Vec<u16>>>()?;
    for (edge, port) in ports.iter().enumerate() {
        settings[edge].push(format!("listen.line={}", loopback(*port)));
        let called = plan.neighbours.iter().filter(|(from, _)| *from == edge);
        let called: Vec<String> = called.map(|(_, to)| loopback(ports[*to]).to_string()).collect();
        settings[edge].push(format!("upstream.neighbours={}", called.join(",")));
    }
    Ok(settings)
}

fn relay_ports(edges: usize) -> Result<RelayPorts> {
    let lines = |_| -> Result<[u16; LINES]> {
        let mut ports = [0; LINES];
        for port in &mut ports {
            *port = port::free()?;
        }
        Ok(ports)
    };
    Ok(RelayPorts { admin: port::free()?, lines: (0..edges).map(lines).collect::<Result<_>>()? })
}

/// A folder of its own for one network, not created yet.
pub fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("linecast-test-{}-{number}", std::process::id()))
}

/// A small runtime for whatever stands beside a network.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Prints the end of every log of a network.
#[allow(clippy::print_stderr, reason = "the test runner shows it under the test that failed")]
pub fn show_logs(folder: &Path) {
    let Ok(logs) = fs::read_dir(folder.join(LOGS)) else { return };
    let mut logs: Vec<PathBuf> = logs.flatten().map(|entry| entry.path()).collect();
    logs.sort();
    for path in logs {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        eprintln!("---- {} ({} lines)\n{}", path.display(), lines.len(), end.join("\n"));
    }
}

const LOGS: &str = "logs";
const LOG_LINES_SHOWN: usize = 40;
