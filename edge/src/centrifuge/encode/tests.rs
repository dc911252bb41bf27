//! Exact bytes, and the same items read back by an independent decoder.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use shared::wire::control;

use super::super::protocol::Publication;
use super::*;

fn channel() -> ChannelName {
    ChannelName::parse("live:1").expect("a name").0
}

fn message(offset: u64, body: &'static [u8]) -> Message {
    let content = Content { body: Bytes::from_static(body), ..Content::default() };
    Message { offset, time_ms: 0, content }
}

fn info() -> ClientInfo {
    ClientInfo {
        user: "7".to_owned(),
        client: "c".to_owned(),
        conn_info: "{\"a\":\n1}".into(),
        chan_info: Bytes::new(),
    }
}

fn full() -> Message {
    let mut message = message(300, b"{}");
    message.content.publisher = Some(Box::new(info()));
    message.content.tags = [("k", "v\n"), ("x", "")].map(|(k, v)| (k.into(), v.into())).into();
    message
}

/// The payloads of the frames in `bytes`, all with this first byte.
fn payloads(mut bytes: &[u8], first: u8) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let [head, len, rest @ ..] = bytes {
        assert_eq!(*head, first);
        let (len, rest) = match *len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => {
                let len = u64::from_be_bytes(rest[..8].try_into().expect("8 bytes"));
                (usize::try_from(len).expect("small"), &rest[8..])
            }
            len => (usize::from(len), rest),
        };
        all.push(rest[..len].to_vec());
        bytes = &rest[len..];
    }
    all
}

fn json_of(spelling: Spelling, offsets: bool, given: &[Item]) -> Vec<String> {
    let mut out = BytesMut::new();
    items(Encoding::Json, &channel(), spelling, offsets, given, &mut out);
    payloads(&out, 0x81).into_iter().map(|text| String::from_utf8(text).expect("text")).collect()
}

#[test]
fn json_pushes() {
    let item = |message| Item::Message(Arc::new(message));
    let presence = |joined| Item::Presence { joined, info: Arc::new(info()) };
    let (colon, slashes) = (Spelling::Colon, Spelling::Slashes);
    let table = [
        (
            colon,
            true,
            item(message(1, b"{\"a\": 1}")),
            r#"{"push":{"channel":"live:1","pub":{"data":{"a": 1},"offset":1}}}"#,
        ),
        (colon, false, item(message(1, b"1")), r#"{"push":{"channel":"live:1","pub":{"data":1}}}"#),
        (
            slashes,
            true,
            item(message(1, b"hi")),
            r#"{"push":{"channel":"live://1","pub":{"data":"hi","offset":1}}}"#,
        ),
        (
            colon,
            true,
            item(message(u64::MAX, b"\xff")),
            r#"{"push":{"channel":"live:1","pub":{"data":"/w==","offset":18446744073709551615}}}"#,
        ),
        (
            colon,
            true,
            item(message(2, b"[\n1\n]")),
            r#"{"push":{"channel":"live:1","pub":{"data":[1],"offset":2}}}"#,
        ),
        (
            colon,
            true,
            item(full()),
            r#"{"push":{"channel":"live:1","pub":{"data":{},"info":{"user":"7","client":"c","conn_info":{"a":1}},"offset":300,"tags":{"k":"v\n","x":""}}}}"#,
        ),
        (
            colon,
            true,
            presence(true),
            r#"{"push":{"channel":"live:1","join":{"info":{"user":"7","client":"c","conn_info":{"a":1}}}}}"#,
        ),
        (
            slashes,
            true,
            presence(false),
            r#"{"push":{"channel":"live://1","leave":{"info":{"user":"7","client":"c","conn_info":{"a":1}}}}}"#,
        ),
    ];
    for (spelling, offsets, item, expected) in table {
        assert_eq!(json_of(spelling, offsets, &[item]), [expected]);
    }
}

#[test]
fn several_items_share_frames() {
    let given: Vec<Item> =
        (1..=17).map(|offset| Item::Message(Arc::new(message(offset, b"1")))).collect();
    let frames = json_of(Spelling::Colon, true, &given);
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].lines().count(), 16);
    assert_eq!(frames[1], r#"{"push":{"channel":"live:1","pub":{"data":1,"offset":17}}}"#);
    let large = vec![b'x'; 40_000].leak();
    let given: Vec<Item> =
        (1..=3).map(|offset| Item::Message(Arc::new(message(offset, large)))).collect();
    assert_eq!(json_of(Spelling::Colon, true, &given).len(), 3);
    assert_eq!(json_of(Spelling::Colon, true, &[]), [""; 0]);
}

#[test]
fn names_are_escaped() {
    let (channel, spelling) = ChannelName::parse("a\"b://c\\d").expect("a name");
    let mut out = BytesMut::new();
    let given = [Item::Message(Arc::new(message(1, b"1")))];
    items(Encoding::Json, &channel, spelling, false, &given, &mut out);
    let text = String::from_utf8(payloads(&out, 0x81).remove(0)).expect("text");
    assert_eq!(text, r#"{"push":{"channel":"a\"b://c\\d","pub":{"data":1}}}"#);
}

#[test]
fn the_broadcast() {
    let given = [
        Item::Message(Arc::new(message(1, b"hi"))),
        Item::Presence { joined: true, info: Arc::new(info()) },
        Item::Message(Arc::new(message(2, b"2"))),
    ];
    let mut out = BytesMut::new();
    broadcast_items(Encoding::Json, &given, &mut out);
    let expected =
        "{\"push\":{\"message\":{\"data\":\"hi\"}}}\n{\"push\":{\"message\":{\"data\":2}}}";
    assert_eq!(payloads(&out, 0x81), [expected.as_bytes()]);
    out.clear();
    broadcast_items(Encoding::Protobuf, &given, &mut out);
    let expected = [8, 34, 6, 66, 4, 10, 2, b'h', b'i', 7, 34, 5, 66, 3, 10, 1, b'2'];
    assert_eq!(payloads(&out, 0x82), [expected]);
}

/// The whole of a push, for reading back.
#[derive(Clone, PartialEq, prost::Message)]
struct PushReply {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "4")]
    push: Option<FullPush>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FullPush {
    #[prost(string, tag = "2")]
    channel: String,
    #[prost(message, optional, tag = "4")]
    publication: Option<Publication>,
    #[prost(message, optional, tag = "5")]
    join: Option<Change>,
    #[prost(message, optional, tag = "6")]
    leave: Option<Change>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Change {
    #[prost(message, optional, tag = "1")]
    info: Option<control::ClientInfo>,
}

fn any_message() -> impl Strategy<Value = Message> {
    let info = proptest::option::of((".{0,5}", ".{0,5}", any::<bool>()));
    let tags = proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..3);
    let body = proptest::collection::vec(any::<u8>(), 0..300);
    (any::<u64>(), body, info, tags).prop_map(|(offset, body, info, tags)| Message {
        offset,
        time_ms: 0,
        content: Content {
            body: body.into(),
            publisher: info.map(|(user, client, with_info)| {
                let conn_info = if with_info { "{}".into() } else { Bytes::new() };
                Box::new(ClientInfo { user, client, conn_info, chan_info: "[]".into() })
            }),
            tags,
            ..Content::default()
        },
    })
}

proptest! {
    #[test]
    fn protobuf_reads_back(
        messages in proptest::collection::vec(any_message(), 1..40), offsets: bool, joined: bool
    ) {
        let given: Vec<Item> = messages.iter().map(|m| Item::Message(Arc::new(m.clone())))
            .chain([Item::Presence { joined, info: Arc::new(info()) }]).collect();
        let mut out = BytesMut::new();
        items(Encoding::Protobuf, &channel(), Spelling::Slashes, offsets, &given, &mut out);
        let mut pushes = Vec::new();
        for payload in payloads(&out, 0x82) {
            let mut payload = &payload[..];
            while !payload.is_empty() {
                let reply = PushReply::decode_length_delimited(&mut payload).expect("a reply");
                pushes.push(reply.push.expect("a push"));
            }
        }
        let last = pushes.pop().expect("the presence");
        let change = Some(Change { info: Some(shared::wire::convert::info_out(&info())) });
        prop_assert_eq!((last.join, last.leave),
            if joined { (change, None) } else { (None, change) });
        prop_assert_eq!(pushes.len(), messages.len());
        for (push, message) in pushes.into_iter().zip(&messages) {
            prop_assert_eq!(push.channel, "live://1");
            let mut expected = Publication::of(message);
            if !offsets {
                expected.offset = 0;
            }
            prop_assert_eq!(push.publication, Some(expected));
        }
    }

    #[test]
    fn json_reads_back(messages in proptest::collection::vec(any_message(), 1..40)) {
        let given: Vec<Item> =
            messages.iter().map(|m| Item::Message(Arc::new(m.clone()))).collect();
        let frames = json_of(Spelling::Colon, true, &given);
        let lines: Vec<&str> = frames.iter().flat_map(|frame| frame.split('\n')).collect();
        prop_assert_eq!(lines.len(), messages.len());
        for (line, message) in lines.into_iter().zip(&messages) {
            let push: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let publication = &push["push"]["pub"];
            prop_assert_eq!(publication["offset"].as_u64().unwrap_or(0), message.offset);
            prop_assert_eq!(publication.get("info").is_some(), message.content.publisher.is_some());
            let tags = publication.get("tags").and_then(|tags| tags.as_object());
            prop_assert_eq!(tags.map_or(0, |tags| tags.len()), message.content.tags.len());
        }
    }
}
