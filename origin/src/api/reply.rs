//! Centrifugo's HTTP API: its replies.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use shared::body::json_body;
use shared::message::{ClientInfo, Message, Position};

use crate::io::origin::History;
use crate::presence::Stats;
use crate::publish::Refusal;

/// A logical error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiError {
    /// Centrifuge's code.
    pub code: u32,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// There is no such method.
    pub const METHOD_NOT_FOUND: Self = Self { code: 104, message: String::new() };
    /// The position asked for is of another life of the channel.
    pub const UNRECOVERABLE: Self = Self { code: 112, message: String::new() };

    /// The request makes no sense, and why.
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self { code: 107, message: format!("bad request: {}", why.into()) }
    }

    /// With the text of its code, where it has none of its own.
    pub fn spelled(mut self) -> Self {
        if self.message.is_empty() {
            self.message = match self.code {
                102 => "unknown channel",
                104 => "not found",
                106 => "limit exceeded",
                107 => "bad request",
                108 => "not available",
                111 => "too many requests",
                112 => "unrecoverable position",
                _ => "internal server error",
            }
            .to_owned();
        }
        self
    }

    /// The HTTP status in the error mode `transport`.
    pub fn status(&self) -> u16 {
        match self.code {
            102 | 104 => 404,
            106..=108 => 400,
            111 => 429,
            112 => 416,
            113 => 409,
            _ => 500,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = match &refusal {
            // Libraries and their users know these by their text.
            Refusal::UnknownNamespace(_) => "unknown channel".to_owned(),
            Refusal::OtherEpoch => "unrecoverable position".to_owned(),
            other if other.code() == 107 => format!("bad request: {other}"),
            other if other.code() == 108 => format!("not available: {other}"),
            other => other.to_string(),
        };
        Self { code: refusal.code(), message }
    }
}

/// A result of some method.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Result {
    /// Of a publish.
    Place(Place),
    /// Of a broadcast.
    Places {
        /// In the order of the channels.
        responses: Vec<Response<Place>>,
    },
    /// Of what has nothing to answer.
    Empty {},
    /// Of presence.
    Presence {
        /// By client id.
        presence: BTreeMap<String, Client>,
    },
    /// Of presence_stats.
    PresenceStats {
        /// Connections.
        num_clients: u32,
        /// Distinct users.
        num_users: u32,
    },
    /// Of history.
    History {
        /// Those asked for.
        publications: Vec<Publication>,
        /// The channel's last offset.
        offset: u64,
        /// The life of the channel's log.
        epoch: String,
    },
    /// Of channels.
    Channels {
        /// By name.
        channels: BTreeMap<String, ChannelInfo>,
    },
    /// Of info.
    Info {
        /// The origin, then its edges.
        nodes: Vec<Node>,
    },
}

/// A result, or why there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Response<T> {
    /// It was done.
    Result(T),
    /// It was not.
    Error(ApiError),
}

/// Where a message is; nothing where clients see no offsets.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
}

impl Place {
    /// A position that is shown, or not.
    pub fn new(position: Position, is_shown: bool) -> Self {
        Self {
            offset: is_shown.then_some(position.offset),
            epoch: is_shown.then(|| position.epoch.to_string()),
        }
    }
}

/// A client in a channel.
#[derive(Debug, Serialize)]
pub struct Client {
    client: String,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

impl From<&ClientInfo> for Client {
    fn from(info: &ClientInfo) -> Self {
        let json = |bytes: &[u8]| (!bytes.is_empty()).then(|| raw_json(bytes));
        Self {
            client: info.client.clone(),
            user: info.user.clone(),
            conn_info: json(&info.conn_info),
            chan_info: json(&info.chan_info),
        }
    }
}

/// A message of a channel's history.
#[derive(Debug, Serialize)]
pub struct Publication {
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Client>,
    offset: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

impl From<&Message> for Publication {
    fn from(message: &Message) -> Self {
        Self {
            data: raw_json(&message.content.body),
            info: message.content.publisher.as_deref().map(Client::from),
            offset: message.offset,
            tags: message.content.tags.clone(),
        }
    }
}

fn raw_json(body: &[u8]) -> Box<RawValue> {
    // What is JSON by its making always parses.
    serde_json::from_slice(&json_body(body)).unwrap_or_default()
}

/// A channel in use.
#[derive(Debug, Serialize)]
pub struct ChannelInfo {
    /// Clients in it.
    pub num_clients: u32,
}

/// A node of the network.
#[derive(Debug, Default, Serialize)]
pub struct Node {
    /// Its id: the name, prefixed with its role.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its version, where it is known.
    pub version: String,
    /// Connections it holds.
    pub num_clients: u64,
    /// Users connected to it.
    pub num_users: u64,
    /// Subscriptions of its connections.
    pub num_subs: u64,
    /// Channels it holds.
    pub num_channels: u64,
    /// Seconds since it started, where that is known.
    pub uptime: u64,
}

impl From<History> for Result {
    fn from(history: History) -> Self {
        let messages = history.messages.iter();
        Self::History {
            publications: messages.map(|message| Publication::from(&**message)).collect(),
            offset: history.position.offset,
            epoch: history.position.epoch.to_string(),
        }
    }
}

impl From<Stats> for Result {
    fn from(stats: Stats) -> Self {
        Self::PresenceStats { num_clients: stats.clients, num_users: stats.users }
    }
}

/// A reply in a batch: what the method answers, under its name.
pub struct Named {
    /// The method; `None` where it is not known.
    pub method: Option<&'static str>,
    /// What it answers.
    pub reply: std::result::Result<Result, ApiError>,
}

impl Serialize for Named {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match (&self.reply, self.method) {
            (Ok(result), Some(method)) => to.collect_map([(method, result)]),
            (Ok(result), None) => to.collect_map([("result", result)]),
            (Err(error), _) => to.collect_map([("error", error)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::message::{Content, Epoch};

    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn replies_are_centrifugos() {
        let position = Position { epoch: Epoch::new(10).unwrap(), offset: 7 };
        let shown = Result::Place(Place::new(position, true));
        let hidden = Result::Place(Place::new(position, false));
        assert_eq!(json(&Response::Result(&shown)), "{\"result\":{\"offset\":7,\"epoch\":\"a\"}}");
        assert_eq!(json(&Response::Result(&hidden)), "{\"result\":{}}");
        assert_eq!(json(&Response::Result(Result::Empty {})), "{\"result\":{}}");
        let error = Response::<Place>::Error(Refusal::UnknownNamespace("x".into()).into());
        assert_eq!(json(&error), "{\"error\":{\"code\":102,\"message\":\"unknown channel\"}}");
        let reply = Named { method: Some("publish"), reply: Ok(shown) };
        assert_eq!(json(&reply), "{\"publish\":{\"offset\":7,\"epoch\":\"a\"}}");
        let reply = Named { method: None, reply: Err(ApiError::METHOD_NOT_FOUND.spelled()) };
        assert_eq!(json(&reply), "{\"error\":{\"code\":104,\"message\":\"not found\"}}");
    }

    #[test]
    fn bodies_that_are_nested_too_deep_are_texts() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for (body, expected) in
            [("{\"a\": 1}", "{\"a\": 1}"), ("", "\"\""), (&deep, &format!("{deep:?}"))]
        {
            assert_eq!(raw_json(body.as_bytes()).get(), expected);
        }
        assert_eq!(raw_json(b"\xff\xfe").get(), "\"//4=\"");
    }

    #[test]
    fn publications() {
        let publisher = ClientInfo {
            user: "42".into(),
            client: "c".into(),
            conn_info: bytes::Bytes::from_static(b"{\"n\":1}"),
            ..ClientInfo::default()
        };
        let content = Content {
            body: bytes::Bytes::from_static(b"{\"a\":1}"),
            publisher: Some(Box::new(publisher)),
            tags: [("t".to_owned(), "v".to_owned())].into(),
            ..Content::default()
        };
        let message = Message { offset: 3, time_ms: 9, content };
        assert_eq!(
            json(&Publication::from(&message)),
            "{\"data\":{\"a\":1},\"info\":{\"client\":\"c\",\"user\":\"42\",\
             \"conn_info\":{\"n\":1}},\"offset\":3,\"tags\":{\"t\":\"v\"}}"
        );
    }
}
