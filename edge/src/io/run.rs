//! An edge from its start to its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::config::cli::Args;
use shared::io::admin::{Admin, Readiness};
use shared::io::line::{self, LineError, Settings};
use shared::io::service;
use shared::io::shutdown::{Shutdown, TaskFailed, Tasks, Termination};
use shared::io::telemetry::Telemetry;
use shared::io::tls::{ClientFacing, Nodes, POLL_PERIOD, Role, TlsError};
use shared::io::trunk::{CallingEnd, Place};
use shared::line::LineEnd;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::balance::Balance;
use super::counters::Counters;
use super::door::{Closed, Door};
use super::ledger::Ledger;
use super::metrics;
use super::neighbours::{self, Hall};
use super::orders::Orders;
use super::overload::Overload;
use super::report::Reporter;
use super::shards::{self, Entrance, Listener, Start, Way};
use super::uplink::{Gauges, Inlets, Pace, Parts, Uplink};
use crate::config::Config;
use crate::hub::{SHARDS_MAX, ShardId};
use crate::pressure::Pressure;
use crate::shard::TICK;

/// Why an edge does not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The key that names it.
        key: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Certificates cannot be used.
    #[error("certificates cannot be used")]
    Tls(#[from] TlsError),
    /// The certificate is not an edge's.
    #[error("node.certificate is that of {0}; an edge needs edge.<name>.linecast")]
    Role(String),
    /// The line's endpoint cannot be set up.
    #[error("lines cannot be opened from here")]
    Line(#[from] LineError),
    /// No thread for a shard.
    #[error("cannot start a shard's thread")]
    Thread(#[source] io::Error),
    /// Part of the edge failed while it ran.
    #[error("the edge failed")]
    Failed(#[from] TaskFailed),
}

/// Does what the arguments ask for: most often runs an edge until SIGINT, or until it has drained
/// after SIGTERM.
pub fn launch(args: &Args) -> ExitCode {
    let service =
        service::Service { name: "edge", prefix: PREFIX, termination: Termination::Drains };
    service::launch(args, service, |config: &Config| &config.log, run)
}

/// Runs an edge until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let config = Arc::new(config);
    let nodes = Nodes::load(&config.node)?;
    let name = nodes.name();
    if name.role != Role::Edge {
        return Err(RunError::Role(name.to_string()));
    }
    let count = match config.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(SHARDS_MAX),
        count => count,
    };
    raise_descriptors(config.limits.connections_max);
    let admin = listen_admin(config.admin).await?;
    let mut tasks = Tasks::new(shutdown.clone());
    let telemetry = Telemetry::new("edge");
    let mut listeners = listen(&config, count, &mut tasks, &telemetry, &shutdown)?;

    let gauges = Arc::new(Gauges::default());
    let door = Arc::new(Door::new(config.limits.clone(), Instant::now()));
    let counters: Vec<Arc<Counters>> = (0..count).map(|_| Arc::default()).collect();
    let (pressure, felt) = watch::channel(Pressure::default());
    metrics::register(&telemetry, &gauges, &counters, &door, &felt);
    telemetry.register(|registry| nodes.register(registry.sub_registry_with_prefix("node")));
    tasks.spawn("node certificates", nodes.clone().watch(POLL_PERIOD, shutdown.clone()));

    let (to_hub, from_shards) = mpsc::unbounded_channel();
    let (neighbours_to_hub, from_neighbours) = mpsc::unbounded_channel();
    let (to_shards, from_hub): (Vec<_>, Vec<_>) =
        (0..count).map(|_| mpsc::channel(SHARD_QUEUE)).unzip();
    let (namespaces, mut told) = watch::channel(None);
    let place = Place {
        node: name.name.clone(),
        session: rand::random(),
        expects: Role::Origin,
        locals: config.locals.clone(),
        remotes: config.upstreams.clone(),
    };
    let pace = Pace {
        linger: config.linger,
        channels_max: config.channels_max,
        request_timeout: config.request_timeout,
    };
    let neighbours = config.neighbours.iter().map(|remote| {
        // Each has ports of its own.
        let any_port = |local: &LineEnd| LineEnd {
            address: SocketAddr::new(local.address.ip(), 0),
            ..local.clone()
        };
        let place = Place {
            expects: Role::Edge,
            locals: config.locals.iter().map(any_port).collect(),
            remotes: vec![remote.clone()],
            ..place.clone()
        };
        CallingEnd::new(place, nodes.clone(), config.line_settings)
    });
    let uplink = Uplink::new(Parts {
        name: name.to_string(),
        neighbours: neighbours.collect::<Result<_, _>>()?,
        origin: CallingEnd::new(place.clone(), nodes.clone(), config.line_settings)?,
        pace,
        shards: to_shards,
        namespaces,
        gauges: Arc::clone(&gauges),
        door: Arc::clone(&door),
    });
    let inlets = Inlets { shards: from_shards, neighbours: from_neighbours };
    tasks.spawn_essential("uplink", uplink.run(inlets, shutdown.clone()));
    let line = config
        .listen
        .line
        .map(|address| line::answering(address, &nodes, &[Role::Edge], config.line_settings));
    let line = line.transpose()?;

    let readiness = Arc::clone(&gauges);
    let ready_told = told.clone();
    let ending = shutdown.clone();
    let serve_admin = Admin::new(telemetry, move || {
        if ending.is_draining() {
            Readiness::NotReady("clients are moving to other edges".into())
        } else if ready_told.borrow().is_none() {
            Readiness::NotReady("waiting for the upstream".into())
        } else if !readiness.line_up.load(Ordering::Relaxed) {
            Readiness::NotReady("no line to the upstream".into())
        } else {
            Readiness::Ready
        }
    });
    tasks.spawn_essential("admin", serve_admin.serve(admin, shutdown.clone()));

    let orders = Arc::new(Orders::new(config.svrlists.len(), Arc::clone(&door)));
    let reporter = Reporter {
        orders: Arc::clone(&orders),
        name: name.name.clone(),
        config: Arc::clone(&config),
        door: Arc::clone(&door),
        gauges,
        pressure: felt.clone(),
        shards: counters.clone(),
        ledger: Arc::new(Ledger::new(counters.clone(), config.svrlists.len())),
        svrlist: 0,
    };
    let overload = Overload {
        config: Arc::clone(&config),
        door: Arc::clone(&door),
        shards: counters.clone(),
        pressure,
    };
    tasks.spawn_essential("overload", overload.run(shutdown.clone()));
    let drained = drain(config.drain_time, Arc::clone(&door), shutdown.clone());
    tasks.spawn_essential("drain", drained);
    // Without namespaces nobody can be served rightly, so nobody is let in before they are told.
    tokio::select! {
        () = shutdown.triggered() => return Ok(tasks.run(GRACE).await?),
        told = told.wait_for(Option::is_some) => drop(told),
    }
    if let Some(endpoint) = line {
        let (nodes, namespaces) = (nodes.clone(), told.clone());
        let hall = Hall { nodes, to_hub: neighbours_to_hub, namespaces };
        tasks.spawn_essential("lines", neighbours::serve(hall, endpoint, shutdown.clone()));
    }
    for (number, svrlist) in config.svrlists.iter().enumerate() {
        let endpoint = line::calling(ANY, &nodes, Role::Svrlist, Settings::default())?;
        let reporter = Reporter { svrlist: number, ..reporter.clone() };
        let report = reporter.run(endpoint, *svrlist, shutdown.clone());
        tasks.spawn("report", report);
    }
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let (balances, handed) = Balance::new(&counters);
    let shards = from_hub.into_iter().zip(&counters).zip(balances.into_iter().zip(handed));
    for (index, ((from_hub, counters), (balance, handed))) in shards.enumerate() {
        let start = Start {
            id: ShardId(index as u8), // at most SHARDS_MAX
            config: Arc::clone(&config),
            listeners: listeners.pop().unwrap_or_default(),
            balance,
            handed,
            namespaces: told.clone(),
            door: Arc::clone(&door),
            pressure: felt.clone(),
            drain_rate: orders.rate(),
            to_hub: to_hub.clone(),
            from_hub,
            counters: Arc::clone(counters),
            shutdown: shutdown.clone(),
        };
        threads.push(shards::start(start).map_err(RunError::Thread)?);
    }
    drop(to_hub);
    tracing::info!(edge = %name, shards = count, "ready");
    let ended = tasks.run(GRACE).await;
    let joined = tokio::task::spawn_blocking(move || {
        threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()
    });
    if joined.await.unwrap_or(0) > 0 {
        tracing::error!("a shard panicked");
    }
    Ok(ended?)
}

/// Each connection is a descriptor: as many as the system lets this process have.
fn raise_descriptors(connections_max: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let allowed = if raised.is_ok() { maximum } else { current };
    let needed = connections_max as u64 + DESCRIPTORS_BESIDE;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "the system allows fewer descriptors (RLIMIT_NOFILE) than limits.connections_max needs"
        );
    }
}

/// Once the edge is to be drained, lets nobody in and ends it when everybody has moved, or after
/// `time` and a moment.
async fn drain(time: Duration, door: Arc<Door>, shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.triggered() => return,
        () = shutdown.draining() => {}
    }
    door.close(Some(Closed::Draining));
    tracing::info!(connections = door.counts().0, ?time, "clients are told to move");
    let mut every = tokio::time::interval(TICK);
    let moved = async {
        while door.counts().0 > 0 {
            every.tick().await;
        }
    };
    tokio::select! {
        () = shutdown.triggered() => return,
        _ = tokio::time::timeout(time + GRACE, moved) => {}
    }
    tracing::info!(connections = door.counts().0, "drained");
    shutdown.trigger();
}

async fn listen_admin(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen {
        address,
        key: "admin",
        source,
    })
}

/// Binds every listener once for each shard.
fn listen(
    config: &Config,
    shards: usize,
    tasks: &mut Tasks,
    telemetry: &Telemetry,
    shutdown: &Shutdown,
) -> Result<Vec<Vec<Listener>>, RunError> {
    let (mut plain, mut http) = (None, None);
    if let Some((chain, key)) = &config.certificate {
        let certificates = ClientFacing::load(chain, key)?;
        plain = Some(certificates.server_config(&[])?);
        http = Some(certificates.server_config(&[b"http/1.1"])?);
        telemetry.register(|registry| {
            certificates.register(registry.sub_registry_with_prefix("clients"));
        });
        tasks.spawn("certificates", certificates.watch(POLL_PERIOD, shutdown.clone()));
    }
    let all = [
        ("goim", "listen.goim", config.listen.goim, Entrance::Goim, None),
        ("http", "listen.http", config.listen.http, Entrance::Http, None),
        ("goim_tls", "listen.goim_tls", config.listen.goim_tls, Entrance::Goim, plain),
        ("https", "listen.https", config.listen.https, Entrance::Http, http),
    ];
    let mut listeners: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    for (name, key, address, entrance, tls) in all {
        let Some(address) = address else { continue };
        let sockets = shards::bind(address, shards).map_err(|source| RunError::Listen {
            address,
            key,
            source,
        })?;
        let proxied = config.listen.proxy_protocol.iter().any(|listener| listener == name);
        for (shard, socket) in listeners.iter_mut().zip(sockets) {
            let way = Way { entrance, proxied, tls: tls.clone() };
            shard.push(Listener { socket, way });
        }
    }
    Ok(listeners)
}

/// What an edge's environment variables begin with.
pub const PREFIX: &str = "LINECAST_EDGE";
/// Any local address.
const ANY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
/// What a shard may be behind the hub before the pulls' credit waits for it.
const SHARD_QUEUE: usize = 1024;
/// Descriptors for lines, listeners, files and the runtimes.
const DESCRIPTORS_BESIDE: u64 = 256;
/// How long ending tasks may take.
const GRACE: Duration = Duration::from_secs(5);
