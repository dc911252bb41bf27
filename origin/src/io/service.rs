//! An origin from its configuration to its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use quinn::Endpoint;
use shared::io::admin::{Admin, Readiness};
use shared::io::http::Server;
use shared::io::line::{LineError, answering};
use shared::io::service;
use shared::io::shutdown::{Shutdown, TaskFailed, Tasks, Termination};
use shared::io::telemetry::Telemetry;
use shared::io::tls::{Nodes, POLL_PERIOD, Role, TlsError};
use shared::line::LineEnd;
use tokio::net::TcpListener;

use super::api::{self, Api};
use super::line;
use super::metrics::Metrics;
use super::origin::{Origin, Settings, StartError};
use super::sweep::Pace;
use crate::args::Args;
use crate::config::{ApiAccess, Config, PREFIX};

/// Why an origin could not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// What for.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why: most often it is taken.
        #[source]
        source: std::io::Error,
    },
    /// Certificates were refused.
    #[error("cannot use the certificates")]
    Tls(#[from] TlsError),
    /// The line endpoint could not be opened.
    #[error("cannot open the line endpoint")]
    Line(#[from] LineError),
    /// The store could not be opened.
    #[error("cannot start")]
    Start(#[from] StartError),
    /// A task without which this is no origin ended.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}

/// Does what the arguments ask for: most often runs an origin until SIGINT or SIGTERM.
pub fn launch(args: &Args) -> ExitCode {
    let service =
        service::Service { name: "origin", prefix: PREFIX, termination: Termination::Ends };
    service::launch(&args.settings(), service, |config: &Config| &config.log, run)
}

/// Runs an origin until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    Service::open(config).await?.serve(shutdown).await
}

/// Where an origin can be reached; of interest where it was told to take any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Back ends, HTTP.
    pub api: SocketAddr,
    /// Operators, HTTP.
    pub admin: SocketAddr,
    /// Edges, UDP.
    pub line: SocketAddr,
}

/// An origin with everything bound and opened, about to serve.
#[derive(Debug)]
pub struct Service {
    origin: Origin,
    telemetry: Telemetry,
    nodes: Nodes,
    endpoint: Endpoint,
    line_addresses: Vec<LineEnd>,
    line_successor: Option<LineEnd>,
    server: Server,
    access: ApiAccess,
    api: TcpListener,
    admin: TcpListener,
    meta_age: Duration,
    ephemeral: Option<Ephemeral>,
}

impl Service {
    /// Opens certificates, sockets and the store.
    pub async fn open(mut config: Config) -> Result<Self, RunError> {
        let nodes = Nodes::load(&config.node)?;
        let api = bind("the HTTP APIs", config.api).await?;
        let admin = bind("admin", config.admin).await?;
        let endpoint = answering(config.line, &nodes, &[Role::Edge], config.line_settings)?;
        let ephemeral = config.store.ephemeral.then(Ephemeral::new);
        if let Some(Ephemeral(folder)) = &ephemeral {
            config.store.place.folder.clone_from(folder);
        }
        let telemetry = Telemetry::new("origin");
        let metrics = Metrics::default();
        let server = Server { limits: config.limits, ..Server::default() };
        telemetry.register(|registry| {
            metrics.register(registry);
            server.metrics.register(registry);
            nodes.register(registry);
        });
        if config.access.keys.is_empty() && !(config.access.api_open && config.access.goim_open) {
            tracing::warn!("no api.keys are set: the closed HTTP APIs refuse every call");
        }
        let settings = Settings {
            place: config.store.place,
            namespaces: config.namespaces,
            channels_max: config.store.channels_max,
            free_bytes_min: config.store.free_min.0,
            edge_grace: config.edge_grace,
            hook: config.hook,
        };
        Ok(Self {
            origin: Origin::open(settings, metrics)?,
            telemetry,
            nodes,
            endpoint,
            line_addresses: config.line_addresses,
            line_successor: config.line_successor,
            server,
            access: config.access,
            api,
            admin,
            meta_age: config.store.meta_age,
            ephemeral,
        })
    }

    /// The addresses as bound; `None` should the system not say.
    pub fn addresses(&self) -> Option<Addresses> {
        Some(Addresses {
            api: self.api.local_addr().ok()?,
            admin: self.admin.local_addr().ok()?,
            line: self.endpoint.local_addr().ok()?,
        })
    }

    /// The origin itself.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Serves until the shutdown.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), RunError> {
        if let Some(Addresses { api, admin, line }) = self.addresses() {
            tracing::info!(%api, %admin, %line, "the origin is up");
        }
        let origin = self.origin;
        let mut tasks = Tasks::new(shutdown.clone());
        let api = Api {
            origin: origin.clone(),
            access: self.access,
            name: self.nodes.name().name,
            started: Instant::now(),
        };
        tasks.spawn_essential("api", api::serve(api, self.server, self.api, shutdown.clone()));
        let readiness = {
            let origin = origin.clone();
            move || match origin.refusal() {
                None => Readiness::Ready,
                Some(refusal) => Readiness::NotReady(refusal.to_string()),
            }
        };
        let admin = Admin::new(self.telemetry, readiness);
        tasks.spawn_essential("admin", admin.serve(self.admin, shutdown.clone()));
        let nodes = self.nodes.clone();
        let lines = line::serve(
            origin.clone(),
            nodes,
            self.endpoint,
            line::Told { addresses: self.line_addresses, successor: self.line_successor },
            shutdown.clone(),
        );
        tasks.spawn_essential("lines", lines);
        let pace = Pace { meta_age: self.meta_age };
        tasks.spawn_essential("sweep", origin.clone().sweep(pace, shutdown.clone()));
        tasks.spawn_essential("tick", tick(origin.clone(), shutdown.clone()));
        let nodes = self.nodes;
        tasks.spawn("node certificate watch", async move {
            nodes.watch(POLL_PERIOD, shutdown).await;
        });
        let ended = tasks.run(GRACE).await;
        let closing = origin.clone();
        if tokio::task::spawn_blocking(move || closing.close()).await.is_err() {
            tracing::error!("closing the store failed");
        }
        drop((origin, self.ephemeral));
        Ok(ended?)
    }
}

/// Gives up edges that stay away, and ends with the writer: an origin that cannot write is none.
async fn tick(origin: Origin, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        origin.handle_deadline();
        if !origin.is_writing() {
            return;
        }
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { what, address, source })
}

/// A folder that is removed at the end.
#[derive(Debug)]
struct Ephemeral(PathBuf);

impl Ephemeral {
    fn new() -> Self {
        let name = format!("linecast-origin-{}-{:08x}", std::process::id(), rand::random::<u32>());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "cannot remove the temporary folder");
        }
    }
}

/// How long tasks may take to end.
const GRACE: Duration = Duration::from_secs(6);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
