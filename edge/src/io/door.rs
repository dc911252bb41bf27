//! The door: counts the connections of all shards, and lets in no more than the bounds allow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

    /// Lets a connection in, if there is room for one more of its `address`; `None` is a trusted
    /// proxy's, whose clients are counted when they have said who they are. [`Door::leave`] must
    /// follow.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> bool {
        let mut inside = self.lock();
        if inside.connections >= self.connections_max {
            return false;
        }
        if address.is_some_and(|address| !inside.count(address, self.per_address_max)) {
            return false;
        }
        inside.connections += 1;
        true
    }

    /// Counts the client behind a proxy, if there is room for one more of its address.
    pub(super) fn count(&self, address: IpAddr) -> bool {
        self.lock().count(address, self.per_address_max)
    }

    /// A connection that was let in is gone, with the address it was counted under.
    pub(super) fn leave(&self, address: Option<IpAddr>) {
        let mut inside = self.lock();
        inside.connections = inside.connections.saturating_sub(1);
        let Some(bucket) = address.map(address::bucket) else { return };
        if let Some(count) = inside.by_address.get_mut(&bucket) {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&bucket);
            }
        }
    }

    /// Connections inside, and distinct addresses among them.
    pub(super) fn counts(&self) -> (u32, u32) {
        let inside = self.lock();
        (inside.connections as u32, inside.by_address.len() as u32)
    }
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn count(&mut self, address: IpAddr, max: usize) -> bool {
        let count = self.by_address.entry(address::bucket(address)).or_default();
        let fits = *count < max;
        *count += usize::from(fits);
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_in_all_and_by_address() {
        let door = Door::new(3, 2);
        let (a, b) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
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

    #[test]
    fn clients_behind_a_proxy_count_as_themselves() {
        let door = Door::new(10, 1);
        let client = IpAddr::from([10, 0, 0, 1]);
        assert!(door.enter(None) && door.enter(None), "the proxy itself is not counted");
        assert!(door.count(client));
        assert!(!door.count(client));
        door.leave(Some(client));
        door.leave(None);
        assert_eq!(door.counts(), (0, 0));
    }
}
