//! Publishing: what is handed in, what is refused and why, what is answered.
//!
//! Admission comes in two halves. Here are the rules that need nothing but the message and the
//! namespaces; what depends on the channel (its rate, the idempotency keys it remembers) is decided
//! by [`crate::channel::State`], in the order in which messages reach the log.
//!
//! Invariant: whatever passes here fits the log's records and a line's frames.

use std::collections::BTreeMap;

use bytes::Bytes;
use shared::channel::{ChannelName, NameError};
use shared::limits::{BODY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, META_BYTES_MAX};
use shared::message::{Class, ClientInfo, Content, Position};
use shared::namespace::Namespaces;
use xxhash_rust::xxh3::xxh3_128;

use crate::limits::COMMAND_BYTES_MAX;
use crate::log::record::KeyHash;

/// A message as a publisher hands it in.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Where it goes.
    pub channel: ChannelName,
    /// The payload.
    pub body: Bytes,
    /// Whether the payload may be nothing, as in goim, where the operation says enough; elsewhere
    /// nothing to publish is a mistake.
    pub may_be_empty: bool,
    /// Its class; the namespace's where none is named.
    pub class: Option<Class>,
    /// Its goim operation; the namespace's where none is named.
    pub operation: Option<i32>,
    /// The client that published it.
    pub publisher: Option<Box<ClientInfo>>,
    /// Free marks.
    pub tags: BTreeMap<String, String>,
    /// A broadcast's pace in connections per second; 0 is at once.
    pub speed: u32,
    /// Publishing again under the same key changes nothing; empty for none.
    pub idempotency_key: String,
}

impl Publish {
    /// A plain message.
    pub fn new(channel: ChannelName, body: impl Into<Bytes>) -> Self {
        Self {
            channel,
            body: body.into(),
            may_be_empty: false,
            class: None,
            operation: None,
            publisher: None,
            tags: BTreeMap::new(),
            speed: 0,
            idempotency_key: String::new(),
        }
    }
}

/// What a publisher is answered once its message is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where the message is.
    pub position: Position,
    /// Whether it had been published before, under the same key.
    pub duplicate: bool,
}

/// Why the origin does not do what it is asked, above all: why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The channel's namespace is not configured.
    #[error("unknown channel: there is no namespace \"{0}\"")]
    UnknownNamespace(String),
    /// No channel is called so.
    #[error("{0}")]
    Name(#[from] NameError),
    /// There is nothing to publish.
    #[error("data must not be empty")]
    Empty,
    /// More than a message may carry.
    #[error("data has {0} bytes; at most {BODY_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Tags and the publisher's info are too much.
    #[error("tags and info have {0} bytes; at most {META_BYTES_MAX} are allowed")]
    MetaTooLarge(usize),
    /// More than a line carries to its edge.
    #[error("the command has {0} bytes; at most {COMMAND_BYTES_MAX} are allowed")]
    CommandTooLarge(usize),
    /// The key is too long.
    #[error("the idempotency key has {0} bytes; at most {IDEMPOTENCY_KEY_BYTES_MAX} are allowed")]
    KeyTooLong(usize),
    /// The namespace admits fewer messages per second and channel.
    #[error("too many messages: the namespace admits {0} per second in a channel")]
    Rate(u32),
    /// The channel remembers as many keys as it can.
    #[error("too many idempotency keys within five minutes in this channel")]
    TooManyKeys,
    /// More channels are in use than this origin holds.
    #[error("too many channels are in use at once")]
    TooManyChannels,
    /// The disk is nearly full; nothing is written until there is room again.
    #[error("the origin's disk is nearly full: nothing is written until there is room again")]
    DiskFull,
    /// The store failed; what became of this message will be known after a restart.
    #[error("the origin's store failed: {0}")]
    StoreFailed(String),
    /// The channel's log is damaged and is not continued.
    #[error("the channel's log is damaged: {0}")]
    Damaged(String),
    /// What a reader knows is of another life of the channel.
    #[error("the position is of another epoch: messages were lost or history was reset")]
    OtherEpoch,
    /// The namespace does not do this.
    #[error("{0} is not available in this namespace")]
    NotAvailable(&'static str),
    /// The origin is ending.
    #[error("the origin is shutting down")]
    ShuttingDown,
}

impl Refusal {
    /// Centrifuge's error code.
    pub fn code(&self) -> u32 {
        match self {
            Self::UnknownNamespace(_) => 102,
            Self::Name(_)
            | Self::Empty
            | Self::TooLarge(_)
            | Self::MetaTooLarge(_)
            | Self::CommandTooLarge(_)
            | Self::KeyTooLong(_) => 107,
            Self::Rate(_) | Self::TooManyKeys => 111,
            Self::TooManyChannels => 106,
            Self::OtherEpoch => 112,
            Self::NotAvailable(_) => 108,
            Self::DiskFull | Self::StoreFailed(_) | Self::Damaged(_) | Self::ShuttingDown => 100,
        }
    }

    /// Whether trying again later may help.
    pub fn temporary(&self) -> bool {
        match self {
            Self::Rate(_)
            | Self::TooManyKeys
            | Self::TooManyChannels
            | Self::DiskFull
            | Self::StoreFailed(_)
            | Self::ShuttingDown => true,
            Self::UnknownNamespace(_)
            | Self::Name(_)
            | Self::Empty
            | Self::TooLarge(_)
            | Self::MetaTooLarge(_)
            | Self::CommandTooLarge(_)
            | Self::KeyTooLong(_)
            | Self::OtherEpoch
            | Self::NotAvailable(_)
            | Self::Damaged(_) => false,
        }
    }

    /// The name of the reason in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownNamespace(_) => "unknown_namespace",
            Self::Name(_) => "name",
            Self::Empty => "empty",
            Self::TooLarge(_) => "too_large",
            Self::MetaTooLarge(_) => "meta_too_large",
            Self::CommandTooLarge(_) => "command_too_large",
            Self::KeyTooLong(_) => "key_too_long",
            Self::Rate(_) => "rate",
            Self::TooManyKeys => "too_many_keys",
            Self::TooManyChannels => "too_many_channels",
            Self::DiskFull => "disk_full",
            Self::StoreFailed(_) => "store_failed",
            Self::Damaged(_) => "damaged",
            Self::OtherEpoch => "other_epoch",
            Self::NotAvailable(_) => "not_available",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// A message on its way to the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Everything but its place.
    pub content: Content,
    /// Its idempotency key.
    pub key: Option<KeyHash>,
}

/// Checks a message and fills in what its namespace says about those that say nothing.
pub fn admit(publish: Publish, namespaces: &Namespaces) -> Result<(ChannelName, Draft), Refusal> {
    let Some(options) = namespaces.options(&publish.channel) else {
        return Err(Refusal::UnknownNamespace(publish.channel.namespace().to_owned()));
    };
    let key = &publish.idempotency_key;
    if publish.body.is_empty() && !publish.may_be_empty {
        return Err(Refusal::Empty);
    }
    if publish.body.len() > BODY_BYTES_MAX {
        return Err(Refusal::TooLarge(publish.body.len()));
    }
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Refusal::KeyTooLong(key.len()));
    }
    let key = (!key.is_empty()).then(|| xxh3_128(key.as_bytes()));
    let content = Content {
        body: publish.body,
        class: publish.class.unwrap_or(options.class),
        operation: publish.operation.unwrap_or(options.operation),
        publisher: publish.publisher,
        tags: publish.tags,
        speed: publish.speed,
    };
    let meta = shared::wire::convert::meta_of(&content);
    let meta_bytes = meta.map_or(0, |meta| prost::Message::encoded_len(&meta));
    if meta_bytes > META_BYTES_MAX {
        return Err(Refusal::MetaTooLarge(meta_bytes));
    }
    Ok((publish.channel, Draft { content, key }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(channel: &str, body: &[u8]) -> Publish {
        Publish::new(ChannelName::parse(channel).unwrap().0, body.to_vec())
    }

    #[test]
    fn refusals_are_named() {
        let namespaces = Namespaces::default();
        let refused = |publish| admit(publish, &namespaces).unwrap_err().code();
        assert_eq!(refused(publish("nowhere:1", b"x")), 102);
        assert_eq!(refused(publish("news", b"")), 107);
        assert!(admit(Publish { may_be_empty: true, ..publish("news", b"") }, &namespaces).is_ok());
        assert_eq!(refused(publish("news", &vec![0; BODY_BYTES_MAX + 1])), 107);
        let long = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1);
        assert_eq!(refused(Publish { idempotency_key: long, ..publish("news", b"x") }), 107);
        let tags = [("a".to_owned(), "b".repeat(META_BYTES_MAX))].into();
        assert_eq!(refused(Publish { tags, ..publish("news", b"x") }), 107);
    }

    #[test]
    fn namespaces_fill_in_what_is_left_out() {
        let (_, draft) = admit(publish("news", b"x"), &Namespaces::default()).unwrap();
        assert_eq!((draft.content.class, draft.content.operation), (Class::Normal, 1000));
        let named = Publish {
            class: Some(Class::Urgent),
            operation: Some(7),
            idempotency_key: "k".into(),
            ..publish("news", b"x")
        };
        let (_, draft) = admit(named, &Namespaces::default()).unwrap();
        assert_eq!((draft.content.class, draft.content.operation), (Class::Urgent, 7));
        assert_eq!(draft.key, Some(xxh3_128(b"k")));
    }
}
