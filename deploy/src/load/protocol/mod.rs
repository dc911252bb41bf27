//! What clients of a load run speak: bytes in any pieces to messages, and what is to be answered.
//!
//! A [`Walker`] is the protocol state of one connection, a few bytes. It walks over what was read where
//! it was read: nothing is copied and nothing allocated for a message. What is not whole yet is left in
//! the input, which the caller hands in again with more behind it.
//!
//! Invariant: however the bytes are cut, the same events come in the same order.

pub mod centrifuge;
pub mod goim;
pub mod nats;
pub mod websocket;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use self::centrifuge::{Control, Next};

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Protocol {
    /// goim over TCP
    GoimTcp,
    /// goim over WebSocket, at /sub
    GoimWs,
    /// goim's danmaku dialect over WebSocket, at /sub
    Danmaku,
    /// Centrifuge in JSON over WebSocket, at /connection/websocket
    CentrifugeJson,
    /// Centrifuge in Protobuf over WebSocket, at /connection/websocket
    CentrifugeProtobuf,
    /// Plain WebSocket, each message a frame (nchan); --path says where a room is
    Websocket,
    /// NATS over WebSocket
    NatsWs,
}

impl Protocol {
    /// Whether it is carried by WebSocket.
    pub fn is_websocket(self) -> bool {
        self != Self::GoimTcp
    }

    /// The name, as in arguments.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How danmaku clients want messages compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Compression {
    /// Not at all
    #[default]
    None,
    /// zlib, protover 2
    Zlib,
    /// Brotli, protover 3
    Brotli,
}

/// What a client says when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The host, as HTTP names it.
    pub host: String,
    /// The path of the WebSocket.
    pub path: String,
    /// The channel in the protocol's spelling; a number for danmaku, a subject for NATS.
    pub channel: String,
    /// Who it is, if that has to be proved.
    pub token: Option<String>,
}

/// Something that a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client is subscribed.
    Ready,
    /// A message, which may be one of ours.
    Message(&'a [u8]),
    /// Messages were lost, and the server says so.
    Gap,
}

/// Why a connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server does not want this client.
    #[error("{0}")]
    Refused(String),
    /// The server broke the protocol, or speaks another one.
    #[error("not the protocol: {0}")]
    Protocol(&'static str),
    /// The server closed the connection, and said why.
    #[error("closed by the server with code {code} {reason}")]
    Closed {
        /// The WebSocket close code.
        code: u16,
        /// The words with it.
        reason: String,
    },
}

/// The protocol state of one connection.
#[derive(Clone, Debug)]
pub struct Walker {
    protocol: Protocol,
    phase: Phase,
    /// Pings want pongs.
    pong: bool,
    /// Where publications have their data.
    place: u16,
    /// Part of a protocol message that goes on in the next frame.
    carried: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Upgrading,
    Open,
}

/// What a walk writes to, beside its events.
#[derive(Debug)]
pub struct Out<'a> {
    /// Bytes to be sent to the server.
    pub bytes: &'a mut Vec<u8>,
    /// Memory for what has to be decompressed.
    pub unpacked: &'a mut Vec<u8>,
}

impl Walker {
    /// A client that has yet to come; appends what it says first.
    pub fn open(
        protocol: Protocol,
        compression: Compression,
        login: &Login,
        out: &mut Vec<u8>,
    ) -> Self {
        let mut walker = Self::opened(protocol);
        if protocol.is_websocket() {
            let subprotocol = match protocol {
                Protocol::CentrifugeProtobuf => Some("centrifuge-protobuf"),
                _ => None,
            };
            walker.phase = Phase::Upgrading;
            websocket::put_request(&login.host, &login.path, subprotocol, out);
        } else {
            walker.put_login(compression, login, out);
        }
        walker
    }

    /// A client of the bare loop, which need not log in.
    pub fn opened(protocol: Protocol) -> Self {
        Self { protocol, phase: Phase::Open, pong: false, place: 0, carried: Vec::new() }
    }

    /// Walks over the input and answers how many bytes of it are done with. `login` is asked for when
    /// there is something to log in to.
    pub fn walk(
        &mut self,
        input: &[u8],
        compression: Compression,
        login: impl Fn() -> Login,
        out: &mut Out<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, Fault> {
        if !self.protocol.is_websocket() {
            return goim::walk(input, out.unpacked, on);
        }
        let mut at = 0;
        if self.phase == Phase::Upgrading {
            let Some(bytes) = websocket::answer(input)? else { return Ok(0) };
            at = bytes;
            self.phase = Phase::Open;
            self.put_login(compression, &login(), out.bytes);
            if self.protocol == Protocol::Websocket {
                on(Event::Ready);
            }
        }
        while let Some(frame) = websocket::frame(&input[at..])? {
            let payload = &input[at + frame.start..at + frame.end];
            match frame.opcode {
                websocket::TEXT | websocket::BINARY => {
                    self.walk_payload(payload, &login, out, on)?;
                }
                websocket::PING => websocket::put_frame(websocket::PONG, payload, out.bytes),
                websocket::PONG => {}
                websocket::CLOSE => return Err(websocket::close(payload)),
                _ => return Err(Fault::Protocol("a frame has a reserved opcode")),
            }
            at += frame.end;
        }
        Ok(at)
    }

    /// Appends what tells a server that the client is still there, in protocols where clients begin.
    pub fn put_heartbeat(&self, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::GoimTcp => goim::put_heartbeat(out),
            Protocol::GoimWs | Protocol::Danmaku if self.phase == Phase::Open => {
                let mut frame = Vec::new();
                goim::put_heartbeat(&mut frame);
                websocket::put_frame(websocket::BINARY, &frame, out);
            }
            _ => {}
        }
    }

    fn walk_payload(
        &mut self,
        payload: &[u8],
        login: &impl Fn() -> Login,
        out: &mut Out<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Fault> {
        match self.protocol {
            Protocol::GoimTcp | Protocol::GoimWs | Protocol::Danmaku => {
                let done = goim::walk(payload, out.unpacked, on)?;
                if done == payload.len() {
                    Ok(())
                } else {
                    Err(Fault::Protocol("a goim frame is cut off by the end of its message"))
                }
            }
            Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf => {
                self.walk_centrifuge(payload, login, out.bytes, on)
            }
            Protocol::Websocket => {
                on(Event::Message(payload));
                Ok(())
            }
            Protocol::NatsWs => self.walk_nats(payload, out.bytes, on),
        }
    }

    fn walk_centrifuge(
        &mut self,
        payload: &[u8],
        login: &impl Fn() -> Login,
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Fault> {
        let json = self.protocol == Protocol::CentrifugeJson;
        // Publications and the rest come by two closures that both want to tell.
        let (mut ready, mut gaps, mut again) = (false, 0, false);
        let pong = &mut self.pong;
        let mut control = |control: Option<Control>| {
            let Some(control) = control else {
                match (*pong, json) {
                    (true, true) => websocket::put_frame(websocket::TEXT, b"{}", out),
                    (true, false) => websocket::put_frame(websocket::BINARY, &[0], out),
                    (false, _) => {}
                }
                return Ok(());
            };
            match control.next()? {
                Next::Nothing => {}
                Next::Connected(wanted) => *pong = wanted,
                Next::Subscribed => ready = true,
                Next::Again => (gaps, again) = (gaps + 1, true),
            }
            Ok(())
        };
        if json {
            centrifuge::walk_json(payload, &mut self.place, on, &mut control)?;
        } else {
            centrifuge::walk_protobuf(payload, on, &mut control)?;
        }
        if ready {
            on(Event::Ready);
        }
        for _ in 0..gaps {
            on(Event::Gap);
        }
        if again {
            let mut command = Vec::new();
            if json {
                centrifuge::put_json_subscribe(&login(), &mut command);
                websocket::put_frame(websocket::TEXT, &command, out);
            } else {
                centrifuge::put_protobuf_subscribe(&login(), &mut command);
                websocket::put_frame(websocket::BINARY, &command, out);
            }
        }
        Ok(())
    }

    /// NATS's messages are a stream that frames cut anywhere.
    fn walk_nats(
        &mut self,
        payload: &[u8],
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Fault> {
        let mut reply = Vec::new();
        let input = if self.carried.is_empty() {
            payload
        } else {
            self.carried.extend_from_slice(payload);
            &self.carried
        };
        let done = nats::walk(input, &mut reply, on)?;
        if self.carried.is_empty() {
            self.carried.extend_from_slice(&payload[done..]);
        } else {
            self.carried.drain(..done);
        }
        if self.carried.len() > FRAME_BYTES_MAX {
            return Err(Fault::Protocol("a protocol message is longer than any that makes sense"));
        }
        if !reply.is_empty() {
            websocket::put_frame(websocket::BINARY, &reply, out);
        }
        Ok(())
    }

    fn put_login(&self, compression: Compression, login: &Login, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        let opcode = match self.protocol {
            Protocol::GoimTcp => return goim::put_login(login, out),
            Protocol::Websocket => return,
            Protocol::CentrifugeJson => {
                centrifuge::put_json_login(login, &mut payload);
                websocket::TEXT
            }
            Protocol::GoimWs => {
                goim::put_login(login, &mut payload);
                websocket::BINARY
            }
            Protocol::Danmaku => {
                goim::put_danmaku_login(login, compression, &mut payload);
                websocket::BINARY
            }
            Protocol::CentrifugeProtobuf => {
                centrifuge::put_protobuf_login(login, &mut payload);
                websocket::BINARY
            }
            Protocol::NatsWs => {
                nats::put_login(login, &mut payload);
                websocket::BINARY
            }
        };
        websocket::put_frame(opcode, &payload, out);
    }
}

/// Appends messages as a server would send them in one write: what the bare loop sends.
pub fn put_batch(protocol: Protocol, channel: &str, bodies: &[Vec<u8>], out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    match protocol {
        Protocol::GoimTcp => {
            for body in bodies {
                goim::put_message(false, body, out);
            }
            return;
        }
        Protocol::GoimWs | Protocol::Danmaku => {
            for body in bodies {
                goim::put_message(protocol == Protocol::Danmaku, body, &mut payload);
            }
        }
        Protocol::CentrifugeJson => {
            for (number, body) in bodies.iter().enumerate() {
                if number > 0 {
                    payload.push(b'\n');
                }
                centrifuge::put_json_message(channel, body, &mut payload);
            }
        }
        Protocol::CentrifugeProtobuf => {
            for body in bodies {
                centrifuge::put_protobuf_message(channel, body, &mut payload);
            }
        }
        Protocol::Websocket => {
            for body in bodies {
                websocket::put_server_head(websocket::TEXT, body.len(), out);
                out.extend_from_slice(body);
            }
            return;
        }
        Protocol::NatsWs => {
            for body in bodies {
                nats::put_message(channel, body, &mut payload);
            }
        }
    }
    let opcode =
        if protocol == Protocol::CentrifugeJson { websocket::TEXT } else { websocket::BINARY };
    websocket::put_server_head(opcode, payload.len(), out);
    out.extend_from_slice(&payload);
}

/// The longest frame, payload or protocol message that is read: far above a batch of 10,000 messages.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
