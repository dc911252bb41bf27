//! Whole conversations as data: what happens to a session, and everything it writes and asks.

mod deadlines;
mod frames;
mod log_in;
mod lost;
mod orders;
mod requests;
mod rooms;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use shared::config::{Layers, resolve};
use shared::message::{Epoch, Position};
use shared::namespace::{Access, Namespaces, Options};
use shared::wire::control::{self, PublishResult, command, request, response};

use super::*;
use crate::goim::Config;
use crate::goim::config::AuthMode;
use crate::session::Subscribed;

const SECRET: &str = "a key that tokens are signed with";

const GOIM_LOGIN: &str =
    r#"{"mid":42,"key":"k","room_id":"live://1000","platform":"web","accepts":[1000,1001]}"#;
const DANMAKU_LOGIN: &str = r#"{"uid":0,"roomid":1000,"protover":3,"platform":"web","type":2}"#;

/// A session and the world around it. What it says is noted as text, one line each.
struct World {
    session: Session,
    namespaces: Namespaces,
    now: Instant,
    input: BytesMut,
    output: Output,
}

#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

impl World {
    fn new(transport: Transport) -> Self {
        Self::with(transport, Config::default())
    }

    /// An edge with keys for tokens if it demands them, without if not.
    fn with(transport: Transport, config: Config) -> Self {
        let keyed = config.auth == AuthMode::Token;
        Self::keyed(transport, config, keyed)
    }

    fn keyed(transport: Transport, config: Config, keyed: bool) -> Self {
        let toml =
            if keyed { format!("[token]\nhmac_secret = \"{SECRET}\"") } else { String::new() };
        let layers = Layers::new("EDGE").with_file("edge.toml", &toml);
        let tokens = resolve(layers, |_| Err(ErrorKind::NotFound.into())).expect("a key");
        let setup = Setup { config, tokens };
        let open = |publish| Options { publish, ..Options::default() };
        let closed = Options { subscribe: Access::Nobody, ..Options::default() };
        let unseen = Options { presence: false, ..Options::default() };
        let users = Options { subscribe: Access::User, ..open(Access::User) };
        let named = BTreeMap::from([
            ("live".to_owned(), open(Access::Subscriber)),
            ("news".to_owned(), open(Access::Nobody)),
            ("staff".to_owned(), closed),
            ("unseen".to_owned(), unseen),
            ("users".to_owned(), users),
        ]);
        let now = start();
        Self {
            session: Session::new(Arc::new(setup), transport, "c1", now),
            namespaces: Namespaces::new(named),
            now,
            input: BytesMut::new(),
            output: Output::default(),
        }
    }

    fn tcp() -> Self {
        Self::new(Transport::Tcp)
    }

    fn call<T>(
        &mut self,
        act: impl FnOnce(&mut Session, &mut BytesMut, &Context<'_>, &mut Output) -> T,
    ) {
        let context = Context {
            now: self.now,
            unix_ms: 1_000_000,
            namespaces: &self.namespaces,
            online: &|room| if room.as_str() == "live:1000" { 7 } else { 2 },
        };
        act(&mut self.session, &mut self.input, &context, &mut self.output);
    }

    /// Bytes arrive, on WebSocket as one message.
    fn bytes(&mut self, bytes: &[u8]) -> Vec<String> {
        match self.session.transport {
            Transport::Tcp => {
                self.input.extend_from_slice(bytes);
                self.call(|session, input, context, output| {
                    session.handle_input(input, context, output)
                });
            }
            Transport::WebSocket => {
                self.call(|session, _, context, output| {
                    session.handle_message(bytes.into(), context, output);
                });
            }
        }
        self.said()
    }

    fn say(&mut self, operation: i32, sequence: i32, body: impl AsRef<[u8]>) -> Vec<String> {
        self.bytes(&frame_of(operation, sequence, body.as_ref()))
    }

    fn answer(&mut self, id: u64, answer: Answer) -> Vec<String> {
        self.call(|session, _, context, output| {
            session.handle_answer(AskId(id), answer, context, output)
        });
        if self.session.transport == Transport::Tcp {
            self.call(|session, input, context, output| {
                session.handle_input(input, context, output)
            });
        }
        self.said()
    }

    fn opened(&mut self, id: u64) -> Vec<String> {
        let epoch = Epoch::new(1).expect("not zero");
        let position = Position { epoch, offset: 0 };
        self.answer(id, Answer::Subscribed(Subscribed { position, recovered: None }))
    }

    fn failed(&mut self, id: u64) -> Vec<String> {
        let answer = Answer::Failed { code: 100, message: "no upstream".into(), temporary: true };
        self.answer(id, answer)
    }

    fn lost(&mut self, channel: &str) -> Vec<String> {
        let (channel, _) = ChannelName::parse(channel).expect("a name");
        self.call(|session, _, context, output| {
            session.handle_lost(&channel, 7, context, output);
        });
        self.said()
    }

    fn command(&mut self, command: command::Kind) -> Vec<String> {
        self.call(|session, _, context, output| session.handle_command(&command, context, output));
        self.said()
    }

    fn after(&mut self, passed: Duration) -> Vec<String> {
        self.now += passed;
        self.call(|session, _, context, output| session.handle_deadline(context, output));
        self.said()
    }

    /// Logs in and opens everything; the ids used are 1 to the count of subscriptions.
    fn log_in(&mut self, body: &str) {
        let asked = self.say(operation::AUTH, 1, body);
        let count = asked.iter().filter(|line| line.starts_with("subscribe")).count();
        for id in 1..=count as u64 {
            self.opened(id);
        }
        assert_eq!(self.session.stage, Stage::Open, "{asked:?}");
    }

    /// Takes what was said since: first frames, then asks.
    fn said(&mut self) -> Vec<String> {
        let output = std::mem::take(&mut self.output);
        let mut bytes = &output.bytes[..];
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            if self.session.transport == Transport::WebSocket {
                assert_eq!(bytes[0], 0x82);
                let (length, header) = match bytes[1] {
                    126 => (usize::from(bytes[2]) << 8 | usize::from(bytes[3]), 4),
                    short => (usize::from(short), 2),
                };
                assert_eq!(word(bytes, header) as usize, length, "one frame a message");
                bytes = &bytes[header..];
            }
            let (frame, rest) = bytes.split_at(word(bytes, 0) as usize);
            let version = i16::from_be_bytes([frame[6], frame[7]]);
            let body = frame[16..].escape_ascii();
            let (operation, sequence) = (word(frame, 8), word(frame, 12));
            lines.push(format!("op {operation} v{version} s{sequence} {body}").trim().to_owned());
            bytes = rest;
        }
        lines.extend(output.asks.iter().map(line_of));
        lines
    }
}

fn word(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn frame_of(operation: i32, sequence: i32, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len()) as i32;
    let head = [length, 0x0010_0001, operation, sequence].map(i32::to_be_bytes);
    [head.as_flattened(), body].concat()
}

fn line_of(ask: &Ask) -> String {
    match ask {
        Ask::Identify(who) => {
            format!("identify {:?} {} {:?}", who.user, who.client, who.key.as_deref().unwrap_or(""))
        }
        Ask::Accept(operations) => format!("accept {operations:?}"),
        Ask::Subscribe { id, channel, form, recover, presence, filtered } => {
            assert_eq!((recover, form.spelling), (&None, Spelling::Colon));
            let filtered = if *filtered { " filtered" } else { "" };
            let seen = presence
                .as_ref()
                .map_or(String::new(), |info| format!(" seen as {:?}/{}", info.user, info.client));
            format!("subscribe {} {channel}{filtered}{seen}", id.0)
        }
        Ask::Unsubscribe(channel) => format!("unsubscribe {channel}"),
        Ask::Request { id, request: request::Kind::Publish(publish) } => {
            let info = publish.publisher.as_ref().expect("a publisher");
            assert_eq!((info.client.as_str(), publish.operation), ("c1", None));
            let body = publish.body.escape_ascii();
            format!("publish {} {} {body} {}", id.0, publish.channel, publish.idempotency_key)
        }
        Ask::Request { request, .. } => panic!("{request:?}"),
        Ask::Close(close) => format!("close {} {:?}", close.code, close.blame),
    }
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 168, "{}", size_of::<Session>());
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert!(world.session.pending.is_none() && world.session.backlog.is_none());
}
