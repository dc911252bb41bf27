//! The goim frame: a 16-byte header and a body, all integers big-endian and signed.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | i32 | packet length, header included |
//! | 4 | i16 | header length, always 16 |
//! | 6 | i16 | version |
//! | 8 | i32 | operation |
//! | 12 | i32 | sequence |
//!
//! Written from the protocol's description and independent of the edge's own codec, so that the two
//! check each other. Invariant: a decoder that is given frames in any pieces hands out the same frames.

use anyhow::{Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the body.
pub const HEADER: usize = 16;

/// The largest body a client may send.
pub const BODY_MAX: usize = 4096;

/// Operations a client meets. Others are business operations of pushed messages.
pub mod operation {
    /// Heartbeat; the answer carries the room's online count.
    pub const HEARTBEAT: i32 = 2;
    /// Answer to a heartbeat.
    pub const HEARTBEAT_REPLY: i32 = 3;
    /// A message from the client; answered with the same operation.
    pub const SEND: i32 = 4;
    /// A message pushed to a danmaku client.
    pub const DANMAKU: i32 = 5;
    /// Login.
    pub const AUTH: i32 = 7;
    /// Answer to a login.
    pub const AUTH_REPLY: i32 = 8;
    /// The envelope of pushed messages on WebSocket.
    pub const RAW: i32 = 9;
    /// Change of room.
    pub const CHANGE_ROOM: i32 = 12;
    /// Answer to a change of room.
    pub const CHANGE_ROOM_REPLY: i32 = 13;
    /// Accept more business operations.
    pub const SUB: i32 = 14;
    /// Answer to SUB.
    pub const SUB_REPLY: i32 = 15;
    /// Accept fewer business operations.
    pub const UNSUB: i32 = 16;
    /// Answer to UNSUB.
    pub const UNSUB_REPLY: i32 = 17;
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Echoed in replies, 1 on pushes; the kind of compression in the danmaku dialect.
    pub version: i16,
    /// What it is about.
    pub operation: i32,
    /// Chosen by the client and echoed in the reply; 0 on pushes.
    pub sequence: i32,
    /// Opaque bytes.
    pub body: Bytes,
}

impl Frame {
    /// A request of version 1.
    pub fn request(operation: i32, sequence: i32, body: impl Into<Bytes>) -> Self {
        Self { version: 1, operation, sequence, body: body.into() }
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        header_then(
            (HEADER + self.body.len()) as i32,
            HEADER as i16,
            self.version,
            self.operation,
            self.sequence,
            &self.body,
        )
    }
}

/// A header that says whatever it is told, then `body`: for headers that lie.
pub fn header_then(
    packet_length: i32,
    header_length: i16,
    version: i16,
    operation: i32,
    sequence: i32,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.put_i32(packet_length);
    bytes.put_i16(header_length);
    bytes.put_i16(version);
    bytes.put_i32(operation);
    bytes.put_i32(sequence);
    bytes.put_slice(body);
    bytes
}

/// Finds frames in a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder(BytesMut);

impl Decoder {
    /// Adds bytes that were received.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Where to read bytes into.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// The next complete frame; `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        if self.0.len() < HEADER {
            return Ok(None);
        }
        let mut header = &self.0[..HEADER];
        let packet_length = header.get_i32();
        let header_length = header.get_i16();
        let version = header.get_i16();
        let operation = header.get_i32();
        let sequence = header.get_i32();
        ensure!(header_length == HEADER as i16, "header length {header_length}");
        ensure!(packet_length >= HEADER as i32, "packet length {packet_length}");
        let packet_length = packet_length as usize;
        if self.0.len() < packet_length {
            return Ok(None);
        }
        let body = self.0.split_to(packet_length).freeze().slice(HEADER..);
        Ok(Some(Frame { version, operation, sequence, body }))
    }

    /// Bytes that are not part of a frame that was handed out.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

/// The frames that `bytes` consist of, to the last byte.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>> {
    let mut decoder = Decoder::default();
    decoder.extend(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        frames.push(frame);
    }
    ensure!(decoder.left() == 0, "{} bytes are no whole frame", decoder.left());
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_heartbeat_is_these_bytes() {
        let frame = Frame::request(operation::HEARTBEAT, 7, Bytes::new());
        assert_eq!(frame.encode(), [0, 0, 0, 16, 0, 16, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7]);
    }

    #[test]
    fn a_body_follows_the_header() {
        let frame = Frame { version: -2, operation: 1000, sequence: -1, body: "ok".into() };
        let expected = [0, 0, 0, 18, 0, 16, 255, 254, 0, 0, 3, 232, 255, 255, 255, 255, b'o', b'k'];
        assert_eq!(frame.encode(), expected);
    }

    #[test]
    fn lengths_that_cannot_be_are_errors() {
        for (packet, header) in [(15, 16), (-1, 16), (16, 15), (i32::MIN, 16)] {
            let bytes = header_then(packet, header, 1, 2, 1, b"");
            assert!(decode_all(&bytes).is_err(), "packet {packet} header {header}");
        }
        assert!(decode_all(&header_then(17, 16, 1, 2, 1, b"")).is_err());
    }

    proptest! {
        #[test]
        fn split_anywhere_decodes_to_the_same(
            frames in proptest::collection::vec(any_frame(), 0..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let (mut decoder, mut decoded, mut at) = (Decoder::default(), Vec::new(), 0);
            for cut in cuts {
                decoder.extend(&bytes[at..cut]);
                at = cut;
                while let Some(frame) = decoder.next_frame().expect("valid frames") {
                    decoded.push(frame);
                }
            }
            prop_assert_eq!(decoded, frames);
            prop_assert_eq!(decoder.left(), 0);
        }
    }

    prop_compose! {
        fn any_frame()(
            version in any::<i16>(),
            operation in any::<i32>(),
            sequence in any::<i32>(),
            body in proptest::collection::vec(any::<u8>(), 0..40),
        ) -> Frame {
            Frame { version, operation, sequence, body: body.into() }
        }
    }
}
