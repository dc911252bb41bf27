//! Commands that only the upstream can answer: publish, history, presence, rpc.

use shared::channel::ChannelName;
use shared::limits::{BODY_BYTES_MAX, HISTORY_MESSAGES_MAX};
use shared::message::Epoch;
use shared::namespace::Options;
use shared::wire::control::{self, request, response};
use shared::wire::convert;

use super::subscribe::options_of;
use super::{Session, parse_channel};
use crate::centrifuge::codes::{Disconnect, Failure, Refusal};
use crate::centrifuge::protocol::{
    Empty, Error, HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult, Publication,
    PublishRequest, Reply, RpcRequest, RpcResult,
};
use crate::form::Encoding;
use crate::session::{Answer, Ask, AskId, Context, Output};

/// Requests of one connection that may wait for the upstream.
const PENDING_MAX: usize = 256;

/// A command that waits for the upstream.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ask: AskId,
    id: u32,
    wish: Wish,
}

/// What the upstream was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Publish,
    /// With the epoch the client knows; 0 is any.
    History {
        since_epoch: u32,
    },
    Presence,
    PresenceStats,
    Rpc,
}

impl Session {
    pub(super) fn publish(
        &mut self,
        id: u32,
        request: PublishRequest,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (channel, _) = parse_channel(&request.channel)?;
        if request.data.is_empty() || request.data.len() > BODY_BYTES_MAX {
            return Err(Refusal::BadRequest.into());
        }
        let options = options_of(&channel, context)?;
        let subscription = self
            .find(&channel)
            .map(|index| &self.subscriptions[index])
            .filter(|subscription| subscription.is_open());
        if !options.publish.admits(self.knows_user(), subscription.is_some()) {
            return Err(Refusal::PermissionDenied.into());
        }
        let chan_info = subscription.map(|known| known.chan_info()).unwrap_or_default();
        let publisher = convert::info_out(&self.info(chan_info));
        // Asks are never numbered twice, so no two publishes of the network share a key.
        let idempotency_key = format!("{}:{}", self.client, self.asked + 1);
        let publish = control::Publish {
            channel: channel.as_str().to_owned(),
            body: request.data,
            publisher: Some(publisher),
            idempotency_key,
            operation: None,
        };
        self.request(id, Wish::Publish, request::Kind::Publish(publish), output)
    }

    pub(super) fn history(
        &mut self,
        id: u32,
        request: &HistoryRequest,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (channel, _) = parse_channel(&request.channel)?;
        let options = options_of(&channel, context)?;
        if !options.history || !options.recovers() {
            return Err(Refusal::NotAvailable.into());
        }
        self.check_may_ask(&channel, options)?;
        let since = request.since.as_ref();
        if request.reverse && since.is_some_and(|since| since.offset == 0) {
            return Err(Refusal::BadRequest.into());
        }
        let since_epoch = match since.map_or("", |since| &since.epoch) {
            "" => 0,
            text => Epoch::parse(text).ok_or(Refusal::UnrecoverablePosition)?.number(),
        };
        let history = control::History {
            channel: channel.as_str().to_owned(),
            limit: match usize::try_from(request.limit) {
                Ok(limit) => limit.min(HISTORY_MESSAGES_MAX) as i64,
                Err(_) => -1,
            },
            since_epoch,
            since_offset: since.map_or(0, |since| since.offset),
            since: since.is_some(),
            reverse: request.reverse,
            recovery: false,
        };
        let wish = Wish::History { since_epoch };
        self.request(id, wish, request::Kind::History(history), output)
    }

    pub(super) fn presence(
        &mut self,
        id: u32,
        channel: &str,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let query = self.presence_query(channel, context)?;
        self.request(id, Wish::Presence, request::Kind::Presence(query), output)
    }

    pub(super) fn presence_stats(
        &mut self,
        id: u32,
        channel: &str,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let query = self.presence_query(channel, context)?;
        self.request(id, Wish::PresenceStats, request::Kind::PresenceStats(query), output)
    }

    pub(super) fn rpc(
        &mut self,
        id: u32,
        request: RpcRequest,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let protocol = match self.encoding {
            Encoding::Json => "json",
            Encoding::Protobuf => "protobuf",
        };
        let rpc = control::Rpc {
            method: request.method,
            data: request.data,
            caller: Some(convert::info_out(&self.info(Default::default()))),
            transport: "websocket".to_owned(),
            protocol: protocol.to_owned(),
        };
        self.request(id, Wish::Rpc, request::Kind::Rpc(rpc), output)
    }

    pub(super) fn answer_request(&mut self, pending: Pending, answer: Answer, output: &mut Output) {
        let id = pending.id;
        match (pending.wish, answer) {
            (_, Answer::Failed { code, message, temporary }) => {
                self.refuse(id, Error::told(code, message, temporary), output);
            }
            (_, Answer::Response(response::Kind::Failure(failure))) if failure.disconnect != 0 => {
                let (code, reason) = (failure.disconnect, failure.message);
                self.end(Disconnect::Ordered { code, reason }, output);
            }
            (_, Answer::Response(response::Kind::Failure(failure))) => {
                let error = Error::told(failure.code, failure.message, failure.temporary);
                self.refuse(id, error, output);
            }
            (wish, Answer::Response(kind)) => match result(id, wish, kind) {
                Ok(reply) => self.reply(reply, output),
                Err(refusal) => self.refuse(id, refusal.into(), output),
            },
            (_, Answer::Subscribed(_)) => self.refuse(id, Refusal::Internal.into(), output),
        }
    }

    fn presence_query(
        &self,
        channel: &str,
        context: &Context<'_>,
    ) -> Result<control::ChannelQuery, Failure> {
        let (channel, _) = parse_channel(channel)?;
        let options = options_of(&channel, context)?;
        if !options.presence {
            return Err(Refusal::NotAvailable.into());
        }
        self.check_may_ask(&channel, options)?;
        Ok(control::ChannelQuery { channel: channel.as_str().to_owned() })
    }

    /// History and presence are for those who read the channel, or could.
    fn check_may_ask(&self, channel: &ChannelName, options: &Options) -> Result<(), Failure> {
        let reads = self.find(channel).is_some_and(|index| self.subscriptions[index].is_open());
        if reads || self.may_read(channel, options) {
            Ok(())
        } else {
            Err(Refusal::PermissionDenied.into())
        }
    }

    fn request(
        &mut self,
        id: u32,
        wish: Wish,
        request: request::Kind,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if self.pending.len() >= PENDING_MAX {
            return Err(Refusal::TooManyRequests.into());
        }
        let ask = self.next_ask();
        self.pending.push(Pending { ask, id, wish });
        output.asks.push(Ask::Request { id: ask, request });
        Ok(())
    }
}

/// The reply to a wish that was fulfilled.
fn result(id: u32, wish: Wish, kind: response::Kind) -> Result<Reply, Refusal> {
    let mut reply = Reply { id, ..Reply::default() };
    match (wish, kind) {
        (Wish::Publish, response::Kind::Publish(_)) => reply.publish = Some(Empty {}),
        (Wish::History { since_epoch }, response::Kind::History(history)) => {
            if since_epoch != 0 && since_epoch != history.epoch {
                return Err(Refusal::UnrecoverablePosition);
            }
            let messages = history.messages.into_iter().filter_map(convert::stored_in);
            reply.history = Some(HistoryResult {
                publications: messages.map(|message| Publication::of(&message)).collect(),
                epoch: Epoch::new(history.epoch).map(|epoch| epoch.to_string()).unwrap_or_default(),
                offset: history.top,
            });
        }
        (Wish::Presence, response::Kind::Presence(presence)) => {
            let clients = presence.clients.into_iter();
            reply.presence = Some(PresenceResult {
                presence: clients.map(|info| (info.client.clone(), info)).collect(),
            });
        }
        (Wish::PresenceStats, response::Kind::PresenceStats(stats)) => {
            reply.presence_stats =
                Some(PresenceStatsResult { num_clients: stats.clients, num_users: stats.users });
        }
        (Wish::Rpc, response::Kind::Rpc(rpc)) => reply.rpc = Some(RpcResult { data: rpc.data }),
        _ => return Err(Refusal::Internal),
    }
    Ok(reply)
}
