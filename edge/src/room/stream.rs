//! A room's stream in one form: encoded once, read by every member through a cursor.
//!
//! Invariant: segment `first + i` is `segments[i]`; every cursor that is not before `first` lies
//! between it and the end. A cursor before `first` has lost its place.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use shared::channel::ChannelName;
use slab::Slab;

use super::ConnectionId;
use crate::form::{Form, Item};

/// A piece of a room's stream in one form.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Whole frames.
    pub bytes: Bytes,
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
    first: u64,
    bytes: usize,
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
    /// No member is before this segment, but for those that have lost their place.
    least: u64,
}

impl Stream {
    pub(super) fn new(form: Form, filtered: bool) -> Self {
        Self {
            form,
            filtered,
            gathered: Vec::new(),
            segments: VecDeque::new(),
            first: 0,
            bytes: 0,
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
        let slot = self.members.insert(Member { connection, cursor: self.end() });
        self.slots = self.slots.max(slot + 1);
        slot
    }

    /// A member leaves. Answers whether it was one.
    pub(super) fn leave(&mut self, slot: usize) -> bool {
        let left = self.members.try_remove(slot).is_some();
        if left && self.members.is_empty() {
            self.first = self.end();
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

    /// Appends items. What is beyond [`STREAM_BYTES_MAX`] goes, oldest first.
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
                bytes: out.freeze(),
                operation: first.filter(|_| self.filtered).map(|content| content.operation),
                speed: first.map_or(0, |content| content.speed),
                messages: batch.iter().filter(|i| matches!(i, Item::Message(_))).count() as u32,
            });
        }
        while self.bytes > STREAM_BYTES_MAX && self.segments.len() > 1 {
            self.drop_first();
        }
    }

    /// Begins to offer every member what it has not had.
    pub(super) fn begin(&self) -> Progress {
        Progress { slot: 0, least: self.end() }
    }

    /// Goes on with it until `budget` members were written to. Those who have lost their place lose
    /// their seat, and are appended to `lost`. Answers whether all members have had their turn.
    pub(super) fn sweep(
        &mut self,
        progress: &mut Progress,
        budget: &mut usize,
        lost: &mut Vec<ConnectionId>,
        write: &mut Write<'_>,
    ) -> bool {
        let end = self.end();
        while progress.slot < self.slots {
            let Some(member) = self.members.get_mut(progress.slot) else {
                progress.slot += 1;
                continue;
            };
            if member.cursor < self.first {
                lost.push(member.connection);
                self.members.remove(progress.slot);
            } else if member.cursor < end {
                if *budget == 0 {
                    return false;
                }
                *budget -= 1;
                let from = (member.cursor - self.first) as usize;
                let written = write(member.connection, &mut self.segments.range(from..));
                member.cursor += (written.segments as u64).min(end - member.cursor);
                progress.least = progress.least.min(member.cursor);
            }
            progress.slot += 1;
        }
        while self.first < progress.least && !self.segments.is_empty() {
            self.drop_first();
        }
        true
    }

    /// Offers one member what it has not had. `None` if it has lost its place, and its seat with it.
    pub(super) fn offer(&mut self, slot: usize, write: &mut Write<'_>) -> Option<Written> {
        let end = self.end();
        let Some(member) = self.members.get_mut(slot) else {
            return Some(Written { segments: 0, more: true });
        };
        if member.cursor == end {
            return Some(Written { segments: 0, more: true });
        }
        if member.cursor < self.first {
            self.members.remove(slot);
            return None;
        }
        let from = (member.cursor - self.first) as usize;
        let written = write(member.connection, &mut self.segments.range(from..));
        member.cursor += (written.segments as u64).min(end - member.cursor);
        Some(written)
    }

    fn end(&self) -> u64 {
        self.first + self.segments.len() as u64
    }

    /// How many of `items` go into one segment: one where members filter or it is paced, else as
    /// many as fit [`SEGMENT_BODY_BYTES`].
    fn batch_len(&self, items: &[Item]) -> usize {
        let mut bytes = 0;
        let fits = items.iter().take_while(|item| {
            let Item::Message(message) = item else { return true };
            let fits = bytes <= SEGMENT_BODY_BYTES && message.content.speed == 0;
            bytes += message.content.body.len();
            fits
        });
        if self.filtered { 1 } else { fits.count().max(1) }
    }

    fn drop_first(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            self.bytes -= segment.bytes.len();
            self.first += 1;
        }
    }
}

/// The operations a connection accepts in filtered rooms; `None` accepts all.
pub fn accepts(accepted: Option<&BTreeSet<i32>>, segment: &Segment) -> bool {
    match (accepted, segment.operation) {
        (Some(accepted), Some(operation)) => accepted.contains(&operation),
        _ => true,
    }
}

/// Bytes of bodies that one segment gathers: half of what a socket's default send buffer takes.
const SEGMENT_BODY_BYTES: usize = 32 << 10;
/// Bytes of one form that are kept for slow members of a room.
pub const STREAM_BYTES_MAX: usize = 1 << 20;
