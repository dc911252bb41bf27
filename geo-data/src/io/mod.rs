//! Where this crate acts: reads files, and notices that databases changed.
//!
//! Invariant: [`Watch`] hands out only sets in which every file was sound; a broken replacement is
//! reported once and the set in use stays.

mod sources;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::database::{Database, FILE_BYTES_MAX, Kind, OpenError};
use crate::databases::Databases;
pub use sources::{GatherError, Gathered, LIST_BYTES_MAX, Sources};

/// Which files to open; any subset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Our own (region, carrier) database.
    pub own: Option<PathBuf>,
    /// GeoIP2/GeoLite2 City, Enterprise or Country.
    pub city: Option<PathBuf>,
    /// GeoIP2 ISP.
    pub isp: Option<PathBuf>,
    /// GeoLite2 ASN.
    pub asn: Option<PathBuf>,
}

impl Paths {
    /// Reads and verifies every file that is named. Blocks for as long as that takes.
    pub fn open(&self) -> Result<Databases, OpenError> {
        let open =
            |kind, path: &Option<PathBuf>| path.as_deref().map(|path| open(kind, path)).transpose();
        Ok(Databases {
            own: open(Kind::Own, &self.own)?,
            city: open(Kind::City, &self.city)?,
            isp: open(Kind::Isp, &self.isp)?,
            asn: open(Kind::Asn, &self.asn)?,
        })
    }

    fn stamps(&self) -> Stamps {
        [&self.own, &self.city, &self.isp, &self.asn].map(|path| {
            let metadata = fs::metadata(path.as_deref()?).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        })
    }
}

/// Reads and verifies one file.
pub fn open(kind: Kind, path: &Path) -> Result<Database, OpenError> {
    let name = path.display().to_string();
    let bytes = match read_regular(path, FILE_BYTES_MAX) {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(size)) => return Err(OpenError::TooLarge { kind, name, size }),
        Err(source) => return Err(OpenError::Read { kind, name, source }),
    };
    Database::from_bytes(kind, &name, bytes)
}

/// The file's bytes, or its size when that is beyond the limit. Only a regular file is opened: a
/// pipe would make the caller wait for ever.
fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.len() > bytes_max {
        return Ok(Err(metadata.len()));
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read; one byte more than allowed is enough to refuse it.
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    let size = bytes.len() as u64;
    Ok(if size > bytes_max { Err(size) } else { Ok(bytes) })
}

/// Time of change, length and inode of each file, or `None` where it cannot be had.
type Stamps = [Option<(SystemTime, u64, u64)>; 4];

/// Notices by time of change, length and inode that a file was replaced; its hundred megabytes are
/// not compared.
#[derive(Debug)]
pub struct Watch {
    paths: Paths,
    seen: Stamps,
}

impl Watch {
    /// Opens the files and remembers what was seen.
    pub fn open(paths: Paths) -> Result<(Self, Databases), OpenError> {
        // Stamps first: a change while the files are read is then noticed by the next check.
        let seen = paths.stamps();
        let databases = paths.open()?;
        Ok((Self { paths, seen }, databases))
    }

    /// `None` while nothing changed; otherwise the new set, or why the change was refused. A
    /// refused change is not tried again until the files change once more. Blocks while it reads.
    pub fn check(&mut self) -> Option<Result<Databases, OpenError>> {
        let stamps = self.paths.stamps();
        if stamps == self.seen {
            return None;
        }
        self.seen = stamps;
        Some(self.paths.open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that goes away with the test.
    pub(super) struct Folder(pub(super) PathBuf);

    impl Folder {
        pub(super) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("geo-data-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_replacement_is_noticed_and_a_broken_one_refused() {
        let folder = Folder::new("watch");
        let path = folder.0.join("own.mmdb");
        let whole = crate::demo::database();
        fs::write(&path, &whole).unwrap();
        let paths = Paths { own: Some(path.clone()), ..Paths::default() };
        let (mut watch, databases) = Watch::open(paths).unwrap();
        let address = "127.0.3.1".parse().unwrap();
        assert_eq!(databases.lookup(address).cell().to_string(), "440100/mobile");
        assert!(watch.check().is_none());

        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(matches!(watch.check(), Some(Err(OpenError::Broken { .. }))));
        assert!(watch.check().is_none(), "the same broken file is not reported again");

        fs::write(&path, &whole).unwrap();
        assert!(matches!(watch.check(), Some(Ok(_))));

        fs::remove_file(&path).unwrap();
        assert!(matches!(watch.check(), Some(Err(OpenError::Read { .. }))));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = Folder::new("kinds");
        let missing = open(Kind::City, &folder.0.join("missing.mmdb")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read the city database"), "{missing}");
        assert!(matches!(open(Kind::City, &folder.0), Err(OpenError::Read { .. })));
    }
}
