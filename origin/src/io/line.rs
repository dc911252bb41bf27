//! Lines from edges: each session pulls channels, is told what changes, and asks.
//!
//! A session has one task that owns its pulls and writes live frames, so that a pull's cursor and
//! credit have one owner; one that reads the control stream; one that writes to it; and one that
//! answers uplink requests. They end together.
//!
//! Invariant: a message is sent to an edge at most once per pull, in order, and only after it is
//! durable.

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Endpoint, Incoming};
use shared::channel::ChannelName;
use shared::io::line::{self, Answered, FrameSender, LineError, Receiver, Sender};
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::limits::{PULLS_MAX, SNAPSHOT_ENTRIES_MAX};
use shared::message::{ClientInfo, Epoch};
use shared::ring::Cursor;
use shared::wire::control::{
    Command, Down, OnlineTotals, OpenPull, Pong, RoomCount, Up, Welcome, down, up,
};
use shared::wire::convert;
use shared::wire::frame::{Frame, message_head};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::channels::{Channel, Read, Watcher};
use super::origin::Origin;
use super::soft::CommandReader;
use crate::publish::Refusal;
use crate::pull::Pull;

/// Answers lines until the shutdown.
pub async fn serve(origin: Origin, nodes: Nodes, endpoint: Endpoint, shutdown: Shutdown) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            Some(incoming) = endpoint.accept() => {
                sessions.spawn(session(origin.clone(), nodes.clone(), incoming));
            }
            Some(ended) = sessions.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a line's session failed");
                }
            }
        }
    }
    endpoint.close(line::CLOSE_DONE, b"the origin ends");
    endpoint.wait_idle().await;
}

async fn session(origin: Origin, nodes: Nodes, incoming: Incoming) {
    let remote = incoming.remote_address();
    let answered = match line::answer(incoming).await {
        Ok(answered) => answered,
        Err(error) => {
            return tracing::info!(%remote, error = &error as &dyn Error, "a line was not opened");
        }
    };
    let edge = answered.peer.name.clone();
    tracing::info!(edge, %remote, "the line is up");
    let ended = serve_line(&origin, nodes, answered).await;
    tracing::info!(edge, %remote, error = &ended as &dyn Error, "the line ended");
}

async fn serve_line(origin: &Origin, nodes: Nodes, answered: Answered) -> LineError {
    let Answered { connection, hello, up, mut down, .. } = answered;
    let welcome = Welcome {
        node: nodes.name().name,
        namespaces: convert::namespaces_out(origin.namespaces()),
        version: env!("CARGO_PKG_VERSION").into(),
        session: origin.session(),
        ..Welcome::default()
    };
    if let Err(error) =
        down.send(&Down { kind: Some(down::Kind::Welcome(welcome)), number: 0 }).await
    {
        return error;
    }
    let live = match FrameSender::open(&connection).await {
        Ok(live) => live,
        Err(error) => return error,
    };
    let (to_edge, messages) = mpsc::channel(TO_EDGE_MAX);
    let (orders_out, orders) = mpsc::unbounded_channel();
    let edge: Arc<str> = hello.node.into();
    origin.edge_line_opened(&edge, hello.session);
    let _closed = Closed { origin, edge: &edge, session: hello.session };
    let commands = origin.commands(&edge);
    let commands_written = Arc::new(AtomicU64::new(commands.cursor()));
    let reader = ControlReader {
        origin: origin.clone(),
        edge: Arc::clone(&edge),
        session: hello.session,
        orders: orders_out,
        to_edge: to_edge.clone(),
        commands_written: Arc::clone(&commands_written),
        commands_noted: (Instant::now(), commands.cursor()),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(reader.run(up));
    tasks.spawn(write_control(down, messages, commands_written));
    tasks.spawn(pass_commands(commands, to_edge.clone()));
    tasks.spawn(Puller::new(origin.clone(), live, to_edge).run(orders));
    tasks.spawn(answer_requests(origin.clone(), Arc::clone(&edge), connection.clone()));
    tasks.spawn({
        let connection = connection.clone();
        async move { line::distrusted(&connection, &nodes).await }
    });
    let ended = tasks.join_next().await;
    connection.close(line::CLOSE_DONE, b"the session ends");
    match ended {
        Some(Ok(error)) => error,
        // A panic was logged where it happened.
        Some(Err(_)) | None => LineError::Protocol("a session's task failed"),
    }
}

/// However a session ends, the edge's line is closed.
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

/// What the control stream orders of the pulls' owner.
enum Order {
    Open { pull: u64, channel: Arc<Channel>, wish: Option<Cursor>, credit: u32 },
    Refuse { pull: u64, refusal: Refusal },
    Credit { pull: u64, messages: u32 },
    Close { pull: u64 },
}

struct ControlReader {
    origin: Origin,
    edge: Arc<str>,
    session: u64,
    orders: mpsc::UnboundedSender<Order>,
    to_edge: mpsc::Sender<down::Kind>,
    /// The number of the next command to be written to this line.
    commands_written: Arc<AtomicU64>,
    /// The same a while ago, and when.
    commands_noted: (Instant, u64),
}

impl ControlReader {
    async fn run(mut self, mut up: Receiver<Up>) -> LineError {
        loop {
            match up.receive().await {
                Ok(Some(Up { kind: Some(kind), .. })) => {
                    if let Err(error) = self.handle(kind).await {
                        return error;
                    }
                }
                Ok(Some(Up { kind: None, .. })) => {} // of a newer version
                Ok(None) => return LineError::Protocol("the control stream ended"),
                Err(error) => return error,
            }
        }
    }

    async fn handle(&mut self, kind: up::Kind) -> Result<(), LineError> {
        match kind {
            up::Kind::Open(open) => {
                for pull in open.pulls {
                    self.order(self.open(pull).await);
                }
            }
            up::Kind::Credit(credit) => {
                for grant in credit.grants {
                    self.order(Order::Credit { pull: grant.pull, messages: grant.messages });
                }
            }
            up::Kind::Close(close) => {
                for pull in close.pulls {
                    self.order(Order::Close { pull });
                }
            }
            up::Kind::Presence(update) => {
                self.origin.handle_presence(&self.edge, self.session, update);
            }
            up::Kind::Online(update) => {
                self.origin.handle_online(&self.edge, self.session, update);
            }
            up::Kind::Ping(ping) => {
                self.note_commands();
                // Waiting for the writer would let the edge take the line for dead, and wait itself.
                let pong = down::Kind::Pong(Pong { sent_us: ping.sent_us });
                if self.to_edge.try_send(pong).is_err() {
                    return Err(LineError::Protocol("too much waits for this line"));
                }
            }
            up::Kind::Hello(_) | up::Kind::Report(_) => {
                tracing::debug!(edge = &*self.edge, "a message that concerns no origin");
            }
        }
        Ok(())
    }

    /// The edge is heard from: what was written to it a while ago has arrived.
    fn note_commands(&mut self) {
        let (noted, cursor) = self.commands_noted;
        if noted.elapsed() >= DELIVERED_AFTER {
            self.origin.commands_delivered(&self.edge, self.session, cursor);
            let written = self.commands_written.load(Ordering::Relaxed);
            self.commands_noted = (Instant::now(), written);
        }
    }

    async fn open(&self, open: OpenPull) -> Order {
        let pull = open.pull;
        let channel = match ChannelName::parse(&open.channel) {
            Ok((name, _)) => self.origin.channel(&name).await,
            Err(error) => Err(error.into()),
        };
        match channel {
            Ok(channel) => {
                let wish = Epoch::new(open.epoch).map(|epoch| Cursor { epoch, next: open.next });
                Order::Open { pull, channel, wish, credit: open.credit }
            }
            Err(refusal) => {
                self.origin.metrics().refused_pull(&refusal);
                Order::Refuse { pull, refusal }
            }
        }
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order); // the owner's end is the session's
    }
}

async fn write_control(
    mut down: Sender<Down>,
    mut messages: mpsc::Receiver<down::Kind>,
    commands_written: Arc<AtomicU64>,
) -> LineError {
    while let Some(kind) = messages.recv().await {
        let commands = u64::from(matches!(kind, down::Kind::Command(_)));
        if let Err(error) = down.send(&Down { kind: Some(kind), number: 0 }).await {
            return error;
        }
        commands_written.fetch_add(commands, Ordering::Relaxed);
    }
    LineError::Protocol("nobody writes to the control stream any more")
}

/// Passes back ends' commands on. A session that cannot keep up ends, so that the edge notices.
async fn pass_commands(
    mut commands: CommandReader,
    to_edge: mpsc::Sender<down::Kind>,
) -> LineError {
    loop {
        let Ok(command) = commands.next().await else {
            return LineError::Protocol("too many commands wait for this line");
        };
        if to_edge.send(down::Kind::Command(Command::clone(&command))).await.is_err() {
            return LineError::Protocol("the session ends");
        }
    }
}

async fn answer_requests(origin: Origin, edge: Arc<str>, connection: Connection) -> LineError {
    let mut answers = JoinSet::new();
    loop {
        let (mut send, mut recv) = tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok(streams) => streams,
                Err(error) => return error.into(),
            },
            Some(ended) = answers.join_next(), if !answers.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an uplink request's task failed");
                }
                continue;
            }
        };
        let (origin, edge) = (origin.clone(), Arc::clone(&edge));
        answers.spawn(async move {
            let answered = async {
                let request = line::read_request(&mut recv).await?;
                let response = origin.answer(&edge, request).await;
                line::write_response(&mut send, &response).await
            };
            if let Err(error) = answered.await {
                tracing::debug!(error = &error as &dyn Error, "an uplink request got no answer");
            }
        });
    }
}

/// Owns a session's pulls and writes its live stream.
struct Puller {
    origin: Origin,
    live: FrameSender,
    to_edge: mpsc::Sender<down::Kind>,
    pulls: HashMap<u64, Pull<Arc<Channel>>>,
    /// The pull of each channel, for totals.
    names: HashMap<ChannelName, u64>,
    /// The version of the totals that the edge knows.
    totals: u64,
    /// Channels that it has just begun to pull.
    totals_due: Vec<ChannelName>,
    board: Arc<Board>,
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Puller {
    fn new(origin: Origin, live: FrameSender, to_edge: mpsc::Sender<down::Kind>) -> Self {
        Self {
            totals: 0,
            totals_due: Vec::new(),
            origin,
            live,
            to_edge,
            pulls: HashMap::new(),
            names: HashMap::new(),
            board: Arc::default(),
            pieces: Vec::new(),
            bytes: 0,
        }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> LineError {
        let mut totals_due = tokio::time::interval(TOTALS_EVERY);
        totals_due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = totals_due.tick() => self.tell_totals().await,
                order = orders.recv() => match order {
                    Some(order) => self.handle(order),
                    None => return LineError::Protocol("the control stream ended"),
                },
                () = self.board.changed.notified() => {}
            }
            while let Ok(order) = orders.try_recv() {
                self.handle(order);
            }
            self.tell_first_totals().await;
            if let Err(error) = self.write_due().await {
                return error;
            }
        }
    }

    fn handle(&mut self, order: Order) {
        match order {
            Order::Open { pull, channel, wish, credit } => {
                if self.pulls.len() >= PULLS_MAX {
                    return self.refuse(pull, 106, true, "too many pulls on one line");
                }
                // A number in use already: its old channel is to forget it first.
                self.handle(Order::Close { pull });
                channel.watch(self.watcher(), pull);
                self.names.insert(channel.name().clone(), pull);
                self.totals_due.push(channel.name().clone());
                let opened = Pull::new(pull, channel, wish, credit);
                self.pulls.insert(pull, opened);
                self.board.advanced(pull);
            }
            Order::Refuse { pull, refusal } => {
                self.refuse(pull, refusal.code(), refusal.temporary(), &refusal.to_string());
            }
            Order::Credit { pull, messages } => {
                if let Some(known) = self.pulls.get_mut(&pull) {
                    known.grant(messages);
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
    async fn tell_totals(&mut self) {
        let changed = self.origin.changed_totals(self.totals);
        self.totals = changed.version;
        let rooms = changed
            .rooms
            .into_iter()
            .filter(|(name, _)| self.names.contains_key(name))
            .map(|(name, count)| RoomCount { channel: name.as_str().to_owned(), count })
            .collect();
        self.send_totals(rooms).await;
    }

    /// Tells the edge how many are in the rooms that it has just begun to pull.
    async fn tell_first_totals(&mut self) {
        let names = std::mem::take(&mut self.totals_due);
        for names in names.chunks(SNAPSHOT_ENTRIES_MAX) {
            let rooms = self.origin.with_edges(|edges| {
                let count = |name: &ChannelName| RoomCount {
                    channel: name.as_str().to_owned(),
                    count: edges.online().room(name),
                };
                names.iter().map(count).collect()
            });
            self.send_totals(rooms).await;
        }
    }

    async fn send_totals(&self, rooms: Vec<RoomCount>) {
        for piece in rooms.chunks(SNAPSHOT_ENTRIES_MAX) {
            let totals = down::Kind::Totals(OnlineTotals { rooms: piece.to_vec() });
            let _ = self.to_edge.send(totals).await; // the writer's end is the session's
        }
    }

    fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::clone(&self.board) as Arc<dyn Watcher>
    }

    fn refuse(&mut self, pull: u64, code: u32, temporary: bool, reason: &str) {
        self.frame(&Frame::Refused { pull, code, temporary, reason: reason.to_owned() });
    }

    /// Writes everything that is due, pulls taking turns.
    async fn write_due(&mut self) -> Result<(), LineError> {
        loop {
            let Due { pulls: due, presence } = self.board.take();
            for PresenceNote { pull, joined, info } in presence {
                if self.pulls.get(&pull).is_some_and(|pull| pull.cursor().is_some()) {
                    let info = ClientInfo::clone(&info);
                    self.frame(&Frame::Presence { pull, joined, info });
                }
            }
            if due.is_empty() {
                return self.flush().await;
            }
            for pull in due {
                if self.write_pull(pull).await? {
                    self.board.advanced(pull);
                }
            }
        }
    }

    /// Writes one turn of a pull; whether it has more to write.
    async fn write_pull(&mut self, id: u64) -> Result<bool, LineError> {
        let Some(pull) = self.pulls.get_mut(&id) else { return Ok(false) };
        let channel = Arc::clone(&pull.source);
        let mut cursor = match pull.cursor() {
            Some(cursor) => cursor,
            None => {
                let frame = pull.open(channel.oldest(), channel.position());
                let Frame::Opened { epoch, next, .. } = frame else { return Ok(false) };
                self.frame(&frame);
                Cursor { epoch, next }
            }
        };
        let credit = self.pulls.get(&id).map_or(0, Pull::credit).min(TURN_MESSAGES);
        if credit == 0 {
            return Ok(false); // more credit is an order of its own
        }
        let read = match channel.read(&mut cursor, credit) {
            Read::Behind { .. } => self.origin.read_log(&channel, &mut cursor, credit).await,
            read => Ok(read),
        };
        match read {
            Ok(Read::Batch(batch)) => {
                for message in &batch {
                    let head = message_head(id, cursor.epoch, message);
                    self.bytes += head.len() + message.content.body.len();
                    self.pieces.push(head);
                    if !message.content.body.is_empty() {
                        self.pieces.push(message.content.body.clone());
                    }
                }
                if let Some(pull) = self.pulls.get_mut(&id) {
                    pull.sent(batch.len(), cursor);
                }
                if self.bytes >= WRITE_BYTES {
                    self.flush().await?;
                }
                Ok(true)
            }
            Ok(Read::CaughtUp) => Ok(false),
            Ok(Read::Behind { oldest }) => {
                if let Some(pull) = self.pulls.get_mut(&id) {
                    let frame = pull.skip(oldest, channel.position());
                    self.frame(&frame);
                }
                Ok(true)
            }
            Err(refusal) => {
                tracing::error!(channel = %channel.name(), %refusal, "a pull cannot be read");
                self.handle(Order::Close { pull: id });
                self.refuse(id, refusal.code(), refusal.temporary(), &refusal.to_string());
                Ok(false)
            }
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        self.bytes += out.len();
        self.pieces.push(out.freeze());
    }

    async fn flush(&mut self) -> Result<(), LineError> {
        self.bytes = 0;
        if self.pieces.is_empty() { Ok(()) } else { self.live.send(&mut self.pieces).await }
    }
}

/// However a session ends, its channels must forget it.
impl Drop for Puller {
    fn drop(&mut self) {
        for pull in self.pulls.values() {
            pull.source.unwatch(&self.watcher(), pull.id);
        }
    }
}

/// Where channels note which pulls have something to read.
#[derive(Default)]
struct Board {
    notes: Mutex<Notes>,
    changed: Notify,
}

#[derive(Default)]
struct Notes {
    due: Due,
    /// The pulls in `due`.
    noted: HashSet<u64>,
}

/// What there is to write.
#[derive(Default)]
struct Due {
    /// Pulls with something to read, in the order in which they became due.
    pulls: VecDeque<u64>,
    presence: Vec<PresenceNote>,
}

/// A client came to the channel of a pull, or left it.
struct PresenceNote {
    pull: u64,
    joined: bool,
    info: Arc<ClientInfo>,
}

impl Board {
    fn take(&self) -> Due {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.noted.clear();
        std::mem::take(&mut notes.due)
    }
}

impl Watcher for Board {
    fn advanced(&self, pull: u64) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.noted.insert(pull) {
            notes.due.pulls.push_back(pull);
            drop(notes);
            self.changed.notify_one();
        }
    }

    fn presence_changed(&self, pull: u64, joined: bool, info: &Arc<ClientInfo>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let presence = &mut notes.due.presence;
        if presence.len() < PRESENCE_NOTES_MAX {
            presence.push(PresenceNote { pull, joined, info: Arc::clone(info) });
            drop(notes);
            self.changed.notify_one();
        }
    }
}

/// Control messages that wait for a line; of the largest, 4 MiB each, only few are ever made.
const TO_EDGE_MAX: usize = 256;
/// A line that takes nothing for so long is given up by its edge, so what was written before has
/// arrived if the edge is still heard from.
const DELIVERED_AFTER: Duration = Duration::from_secs(2);
/// Messages of one pull before others get their turn.
const TURN_MESSAGES: usize = 256;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;
/// How often an edge is told the totals that changed.
const TOTALS_EVERY: Duration = Duration::from_secs(1);
/// Clients' comings and goings that wait for a line which takes nothing; more are not told.
const PRESENCE_NOTES_MAX: usize = 100_000;

#[cfg(test)]
mod tests;
