//! The set-up `noq`: one multipath QUIC connection with a path over each line.
//!
//! Cubic on each path; all paths are available at both ends, so that messages overflow to the next
//! path when the first one's window is full; a path is given up after 500 ms of silence, which is kept
//! from happening by keep-alives at both ends, and opened again until that works. A stream for each
//! message.
//!
//! Who sends cannot say which path a message takes. The primary is therefore the path that brought most
//! messages lately.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use noq::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use noq::{ClientConfig, Connection, Endpoint, PathId, PathStatus, RecvStream, SendStream};
use noq::{ServerConfig, TransportConfig, VarInt};
use shared::message::Class;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::carriage::{ANY, Carriage, Ends};
use super::identity;
use super::streams::{self, Order, Streams};

/// One connection with several paths.
#[derive(Debug)]
pub(super) struct Multipath {
    upstream: Endpoint,
    edge: Endpoint,
}

impl Multipath {
    /// An upstream that listens.
    pub(super) fn listen() -> Result<Self> {
        let (server, client) = identity::pair()?;
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        server.transport_config(transport());
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        client.transport_config(transport());
        let edge = Endpoint::client(ANY)?;
        edge.set_default_client_config(client);
        Ok(Self { upstream: Endpoint::server(server, ANY)?, edge })
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.max_concurrent_uni_streams(VarInt::from_u32(streams::OPEN_MAX));
    config.max_concurrent_multipath_paths(PATHS_MAX);
    config.default_path_max_idle_timeout(Some(PATH_IDLE));
    config.default_path_keep_alive_interval(Some(KEEP_ALIVE));
    Arc::new(config)
}

impl Carriage for Multipath {
    fn upstream(&self) -> Result<SocketAddr> {
        Ok(self.upstream.local_addr()?)
    }

    async fn start(
        self,
        lines: &[SocketAddr],
        _class: Class,
        ends: Ends,
    ) -> Result<JoinSet<Result<()>>> {
        let first = *lines.first().context("a line")?;
        let accepting = async { Ok(self.upstream.accept().await.context("a caller")?.await?) };
        let calling = async { Ok(self.edge.connect(first, identity::NAME)?.await?) };
        let (upstream, edge): (Connection, Connection) = tokio::try_join!(accepting, calling)
            .map_err(|error: anyhow::Error| error.context("connect"))?;
        let paths = Paths::open(edge.clone(), lines).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(streams::send(upstream, Order::Each, ends.due));
        tasks.spawn(streams::receive(edge, ends.arrived));
        tasks.spawn(paths.keep(ends.switched));
        Ok(tasks)
    }
}

impl Streams for Connection {
    type Writer = SendStream;
    type Reader = RecvStream;

    async fn open(&self) -> Result<SendStream> {
        Ok(self.open_uni().await?)
    }

    async fn accept(&self) -> Result<RecvStream> {
        Ok(self.accept_uni().await?)
    }
}

/// The edge's paths.
struct Paths {
    connection: Connection,
    paths: Vec<Path>,
    /// Which of them it is.
    primary: Option<usize>,
}

struct Path {
    line: SocketAddr,
    id: Option<PathId>,
    /// Frames with parts of messages that came on it, up to the last look.
    brought: u64,
}

impl Paths {
    /// Opens a path over every line.
    async fn open(connection: Connection, lines: &[SocketAddr]) -> Self {
        let mut paths = Vec::new();
        for line in lines {
            // Refused while the peer has not yet told enough connection ids.
            let path = loop {
                match connection.open_path_ensure(*line, PathStatus::Available).await {
                    Ok(path) => break path,
                    Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                }
            };
            paths.push(Path { line: *line, id: Some(path.id()), brought: 0 });
        }
        Self { connection, paths, primary: None }
    }

    /// Keeps a path open over every line, and tells when another one is the primary.
    async fn keep(mut self, switched: UnboundedSender<Instant>) -> Result<()> {
        let mut look = interval(LOOK_EVERY);
        loop {
            look.tick().await;
            if let Some(reason) = self.connection.close_reason() {
                return Err(reason.into());
            }
            for path in &mut self.paths {
                let open = self.connection.open_path_ensure(path.line, PathStatus::Available);
                if open.path_id().is_some() && open.path_id() != path.id {
                    (path.id, path.brought) = (open.path_id(), 0);
                }
            }
            if self.look() {
                // Nobody listens any more when the run is over.
                let _ = switched.send(Instant::now());
            }
        }
    }

    /// Whether another path than before brings most messages.
    fn look(&mut self) -> bool {
        let mut most = (0, None);
        for (number, path) in self.paths.iter_mut().enumerate() {
            let stats = path.id.and_then(|id| self.connection.path_stats(id));
            let brought = stats.map_or(path.brought, |stats| stats.frame_rx.stream);
            let lately = brought.saturating_sub(path.brought);
            path.brought = brought;
            if lately > most.0 {
                most = (lately, Some(number));
            }
        }
        let Some(primary) = most.1 else {
            return false;
        };
        let before = self.primary.replace(primary);
        before.is_some_and(|before| before != primary)
    }
}

/// Those that are given up take a place until they are forgotten.
const PATHS_MAX: u32 = 12;

/// Shorter loses healthy paths to chance; what the peer's users would set for live data.
const PATH_IDLE: Duration = Duration::from_millis(500);

/// Five in a path's idle time.
const KEEP_ALIVE: Duration = Duration::from_millis(100);

const LOOK_EVERY: Duration = Duration::from_millis(50);
