//! Centrifugo's HTTP API: its requests, read into what is asked of the origin.
//!
//! What Centrifugo's libraries send is understood with its meaning, unknown fields are passed over
//! as they are there, and `null` is the same as leaving out. What would change the meaning of a
//! message and is not supported is refused, never passed over.

mod batch;
mod requests;
#[cfg(test)]
mod tests;

use serde::Deserialize;
use shared::channel::ChannelName;
use shared::message::Epoch;
use shared::wire::control;

pub use self::batch::{BatchItem, Legacy, read_batch, read_legacy};
use self::requests::{
    BroadcastRequest, ChannelRequest, ChannelsRequest, DisconnectRequest, Empty, HistoryRequest,
    PublishRequest, RefreshRequest, SubscribeRequest, UnsubscribeRequest,
};
use super::reply::ApiError;
use crate::publish::{Publish, Refusal};

/// What a back end asks.
#[derive(Debug, PartialEq)]
pub enum Call {
    /// Publish one message.
    Publish(Publish),
    /// Publish the same message to many channels; a name that is none is answered in its place.
    Broadcast(Vec<Result<Publish, Refusal>>),
    /// Send this to all edges.
    Command(control::command::Kind),
    /// Who is in a channel.
    Presence(ChannelName),
    /// How many are in a channel.
    PresenceStats(ChannelName),
    /// The messages of a channel.
    History(History),
    /// Forget the messages of a channel.
    HistoryRemove(ChannelName),
    /// The channels in use whose names fit a pattern.
    Channels(String),
    /// The nodes.
    Info,
}

/// A question for history.
#[derive(Debug, PartialEq, Eq)]
pub struct History {
    /// Of which channel.
    pub channel: ChannelName,
    /// At most so many; `None` for all there are.
    pub limit: Option<usize>,
    /// After (or before) which message; an epoch of `None` matches any.
    pub since: Option<(Option<Epoch>, u64)>,
    /// Newest first.
    pub reverse: bool,
}

/// Why a body could not be read: the whole HTTP request is at fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(#[from] serde_json::Error);

/// The methods by the names they have in URLs; also those of replies in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `publish`
    Publish,
    /// `broadcast`
    Broadcast,
    /// `unsubscribe`
    Unsubscribe,
    /// `disconnect`
    Disconnect,
    /// `presence`
    Presence,
    /// `presence_stats`
    PresenceStats,
    /// `history`
    History,
    /// `history_remove`
    HistoryRemove,
    /// `channels`
    Channels,
    /// `info`
    Info,
    /// `rpc`
    Rpc,
    /// `subscribe`
    Subscribe,
    /// `refresh`
    Refresh,
}

impl Method {
    /// All of them, in the order of the numbers they have in the old API.
    const NAMES: [(&'static str, Self); 13] = [
        ("publish", Self::Publish),
        ("broadcast", Self::Broadcast),
        ("unsubscribe", Self::Unsubscribe),
        ("disconnect", Self::Disconnect),
        ("presence", Self::Presence),
        ("presence_stats", Self::PresenceStats),
        ("history", Self::History),
        ("history_remove", Self::HistoryRemove),
        ("channels", Self::Channels),
        ("info", Self::Info),
        ("rpc", Self::Rpc),
        ("subscribe", Self::Subscribe),
        ("refresh", Self::Refresh),
    ];

    /// The method of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, method)| method)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }
}

/// Reads the body of a call to `/api/<method>`.
pub fn read(method: Method, body: &[u8]) -> Result<Result<Call, ApiError>, BodyError> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    Ok(match method {
        Method::Publish => parse::<PublishRequest<'_>>(body)?.call(),
        Method::Broadcast => parse::<BroadcastRequest<'_>>(body)?.call(),
        Method::Unsubscribe => parse::<UnsubscribeRequest>(body)?.call(),
        Method::Disconnect => parse::<DisconnectRequest>(body)?.call(),
        Method::Presence => parse::<ChannelRequest>(body)?.name().map(Call::Presence),
        Method::PresenceStats => parse::<ChannelRequest>(body)?.name().map(Call::PresenceStats),
        Method::History => parse::<HistoryRequest>(body)?.call(),
        Method::HistoryRemove => parse::<ChannelRequest>(body)?.name().map(Call::HistoryRemove),
        Method::Channels => Ok(Call::Channels(parse::<ChannelsRequest>(body)?.pattern)),
        Method::Info => parse::<Empty>(body)?.call(),
        Method::Rpc => parse::<Empty>(body)?.rpc(),
        Method::Subscribe => parse::<SubscribeRequest<'_>>(body)?.call(),
        Method::Refresh => parse::<RefreshRequest<'_>>(body)?.call(),
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BodyError> {
    Ok(serde_json::from_slice(body)?)
}
