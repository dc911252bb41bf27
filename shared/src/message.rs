//! A message: immutable once the log has given it an offset.
//!
//! Invariant: (channel, epoch, offset) names a message for ever; two payloads never share one.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use bytes::Bytes;

/// One life of a channel's log. It changes when the log is lost, and with it all offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(NonZeroU32);

impl Epoch {
    /// The epoch of this number; 0 is none.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// An epoch from 32 random bits.
    pub fn from_random(bits: u32) -> Self {
        Self(NonZeroU32::new(bits).unwrap_or(NonZeroU32::MAX))
    }

    /// The number, as it crosses the wire.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Reads the text form; anything else names no epoch of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let number = u32::from_str_radix(text, 36).ok()?;
        let epoch = Self::new(number)?;
        (epoch.to_string() == text).then_some(epoch)
    }
}

/// The text form of an epoch: base 36, as Centrifuge clients carry it.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut number = self.0.get();
        let mut text = [0u8; 7]; // 36^7 > 2^32
        let mut at = text.len();
        while number > 0 {
            at -= 1;
            text[at] = DIGITS[(number % 36) as usize];
            number /= 36;
        }
        f.write_str(std::str::from_utf8(&text[at..]).unwrap_or_default())
    }
}

/// A place in a channel: the message there, or the last one before a reader's next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the log.
    pub epoch: Epoch,
    /// Dense from 1; 0 is before the first message.
    pub offset: u64,
}

/// How a message is treated when not everything can be carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Gifts, system messages: never shed, carried twice where lines allow.
    Urgent,
    /// The default.
    #[default]
    Normal,
    /// May be sampled under overload; always counted.
    Droppable,
}

impl Class {
    /// All classes with their names in configuration and APIs.
    pub const NAMES: [(&'static str, Self); 3] =
        [("urgent", Self::Urgent), ("normal", Self::Normal), ("droppable", Self::Droppable)];

    /// Reads a class by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, class)| class)
    }

    /// The number that stands for it on the wire and in the log.
    pub fn number(self) -> u8 {
        match self {
            Self::Urgent => 0,
            Self::Normal => 1,
            Self::Droppable => 2,
        }
    }

    /// The class of a wire number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::NAMES.into_iter().map(|(_, class)| class).find(|class| class.number() == number)
    }
}

/// What a publisher hands in and every reader gets: everything about a message but its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// The payload, carried as it is.
    pub body: Bytes,
    /// How it is treated under pressure.
    pub class: Class,
    /// goim's operation, which its clients dispatch on.
    pub operation: i32,
    /// The publishing client, for messages that clients publish.
    pub publisher: Option<Box<ClientInfo>>,
    /// Free marks for applications.
    pub tags: BTreeMap<String, String>,
    /// A broadcast's pace in connections per second over all edges; 0 is at once.
    pub speed: u32,
}

/// A message at its place in a channel. Shared by reference from the log to the socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Dense from 1 within the channel's epoch.
    pub offset: u64,
    /// When the origin admitted it, in milliseconds since 1970.
    pub time_ms: u64,
    /// What was published.
    pub content: Content,
}

/// Who a client is, as presence and publications tell other clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// The user's id; empty for an anonymous one.
    pub user: String,
    /// The connection's id.
    pub client: String,
    /// JSON the connection's token or hook attached; empty for none.
    pub conn_info: Bytes,
    /// JSON the subscription's token or hook attached; empty for none.
    pub chan_info: Bytes,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn epochs_spell_back(number in 1u32..) {
            let epoch = Epoch::new(number).expect("not zero");
            prop_assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        }
    }

    #[test]
    fn foreign_epochs_are_none_of_ours() {
        for text in ["", "0", "_", "00a", "A", "zzzzzzzzzz", "+a", "-1"] {
            assert_eq!(Epoch::parse(text), None, "{text}");
        }
    }
}
