//! The edge's side of its trunk: carries out what the hub decides.
//!
//! One task owns the hub and the trunk's end and takes everything that happens in one place.
//!
//! Invariant: what a shard asked or told before is at the upstream before what it asks next.

mod requests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::io::shutdown::Shutdown;
use shared::io::trunk::{CallingEnd, News};
use shared::line::ledger::{Bytes, Ledger};
use shared::line::pool::LineStatus;
use shared::line::{Access, LineId};
use shared::message::{Message, Position};
use shared::namespace::Namespaces;
use shared::wire::control::{Command, History, Welcome, down, request};
use shared::wire::convert;
use tokio::sync::{mpsc, watch};

use self::requests::{Asker, Requests, Route, answer, older};
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

/// How an edge pulls and asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
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
    /// A line works.
    pub(super) line_up: AtomicBool,
    /// Lines that were opened so far.
    pub(super) lines_opened: AtomicU64,
    /// Times another line became the primary.
    pub(super) switches: AtomicU64,
    /// Channels pulled.
    pub(super) channels: AtomicU32,
    /// Messages taken from lines.
    pub(super) messages: AtomicU64,
    /// Messages that had come before.
    pub(super) duplicates: AtomicU64,
    /// Messages that came after they were asked for.
    pub(super) repaired: AtomicU64,
    /// Requests for missing messages.
    pub(super) nacks: AtomicU64,
    /// Messages given up as gone.
    pub(super) lost: AtomicU64,
    /// Gaps told to clients.
    pub(super) gaps: AtomicU64,
    /// Uplink requests that failed.
    pub(super) requests_failed: AtomicU64,
    /// Uplink requests that were sent by another line too.
    pub(super) requests_hedged: AtomicU64,
    /// What the trunk was like when it was last looked at.
    trunk: Mutex<TrunkView>,
}

/// What a trunk is like.
#[derive(Clone, Debug, Default)]
pub(super) struct TrunkView {
    /// The node at its other end; empty while there is none.
    pub(super) upstream: String,
    /// Every line that is tried.
    pub(super) lines: Vec<LineView>,
}

/// What a line is like.
#[derive(Clone, Debug)]
pub(super) struct LineView {
    pub(super) id: LineId,
    pub(super) local: Access,
    pub(super) remote: Access,
    /// Where it is connected.
    pub(super) status: Option<LineStatus>,
    /// Live messages that it brought first, and those that had come before.
    pub(super) firsts: (u64, u64),
    pub(super) ledger: Ledger,
}

impl Gauges {
    /// What the trunk was like when it was last looked at.
    pub(super) fn trunk(&self) -> TrunkView {
        self.trunk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The owner of hub and trunk.
pub(super) struct Uplink {
    end: CallingEnd,
    hub: Hub,
    /// The upstream's process, and the last command of it that was carried out.
    commander: u64,
    commanded: u64,
    /// Who logged in last with each key.
    keys: HashMap<String, (ShardId, ConnectionId)>,
    requests: Requests,
    shards: Vec<mpsc::Sender<ToShard>>,
    namespaces: watch::Sender<Option<Arc<Namespaces>>>,
    gauges: Arc<Gauges>,
    door: Arc<Door>,
    look_at: Instant,
    ledgers: HashMap<LineId, Ledger>,
}

impl Uplink {
    /// An uplink that has not called anybody yet. `namespaces` is told what the upstream says.
    pub(super) fn new(
        end: CallingEnd,
        pace: Pace,
        shards: Vec<mpsc::Sender<ToShard>>,
        namespaces: watch::Sender<Option<Arc<Namespaces>>>,
        gauges: Arc<Gauges>,
        door: Arc<Door>,
    ) -> Self {
        let now = Instant::now();
        Self {
            end,
            hub: Hub::new(pace.linger, pace.channels_max, now),
            commander: 0,
            commanded: 0,
            keys: HashMap::new(),
            requests: Requests::new(pace.request_timeout, Arc::clone(&gauges)),
            shards,
            namespaces,
            gauges,
            door,
            look_at: now,
            ledgers: HashMap::new(),
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
            let deadline = self.hub.next_deadline().min(self.look_at);
            tokio::select! {
                () = shutdown.triggered() => break,
                () = self.end.wait() => {}
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
                    self.hub.handle_deadline(now);
                    if self.look_at <= now {
                        self.look_at = now + LOOK_EVERY;
                        self.look();
                    }
                }
                ended = self.requests.ended() => if let Some((asker, (id, kind))) = ended {
                    self.session_request(asker, id, kind, Some(asker));
                },
            }
        }
        self.end.close("the edge ends").await;
    }

    async fn act(&mut self) {
        let now = Instant::now();
        let mut events = Vec::new();
        while let Some(news) = self.end.poll() {
            if let News::Event(event) = news {
                events.push(event);
                continue;
            }
            self.hub.handle_events(events.drain(..), now);
            match news {
                News::Up(welcome) => self.handle_up(*welcome),
                News::Down => {
                    tracing::warn!("the upstream is gone");
                    self.hub.handle_line_down();
                    self.hub.handle_origin_down();
                }
                News::Control(kind) => self.handle_control(kind).await,
                News::Switch(switch) => {
                    let (from, to) = (switch.from.map(|line| line.0), switch.to.0);
                    tracing::info!(?from, to, why = ?switch.why, "another line is the primary");
                    self.gauges.switches.fetch_add(u64::from(from.is_some()), Ordering::Relaxed);
                }
                News::Event(_) => {}
            }
        }
        self.hub.handle_events(events, now);
        while let Some(action) = self.hub.poll_action() {
            match action {
                HubAction::Up(kind) | HubAction::Update(kind) => self.end.send(*kind),
                HubAction::Fetched(..) => {} // nobody pulls through this edge
                HubAction::Tell(shard, notice) => self.tell(shard, ToShard::Notice(notice)).await,
            }
        }
        let gauges = &self.gauges;
        gauges.line_up.store(self.end.is_alive(), Ordering::Relaxed);
        gauges.channels.store(self.hub.channels() as u32, Ordering::Relaxed);
        let counts = self.end.caller().receiver().counts();
        for (cell, count) in [
            (&gauges.lines_opened, self.end.opened()),
            (&gauges.gaps, self.hub.counts().gaps),
            (&gauges.messages, counts.delivered),
            (&gauges.duplicates, counts.duplicates),
            (&gauges.repaired, counts.repaired),
            (&gauges.nacks, counts.nacks),
            (&gauges.lost, counts.lost),
        ] {
            cell.store(count, Ordering::Relaxed);
        }
    }

    /// Shows others how things stand.
    fn look(&mut self) {
        let gauges = &self.gauges;
        let caller = self.end.caller();
        let mut status: HashMap<LineId, LineStatus> =
            self.end.status().into_iter().map(|line| (line.id, line)).collect();
        let now = Instant::now();
        let mut lines = Vec::new();
        for (id, local, remote) in self.end.candidates() {
            let status = status.remove(&id);
            let carried =
                status.as_ref().map(|s| Bytes { incoming: s.bytes_in, outgoing: s.bytes_out });
            let ledger = self.ledgers.entry(id).or_insert_with(|| Ledger::new(now));
            ledger.look(carried, now);
            let (local, remote) = (local.clone(), remote.clone());
            let (firsts, ledger) = (caller.firsts(id), ledger.clone());
            lines.push(LineView { id, local, remote, status, firsts, ledger });
        }
        let view = TrunkView { upstream: self.end.with().unwrap_or_default().to_owned(), lines };
        *gauges.trunk.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// Tells a shard, waiting while its queue is full: the pulls' credit then holds the upstream.
    async fn tell(&self, shard: ShardId, message: ToShard) {
        if let Some(shard) = self.shards.get(usize::from(shard.0)) {
            let _ = shard.send(message).await;
        }
    }

    fn handle_up(&mut self, welcome: Welcome) {
        tracing::info!(upstream = welcome.node, version = welcome.version, "the upstream is there");
        if std::mem::replace(&mut self.commander, welcome.session) != welcome.session {
            self.commanded = 0;
        }
        let namespaces = Arc::new(convert::namespaces_in(welcome.namespaces));
        self.namespaces.send_replace(Some(Arc::clone(&namespaces)));
        self.hub.handle_line_up(namespaces);
        self.hub.handle_origin_up();
    }

    async fn handle_control(&mut self, kind: down::Kind) {
        match kind {
            down::Kind::Totals(totals) => self.hub.handle_totals(totals),
            down::Kind::Command(command) if command.number <= self.commanded => {} // told again
            down::Kind::Command(command) => {
                self.commanded = command.number;
                let command = Arc::new(command);
                for shard in &self.shards {
                    let _ = shard.send(ToShard::Command(Arc::clone(&command))).await;
                }
            }
            // Of the handshake, of a line, or of a pull: none of them comes in this order.
            down::Kind::Welcome(_)
            | down::Kind::Pong(_)
            | down::Kind::GoAway(_)
            | down::Kind::Opened(_)
            | down::Kind::Refused(_)
            | down::Kind::Presence(_)
            | down::Kind::Quality(_) => {}
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
                let asker = (shard, connection);
                let is_publish = matches!(kind, request::Kind::Publish(_));
                if let Some((id, kind)) = self.requests.waits(asker, id, kind) {
                    self.session_request(asker, id, kind, is_publish.then_some(asker));
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

    fn session_request(
        &mut self,
        (shard, connection): Asker,
        id: AskId,
        kind: request::Kind,
        publisher: Option<Asker>,
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
        publisher: Option<Asker>,
        make: impl FnOnce(Option<shared::wire::control::response::Kind>) -> ToShard + Send + 'static,
    ) {
        let Some(to) = self.shards.get(usize::from(shard.0)).cloned() else { return };
        let rtt = self.end.caller().trunk().pool().rtt().unwrap_or(RTT_ASSUMED);
        let route = Route { connections: self.end.connections(), rtt };
        self.requests.ask(route, (self.hub.update_seq(), kind), to, publisher, make);
    }
}

/// Messages of shards that are taken at once.
const BATCH: usize = 256;
/// How often others are shown how things stand.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const RTT_ASSUMED: Duration = Duration::from_millis(100);
