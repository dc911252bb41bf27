//! One edge's session: it pulls channels, is told what changes, and asks.
//!
//! One task owns the trunk's end and the pulls, so that cursor and credit of a pull have one owner.
//! Whatever may wait for the disk has a task of its own: opening channels, reading logs, requests.
//!
//! Invariant: a message is sent for the first time at most once per pull, in order, and only after it
//! is durable.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use shared::channel::ChannelName;
use shared::io::line::Answered;
use shared::io::tls::Nodes;
use shared::io::trunk::{AnsweringEnd, Requests, TrunkEnd};
use shared::limits::{PULLS_MAX, SNAPSHOT_ENTRIES_MAX};
use shared::line::{Asked, LineEnd, LineId};
use shared::message::{Epoch, Message};
use shared::pull::{Pull, Turns};
use shared::ring::Cursor;
use shared::wire::control::{
    self, Command, GoAway, OnlineTotals, OpenPull, PresenceNotes, Refused, RoomCount, Welcome,
    down, up,
};
use shared::wire::convert;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::board::{Board, Due};
use crate::io::channels::{Channel, Read, Watcher};
use crate::io::origin::Origin;
use crate::publish::Refusal;

/// What the edge orders of its pulls, in order.
enum Order {
    Open { pull: u64, channel: Arc<Channel>, wish: Option<Cursor>, credit: u32 },
    Refuse { pull: u64, refusal: Refusal },
    Credit { pull: u64, until: u64 },
    Close { pull: u64 },
}

/// A log was read for a pull.
struct Found {
    pull: u64,
    from: Cursor,
    /// The line that asked, where this is a repair.
    asked: Option<LineId>,
    read: Result<(Read, Cursor), Refusal>,
}

/// An edge's session.
pub(super) struct Session {
    origin: Origin,
    edge: Arc<str>,
    end: AnsweringEnd,
    welcome: Welcome,
    pulls: HashMap<u64, Pull<Arc<Channel>>>,
    /// The pull of each channel, for totals.
    names: HashMap<ChannelName, u64>,
    /// The version of the totals that the edge knows.
    totals: u64,
    /// Channels that it has just begun to pull.
    totals_due: Vec<ChannelName>,
    board: Arc<Board>,
    /// Pulls with something to write.
    due: Turns,
    /// Pulls that are behind and wait until fewer streams are under way.
    behind: Turns,
    /// Pulls whose log is being read.
    reading: HashSet<u64>,
    /// Logs that are being read for repairs.
    repairing: usize,
    reads: JoinSet<Found>,
    requests: Arc<Requests>,
    lines: JoinSet<()>,
}

impl Session {
    pub(super) fn new(origin: Origin, nodes: Nodes, edge: Arc<str>, addresses: &[LineEnd]) -> Self {
        let told = |end: &LineEnd| control::LineEnd {
            address: end.address.to_string(),
            carrier: end.carrier.clone(),
        };
        let welcome = Welcome {
            node: nodes.name().name,
            namespaces: convert::namespaces_out(origin.namespaces()),
            version: env!("CARGO_PKG_VERSION").into(),
            session: origin.session(),
            trunk: rand::random(),
            addresses: addresses.iter().map(told).collect(),
        };
        let (asked, asking) = (origin.clone(), Arc::clone(&edge));
        let requests = Requests::new(move |request| {
            let (origin, edge) = (asked.clone(), Arc::clone(&asking));
            async move { origin.answer(&edge, request).await }
        });
        Self {
            requests: Arc::new(requests),
            end: AnsweringEnd::new(nodes),
            origin,
            edge,
            welcome,
            pulls: HashMap::new(),
            names: HashMap::new(),
            totals: 0,
            totals_due: Vec::new(),
            board: Arc::default(),
            due: Turns::default(),
            behind: Turns::default(),
            reading: HashSet::new(),
            repairing: 0,
            reads: JoinSet::new(),
            lines: JoinSet::new(),
        }
    }

    /// Serves the edge until it is away for too long or another session takes its place.
    /// `leaving` tells where edges are to go, once they are.
    pub(super) async fn run(
        mut self,
        mut arrivals: mpsc::Receiver<Answered>,
        mut leaving: watch::Receiver<Option<LineEnd>>,
    ) {
        // The first line says whose session it is.
        let Some(first) = arrivals.recv().await else { return };
        let (edge, session) = (Arc::clone(&self.edge), first.hello.session);
        let origin = self.origin.clone();
        origin.edge_line_opened(&edge, session);
        let _closed = Closed { origin: &origin, edge: &edge, session };
        self.take(first);
        let mut commands = origin.commands(&edge);
        let mut commands_noted = commands.cursor();
        let (to_load, opens) = mpsc::unbounded_channel();
        let (loaded, mut orders) = mpsc::unbounded_channel();
        let mut loader = JoinSet::new();
        loader.spawn(load(origin.clone(), opens, loaded));
        let mut totals_due = tokio::time::interval(TOTALS_EVERY);
        totals_due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let board = Arc::clone(&self.board);
        loop {
            tokio::select! {
                ended = self.end.wait() => if let Err(ended) = ended {
                    break self.say_ended(ended);
                },
                line = arrivals.recv() => match line {
                    Some(line) => self.take(line),
                    None => {
                        tracing::warn!(edge = &*edge, "another process or generation of the edge");
                        break self.end.close_replaced();
                    }
                },
                Some(order) = orders.recv() => {
                    self.handle(order);
                    while let Ok(order) = orders.try_recv() {
                        self.handle(order);
                    }
                }
                Some(found) = self.reads.join_next() => match found {
                    Ok(found) => self.handle_found(found),
                    // Its pull would wait for ever.
                    Err(error) => break tracing::error!(%error, "reading a log failed badly"),
                },
                Some(ended) = loader.join_next() => {
                    break tracing::error!(?ended, "opening channels failed badly");
                }
                command = commands.next() => match command {
                    Ok(command) => {
                        self.end.send(down::Kind::Command(Command::clone(&command)));
                    }
                    // It cannot know what it has missed: it must come again.
                    Err(_) => break tracing::warn!(edge = &*edge, "too many commands wait"),
                },
                Ok(()) = leaving.changed() => if let Some(successor) = &*leaving.borrow() {
                    let reason = "this origin ends".to_owned();
                    let away = GoAway { address: successor.to_string(), reason };
                    self.end.tell_all(down::Kind::GoAway(away));
                },
                _ = totals_due.tick() => self.tell_totals(),
                () = board.changed.notified() => {}
                Some(ended) = self.lines.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "the requests of a line failed");
                },
            }
            while let Some(kind) = self.end.poll_control() {
                self.handle_control(kind, session, &to_load);
            }
            while let Some(asked) = self.end.poll_asked() {
                self.repair(asked);
            }
            if let Some(switch) = self.end.poll_switch() {
                let (from, to) = (switch.from.map(|line| line.0), switch.to.0);
                tracing::info!(edge = &*edge, ?from, to, why = ?switch.why, "another primary");
            }
            self.tell_first_totals();
            self.write_due();
            let cursor = commands.cursor();
            if cursor != commands_noted && self.end.answerer().trunk().unacknowledged() == 0 {
                commands_noted = cursor;
                origin.commands_delivered(&edge, session, cursor);
            }
        }
        self.end.close("the session ends");
    }

    fn say_ended(&self, ended: TrunkEnd) {
        tracing::warn!(edge = &*self.edge, error = &ended as &dyn Error, "the session ended");
    }

    fn take(&mut self, answered: Answered) {
        let requests = Arc::clone(&self.requests);
        self.lines.spawn(requests.serve(answered.connection.clone()));
        self.end.take(answered, self.welcome.clone());
    }

    fn handle_control(
        &mut self,
        kind: up::Kind,
        session: u64,
        to_load: &mpsc::UnboundedSender<up::Kind>,
    ) {
        match kind {
            up::Kind::Presence(update) => self.origin.handle_presence(&self.edge, session, update),
            up::Kind::Online(update) => self.origin.handle_online(&self.edge, session, update),
            // The loader's end is the session's.
            pulls @ (up::Kind::Open(_) | up::Kind::Credit(_) | up::Kind::Close(_)) => {
                let _ = to_load.send(pulls);
            }
            up::Kind::Hello(_) | up::Kind::Report(_) | up::Kind::Ping(_) => {
                tracing::debug!(edge = &*self.edge, "a message that concerns no origin");
            }
        }
    }

    fn handle(&mut self, order: Order) {
        match order {
            Order::Open { pull, channel, wish, credit } => {
                if self.pulls.len() >= PULLS_MAX {
                    return self.refuse(pull, 106, true, "too many pulls of one edge");
                }
                // A number in use already: its old channel is to forget it first.
                self.handle(Order::Close { pull });
                channel.watch(self.watcher(), pull);
                self.names.insert(channel.name().clone(), pull);
                self.totals_due.push(channel.name().clone());
                self.pulls.insert(pull, Pull::new(pull, channel, wish, credit));
                self.board.advanced(pull);
            }
            Order::Refuse { pull, refusal } => {
                self.origin.metrics().refused_pull(&refusal);
                self.refuse(pull, refusal.code(), refusal.temporary(), &refusal.to_string());
            }
            Order::Credit { pull, until } => {
                if let Some(known) = self.pulls.get_mut(&pull) {
                    known.grant(until);
                    self.board.advanced(pull);
                }
            }
            Order::Close { pull } => {
                if let Some(closed) = self.pulls.remove(&pull) {
                    closed.source.unwatch(&self.watcher(), pull);
                    if self.names.get(closed.source.name()) == Some(&pull) {
                        self.names.remove(closed.source.name());
                    }
                }
            }
        }
    }

    /// Tells the edge the totals that changed of rooms it pulls.
    fn tell_totals(&mut self) {
        let changed = self.origin.changed_totals(self.totals);
        self.totals = changed.version;
        let rooms: Vec<RoomCount> = changed
            .rooms
            .into_iter()
            .filter(|(name, _)| self.names.contains_key(name))
            .map(|(name, count)| RoomCount { channel: name.as_str().to_owned(), count })
            .collect();
        self.send_totals(&rooms);
    }

    /// Tells the edge how many are in the rooms that it has just begun to pull.
    fn tell_first_totals(&mut self) {
        let names = std::mem::take(&mut self.totals_due);
        for names in names.chunks(SNAPSHOT_ENTRIES_MAX) {
            let rooms: Vec<RoomCount> = self.origin.with_edges(|edges| {
                let count = |name: &ChannelName| RoomCount {
                    channel: name.as_str().to_owned(),
                    count: edges.online().room(name),
                };
                names.iter().map(count).collect()
            });
            self.send_totals(&rooms);
        }
    }

    fn send_totals(&mut self, rooms: &[RoomCount]) {
        for piece in rooms.chunks(SNAPSHOT_ENTRIES_MAX) {
            self.end.send(down::Kind::Totals(OnlineTotals { rooms: piece.to_vec() }));
        }
    }

    fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::clone(&self.board) as Arc<dyn Watcher>
    }

    fn refuse(&mut self, pull: u64, code: u32, temporary: bool, reason: &str) {
        let reason = reason.to_owned();
        self.end.send(down::Kind::Refused(Refused { pull, code, temporary, reason }));
    }

    /// Writes everything that is due, pulls taking turns.
    fn write_due(&mut self) {
        let Due { pulls, presence } = self.board.take();
        let notes: Vec<control::PresenceNote> = presence
            .into_iter()
            .filter(|note| self.pulls.get(&note.pull).is_some_and(|pull| pull.cursor().is_some()))
            .map(|note| control::PresenceNote {
                pull: note.pull,
                joined: note.joined,
                info: Some(convert::info_out(&note.info)),
            })
            .collect();
        for piece in notes.chunks(SNAPSHOT_ENTRIES_MAX) {
            self.end.send(down::Kind::Presence(PresenceNotes { notes: piece.to_vec() }));
        }
        pulls.into_iter().for_each(|pull| self.due.push(pull));
        for under_way in self.reading.len().. {
            if self.behind.is_empty() || !self.end.has_streams(under_way) {
                break;
            }
            self.behind.pop().into_iter().for_each(|pull| self.due.push(pull));
        }
        for _ in 0..TURNS {
            if !self.end.is_ready() {
                break; // whatever comes, it is asked again
            }
            let Some(pull) = self.due.pop() else { break };
            if self.write_pull(pull) {
                self.due.push(pull);
            }
        }
        if !self.due.is_empty() && self.end.is_ready() {
            // Beats and what arrives get their turn.
            self.board.changed.notify_one();
        }
        self.end.flush();
    }

    /// Writes one turn of a pull; whether it has more to write.
    fn write_pull(&mut self, id: u64) -> bool {
        if self.reading.contains(&id) {
            return false; // it goes on when that is read
        }
        let Some(pull) = self.pulls.get_mut(&id) else { return false };
        let channel = Arc::clone(&pull.source);
        let top = channel.position();
        let mut cursor = match pull.cursor() {
            Some(cursor) => cursor,
            None => {
                let opened = pull.open(channel.oldest(), top);
                self.end.send(down::Kind::Opened(opened));
                let Some(cursor) = pull.cursor() else { return false };
                cursor
            }
        };
        let credit = pull.credit().min(TURN_MESSAGES);
        if credit == 0 {
            return false; // more credit is an order of its own
        }
        let behind = (top.offset + 1).saturating_sub(cursor.next);
        let has_streams = self.end.has_streams(self.reading.len());
        if behind > LIVE_MESSAGES && !has_streams {
            self.behind.push(id);
            return false;
        }
        let from = cursor;
        match channel.read(&mut cursor, credit) {
            Read::Batch(batch) => {
                self.send_batch(id, from, cursor, &batch);
                return true;
            }
            Read::CaughtUp => {}
            Read::Behind { .. } if has_streams => self.read_log(id, from, credit, None),
            Read::Behind { .. } => self.behind.push(id),
        }
        false
    }

    /// Sends messages for the first time: live ones by datagrams, many at once by a stream.
    fn send_batch(&mut self, id: u64, from: Cursor, to: Cursor, batch: &[Arc<Message>]) {
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        pull.sent(to);
        let top = pull.source.position().offset;
        if (top + 1).saturating_sub(from.next) > LIVE_MESSAGES {
            self.end.catch_up(id, from.epoch, batch.iter().map(AsRef::as_ref));
        } else {
            for message in batch {
                self.end.publish(id, from.epoch, message);
            }
        }
    }

    fn read_log(&mut self, pull: u64, from: Cursor, limit: usize, asked: Option<LineId>) {
        let Some(known) = self.pulls.get(&pull) else { return };
        match asked {
            None => drop(self.reading.insert(pull)),
            Some(_) if self.repairing >= REPAIRS_MAX => return, // it is asked for again
            Some(_) => self.repairing += 1,
        }
        let (origin, channel) = (self.origin.clone(), Arc::clone(&known.source));
        self.reads.spawn(async move {
            let mut cursor = from;
            let read = origin.read_log(&channel, &mut cursor, limit).await;
            Found { pull, from, asked, read: read.map(|read| (read, cursor)) }
        });
    }

    fn handle_found(&mut self, Found { pull: id, from, asked, read }: Found) {
        match asked {
            None => drop(self.reading.remove(&id)),
            Some(_) => self.repairing -= 1,
        }
        // Without a line that takes it, it is read again when there is one.
        let is_ready = asked.is_some() || self.end.is_ready();
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        // A number that was closed and used again meanwhile has another place.
        if asked.is_none() && (!is_ready || pull.cursor() != Some(from)) {
            return self.due.push(id);
        }
        let top = pull.source.position();
        match (read, asked) {
            (Ok((Read::Batch(batch), _)), Some(line)) => {
                for message in &batch {
                    self.end.repair(line, id, from.epoch, message);
                }
            }
            (Ok((Read::Batch(batch), to)), None) => {
                self.send_batch(id, from, to, &batch);
                self.due.push(id);
            }
            (Ok((Read::CaughtUp, _)), _) => {}
            (Ok((Read::Behind { oldest }, _)), Some(_)) => self.tell_gone(id, oldest, top.offset),
            (Ok((Read::Behind { oldest }, _)), None) => {
                let opened = pull.skip(oldest, top);
                self.end.send(down::Kind::Opened(opened));
                self.due.push(id);
            }
            (Err(refusal), _) => {
                let channel = pull.source.name();
                tracing::error!(%channel, %refusal, "a pull cannot be read");
                self.handle(Order::Close { pull: id });
                self.refuse(id, refusal.code(), refusal.temporary(), &refusal.to_string());
            }
        }
    }

    /// Tells the edge that what it asks for is gone.
    fn tell_gone(&mut self, pull: u64, oldest: Cursor, top: u64) {
        let Cursor { epoch, next } = oldest;
        let opened = control::Opened { pull, epoch: epoch.number(), next, top };
        self.end.send(down::Kind::Opened(opened));
    }

    /// Sends again what the edge misses, from memory or from the log.
    fn repair(&mut self, Asked { line, pull: id, offsets }: Asked) {
        let Some(pull) = self.pulls.get(&id) else { return };
        let Some(cursor) = pull.cursor() else { return };
        let channel = Arc::clone(&pull.source);
        let epoch: Epoch = cursor.epoch;
        // What was never sent is not missing.
        let mut offsets = offsets.into_iter().filter(|offset| *offset < cursor.next).peekable();
        while let Some(first) = offsets.next() {
            let mut count = 1;
            while offsets.next_if(|next| *next == first + count as u64).is_some() {
                count += 1;
            }
            let from = Cursor { epoch, next: first };
            match channel.read(&mut from.clone(), count) {
                Read::Batch(batch) => {
                    for message in &batch {
                        self.end.repair(line, id, epoch, message);
                    }
                }
                Read::CaughtUp => {}
                Read::Behind { .. } => self.read_log(id, from, count, Some(line)),
            }
        }
        self.end.flush();
    }
}

/// However a session ends, its channels must forget it.
impl Drop for Session {
    fn drop(&mut self) {
        for pull in self.pulls.values() {
            pull.source.unwatch(&self.watcher(), pull.id);
        }
    }
}

/// However a session ends, the edge has no line any more.
struct Closed<'a> {
    origin: &'a Origin,
    edge: &'a str,
    session: u64,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.origin.edge_line_closed(self.edge, self.session);
    }
}

/// Opens channels, which may take the disk's time, and passes the orders on as they came.
async fn load(
    origin: Origin,
    mut kinds: mpsc::UnboundedReceiver<up::Kind>,
    orders: mpsc::UnboundedSender<Order>,
) {
    while let Some(kind) = kinds.recv().await {
        match kind {
            up::Kind::Open(open) => {
                for pull in open.pulls {
                    let order = open_pull(&origin, pull).await;
                    let _ = orders.send(order);
                }
            }
            up::Kind::Credit(credit) => {
                for control::Credit { pull, until } in credit.grants {
                    let _ = orders.send(Order::Credit { pull, until });
                }
            }
            up::Kind::Close(close) => {
                for pull in close.pulls {
                    let _ = orders.send(Order::Close { pull });
                }
            }
            _ => {}
        }
    }
}

async fn open_pull(origin: &Origin, open: OpenPull) -> Order {
    let pull = open.pull;
    let channel = match ChannelName::parse(&open.channel) {
        Ok((name, _)) => origin.channel(&name).await,
        Err(error) => Err(error.into()),
    };
    match channel {
        Ok(channel) => {
            let wish = Epoch::new(open.epoch).map(|epoch| Cursor { epoch, next: open.next });
            Order::Open { pull, channel, wish, credit: open.credit }
        }
        Err(refusal) => Order::Refuse { pull, refusal },
    }
}

/// Messages of one pull before others get their turn.
const TURN_MESSAGES: usize = 256;
/// Turns of pulls before beats and what arrives get theirs.
const TURNS: usize = 64;
/// A pull that is further behind catches up on a stream.
const LIVE_MESSAGES: u64 = 64;
/// Logs that are read at once for repairs; those of pulls that are behind count as streams.
const REPAIRS_MAX: usize = 32;
/// How often an edge is told the totals that changed.
const TOTALS_EVERY: Duration = Duration::from_secs(1);
