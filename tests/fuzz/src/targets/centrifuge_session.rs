//! A Centrifuge session, in JSON or Protobuf: what its client says, and what else happens meanwhile.
//!
//! Every command but pongs is answered once, unless the connection ends; nothing comes before the
//! answer to `connect`.

use std::collections::BTreeMap;

use bytes::BytesMut;
use edge::form::Encoding;
use prost::Message;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::choices::{Choices, listed, seed};
use super::token::sign;
use super::world::{START_MS, Setting, Spoken, World};
use super::written;

/// What matters of a reply.
#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "2")]
    error: Option<Refused>,
    #[prost(message, optional, tag = "4")]
    push: Option<Anything>,
    #[prost(message, optional, tag = "5")]
    connect: Option<Anything>,
}

#[derive(Clone, PartialEq, Message)]
struct Refused {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Anything {}

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let encoding = choices.one_of(&[Encoding::Json, Encoding::Protobuf]);
    let setting = Setting::of(Spoken::Centrifuge(encoding), choices.byte());
    let fates = choices.few();
    let events = choices.few();
    let mut world = World::new(setting, fates);
    let mut asked = Vec::new();
    for (at, message) in choices.list().into_iter().enumerate() {
        if message.len() > 65_536 {
            continue; // the decoder of frames would not let it through
        }
        if world.ended.is_none() {
            asked.extend(ids(encoding, message));
        }
        let payload = BytesMut::from(message);
        world.act(message.len(), |protocol, cx, out| protocol.handle_message(payload, cx, out));
        if let Some(event) = events.get(at % events.len().max(1)) {
            world.happen(*event);
        }
    }
    world.answer_all();
    check(&world, encoding, asked);
}

/// The ids of the commands that want a reply, as far as the message can be read.
fn ids(encoding: Encoding, message: &[u8]) -> Vec<u64> {
    let ids: Vec<u64> = match encoding {
        Encoding::Json => message
            .split(|byte| *byte == b'\n')
            .map_while(|line| serde_json::from_slice::<BTreeMap<String, &RawValue>>(line).ok())
            .map(|command| command.get("id").and_then(|id| id.get().parse().ok()).unwrap_or(0))
            .collect(),
        Encoding::Protobuf => delimited(message).iter().map(|command| command.id.into()).collect(),
    };
    ids.into_iter().filter(|id| *id > 0).collect()
}

/// Messages after their lengths, up to the first that cannot be read.
fn delimited(mut bytes: &[u8]) -> Vec<Reply> {
    #[derive(Clone, PartialEq, Message)]
    struct Command {
        #[prost(uint32, tag = "1")]
        id: u32,
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Ok(Command { id }) = Command::decode_length_delimited(&mut bytes) else { break };
        all.push(Reply { id, ..Reply::default() });
    }
    all
}

fn check(world: &World<'_>, encoding: Encoding, mut asked: Vec<u64>) {
    let replies = replies(&world.written, encoding);
    let mut answered: Vec<u64> =
        replies.iter().map(|reply| reply.id.into()).filter(|id| *id > 0).collect();
    if let Some(first) = replies.first() {
        assert!(first.id > 0 && first.push.is_none(), "nothing comes before the answer to connect");
        assert!(first.connect.is_some() || first.error.is_some());
    }
    let refused = replies.first().is_some_and(|first| first.connect.is_none());
    answered.sort_unstable();
    asked.sort_unstable();
    if world.ended.is_none() && !refused {
        assert_eq!(answered, asked, "every command is answered once");
    } else {
        let mut asked = asked.into_iter();
        assert!(answered.iter().all(|id| asked.any(|asked| asked == *id)), "nobody asked");
    }
}

/// Replies and pushes, each of which is readable.
fn replies(written: &[u8], encoding: Encoding) -> Vec<Reply> {
    let mut replies = Vec::new();
    for (opcode, payload) in written::websocket(written) {
        match encoding {
            Encoding::Json => {
                assert_eq!(opcode, 1);
                replies.extend(payload.split(|byte| *byte == b'\n').map(json_reply));
            }
            Encoding::Protobuf => {
                assert_eq!(opcode, 2);
                let mut payload = &payload[..];
                assert!(!payload.is_empty());
                while !payload.is_empty() {
                    let reply = Reply::decode_length_delimited(&mut payload).expect("a reply");
                    replies.push(reply);
                }
            }
        }
    }
    for reply in &replies {
        let Some(error) = &reply.error else { continue };
        assert!(reply.id > 0 && error.code > 0, "an error answers a command: {reply:?}");
    }
    replies
}

fn json_reply(line: &[u8]) -> Reply {
    let text = std::str::from_utf8(line).expect("text");
    let fields = written::fields(text);
    let is_set = fields.values().all(|value| value.get() != "null");
    assert!(is_set, "SDKs take null for something: {text}");
    Reply {
        id: fields.get("id").map_or(0, |id| id.get().parse().expect("a number")),
        error: fields.get("error").map(|error| {
            let error: Value = serde_json::from_str(error.get()).expect("an error");
            Refused {
                code: error["code"].as_u64().expect("a code") as u32,
                message: error["message"].as_str().expect("a message").to_owned(),
            }
        }),
        push: fields.get("push").map(|_| Anything {}),
        connect: fields.get("connect").map(|_| Anything {}),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let json: Vec<String> = conversation().iter().map(Value::to_string).collect();
    let json: Vec<&[u8]> = json.iter().map(|command| command.as_bytes()).collect();
    let joined = json.join(&b'\n');
    let protobuf = protobuf_conversation();
    let protobuf: Vec<&[u8]> = protobuf.iter().map(Vec::as_slice).collect();
    let flood = |count: u32, command: fn(u32) -> String| {
        let commands = (2..count).map(command);
        let all = ["{\"id\":1,\"connect\":{}}".to_owned()].into_iter().chain(commands);
        all.collect::<Vec<_>>().join("\n").into_bytes()
    };
    let refused = [b"[]".as_slice(), b"{}\n\n", b"\xC3("];
    vec![
        seed(&[0, 1, 0, 1, 4], &listed(&json)),
        seed(&[0, 1, 0, 3, 15, 15, 0x10], &listed(&json)),
        seed(&[0, 1, 5, 6, 0, 1, 7, 5, 1, 4], &listed(&json)),
        seed(&[0, 1, 0, 5, 4, 12, 0x28, 0x1B, 0x17], &listed(&json)),
        seed(&[0, 9, 0, 1, 4], &listed(&json)),
        seed(&[0, 1, 0, 0], &joined),
        seed(&[1, 0, 1, 0, 1, 4], &listed(&protobuf)),
        seed(&[1, 0, 1, 1, 3, 4, 0x2A, 7], &protobuf.concat()),
        seed(&[0, 0, 0, 0], &listed(&refused)),
        seed(&[0, 0, 0, 0], &flood(1000, |id| format!("{{\"id\":{id},\"rpc\":{{}}}}"))),
        // Answers of every length around the one whose frames have a longer header.
        seed(
            &[0, 0, 0, 1, 4],
            &flood(200, |id| {
                let data = "x".repeat(id as usize % 50 + 80);
                format!("{{\"id\":{id},\"rpc\":{{\"data\":\"{data}\"}}}}")
            }),
        ),
        seed(
            &[0, 0, 0, 1, 4],
            &flood(1000, |id| {
                format!("{{\"id\":{id},\"subscribe\":{{\"channel\":\"live:{id}\"}}}}")
            }),
        ),
        seed(
            &[0, 0, 0, 0],
            &flood(1000, |id| match id % 2 {
                0 => format!("{{\"id\":{id},\"subscribe\":{{\"channel\":\"live:1\"}}}}"),
                _ => format!("{{\"id\":{id},\"unsubscribe\":{{\"channel\":\"live:1\"}}}}"),
            }),
        ),
    ]
}

/// A client that does everything there is.
fn conversation() -> Vec<Value> {
    let claims = json!({ "sub": "42", "exp": START_MS / 1000 + 60, "channels": ["live:7"] });
    let channel = json!({ "sub": "42", "channel": "$live:8" });
    vec![
        json!({"id": 1, "connect": {"token": sign(&claims), "subs": {"live:7": {"recover": true}}}}),
        json!({"id": 2, "subscribe": {"channel": "live:1", "recover": true, "offset": 3, "epoch": "5"}}),
        json!({"id": 3, "subscribe": {"channel": "$live:8", "token": sign(&channel), "flag": 2}}),
        json!({"id": 4, "publish": {"channel": "live:1", "data": {"a": [1.50, "\u{1}"]}}}),
        json!({"id": 5, "history": {"channel": "live:1", "limit": -1, "since": {"offset": 1, "epoch": "5"}}}),
        json!({"id": 6, "presence": {"channel": "live:1"}}),
        json!({"id": 7, "presence_stats": {"channel": "live:1"}}),
        json!({"id": 8, "rpc": {"method": "m", "data": "x"}}),
        json!({"id": 9, "refresh": {"token": sign(&claims)}}),
        json!({"id": 10, "sub_refresh": {"channel": "$live:8", "token": sign(&channel)}}),
        json!({"id": 11, "unsubscribe": {"channel": "live://1"}}),
        json!({"id": 12, "subscribe": {"channel": "live://1"}}),
        json!({"id": 13, "unsubscribe": {"channel": "\u{1}"}}),
        json!({"id": 14, "subscribe": {"channel": "ü"}}),
    ]
}

fn protobuf_conversation() -> Vec<Vec<u8>> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let command = |id: u8, number: u8, request: &[u8]| {
        let request = field(number, request);
        [&[2 + request.len() as u8, 8, id], &request[..]].concat()
    };
    let channel = field(1, b"live:1");
    vec![
        command(1, 4, b""),
        command(2, 5, &[&channel[..], &[24, 1, 56, 3], &field(6, b"5")].concat()),
        command(3, 7, &[&channel[..], &field(2, b"{\"a\":\n1}")].concat()),
        command(4, 10, &[&channel[..], &[56, 5], &field(8, &[8, 1])].concat()),
        command(5, 13, &[field(1, b"x"), field(2, b"m")].concat()),
        command(6, 8, &channel),
        command(7, 9, &channel),
        command(8, 6, &channel),
    ]
}
