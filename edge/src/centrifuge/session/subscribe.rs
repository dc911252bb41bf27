//! How subscriptions begin and end: who may have which, and what is told of them.
//!
//! Invariant: the reply that opens a subscription is written in the same turn as the shard's answer,
//! so before any message of the channel.

use shared::channel::{ChannelName, Spelling};
use shared::namespace::Options;

use super::expiry::Validity;
use super::subscription::{Cause, Plan, Side, Subscription, Wanted};
use super::{Broadcast, Phase, Session, parse_channel};
use crate::access;
use crate::centrifuge::codes::{Disconnect, Failure, Refusal, Removal};
use crate::centrifuge::protocol::{
    Error, Push, Reply, Subscribe, SubscribeRequest, SubscribeResult,
};
use crate::form::{Dialect, Form};
use crate::session::{Answer, Ask, Context, Output};
use crate::token::{self, Grant, TokenError};

/// The `type` of a subscription to a stream, and of one to a channel that is polled.
const TYPE_STREAM: i32 = 0;
const TYPE_SHARED_POLL: i32 = 4;

/// Up to so many subscriptions, memory is taken for each rather than in advance.
const FEW: usize = 4;

/// The only kind of delta there is, which is never granted.
const DELTA_FOSSIL: &str = "fossil";

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
        if wanted.is_hopeless() {
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
        if self.subscriptions.len() < FEW {
            self.subscriptions.reserve_exact(1);
        }
        self.subscriptions.push(Subscription::new(ask, plan));
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
        &mut self,
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
        self.count_token()?;
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
        access::may_read(channel, options, self.known_user())
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
        let Some(opening) = self.subscriptions[index].opening() else { return };
        let (cause, removed, wanted) = (opening.cause, opening.removed, opening.wanted);
        let waiting = std::mem::take(&mut opening.waiting);
        let opened = match answer {
            Answer::Subscribed(subscribed) if wanted.is_refused_by(&subscribed) => {
                output.asks.push(Ask::Unsubscribe(self.subscriptions[index].channel.clone()));
                Err(Refusal::UnrecoverablePosition.into())
            }
            Answer::Subscribed(subscribed) => Ok(subscribed),
            Answer::Failed { code, message, temporary } => {
                Err(Error::told(code, message, temporary))
            }
            Answer::Response(_) => Err(Refusal::Internal.into()),
        };
        match opened {
            Ok(subscribed) => {
                let result = self.subscriptions[index].open(subscribed);
                let name = self.subscriptions[index].name();
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
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let Some(index) = self.find(channel).filter(|index| self.subscriptions[*index].is_open())
        else {
            return;
        };
        if self.subscriptions[index].side.is_server() {
            self.end(Disconnect::InsufficientState, output);
        } else {
            self.drop_subscription(index, Removal::InsufficientState, output);
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
        let channel = subscription.name();
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
