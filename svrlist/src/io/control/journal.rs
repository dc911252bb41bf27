//! The audit log: whoever reads it sees an entry at once, and whoever made it is answered once it is
//! on the disk.
//!
//! Entries that come while others are being written wait in memory and are written together.
//!
//! Invariant: entries are written in the order of their numbers, and no reader waits for the disk.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as Queue;

use super::store::Store;
use crate::control::audit::{Audit, Entry, Note};
use crate::site::Moment;

#[derive(Debug)]
pub(super) struct Journal {
    memory: Mutex<Memory>,
    /// Whoever writes waits here and not on a thread.
    turn: Queue<()>,
    store: Option<Mutex<Store>>,
}

#[derive(Debug)]
struct Memory {
    audit: Audit,
    unwritten: Vec<Entry>,
}

impl Journal {
    pub(super) fn new(audit: Audit, store: Option<Store>) -> Self {
        let memory = Mutex::new(Memory { audit, unwritten: Vec::new() });
        Self { memory, turn: Queue::default(), store: store.map(Mutex::new) }
    }

    /// Reads what there is.
    pub(super) fn read<T>(&self, reads: impl FnOnce(&Audit) -> T) -> T {
        reads(&self.memory.lock().unwrap_or_else(PoisonError::into_inner).audit)
    }

    /// Writes down what was done or tried.
    pub(super) async fn note(self: &Arc<Self>, note: Note, now: Moment) -> io::Result<()> {
        if !self.enter(note, now) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let journal = Arc::clone(self);
        match tokio::task::spawn_blocking(move || journal.write()).await {
            Ok(written) => written,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// The same for whoever may block.
    pub(super) fn note_blocking(&self, note: Note, now: Moment) -> io::Result<()> {
        if self.enter(note, now) { self.write() } else { Ok(()) }
    }

    /// Makes an entry; whether there is something to write.
    fn enter(&self, note: Note, now: Moment) -> bool {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = memory.audit.note(note, now) else { return false };
        if self.store.is_some() {
            memory.unwritten.push(entry);
        }
        self.store.is_some()
    }

    /// Writes what is not yet written.
    fn write(&self) -> io::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten = {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut memory.unwritten)
        };
        store.write(&unwritten)
    }
}
