//! One edge's session at another edge: it reads channels from the hub and writes them to the trunk.
//!
//! One task owns the trunk's end and the pulls. A pull reads from a ring of its own, whose messages
//! are shared with the hub's; what has left it is fetched from the upstream.
//!
//! Invariant: a message is sent for the first time at most once per pull, in order.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::io::line::Answered;
use shared::io::trunk::{AnsweringEnd, Requests};
use shared::limits::{PULLS_MAX, SNAPSHOT_ENTRIES_MAX};
use shared::line::{Asked, LineId};
use shared::message::{Message, Position};
use shared::namespace::Namespaces;
use shared::pull::{Pull, Turns};
use shared::ring::{Cursor, Read, Ring};
use shared::wire::control::{
    self, OnlineTotals, OpenPull, PresenceNotes, Request, Response, RoomCount, Welcome, down,
    response, up,
};
use shared::wire::convert;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{FromNeighbour, Hall, Seat, ToHub, ToNeighbour};
use crate::form::Item;
use crate::hub::{Fetched, JoinId, News, Notice, ShardId};
use crate::upstreams;

/// What a pull reads from.
struct Source {
    channel: ChannelName,
    join: JoinId,
    wish: Option<Cursor>,
    ring: Option<Ring<Arc<Message>>>,
    /// Since when its ring has not reached what it wishes for.
    ahead_since: Option<Instant>,
}

/// An edge's session.
pub(super) struct Session {
    hall: Hall,
    seat: Seat,
    edge: Arc<str>,
    end: AnsweringEnd,
    namespaces: Arc<Namespaces>,
    welcome: Welcome,
    /// Whether this edge pulls from its origin itself.
    serves: bool,
    pulls: HashMap<u64, Pull<Source>>,
    names: HashMap<ChannelName, u64>,
    join_next: u64,
    /// Pulls with something to write, and whether they wait for no more than their turn.
    due: Turns,
    has_more: bool,
    /// Pulls that are behind and wait until fewer streams are under way.
    behind: Turns,
    /// Pulls for which something is being fetched.
    fetching: HashSet<u64>,
    /// Pulls whose ring has not reached their wish.
    ahead: HashSet<u64>,
    /// Fetches under way for repairs, by pull and offset, and the line that asked.
    repairs: HashMap<(u64, u64), LineId>,
    requests: Arc<Requests>,
    lines: JoinSet<()>,
}

impl Session {
    pub(super) fn new(mut hall: Hall, seat: Seat, edge: Arc<str>) -> Self {
        let namespaces = hall.namespaces.borrow_and_update().clone().unwrap_or_default();
        let welcome = Welcome {
            node: hall.nodes.name().name,
            namespaces: convert::namespaces_out(&namespaces),
            version: env!("CARGO_PKG_VERSION").into(),
            trunk: rand::random(),
            ..Welcome::default()
        };
        let (to_hub, shard) = (hall.to_hub.clone(), seat.shard);
        let requests =
            Requests::new(move |request: Request| forward(to_hub.clone(), shard, request));
        Self {
            end: AnsweringEnd::new(hall.nodes.clone()),
            hall,
            seat,
            edge,
            namespaces,
            welcome,
            serves: false,
            pulls: HashMap::new(),
            names: HashMap::new(),
            join_next: 1,
            due: Turns::default(),
            has_more: false,
            behind: Turns::default(),
            fetching: HashSet::new(),
            ahead: HashSet::new(),
            repairs: HashMap::new(),
            requests: Arc::new(requests),
            lines: JoinSet::new(),
        }
    }

    /// Serves the edge until it is away for too long or another session takes its place.
    pub(super) async fn run(mut self, mut arrivals: mpsc::Receiver<Answered>) {
        let (to_session, mut told) = mpsc::channel(QUEUE);
        self.tell(FromNeighbour::Came(to_session));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut namespaces = self.hall.namespaces.clone();
        loop {
            tokio::select! {
                ended = self.end.wait() => if let Err(ended) = ended {
                    let error = &ended as &dyn Error;
                    break tracing::warn!(edge = &*self.edge, error, "the session ended");
                },
                line = arrivals.recv() => match line {
                    Some(line) => self.take(line),
                    None => {
                        tracing::warn!(edge = &*self.edge, "another process or generation of it");
                        break self.end.close_replaced();
                    }
                },
                message = told.recv() => {
                    let Some(message) = message else { break };
                    self.handle(message);
                    while let Ok(message) = told.try_recv() {
                        self.handle(message);
                    }
                }
                // It was welcomed with others: it is to come again.
                changed = namespaces.changed() => match changed {
                    Ok(()) if namespaces.borrow().as_ref() == Some(&self.namespaces) => {}
                    _ => break tracing::info!(edge = &*self.edge, "other namespaces"),
                },
                _ = tick.tick() => self.look_ahead(),
                Some(ended) = self.lines.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "the requests of a line failed");
                },
                () = tokio::task::yield_now(), if self.has_more => {}
            }
            while let Some(kind) = self.end.poll_control() {
                self.handle_control(kind);
            }
            while let Some(asked) = self.end.poll_asked() {
                self.repair(asked);
            }
            self.write_due();
        }
        self.end.close("the session ends");
    }

    fn take(&mut self, answered: Answered) {
        let requests = Arc::clone(&self.requests);
        self.lines.spawn(requests.serve(answered.connection.clone()));
        self.end.take(answered, self.welcome.clone());
    }

    fn handle_control(&mut self, kind: up::Kind) {
        match kind {
            // While this edge serves nobody: its quality, which says so, is under way.
            up::Kind::Open(_) | up::Kind::Credit(_) | up::Kind::Close(_) if !self.serves => {}
            up::Kind::Open(open) => open.pulls.into_iter().for_each(|pull| self.open(pull)),
            up::Kind::Credit(credit) => {
                for control::Credit { pull, until } in credit.grants {
                    if let Some(known) = self.pulls.get_mut(&pull) {
                        known.grant(until);
                        self.due.push(pull);
                    }
                }
            }
            up::Kind::Close(close) => close.pulls.into_iter().for_each(|pull| self.close(pull)),
            // Who is where is told to the origin alone.
            up::Kind::Hello(_)
            | up::Kind::Presence(_)
            | up::Kind::Online(_)
            | up::Kind::Report(_)
            | up::Kind::Ping(_) => {
                tracing::debug!(edge = &*self.edge, "a message that concerns no edge");
            }
        }
    }

    fn open(&mut self, OpenPull { pull, channel, epoch, next, credit }: OpenPull) {
        self.close(pull);
        let channel = match ChannelName::parse(&channel) {
            Ok((channel, _)) => channel,
            Err(error) => return self.refuse(pull, 107, false, error.to_string()),
        };
        if let Some(other) = self.names.get(&channel).copied() {
            self.close(other);
        }
        if self.pulls.len() >= PULLS_MAX {
            return self.refuse(pull, 106, true, "too many pulls of one edge".to_owned());
        }
        let epoch = shared::message::Epoch::new(epoch);
        let wish = epoch.map(|epoch| Cursor { epoch, next });
        let join = JoinId(self.join_next);
        self.join_next += 1;
        self.names.insert(channel.clone(), pull);
        self.tell(FromNeighbour::Join(channel.clone(), join, wish));
        let source = Source { channel, join, wish, ring: None, ahead_since: None };
        self.pulls.insert(pull, Pull::new(pull, source, wish, credit));
    }

    fn close(&mut self, pull: u64) {
        self.fetching.remove(&pull);
        self.ahead.remove(&pull);
        self.repairs.retain(|(of, _), _| *of != pull);
        let Some(Pull { source, .. }) = self.pulls.remove(&pull) else { return };
        self.names.remove(&source.channel);
        self.tell(FromNeighbour::Leave(source.channel, source.join));
    }

    fn handle(&mut self, message: ToNeighbour) {
        match message {
            ToNeighbour::Notice(notice) => self.handle_notice(notice),
            ToNeighbour::Fetched(fetched) => self.handle_fetched(fetched),
            ToNeighbour::Quality(quality) => {
                let serves = upstreams::is_beside_origin(&quality.path);
                if !serves {
                    // The hub has forgotten them already, or forgets those that it hears of late.
                    let pulls: Vec<u64> = self.pulls.keys().copied().collect();
                    pulls.into_iter().for_each(|pull| self.close(pull));
                    self.repairs.clear();
                }
                self.serves = serves;
                self.end.send(down::Kind::Quality(Arc::unwrap_or_clone(quality)));
            }
        }
    }

    fn handle_notice(&mut self, Notice { channel, join, news }: Notice) {
        let Some(id) = self.names.get(&channel).copied() else { return };
        let Some(pull) = self.pulls.get_mut(&id).filter(|pull| pull.source.join == join) else {
            return;
        };
        let bounds =
            || self.namespaces.options(&channel).cloned().unwrap_or_default().ring_bounds();
        match news {
            News::Open { position, tail, .. } => {
                let before = position.offset.saturating_sub(tail.len() as u64);
                let mut ring = Ring::new(Position { offset: before, ..position }, bounds());
                tail.into_iter().for_each(|message| push(&mut ring, message));
                pull.source.ring = Some(ring);
            }
            News::Items(items) => {
                let is_open = pull.cursor().is_some();
                let mut notes = Vec::new();
                for item in &*items {
                    match (item, &mut pull.source.ring) {
                        (Item::Message(message), Some(ring)) => push(ring, Arc::clone(message)),
                        (Item::Presence { joined, info }, Some(_)) if is_open => {
                            let info = Some(convert::info_out(info));
                            notes.push(control::PresenceNote { pull: id, joined: *joined, info });
                        }
                        _ => {}
                    }
                }
                for piece in notes.chunks(SNAPSHOT_ENTRIES_MAX) {
                    self.end.send(down::Kind::Presence(PresenceNotes { notes: piece.to_vec() }));
                }
            }
            News::Gap(position) => {
                pull.source.ring = Some(Ring::new(position, bounds()));
                if pull.cursor().is_some() {
                    let opened = pull.skip(Cursor::after(position), position);
                    self.end.send(down::Kind::Opened(opened));
                }
            }
            News::Refused { code, message, temporary } => {
                self.close(id);
                return self.refuse(id, code, temporary, message);
            }
            News::Total(count) => {
                let room = RoomCount { channel: channel.as_str().to_owned(), count };
                return self.end.send(down::Kind::Totals(OnlineTotals { rooms: vec![room] }));
            }
        }
        self.due.push(id);
    }

    fn handle_fetched(&mut self, Fetched { channel, join, from, messages }: Fetched) {
        let Some(id) = self.names.get(&channel).copied() else { return };
        let Some(pull) = self.pulls.get_mut(&id).filter(|pull| pull.source.join == join) else {
            return;
        };
        if let Some(line) = self.repairs.remove(&(id, from.next)) {
            match messages {
                Ok(messages) => {
                    for message in &messages {
                        self.end.repair(line, id, from.epoch, message);
                    }
                    self.end.flush();
                }
                Err(Cursor { epoch, next }) => {
                    let top = pull.cursor().map_or(0, |cursor| cursor.next - 1);
                    let epoch = epoch.number();
                    let gone = control::Opened { pull: id, epoch, next, top };
                    self.end.send(down::Kind::Opened(gone));
                }
            }
            return;
        }
        self.fetching.remove(&id);
        if !self.end.is_ready() {
            return self.due.push(id); // it is fetched again when a line takes it
        }
        if pull.cursor() == Some(from)
            && let Some(ring) = &pull.source.ring
        {
            let (oldest, top) = (ring.oldest(), ring.top());
            match messages {
                Ok(messages) => {
                    let to = Cursor { next: from.next + messages.len() as u64, ..from };
                    self.send_batch(id, from, to, top.offset, &messages);
                }
                Err(place) if place.epoch == oldest.epoch => {
                    let place = Cursor { next: place.next.min(oldest.next), ..place };
                    self.skip(id, place, top);
                }
                Err(_) => self.skip(id, oldest, top),
            }
        }
        self.due.push(id);
    }

    /// Sends again what the edge misses.
    fn repair(&mut self, Asked { line, pull: id, offsets }: Asked) {
        let Some(pull) = self.pulls.get(&id) else { return };
        let (Some(cursor), Some(ring)) = (pull.cursor(), &pull.source.ring) else { return };
        let Cursor { epoch, .. } = cursor;
        let mut gone: Option<(u64, u64)> = None;
        for offset in offsets.into_iter().filter(|offset| *offset < cursor.next) {
            match ring.get(offset).filter(|_| ring.top().epoch == epoch) {
                Some(message) => self.end.repair(line, id, epoch, message),
                None => gone = Some((gone.map_or(offset, |(first, _)| first), offset)),
            }
        }
        self.end.flush();
        // What else is missing between them is asked for again.
        if let Some((first, last)) = gone
            && self.repairs.len() < REPAIRS_MAX
            && self.repairs.insert((id, first), line).is_none()
        {
            let count = (last - first + 1).min(TURN_MESSAGES as u64) as u32;
            let (channel, join) = (pull.source.channel.clone(), pull.source.join);
            let from = Cursor { epoch, next: first };
            self.tell(FromNeighbour::Fetch(channel, join, from, count));
        }
    }

    /// Writes everything that is due, pulls taking turns.
    fn write_due(&mut self) {
        for under_way in self.fetching.len().. {
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
        self.has_more = !self.due.is_empty() && self.end.is_ready();
        self.end.flush();
    }

    /// Writes one turn of a pull; whether it has more to write.
    fn write_pull(&mut self, id: u64) -> bool {
        let Some(pull) = self.pulls.get_mut(&id) else { return false };
        let Some(ring) = &pull.source.ring else { return false };
        let top = ring.top();
        let Some(mut cursor) = pull.cursor() else { return self.begin(id) };
        let credit = pull.credit().min(TURN_MESSAGES);
        if credit == 0 || self.fetching.contains(&id) {
            return false; // more credit, or what is fetched, brings its turn
        }
        let behind = (top.offset + 1).saturating_sub(cursor.next);
        let has_streams = self.end.has_streams(self.fetching.len());
        if behind > LIVE_MESSAGES && !has_streams {
            self.behind.push(id);
            return false;
        }
        let from = cursor;
        match ring.read(&mut cursor, credit) {
            Read::Batch(batch) => {
                let batch: Vec<Arc<Message>> = batch.into_iter().cloned().collect();
                self.send_batch(id, from, cursor, top.offset, &batch);
                true
            }
            Read::CaughtUp => false,
            Read::Behind { oldest } if from.epoch != oldest.epoch => {
                self.skip(id, oldest, top);
                true
            }
            Read::Behind { .. } if !has_streams => {
                self.behind.push(id);
                false
            }
            Read::Behind { oldest } => {
                let count = oldest.next.saturating_sub(from.next).min(credit as u64) as u32;
                if count > 0 {
                    self.fetching.insert(id);
                    let (channel, join) = (pull.source.channel.clone(), pull.source.join);
                    self.tell(FromNeighbour::Fetch(channel, join, from, count));
                }
                false
            }
        }
    }

    /// Tells where a pull begins, once that can be said: an edge may have had messages that have not
    /// come here yet. Answers whether it was.
    fn begin(&mut self, id: u64) -> bool {
        let Some(pull) = self.pulls.get_mut(&id) else { return false };
        let Some(ring) = &pull.source.ring else { return false };
        let top = ring.top();
        let is_ahead = |wish: Cursor| wish.epoch == top.epoch && wish.next > top.offset + 1;
        if pull.source.wish.is_some_and(is_ahead) {
            let now = Instant::now();
            let since = *pull.source.ahead_since.get_or_insert(now);
            if now.saturating_duration_since(since) < AHEAD_MAX {
                self.ahead.insert(id);
                return false;
            }
        }
        self.ahead.remove(&id);
        // Whatever its wish is, it is looked for upstream.
        let opened = pull.open(Cursor { epoch: top.epoch, next: 1 }, top);
        self.end.send(down::Kind::Opened(opened));
        true
    }

    fn look_ahead(&mut self) {
        for pull in self.ahead.clone() {
            self.due.push(pull);
        }
    }

    /// Sends messages for the first time: live ones by datagrams, many at once by a stream.
    fn send_batch(&mut self, id: u64, from: Cursor, to: Cursor, top: u64, batch: &[Arc<Message>]) {
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        pull.sent(to);
        if (top + 1).saturating_sub(from.next) > LIVE_MESSAGES {
            self.end.catch_up(id, from.epoch, batch.iter().map(AsRef::as_ref));
        } else {
            for message in batch {
                self.end.publish(id, from.epoch, message);
            }
        }
    }

    /// What comes next is gone.
    fn skip(&mut self, id: u64, to: Cursor, top: Position) {
        if let Some(pull) = self.pulls.get_mut(&id) {
            let opened = pull.skip(to, top);
            self.end.send(down::Kind::Opened(opened));
        }
    }

    fn refuse(&mut self, pull: u64, code: u32, temporary: bool, reason: String) {
        self.end.send(down::Kind::Refused(control::Refused { pull, code, temporary, reason }));
    }

    fn tell(&self, message: FromNeighbour) {
        // The hub's end is the edge's.
        let _ = self.hall.to_hub.send((self.seat.shard, message));
    }
}

/// However a session ends, the hub must forget it.
impl Drop for Session {
    fn drop(&mut self) {
        self.tell(FromNeighbour::Gone);
    }
}

/// The hub tells them in order.
fn push(ring: &mut Ring<Arc<Message>>, message: Arc<Message>) {
    if let Err(error) = ring.push(message.offset, message) {
        tracing::error!(%error, "the hub told messages out of order");
    }
}

/// Asks the origin for another edge.
async fn forward(to_hub: ToHub, shard: ShardId, request: Request) -> Response {
    let answered = async {
        let (reply, answer) = oneshot::channel();
        to_hub.send((shard, FromNeighbour::Ask(request.kind?, reply))).ok()?;
        answer.await.ok()?
    };
    let kind = answered.await.unwrap_or_else(|| {
        response::Kind::Failure(control::Failure {
            code: 100,
            message: "the upstream cannot be reached".into(),
            temporary: true,
            disconnect: 0,
        })
    });
    Response { kind: Some(kind) }
}

/// What a session may be behind the hub before it is over. It takes everything at once, so only what
/// comes in one of its turns waits: of an edge that opens all its pulls, their tails.
const QUEUE: usize = 1 << 16;
const TICK: Duration = Duration::from_millis(100);
/// Messages of one pull before others get their turn.
const TURN_MESSAGES: usize = 256;
/// Turns of pulls before beats and what arrives get theirs.
const TURNS: usize = 64;
/// A pull that is further behind catches up on a stream.
const LIVE_MESSAGES: u64 = 64;
/// Fetches for repairs under way; more are asked for again.
const REPAIRS_MAX: usize = 32;
/// How long a wish that is ahead of what came here is believed: less than readers wait.
const AHEAD_MAX: Duration = Duration::from_secs(2);
