//! The edge's side of its lines: carries out what the pool and the hub decide.
//!
//! One task owns both machines and takes everything that happens in one place; the tasks beside it
//! only move bytes: one opens a line, one reads its frames, one its control stream, one writes to it.
//!
//! Invariant: what belongs to a line that was replaced or abandoned is dropped by its attempt number,
//! so a late event never touches the line that took its place.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint};
use shared::channel::ChannelName;
use shared::io::line::{self, Call, FrameReceiver, LineError, Receiver, Sender};
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::line::{Action as LineAction, LineId, Pool};
use shared::message::{Message, Position};
use shared::namespace::Namespaces;
use shared::wire::control::{
    Command, Down, Hello, History, HistoryResult, Ping, Request, Response, Up, down, request,
    response, up,
};
use shared::wire::frame::Frame;
use shared::wire::{PROTOCOL_VERSION, convert};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::door::Door;
use crate::hub::{Action as HubAction, Hub, Notice, ShardId};
use crate::room::ConnectionId;
use crate::session::{Answer, AskId};
use crate::shard::ToHub;

/// What a shard is told.
#[derive(Debug)]
pub(super) enum ToShard {
    /// Of a channel.
    Notice(Notice),
    /// The answer to a request of a session.
    Response(ConnectionId, AskId, Answer),
    /// Older messages of a channel, or `None` if they cannot be had now.
    Older(ChannelName, Position, Option<Vec<Arc<Message>>>),
    /// What a back end wants done to connections.
    Command(Arc<Command>),
    /// A connection of another shard logged in with the key that this one had.
    KeyTaken(String, ConnectionId),
}

/// What this edge is and whom it calls.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    /// The name in our certificate.
    pub(super) node: String,
    /// The upstream's address.
    pub(super) remote: SocketAddr,
    /// How long a pull stays open after its last reader left.
    pub(super) linger: Duration,
    /// Channels pulled at once.
    pub(super) channels_max: usize,
    /// How long an uplink request may take.
    pub(super) request_timeout: Duration,
}

/// What others may look at: numbers for metrics, reports and readiness.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// A line is up.
    pub(super) line_up: AtomicBool,
    /// Lines that were opened so far.
    pub(super) lines_opened: AtomicU64,
    /// Smoothed round-trip time of the line, microseconds; 0 is unknown.
    pub(super) rtt_us: AtomicU64,
    /// Channels pulled.
    pub(super) channels: AtomicU32,
    /// Messages taken from the line.
    pub(super) messages: AtomicU64,
    /// Messages that had come before.
    pub(super) duplicates: AtomicU64,
    /// Gaps told to clients.
    pub(super) gaps: AtomicU64,
    /// Uplink requests that failed.
    pub(super) requests_failed: AtomicU64,
}

enum LineEvent {
    Opened(Box<Call>),
    Frames(Vec<Frame>),
    Down(down::Kind),
    Closed(LineError),
}

struct Attempt {
    line: LineId,
    number: u64,
    event: LineEvent,
}

/// The line in use.
struct Current {
    line: LineId,
    number: u64,
    connection: Connection,
    control: mpsc::Sender<up::Kind>,
    /// Datagrams that had arrived when it was last looked at.
    datagrams: u64,
    /// Its tasks end with it.
    _tasks: JoinSet<()>,
}

/// Who publishes.
type Publisher = (ShardId, ConnectionId);

/// The owner of hub and pool.
pub(super) struct Uplink {
    upstream: Upstream,
    endpoint: Endpoint,
    nodes: Nodes,
    session: u64,
    pool: Pool,
    hub: Hub,
    current: Option<Current>,
    /// The upstream's process, and the last command of it that was carried out.
    commander: u64,
    commanded: u64,
    /// The attempt under way.
    opening: Option<u64>,
    /// Who logged in last with each key.
    keys: HashMap<String, (ShardId, ConnectionId)>,
    /// Places for requests under way: those with large answers, and all others.
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    attempts: JoinSet<()>,
    attempt_next: u64,
    /// Requests under way; a publish says whose it was.
    requests: JoinSet<Option<Publisher>>,
    /// Publishes that wait for the one before them of the same connection. A connection with one
    /// under way has an entry, most often an empty one.
    publishing: HashMap<Publisher, VecDeque<(AskId, request::Kind)>>,
    shards: Vec<mpsc::Sender<ToShard>>,
    namespaces: watch::Sender<Option<Arc<Namespaces>>>,
    gauges: Arc<Gauges>,
    door: Arc<Door>,
    events: mpsc::Sender<Attempt>,
    events_in: mpsc::Receiver<Attempt>,
    started: Instant,
}

impl Uplink {
    /// An uplink that has not called anybody yet. `namespaces` is told what the upstream says.
    pub(super) fn new(
        upstream: Upstream,
        (endpoint, nodes): (Endpoint, Nodes),
        shards: Vec<mpsc::Sender<ToShard>>,
        namespaces: watch::Sender<Option<Arc<Namespaces>>>,
        gauges: Arc<Gauges>,
        door: Arc<Door>,
    ) -> Self {
        let now = Instant::now();
        let seed: u64 = rand::random();
        let (events, events_in) = mpsc::channel(EVENTS_MAX);
        Self {
            pool: Pool::new([upstream.remote], seed, now),
            hub: Hub::new(upstream.linger, upstream.channels_max, now),
            upstream,
            endpoint,
            nodes,
            session: seed,
            current: None,
            commander: 0,
            commanded: 0,
            opening: None,
            keys: HashMap::new(),
            large: Arc::new(Semaphore::new(LARGE_MAX)),
            small: Arc::new(Semaphore::new(SMALL_MAX)),
            attempts: JoinSet::new(),
            attempt_next: 0,
            requests: JoinSet::new(),
            publishing: HashMap::new(),
            shards,
            namespaces,
            gauges,
            door,
            events,
            events_in,
            started: now,
        }
    }

    /// Serves the shards until the shutdown.
    pub(super) async fn run(
        mut self,
        mut from_shards: mpsc::UnboundedReceiver<(ShardId, ToHub)>,
        shutdown: Shutdown,
    ) {
        let mut batch = Vec::new();
        loop {
            self.act().await;
            let deadline = self.pool.next_deadline();
            let deadline =
                deadline.map_or(self.hub.next_deadline(), |at| at.min(self.hub.next_deadline()));
            tokio::select! {
                () = shutdown.triggered() => break,
                Some(attempt) = self.events_in.recv() => self.handle_line(attempt).await,
                count = from_shards.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break; // all shards are gone
                    }
                    for (shard, message) in batch.drain(..) {
                        self.handle_shard(shard, message).await;
                    }
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    let (connections, addresses) = self.door.counts();
                    self.hub.set_clients(connections, addresses);
                    self.listen(now);
                    self.pool.handle_deadline(now);
                    self.hub.handle_deadline(now);
                }
                Some(_) = self.attempts.join_next() => {}
                Some(ended) = self.requests.join_next() => self.handle_request_ended(ended),
            }
        }
        if let Some(current) = self.current.take() {
            current.connection.close(line::CLOSE_DONE, b"the edge ends");
        }
        self.endpoint.wait_idle().await;
    }

    /// Whatever arrives on a line is a sign of life, also the pieces of an answer under way.
    fn listen(&mut self, now: Instant) {
        let Some(current) = &mut self.current else { return };
        let datagrams = current.connection.stats().udp_rx.datagrams;
        if std::mem::replace(&mut current.datagrams, datagrams) != datagrams {
            self.pool.handle_heard(current.line, now);
        }
    }

    async fn act(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                LineAction::Open { line, remote } => self.open(line, remote),
                LineAction::Ping(line) => {
                    if let Some(current) = self.current.as_ref().filter(|c| c.line == line) {
                        let sent_us = self.started.elapsed().as_micros() as u64;
                        // Where the queue is full, whatever it holds is a sign of life as well.
                        let _ = current.control.try_send(up::Kind::Ping(Ping { sent_us }));
                    }
                }
                LineAction::Abandon(line) => {
                    tracing::warn!(line = line.0, "the line is silent: abandoning it");
                    self.drop_line(line);
                }
            }
        }
        while let Some(action) = self.hub.poll_action() {
            match action {
                HubAction::Up(kind) => self.send_up(*kind),
                HubAction::Tell(shard, notice) => self.tell(shard, ToShard::Notice(notice)).await,
            }
        }
        let counts = self.hub.counts();
        let gauges = &self.gauges;
        gauges.line_up.store(self.hub.is_line_up(), Ordering::Relaxed);
        gauges.channels.store(self.hub.channels() as u32, Ordering::Relaxed);
        gauges.messages.store(counts.messages, Ordering::Relaxed);
        gauges.duplicates.store(counts.duplicates, Ordering::Relaxed);
        gauges.gaps.store(counts.gaps, Ordering::Relaxed);
    }

    /// Sends on the control stream. A line that takes nothing for so long is given up.
    fn send_up(&mut self, kind: up::Kind) {
        let Some(current) = &self.current else { return };
        if current.control.try_send(kind).is_err() {
            let line = current.line;
            tracing::warn!(
                line = line.0,
                "the control stream does not keep up: giving the line up"
            );
            self.drop_line(line);
            self.pool.handle_closed(line, Instant::now());
        }
    }

    /// Tells a shard, waiting while its queue is full: the line's credit then holds the upstream.
    async fn tell(&self, shard: ShardId, message: ToShard) {
        if let Some(shard) = self.shards.get(usize::from(shard.0)) {
            let _ = shard.send(message).await;
        }
    }

    fn open(&mut self, line: LineId, remote: SocketAddr) {
        self.attempt_next += 1;
        let number = self.attempt_next;
        self.opening = Some(number);
        let (endpoint, events) = (self.endpoint.clone(), self.events.clone());
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            node: self.upstream.node.clone(),
            session: self.session,
            ..Hello::default()
        };
        self.attempts.spawn(async move {
            let event = match line::call(&endpoint, remote, hello).await {
                Ok(call) => LineEvent::Opened(Box::new(call)),
                Err(error) => LineEvent::Closed(error),
            };
            let _ = events.send(Attempt { line, number, event }).await;
        });
    }

    async fn handle_line(&mut self, Attempt { line, number, event }: Attempt) {
        let now = Instant::now();
        let is_current = self.current.as_ref().is_some_and(|c| c.number == number);
        let is_opening = self.opening == Some(number);
        match event {
            LineEvent::Opened(call) if is_opening => self.take_line(line, number, *call, now),
            LineEvent::Closed(error) if is_opening => {
                tracing::info!(line = line.0, error = &error as &dyn Error, "no line was opened");
                self.opening = None;
                self.pool.handle_closed(line, now);
            }
            LineEvent::Frames(frames) if is_current => {
                self.pool.handle_heard(line, now);
                self.hub.handle_frames(frames, now);
            }
            LineEvent::Down(kind) if is_current => {
                self.pool.handle_heard(line, now);
                self.handle_down(line, kind, now).await;
            }
            LineEvent::Closed(error) if is_current => {
                tracing::warn!(line = line.0, error = &error as &dyn Error, "the line closed");
                self.drop_line(line);
                self.pool.handle_closed(line, now);
            }
            // Of an attempt or a line that was given up.
            LineEvent::Opened(_)
            | LineEvent::Frames(_)
            | LineEvent::Down(_)
            | LineEvent::Closed(_) => {}
        }
    }

    fn take_line(&mut self, line: LineId, number: u64, call: Call, now: Instant) {
        let Call { connection, peer, up, down, welcome } = call;
        tracing::info!(line = line.0, %peer, version = welcome.version, "the line is up");
        if std::mem::replace(&mut self.commander, welcome.session) != welcome.session {
            self.commanded = 0;
        }
        let namespaces = Arc::new(convert::namespaces_in(welcome.namespaces));
        self.opening = None;
        let (control, control_in) = mpsc::channel(CONTROL_QUEUE);
        let mut tasks = JoinSet::new();
        let events = self.events.clone();
        tasks.spawn(write_control(up, control_in));
        tasks.spawn(read_control(down, line, number, events.clone()));
        tasks.spawn(read_frames(connection.clone(), line, number, events.clone()));
        tasks.spawn(check_trust(connection.clone(), self.nodes.clone(), line, number, events));
        self.current =
            Some(Current { line, number, connection, control, datagrams: 0, _tasks: tasks });
        self.pool.handle_opened(line, now);
        self.gauges.lines_opened.fetch_add(1, Ordering::Relaxed);
        self.namespaces.send_replace(Some(Arc::clone(&namespaces)));
        self.hub.handle_line_up(namespaces);
    }

    fn drop_line(&mut self, line: LineId) {
        if let Some(current) = self.current.take_if(|current| current.line == line) {
            current.connection.close(line::CLOSE_DONE, b"abandoned");
            self.hub.handle_line_down();
        }
    }

    async fn handle_down(&mut self, line: LineId, kind: down::Kind, now: Instant) {
        match kind {
            down::Kind::Welcome(_) => {}
            down::Kind::Totals(totals) => self.hub.handle_totals(totals),
            down::Kind::Command(command) if command.number <= self.commanded => {} // told again
            down::Kind::Command(command) => {
                self.commanded = command.number;
                let command = Arc::new(command);
                for shard in &self.shards {
                    let _ = shard.send(ToShard::Command(Arc::clone(&command))).await;
                }
            }
            down::Kind::Pong(pong) => {
                let now_us = self.started.elapsed().as_micros() as u64;
                let rtt = Duration::from_micros(now_us.saturating_sub(pong.sent_us));
                self.pool.handle_rtt(line, rtt, now);
                let rtt = self.pool.lines().find(|(id, ..)| *id == line).and_then(|(.., rtt)| rtt);
                let rtt_us = rtt.map_or(0, |rtt| rtt.as_micros() as u64);
                self.gauges.rtt_us.store(rtt_us, Ordering::Relaxed);
            }
            down::Kind::GoAway(away) => {
                tracing::info!(address = away.address, reason = away.reason, "go away");
            }
        }
    }

    async fn handle_shard(&mut self, shard: ShardId, message: ToHub) {
        let now = Instant::now();
        match message {
            ToHub::Join(channel, join, from) => {
                self.hub.handle_join(shard, join, channel, from, now);
            }
            ToHub::Leave(channel, join) => self.hub.handle_leave(shard, join, &channel, now),
            ToHub::Count(channel, count) => self.hub.handle_count(shard, &channel, count),
            ToHub::Presence(channel, joined, info) => {
                self.hub.handle_presence(&channel, joined, &info);
            }
            ToHub::Request(connection, id, kind) => {
                self.act().await; // so that the request comes after every update before it
                if !matches!(kind, request::Kind::Publish(_)) {
                    self.session_request((shard, connection), id, kind, None);
                } else if let Some(waiting) = self.publishing.get_mut(&(shard, connection)) {
                    waiting.push_back((id, kind)); // as many as its session lets be open
                } else {
                    self.publishing.insert((shard, connection), VecDeque::new());
                    let publisher = (shard, connection);
                    self.session_request(publisher, id, kind, Some(publisher));
                }
            }
            ToHub::Older(channel, position) => {
                let history = History {
                    channel: channel.as_str().to_owned(),
                    limit: -1,
                    since: true,
                    since_epoch: position.epoch.number(),
                    since_offset: position.offset,
                    reverse: false,
                    recovery: true,
                };
                self.request(request::Kind::History(history), shard, None, move |result| {
                    ToShard::Older(channel, position, older(result, position))
                });
            }
            ToHub::KeyTaken(key, id) => {
                // Logins with one key are put in order here, so that the last of them stays.
                if let Some((before, old)) = self.keys.insert(key.clone(), (shard, id))
                    && before != shard
                {
                    self.tell(before, ToShard::KeyTaken(key, old)).await;
                }
            }
            ToHub::KeyFree(key, id) => {
                if self.keys.get(&key) == Some(&(shard, id)) {
                    self.keys.remove(&key);
                }
            }
        }
    }

    /// The next publish of a connection follows when the one before it is answered: whoever sends
    /// several at once wants them in that order.
    fn handle_request_ended(&mut self, ended: Result<Option<Publisher>, JoinError>) {
        let publisher = match ended {
            Ok(publisher) => publisher,
            Err(error) => return tracing::error!(%error, "an uplink request's task failed"),
        };
        let Some(publisher) = publisher else { return };
        match self.publishing.get_mut(&publisher).and_then(VecDeque::pop_front) {
            Some((id, kind)) => self.session_request(publisher, id, kind, Some(publisher)),
            None => {
                self.publishing.remove(&publisher);
            }
        }
    }

    fn session_request(
        &mut self,
        (shard, connection): (ShardId, ConnectionId),
        id: AskId,
        kind: request::Kind,
        publisher: Option<Publisher>,
    ) {
        self.request(kind, shard, publisher, move |result| {
            ToShard::Response(connection, id, answer(result))
        });
    }

    /// Asks the upstream, and tells the shard what `make` makes of the answer.
    fn request(
        &mut self,
        kind: request::Kind,
        shard: ShardId,
        publisher: Option<Publisher>,
        make: impl FnOnce(Option<response::Kind>) -> ToShard + Send + 'static,
    ) {
        let Some(to) = self.shards.get(usize::from(shard.0)).cloned() else { return };
        let connection = self.current.as_ref().map(|current| current.connection.clone());
        let is_large = matches!(kind, request::Kind::History(_) | request::Kind::Presence(_));
        let places = Arc::clone(if is_large { &self.large } else { &self.small });
        let request = Request { after_update: self.hub.update_seq(), kind: Some(kind) };
        let (timeout, gauges) = (self.upstream.request_timeout, Arc::clone(&self.gauges));
        self.requests.spawn(async move {
            let response = match connection {
                Some(connection) => ask(&connection, &places, &request, timeout).await,
                None => None,
            };
            if response.is_none() {
                gauges.requests_failed.fetch_add(1, Ordering::Relaxed);
            }
            let _ = to.send(make(response)).await;
            publisher
        });
    }
}

/// Asks when there is a place, all within `timeout`.
async fn ask(
    connection: &Connection,
    places: &Semaphore,
    request: &Request,
    timeout: Duration,
) -> Option<response::Kind> {
    let asked = async {
        let _place = places.acquire().await; // never closed
        line::request(connection, request, timeout).await
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(Response { kind })) => kind,
        Ok(Err(error)) => {
            tracing::info!(error = &error as &dyn Error, "an uplink request failed");
            None
        }
        Err(_) => {
            tracing::info!(?timeout, "an uplink request was not answered in time");
            None
        }
    }
}

/// What a session is told: the upstream's words, refusals and verdicts of hooks included.
fn answer(response: Option<response::Kind>) -> Answer {
    response.map_or_else(
        || Answer::Failed {
            code: 100,
            message: "the upstream cannot be reached".into(),
            temporary: true,
        },
        Answer::Response,
    )
}

/// The messages after `position`; none where there are none any more, `None` where nobody knows.
fn older(response: Option<response::Kind>, position: Position) -> Option<Vec<Arc<Message>>> {
    match response? {
        response::Kind::History(HistoryResult { epoch, messages, .. }) => {
            // Another epoch has nothing to do with what was asked: nothing is left of it.
            let same = epoch == position.epoch.number();
            let messages = if same { messages } else { Vec::new() };
            messages.into_iter().map(|stored| convert::stored_in(stored).map(Arc::new)).collect()
        }
        response::Kind::Failure(failure) if !failure.temporary => Some(Vec::new()),
        _ => None,
    }
}

async fn write_control(mut up: Sender<Up>, mut messages: mpsc::Receiver<up::Kind>) {
    while let Some(kind) = messages.recv().await {
        if let Err(error) = up.send(&Up { kind: Some(kind), number: 0 }).await {
            tracing::debug!(error = &error as &dyn Error, "cannot write to the control stream");
            return; // the reader tells the owner
        }
    }
}

async fn read_control(
    mut down: Receiver<Down>,
    line: LineId,
    number: u64,
    events: mpsc::Sender<Attempt>,
) {
    loop {
        let event = match down.receive().await {
            Ok(Some(Down { kind: Some(kind), .. })) => LineEvent::Down(kind),
            Ok(Some(Down { kind: None, .. })) => continue, // of a newer version
            Ok(None) => LineEvent::Closed(LineError::Protocol("the control stream ended")),
            Err(error) => LineEvent::Closed(error),
        };
        let ends = matches!(event, LineEvent::Closed(_));
        if events.send(Attempt { line, number, event }).await.is_err() || ends {
            return;
        }
    }
}

/// Gives the line up when the upstream's certificate is trusted no more.
async fn check_trust(
    connection: Connection,
    nodes: Nodes,
    line: LineId,
    number: u64,
    events: mpsc::Sender<Attempt>,
) {
    let event = LineEvent::Closed(line::distrusted(&connection, &nodes).await);
    let _ = events.send(Attempt { line, number, event }).await;
}

async fn read_frames(
    connection: Connection,
    line: LineId,
    number: u64,
    events: mpsc::Sender<Attempt>,
) {
    let event = match FrameReceiver::accept(&connection).await {
        Err(error) => LineEvent::Closed(error),
        Ok(mut live) => loop {
            let mut frames = Vec::new();
            match live.receive(&mut frames).await {
                Ok(true) => {
                    let event = LineEvent::Frames(frames);
                    if events.send(Attempt { line, number, event }).await.is_err() {
                        return;
                    }
                }
                Ok(false) => {
                    break LineEvent::Closed(LineError::Protocol("the live stream ended"));
                }
                Err(error) => break LineEvent::Closed(error),
            }
        },
    };
    let _ = events.send(Attempt { line, number, event }).await;
}

/// Line events that wait for the owner: beyond this the line's readers wait.
const EVENTS_MAX: usize = 64;
/// Control messages that wait for the line. A new line is told everything at once, in pieces of 200:
/// 8 million subscriptions with presence are 40,000 of them.
const CONTROL_QUEUE: usize = 65_536;
/// Histories and presences under way: at up to 4 MiB each, 32 MiB.
const LARGE_MAX: usize = 8;
/// Other requests under way: at a round trip of 50 ms, 10,000 a second.
const SMALL_MAX: usize = 512;
/// Messages of shards that are taken at once.
const BATCH: usize = 256;
