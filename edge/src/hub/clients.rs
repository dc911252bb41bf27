//! What the hub tells its origin of this edge's clients: who is where, and how many.

use prost::Message as _;
use shared::channel::ChannelName;
use shared::limits::{CONTROL_BYTES_MAX, SNAPSHOT_ENTRIES_MAX};
use shared::message::ClientInfo;
use shared::wire::control::{self, up};
use shared::wire::convert;

use super::{Channel, Hub, ShardId};

impl Hub {
    /// How many clients of a shard are in a room.
    pub fn handle_count(&mut self, shard: ShardId, name: &ChannelName, count: u32) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let before = channel.counts.insert(shard, count).unwrap_or(0);
        if before != count && is_counted(name, channel) {
            self.counted.insert(name.clone());
        }
    }

    /// How many connections there are, and distinct addresses among them.
    pub fn set_clients(&mut self, connections: u32, addresses: u32) {
        if self.clients != (connections, addresses) {
            self.clients = (connections, addresses);
            self.counted.insert(ChannelName::broadcast());
        }
    }

    /// A client came to or left a channel with presence.
    pub fn handle_presence(&mut self, name: &ChannelName, joined: bool, info: &ClientInfo) {
        if joined {
            let clients = self.presence.entry(name.clone()).or_default();
            clients.insert(info.client.clone(), info.clone());
        } else if let Some(clients) = self.presence.get_mut(name) {
            clients.remove(&info.client);
            if clients.is_empty() {
                self.presence.remove(name);
            }
        }
        if self.origin_up {
            self.presence_changes.push(presence_change(name, joined, info));
        }
    }

    pub(super) fn send_presence_snapshot(&mut self) {
        let everyone: Vec<_> = self
            .presence
            .iter()
            .flat_map(|(name, clients)| {
                clients.values().map(move |info| presence_change(name, true, info))
            })
            .collect();
        let mut pieces = pieces(everyone).into_iter();
        self.send_presence(pieces.next().unwrap_or_default(), true);
        for piece in pieces {
            self.send_presence(piece, false);
        }
    }

    pub(super) fn send_presence(&mut self, changes: Vec<control::PresenceChange>, snapshot: bool) {
        self.update_seq += 1;
        let seq = self.update_seq;
        self.update(up::Kind::Presence(control::PresenceUpdate { seq, snapshot, changes }));
    }

    pub(super) fn send_online(&mut self, snapshot: bool) {
        let changed = std::mem::take(&mut self.counted);
        let names: Vec<&ChannelName> = if snapshot {
            let counted = self.channels.iter().filter(|(name, channel)| is_counted(name, channel));
            counted.map(|(name, _)| name).collect()
        } else {
            changed.iter().collect()
        };
        let rooms: Vec<control::RoomCount> = names
            .into_iter()
            .map(|name| {
                let counts = self.channels.get(name).map(|channel| &channel.counts);
                let count = counts.map_or(0, |counts| counts.values().sum());
                control::RoomCount { channel: name.as_str().to_owned(), count }
            })
            .filter(|room| !snapshot || room.count > 0)
            .collect();
        let (connections, addresses) = self.clients;
        let mut pieces = rooms.chunks(SNAPSHOT_ENTRIES_MAX);
        let mut first = snapshot;
        let mut piece = pieces.next().unwrap_or_default();
        loop {
            self.update_seq += 1;
            self.update(up::Kind::Online(control::OnlineUpdate {
                seq: self.update_seq,
                snapshot: first,
                rooms: piece.to_vec(),
                connections,
                addresses,
            }));
            first = false;
            let Some(next) = pieces.next() else { break };
            piece = next;
        }
    }
}

/// Whether the origin is told how many are in a channel: rooms and the broadcast, not inboxes.
fn is_counted(name: &ChannelName, channel: &Channel) -> bool {
    !name.is_inbox() && (!name.is_reserved() || channel.kept_warm)
}

/// Cuts changes into pieces that fit a control message.
pub(super) fn pieces(changes: Vec<control::PresenceChange>) -> Vec<Vec<control::PresenceChange>> {
    let mut pieces: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for change in changes {
        let length = change.encoded_len();
        match pieces.last_mut() {
            Some(piece) if piece.len() < SNAPSHOT_ENTRIES_MAX && bytes + length <= PIECE_BYTES => {
                piece.push(change);
            }
            _ => {
                bytes = 0;
                pieces.push(vec![change]);
            }
        }
        bytes += length;
    }
    pieces
}

fn presence_change(name: &ChannelName, joined: bool, info: &ClientInfo) -> control::PresenceChange {
    control::PresenceChange {
        channel: name.as_str().to_owned(),
        joined,
        info: Some(convert::info_out(info)),
    }
}

/// Bytes of changes in one control message: with its entries' overhead well below what one carries.
const PIECE_BYTES: usize = CONTROL_BYTES_MAX / 2;
