//! A whole connection as a stranger reaches it: HTTP head, WebSocket frames, session; or a goim stream.
//!
//! Bytes go the way that an edge's sockets hand them on, and all that the session asks is answered at
//! once, so that nothing but the bytes decides what becomes of it.

use std::collections::BTreeSet;

use bytes::BytesMut;
use edge::form::{Encoding, Transport};
use edge::goim;
use edge::session::Close;
use edge::upgrade::{self, Config, Endpoint, Head};
use edge::websocket::{self, Decoder, Event};

use super::choices::{Choices, seed};
use super::websocket::frame;
use super::world::{Setting, Spoken, World};
use super::{goim_frames, written};

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let setting = choices.byte();
    let is_plain = choices.byte().is_multiple_of(4);
    let fates = choices.few();
    let pieces = choices.pieces();
    let bytes = choices.rest();
    let whole = Connection::fed(&[bytes], setting, is_plain, fates);
    let cut = Connection::fed(&pieces.cut(bytes), setting, is_plain, fates);
    assert_eq!(cut.outcome(), whole.outcome(), "cutting it changes nothing");
    whole.check();
}

enum Stage<'a> {
    Head,
    WebSocket(Decoder, Box<World<'a>>),
    Plain(Box<World<'a>>),
    Ended,
}

struct Connection<'a> {
    stage: Stage<'a>,
    setting: u8,
    fates: &'a [u8],
    input: BytesMut,
    /// The answer to the head.
    answer: String,
    /// Pongs and the close, which are the connection's own.
    control: BytesMut,
    /// What the session had come to when the connection ended.
    last: Option<Box<World<'a>>>,
}

#[derive(Debug, PartialEq)]
struct Outcome<'a> {
    answer: &'a str,
    control: &'a [u8],
    written: &'a [u8],
    asks: &'a [String],
    accepted: Option<&'a BTreeSet<i32>>,
    is_over: bool,
}

impl<'a> Connection<'a> {
    fn fed(pieces: &[&[u8]], setting: u8, is_plain: bool, fates: &'a [u8]) -> Self {
        let spoken = Spoken::Goim(Transport::Tcp);
        let stage = if is_plain {
            Stage::Plain(Box::new(World::new(Setting::of(spoken, setting), fates)))
        } else {
            Stage::Head
        };
        let mut connection = Self {
            stage,
            setting,
            fates,
            input: BytesMut::new(),
            answer: String::new(),
            control: BytesMut::new(),
            last: None,
        };
        for piece in pieces {
            connection.input.extend_from_slice(piece);
            while connection.understand() {}
            // What is kept is less than one head, frame or message.
            assert!(connection.input.len() <= 65_536 + 14, "{}", connection.input.len());
        }
        connection
    }

    /// Takes the next whole thing off the input; answers whether there may be more.
    fn understand(&mut self) -> bool {
        let input = &mut self.input;
        match &mut self.stage {
            Stage::Ended => {
                input.clear();
                return false;
            }
            Stage::Head => match upgrade::read(input, &Config::default()) {
                Head::More => return false,
                Head::Refused(answer) => {
                    self.answer = answer;
                    self.stage = Stage::Ended;
                }
                Head::Upgrade(upgrade) => {
                    let mut answer = BytesMut::new();
                    upgrade.put_answer(&mut answer);
                    self.answer = String::from_utf8_lossy(&answer).into_owned();
                    let (spoken, max) = match upgrade.endpoint {
                        Endpoint::Goim => {
                            (Spoken::Goim(Transport::WebSocket), goim::session::MESSAGE_BYTES_MAX)
                        }
                        Endpoint::Centrifuge if upgrade.wants_protobuf() => {
                            (Spoken::Centrifuge(Encoding::Protobuf), 65_536)
                        }
                        Endpoint::Centrifuge => (Spoken::Centrifuge(Encoding::Json), 65_536),
                    };
                    let world = World::new(Setting::of(spoken, self.setting), self.fates);
                    self.stage = Stage::WebSocket(Decoder::new(max), Box::new(world));
                }
            },
            Stage::Plain(world) => {
                let before = input.len();
                world.act(before, |protocol, cx, out| protocol.handle_bytes(input, cx, out));
                world.answer_all();
                let progressed = input.len() < before;
                if let Some(close) = world.ended.clone() {
                    self.end(close);
                }
                return progressed;
            }
            Stage::WebSocket(decoder, world) => match decoder.decode(input) {
                Ok(None) => return false,
                Ok(Some(Event::Message { payload, .. })) => {
                    let bytes = payload.len();
                    world.act(bytes, |protocol, cx, out| protocol.handle_message(payload, cx, out));
                    world.answer_all();
                    if let Some(close) = world.ended.clone() {
                        self.end(close);
                    }
                }
                Ok(Some(Event::Ping(payload))) => websocket::put_pong(&mut self.control, &payload),
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close { code, .. })) => {
                    let blame = edge::session::Blame::Peer;
                    self.end(Close { code: code.unwrap_or(1000), reason: String::new(), blame });
                }
                Err(error) => {
                    let (code, reason) = (error.close_code(), error.to_string());
                    self.end(Close { code, reason, blame: edge::session::Blame::Peer });
                }
            },
        }
        true
    }

    fn end(&mut self, close: Close) {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::WebSocket(_, world) => {
                websocket::put_close(&mut self.control, close.code, &close.reason);
                self.last = Some(world);
            }
            Stage::Plain(world) => self.last = Some(world),
            Stage::Head | Stage::Ended => {}
        }
    }

    fn world(&self) -> Option<&World<'a>> {
        match &self.stage {
            Stage::WebSocket(_, world) | Stage::Plain(world) => Some(world),
            Stage::Head | Stage::Ended => self.last.as_deref(),
        }
    }

    /// All that anybody can notice of it.
    fn outcome(&self) -> Outcome<'_> {
        let world = self.world();
        let is_over = matches!(self.stage, Stage::Ended);
        Outcome {
            answer: &self.answer,
            control: &self.control,
            written: world.map_or(&[], |world| &world.written),
            asks: world.map_or(&[], |world| &world.asks),
            accepted: world.filter(|_| !is_over).and_then(|world| world.accepted.as_ref()),
            is_over,
        }
    }

    /// What was written is whole frames, and no more than one close, at the end.
    fn check(&self) {
        let control = written::websocket(&self.control);
        let closes = control.iter().filter(|(opcode, _)| *opcode == 8).count();
        assert!(closes <= 1 && control.iter().all(|(opcode, _)| [8, 10].contains(opcode)));
        if closes == 1 {
            assert_eq!(control.last().map(|(opcode, _)| *opcode), Some(8));
        }
        let Some(world) = self.world() else { return };
        if self.answer.is_empty() {
            written::goim(&world.written);
        } else {
            let frames = written::websocket(&world.written);
            assert!(frames.iter().all(|(opcode, _)| [1, 2].contains(opcode)));
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let head = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes()
    };
    let goim: Vec<Vec<u8>> = goim_frames::conversation();
    let goim_messages: Vec<u8> = goim.iter().flat_map(|message| frame(0x82, message)).collect();
    let json = [
        "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"live:1\"}}",
        "{\"id\":3,\"publish\":{\"channel\":\"live:1\",\"data\":{}}}",
        "{\"id\":4,\"unsubscribe\":{\"channel\":\"live:1\"}}",
    ];
    let json: Vec<u8> = json.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
    let protobuf =
        frame(0x82, &[4, 8, 1, 34, 0, 12, 8, 2, 42, 8, 10, 6, 108, 105, 118, 101, 58, 49]);
    let (centrifuge, format) = ("/connection/websocket", "?format=protobuf");
    let control = [frame(0x89, b"ping"), frame(0x88, b"\x03\xe8bye")].concat();
    vec![
        seed(&[0, 0, 0, 2, 9, 33], &goim.concat()),
        seed(&[2, 1, 0, 0], &[head("/sub"), goim_messages, control.clone()].concat()),
        seed(&[0, 1, 0, 1, 200], &[head(centrifuge), json, control].concat()),
        seed(&[0, 1, 0, 0], &[head(&format!("{centrifuge}{format}")), protobuf].concat()),
    ]
}
