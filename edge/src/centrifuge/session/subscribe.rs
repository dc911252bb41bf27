//! Subscriptions: who may have which, how they begin, recover and end.
//!
//! Invariant: the reply that opens a subscription is written in the same turn as the shard's answer,
//! so before any message of the channel.

use std::time::Instant;

use bytes::Bytes;
use shared::channel::{ChannelName, Spelling};
use shared::message::Epoch;
use shared::namespace::Options;

use super::{Broadcast, Phase, Session, parse_channel};
use crate::centrifuge::codes::{Disconnect, Failure, Refusal, Removal};
use crate::centrifuge::decode::Command;
use crate::centrifuge::protocol::{
    Error, Publication, Push, Reply, Subscribe, SubscribeRequest, SubscribeResult,
};
use crate::centrifuge::session::expiry::Validity;
use crate::form::{Dialect, Form};
use crate::session::{Answer, Ask, AskId, Context, Lost, Output, Recover, Subscribed};
use crate::token::{self, Grant, TokenError};

/// The bit of `flag` that asks for error 112 in place of a subscription that did not recover.
const FLAG_REJECT_UNRECOVERED: i64 = 2;

/// The `type` of a subscription to a stream, and of one to a channel that is polled.
const TYPE_STREAM: i32 = 0;
const TYPE_SHARED_POLL: i32 = 4;

/// The only kind of delta there is, which is never granted.
const DELTA_FOSSIL: &str = "fossil";

/// A channel the client reads, or is about to.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: ChannelName,
    pub(super) spelling: Spelling,
    pub(super) side: Side,
    state: State,
}

/// Who made a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The client, by command.
    Client,
    /// The connection's token.
    Token,
    /// The configuration or a back end.
    Server,
}

impl Side {
    pub(super) fn is_server(self) -> bool {
        match self {
            Self::Client => false,
            Self::Token | Self::Server => true,
        }
    }
}

#[derive(Debug)]
enum State {
    Opening(Box<Opening>),
    /// What few subscriptions have is boxed.
    Open(Option<Box<Extra>>),
}

/// A subscription the shard has not answered yet.
#[derive(Debug)]
pub(super) struct Opening {
    ask: AskId,
    cause: Cause,
    wanted: Wanted,
    grant: Grant,
    validity: Validity,
    /// The back end has taken it away meanwhile.
    pub(super) removed: bool,
    /// Commands on the channel that wait for an unsubscribe, which is the first of them.
    pub(super) waiting: Vec<Command>,
}

/// What is answered once a subscription is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The subscribe command with this id.
    Command(u32),
    /// The connect command.
    Connect,
    /// Nothing: the client is told by a push.
    Push,
}

#[derive(Debug)]
struct Extra {
    chan_info: Bytes,
    closes: Option<Instant>,
}

/// What a subscriber wants to know of its place in the channel, as far as it may.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    recoverable: bool,
    positioned: bool,
    /// Whether it asked to recover, whatever came of it.
    recovering: bool,
    /// Where it stands, if it can recover from there.
    from: Option<Recover>,
    /// Whether it wants an error rather than a subscription with a hole.
    insists: bool,
}

impl Wanted {
    /// What a client's request comes to in a channel with these options.
    pub(super) fn new(
        request: Option<&SubscribeRequest>,
        options: &Options,
        forced: Option<bool>,
    ) -> Self {
        let asked = request.is_some_and(|request| request.recoverable || request.recover);
        let forced = forced.unwrap_or(options.force_recovery);
        let recoverable = options.recovers() && (asked || forced);
        let positioned =
            recoverable || options.recovers() && request.is_some_and(|request| request.positioned);
        let Some(request) = request.filter(|request| request.recover) else {
            return Self { recoverable, positioned, ..Self::default() };
        };
        Self {
            recoverable,
            positioned,
            recovering: true,
            from: match (request.epoch.as_str(), Epoch::parse(&request.epoch)) {
                _ if !recoverable => None,
                ("", _) => Some(Recover { epoch: None, offset: request.offset }),
                (_, Some(epoch)) => Some(Recover { epoch: Some(epoch), offset: request.offset }),
                (_, None) => None, // not an epoch of ours
            },
            insists: recoverable && request.flag & FLAG_REJECT_UNRECOVERED != 0,
        }
    }

    /// From a position a back end names.
    pub(super) fn at_position(self, from: Option<Recover>) -> Self {
        Self { from: from.filter(|_| self.recoverable), ..self }
    }
}

/// What is known of a subscription before the shard is asked for it.
pub(super) struct Plan {
    pub(super) channel: ChannelName,
    pub(super) spelling: Spelling,
    pub(super) side: Side,
    pub(super) cause: Cause,
    pub(super) wanted: Wanted,
    pub(super) grant: Grant,
    pub(super) validity: Validity,
    /// Whether presence shows the client.
    pub(super) seen: bool,
}

impl Subscription {
    pub(super) fn is_opening(&self, id: AskId) -> bool {
        matches!(&self.state, State::Opening(opening) if opening.ask == id)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) fn opening(&mut self) -> Option<&mut Opening> {
        match &mut self.state {
            State::Opening(opening) => Some(opening),
            State::Open(_) => None,
        }
    }

    /// When it ends unless it is refreshed.
    pub(super) fn closes(&self) -> Option<Instant> {
        match &self.state {
            State::Open(Some(extra)) => extra.closes,
            State::Open(None) | State::Opening(_) => None,
        }
    }

    pub(super) fn set_closes(&mut self, closes: Option<Instant>) {
        if let State::Open(extra) = &mut self.state {
            let chan_info = extra.take().map_or_else(Bytes::new, |extra| extra.chan_info);
            *extra = Extra::boxed(chan_info, closes);
        }
    }

    pub(super) fn chan_info(&self) -> Bytes {
        match &self.state {
            State::Open(Some(extra)) => extra.chan_info.clone(),
            State::Open(None) | State::Opening(_) => Bytes::new(),
        }
    }
}

impl Extra {
    fn boxed(chan_info: Bytes, closes: Option<Instant>) -> Option<Box<Self>> {
        let needed = !chan_info.is_empty() || closes.is_some();
        needed.then(|| Box::new(Self { chan_info, closes }))
    }
}

impl Session {
    pub(super) fn subscribe(
        &mut self,
        id: u32,
        request: &SubscribeRequest,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (channel, spelling) = parse_channel(&request.channel)?;
        if self.find(&channel).is_some() {
            return Err(Refusal::AlreadySubscribed.into());
        }
        if self.subscriptions.len() >= self.setup.config.channels_max {
            return Err(Refusal::LimitExceeded.into());
        }
        if !request.delta.is_empty() && request.delta != DELTA_FOSSIL {
            return Err(Disconnect::BadRequest("unknown delta type").into());
        }
        let options = options_of(&channel, context)?;
        match request.kind {
            TYPE_STREAM => {}
            TYPE_SHARED_POLL => return Err(Refusal::NotAvailable.into()),
            _ => return Err(Refusal::PermissionDenied.into()),
        }
        if request.tf.is_some() {
            return Err(Refusal::BadRequest.into());
        }
        let (grant, validity) = self.permit(&channel, options, &request.token, context)?;
        let wanted = Wanted::new(Some(request), options, grant.force_recovery);
        if wanted.insists && wanted.from.is_none() {
            return Err(Refusal::UnrecoverablePosition.into());
        }
        let seen = options.presence && grant.presence.unwrap_or(true);
        let cause = Cause::Command(id);
        let side = Side::Client;
        self.open(Plan { channel, spelling, side, cause, wanted, grant, validity, seen }, output);
        Ok(())
    }

    /// Asks the shard for a subscription.
    pub(super) fn open(&mut self, plan: Plan, output: &mut Output) {
        let ask = self.next_ask();
        output.asks.push(Ask::Subscribe {
            id: ask,
            channel: plan.channel.clone(),
            form: Form { dialect: Dialect::Centrifuge(self.encoding), spelling: plan.spelling },
            recover: plan.wanted.from,
            presence: plan.seen.then(|| self.info(plan.grant.info.clone())),
            filtered: false,
        });
        self.subscriptions.push(Subscription {
            channel: plan.channel,
            spelling: plan.spelling,
            side: plan.side,
            state: State::Opening(Box::new(Opening {
                ask,
                cause: plan.cause,
                wanted: plan.wanted,
                grant: plan.grant,
                validity: plan.validity,
                removed: false,
                waiting: Vec::new(),
            })),
        });
    }

    /// The broadcast is read by every client, and begins with what comes after this.
    pub(super) fn subscribe_broadcast(&mut self, output: &mut Output) {
        let id = self.next_ask();
        self.broadcast = Broadcast::Asked(id);
        let dialect = Dialect::CentrifugeMessage(self.encoding);
        output.asks.push(Ask::Subscribe {
            id,
            channel: ChannelName::broadcast(),
            form: Form { dialect, spelling: Spelling::Colon },
            recover: None,
            presence: None,
            filtered: false,
        });
    }

    /// Whether a client may subscribe, and what a token grants with it. In Centrifugo's order: a
    /// token, the users a name lists, the namespace.
    fn permit(
        &self,
        channel: &ChannelName,
        options: &Options,
        token: &str,
        context: &Context<'_>,
    ) -> Result<(Grant, Validity), Failure> {
        if token.is_empty() {
            return if self.may_read(channel, options) {
                Ok((Grant::default(), Validity::default()))
            } else {
                Err(Refusal::PermissionDenied.into())
            };
        }
        let token = match self.setup.tokens.subscription(token, context.unix_ms) {
            Ok(token) if self.is_ours(&token, channel) => token,
            Ok(_) => return Err(Disconnect::InvalidToken.into()),
            Err(TokenError::Invalid) => return Err(Refusal::PermissionDenied.into()),
            Err(TokenError::Expired) => return Err(Refusal::TokenExpired.into()),
        };
        let validity = self.validity(token.expires_ms, context).ok_or(Refusal::Expired)?;
        Ok((token.grant, validity))
    }

    /// Whether a client may read a channel without a token for it.
    pub(super) fn may_read(&self, channel: &ChannelName, options: &Options) -> bool {
        if channel.is_private() {
            return false;
        }
        match channel.as_str().rsplit_once('#') {
            // An inbox lists one user; other names list several, parted by commas.
            Some(("", user)) => self.knows_user() && *user == *self.user,
            Some((_, users)) => {
                self.knows_user() && users.split(',').any(|user| *user == *self.user)
            }
            None => options.subscribe.admits(self.knows_user(), false),
        }
    }

    /// Whether a subscription token was made for this client and channel.
    pub(super) fn is_ours(&self, token: &token::Subscription, channel: &ChannelName) -> bool {
        *token.user == *self.user
            && token.client.as_deref().is_none_or(|client| *client == *self.client)
            && ChannelName::parse(&token.grant.channel).is_ok_and(|(name, _)| name == *channel)
    }

    pub(super) fn answer_subscription(
        &mut self,
        index: usize,
        answer: Answer,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let subscription = &mut self.subscriptions[index];
        let State::Opening(opening) = &mut subscription.state else { return };
        let (cause, removed) = (opening.cause, opening.removed);
        let waiting = std::mem::take(&mut opening.waiting);
        let opened = match answer {
            Answer::Subscribed(subscribed) if opening.wanted.is_refused_by(&subscribed) => {
                output.asks.push(Ask::Unsubscribe(subscription.channel.clone()));
                Err(Refusal::UnrecoverablePosition.into())
            }
            Answer::Subscribed(subscribed) => Ok(opening.result(subscribed)),
            Answer::Failed { code, message, temporary } => {
                Err(Error::told(code, message, temporary))
            }
            Answer::Response(_) => Err(Refusal::Internal.into()),
        };
        match opened {
            Ok(result) => {
                let closes = opening.validity.closes;
                let extra = Extra::boxed(std::mem::take(&mut opening.grant.info), closes);
                subscription.state = State::Open(extra);
                let name = subscription.channel.spelled(subscription.spelling);
                match cause {
                    Cause::Command(id) => {
                        let subscribe = Some(Box::new(result));
                        self.reply(Reply { id, subscribe, ..Reply::default() }, output);
                        if removed {
                            self.remove(index, Removal::Server, output);
                        }
                    }
                    Cause::Connect | Cause::Push if removed => {
                        // The client has not heard of it, and need not.
                        let subscription = self.subscriptions.swap_remove(index);
                        output.asks.push(Ask::Unsubscribe(subscription.channel));
                        self.finish_connect_if_complete(context, output);
                    }
                    Cause::Connect => self.note_connected(name, result, context, output),
                    Cause::Push => self.push_subscribed(&name, result, output),
                }
            }
            Err(error) => {
                self.subscriptions.swap_remove(index);
                match cause {
                    Cause::Command(id) => self.refuse(id, error, output),
                    Cause::Connect => self.refuse_connect(error, output),
                    Cause::Push => {}
                }
            }
        }
        self.resume(waiting, context, output);
    }

    /// Tells of a subscription that the client did not ask for, and what it missed before.
    fn push_subscribed(&self, name: &str, result: SubscribeResult, output: &mut Output) {
        let channel = name.to_owned();
        let subscribe = Some(Subscribe {
            recoverable: result.recoverable,
            epoch: result.epoch,
            offset: result.offset,
            positioned: result.positioned,
            data: result.data,
        });
        self.push(Push { channel, subscribe, ..Push::default() }, output);
        for publication in result.publications {
            let (channel, publication) = (name.to_owned(), Some(publication));
            self.push(Push { channel, publication, ..Push::default() }, output);
        }
    }

    /// Ends a subscription that the shard has ended.
    pub(super) fn lose(
        &mut self,
        channel: &ChannelName,
        lost: Lost,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let Some(index) = self.find(channel).filter(|index| self.subscriptions[*index].is_open())
        else {
            return;
        };
        match lost {
            Lost::Gap if self.subscriptions[index].side.is_server() => {
                self.end(Disconnect::InsufficientState, output);
            }
            Lost::Gap => self.drop_subscription(index, Removal::InsufficientState, output),
            Lost::Removed => self.drop_subscription(index, Removal::Server, output),
        }
        self.finish_connect_if_complete(context, output);
    }

    /// Ends a subscription on our own account.
    pub(super) fn remove(&mut self, index: usize, removal: Removal, output: &mut Output) {
        if let Some(subscription) = self.subscriptions.get(index) {
            output.asks.push(Ask::Unsubscribe(subscription.channel.clone()));
            self.drop_subscription(index, removal, output);
        }
    }

    fn drop_subscription(&mut self, index: usize, removal: Removal, output: &mut Output) {
        let subscription = self.subscriptions.swap_remove(index);
        let channel = subscription.channel.spelled(subscription.spelling);
        if let Phase::Connecting(connecting) = &mut self.phase {
            // The client has not heard of it yet, and will not.
            connecting.results.remove(&channel);
            return;
        }
        let unsubscribe = Some(removal.into());
        self.push(Push { channel, unsubscribe, ..Push::default() }, output);
    }

    pub(super) fn push(&self, push: Push, output: &mut Output) {
        self.reply(Reply { push: Some(push), ..Reply::default() }, output);
    }
}

impl Wanted {
    fn is_refused_by(&self, subscribed: &Subscribed) -> bool {
        self.insists && subscribed.recovered.is_none()
    }
}

impl Opening {
    /// What the client is told: where it stands if it recovered, the channel's top if not.
    fn result(&mut self, subscribed: Subscribed) -> SubscribeResult {
        let wanted = self.wanted;
        let recovered = subscribed.recovered.filter(|_| wanted.from.is_some());
        let offset = match (&recovered, wanted.from) {
            (Some(_), Some(from)) => from.offset,
            _ => subscribed.position.offset,
        };
        SubscribeResult {
            expires: self.validity.expires(),
            ttl: self.validity.ttl,
            recoverable: wanted.recoverable,
            positioned: wanted.positioned,
            epoch: if wanted.positioned {
                subscribed.position.epoch.to_string()
            } else {
                String::new()
            },
            offset: if wanted.positioned { offset } else { 0 },
            recovered: recovered.is_some(),
            publications: recovered
                .iter()
                .flatten()
                .map(|message| Publication::of(message))
                .collect(),
            data: std::mem::take(&mut self.grant.data),
            was_recovering: wanted.recovering,
        }
    }
}

/// The options of a channel that clients may name.
pub(super) fn options_of<'a>(
    channel: &ChannelName,
    context: &Context<'a>,
) -> Result<&'a Options, Failure> {
    if channel.is_reserved() {
        return Err(Refusal::PermissionDenied.into());
    }
    context.namespaces.options(channel).ok_or(Refusal::UnknownChannel.into())
}
