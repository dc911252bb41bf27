//! What one client says and others receive: any body in every form that leaves an edge.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use edge::form::{Compression, Dialect, Encoding, Form, Item, Transport};
use edge::goim::encode::BATCH_BYTES_MAX;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::body::json_body;
use shared::channel::ChannelName;
use shared::message::{ClientInfo, Content, Message};

use super::choices::{Choices, listed, seed};
use super::world::DIALECTS;
use super::written::{self, fields};

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let dialect = choices.one_of(&DIALECTS);
    let decisions = choices.byte();
    let mut texts = choices.list().into_iter();
    let name = String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
    let Ok((channel, spelling)) = ChannelName::parse(&name) else { return };
    let user = String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
    let messages: Vec<Arc<Message>> = texts
        .enumerate()
        .map(|(at, body)| Arc::new(message(at as u64 + 1, body, &user, decisions)))
        .collect();
    let items: Vec<Item> = messages.iter().cloned().map(Item::Message).collect();
    let mut out = BytesMut::new();
    Form { dialect, spelling }.encode(&channel, decisions & 1 == 1, &items, &mut out);
    let bodies = messages.iter().map(|message| &message.content.body[..]);
    match dialect {
        Dialect::Goim(transport) => {
            let frames = goim(&out, transport, false);
            let read = frames.iter().map(|(_, operation, _, body)| (*operation, &body[..]));
            assert!(read.eq(bodies.map(|body| (1000, body))));
        }
        Dialect::Danmaku(transport, compression) => {
            let frames = goim(&out, transport, true);
            let frames: Vec<_> = frames.into_iter().flat_map(|f| plain(f, compression)).collect();
            let read = frames.iter().map(|(_, operation, _, body)| (*operation, &body[..]));
            let bodies: Vec<_> = bodies.map(json_body).collect();
            assert!(read.eq(bodies.iter().map(|body| (5, &**body))));
        }
        Dialect::Centrifuge(encoding) => {
            let pushes = pushes(&out, encoding);
            assert_eq!(pushes.len(), messages.len());
            for (push, message) in pushes.iter().zip(&messages) {
                assert_eq!(push.channel, channel.spelled(spelling), "as its reader spells it");
                let offset = if decisions & 1 == 1 { message.offset } else { 0 };
                assert_eq!((push.offset, push.user.as_str()), (offset, &*told(message)));
                check_body(push, &message.content.body);
            }
        }
        Dialect::CentrifugeMessage(encoding) => {
            let pushes = pushes(&out, encoding);
            assert_eq!(pushes.len(), messages.len());
            for (push, message) in pushes.iter().zip(&messages) {
                check_body(push, &message.content.body);
            }
        }
    }
}

fn message(offset: u64, body: &[u8], user: &str, decisions: u8) -> Message {
    let publisher = ClientInfo {
        user: user.to_owned(),
        client: user.to_owned(),
        conn_info: user.as_bytes().to_vec().into(),
        ..ClientInfo::default()
    };
    let content = Content {
        body: body.to_vec().into(),
        operation: 1000,
        publisher: (decisions & 2 == 2).then(|| Box::new(publisher)),
        tags: match decisions & 4 {
            0 => BTreeMap::new(),
            _ => BTreeMap::from([(user.to_owned(), user.to_owned())]),
        },
        ..Content::default()
    };
    Message { offset, time_ms: 7, content }
}

fn told(message: &Message) -> String {
    message.content.publisher.as_ref().map(|info| info.user.clone()).unwrap_or_default()
}

/// goim's frames of either transport.
fn goim(out: &[u8], transport: Transport, is_danmaku: bool) -> Vec<written::GoimFrame> {
    if transport == Transport::Tcp {
        return written::goim(out);
    }
    let mut all = Vec::new();
    for (opcode, payload) in written::websocket(out) {
        assert_eq!(opcode, 2);
        let frames = written::goim(&payload);
        if is_danmaku {
            all.extend(frames);
            continue;
        }
        let [(_, 9, _, inner)] = &frames[..] else { panic!("one frame around all") };
        let inner = written::goim(inner);
        assert!(payload.len() <= BATCH_BYTES_MAX + 16 || inner.len() == 1);
        all.extend(inner);
    }
    all
}

/// What a danmaku client makes of a frame.
fn plain(frame: written::GoimFrame, compression: Compression) -> Vec<written::GoimFrame> {
    let mut bytes = Vec::new();
    match (frame.0, compression) {
        (0, _) => return vec![frame],
        (2, Compression::Zlib) => {
            flate2::read::ZlibDecoder::new(&frame.3[..]).read_to_end(&mut bytes).expect("zlib");
        }
        (3, Compression::Brotli) => {
            brotli::BrotliDecompress(&mut &frame.3[..], &mut bytes).expect("Brotli");
        }
        (version, _) => panic!("version {version} was not asked for"),
    }
    written::goim(&bytes)
}

/// A push as its reader has it.
struct Read {
    channel: String,
    offset: u64,
    user: String,
    body: Body,
}

enum Body {
    Json(Box<RawValue>),
    Bytes(Vec<u8>),
}

/// A body arrives as it is, or as JSON that says the same.
fn check_body(push: &Read, body: &[u8]) {
    let json = match &push.body {
        Body::Bytes(bytes) => return assert_eq!(bytes, body),
        Body::Json(json) => json.get(),
    };
    match (serde_json::from_str(json), serde_json::from_slice::<Value>(body)) {
        (Ok::<Value, _>(value), Ok(original)) if value == original => {}
        (Ok(Value::String(text)), _) => match std::str::from_utf8(body) {
            Ok(body) => assert_eq!(text, body),
            Err(_) => assert_eq!(STANDARD.decode(text).as_deref(), Ok(body)),
        },
        // JSON knows numbers that no f64 holds.
        (Err(_), Err(_)) => {
            assert_eq!(json, String::from_utf8_lossy(body).replace(['\n', '\r'], "").trim())
        }
        _ => panic!("{json} is not {body:?}"),
    }
}

fn pushes(out: &[u8], encoding: Encoding) -> Vec<Read> {
    let mut all = Vec::new();
    for (opcode, payload) in written::websocket(out) {
        match encoding {
            Encoding::Json => {
                assert_eq!(opcode, 1);
                all.extend(payload.split(|byte| *byte == b'\n').map(json_push));
            }
            Encoding::Protobuf => {
                assert_eq!(opcode, 2);
                let mut rest = &payload[..];
                while !rest.is_empty() {
                    all.push(protobuf::push(&mut rest));
                }
            }
        }
    }
    all
}

fn json_push(line: &[u8]) -> Read {
    let reply = fields(std::str::from_utf8(line).expect("text"));
    let push = fields(reply["push"].get());
    let content = ["pub", "message"].into_iter().find_map(|name| push.get(name));
    let content = fields(content.expect("a publication or a message").get());
    let text = |raw: &RawValue| serde_json::from_str(raw.get()).expect("a text");
    let user = content.get("info").map(|info| text(&fields(info.get())["user"]));
    Read {
        channel: push.get("channel").map(|name| text(name)).unwrap_or_default(),
        offset: content.get("offset").map_or(0, |raw| raw.get().parse().expect("a number")),
        user: user.unwrap_or_default(),
        body: Body::Json(content["data"].clone()),
    }
}

/// Pushes with the numbers of Centrifuge's `client.proto`.
mod protobuf {
    use prost::Message;

    use super::{Body, Read};

    #[derive(Clone, PartialEq, Message)]
    struct Reply {
        #[prost(message, optional, tag = "4")]
        push: Option<Push>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Push {
        #[prost(string, tag = "2")]
        channel: String,
        #[prost(message, optional, tag = "4")]
        publication: Option<Publication>,
        #[prost(message, optional, tag = "8")]
        message: Option<Said>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Publication {
        #[prost(bytes = "vec", tag = "4")]
        data: Vec<u8>,
        #[prost(message, optional, tag = "5")]
        info: Option<Info>,
        #[prost(uint64, tag = "6")]
        offset: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Info {
        #[prost(string, tag = "1")]
        user: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Said {
        #[prost(bytes = "vec", tag = "1")]
        data: Vec<u8>,
    }

    pub(super) fn push(rest: &mut &[u8]) -> Read {
        let reply = Reply::decode_length_delimited(rest).expect("a reply");
        let Push { channel, publication, message } = reply.push.expect("a push");
        match (publication, message) {
            (Some(Publication { data, info, offset }), None) => {
                let user = info.map(|info| info.user).unwrap_or_default();
                Read { channel, offset, user, body: Body::Bytes(data) }
            }
            (None, Some(Said { data })) => {
                Read { channel, offset: 0, user: String::new(), body: Body::Bytes(data) }
            }
            (publication, message) => panic!("{publication:?} and {message:?}"),
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies: [&[u8]; 9] = [
        b"{\"text\": \"hi\", \"n\": [1.50, 2e3]}",
        b"{\n  \"a\": 1\r\n}\n",
        b" [1.50,\n-2e350] ",
        b"hi \"you\"\n\\ \x01",
        b"\xff\xfe\x00",
        b"",
        &[b'['; 200],
        "\u{2028}你\u{feff}".as_bytes(),
        &[b'x'; 3000],
    ];
    let texts = |name: &'static str| {
        let head: [&[u8]; 2] = [name.as_bytes(), b"u\"\\\n"];
        listed(&[&head[..], &bodies[..]].concat())
    };
    (0..DIALECTS.len() as u8)
        .map(|at| {
            seed(&[at, at % 8], &texts(["live:1", "live://a\"b", "$n", "#4"][usize::from(at) % 4]))
        })
        .collect()
}
