//! What survives a restart: `control.json`, replaced whole, and `audit.jsonl`, a line for each entry.
//!
//! Invariant: after a crash `control.json` is the one before or the one after, and every audit line
//! that was answered for is there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::control::audit::{Audit, Entry, TEXT_CHARS_MAX, TEXTS_MAX};
use crate::control::revisions::{KEPT_BYTES_MAX, Kept, LoadError};

/// The folder, and the audit log in it.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    audit: File,
    audit_bytes: u64,
    /// Whether it may end within a line.
    torn: bool,
    rotate_at: u64,
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
    pub(super) fn open(folder: &Path) -> Result<(Self, Option<Kept>, Audit), StoreError> {
        Self::open_rotating(folder, AUDIT_BYTES_MAX)
    }

    fn open_rotating(
        folder: &Path,
        rotate_at: u64,
    ) -> Result<(Self, Option<Kept>, Audit), StoreError> {
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
        let path = folder.join(AUDIT);
        let mut entries = Vec::new();
        let mut torn = false;
        for path in [rotated(folder, 1), path.clone()] {
            let text = match tail(&path, AUDIT_BYTES_MAX) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(StoreError::File { path, source }),
            };
            torn = text.last().is_some_and(|byte| *byte != b'\n');
            let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let entry = |line: &[u8]| {
                let fits = line.len() <= AUDIT_LINE_BYTES_MAX;
                fits.then(|| serde_json::from_slice(line).ok()).flatten()
            };
            let read: Vec<Option<Entry>> = lines.map(entry).collect();
            let unreadable = read.iter().filter(|entry| entry.is_none()).count();
            if unreadable > 0 {
                tracing::warn!(path = %path.display(), unreadable, "lines of the audit log are none");
            }
            entries.extend(read.into_iter().flatten());
        }
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        let audit = opened.map_err(failed(&path))?;
        let audit_bytes = audit.metadata().map_err(failed(&path))?.len();
        let store = Self { folder: folder.to_owned(), audit, audit_bytes, torn, rotate_at };
        Ok((store, kept, Audit::new(entries)))
    }

    /// Keeps the control.
    pub(super) fn keep(folder: &Path, kept: &Kept) -> io::Result<()> {
        replace(&folder.join(CONTROL), &kept.save())
    }

    /// Writes entries down; they are on the disk when this returns.
    pub(super) fn write(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            let mut line = if self.torn { b"\n".to_vec() } else { Vec::new() };
            serde_json::to_writer(&mut line, entry)?;
            line.push(b'\n');
            if self.audit_bytes > 0 && self.audit_bytes + line.len() as u64 > self.rotate_at {
                self.rotate()?;
            }
            self.torn = true;
            self.audit.write_all(&line)?;
            self.torn = false;
            self.audit_bytes += line.len() as u64;
        }
        self.audit.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..AUDIT_FILES).rev() {
            let (from, to) = (rotated(&self.folder, number), rotated(&self.folder, number + 1));
            if from.exists() {
                fs::rename(from, to)?;
            }
        }
        let path = self.folder.join(AUDIT);
        fs::rename(&path, rotated(&self.folder, 1))?;
        self.audit = OpenOptions::new().append(true).create(true).open(&path)?;
        self.audit_bytes = 0;
        File::open(&self.folder)?.sync_all()
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
fn tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
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

fn rotated(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("audit.{number}.jsonl"))
}

const CONTROL: &str = "control.json";
const AUDIT: &str = "audit.jsonl";
/// Longest `control.json` that is read: the revisions before the one in force, and one far beyond any.
const CONTROL_BYTES_MAX: u64 = 2 * KEPT_BYTES_MAX as u64;
/// Longest line of the audit log that is read: an entry's texts, each character escaped.
const AUDIT_LINE_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(6 * TEXT_CHARS_MAX * (TEXTS_MAX + 8) < AUDIT_LINE_BYTES_MAX);
/// Size at which a new audit file is begun.
const AUDIT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Older audit files that are kept: 40 MiB in all.
const AUDIT_FILES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::audit::Note;
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

    #[test]
    fn what_was_wanted_and_done_survives_a_restart() {
        let folder = Folder::new("restart");
        let (mut store, none, mut audit) = Store::open(&folder.0).unwrap();
        assert!(none.is_none());
        let mut revisions = Revisions::default();
        let control = Control { weights: [("a".to_owned(), 2.0)].into(), ..Control::default() };
        let author = Author { who: "ann".into(), from: "192.0.2.1".into() };
        let now = moment(0);
        revisions.change(control, author, "why".into(), now.calendar);
        let kept = Kept { revisions: revisions.clone(), owned: vec![Part::Zones] };
        Store::keep(&folder.0, &kept).unwrap();
        store.write(&[audit.note(note("ann"), now).unwrap()]).unwrap();
        // A crash in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(folder.0.join(AUDIT)).unwrap();
        file.write_all(b"{\"id\": 2, \"at").unwrap();

        let (mut store, again, mut audit) = Store::open(&folder.0).unwrap();
        let again = again.unwrap();
        assert!(again.revisions.iter().eq(revisions.iter()));
        assert_eq!(again.owned, [Part::Zones]);
        store.write(&[audit.note(note("bob"), now).unwrap()]).unwrap();
        let (_, _, audit) = Store::open(&folder.0).unwrap();
        let who: Vec<&str> = audit.read(None, 9).map(|entry| entry.who.as_str()).collect();
        assert_eq!(who, ["bob", "ann"]);

        fs::write(folder.0.join(CONTROL), "[]").unwrap();
        let error = Store::open(&folder.0).unwrap_err().to_string();
        assert!(error.contains("control.json; move it away"), "{error}");
    }

    #[test]
    fn no_more_is_read_back_than_can_have_been_written() {
        let folder = Folder::new("large");
        let (mut store, _, mut audit) = Store::open(&folder.0).unwrap();
        store.write(&[audit.note(note("ann"), moment(0)).unwrap()]).unwrap();
        let mut file = OpenOptions::new().append(true).open(folder.0.join(AUDIT)).unwrap();
        let mut long = audit.note(note("bob"), moment(0)).unwrap();
        long.detail = vec!["x".repeat(AUDIT_LINE_BYTES_MAX)];
        let long = serde_json::to_string(&long).unwrap();
        writeln!(file, "{long}").unwrap();
        store.write(&[audit.note(note("cat"), moment(0)).unwrap()]).unwrap();
        let read = |audit: &Audit| -> Vec<String> {
            audit.read(None, 9).map(|entry| entry.who.clone()).collect()
        };
        let (_, _, audit) = Store::open(&folder.0).unwrap();
        assert_eq!(read(&audit), ["cat", "ann"], "the line between is too long");

        // Somebody else's file in that place: its end is looked at.
        file.set_len(10 * AUDIT_BYTES_MAX).unwrap();
        let (mut store, _, mut audit) = Store::open(&folder.0).unwrap();
        assert_eq!(read(&audit), [""; 0]);
        store.write(&[audit.note(note("dan"), moment(0)).unwrap()]).unwrap();
        assert_eq!(read(&Store::open(&folder.0).unwrap().2), ["dan"]);

        let file = File::create(folder.0.join(CONTROL)).unwrap();
        file.set_len(CONTROL_BYTES_MAX + 1).unwrap();
        let error = Store::open(&folder.0).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("more than 33554432 bytes: move it away"), "{source}");
    }

    #[test]
    fn the_audit_log_takes_no_more_than_its_share_of_the_disk() {
        let folder = Folder::new("rotation");
        let (mut store, _, mut audit) = Store::open_rotating(&folder.0, 1_000).unwrap();
        for second in 0..200 {
            store.write(&[audit.note(note("ann"), moment(second)).unwrap()]).unwrap();
        }
        let files: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 1 + AUDIT_FILES as usize);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1_000));
        let (_, _, again) = Store::open(&folder.0).unwrap();
        assert_eq!(again.read(None, 1).next().unwrap().id, 200);
    }
}
