//! The witness's file; see [`crate::log::witness`] for what it is good for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::log::witness::{UNKNOWN_BOOT, Witness};

/// The witness beside the store.
pub(super) struct WitnessFile {
    file: File,
    failing: bool,
}

impl WitnessFile {
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<Witness>)> {
        let path = folder.join("witness");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let witness = match Witness::decode(&bytes) {
            Ok(witness) => Some(witness),
            Err(_) if bytes.is_empty() => None,
            Err(_) => {
                tracing::warn!("the store's witness is damaged and is not asked");
                None
            }
        };
        Ok((Self { file, failing: false }, witness))
    }

    /// Notes how far the store has come. A failure is logged once and does not stop the store: the
    /// witness then asks for less than it could.
    pub(super) fn note(&mut self, witness: &Witness) {
        match self.file.write_all_at(&witness.encode(), 0) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, "cannot write the store's witness");
            }
            Err(_) => {}
        }
    }
}

/// The number of this run of the machine.
pub(super) fn boot() -> u64 {
    std::fs::read("/proc/sys/kernel/random/boot_id")
        .map_or(UNKNOWN_BOOT, |id| xxh3_64_with_seed(&id, 0))
}
