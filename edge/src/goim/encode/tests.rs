use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use shared::message::Content;

use super::*;

fn message(operation: i32, body: &[u8]) -> Item {
    let content = Content { body: Bytes::copy_from_slice(body), operation, ..Content::default() };
    Item::Message(Arc::new(Message { offset: 1, time_ms: 0, content }))
}

fn presence() -> Item {
    Item::Presence { joined: true, info: Arc::default() }
}

fn goim(transport: Transport, given: &[Item]) -> Vec<u8> {
    let mut out = BytesMut::new();
    items(transport, given, &mut out);
    out.to_vec()
}

fn danmaku(transport: Transport, compression: Compression, items: &[Item]) -> Vec<u8> {
    let mut out = BytesMut::new();
    danmaku_items(transport, compression, items, &mut out);
    out.to_vec()
}

/// Payloads of unmasked binary WebSocket frames, read independently.
fn websocket_messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[0], 0x82);
        let (length, header) = match bytes[1] {
            126 => (usize::from(bytes[2]) << 8 | usize::from(bytes[3]), 4),
            127 => (bytes[2..10].iter().fold(0, |n, byte| n << 8 | usize::from(*byte)), 10),
            short => (usize::from(short), 2),
        };
        messages.push(bytes[header..header + length].to_vec());
        bytes = &bytes[header + length..];
    }
    messages
}

/// (version, operation, sequence, body) of goim frames, read as its clients do.
fn frames(mut bytes: &[u8]) -> Vec<(i16, i32, i32, Vec<u8>)> {
    let mut frames = Vec::new();
    let word = |bytes: &[u8]| i32::from_be_bytes(bytes.try_into().expect("four bytes"));
    while !bytes.is_empty() {
        let pack = word(&bytes[..4]) as usize;
        assert_eq!(&bytes[4..6], b"\0\x10");
        let version = i16::from_be_bytes([bytes[6], bytes[7]]);
        frames.push((version, word(&bytes[8..12]), word(&bytes[12..16]), bytes[16..pack].to_vec()));
        bytes = &bytes[pack..];
    }
    frames
}

/// Bodies of danmaku pushes, opening compressed ones as its clients do.
fn danmaku_bodies(bytes: &[u8]) -> Vec<Vec<u8>> {
    let open = |(version, operation, sequence, body): (i16, i32, i32, Vec<u8>)| {
        assert_eq!((operation, sequence), (5, 0));
        let mut plain = Vec::new();
        match version {
            0 => return vec![body],
            2 => flate2::read::ZlibDecoder::new(&body[..]).read_to_end(&mut plain),
            3 => brotli::Decompressor::new(&body[..], 4096).read_to_end(&mut plain),
            other => panic!("version {other}"),
        }
        .expect("compressed bytes");
        assert!(plain.len() > body.len() + 16, "only what shrinks is compressed");
        let inner = frames(&plain).into_iter();
        inner.inspect(|frame| assert_eq!((frame.0, frame.1), (0, 5))).map(|frame| frame.3).collect()
    };
    frames(bytes).into_iter().flat_map(open).collect()
}

#[test]
fn goim_exact_bytes() {
    let nested =
        b"\0\0\0\x12\0\x10\0\x01\0\0\x03\xe8\0\0\0\0hi\0\0\0\x10\0\x10\0\x01\0\0\x03\xe9\0\0\0\0";
    let given = [message(1000, b"hi"), presence(), message(1001, b"")];
    assert_eq!(goim(Transport::Tcp, &given), nested);
    let outer = b"\x82\x32\0\0\0\x32\0\x10\0\x01\0\0\0\x09\0\0\0\0";
    assert_eq!(goim(Transport::WebSocket, &given), [&outer[..], nested].concat());
}

#[test]
fn danmaku_exact_bytes() {
    let frame = b"\0\0\0\x17\0\x10\0\0\0\0\0\x05\0\0\0\0{\"n\":0}";
    let given = [message(1000, b"{\"n\":0}")];
    assert_eq!(danmaku(Transport::Tcp, Compression::None, &given), frame);
    let on_websocket = danmaku(Transport::WebSocket, Compression::None, &given);
    assert_eq!(on_websocket, [b"\x82\x17", &frame[..]].concat());
    // What would not shrink is sent as it is, which every client understands.
    assert_eq!(danmaku(Transport::Tcp, Compression::Zlib, &given), frame);
    assert_eq!(danmaku(Transport::Tcp, Compression::Brotli, &given), frame);
}

#[test]
fn nothing_but_presence_is_nothing() {
    for transport in [Transport::Tcp, Transport::WebSocket] {
        assert!(goim(transport, &[presence()]).is_empty());
        for compression in [Compression::None, Compression::Zlib, Compression::Brotli] {
            assert!(danmaku(transport, compression, &[presence()]).is_empty());
        }
    }
}

#[test]
fn batches_shrink() {
    let given: Vec<Item> = (0..40)
        .map(|n| {
            message(1000, format!("{{\"cmd\":\"DANMU_MSG\",\"text\":\"message {n}\"}}").as_bytes())
        })
        .collect();
    let plain = danmaku(Transport::WebSocket, Compression::None, &given).len();
    for (compression, version) in [(Compression::Zlib, 2), (Compression::Brotli, 3)] {
        let sent = danmaku(Transport::WebSocket, compression, &given);
        let messages = websocket_messages(&sent);
        assert_eq!(messages.len(), 1);
        assert_eq!(frames(&messages[0]).iter().map(|frame| frame.0).collect::<Vec<_>>(), [version]);
        assert!(sent.len() * 5 < plain, "{} of {plain} bytes", sent.len());
    }
}

#[test]
fn large_batches_are_cut_and_a_larger_message_stands_alone() {
    let big = vec![b'1'; BATCH_BYTES_MAX + 1];
    let half = vec![b'2'; BATCH_BYTES_MAX / 2];
    let given = [
        message(1, &half),
        message(1, b"3"),
        message(1, &half),
        message(1, &big),
        message(1, b"4"),
    ];
    let sizes: Vec<usize> =
        websocket_messages(&goim(Transport::WebSocket, &given)).iter().map(Vec::len).collect();
    assert_eq!(
        sizes,
        [16 + 16 + half.len() + 17, 16 + 16 + half.len(), 16 + 16 + big.len(), 16 + 17]
    );
}

#[test]
fn bodies_that_are_not_json_become_json() {
    let given = [message(1, b"plain"), message(1, b"\xff"), message(1, b"{\n}")];
    let bodies = danmaku_bodies(&danmaku(Transport::Tcp, Compression::None, &given));
    assert_eq!(bodies, [&b"\"plain\""[..], b"\"/w==\"", b"{}"]);
    let on_goim = frames(&goim(Transport::Tcp, &given));
    let bodies: Vec<&[u8]> = on_goim.iter().map(|frame| &frame.3[..]).collect();
    assert_eq!(bodies, [&b"plain"[..], b"\xff", b"{\n}"], "goim carries bytes as they are");
}

proptest! {
    #[test]
    fn clients_read_what_was_published(
        given in prop::collection::vec(
            (any::<i32>(), prop::collection::vec(any::<u8>(), 0..9000)), 0..12,
        ),
    ) {
        let items: Vec<Item> = given.iter().map(|(operation, body)| message(*operation, body)).collect();
        let expected: Vec<_> =
            given.iter().map(|(operation, body)| (1, *operation, 0, body.clone())).collect();
        prop_assert_eq!(&frames(&goim(Transport::Tcp, &items)), &expected);
        let mut nested = Vec::new();
        for message in websocket_messages(&goim(Transport::WebSocket, &items)) {
            let outer = frames(&message);
            prop_assert_eq!(outer.len(), 1);
            prop_assert_eq!((outer[0].0, outer[0].1, outer[0].2), (1, 9, 0));
            nested.extend(frames(&outer[0].3));
        }
        prop_assert_eq!(&nested, &expected);

        let bodies: Vec<_> = given.iter().map(|(_, body)| json_body(body).into_owned()).collect();
        for compression in [Compression::None, Compression::Zlib, Compression::Brotli] {
            let tcp = danmaku(Transport::Tcp, compression, &items);
            prop_assert_eq!(&danmaku_bodies(&tcp), &bodies);
            let messages = websocket_messages(&danmaku(Transport::WebSocket, compression, &items));
            prop_assert_eq!(messages.concat(), tcp);
        }
    }
}
