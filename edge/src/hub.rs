//! The hub: which channels this edge pulls, for which shards, and what it tells its origin.
//!
//! There is one pull per channel and edge, however many clients read it; hundreds of simultaneous
//! joins make one. Other edges that pull through this one read as shards do ([`ShardId`]). While the
//! upstream is away the hub goes on serving what it has, and afterwards resumes every pull at its
//! cursor. A machine without I/O: feed it, then drain [`Hub::poll_action`].
//!
//! Invariant: each shard that joined a channel is told `Open` or `Refused` once, and after `Open`
//! receives every item in order, or a `Gap`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::limits::{PULL_CREDIT_MESSAGES, SNAPSHOT_ENTRIES_MAX};
use shared::line::receiver::Event;
use shared::message::{ClientInfo, Message, Position};
use shared::namespace::{Namespaces, Options};
use shared::ring::{Cursor, Ring};
use shared::wire::control::{self, up};

use crate::form::Item;

mod clients;
mod fetch;

pub use fetch::Fetched;

/// Names a shard, at most [`SHARDS_MAX`], or from there on an edge that pulls through this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

/// Names one joining of a channel by a shard, so that news of an earlier one is not taken for its.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JoinId(pub u64);

/// What the hub tells a shard about a channel it joined.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The channel.
    pub channel: ChannelName,
    /// The joining that it answers.
    pub join: JoinId,
    /// What there is to tell.
    pub news: News,
}

/// What happens to a channel.
#[derive(Clone, Debug)]
pub enum News {
    /// The channel can be read: its position, and the tail that leads up to it.
    Open {
        /// The last position.
        position: Position,
        /// Whether clients may see offsets.
        offsets: bool,
        /// The messages up to `position`, oldest first.
        tail: Vec<Arc<Message>>,
    },
    /// New items, in order.
    Items(Arc<[Item]>),
    /// Messages are missing; the channel goes on after `position`.
    Gap(Position),
    /// The channel cannot be read.
    Refused {
        /// A Centrifuge error code.
        code: u32,
        /// For the client.
        message: String,
        /// Whether trying again later may help.
        temporary: bool,
    },
    /// Clients of a room over all edges.
    Total(u32),
}

/// What the shell must do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Tell the upstream of pulls.
    Up(Box<up::Kind>),
    /// Tell the origin who is here, whatever is pulled from.
    Update(Box<up::Kind>),
    /// Tell a shard.
    Tell(ShardId, Notice),
    /// Tell another edge what was fetched for it.
    Fetched(ShardId, Fetched),
}

/// How much went other than planned; read by metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken into rings.
    pub messages: u64,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Times messages were missing for good, or an epoch changed.
    pub gaps: u64,
    /// Channels refused by the upstream or not answered in time.
    pub refusals: u64,
}

#[derive(Debug, Default)]
struct Channel {
    /// The open pull of the present line session.
    pull: Option<u64>,
    /// Where the first reader wants to start, until the channel is open.
    from: Option<Cursor>,
    ring: Option<Ring<Arc<Message>>>,
    /// Shards are told `Open` once the ring has reached this offset.
    catching_up: Option<u64>,
    /// Who reads, and since which joining.
    shards: BTreeMap<ShardId, JoinId>,
    /// Messages taken since credit was last granted.
    consumed: u32,
    timer: Option<Instant>,
    counts: BTreeMap<ShardId, u32>,
    total: Option<u32>,
    kept_warm: bool,
}

impl Channel {
    fn is_open(&self) -> bool {
        self.ring.is_some() && self.catching_up.is_none()
    }
}

/// The pulls of one edge.
#[derive(Debug)]
pub struct Hub {
    namespaces: Arc<Namespaces>,
    linger: Duration,
    channels_max: usize,
    /// Whether there is an upstream to pull from, and whether the origin is told who is here.
    line_up: bool,
    origin_up: bool,
    channels: HashMap<ChannelName, Channel>,
    pulls: HashMap<u64, ChannelName>,
    fetches: BTreeMap<u64, fetch::Fetch>,
    pull_next: u64,
    timers: BTreeSet<(Instant, ChannelName)>,
    presence: BTreeMap<ChannelName, BTreeMap<String, ClientInfo>>,
    presence_changes: Vec<control::PresenceChange>,
    counted: BTreeSet<ChannelName>,
    /// Connections, and distinct addresses among them.
    clients: (u32, u32),
    online_at: Instant,
    update_seq: u64,
    actions: VecDeque<Action>,
    counts: Counts,
}

impl Hub {
    /// A hub without a line. Pulls stay open for `linger` after their last reader left; beyond
    /// `channels_max` new channels are refused.
    pub fn new(linger: Duration, channels_max: usize, now: Instant) -> Self {
        let mut hub = Self {
            namespaces: Arc::new(Namespaces::default()),
            linger,
            channels_max,
            line_up: false,
            origin_up: false,
            channels: HashMap::new(),
            pulls: HashMap::new(),
            fetches: BTreeMap::new(),
            pull_next: 1,
            timers: BTreeSet::new(),
            presence: BTreeMap::new(),
            presence_changes: Vec::new(),
            counted: BTreeSet::new(),
            clients: (0, 0),
            online_at: now + ONLINE_EVERY,
            update_seq: 0,
            actions: VecDeque::new(),
            counts: Counts::default(),
        };
        // The broadcast concerns every client: it is pulled whether or not one is here.
        let warm = Channel { kept_warm: true, ..Channel::default() };
        hub.channels.insert(ChannelName::broadcast(), warm);
        hub
    }

    /// An upstream is there and told its namespaces: every pull is opened at its cursor.
    pub fn handle_line_up(&mut self, namespaces: Arc<Namespaces>) {
        self.namespaces = namespaces;
        self.line_up = true;
        self.pulls.clear();
        self.fetches.clear();
        let mut names: Vec<ChannelName> = self.channels.keys().cloned().collect();
        names.sort_unstable();
        let opens: Vec<_> = names.into_iter().filter_map(|name| self.open_pull(&name)).collect();
        for piece in opens.chunks(SNAPSHOT_ENTRIES_MAX) {
            self.up(up::Kind::Open(control::OpenPulls { pulls: piece.to_vec() }));
        }
    }

    /// The upstream is gone. What is here goes on being served.
    pub fn handle_line_down(&mut self) {
        self.line_up = false;
        self.pulls.clear();
        self.fetches.clear();
        for channel in self.channels.values_mut() {
            channel.pull = None;
        }
    }

    /// Another upstream is about to take the place of this one, which is told to forget every pull.
    pub fn handle_line_left(&mut self) {
        let mut pulls: Vec<u64> = self.pulls.keys().chain(self.fetches.keys()).copied().collect();
        pulls.sort_unstable();
        for piece in pulls.chunks(CLOSED_AT_ONCE) {
            self.up(up::Kind::Close(control::ClosePulls { pulls: piece.to_vec() }));
        }
        self.handle_line_down();
    }

    /// The origin is there: it learns anew who is here.
    pub fn handle_origin_up(&mut self) {
        self.origin_up = true;
        self.presence_changes.clear();
        self.send_presence_snapshot();
        self.send_online(true);
    }

    /// The origin is gone, and with it what it was told.
    pub fn handle_origin_down(&mut self) {
        self.origin_up = false;
        self.presence_changes.clear();
    }

    /// A shard is gone, and reads nothing any more.
    pub fn handle_shard_gone(&mut self, shard: ShardId, now: Instant) {
        self.forget_fetches(shard);
        let of_shard = |(name, channel): (&ChannelName, &Channel)| {
            Some((name.clone(), *channel.shards.get(&shard)?))
        };
        let mut joins: Vec<_> = self.channels.iter().filter_map(of_shard).collect();
        joins.sort_unstable();
        for (name, join) in joins {
            self.handle_leave(shard, join, &name, now);
        }
    }

    /// A shard has lost news of channels, of messages where that is said: it goes on at their ends.
    pub fn handle_lost(
        &mut self,
        shard: ShardId,
        lost: impl IntoIterator<Item = (ChannelName, bool)>,
    ) {
        for (name, messages) in lost {
            let Some(channel) = self.channels.get(&name).filter(|channel| channel.is_open()) else {
                continue;
            };
            let Some(join) = channel.shards.get(&shard).copied() else { continue };
            let gap = channel.ring.as_ref().filter(|_| messages).map(|ring| News::Gap(ring.top()));
            self.counts.gaps += u64::from(gap.is_some());
            for news in gap.into_iter().chain(channel.total.map(News::Total)) {
                let notice = Notice { channel: name.clone(), join, news };
                self.actions.push_back(Action::Tell(shard, notice));
            }
        }
    }

    /// A shard wants to read a channel; `from` is where its first reader would like to start.
    pub fn handle_join(
        &mut self,
        shard: ShardId,
        join: JoinId,
        name: ChannelName,
        from: Option<Cursor>,
        now: Instant,
    ) {
        if let Some(channel) = self.channels.get_mut(&name) {
            channel.shards.insert(shard, join);
            if channel.is_open() {
                self.set_timer(&name, None);
                self.tell_open(&name, shard);
            } else {
                self.set_timer(&name, Some(now + JOIN_TIMEOUT));
            }
            return;
        }
        // Other edges leave the last quarter to this one's clients.
        let is_own = usize::from(shard.0) < SHARDS_MAX;
        let max = if is_own { self.channels_max } else { self.channels_max / 4 * 3 };
        if self.channels.len() >= max && !self.close_lingering() {
            self.counts.refusals += 1;
            let message = "this edge pulls as many channels as it can".to_owned();
            let news = News::Refused { code: 106, message, temporary: true };
            let notice = Notice { channel: name, join, news };
            return self.actions.push_back(Action::Tell(shard, notice));
        }
        let channel = Channel { from, shards: [(shard, join)].into(), ..Channel::default() };
        self.channels.insert(name.clone(), channel);
        self.set_timer(&name, Some(now + JOIN_TIMEOUT));
        if self.line_up
            && let Some(open) = self.open_pull(&name)
        {
            self.up(up::Kind::Open(control::OpenPulls { pulls: vec![open] }));
        }
    }

    /// A shard has no reader of the channel any more. Rooms linger, inboxes do not.
    pub fn handle_leave(&mut self, shard: ShardId, join: JoinId, name: &ChannelName, now: Instant) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        if channel.shards.get(&shard) == Some(&join) {
            channel.shards.remove(&shard);
        }
        if !channel.shards.is_empty() || channel.kept_warm {
            return;
        }
        if name.is_inbox() || name.is_reserved() {
            // Its reader may go on at another edge, and come back to what this one has not heard yet.
            self.close(name);
        } else {
            let at = now + self.linger;
            self.set_timer(name, Some(at));
        }
    }

    /// What the trunk brought of pulls, in order.
    pub fn handle_events(&mut self, events: impl IntoIterator<Item = Event>, now: Instant) {
        let mut fresh: BTreeMap<ChannelName, Vec<Item>> = BTreeMap::new();
        let mut grants = Vec::new();
        for event in events {
            let Some(event) = self.take_fetched(event) else { continue };
            match event {
                Event::Message { pull, epoch, message, .. } => {
                    let Some(name) = self.pulls.get(&pull).cloned() else { continue };
                    let position = Position { epoch, offset: message.offset };
                    match self.take_message(&name, position, Arc::new(message)) {
                        Taken::Live(item) => fresh.entry(name.clone()).or_default().push(item),
                        Taken::CaughtUp => self.tell_all_open(&name),
                        Taken::Kept => {}
                        Taken::Hole => self.reopen(&name),
                    }
                    grants.extend(self.grant(&name, pull));
                }
                Event::Opened { pull, epoch, next, top } => {
                    let Some(name) = self.pulls.get(&pull).cloned() else { continue };
                    self.tell_items(std::mem::take(&mut fresh));
                    self.handle_opened(&name, Cursor { epoch, next }, top);
                }
                Event::Refused { pull, code, temporary, reason } => {
                    let Some(name) = self.pulls.get(&pull).cloned() else { continue };
                    tracing::info!(channel = %name, code, reason, "the upstream refused a pull");
                    self.refuse(&name, code, &reason, temporary, now);
                }
                Event::Presence { pull, joined, info } => {
                    let Some(name) = self.pulls.get(&pull) else { continue };
                    let item = Item::Presence { joined, info: Arc::new(info) };
                    fresh.entry(name.clone()).or_default().push(item);
                }
            }
        }
        self.tell_items(fresh);
        if !grants.is_empty() {
            self.up(up::Kind::Credit(control::GrantCredit { grants }));
        }
    }

    /// Totals that changed, from the upstream.
    pub fn handle_totals(&mut self, totals: control::OnlineTotals) {
        for room in totals.rooms {
            let Ok((name, _)) = ChannelName::parse(&room.channel) else { continue };
            let Some(channel) = self.channels.get_mut(&name) else { continue };
            channel.total = Some(room.count);
            tell_all(&mut self.actions, channel, &name, &News::Total(room.count));
        }
    }

    /// Time has come to `now`.
    pub fn handle_deadline(&mut self, now: Instant) {
        while let Some((at, name)) = self.timers.first().cloned()
            && at <= now
        {
            self.timers.pop_first();
            let Some(channel) = self.channels.get_mut(&name) else { continue };
            channel.timer = None;
            if !channel.shards.is_empty() && !channel.is_open() {
                self.refuse(&name, 100, "the upstream does not answer", true, now);
            } else if channel.kept_warm {
                self.pull_if_not(&name);
            } else if channel.shards.is_empty() {
                self.close(&name);
            }
        }
        if now >= self.online_at {
            self.online_at = now + ONLINE_EVERY;
            if self.origin_up && !self.counted.is_empty() {
                self.send_online(false);
            }
        }
    }

    /// When [`Hub::handle_deadline`] wants to be called next.
    pub fn next_deadline(&self) -> Instant {
        self.timers.first().map_or(self.online_at, |(at, _)| self.online_at.min(*at))
    }

    /// What to do next, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        if !self.presence_changes.is_empty() {
            let changes = std::mem::take(&mut self.presence_changes);
            for piece in clients::pieces(changes) {
                self.send_presence(piece, false);
            }
        }
        self.actions.pop_front()
    }

    /// The number of the last presence or online update: an uplink request that must see them
    /// carries it. Drain [`Hub::poll_action`] first.
    pub fn update_seq(&self) -> u64 {
        self.update_seq
    }

    /// Whether there is an upstream to pull from.
    pub fn is_line_up(&self) -> bool {
        self.line_up
    }

    /// How many channels are pulled, lingering ones included.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn handle_opened(&mut self, name: &ChannelName, start: Cursor, top: u64) {
        let options = self.namespaces.options(name).cloned().unwrap_or_default();
        let Some(channel) = self.channels.get_mut(name) else { return };
        let position = Position { epoch: start.epoch, offset: start.next.saturating_sub(1) };
        let resumed = channel.ring.as_ref().is_some_and(|ring| ring.top() == position);
        if resumed {
            if channel.catching_up.is_some() {
                channel.catching_up = Some(top).filter(|top| *top > position.offset);
                if channel.catching_up.is_none() {
                    self.tell_all_open(name);
                }
            }
            return;
        }
        let was_open = channel.is_open();
        channel.ring = Some(Ring::new(position, options.ring_bounds()));
        if was_open {
            self.counts.gaps += 1;
            tracing::warn!(channel = %name, epoch = %start.epoch, next = start.next, "gap");
            tell_all(&mut self.actions, channel, name, &News::Gap(position));
        } else if top > position.offset {
            channel.catching_up = Some(top);
        } else {
            channel.catching_up = None;
            self.tell_all_open(name);
        }
    }

    fn take_message(
        &mut self,
        name: &ChannelName,
        position: Position,
        message: Arc<Message>,
    ) -> Taken {
        let Some(channel) = self.channels.get_mut(name) else { return Taken::Kept };
        let Some(ring) = channel.ring.as_mut() else { return Taken::Kept };
        channel.consumed += 1;
        let top = ring.top();
        if position.epoch != top.epoch || position.offset > top.offset + 1 {
            return Taken::Hole;
        }
        if ring.push(position.offset, Arc::clone(&message)).is_err() {
            self.counts.duplicates += 1;
            return Taken::Kept;
        }
        self.counts.messages += 1;
        match channel.catching_up {
            None => Taken::Live(Item::Message(message)),
            Some(until) if position.offset >= until => {
                channel.catching_up = None;
                Taken::CaughtUp
            }
            Some(_) => Taken::Kept,
        }
    }

    fn grant(&mut self, name: &ChannelName, pull: u64) -> Option<control::Credit> {
        let channel = self.channels.get_mut(name)?;
        if channel.pull != Some(pull) || channel.consumed < PULL_CREDIT_MESSAGES / 2 {
            return None;
        }
        channel.consumed = 0;
        let next = Cursor::after(channel.ring.as_ref()?.top()).next;
        Some(control::Credit { pull, until: next + u64::from(PULL_CREDIT_MESSAGES) })
    }

    fn open_pull(&mut self, name: &ChannelName) -> Option<control::OpenPull> {
        let channel = self.channels.get_mut(name)?;
        let pull = self.pull_next;
        self.pull_next += 1;
        channel.pull = Some(pull);
        channel.consumed = 0;
        let cursor = channel.ring.as_ref().map(|ring| Cursor::after(ring.top())).or(channel.from);
        self.pulls.insert(pull, name.clone());
        Some(control::OpenPull {
            pull,
            channel: name.as_str().to_owned(),
            epoch: cursor.map_or(0, |cursor| cursor.epoch.number()),
            next: cursor.map_or(0, |cursor| cursor.next),
            credit: PULL_CREDIT_MESSAGES,
        })
    }

    /// Opens a pull anew at the ring's end, because a message did not follow it.
    fn reopen(&mut self, name: &ChannelName) {
        tracing::warn!(channel = %name, "a live message does not follow the ring: pulling anew");
        self.close_pull(name);
        if let Some(open) = self.open_pull(name) {
            self.up(up::Kind::Open(control::OpenPulls { pulls: vec![open] }));
        }
    }

    fn close_pull(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        if let Some(pull) = channel.pull.take() {
            self.pulls.remove(&pull);
            self.up(up::Kind::Close(control::ClosePulls { pulls: vec![pull] }));
        }
    }

    /// Makes room: closes the channel that has had no reader for longest, if there is one among the
    /// first that something happens to.
    fn close_lingering(&mut self) -> bool {
        let lingers = |(_, name): &&(Instant, ChannelName)| {
            let channel = self.channels.get(name);
            channel.is_some_and(|channel| channel.shards.is_empty() && !channel.kept_warm)
        };
        let first = self.timers.iter().take(LINGERING_LOOKED_AT).find(lingers);
        let Some((_, name)) = first.cloned() else { return false };
        self.close(&name);
        true
    }

    fn close(&mut self, name: &ChannelName) {
        self.close_pull(name);
        self.set_timer(name, None);
        self.channels.remove(name);
    }

    fn refuse(
        &mut self,
        name: &ChannelName,
        code: u32,
        message: &str,
        temporary: bool,
        now: Instant,
    ) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        self.counts.refusals += 1;
        self.counted.insert(name.clone());
        let news = News::Refused { code, message: message.to_owned(), temporary };
        tell_all(&mut self.actions, channel, name, &news);
        channel.shards.clear();
        channel.counts.clear();
        if channel.kept_warm {
            channel.ring = None;
            channel.catching_up = None;
            self.close_pull(name);
            self.set_timer(name, Some(now + WARM_RETRY));
        } else {
            self.close(name);
        }
    }

    /// Opens the pull of a channel that has none.
    fn pull_if_not(&mut self, name: &ChannelName) {
        let has_pull = self.channels.get(name).is_some_and(|channel| channel.pull.is_some());
        if self.line_up
            && !has_pull
            && let Some(open) = self.open_pull(name)
        {
            self.up(up::Kind::Open(control::OpenPulls { pulls: vec![open] }));
        }
    }

    fn tell_all_open(&mut self, name: &ChannelName) {
        self.set_timer(name, None);
        let Some(channel) = self.channels.get(name) else { return };
        for shard in channel.shards.keys().copied().collect::<Vec<_>>() {
            self.tell_open(name, shard);
        }
    }

    fn tell_open(&mut self, name: &ChannelName, shard: ShardId) {
        let Some(channel) = self.channels.get(name) else { return };
        let Some(ring) = channel.ring.as_ref() else { return };
        let Some(join) = channel.shards.get(&shard).copied() else { return };
        let offsets = self.namespaces.options(name).is_some_and(Options::recovers);
        let tail = ring.iter().cloned().collect();
        let open = News::Open { position: ring.top(), offsets, tail };
        for news in [Some(open), channel.total.map(News::Total)].into_iter().flatten() {
            let notice = Notice { channel: name.clone(), join, news };
            self.actions.push_back(Action::Tell(shard, notice));
        }
    }

    fn tell_items(&mut self, fresh: BTreeMap<ChannelName, Vec<Item>>) {
        for (name, items) in fresh {
            let Some(channel) = self.channels.get(&name) else { continue };
            tell_all(&mut self.actions, channel, &name, &News::Items(items.into()));
        }
    }

    fn set_timer(&mut self, name: &ChannelName, at: Option<Instant>) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        if let Some(old) = channel.timer.take() {
            self.timers.remove(&(old, name.clone()));
        }
        channel.timer = at;
        if let Some(at) = at {
            self.timers.insert((at, name.clone()));
        }
    }

    fn up(&mut self, kind: up::Kind) {
        if self.line_up {
            self.actions.push_back(Action::Up(Box::new(kind)));
        }
    }

    fn update(&mut self, kind: up::Kind) {
        if self.origin_up {
            self.actions.push_back(Action::Update(Box::new(kind)));
        }
    }
}

/// Tells every shard that reads a channel.
fn tell_all(actions: &mut VecDeque<Action>, channel: &Channel, name: &ChannelName, news: &News) {
    for (shard, join) in &channel.shards {
        let notice = Notice { channel: name.clone(), join: *join, news: news.clone() };
        actions.push_back(Action::Tell(*shard, notice));
    }
}

enum Taken {
    /// In order: for the shards.
    Live(Item),
    /// In order, and the last one before the channel is open.
    CaughtUp,
    /// Kept without telling anybody, or known already.
    Kept,
    /// Something before it is missing.
    Hole,
}

/// Timers that are looked at for a channel to close.
const LINGERING_LOOKED_AT: usize = 256;
/// How long a first reader waits for its channel: within the 5 s after which SDKs give up.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(4);
/// How often changed online counts are told to the upstream.
pub const ONLINE_EVERY: Duration = Duration::from_secs(1);
/// How soon a channel that is always pulled is tried again after a refusal.
const WARM_RETRY: Duration = Duration::from_secs(1);
/// Pulls that one message closes: of at most 10 bytes each, 640 KiB.
const CLOSED_AT_ONCE: usize = 1 << 16;
/// Shards an edge has at most.
pub const SHARDS_MAX: usize = 128;

#[cfg(test)]
mod tests;
