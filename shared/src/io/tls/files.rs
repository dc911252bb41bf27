//! Files that are read again when they change.
//!
//! Contents are compared, not modification times: the files are small, and atomic renames,
//! mounted secrets (symbolic links) and clocks of one second's grain all look the same this way.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::TlsError;
use crate::io::shutdown::Shutdown;

/// How often files are looked at, unless configured otherwise.
pub const POLL_PERIOD: Duration = Duration::from_secs(2);

/// What a set of files is turned into.
pub(super) trait Loaded: Sized + Send + Sync + 'static {
    /// Parses the contents, which are in the order of the paths.
    fn parse(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<Self, TlsError>;

    /// When our own certificate ends, in seconds since 1970.
    fn not_after(&self) -> i64;
}

/// Contents of each file, or why it cannot be read.
type Contents = Vec<Result<Vec<u8>, io::ErrorKind>>;

/// The value of some files, as of their last good state.
pub(super) struct Watched<T> {
    paths: Vec<PathBuf>,
    /// What was read last, good or bad, so that a bad state is reported once.
    seen: Mutex<Contents>,
    current: ArcSwap<T>,
    not_after: Gauge,
    failed: Gauge,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Watched").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T: Loaded> Watched<T> {
    pub(super) fn load(paths: Vec<PathBuf>) -> Result<Arc<Self>, TlsError> {
        let seen = read(&paths);
        let current = parse::<T>(&paths, &seen)?;
        let not_after = Gauge::default();
        not_after.set(current.not_after());
        let (seen, current) = (Mutex::new(seen), ArcSwap::from_pointee(current));
        Ok(Arc::new(Self { paths, seen, current, not_after, failed: Gauge::default() }))
    }

    pub(super) fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Reads the files again: whether there was something new. After an error the old value stays,
    /// and the same contents are not tried again.
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        let contents = read(&self.paths);
        // Held over parsing, so that the value always belongs to what was seen last.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == contents {
            return Ok(false);
        }
        let parsed = parse::<T>(&self.paths, &contents);
        *seen = contents;
        self.failed.set(i64::from(parsed.is_err()));
        let new = parsed?;
        self.not_after.set(new.not_after());
        self.current.store(Arc::new(new));
        Ok(true)
    }

    /// Looks at the files until the shutdown.
    pub(super) async fn watch(self: Arc<Self>, every: Duration, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.triggered() => return,
                () = tokio::time::sleep(every) => {}
            }
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!(files = ?self.paths, "certificates were reloaded"),
                Ok(Err(error)) => {
                    let reason = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, reason, "changed certificates are not used; the old ones stay");
                }
                Err(error) => tracing::error!(%error, "reloading certificates failed"),
            }
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "certificate_not_after_seconds",
            "End of the certificate in use, in seconds since 1970",
            self.not_after.clone(),
        );
        registry.register(
            "certificate_reload_failed",
            "1 while the files on disk cannot be used and an older state is in use",
            self.failed.clone(),
        );
    }
}

fn read(paths: &[PathBuf]) -> Contents {
    paths.iter().map(|path| std::fs::read(path).map_err(|error| error.kind())).collect()
}

fn parse<T: Loaded>(paths: &[PathBuf], contents: &Contents) -> Result<T, TlsError> {
    let readable: Result<Vec<Vec<u8>>, TlsError> = paths
        .iter()
        .zip(contents)
        .map(|(path, content)| {
            content
                .clone()
                .map_err(|kind| TlsError::Read { path: path.clone(), source: kind.into() })
        })
        .collect();
    T::parse(paths, &readable?)
}
