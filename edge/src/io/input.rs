//! What clients send, from bytes to their protocol: HTTP heads, WebSocket frames, plain streams.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use shared::address;

use super::connection::Stage;
use super::proxy::{self, Preface};
use super::socket::{READ_BYTES, ReadOutcome};
use super::world::{World, client_id};
use crate::form::{Encoding, Transport};
use crate::goim::session;
use crate::protocol::Protocol;
use crate::room::ConnectionId;
use crate::session::{Blame, Close};
use crate::upgrade::{self, Endpoint, Head, Upgrade};
use crate::websocket::{self, Decoder};

impl World {
    pub(super) fn handle_readable(&mut self, id: ConnectionId) {
        let now = Instant::now();
        let mut input = std::mem::take(&mut self.scratch);
        input.clear();
        input.reserve(READ_BYTES);
        let Some(connection) = self.connection(id) else { return };
        let kept = std::mem::take(&mut connection.input);
        input.extend_from_slice(&kept);
        let limit = match &connection.stage {
            // What follows the header may be TLS, which begins with its own first byte.
            Stage::Preface(_) => match proxy::read(&mut BytesMut::from(&input[..])) {
                Preface::More(more) => more,
                Preface::From(_) | Preface::Wrong => proxy::FIXED_BYTES,
            },
            _ => READ_BYTES,
        };
        let outcome = connection.socket.read(&mut input, limit);
        match outcome {
            Ok(ReadOutcome::Drained) => {}
            Ok(ReadOutcome::More | ReadOutcome::End) => {
                self.understand(id, &mut input);
                if let Ok(ReadOutcome::End) = outcome
                    && let Some(connection) = self.connection(id)
                {
                    connection.die(Blame::Left);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a connection broke");
                if let Some(connection) = self.connection(id) {
                    connection.die(Blame::from(&error));
                }
            }
        }
        if let Some(connection) = self.connection(id)
            && !connection.dead
        {
            connection.flush_socket(now);
        }
        if let Some(connection) = self.connection(id)
            && !connection.is_ending()
            && !input.is_empty()
        {
            connection.input = BytesMut::from(&input[..]);
        }
        self.scratch = input;
    }

    /// After an answer, or an order that made one needless, a connection that was busy goes on with
    /// what it had read.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        let Some(connection) = self.connection(id).filter(|c| !c.is_busy()) else { return };
        connection.wake();
        let mut input = std::mem::take(&mut connection.input);
        if input.is_empty() {
            return;
        }
        self.understand(id, &mut input);
        if let Some(connection) = self.connection(id).filter(|c| !c.is_ending()) {
            connection.input = input;
        }
    }

    /// Takes everything whole off the front of `input`.
    fn understand(&mut self, id: ConnectionId, input: &mut BytesMut) {
        let config = Arc::clone(&self.config);
        loop {
            let Some(connection) = self.connection(id) else { return };
            if connection.is_busy() {
                return;
            }
            match &mut connection.stage {
                Stage::Ending { .. } => return input.clear(),
                Stage::Preface(way) => match proxy::read(input) {
                    Preface::More(_) => return,
                    Preface::Wrong => {
                        tracing::debug!(peer = %connection.peer, "no PROXY header");
                        return connection.die(Blame::Peer);
                    }
                    Preface::From(client) => {
                        let way = way.clone();
                        self.begin(id, &way);
                        if let Some(client) = client {
                            self.handle_client(id, client);
                        }
                        return;
                    }
                },
                Stage::Plain => {
                    return self.with_protocol(id, |protocol, cx, out| {
                        protocol.handle_bytes(input, cx, out);
                    });
                }
                Stage::Head => match upgrade::read(input, &config.websocket) {
                    Head::More => return,
                    Head::Upgrade(upgrade) => self.handle_upgrade(id, &upgrade),
                    Head::Refused(answer) => {
                        connection.replies.extend_from_slice(answer.as_bytes());
                        // The answer says why; there is no protocol yet to say it in.
                        let (code, reason) = (1002, String::new());
                        self.end(id, &Close { code, reason, blame: Blame::Peer });
                    }
                },
                Stage::WebSocket(decoder) => match decoder.decode(input) {
                    Ok(None) => return,
                    Ok(Some(event)) => self.handle_websocket(id, event),
                    Err(error) => {
                        let close = Close {
                            code: error.close_code(),
                            reason: error.to_string(),
                            blame: Blame::Peer,
                        };
                        self.end(id, &close);
                    }
                },
            }
        }
    }

    fn handle_upgrade(&mut self, id: ConnectionId, upgrade: &Upgrade) {
        let Some(accepted_at) = self.connection(id).map(|c| c.accepted_at) else { return };
        let config = Arc::clone(&self.config);
        let client = client_id();
        let (protocol, message_max) = match upgrade.endpoint {
            Endpoint::Goim => {
                let protocol =
                    Protocol::goim(&self.setups, Transport::WebSocket, &client, accepted_at);
                (protocol, session::MESSAGE_BYTES_MAX)
            }
            Endpoint::Centrifuge => {
                let encoding =
                    if upgrade.wants_protobuf() { Encoding::Protobuf } else { Encoding::Json };
                let seed = rand::random();
                let protocol =
                    Protocol::centrifuge(&self.setups, encoding, &client, seed, accepted_at);
                (protocol, config.centrifuge.frame_bytes_max.bytes() as u32)
            }
        };
        let Some(connection) = self.connection(id) else { return };
        upgrade.put_answer(&mut connection.replies);
        connection.protocol = Some(protocol);
        connection.stage = Stage::WebSocket(Decoder::new(message_max));
        let told = upgrade.forwarded_for.as_deref();
        let address = told.map_or(connection.address, |told| {
            address::forwarded(connection.address, [told].into_iter(), &config.trusted_proxies)
        });
        let away = connection.guest.is_away.then(|| connection.web());
        self.touched.push(id);
        if let Some(web) = away {
            let close = self.door.goodbye(web);
            return self.end(id, &close);
        }
        self.handle_client(id, address);
    }

    fn handle_websocket(&mut self, id: ConnectionId, event: websocket::Event) {
        match event {
            websocket::Event::Message { payload, .. } => {
                self.with_protocol(id, |protocol, cx, out| {
                    protocol.handle_message(payload, cx, out);
                });
            }
            websocket::Event::Ping(payload) => {
                if let Some(connection) = self.connection(id) {
                    websocket::put_pong(&mut connection.replies, &payload);
                    self.touched.push(id);
                }
            }
            websocket::Event::Pong => {}
            websocket::Event::Close { code, .. } => {
                let close =
                    Close { code: code.unwrap_or(1000), reason: String::new(), blame: Blame::Left };
                self.end(id, &close);
            }
        }
    }
}
