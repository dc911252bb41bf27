//! Replies and pushes to WebSocket frames: many to a frame, the header written once its length is known.
//!
//! Most frames carry between 126 and 65,535 bytes, so room for that header is left and nothing
//! moves; shorter and longer payloads are moved by a few bytes.
//!
//! Invariant: what is appended to `out` is whole frames.

use bytes::{BufMut, BytesMut};

use prost::Message;

use super::json;
use super::protocol::Reply;
use crate::form::Encoding;
use crate::websocket::{self, Opcode};

/// Replies joined in one frame at most: what Centrifuge's own servers do.
const REPLIES_PER_FRAME_MAX: usize = 16;

/// Bytes of a frame that joins several replies. Some SDKs read frames up to 1 MiB only.
const JOINED_BYTES_MAX: usize = 64 << 10;

/// The header's bytes for payloads of 126 to 65,535 bytes.
const HEADER_BYTES: usize = 4;

/// Bytes of most replies.
const REPLY_BYTES_HINT: usize = 256;

/// Appends a frame that holds one reply or push.
pub(crate) fn put_reply(encoding: Encoding, reply: &Reply, out: &mut BytesMut) {
    let mut frames = Frames::new(encoding, out);
    let out = frames.reply(REPLY_BYTES_HINT);
    match encoding {
        Encoding::Json => json::put_reply(out, reply),
        Encoding::Protobuf => {
            let written = reply.encode_length_delimited(out);
            debug_assert!(written.is_ok(), "a BytesMut grows as it must");
        }
    }
    frames.end();
}

/// Writes replies into frames.
pub(crate) struct Frames<'a> {
    out: &'a mut BytesMut,
    encoding: Encoding,
    /// Where the open frame begins; `None` if none is open.
    start: Option<usize>,
    replies: usize,
}

impl<'a> Frames<'a> {
    /// Appends to `out`.
    pub(crate) fn new(encoding: Encoding, out: &'a mut BytesMut) -> Self {
        Self { out, encoding, start: None, replies: 0 }
    }

    /// Where to write the next reply, which takes about `bytes_hint` bytes. Protobuf replies bring
    /// their length with them.
    pub(crate) fn reply(&mut self, bytes_hint: usize) -> &mut BytesMut {
        if let Some(start) = self.start {
            let full = self.replies == REPLIES_PER_FRAME_MAX
                || self.out.len() - start + bytes_hint > JOINED_BYTES_MAX;
            if full {
                self.end();
            } else if self.encoding == Encoding::Json {
                self.out.put_u8(b'\n');
            }
        }
        self.out.reserve(bytes_hint + HEADER_BYTES);
        if self.start.is_none() {
            self.start = Some(self.out.len());
            let opcode = match self.encoding {
                Encoding::Json => Opcode::Text,
                Encoding::Protobuf => Opcode::Binary,
            };
            websocket::put_header(self.out, opcode, 126);
        }
        self.replies += 1;
        self.out
    }

    /// Ends the open frame, if there is one.
    pub(crate) fn end(&mut self) {
        let Some(start) = self.start.take() else { return };
        self.replies = 0;
        let payload = start + HEADER_BYTES;
        let len = self.out.len() - payload;
        match len {
            0..=125 => {
                self.out[start + 1] = len as u8;
                self.out.copy_within(payload.., start + 2);
                self.out.truncate(start + 2 + len);
            }
            126..=0xFFFF => {
                self.out[start + 2..payload].copy_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                self.out.put_bytes(0, 6);
                self.out.copy_within(payload..payload + len, start + 10);
                self.out[start + 1] = 127;
                self.out[start + 2..start + 10].copy_from_slice(&(len as u64).to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_fit_their_payloads() {
        for len in [1, 125, 126, 127, 65535, 65536, 100_000] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut expected = BytesMut::from(&b"before"[..]);
            websocket::put_message(&mut expected, Opcode::Text, &payload);
            let mut out = BytesMut::from(&b"before"[..]);
            let mut frames = Frames::new(Encoding::Json, &mut out);
            frames.reply(len).put_slice(&payload);
            frames.end();
            assert_eq!(out, expected, "{len}");
        }
    }

    #[test]
    fn replies_are_joined_within_bounds() {
        for (count, bytes, expected_frames) in [(16, 9, 1), (17, 9, 2), (3, 30_000, 2)] {
            let mut out = BytesMut::new();
            let mut frames = Frames::new(Encoding::Json, &mut out);
            for _ in 0..count {
                frames.reply(bytes).put_bytes(b'x', bytes);
            }
            frames.end();
            assert_eq!(out.iter().filter(|byte| **byte == 0x81).count(), expected_frames);
            let joins = out.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(joins, count - expected_frames);
        }
    }
}
