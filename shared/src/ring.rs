//! The ring and the cursor: the whole idea of the system in one file.
//!
//! A ring is the tail of a channel's log: someone fills it in order, readers pull from it at their
//! own pace. A [`Cursor`] is a reader's place. Reading gives a batch, says that the reader is caught
//! up, or that it is *behind*: what it wants has left the ring, and it must be told of the gap.
//!
//! Invariant: entries are dense, `entries[i]` has offset `first + i`, and their weight stays within
//! `bytes_max` and `entries_max` (the newest entry is always kept).

use std::collections::VecDeque;

use crate::message::{Epoch, Message, Position};

/// What an entry costs a ring.
pub trait Weigh {
    /// Bytes of memory this entry keeps.
    fn weight(&self) -> usize;
}

impl<T: Weigh> Weigh for std::sync::Arc<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }
}

/// How much a ring keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries, at least 1.
    pub entries_max: usize,
    /// Bytes of all entries; one entry is kept however large it is.
    pub bytes_max: usize,
}

/// The in-memory tail of a channel's log.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    epoch: Epoch,
    first: u64,
    entries: VecDeque<T>,
    bytes: usize,
    bounds: Bounds,
}

/// A reader's place: the next offset it wants in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The life of the log this reader follows.
    pub epoch: Epoch,
    /// The offset it reads next, from 1.
    pub next: u64,
}

impl Cursor {
    /// The cursor of a reader that has everything up to `position`.
    pub fn after(position: Position) -> Self {
        Self { epoch: position.epoch, next: position.offset + 1 }
    }
}

/// What a read found.
#[derive(Debug, PartialEq)]
pub enum Read<'a, T> {
    /// Entries from the cursor on, oldest first; the cursor has moved past them.
    Batch(Vec<&'a T>),
    /// Nothing after the cursor yet.
    CaughtUp,
    /// What the cursor wants is not in this ring: too old, another epoch, or never written.
    Behind {
        /// The oldest place from which this ring can be read.
        oldest: Cursor,
    },
}

/// Why an entry does not fit at the end of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {got} does not follow {top}")]
pub struct NotNext {
    /// The offset that was handed in.
    pub got: u64,
    /// The last offset of the ring.
    pub top: u64,
}

impl<T: Weigh> Ring<T> {
    /// An empty ring whose next entry is `position.offset + 1`.
    pub fn new(position: Position, bounds: Bounds) -> Self {
        let bounds = Bounds { entries_max: bounds.entries_max.max(1), ..bounds };
        Self {
            epoch: position.epoch,
            first: position.offset + 1,
            entries: VecDeque::new(),
            bytes: 0,
            bounds,
        }
    }

    /// Appends the entry at `offset`, which must follow the last one; the oldest make room.
    pub fn push(&mut self, offset: u64, entry: T) -> Result<(), NotNext> {
        let top = self.top().offset;
        if offset != top + 1 {
            return Err(NotNext { got: offset, top });
        }
        self.bytes += entry.weight();
        self.entries.push_back(entry);
        while self.entries.len() > self.bounds.entries_max
            || (self.bytes > self.bounds.bytes_max && self.entries.len() > 1)
        {
            self.drop_oldest();
        }
        Ok(())
    }

    /// Forgets everything up to and including `offset`; the top stays where it is.
    pub fn trim_to(&mut self, offset: u64) {
        while self.first <= offset && !self.entries.is_empty() {
            self.drop_oldest();
        }
    }

    /// Reads up to `limit` entries and moves the cursor past them.
    pub fn read(&self, cursor: &mut Cursor, limit: usize) -> Read<'_, T> {
        let end = self.top().offset + 1;
        if cursor.epoch != self.epoch || cursor.next < self.first || cursor.next > end {
            return Read::Behind { oldest: self.oldest() };
        }
        if cursor.next == end {
            return Read::CaughtUp;
        }
        // Within `entries.len()`, so it fits a usize.
        let from = (cursor.next - self.first) as usize;
        let batch: Vec<&T> = self.entries.range(from..).take(limit).collect();
        cursor.next += batch.len() as u64;
        Read::Batch(batch)
    }

    /// The last position: that of the newest entry, or where an empty ring began.
    pub fn top(&self) -> Position {
        Position { epoch: self.epoch, offset: self.first + self.entries.len() as u64 - 1 }
    }

    /// The oldest place that can be read from.
    pub fn oldest(&self) -> Cursor {
        Cursor { epoch: self.epoch, next: self.first }
    }

    /// The entry at `offset`, if it is here.
    pub fn get(&self, offset: u64) -> Option<&T> {
        let index = offset.checked_sub(self.first)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter()
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The memory its entries keep.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.weight();
            self.first += 1;
        }
    }
}

/// Bytes a message costs in a ring beside its body: the struct, its `Arc` and the slot.
const MESSAGE_OVERHEAD_BYTES: usize = std::mem::size_of::<Message>() + 24;

impl Weigh for Message {
    fn weight(&self) -> usize {
        let tags: usize = self.content.tags.iter().map(|(k, v)| k.len() + v.len() + 64).sum();
        let publisher = self.content.publisher.as_ref().map_or(0, |info| {
            info.user.len() + info.client.len() + info.conn_info.len() + info.chan_info.len() + 112
        });
        MESSAGE_OVERHEAD_BYTES + self.content.body.len() + tags + publisher
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Entry(u64, usize);

    impl Weigh for Entry {
        fn weight(&self) -> usize {
            self.1
        }
    }

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch::new(7).expect("not zero"), offset }
    }

    #[test]
    fn refuses_what_does_not_follow() {
        let mut ring = Ring::new(at(4), Bounds { entries_max: 8, bytes_max: 100 });
        assert_eq!(ring.push(7, Entry(7, 1)), Err(NotNext { got: 7, top: 4 }));
        assert_eq!(ring.push(4, Entry(4, 1)), Err(NotNext { got: 4, top: 4 }));
        assert_eq!(ring.push(5, Entry(5, 1)), Ok(()));
        assert_eq!(ring.top(), at(5));
    }

    #[test]
    fn another_epoch_is_behind() {
        let ring: Ring<Entry> = Ring::new(at(4), Bounds { entries_max: 8, bytes_max: 100 });
        let mut cursor = Cursor { epoch: Epoch::new(8).expect("not zero"), next: 5 };
        assert_eq!(ring.read(&mut cursor, 10), Read::Behind { oldest: ring.oldest() });
    }

    proptest! {
        /// Whatever is pushed, trimmed and read, the ring answers as a plain `Vec` of everything would.
        #[test]
        fn behaves_as_a_vec(
            start in 0u64..1000,
            entries_max in 1usize..20,
            bytes_max in 1usize..200,
            steps in proptest::collection::vec((0u8..4, 0u64..40, 1usize..30), 1..200),
        ) {
            let mut ring = Ring::new(at(start), Bounds { entries_max, bytes_max });
            let mut all: Vec<Entry> = Vec::new();
            let mut cursor = Cursor::after(at(start));
            let mut expected = start + 1;
            for (what, number, size) in steps {
                match what {
                    0 | 1 => {
                        let offset = start + all.len() as u64 + 1;
                        ring.push(offset, Entry(offset, size)).expect("follows");
                        all.push(Entry(offset, size));
                    }
                    2 => ring.trim_to(start + number),
                    _ => {
                        let before = cursor.next;
                        let oldest = ring.oldest().next;
                        match ring.read(&mut cursor, number as usize + 1) {
                            Read::Batch(batch) => for entry in batch {
                                prop_assert_eq!(entry, &all[(expected - start - 1) as usize]);
                                expected += 1;
                            },
                            Read::CaughtUp => prop_assert_eq!(before, start + all.len() as u64 + 1),
                            Read::Behind { oldest: from } => {
                                prop_assert!(before < oldest);
                                cursor = from;
                                expected = from.next;
                            }
                        }
                        prop_assert_eq!(cursor.next, expected);
                    }
                }
                prop_assert!(ring.len() <= entries_max);
                prop_assert!(ring.bytes() <= bytes_max || ring.len() == 1);
                prop_assert_eq!(ring.bytes(), ring.iter().map(|entry| entry.1).sum::<usize>());
                prop_assert_eq!(ring.top().offset, start + all.len() as u64);
                for entry in ring.iter() {
                    prop_assert_eq!(ring.get(entry.0), Some(entry));
                }
            }
        }
    }
}
