//! Presence: which clients are in which channels, over all edges.
//!
//! While an edge tells everything anew, the old picture stays, so that a line that was opened again
//! makes nobody leave and join; what the new picture did not confirm leaves at its end.
//!
//! Everything edges tell and everybody asks goes through one lock, so counts are kept and not made.
//!
//! Invariant: an entry has one owner, the edge its client is connected to; a channel without entries
//! is not in the map; a room's counts are those of its entries.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use shared::channel::ChannelName;
use shared::message::ClientInfo;
use shared::namespace::Namespaces;

/// A client came or left, in a channel whose namespace tells of that.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where.
    pub channel: ChannelName,
    /// Came, or left.
    pub joined: bool,
    /// Who.
    pub info: Arc<ClientInfo>,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections.
    pub clients: u32,
    /// Distinct users; all anonymous ones count as one.
    pub users: u32,
}

/// Who is where.
#[derive(Debug)]
pub struct Presence {
    namespaces: Arc<Namespaces>,
    channels: HashMap<ChannelName, Room>,
    edges: HashMap<String, Owned>,
}

/// The clients of a channel.
#[derive(Debug, Default)]
struct Room {
    clients: BTreeMap<String, Entry>,
    /// Entries of each user.
    users: HashMap<String, u32>,
    /// What all entries take in an answer, at most.
    bytes: usize,
}

impl Room {
    /// Puts an entry in; answers the one it replaces.
    fn insert(&mut self, entry: Entry) -> Option<Entry> {
        *self.users.entry(entry.info.user.clone()).or_default() += 1;
        self.bytes += weight(&entry.info);
        let before = self.clients.insert(entry.info.client.clone(), entry);
        if let Some(before) = &before {
            self.uncount(&before.info);
        }
        before
    }

    fn remove(&mut self, client: &str) -> Option<Entry> {
        let entry = self.clients.remove(client)?;
        self.uncount(&entry.info);
        Some(entry)
    }

    fn uncount(&mut self, info: &ClientInfo) {
        self.bytes -= weight(info);
        if let Some(count) = self.users.get_mut(&info.user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&info.user);
            }
        }
    }
}

/// What a client takes in an answer, at most: its fields, and the heads of these and of itself.
fn weight(info: &ClientInfo) -> usize {
    info.user.len() + info.client.len() + info.conn_info.len() + info.chan_info.len() + 5 * 5
}

#[derive(Debug)]
struct Entry {
    info: Arc<ClientInfo>,
    edge: String,
}

/// The entries of an edge, by channel and client.
#[derive(Debug, Default)]
struct Owned {
    all: HashSet<(ChannelName, String)>,
    /// Those that a snapshot under way has not confirmed yet.
    unconfirmed: HashSet<(ChannelName, String)>,
}

impl Presence {
    /// Nobody is anywhere.
    pub fn new(namespaces: Arc<Namespaces>) -> Self {
        Self { namespaces, channels: HashMap::new(), edges: HashMap::new() }
    }

    /// An edge begins to tell everything anew.
    pub fn begin_snapshot(&mut self, edge: &str) {
        let owned = self.edges.entry(edge.to_owned()).or_default();
        owned.unconfirmed.clone_from(&owned.all);
    }

    /// An edge has told everything: what it did not mention is gone.
    pub fn end_snapshot(&mut self, edge: &str, changes: &mut Vec<Change>) {
        let Some(owned) = self.edges.get_mut(edge) else {
            return;
        };
        for (channel, client) in std::mem::take(&mut owned.unconfirmed) {
            self.leave(edge, &channel, &client, changes);
        }
    }

    /// A client is in a channel.
    pub fn join(
        &mut self,
        edge: &str,
        channel: ChannelName,
        info: ClientInfo,
        changes: &mut Vec<Change>,
    ) {
        let Some(options) = self.namespaces.options(&channel).filter(|options| options.presence)
        else {
            return;
        };
        let client = info.client.clone();
        let owned = self.edges.entry(edge.to_owned()).or_default();
        owned.unconfirmed.remove(&(channel.clone(), client.clone()));
        owned.all.insert((channel.clone(), client.clone()));
        let entry = Entry { info: Arc::new(info), edge: edge.to_owned() };
        let change =
            Change { channel: channel.clone(), joined: true, info: Arc::clone(&entry.info) };
        let before = self.channels.entry(channel.clone()).or_default().insert(entry);
        match before {
            Some(before) if before.edge != edge => {
                if let Some(owned) = self.edges.get_mut(&before.edge) {
                    owned.all.remove(&(channel.clone(), client.clone()));
                    owned.unconfirmed.remove(&(channel, client));
                }
            }
            Some(_) => {}
            None if options.join_leave => changes.push(change),
            None => {}
        }
    }

    /// A client is no longer in a channel; nothing happens if it is not there by this edge.
    pub fn leave(
        &mut self,
        edge: &str,
        channel: &ChannelName,
        client: &str,
        changes: &mut Vec<Change>,
    ) {
        if let Some(owned) = self.edges.get_mut(edge) {
            let key = (channel.clone(), client.to_owned());
            owned.all.remove(&key);
            owned.unconfirmed.remove(&key);
        }
        let Some(room) = self.channels.get_mut(channel) else {
            return;
        };
        if room.clients.get(client).is_none_or(|entry| entry.edge != edge) {
            return;
        }
        let entry = room.remove(client);
        if room.clients.is_empty() {
            self.channels.remove(channel);
        }
        let told = self.namespaces.options(channel).is_some_and(|options| options.join_leave);
        if let Some(entry) = entry.filter(|_| told) {
            changes.push(Change { channel: channel.clone(), joined: false, info: entry.info });
        }
    }

    /// An edge and all its clients are gone.
    pub fn drop_edge(&mut self, edge: &str, changes: &mut Vec<Change>) {
        self.begin_snapshot(edge);
        self.end_snapshot(edge, changes);
        self.edges.remove(edge);
    }

    /// Everybody in a channel, by client id.
    pub fn of(&self, channel: &ChannelName) -> impl Iterator<Item = &Arc<ClientInfo>> {
        let rooms = self.channels.get(channel).into_iter();
        rooms.flat_map(|room| room.clients.values()).map(|entry| &entry.info)
    }

    /// How many are in a channel.
    pub fn stats(&self, channel: &ChannelName) -> Stats {
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        self.channels.get(channel).map_or(Stats::default(), |room| Stats {
            clients: count(room.clients.len()),
            users: count(room.users.len()),
        })
    }

    /// What everybody in a channel takes in an answer to an edge, at most.
    pub fn bytes(&self, channel: &ChannelName) -> usize {
        self.channels.get(channel).map_or(0, |room| room.bytes)
    }

    /// Distinct users in channels of an edge; all anonymous ones count as one.
    pub fn users_of(&self, edge: &str) -> u64 {
        let owned = self.edges.get(edge).into_iter().flat_map(|owned| &owned.all);
        let infos =
            owned.filter_map(|(channel, client)| self.channels.get(channel)?.clients.get(client));
        infos.map(|entry| entry.info.user.as_str()).collect::<HashSet<_>>().len() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::namespace::Options;

    use super::*;

    fn presence() -> Presence {
        let told = Options { join_leave: true, ..Options::default() };
        let hidden = Options { presence: false, ..Options::default() };
        Presence::new(Arc::new(Namespaces::new(
            [("told".to_owned(), told), ("hidden".to_owned(), hidden)].into(),
        )))
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap().0
    }

    fn client(user: &str, client: &str) -> ClientInfo {
        ClientInfo { user: user.into(), client: client.into(), ..ClientInfo::default() }
    }

    fn summary(changes: Vec<Change>) -> Vec<(bool, String)> {
        changes.into_iter().map(|change| (change.joined, change.info.client.clone())).collect()
    }

    #[test]
    fn a_snapshot_that_says_the_same_changes_nothing() {
        let mut presence = presence();
        let mut changes = Vec::new();
        presence.join("e", name("told:1"), client("u", "a"), &mut changes);
        presence.join("e", name("told:1"), client("u", "b"), &mut changes);
        presence.join("e", name("quiet"), client("", "c"), &mut changes);
        presence.join("e", name("hidden:1"), client("u", "d"), &mut changes);
        assert_eq!(summary(changes), [(true, "a".into()), (true, "b".into())]);
        assert_eq!(presence.stats(&name("told:1")), Stats { clients: 2, users: 1 });
        assert_eq!(presence.stats(&name("hidden:1")), Stats::default());
        assert_eq!(presence.users_of("e"), 2);

        let mut changes = Vec::new();
        presence.begin_snapshot("e");
        presence.join("e", name("told:1"), client("u", "b"), &mut changes);
        presence.end_snapshot("e", &mut changes);
        assert_eq!(summary(changes), [(false, "a".into())]);
        assert_eq!(presence.stats(&name("quiet")), Stats::default());
    }

    #[test]
    fn a_client_that_moved_is_not_taken_away_by_its_old_edge() {
        let mut presence = presence();
        let mut changes = Vec::new();
        presence.join("old", name("told:1"), client("u", "a"), &mut changes);
        presence.join("new", name("told:1"), client("u", "a"), &mut changes);
        presence.leave("old", &name("told:1"), "a", &mut changes);
        presence.drop_edge("old", &mut changes);
        assert_eq!(summary(changes), [(true, "a".into())]);
        let mut changes = Vec::new();
        presence.drop_edge("new", &mut changes);
        assert_eq!(summary(changes), [(false, "a".into())]);
    }

    proptest! {
        /// Against a plain map from (channel, client) to its owner.
        #[test]
        fn behaves_as_a_plain_map(
            steps in proptest::collection::vec(
                (0u8..4, 0u8..3, 0u8..3, 0u8..4, 0u8..3), 1..200)
        ) {
            let mut presence = presence();
            let mut model: BTreeMap<(ChannelName, String), (String, String)> = BTreeMap::new();
            let mut joined: HashSet<(ChannelName, String)> = HashSet::new();
            for (what, edge, channel, id, user) in steps {
                let user = "u".repeat(user.into());
                let (edge, channel) = (format!("e{edge}"), name(&format!("told:{channel}")));
                let id = format!("c{id}");
                let mut changes = Vec::new();
                match what {
                    0 | 1 => {
                        let info = client(&user, &id);
                        presence.join(&edge, channel.clone(), info, &mut changes);
                        model.insert((channel, id), (edge, user));
                    }
                    2 => {
                        presence.leave(&edge, &channel, &id, &mut changes);
                        if model.get(&(channel.clone(), id.clone())).map(|(owner, _)| owner) == Some(&edge)
                        {
                            model.remove(&(channel, id));
                        }
                    }
                    _ => {
                        presence.drop_edge(&edge, &mut changes);
                        model.retain(|_, (owner, _)| *owner != edge);
                    }
                }
                for change in changes {
                    let key = (change.channel, change.info.client.clone());
                    let is_news =
                        if change.joined { joined.insert(key) } else { joined.remove(&key) };
                    prop_assert!(is_news);
                }
                prop_assert_eq!(&joined, &model.keys().cloned().collect());
                for n in 0..3 {
                    let channel = name(&format!("told:{n}"));
                    let here = || model.iter().filter(|((at, _), _)| *at == channel);
                    let users: HashSet<&str> = here().map(|(_, (_, user))| user.as_str()).collect();
                    let stats = presence.stats(&channel);
                    prop_assert_eq!(stats.clients as usize, here().count());
                    prop_assert_eq!(stats.users as usize, users.len());
                    let bytes: usize = here().map(|((_, id), (_, user))| id.len() + user.len() + 25).sum();
                    prop_assert_eq!(presence.bytes(&channel), bytes);
                }
            }
        }
    }
}
