//! Lines from edges: all lines of one edge's process are a trunk, and a trunk has one session.

mod board;
mod session;

use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use shared::io::line;
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::io::trunk::{NewTrunk, Switchboard};
use shared::line::LineEnd;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::session::Session;
use super::origin::Origin;
use crate::limits::EDGES_MAX;

/// What edges are told of where to call.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// This origin's addresses.
    pub addresses: Vec<LineEnd>,
    /// Where to go when this origin ends.
    pub successor: Option<LineEnd>,
}

/// Answers lines until the shutdown. Where there is a successor, edges get time to move to it.
pub async fn serve(
    origin: Origin,
    nodes: Nodes,
    endpoint: Endpoint,
    told: Told,
    shutdown: Shutdown,
) {
    let switchboard = Arc::new(Switchboard::new(EDGES_MAX));
    let addresses: Arc<[LineEnd]> = told.addresses.into();
    let (leave, leaving) = watch::channel(None);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            Some(incoming) = endpoint.accept() => {
                let Some(handshake) = switchboard.admit(incoming) else { continue };
                let (switchboard, addresses) = (Arc::clone(&switchboard), Arc::clone(&addresses));
                let (origin, nodes, leaving) = (origin.clone(), nodes.clone(), leaving.clone());
                tasks.spawn(async move {
                    let Some(NewTrunk { edge, lines }) = switchboard.take(handshake).await else {
                        return;
                    };
                    Session::new(origin, nodes, edge, &addresses).run(lines, leaving).await;
                });
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a trunk's session failed");
                }
            }
        }
    }
    if let Some(successor) = told.successor {
        leave.send_replace(Some(successor));
        // The sessions go on meanwhile, so that nothing is missed on the way.
        let _ =
            tokio::time::timeout(MOVE_WITHIN, async { while tasks.join_next().await.is_some() {} })
                .await;
    }
    line::close(&[endpoint], "the origin ends").await;
}

/// How long edges get to move to a successor.
const MOVE_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
