//! The audit log: whoever reads it sees an entry at once, and whoever made it is answered once it is
//! on the disk.
//!
//! Entries that come while others are being written wait in memory and are written together. What
//! could not be written is tried again with the next one, for as long as memory has it.
//!
//! Invariant: entries are written in the order of their numbers, whoever is told that theirs is on the
//! disk is told the truth, and no reader waits for the disk.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// The last entry that is on the disk.
    written: u64,
}

impl Journal {
    pub(super) fn new(audit: Audit, store: Option<Store>) -> Self {
        let written = audit.last();
        let memory = Mutex::new(Memory { audit, written });
        Self { memory, turn: Queue::default(), store: store.map(Mutex::new) }
    }

    /// Reads what there is.
    pub(super) fn read<T>(&self, reads: impl FnOnce(&Audit) -> T) -> T {
        reads(&self.lock().audit)
    }

    /// Writes down what was done or tried.
    pub(super) async fn note(self: &Arc<Self>, note: Note, now: Moment) -> io::Result<()> {
        let Some(id) = self.enter(note, now) else { return Ok(()) };
        let _turn = self.turn.lock().await;
        let journal = Arc::clone(self);
        match tokio::task::spawn_blocking(move || journal.write(id)).await {
            Ok(written) => written,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// The same for whoever may block.
    pub(super) fn note_blocking(&self, note: Note, now: Moment) -> io::Result<()> {
        self.enter(note, now).map_or(Ok(()), |id| self.write(id))
    }

    /// Makes an entry; its number, if there is one to write.
    fn enter(&self, note: Note, now: Moment) -> Option<u64> {
        self.lock().audit.note(note, now).map(|entry| entry.id)
    }

    /// Writes entries until this one is on the disk.
    fn write(&self, id: u64) -> io::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (mut written, entries) = {
                let memory = self.lock();
                if memory.written >= id {
                    return Ok(());
                }
                let entries = memory.audit.after(memory.written, BATCH_MAX);
                (memory.written, entries.cloned().collect::<Vec<Entry>>())
            };
            if entries.is_empty() {
                return Err(io::Error::other(
                    "too much came after it while nothing could be written",
                ));
            }
            let appended = entries.iter().try_for_each(|entry| {
                store.append(entry)?;
                written = entry.id;
                io::Result::Ok(())
            });
            store.sync()?;
            self.lock().written = written;
            appended?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries that are written at once.
const BATCH_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::moment;
    use crate::io::control::log;
    use crate::io::control::store::Opened;

    #[test]
    fn whoever_is_told_that_it_is_on_the_disk_is_told_the_truth() {
        let name = format!("linecast-journal-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for older in 1..=3 {
            fs::write(folder.join(format!("audit.{older}.jsonl")), "").unwrap();
        }
        let full = fs::File::create(folder.join("audit.jsonl")).unwrap();
        full.set_len(log::BYTES_MAX).unwrap();

        let Opened { store, audit, .. } = Store::open(&folder).unwrap();
        let journal = Journal::new(audit, Some(store));
        // The file is full, and there is no place to move it to.
        fs::create_dir(folder.join("audit.4.jsonl")).unwrap();
        let enter = |who: &str| {
            let note = Note { who: who.to_owned(), action: "change", ..Note::default() };
            journal.enter(note, moment(0)).unwrap()
        };
        let [ann, bob] = ["ann", "bob"].map(enter);
        assert!(journal.write(ann).is_err());
        assert!(journal.write(bob).is_err(), "hers was written with it, which failed");
        fs::remove_dir(folder.join("audit.4.jsonl")).unwrap();
        journal.write(enter("cat")).unwrap();
        let audit = Store::open(&folder).unwrap().audit;
        let who: Vec<&str> = audit.read(None, 9).map(|entry| entry.who.as_str()).collect();
        assert_eq!(who, ["cat", "bob", "ann"], "what failed was written with the next");
        fs::remove_dir_all(folder).unwrap();
    }
}
