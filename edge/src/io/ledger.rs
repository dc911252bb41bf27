//! The sessions' ends of all shards, on their way to all svrlists.

use std::sync::{Arc, Mutex, PoisonError};

use shared::wire::control;

use super::counters::Counters;
use crate::ends::{Batch, Outbox};

/// Shared by the reporters; shards know nothing of it.
#[derive(Debug)]
pub(super) struct Ledger {
    session: u64,
    shards: Vec<Arc<Counters>>,
    outboxes: Mutex<Vec<Outbox>>,
}

impl Ledger {
    /// A ledger for so many svrlists.
    pub(super) fn new(shards: Vec<Arc<Counters>>, svrlists: usize) -> Self {
        let outboxes = Mutex::new(vec![Outbox::default(); svrlists]);
        Self { session: rand::random(), shards, outboxes }
    }

    /// A new line to a svrlist, by its number, is open.
    pub(super) fn handle_line(&self, svrlist: usize) {
        self.with(svrlist, Outbox::handle_line);
    }

    /// A svrlist has taken a batch.
    pub(super) fn handle_taken(&self, svrlist: usize, taken: &control::EndsTaken) {
        if taken.session == self.session {
            self.with(svrlist, |outbox| outbox.handle_taken(taken.number));
        }
    }

    /// What a svrlist is to be told now, if anything.
    pub(super) fn next(&self, svrlist: usize) -> Option<control::Ends> {
        for shard in &self.shards {
            let ends = shard.take_ends();
            if !ends.is_empty() {
                let mut outboxes = self.outboxes.lock().unwrap_or_else(PoisonError::into_inner);
                outboxes.iter_mut().for_each(|outbox| outbox.handle_ends(&ends));
            }
        }
        let Batch { number, prefixes } = self.with(svrlist, Outbox::poll_batch)?;
        Some(control::Ends { session: self.session, number, prefixes })
    }

    fn with<T: Default>(&self, svrlist: usize, act: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outboxes = self.outboxes.lock().unwrap_or_else(PoisonError::into_inner);
        outboxes.get_mut(svrlist).map(act).unwrap_or_default()
    }
}
