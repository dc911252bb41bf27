//! The folder of a network: one that stays, or one that goes with the network.
//!
//! Invariant: whoever holds the lock inside a folder owns the folder. A temporary one that nobody owns
//! was left by a network that was killed, and the next temporary one takes it away.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::io::files::{FileError, make_folder};

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another network runs in it.
    #[error("{} belongs to a network that is running; --data names another folder", .0.display())]
    InUse(PathBuf),
}

/// A folder that belongs to one running network.
#[derive(Debug)]
pub(super) struct NetworkFolder {
    path: PathBuf,
    temporary: bool,
    /// Locked for as long as it is open.
    _lock: File,
}

impl NetworkFolder {
    /// The folder at `path`, made if need be.
    pub(super) fn lasting(path: &Path) -> Result<Self, FolderError> {
        Self::open(path.to_owned(), false)
    }

    /// A new folder in `parent` that is removed at the end.
    pub(super) fn temporary(parent: &Path) -> Result<Self, FolderError> {
        sweep(parent, ABANDONED_AFTER);
        let name = format!("{TEMPORARY}{}-{:08x}", std::process::id(), rand::random::<u32>());
        Self::open(parent.join(name), true)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn open(path: PathBuf, temporary: bool) -> Result<Self, FolderError> {
        make_folder(&path)?;
        let file = path.join(LOCK);
        let unusable = |source| FileError::Write { path: file.clone(), source };
        let lock = File::create(&file).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, temporary, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(unusable(source).into()),
        }
    }
}

impl Drop for NetworkFolder {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is left to whoever tidies the folder for temporary files.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes temporary folders that nobody owns. What is younger than `age` may be about to be locked.
fn sweep(parent: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        // Opened for writing: a folder of somebody else stays.
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else { continue };
        let made = lock.metadata().and_then(|metadata| metadata.modified());
        let old = made.is_ok_and(|made| made.elapsed().is_ok_and(|since| since >= age));
        if old && lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What the names of temporary folders begin with.
const TEMPORARY: &str = "linecast-up-";

const LOCK: &str = "lock";

const ABANDONED_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::files::tests::Folder;

    #[test]
    fn what_a_killed_network_left_is_taken_away() {
        let parent = Folder::new();
        let alive = NetworkFolder::temporary(&parent.0).unwrap();
        let left = parent.0.join("linecast-up-1-00000000");
        let foreign = parent.0.join("linecast-up-2-00000000");
        for folder in [&left, &foreign] {
            make_folder(folder).unwrap();
        }
        fs::write(left.join(LOCK), "").unwrap();
        sweep(&parent.0, ABANDONED_AFTER);
        assert!(left.exists(), "it may be about to be locked");
        sweep(&parent.0, Duration::ZERO);
        assert!(!left.exists() && foreign.exists() && alive.path().exists());
    }

    #[test]
    fn a_folder_belongs_to_one_network() {
        let parent = Folder::new();
        let first = NetworkFolder::temporary(&parent.0).unwrap();
        let error = NetworkFolder::lasting(first.path()).unwrap_err();
        assert!(matches!(error, FolderError::InUse(_)), "{error}");
    }

    #[test]
    fn a_temporary_folder_goes_and_a_lasting_one_stays() {
        let parent = Folder::new();
        let temporary = NetworkFolder::temporary(&parent.0).unwrap();
        let inner = temporary.path().join("data");
        drop(NetworkFolder::lasting(&inner).unwrap());
        drop(NetworkFolder::lasting(&inner).unwrap());
        assert!(inner.is_dir());
        let path = temporary.path().to_owned();
        drop(temporary);
        assert!(!path.exists());
    }
}
