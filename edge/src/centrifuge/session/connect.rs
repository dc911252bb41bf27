//! The connect command: who the client is, and the channels it is subscribed to at once.
//!
//! Invariant: nothing is written to the client before the answer to connect.

use std::collections::BTreeMap;

use shared::channel::ChannelName;

use super::expiry::Validity;
use super::subscription::{Cause, Plan, Side, Wanted};
use super::{Phase, Session};
use crate::centrifuge::VERSION;
use crate::centrifuge::codes::{Disconnect, Failure, Refusal};
use crate::centrifuge::decode::Command;
use crate::centrifuge::protocol::{
    ConnectRequest, ConnectResult, Error, Reply, SubscribeRequest, SubscribeResult,
};
use crate::session::{Ask, Context, Identity, Output};
use crate::token::{self, Grant, TokenError};

/// A connect command whose server-side subscriptions are under way.
#[derive(Debug)]
pub(super) struct Connecting {
    id: u32,
    seed: u64,
    validity: Validity,
    /// The subscriptions that are open, by the name the client is told.
    pub(super) results: BTreeMap<String, SubscribeResult>,
    /// What the client has said since.
    pub(super) waiting: Vec<Command>,
}

impl Session {
    pub(super) fn connect(
        &mut self,
        id: u32,
        request: ConnectRequest,
        seed: u64,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let token = self.authenticate(&request.token, context)?;
        let validity = self.validity(token.expires_ms, context).ok_or(Refusal::Expired)?;
        self.user = token.user.into();
        self.conn_info = token.info;
        self.closes = validity.closes;
        let plans = self.plans(token.subscriptions, &request.subs, context)?;
        output.asks.push(Ask::Identify(Identity {
            user: self.user.to_string(),
            client: self.client.to_string(),
            key: None,
        }));
        self.phase = Phase::Connecting(Box::new(Connecting {
            id,
            seed,
            validity,
            results: BTreeMap::new(),
            waiting: Vec::new(),
        }));
        for plan in plans {
            self.open(plan, output);
        }
        self.finish_connect_if_complete(context, output);
        Ok(())
    }

    fn authenticate(
        &self,
        token: &str,
        context: &Context<'_>,
    ) -> Result<token::Connection, Failure> {
        if token.is_empty() {
            return if self.setup.config.allow_anonymous {
                Ok(token::Connection::default())
            } else {
                Err(Disconnect::BadRequest("connect brings no token").into())
            };
        }
        self.setup.tokens.connection(token, context.unix_ms).map_err(|error| match error {
            TokenError::Expired => Refusal::TokenExpired.into(),
            TokenError::Invalid => Disconnect::InvalidToken.into(),
        })
    }

    /// The server-side subscriptions: the token's and the user's own inbox. `known` tells what the
    /// client has of them from before; what else it names there is ignored.
    fn plans(
        &self,
        granted: Vec<Grant>,
        known: &BTreeMap<String, SubscribeRequest>,
        context: &Context<'_>,
    ) -> Result<Vec<Plan>, Failure> {
        let mut grants: Vec<(Side, Grant)> =
            granted.into_iter().map(|grant| (Side::Token, grant)).collect();
        if self.setup.config.personal_channel && self.knows_user() {
            let grant = Grant { channel: format!("#{}", self.user), ..Grant::default() };
            grants.push((Side::Server, grant));
        }
        if grants.len() > self.setup.config.channels_max {
            return Err(Disconnect::ChannelLimit.into());
        }
        let mut plans: Vec<Plan> = Vec::with_capacity(grants.len());
        for (side, grant) in grants {
            let (channel, spelling) =
                ChannelName::parse(&grant.channel).map_err(|_| Refusal::UnknownChannel)?;
            if channel.is_reserved() {
                return Err(Refusal::UnknownChannel.into());
            }
            if plans.iter().any(|plan| plan.channel == channel) {
                continue;
            }
            let options = context.namespaces.options(&channel).ok_or(Refusal::UnknownChannel)?;
            plans.push(Plan {
                wanted: Wanted::new(known.get(&grant.channel), options, grant.force_recovery),
                seen: options.presence && grant.presence.unwrap_or(true),
                channel,
                spelling,
                side,
                cause: Cause::Connect,
                grant,
                validity: Validity::default(),
            });
        }
        Ok(plans)
    }

    /// A subscription made at connect is open.
    pub(super) fn note_connected(
        &mut self,
        channel: String,
        result: SubscribeResult,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if let Phase::Connecting(connecting) = &mut self.phase {
            connecting.results.insert(channel, result);
        }
        self.finish_connect_if_complete(context, output);
    }

    /// A subscription made at connect failed, and the whole connect with it.
    pub(super) fn refuse_connect(&mut self, error: Error, output: &mut Output) {
        let Phase::Connecting(connecting) = &self.phase else { return };
        let id = connecting.id;
        self.phase = Phase::Refused;
        for subscription in self.subscriptions.drain(..) {
            output.asks.push(Ask::Unsubscribe(subscription.channel));
        }
        self.refuse(id, error, output);
    }

    /// Answers connect once no subscription is under way, and goes on with what waited.
    pub(super) fn finish_connect_if_complete(
        &mut self,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if !self.is_held() || self.subscriptions.iter().any(|known| !known.is_open()) {
            return;
        }
        let Phase::Connecting(connecting) = std::mem::replace(&mut self.phase, Phase::Open) else {
            return;
        };
        let connecting = *connecting;
        let connect = ConnectResult {
            client: self.client.to_string(),
            version: VERSION.to_owned(),
            expires: connecting.validity.expires(),
            ttl: connecting.validity.ttl,
            subs: connecting.results,
            ping: whole_seconds(self.setup.config.ping_interval),
            pong: true,
        };
        let connect = Some(Box::new(connect));
        self.reply(Reply { id: connecting.id, connect, ..Reply::default() }, output);
        self.start_pings(connecting.seed, context.now);
        self.subscribe_broadcast(output);
        self.resume(connecting.waiting, context, output);
    }

    /// Whether the token's server-side subscriptions are the ones this connection has.
    pub(super) fn is_granted(&self, grants: &[Grant]) -> bool {
        let mut granted: Vec<ChannelName> = grants
            .iter()
            .filter_map(|grant| ChannelName::parse(&grant.channel).ok())
            .map(|(channel, _)| channel)
            .collect();
        granted.sort_unstable();
        granted.dedup();
        let mut had: Vec<&ChannelName> = self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.side == Side::Token)
            .map(|subscription| &subscription.channel)
            .collect();
        had.sort_unstable();
        granted.iter().eq(had)
    }

    /// A refresh while connect is not answered yet counts for its answer.
    pub(super) fn set_validity(&mut self, validity: Validity) -> bool {
        self.closes = validity.closes;
        match &mut self.phase {
            Phase::Connecting(connecting) => {
                connecting.validity = validity;
                false
            }
            Phase::Fresh { .. } | Phase::Open | Phase::Refused | Phase::Closed => true,
        }
    }
}

/// An interval as clients are told it: rounded up, since they wait that long and some more.
fn whole_seconds(interval: std::time::Duration) -> u32 {
    let seconds = interval.as_secs() + u64::from(interval.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
