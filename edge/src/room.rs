//! A room: one channel as one shard faces it. Here a message is encoded once per form, and every
//! client is a cursor.
//!
//! Items that arrived since the last sweep began are encoded into [`Segment`]s for each form that has
//! members. Members at the same place share the same bytes. Whoever is slow keeps its cursor, up to
//! [`STREAM_BYTES_MAX`] behind, which droppable messages are the first not to count to; beyond that it
//! has lost its place and is told so.
//!
//! A sweep is made in slices, so that a large room does not delay others. When a long one is over the
//! room rests for as long as it took: it never takes more than half of its shard, which others need
//! too, and the more it has to do the more each write carries. Only where more is due than is kept for
//! slow members does it not wait.
//!
//! Invariant: items enter every stream in order, each once, and no later than a newcomer's seat.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::limits::HISTORY_MESSAGES_MAX;
use shared::message::{Class, Message, Position};
use shared::namespace::{Options, SlowReader};
use shared::ring::{Bounds, Cursor, Read, Ring};

use crate::form::{Form, Item};
use crate::hub::JoinId;
use crate::pressure::Pressure;
use crate::session::{AskId, Recover, Subscribed};

mod sample;
mod stream;

use sample::Sampler;
pub use stream::{Lost, STREAM_BYTES_MAX, Segment, Write, Written, accepts};
use stream::{Progress, Stream};

/// Names a connection of a shard; never reused while the shard lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Where the shard keeps it.
    pub slot: usize,
    /// Counts up with every connection, so that an old id never means a new connection.
    pub serial: u64,
}

/// Where a member of a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    stream: usize,
    member: usize,
}

/// A client that waits for its subscription.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Who.
    pub connection: ConnectionId,
    /// What it asked.
    pub id: AskId,
    /// How it wants to be written to.
    pub form: Form,
    /// Whether it filters by operation.
    pub filtered: bool,
    /// What it has.
    pub recover: Option<Recover>,
    /// When waiting for a position that this edge has not seen ends.
    pub until: Instant,
}

/// What became of a client that waited.
#[derive(Debug)]
pub enum Admission {
    /// It has a seat.
    Seated(Seat, Subscribed),
    /// It waits: for the channel to open, for older messages, or for newer ones.
    Waits,
}

/// A channel as one shard faces it.
#[derive(Debug)]
pub struct Room {
    channel: ChannelName,
    join: JoinId,
    offsets: bool,
    ring: Option<Ring<Arc<Message>>>,
    streams: Vec<Stream>,
    fresh: VecDeque<Item>,
    /// Bytes of bodies in it.
    fresh_bytes: usize,
    waiting: Vec<Waiting>,
    /// Whether older messages have been asked for.
    fetching: bool,
    /// What was fetched for recovering clients: all there is after an offset, older than the ring.
    older: Option<Older>,
    members: u32,
    total: Option<u32>,
    sampler: Sampler,
    slow: SlowReader,
    sweep: Option<Sweep>,
    /// The least time from the beginning of one sweep to that of the next.
    sweep_interval: Duration,
    /// When the next sweep may begin.
    sweep_at: Option<Instant>,
}

#[derive(Debug)]
struct Older {
    after: u64,
    messages: BTreeMap<u64, Arc<Message>>,
}

/// A sweep under way: the stream it has come to, and how far it is there.
#[derive(Debug)]
struct Sweep {
    /// What its slices took.
    took: Duration,
    stream: usize,
    progress: Progress,
    behind: bool,
    /// Whether something was encoded since it began.
    again: bool,
}

impl Room {
    /// A room that waits for its channel to open, which it joined as `join`.
    pub fn new(channel: ChannelName, join: JoinId) -> Self {
        Self {
            channel,
            join,
            offsets: false,
            ring: None,
            streams: Vec::new(),
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            waiting: Vec::new(),
            fetching: false,
            older: None,
            members: 0,
            total: None,
            sampler: Sampler::default(),
            slow: SlowReader::default(),
            sweep: None,
            sweep_interval: Duration::ZERO,
            sweep_at: None,
        }
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The joining that its news answer.
    pub fn join(&self) -> JoinId {
        self.join
    }

    /// Clients in the room: over all edges as far as known, at least those here.
    pub fn online(&self) -> u32 {
        self.total.unwrap_or(0).max(self.members)
    }

    /// The part of all the room's clients that a shard with `connections` of them has.
    pub fn share(&self, connections: usize) -> f64 {
        let here = connections as f64;
        self.total.map_or(1.0, |total| (here / f64::from(total).max(1.0)).min(1.0))
    }

    /// Clients here.
    pub fn members(&self) -> u32 {
        self.members
    }

    /// Whether nobody reads or waits here.
    pub fn is_empty(&self) -> bool {
        self.members == 0 && self.waiting.is_empty()
    }

    /// Whether the channel is open.
    pub fn is_open(&self) -> bool {
        self.ring.is_some()
    }

    /// The total over all edges is known.
    pub fn handle_total(&mut self, count: u32) {
        self.total = Some(count);
    }

    /// The channel is open at `position`, with the messages that lead up to it.
    pub fn handle_open(&mut self, position: Position, offsets: bool, tail: Vec<Arc<Message>>) {
        self.offsets = offsets;
        let start = position.offset - tail.len().min(position.offset as usize) as u64;
        let bounds = Bounds { entries_max: RING_ENTRIES_MAX, bytes_max: RING_BYTES_MAX };
        let mut ring = Ring::new(Position { offset: start, ..position }, bounds);
        for message in tail {
            // A tail with a hole serves nobody: what follows the hole is kept.
            if ring.push(message.offset, Arc::clone(&message)).is_err() {
                ring = Ring::new(Position { offset: message.offset - 1, ..position }, bounds);
                let _ = ring.push(message.offset, message);
            }
        }
        self.ring = Some(ring);
        self.older = None;
    }

    /// New items. Of droppable messages a sample is for members: of the share that `pressure` leaves,
    /// as many as the namespace lets. Returns how many are not in it.
    pub fn handle_items(&mut self, items: &[Item], pressure: Pressure, now: Instant) -> u64 {
        let Some(ring) = &mut self.ring else { return 0 };
        let mut sampled_out = 0;
        for item in items {
            if let Item::Message(message) = item {
                if ring.push(message.offset, Arc::clone(message)).is_err() {
                    continue; // known already
                }
                let droppable = message.content.class == Class::Droppable;
                if droppable && !self.sampler.admits(pressure.keep, now) {
                    sampled_out += 1;
                    continue;
                }
            }
            self.fresh_bytes += bytes(item);
            self.fresh.push_back(item.clone());
        }
        sampled_out
    }

    /// Whether items came since the last sweep began.
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Messages are missing: the room goes on after `position`, and everyone in it loses its seat.
    pub fn handle_gap(&mut self, position: Position) -> Vec<Lost> {
        let before = self.top().filter(|top| top.epoch == position.epoch);
        let missing = before.map_or(0, |top| position.offset.saturating_sub(top.offset));
        self.handle_open(position, self.offsets, Vec::new());
        let lost = self.vacate().into_iter();
        lost.map(|connection| Lost { connection, missing }).collect()
    }

    /// Takes every seat away; the connections that had one.
    pub fn vacate(&mut self) -> Vec<ConnectionId> {
        self.fresh.clear();
        self.fresh_bytes = 0;
        self.members = 0;
        self.sweep = None;
        std::mem::take(&mut self.streams).into_iter().flat_map(Stream::into_members).collect()
    }

    /// Lets a client in, or puts it among those that wait.
    pub fn admit(&mut self, waiting: Waiting, now: Instant) -> Admission {
        let recovered = self.recovered(&waiting, now);
        let (Some(recovered), Some(position)) = (recovered, self.top()) else {
            self.waiting.push(waiting);
            return Admission::Waits;
        };
        let seat = self.seat(&waiting);
        Admission::Seated(seat, Subscribed { position, recovered })
    }

    /// Those who may be able to sit down now; each must be admitted again.
    pub fn take_waiting(&mut self) -> Vec<Waiting> {
        if self.ring.is_some() { std::mem::take(&mut self.waiting) } else { Vec::new() }
    }

    /// Those who wait, whatever for.
    pub fn drain_waiting(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    /// A client that waits goes away.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.waiting.retain(|waiting| waiting.connection != connection);
    }

    /// The position after which older messages should be fetched for those who wait, once.
    pub fn wants_older(&mut self) -> Option<Position> {
        let ring = self.ring.as_ref()?;
        if self.fetching {
            return None;
        }
        let oldest = self
            .waiting
            .iter()
            .filter_map(|waiting| waiting.recover)
            .map(|recover| recover.offset)
            .filter(|offset| *offset < ring.oldest().next - 1) // offsets count from 1
            .min()?;
        self.fetching = true;
        Some(Position { epoch: ring.top().epoch, offset: oldest })
    }

    /// The messages after `position` came, or could not be had (`None`): then those are returned
    /// whose wish cannot be answered either way.
    pub fn handle_older(
        &mut self,
        position: Position,
        messages: Option<Vec<Arc<Message>>>,
    ) -> Vec<Waiting> {
        self.fetching = false;
        let Some(ring) = self.ring.as_ref().filter(|ring| ring.top().epoch == position.epoch)
        else {
            return Vec::new();
        };
        match messages {
            Some(messages) => {
                let messages = messages.into_iter().map(|m| (m.offset, m)).collect();
                self.older = Some(Older { after: position.offset, messages });
                Vec::new()
            }
            None => {
                let oldest = ring.oldest().next;
                let in_vain = |w: &mut Waiting| w.recover.is_some_and(|r| r.offset < oldest - 1);
                self.waiting.extract_if(.., in_vain).collect()
            }
        }
    }

    /// Whether someone waits for messages that this edge has not seen, or for older ones.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Forgets older messages that nobody waits for any more.
    pub fn drop_older(&mut self) {
        if self.waiting.is_empty() {
            self.older = None;
        }
    }

    /// A member leaves.
    pub fn leave(&mut self, seat: Seat) {
        let Some(stream) = self.streams.get_mut(seat.stream) else { return };
        self.members -= u32::from(stream.leave(seat.member));
    }

    /// What its namespace says, from now on.
    pub fn set_options(&mut self, options: &Options) {
        self.sweep_interval = options.sweep_interval;
        self.sampler.rate = options.droppable_rate;
        self.slow = options.slow;
    }

    /// What happens to members that have lost their place.
    pub fn slow(&self) -> SlowReader {
        self.slow
    }

    /// When the next slice of a sweep may be made; `None` is at once.
    pub fn sweep_at(&self, now: Instant) -> Option<Instant> {
        let may_wait = self.sweep.is_none() && self.fresh_bytes < SWEEP_BYTES;
        self.sweep_at.filter(|at| may_wait && *at > now)
    }

    /// Encodes what is fresh for every form that has members, up to so many bytes of bodies; forms that
    /// gather only note it.
    fn encode_fresh(&mut self, bytes_max: usize) {
        let mut taken = 0;
        let fits = self.fresh.iter().take_while(|item| {
            let fits = taken <= bytes_max;
            taken += bytes(item);
            fits
        });
        let count = fits.count();
        if count == 0 {
            return;
        }
        let fresh: Vec<Item> = self.fresh.drain(..count).collect();
        self.fresh_bytes -= fresh.iter().map(bytes).sum::<usize>();
        for stream in self.streams.iter_mut().filter(|stream| !stream.is_empty()) {
            if stream.form.gathers() {
                stream.gathered.extend_from_slice(&fresh);
            } else {
                stream.encode(&self.channel, self.offsets, &fresh);
            }
        }
        if let Some(sweep) = &mut self.sweep {
            sweep.again = true;
        }
    }

    /// Whether a form has gathered something.
    pub fn has_gathered(&self) -> bool {
        self.streams.iter().any(|stream| !stream.gathered.is_empty())
    }

    /// Encodes what was gathered. (Who came meanwhile gets a little of what was before; these forms
    /// have no offsets that it would contradict.)
    pub fn encode_gathered(&mut self) {
        for stream in &mut self.streams {
            let gathered = std::mem::take(&mut stream.gathered);
            stream.encode(&self.channel, self.offsets, &gathered);
        }
    }

    /// Begins to offer every member what it has not had, or goes on with it, until `budget` members
    /// were written to. `clock` tells the time; `write` is given a connection and its segments. The next
    /// sweep begins no earlier than the namespace or `pressure` say.
    pub fn sweep(
        &mut self,
        budget: &mut usize,
        pressure: Pressure,
        clock: &dyn Fn() -> Instant,
        write: &mut Write<'_>,
    ) -> Swept {
        let now = clock();
        let (mut lost, mut counted) = (Vec::new(), 0);
        let mut sweep = match self.sweep.take() {
            Some(sweep) => sweep,
            None => {
                self.encode_fresh(SWEEP_BYTES);
                let interval = self.sweep_interval.max(pressure.sweep_interval);
                self.sweep_at = (!interval.is_zero()).then(|| now + interval);
                let progress = self.streams.first().map(Stream::begin).unwrap_or_default();
                Sweep { took: Duration::ZERO, stream: 0, progress, behind: false, again: false }
            }
        };
        while let Some(stream) = self.streams.get_mut(sweep.stream) {
            let is_over = stream.sweep(&mut sweep.progress, budget, &mut lost, write);
            for member in &mut lost[counted..] {
                member.missing += self.fresh.len() as u64; // which is not encoded
            }
            counted = lost.len();
            if !is_over {
                sweep.took += clock().saturating_duration_since(now);
                self.sweep = Some(sweep);
                self.members -= lost.len() as u32; // of as many members
                return Swept { lost, behind: false, done: false };
            }
            sweep.behind |= stream.has_segments();
            sweep.stream += 1;
            sweep.progress = self.streams.get(sweep.stream).map(Stream::begin).unwrap_or_default();
        }
        self.members -= lost.len() as u32; // of as many members
        if !sweep.took.is_zero() {
            let end = clock();
            let took = sweep.took + end.saturating_duration_since(now);
            let rest = took.mul_f64((took.as_secs_f64() / LONG.as_secs_f64()).min(1.0));
            self.sweep_at = self.sweep_at.max(Some(end + rest));
        }
        let done = self.fresh.is_empty() && !sweep.again;
        Swept { lost, behind: sweep.behind, done }
    }

    /// Offers one member what it has not had. An error if it has lost its place, and its seat with
    /// it.
    pub fn offer(&mut self, seat: Seat, write: &mut Write<'_>) -> Result<Written, Lost> {
        let Some(stream) = self.streams.get_mut(seat.stream) else {
            return Ok(Written { segments: 0, more: true });
        };
        let offered = stream.offer(seat.member, write);
        self.members -= u32::from(offered.is_err());
        let unencoded = self.fresh.len() as u64;
        offered.map_err(|lost| Lost { missing: lost.missing + unencoded, ..lost })
    }

    /// Where the room stands.
    pub fn top(&self) -> Option<Position> {
        self.ring.as_ref().map(Ring::top)
    }

    /// What a waiting client is told it missed: `None` if it must go on waiting, `Some(None)` if it
    /// did not ask or something is missing for good.
    fn recovered(&self, waiting: &Waiting, now: Instant) -> Option<Option<Vec<Arc<Message>>>> {
        let ring = self.ring.as_ref()?;
        let Some(recover) = waiting.recover else { return Some(None) };
        let top = ring.top();
        if recover.epoch.is_some_and(|epoch| epoch != top.epoch) {
            return Some(None);
        }
        let Some(missing) = top.offset.checked_sub(recover.offset) else {
            // The client is ahead of this edge, which will catch up in a moment, or never.
            let hopeless = recover.epoch.is_none() || now >= waiting.until;
            return hopeless.then_some(None);
        };
        if missing > HISTORY_MESSAGES_MAX as u64 {
            return Some(None);
        }
        let mut cursor = Cursor { epoch: top.epoch, next: recover.offset + 1 };
        match ring.read(&mut cursor, HISTORY_MESSAGES_MAX) {
            Read::Batch(batch) => Some(Some(batch.into_iter().cloned().collect())),
            Read::CaughtUp => Some(Some(Vec::new())),
            Read::Behind { oldest } => {
                let Some(older) = self.older.as_ref().filter(|o| o.after <= recover.offset) else {
                    return None; // to be fetched
                };
                let gap = recover.offset + 1..oldest.next;
                let messages: Option<Vec<_>> =
                    gap.map(|offset| older.messages.get(&offset).cloned()).collect();
                Some(messages.map(|mut messages| {
                    messages.extend(ring.iter().cloned());
                    messages
                }))
            }
        }
    }

    fn seat(&mut self, waiting: &Waiting) -> Seat {
        self.encode_fresh(usize::MAX); // what came before this client is not for it
        let found = self
            .streams
            .iter()
            .position(|s| s.form == waiting.form && s.filtered == waiting.filtered);
        let stream = found.unwrap_or_else(|| {
            self.streams.push(Stream::new(waiting.form, waiting.filtered));
            self.streams.len() - 1
        });
        self.members += 1;
        Seat { stream, member: self.streams[stream].join(waiting.connection) }
    }
}

fn bytes(item: &Item) -> usize {
    match item {
        Item::Message(message) => message.content.body.len(),
        Item::Presence { .. } => 0,
    }
}

/// How a slice of a sweep ended.
#[derive(Debug, Default)]
pub struct Swept {
    /// Members that have lost their place, and their seat.
    pub lost: Vec<Lost>,
    /// Whether some member has not had everything.
    pub behind: bool,
    /// Whether every member has had its turn and nothing came meanwhile; else another slice must
    /// follow.
    pub done: bool,
}

/// A sweep that takes so long is followed by as long a rest, a shorter one by less.
const LONG: Duration = Duration::from_millis(40);
/// Bytes of bodies that are encoded for one sweep: what is beyond [`STREAM_BYTES_MAX`] before anybody was
/// offered it would be lost for all. Where so much is due, the sweep is made at once.
const SWEEP_BYTES: usize = STREAM_BYTES_MAX / 2;
/// Messages of a channel that a shard keeps for recovery: what one answer may carry, twice.
pub const RING_ENTRIES_MAX: usize = 2 * HISTORY_MESSAGES_MAX;
/// Bytes of them.
pub const RING_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
