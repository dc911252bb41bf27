//! Histories and the store that keeps them over restarts.
//!
//! The store is written every [`WRITE_EVERY`] and at the end, on a thread of its own; those who ask are
//! answered from memory. A store that cannot be read is set aside with a warning: what is lost with
//! it is the past of some curves. Time is that of a [`Calendar`]: what is known is not forgotten because the
//! machine's clock is wrong for a while.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use moka::sync::Cache;
use shared::io::http::{Response, StatusCode, bytes};
use shared::io::shutdown::Shutdown;

use crate::calendar::Calendar;
use crate::dashboard::history::{Answer, Ask, samples};
use crate::dashboard::{facts::Facts, private, written};
use crate::history::{Change, History};
use crate::metrics::Metrics;
use crate::site::Moment;

/// Why histories cannot be kept where they should.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, read or moved.
    #[error("cannot use the folder of histories {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the folder of histories {0} is in use by another svrlist")]
    Locked(PathBuf),
}

/// All histories.
#[derive(Debug)]
pub(super) struct Archive {
    calendar: Mutex<Calendar>,
    history: Mutex<History>,
    store: Option<Arc<Store>>,
    answers: Cache<Ask, Bytes>,
    metrics: Metrics,
}

impl Archive {
    /// Opens the store in `folder` and reads it. Takes a while.
    pub(super) fn open(
        folder: Option<&Path>,
        series_max: usize,
        metrics: Metrics,
        now: Moment,
    ) -> Result<Self, OpenError> {
        let (store, mut history) = match folder {
            None => (None, History::new(series_max)),
            Some(folder) => match open(folder, series_max) {
                Ok((store, history)) => (Some(Arc::new(store)), history),
                // Clients need their lists more than operators their curves.
                Err(error @ OpenError::Folder { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "histories are kept in memory alone");
                    (None, History::new(series_max))
                }
                Err(error) => return Err(error),
            },
        };
        let last = history.last_ms().map(Duration::from_millis);
        let mut calendar = last.map_or_else(Calendar::default, Calendar::resumed);
        if !calendar.handle_time(now) {
            tracing::warn!("the clock is far from where histories end: it is not believed yet");
        }
        history.handle_restored(ms(&calendar));
        Ok(Self {
            calendar: Mutex::new(calendar),
            history: Mutex::new(history),
            store,
            answers: Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(FRESH_FOR).build(),
            metrics,
        })
    }

    /// Notes what is to be seen at a moment.
    pub(super) fn note(&self, facts: &Facts, now: Moment) {
        let now_ms = self.now_ms(now);
        let samples = samples(facts);
        let mut history = self.lock();
        let outcome = history.handle_samples(samples, now_ms);
        self.metrics.sampled(history.len(), outcome.refused);
    }

    /// Answers somebody who may read.
    pub(super) fn answer(&self, ask: &Ask, now: Moment) -> Response {
        let now_ms = self.now_ms(now);
        let answer = || Answer::new(ask, &self.lock(), now_ms).map(|answer| written(&answer));
        match self.answers.try_get_with_by_ref(ask, answer) {
            Ok(body) => private(bytes(StatusCode::OK, "application/json", body)),
            Err(refusal) => refusal.response(),
        }
    }

    /// Writes what changes until the shutdown, and then the rest.
    pub(super) async fn run(&self, shutdown: Shutdown) {
        loop {
            let ends = tokio::time::timeout(WRITE_EVERY, shutdown.triggered()).await.is_ok();
            if !self.write().await && !ends {
                // Whatever it was (a full disk, most often), it will not be over at once.
                let _ = tokio::time::timeout(REST, shutdown.triggered()).await;
                self.lock().handle_lost();
            }
            if ends {
                return;
            }
        }
    }

    /// Whether all is written.
    async fn write(&self) -> bool {
        let Some(store) = self.store.clone() else { return true };
        let changes = self.lock().poll_changes();
        let writing = tokio::task::spawn_blocking(move || store.write(changes));
        let failed = match writing.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.metrics.history_written(failed.is_none());
        if let Some(error) = &failed {
            tracing::warn!(error, rest = ?REST, "histories could not be written; they stay in memory");
        }
        failed.is_none()
    }

    /// What time it is for histories, in milliseconds since 1970.
    fn now_ms(&self, now: Moment) -> u64 {
        let mut calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
        calendar.handle_time(now);
        ms(&calendar)
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ms(calendar: &Calendar) -> u64 {
    // They fit 64 bits for as long as there are svrlists.
    calendar.time().as_millis() as u64
}

struct Store {
    database: Database,
    space: Keyspace,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    fn write(&self, changes: Vec<Change>) -> fjall::Result<()> {
        let mut batch = self.database.batch();
        for Change { key, value } in changes {
            match value {
                Some(value) => batch.insert(&self.space, key, value),
                None => batch.remove(&self.space, key),
            }
        }
        batch.commit()?;
        self.database.persist(PersistMode::SyncData)
    }
}

/// What goes wrong while a store is opened.
enum Trouble {
    Refused(OpenError),
    Damaged(String),
}

fn open(folder: &Path, series_max: usize) -> Result<(Store, History), OpenError> {
    let damage = match try_open(folder, series_max) {
        Ok(opened) => return Ok(opened),
        Err(Trouble::Refused(error)) => return Err(error),
        Err(Trouble::Damaged(damage)) => damage,
    };
    let aside = folder.with_extension("damaged");
    let failed = |source| OpenError::Folder { folder: folder.to_owned(), source };
    // One is enough to see what happened; more would fill the disk.
    if aside.try_exists().map_err(failed)? {
        std::fs::remove_dir_all(&aside).map_err(failed)?;
    }
    std::fs::rename(folder, &aside).map_err(failed)?;
    let aside = aside.display().to_string();
    tracing::warn!(damage, aside, "the store of histories is damaged and was set aside");
    match try_open(folder, series_max) {
        Ok(opened) => Ok(opened),
        Err(Trouble::Refused(error)) => Err(error),
        Err(Trouble::Damaged(damage)) => Err(failed(io::Error::other(damage))),
    }
}

fn try_open(folder: &Path, series_max: usize) -> Result<(Store, History), Trouble> {
    let failed = |source| Trouble::Refused(OpenError::Folder { folder: folder.to_owned(), source });
    std::fs::create_dir_all(folder).map_err(failed)?;
    // The library asserts some of what a damaged store breaks.
    let opened = catch_unwind(AssertUnwindSafe(|| read(folder, series_max)));
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(ReadError::Library(fjall::Error::Locked))) => {
            Err(Trouble::Refused(OpenError::Locked(folder.to_owned())))
        }
        Ok(Err(ReadError::Library(fjall::Error::Io(source)))) if is_refusal(&source) => {
            Err(failed(source))
        }
        Ok(Err(error)) => Err(Trouble::Damaged(error.to_string())),
        Err(_) => Err(Trouble::Damaged("the library gave up while it read it".to_owned())),
    }
}

/// Whether it is the system that refuses, and not the content that is bad.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    let damage = [InvalidData, InvalidInput, NotFound, Other, UnexpectedEof];
    !damage.contains(&error.kind())
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Library(#[from] fjall::Error),
    #[error("{0}")]
    Chunk(#[from] crate::history::Damaged),
    #[error("it has format {0:?}; this version reads format {FORMAT:?}")]
    Format(Vec<u8>),
}

fn read(folder: &Path, series_max: usize) -> Result<(Store, History), ReadError> {
    let database = Database::builder(folder)
        .manual_journal_persist(true)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .cache_size(CACHE_BYTES)
        .worker_threads(1)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX);
    let about = database.keyspace("about", options)?;
    match about.get("format")? {
        None => about.insert("format", FORMAT)?,
        Some(format) if *format == *FORMAT => {}
        Some(format) => return Err(ReadError::Format(format.to_vec())),
    }
    let space = database.keyspace("chunks", options)?;
    let mut history = History::new(series_max);
    for entry in space.iter() {
        let (key, value) = entry.into_inner()?;
        history.restore(&key, &value)?;
    }
    Ok((Store { database, space }, history))
}

/// The layout of keys and values.
const FORMAT: &[u8] = b"1";

/// What a crash of the machine may cost.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// How long the store rests when it could not be written.
const REST: Duration = Duration::from_secs(600);

/// Bytes that wait to be sorted into tables; the least the library works well with.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;

/// The store is read once, at the start.
const CACHE_BYTES: u64 = 4 << 20;

/// Answers in memory, some 100 KiB each, and how long they are told again.
const ANSWERS_MAX: u64 = 64;
const FRESH_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::{Instant, UNIX_EPOCH};

    use super::*;
    use crate::dashboard::facts::Seen;
    use crate::fixture;
    use crate::history::{Grid, Series};

    const NOW: u64 = 1_800_000_000_000;

    /// So many milliseconds after 1970, with the other clock at its beginning.
    fn moment(ms: u64) -> Moment {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Moment { monotonic: *START, calendar: UNIX_EPOCH + Duration::from_millis(ms) }
    }

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("linecast-histories-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn open(&self) -> Result<Archive, OpenError> {
            self.open_at(moment(NOW))
        }

        fn open_at(&self, now: Moment) -> Result<Archive, OpenError> {
            Archive::open(Some(&self.0.join("history")), 10, Metrics::default(), now)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn series() -> Series {
        Series::parse("edge.a.load").unwrap()
    }

    fn value(archive: &Archive) -> Option<f64> {
        let grid = Grid::new(NOW..NOW + 10_000, 1, NOW);
        archive.lock().read(&series(), &grid)[0].1
    }

    async fn written(folder: &Folder) {
        let archive = folder.open().unwrap();
        archive.lock().handle_samples([(series(), 0.5)], NOW);
        assert!(archive.write().await);
    }

    #[tokio::test]
    async fn a_restart_goes_on_with_what_was_written() {
        let folder = Folder::new("restart");
        written(&folder).await;
        assert_eq!(value(&folder.open().unwrap()), Some(0.5));
    }

    #[tokio::test]
    async fn a_shutdown_writes_what_is_left() {
        let folder = Folder::new("shutdown");
        let archive = folder.open().unwrap();
        archive.lock().handle_samples([(series(), 0.5)], NOW);
        let shutdown = Shutdown::new();
        shutdown.trigger();
        archive.run(shutdown).await;
        drop(archive);
        assert_eq!(value(&folder.open().unwrap()), Some(0.5));
    }

    #[tokio::test]
    async fn one_svrlist_at_a_time() {
        let folder = Folder::new("locked");
        let _first = folder.open().unwrap();
        let error = folder.open().unwrap_err();
        assert!(matches!(error, OpenError::Locked(_)), "{error}");
    }

    #[tokio::test]
    async fn without_a_folder_there_is_memory() {
        let archive = Archive::open(None, 10, Metrics::default(), moment(NOW)).unwrap();
        archive.lock().handle_samples([(series(), 0.5)], NOW);
        assert!(archive.write().await);
        assert_eq!(value(&archive), Some(0.5));
    }

    /// Every file of a store.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
        }
        files
    }

    #[tokio::test]
    async fn a_damaged_store_is_set_aside() {
        let folder = Folder::new("damaged");
        let store = folder.0.join("history");
        // Twice, since what was set aside the first time must not be in the way.
        for _ in 0..2 {
            written(&folder).await;
            for file in files(&store).into_iter().filter(|file| !file.ends_with("lock")) {
                let length = std::fs::metadata(&file).unwrap().len();
                std::fs::write(&file, vec![0x5a; length.min(4096) as usize]).unwrap();
            }
            let archive = folder.open().unwrap();
            assert_eq!(value(&archive), None);
            assert!(folder.0.join("history.damaged").is_dir());
        }
    }

    #[tokio::test]
    async fn an_entry_that_is_no_chunk_is_damage_and_so_is_another_format() {
        let folder = Folder::new("entry");
        for (space, key, bytes) in [("chunks", "nonsense", "x"), ("about", "format", "2")] {
            written(&folder).await;
            let database = Database::builder(folder.0.join("history")).open().unwrap();
            let space = database.keyspace(space, KeyspaceCreateOptions::default).unwrap();
            space.insert(key, bytes).unwrap();
            database.persist(PersistMode::SyncAll).unwrap();
            drop((space, database));
            assert_eq!(value(&folder.open().unwrap()), None, "{key}");
        }
    }

    /// An idle edge.
    fn facts() -> Facts {
        let edge = fixture::edge("a", "110000", "telecom");
        let seen = Seen {
            edge: Arc::new(edge),
            silent_for: Duration::ZERO,
            state: crate::dashboard::facts::State::Open,
        };
        Facts { edges: vec![seen], ..Facts::default() }
    }

    #[tokio::test]
    async fn a_clock_that_is_wrong_for_hours_erases_nothing() {
        let folder = Folder::new("clock");
        let archive = folder.open().unwrap();
        archive.lock().handle_samples([(series(), 0.5)], NOW - 3_600_000);
        // Two days of samples come first, so that the clock is known to be right.
        let mut now = moment(NOW);
        let pass = |archive: &Archive, now: &mut Moment, minutes: u64| {
            for _ in 0..minutes {
                now.monotonic += Duration::from_secs(60);
                now.calendar += Duration::from_secs(60);
                archive.note(&facts(), *now);
            }
        };
        pass(&archive, &mut now, 2 * 1440);
        let known = |archive: &Archive, now: Moment| {
            let now_ms = archive.now_ms(now);
            let grid = Grid::new(NOW..now_ms, 10_000, now_ms);
            let read = archive.lock().read(&series(), &grid);
            read.iter().filter(|(_, mean)| mean.is_some()).count()
        };
        let right = known(&archive, now);
        let years = Duration::from_secs(10 * 31_557_600);
        for ahead in [true, false] {
            let jumped = if ahead { now.calendar + years } else { now.calendar - years };
            let mut wrong = Moment { calendar: jumped, ..now };
            pass(&archive, &mut wrong, 180);
            assert!(archive.write().await);
            // It is set right, and nothing is missing, not even the time in between.
            now.monotonic = wrong.monotonic;
            now.calendar += Duration::from_secs(180 * 60);
            assert!(known(&archive, now) >= right + 35, "{right}, {}", known(&archive, now));
        }
        let right = known(&archive, now);
        drop(archive);

        // A svrlist that starts under such a clock keeps what is stored.
        for calendar in [now.calendar + years, now.calendar - years] {
            let archive = folder.open_at(Moment { calendar, ..now }).unwrap();
            archive.note(&facts(), Moment { calendar, ..now });
            assert!(archive.write().await);
            assert!(known(&archive, now) >= right - 1, "{right}, {}", known(&archive, now));
        }
    }

    #[test]
    fn without_a_folder_that_can_be_made_histories_are_in_memory() {
        let folder = Folder::new("file");
        std::fs::write(folder.0.join("history"), "a file").unwrap();
        assert!(folder.open().unwrap().store.is_none());
        assert_eq!(std::fs::read(folder.0.join("history")).unwrap(), b"a file", "nothing is moved");
    }
}
