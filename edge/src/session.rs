//! The border between a client protocol and the edge: what a session asks, what it is answered.
//!
//! A session decides and never waits. It is given input (`handle_*`), appends bytes for its client
//! and [`Ask`]s for its shard to an [`Output`], and names its next deadline. The shard writes the
//! bytes in order, carries the asks out in order, and answers each that has an [`AskId`] exactly
//! once, in any order. What subscribers of a channel receive is not the session's business: it is
//! encoded once per [`Form`] and written by the room.
//!
//! Invariant: bytes of an answer are appended before the first live message of the channel it opens.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use shared::channel::ChannelName;
use shared::message::{ClientInfo, Epoch, Message, Position};
use shared::namespace::Namespaces;
use shared::wire::control;

use crate::form::Form;

/// Names one ask of one session; chosen by the session, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// What a session wants of its shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The client proved, or claimed as far as the configuration lets it, who it is. Said once,
    /// before any subscription.
    Identify(Identity),
    /// Read a channel from now on, or from a position. Answered by [`Answer::Subscribed`] or
    /// [`Answer::Failed`]. The session has checked that the client may.
    Subscribe {
        /// For the answer.
        id: AskId,
        /// The channel.
        channel: ChannelName,
        /// How its messages are written to this client.
        form: Form,
        /// What the client has, if it wants what it missed.
        recover: Option<Recover>,
        /// Whom presence shows in the channel; `None` to stay unseen.
        presence: Option<ClientInfo>,
        /// Whether only messages whose operation the client accepts are written (inboxes and the
        /// broadcast, not rooms).
        filtered: bool,
    },
    /// Stop reading a channel, whether its subscription is open or still under way (whose answer
    /// then never comes). No answer.
    Unsubscribe(ChannelName),
    /// The goim operations that filtered channels may write; before the first such ask, all.
    Accept(BTreeSet<i32>),
    /// Something only the upstream can answer: [`Answer::Response`] or [`Answer::Failed`].
    Request {
        /// For the answer.
        id: AskId,
        /// The question.
        request: control::request::Kind,
    },
    /// Write what has been appended, then end the connection.
    Close(Close),
}

/// Who a client is, as far as the edge must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user id; empty for anonymous.
    pub user: String,
    /// This connection's id, unique in the network.
    pub client: String,
    /// The key the client gave itself (goim); an older connection with the same key ends.
    pub key: Option<String>,
}

/// Where a recovering client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recover {
    /// The epoch it knows; `None` if it names none, which matches any.
    pub epoch: Option<Epoch>,
    /// The last offset it has.
    pub offset: u64,
}

/// Why and how a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// WebSocket close code (Centrifuge's disconnect codes among them); unused on TCP.
    pub code: u16,
    /// Close reason, at most 123 bytes; it names the remedy.
    pub reason: String,
    /// Whose fault it is, for the account of abnormal ends.
    pub blame: Blame,
}

/// Who made a connection end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The client left.
    Left,
    /// The client broke the protocol, or its token ran out.
    Peer,
    /// We sent it away on purpose: a back end's order, a drain.
    Order,
    /// We failed.
    Us,
    /// The path between broke.
    Network,
    /// The path between brings nothing, or takes nothing, any more.
    Silence,
}

impl From<&io::Error> for Blame {
    /// Of a socket's error.
    fn from(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::Silence } else { Self::Network }
    }
}

/// Whether a back end's order to disconnect leaves a client alone.
pub fn is_spared(order: &control::Disconnect, client: &str) -> bool {
    order.whitelist.iter().any(|spared| spared == client)
}

/// What a session is told of an ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The subscription is open.
    Subscribed(Subscribed),
    /// The upstream answered.
    Response(control::response::Kind),
    /// It could not be done. Codes are Centrifuge's.
    Failed {
        /// Error code.
        code: u32,
        /// For the client.
        message: String,
        /// Whether trying again later may help.
        temporary: bool,
    },
}

/// An open subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribed {
    /// The channel's last position when live messages take over: they begin after it.
    pub position: Position,
    /// What the client missed, complete up to `position` and in order, if it asked and all of it is
    /// known; `None` if it did not ask or something is missing for good.
    pub recovered: Option<Vec<Arc<Message>>>,
}

/// What a session may look at while it decides.
pub struct Context<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// Milliseconds since 1970, for tokens.
    pub unix_ms: u64,
    /// The options of all namespaces, as the upstream told them.
    pub namespaces: &'a Namespaces,
    /// Clients in a room over all edges.
    pub online: &'a dyn Fn(&ChannelName) -> u32,
}

/// Where a session puts what it decides.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes for the client, framed down to the transport (WebSocket frames, or plain TCP).
    pub bytes: BytesMut,
    /// Asks for the shard, in order.
    pub asks: Vec<Ask>,
}
