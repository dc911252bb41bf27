//! goim's frames: what is cut off a stream, and what a WebSocket message holds.

use bytes::BytesMut;
use edge::goim::frame::{self, BODY_BYTES_MAX, Frame, FrameError, HEADER_BYTES, Head};

use super::choices::{Choices, seed};
use super::written;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let pieces = choices.pieces();
    let bytes = choices.rest();
    let (frames, error) = feed(&[bytes]);
    assert_eq!(feed(&pieces.cut(bytes)), (frames.clone(), error), "cutting it changes nothing");

    // What is read and written again are the same bytes.
    let mut out = BytesMut::new();
    for Frame { head, body } in &frames {
        assert!(body.len() <= BODY_BYTES_MAX);
        frame::put(&mut out, *head, body);
    }
    assert_eq!(out[..], bytes[..out.len()]);
    let read = written::goim(&out).into_iter().map(|(version, operation, sequence, body)| Frame {
        head: Head { version, operation, sequence },
        body: body[..].into(),
    });
    assert!(read.eq(frames.iter().cloned()));

    // A message holds the same frames, and must end where the last one does.
    let mut message = BytesMut::from(bytes);
    let mut held = Vec::new();
    let end = loop {
        match frame::decode_message(&mut message) {
            Ok(Some(frame)) => held.push(frame),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert_eq!(held, frames);
    let unfinished = error.is_none() && out.len() < bytes.len();
    assert_eq!(end, error.or(unfinished.then_some(FrameError::Truncated)));
}

fn feed(pieces: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>) {
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match frame::decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.len() < HEADER_BYTES + BODY_BYTES_MAX, "less than one frame is left");
    }
    (frames, None)
}

/// A client's frame.
pub(crate) fn goim(operation: i32, sequence: i32, body: &[u8]) -> Vec<u8> {
    let words = [(16 + body.len()) as i32, 0x0010_0001, operation, sequence].map(i32::to_be_bytes);
    [words.as_flattened(), body].concat()
}

/// What a client says from its login on.
pub(crate) fn conversation() -> Vec<Vec<u8>> {
    let login = br#"{"mid":123,"key":"k","room_id":"live://1000","accepts":[1000,1001]}"#;
    vec![
        goim(7, 1, login),
        goim(2, 2, b""),
        goim(4, 3, b"{\"text\":\"hi\"}"),
        goim(12, 4, b"[\"live:1\",\"live://2\"]"),
        [goim(14, 5, b"1002,1003"), goim(16, 6, b"1002")].concat(),
        goim(77, 7, b"?"),
    ]
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let frames = [
        conversation().concat(),
        goim(7, 1, br#"{"uid":7,"roomid":1000,"protover":3,"platform":"web","key":"T"}"#),
        goim(9, -1, &[0; BODY_BYTES_MAX]),
        b"\0\0\0\x0f\0\x10".to_vec(),
        b"\0\0\x10\x11".to_vec(),
        b"\0\0\0\x10\0\x0f".to_vec(),
    ];
    frames.iter().map(|frames| seed(&[2, 5, 17], frames)).collect()
}
