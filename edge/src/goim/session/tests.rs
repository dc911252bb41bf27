use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use shared::config::{Layers, resolve};
use shared::message::{Epoch, Position};
use shared::namespace::{Access, Namespaces, Options};
use shared::wire::control::{PublishResult, request, response};

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

    fn with(transport: Transport, config: Config) -> Self {
        let toml = format!("[token]\nhmac_secret = \"{SECRET}\"");
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

    fn lost(&mut self, channel: &str, lost: Lost) -> Vec<String> {
        let (channel, _) = ChannelName::parse(channel).expect("a name");
        self.call(|session, _, context, output| {
            session.handle_lost(&channel, lost, context, output)
        });
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
    assert!(size_of::<Session>() <= 160, "{}", size_of::<Session>());
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert!(world.session.pending.is_none() && world.session.backlog.is_none());
}

#[test]
fn a_login_is_answered_when_everything_is_open() {
    let mut world = World::tcp();
    assert_eq!(
        world.say(operation::AUTH, 1, GOIM_LOGIN),
        [
            "identify \"42\" c1 \"k\"",
            "accept {1000, 1001}",
            "subscribe 1 #42 filtered",
            "subscribe 2 @key:k filtered",
            "subscribe 3 @all filtered",
            "subscribe 4 live:1000 seen as \"42\"/c1",
        ]
    );
    assert!(world.session.is_held() && world.session.is_busy());
    for id in [4, 1, 3] {
        assert!(world.opened(id).is_empty());
    }
    assert_eq!(world.opened(2), ["op 8 v1 s1"]);
    assert!(!world.session.is_held() && !world.session.is_busy());
    assert_eq!(world.session.form().dialect, form::Dialect::Goim(Transport::Tcp));
}

#[test]
fn exact_bytes_on_both_transports() {
    for (transport, expected) in [
        (Transport::Tcp, &b"\0\0\0\x14\0\x10\0\x01\0\0\0\x03\0\0\0\x05\0\0\0\x07"[..]),
        (Transport::WebSocket, b"\x82\x14\0\0\0\x14\0\x10\0\x01\0\0\0\x03\0\0\0\x05\0\0\0\x07"),
    ] {
        let mut world = World::new(transport);
        world.log_in(GOIM_LOGIN);
        let heartbeat = frame_of(operation::HEARTBEAT, 5, b"");
        world.input.extend_from_slice(&heartbeat);
        world.call(|session, input, context, output| match transport {
            Transport::Tcp => session.handle_input(input, context, output),
            Transport::WebSocket => session.handle_message(input.split(), context, output),
        });
        assert_eq!(&world.output.bytes[..], expected);
    }
}

#[test]
fn an_anonymous_login_reads_the_broadcast_alone() {
    let mut world = World::tcp();
    assert_eq!(
        world.say(operation::AUTH, 9, "{}"),
        ["identify \"\" c1 \"\"", "subscribe 1 @all filtered"]
    );
    assert_eq!(world.opened(1), ["op 8 v1 s9"]);
    assert_eq!(world.say(operation::HEARTBEAT, 10, ""), ["op 3 v1 s10 \\x00\\x00\\x00\\x00"]);
}

#[test]
fn what_comes_before_the_login_is_dropped() {
    let mut world = World::tcp();
    for other in [operation::HEARTBEAT, operation::CHANGE_ROOM, 1000, 0, operation::RAW] {
        assert!(world.say(other, 1, "x").is_empty(), "{other}");
    }
    world.log_in("{}");
}

#[test]
fn a_login_that_cannot_be_accepted() {
    let rejected = |body: &str| World::tcp().say(operation::AUTH, 1, body);
    assert_eq!(rejected("x"), ["close 3501 Peer"]);
    assert_eq!(rejected(r#"{"mid":"42"}"#), ["close 3501 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"unknown://1"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r##"{"room_id":"#43"}"##), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"@all"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"@key:other"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"$live:1"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"staff://1"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"key":"\u0000"}"#), ["close 3501 Peer"]);
    assert_eq!(rejected(&format!(r#"{{"key":"{}"}}"#, "k".repeat(300))), ["close 3501 Peer"]);
    // danmaku's clients are told.
    assert_eq!(
        rejected(&DANMAKU_LOGIN.replace("1000", "\"0\",\"uid\":1e3")),
        ["close 3501 Peer"],
        "a body that cannot be read has no dialect"
    );
    let config = Config { danmaku_room: "staff:{roomid}".into(), ..Config::default() };
    let mut world = World::with(Transport::Tcp, config);
    let refused = ["op 8 v1 s1 {\\\"code\\\":-101}", "close 3507 Peer"];
    assert_eq!(world.say(operation::AUTH, 1, DANMAKU_LOGIN), refused);
    assert!(world.say(operation::AUTH, 1, "{}").is_empty(), "nothing is heard after the end");
    assert_eq!(world.session.next_deadline(), None);
}

fn token(user: &str, expires_s: u64) -> String {
    let claims = serde_json::json!({ "sub": user, "exp": expires_s });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token")
}

#[test]
fn tokens() {
    let said = |body: String| {
        let config = Config { auth: AuthMode::Token, ..Config::default() };
        World::with(Transport::Tcp, config).say(operation::AUTH, 1, body)
    };
    let goim = |mid: i64, token: &str| said(format!(r#"{{"mid":{mid},"token":"{token}"}}"#));
    let refused = ["close 3500 Peer"];
    // The world's time is 1000 s.
    let good = token("42", 1001);
    assert_eq!(goim(42, &good)[0], "identify \"42\" c1 \"\"");
    assert_eq!(goim(0, &good)[0], "identify \"42\" c1 \"\"", "the token says who");
    assert_eq!(goim(43, &good), refused, "a token of another user");
    assert_eq!(goim(42, &token("42", 1000)), refused, "expired");
    assert_eq!(goim(42, "x.y.z"), refused);
    assert_eq!(goim(42, ""), refused);
    let anonymous = goim(0, &token("", 1001));
    assert_eq!(anonymous[..2], ["identify \"\" c1 \"\"", "subscribe 1 @all filtered"]);

    let danmaku =
        |uid: i64, token: &str| said(format!(r#"{{"uid":{uid},"roomid":1000,"key":"{token}"}}"#));
    assert_eq!(danmaku(42, &good)[0], "identify \"42\" c1 \"\"");
    let refused = ["op 8 v1 s1 {\\\"code\\\":-101}", "close 3500 Peer"];
    assert_eq!(danmaku(43, &good), refused);
    assert_eq!(danmaku(42, "x"), refused);
}

#[test]
fn known_users() {
    let config = Config { auth: AuthMode::Token, ..Config::default() };
    let mut world = World::with(Transport::Tcp, config);
    let body = format!(r#"{{"mid":42,"room_id":"users:1","token":"{}"}}"#, token("42", 1001));
    world.log_in(&body);
    assert_eq!(world.say(operation::SEND_MESSAGE, 1, "hi"), ["publish 4 users:1 hi c1-4"]);
    // Nobody is known where everybody is believed.
    let said = World::tcp().say(operation::AUTH, 1, r#"{"mid":42,"room_id":"users:1"}"#);
    assert_eq!(said, ["close 3507 Peer"]);
}

#[test]
fn a_login_whose_subscription_fails_is_tried_again_by_the_client() {
    let mut world = World::tcp();
    world.say(operation::AUTH, 1, GOIM_LOGIN);
    world.opened(1);
    assert_eq!(world.failed(4), ["close 3004 Us"]);
    assert!(world.opened(2).is_empty() && world.failed(3).is_empty());
}

#[test]
fn danmaku() {
    let mut world = World::new(Transport::WebSocket);
    assert_eq!(
        world.say(operation::AUTH, 1, DANMAKU_LOGIN),
        [
            "identify \"\" c1 \"\"",
            "subscribe 1 @all filtered",
            "subscribe 2 live:1000 seen as \"\"/c1",
        ]
    );
    world.opened(1);
    assert_eq!(world.opened(2), ["op 8 v1 s1 {\\\"code\\\":0}"]);
    let dialect = form::Dialect::Danmaku(Transport::WebSocket, form::Compression::Brotli);
    assert_eq!(world.session.form().dialect, dialect);
    let mut beat = frame_of(operation::HEARTBEAT, 2, b"[object Object]");
    beat[7] = 0;
    assert_eq!(world.bytes(&beat), ["op 3 v1 s2 \\x00\\x00\\x00\\x07"], "not the client's version");
}

#[test]
fn several_frames_in_one_websocket_message() {
    let mut world = World::new(Transport::WebSocket);
    let mut message = frame_of(operation::AUTH, 1, DANMAKU_LOGIN.as_bytes());
    message.extend(frame_of(operation::HEARTBEAT, 2, b""));
    message.extend(frame_of(operation::AUTH, 3, b"{}"));
    assert_eq!(world.bytes(&message).len(), 3, "the login waits, and the rest with it");
    world.opened(1);
    assert_eq!(
        world.opened(2),
        ["op 8 v1 s1 {\\\"code\\\":0}", "op 3 v1 s2 \\x00\\x00\\x00\\x07", "op 7 v1 s3"]
    );
    assert!(world.session.backlog.is_none());
    assert_eq!(world.bytes(b""), ["close 1002 Peer"]);
}

#[test]
fn a_backlog_is_bounded() {
    let mut world = World::new(Transport::WebSocket);
    world.say(operation::AUTH, 1, "{}");
    let message = frame_of(1000, 2, &[0; 4080]).repeat(16);
    assert!(world.bytes(&message).is_empty());
    assert_eq!(world.say(1000, 3, ""), ["close 3013 Peer"]);
    assert!(world.session.backlog.is_none());
}

#[test]
fn malformed_frames_end_the_connection() {
    let closed = ["close 1002 Peer"];
    for header in [
        &b"\0\0\0\x0f\0\x10"[..],
        b"\xff\xff\xff\xff\0\x10",
        b"\0\0\x10\x11\0\x10",
        b"\0\0\0\x10\0\x11",
    ] {
        let mut world = World::tcp();
        assert_eq!(world.bytes(header), closed, "{header:?}");
        assert!(world.input.is_empty());
        let mut world = World::new(Transport::WebSocket);
        world.log_in("{}");
        let rest = [header, &[0; 10]].concat();
        assert_eq!(world.bytes(&rest), closed, "{header:?}");
    }
    // On WebSocket a frame is as long as its message: what goim answered with foreign memory.
    let mut world = World::new(Transport::WebSocket);
    world.log_in("{}");
    let mut long = frame_of(operation::SUB, 1, b"1000");
    long[2..4].copy_from_slice(&4112_u16.to_be_bytes());
    assert_eq!(world.bytes(&long), closed);
    let mut world = World::new(Transport::WebSocket);
    world.log_in("{}");
    let trailing = [frame_of(operation::HEARTBEAT, 1, b""), b"x".to_vec()].concat();
    assert_eq!(world.bytes(&trailing), ["op 3 v1 s1 \\x00\\x00\\x00\\x00", "close 1002 Peer"]);
}

#[test]
fn bodies_up_to_4096_bytes() {
    let mut world = World::tcp();
    world.log_in("{}");
    assert_eq!(world.say(1000, 1, [b'x'; 4096]), ["op 1000 v1 s1"]);
    assert_eq!(world.say(1000, 2, [b'x'; 4097]), ["close 1002 Peer"]);
}

#[test]
fn other_operations_are_echoed_without_their_body() {
    for (transport, raw) in [(Transport::Tcp, vec![]), (Transport::WebSocket, vec!["op 9 v1 s4"])] {
        let mut world = World::new(transport);
        world.log_in(GOIM_LOGIN);
        assert_eq!(world.say(1000, 1, "x"), ["op 1000 v1 s1"]);
        assert_eq!(world.say(-5, 2, "x"), ["op -5 v1 s2"]);
        assert_eq!(world.say(operation::AUTH, 3, GOIM_LOGIN), ["op 7 v1 s3"], "no second login");
        assert_eq!(world.say(operation::RAW, 4, "x"), raw);
        let mut frame = frame_of(0, i32::MIN, b"");
        frame[6..8].copy_from_slice(&(-2_i16).to_be_bytes());
        assert_eq!(world.bytes(&frame), ["op 0 v-2 s-2147483648"]);
    }
}

#[test]
fn any_number_of_requests_may_be_on_the_way() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let requests: Vec<u8> =
        (0..400).flat_map(|sequence| frame_of(operation::HEARTBEAT, sequence, b"")).collect();
    let answers = world.bytes(&requests);
    assert_eq!(answers.len(), 400);
    assert_eq!(answers[399], "op 3 v1 s399 \\x00\\x00\\x00\\x07");
}

#[test]
fn requests_behind_one_that_waits_are_answered_in_order() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let requests = [
        frame_of(operation::SEND_MESSAGE, 1, b"hi"),
        frame_of(operation::HEARTBEAT, 2, b""),
        frame_of(operation::CHANGE_ROOM, 3, b"live://7"),
        frame_of(operation::HEARTBEAT, 4, b""),
    ]
    .concat();
    assert_eq!(world.bytes(&requests), ["publish 5 live:1000 hi c1-5"]);
    let done = Answer::Response(response::Kind::Publish(PublishResult::default()));
    assert_eq!(
        world.answer(5, done),
        ["op 4 v1 s1", "op 3 v1 s2 \\x00\\x00\\x00\\x07", "subscribe 6 live:7 seen as \"42\"/c1"]
    );
    assert_eq!(
        world.opened(6),
        ["op 13 v1 s3 live://7", "op 3 v1 s4 \\x00\\x00\\x00\\x02", "unsubscribe live:1000"]
    );
}

#[test]
fn changing_rooms() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    // To the room one is in: one stays in it, and misses nothing.
    assert_eq!(world.say(operation::CHANGE_ROOM, 1, "live://1000"), ["op 13 v1 s1 live://1000"]);
    assert_eq!(world.say(operation::CHANGE_ROOM, 2, "live:1000"), ["op 13 v1 s2 live:1000"]);
    assert_eq!(world.say(operation::HEARTBEAT, 3, ""), ["op 3 v1 s3 \\x00\\x00\\x00\\x07"]);
    // To none, and back.
    assert_eq!(world.say(operation::CHANGE_ROOM, 4, ""), ["op 13 v1 s4", "unsubscribe live:1000"]);
    assert_eq!(world.say(operation::HEARTBEAT, 5, ""), ["op 3 v1 s5 \\x00\\x00\\x00\\x00"]);
    assert_eq!(world.say(operation::CHANGE_ROOM, 6, "unseen://1"), ["subscribe 5 unseen:1"]);
    assert_eq!(world.opened(5), ["op 13 v1 s6 unseen://1"]);
}

#[test]
fn a_refused_change_leaves_the_client_where_it_is() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    for (body, code) in [
        (&b"nowhere://1"[..], 102),
        (b"staff://1", 103),
        (b"#43", 103),
        (b"@all", 103),
        (b"\xff", 107),
        (b"live://", 107),
        (b"[1]", 107),
        (b"[", 107),
    ] {
        let said = world.say(operation::CHANGE_ROOM, 1, body);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("op 13 v1 s1 {{\\\"code\\\":{code},")), "{said:?}");
    }
    world.say(operation::CHANGE_ROOM, 2, "[\"live://1\",\"live://2\",\"live://3\"]");
    world.opened(6);
    assert_eq!(
        world.failed(5),
        [
            "op 13 v1 s2 {\\\"code\\\":100,\\\"message\\\":\\\"no upstream\\\"}",
            "unsubscribe live:2",
            "unsubscribe live:3",
        ]
    );
    assert_eq!(world.say(operation::HEARTBEAT, 3, ""), ["op 3 v1 s3 \\x00\\x00\\x00\\x07"]);
}

#[test]
fn several_rooms_at_once() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let body = r#"["live://2","live://1000","live:2"]"#;
    assert_eq!(
        world.say(operation::CHANGE_ROOM, 1, body),
        ["subscribe 5 live:2 seen as \"42\"/c1"]
    );
    let echoed = format!("op 13 v1 s1 {}", body.as_bytes().escape_ascii());
    assert_eq!(world.opened(5), [echoed], "named twice is entered once; the old one is kept");
    assert_eq!(world.say(operation::HEARTBEAT, 2, ""), ["op 3 v1 s2 \\x00\\x00\\x00\\x02"]);
    assert_eq!(
        world.say(operation::CHANGE_ROOM, 3, "[]"),
        ["op 13 v1 s3 []", "unsubscribe live:2", "unsubscribe live:1000"]
    );
    let many: Vec<String> = (0..17).map(|room| format!("live://{room}")).collect();
    let many = serde_json::to_string(&many).expect("JSON");
    let refused = world.say(operation::CHANGE_ROOM, 4, many);
    assert!(refused[0].contains("106"), "{refused:?}");
}

#[test]
fn accepted_operations() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(
        world.say(operation::SUB, 1, "1002,1003"),
        ["op 15 v1 s1 1002,1003", "accept {1000, 1001, 1002, 1003}"]
    );
    assert_eq!(
        world.say(operation::UNSUB, 2, "1000,1002,5"),
        ["op 17 v1 s2 1000,1002,5", "accept {1001, 1003}"]
    );
    assert_eq!(world.say(operation::SUB, 3, "1001"), ["op 15 v1 s3 1001"], "nothing new");
    assert_eq!(world.say(operation::SUB, 4, "7,x"), ["op 15 v1 s4 7,x"], "ignored as a whole");
    assert_eq!(world.say(operation::SUB, 5, b"\xff"), ["op 15 v1 s5 \\xff"]);
    // Whoever never said what it accepts gets everything, until it says.
    let mut world = World::tcp();
    world.log_in("{}");
    assert_eq!(world.say(operation::SUB, 1, "1000"), ["op 15 v1 s1 1000", "accept {1000}"]);
    let mut world = World::tcp();
    world.log_in("{}");
    assert_eq!(world.say(operation::UNSUB, 1, "1000"), ["op 17 v1 s1 1000", "accept {}"]);
}

#[test]
fn accepted_operations_are_bounded() {
    let mut world = World::tcp();
    world.log_in("{}");
    let some = |from: i32| (from..from + 800).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    world.say(operation::SUB, 1, some(1000));
    world.say(operation::SUB, 2, some(2000));
    let said = world.say(operation::SUB, 3, some(3000));
    assert!(said.len() == 1 && said[0].starts_with("op 15 v1 s3 {\\\"code\\\":106"), "{said:?}");
}

#[test]
fn publishing() {
    let mut world = World::tcp();
    world.log_in("{}");
    let refused = |said: Vec<String>, code: u32| {
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("op 4 v1 s1 {{\\\"code\\\":{code},")), "{said:?}");
    };
    refused(world.say(operation::SEND_MESSAGE, 1, "hi"), 108);
    world.say(operation::CHANGE_ROOM, 1, "news://1");
    world.opened(2);
    refused(world.say(operation::SEND_MESSAGE, 1, "hi"), 103);
    world.say(operation::CHANGE_ROOM, 1, "live://1");
    world.opened(3);
    assert_eq!(world.say(operation::SEND_MESSAGE, 1, "hi"), ["publish 4 live:1 hi c1-4"]);
    refused(world.failed(4), 100);
    assert_eq!(world.say(operation::SEND_MESSAGE, 1, "hi"), ["publish 5 live:1 hi c1-5"]);
    let failure =
        |disconnect| Answer::Response(response::Kind::Failure(control_failure(disconnect)));
    refused(world.answer(5, failure(0)), 111);
    world.say(operation::SEND_MESSAGE, 1, "hi");
    assert_eq!(world.answer(6, failure(4500)), ["close 4500 Us"]);
}

fn control_failure(disconnect: u32) -> shared::wire::control::Failure {
    let message = "too many requests".to_owned();
    shared::wire::control::Failure { code: 111, message, temporary: true, disconnect }
}

#[test]
fn deadlines() {
    let mut world = World::tcp();
    assert!(world.after(Duration::from_millis(4999)).is_empty());
    world.say(operation::HEARTBEAT, 1, "");
    assert_eq!(world.after(Duration::from_millis(1)), ["close 3502 Peer"]);

    let mut world = World::tcp();
    world.say(operation::AUTH, 1, "{}");
    assert_eq!(world.after(Duration::from_secs(5)), ["close 3004 Us"], "the upstream is away");

    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert!(world.after(Duration::from_secs(400)).is_empty());
    world.say(operation::HEARTBEAT, 1, "");
    assert!(world.after(Duration::from_secs(400)).is_empty());
    world.say(1000, 2, "");
    world.say(operation::SUB, 3, "1000");
    assert_eq!(world.session.next_deadline(), Some(world.now + Duration::from_secs(80)));
    assert_eq!(world.after(Duration::from_secs(80)), ["close 3012 Network"], "only op 2 counts");
    assert!(world.after(Duration::from_secs(80)).is_empty());
}

#[test]
fn lost_messages() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000", Lost::Gap), ["subscribe 5 live:1000 seen as \"42\"/c1"]);
    assert_eq!(world.lost("#42", Lost::Gap), ["subscribe 6 #42 filtered"]);
    assert!(!world.session.is_busy(), "no request waits for them");
    assert!(world.opened(5).is_empty());
    assert!(world.lost("live:5", Lost::Gap).is_empty(), "a room that was left");
    assert_eq!(world.failed(6), ["close 3004 Us"]);

    let config = Config { gap: GapMode::Close, ..Config::default() };
    let mut world = World::with(Transport::Tcp, config);
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000", Lost::Gap), ["close 3010 Us"]);
}

#[test]
fn rooms_that_the_back_end_takes_away() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000", Lost::Removed), ["op 13 v1 s0"]);
    assert_eq!(world.say(operation::HEARTBEAT, 1, ""), ["op 3 v1 s1 \\x00\\x00\\x00\\x00"]);
    assert!(world.lost("#42", Lost::Removed).is_empty());

    // One that was opened for a change that is still under way: the change is off.
    world.say(operation::CHANGE_ROOM, 2, r#"["live://1","live://2"]"#);
    world.say(operation::HEARTBEAT, 3, "");
    world.opened(5);
    let said = world.lost("live:1", Lost::Removed);
    assert!(said[0].starts_with("op 13 v1 s2 {\\\"code\\\":103"), "{said:?}");
    assert_eq!(said[1..], ["unsubscribe live:2"]);
    assert!(!world.session.is_busy());
    let waited = world.bytes(b"");
    assert_eq!(waited, ["op 3 v1 s3 \\x00\\x00\\x00\\x00"]);
}

proptest! {
    #[test]
    fn pieces_do_not_matter(piece in 1usize..50) {
        let stream: Vec<u8> = [
            frame_of(operation::HEARTBEAT, 1, b"early"),
            frame_of(operation::AUTH, 2, b"{}"),
            frame_of(operation::HEARTBEAT, 3, b""),
            frame_of(1000, 4, b"body"),
        ]
        .concat();
        let mut world = World::tcp();
        let mut said = Vec::new();
        for piece in stream.chunks(piece) {
            said.extend(world.bytes(piece));
        }
        said.extend(world.opened(1));
        prop_assert_eq!(
            said,
            [
                "identify \"\" c1 \"\"",
                "subscribe 1 @all filtered",
                "op 8 v1 s2",
                "op 3 v1 s3 \\x00\\x00\\x00\\x00",
                "op 1000 v1 s4",
            ]
        );
    }

    #[test]
    fn no_input_panics(
        frames in prop::collection::vec(
            (0..20, prop::collection::vec(any::<u8>(), 0..30)), 0..10,
        ),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        websocket in any::<bool>(),
    ) {
        let mut bytes: Vec<u8> =
            frames.iter().flat_map(|(operation, body)| frame_of(*operation, 1, body)).collect();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut world = World::new(if websocket { Transport::WebSocket } else { Transport::Tcp });
        world.log_in("{}");
        world.bytes(&bytes);
        for id in 2..12 {
            world.opened(id);
        }
    }
}
