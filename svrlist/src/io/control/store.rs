//! What survives a restart: `control.json`, replaced whole, and the audit log, a line for each entry.
//! What strangers cause is in a log of its own, so that it pushes nothing else off the disk.
//!
//! Invariant: after a crash `control.json` is the one before or the one after, and every audit line
//! that was answered for is there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::log::{self, Bounds, Log};
use crate::control::audit::{Audit, Entry};
use crate::control::revisions::{KEPT_BYTES_MAX, Kept, LoadError};

/// The audit log in its folder.
#[derive(Debug)]
pub(super) struct Store {
    audit: Log,
    strangers: Log,
}

/// A folder that was opened, and what was in it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) kept: Option<Kept>,
    pub(super) audit: Audit,
    /// Sign-ins, also of files before those that the audit log goes on after.
    pub(super) sign_ins: Vec<Entry>,
}

/// What was kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or a file in it.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control in it.
    #[error("cannot read {path}; move it away to start without it")]
    Control {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: LoadError,
    },
}

impl Store {
    /// Opens a folder, which is made if there is none, and reads what is in it.
    pub(super) fn open(folder: &Path) -> Result<Opened, StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let path = folder.join(CONTROL);
        let kept = match read(&path) {
            Ok(text) => match Kept::load(&text) {
                Ok(kept) => Some(kept),
                Err(source) => return Err(StoreError::Control { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(StoreError::File { path, source }),
        };
        let open = |name, bounds| Log::open(folder, name, bounds).map_err(failed(folder));
        let audit = open(AUDIT, AUDIT_BOUNDS)?;
        let strangers = open(STRANGERS, STRANGERS_BOUNDS)?;
        let read = |log: &Log, number| log.read(number).map_err(failed(&log.path(number)));
        let (mut entries, mut sign_ins) = (Vec::new(), Vec::new());
        for number in 0..=AUDIT_BOUNDS.older {
            let read = read(&audit, number)?;
            sign_ins.extend(read.iter().filter(|entry| entry.is_sign_in()).cloned());
            if number < FILES_READ {
                entries.extend(read);
            }
        }
        for number in 0..FILES_READ {
            entries.extend(read(&strangers, number)?);
        }
        // What could not be written at first may have been written twice.
        entries.sort_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
        let audit_of = Audit::new(entries);
        Ok(Opened { store: Self { audit, strangers }, kept, audit: audit_of, sign_ins })
    }

    /// Keeps the control.
    pub(super) fn keep(folder: &Path, kept: &Kept) -> io::Result<()> {
        replace(&folder.join(CONTROL), &kept.save())
    }

    /// Appends an entry, which is on the disk after the next [`Store::sync`].
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.strange { self.strangers.append(entry) } else { self.audit.append(entry) }
    }

    /// Waits until the disk has what was appended.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.audit.sync().and(self.strangers.sync())
    }
}

/// A file that is as long as what is kept may be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = tail(path, CONTROL_BYTES_MAX + 1)?;
    if bytes.len() as u64 > CONTROL_BYTES_MAX {
        let long =
            format!("has more than {CONTROL_BYTES_MAX} bytes: move it away to start without");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, long));
    }
    Ok(bytes)
}

/// The last bytes of a file, so many at most.
pub(super) fn tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts a file in the place of another, whole or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

const CONTROL: &str = "control.json";
const AUDIT: &str = "audit";
const STRANGERS: &str = "strangers";
/// Longest `control.json` that is read: the revisions before the one in force, and one far beyond any.
const CONTROL_BYTES_MAX: u64 = 2 * KEPT_BYTES_MAX as u64;
/// The audit log: 40 MiB in all.
const AUDIT_BOUNDS: Bounds = Bounds { rotate_at: log::BYTES_MAX, older: 4 };
/// What strangers cause: 16 MiB, a day of as much as they may.
const STRANGERS_BOUNDS: Bounds = Bounds { rotate_at: log::BYTES_MAX, older: 1 };
/// Files of each that are read for the audit log in memory.
const FILES_READ: u32 = 2;

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::control::audit::{Note, SIGN_IN};
    use crate::control::revisions::{Author, Revisions};
    use crate::control::{Control, Part};
    use crate::fixture::moment;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("linecast-control-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn note(who: &str) -> Note {
        Note { who: who.to_owned(), action: "change", ..Note::default() }
    }

    fn write(store: &mut Store, entry: Entry) {
        store.append(&entry).unwrap();
        store.sync().unwrap();
    }

    #[test]
    fn what_was_wanted_and_done_survives_a_restart() {
        let folder = Folder::new("restart");
        let Opened { mut store, kept, mut audit, .. } = Store::open(&folder.0).unwrap();
        assert!(kept.is_none());
        let mut revisions = Revisions::default();
        let control = Control { weights: [("a".to_owned(), 2.0)].into(), ..Control::default() };
        let author = Author { who: "ann".into(), from: "192.0.2.1".into() };
        let now = moment(0);
        revisions.change(control, author, "why".into(), now.calendar);
        let kept = Kept { revisions: revisions.clone(), owned: vec![Part::Zones] };
        Store::keep(&folder.0, &kept).unwrap();
        write(&mut store, audit.note(note("ann"), now).unwrap());
        // A crash in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(folder.0.join("audit.jsonl")).unwrap();
        file.write_all(b"{\"id\": 2, \"at").unwrap();

        let Opened { mut store, kept, mut audit, .. } = Store::open(&folder.0).unwrap();
        let again = kept.unwrap();
        assert!(again.revisions.iter().eq(revisions.iter()));
        assert_eq!(again.owned, [Part::Zones]);
        write(&mut store, audit.note(note("bob"), now).unwrap());
        let audit = Store::open(&folder.0).unwrap().audit;
        let who: Vec<&str> = audit.read(None, 9).map(|entry| entry.who.as_str()).collect();
        assert_eq!(who, ["bob", "ann"]);

        fs::write(folder.0.join(CONTROL), "[]").unwrap();
        let error = Store::open(&folder.0).unwrap_err().to_string();
        assert!(error.contains("control.json; move it away"), "{error}");
    }

    #[test]
    fn no_more_is_read_back_than_can_have_been_written() {
        let folder = Folder::new("large");
        let Opened { mut store, mut audit, .. } = Store::open(&folder.0).unwrap();
        write(&mut store, audit.note(note("ann"), moment(0)).unwrap());
        let mut file = OpenOptions::new().append(true).open(folder.0.join("audit.jsonl")).unwrap();
        let mut long = audit.note(note("bob"), moment(0)).unwrap();
        long.detail = vec!["x".repeat(log::LINE_BYTES_MAX)];
        let long = serde_json::to_string(&long).unwrap();
        writeln!(file, "{long}").unwrap();
        write(&mut store, audit.note(note("cat"), moment(0)).unwrap());
        let read = |audit: &Audit| -> Vec<String> {
            audit.read(None, 9).map(|entry| entry.who.clone()).collect()
        };
        let audit = Store::open(&folder.0).unwrap().audit;
        assert_eq!(read(&audit), ["cat", "ann"], "the line between is too long");

        // Somebody else's file in that place: its end is looked at.
        file.set_len(10 * log::BYTES_MAX).unwrap();
        let Opened { mut store, mut audit, .. } = Store::open(&folder.0).unwrap();
        assert_eq!(read(&audit), [""; 0]);
        write(&mut store, audit.note(note("dan"), moment(0)).unwrap());
        assert_eq!(read(&Store::open(&folder.0).unwrap().audit), ["dan"]);

        let file = File::create(folder.0.join(CONTROL)).unwrap();
        file.set_len(CONTROL_BYTES_MAX + 1).unwrap();
        let error = Store::open(&folder.0).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("more than 33554432 bytes: move it away"), "{source}");
    }

    #[test]
    fn neither_strangers_nor_many_changes_push_out_who_signed_in() {
        let folder = Folder::new("strangers");
        let Opened { mut store, mut audit, .. } = Store::open(&folder.0).unwrap();
        let signed_in = Note { action: SIGN_IN, done: true, ..note("ann") };
        store.append(&audit.note(signed_in, moment(0)).unwrap()).unwrap();
        let mut flood = |note: Note, bytes: u64| {
            let (mut appended, mut at) = (0, 0);
            while appended < bytes {
                // As fast as strangers may.
                at += 6;
                let entry = audit.note(note.clone(), moment(at)).unwrap();
                appended += serde_json::to_vec(&entry).unwrap().len() as u64;
                store.append(&entry).unwrap();
            }
        };
        let stranger =
            Note { strange: true, detail: vec!["/".repeat(500); 2], ..note(&"\u{1}".repeat(500)) };
        flood(stranger, 3 * log::BYTES_MAX);
        let audit_read = Store::open(&folder.0).unwrap().audit;
        let oldest = audit_read.read(None, usize::MAX).last().unwrap();
        assert_eq!(oldest.who, "ann", "strangers are in a file of their own");
        flood(Note { detail: vec!["x".repeat(500); 64], ..note("bob") }, 3 * log::BYTES_MAX);
        let opened = Store::open(&folder.0).unwrap();
        let who: Vec<&str> = opened.sign_ins.iter().map(|entry| entry.who.as_str()).collect();
        assert_eq!(who, ["ann"], "older files are read for it");
    }
}
