//! Whole conversations as data: what happens to a session, and everything it writes and asks.
//!
//! What SDKs rely on without saying so, and where it is tested: connect and subscribes in one frame,
//! ids that begin anywhere (`connect`); subscribe, unsubscribe, subscribe applied in order, in flight
//! and before the answer to connect, and each command answered once (`subscribe`, `model`); no stray
//! empty replies, no `"error":null`, objects that are complete (every table here compares whole
//! replies); `ttl` with `expires`, the time to refresh after it (`time`); truthful recovery
//! (`recover`); a channel on both sides (`subscribe`); nothing before the answer to connect
//! (`connect`, by `is_held`); reasons that are not JSON (`codes`); frames below 1 MiB (`frame`).
//!
//! What needs the whole network: join and leave in order, presence that outlives nobody, slow
//! consumers, one fetch of a token per reconnect, and the SDKs themselves.

mod connect;
mod model;
mod recover;
mod requests;
mod server;
mod subscribe;
mod time;

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use shared::config::{Layers, resolve};
use shared::message::{Content, Epoch, Message, Position};
use shared::namespace::{Access, Namespaces, Options};
use shared::wire::control::{self, command, request, response};

use super::*;
use crate::centrifuge::{Config, VERSION};
use crate::form::Dialect;
use crate::session::{Close, Identity, Recover, Subscribed};
use crate::token;

/// The time of the first step, in seconds since 1970.
const START_S: u64 = 1_700_000_000;

/// Something that happens to a session.
#[derive(Clone, Debug)]
enum In<'a> {
    /// The client sends a frame.
    Say(&'a str),
    /// An ask is answered: open, at this offset of epoch 5 (`"5"`).
    Open(u64, u64),
    /// The same, with recovered messages of these offsets.
    Recovered(u64, u64, &'a [u64]),
    Failed(u64, u32, &'a str, bool),
    Response(u64, response::Kind),
    Lost(&'a str),
    Command(command::Kind),
    /// Time passes, in milliseconds, and the deadline is handled.
    Wait(u64),
}

use In::{Failed, Open, Recovered, Response, Say, Wait};

struct Peer {
    session: Session,
    now: Instant,
    unix_ms: u64,
    namespaces: Namespaces,
}

impl Peer {
    fn new(config: Config) -> Self {
        Self::with_encoding(config, Encoding::Json)
    }

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
    fn with_encoding(config: Config, encoding: Encoding) -> Self {
        let now = Instant::now();
        let setup = Arc::new(Setup { config, tokens: tokens() });
        Self {
            session: Session::new(setup, encoding, "c1", 0, now),
            now,
            unix_ms: START_S * 1000,
            namespaces: namespaces(),
        }
    }

    /// A connected client: anonymous, or a user.
    fn connected(user: &str) -> Self {
        let mut peer = Self::new(Config::default());
        let token = if user.is_empty() { String::new() } else { sign(json!({"sub": user})) };
        let connect = json!({"id": 1, "connect": {"token": token}});
        let said = peer.take(&Say(&connect.to_string()));
        assert!(said.len() == 3 && said[0].contains("\"connect\":{\"client\""), "{said:?}");
        peer
    }

    /// Everything that comes of one step: replies and pushes, then asks.
    fn take(&mut self, step: &In<'_>) -> Vec<String> {
        let output = self.step(step);
        let mut all = texts(&output.bytes);
        all.extend(output.asks.iter().map(shown));
        all
    }

    fn step(&mut self, step: &In<'_>) -> Output {
        let mut output = Output::default();
        if let Wait(ms) = step {
            self.now += Duration::from_millis(*ms);
            self.unix_ms += ms;
        }
        let context = Context {
            now: self.now,
            unix_ms: self.unix_ms,
            namespaces: &self.namespaces,
            online: &|_| 0,
        };
        let session = &mut self.session;
        let mut answer =
            |id: u64, answer| session.handle_answer(AskId(id), answer, &context, &mut output);
        match step {
            Say(text) => session.handle_message(text.as_bytes(), &context, &mut output),
            Open(id, offset) => answer(*id, opened(*offset, None)),
            Recovered(id, offset, offsets) => answer(*id, opened(*offset, Some(offsets))),
            Failed(id, code, message, temporary) => answer(
                *id,
                Answer::Failed {
                    code: *code,
                    message: (*message).to_owned(),
                    temporary: *temporary,
                },
            ),
            Response(id, kind) => answer(*id, Answer::Response(kind.clone())),
            In::Lost(channel) => {
                let (channel, _) = ChannelName::parse(channel).unwrap();
                session.handle_lost(&channel, &context, &mut output);
            }
            In::Command(kind) => session.handle_command(kind, &context, &mut output),
            Wait(_) => session.handle_deadline(&context, &mut output),
        }
        output
    }

    /// Takes steps in order and compares what comes of each.
    fn run(mut self, steps: &[(In<'_>, &[&str])]) -> Self {
        for (number, (step, expected)) in steps.iter().enumerate() {
            let shown = self.take(step);
            assert_eq!(shown, *expected, "step {number}: {step:?}");
        }
        self
    }
}

fn opened(offset: u64, recovered: Option<&[u64]>) -> Answer {
    let epoch = Epoch::new(5).unwrap();
    Answer::Subscribed(Subscribed {
        position: Position { epoch, offset },
        recovered: recovered.map(|offsets| offsets.iter().map(|offset| message(*offset)).collect()),
    })
}

fn message(offset: u64) -> Arc<Message> {
    let content = Content { body: offset.to_string().into(), ..Content::default() };
    Arc::new(Message { offset, time_ms: 0, content })
}

/// The replies in WebSocket frames.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let [0x81, len, rest @ ..] = bytes {
        let (len, rest) = match *len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            len => (usize::from(len), rest),
        };
        let (payload, rest) = rest.split_at(len);
        let text = std::str::from_utf8(payload).unwrap().replace(VERSION, "V");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        all.push(text);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    all
}

fn shown(ask: &Ask) -> String {
    let epoch = |epoch: Option<Epoch>| epoch.map_or("any".to_owned(), |epoch| epoch.to_string());
    match ask {
        Ask::Identify(Identity { user, client, key: None }) => {
            format!("identify {user:?} {client}")
        }
        Ask::Subscribe { id: AskId(id), channel, form, recover, presence, filtered: false } => {
            assert!(matches!(form.dialect, Dialect::Centrifuge(_) | Dialect::CentrifugeMessage(_)));
            let mut text = format!("{id} subscribe {}", channel.spelled(form.spelling));
            if let Some(Recover { epoch: of, offset }) = recover {
                text += &format!(" from {}:{offset}", epoch(*of));
            }
            if let Some(info) = presence {
                text += &format!(" as {:?}", info.user);
                text += std::str::from_utf8(&info.chan_info).unwrap();
            }
            text
        }
        Ask::Unsubscribe(channel) => format!("unsubscribe {channel}"),
        Ask::Request { id: AskId(id), request } => match request {
            request::Kind::Publish(publish) => {
                let publisher = publish.publisher.as_ref().unwrap();
                format!(
                    "{id} publish {} {} by {}/{} key {}",
                    publish.channel,
                    std::str::from_utf8(&publish.body).unwrap(),
                    publisher.user,
                    publisher.client,
                    publish.idempotency_key
                )
            }
            request::Kind::History(history) => format!(
                "{id} history {} {}{}{}",
                history.channel,
                history.limit,
                if history.since {
                    format!(" since {}:{}", history.since_epoch, history.since_offset)
                } else {
                    String::new()
                },
                if history.reverse { " reverse" } else { "" }
            ),
            request::Kind::Presence(query) => format!("{id} presence {}", query.channel),
            request::Kind::PresenceStats(query) => format!("{id} stats {}", query.channel),
            request::Kind::Rpc(rpc) => {
                let data = std::str::from_utf8(&rpc.data).unwrap();
                format!("{id} rpc {} {data} {}/{}", rpc.method, rpc.transport, rpc.protocol)
            }
        },
        Ask::Close(Close { code, reason, .. }) => format!("close {code} {reason}"),
        other => panic!("not for Centrifuge: {other:?}"),
    }
}

/// `live` is open and chatty, `quiet` keeps nothing, `shy` admits known users, `closed` nobody.
fn namespaces() -> Namespaces {
    let options = Options::default;
    Namespaces::new(
        [
            ("live", Options { publish: Access::Anyone, ..options() }),
            (
                "quiet",
                Options {
                    history_size: 0,
                    presence: false,
                    publish: Access::Subscriber,
                    ..options()
                },
            ),
            (
                "shy",
                Options {
                    subscribe: Access::User,
                    publish: Access::User,
                    force_recovery: false,
                    history: false,
                    ..options()
                },
            ),
            ("closed", Options { subscribe: Access::Nobody, ..options() }),
        ]
        .map(|(name, options)| (name.to_owned(), options))
        .into(),
    )
}

fn tokens() -> token::Config {
    let file = "[token]\nhmac_secret = \"secret\"";
    let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    resolve(Layers::new("TEST").with_file("test", file), nothing).unwrap()
}

fn sign(claims: serde_json::Value) -> String {
    let key = EncodingKey::from_secret(b"secret");
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

fn say(value: serde_json::Value) -> String {
    value.to_string()
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 272, "{}", size_of::<Session>());
    assert!(size_of::<Subscription>() <= 48, "{}", size_of::<Subscription>());
}
