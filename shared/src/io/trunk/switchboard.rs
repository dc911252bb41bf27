//! Sorts the lines that are answered: all lines of one process of an edge belong to one session.
//!
//! Invariant: an edge has at most one session that takes lines, that of its latest process and
//! generation; the one before sees its channel close.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::Incoming;
use tokio::sync::mpsc;

use crate::io::line::{self, Answered};

/// Brings lines to the sessions they belong to.
#[derive(Debug)]
pub struct Switchboard {
    /// By the edge's name.
    trunks: Mutex<HashMap<String, Trunk>>,
    trunks_max: usize,
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
        Self { trunks: Mutex::default(), trunks_max }
    }

    /// Answers a line and hands it to its session. The first line of a trunk gets what a new session
    /// takes its lines from, that one included; the caller runs it.
    pub async fn take(&self, incoming: Incoming) -> Option<NewTrunk> {
        let remote = incoming.remote_address();
        let answered = match line::answer(incoming).await {
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
                        answered.connection.close(line::CLOSE_DONE, b"too many edges");
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
