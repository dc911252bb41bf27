//! A Centrifuge session, in JSON or Protobuf: what its client says, and what else happens meanwhile.
//!
//! Every command but pongs is answered once, unless the connection ends; nothing comes before the
//! answer to `connect`.

use bytes::BytesMut;
use edge::form::Encoding;
use prost::Message;
use serde_json::{Value, json};

use super::choices::{Choices, listed, seed};
use super::world::{SECRET, START_MS, Setting, Spoken, World};
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
            .map_while(|line| serde_json::from_slice::<Value>(line).ok())
            .map(|command| command["id"].as_u64().unwrap_or(0))
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
    let reply: Value = serde_json::from_slice(line).expect("a line is JSON");
    let fields = reply.as_object().expect("an object");
    assert!(fields.values().all(|value| !value.is_null()), "SDKs take null for something: {reply}");
    Reply {
        id: fields.get("id").map_or(0, |id| id.as_u64().expect("a number") as u32),
        error: fields.get("error").map(|error| Refused {
            code: error["code"].as_u64().expect("a code") as u32,
            message: error["message"].as_str().expect("a message").to_owned(),
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
    let flood = |command: fn(u32) -> String| {
        let commands = (2..1000).map(command);
        let all = ["{\"id\":1,\"connect\":{}}".to_owned()].into_iter().chain(commands);
        all.collect::<Vec<_>>().join("\n").into_bytes()
    };
    let refused = [b"[]".as_slice(), b"{}\n\n", b"\xC3("];
    vec![
        seed(&[0, 0, 1, 0, 1, 4], &listed(&json)),
        seed(&[0, 1, 3, 0, 7, 1, 4, 15, 15, 4, 0x97], &listed(&json)),
        seed(&[0, 0, 2, 3, 6, 0], &joined),
        seed(&[0, 8, 1, 0, 4, 4, 12, 0x28, 0x1B], &listed(&json)),
        seed(&[1, 0, 1, 0, 1, 4], &listed(&protobuf)),
        seed(&[1, 0, 1, 1, 3, 4, 0x2A, 7], &protobuf.concat()),
        seed(&[0, 0, 0, 0], &listed(&refused)),
        seed(&[0, 0, 0, 0], &flood(|id| format!("{{\"id\":{id},\"rpc\":{{}}}}"))),
        seed(
            &[0, 0, 0, 1, 4],
            &flood(|id| format!("{{\"id\":{id},\"subscribe\":{{\"channel\":\"live:{id}\"}}}}")),
        ),
        seed(
            &[0, 0, 0, 0],
            &flood(|id| match id % 2 {
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

fn sign(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a token")
}
