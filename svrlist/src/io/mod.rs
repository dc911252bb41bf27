//! Where this crate acts: sockets, clocks, tasks and files.
#![allow(
    clippy::disallowed_methods,
    reason = "io/ is where the crate touches clocks, dice and tasks"
)]

mod answering;
mod board;
mod control;
mod history;
mod live;
mod places;
mod relay;
mod reports;
mod state;
mod webhook;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use geo_data::database::OpenError;
use geo_data::io::Watch;
use hyper::Method;
use quinn::Endpoint;
use shared::config::cli::Args;
use shared::io::admin::{Admin, Readiness};
use shared::io::http::{Parts, Query, Request, Response, Server};
use shared::io::line::{self, LineError};
use shared::io::service;
use shared::io::shutdown::{Shutdown, TaskFailed, Tasks, Termination};
use shared::io::telemetry::Telemetry;
use shared::io::tls::{ClientFacing, NodeName, Nodes, POLL_PERIOD, Role, TlsError};
use tokio::net::TcpListener;

use crate::config::{Config, PREFIX};
use crate::dashboard::{View, acknowledges};
use crate::learning;
use crate::metrics::Metrics;
use crate::operators::Operators;
use crate::registry::{List, RELIST_EVERY, Registry, TICK};
use crate::site::lines::Wanted;
use crate::site::{Moment, Site};
use answering::Answering;
use board::Board;
use control::Control;
use history::Archive;
use relay::Relay;
use state::State;
use webhook::Webhook;

/// Why a svrlist could not start, or ended early.
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
        source: io::Error,
    },
    /// A place database was refused.
    #[error("cannot use the place databases")]
    Places(#[from] OpenError),
    /// Histories cannot be kept where they should.
    #[error("cannot open the store of histories")]
    History(#[from] history::OpenError),
    /// What operators want cannot be read.
    #[error("cannot read what operators want")]
    Control(#[from] control::OpenError),
    /// Certificates were refused.
    #[error("cannot use the certificates")]
    Tls(#[from] TlsError),
    /// The certificate is not a svrlist's.
    #[error("node.certificate is that of {0}; a svrlist needs svrlist.<name>.linecast")]
    Role(NodeName),
    /// The folder for what survives a restart could not be made.
    #[error("cannot make the folder {} (state.folder)", .folder.display())]
    State {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The line endpoint could not be opened.
    #[error("cannot open the line endpoint")]
    Line(#[from] LineError),
    /// A task without which this is no svrlist ended.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}

/// The registry and the site that answers by it, changed together.
#[derive(Debug)]
struct Desk {
    registry: Mutex<Registry>,
    site: Site,
    board: Board,
    metrics: Metrics,
    relay: Relay,
    control: Control,
    answering: Answering,
}

impl Desk {
    /// Tells the registry something and puts a new list into force if that makes one.
    fn tell(&self, tell: impl FnOnce(&mut Registry, Instant) -> Option<Arc<List>>) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let was_stale = self.site.list().stale;
        if let Some(list) = tell(&mut registry, Instant::now()) {
            self.metrics.listed(&list);
            match (was_stale, list.stale) {
                (false, true) => {
                    tracing::warn!("most edges fell silent at once: they stay on the list")
                }
                (true, false) => tracing::info!("the list is made of edges that report again"),
                _ => {}
            }
            self.site.set_list(list);
        }
    }

    /// Answers whatever is not about the relay.
    async fn answer(&self, request: &Request, is_tls: bool) -> Response {
        if let Some(answer) = self.control.answer(&self.site, request, is_tls).await {
            return answer;
        }
        if let Some(alert) = acknowledges(&request.path) {
            let (answer, note) = self.board.acknowledge(request, alert, &self.control);
            if let Some(note) = note {
                self.control.note(note, now()).await;
            }
            return answer;
        }
        match View::read(request) {
            Some(view) => self.board.answer(request, view),
            None => self.site.answer(request, now()),
        }
    }

    fn readiness(&self) -> Readiness {
        if self.site.list().edges.is_empty() {
            Readiness::NotReady("no edge has reported yet".to_owned())
        } else {
            Readiness::Ready
        }
    }
}

/// Does what the arguments ask for: most often runs a svrlist until SIGINT or SIGTERM.
pub fn launch(args: &Args) -> ExitCode {
    let service =
        service::Service { name: "svrlist", prefix: PREFIX, termination: Termination::Ends };
    service::launch(args, service, |config: &Config| &config.log, run)
}

/// Runs a svrlist until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    Svrlist::open(config).await?.serve(shutdown).await
}

/// A svrlist with everything bound and opened, about to serve: a mistake ends the start and not the
/// service.
#[derive(Debug)]
pub struct Svrlist {
    telemetry: Telemetry,
    desk: Arc<Desk>,
    state: Option<State>,
    nodes: Nodes,
    endpoint: Endpoint,
    weights: BTreeMap<String, f64>,
    places: Watch,
    places_poll: Duration,
    control_file: bool,
    control_poll: Duration,
    admin: TcpListener,
    http: TcpListener,
    https: Option<(TcpListener, ClientFacing)>,
    server: Server,
}

/// Where a svrlist can be reached; of interest where it was told to take any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients, HTTP.
    pub listen: SocketAddr,
    /// Operators, HTTP.
    pub admin: SocketAddr,
    /// Edges, UDP.
    pub line: SocketAddr,
}

impl Svrlist {
    /// Opens certificates, databases and sockets.
    pub async fn open(config: Config) -> Result<Self, RunError> {
        let telemetry = Telemetry::new("svrlist");
        let metrics = Metrics::default();
        let server = Server { limits: config.limits, ..Server::default() };
        let nodes = Nodes::load(&config.node)?;
        let name = nodes.name();
        if name.role != Role::Svrlist {
            return Err(RunError::Role(name));
        }
        telemetry.register(|registry| {
            metrics.register(registry);
            server.metrics.register(registry);
            nodes.register(registry);
        });
        let (places, databases) = open_places(config.places).await?;
        let state = match &config.state.folder {
            Some(folder) => {
                let opened = State::open(folder.clone());
                let folder = folder.clone();
                Some(opened.map_err(|source| RunError::State { folder, source })?)
            }
            None => None,
        };
        let control_file = config.control.file.is_some();
        let trusted = config.answers.trusted_proxies.clone();
        let operators = Arc::new(Operators::new(&config.operators, config.dashboard.open, trusted));
        let control = {
            let (folder, file) = (config.state.folder.clone(), config.control.file);
            let (operators, metrics) = (Arc::clone(&operators), metrics.clone());
            blocking(move || Control::open(operators, folder, file, metrics)).await?
        };
        let archive = {
            let folder = config.state.folder.map(|folder| folder.join("history"));
            let (series_max, metrics) = (config.dashboard.series_max, metrics.clone());
            blocking(move || Archive::open(folder.as_deref(), series_max, metrics, now())).await?
        };
        let https = match config.tls {
            Some(tls) => Some((
                bind("clients over TLS", tls.listen).await?,
                ClientFacing::load(&tls.certificate, &tls.key)?,
            )),
            None => None,
        };
        let site = Site::new(config.answers, databases, metrics.clone());
        control.start(&site);
        let desk = Arc::new(Desk {
            registry: Mutex::default(),
            site,
            board: Board::new(
                config.dashboard,
                operators,
                metrics.clone(),
                archive,
                Webhook::new(config.webhook, metrics.clone()),
            ),
            metrics,
            relay: Relay::new(config.relay),
            control,
            answering: Answering::default(),
        });
        if let Some(state) = state.clone() {
            let (desk, weights) = (Arc::clone(&desk), config.weights.clone());
            blocking(move || {
                state.restore(&desk, &weights);
                desk.site.learn(now());
            })
            .await;
        }
        Ok(Self {
            telemetry,
            desk,
            state,
            endpoint: line::answering(
                config.line,
                &nodes,
                &[Role::Edge],
                line::Settings::default(),
            )?,
            nodes,
            weights: config.weights,
            places,
            places_poll: config.places_poll,
            control_file,
            control_poll: config.control.poll,
            admin: bind("admin", config.admin).await?,
            http: bind("clients", config.listen).await?,
            https,
            server,
        })
    }

    /// The addresses as bound; `None` should the system not say.
    pub fn addresses(&self) -> Option<Addresses> {
        Some(Addresses {
            listen: self.http.local_addr().ok()?,
            admin: self.admin.local_addr().ok()?,
            line: self.endpoint.local_addr().ok()?,
        })
    }

    /// Serves until the shutdown.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), RunError> {
        if let Some(Addresses { listen, admin, line }) = self.addresses() {
            tracing::info!(%listen, %admin, %line, "svrlist is up");
        }
        let mut tasks = Tasks::new(shutdown.clone());
        let desk = self.desk;
        if let Some((listener, facing)) = self.https {
            let server =
                Server { tls: Some(facing.server_config(&[b"http/1.1"])?), ..self.server.clone() };
            let serving = serve(server, listener, Arc::clone(&desk), shutdown.clone());
            tasks.spawn_essential("https", serving);
            let shutdown = shutdown.clone();
            let watching = async move { facing.watch(POLL_PERIOD, shutdown).await };
            tasks.spawn("certificate watch", watching);
        }
        let serving = serve(self.server, self.http, Arc::clone(&desk), shutdown.clone());
        tasks.spawn_essential("http", serving);
        let readiness = {
            let desk = Arc::clone(&desk);
            move || desk.readiness()
        };
        let admin = Admin::new(self.telemetry, readiness);
        tasks.spawn_essential("admin", admin.serve(self.admin, shutdown.clone()));
        let nodes = self.nodes.clone();
        let intake = reports::Intake::new(Arc::clone(&desk), nodes, self.weights);
        tasks.spawn_essential("reports", intake.run(self.endpoint, shutdown.clone()));
        if let Some(state) = self.state {
            tasks.spawn_essential("state", state.keep(Arc::clone(&desk), shutdown.clone()));
        }
        tasks.spawn_essential("tick", tick(Arc::clone(&desk), shutdown.clone()));
        tasks.spawn_essential("lessons", learn(Arc::clone(&desk), shutdown.clone()));
        tasks.spawn_essential("board", board::run(Arc::clone(&desk), shutdown.clone()));
        tasks.spawn_essential("histories", board::keep(Arc::clone(&desk), shutdown.clone()));
        tasks.spawn_essential("webhook", board::notify(Arc::clone(&desk), shutdown.clone()));
        if self.control_file {
            let following = control::follow(Arc::clone(&desk), self.control_poll, shutdown.clone());
            tasks.spawn_essential("control file", following);
        }
        let watching = places::watch(self.places, desk, self.places_poll, shutdown.clone());
        tasks.spawn_essential("place watch", watching);
        let watching = async move { self.nodes.watch(POLL_PERIOD, shutdown).await };
        tasks.spawn("node certificate watch", watching);
        Ok(tasks.run(GRACE).await?)
    }
}

async fn serve(server: Server, listener: TcpListener, desk: Arc<Desk>, shutdown: Shutdown) {
    let is_tls = server.tls.is_some();
    let begun = Arc::clone(&desk);
    let admit = {
        let desk = Arc::clone(&desk);
        move |head: &Parts, _: &Query, peer: SocketAddr| desk.control.admission(head, peer.ip())
    };
    let answer = move |request: Request| {
        let desk = Arc::clone(&desk);
        async move {
            if let Some(wanted) = Wanted::read(&request) {
                return desk.relay.answer(wanted, &desk.site.list()).await;
            }
            if !request.path.starts_with("/api/") || request.method == Method::GET {
                return desk.answer(&request, is_tls).await;
            }
            let answering = Arc::clone(&desk);
            desk.answering.answer(async move { answering.answer(&request, is_tls).await }).await
        }
    };
    server.serve_admitted(listener, shutdown, admit, answer).await;
    begun.answering.drain().await;
}

/// The time.
fn now() -> Moment {
    Moment { monotonic: Instant::now(), calendar: SystemTime::now() }
}

async fn tick(desk: Arc<Desk>, shutdown: Shutdown) {
    let mut interval = tokio::time::interval(TICK);
    let mut urgent = tokio::time::interval(RELIST_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    urgent.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = interval.tick() => desk.tell(|registry, now| registry.handle_tick(now)),
            _ = urgent.tick() => desk.tell(|registry, now| registry.handle_urgent(now)),
        }
    }
}

/// A lesson takes longer than news of edges may wait, so lessons are a task of their own.
async fn learn(desk: Arc<Desk>, shutdown: Shutdown) {
    let mut lesson = tokio::time::interval(learning::TICK);
    lesson.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = lesson.tick() => {
                let desk = Arc::clone(&desk);
                blocking(move || desk.site.learn(now())).await;
            }
        }
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { what, address, source })
}

/// Opening verifies whole files.
async fn open_places(paths: geo_data::io::Paths) -> Result<(Watch, geo_data::Databases), RunError> {
    Ok(blocking(move || Watch::open(paths)).await?)
}

/// Does what takes a while, not on a thread that serves.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// How long tasks may take to end.
const GRACE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests;
