//! Online counts: how many clients are in each room, over all edges.
//!
//! Each edge tells its own counts; here they are summed, and whoever wants to know what changed asks
//! for what is newer than the version it has seen.
//!
//! Invariant: a room's total is the sum of what the edges said last.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use shared::channel::{ChannelName, Spelling};

/// Clients everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Everywhere {
    /// Open connections.
    pub connections: u64,
    /// Distinct addresses, counted at each edge.
    pub addresses: u64,
}

/// The totals that changed after some version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// What to ask with next time.
    pub version: u64,
    /// Each room that changed, with its total.
    pub rooms: Vec<(ChannelName, u32)>,
}

/// The counts of all edges.
#[derive(Debug, Default)]
pub struct Online {
    edges: HashMap<String, Edge>,
    totals: HashMap<ChannelName, Total>,
    /// Rooms by the version of their last change.
    changed: BTreeMap<u64, ChannelName>,
    version: u64,
    /// Rooms that became empty, to be forgotten once everybody has had time to hear of it.
    emptied: VecDeque<(Instant, ChannelName)>,
}

#[derive(Debug, Default)]
struct Edge {
    rooms: HashMap<ChannelName, u32>,
    unconfirmed: HashSet<ChannelName>,
    everywhere: Everywhere,
}

#[derive(Debug, Default)]
struct Total {
    count: u64,
    version: u64,
    emptied: Option<Instant>,
}

impl Online {
    /// An edge begins to tell everything anew.
    pub fn begin_snapshot(&mut self, edge: &str) {
        let edge = self.edges.entry(edge.to_owned()).or_default();
        edge.unconfirmed = edge.rooms.keys().cloned().collect();
    }

    /// An edge has told everything: rooms it did not mention are empty there.
    pub fn end_snapshot(&mut self, edge: &str, now: Instant) {
        let known = self.edges.get_mut(edge);
        let unconfirmed = known.map(|edge| std::mem::take(&mut edge.unconfirmed));
        for room in unconfirmed.into_iter().flatten() {
            self.count(edge, room, 0, now);
        }
    }

    /// So many clients of an edge are in a room.
    pub fn count(&mut self, edge: &str, room: ChannelName, count: u32, now: Instant) {
        let known = self.edges.entry(edge.to_owned()).or_default();
        known.unconfirmed.remove(&room);
        let before = if count == 0 {
            known.rooms.remove(&room)
        } else {
            known.rooms.insert(room.clone(), count)
        };
        let before = u64::from(before.unwrap_or(0));
        if before == u64::from(count) {
            return;
        }
        let total = self.totals.entry(room.clone()).or_default();
        total.count = total.count - before + u64::from(count);
        self.changed.remove(&total.version);
        self.version += 1;
        total.version = self.version;
        self.changed.insert(self.version, room.clone());
        total.emptied = (total.count == 0).then_some(now);
        if total.count == 0 {
            self.emptied.push_back((now, room));
        }
    }

    /// So many clients are connected to an edge.
    pub fn count_everywhere(&mut self, edge: &str, everywhere: Everywhere) {
        self.edges.entry(edge.to_owned()).or_default().everywhere = everywhere;
    }

    /// An edge and all its clients are gone.
    pub fn drop_edge(&mut self, edge: &str, now: Instant) {
        self.begin_snapshot(edge);
        self.end_snapshot(edge, now);
        self.edges.remove(edge);
    }

    /// Forgets rooms that have been empty for long.
    pub fn handle_deadline(&mut self, now: Instant) {
        while let Some((since, _)) = self.emptied.front()
            && *since + EMPTY_ROOMS_TOLD <= now
        {
            let Some((since, room)) = self.emptied.pop_front() else { break };
            if let Some(total) = self.totals.get(&room)
                && total.emptied == Some(since)
            {
                self.changed.remove(&total.version);
                self.totals.remove(&room);
            }
        }
    }

    /// Everything that changed after `version`; 0 asks for everything there is.
    pub fn changed_since(&self, version: u64) -> Changed {
        let rooms =
            self.changed.range(version + 1..).map(|(_, room)| (room.clone(), self.room(room)));
        Changed { version: self.version, rooms: rooms.collect() }
    }

    /// Clients in a room.
    pub fn room(&self, room: &ChannelName) -> u32 {
        self.totals.get(room).map_or(0, |total| u32::try_from(total.count).unwrap_or(u32::MAX))
    }

    /// The fullest rooms whose goim key (`kind://room`) begins with `kind`, fullest first.
    pub fn top(&self, kind: &str, limit: usize) -> Vec<(ChannelName, u32)> {
        let is_kind = |room: &ChannelName| {
            room.as_str().contains(':') && room.spelled(Spelling::Slashes).starts_with(kind)
        };
        let mut rooms: Vec<(ChannelName, u32)> = self
            .totals
            .iter()
            .filter(|(room, total)| total.count > 0 && is_kind(room))
            .map(|(room, _)| (room.clone(), self.room(room)))
            .collect();
        let order = |a: &(ChannelName, u32), b: &(ChannelName, u32)| {
            b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))
        };
        if limit < rooms.len() && limit > 0 {
            rooms.select_nth_unstable_by(limit - 1, order);
        }
        rooms.truncate(limit);
        rooms.sort_unstable_by(order);
        rooms
    }

    /// Every room that is not empty.
    pub fn rooms(&self) -> impl Iterator<Item = (&ChannelName, u32)> {
        let full = self.totals.iter().filter(|(_, total)| total.count > 0);
        full.map(|(room, _)| (room, self.room(room)))
    }

    /// Clients everywhere.
    pub fn total(&self) -> Everywhere {
        self.edges.values().fold(Everywhere::default(), |sum, edge| Everywhere {
            connections: sum.connections + edge.everywhere.connections,
            addresses: sum.addresses + edge.everywhere.addresses,
        })
    }

    /// What one edge has: its connections, the rooms with clients, and their counts' sum.
    pub fn of_edge(&self, edge: &str) -> (u64, usize, u64) {
        self.edges.get(edge).map_or((0, 0, 0), |edge| {
            let clients = edge.rooms.values().map(|count| u64::from(*count)).sum();
            (edge.everywhere.connections, edge.rooms.len(), clients)
        })
    }
}

/// How long it can be learnt that a room became empty.
const EMPTY_ROOMS_TOLD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "only differences to it count")]
    fn start() -> Instant {
        Instant::now()
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap().0
    }

    #[test]
    fn totals_and_the_fullest_rooms() {
        let mut online = Online::default();
        let now = start();
        online.count("a", name("live:1"), 5, now);
        online.count("b", name("live:1"), 7, now);
        online.count("b", name("live:2"), 20, now);
        online.count("b", name("game:1"), 3, now);
        online.count("b", name("news"), 99, now);
        let top = |kind, limit| {
            let rooms = online.top(kind, limit);
            rooms.into_iter().map(|(room, count)| (room.to_string(), count)).collect::<Vec<_>>()
        };
        assert_eq!(top("live", 9), [("live:2".into(), 20), ("live:1".into(), 12)]);
        assert_eq!(top("live", 1), [("live:2".into(), 20)]);
        assert_eq!(top("", 2), [("live:2".into(), 20), ("live:1".into(), 12)]);
        assert_eq!(top("nothing", 2), []);
        assert_eq!(top("live", 0), []);
    }

    proptest! {
        /// A reader that asks for changes now and then knows every total.
        #[test]
        fn readers_of_changes_know_the_totals(
            steps in proptest::collection::vec((0u8..8, 0u8..3, 0u8..4, 0u32..4), 1..200)
        ) {
            let mut online = Online::default();
            let mut model: BTreeMap<(String, ChannelName), u32> = BTreeMap::new();
            let mut seen: BTreeMap<ChannelName, u32> = BTreeMap::new();
            let mut version = 0;
            let mut now = start();
            for (what, edge, room, count) in steps {
                let (edge, room) = (format!("e{edge}"), name(&format!("live:{room}")));
                match what {
                    0..=3 => {
                        online.count(&edge, room.clone(), count, now);
                        model.insert((edge, room), count);
                    }
                    4 => {
                        online.drop_edge(&edge, now);
                        model.retain(|(owner, _), _| *owner != edge);
                    }
                    5 => {
                        online.begin_snapshot(&edge);
                        online.count(&edge, room.clone(), count, now);
                        online.end_snapshot(&edge, now);
                        model.retain(|(owner, _), _| *owner != edge);
                        model.insert((edge, room), count);
                    }
                    6 => {
                        // A reader asks more often than empty rooms are told of.
                        let changed = online.changed_since(version);
                        version = changed.version;
                        seen.extend(changed.rooms);
                        now += EMPTY_ROOMS_TOLD;
                        online.handle_deadline(now);
                    }
                    _ => {}
                }
            }
            seen.extend(online.changed_since(version).rooms);
            for n in 0..4 {
                let room = name(&format!("live:{n}"));
                let expected: u32 =
                    model.iter().filter(|((_, at), _)| *at == room).map(|(_, count)| count).sum();
                prop_assert_eq!(online.room(&room), expected);
                prop_assert_eq!(seen.get(&room).copied().unwrap_or(0), expected);
            }
        }
    }
}
