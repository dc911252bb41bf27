//! Lines from edges: all lines of one edge's process are a trunk, and a trunk has one session.

mod board;
mod session;

use std::sync::Arc;

use quinn::Endpoint;
use shared::io::line;
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::io::trunk::{NewTrunk, Switchboard};
use shared::line::Access;
use tokio::task::JoinSet;

use self::session::Session;
use super::origin::Origin;
use crate::limits::EDGES_MAX;

/// Answers lines until the shutdown. Edges are told to call at `addresses` too.
pub async fn serve(
    origin: Origin,
    nodes: Nodes,
    endpoint: Endpoint,
    addresses: Vec<Access>,
    shutdown: Shutdown,
) {
    let switchboard = Arc::new(Switchboard::new(EDGES_MAX));
    let addresses: Arc<[Access]> = addresses.into();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            Some(incoming) = endpoint.accept() => {
                let (switchboard, addresses) = (Arc::clone(&switchboard), Arc::clone(&addresses));
                let (origin, nodes) = (origin.clone(), nodes.clone());
                tasks.spawn(async move {
                    let Some(NewTrunk { edge, lines }) = switchboard.take(incoming).await else {
                        return;
                    };
                    Session::new(origin, nodes, edge, &addresses).run(lines).await;
                });
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

#[cfg(test)]
mod tests;
