//! The writer: one thread, one commit for everybody who waits.
//!
//! It takes whatever publishers have handed in, asks each channel for offsets, writes one batch, has
//! it persisted, and only then shows the messages to readers and answers: store, then send. While it
//! persists one group, the next one gathers; that is the whole trick of group commit.
//!
//! Invariant: after a failed commit nothing is written any more, because what the journal holds
//! behind the failure is not known; a restart finds out.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fjall::{OwnedWriteBatch, PersistMode};
use shared::channel::ChannelName;
use shared::message::{Message, Position};
use shared::namespace::Durability;
use shared::ring::Weigh;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::channels::{Channel, Channels};
use super::metrics::Metrics;
use super::store::{Progress, Store};
use super::witness::{WitnessFile, boot};
use crate::channel::{Admission, KeysAt, Removal, Run, run_of};
use crate::limits::{
    COMMIT_BYTES_MAX, COMMIT_MESSAGES_MAX, COMMIT_REMOVALS_MAX, MARKED_BYTES_MIN, RUN_BYTES_MAX,
};
use crate::log::key;
use crate::log::record::{Head, KeyHash, Mark, encode_keys, encode_run};
use crate::log::witness::Witness;
use crate::publish::{Draft, Published, Refusal};
use shared::io::clock::unix_ms;

/// What publishers are told of what they handed in, in their order.
pub(super) type Outcomes = Vec<Result<Published, Refusal>>;

/// Messages that are answered together.
pub(super) struct Submission {
    pub(super) items: Vec<(Arc<Channel>, Draft)>,
    pub(super) reply: oneshot::Sender<Outcomes>,
    /// Room among what may wait; given back with the answer.
    pub(super) room: OwnedSemaphorePermit,
}

/// What the writer is asked to do.
pub(super) enum Work {
    /// Publish.
    Publish(Submission),
    /// Forget all messages of a channel.
    Clear(Arc<Channel>, oneshot::Sender<Result<(), Refusal>>),
    /// Apply retention.
    Sweep(Vec<Arc<Channel>>),
    /// Forget these channels altogether, unless they are in use.
    Forget(Vec<ChannelName>),
    /// Remove records of former lives.
    Remove(Vec<Vec<u8>>),
    /// Persist everything and end.
    Close,
}

/// Whether the store can be written.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed: OnceLock<String>,
    disk_full: AtomicBool,
}

impl Health {
    /// Why nothing is written at present.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        if let Some(reason) = self.failed.get() {
            return Some(Refusal::StoreFailed(reason.clone()));
        }
        self.disk_full.load(Ordering::Relaxed).then_some(Refusal::DiskFull)
    }
}

/// What the writer needs.
pub(super) struct Writer {
    store: Store,
    channels: Arc<Channels>,
    health: Arc<Health>,
    metrics: Metrics,
    folder: PathBuf,
    free_bytes_min: u64,
    head: Head,
    marks: VecDeque<(u64, u64)>,
    marked_bytes: u64,
    witness_file: WitnessFile,
    witness: Witness,
    stale: VecDeque<Vec<u8>>,
    disk_asked: Option<Instant>,
}

/// The messages that one commit brings to one channel.
struct Gathered {
    channel: Arc<Channel>,
    messages: Vec<Arc<Message>>,
    runs: Vec<Run>,
    keys: Vec<(KeyHash, u64)>,
    keys_at: Option<KeysAt>,
}

impl Writer {
    pub(super) fn new(
        (store, progress): (Store, Progress),
        channels: Arc<Channels>,
        health: Arc<Health>,
        metrics: Metrics,
        (folder, free_bytes_min): (PathBuf, u64),
    ) -> Self {
        let Progress { head, marks, witness } = progress;
        Self {
            marked_bytes: marks.iter().map(|(_, bytes)| bytes).sum(),
            witness: Witness {
                commit: head.commit,
                synced: head.commit,
                closed: false,
                boot: boot(),
            },
            store,
            channels,
            health,
            metrics,
            folder,
            free_bytes_min,
            head,
            marks,
            witness_file: witness,
            stale: VecDeque::new(),
            disk_asked: None,
        }
    }

    /// Starts the thread. It ends when asked to, or when every sender is gone.
    pub(super) fn start(self) -> std::io::Result<(Sender<Work>, JoinHandle<()>)> {
        let (sender, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || self.run(&queue))?;
        Ok((sender, thread))
    }

    fn run(mut self, queue: &Receiver<Work>) {
        let mut next = None;
        loop {
            let work = match next.take() {
                Some(work) => work,
                None => match queue.recv_timeout(if self.stale.is_empty() {
                    ASK_DISK_EVERY
                } else {
                    IDLE
                }) {
                    Ok(work) => work,
                    Err(RecvTimeoutError::Timeout) => {
                        self.ask_disk();
                        self.remove_stale();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            self.ask_disk();
            match work {
                Work::Publish(first) => next = self.publish_with_others(first, queue),
                Work::Clear(channel, reply) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.clear(&channel));
                }
                Work::Sweep(channels) => self.sweep(&channels),
                Work::Forget(names) => self.forget(&names),
                Work::Remove(keys) => self.stale.extend(keys),
                Work::Close => break,
            }
        }
        self.close();
    }

    /// Publishes the first submission with all that wait behind it, as far as one commit holds
    /// them; answers the work that has to come after.
    fn publish_with_others(&mut self, first: Submission, queue: &Receiver<Work>) -> Option<Work> {
        let size = |submission: &Submission| {
            let bytes = submission.items.iter().map(|(_, draft)| draft.content.body.len());
            (submission.items.len(), bytes.sum::<usize>())
        };
        let (mut messages, mut bytes) = size(&first);
        let mut group = vec![first];
        let mut rest = None;
        while messages < COMMIT_MESSAGES_MAX && bytes < COMMIT_BYTES_MAX {
            match queue.try_recv() {
                Ok(Work::Publish(submission)) => {
                    let more = size(&submission);
                    messages += more.0;
                    bytes += more.1;
                    group.push(submission);
                }
                Ok(other) => {
                    rest = Some(other);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.publish(group);
        rest
    }

    fn publish(&mut self, group: Vec<Submission>) {
        let started = Instant::now();
        let now_ms = unix_ms();
        let refusal = self.health.refusal();
        let mut gathered: Vec<Gathered> = Vec::new();
        let mut index_of: HashMap<*const Channel, usize> = HashMap::new();
        let mut answers = Vec::with_capacity(group.len());
        for Submission { items, reply, room } in group {
            let mut outcomes = Vec::with_capacity(items.len());
            for (channel, draft) in items {
                outcomes.push(match &refusal {
                    Some(refusal) => Err(refusal.clone()),
                    None => {
                        let index = *index_of.entry(Arc::as_ptr(&channel)).or_insert_with(|| {
                            gathered.push(Gathered::new(channel));
                            gathered.len() - 1
                        });
                        gathered[index].take(draft, now_ms)
                    }
                });
            }
            answers.push((reply, outcomes, room));
        }
        gathered.retain(|gathered| !gathered.messages.is_empty());
        let committed =
            if gathered.is_empty() { Ok(()) } else { self.commit(&mut gathered, now_ms) };
        if committed.is_ok() {
            for Gathered { channel, messages, runs, keys_at, .. } in &gathered {
                channel.lock().written(messages, runs, *keys_at);
                channel.tell_advanced();
            }
            let messages: usize = gathered.iter().map(|gathered| gathered.messages.len()).sum();
            if messages > 0 {
                self.metrics.committed(messages, started.elapsed());
            }
        }
        for (reply, mut outcomes, room) in answers {
            if let Err(error) = &committed {
                for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                    *outcome = Err(error.clone());
                }
            }
            for outcome in &outcomes {
                self.metrics.published(outcome);
            }
            // A publisher that has gone needs no answer.
            let _ = reply.send(outcomes);
            drop(room);
        }
    }

    /// Makes everything gathered durable, with the removals that it makes room for.
    fn commit(&mut self, gathered: &mut [Gathered], now_ms: u64) -> Result<(), Refusal> {
        let sequence = self.head.commit + 1;
        let is_fsync =
            |gathered: &Gathered| gathered.channel.options().durability == Durability::Fsync;
        let sync = gathered.iter().any(is_fsync);
        let space = self.store.space.clone();
        let mut batch = self.store.database.batch();
        let mut bytes = COMMIT_OVERHEAD_BYTES;
        let mut messages = 0;
        let removals_max = (COMMIT_REMOVALS_MAX / gathered.len()).max(REMOVALS_OF_CHANNEL_MIN);
        for gathered in gathered {
            let name = gathered.channel.name().clone();
            let epoch = gathered.channel.lock().epoch();
            messages += gathered.messages.len() as u64;
            for part in runs_of(&gathered.messages) {
                gathered.runs.extend(run_of(part));
                let last = part.last().map_or(0, |message| message.offset);
                let run_key = key::run(&name, epoch, last);
                let value = encode_run(&run_key, part);
                bytes += value.len() as u64;
                batch.insert(&space, run_key, value);
            }
            if !gathered.keys.is_empty() {
                gathered.keys_at = Some(KeysAt { time_ms: now_ms, commit: sequence });
                let keys_key = key::keys(&name, now_ms, sequence);
                let value = encode_keys(&keys_key, &gathered.keys);
                batch.insert(&space, keys_key, value);
            }
            self.put_channel(&mut batch, &gathered.channel, Some(now_ms), removals_max, !sync);
        }
        let stale = self.stale.len().min(COMMIT_REMOVALS_MAX);
        for stale in self.stale.drain(..stale) {
            batch.remove(&space, stale);
        }
        let mark_key = key::commit(sequence);
        batch.insert(&space, mark_key.clone(), Mark { bytes, messages }.encode(&mark_key));
        self.marks.push_back((sequence, bytes));
        self.marked_bytes += bytes;
        while let Some((oldest, oldest_bytes)) = self.marks.front()
            && self.marked_bytes - oldest_bytes > MARKED_BYTES_MIN
        {
            batch.remove(&space, key::commit(*oldest));
            self.marked_bytes -= oldest_bytes;
            self.marks.pop_front();
        }
        let oldest_mark = self.marks.front().map_or(sequence, |(oldest, _)| *oldest);
        let head = Head { commit: sequence, oldest_mark };
        batch.insert(&space, key::HEAD, head.encode(key::HEAD));
        self.persist(batch, sync)?;
        self.head = head;
        self.witness.commit = sequence;
        if sync {
            self.witness.synced = sequence;
        }
        self.witness_file.note(&self.witness);
        Ok(())
    }

    /// Writes a channel's meta and removes what it no longer needs: both in one batch, so that no
    /// meta ever names a run that is gone.
    fn put_channel(
        &self,
        batch: &mut OwnedWriteBatch,
        channel: &Channel,
        written_ms: Option<u64>,
        removals_max: usize,
        volatile: bool,
    ) {
        let space = &self.store.space;
        let name = channel.name();
        let mut state = channel.lock();
        let now_ms = written_ms.unwrap_or_else(unix_ms);
        state.expire(now_ms);
        let removals = state.take_removals(now_ms, removals_max);
        for removal in &removals {
            batch.remove(
                space,
                match removal {
                    Removal::Run(last) => key::run(name, state.epoch(), *last),
                    Removal::Keys(keys) => key::keys(name, keys.time_ms, keys.commit),
                },
            );
        }
        let meta_key = key::meta(name);
        let time_ms = written_ms.unwrap_or(state.last_ms());
        let meta = state.meta(time_ms, self.store.generation, volatile).encode(&meta_key);
        batch.insert(space, meta_key, meta);
    }

    fn clear(&mut self, channel: &Channel) -> Result<(), Refusal> {
        if let Some(refusal) = self.health.refusal() {
            return Err(refusal);
        }
        channel.lock().clear();
        let sync = channel.options().durability == Durability::Fsync;
        let mut batch = self.store.database.batch();
        self.put_channel(&mut batch, channel, None, COMMIT_REMOVALS_MAX, !sync);
        self.persist(batch, sync)
    }

    /// Retention for channels to which nobody publishes.
    fn sweep(&mut self, channels: &[Arc<Channel>]) {
        if self.health.failed.get().is_some() {
            return;
        }
        let now_ms = unix_ms();
        let mut batch = self.store.database.batch();
        for channel in channels {
            {
                let mut state = channel.lock();
                state.expire(now_ms);
                if !state.has_removals(now_ms) {
                    continue;
                }
            }
            let volatile = channel.options().durability == Durability::Os;
            self.put_channel(&mut batch, channel, None, COMMIT_REMOVALS_MAX, volatile);
        }
        // A failure has been noted; nobody waits for this.
        let _ = self.persist(batch, false);
    }

    /// Forgets channels of which nothing but the meta is left. Their next life begins with another
    /// epoch, because the store's salt changes.
    fn forget(&mut self, names: &[ChannelName]) {
        if self.health.failed.get().is_some() {
            return;
        }
        let mut batch = self.store.database.batch();
        for name in names.iter().filter(|name| !self.channels.contains(name)) {
            batch.remove(&self.store.space, key::meta(name));
            for prefix in [key::runs(name), key::keys_of(name)] {
                for entry in self.store.space.prefix(prefix) {
                    if let Ok(found) = entry.key() {
                        batch.remove(&self.store.space, found);
                    }
                }
            }
        }
        if batch.is_empty() {
            return;
        }
        self.store.change_salt(&mut batch);
        let _ = self.persist(batch, false);
    }

    fn remove_stale(&mut self) {
        if self.stale.is_empty() || self.health.failed.get().is_some() {
            return;
        }
        let mut batch = self.store.database.batch();
        let count = self.stale.len().min(COMMIT_MESSAGES_MAX);
        for stale in self.stale.drain(..count) {
            batch.remove(&self.store.space, stale);
        }
        let _ = self.persist(batch, false);
    }

    /// Commits a batch; a failure is final.
    fn persist(&mut self, batch: OwnedWriteBatch, sync: bool) -> Result<(), Refusal> {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        batch.durability(Some(mode)).commit().map_err(|error| {
            let reason = match error {
                fjall::Error::Io(error) => error.to_string(),
                fjall::Error::Poisoned => "an earlier write in the background failed".to_owned(),
                other => other.to_string(),
            };
            let free = self.free_bytes().map_or_else(String::new, |free| {
                format!(" (free on its disk: {} MiB)", free >> 20)
            });
            let reason = format!("{reason}{free}");
            tracing::error!(
                reason,
                "THE STORE FAILED: nothing is written any more; restart the origin once the cause \
                 is gone"
            );
            Refusal::StoreFailed(self.health.failed.get_or_init(|| reason).clone())
        })
    }

    /// Looks now and then whether the disk has room.
    fn ask_disk(&mut self) {
        if self.disk_asked.is_some_and(|asked| asked.elapsed() < ASK_DISK_EVERY) {
            return;
        }
        self.disk_asked = Some(Instant::now());
        let Some(free) = self.free_bytes() else {
            return;
        };
        let full = free < self.free_bytes_min;
        if full != self.health.disk_full.swap(full, Ordering::Relaxed) {
            if full {
                tracing::error!(free, "the disk is nearly full: publishes are refused");
            } else {
                tracing::info!(free, "the disk has room again: publishes are admitted");
            }
        }
    }

    /// Room on the disk, where the system tells.
    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.folder).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn close(mut self) {
        self.remove_stale();
        match self.store.database.persist(PersistMode::SyncAll) {
            Ok(()) if self.health.failed.get().is_none() => {
                self.witness.synced = self.witness.commit;
                self.witness.closed = true;
                self.witness_file.note(&self.witness);
            }
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "cannot persist the store at its end"),
        }
    }
}

impl Gathered {
    fn new(channel: Arc<Channel>) -> Self {
        Self { channel, messages: Vec::new(), runs: Vec::new(), keys: Vec::new(), keys_at: None }
    }

    /// Asks the channel what becomes of a message, and keeps it if it gets an offset.
    fn take(&mut self, draft: Draft, now_ms: u64) -> Result<Published, Refusal> {
        let mut state = self.channel.lock();
        let epoch = state.epoch();
        match state.admit(draft.key, now_ms) {
            Admission::Offset(offset) => {
                let message = Message { offset, time_ms: now_ms, content: draft.content };
                self.messages.push(Arc::new(message));
                self.keys.extend(draft.key.map(|key| (key, offset)));
                Ok(Published { position: Position { epoch, offset }, duplicate: false })
            }
            Admission::Duplicate(offset) => {
                Ok(Published { position: Position { epoch, offset }, duplicate: true })
            }
            Admission::Rate => Err(Refusal::Rate(self.channel.options().rate)),
            Admission::TooManyKeys => Err(Refusal::TooManyKeys),
        }
    }
}

/// Cuts messages into runs of bounded size.
fn runs_of(messages: &[Arc<Message>]) -> impl Iterator<Item = &[Arc<Message>]> {
    let mut rest = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |message: &&Arc<Message>| {
            bytes += message.weight();
            bytes <= RUN_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (run, more) = rest.split_at(count);
        rest = more;
        (!run.is_empty()).then_some(run)
    })
}

/// What a commit costs the journal beside its messages: its mark, the head, a channel's meta.
const COMMIT_OVERHEAD_BYTES: u64 = 512;
/// How long the writer waits for work before it tidies up.
const IDLE: Duration = Duration::from_millis(20);
/// How often it looks how full the disk is.
const ASK_DISK_EVERY: Duration = Duration::from_secs(1);
/// Removals one channel may ask of a commit however many channels there are: it adds few records
/// to each commit, so this keeps up.
const REMOVALS_OF_CHANNEL_MIN: usize = 4;
