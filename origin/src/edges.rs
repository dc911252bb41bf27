//! What edges tell of their clients: whose word counts, and for how long.
//!
//! An edge's process is a session; within it, updates of presence and online counts are numbered
//! together, so that one that arrives twice or late, by another line, changes nothing. An edge whose
//! lines are all away keeps its clients for a grace period, because they are most likely still
//! there.
//!
//! Invariant: at any time the last update applied of a session is known, and all before it that
//! ever will be applied have been.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::limits::SNAPSHOT_ENTRIES_MAX;
use shared::namespace::Namespaces;
use shared::wire::{control, convert};

use crate::online::{Everywhere, Online};
use crate::presence::{Change, Presence};

/// All edges and what they told.
#[derive(Debug)]
pub struct Edges {
    known: BTreeMap<String, Edge>,
    presence: Presence,
    online: Online,
    grace: Duration,
}

#[derive(Debug)]
struct Edge {
    session: u64,
    lines: usize,
    applied: u64,
    /// The first command that its process may not have; nothing before its first line.
    commands: Option<u64>,
    /// When its clients are given up, while no line is open.
    gone_at: Option<Instant>,
    /// When a snapshot of presence that may have come in pieces is taken for complete.
    presence_whole_at: Option<Instant>,
    /// The same for online counts.
    online_whole_at: Option<Instant>,
}

impl Edges {
    /// No edge has been heard of. Clients of an edge without lines are given up after `grace`.
    pub fn new(namespaces: Arc<Namespaces>, grace: Duration) -> Self {
        Self {
            known: BTreeMap::new(),
            presence: Presence::new(namespaces),
            online: Online::default(),
            grace,
        }
    }

    /// A line of an edge opened. A session other than before is another process, whose updates
    /// count from 1 again.
    pub fn handle_line_opened(&mut self, edge: &str, session: u64) {
        let known = self.known.entry(edge.to_owned()).or_insert(Edge {
            session,
            lines: 0,
            applied: 0,
            commands: None,
            gone_at: None,
            presence_whole_at: None,
            online_whole_at: None,
        });
        if known.session != session {
            known.session = session;
            known.lines = 0;
            known.applied = 0;
            known.commands = None;
        }
        known.lines += 1;
        known.gone_at = None;
    }

    /// The first command that a line of an edge is to be sent: the first that its process may have
    /// missed, or `end` where this is its first line.
    pub fn commands_from(&mut self, edge: &str, end: u64) -> u64 {
        self.known.get_mut(edge).map_or(end, |known| *known.commands.get_or_insert(end))
    }

    /// A session of an edge has all commands before this cursor.
    pub fn handle_commands_delivered(&mut self, edge: &str, session: u64, cursor: u64) {
        if let Some(known) = self.known.get_mut(edge).filter(|known| known.session == session) {
            known.commands = known.commands.max(Some(cursor));
        }
    }

    /// A line of an edge closed.
    pub fn handle_line_closed(&mut self, edge: &str, session: u64, now: Instant) {
        if let Some(known) = self.known.get_mut(edge).filter(|known| known.session == session) {
            known.lines = known.lines.saturating_sub(1);
            if known.lines == 0 {
                known.gone_at = Some(now + self.grace);
            }
        }
    }

    /// Applies who came and left; answers what is to be told of it.
    pub fn handle_presence(
        &mut self,
        edge: &str,
        session: u64,
        update: control::PresenceUpdate,
        now: Instant,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(known) = Self::admit(&mut self.known, edge, session, update.seq) else {
            return changes;
        };
        if update.snapshot {
            self.presence.begin_snapshot(edge);
            known.presence_whole_at = Some(now);
        }
        // Each piece gives the next one its time.
        known.presence_whole_at = known.presence_whole_at.map(|_| now + SNAPSHOT_PIECE_WITHIN);
        let is_whole = known.presence_whole_at.is_some() && is_last_piece(update.changes.len());
        for change in update.changes {
            let Ok((channel, _)) = ChannelName::parse(&change.channel) else {
                continue;
            };
            let info = convert::info_in(change.info.unwrap_or_default());
            if change.joined {
                self.presence.join(edge, channel, info, &mut changes);
            } else {
                self.presence.leave(edge, &channel, &info.client, &mut changes);
            }
        }
        if is_whole {
            known.presence_whole_at = None;
            self.presence.end_snapshot(edge, &mut changes);
        }
        changes
    }

    /// Applies how many are in which room.
    pub fn handle_online(
        &mut self,
        edge: &str,
        session: u64,
        update: control::OnlineUpdate,
        now: Instant,
    ) {
        let Some(known) = Self::admit(&mut self.known, edge, session, update.seq) else {
            return;
        };
        if update.snapshot {
            self.online.begin_snapshot(edge);
            known.online_whole_at = Some(now);
        }
        known.online_whole_at = known.online_whole_at.map(|_| now + SNAPSHOT_PIECE_WITHIN);
        let is_whole = known.online_whole_at.is_some() && is_last_piece(update.rooms.len());
        for room in update.rooms {
            if let Ok((name, _)) = ChannelName::parse(&room.channel) {
                self.online.count(edge, name, room.count, now);
            }
        }
        let everywhere = Everywhere {
            connections: update.connections.into(),
            addresses: update.addresses.into(),
        };
        self.online.count_everywhere(edge, everywhere);
        if is_whole {
            known.online_whole_at = None;
            self.online.end_snapshot(edge, now);
        }
    }

    /// Gives up what is due; answers what is to be told of it. To be called every second or so.
    pub fn handle_deadline(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.known.retain(|name, edge| {
            if is_due(edge.gone_at) {
                self.presence.drop_edge(name, &mut changes);
                self.online.drop_edge(name, now);
                return false;
            }
            if is_due(edge.presence_whole_at) {
                edge.presence_whole_at = None;
                self.presence.end_snapshot(name, &mut changes);
            }
            if is_due(edge.online_whole_at) {
                edge.online_whole_at = None;
                self.online.end_snapshot(name, now);
            }
            true
        });
        self.online.handle_deadline(now);
        changes
    }

    /// The last update applied of an edge; 0 for none.
    pub fn applied(&self, edge: &str) -> u64 {
        self.known.get(edge).map_or(0, |edge| edge.applied)
    }

    /// Who is where.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// How many are where.
    pub fn online(&self) -> &Online {
        &self.online
    }

    /// The edges known, by name, with the number of their open lines.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.known.iter().map(|(name, edge)| (name.as_str(), edge.lines))
    }

    /// The edge, if this update of its session is a new one.
    fn admit<'a>(
        known: &'a mut BTreeMap<String, Edge>,
        edge: &str,
        session: u64,
        seq: u64,
    ) -> Option<&'a mut Edge> {
        let known = known.get_mut(edge)?;
        if known.session != session || seq <= known.applied {
            return None;
        }
        known.applied = seq;
        Some(known)
    }
}

/// Whether a piece of a snapshot with so many entries can only be the last one.
fn is_last_piece(entries: usize) -> bool {
    entries < SNAPSHOT_ENTRIES_MAX
}

/// How long the next piece of a snapshot may take. It counts as well where the last one is full and
/// so does not show that it is the last.
const SNAPSHOT_PIECE_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use shared::namespace::Options;

    use super::*;
    use crate::presence::Stats;

    const GRACE: Duration = Duration::from_secs(10);

    #[allow(clippy::disallowed_methods, reason = "only differences to it count")]
    fn start() -> Instant {
        Instant::now()
    }

    fn edges() -> Edges {
        let told = Options { join_leave: true, ..Options::default() };
        Edges::new(Arc::new(Namespaces::new([("told".to_owned(), told)].into())), GRACE)
    }

    fn update(seq: u64, snapshot: bool, clients: &[(&str, bool)]) -> control::PresenceUpdate {
        let change = |(client, joined): &(&str, bool)| control::PresenceChange {
            channel: "told:1".into(),
            joined: *joined,
            info: Some(control::ClientInfo {
                client: (*client).to_owned(),
                ..control::ClientInfo::default()
            }),
        };
        control::PresenceUpdate { seq, snapshot, changes: clients.iter().map(change).collect() }
    }

    fn count(edges: &Edges) -> u32 {
        edges.presence().stats(&ChannelName::parse("told:1").unwrap().0).clients
    }

    #[test]
    fn updates_count_once_and_in_order() {
        let (mut edges, now) = (edges(), start());
        edges.handle_line_opened("e", 1);
        assert_eq!(edges.handle_presence("e", 1, update(1, true, &[("a", true)]), now).len(), 1);
        assert_eq!(edges.handle_presence("e", 1, update(2, false, &[("a", false)]), now).len(), 1);
        assert_eq!(edges.handle_presence("e", 1, update(1, true, &[("a", true)]), now), []);
        assert_eq!(edges.handle_presence("e", 9, update(3, true, &[("a", true)]), now), []);
        assert_eq!((count(&edges), edges.applied("e")), (0, 2));
    }

    #[test]
    fn a_new_line_in_time_makes_nobody_leave() {
        let (mut edges, now) = (edges(), start());
        edges.handle_line_opened("e", 1);
        edges.handle_presence("e", 1, update(1, true, &[("a", true), ("b", true)]), now);
        edges.handle_line_closed("e", 1, now);
        assert_eq!(edges.handle_deadline(now + GRACE / 2), []);
        edges.handle_line_opened("e", 1);
        assert_eq!(edges.handle_deadline(now + GRACE * 2), []);
        let changes = edges.handle_presence("e", 1, update(7, true, &[("b", true)]), now);
        assert_eq!((changes.len(), changes[0].joined, count(&edges)), (1, false, 1));
    }

    #[test]
    fn an_edge_that_stays_away_takes_its_clients_along() {
        let (mut edges, now) = (edges(), start());
        edges.handle_line_opened("e", 1);
        edges.handle_line_opened("e", 1);
        edges.handle_presence("e", 1, update(1, true, &[("a", true)]), now);
        let online = control::OnlineUpdate {
            seq: 2,
            snapshot: true,
            rooms: vec![control::RoomCount { channel: "told:1".into(), count: 1 }],
            connections: 1,
            addresses: 1,
        };
        edges.handle_online("e", 1, online, now);
        edges.handle_line_closed("e", 1, now);
        assert_eq!(edges.handle_deadline(now + GRACE), [], "one line is still open");
        edges.handle_line_closed("e", 1, now);
        assert_eq!(edges.online().total().connections, 1);
        assert_eq!(edges.handle_deadline(now + GRACE).len(), 1);
        assert_eq!((count(&edges), edges.online().total()), (0, Everywhere::default()));
    }

    #[test]
    fn another_process_of_an_edge_starts_afresh() {
        let (mut edges, now) = (edges(), start());
        edges.handle_line_opened("e", 1);
        edges.handle_presence("e", 1, update(5, true, &[("a", true)]), now);
        edges.handle_line_opened("e", 2);
        edges.handle_line_closed("e", 1, now);
        let changes = edges.handle_presence("e", 2, update(1, true, &[("b", true)]), now);
        assert_eq!(changes.len(), 2, "b came and a left");
        assert_eq!(edges.handle_deadline(now + GRACE * 2), []);
        let stats = edges.presence().stats(&ChannelName::parse("told:1").unwrap().0);
        assert_eq!(stats, Stats { clients: 1, users: 1 });
    }

    #[test]
    fn a_snapshot_in_full_pieces_ends_by_itself() {
        let (mut edges, now) = (edges(), start());
        edges.handle_line_opened("e", 1);
        edges.handle_presence("e", 1, update(1, true, &[("old", true)]), now);
        let names: Vec<String> = (0..SNAPSHOT_ENTRIES_MAX).map(|n| format!("c{n}")).collect();
        let full: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), true)).collect();
        edges.handle_presence("e", 1, update(2, true, &full), now);
        assert_eq!(count(&edges) as usize, SNAPSHOT_ENTRIES_MAX + 1);
        assert_eq!(edges.handle_deadline(now + SNAPSHOT_PIECE_WITHIN).len(), 1);
        assert_eq!(count(&edges) as usize, SNAPSHOT_ENTRIES_MAX);
    }

    #[test]
    fn a_snapshot_that_takes_long_makes_nobody_leave() {
        let (mut edges, now) = (edges(), start());
        let names: Vec<String> = (0..3 * SNAPSHOT_ENTRIES_MAX).map(|n| format!("c{n}")).collect();
        let all: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), true)).collect();
        let mut tell = |first_seq, start| {
            let mut left = 0;
            for (n, piece) in (0u32..).zip(all.chunks(SNAPSHOT_ENTRIES_MAX)) {
                let at = start + SNAPSHOT_PIECE_WITHIN * 3 / 4 * n;
                left += edges.handle_deadline(at).len();
                let seq = first_seq + u64::from(n);
                if seq == 1 {
                    edges.handle_line_opened("e", 1);
                }
                edges.handle_presence("e", 1, update(seq, n == 0, piece), at);
            }
            left
        };
        tell(1, now);
        assert_eq!(tell(10, now + SNAPSHOT_PIECE_WITHIN), 0);
    }

    #[test]
    fn a_known_process_hears_of_what_it_missed() {
        let mut edges = edges();
        edges.handle_line_opened("e", 1);
        assert_eq!(edges.commands_from("e", 7), 7, "its first line");
        edges.handle_commands_delivered("e", 1, 9);
        edges.handle_commands_delivered("e", 2, 20);
        edges.handle_line_closed("e", 1, start());
        edges.handle_line_opened("e", 1);
        assert_eq!(edges.commands_from("e", 30), 9);
        edges.handle_line_opened("e", 2);
        assert_eq!(edges.commands_from("e", 30), 30, "another process");
    }
}
