//! Centrifugo's HTTP API: its requests, read into what is asked of the origin.
//!
//! What Centrifugo's libraries send is understood with its meaning, unknown fields are passed over
//! as they are there, and `null` is the same as leaving out. What would change the meaning of a
//! message and is not supported is refused, never passed over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use shared::channel::ChannelName;
use shared::message::{Class, Epoch};
use shared::wire::control;

use super::one_line;
use super::reply::ApiError;
use crate::limits::{API_CHANNELS_MAX, API_COMMANDS_MAX};
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

/// A command of a batch: its method with what it asks, or why not.
pub type BatchItem = (Option<Method>, Result<Call, ApiError>);

/// Reads the body of a batch.
pub fn read_batch(body: &[u8]) -> Result<Result<Vec<BatchItem>, ApiError>, BodyError> {
    let batch: BatchRequest = parse(body)?;
    if batch.commands.len() > API_COMMANDS_MAX {
        let message = format!("a batch may hold at most {API_COMMANDS_MAX} commands");
        return Ok(Err(ApiError::bad_request(message)));
    }
    Ok(Ok(batch.commands.into_iter().map(|Command(item)| item).collect()))
}

/// A command of the old API, `POST /api`.
pub struct Legacy {
    /// Echoed in the reply where it is not 0.
    pub id: u32,
    /// Its method with what it asks, or why not.
    pub item: BatchItem,
}

/// Reads the body of the old API: any number of commands one after the other.
pub fn read_legacy(body: &[u8]) -> Result<Vec<Legacy>, BodyError> {
    let commands = serde_json::Deserializer::from_slice(body).into_iter::<LegacyRequest<'_>>();
    commands
        .map(|command| {
            let command = command?;
            let params = command.params.map_or("{}", RawValue::get).as_bytes();
            let params = if params == b"null" { b"{}" } else { params };
            let item = match command.method.method() {
                Some(method) => (Some(method), read(method, params)?),
                None => (None, Err(ApiError::METHOD_NOT_FOUND)),
            };
            Ok(Legacy { id: command.id, item })
        })
        .collect()
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BodyError> {
    Ok(serde_json::from_slice(body)?)
}

/// What may stand in place of `null` or nothing.
fn nullable<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// JSON data, of which `null` is some.
fn some_json<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct Empty {}

impl Empty {
    fn call(self) -> Result<Call, ApiError> {
        Ok(Call::Info)
    }

    /// Centrifugo's own extensions of this name do not exist here.
    fn rpc(self) -> Result<Call, ApiError> {
        Err(ApiError::METHOD_NOT_FOUND)
    }
}

#[derive(Deserialize)]
struct ChannelRequest {
    #[serde(default, deserialize_with = "nullable")]
    channel: String,
}

impl ChannelRequest {
    fn name(&self) -> Result<ChannelName, ApiError> {
        channel(&self.channel)
    }
}

#[derive(Deserialize)]
struct ChannelsRequest {
    #[serde(default, deserialize_with = "nullable")]
    pattern: String,
}

/// The data of a message and what it may carry. Spelt out in both requests that have it, because
/// raw JSON cannot be read through a flattened struct.
struct Content<'a> {
    data: Option<&'a RawValue>,
    b64data: String,
    tags: BTreeMap<String, String>,
    idempotency_key: String,
    skip_history: bool,
    version: u64,
    class: String,
    op: Option<i32>,
    ttl: Option<&'a RawValue>,
}

impl Content<'_> {
    /// The message, to be sent to some channel.
    fn message(self, channel: ChannelName) -> Result<Publish, ApiError> {
        if self.skip_history {
            return Err(ApiError::bad_request(
                "skip_history is not supported: use a namespace with history_size = 0",
            ));
        }
        if self.version > 0 {
            return Err(ApiError::bad_request("version is not supported: use idempotency_key"));
        }
        if self.ttl.is_some_and(|ttl| !matches!(ttl.get(), "null" | "0")) {
            return Err(ApiError::bad_request(
                "ttl is not supported: use a namespace with its own history_age",
            ));
        }
        let class = match self.class.as_str() {
            "" => None,
            name => Some(Class::parse(name).ok_or_else(|| {
                ApiError::bad_request("class must be one of urgent, normal, droppable")
            })?),
        };
        let body = data(self.data, &self.b64data, "b64data")?;
        Ok(Publish {
            class,
            operation: self.op,
            tags: self.tags,
            idempotency_key: self.idempotency_key,
            ..Publish::new(channel, body)
        })
    }
}

#[derive(Deserialize)]
struct PublishRequest<'a> {
    #[serde(default, deserialize_with = "nullable")]
    channel: String,
    #[serde(borrow, default, deserialize_with = "some_json")]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "nullable")]
    b64data: String,
    #[serde(default, deserialize_with = "nullable")]
    tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    idempotency_key: String,
    #[serde(default, deserialize_with = "nullable")]
    skip_history: bool,
    #[serde(default, deserialize_with = "nullable")]
    version: u64,
    #[serde(default, deserialize_with = "nullable")]
    class: String,
    op: Option<i32>,
    #[serde(borrow)]
    ttl: Option<&'a RawValue>,
}

impl PublishRequest<'_> {
    fn call(self) -> Result<Call, ApiError> {
        let name = channel(&self.channel)?;
        let content = Content {
            data: self.data,
            b64data: self.b64data,
            tags: self.tags,
            idempotency_key: self.idempotency_key,
            skip_history: self.skip_history,
            version: self.version,
            class: self.class,
            op: self.op,
            ttl: self.ttl,
        };
        content.message(name).map(Call::Publish)
    }
}

#[derive(Deserialize)]
struct BroadcastRequest<'a> {
    #[serde(default, deserialize_with = "nullable")]
    channels: Vec<String>,
    #[serde(borrow, default, deserialize_with = "some_json")]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "nullable")]
    b64data: String,
    #[serde(default, deserialize_with = "nullable")]
    tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    idempotency_key: String,
    #[serde(default, deserialize_with = "nullable")]
    skip_history: bool,
    #[serde(default, deserialize_with = "nullable")]
    version: u64,
    #[serde(default, deserialize_with = "nullable")]
    class: String,
    op: Option<i32>,
    #[serde(borrow)]
    ttl: Option<&'a RawValue>,
}

impl BroadcastRequest<'_> {
    fn call(self) -> Result<Call, ApiError> {
        if self.channels.is_empty() {
            return Err(ApiError::bad_request("channels must not be empty"));
        }
        if self.channels.len() > API_CHANNELS_MAX {
            let message = format!("at most {API_CHANNELS_MAX} channels at once");
            return Err(ApiError::bad_request(message));
        }
        let content = Content {
            data: self.data,
            b64data: self.b64data,
            tags: self.tags,
            idempotency_key: self.idempotency_key,
            skip_history: self.skip_history,
            version: self.version,
            class: self.class,
            op: self.op,
            ttl: self.ttl,
        };
        // Only its name differs from channel to channel.
        let message = content.message(ChannelName::broadcast())?;
        let to = |name: &String| match ChannelName::parse(name) {
            Ok((channel, _)) => Ok(Publish { channel, ..message.clone() }),
            Err(error) => Err(error.into()),
        };
        Ok(Call::Broadcast(self.channels.iter().map(to).collect()))
    }
}

#[derive(Deserialize)]
struct UnsubscribeRequest {
    #[serde(default, deserialize_with = "nullable")]
    user: String,
    #[serde(default, deserialize_with = "nullable")]
    channel: String,
    #[serde(default, deserialize_with = "nullable")]
    client: String,
    #[serde(default, deserialize_with = "nullable")]
    session: String,
}

impl UnsubscribeRequest {
    fn call(self) -> Result<Call, ApiError> {
        // None at all: every channel of the connection.
        let channel =
            if self.channel.is_empty() { String::new() } else { canonical(&self.channel)? };
        let target = Some(target(self.user, self.client, self.session));
        let unsubscribe = control::Unsubscribe { target, channel };
        Ok(Call::Command(control::command::Kind::Unsubscribe(unsubscribe)))
    }
}

#[derive(Deserialize)]
struct DisconnectRequest {
    #[serde(default, deserialize_with = "nullable")]
    user: String,
    #[serde(default, deserialize_with = "nullable")]
    client: String,
    #[serde(default, deserialize_with = "nullable")]
    session: String,
    #[serde(default, deserialize_with = "nullable")]
    whitelist: Vec<String>,
    disconnect: Option<DisconnectHow>,
}

#[derive(Deserialize)]
struct DisconnectHow {
    #[serde(default, deserialize_with = "nullable")]
    code: u32,
    #[serde(default, deserialize_with = "nullable")]
    reason: String,
}

impl DisconnectRequest {
    fn call(self) -> Result<Call, ApiError> {
        let how = self.disconnect.unwrap_or(DisconnectHow { code: 0, reason: String::new() });
        let (code, reason) = match (how.code, how.reason) {
            (0, reason) if reason.is_empty() => (FORCED, FORCED_REASON.to_owned()),
            (0, reason) => (FORCED, reason),
            (code @ 3000..=4999, reason) => (code, reason),
            _ => return Err(ApiError::bad_request("disconnect.code must be 3000 to 4999")),
        };
        // Clients treat an empty or a long reason in ways nobody means.
        let reason = if reason.is_empty() { FORCED_REASON.to_owned() } else { reason };
        if reason.len() > REASON_BYTES_MAX {
            let message = format!("disconnect.reason may have {REASON_BYTES_MAX} bytes");
            return Err(ApiError::bad_request(message));
        }
        let disconnect = control::Disconnect {
            target: Some(target(self.user, self.client, self.session)),
            whitelist: self.whitelist,
            code,
            reason,
        };
        Ok(Call::Command(control::command::Kind::Disconnect(disconnect)))
    }
}

#[derive(Deserialize)]
struct SubscribeRequest<'a> {
    #[serde(default, deserialize_with = "nullable")]
    user: String,
    #[serde(default, deserialize_with = "nullable")]
    channel: String,
    #[serde(default, deserialize_with = "nullable")]
    client: String,
    #[serde(default, deserialize_with = "nullable")]
    session: String,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "nullable")]
    b64info: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "nullable")]
    b64data: String,
    recover_since: Option<SinceRequest>,
    #[serde(rename = "override", borrow)]
    over: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "nullable")]
    expire_at: i64,
}

impl SubscribeRequest<'_> {
    fn call(self) -> Result<Call, ApiError> {
        if self.over.is_some() {
            let message = "override is not supported: the namespace's options hold";
            return Err(ApiError::bad_request(message));
        }
        let since = self.recover_since.map(SinceRequest::position).transpose()?;
        let (recover_epoch, recover_offset) =
            since.map_or((0, 0), |(epoch, offset)| (epoch.map_or(0, Epoch::number), offset));
        let subscribe = control::Subscribe {
            channel: canonical(&self.channel)?,
            target: Some(target(self.user, self.client, self.session)),
            info: optional_data(self.info, &self.b64info, "b64info")?,
            data: optional_data(self.data, &self.b64data, "b64data")?,
            expire_at_s: u64::try_from(self.expire_at).unwrap_or(0),
            recover_epoch,
            recover_offset,
        };
        Ok(Call::Command(control::command::Kind::Subscribe(subscribe)))
    }
}

#[derive(Deserialize)]
struct RefreshRequest<'a> {
    #[serde(default, deserialize_with = "nullable")]
    user: String,
    #[serde(default, deserialize_with = "nullable")]
    client: String,
    #[serde(default, deserialize_with = "nullable")]
    session: String,
    #[serde(default, deserialize_with = "nullable")]
    expired: bool,
    #[serde(default, deserialize_with = "nullable")]
    expire_at: i64,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

impl RefreshRequest<'_> {
    fn call(self) -> Result<Call, ApiError> {
        let refresh = control::Refresh {
            target: Some(target(self.user, self.client, self.session)),
            expired: self.expired,
            expire_at_s: u64::try_from(self.expire_at).unwrap_or(0),
            info: optional_data(self.info, "", "")?,
        };
        Ok(Call::Command(control::command::Kind::Refresh(refresh)))
    }
}

#[derive(Deserialize)]
struct HistoryRequest {
    #[serde(default, deserialize_with = "nullable")]
    channel: String,
    #[serde(default, deserialize_with = "nullable")]
    limit: i64,
    since: Option<SinceRequest>,
    #[serde(default, deserialize_with = "nullable")]
    reverse: bool,
}

impl HistoryRequest {
    fn call(self) -> Result<Call, ApiError> {
        Ok(Call::History(History {
            channel: channel(&self.channel)?,
            limit: usize::try_from(self.limit).ok(),
            since: self.since.map(SinceRequest::position).transpose()?,
            reverse: self.reverse,
        }))
    }
}

#[derive(Deserialize)]
struct SinceRequest {
    #[serde(default, deserialize_with = "nullable")]
    offset: u64,
    #[serde(default, deserialize_with = "nullable")]
    epoch: String,
}

impl SinceRequest {
    /// An epoch left out matches any; one that is none of ours matches none.
    fn position(self) -> Result<(Option<Epoch>, u64), ApiError> {
        match (self.epoch.as_str(), Epoch::parse(&self.epoch)) {
            ("", _) => Ok((None, self.offset)),
            (_, Some(epoch)) => Ok((Some(epoch), self.offset)),
            (_, None) => Err(ApiError::UNRECOVERABLE),
        }
    }
}

#[derive(Deserialize)]
struct BatchRequest {
    #[serde(default, deserialize_with = "nullable")]
    commands: Vec<Command>,
}

/// One command of a batch: an object whose only field names the method.
struct Command(BatchItem);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Command;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object with one command")
            }

            fn visit_unit<E>(self) -> Result<Command, E> {
                Ok(Command((None, Err(ApiError::bad_request("a command must not be null")))))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Command, A::Error> {
                let mut item = (None, Err(ApiError::METHOD_NOT_FOUND));
                while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
                    let found = match Method::parse(&name) {
                        Some(method) => method.next_call(&mut fields)?.map(|call| (method, call)),
                        None => {
                            fields.next_value::<IgnoredAny>()?;
                            None
                        }
                    };
                    if let Some((method, call)) = found {
                        item = (Some(method), call);
                    }
                }
                Ok(Command(item))
            }
        }

        from.deserialize_any(Fields)
    }
}

impl Method {
    /// Reads what is asked from the value of a field; `None` for `null`.
    fn next_call<'de, A: MapAccess<'de>>(
        self,
        fields: &mut A,
    ) -> Result<Option<Result<Call, ApiError>>, A::Error> {
        fn next<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
            fields: &mut A,
            call: impl FnOnce(T) -> Result<Call, ApiError>,
        ) -> Result<Option<Result<Call, ApiError>>, A::Error> {
            Ok(fields.next_value::<Option<T>>()?.map(call))
        }
        match self {
            Self::Publish => next(fields, PublishRequest::call),
            Self::Broadcast => next(fields, BroadcastRequest::call),
            Self::Unsubscribe => next(fields, UnsubscribeRequest::call),
            Self::Disconnect => next(fields, DisconnectRequest::call),
            Self::Presence => {
                next(fields, |request: ChannelRequest| request.name().map(Call::Presence))
            }
            Self::PresenceStats => {
                next(fields, |request: ChannelRequest| request.name().map(Call::PresenceStats))
            }
            Self::History => next(fields, HistoryRequest::call),
            Self::HistoryRemove => {
                next(fields, |request: ChannelRequest| request.name().map(Call::HistoryRemove))
            }
            Self::Channels => {
                next(fields, |request: ChannelsRequest| Ok(Call::Channels(request.pattern)))
            }
            Self::Info => next(fields, Empty::call),
            Self::Rpc => next(fields, Empty::rpc),
            Self::Subscribe => next(fields, SubscribeRequest::call),
            Self::Refresh => next(fields, RefreshRequest::call),
        }
    }
}

#[derive(Deserialize)]
struct LegacyRequest<'a> {
    #[serde(default, deserialize_with = "nullable")]
    id: u32,
    #[serde(default, deserialize_with = "nullable")]
    method: LegacyMethod,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// A method by name in any case, or by number.
#[derive(Deserialize)]
#[serde(untagged)]
enum LegacyMethod {
    Number(usize),
    Name(String),
}

impl Default for LegacyMethod {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl LegacyMethod {
    fn method(&self) -> Option<Method> {
        match self {
            Self::Number(number) => Method::NAMES.get(*number).map(|(_, method)| *method),
            Self::Name(name) if name.is_empty() => Some(Method::Publish),
            Self::Name(name) => Method::parse(&name.to_ascii_lowercase()),
        }
    }
}

fn channel(text: &str) -> Result<ChannelName, ApiError> {
    match ChannelName::parse(text) {
        Ok((name, _)) => Ok(name),
        Err(error) => Err(ApiError::bad_request(error.to_string())),
    }
}

fn canonical(text: &str) -> Result<String, ApiError> {
    channel(text).map(|name| name.as_str().to_owned())
}

fn target(user: String, client: String, session: String) -> control::Target {
    control::Target { user, client, session }
}

/// Data in one of its two forms; base64 wins. `field` is the name of that one.
fn data(json: Option<&RawValue>, base64: &str, field: &str) -> Result<Bytes, ApiError> {
    if base64.is_empty() {
        return Ok(json.map(one_line).unwrap_or_default());
    }
    match BASE64.decode(base64) {
        Ok(data) => Ok(data.into()),
        Err(_) => Err(ApiError::bad_request(format!("{field} must be base64"))),
    }
}

/// The same where `null` stands for nothing.
fn optional_data(json: Option<&RawValue>, base64: &str, field: &str) -> Result<Bytes, ApiError> {
    data(json.filter(|json| json.get() != "null"), base64, field)
}

/// What clients are told where nothing else is said: Centrifugo's defaults.
const FORCED: u32 = 3503;
const FORCED_REASON: &str = "force disconnect";
/// What a WebSocket close frame holds beside its code.
const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, body: &str) -> Call {
        read(Method::parse(method).unwrap(), body.as_bytes()).unwrap().unwrap()
    }

    fn error(method: &str, body: &str) -> u32 {
        read(Method::parse(method).unwrap(), body.as_bytes()).unwrap().unwrap_err().code
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap().0
    }

    #[test]
    fn publishing() {
        let plain = |body: &'static str| Call::Publish(Publish::new(name("live:1"), body));
        for (body, expected) in [
            ("{\"channel\":\"live:1\",\"data\":{\"a\": 1}}", plain("{\"a\": 1}")),
            ("{\"channel\":\"live://1\",\"data\":[\n1,\r\n2]}", plain("[1,2]")),
            ("{\"channel\":\"live:1\",\"data\":null,\"ttl\":null}", plain("null")),
            ("{\"channel\":\"live:1\",\"b64data\":\"aGk=\",\"data\":1}", plain("hi")),
            ("{\"channel\":\"live:1\",\"delta\":true,\"tags\":null}", plain("")),
        ] {
            assert_eq!(call("publish", body), expected, "{body}");
        }
        let rich = "{\"channel\":\"live:1\",\"data\":1,\"tags\":{\"a\":\"b\"},\
                    \"idempotency_key\":\"k\",\"class\":\"urgent\",\"op\":7}";
        let expected = Publish {
            tags: [("a".to_owned(), "b".to_owned())].into(),
            idempotency_key: "k".to_owned(),
            class: Some(Class::Urgent),
            operation: Some(7),
            ..Publish::new(name("live:1"), "1")
        };
        assert_eq!(call("publish", rich), Call::Publish(expected));
        for more in [
            "\"skip_history\":true",
            "\"version\":3",
            "\"ttl\":\"5s\"",
            "\"class\":\"gold\"",
            "\"b64data\":\"?\"",
        ] {
            let body = format!("{{\"channel\":\"live:1\",\"data\":1,{more}}}");
            assert_eq!(error("publish", &body), 107, "{more}");
        }
        assert_eq!(error("publish", "{\"data\":1}"), 107);
        assert_eq!(error("publish", ""), 107);
        for body in ["{", "[]", "{\"channel\":7}", "{\"channel\":\"a\",\"data\":{}} x"] {
            assert!(read(Method::Publish, body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_broadcast_answers_bad_names_in_their_place() {
        let body = "{\"channels\":[\"a\",\"\",\"b\"],\"data\":1}";
        let Call::Broadcast(messages) = call("broadcast", body) else { panic!("another call") };
        assert_eq!(messages[0], Ok(Publish::new(name("a"), "1")));
        assert_eq!(messages[1].as_ref().unwrap_err().code(), 107);
        assert_eq!(messages.len(), 3);
        assert_eq!(error("broadcast", "{\"data\":1}"), 107);
    }

    #[test]
    fn commands_to_edges() {
        use control::command::Kind;
        let Call::Command(Kind::Disconnect(all)) = call("disconnect", "{\"user\":\"42\"}") else {
            panic!("another call")
        };
        assert_eq!((all.code, all.reason.as_str()), (3503, "force disconnect"));
        assert_eq!(all.target.unwrap().user, "42");
        let body = "{\"user\":\"42\",\"disconnect\":{\"code\":4001,\"reason\":\"out\"}}";
        let Call::Command(Kind::Disconnect(own)) = call("disconnect", body) else {
            panic!("another call")
        };
        assert_eq!((own.code, own.reason.as_str()), (4001, "out"));
        assert_eq!(error("disconnect", "{\"disconnect\":{\"code\":1000}}"), 107);
        let body = "{\"user\":\"42\",\"channel\":\"live://1\",\"info\":{\"a\":1},\
                    \"recover_since\":{\"offset\":3,\"epoch\":\"a\"}}";
        let Call::Command(Kind::Subscribe(subscribe)) = call("subscribe", body) else {
            panic!("another call")
        };
        assert_eq!(
            (subscribe.channel.as_str(), &subscribe.info[..]),
            ("live:1", &b"{\"a\":1}"[..])
        );
        assert_eq!((subscribe.recover_epoch, subscribe.recover_offset), (10, 3));
        assert_eq!(error("subscribe", "{\"user\":\"42\"}"), 107);
        assert!(matches!(call("unsubscribe", "{\"user\":\"4\"}"), Call::Command(_)));
        assert!(matches!(call("refresh", "{\"user\":\"4\",\"expired\":true}"), Call::Command(_)));
    }

    #[test]
    fn questions() {
        let history = |limit, since, reverse| {
            Call::History(History { channel: name("a"), limit, since, reverse })
        };
        assert_eq!(call("history", "{\"channel\":\"a\"}"), history(Some(0), None, false));
        let body = "{\"channel\":\"a\",\"limit\":-1,\"reverse\":true,\"since\":{\"offset\":7}}";
        assert_eq!(call("history", body), history(None, Some((None, 7)), true));
        let foreign = "{\"channel\":\"a\",\"since\":{\"offset\":7,\"epoch\":\"_\"}}";
        assert_eq!(error("history", foreign), 112);
        assert_eq!(call("channels", "{\"pattern\":\"a*\"}"), Call::Channels("a*".into()));
        assert_eq!(call("info", "{}"), Call::Info);
        assert_eq!(error("rpc", "{\"method\":\"x\"}"), 104);
        assert_eq!(error("presence", "{}"), 107);
    }

    #[test]
    fn batches() {
        let body = "{\"parallel\":true,\"commands\":[{\"publish\":{\"channel\":\"a\",\"data\":1}},\
                    {},null,{\"nothing\":{}},{\"info\":{}},{\"publish\":{}},{\"info\":null}]}";
        let items = read_batch(body.as_bytes()).unwrap().unwrap();
        let codes: Vec<u32> =
            items.iter().map(|(_, call)| call.as_ref().err().map_or(0, |e| e.code)).collect();
        assert_eq!(codes, [0, 104, 107, 104, 0, 107, 104]);
        assert_eq!(items[0].0, Some(Method::Publish));
        assert!(read_batch(b"{}").unwrap().unwrap().is_empty());
        assert!(read_batch(b"{\"commands\":[7]}").is_err());
    }

    #[test]
    fn the_old_api() {
        let body = "{\"method\":\"Publish\",\"params\":{\"channel\":\"a\",\"data\":1},\"id\":5}\n\
                    {\"params\":{\"channel\":\"a\",\"data\":1}}\n{\"method\":9,\"params\":null}\n\
                    {\"method\":\"no\"}";
        let commands = read_legacy(body.as_bytes()).unwrap();
        let publish = Call::Publish(Publish::new(name("a"), "1"));
        assert_eq!((commands[0].id, &commands[0].item.1), (5, &Ok(publish)));
        assert_eq!(commands[1].item.0, Some(Method::Publish));
        assert_eq!(commands[2].item.1, Ok(Call::Info));
        assert_eq!(commands[3].item.1.as_ref().unwrap_err().code, 104);
        assert!(read_legacy(b"{\"method\":1").is_err());
    }
}
