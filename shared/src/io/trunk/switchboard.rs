//! Sorts the lines that are answered: all lines of one process of an edge belong to one session.
//!
//! Whoever can send a packet can begin a handshake, so those under way are counted. Where they are
//! many, an address first proves that it can be reached, which costs nothing here; where they are
//! too many, they are refused.
//!
//! Invariant: an edge has at most one session that takes lines, that of its latest process and
//! generation; the one before sees its channel close.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::io::line::{self, Answered};

/// Brings lines to the sessions they belong to.
#[derive(Debug)]
pub struct Switchboard {
    /// By the edge's name.
    trunks: Mutex<HashMap<String, Trunk>>,
    trunks_max: usize,
    /// Places for handshakes under way.
    handshakes: Arc<Semaphore>,
}

/// A session that takes lines.
#[derive(Debug)]
struct Trunk {
    session: u64,
    generation: u32,
    lines: mpsc::Sender<Answered>,
}

impl Switchboard {
    /// A switchboard for at most so many edges at once.
    pub fn new(trunks_max: usize) -> Self {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Self { trunks: Mutex::default(), trunks_max, handshakes }
    }

    /// Gives a handshake a place; or refuses it, or asks it to come again from an address that is
    /// shown to be its own.
    pub fn admit(&self, incoming: Incoming) -> Option<Handshake> {
        let Ok(place) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            incoming.refuse();
            return None;
        };
        let under_way = HANDSHAKES_MAX - self.handshakes.available_permits();
        if under_way > HANDSHAKES_TRUSTED && !incoming.remote_address_validated() {
            // Fails only where the address has been validated.
            let _ = incoming.retry();
            return None;
        }
        Some(Handshake { incoming, place })
    }

    /// Answers a line and hands it to its session. The first line of a trunk gets what a new session
    /// takes its lines from, that one included; the caller runs it.
    pub async fn take(&self, Handshake { incoming, place }: Handshake) -> Option<NewTrunk> {
        let remote = incoming.remote_address();
        let answered = line::answer(incoming).await;
        drop(place);
        let answered = match answered {
            Ok(answered) => answered,
            Err(error) => {
                let error = &error as &dyn Error;
                tracing::info!(%remote, error, "a line was not opened");
                return None;
            }
        };
        let edge: Arc<str> = answered.hello.node.as_str().into();
        tracing::info!(edge = &*edge, %remote, line = answered.hello.line, "a line is up");
        let lines = self.sort(answered).await?;
        Some(NewTrunk { edge, lines })
    }

    async fn sort(&self, mut answered: Answered) -> Option<mpsc::Receiver<Answered>> {
        loop {
            let hello = &answered.hello;
            let (node, session, generation) = (hello.node.clone(), hello.session, hello.generation);
            let known = {
                let mut trunks = self.trunks.lock().unwrap_or_else(PoisonError::into_inner);
                trunks.retain(|_, trunk| !trunk.lines.is_closed());
                let known = trunks.get(&node).filter(|trunk| trunk.session == session);
                match known {
                    Some(trunk) if trunk.generation == generation => trunk.lines.clone(),
                    Some(trunk) if trunk.generation > generation => {
                        answered.connection.close(line::CLOSE_DONE, b"of an earlier generation");
                        return None;
                    }
                    _ if !trunks.contains_key(&node) && trunks.len() >= self.trunks_max => {
                        tracing::warn!(edge = node, "as many edges call as may");
                        answered.connection.close(line::CLOSE_REFUSED, b"too many edges");
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

/// A handshake that has a place.
#[derive(Debug)]
pub struct Handshake {
    incoming: Incoming,
    place: OwnedSemaphorePermit,
}

/// A trunk that has just begun.
#[derive(Debug)]
pub struct NewTrunk {
    /// The edge's name.
    pub edge: Arc<str>,
    /// Its lines, as they come.
    pub lines: mpsc::Receiver<Answered>,
}

/// Lines that wait for a session to take them.
const LINES_WAITING: usize = 16;
/// Handshakes under way beyond which an address must prove itself: more than edges begin at once
/// unless all of them lost their lines, and then a round trip more costs little.
const HANDSHAKES_TRUSTED: usize = 64;
/// Handshakes under way at most. Each takes about 50 KiB, so 50 MiB; at 5 s for the slowest, 200
/// lines a second are still let in.
const HANDSHAKES_MAX: usize = 1024;
