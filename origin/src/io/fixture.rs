//! An origin for tests, whose folder goes with it.

use std::path::PathBuf;
use std::time::Duration;

use shared::namespace::Namespaces;

use super::hook::HookConfig;
use super::metrics::Metrics;
use super::origin::{Origin, Settings};
use super::store::Place;

/// An origin in a temporary folder.
pub(super) struct Temporary {
    pub(super) origin: Origin,
    pub(super) folder: PathBuf,
}

impl Temporary {
    pub(super) fn open(change: impl FnOnce(&mut Settings)) -> Self {
        let name = format!("linecast-origin-test-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        let mut settings = Settings {
            place: Place { folder: folder.clone(), accept_loss: false, memtable_bytes: 1 << 20 },
            namespaces: Namespaces::default(),
            channels_max: 1000,
            free_bytes_min: 0,
            edge_grace: Duration::from_secs(10),
            hook: no_hooks(),
        };
        change(&mut settings);
        Self { origin: Origin::open(settings, Metrics::default()).unwrap(), folder }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.origin.close();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(super) fn no_hooks() -> HookConfig {
    HookConfig { rpc: None, publish: None, timeout: Duration::from_millis(300), concurrency_max: 2 }
}
