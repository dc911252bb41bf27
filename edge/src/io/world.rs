//! What one shard's thread owns: its machine, its connections, and how the two meet.
//!
//! Every entry point is synchronous and ends with [`World::pump`], which carries out all that follows
//! from it, so that nothing is left half done when another task of the thread runs. Only what rooms
//! have for their members is written in slices, by [`World::sweep`].
//!
//! Invariant: between two entry points no event or reply waits, except behind a socket that would
//! block; and while a room has something to write, a slice is due.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shared::address;
use shared::io::clock::unix_ms;
use shared::namespace::Namespaces;
use shared::wire::control::{Command, command};
use tokio::sync::mpsc;

use super::balance::Arrival;
use super::connection::{Connection, REPLIES_MAX, Stage, WriteCounts};
use super::counters::Counters;
use super::door::{Closed, Door, Entry, Guest, Refusal, TURNED_AWAY};
use super::shards::{Entrance, Way};
use super::socket::Socket;
use super::uplink::ToShard;
use crate::config::Config;
use crate::drains::Turnstile;
use crate::ends::Table;
use crate::form::Transport;
use crate::hub::ShardId;
use crate::pressure::Pressure;
use crate::protocol::{Protocol, Setups};
use crate::room::ConnectionId;
use crate::session::{Ask, Blame, Close, Context, Output};
use crate::shard::{Event, Shard, TICK, ToHub};
use crate::tokens::Tokens;
use crate::wheel::Wheel;

/// One shard's thread's state.
pub(super) struct World {
    id: ShardId,
    pub(super) config: Arc<Config>,
    pub(super) setups: Setups,
    shard: Shard,
    connections: Vec<Option<Box<Connection>>>,
    namespaces: Arc<Namespaces>,
    pub(super) door: Arc<Door>,
    to_hub: mpsc::UnboundedSender<(ShardId, ToHub)>,
    counters: Arc<Counters>,
    /// Bytes that the kernel took of all connections.
    meter: Rc<Cell<u64>>,
    /// Bytes of replies that wait for all connections.
    replies: usize,
    wheel: Wheel<ConnectionId>,
    pub(super) touched: Vec<ConnectionId>,
    released: Vec<ConnectionId>,
    /// How sessions ended since the last tick.
    ends: Table,
    /// When everybody shall have gone.
    drained_at: Option<Instant>,
    /// Clients a second that operators want sent on, of all shards.
    drain_rate: f64,
    turnstile: Turnstile,
    /// Wakes whoever makes slices of sweeps.
    sweeper: Option<Waker>,
    pub(super) scratch: BytesMut,
    output: Output,
}

impl World {
    pub(super) fn new(
        id: ShardId,
        config: Arc<Config>,
        namespaces: Arc<Namespaces>,
        door: Arc<Door>,
        to_hub: mpsc::UnboundedSender<(ShardId, ToHub)>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            id,
            setups: Setups::new(&config),
            config,
            shard: Shard::new(Arc::clone(&namespaces)),
            connections: Vec::new(),
            namespaces,
            door,
            to_hub,
            counters,
            meter: Rc::default(),
            replies: 0,
            wheel: Wheel::new(Instant::now()),
            touched: Vec::new(),
            released: Vec::new(),
            ends: Table::default(),
            drained_at: None,
            drain_rate: 0.0,
            turnstile: Turnstile::default(),
            sweeper: None,
            scratch: BytesMut::new(),
            output: Output::default(),
        }
    }

    /// The upstream told its namespaces anew.
    pub(super) fn set_namespaces(&mut self, namespaces: Arc<Namespaces>) {
        self.shard.set_namespaces(Arc::clone(&namespaces));
        self.namespaces = namespaces;
    }

    /// How much this edge has to do.
    pub(super) fn set_pressure(&mut self, pressure: Pressure) {
        self.shard.set_pressure(pressure);
    }

    /// Takes an accepted stream in. `None` if there is no room for it.
    pub(super) fn enter(&mut self, arrival: Arrival) -> Option<ConnectionId> {
        let Arrival { stream, peer, way } = arrival;
        let now = Instant::now();
        let peer = address::canonical(peer);
        let is_proxy = self.config.trusted_proxies.iter().any(|net| net.contains(&peer));
        if way.proxied && !is_proxy {
            self.door.refuse(Refusal::NoProxy);
            return None;
        }
        let counted = (!is_proxy).then_some(peer);
        let is_away = match self.door.enter(counted, way.entrance == Entrance::Http, now) {
            Entry::In => false,
            Entry::Away => true,
            Entry::Shut => return None,
        };
        let guest = Guest { address: counted, is_stranger: true, is_away };
        // Small messages leave at once; where it cannot be set, they leave later.
        let _ = stream.set_nodelay(true);
        if self.config.limits.send_buffer > 0 {
            let size = self.config.limits.send_buffer as usize; // bounded by the configuration
            let _ = socket2::SockRef::from(&stream).set_send_buffer_size(size);
        }
        let id = self.shard.connect();
        let asks = Tokens::new(self.config.limits.asks_burst.into(), now);
        let stage = Stage::Preface(Box::new(way.clone()));
        let socket = Socket::new(stream, Rc::clone(&self.meter));
        let connection = Connection::new(id, socket, (peer, guest), stage, asks, now);
        if self.connections.len() <= id.slot {
            self.connections.resize_with(id.slot + 1, || None);
        }
        self.connections[id.slot] = Some(Box::new(connection));
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        if !way.proxied {
            self.begin(id, &way);
        }
        self.reschedule(id);
        Some(id)
    }

    /// A connection begins with what its client says itself.
    pub(super) fn begin(&mut self, id: ConnectionId, way: &Way) {
        let setups = &self.setups;
        let Some(connection) = connections_at(&mut self.connections, id) else { return };
        if let Some(config) = &way.tls
            && let Err(error) = connection.socket.begin_tls(config)
        {
            tracing::error!(%error, "cannot begin TLS");
            return connection.die(Blame::Us);
        }
        connection.stage = match way.entrance {
            Entrance::Http => Stage::Head,
            Entrance::Goim => {
                let started = connection.accepted_at;
                let protocol = Protocol::goim(setups, Transport::Tcp, &client_id(), started);
                connection.protocol = Some(protocol);
                Stage::Plain
            }
        };
    }

    /// A proxy has said who its client is.
    pub(super) fn handle_client(&mut self, id: ConnectionId, address: IpAddr) {
        let now = Instant::now();
        let Some(connection) = self.connection(id) else { return };
        let address = address::canonical(address);
        connection.address = address;
        if connection.guest.address.is_some() {
            return;
        }
        if self.door.count(address, now) {
            if let Some(connection) = self.connection(id) {
                connection.guest.address = Some(address);
            }
        } else {
            let reason = "too many connections of this address: try again later".into();
            self.end(id, &Close { code: TURNED_AWAY, reason, blame: Blame::Peer });
        }
    }

    /// Drives a connection: ready when it is over and removed.
    pub(super) fn poll_connection(
        &mut self,
        id: ConnectionId,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        for _ in 0..TURNS {
            let Some(connection) = self.connection(id) else { return Poll::Ready(()) };
            if connection.dead {
                self.remove(id);
                return Poll::Ready(());
            }
            connection.waker = Some(cx.waker().clone());
            let mut progressed = false;
            if connection.blocked {
                match connection.socket.poll_writable(cx) {
                    Poll::Ready(Ok(())) => {
                        progressed = true;
                        self.handle_writable(id);
                    }
                    Poll::Ready(Err(error)) => connection.die(Blame::from(&error)),
                    Poll::Pending => {}
                }
            }
            let Some(connection) = self.connection(id) else { return Poll::Ready(()) };
            if connection.may_read() && !connection.dead {
                match connection.socket.poll_readable(cx) {
                    Poll::Ready(Ok(())) => {
                        progressed = true;
                        self.handle_readable(id);
                    }
                    Poll::Ready(Err(error)) => connection.die(Blame::from(&error)),
                    Poll::Pending => {}
                }
            }
            self.pump();
            self.reschedule(id);
            let again = self.connection(id).is_some_and(|c| c.dead) || progressed;
            if !again {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref(); // others' turn
        Poll::Pending
    }

    /// The hub's task tells something.
    pub(super) fn handle_hub(&mut self, message: ToShard) {
        let now = Instant::now();
        match message {
            ToShard::Notice(notice) => self.shard.handle_notice(notice, now),
            ToShard::Response(id, ask, answer) => self.shard.handle_response(id, ask, answer),
            ToShard::Older(channel, position, messages) => {
                self.shard.handle_older(&channel, position, messages, now);
            }
            ToShard::Command(command) => self.handle_command(&command),
            ToShard::KeyTaken(key, id) => self.shard.handle_key_taken(&key, id),
        }
    }

    /// Deadlines of connections, and the shard's slow business.
    pub(super) fn handle_tick(&mut self) {
        let now = Instant::now();
        self.shard.handle_tick(now);
        self.drain_some(now);
        for (tick, id) in self.wheel.turn(now) {
            if let Some(connection) = self.connection(id).filter(|c| c.looked_at == Some(tick)) {
                connection.looked_at = None;
                self.handle_deadline(id, now);
                self.reschedule(id);
            }
        }
        self.pump();
        self.counters.sampled_out.store(self.shard.sampled_out(), Ordering::Relaxed);
        self.counters.bytes.store(self.meter.get(), Ordering::Relaxed);
        self.counters.read_cpu(now);
        if !self.ends.is_empty() {
            self.counters.put_ends(std::mem::take(&mut self.ends));
        }
    }

    /// Ends every connection in order, evenly spread over `time`, because this edge will end.
    pub(super) fn drain(&mut self, time: Duration) {
        self.drained_at = Some(Instant::now() + time);
    }

    /// Sends on so many clients a second, of all shards; 0 lets them stay.
    pub(super) fn set_drain_rate(&mut self, rate: f64) {
        self.drain_rate = rate;
    }

    /// Ends every connection in order, because this edge ends.
    pub(super) fn close_all(&mut self) {
        self.door.close(Some(Closed::Draining));
        self.move_away(usize::MAX);
        for connection in self.connections.iter_mut().flatten().filter(|c| !c.is_ending()) {
            connection.die(Blame::Order);
        }
        self.pump();
    }

    /// Ends so many connections of those that are due by now to have ended all when the time is up.
    fn drain_some(&mut self, now: Instant) {
        let here = self.shard.connections();
        let Some(drained_at) = self.drained_at else {
            let all = self.door.counts().0 as usize;
            let count = self.turnstile.pass(self.drain_rate, here, all, now);
            return self.move_away(count);
        };
        let ticks = drained_at.saturating_duration_since(now).as_secs_f64() / TICK.as_secs_f64();
        self.move_away((here as f64 / ticks.max(1.0)).ceil() as usize);
    }

    /// Ends at most `count` connections, and says where to go.
    fn move_away(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        // Who has not come in yet is told at the door.
        let here = self.connections.iter().flatten().filter(|connection| {
            !connection.is_ending() && !connection.guest.is_away && connection.protocol.is_some()
        });
        let ids: Vec<ConnectionId> = here.take(count).map(|connection| connection.id).collect();
        for id in ids {
            let Some(web) = self.connection(id).map(|connection| connection.web()) else {
                continue;
            };
            let close = self.door.goodbye(web);
            self.end(id, &close);
            self.counters.moved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Carries out everything that follows from what happened, until nothing is left.
    pub(super) fn pump(&mut self) {
        let now = Instant::now();
        loop {
            while let Some(event) = self.shard.poll_event() {
                self.handle_event(event);
            }
            if let Some(id) = self.released.pop() {
                self.handle_writable(id);
                continue;
            }
            if self.touched.is_empty() {
                break;
            }
            let touched = std::mem::take(&mut self.touched);
            for id in touched {
                if let Some(connection) = self.connection(id) {
                    let was_blocked = connection.blocked;
                    if connection.flush(now) && was_blocked {
                        self.released.push(id); // its rooms may have something for it
                    }
                    self.count_replies(id);
                    self.reschedule(id);
                }
            }
        }
        if self.shard.is_unswept()
            && let Some(sweeper) = self.sweeper.take()
        {
            sweeper.wake();
        }
    }

    /// Ready when a slice of a sweep is due.
    pub(super) fn poll_unswept(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.shard.is_unswept() {
            return Poll::Ready(());
        }
        self.sweeper = Some(cx.waker().clone());
        Poll::Pending
    }

    /// When rooms that keep an interval between sweeps are due next.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.shard.next_deadline()
    }

    /// Makes a slice of sweeps.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        let Self { shard, connections, .. } = self;
        shard.handle_deadline(now);
        let mut counts = WriteCounts::default();
        let swept =
            shard.sweep(SLICE, &Instant::now, &mut |id, accepted, segments| match connections
                .get_mut(id.slot)
                .and_then(Option::as_mut)
            {
                Some(connection) => connection.write_segments(accepted, segments, now, &mut counts),
                None => crate::room::Written { segments: 0, more: false },
            });
        if swept {
            self.counters.wrote(counts);
        }
        self.pump(); // somebody may have lost a seat without a write
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Answer(id, ask, answer) => {
                self.with_protocol(id, |protocol, cx, out| {
                    protocol.handle_answer(ask, answer, cx, out);
                });
                self.resume(id);
            }
            Event::Lost(id, channel, missing) => {
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
                self.with_protocol(id, |protocol, cx, out| {
                    protocol.handle_lost(&channel, missing, cx, out);
                });
            }
            Event::Close(id, close) => self.end(id, &close),
            Event::Hub(message) => {
                // The hub outlives the shards but for the very end.
                let _ = self.to_hub.send((self.id, message));
            }
        }
    }

    fn handle_command(&mut self, command: &Command) {
        let Some(kind) = &command.kind else { return };
        let target = match kind {
            command::Kind::Disconnect(c) => &c.target,
            command::Kind::Unsubscribe(c) => &c.target,
            command::Kind::Subscribe(c) => &c.target,
            command::Kind::Refresh(c) => &c.target,
        };
        let Some(target) = target else { return };
        for id in self.shard.matching(target) {
            self.with_protocol(id, |protocol, cx, out| protocol.handle_command(kind, cx, out));
            self.resume(id);
        }
    }

    fn handle_deadline(&mut self, id: ConnectionId, now: Instant) {
        let stall = self.config.limits.write_stall;
        let handshake = self.config.limits.handshake_timeout;
        let Some(connection) = self.connection(id) else { return };
        if let Stage::Ending { until, .. } = connection.stage {
            if until <= now {
                connection.die(Blame::Network);
            }
            return;
        }
        if connection.stalled_since().is_some_and(|since| since + stall <= now) {
            tracing::debug!("a client takes nothing of what is written to it");
            return connection.die(Blame::Silence);
        }
        if connection.protocol.is_none() {
            if connection.accepted_at + handshake <= now {
                connection.die(Blame::Peer);
            }
            return;
        }
        self.with_protocol(id, |protocol, cx, out| {
            if protocol.next_deadline().is_some_and(|at| at <= cx.now) {
                protocol.handle_deadline(cx, out);
            }
        });
    }

    fn handle_writable(&mut self, id: ConnectionId) {
        let now = Instant::now();
        let Some(connection) = self.connection(id) else { return };
        let goes_on = connection.flush(now) && !connection.is_ending();
        self.count_replies(id);
        if !goes_on {
            return;
        }
        let Self { shard, connections, .. } = self;
        let Some(connection) = connections.get_mut(id.slot).and_then(Option::as_mut) else {
            return;
        };
        let mut counts = WriteCounts::default();
        shard.offer(id, &mut |accepted, segments| {
            connection.write_segments(accepted, segments, now, &mut counts)
        });
        self.counters.wrote(counts);
    }

    /// Lets a protocol decide, then writes and asks what it decided.
    pub(super) fn with_protocol(
        &mut self,
        id: ConnectionId,
        decide: impl FnOnce(&mut Protocol, &Context<'_>, &mut Output),
    ) {
        let now = Instant::now();
        let Self { shard, connections, namespaces, output, .. } = self;
        let Some(connection) = connections
            .get_mut(id.slot)
            .and_then(Option::as_mut)
            .filter(|connection| connection.id == id && !connection.is_ending())
        else {
            return;
        };
        let Some(protocol) = connection.protocol.as_mut() else { return };
        let cx = Context {
            now,
            unix_ms: unix_ms(),
            namespaces,
            online: &|channel| shard.online(channel),
        };
        output.bytes.clear(); // nothing of another connection, whatever happened there
        output.asks.clear();
        decide(protocol, &cx, output);
        if std::mem::replace(&mut connection.held, protocol.is_held()) && !connection.held {
            self.released.push(id);
        }
        if !output.bytes.is_empty() {
            connection.replies.extend_from_slice(&output.bytes);
            output.bytes.clear();
            self.touched.push(id);
            let waiting = self.replies - connection.counted + connection.replies.len();
            let many = waiting > self.config.limits.replies_bytes_max.bytes()
                || connection.replies.len() > REPLIES_MAX;
            if many && !connection.flush(now) {
                tracing::debug!(address = %connection.address, "too many replies wait");
                connection.die(Blame::Peer);
            }
            self.count_replies(id);
        }
        let mut asks = std::mem::take(&mut self.output.asks);
        for ask in asks.drain(..) {
            if let Ask::Identify(_) = ask
                && let Some(connection) = connections_at(&mut self.connections, id)
            {
                self.counters
                    .sessions
                    .fetch_add(connection.guest.is_stranger.into(), Ordering::Relaxed);
                self.door.greet(&mut connection.guest);
            }
            match ask {
                Ask::Close(close) => self.end(id, &close),
                ask if self.admits(id, &ask, now) => self.shard.handle_ask(id, ask, now),
                _ => self.end(id, &too_many()),
            }
        }
        self.output.asks = asks;
    }

    /// Brings the sum of replies up to date with a connection.
    fn count_replies(&mut self, id: ConnectionId) {
        let Some(connection) = connections_at(&mut self.connections, id) else { return };
        let waiting = connection.replies.len();
        self.replies = self.replies - std::mem::replace(&mut connection.counted, waiting) + waiting;
    }

    /// Whether a connection has not asked too much lately.
    fn admits(&mut self, id: ConnectionId, ask: &Ask, now: Instant) -> bool {
        if !matches!(ask, Ask::Subscribe { .. } | Ask::Request { .. }) {
            return true;
        }
        let (rate, burst) = (self.config.limits.asks_per_second, self.config.limits.asks_burst);
        self.connection(id)
            .is_some_and(|connection| connection.asks.take(rate.into(), burst.into(), now))
    }

    /// Ends a connection for a reason; its seats are free at once.
    pub(super) fn end(&mut self, id: ConnectionId, close: &Close) {
        let Some(connection) = self.connection(id).filter(|c| !c.is_ending()) else { return };
        connection.end(close, Instant::now() + LINGER);
        tracing::debug!(
            address = %connection.address,
            code = close.code,
            reason = close.reason,
            blame = ?close.blame,
            "a connection ends"
        );
        self.shard.retire(id);
        self.touched.push(id);
    }

    /// A connection is over: nothing is left of it.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(slot) = self.connections.get_mut(id.slot) else { return };
        let Some(connection) = slot.take_if(|connection| connection.id == id) else { return };
        self.replies -= connection.counted;
        self.door.leave(connection.guest);
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        let is_session = !connection.guest.is_stranger;
        // Who did not die in order met a panic of ours.
        let blame = connection.ended.unwrap_or(Blame::Us);
        self.counters.ended(blame);
        if is_session {
            self.counters.sessions_ended.fetch_add(1, Ordering::Relaxed);
            self.ends.note(connection.address, blame);
        }
        self.shard.disconnect(id);
        self.pump();
    }

    fn reschedule(&mut self, id: ConnectionId) {
        let stall = self.config.limits.write_stall;
        let handshake = self.config.limits.handshake_timeout;
        let Some(connection) = self.connections.get_mut(id.slot).and_then(Option::as_mut) else {
            return;
        };
        if connection.id != id {
            return;
        }
        let own = match (&connection.stage, &connection.protocol) {
            _ if connection.dead => None, // its task removes it
            (Stage::Ending { until, .. }, _) => Some(*until),
            (_, Some(protocol)) => protocol.next_deadline(),
            (_, None) => Some(connection.accepted_at + handshake),
        };
        let stalled = connection.stalled_since().filter(|_| !connection.dead).map(|at| at + stall);
        let at = own.into_iter().chain(stalled).min();
        let Some(tick) = at.map(|at| self.wheel.tick(at)) else { return };
        if connection.looked_at.is_none_or(|planned| planned > tick) {
            connection.looked_at = Some(tick);
            self.wheel.insert(tick, id);
        }
    }

    pub(super) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        connections_at(&mut self.connections, id)
    }
}

fn connections_at(
    connections: &mut [Option<Box<Connection>>],
    id: ConnectionId,
) -> Option<&mut Connection> {
    connections.get_mut(id.slot)?.as_deref_mut().filter(|connection| connection.id == id)
}

/// The end of a client that asks for too much.
fn too_many() -> Close {
    let reason = "too many requests: slow down".into();
    Close { code: 3013, reason, blame: Blame::Peer }
}

/// A connection's name, unique in the network.
pub(super) fn client_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Members that are written to in one slice of a sweep: about half a millisecond, after which the
/// other tasks of the thread have their turn.
const SLICE: usize = 128;
/// Reads and writes of one connection in a row before others get their turn.
const TURNS: usize = 8;
/// How long an ended connection waits for the client to have read what was written.
const LINGER: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
