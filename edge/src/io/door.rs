//! The door: counts the connections of all shards, and lets in no more than the bounds allow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use shared::address;

/// Shared by all shards; touched when connections come and go, never on the hot path.
#[derive(Debug)]
pub(super) struct Door {
    connections_max: usize,
    per_address_max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    connections: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Door {
    /// An empty house.
    pub(super) fn new(connections_max: usize, per_address_max: usize) -> Self {
        Self { connections_max, per_address_max, inside: Mutex::default() }
    }

    /// Lets a connection of `peer` in, if there is room; [`Door::leave`] must follow.
    pub(super) fn enter(&self, peer: IpAddr) -> bool {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.connections >= self.connections_max {
            return false;
        }
        let count = inside.by_address.entry(address::bucket(peer)).or_default();
        if *count >= self.per_address_max {
            return false;
        }
        *count += 1;
        inside.connections += 1;
        true
    }

    /// A connection that was let in is gone.
    pub(super) fn leave(&self, peer: IpAddr) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.connections = inside.connections.saturating_sub(1);
        let bucket = address::bucket(peer);
        if let Some(count) = inside.by_address.get_mut(&bucket) {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&bucket);
            }
        }
    }

    /// Connections inside, and distinct addresses among them.
    pub(super) fn counts(&self) -> (u32, u32) {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        (inside.connections as u32, inside.by_address.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_in_all_and_by_address() {
        let door = Door::new(3, 2);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(door.enter(a) && door.enter(a));
        assert!(!door.enter(a), "two of one address");
        assert!(door.enter(b));
        assert!(!door.enter(b), "three in all");
        assert_eq!(door.counts(), (3, 2));
        door.leave(a);
        assert!(door.enter(b));
        door.leave(a);
        door.leave(b);
        door.leave(b);
        assert_eq!(door.counts(), (0, 0));
    }
}
