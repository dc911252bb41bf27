//! The folder of a network: one that stays, or one that goes with the network.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

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

    /// A new folder that is removed at the end.
    pub(super) fn temporary() -> Result<Self, FolderError> {
        let name = format!("linecast-{}-{:08x}", std::process::id(), rand::random::<u32>());
        Self::open(std::env::temp_dir().join(name), true)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn open(path: PathBuf, temporary: bool) -> Result<Self, FolderError> {
        make_folder(&path)?;
        let file = path.join("lock");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_network() {
        let first = NetworkFolder::temporary().unwrap();
        let error = NetworkFolder::lasting(first.path()).unwrap_err();
        assert!(matches!(error, FolderError::InUse(_)), "{error}");
    }

    #[test]
    fn a_temporary_folder_goes_and_a_lasting_one_stays() {
        let temporary = NetworkFolder::temporary().unwrap();
        let inner = temporary.path().join("data");
        drop(NetworkFolder::lasting(&inner).unwrap());
        drop(NetworkFolder::lasting(&inner).unwrap());
        assert!(inner.is_dir());
        let path = temporary.path().to_owned();
        drop(temporary);
        assert!(!path.exists());
    }
}
