//! A channel's state: which offset comes next, what is remembered, what is kept.
//!
//! The writer asks it to [`admit`](State::admit) messages, makes what it admitted durable, and then
//! tells it that they are [`written`](State::written); only then do readers see them. What falls out
//! of the namespace's retention leaves the view of readers at once and the store a little later,
//! through [`take_removals`](State::take_removals).
//!
//! Invariant: `oldest ≤ first ≤ top + 1` and `top ≤ assigned`; offsets are given once and in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use shared::limits::{CATCH_UP_MESSAGES_MIN, IDEMPOTENCY_TTL};
use shared::message::{Epoch, Message, Position};
use shared::namespace::Options;
use shared::ring::{Bounds, Cursor, Read, Ring, Weigh};

use crate::limits::{KEPT_AT_LEAST, KEYS_MAX, RING_BYTES_MAX, RING_MESSAGES_MAX};
use crate::log::record::{KeyHash, Meta};

/// A run as it is kept in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its last offset, which names it.
    pub last: u64,
    /// When its last message was admitted.
    pub time_ms: u64,
    /// The bodies and what they cost.
    pub bytes: u64,
}

/// An idempotency record as it is kept in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysAt {
    /// When the keys were used.
    pub time_ms: u64,
    /// The commit that wrote them.
    pub commit: u64,
}

/// What becomes of a message at its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It gets this offset, once it is durable.
    Offset(u64),
    /// Its key was used before, for the message at this offset.
    Duplicate(u64),
    /// The namespace admits fewer messages a second.
    Rate,
    /// No more keys can be remembered.
    TooManyKeys,
}

/// Records that the store no longer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The run that ends at this offset.
    Run(u64),
    /// An idempotency record.
    Keys(KeysAt),
}

/// What the store knows of a channel when it is first touched.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Every run in the store, oldest first.
    pub runs: Vec<Run>,
    /// The newest messages, as many as the ring may want, dense up to the top.
    pub tail: Vec<Arc<Message>>,
    /// The keys of the last five minutes with when they were used, oldest first.
    pub keys: Vec<(KeyHash, u64, u64)>,
    /// Every idempotency record, oldest first.
    pub keys_at: Vec<KeysAt>,
}

/// The state of one channel.
#[derive(Debug)]
pub struct State {
    options: Options,
    ring: Ring<Arc<Message>>,
    assigned: u64,
    first: u64,
    oldest: u64,
    time_ms: u64,
    runs: VecDeque<Run>,
    /// Runs behind `first`, to be removed from the store.
    expired: VecDeque<Run>,
    kept_bytes: u64,
    keys: Window,
    bucket: Bucket,
}

impl State {
    /// The state of a channel of which the store knows `restored`.
    pub fn new(meta: Meta, options: Options, restored: Restored) -> Self {
        let bounds = options.ring_bounds();
        let bounds = Bounds {
            entries_max: bounds.entries_max.min(RING_MESSAGES_MAX),
            bytes_max: bounds.bytes_max.min(RING_BYTES_MAX),
        };
        let before = restored.tail.first().map_or(meta.top, |message| message.offset - 1);
        let mut ring = Ring::new(Position { epoch: meta.epoch, offset: before }, bounds);
        for message in restored.tail {
            // The store has checked that they are dense.
            let pushed = ring.push(message.offset, message);
            debug_assert!(pushed.is_ok(), "the tail is dense");
        }
        let mut keys = Window::default();
        for (hash, offset, time_ms) in restored.keys {
            keys.insert(hash, offset, time_ms);
        }
        keys.records.extend(restored.keys_at);
        let (expired, runs): (VecDeque<Run>, VecDeque<Run>) =
            restored.runs.into_iter().partition(|run| run.last < meta.first);
        Self {
            bucket: Bucket::new(options.rate, meta.time_ms),
            ring,
            assigned: meta.top,
            first: meta.first,
            oldest: meta.oldest,
            time_ms: meta.time_ms,
            kept_bytes: runs.iter().map(|run| run.bytes).sum(),
            runs,
            expired,
            keys,
            options,
        }
    }

    /// What happens to a message that carries this key.
    pub fn admit(&mut self, key: Option<KeyHash>, now_ms: u64) -> Admission {
        self.keys.expire(now_ms);
        if let Some(offset) = key.and_then(|key| self.keys.get(key)) {
            return Admission::Duplicate(offset);
        }
        if key.is_some() && self.keys.len() >= KEYS_MAX {
            return Admission::TooManyKeys;
        }
        if !self.bucket.take(now_ms) {
            return Admission::Rate;
        }
        self.assigned += 1;
        if let Some(key) = key {
            self.keys.insert(key, self.assigned, now_ms);
        }
        Admission::Offset(self.assigned)
    }

    /// Shows admitted messages to readers: they are durable now.
    pub fn written(&mut self, messages: &[Arc<Message>], runs: &[Run], keys_at: Option<KeysAt>) {
        for message in messages {
            let pushed = self.ring.push(message.offset, Arc::clone(message));
            debug_assert!(pushed.is_ok(), "offsets are written in the order they were given");
            self.time_ms = self.time_ms.max(message.time_ms);
        }
        self.kept_bytes += runs.iter().map(|run| run.bytes).sum::<u64>();
        self.runs.extend(runs);
        self.keys.records.extend(keys_at);
    }

    /// Applies the namespace's retention.
    pub fn expire(&mut self, now_ms: u64) {
        let kept = u64::from(self.options.history_size).max(CATCH_UP_MESSAGES_MIN as u64);
        let top = self.position().offset;
        let mut first = self.first.max((top + 1).saturating_sub(kept));
        let age_ms = millis(self.options.history_age.max(KEPT_AT_LEAST));
        let bytes_max = self.options.ring_bounds().bytes_max as u64;
        let mut bytes = self.kept_bytes;
        for (index, run) in self.runs.iter().enumerate() {
            let too_old = run.time_ms.saturating_add(age_ms) <= now_ms;
            // The newest run is kept however large it is.
            let too_many = bytes > bytes_max && index + 1 < self.runs.len();
            if !too_old && !too_many && run.last >= first {
                break;
            }
            bytes -= run.bytes;
            first = first.max(run.last + 1);
        }
        self.forget_before(first);
        self.keys.expire(now_ms);
    }

    /// Forgets all messages; offsets go on where they were.
    pub fn clear(&mut self) {
        self.forget_before(self.position().offset + 1);
    }

    /// Takes up to `limit` records that the store may drop.
    pub fn take_removals(&mut self, now_ms: u64, limit: usize) -> Vec<Removal> {
        let mut removals = Vec::new();
        while removals.len() < limit {
            if let Some(run) = self.expired.pop_front() {
                self.oldest = self.oldest.max(run.last + 1);
                removals.push(Removal::Run(run.last));
            } else if let Some(record) = self.keys.take_expired_record(now_ms) {
                removals.push(Removal::Keys(record));
            } else {
                break;
            }
        }
        removals
    }

    /// Whether the store holds records that it may drop.
    pub fn has_removals(&self, now_ms: u64) -> bool {
        !self.expired.is_empty() || self.keys.has_expired_record(now_ms)
    }

    /// Reads from the ring.
    pub fn read(&self, cursor: &mut Cursor, limit: usize) -> Read<'_, Arc<Message>> {
        self.ring.read(cursor, limit)
    }

    /// The last position that readers may see.
    pub fn position(&self) -> Position {
        self.ring.top()
    }

    /// The oldest place that can be read from, in the ring or in the store.
    pub fn oldest(&self) -> Cursor {
        Cursor { epoch: self.ring.top().epoch, next: self.first }
    }

    /// The first offset of the history that clients may see: retention keeps messages for a while
    /// that are past the age a namespace asks for.
    pub fn history_first(&self, now_ms: u64) -> u64 {
        let size = u64::from(self.options.history_size);
        let age_ms = millis(self.options.history_age);
        // A run has one time.
        let is_old = |run: &&Run| run.time_ms.saturating_add(age_ms) <= now_ms;
        let young = self.runs.iter().take_while(is_old).last().map_or(1, |run| run.last + 1);
        self.first.max((self.position().offset + 1).saturating_sub(size)).max(young)
    }

    /// The channel's options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The meta to write along with what was admitted so far.
    pub fn meta(&self, time_ms: u64, generation: u64, volatile: bool) -> Meta {
        Meta {
            epoch: self.epoch(),
            top: self.assigned,
            first: self.first,
            oldest: self.oldest.min(self.first),
            time_ms: self.time_ms.max(time_ms),
            generation,
            volatile,
        }
    }

    /// The life of the log.
    pub fn epoch(&self) -> Epoch {
        self.ring.top().epoch
    }

    /// When the last message was admitted; 0 if there never was one.
    pub fn last_ms(&self) -> u64 {
        self.time_ms
    }

    /// Bytes of messages held in memory.
    pub fn bytes(&self) -> usize {
        self.ring.bytes()
    }

    fn forget_before(&mut self, first: u64) {
        self.first = self.first.max(first);
        self.ring.trim_to(self.first - 1);
        while self.runs.front().is_some_and(|run| run.last < self.first) {
            if let Some(run) = self.runs.pop_front() {
                self.kept_bytes -= run.bytes;
                self.expired.push_back(run);
            }
        }
    }
}

/// What a run of these messages costs.
pub fn run_of(messages: &[Arc<Message>]) -> Option<Run> {
    let last = messages.last()?;
    let bytes = messages.iter().map(|message| message.weight() as u64).sum();
    Some(Run { last: last.offset, time_ms: last.time_ms, bytes })
}

/// The idempotency keys of the last five minutes.
#[derive(Debug, Default)]
struct Window {
    offsets: HashMap<KeyHash, u64>,
    order: VecDeque<(u64, KeyHash)>,
    records: VecDeque<KeysAt>,
}

impl Window {
    fn insert(&mut self, hash: KeyHash, offset: u64, time_ms: u64) {
        self.offsets.insert(hash, offset);
        self.order.push_back((time_ms, hash));
    }

    fn get(&self, hash: KeyHash) -> Option<u64> {
        self.offsets.get(&hash).copied()
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((time_ms, hash)) = self.order.front()
            && is_over(*time_ms, now_ms)
        {
            self.offsets.remove(hash);
            self.order.pop_front();
        }
        if self.order.is_empty() && self.order.capacity() > 1024 {
            *self = Self { records: std::mem::take(&mut self.records), ..Self::default() };
        }
    }

    fn has_expired_record(&self, now_ms: u64) -> bool {
        self.records.front().is_some_and(|record| is_over(record.time_ms, now_ms))
    }

    fn take_expired_record(&mut self, now_ms: u64) -> Option<KeysAt> {
        if self.has_expired_record(now_ms) { self.records.pop_front() } else { None }
    }
}

/// Whether a key that was used at `time_ms` is no longer remembered.
pub fn is_over(time_ms: u64, now_ms: u64) -> bool {
    time_ms.saturating_add(millis(IDEMPOTENCY_TTL)) <= now_ms
}

/// A token bucket that holds one second's worth.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    /// In thousandths of a token.
    tokens_milli: u64,
    filled_ms: u64,
}

impl Bucket {
    fn new(rate: u32, now_ms: u64) -> Self {
        let rate = u64::from(rate);
        Self { rate, tokens_milli: rate * 1000, filled_ms: now_ms }
    }

    fn take(&mut self, now_ms: u64) -> bool {
        if self.rate == 0 {
            return true;
        }
        let passed_ms = now_ms.saturating_sub(self.filled_ms).min(1000);
        // A clock that went back fills nothing, but goes on from where it is.
        self.filled_ms = now_ms;
        self.tokens_milli = (self.tokens_milli + passed_ms * self.rate).min(self.rate * 1000);
        let enough = self.tokens_milli >= 1000;
        if enough {
            self.tokens_milli -= 1000;
        }
        enough
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;
    use shared::message::Content;

    use super::*;

    const START_MS: u64 = 1_000_000;

    fn meta() -> Meta {
        Meta {
            epoch: Epoch::new(7).unwrap(),
            top: 0,
            first: 1,
            oldest: 1,
            time_ms: 0,
            generation: 0,
            volatile: false,
        }
    }

    fn state(options: Options) -> State {
        State::new(meta(), options, Restored::default())
    }

    fn publish(state: &mut State, now_ms: u64, bytes: usize) -> u64 {
        let Admission::Offset(offset) = state.admit(None, now_ms) else {
            panic!("not admitted");
        };
        let content = Content { body: Bytes::from(vec![1; bytes]), ..Content::default() };
        let run = [Arc::new(Message { offset, time_ms: now_ms, content })];
        state.written(&run, &[run_of(&run).unwrap()], None);
        state.expire(now_ms);
        offset
    }

    #[test]
    fn a_key_counts_once_for_five_minutes() {
        let mut state = state(Options::default());
        assert_eq!(state.admit(Some(5), START_MS), Admission::Offset(1));
        assert_eq!(state.admit(Some(5), START_MS + 299_999), Admission::Duplicate(1));
        assert_eq!(state.admit(Some(5), START_MS + 300_000), Admission::Offset(2));
    }

    #[test]
    fn the_rate_is_per_second() {
        let mut state = state(Options { rate: 3, ..Options::default() });
        let admitted = |state: &mut State, now_ms| {
            (0..10).filter(|_| state.admit(None, now_ms) != Admission::Rate).count()
        };
        assert_eq!(admitted(&mut state, START_MS), 3);
        assert_eq!(admitted(&mut state, START_MS + 400), 1);
        assert_eq!(admitted(&mut state, START_MS + 10_000), 3);
        assert_eq!(admitted(&mut state, START_MS), 0, "a clock that goes back fills nothing");
        assert_eq!(admitted(&mut state, START_MS + 1000), 3, "and fills again from there on");
    }

    #[test]
    fn clearing_keeps_the_position() {
        let mut state = state(Options::default());
        for _ in 0..5 {
            publish(&mut state, START_MS, 10);
        }
        state.clear();
        assert_eq!(state.position().offset, 5);
        assert_eq!(state.oldest().next, 6);
        assert_eq!(state.take_removals(START_MS, 100).len(), 5);
        assert_eq!(publish(&mut state, START_MS, 10), 6);
    }

    #[test]
    fn age_forgets_everything_but_the_position() {
        let options = Options { history_age: Duration::from_secs(60), ..Options::default() };
        let mut state = state(options);
        publish(&mut state, START_MS, 10);
        publish(&mut state, START_MS + 30_000, 10);
        state.expire(START_MS + 59_999);
        assert_eq!(state.oldest().next, 1);
        state.expire(START_MS + 60_000);
        assert_eq!(state.oldest().next, 2);
        state.expire(START_MS + 90_000);
        assert_eq!((state.oldest().next, state.position().offset), (3, 2));
    }

    proptest! {
        #[test]
        fn retention_keeps_to_its_bounds(
            size in 0u32..600,
            bytes_max in 0u64..200_000,
            bodies in proptest::collection::vec(1usize..20_000, 1..500),
        ) {
            let options = Options { history_size: size, history_bytes: bytes_max, ..Options::default() };
            let mut state = state(options.clone());
            let mut removed = Vec::new();
            for (n, body) in bodies.iter().enumerate() {
                publish(&mut state, START_MS + n as u64, *body);
                removed.extend(state.take_removals(START_MS, 3));
            }
            let top = state.position().offset;
            prop_assert_eq!(top, bodies.len() as u64);
            let kept = top + 1 - state.oldest().next;
            prop_assert!(kept <= u64::from(size).max(CATCH_UP_MESSAGES_MIN as u64));
            prop_assert!(kept >= 1);
            let bytes_bound = options.ring_bounds().bytes_max as u64;
            prop_assert!(state.kept_bytes <= bytes_bound || state.runs.len() == 1);
            prop_assert!(top + 1 - state.history_first(0) <= u64::from(size));
            removed.extend(state.take_removals(START_MS, 1000));
            let expected: Vec<Removal> = (1..state.oldest().next).map(Removal::Run).collect();
            prop_assert_eq!(removed, expected);
            // Everything kept and in the ring reads back.
            let mut cursor = state.oldest();
            if let Read::Batch(batch) = state.read(&mut cursor, 10_000) {
                prop_assert_eq!(batch.len() as u64, kept);
            }
        }
    }
}
