//! Small numbers for large keys, and never more of them than there may be.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The number of a key, as long as the key is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub(super) u32);

/// Keys by number; a number that became free is used again.
#[derive(Clone, Debug)]
pub(super) struct Index<K> {
    slots: HashMap<K, Slot>,
    free: Vec<Slot>,
    next: u32,
    max: usize,
}

impl<K: Eq + Hash + Clone> Index<K> {
    pub(super) fn new(max: usize) -> Self {
        Self { slots: HashMap::new(), free: Vec::new(), next: 0, max }
    }

    pub(super) fn get<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        self.slots.get(key).copied()
    }

    /// The key's number, a new one if need be; `None` when there are too many keys.
    pub(super) fn insert(&mut self, key: &K) -> Option<Slot> {
        if let Some(slot) = self.slots.get(key) {
            return Some(*slot);
        }
        if self.slots.len() >= self.max {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            Slot(self.next - 1)
        });
        self.slots.insert(key.clone(), slot);
        Some(slot)
    }

    /// Forgets the keys that `keep` does not want. Whoever uses their numbers has to forget too.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, Slot) -> bool) {
        let free = &mut self.free;
        self.slots.retain(|key, slot| {
            let kept = keep(key, *slot);
            if !kept {
                free.push(*slot);
            }
            kept
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, Slot)> {
        self.slots.iter().map(|(key, slot)| (key, *slot))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
