//! One Centrifuge client: what its commands do, and what becomes of its subscriptions.
//!
//! A session starts with nothing but a deadline; `connect` makes it open, perhaps after server-side
//! subscriptions were answered, and everything the client said meanwhile waits in order. Commands on
//! a channel also wait while an unsubscribe waits for that channel's running subscribe.
//!
//! Invariant: each command but `send` and pongs gets exactly one reply, unless the connection ends;
//! and a channel is in `subscriptions` once, however its name is spelled.

mod connect;
mod expiry;
mod requests;
mod server;
mod subscribe;
mod subscription;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use shared::channel::{ChannelName, Spelling};
use shared::message::ClientInfo;

use super::Setup;
use super::codes::{Disconnect, Failure, Refusal};
use super::decode::{self, Command, Request};
use super::frame;
use super::protocol::{ChannelRequest, Empty, Error, Reply};
use crate::form::Encoding;
use crate::session::{Answer, Ask, AskId, Context, Output};
use connect::Connecting;
use expiry::Pings;
use requests::Pending;
use subscription::{Opening, Subscription};

/// Bytes of commands that may wait for something: four frames of the usual largest size.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// Tokens verified between two pings at most, for the connection and for each channel that it may
/// have. An SDK needs one to subscribe, and one whenever it runs out: with the usual 25 s between
/// pings, tokens may live for 4 s.
const TOKENS_PER_CHANNEL_MAX: usize = 8;

/// A client's session.
#[derive(Debug)]
pub struct Session {
    setup: Arc<Setup>,
    encoding: Encoding,
    phase: Phase,
    pings: Pings,
    /// When the connection is closed unless its token is refreshed.
    closes: Option<Instant>,
    user: Box<str>,
    client: Box<str>,
    conn_info: Bytes,
    subscriptions: Vec<Subscription>,
    pending: Vec<Pending>,
    broadcast: Broadcast,
    /// The last id given to an ask.
    asked: u64,
    /// Bytes of commands that wait.
    waiting_bytes: usize,
    /// Tokens that were verified since the last ping.
    verified: u32,
}

#[derive(Debug)]
enum Phase {
    /// No connect command yet. The seed tells when the first ping is due.
    Fresh {
        seed: u64,
    },
    /// The connect command waits for server-side subscriptions.
    Connecting(Box<Connecting>),
    Open,
    /// The connect command was answered with an error; nothing more is accepted.
    Refused,
    Closed,
}

/// The subscription to the broadcast, which clients never see as one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Broadcast {
    Absent,
    Asked(AskId),
    Open,
    /// To be asked for again.
    Lost,
}

impl Session {
    /// A connection after its handshake. `client` names it and is unique in the network; `seed` is
    /// random.
    pub fn new(
        setup: Arc<Setup>,
        encoding: Encoding,
        client: &str,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            pings: Pings::until(now + setup.config.connect_timeout),
            setup,
            encoding,
            phase: Phase::Fresh { seed },
            closes: None,
            user: "".into(),
            client: client.into(),
            conn_info: Bytes::new(),
            subscriptions: Vec::new(),
            pending: Vec::new(),
            broadcast: Broadcast::Absent,
            asked: 0,
            waiting_bytes: 0,
            verified: 0,
        }
    }

    /// Whether rooms must treat the connection as not writable: no message may come before the
    /// answer to `connect`, which waits for all subscriptions made with it.
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Connecting(_))
    }

    /// The client sent a WebSocket message.
    pub fn handle_message(&mut self, payload: &[u8], context: &Context<'_>, output: &mut Output) {
        if matches!(self.phase, Phase::Refused) {
            return self.end(Disconnect::BadRequest("the connection was refused"), output);
        }
        for command in decode::commands(self.encoding, payload) {
            match command {
                Ok(command) => self.carry_out(command, context, output),
                Err(_) => self.end(Disconnect::BadRequest("a frame cannot be decoded"), output),
            }
            if matches!(self.phase, Phase::Refused | Phase::Closed) {
                return;
            }
        }
    }

    /// The shard answers an ask.
    pub fn handle_answer(
        &mut self,
        id: AskId,
        answer: Answer,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if self.broadcast == Broadcast::Asked(id) {
            self.broadcast = match answer {
                Answer::Failed { temporary: false, .. } => Broadcast::Absent,
                Answer::Failed { .. } => Broadcast::Lost,
                Answer::Subscribed(_) | Answer::Response(_) => Broadcast::Open,
            };
        } else if let Some(index) = self.pending.iter().position(|pending| pending.ask == id) {
            let pending = self.pending.swap_remove(index);
            if self.pending.is_empty() {
                self.pending = Vec::new(); // idle sessions keep no memory
            }
            self.answer_request(pending, answer, output);
        } else if let Some(index) =
            self.subscriptions.iter().position(|subscription| subscription.is_opening(id))
        {
            self.answer_subscription(index, answer, context, output);
        }
    }

    /// An open subscription lost messages and ended.
    pub fn handle_lost(
        &mut self,
        channel: &ChannelName,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if *channel == ChannelName::broadcast() {
            if matches!(self.phase, Phase::Open) {
                self.subscribe_broadcast(output);
            }
            return;
        }
        self.lose(channel, context, output);
    }

    /// When to call [`Session::handle_deadline`] at the latest; `None` once the session is over.
    pub fn next_deadline(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        let subscriptions = self.subscriptions.iter().filter_map(Subscription::closes);
        [Some(self.pings.due()), self.closes].into_iter().flatten().chain(subscriptions).min()
    }

    /// A deadline may have passed.
    pub fn handle_deadline(&mut self, context: &Context<'_>, output: &mut Output) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if self.closes.is_some_and(|closes| closes <= context.now) {
            return self.end(Disconnect::ConnectionExpired, output);
        }
        self.expire_subscriptions(context, output);
        if self.pings.due() <= context.now {
            self.handle_ping_due(context, output);
        }
    }

    fn carry_out(&mut self, command: Command, context: &Context<'_>, output: &mut Output) {
        let id = command.id;
        let done = match (&self.phase, command.request) {
            (Phase::Closed | Phase::Refused, _) => Ok(()),
            (Phase::Fresh { seed }, Request::Connect(request)) if id > 0 => {
                let seed = *seed;
                let connected = self.connect(id, *request, seed, context, output);
                if matches!(connected, Err(Failure::Refused(_))) {
                    self.phase = Phase::Refused;
                }
                connected
            }
            (Phase::Fresh { .. }, _) => {
                Err(Disconnect::BadRequest("the first command must be connect").into())
            }
            (Phase::Connecting(_), Request::Connect(_)) => Err(SECOND_CONNECT.into()),
            (Phase::Connecting(_), request) => {
                let command = Command { id, request };
                self.wait(&command).map(|()| {
                    if let Phase::Connecting(connecting) = &mut self.phase {
                        connecting.waiting.push(command);
                    }
                })
            }
            (Phase::Open, request) => self.dispatch(Command { id, request }, context, output),
        };
        self.settle(id, done, output);
    }

    /// Carries out a command of an open connection.
    fn dispatch(
        &mut self,
        command: Command,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let Some(command) = self.defer(command)? else { return Ok(()) };
        let id = command.id;
        if id == 0 && command.request != Request::Send {
            return self.handle_pong();
        }
        match command.request {
            Request::Connect(_) => Err(SECOND_CONNECT.into()),
            Request::Subscribe(request) => self.subscribe(id, &request, context, output),
            Request::Unsubscribe(request) => self.unsubscribe(id, request, output),
            Request::Publish(request) => self.publish(id, request, context, output),
            Request::Presence(request) => self.presence(id, &request.channel, context, output),
            Request::PresenceStats(request) => {
                self.presence_stats(id, &request.channel, context, output)
            }
            Request::History(request) => self.history(id, &request, context, output),
            Request::Rpc(request) => self.rpc(id, request, output),
            Request::Send => Err(Disconnect::NotAvailable.into()),
            Request::Refresh(request) => self.refresh(id, &request.token, context, output),
            Request::SubRefresh(request) => self.sub_refresh(id, &request, context, output),
            Request::None => Err(Disconnect::BadRequest("a command asks for nothing").into()),
        }
    }

    /// Sets a command aside if an unsubscribe of its channel waits, which was said before it.
    fn defer(&mut self, command: Command) -> Result<Option<Command>, Failure> {
        if self.waiting_bytes == 0 {
            return Ok(Some(command));
        }
        let Some((channel, _)) = command.channel().and_then(|text| ChannelName::parse(text).ok())
        else {
            return Ok(Some(command));
        };
        match self.opening(&channel) {
            Some(opening) if !opening.waiting.is_empty() => {}
            _ => return Ok(Some(command)),
        }
        self.wait(&command)?;
        if let Some(opening) = self.opening(&channel) {
            opening.waiting.push(command);
        }
        Ok(None)
    }

    /// Counts a command that waits.
    fn wait(&mut self, command: &Command) -> Result<(), Failure> {
        self.waiting_bytes += command.weight();
        if self.waiting_bytes > WAITING_BYTES_MAX {
            return Err(Disconnect::TooManyRequests.into());
        }
        Ok(())
    }

    /// Counts a token that is about to be verified. With public keys that takes 20 to 40 µs, twenty
    /// times as long as other commands of its length, and one that is refused asks for nothing that
    /// a shard could count.
    fn count_token(&mut self) -> Result<(), Failure> {
        self.verified = self.verified.saturating_add(1);
        let most = TOKENS_PER_CHANNEL_MAX * (1 + self.setup.config.channels_max);
        if self.verified as usize > most {
            return Err(Disconnect::TooManyRequests.into());
        }
        Ok(())
    }

    /// Goes on with commands that waited, in order.
    fn resume(&mut self, waiting: Vec<Command>, context: &Context<'_>, output: &mut Output) {
        for command in waiting {
            self.waiting_bytes -= command.weight();
            self.carry_out(command, context, output);
        }
    }

    fn unsubscribe(
        &mut self,
        id: u32,
        request: ChannelRequest,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let channel = match parse_channel(&request.channel) {
            Ok((channel, _)) => channel,
            // Nobody is subscribed to what cannot be a channel. An error would make SDKs reconnect.
            Err(Failure::Refused(_)) => {
                self.answer_unsubscribed(id, output);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        if self.opening(&channel).is_some() {
            let command = Command { id, request: Request::Unsubscribe(request) };
            self.wait(&command)?;
            if let Some(opening) = self.opening(&channel) {
                opening.waiting.push(command);
            }
            return Ok(());
        }
        if let Some(index) = self.find(&channel) {
            self.subscriptions.swap_remove(index);
            output.asks.push(Ask::Unsubscribe(channel));
        }
        self.answer_unsubscribed(id, output);
        Ok(())
    }

    fn answer_unsubscribed(&self, id: u32, output: &mut Output) {
        self.reply(Reply { id, unsubscribe: Some(Empty {}), ..Reply::default() }, output);
    }

    /// Tells the client how its command failed.
    fn settle(&mut self, id: u32, done: Result<(), Failure>, output: &mut Output) {
        match done {
            Ok(()) => {}
            Err(Failure::Refused(error)) => self.refuse(id, error, output),
            Err(Failure::Disconnected(disconnect)) => self.end(disconnect, output),
        }
    }

    fn refuse(&self, id: u32, error: Error, output: &mut Output) {
        self.reply(Reply { id, error: Some(error), ..Reply::default() }, output);
    }

    fn reply(&self, reply: Reply, output: &mut Output) {
        frame::put_reply(self.encoding, &reply, &mut output.bytes);
    }

    fn end(&mut self, disconnect: Disconnect, output: &mut Output) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.phase = Phase::Closed;
        self.subscriptions = Vec::new();
        self.pending = Vec::new();
        output.asks.push(Ask::Close(disconnect.into()));
    }

    fn next_ask(&mut self) -> AskId {
        self.asked += 1;
        AskId(self.asked)
    }

    fn find(&self, channel: &ChannelName) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| subscription.channel == *channel)
    }

    /// The running subscribe of a channel.
    fn opening(&mut self, channel: &ChannelName) -> Option<&mut Opening> {
        let index = self.find(channel)?;
        self.subscriptions[index].opening()
    }

    fn knows_user(&self) -> bool {
        self.known_user().is_some()
    }

    /// The user that the client proved to be.
    fn known_user(&self) -> Option<&str> {
        Some(&*self.user).filter(|user| !user.is_empty())
    }

    /// The client as others see it in a channel.
    fn info(&self, chan_info: Bytes) -> ClientInfo {
        ClientInfo {
            user: self.user.to_string(),
            client: self.client.to_string(),
            conn_info: self.conn_info.clone(),
            chan_info,
        }
    }
}

const SECOND_CONNECT: Disconnect = Disconnect::BadRequest("already connected");

/// Reads a channel's name as Centrifuge clients may write it: ASCII.
fn parse_channel(text: &str) -> Result<(ChannelName, Spelling), Failure> {
    if text.is_empty() {
        return Err(Disconnect::BadRequest("a command names no channel").into());
    }
    if !text.is_ascii() {
        return Err(Refusal::BadRequest.into());
    }
    ChannelName::parse(text).map_err(|_| Refusal::BadRequest.into())
}

#[cfg(test)]
mod tests;
