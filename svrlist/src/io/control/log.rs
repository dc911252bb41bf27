//! A log on the disk: a line of JSON for each entry, begun anew when it is large, with some older
//! files kept.
//!
//! Invariant: what was appended before a sync that worked is there after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::store::tail;
use crate::control::audit::{Entry, TEXT_CHARS_MAX, TEXTS_MAX};

/// The file that is written, and those before it.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    name: &'static str,
    file: File,
    bytes: u64,
    /// Whether it may end within a line.
    torn: bool,
    /// Whether something was appended that may not be on the disk.
    unsynced: bool,
    bounds: Bounds,
}

/// How much there is of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Size at which a new file is begun.
    pub(super) rotate_at: u64,
    /// Older files that are kept.
    pub(super) older: u32,
}

impl Log {
    /// Opens the log of this name; it is made if there is none.
    pub(super) fn open(folder: &Path, name: &'static str, bounds: Bounds) -> io::Result<Self> {
        let path = path(folder, name, 0);
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let bytes = file.metadata()?.len();
        let torn = tail(&path, 1)?.last().is_some_and(|byte| *byte != b'\n');
        let folder = folder.to_owned();
        Ok(Self { folder, name, file, bytes, torn, unsynced: false, bounds })
    }

    /// Entries of the file that is so many before the one that is written.
    pub(super) fn read(&self, number: u32) -> io::Result<Vec<Entry>> {
        let path = self.path(number);
        let text = match tail(&path, BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entry = |line: &[u8]| {
            let fits = line.len() <= LINE_BYTES_MAX;
            fits.then(|| serde_json::from_slice(line).ok()).flatten()
        };
        let read: Vec<Option<Entry>> = lines.map(entry).collect();
        let unreadable = read.iter().filter(|entry| entry.is_none()).count();
        if unreadable > 0 {
            tracing::warn!(path = %path.display(), unreadable, "lines of the audit log are none");
        }
        Ok(read.into_iter().flatten().collect())
    }

    pub(super) fn path(&self, number: u32) -> PathBuf {
        path(&self.folder, self.name, number)
    }

    /// Appends an entry, which is on the disk after the next [`Log::sync`].
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = if self.torn { b"\n".to_vec() } else { Vec::new() };
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bounds.rotate_at {
            self.rotate()?;
        }
        (self.torn, self.unsynced) = (true, true);
        self.file.write_all(&line)?;
        self.torn = false;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Waits until the disk has what was appended.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            // What is appended after a failure may follow a line of which only a part is there.
            self.torn = true;
            self.file.sync_data()?;
            (self.torn, self.unsynced) = (false, false);
        }
        Ok(())
    }

    /// Begins a new file. Wherever this fails, the next try goes on from there and loses no more.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        if self.path(0).try_exists()? {
            let older = self.bounds.older;
            let mut free = 1;
            while free < older && self.path(free).try_exists()? {
                free += 1;
            }
            for number in (0..free).rev() {
                fs::rename(self.path(number), self.path(number + 1))?;
            }
        }
        self.file = OpenOptions::new().append(true).create(true).open(self.path(0))?;
        (self.bytes, self.torn) = (0, false);
        File::open(&self.folder)?.sync_all()
    }
}

fn path(folder: &Path, name: &str, number: u32) -> PathBuf {
    match number {
        0 => folder.join(format!("{name}.jsonl")),
        older => folder.join(format!("{name}.{older}.jsonl")),
    }
}

/// What is read of a file at most.
pub(super) const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Longest line that is read: an entry's texts, each character escaped.
pub(super) const LINE_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(6 * TEXT_CHARS_MAX * (TEXTS_MAX + 8) < LINE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::audit::{Audit, Note};
    use crate::fixture::moment;

    const SMALL: Bounds = Bounds { rotate_at: 1_000, older: 4 };

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("linecast-log-{name}-{}", std::process::id());
            let folder = Self(std::env::temp_dir().join(name));
            fs::create_dir_all(&folder.0).unwrap();
            folder
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn entries() -> impl Iterator<Item = Entry> {
        let mut audit = Audit::new([]);
        let note = || Note { who: "ann".into(), action: "change", ..Note::default() };
        (0..).map(move |second| audit.note(note(), moment(second)).unwrap())
    }

    /// Numbers of all entries, newest file first.
    fn ids(log: &Log) -> Vec<Vec<u64>> {
        let ids = |entries: Vec<Entry>| entries.iter().map(|entry| entry.id).collect();
        (0..=log.bounds.older).map(|number| ids(log.read(number).unwrap())).collect()
    }

    #[test]
    fn a_log_takes_no_more_than_its_share_of_the_disk() {
        let folder = Folder::new("rotation");
        let mut log = Log::open(&folder.0, "audit", SMALL).unwrap();
        for entry in entries().take(200) {
            log.append(&entry).unwrap();
        }
        log.sync().unwrap();
        let files: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 5);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1_000));
        let kept = ids(&Log::open(&folder.0, "audit", SMALL).unwrap()).concat();
        assert!(kept.contains(&200) && kept.len() > 20, "{kept:?}");
    }

    #[test]
    fn a_new_file_that_could_not_be_begun_is_begun_later_and_costs_no_older_one() {
        // Cut short after any of its steps: none, some or all files are moved, and none is new.
        for first in (0..=4).rev() {
            let folder = Folder::new("again");
            let mut log = Log::open(&folder.0, "audit", SMALL).unwrap();
            let mut entries = entries();
            while log.bytes < 900 || !log.path(4).exists() {
                log.append(&entries.next().unwrap()).unwrap();
            }
            let before = ids(&log);
            for number in (first..4).rev() {
                fs::rename(log.path(number), log.path(number + 1)).unwrap();
            }
            let new = entries.next().unwrap();
            log.append(&new).unwrap();
            let after = ids(&log);
            assert_eq!(after[0], [new.id], "{first}");
            assert_eq!(after[1..], before[..4], "{first}: the oldest made room, and no other");
        }
    }
}
