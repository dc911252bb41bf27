//! Where channels note which pulls of a session have something to read.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use shared::message::ClientInfo;
use tokio::sync::Notify;

use crate::io::channels::Watcher;

/// One session's board.
#[derive(Default)]
pub(super) struct Board {
    notes: Mutex<Notes>,
    /// Told after each note.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Notes {
    due: Due,
    /// The pulls in `due`.
    noted: HashSet<u64>,
}

/// What there is to write.
#[derive(Default)]
pub(super) struct Due {
    /// Pulls with something to read, in the order in which they became due.
    pub(super) pulls: VecDeque<u64>,
    /// Who came and left.
    pub(super) presence: Vec<PresenceNote>,
}

/// A client came to the channel of a pull, or left it.
pub(super) struct PresenceNote {
    pub(super) pull: u64,
    pub(super) joined: bool,
    pub(super) info: Arc<ClientInfo>,
}

impl Board {
    /// Takes everything that was noted.
    pub(super) fn take(&self) -> Due {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.noted.clear();
        std::mem::take(&mut notes.due)
    }
}

impl Watcher for Board {
    fn advanced(&self, pull: u64) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.noted.insert(pull) {
            notes.due.pulls.push_back(pull);
            drop(notes);
            self.changed.notify_one();
        }
    }

    fn presence_changed(&self, pull: u64, joined: bool, info: &Arc<ClientInfo>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let presence = &mut notes.due.presence;
        if presence.len() < PRESENCE_NOTES_MAX {
            presence.push(PresenceNote { pull, joined, info: Arc::clone(info) });
            drop(notes);
            self.changed.notify_one();
        }
    }
}

/// Clients' comings and goings that wait for a session which takes nothing; more are not told.
const PRESENCE_NOTES_MAX: usize = 100_000;
