//! What a run does, worked out from its arguments: the same value in the parent, the workers and the
//! senders.
//!
//! It goes to the other processes as JSON; they are the same program, so that nobody else depends on
//! its form.
//!
//! Invariant: a plan can be carried out; what cannot be meant was refused when it was made, all faults
//! at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::args::{LoadArgs, PublishWay, Rate};
use super::message::ROOMS_MAX;
use super::protocol::{Compression, Login, Protocol};
use super::rooms::{Rooms, RoomsArg, zipf};
use super::targets::{CLIENTS_PER_SOURCE, loopback, ports, sources, targets};
use crate::network::Ports;

/// What a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Marks the messages of this run.
    pub run: u16,
    /// What clients speak.
    pub protocol: Protocol,
    /// What danmaku clients want.
    pub compression: Compression,
    /// Over TLS.
    pub tls: bool,
    /// Certificates to trust, instead of those that browsers trust.
    pub ca: Option<std::path::PathBuf>,
    /// Every certificate is trusted.
    pub insecure: bool,
    /// Where clients connect, as said.
    pub targets: Vec<String>,
    /// Where that is.
    pub addresses: Vec<SocketAddr>,
    /// Addresses that clients come from; empty leaves it to the system.
    pub sources: Vec<IpAddr>,
    /// How many clients.
    pub clients: u32,
    /// Worker processes.
    pub processes: u32,
    /// The rooms.
    pub rooms: Rooms,
    /// Their namespace.
    pub namespace: String,
    /// Path of the WebSocket.
    pub path: String,
    /// Token of every client.
    pub token: Option<String>,
    /// Bytes of a body.
    pub size: usize,
    /// Microseconds before it is measured.
    pub warm_up: u64,
    /// Microseconds that it is measured.
    pub measured: u64,
    /// Microseconds to wait for what is on its way.
    pub drain: u64,
    /// Connections opened per second and process; `None` is as fast as it goes.
    pub connect_rate: Option<f64>,
    /// Clients per second and process that leave, and others that join.
    pub churn: f64,
    /// Share of clients that read little or nothing.
    pub slow: f64,
    /// Bytes a second that they read.
    pub slow_bytes: u32,
    /// What happens once clients are there.
    pub mode: Mode,
}

/// What happens once clients are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Mode {
    /// Messages are published.
    FanOut(Publishing),
    /// Nothing, for so many microseconds.
    Idle(u64),
    /// Senders send.
    Limit {
        /// Messages in a send on average.
        batch: f64,
        /// Sending processes.
        senders: u32,
        /// Whether they send as fast as they can.
        flat_out: bool,
    },
}

/// How messages are published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publishing {
    /// In which way.
    pub way: PublishWay,
    /// The API, or what `--publish-url` says.
    pub url: String,
    /// API key.
    pub key: String,
    /// Class.
    pub class: Option<String>,
    /// goim operation.
    pub operation: Option<i32>,
    /// Publishers.
    pub publishers: u32,
}

/// Something that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Faults {}

impl Plan {
    /// What the arguments mean. `run` marks the messages; `addresses` are those of the targets, once
    /// they were looked up ([`targets`]).
    pub fn new(args: &LoadArgs, run: u16, addresses: Vec<SocketAddr>) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let processes =
            args.processes.unwrap_or_else(|| args.clients.div_ceil(CLIENTS_USUAL).max(1));
        if args.clients.div_ceil(processes) > CLIENTS_MAX {
            faults.push(format!(
                "--processes: {processes} cannot hold {} clients, each has at most {CLIENTS_MAX}",
                args.clients
            ));
        }
        let rate = match args.rate {
            Rate::PerSecond(rate) => rate,
            Rate::Max if args.limit => 1.0,
            Rate::Max => {
                faults.push("--rate max is for --limit alone".to_owned());
                1.0
            }
        };
        let said = if args.room.is_empty() {
            let name = 1_000_000_000 + u64::from(run) * 10_000_000;
            match args.zipf {
                Some(exponent) => zipf(name, args.rooms, exponent),
                None => vec![RoomsArg {
                    name: name.to_string(),
                    rooms: args.rooms,
                    share: 1.0,
                    rate: None,
                }],
            }
        } else {
            args.room.clone()
        };
        let rooms = Rooms::new(&said, args.clients, rate);
        if rooms.count() >= ROOMS_MAX {
            faults.push(format!("--room: at most {ROOMS_MAX} rooms"));
        }
        if args.protocol == Protocol::Danmaku {
            for group in &said {
                if group.name.parse::<u64>().is_err() {
                    faults.push(format!("--room {}: danmaku rooms are numbers", group.name));
                }
            }
        }
        if args.seconds < 0.1 && args.idle.is_none() {
            faults.push("--seconds: at least 0.1".to_owned());
        }
        let sources = sources(args, &addresses).unwrap_or_else(|fault| {
            faults.push(fault);
            Vec::new()
        });
        if args.ratio && rooms.count() > 1 {
            faults.push("--ratio: the bare loop has one room".to_owned());
        }
        let mode = if let Some(idle) = args.idle {
            Mode::Idle(micros(idle))
        } else if args.limit {
            Mode::Limit {
                batch: args.batch,
                senders: args.senders.unwrap_or(1),
                flat_out: args.rate == Rate::Max,
            }
        } else {
            match ports(args).and_then(|ports| publishing(args, &ports)) {
                Ok(publishing) => Mode::FanOut(publishing),
                Err(fault) => {
                    faults.push(fault);
                    Mode::Idle(0)
                }
            }
        };
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        Ok(Self {
            run,
            protocol: args.protocol,
            compression: args.compression,
            tls: args.tls,
            ca: args.ca.clone(),
            insecure: args.insecure,
            targets: targets(args).unwrap_or_default(),
            addresses,
            sources,
            clients: args.clients,
            processes,
            rooms,
            namespace: args.namespace.clone(),
            path: args.path.clone().unwrap_or_else(|| usual_path(args.protocol).to_owned()),
            token: args.token.clone(),
            size: args.size as usize,
            warm_up: micros(args.warm_up),
            measured: micros(args.seconds),
            drain: micros(args.drain),
            connect_rate: args.connect_rate.map(|rate| f64::from(rate) / f64::from(processes)),
            churn: f64::from(args.churn) / f64::from(processes),
            slow: args.slow,
            slow_bytes: args.slow_bytes,
            mode,
        })
    }

    /// The bare loop beside this run: the same clients, rate and bytes, in sends of `batch` messages.
    pub fn bare(&self, batch: f64, senders: u32, flat_out: bool) -> Self {
        let measured = self.measured.min(BARE_MICROS_MAX);
        let mode = Mode::Limit { batch, senders, flat_out };
        Self {
            run: self.run.wrapping_add(1),
            mode,
            measured,
            targets: Vec::new(),
            addresses: Vec::new(),
            tls: false,
            slow: 0.0,
            sources: loopback(self.clients.div_ceil(CLIENTS_PER_SOURCE)),
            ..self.clone()
        }
    }

    /// The clients of a worker: numbers in the whole run.
    pub fn clients_of(&self, worker: u32) -> impl Iterator<Item = u32> {
        (worker..self.clients).step_by(self.processes as usize)
    }

    /// Where a client connects, by its place among the targets.
    pub fn target_of(&self, client: u32) -> usize {
        (client / self.processes) as usize % self.addresses.len().max(1)
    }

    /// Where a client comes from.
    pub fn source_of(&self, client: u32) -> Option<IpAddr> {
        let turn = client / self.processes / self.addresses.len().max(1) as u32 + client;
        self.sources.get(turn as usize % self.sources.len().max(1)).copied()
    }

    /// Whether a client reads little or nothing: evenly among all.
    pub fn is_slow(&self, client: u32) -> bool {
        let upto = |client: u32| (f64::from(client) * self.slow).floor();
        upto(client + 1) > upto(client)
    }

    /// What a client says when it comes.
    pub fn login(&self, client: u32) -> Login {
        let room = self.rooms.of_client(client);
        let host = self.targets.get(self.target_of(client)).cloned().unwrap_or_default();
        let path = self.path.replace("{room}", &self.rooms.name(room));
        let channel = self.rooms.channel(room, &self.namespace, self.protocol);
        Login { host, path, channel, token: self.token.clone() }
    }

    /// What the run is about, in a line.
    pub fn title(&self) -> String {
        let tls = if self.tls { " over TLS" } else { "" };
        let what = match &self.mode {
            Mode::Idle(_) => "idle".to_owned(),
            Mode::Limit { batch, flat_out, .. } => {
                let rate = if *flat_out { "as fast as it goes".to_owned() } else { self.rates() };
                format!("the bare loop, {rate} × {} B in batches of {batch}", self.size)
            }
            Mode::FanOut(_) => format!("{} × {} B", self.rates(), self.size),
        };
        format!("{} clients, {}{tls}, {what}", self.clients, self.protocol.name())
    }

    fn rates(&self) -> String {
        let one = |group: &super::rooms::Group| match group.rooms {
            1 => format!("1 room × {} msg/s", group.rate),
            rooms => format!("{rooms} rooms × {} msg/s", group.rate),
        };
        self.rooms.groups.iter().map(one).collect::<Vec<_>>().join(" + ")
    }
}

fn usual_path(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::GoimTcp | Protocol::NatsWs => "/",
        Protocol::GoimWs | Protocol::Danmaku => "/sub",
        Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf => "/connection/websocket",
        Protocol::Websocket => "/sub/{room}",
    }
}

fn publishing(args: &LoadArgs, ports: &Ports) -> Result<Publishing, String> {
    let way = args.publish.unwrap_or(match args.protocol {
        Protocol::Websocket => PublishWay::HttpPost,
        Protocol::NatsWs => PublishWay::Nats,
        _ => PublishWay::OriginApi,
    });
    let url = match (way, &args.publish_url) {
        (PublishWay::OriginApi | PublishWay::GoimPush, _) => {
            let usual = || format!("http://127.0.0.1:{}", ports.origin_api);
            args.origin.clone().unwrap_or_else(usual)
        }
        (PublishWay::Nats, None) => "nats://127.0.0.1:4222".to_owned(),
        (PublishWay::Nats | PublishWay::HttpPost, Some(url)) => url.clone(),
        (PublishWay::HttpPost, None) => {
            return Err("--publish-url: say where messages are posted, such as \
                        http://127.0.0.1:8080/pub/{room}"
                .to_owned());
        }
    };
    let schemes: &[&str] =
        if way == PublishWay::Nats { &["nats://"] } else { &["http://", "https://"] };
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        let schemes = schemes.join(" or ");
        return Err(format!("{url}: messages are published to a URL that starts with {schemes}"));
    }
    if way == PublishWay::GoimPush && args.op == Some(0) {
        return Err("--op: goim has no operation 0".to_owned());
    }
    if args.class.is_some() && way != PublishWay::OriginApi {
        return Err("--class is for --publish origin-api alone".to_owned());
    }
    Ok(Publishing {
        way,
        url,
        key: args.key.clone(),
        class: args.class.clone(),
        operation: args.op,
        publishers: args.publishers,
    })
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

/// How long the bare loop beside a run is measured: it is the same every second.
const BARE_MICROS_MAX: u64 = 10_000_000;

/// Clients of one process: its descriptors are usually bounded by 20,000.
pub const CLIENTS_MAX: u32 = 19_000;

/// Clients of one process where nobody says how many processes there are.
const CLIENTS_USUAL: u32 = 15_000;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: LoadArgs,
    }

    fn plan(args: &[&str]) -> Result<Plan, Faults> {
        let args = ["load"].iter().chain(args);
        let args = Program::try_parse_from(args).map_err(|e| Faults(vec![e.to_string()]))?.args;
        let addresses = targets(&args)?.iter().filter_map(|target| target.parse().ok()).collect();
        Plan::new(&args, 7, addresses)
    }

    #[test]
    fn the_usual_run_is_against_the_first_edge() {
        let plan = plan(&["--clients", "40000"]).unwrap();
        assert_eq!(plan.targets, ["127.0.0.1:7612"]);
        assert_eq!((plan.processes, plan.sources.len()), (3, 4));
        assert_eq!(plan.login(0).channel, "live:1070000000");
        assert_eq!(plan.clients_of(1).take(2).collect::<Vec<_>>(), [1, 4]);
        let tls = super::tests::plan(&["--protocol", "goim-tcp", "--tls"]).unwrap();
        assert_eq!(tls.targets, ["127.0.0.1:7613"]);
    }

    #[test]
    fn sources_are_used_evenly() {
        let plan = plan(&["--clients", "1000", "--processes", "2", "--sources", "4"]).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for client in 0..1000 {
            *counts.entry(plan.source_of(client)).or_insert(0) += 1;
        }
        assert!(counts.len() == 4 && counts.values().all(|count| (200..=300).contains(count)));
    }

    #[test]
    fn slow_clients_are_spread() {
        let plan = plan(&["--clients", "1000", "--slow", "0.1"]).unwrap();
        assert_eq!((0..1000).filter(|client| plan.is_slow(*client)).count(), 100);
        assert!((0..100).filter(|client| plan.is_slow(*client)).count() <= 11);
        let none = super::tests::plan(&["--clients", "1000"]).unwrap();
        assert!(!(0..1000).any(|client| none.is_slow(client)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_once() {
        let faults = |args: &[&str]| plan(args).unwrap_err().to_string();
        let both = faults(&["--rate", "max", "--clients", "50000", "--processes", "2"]);
        assert!(both.contains("--processes: 2 cannot hold 50000"), "{both}");
        assert!(both.contains("--rate max is for --limit alone"), "{both}");
        assert!(faults(&["--protocol", "websocket"]).contains("--target"));
        let nchan = ["--protocol", "websocket", "--target", "127.0.0.1:1"];
        assert!(faults(&nchan).contains("--publish-url"));
        let danmaku = ["--protocol", "danmaku", "--room", "big=1"];
        assert!(faults(&danmaku).contains("numbers"));
        for wrong in [
            &["--clients", "0"][..],
            &["--size", "10"],
            &["--rate", "0"],
            &["--slow", "2"],
            &["--limit", "--target", "127.0.0.1:1"],
            &["--limit", "--idle", "3"],
            &["--batch", "3"],
            &["--rooms", "2", "--room", "a=1"],
            &["--origin", "ftp://here"],
            &["--publish", "goim-push", "--class", "urgent"],
            &["--sources", "3", "--target", "10.0.0.1:1"],
            &["--sources", "10.0.0.0/30", "--clients", "90000"],
        ] {
            assert!(plan(wrong).is_err(), "{wrong:?}");
        }
    }
}
