//! Edges that pull through this one: the answering side of their trunks.
//!
//! A session reads from the hub as a shard does and serves pulls as an origin does. What a channel
//! costs upstream is one pull, whether clients or other edges read it.
//!
//! Invariant: a session never waits for its peer, so it never holds up the hub.

mod session;

use std::sync::{Arc, Mutex, PoisonError};

use quinn::Endpoint;
use shared::channel::ChannelName;
use shared::io::line;
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::io::trunk::{NewTrunk, Switchboard};
use shared::namespace::Namespaces;
use shared::ring::Cursor;
use shared::wire::control::{Quality, request, response};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::session::Session;
use crate::hub::{Fetched, JoinId, Notice, SHARDS_MAX, ShardId};

/// What a session is told.
#[derive(Debug)]
pub(super) enum ToNeighbour {
    /// Of a channel that it joined.
    Notice(Notice),
    /// What it wanted of a channel's past.
    Fetched(Fetched),
    /// How this edge stands to its origin. All joinings end when it serves no longer.
    Quality(Arc<Quality>),
}

/// What a session tells the hub and asks of it.
#[derive(Debug)]
pub(super) enum FromNeighbour {
    /// It begins.
    Came(mpsc::Sender<ToNeighbour>),
    /// It reads a channel, from here.
    Join(ChannelName, JoinId, Option<Cursor>),
    /// It reads it no more.
    Leave(ChannelName, JoinId),
    /// It wants so many messages that have left the channel's ring.
    Fetch(ChannelName, JoinId, Cursor, u32),
    /// Its edge asks the origin.
    Ask(request::Kind, oneshot::Sender<Option<response::Kind>>),
    /// It ended.
    Gone,
}

/// The sessions' way to the hub.
pub(super) type ToHub = mpsc::UnboundedSender<(ShardId, FromNeighbour)>;

/// What sessions are made of.
#[derive(Clone)]
pub(super) struct Hall {
    pub(super) nodes: Nodes,
    pub(super) to_hub: ToHub,
    /// Told already.
    pub(super) namespaces: watch::Receiver<Option<Arc<Namespaces>>>,
}

/// Answers lines of other edges until the shutdown.
pub(super) async fn serve(hall: Hall, endpoint: Endpoint, shutdown: Shutdown) {
    let switchboard = Arc::new(Switchboard::new(NEIGHBOURS_SERVED_MAX));
    let seats = Seats::default();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            Some(incoming) = endpoint.accept() => {
                let Some(handshake) = switchboard.admit(incoming) else { continue };
                let (switchboard, seats, hall) =
                    (Arc::clone(&switchboard), seats.clone(), hall.clone());
                tasks.spawn(async move {
                    let Some(NewTrunk { edge, lines }) = switchboard.take(handshake).await else {
                        return;
                    };
                    match seats.take() {
                        Some(seat) => Session::new(hall, seat, edge).run(lines).await,
                        None => tracing::warn!(edge = &*edge, "no seat for another edge"),
                    }
                });
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the session of an edge failed");
                }
            }
        }
    }
    line::close(&[endpoint], "the edge ends").await;
}

/// The numbers after the shards' that sessions read under; each belongs to one session at a time.
#[derive(Clone, Default)]
struct Seats(Arc<Mutex<[bool; SEATS]>>);

impl Seats {
    fn take(&self) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = taken.iter().position(|taken| !taken)?;
        taken[free] = true;
        // At most SHARDS_MAX + SEATS, which fit.
        Some(Seat { shard: ShardId((SHARDS_MAX + free) as u8), free, seats: self.clone() })
    }
}

struct Seat {
    shard: ShardId,
    free: usize,
    seats: Seats,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.0.lock().unwrap_or_else(PoisonError::into_inner)[self.free] = false;
    }
}

/// Edges that may pull through one: their pulls add to its own.
const NEIGHBOURS_SERVED_MAX: usize = 8;
/// A session that another one replaces keeps its seat for a moment.
const SEATS: usize = 2 * NEIGHBOURS_SERVED_MAX;

const _: () = assert!(SHARDS_MAX + SEATS <= 1 << 8);
