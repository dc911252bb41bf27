//! The protocols a connection may speak, as its shard sees them: one set of calls for all.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use shared::channel::ChannelName;
use shared::wire::control::command;

use crate::config::Config;
use crate::form::{Encoding, Transport};
use crate::session::{Answer, AskId, Context, Output};
use crate::{centrifuge, goim};

/// What the sessions of an edge share.
#[derive(Clone, Debug)]
pub struct Setups {
    goim: Arc<goim::Setup>,
    centrifuge: Arc<centrifuge::Setup>,
}

impl Setups {
    /// Taken from the configuration.
    pub fn new(config: &Config) -> Self {
        let tokens = &config.token;
        let goim = goim::Setup { config: config.goim.clone(), tokens: tokens.clone() };
        let centrifuge =
            centrifuge::Setup { config: config.centrifuge.clone(), tokens: tokens.clone() };
        Self { goim: Arc::new(goim), centrifuge: Arc::new(centrifuge) }
    }
}

/// The session of one connection.
pub enum Protocol {
    /// goim or danmaku; the login tells which.
    Goim(Box<goim::session::Session>),
    /// Centrifuge.
    Centrifuge(Box<centrifuge::session::Session>),
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Goim(_) => "Goim",
            Self::Centrifuge(_) => "Centrifuge",
        })
    }
}

impl Protocol {
    /// A goim or danmaku client that must log in. `client` names the connection in the network.
    pub fn goim(setups: &Setups, transport: Transport, client: &str, now: Instant) -> Self {
        let setup = Arc::clone(&setups.goim);
        Self::Goim(Box::new(goim::session::Session::new(setup, transport, client, now)))
    }

    /// A Centrifuge client that must connect. `seed` is random.
    pub fn centrifuge(
        setups: &Setups,
        encoding: Encoding,
        client: &str,
        seed: u64,
        now: Instant,
    ) -> Self {
        let setup = Arc::clone(&setups.centrifuge);
        let session = centrifuge::session::Session::new(setup, encoding, client, seed, now);
        Self::Centrifuge(Box::new(session))
    }

    /// Whether rooms must not write yet.
    pub fn is_held(&self) -> bool {
        match self {
            Self::Goim(session) => session.is_held(),
            Self::Centrifuge(session) => session.is_held(),
        }
    }

    /// Whether nothing more is taken from the client until an answer came.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Goim(session) => session.is_busy(),
            Self::Centrifuge(_) => false,
        }
    }

    /// Bytes of a TCP stream; whole frames are taken off the front.
    pub fn handle_bytes(&mut self, input: &mut BytesMut, cx: &Context<'_>, out: &mut Output) {
        match self {
            Self::Goim(session) => session.handle_input(input, cx, out),
            Self::Centrifuge(_) => input.clear(), // it has no form for TCP; never made for it
        }
    }

    /// A WebSocket message.
    pub fn handle_message(&mut self, message: BytesMut, cx: &Context<'_>, out: &mut Output) {
        match self {
            Self::Goim(session) => session.handle_message(message, cx, out),
            Self::Centrifuge(session) => session.handle_message(&message, cx, out),
        }
    }

    /// The answer to an ask.
    pub fn handle_answer(&mut self, id: AskId, answer: Answer, cx: &Context<'_>, out: &mut Output) {
        match self {
            Self::Goim(session) => session.handle_answer(id, answer, cx, out),
            Self::Centrifuge(session) => session.handle_answer(id, answer, cx, out),
        }
    }

    /// A subscription lost messages, as many as are `missing` (0 is unknown), and with them itself:
    /// the client should recover or start afresh.
    pub fn handle_lost(
        &mut self,
        channel: &ChannelName,
        missing: u64,
        cx: &Context<'_>,
        out: &mut Output,
    ) {
        match self {
            Self::Goim(session) => session.handle_lost(channel, missing, cx, out),
            Self::Centrifuge(session) => session.handle_lost(channel, cx, out),
        }
    }

    /// A back end wants something done to this connection.
    pub fn handle_command(&mut self, command: &command::Kind, cx: &Context<'_>, out: &mut Output) {
        match self {
            Self::Goim(session) => session.handle_command(command, cx, out),
            Self::Centrifuge(session) => session.handle_command(command, cx, out),
        }
    }

    /// When [`Protocol::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Goim(session) => session.next_deadline(),
            Self::Centrifuge(session) => session.next_deadline(),
        }
    }

    /// Time has come to `cx.now`.
    pub fn handle_deadline(&mut self, cx: &Context<'_>, out: &mut Output) {
        match self {
            Self::Goim(session) => session.handle_deadline(cx, out),
            Self::Centrifuge(session) => session.handle_deadline(cx, out),
        }
    }
}
