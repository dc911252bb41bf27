//! The calling end: opens lines from every local address to every address of the upstream, and runs
//! the [`Caller`] over those that are connected.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::time::Instant;

use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Connected, EVENTS_MAX, Heard, Tagged};
use crate::io::line::{self, Call, LineError, Settings};
use crate::io::tls::{Nodes, Role};
use crate::line::opener::{Opener, PAUSE_MAX};
use crate::line::pool::{LineStatus, Switch, Tier};
use crate::line::receiver::Event;
use crate::line::{Caller, LineEnd, LineId, TrunkAction, TrunkError};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::control::{self, Hello, Up, Welcome, down, up};

/// Who calls whom, from where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The name in our certificate.
    pub node: String,
    /// Names this process.
    pub session: u64,
    /// What we call.
    pub expects: Role,
    /// Our addresses.
    pub locals: Vec<LineEnd>,
    /// The upstream's addresses that are known.
    pub remotes: Vec<LineEnd>,
}

/// What happened to a trunk.
#[derive(Debug)]
pub enum News {
    /// It stands, with an upstream that knows nothing of an earlier one: everything is to be told.
    Up(Box<Welcome>),
    /// It is gone, and with it all pulls.
    Down,
    /// A control message.
    Control(down::Kind),
    /// Something of a pull.
    Event(Event),
    /// The primary changed.
    Switch(Switch),
}

enum Told {
    Opened(Box<Call>),
    Heard(Heard<down::Kind>),
}

/// The calling end of a trunk, with its connections.
pub struct CallingEnd {
    place: Place,
    nodes: Nodes,
    endpoints: Vec<(SocketAddr, Endpoint)>,
    opener: Opener,
    caller: Caller,
    lines: BTreeMap<LineId, Connected<Up>>,
    ends: BTreeMap<LineId, (LineEnd, LineEnd)>,
    /// Attempts under way.
    opening: BTreeMap<LineId, u64>,
    attempts: JoinSet<()>,
    attempt_next: u64,
    /// What the trunk stands with: node, and the name it gave the trunk.
    with: Option<(String, u64)>,
    generation: u32,
    /// Upstreams that were left, and the names they gave the trunk of this generation.
    left: BTreeMap<String, u64>,
    lost_at: Option<Instant>,
    news: VecDeque<News>,
    events: mpsc::Sender<Tagged<Told>>,
    events_in: mpsc::Receiver<Tagged<Told>>,
    opened: u64,
    seed: u64,
}

impl CallingEnd {
    /// Binds an endpoint for each local address. Nothing is called before [`CallingEnd::wait`].
    ///
    /// # Errors
    /// If an address cannot be bound or the certificates cannot be used.
    pub fn new(place: Place, nodes: Nodes, settings: Settings) -> Result<Self, LineError> {
        let mut endpoints = Vec::new();
        for local in &place.locals {
            let endpoint = line::calling(local.address, &nodes, place.expects, settings)?;
            endpoints.push((local.address, endpoint));
        }
        let (now, seed) = (Instant::now(), rand::random());
        let (events, events_in) = mpsc::channel(EVENTS_MAX);
        Ok(Self {
            opener: Opener::new(place.locals.clone(), &place.remotes, seed, now),
            caller: Caller::new(seed, now),
            place,
            nodes,
            endpoints,
            lines: BTreeMap::new(),
            ends: BTreeMap::new(),
            opening: BTreeMap::new(),
            attempts: JoinSet::new(),
            attempt_next: 0,
            with: None,
            generation: 1,
            left: BTreeMap::new(),
            lost_at: None,
            news: VecDeque::new(),
            events,
            events_in,
            opened: 0,
            seed,
        })
    }

    /// Waits until something has happened, and takes it in. Cancelling loses nothing.
    pub async fn wait(&mut self) {
        self.act();
        if !self.news.is_empty() {
            return;
        }
        let now = Instant::now();
        let deadlines =
            [self.caller.next_deadline(now), self.opener.next_deadline(), self.given_up_at()];
        let deadline = deadlines.into_iter().flatten().min();
        tokio::select! {
            biased;
            Some(told) = self.events_in.recv() => {
                self.handle(told);
                while let Ok(told) = self.events_in.try_recv() {
                    self.handle(told);
                }
            }
            () = sleep_until(deadline) => {}
            Some(_) = self.attempts.join_next() => {}
        }
        let now = Instant::now();
        self.caller.handle_deadline(now);
        if self.given_up_at().is_some_and(|at| at <= now) {
            tracing::warn!("no line for too long: the trunk is given up");
            self.reset("no line for too long");
        }
        self.act();
    }

    /// The next thing that happened.
    pub fn poll(&mut self) -> Option<News> {
        if let Some(news) = self.news.pop_front() {
            return Some(news);
        }
        if let Some(message) = self.caller.poll_control(Instant::now()) {
            return Some(News::Control(message));
        }
        if let Some(event) = self.caller.poll_event() {
            return Some(News::Event(event));
        }
        self.caller.take_switch().map(News::Switch)
    }

    /// Sends a control message.
    pub fn send(&mut self, message: up::Kind) {
        if let Err(error) = self.caller.send(message, Instant::now()) {
            self.fail(error);
        }
        self.act();
    }

    /// The connections that requests should go by, best first.
    pub fn connections(&self) -> Vec<Connection> {
        let ranked = self.caller.trunk().pool().copies();
        ranked.iter().filter_map(|id| Some(self.lines.get(id)?.connection.clone())).collect()
    }

    /// Whether some line works.
    pub fn is_alive(&self) -> bool {
        self.with.is_some() && self.caller.trunk().pool().is_alive()
    }

    /// The machine: what is known of lines and what was received.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Lines that were opened so far.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Every line that is tried, with its ends.
    pub fn candidates(&self) -> impl Iterator<Item = (LineId, &LineEnd, &LineEnd)> {
        self.opener.candidates().map(|(id, local, remote, _)| (id, local, remote))
    }

    /// What is known of the lines that are connected. Bytes are those that a carrier counts: all
    /// datagrams with their headers.
    pub fn status(&self) -> Vec<LineStatus> {
        let billed = |line: LineStatus| {
            let Some(connected) = self.lines.get(&line.id) else { return line };
            let stats = connected.connection.stats();
            let headers = if line.remote.address.is_ipv4() { 28 } else { 48 };
            let bytes = |udp: quinn::UdpStats| udp.bytes + headers * udp.datagrams;
            LineStatus { bytes_in: bytes(stats.udp_rx), bytes_out: bytes(stats.udp_tx), ..line }
        };
        self.caller.trunk().pool().status().map(billed).collect()
    }

    /// The node that this trunk stands with.
    pub fn with(&self) -> Option<&str> {
        self.with.as_ref().map(|(node, _)| node.as_str())
    }

    /// Gives up every attempt and closes every line of several ends, and gives the other ends a
    /// moment to hear of it.
    pub async fn close_all(ends: Vec<Self>, reason: &str) {
        let endpoints: Vec<Endpoint> =
            ends.into_iter().flat_map(|end| end.endpoints).map(|(_, endpoint)| endpoint).collect();
        line::close(&endpoints, reason).await;
    }

    fn given_up_at(&self) -> Option<Instant> {
        self.with.as_ref().and(self.lost_at).map(|at| at + super::TRUNK_LINGER)
    }

    fn handle(&mut self, Tagged { line, attempt, event }: Tagged<Told>) {
        let now = Instant::now();
        match event {
            Told::Opened(call) if self.opening.get(&line) == Some(&attempt) => {
                self.opening.remove(&line);
                self.take(line, attempt, *call, now);
            }
            Told::Heard(Heard::Closed(error)) if self.opening.get(&line) == Some(&attempt) => {
                tracing::debug!(line = line.0, error = &error as &dyn Error, "no line was opened");
                self.opening.remove(&line);
                if error.close_code() == Some(line::CLOSE_REFUSED) {
                    self.opener.drain(line);
                }
                self.opener.handle_closed(line, now);
            }
            Told::Heard(heard)
                if self.lines.get(&line).is_some_and(|known| known.attempt == attempt) =>
            {
                self.hear(line, heard, now);
            }
            // Of an attempt or a line that was given up.
            Told::Opened(_) | Told::Heard(_) => {}
        }
    }

    fn hear(&mut self, line: LineId, heard: Heard<down::Kind>, now: Instant) {
        let outcome = match heard {
            Heard::Datagrams(datagrams) => datagrams
                .into_iter()
                .try_for_each(|bytes| self.caller.handle_datagram(line, bytes, now)),
            Heard::Control(0, down::Kind::GoAway(away)) => {
                self.go_away(line, &away, now);
                Ok(())
            }
            Heard::Control(0, _) => Ok(()),
            Heard::Control(number, message) => {
                self.caller.handle_control(line, number, message, now)
            }
            Heard::Frames(frames, bytes) => {
                self.caller.handle_stream(line, frames, bytes, now);
                Ok(())
            }
            Heard::Closed(error) if error.close_code() == Some(line::CLOSE_REPLACED) => {
                tracing::error!(
                    node = self.place.node,
                    "another process with this node's name took the place of this one"
                );
                self.reset("another process took its place");
                self.opener.handle_barred(now);
                Ok(())
            }
            Heard::Closed(error) => {
                tracing::info!(line = line.0, error = &error as &dyn Error, "a line closed");
                self.drop_line(line, "closed", now);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    /// A line is connected: to the upstream that the trunk stands with, to the same node in another
    /// life, or to somebody else.
    fn take(&mut self, line: LineId, attempt: u64, call: Call, now: Instant) {
        let Call { connection, peer, up, down, welcome } = call;
        let known = self.with.as_ref().map(|(node, trunk)| (*node == welcome.node, *trunk));
        match known {
            Some((_, trunk)) if trunk == welcome.trunk => {}
            Some((false, _)) if !self.is_leaving() => {
                // Another upstream: it is for when this one is gone, and rarely tried until then.
                connection.close(line::CLOSE_DONE, b"another upstream is in use");
                self.opener.drain(line);
                return self.opener.handle_closed(line, now);
            }
            _ if self.left.get(&welcome.node) == Some(&welcome.trunk) => {
                // It still counts from where it was left: another generation begins anew there too.
                connection.close(line::CLOSE_DONE, b"the trunk was left");
                self.opener.handle_closed(line, now);
                self.reset("back to an upstream that was left");
                if let Some((_, remote)) = self.ends.get(&line) {
                    self.opener.hasten(remote.address, now);
                }
                return;
            }
            Some((false, _)) => {
                tracing::info!(upstream = welcome.node, "moving to another upstream");
                self.forget("moved to another upstream");
                self.stand(&welcome, now);
            }
            Some((true, _)) => {
                // The call that found out made a new trunk there, of this generation.
                self.forget("the upstream has forgotten the trunk");
                self.stand(&welcome, now);
            }
            None => self.stand(&welcome, now),
        }
        let remotes: Vec<LineEnd> = welcome.addresses.iter().filter_map(line_end).collect();
        self.opener.handle_opened(line, now);
        self.opener.add_remotes(&remotes, now);
        // The upstream may have told the carrier of this very line.
        let tried = self.opener.candidates().find(|(tried, ..)| *tried == line);
        let Some((_, local, remote, _)) = tried else { return };
        let ends = (local.clone(), remote.clone());
        tracing::info!(line = line.0, %peer, local = %ends.0, remote = %ends.1, "a line is up");
        let datagram_max = Connected::<Up>::datagram_max(&connection);
        let id = (line, attempt);
        let tell: fn(Heard<down::Kind>) -> Told = Told::Heard;
        let connected =
            Connected::start(id, connection, (up, down), &self.nodes, &self.events, tell);
        self.lines.insert(line, connected);
        self.opened += 1;
        self.lost_at = None;
        self.caller.handle_opened(line, ends, datagram_max, now);
    }

    /// Whether there is no line left that is to stay.
    fn is_leaving(&self) -> bool {
        let pool = self.caller.trunk().pool();
        self.lines.keys().all(|line| pool.tier(*line).is_none_or(|tier| tier >= Tier::Draining))
    }

    fn stand(&mut self, welcome: &Welcome, now: Instant) {
        self.caller.reset(self.seed, now);
        self.with = Some((welcome.node.clone(), welcome.trunk));
        self.news.push_back(News::Up(Box::new(welcome.clone())));
    }

    /// The upstream is about to leave: lines to where it says are opened first, and only then is it
    /// left.
    fn go_away(&mut self, line: LineId, away: &control::GoAway, now: Instant) {
        tracing::info!(line = line.0, address = away.address, reason = away.reason, "go away");
        let was_leaving = self.is_leaving();
        self.caller.handle_draining(line, now);
        self.opener.drain(line);
        let Ok(remote) = away.address.parse::<LineEnd>() else {
            tracing::error!(address = away.address, "the upstream goes where nobody can call it");
            if !was_leaving && self.is_leaving() {
                self.opener.handle_all_lost(now);
            }
            return;
        };
        let address = remote.address;
        self.opener.add_remotes(&[remote], now);
        if !self.opener.hasten(address, now) {
            tracing::error!(%address, "no line leads to where the upstream goes");
        }
    }

    fn fail(&mut self, error: TrunkError) {
        tracing::error!(error = &error as &dyn Error, "the trunk failed");
        self.reset("the trunk failed");
    }

    /// Begins anew with another generation: the upstream forgets the trunk when it hears of it.
    fn reset(&mut self, reason: &str) {
        let now = Instant::now();
        self.generation += 1;
        // What still comes of them would take the place of what comes next.
        self.attempts = JoinSet::new();
        for (line, _) in std::mem::take(&mut self.opening) {
            self.opener.handle_closed(line, now);
        }
        self.forget(reason);
        self.left.clear();
    }

    /// Drops every line and what the trunk knew; the next line that opens begins anew.
    fn forget(&mut self, reason: &str) {
        let now = Instant::now();
        for line in self.lines.keys().copied().collect::<Vec<_>>() {
            self.drop_line(line, reason, now);
        }
        if let Some((node, trunk)) = self.with.take() {
            self.left.insert(node, trunk);
            self.caller.reset(self.seed, now);
            self.lost_at = None;
            self.news.push_back(News::Down);
        }
    }

    fn drop_line(&mut self, line: LineId, reason: &str, now: Instant) {
        if let Some(connected) = self.lines.remove(&line) {
            connected.close(reason);
            self.caller.handle_closed(line, now);
            self.opener.handle_closed(line, now);
            if self.lines.is_empty() {
                self.lost_at = Some(now);
                self.opener.handle_all_lost(now);
            }
        }
    }

    /// Carries out what the machines want.
    fn act(&mut self) {
        let now = Instant::now();
        while let Some(action) = self.caller.poll_action() {
            match action {
                TrunkAction::Datagram { line, bytes } => {
                    if let Some(connected) = self.lines.get(&line) {
                        connected.send_datagram(bytes);
                    }
                }
                TrunkAction::Control { line, number, message } => {
                    if let Some(connected) = self.lines.get(&line) {
                        connected.send_control(number, message);
                    }
                }
                TrunkAction::Stream { line, pieces } => {
                    if let Some(connected) = self.lines.get_mut(&line) {
                        connected.send_stream(pieces);
                    }
                }
                TrunkAction::Abandon(line) => {
                    tracing::warn!(line = line.0, "a line is silent: abandoning it");
                    self.drop_line(line, "silent", now);
                }
            }
        }
        while let Some(open) = self.opener.poll(now) {
            self.open(open.line, open.local, open.remote);
        }
    }

    fn open(&mut self, line: LineId, local: LineEnd, remote: LineEnd) {
        let endpoint = self.endpoints.iter().find(|(address, _)| *address == local.address);
        let Some((_, endpoint)) = endpoint.cloned() else { return };
        self.attempt_next += 1;
        let attempt = self.attempt_next;
        self.opening.insert(line, attempt);
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            node: self.place.node.clone(),
            session: self.place.session,
            line: line.0,
            generation: self.generation,
            local_carrier: local.carrier.clone(),
            remote_carrier: remote.carrier.clone(),
        };
        let address = remote.address;
        self.ends.insert(line, (local, remote));
        let events = self.events.clone();
        self.attempts.spawn(async move {
            let event = match line::call(&endpoint, address, hello).await {
                Ok(call) => Told::Opened(Box::new(call)),
                Err(error) => Told::Heard(Heard::Closed(error)),
            };
            let _ = events.send(Tagged { line, attempt, event }).await;
        });
    }
}

/// An end of lines as it crosses the wire; what does not parse is of a newer version.
fn line_end(end: &control::LineEnd) -> Option<LineEnd> {
    format!("{} {}", end.address, end.carrier).parse().ok()
}

async fn sleep_until(deadline: Option<Instant>) {
    // Without a deadline something else will happen first.
    let at = deadline.unwrap_or_else(|| Instant::now() + PAUSE_MAX);
    tokio::time::sleep_until(at.into()).await;
}
