//! The store on disk: opening it without believing it, loading channels, reading runs.
//!
//! Writing is the business of `io::writer` alone.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use shared::channel::ChannelName;
use shared::message::{Epoch, Message};
use shared::namespace::Options;
use shared::ring::Weigh;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::witness::{WitnessFile, boot};
use crate::channel::{KeysAt, Restored, State, is_over, run_of};
use crate::limits::{JOURNAL_BYTES_MAX, RING_BYTES_MAX, RING_MESSAGES_MAX};
use crate::log::record::{self, Damaged, Head, Mark, Meta};
use crate::log::witness::{Verdict, Witness};
use crate::log::{key, record::Store as StoreRecord};

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or read.
    #[error("cannot use data folder {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("data folder {0} is in use by another origin")]
    Locked(PathBuf),
    /// It was written by another version.
    #[error("the store in {folder} has format {found}; this version reads format {expected}")]
    Format {
        /// The folder.
        folder: PathBuf,
        /// The format it has.
        found: u32,
        /// The format of this version.
        expected: u32,
    },
    /// The library underneath has another version than the one that wrote it.
    #[error(
        "the store in {folder} has format {found} of the storage library, which this version does \
         not read; nothing is lost: start the version that wrote it"
    )]
    LibraryFormat {
        /// The folder.
        folder: PathBuf,
        /// The format it has.
        found: u8,
    },
    /// The library underneath cannot read it, or a record of it is damaged.
    #[error("the store in {folder} is damaged ({reason}); {REMEDY}")]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Acknowledged commits are not there.
    #[error(
        "the store in {folder} is missing {missing} acknowledged commits \
         (it should go up to commit {expected}); {REMEDY}"
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// How many.
        missing: u64,
        /// The last commit there should be.
        expected: u64,
    },
}

const REMEDY: &str = "restore it from a copy, or start with store.accept_loss = true (flag \
    --accept-loss), which sets it aside and gives every channel a new epoch, so that clients \
    learn of the loss";

impl OpenError {
    /// Whether the operator may decide to go on without what was lost.
    fn is_loss(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing { .. })
    }
}

/// Why a channel could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A record does not pass its checksum.
    #[error(transparent)]
    Record(#[from] Damaged),
    /// Messages that should be there are not.
    #[error("message {0} is missing")]
    Hole(u64),
    /// The library underneath failed.
    #[error("{0}")]
    Library(#[from] fjall::Error),
}

/// The open store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    pub(super) database: Database,
    pub(super) space: Keyspace,
    /// Grows when messages that only the operating system had may be gone.
    pub(super) generation: u64,
    salt: Arc<AtomicU64>,
}

/// What the writer goes on from.
pub struct Progress {
    pub(super) head: Head,
    /// Kept marks, oldest first: their commit and its bytes.
    pub(super) marks: VecDeque<(u64, u64)>,
    pub(super) witness: WitnessFile,
}

/// Where the store is and what may be done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The data folder.
    pub folder: PathBuf,
    /// Set a damaged store aside and start anew.
    pub accept_loss: bool,
    /// Bytes gathered in memory (and in the journal) before they become a table. It counts when
    /// the store is made.
    pub memtable_bytes: u64,
}

/// The key of a meta, and the meta if it is whole.
pub(super) type StoredMeta = (Vec<u8>, Result<Meta, Damaged>);

/// A channel as it was found.
pub struct Loaded {
    pub(super) state: State,
    /// Records of a former life of the channel, to be removed.
    pub(super) stale: Vec<Vec<u8>>,
}

impl Store {
    /// Opens the store, or makes a new one where there is none.
    pub fn open(place: &Place) -> Result<(Self, Progress), OpenError> {
        let folder = &place.folder;
        let failed = |source| OpenError::Folder { folder: folder.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        match Self::open_in(place) {
            Err(error) if error.is_loss() && place.accept_loss => {
                let aside = set_aside(folder).map_err(failed)?;
                tracing::error!(
                    %error, aside = %aside.display(),
                    "ACCEPTING THE LOSS: the store was set aside, every channel gets a new epoch"
                );
                Self::open_in(place)
            }
            result => result,
        }
    }

    fn open_in(place: &Place) -> Result<(Self, Progress), OpenError> {
        let folder = place.folder.as_path();
        let failed = |source| OpenError::Folder { folder: folder.to_owned(), source };
        let damaged = |reason: String| OpenError::Damaged { folder: folder.to_owned(), reason };
        let path = folder.join("store");
        let (mut witness_file, witness) = WitnessFile::open(folder).map_err(failed)?;
        if witness.is_none() && is_half_made(&path) {
            std::fs::remove_dir_all(&path).map_err(failed)?;
        }
        // The library asserts some of what a damaged store breaks.
        let opened = catch_unwind(AssertUnwindSafe(|| open_database(&path, place.memtable_bytes)));
        let (database, space) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(fjall::Error::Locked)) => return Err(OpenError::Locked(folder.to_owned())),
            Ok(Err(fjall::Error::Io(source)))
                if !matches!(
                    source.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
                ) && !is_damage_of_files(&path, &source) =>
            {
                return Err(failed(source));
            }
            Ok(Err(error)) => {
                return Err(match library_format(&path, &error) {
                    Some(found) => OpenError::LibraryFormat { folder: folder.to_owned(), found },
                    None => damaged(error.to_string()),
                });
            }
            Err(_) => return Err(damaged("the library gave up while it read it".to_owned())),
        };
        let record = match get(&space, key::STORE, StoreRecord::decode).map_err(said(damaged))? {
            Some(record) if record.format != StoreRecord::FORMAT => {
                return Err(OpenError::Format {
                    folder: folder.to_owned(),
                    found: record.format,
                    expected: StoreRecord::FORMAT,
                });
            }
            record => record,
        };
        let head = get(&space, key::HEAD, Head::decode).map_err(said(damaged))?;
        let head = match (record, head, witness) {
            (Some(_), Some(head), _) => head,
            // A crash between making the folders and the first records leaves this behind.
            (None, None, None) => Head::NONE,
            (None, None, Some(witness)) if witness.commit == 0 => Head::NONE,
            (None, None, Some(witness)) => {
                return Err(missing(folder, witness.commit, witness.commit));
            }
            _ => return Err(damaged("its first records are gone".to_owned())),
        };
        let marks = read_marks(&space, head).map_err(|error| match error {
            MarksError::Gap(count) => missing(folder, count, head.commit),
            MarksError::Read(error) => damaged(error.to_string()),
        })?;
        let boot = boot();
        let verdict = match witness {
            Some(witness) => witness.judge(head.commit, boot),
            None if head.commit == 0 => Verdict::Whole,
            None => {
                tracing::warn!("the store has no readable witness; losses at its end go unnoticed");
                Verdict::Restarted
            }
        };
        let restarted = match verdict {
            Verdict::Whole => false,
            Verdict::Restarted => true,
            Verdict::Missing { expected, found } => {
                return Err(missing(folder, expected - found, expected));
            }
        };
        let record = match record {
            Some(record) if restarted => {
                tracing::warn!(
                    "the machine restarted without an orderly end: channels with \
                     durability = \"os\" get new epochs"
                );
                StoreRecord { generation: record.generation + 1, ..record }
            }
            Some(record) => record,
            None => {
                StoreRecord { format: StoreRecord::FORMAT, generation: 0, salt: rand::random() }
            }
        };
        let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&space, key::STORE, record.encode(key::STORE));
        batch.insert(&space, key::HEAD, head.encode(key::HEAD));
        batch.commit().map_err(|error| damaged(error.to_string()))?;
        witness_file.note(&Witness {
            commit: head.commit,
            synced: head.commit,
            closed: false,
            boot,
        });
        let salt = Arc::new(AtomicU64::new(record.salt));
        let store = Self { database, space, generation: record.generation, salt };
        Ok((store, Progress { head, marks, witness: witness_file }))
    }

    /// Reads everything that is known of a channel.
    pub fn load(
        &self,
        channel: &ChannelName,
        options: &Options,
        now_ms: u64,
    ) -> Result<Loaded, ReadError> {
        let meta_key = key::meta(channel);
        let Some(meta) = get(&self.space, &meta_key, Meta::decode)? else {
            let meta = self.first_meta(channel);
            let state = State::new(meta, options.clone(), Restored::default());
            return Ok(Loaded { state, stale: Vec::new() });
        };
        if meta.volatile && meta.generation != self.generation {
            // The operating system may have lost messages of this life that readers have seen.
            // Another epoch, and the same one each time until something is published.
            let seed = u64::from(meta.epoch.number()) << 32 ^ self.generation;
            let hash = xxh3_64_with_seed(channel.as_str().as_bytes(), seed);
            let change = 1 + (hash >> 32) as u32 % (u32::MAX - 1);
            let epoch = Epoch::from_random(meta.epoch.number() ^ change);
            let meta = Meta { epoch, ..self.first_meta(channel) };
            let mut stale = Vec::new();
            for prefix in [key::runs(channel), key::keys_of(channel)] {
                for entry in self.space.prefix(prefix) {
                    stale.push(entry.key()?.to_vec());
                }
            }
            let state = State::new(meta, options.clone(), Restored::default());
            return Ok(Loaded { state, stale });
        }
        let mut restored = Restored::default();
        self.load_runs(channel, &meta, &mut restored)?;
        for entry in self.space.prefix(key::keys_of(channel)) {
            let (name, value) = entry.into_inner()?;
            let keys = record::decode_keys(&name, &value)?;
            let (Some(time_ms), Some(commit)) =
                (key::keys_time_ms(&name), key::commit_sequence(&name))
            else {
                return Err(Damaged.into());
            };
            restored.keys_at.push(KeysAt { time_ms, commit });
            if !is_over(time_ms, now_ms) {
                restored.keys.extend(keys.into_iter().map(|(hash, at)| (hash, at, time_ms)));
            }
        }
        Ok(Loaded { state: State::new(meta, options.clone(), restored), stale: Vec::new() })
    }

    /// Reads messages from offset `from` on up to offset `to`, both within what the channel keeps:
    /// at most `limit` of them, at most `bytes_max` of them after the first.
    pub fn read(
        &self,
        channel: &ChannelName,
        epoch: Epoch,
        from: u64,
        to: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Message>>, ReadError> {
        let mut messages: Vec<Arc<Message>> = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        let range = key::run(channel, epoch, from)..=key::run(channel, epoch, u64::MAX);
        for entry in self.space.range(range) {
            let (name, value) = entry.into_inner()?;
            for message in record::decode_run(&name, &value)? {
                if message.offset < next {
                    continue;
                }
                if message.offset > to || messages.len() >= limit {
                    return Ok(messages);
                }
                if message.offset != next {
                    return Err(ReadError::Hole(next));
                }
                bytes += message.weight();
                if bytes > bytes_max && !messages.is_empty() {
                    return Ok(messages);
                }
                next += 1;
                messages.push(Arc::new(message));
            }
        }
        if next <= to && messages.len() < limit { Err(ReadError::Hole(next)) } else { Ok(messages) }
    }

    /// The same from the newest end: the last `limit` of them, at most `bytes_max` before the last.
    /// Answers them oldest first.
    pub fn read_back(
        &self,
        channel: &ChannelName,
        epoch: Epoch,
        from: u64,
        to: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Message>>, ReadError> {
        let after = key::run(channel, epoch, to)..=key::run(channel, epoch, u64::MAX);
        let Some(last) = self.space.range(after).next() else {
            return Err(ReadError::Hole(to));
        };
        let mut messages: VecDeque<Arc<Message>> = VecDeque::new();
        let (mut next, mut bytes) = (to, 0);
        let range = key::run(channel, epoch, from)..=last.key()?.to_vec();
        for entry in self.space.range(range).rev() {
            let (name, value) = entry.into_inner()?;
            for message in record::decode_run(&name, &value)?.into_iter().rev() {
                if message.offset > next {
                    continue;
                }
                if message.offset < from || messages.len() >= limit {
                    return Ok(messages.into());
                }
                if message.offset != next {
                    return Err(ReadError::Hole(next));
                }
                bytes += message.weight();
                if bytes > bytes_max && !messages.is_empty() {
                    return Ok(messages.into());
                }
                next -= 1;
                messages.push_front(Arc::new(message));
            }
        }
        if next >= from && messages.len() < limit {
            return Err(ReadError::Hole(next));
        }
        Ok(messages.into())
    }

    /// Reads up to `limit` metas after the one of key `after`, in the order of their keys.
    pub(super) fn metas(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> fjall::Result<Vec<StoredMeta>> {
        let from = after.map_or_else(|| key::METAS.to_vec(), |after| [after, &[0]].concat());
        let mut metas = Vec::new();
        for entry in self.space.range(from..key::METAS_END.to_vec()).take(limit) {
            let (name, value) = entry.into_inner()?;
            metas.push((name.to_vec(), Meta::decode(&name, &value)));
        }
        Ok(metas)
    }

    /// Gives channels that are created from now on other epochs than before. Takes effect at once,
    /// before whatever else the batch does.
    pub(super) fn change_salt(&self, batch: &mut OwnedWriteBatch) {
        let salt = rand::random();
        self.salt.store(salt, Ordering::SeqCst);
        let record = StoreRecord { format: StoreRecord::FORMAT, generation: self.generation, salt };
        batch.insert(&self.space, key::STORE, record.encode(key::STORE));
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    /// The meta of a channel that nobody has published to: the same each time it is asked for, so
    /// that readers keep their place although nothing is written.
    fn first_meta(&self, channel: &ChannelName) -> Meta {
        let hash = xxh3_64_with_seed(channel.as_str().as_bytes(), self.salt.load(Ordering::SeqCst));
        Meta {
            epoch: Epoch::from_random((hash >> 32) as u32),
            top: 0,
            first: 1,
            oldest: 1,
            time_ms: 0,
            generation: self.generation,
            volatile: false,
        }
    }

    fn load_runs(
        &self,
        channel: &ChannelName,
        meta: &Meta,
        restored: &mut Restored,
    ) -> Result<(), ReadError> {
        let mut tail: VecDeque<Arc<Message>> = VecDeque::new();
        let mut tail_bytes = 0;
        let mut next = None;
        let range =
            key::run(channel, meta.epoch, meta.oldest)..=key::run(channel, meta.epoch, u64::MAX);
        for entry in self.space.range(range) {
            let (name, value) = entry.into_inner()?;
            let run: Vec<Arc<Message>> =
                record::decode_run(&name, &value)?.into_iter().map(Arc::new).collect();
            let (Some(first), Some(summary)) = (run.first(), run_of(&run)) else {
                return Err(Damaged.into());
            };
            // Before what readers may see, some runs may be gone and others not yet.
            let wanted = next.filter(|next| *next > meta.first).unwrap_or(meta.first);
            if summary.last >= meta.first && first.offset > wanted {
                return Err(ReadError::Hole(wanted));
            }
            next = Some(summary.last + 1);
            restored.runs.push(summary);
            for message in run {
                if message.offset >= meta.first {
                    tail_bytes += message.weight();
                    tail.push_back(message);
                }
            }
            while tail.len() > RING_MESSAGES_MAX || tail_bytes > RING_BYTES_MAX && tail.len() > 1 {
                tail_bytes -= tail.pop_front().map_or(0, |message| message.weight());
            }
        }
        let found = next.map_or(meta.first - 1, |next| next - 1).max(meta.first - 1);
        if found < meta.top {
            return Err(ReadError::Hole(found + 1));
        }
        if found > meta.top {
            return Err(Damaged.into());
        }
        restored.tail = tail.into();
        Ok(())
    }
}

fn open_database(path: &Path, memtable_bytes: u64) -> fjall::Result<(Database, Keyspace)> {
    let database = Database::builder(path)
        .manual_journal_persist(true)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .worker_threads(2)
        .open()?;
    let space = database
        .keyspace("log", || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes))?;
    Ok((database, space))
}

/// Whether a process died while it made the store for the first time.
fn is_half_made(path: &Path) -> bool {
    path.exists() && !path.join("version").exists() && !path.join("keyspaces/1").exists()
}

/// A file that the store says it has and the folder has not: not a matter of the folder's state,
/// such as its permissions.
fn is_damage_of_files(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && path.exists()
}

/// The format of a store that another version of the library wrote. The library does not tell a
/// version that it does not know from a damaged mark; its first letters do.
fn library_format(path: &Path, error: &fjall::Error) -> Option<u8> {
    match error {
        fjall::Error::InvalidVersion(Some(version)) => Some((*version).into()),
        fjall::Error::InvalidVersion(None) => match std::fs::read(path.join("version")).ok()?[..] {
            [b'F', b'J', b'L', version, ..] => Some(version),
            _ => None,
        },
        fjall::Error::Storage(fjall::LsmError::InvalidVersion(version)) => Some(*version),
        _ => None,
    }
}

fn get<T>(
    space: &Keyspace,
    key: &[u8],
    decode: impl Fn(&[u8], &[u8]) -> Result<T, Damaged>,
) -> Result<Option<T>, ReadError> {
    match space.get(key)? {
        Some(value) => Ok(Some(decode(key, &value)?)),
        None => Ok(None),
    }
}

enum MarksError {
    /// So many commits left no mark.
    Gap(u64),
    Read(ReadError),
}

/// Reads the marks of the newest commits and checks that each commit left one.
fn read_marks(space: &Keyspace, head: Head) -> Result<VecDeque<(u64, u64)>, MarksError> {
    let read = |error: fjall::Error| MarksError::Read(error.into());
    let mut marks = VecDeque::new();
    for entry in space.range(key::commit(head.oldest_mark)..=key::commit(head.commit)) {
        let (name, value) = entry.into_inner().map_err(read)?;
        let mark = Mark::decode(&name, &value).map_err(|error| MarksError::Read(error.into()))?;
        marks.push_back((key::commit_sequence(&name).unwrap_or(0), mark.bytes));
    }
    let expected = (head.commit + 1).saturating_sub(head.oldest_mark);
    match expected - marks.len() as u64 {
        0 => Ok(marks),
        gap => Err(MarksError::Gap(gap)),
    }
}

fn missing(folder: &Path, missing: u64, expected: u64) -> OpenError {
    OpenError::Missing { folder: folder.to_owned(), missing, expected }
}

fn said(damaged: impl Fn(String) -> OpenError) -> impl FnOnce(ReadError) -> OpenError {
    move |error| damaged(error.to_string())
}

/// Moves the store out of the way, with its witness.
fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let aside = folder.join(format!("set-aside-{now}-{:04x}", rand::random::<u16>()));
    std::fs::create_dir(&aside)?;
    for name in ["store", "witness"] {
        let path = folder.join(name);
        if path.try_exists()? {
            std::fs::rename(path, aside.join(name))?;
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Temporary;
    use super::*;
    use crate::publish::Publish;

    /// A folder with five commits in it, after `change` was done to its records.
    async fn changed(change: impl FnOnce(&Keyspace)) -> Result<(), OpenError> {
        let temporary = Temporary::open(|_| {});
        let place =
            Place { folder: temporary.folder.clone(), accept_loss: false, memtable_bytes: 0 };
        let name = ChannelName::parse("room").unwrap().0;
        for _ in 0..5 {
            temporary.origin.publish(Publish::new(name.clone(), "x")).await.unwrap();
        }
        temporary.origin.close();
        // Through the open database, since only one can be open.
        let store = &temporary.origin.shared.store;
        change(&store.space);
        store.database.persist(PersistMode::SyncAll).unwrap();
        let copy = place.folder.join("copy");
        copy_folder(&place.folder.join("store"), &copy.join("store"));
        std::fs::copy(place.folder.join("witness"), copy.join("witness")).unwrap();
        Store::open(&Place { folder: copy, ..place }).map(drop)
    }

    fn copy_folder(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                copy_folder(&entry.path(), &to.join(entry.file_name()));
            } else {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_commit_that_is_missing_in_the_middle_is_noticed() {
        changed(|_| {}).await.unwrap();
        let error = changed(|space| space.remove(key::commit(3)).unwrap()).await.unwrap_err();
        let OpenError::Missing { missing: 1, expected: 5, .. } = error else {
            panic!("{error:?}");
        };
    }

    #[tokio::test]
    async fn another_format_is_refused_by_its_number() {
        let record = StoreRecord { format: 9, generation: 0, salt: 1 };
        let error = changed(|space| space.insert(key::STORE, record.encode(key::STORE)).unwrap())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("format 9") && text.contains("reads format 1"), "{text}");
    }

    #[tokio::test]
    async fn a_store_of_another_version_of_the_library_is_no_loss() {
        let temporary = Temporary::open(|_| {});
        let folder = temporary.folder.join("other");
        let place = Place { folder: folder.clone(), accept_loss: true, memtable_bytes: 0 };
        Store::open(&place).map(drop).unwrap();
        let mark = folder.join("store").join("version");
        for version in [2, 4] {
            std::fs::write(&mark, [b'F', b'J', b'L', version]).unwrap();
            let error = Store::open(&place).map(drop).unwrap_err();
            let OpenError::LibraryFormat { found, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*found, version);
            assert!(!error.to_string().contains("accept_loss"), "{error}");
            assert_eq!(std::fs::read(&mark).unwrap()[3], version, "it is where it was");
        }
        std::fs::write(&mark, "junk").unwrap();
        Store::open(&place).map(drop).unwrap();
        assert!(folder.read_dir().unwrap().count() > 2, "a damaged store was set aside");
    }

    #[tokio::test]
    async fn damaged_first_records_are_refused() {
        for name in [key::STORE, key::HEAD] {
            let error = changed(|space| space.insert(name, "?").unwrap()).await.unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
            let error = changed(|space| space.remove(name).unwrap()).await.unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_a_power_cut_may_have_taken_gets_one_other_epoch() {
        let temporary = Temporary::open(|_| {});
        let store = &temporary.origin.shared.store;
        let name = ChannelName::parse("room").unwrap().0;
        let epoch = Epoch::new(7).unwrap();
        let generation = store.generation + 1;
        let meta = Meta { epoch, generation, volatile: true, ..store.first_meta(&name) };
        let at = key::meta(&name);
        store.space.insert(&at, meta.encode(&at)).unwrap();
        let load = || store.load(&name, &Options::default(), 0).unwrap().state.epoch();
        assert_eq!(load(), load());
        assert_ne!(load(), epoch);
    }
}
