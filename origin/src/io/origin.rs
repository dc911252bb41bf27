//! The origin as its APIs and lines use it: publish, read, ask.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use shared::channel::ChannelName;
use shared::message::{Message, Position};
use shared::namespace::Namespaces;
use shared::ring::Cursor;
use tokio::sync::{Semaphore, oneshot};

use super::channels::{Channel, Channels, Read};
use super::hook::{HookConfig, Hooks};
use super::metrics::Metrics;
use super::soft::Soft;
use super::store::{OpenError, Place, ReadError, Store};
use super::writer::{Health, Outcomes, Submission, Work, Writer};
use crate::commands::Commands;
use crate::edges::Edges;
use crate::limits::{PENDING_KIB_MAX, RING_BYTES_MAX};
use crate::publish::{Draft, Publish, Published, Refusal, admit};
use shared::io::clock::unix_ms;

/// What an origin is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the store is.
    pub place: Place,
    /// Every namespace there is.
    pub namespaces: Namespaces,
    /// Channels in memory at once.
    pub channels_max: usize,
    /// Below so many free bytes on the disk nothing is published.
    pub free_bytes_min: u64,
    /// How long the clients of an edge without lines are believed in.
    pub edge_grace: Duration,
    /// What the back end is asked.
    pub hook: HookConfig,
}

/// Why an origin does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// No thread for the writer.
    #[error("cannot start the writer's thread")]
    Thread(#[source] std::io::Error),
}

/// A part of a channel's history.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The channel's last position.
    pub position: Position,
    /// The messages asked for.
    pub messages: Vec<Arc<Message>>,
}

/// From where a history is read: exclusive, in the direction of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The life of the log; `None` matches any.
    pub epoch: Option<shared::message::Epoch>,
    /// The message next to the first one wanted.
    pub offset: u64,
}

/// How much of a part of a channel's log is wanted, from which end.
#[derive(Clone, Copy)]
struct Wanted {
    limit: usize,
    reverse: bool,
    bytes_max: usize,
}

/// The origin. Clones are the same one.
#[derive(Clone)]
pub struct Origin {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    session: u64,
    pub(super) store: Store,
    pub(super) channels: Arc<Channels>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) metrics: Metrics,
    pub(super) health: Arc<Health>,
    pub(super) work: Sender<Work>,
    pub(super) soft: Soft,
    pub(super) hooks: Hooks,
    room: Arc<Semaphore>,
    closing: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Origin {
    /// Opens the store and starts the writer.
    pub fn open(settings: Settings, metrics: Metrics) -> Result<Self, StartError> {
        let (store, progress) = Store::open(&settings.place)?;
        let channels = Arc::new(Channels::new(settings.channels_max));
        let health = Arc::new(Health::default());
        let folder: PathBuf = settings.place.folder.clone();
        let writer = Writer::new(
            (store.clone(), progress),
            Arc::clone(&channels),
            Arc::clone(&health),
            metrics.clone(),
            (folder, settings.free_bytes_min),
        );
        let (work, thread) = writer.start().map_err(StartError::Thread)?;
        let namespaces = Arc::new(settings.namespaces);
        let shared = Shared {
            session: rand::random(),
            store,
            channels,
            soft: Soft::new(
                Edges::new(Arc::clone(&namespaces), settings.edge_grace),
                Commands::new(settings.edge_grace),
            ),
            hooks: Hooks::new(settings.hook, metrics.clone()),
            namespaces,
            metrics,
            health,
            work,
            room: Arc::new(Semaphore::new(PENDING_KIB_MAX as usize)),
            closing: AtomicBool::new(false),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Persists everything and ends the writer. Publishes are refused from here on. Blocks until
    /// the last commit is done.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // A writer that has ended needs no word.
        let _ = self.shared.work.send(Work::Close);
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer panicked");
        }
    }

    /// Whether the writer is there to write.
    pub fn is_writing(&self) -> bool {
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Why nothing can be published at present.
    pub fn refusal(&self) -> Option<Refusal> {
        if self.shared.closing.load(Ordering::SeqCst) {
            return Some(Refusal::ShuttingDown);
        }
        self.shared.health.refusal()
    }

    /// Names this process among all that were and will be.
    pub fn session(&self) -> u64 {
        self.shared.session
    }

    /// Every namespace there is.
    pub fn namespaces(&self) -> &Arc<Namespaces> {
        &self.shared.namespaces
    }

    /// Publishes a message; it is durable when this returns.
    pub async fn publish(&self, publish: Publish) -> Result<Published, Refusal> {
        self.publish_all(vec![publish]).await.pop().unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Publishes many messages with as few commits as can be; answers in their order. Messages to
    /// the same channel keep their order.
    pub async fn publish_all(&self, publishes: Vec<Publish>) -> Vec<Result<Published, Refusal>> {
        let mut outcomes = Vec::with_capacity(publishes.len());
        let mut items = Vec::with_capacity(publishes.len());
        let mut kib = 0;
        let refusal = self.refusal();
        for publish in publishes {
            if kib >= PENDING_KIB_MAX / 4 {
                self.submit(std::mem::take(&mut items), kib, &mut outcomes).await;
                kib = 0;
            }
            let admitted = match &refusal {
                Some(refusal) => Err(refusal.clone()),
                None => admit(publish, &self.shared.namespaces),
            };
            let admitted = match admitted {
                Ok((name, draft)) => self.channel(&name).await.map(|channel| (channel, draft)),
                Err(refusal) => Err(refusal),
            };
            match admitted {
                Ok(item) => {
                    // A body has at most 256 KiB.
                    kib += 1 + (item.1.content.body.len() >> 10) as u32;
                    items.push(item);
                    outcomes.push(None);
                }
                Err(refusal) => {
                    self.shared.metrics.refused(&refusal);
                    outcomes.push(Some(Err(refusal)));
                }
            }
        }
        self.submit(items, kib, &mut outcomes).await;
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(Refusal::ShuttingDown))).collect()
    }

    /// Hands messages to the writer and fills its answers in where none are yet.
    async fn submit(
        &self,
        items: Vec<(Arc<Channel>, Draft)>,
        kib: u32,
        outcomes: &mut [Option<Result<Published, Refusal>>],
    ) {
        if items.is_empty() {
            return;
        }
        let mut answers = self.commit(items, kib).await.into_iter();
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            // A writer that has ended answers nothing.
            *outcome = Some(answers.next().unwrap_or(Err(Refusal::ShuttingDown)));
        }
    }

    async fn commit(&self, items: Vec<(Arc<Channel>, Draft)>, kib: u32) -> Outcomes {
        let room = Arc::clone(&self.shared.room).acquire_many_owned(kib.min(PENDING_KIB_MAX)).await;
        let Ok(room) = room else {
            return Outcomes::new();
        };
        let (reply, answered) = oneshot::channel();
        if self.shared.work.send(Work::Publish(Submission { items, reply, room })).is_err() {
            return Outcomes::new();
        }
        answered.await.unwrap_or_default()
    }

    /// The channel, loaded from the store if it is not in memory.
    pub async fn channel(&self, name: &ChannelName) -> Result<Arc<Channel>, Refusal> {
        let shared = &self.shared;
        let now_ms = unix_ms();
        if let Some(channel) = shared.channels.get(name, now_ms) {
            return Ok(channel);
        }
        let Some(options) = shared.namespaces.options(name) else {
            return Err(Refusal::UnknownNamespace(name.namespace().to_owned()));
        };
        let loading =
            shared.channels.loading(name, now_ms).map_err(|_| Refusal::TooManyChannels)?;
        let load = async || {
            let (store, options) = (shared.store.clone(), options.clone());
            let wanted = name.clone();
            let loaded =
                tokio::task::spawn_blocking(move || store.load(&wanted, &options, now_ms)).await;
            let loaded = match loaded {
                Ok(Ok(loaded)) => loaded,
                Ok(Err(error)) => return Err(self.damage(name, &error)),
                Err(_) => return Err(Refusal::ShuttingDown),
            };
            if !loaded.stale.is_empty() {
                // Without a writer nothing is removed, nor does it matter.
                let _ = shared.work.send(Work::Remove(loaded.stale));
            }
            let channel = Arc::new(Channel::new(name.clone(), loaded.state));
            shared.channels.loaded(&channel, now_ms);
            Ok(channel)
        };
        loading.get_or_try_init(load).await.cloned()
    }

    /// Reads up to `limit` messages from the log, for readers that are behind the channel's memory.
    pub async fn read_log(
        &self,
        channel: &Arc<Channel>,
        cursor: &mut Cursor,
        limit: usize,
    ) -> Result<Read, Refusal> {
        let (oldest, top) = {
            let state = channel.lock();
            (state.oldest(), state.position())
        };
        if cursor.epoch != top.epoch || cursor.next < oldest.next || cursor.next > top.offset + 1 {
            return Ok(Read::Behind { oldest });
        }
        if cursor.next == top.offset + 1 {
            return Ok(Read::CaughtUp);
        }
        let from = *cursor;
        let wanted = Wanted { limit, reverse: false, bytes_max: RING_BYTES_MAX };
        let batch = match self.read_store(channel, from, top.offset, wanted).await {
            Ok(batch) => batch,
            // What was asked for may have been dropped meanwhile.
            Err(_) if channel.oldest().next > from.next => {
                return Ok(Read::Behind { oldest: channel.oldest() });
            }
            Err(error) => return Err(self.damage(channel.name(), &error)),
        };
        cursor.next += batch.len() as u64;
        Ok(Read::Batch(batch))
    }

    /// Part of a channel's history: forwards from the oldest message or after `since`, or backwards
    /// from the newest or before `since`. At most `limit` messages with at most `bytes_max` bytes.
    pub async fn history(
        &self,
        name: &ChannelName,
        limit: usize,
        since: Option<Since>,
        reverse: bool,
        bytes_max: usize,
    ) -> Result<History, Refusal> {
        let channel = self.channel(name).await?;
        if !channel.options().recovers() {
            return Err(Refusal::NotAvailable("history"));
        }
        loop {
            let now_ms = unix_ms();
            let (position, first) = {
                let mut state = channel.lock();
                state.expire(now_ms);
                (state.position(), state.history_first(now_ms))
            };
            if since.is_some_and(|since| since.epoch.is_some_and(|epoch| epoch != position.epoch)) {
                return Err(Refusal::OtherEpoch);
            }
            let limit_offset = limit as u64;
            let (from, to) = match (reverse, since) {
                (false, None) => (first, position.offset),
                (false, Some(since)) => {
                    (first.max(since.offset.saturating_add(1)), position.offset)
                }
                (true, None) => (first, position.offset),
                (true, Some(since)) => (first, position.offset.min(since.offset.saturating_sub(1))),
            };
            let from = if reverse { from.max((to + 1).saturating_sub(limit_offset)) } else { from };
            if limit == 0 || from > to {
                return Ok(History { position, messages: Vec::new() });
            }
            let cursor = Cursor { epoch: position.epoch, next: from };
            let wanted = Wanted { limit, reverse, bytes_max };
            let messages = match self.read_kept(&channel, cursor, to, wanted).await {
                Ok(messages) => messages,
                Err(_) if channel.oldest().next > from => continue,
                Err(error) => return Err(self.damage(name, &error)),
            };
            return Ok(History { position, messages });
        }
    }

    /// Forgets the messages of a channel; its position stays.
    pub async fn history_remove(&self, name: &ChannelName) -> Result<(), Refusal> {
        let channel = self.channel(name).await?;
        if !channel.options().recovers() {
            return Err(Refusal::NotAvailable("history"));
        }
        let (reply, answered) = oneshot::channel();
        if self.shared.work.send(Work::Clear(channel, reply)).is_err() {
            return Err(Refusal::ShuttingDown);
        }
        answered.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Channels in memory.
    pub fn channels_len(&self) -> usize {
        self.shared.channels.len()
    }

    /// Counts of this origin.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Reads from memory what is there, otherwise from the store; in the direction of reading.
    async fn read_kept(
        &self,
        channel: &Arc<Channel>,
        from: Cursor,
        to: u64,
        wanted: Wanted,
    ) -> Result<Vec<Arc<Message>>, ReadError> {
        let Wanted { limit, reverse, bytes_max } = wanted;
        let mut cursor = from;
        // As many as there are: it fits a usize, or the limit does.
        let count = usize::try_from(to + 1 - from.next).unwrap_or(usize::MAX).min(limit);
        let mut messages = match channel.read(&mut cursor, count) {
            Read::Batch(batch) => batch,
            Read::CaughtUp => Vec::new(),
            Read::Behind { .. } => self.read_store(channel, from, to, wanted).await?,
        };
        if reverse {
            messages.reverse();
        }
        let mut bytes = 0;
        let fits = |message: &&Arc<Message>| {
            bytes += shared::ring::Weigh::weight(*message);
            bytes <= bytes_max
        };
        let count = messages.iter().take_while(fits).count().max(1);
        messages.truncate(count);
        Ok(messages)
    }

    async fn read_store(
        &self,
        channel: &Arc<Channel>,
        from: Cursor,
        to: u64,
        wanted: Wanted,
    ) -> Result<Vec<Arc<Message>>, ReadError> {
        let Wanted { limit, reverse, bytes_max } = wanted;
        let store = self.shared.store.clone();
        let name = channel.name().clone();
        let read = move || {
            if reverse {
                store.read_back(&name, from.epoch, from.next, to, limit, bytes_max)
            } else {
                store.read(&name, from.epoch, from.next, to, limit, bytes_max)
            }
        };
        // A blocking task is not cancelled; it fails only if it panics or the runtime ends.
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(ReadError::Hole(from.next)))
    }

    fn damage(&self, name: &ChannelName, error: &ReadError) -> Refusal {
        tracing::error!(channel = %name, %error, "the log of a channel is damaged");
        self.shared.metrics.damaged();
        Refusal::Damaged(error.to_string())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Origin").finish_non_exhaustive()
    }
}
