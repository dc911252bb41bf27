//! The requests' fields, and what they ask.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use shared::channel::ChannelName;
use shared::limits::{BODY_BYTES_MAX, INFO_BYTES_MAX};
use shared::message::{Class, Epoch};
use shared::wire::control;

use super::{Call, History};
use crate::api::one_line;
use crate::api::reply::ApiError;
use crate::limits::API_CHANNELS_MAX;
use crate::publish::{Publish, Refusal};

/// What may stand in place of `null` or nothing.
pub(super) fn nullable<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// JSON data, of which `null` is some.
fn some_json<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
pub(super) struct Empty {}

impl Empty {
    pub(super) fn call(self) -> Result<Call, ApiError> {
        Ok(Call::Info)
    }

    /// Centrifugo's own extensions of this name do not exist here.
    pub(super) fn rpc(self) -> Result<Call, ApiError> {
        Err(ApiError::METHOD_NOT_FOUND)
    }
}

#[derive(Deserialize)]
pub(super) struct ChannelRequest {
    #[serde(default, deserialize_with = "nullable")]
    channel: String,
}

impl ChannelRequest {
    pub(super) fn name(&self) -> Result<ChannelName, ApiError> {
        channel(&self.channel)
    }
}

#[derive(Deserialize)]
pub(super) struct ChannelsRequest {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) pattern: String,
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
pub(super) struct PublishRequest<'a> {
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
    pub(super) fn call(self) -> Result<Call, ApiError> {
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
pub(super) struct BroadcastRequest<'a> {
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
    pub(super) fn call(self) -> Result<Call, ApiError> {
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
pub(super) struct UnsubscribeRequest {
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
    pub(super) fn call(self) -> Result<Call, ApiError> {
        // None at all: every channel of the connection.
        let channel =
            if self.channel.is_empty() { String::new() } else { canonical(&self.channel)? };
        let target = Some(target(self.user, self.client, self.session));
        let unsubscribe = control::Unsubscribe { target, channel };
        Ok(Call::Command(control::command::Kind::Unsubscribe(unsubscribe)))
    }
}

#[derive(Deserialize)]
pub(super) struct DisconnectRequest {
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
    pub(super) fn call(self) -> Result<Call, ApiError> {
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
pub(super) struct SubscribeRequest<'a> {
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
    pub(super) fn call(self) -> Result<Call, ApiError> {
        if self.over.is_some() {
            let message = "override is not supported: the namespace's options hold";
            return Err(ApiError::bad_request(message));
        }
        let since = self.recover_since.map(SinceRequest::position).transpose()?;
        let (recover_epoch, recover_offset) =
            since.map_or((0, 0), |(epoch, offset)| (epoch.map_or(0, Epoch::number), offset));
        let data = optional_data(self.data, &self.b64data, "b64data")?;
        if data.len() > BODY_BYTES_MAX {
            return Err(Refusal::TooLarge(data.len()).into());
        }
        let subscribe = control::Subscribe {
            channel: canonical(&self.channel)?,
            target: Some(target(self.user, self.client, self.session)),
            info: info(self.info, &self.b64info)?,
            data,
            expire_at_s: u64::try_from(self.expire_at).unwrap_or(0),
            recover_epoch,
            recover_offset,
        };
        Ok(Call::Command(control::command::Kind::Subscribe(subscribe)))
    }
}

#[derive(Deserialize)]
pub(super) struct RefreshRequest<'a> {
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
    pub(super) fn call(self) -> Result<Call, ApiError> {
        let refresh = control::Refresh {
            target: Some(target(self.user, self.client, self.session)),
            expired: self.expired,
            expire_at_s: u64::try_from(self.expire_at).unwrap_or(0),
            info: info(self.info, "")?,
        };
        Ok(Call::Command(control::command::Kind::Refresh(refresh)))
    }
}

#[derive(Deserialize)]
pub(super) struct HistoryRequest {
    #[serde(default, deserialize_with = "nullable")]
    channel: String,
    #[serde(default, deserialize_with = "nullable")]
    limit: i64,
    since: Option<SinceRequest>,
    #[serde(default, deserialize_with = "nullable")]
    reverse: bool,
}

impl HistoryRequest {
    pub(super) fn call(self) -> Result<Call, ApiError> {
        Ok(Call::History(History {
            channel: channel(&self.channel)?,
            limit: usize::try_from(self.limit).ok(),
            since: self.since.map(SinceRequest::position).transpose()?,
            reverse: self.reverse,
        }))
    }
}

#[derive(Deserialize)]
pub(super) struct SinceRequest {
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

/// What others are told about a client.
fn info(json: Option<&RawValue>, base64: &str) -> Result<Bytes, ApiError> {
    let info = optional_data(json, base64, "b64info")?;
    if info.len() > INFO_BYTES_MAX {
        let bytes = info.len();
        let message = format!("info has {bytes} bytes; at most {INFO_BYTES_MAX} are allowed");
        return Err(ApiError::bad_request(message));
    }
    Ok(info)
}

/// What clients are told where nothing else is said: Centrifugo's defaults.
const FORCED: u32 = 3503;
const FORCED_REASON: &str = "force disconnect";
/// What a WebSocket close frame holds beside its code.
const REASON_BYTES_MAX: usize = 123;
