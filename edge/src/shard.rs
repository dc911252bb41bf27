//! A shard: the connections that one core faces, the rooms they are in, and what passes between
//! them and the hub. A machine without I/O; sockets are `io/shards.rs`'s business.
//!
//! Invariant: every ask with an id is answered exactly once, unless its connection or its
//! subscription goes away first; and every seat in a room belongs to one live connection.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::message::{ClientInfo, Message, Position};
use shared::namespace::{Namespaces, SlowReader};
use shared::ring::Cursor;
use shared::wire::control;
use slab::Slab;

use crate::hub::{JoinId, News, Notice};
use crate::pressure::Pressure;
use crate::room::{Admission, ConnectionId, Lost, Room, Seat, Segment, Swept, Waiting, Written};
use crate::session::{Answer, Ask, AskId, Blame, Close, Identity};

mod pace;
mod turns;

use pace::Pace;
use turns::Turns;

/// What a shard wants of the world.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session must be given its answer.
    Answer(ConnectionId, AskId, Answer),
    /// A session has lost a subscription, and with it so many messages; 0 is unknown.
    Lost(ConnectionId, ChannelName, u64),
    /// A connection must end after what was written to it.
    Close(ConnectionId, Close),
    /// The hub must be told.
    Hub(ToHub),
}

/// What a shard tells the hub and asks of it.
#[derive(Clone, Debug)]
pub enum ToHub {
    /// Somebody wants to read a channel, the first one from here.
    Join(ChannelName, JoinId, Option<Cursor>),
    /// Nobody reads it any more.
    Leave(ChannelName, JoinId),
    /// So many clients are in it.
    Count(ChannelName, u32),
    /// A client came or left.
    Presence(ChannelName, bool, ClientInfo),
    /// An uplink request of a session; the answer comes by [`Shard::handle_response`].
    Request(ConnectionId, AskId, control::request::Kind),
    /// Messages after a position; the answer comes by [`Shard::handle_older`].
    Older(ChannelName, Position),
    /// A connection logged in with this key: one elsewhere that has it must end.
    KeyTaken(String, ConnectionId),
    /// It ended and with it its claim to the key.
    KeyFree(String, ConnectionId),
}

#[derive(Debug)]
struct Client {
    serial: u64,
    /// Its connection is being ended: it is counted, and nothing else.
    retired: bool,
    identity: Identity,
    subscriptions: Vec<Subscription>,
    /// Which of them is offered something first: the one at which the last offer ended.
    offered: usize,
    accepted: Option<BTreeSet<i32>>,
}

#[derive(Debug)]
struct Subscription {
    room: usize,
    /// `None` while it waits.
    seat: Option<Seat>,
    presence: Option<Box<ClientInfo>>,
}

/// The deciding part of a shard.
#[derive(Debug, Default)]
pub struct Shard {
    namespaces: Arc<Namespaces>,
    pressure: Pressure,
    /// Droppable messages that were not in a room's sample.
    sampled_out: u64,
    clients: Slab<Client>,
    serial_next: u64,
    rooms: Slab<Room>,
    by_name: HashMap<ChannelName, usize>,
    by_key: HashMap<String, ConnectionId>,
    joins: u64,
    counted: BTreeSet<usize>,
    turns: Turns,
    /// Rooms to be swept again at the next tick: a paced message waits, or a member is behind.
    later: BTreeSet<usize>,
    /// Rooms that have gathered something to be encoded at the next tick.
    gathering: BTreeSet<usize>,
    /// Rooms where somebody waits for messages.
    expecting: BTreeSet<usize>,
    events: VecDeque<Event>,
    pace: Pace,
}

impl Shard {
    /// A shard without connections.
    pub fn new(namespaces: Arc<Namespaces>) -> Self {
        Self { namespaces, ..Self::default() }
    }

    /// What namespaces say, from now on.
    pub fn set_namespaces(&mut self, namespaces: Arc<Namespaces>) {
        for (_, room) in &mut self.rooms {
            if let Some(options) = namespaces.options(room.channel()) {
                room.set_options(options);
            }
        }
        self.namespaces = namespaces;
    }

    /// How much this edge has to do, from now on.
    pub fn set_pressure(&mut self, pressure: Pressure) {
        self.pressure = pressure;
    }

    /// Droppable messages that were not in a room's sample, and so not for its members.
    pub fn sampled_out(&self) -> u64 {
        self.sampled_out
    }

    /// A connection came.
    pub fn connect(&mut self) -> ConnectionId {
        self.serial_next += 1;
        let serial = self.serial_next;
        let slot = self.clients.insert(Client {
            serial,
            retired: false,
            identity: Identity::default(),
            subscriptions: Vec::new(),
            offered: 0,
            accepted: None,
        });
        ConnectionId { slot, serial }
    }

    /// A connection is being ended: its seats and its key are free, and nothing reaches it any more.
    /// Its id stays taken until [`Shard::disconnect`].
    pub fn retire(&mut self, id: ConnectionId) {
        let Some(client) = self.client_mut(id) else { return };
        client.retired = true;
        let subscriptions = std::mem::take(&mut client.subscriptions);
        let key = std::mem::take(&mut client.identity).key;
        for subscription in subscriptions {
            self.give_up(id, subscription);
        }
        if let Some(key) = key
            && self.by_key.get(&key) == Some(&id)
        {
            self.by_key.remove(&key);
            self.events.push_back(Event::Hub(ToHub::KeyFree(key, id)));
        }
    }

    /// A connection went.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.retire(id);
        if self.clients.get(id.slot).is_some_and(|client| client.serial == id.serial) {
            self.clients.remove(id.slot);
        }
    }

    /// Connections here.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Rooms here.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    #[cfg(test)]
    pub(crate) fn join_of(&self, name: &ChannelName) -> Option<JoinId> {
        self.room(name).map(|room| self.rooms[room].join())
    }

    /// Clients in a room over all edges, as far as known here.
    pub fn online(&self, name: &ChannelName) -> u32 {
        self.by_name.get(name).map_or(0, |room| self.rooms[*room].online())
    }

    /// A session asks. `now` bounds how long it may wait.
    pub fn handle_ask(&mut self, id: ConnectionId, ask: Ask, now: Instant) {
        match ask {
            Ask::Identify(identity) => self.identify(id, identity),
            Ask::Subscribe { id: ask, channel, form, recover, presence, filtered } => {
                let until = now + RECOVER_TIMEOUT;
                let waiting = Waiting { connection: id, id: ask, form, filtered, recover, until };
                self.subscribe(channel, waiting, presence, now);
            }
            Ask::Unsubscribe(channel) => self.unsubscribe(id, &channel),
            Ask::Accept(operations) => {
                if let Some(client) = self.client_mut(id) {
                    client.accepted = Some(operations);
                }
            }
            Ask::Request { id: ask, request } => {
                self.events.push_back(Event::Hub(ToHub::Request(id, ask, request)));
            }
            Ask::Close(close) => self.events.push_back(Event::Close(id, close)),
        }
    }

    /// The upstream answered a session's request, or could not.
    pub fn handle_response(&mut self, id: ConnectionId, ask: AskId, answer: Answer) {
        if self.client(id).is_some() {
            self.events.push_back(Event::Answer(id, ask, answer));
        }
    }

    /// The hub tells of a channel.
    pub fn handle_notice(&mut self, notice: Notice, now: Instant) {
        let Notice { channel, join, news } = notice;
        let Some(room) = self.room(&channel).filter(|room| self.rooms[*room].join() == join) else {
            return; // of a joining that is over
        };
        match news {
            News::Open { position, offsets, tail } => {
                self.rooms[room].handle_open(position, offsets, tail);
                self.admit_waiting(room, now);
            }
            News::Items(items) => {
                self.sampled_out += self.rooms[room].handle_items(&items, self.pressure, now);
                if self.rooms[room].has_fresh() {
                    self.wait_turn(room, now);
                }
                self.admit_waiting(room, now);
            }
            News::Gap(position) => {
                let lost = self.rooms[room].handle_gap(position);
                self.lose(room, lost);
                self.admit_waiting(room, now);
            }
            News::Refused { code, message, temporary } => {
                self.by_name.remove(&channel);
                let vacated = self.rooms[room].vacate().into_iter();
                let lost = vacated.map(|connection| Lost { connection, missing: 0 }).collect();
                self.lose(room, lost);
                for waiting in self.rooms[room].drain_waiting() {
                    let message = message.clone();
                    self.fail(room, &waiting, Answer::Failed { code, message, temporary });
                }
                self.remove_room(room);
            }
            News::Total(count) => self.rooms[room].handle_total(count),
        }
    }

    /// The messages after `position` that a room asked for, or `None` if they cannot be had now.
    pub fn handle_older(
        &mut self,
        name: &ChannelName,
        position: Position,
        messages: Option<Vec<Arc<Message>>>,
        now: Instant,
    ) {
        let Some(room) = self.room(name) else { return };
        for waiting in self.rooms[room].handle_older(position, messages) {
            let message = "history is not available at the moment".to_owned();
            self.fail(room, &waiting, Answer::Failed { code: 100, message, temporary: true });
        }
        self.admit_waiting(room, now);
        self.leave_if_empty(room);
    }

    /// A connection of another shard logged in with the `key` that `old` had.
    pub fn handle_key_taken(&mut self, key: &str, old: ConnectionId) {
        if self.by_key.get(key) == Some(&old) {
            self.by_key.remove(key);
            self.events.push_back(Event::Close(old, replaced()));
        }
    }

    /// The connections that a back end's command aims at.
    pub fn matching(&self, target: &control::Target) -> Vec<ConnectionId> {
        let matches = |identity: &Identity| {
            if !target.client.is_empty() && identity.client != target.client {
                return false;
            }
            !identity.client.is_empty() && identity.user == target.user
        };
        self.clients
            .iter()
            .filter(|(_, client)| !client.retired && matches(&client.identity))
            .map(|(slot, client)| ConnectionId { slot, serial: client.serial })
            .collect()
    }

    /// The operations a connection accepts in filtered rooms; `None` is all.
    pub fn accepted(&self, id: ConnectionId) -> Option<&BTreeSet<i32>> {
        self.client(id)?.accepted.as_ref()
    }

    /// Called every [`TICK`]: waits end, counts go to the hub, paced rooms go on.
    pub fn handle_tick(&mut self, now: Instant) {
        for room in std::mem::take(&mut self.counted) {
            let Some(room) = self.rooms.get(room) else { continue };
            let count = ToHub::Count(room.channel().clone(), room.members());
            self.events.push_back(Event::Hub(count));
        }
        for room in std::mem::take(&mut self.expecting) {
            if self.rooms.get(room).is_some_and(|room| room.has_waiting() && room.is_open()) {
                self.admit_waiting(room, now);
            }
        }
        for room in std::mem::take(&mut self.gathering) {
            if let Some(gathered) = self.rooms.get_mut(room) {
                gathered.encode_gathered();
                self.wait_turn(room, now);
            }
        }
        self.pace.handle_tick(now);
        for room in std::mem::take(&mut self.later) {
            if self.rooms.contains(room) {
                self.wait_turn(room, now);
            }
        }
    }

    /// Time has come to `now`: rooms that had to wait may be swept.
    pub fn handle_deadline(&mut self, now: Instant) {
        self.turns.handle_deadline(now);
    }

    /// When [`Shard::handle_deadline`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.turns.next_deadline()
    }

    /// What the world must do next, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether some room has something to write.
    pub fn is_unswept(&self) -> bool {
        !self.turns.is_empty()
    }

    #[allow(clippy::type_complexity, reason = "a writer is named by what it is given")]
    /// Offers members of rooms what they have not had: rooms take turns, and each writes to at most
    /// `slice` members in its own. Answers whether there was a room with something to write.
    pub fn sweep(
        &mut self,
        slice: usize,
        clock: &dyn Fn() -> Instant,
        write: &mut dyn FnMut(
            ConnectionId,
            Option<&BTreeSet<i32>>,
            &mut dyn Iterator<Item = &Segment>,
        ) -> Written,
    ) -> bool {
        let mut left = slice;
        while left > 0 {
            let Some(room) = self.turns.pop() else { return left < slice };
            let Some(swept) = self.rooms.get_mut(room) else { continue };
            let share = swept.share(self.clients.len());
            let (clients, pace) = (&self.clients, &mut self.pace);
            let swept = swept.sweep(&mut left, self.pressure, clock, &mut |id, segments| {
                let accepted = clients.get(id.slot).and_then(|c| c.accepted.as_ref());
                pace.write(share, segments, &mut |segments| write(id, accepted, segments))
            });
            let Swept { lost, behind, done } = swept;
            if !done {
                self.wait_turn(room, clock());
            }
            if self.rooms[room].has_gathered() {
                self.gathering.insert(room);
            }
            if behind {
                self.later.insert(room);
            }
            self.lose_slow(room, lost);
        }
        true
    }

    #[allow(clippy::type_complexity, reason = "a writer is named by what it is given")]
    /// Offers one connection everything its rooms have for it.
    pub fn offer(
        &mut self,
        id: ConnectionId,
        write: &mut dyn FnMut(
            Option<&BTreeSet<i32>>,
            &mut dyn Iterator<Item = &Segment>,
        ) -> Written,
    ) {
        let Some(client) =
            self.clients.get(id.slot).filter(|c| c.serial == id.serial && !c.retired)
        else {
            return;
        };
        let mut lost = Vec::new();
        let count = client.subscriptions.len();
        let first = if client.offered < count { client.offered } else { 0 };
        let mut ended = first;
        for index in (first..count).chain(0..first) {
            let subscription = &client.subscriptions[index];
            let Some(seat) = subscription.seat else { continue };
            let accepted = client.accepted.as_ref();
            let room = &mut self.rooms[subscription.room];
            let share = room.share(self.clients.len());
            let pace = &mut self.pace;
            let offered = room.offer(seat, &mut |_, segments| {
                pace.write(share, segments, &mut |segments| write(accepted, segments))
            });
            match offered {
                Ok(Written { more: false, .. }) => {
                    // The others have their turn before it.
                    ended = index + 1;
                    break;
                }
                Ok(_) if self.pace.take_held() => {
                    self.later.insert(subscription.room);
                }
                Ok(_) => {}
                Err(member) => lost.push((subscription.room, member)),
            }
        }
        if let Some(client) = self.client_mut(id) {
            client.offered = ended;
        }
        for (room, member) in lost {
            self.lose_slow(room, vec![member]);
        }
    }

    fn identify(&mut self, id: ConnectionId, identity: Identity) {
        if let Some(key) = identity.key.clone() {
            if let Some(old) = self.by_key.insert(key.clone(), id)
                && old != id
            {
                self.events.push_back(Event::Close(old, replaced()));
            }
            self.events.push_back(Event::Hub(ToHub::KeyTaken(key, id)));
        }
        if let Some(client) = self.client_mut(id) {
            client.identity = identity;
        }
    }

    fn subscribe(
        &mut self,
        channel: ChannelName,
        waiting: Waiting,
        presence: Option<ClientInfo>,
        now: Instant,
    ) {
        let id = waiting.connection;
        if self.client(id).is_none() {
            return;
        }
        let room = match self.by_name.get(&channel) {
            Some(room) => *room,
            None => {
                self.joins += 1;
                let join = JoinId(self.joins);
                let mut room = Room::new(channel.clone(), join);
                if let Some(options) = self.namespaces.options(&channel) {
                    room.set_options(options);
                }
                let room = self.rooms.insert(room);
                self.by_name.insert(channel.clone(), room);
                let from = waiting.recover.and_then(|recover| {
                    Some(Cursor { epoch: recover.epoch?, next: recover.offset.checked_add(1)? })
                });
                self.events.push_back(Event::Hub(ToHub::Join(channel, join, from)));
                room
            }
        };
        let subscription = Subscription { room, seat: None, presence: presence.map(Box::new) };
        if let Some(client) = self.client_mut(id) {
            client.subscriptions.push(subscription);
        }
        self.admit(room, waiting, now);
        self.fetch_older(room);
    }

    fn unsubscribe(&mut self, id: ConnectionId, channel: &ChannelName) {
        let Some(room) = self.room(channel) else { return };
        if let Some(subscription) = self.take_subscription(id, room) {
            self.give_up(id, subscription);
        }
    }

    fn admit_waiting(&mut self, room: usize, now: Instant) {
        if !self.rooms.contains(room) {
            return; // everyone has just lost it
        }
        for waiting in self.rooms[room].take_waiting() {
            self.admit(room, waiting, now);
        }
        self.fetch_older(room);
        self.rooms[room].drop_older();
    }

    fn admit(&mut self, room: usize, waiting: Waiting, now: Instant) {
        let (id, ask) = (waiting.connection, waiting.id);
        let Admission::Seated(seat, subscribed) = self.rooms[room].admit(waiting, now) else {
            self.expecting.insert(room);
            return;
        };
        self.counted.insert(room);
        let channel = self.rooms[room].channel().clone();
        let Some(client) = self.client_mut(id) else { return };
        let mut joined = None;
        if let Some(subscription) = client.subscriptions.iter_mut().find(|s| s.room == room) {
            subscription.seat = Some(seat);
            joined = subscription.presence.clone();
        }
        self.events.push_back(Event::Answer(id, ask, Answer::Subscribed(subscribed)));
        if let Some(info) = joined {
            self.events.push_back(Event::Hub(ToHub::Presence(channel, true, *info)));
        }
    }

    fn fetch_older(&mut self, room: usize) {
        if let Some(position) = self.rooms[room].wants_older() {
            let channel = self.rooms[room].channel().clone();
            self.events.push_back(Event::Hub(ToHub::Older(channel, position)));
        }
    }

    /// Connections were too slow for a room, and have lost their seats: they are told, or closed.
    fn lose_slow(&mut self, room: usize, lost: Vec<Lost>) {
        let slow = self.rooms.get(room).map(Room::slow).unwrap_or_default();
        self.give_up_lost(room, lost, |id, channel, missing| match slow {
            SlowReader::Skip => Event::Lost(id, channel, missing),
            SlowReader::Close => {
                let reason = format!("too slow: {missing} messages are missing; connect again");
                Event::Close(id, Close { code: 3008, reason, blame: Blame::Silence })
            }
        });
    }

    /// Connections have lost their seats in a room, and are told.
    fn lose(&mut self, room: usize, lost: Vec<Lost>) {
        self.give_up_lost(room, lost, Event::Lost);
    }

    fn give_up_lost(
        &mut self,
        room: usize,
        lost: Vec<Lost>,
        event: impl Fn(ConnectionId, ChannelName, u64) -> Event,
    ) {
        for Lost { connection: id, missing } in lost {
            let Some(subscription) = self.take_subscription(id, room) else { continue };
            let channel = self.rooms[room].channel().clone();
            if let Some(info) = subscription.presence {
                let left = ToHub::Presence(channel.clone(), false, *info);
                self.events.push_back(Event::Hub(left));
            }
            self.counted.insert(room);
            self.events.push_back(event(id, channel, missing));
        }
        self.leave_if_empty(room);
    }

    fn fail(&mut self, room: usize, waiting: &Waiting, answer: Answer) {
        self.take_subscription(waiting.connection, room);
        self.events.push_back(Event::Answer(waiting.connection, waiting.id, answer));
    }

    fn take_subscription(&mut self, id: ConnectionId, room: usize) -> Option<Subscription> {
        let client = self.client_mut(id)?;
        let index = client.subscriptions.iter().position(|s| s.room == room)?;
        Some(client.subscriptions.swap_remove(index))
    }

    fn give_up(&mut self, id: ConnectionId, subscription: Subscription) {
        let room = subscription.room;
        match subscription.seat {
            Some(seat) => {
                self.rooms[room].leave(seat);
                self.counted.insert(room);
                if let Some(info) = subscription.presence {
                    let channel = self.rooms[room].channel().clone();
                    let left = ToHub::Presence(channel, false, *info);
                    self.events.push_back(Event::Hub(left));
                }
            }
            None => self.rooms[room].forget(id),
        }
        self.leave_if_empty(room);
    }

    fn leave_if_empty(&mut self, room: usize) {
        let Some(channel) = self.rooms.get(room).filter(|room| room.is_empty()).map(Room::channel)
        else {
            return;
        };
        let channel = channel.clone();
        // A refused channel has left the hub already.
        if self.by_name.remove(&channel).is_some() {
            self.events.push_back(Event::Hub(ToHub::Count(channel.clone(), 0)));
            let join = self.rooms[room].join();
            self.events.push_back(Event::Hub(ToHub::Leave(channel, join)));
            self.remove_room(room);
        }
    }

    /// A room has something to write: it is swept as soon as its namespace lets it.
    fn wait_turn(&mut self, room: usize, now: Instant) {
        self.turns.push(room, self.rooms[room].sweep_at(now));
    }

    fn remove_room(&mut self, room: usize) {
        self.rooms.try_remove(room);
        self.counted.remove(&room);
        self.turns.remove(room);
        self.later.remove(&room);
        self.gathering.remove(&room);
        self.expecting.remove(&room);
    }

    fn room(&self, name: &ChannelName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    fn client(&self, id: ConnectionId) -> Option<&Client> {
        self.clients.get(id.slot).filter(|client| client.serial == id.serial && !client.retired)
    }

    fn client_mut(&mut self, id: ConnectionId) -> Option<&mut Client> {
        let client = self.clients.get_mut(id.slot)?;
        (client.serial == id.serial && !client.retired).then_some(client)
    }
}

fn replaced() -> Close {
    Close {
        code: 3503,
        reason: "another connection logged in with this key".to_owned(),
        blame: Blame::Left,
    }
}

/// How often a shard's slow business is looked after.
pub const TICK: Duration = Duration::from_millis(100);
/// How long a client that is ahead of this edge, or needs older messages, waits for its answer:
/// within the 5 s after which SDKs give up.
pub const RECOVER_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
