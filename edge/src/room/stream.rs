//! A room's stream in one form: encoded once, read by every member through a cursor.
//!
//! A cursor is the number of items before it. What is too much for slow members goes, oldest first:
//! droppable messages before others, which leave an empty segment behind.
//!
//! Invariant: segments follow each other without a gap up to `end`; every cursor that is not before
//! the first of them is at the beginning of one, or at the end. A cursor before has lost its place.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use shared::channel::ChannelName;
use shared::message::Class;
use slab::Slab;

use super::ConnectionId;
use crate::form::{Form, Item};

/// A piece of a room's stream in one form.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The number of items before it.
    pub first: u64,
    /// Whole frames; empty if they are dropped.
    pub bytes: Bytes,
    /// Whether it may be dropped before others.
    pub droppable: bool,
    /// The goim operation, in rooms whose members filter by it.
    pub operation: Option<i32>,
    /// Connections per second and edge network to write it to; 0 is at once.
    pub speed: u32,
    /// How many messages it carries.
    pub messages: u32,
}

/// What writing to one member came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Segments that need not be offered again (a half-written one is the writer's to finish).
    pub segments: usize,
    /// Whether the writer would take more now.
    pub more: bool,
}

/// Writes segments to a connection as far as it takes them.
pub type Write<'a> = dyn FnMut(ConnectionId, &mut dyn Iterator<Item = &Segment>) -> Written + 'a;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) form: Form,
    pub(super) filtered: bool,
    /// What waits to be encoded together, in forms that gather.
    pub(super) gathered: Vec<Item>,
    segments: VecDeque<Segment>,
    /// Items encoded so far.
    end: u64,
    bytes: usize,
    /// No segment before this item is droppable and full.
    dropped: u64,
    members: Slab<Member>,
    /// Every member's slot is below this.
    slots: usize,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    connection: ConnectionId,
    cursor: u64,
}

/// How far a sweep of a stream has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The slot of the next member.
    slot: usize,
    /// No member is before this item, but for those that have lost their place.
    least: u64,
}

/// A member that has lost its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Which.
    pub connection: ConnectionId,
    /// Items that it does not get; 0 is unknown.
    pub missing: u64,
}

impl Stream {
    pub(super) fn new(form: Form, filtered: bool) -> Self {
        Self {
            form,
            filtered,
            gathered: Vec::new(),
            segments: VecDeque::new(),
            end: 0,
            bytes: 0,
            dropped: 0,
            members: Slab::new(),
            slots: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a member has not had everything, as the last sweep found.
    pub(super) fn has_segments(&self) -> bool {
        !self.segments.is_empty()
    }

    /// A member that gets what is encoded from now on.
    pub(super) fn join(&mut self, connection: ConnectionId) -> usize {
        let slot = self.members.insert(Member { connection, cursor: self.end });
        self.slots = self.slots.max(slot + 1);
        slot
    }

    /// A member leaves. Answers whether it was one.
    pub(super) fn leave(&mut self, slot: usize) -> bool {
        let left = self.members.try_remove(slot).is_some();
        if left && self.members.is_empty() {
            self.gathered.clear();
            self.segments.clear();
            self.bytes = 0;
            self.members = Slab::new();
            self.slots = 0;
        }
        left
    }

    pub(super) fn into_members(self) -> impl Iterator<Item = ConnectionId> {
        self.members.into_iter().map(|(_, member)| member.connection)
    }

    /// Appends items. What is beyond [`STREAM_BYTES_MAX`] goes.
    pub(super) fn encode(&mut self, channel: &ChannelName, offsets: bool, items: &[Item]) {
        let mut rest = items;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(self.batch_len(rest));
            rest = after;
            let mut out = BytesMut::new();
            self.form.encode(channel, offsets, batch, &mut out);
            if out.is_empty() {
                continue;
            }
            let first = match &batch[0] {
                Item::Message(message) => Some(&message.content),
                Item::Presence { .. } => None,
            };
            self.bytes += out.len();
            self.segments.push_back(Segment {
                first: self.end,
                bytes: out.freeze(),
                droppable: is_droppable(&batch[0]),
                operation: first.filter(|_| self.filtered).map(|content| content.operation),
                speed: first.map_or(0, |content| content.speed),
                messages: batch.iter().filter(|i| matches!(i, Item::Message(_))).count() as u32,
            });
            self.end += batch.len() as u64;
        }
        if self.bytes > STREAM_BYTES_MAX {
            self.shed();
        }
    }

    /// Begins to offer every member what it has not had.
    pub(super) fn begin(&self) -> Progress {
        Progress { slot: 0, least: self.end }
    }

    /// Goes on with it until `budget` members were written to. Those who have lost their place lose
    /// their seat, and are appended to `lost`. Answers whether all members have had their turn.
    pub(super) fn sweep(
        &mut self,
        progress: &mut Progress,
        budget: &mut usize,
        lost: &mut Vec<Lost>,
        write: &mut Write<'_>,
    ) -> bool {
        let first = self.first();
        // Most members stand at the same place.
        let mut last = (self.end, self.segments.len());
        while progress.slot < self.slots {
            let Some(member) = self.members.get_mut(progress.slot) else {
                progress.slot += 1;
                continue;
            };
            if member.cursor < first {
                let missing = self.end - member.cursor;
                lost.push(Lost { connection: member.connection, missing });
                self.members.remove(progress.slot);
            } else if member.cursor < self.end {
                if *budget == 0 {
                    return false;
                }
                *budget -= 1;
                if last.0 != member.cursor {
                    last = (member.cursor, index_of(&self.segments, member.cursor));
                }
                let written = write(member.connection, &mut self.segments.range(last.1..));
                let after = self.segments.get(last.1 + written.segments);
                member.cursor = after.map_or(self.end, |segment| segment.first);
                progress.least = progress.least.min(member.cursor);
            }
            progress.slot += 1;
        }
        while self.segments.front().is_some_and(|segment| segment.first < progress.least) {
            self.drop_first();
        }
        true
    }

    /// Offers one member what it has not had. An error if it has lost its place, and its seat with
    /// it.
    pub(super) fn offer(&mut self, slot: usize, write: &mut Write<'_>) -> Result<Written, Lost> {
        let first = self.first();
        let nothing = Written { segments: 0, more: true };
        let Some(member) = self.members.get_mut(slot).filter(|m| m.cursor < self.end) else {
            return Ok(nothing);
        };
        if member.cursor < first {
            let lost = Lost { connection: member.connection, missing: self.end - member.cursor };
            self.members.remove(slot);
            return Err(lost);
        }
        let index = index_of(&self.segments, member.cursor);
        let written = write(member.connection, &mut self.segments.range(index..));
        let after = self.segments.get(index + written.segments);
        member.cursor = after.map_or(self.end, |segment| segment.first);
        Ok(written)
    }

    /// The cursor of the first segment that is kept.
    fn first(&self) -> u64 {
        self.segments.front().map_or(self.end, |segment| segment.first)
    }

    /// Drops what is too much: droppable messages if there are any, else the oldest of all.
    fn shed(&mut self) {
        let from = self.segments.partition_point(|segment| segment.first < self.dropped);
        for segment in self.segments.range_mut(from..) {
            if self.bytes <= STREAM_BYTES_KEPT {
                return;
            }
            self.dropped = segment.first + 1;
            if segment.droppable {
                self.bytes -= std::mem::take(&mut segment.bytes).len();
            }
        }
        while self.bytes > STREAM_BYTES_KEPT && self.segments.len() > 1 {
            self.drop_first();
        }
    }

    /// How many of `items` go into one segment: one where members filter or it is paced, else as
    /// many of those that are alike droppable as fit [`SEGMENT_BODY_BYTES`].
    fn batch_len(&self, items: &[Item]) -> usize {
        let mut bytes = 0;
        let droppable = items.first().is_some_and(is_droppable);
        let fits = items.iter().take_while(|item| {
            let Item::Message(message) = item else { return !droppable };
            let fits = bytes <= SEGMENT_BODY_BYTES
                && message.content.speed == 0
                && is_droppable(item) == droppable;
            bytes += message.content.body.len();
            fits
        });
        if self.filtered { 1 } else { fits.count().max(1) }
    }

    fn drop_first(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            self.bytes -= segment.bytes.len();
        }
    }
}

fn index_of(segments: &VecDeque<Segment>, cursor: u64) -> usize {
    segments.partition_point(|segment| segment.first < cursor)
}

fn is_droppable(item: &Item) -> bool {
    matches!(item, Item::Message(message) if message.content.class == Class::Droppable)
}

/// Whether a segment is for a connection that accepts these operations in filtered rooms (`None`:
/// all), and there.
pub fn accepts(accepted: Option<&BTreeSet<i32>>, segment: &Segment) -> bool {
    if segment.bytes.is_empty() {
        return false;
    }
    match (accepted, segment.operation) {
        (Some(accepted), Some(operation)) => accepted.contains(&operation),
        _ => true,
    }
}

/// Bytes of bodies that one segment gathers: half of what a socket's default send buffer takes.
const SEGMENT_BODY_BYTES: usize = 32 << 10;
/// Bytes of one form that are kept for slow members of a room.
pub const STREAM_BYTES_MAX: usize = 1 << 20;
/// What is left of them once it was too much.
const STREAM_BYTES_KEPT: usize = STREAM_BYTES_MAX / 8 * 7;
