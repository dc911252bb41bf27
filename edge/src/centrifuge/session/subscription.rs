//! What a session knows of a channel that its client reads or is about to read.
//!
//! Invariant: a subscription is opening until the shard has answered, and open after that.

use std::time::Instant;

use bytes::Bytes;
use shared::channel::{ChannelName, Spelling};
use shared::message::Epoch;
use shared::namespace::Options;

use super::expiry::Validity;
use crate::centrifuge::decode::Command;
use crate::centrifuge::protocol::{Publication, SubscribeRequest, SubscribeResult};
use crate::session::{AskId, Recover, Subscribed};
use crate::token::Grant;

/// The bit of `flag` that asks for error 112 in place of a subscription that did not recover.
const FLAG_REJECT_UNRECOVERED: i64 = 2;

/// A channel the client reads, or is about to.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: ChannelName,
    spelling: Spelling,
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
    pub(super) cause: Cause,
    pub(super) wanted: Wanted,
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
    pub(super) from: Option<Recover>,
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

    /// Whether it is clear beforehand that the client will not get what it insists on.
    pub(super) fn is_hopeless(&self) -> bool {
        self.insists && self.from.is_none()
    }

    /// Whether an open subscription is none, because it has a hole.
    pub(super) fn is_refused_by(&self, subscribed: &Subscribed) -> bool {
        self.insists && subscribed.recovered.is_none()
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
    /// One that the shard is asked for with `ask`.
    pub(super) fn new(ask: AskId, plan: Plan) -> Self {
        Self {
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
        }
    }

    /// The shard has opened it: what the client is told.
    pub(super) fn open(&mut self, subscribed: Subscribed) -> SubscribeResult {
        let State::Opening(opening) = &mut self.state else { return SubscribeResult::default() };
        let result = opening.result(subscribed);
        let chan_info = std::mem::take(&mut opening.grant.info);
        self.state = State::Open(Extra::boxed(chan_info, opening.validity.closes));
        result
    }

    /// The channel's name as the client is told it.
    pub(super) fn name(&self) -> String {
        self.channel.spelled(self.spelling)
    }

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
