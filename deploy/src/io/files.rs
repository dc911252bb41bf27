//! Files that others may be reading: they appear whole or not at all.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone.
    Owner,
    /// Everybody.
    Everybody,
}

/// A file or folder that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is there, and was not to be replaced.
    #[error("{} exists; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes a folder that only its owner may enter, and those above it.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Folder { path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)
}

/// Reads a text.
pub fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Writes a file, or replaces it: under another name first, then renamed.
pub fn write(path: &Path, contents: &[u8], readers: Readers) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = write_new(&new, contents, readers).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        // Nobody else knows this name; whether it can be removed changes nothing.
        let _ = fs::remove_file(&new);
        FileError::Write { path: path.to_owned(), source }
    })
}

fn write_new(path: &Path, contents: &[u8], readers: Readers) -> io::Result<()> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    };
    // Of a process that had this number before and was killed while writing.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder of its own for one test, removed at its end.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("linecast-deploy-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            make_folder(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_replaced_whole_and_keys_are_private() {
        let folder = Folder::new();
        let path = folder.0.join("ca.key");
        for text in ["one", "two"] {
            write(&path, text.as_bytes(), Readers::Owner).unwrap();
            assert_eq!(read(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
        assert_eq!(fs::metadata(&folder.0).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn failures_name_the_file() {
        let folder = Folder::new();
        let absent = folder.0.join("absent").join("file");
        let error = write(&absent, b"", Readers::Everybody).unwrap_err();
        assert!(error.to_string().contains("absent/file"), "{error}");
        let error = read(&absent).unwrap_err();
        assert!(error.to_string().contains("absent/file"), "{error}");
    }
}
