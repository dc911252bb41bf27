//! The edge's side of its trunks: carries out what the hub decides.
//!
//! One task owns the hub and the trunks' ends and takes everything that happens in one place. Pulls go
//! to the upstream that is chosen, the origin or a neighbour; who is here is told to the origin alone.
//!
//! Invariant: what a shard asked or told before is at the origin before what it asks next there; the
//! task waits for nobody, so that the beats of its trunks keep their pace.

mod choosing;
mod gauges;
mod outlet;
mod requests;
mod way;

pub(super) use gauges::{Gauges, LineView, TrunkView};

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::io::shutdown::Shutdown;
use shared::io::tls::Role;
use shared::io::trunk::{CallingEnd, News};
use shared::line::receiver::Event;
use shared::message::{Message, Position};
use shared::namespace::Namespaces;
use shared::wire::control::{
    Command, Credit, GrantCredit, History, Quality, Welcome, down, request, up,
};
use shared::wire::convert;
use tokio::sync::{mpsc, watch};

use self::outlet::Outlet;
use self::requests::{Asker, For, Requests, answer, older};
use self::way::{Way, wait_any};
use super::door::Door;
use super::neighbours::{FromNeighbour, ToNeighbour};
use crate::hub::{Action as HubAction, Hub, Notice, SHARDS_MAX, ShardId};
use crate::room::ConnectionId;
use crate::session::{Answer, AskId};
use crate::shard::ToHub;
use crate::upstreams::{Choice, Upstreams};

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

/// What an uplink is made of.
pub(super) struct Parts {
    /// What this edge is called in paths.
    pub(super) name: String,
    pub(super) origin: CallingEnd,
    /// At most [`NEIGHBOURS_MAX`](crate::config::NEIGHBOURS_MAX).
    pub(super) neighbours: Vec<CallingEnd>,
    pub(super) pace: Pace,
    pub(super) shards: Vec<mpsc::Sender<ToShard>>,
    /// Told what the upstream says.
    pub(super) namespaces: watch::Sender<Option<Arc<Namespaces>>>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) door: Arc<Door>,
}

/// What the hub is told from outside.
pub(super) struct Inlets {
    pub(super) shards: mpsc::UnboundedReceiver<(ShardId, ToHub)>,
    pub(super) neighbours: mpsc::UnboundedReceiver<(ShardId, FromNeighbour)>,
}

/// The owner of hub and trunks.
pub(super) struct Uplink {
    name: String,
    origin: Way,
    neighbours: Vec<Way>,
    upstreams: Upstreams,
    /// Whom the hub's pulls are at.
    active: Choice,
    choose_at: Instant,
    /// When the origin's lines last worked, and how long messages took then.
    own_seen: Option<(Instant, Duration)>,
    /// The edges that pull through this one, what they were told last, and when they are told again.
    served: BTreeMap<ShardId, mpsc::Sender<ToNeighbour>>,
    quality: Arc<Quality>,
    quality_at: Instant,
    hub: Hub,
    /// The origin's process, and the last command of it that was carried out.
    commander: u64,
    commanded: u64,
    /// Who logged in last with each key.
    keys: HashMap<String, (ShardId, ConnectionId)>,
    requests: Requests,
    shards: Vec<Outlet>,
    /// How far each pull may go on that was not told yet.
    grants: BTreeMap<u64, u64>,
    namespaces: watch::Sender<Option<Arc<Namespaces>>>,
    gauges: Arc<Gauges>,
    door: Arc<Door>,
    look_at: Instant,
}

impl Uplink {
    /// An uplink that has not called anybody yet.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, origin, neighbours, pace, shards, namespaces, gauges, door } = parts;
        let now = Instant::now();
        Self {
            name,
            origin: Way::new(origin, Role::Origin),
            neighbours: neighbours.into_iter().map(|end| Way::new(end, Role::Edge)).collect(),
            upstreams: Upstreams::default(),
            active: Choice::Origin,
            choose_at: now,
            own_seen: None,
            served: BTreeMap::new(),
            quality: Arc::default(),
            quality_at: now,
            hub: Hub::new(pace.linger, pace.channels_max, now),
            commander: 0,
            commanded: 0,
            keys: HashMap::new(),
            requests: Requests::new(pace.request_timeout, Arc::clone(&gauges)),
            shards: shards.into_iter().map(|shard| Outlet::new(shard, now)).collect(),
            grants: BTreeMap::new(),
            namespaces,
            gauges,
            door,
            look_at: now,
        }
    }

    /// Serves the shards until the shutdown.
    pub(super) async fn run(mut self, mut inlets: Inlets, shutdown: Shutdown) {
        let mut batch = Vec::new();
        loop {
            self.act();
            let mut deadline = self.hub.next_deadline().min(self.look_at);
            if self.has_neighbours() {
                deadline = deadline.min(self.choose_at);
            }
            if self.shards.iter().any(Outlet::is_behind) {
                deadline = deadline.min(Instant::now() + BEHIND_POLL);
            }
            tokio::select! {
                () = shutdown.triggered() => break,
                () = self.origin.end.wait() => {}
                () = wait_any(&mut self.neighbours) => {}
                count = inlets.shards.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break; // all shards are gone
                    }
                    for (shard, message) in batch.drain(..) {
                        self.handle_shard(shard, message);
                    }
                }
                Some((shard, message)) = inlets.neighbours.recv() => {
                    self.handle_served(shard, message);
                    for _ in 1..BATCH {
                        let Ok((shard, message)) = inlets.neighbours.try_recv() else { break };
                        self.handle_served(shard, message);
                    }
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    let (connections, addresses) = self.door.counts();
                    self.hub.set_clients(connections, addresses);
                    self.hub.handle_deadline(now);
                    if self.look_at <= now {
                        self.look_at = now + LOOK_EVERY;
                        self.look(now);
                    }
                }
                ended = self.requests.ended() => if let Some((asker, (id, kind))) = ended {
                    self.session_request(asker, id, kind, Some(asker));
                },
            }
        }
        let ways = std::iter::once(self.origin).chain(self.neighbours);
        CallingEnd::close_all(ways.map(|way| way.end).collect(), "the edge ends").await;
    }

    fn act(&mut self) {
        let now = Instant::now();
        self.shards.iter_mut().for_each(|shard| shard.flush(now));
        self.hear_origin(now);
        self.hear_neighbours(now);
        if self.has_neighbours() && self.choose_at <= now {
            self.choose(now);
        }
        self.carry_out(now);
        self.count();
    }

    fn hear_origin(&mut self, now: Instant) {
        let mut events = Vec::new();
        while let Some(news) = self.origin.end.poll() {
            if let News::Event(event) = news {
                events.push(event);
                continue;
            }
            self.take_events(Choice::Origin, &mut events, now);
            match news {
                News::Up(welcome) => self.handle_up(*welcome, now),
                News::Down => self.handle_down(now),
                News::Control(kind) => self.handle_control(kind, now),
                News::Switch(switch) => {
                    let (from, to) = (switch.from.map(|line| line.0), switch.to.0);
                    tracing::info!(?from, to, why = ?switch.why, "another line is the primary");
                    self.gauges.switches.fetch_add(u64::from(from.is_some()), Ordering::Relaxed);
                }
                News::Event(_) => {}
            }
        }
        self.take_events(Choice::Origin, &mut events, now);
    }

    /// Takes in what a trunk brought of pulls. All of them are at the upstream: what others say of
    /// them is not heard.
    fn take_events(&mut self, of: Choice, events: &mut Vec<Event>, now: Instant) {
        let events = events.drain(..);
        if of == self.active {
            self.hub.handle_events(events, now);
        }
    }

    /// Carries out what the hub wants.
    fn carry_out(&mut self, now: Instant) {
        loop {
            while let Some(action) = self.hub.poll_action() {
                self.carry_out_one(action, now);
            }
            // Of the others nothing is under way that a gap would come after.
            let lost = |(at, shard): (usize, &mut Outlet)| Some((at, shard.take_lost()?));
            let Some((at, lost)) = self.shards.iter_mut().enumerate().find_map(lost) else { break };
            self.hub.handle_lost(ShardId(at as u8), lost); // at most SHARDS_MAX
        }
        if !self.grants.is_empty() && !self.shards.iter().any(|shard| shard.holds(now)) {
            let grants = std::mem::take(&mut self.grants).into_iter();
            let grants: Vec<Credit> = grants.map(|(pull, until)| Credit { pull, until }).collect();
            for piece in grants.chunks(GRANTED_AT_ONCE) {
                let credit = GrantCredit { grants: piece.to_vec() };
                self.upstream().end.send(up::Kind::Credit(credit));
            }
        }
    }

    fn carry_out_one(&mut self, action: HubAction, now: Instant) {
        match action {
            HubAction::Up(kind) => match *kind {
                up::Kind::Credit(GrantCredit { grants }) => {
                    self.grants.extend(grants.into_iter().map(|grant| (grant.pull, grant.until)));
                }
                kind => self.upstream().end.send(kind),
            },
            HubAction::Update(kind) => self.origin.end.send(*kind),
            HubAction::Fetched(shard, fetched) => {
                self.tell_session(shard, ToNeighbour::Fetched(fetched), now);
            }
            HubAction::Tell(shard, notice) if usize::from(shard.0) < SHARDS_MAX => {
                self.tell(shard, ToShard::Notice(notice), now);
            }
            HubAction::Tell(shard, notice) => {
                self.tell_session(shard, ToNeighbour::Notice(notice), now);
            }
        }
    }

    fn count(&mut self) {
        let is_alive = self.upstream().end.is_alive();
        let gauges = &self.gauges;
        gauges.line_up.store(is_alive, Ordering::Relaxed);
        gauges.channels.store(self.hub.channels() as u32, Ordering::Relaxed);
        gauges.gaps.store(self.hub.counts().gaps, Ordering::Relaxed);
        let ways = || std::iter::once(&self.origin).chain(&self.neighbours);
        let opened = ways().map(|way| way.end.opened()).sum();
        gauges.lines_opened.store(opened, Ordering::Relaxed);
        let counts = || ways().map(|way| way.end.caller().receiver().counts());
        for (cell, count) in [
            (&gauges.messages, counts().map(|c| c.delivered).sum()),
            (&gauges.duplicates, counts().map(|c| c.duplicates).sum()),
            (&gauges.repaired, counts().map(|c| c.repaired).sum()),
            (&gauges.nacks, counts().map(|c| c.nacks).sum()),
            (&gauges.lost, counts().map(|c| c.lost).sum()),
        ] {
            cell.store(count, Ordering::Relaxed);
        }
    }

    /// Shows others how things stand.
    fn look(&mut self, now: Instant) {
        let ways = std::iter::once(&mut self.origin).chain(&mut self.neighbours);
        let views = ways.map(|way| way.view(&self.name, now)).collect();
        self.gauges.show(views);
    }

    fn tell(&mut self, shard: ShardId, message: ToShard, now: Instant) {
        if let Some(shard) = self.shards.get_mut(usize::from(shard.0)) {
            shard.tell(message, now);
        }
    }

    fn handle_up(&mut self, welcome: Welcome, now: Instant) {
        tracing::info!(upstream = welcome.node, version = welcome.version, "the origin is there");
        if std::mem::replace(&mut self.commander, welcome.session) != welcome.session {
            self.commanded = 0;
        }
        let namespaces = Arc::new(convert::namespaces_in(welcome.namespaces));
        self.origin.namespaces = Some(Arc::clone(&namespaces));
        self.namespaces.send_replace(Some(Arc::clone(&namespaces)));
        if self.active == Choice::Origin {
            self.hub.handle_line_up(namespaces);
        }
        self.hub.handle_origin_up();
        self.choose_at = now;
    }

    fn handle_down(&mut self, now: Instant) {
        tracing::warn!("the origin is gone");
        self.origin.namespaces = None;
        if self.active == Choice::Origin {
            // What was being fetched is gone with it.
            self.stop_serving(now);
            self.hub.handle_line_down();
        }
        self.hub.handle_origin_down();
        self.choose_at = now;
    }

    fn handle_control(&mut self, kind: down::Kind, now: Instant) {
        match kind {
            down::Kind::Totals(totals) if self.active == Choice::Origin => {
                self.hub.handle_totals(totals);
            }
            down::Kind::Command(command) if command.number <= self.commanded => {} // told again
            down::Kind::Command(command) => {
                self.commanded = command.number;
                let command = Arc::new(command);
                for shard in &mut self.shards {
                    shard.tell(ToShard::Command(Arc::clone(&command)), now);
                }
            }
            // Of the handshake, of a line, of a pull, of another edge or a svrlist: none comes here.
            down::Kind::Totals(_)
            | down::Kind::Welcome(_)
            | down::Kind::Pong(_)
            | down::Kind::GoAway(_)
            | down::Kind::Opened(_)
            | down::Kind::Refused(_)
            | down::Kind::Presence(_)
            | down::Kind::Quality(_)
            | down::Kind::Elsewhere(_)
            | down::Kind::EndsTaken(_)
            | down::Kind::Drain(_) => {}
        }
    }

    fn handle_shard(&mut self, shard: ShardId, message: ToHub) {
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
                self.act(); // so that the request comes after every update before it
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
                    self.tell(before, ToShard::KeyTaken(key, old), now);
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
        let Some(to) = self.shards.get(usize::from(shard.0)).map(Outlet::queue) else {
            return;
        };
        let route = self.route(Instant::now());
        self.requests.ask(route, kind, For::Client(publisher), move |answer| async move {
            let _ = to.send(make(answer)).await;
        });
    }
}

/// Messages of shards that are taken at once.
const BATCH: usize = 256;
/// How often it is looked whether a shard that is behind takes more.
const BEHIND_POLL: Duration = Duration::from_millis(2);
/// Grants that one message tells: of at most 22 bytes each, 1.4 MiB.
const GRANTED_AT_ONCE: usize = 1 << 16;
/// How often others are shown how things stand.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
