//! The channels in use: loaded when first touched, let go when idle, bounded in number.
//!
//! Invariant: a channel has one [`Channel`] at most. It leaves the map only while the map holds the
//! only reference to it, so whoever holds one holds the one that counts.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::channel::ChannelName;
use shared::message::{ClientInfo, Message, Position};
use shared::namespace::Options;
use shared::ring::{self, Cursor};
use tokio::sync::OnceCell;

use crate::channel::State;

/// Who is told when something happens in a channel. Both calls come from threads that serve
/// everybody: they must return at once and must not call back into the channel.
pub trait Watcher: Send + Sync {
    /// New messages can be read. `token` is the one given to [`Channel::watch`].
    fn advanced(&self, token: u64);

    /// A client came to the channel or left it, where the namespace tells of that.
    fn presence_changed(&self, _token: u64, _joined: bool, _info: &Arc<ClientInfo>) {}
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// Messages from the cursor on, oldest first; the cursor has moved past them.
    Batch(Vec<Arc<Message>>),
    /// Nothing after the cursor yet.
    CaughtUp,
    /// What the cursor wants is not here: too old, of another epoch, or never written.
    Behind {
        /// The oldest place that can be read from here.
        oldest: Cursor,
    },
}

/// A channel in use.
pub struct Channel {
    name: ChannelName,
    options: Options,
    state: Mutex<State>,
    watchers: Mutex<Watchers>,
    touched_ms: AtomicU64,
}

/// Replaced whole by whoever watches or stops to, so that telling them holds no lock.
type Watchers = Arc<Vec<(Arc<dyn Watcher>, u64)>>;

impl Channel {
    pub(super) fn new(name: ChannelName, state: State) -> Self {
        Self {
            name,
            options: state.options().clone(),
            state: Mutex::new(state),
            watchers: Mutex::default(),
            touched_ms: AtomicU64::new(0),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Its namespace's options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The last position.
    pub fn position(&self) -> Position {
        self.lock().position()
    }

    /// The oldest place that can be read from, in memory or from the log.
    pub fn oldest(&self) -> Cursor {
        self.lock().oldest()
    }

    /// Reads up to `limit` messages from memory and moves the cursor past them. A reader that is
    /// behind here may still find what it wants in the log:
    /// [`Origin::read_log`](super::origin::Origin::read_log).
    pub fn read(&self, cursor: &mut Cursor, limit: usize) -> Read {
        match self.lock().read(cursor, limit) {
            ring::Read::Batch(batch) => Read::Batch(batch.into_iter().map(Arc::clone).collect()),
            ring::Read::CaughtUp => Read::CaughtUp,
            ring::Read::Behind { oldest } => Read::Behind { oldest },
        }
    }

    /// Tells `watcher` from now on. To miss nothing, watch first and read then.
    pub fn watch(&self, watcher: Arc<dyn Watcher>, token: u64) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut watchers).push((watcher, token));
    }

    /// Stops telling `watcher` about `token`; a call may be under way still.
    pub fn unwatch(&self, watcher: &Arc<dyn Watcher>, token: u64) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |other: &Arc<dyn Watcher>| std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(watcher));
        Arc::make_mut(&mut watchers).retain(|(other, its)| *its != token || !same(other));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell_advanced(&self) {
        for (watcher, token) in self.watchers().iter() {
            watcher.advanced(*token);
        }
    }

    pub(super) fn tell_presence(&self, joined: bool, info: &Arc<ClientInfo>) {
        for (watcher, token) in self.watchers().iter() {
            watcher.presence_changed(*token, joined, info);
        }
    }

    fn watchers(&self) -> Watchers {
        Arc::clone(&self.watchers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn touch(&self, now_ms: u64) {
        self.touched_ms.store(now_ms, Ordering::Relaxed);
    }

    fn is_idle_since(&self, ms: u64) -> bool {
        self.touched_ms.load(Ordering::Relaxed) <= ms && self.watchers().is_empty()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Channel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One more channel would be too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The channels in use.
pub(super) struct Channels {
    map: Mutex<Map>,
    max: usize,
}

#[derive(Default)]
struct Map {
    slots: HashMap<ChannelName, Slot>,
    /// When room was last made by force.
    pressed_ms: u64,
}

enum Slot {
    Loading(Arc<OnceCell<Arc<Channel>>>),
    Ready(Arc<Channel>),
}

impl Channels {
    pub(super) fn new(max: usize) -> Self {
        Self { map: Mutex::default(), max }
    }

    /// The channel, if it is loaded.
    pub(super) fn get(&self, name: &ChannelName, now_ms: u64) -> Option<Arc<Channel>> {
        match self.lock().slots.get(name) {
            Some(Slot::Ready(channel)) => {
                channel.touch(now_ms);
                Some(Arc::clone(channel))
            }
            Some(Slot::Loading(_)) | None => None,
        }
    }

    /// Where the channel is being loaded, or is to be.
    pub(super) fn loading(
        &self,
        name: &ChannelName,
        now_ms: u64,
    ) -> Result<Arc<OnceCell<Arc<Channel>>>, Full> {
        let mut map = self.lock();
        if !map.slots.contains_key(name) && map.slots.len() >= self.max {
            if map.pressed_ms + PRESS_AGAIN_MS <= now_ms {
                map.pressed_ms = now_ms;
                map.let_go(now_ms);
            }
            if map.slots.len() >= self.max {
                return Err(Full);
            }
        }
        let slot = map.slots.entry(name.clone()).or_insert_with(|| Slot::Loading(Arc::default()));
        Ok(match slot {
            Slot::Loading(cell) => Arc::clone(cell),
            Slot::Ready(channel) => Arc::new(OnceCell::new_with(Some(Arc::clone(channel)))),
        })
    }

    /// Says that a channel is loaded.
    pub(super) fn loaded(&self, channel: &Arc<Channel>, now_ms: u64) {
        channel.touch(now_ms);
        if let Some(slot) = self.lock().slots.get_mut(channel.name()) {
            *slot = Slot::Ready(Arc::clone(channel));
        }
    }

    /// Lets go of channels that nobody has used for `idle_ms`.
    pub(super) fn evict(&self, now_ms: u64, idle_ms: u64) {
        self.lock().let_go(now_ms.saturating_sub(idle_ms));
    }

    /// Every loaded channel.
    pub(super) fn all(&self) -> Vec<Arc<Channel>> {
        let ready = |slot: &Slot| match slot {
            Slot::Ready(channel) => Some(Arc::clone(channel)),
            Slot::Loading(_) => None,
        };
        self.lock().slots.values().filter_map(ready).collect()
    }

    /// Whether a channel is loaded or being loaded.
    pub(super) fn contains(&self, name: &ChannelName) -> bool {
        self.lock().slots.contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn let_go(&mut self, idle_since_ms: u64) {
        self.slots.retain(|_, slot| match slot {
            Slot::Ready(channel) => {
                Arc::strong_count(channel) > 1 || !channel.is_idle_since(idle_since_ms)
            }
            // Loading failed, or whoever waited for it has gone.
            Slot::Loading(cell) => Arc::strong_count(cell) > 1,
        });
        if self.slots.capacity() > 4 * self.slots.len() + 1024 {
            self.slots.shrink_to_fit();
        }
    }
}

/// How long after making room by force it is not tried again.
const PRESS_AGAIN_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use shared::message::Epoch;

    use super::*;
    use crate::channel::Restored;
    use crate::log::record::Meta;

    struct Nobody;

    impl Watcher for Nobody {
        fn advanced(&self, _token: u64) {}
    }

    fn load(channels: &Channels, text: &str, now_ms: u64) -> Result<Arc<Channel>, Full> {
        let name = ChannelName::parse(text).unwrap().0;
        channels.loading(&name, now_ms)?;
        let meta = Meta {
            epoch: Epoch::new(1).unwrap(),
            top: 0,
            first: 1,
            oldest: 1,
            time_ms: 0,
            generation: 0,
            volatile: false,
        };
        let state = State::new(meta, Options::default(), Restored::default());
        let channel = Arc::new(Channel::new(name, state));
        channels.loaded(&channel, now_ms);
        Ok(channel)
    }

    #[test]
    fn what_is_held_or_watched_stays() {
        let channels = Channels::new(10);
        let held = load(&channels, "held", 0).unwrap();
        drop(load(&channels, "idle", 0).unwrap());
        let watcher: Arc<dyn Watcher> = Arc::new(Nobody);
        load(&channels, "watched", 0).unwrap().watch(Arc::clone(&watcher), 7);
        drop(load(&channels, "fresh", 60).unwrap());
        channels.evict(100, 50);
        let left = |channels: &Channels| {
            let mut names: Vec<String> =
                channels.all().iter().map(|channel| channel.name().to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(left(&channels), ["fresh", "held", "watched"]);
        let watched = channels.get(&ChannelName::parse("watched").unwrap().0, 0).unwrap();
        watched.unwatch(&watcher, 7);
        drop((watched, held));
        channels.evict(200, 50);
        assert!(channels.all().is_empty());
    }

    #[test]
    fn the_number_is_bounded() {
        let channels = Channels::new(2);
        let held = load(&channels, "a", 10).unwrap();
        drop(load(&channels, "b", 10).unwrap());
        assert_eq!(load(&channels, "c", 5).err(), Some(Full), "b is not idle yet");
        let c = load(&channels, "c", 2000).unwrap();
        assert_eq!(load(&channels, "d", 4000).err(), Some(Full));
        drop((held, c));
    }
}
