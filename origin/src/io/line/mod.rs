//! Lines from edges: all lines of one edge's process are a trunk, and a trunk has one session.
//!
//! Invariant: an edge has at most one session, that of its latest process and generation.

mod board;
mod requests;
mod session;

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::{Endpoint, Incoming};
use shared::io::line::{self, Answered};
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::line::Access;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::session::Session;
use super::origin::Origin;

/// Answers lines until the shutdown. Edges are told to call at `addresses` too.
pub async fn serve(
    origin: Origin,
    nodes: Nodes,
    endpoint: Endpoint,
    addresses: Vec<Access>,
    shutdown: Shutdown,
) {
    let switchboard = Arc::new(Switchboard { origin, nodes, addresses, trunks: Mutex::default() });
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            Some(incoming) = endpoint.accept() => {
                let switchboard = Arc::clone(&switchboard);
                tasks.spawn(async move { switchboard.take(incoming).await });
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a trunk's session failed");
                }
            }
        }
    }
    endpoint.close(line::CLOSE_DONE, b"the origin ends");
    endpoint.wait_idle().await;
}

/// Brings lines to the sessions they belong to.
struct Switchboard {
    origin: Origin,
    nodes: Nodes,
    addresses: Vec<Access>,
    /// By the edge's name.
    trunks: Mutex<HashMap<String, Trunk>>,
}

/// A session that takes lines.
struct Trunk {
    session: u64,
    generation: u32,
    lines: mpsc::Sender<Answered>,
}

impl Switchboard {
    /// Takes a line; the first of a trunk runs its session to the end.
    async fn take(&self, incoming: Incoming) {
        let remote = incoming.remote_address();
        let answered = match line::answer(incoming).await {
            Ok(answered) => answered,
            Err(error) => {
                let error = &error as &dyn Error;
                return tracing::info!(%remote, error, "a line was not opened");
            }
        };
        let edge: Arc<str> = answered.hello.node.clone().into();
        tracing::info!(edge = &*edge, %remote, line = answered.hello.line, "a line is up");
        let Some(lines) = self.sort(answered).await else { return };
        let (origin, nodes) = (self.origin.clone(), self.nodes.clone());
        let session = Session::new(origin, nodes, Arc::clone(&edge), &self.addresses);
        session.run(lines).await;
    }

    /// Hands a line to its trunk's session, or answers what a new session takes lines from.
    async fn sort(&self, mut answered: Answered) -> Option<mpsc::Receiver<Answered>> {
        loop {
            let hello = &answered.hello;
            let (node, session, generation) = (hello.node.clone(), hello.session, hello.generation);
            let known = {
                let mut trunks = self.trunks.lock().unwrap_or_else(PoisonError::into_inner);
                let known = trunks.get(&node).filter(|trunk| !trunk.lines.is_closed());
                let known = known.filter(|trunk| trunk.session == session);
                match known {
                    Some(trunk) if trunk.generation == generation => trunk.lines.clone(),
                    Some(trunk) if trunk.generation > generation => {
                        answered.connection.close(line::CLOSE_DONE, b"of an earlier generation");
                        return None;
                    }
                    // Whoever was there before sees its channel close, and ends.
                    _ => {
                        let (lines, to_take) = mpsc::channel(LINES_WAITING);
                        let trunk = Trunk { session, generation, lines: lines.clone() };
                        trunks.insert(node, trunk);
                        // It has room for the line that it is made for.
                        let _ = lines.try_send(answered);
                        return Some(to_take);
                    }
                }
            };
            match known.send(answered).await {
                Ok(()) => return None,
                Err(unsent) => answered = unsent.0, // it has just ended
            }
        }
    }
}

/// Lines that wait for a session to take them.
const LINES_WAITING: usize = 16;

#[cfg(test)]
mod tests;
