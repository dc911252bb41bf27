//! The relay as a service: real datagrams between edges and their upstream, as badly as a person or
//! a test says.
//!
//! Each line has a thread of its own ([`carrier`]), since a runtime's timers count milliseconds and
//! a line's delay is to be exact; the admin listener changes and reads lines from the runtime.
//!
//! Invariant: a line that nobody carries any more ends the service.

mod carrier;
mod desk;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::config::cli::Args;
use shared::io::admin::{Admin, Readiness};
use shared::io::service;
use shared::io::shutdown::{Shutdown, TaskFailed, Tasks, Termination};
use shared::io::telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::carrier::Carrier;
use self::desk::{Desk, Station};
use crate::relay::{Clients, Config, Dice, Line, LineConfig, PREFIX};

/// Why a relay could not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The admin address could not be listened on.
    #[error("cannot listen on {address} for admin")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why: most often it is taken.
        source: io::Error,
    },
    /// A line's address could not be listened on.
    #[error("cannot listen on {address} for line {line}")]
    Line {
        /// The line.
        line: String,
        /// The address.
        address: SocketAddr,
        /// Why: most often it is taken.
        source: io::Error,
    },
    /// A line's thread could not be started.
    #[error("cannot start the thread of line {line}")]
    Thread {
        /// The line.
        line: String,
        /// Why.
        source: io::Error,
    },
    /// A part without which this is no relay ended.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}

/// Does what the arguments ask for: most often runs a relay until SIGINT or SIGTERM.
pub fn launch(args: &Args) -> ExitCode {
    let service =
        service::Service { name: "relay", prefix: PREFIX, termination: Termination::Ends };
    service::launch(args, service, |config: &Config| &config.log, run)
}

/// Runs a relay until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RelayError> {
    Relay::open(config).await?.serve(shutdown).await
}

/// A relay with everything bound, about to serve.
#[derive(Debug)]
pub struct Relay {
    admin: TcpListener,
    desk: Arc<Desk>,
    carriers: Vec<Carrier>,
}

impl Relay {
    /// Binds the admin listener and every line.
    pub async fn open(config: Config) -> Result<Self, RelayError> {
        let address = config.admin;
        let admin = TcpListener::bind(address)
            .await
            .map_err(|source| RelayError::Admin { address, source })?;
        let seed = config.seed.unwrap_or_else(rand::random);
        tracing::info!(seed, "the luck of all lines");
        let mut dice = Dice::new(seed);
        let (mut stations, mut carriers) = (Vec::new(), Vec::new());
        for line in config.lines {
            let clients = Clients::new(config.clients_max, config.client_idle);
            let (station, carrier) = open_line(line, dice.number(), clients)?;
            stations.push(station);
            carriers.push(carrier);
        }
        Ok(Self { admin, desk: Arc::new(Desk::new(stations)), carriers })
    }

    /// The admin address as bound; `None` should the system not say.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.local_addr().ok()
    }

    /// Where each line is called, in the order of `Config::lines`.
    pub fn lines(&self) -> Vec<SocketAddr> {
        self.desk.stations().map(|station| station.listen).collect()
    }

    /// Carries datagrams until the shutdown.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), RelayError> {
        let mut tasks = Tasks::new(shutdown.clone());
        for carrier in self.carriers {
            let line = carrier.name().to_owned();
            let carrying = carry(carrier, shutdown.clone());
            let carrying = carrying.map_err(|source| RelayError::Thread { line, source })?;
            tasks.spawn_essential("line", carrying);
        }
        for station in self.desk.stations() {
            let (line, target) = (&station.config.name, station.config.target);
            tracing::info!(line, listen = %station.listen, %target, "carrying");
        }
        let desk = self.desk;
        let admin = Admin::new(Telemetry::new("relay"), || Readiness::Ready)
            .with_routes(move |request| desk.answer(&request).map(std::future::ready));
        tasks.spawn_essential("admin", admin.serve(self.admin, shutdown));
        Ok(tasks.run(GRACE).await?)
    }
}

fn open_line(
    config: LineConfig,
    seed: u64,
    clients: Clients<Arc<UdpSocket>>,
) -> Result<(Arc<Station>, Carrier), RelayError> {
    let address = config.listen;
    let bound = carrier::bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (listen, socket) =
        bound.map_err(|source| RelayError::Line { line: config.name.clone(), address, source })?;
    let line = Line::new(config.settings(), seed, Instant::now());
    let station = Arc::new(Station::new(config, listen, line));
    let carrier = Carrier::new(Arc::clone(&station), socket, clients);
    Ok((station, carrier))
}

/// Starts a line's thread; the future ends with it, and ends it at the shutdown.
fn carry(
    carrier: Carrier,
    shutdown: Shutdown,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    // The thread sleeps in a poll, which the end of a stream wakes.
    let (alive, lifeline) = UnixStream::pair()?;
    // Dropped with the thread, also when it panics.
    let (ended, end) = oneshot::channel::<()>();
    let name = carrier.name().to_owned();
    let run = move || {
        let _ended = ended;
        if let Err(error) = carrier.run(&lifeline) {
            tracing::error!(line = name, %error, "a line cannot be carried");
        }
    };
    std::thread::Builder::new().name("line".to_owned()).spawn(run)?;
    Ok(async move {
        let mut end = end;
        tokio::select! {
            _ = &mut end => return,
            () = shutdown.triggered() => drop(alive),
        }
        let _ = end.await;
    })
}

/// How long parts may take to end.
const GRACE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests;
