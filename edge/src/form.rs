//! Forms: the few ways in which one and the same message leaves an edge.
//!
//! Subscribers that share a form share its bytes, frame header included; a room encodes each message
//! once per form that has a member.

use bytes::BytesMut;
use shared::channel::{ChannelName, Spelling};
use shared::message::{ClientInfo, Message};
use std::sync::Arc;

use crate::{centrifuge, goim};

/// How messages of a channel are written to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form {
    /// The protocol and its transport.
    pub dialect: Dialect,
    /// How the client wrote the channel's name, where the protocol repeats it.
    pub spelling: Spelling,
}

/// A protocol together with its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// goim v2: raw frames on TCP; on WebSocket nested in an operation 9 frame.
    Goim(Transport),
    /// The danmaku dialect.
    Danmaku(Transport, Compression),
    /// Centrifuge publications on WebSocket.
    Centrifuge(Encoding),
    /// Centrifuge asynchronous messages, which carry no channel: the broadcast.
    CentrifugeMessage(Encoding),
}

/// What carries a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Plain TCP (or TLS).
    Tcp,
    /// WebSocket.
    WebSocket,
}

/// How a danmaku client wants batches compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// protover 0 and 1.
    None,
    /// protover 2.
    Zlib,
    /// protover 3.
    Brotli,
}

/// The two encodings of the Centrifuge protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// JSON in text frames.
    Json,
    /// Length-delimited Protobuf in binary frames.
    Protobuf,
}

/// What a room hands its members.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A message of the channel.
    Message(Arc<Message>),
    /// A client came or left (only in namespaces with `join_leave`).
    Presence {
        /// Came, or left.
        joined: bool,
        /// Who.
        info: Arc<ClientInfo>,
    },
}

impl Form {
    /// Whether messages are gathered for a tick before they are written: compression pays only for
    /// batches, and clients that decompress in the background would see two of them that follow
    /// each other closely in the wrong order.
    pub fn gathers(self) -> bool {
        match self.dialect {
            Dialect::Danmaku(_, compression) => compression != Compression::None,
            Dialect::Goim(_) | Dialect::Centrifuge(_) | Dialect::CentrifugeMessage(_) => false,
        }
    }

    /// Appends `items` as they are written to clients of this form: whole frames of the transport,
    /// so that results may be concatenated. `offsets`: whether the namespace lets clients see
    /// offsets.
    pub fn encode(self, channel: &ChannelName, offsets: bool, items: &[Item], out: &mut BytesMut) {
        match self.dialect {
            Dialect::Goim(transport) => goim::encode::items(transport, items, out),
            Dialect::Danmaku(transport, compression) => {
                goim::encode::danmaku_items(transport, compression, items, out);
            }
            Dialect::Centrifuge(encoding) => {
                centrifuge::encode::items(encoding, channel, self.spelling, offsets, items, out);
            }
            Dialect::CentrifugeMessage(encoding) => {
                centrifuge::encode::broadcast_items(encoding, items, out);
            }
        }
    }
}
