//! What the tests of processes and stores share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use origin::io::hook::HookConfig;
use origin::io::metrics::Metrics;
use origin::io::origin::{Origin, Settings, StartError};
use origin::io::store::Place;
use origin::publish::Publish;
use shared::channel::ChannelName;
use shared::namespace::{Durability, Namespaces, Options};

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("linecast-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn namespaces() -> Namespaces {
    let os = Options { durability: Durability::Os, ..Options::default() };
    let large = Options { history_size: 1_000_000, history_bytes: 1 << 30, ..Options::default() };
    Namespaces::new(
        [
            ("live".to_owned(), Options::default()),
            ("os".to_owned(), os),
            ("large".to_owned(), large),
        ]
        .into(),
    )
}

pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        place: Place {
            folder: folder.to_owned(),
            accept_loss: false,
            // Small, so that little data makes tables.
            memtable_bytes: 64 << 10,
        },
        namespaces: namespaces(),
        channels_max: 10_000,
        free_bytes_min: 0,
        edge_grace: Duration::from_secs(10),
        hook: HookConfig {
            rpc: None,
            publish: None,
            timeout: Duration::from_secs(1),
            concurrency_max: 10,
        },
    }
}

pub(crate) fn open(folder: &Path) -> Result<Origin, StartError> {
    Origin::open(settings(folder), Metrics::default())
}

pub(crate) fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap().0
}

pub(crate) fn message(channel: &str, body: impl Into<Bytes>) -> Publish {
    Publish::new(name(channel), body)
}
