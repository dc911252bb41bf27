//! What an edge writes, read as its clients do, without any of its code.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A goim frame: version, operation, sequence, body.
pub(crate) type GoimFrame = (i16, i32, i32, Vec<u8>);

/// Opcodes and payloads of a server's frames, of which there are only whole ones.
pub(crate) fn websocket(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(first & 0xF0, 0x80, "whole messages, no extension");
        let (length, rest) = match *second {
            126 => {
                let (length, rest) = rest.split_first_chunk().expect("a length");
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk().expect("a length");
                (u64::from_be_bytes(*length) as usize, rest)
            }
            short => (usize::from(short), rest),
        };
        assert!(*second < 126 || length > 125, "the shortest form of a length, no mask");
        let (payload, rest) = rest.split_at_checked(length).expect("a whole frame");
        frames.push((first & 15, payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a header");
    frames
}

/// goim's frames, of which there are only whole ones.
pub(crate) fn goim(mut bytes: &[u8]) -> Vec<GoimFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let word =
            |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let length = usize::try_from(word(0)).expect("a length");
        assert_eq!(bytes[4..6], [0, 16], "the header's length");
        let (frame, rest) = bytes.split_at_checked(length).expect("a whole frame");
        let version = i16::from_be_bytes([frame[6], frame[7]]);
        frames.push((version, word(8), word(12), frame[16..].to_vec()));
        bytes = rest;
    }
    frames
}

/// The fields of a JSON object, each as it was written: bodies of clients are in them, whose numbers
/// need not fit any type.
pub(crate) fn fields(json: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(json).expect("an object")
}
