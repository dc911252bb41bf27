//! The frame of both dialects: a header of 16 bytes, big-endian and signed, and a body.
//!
//! ```text
//! i32 pack length (header and body)   i16 header length (16)   i16 version
//! i32 operation                       i32 sequence             body
//! ```
//!
//! Invariant: a decoded frame's body is exactly the bytes its pack length names.

use bytes::{Buf, BufMut, BytesMut};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// Bytes of a client's body at most, goim's limit; towards clients there is none.
pub const BODY_BYTES_MAX: usize = 4096;

/// What a header says beside the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Chosen by the client and repeated in the answer; in a danmaku push, the compression.
    pub version: i16,
    /// See [`super::operation`].
    pub operation: i32,
    /// Chosen by the client and repeated in the answer; 0 in a push.
    pub sequence: i32,
}

/// A client's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The header.
    pub head: Head,
    /// The body, a part of the input it was read from.
    pub body: BytesMut,
}

/// Why bytes are not frames. Nothing can be read after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header, or negative.
    #[error("pack length {0} is shorter than a header")]
    PackLength(i32),
    /// Larger than clients may send.
    #[error("pack length {0} is above {HEADER_BYTES} + {BODY_BYTES_MAX}")]
    TooLarge(i32),
    /// Another header than goim's.
    #[error("header length {0} is not {HEADER_BYTES}")]
    HeaderLength(i16),
    /// A WebSocket message that ends inside a frame, or is empty.
    #[error("a message does not end where its last frame ends")]
    Truncated,
}

/// Takes the next frame off the front of a stream; `None` when more bytes are needed. What is
/// wrong with a header is said as soon as it is there, before the body is.
pub fn decode(input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(length) = input.first_chunk().copied().map(i32::from_be_bytes) else {
        return Ok(None);
    };
    let bytes = match usize::try_from(length) {
        Ok(bytes @ HEADER_BYTES..) => bytes,
        _ => return Err(FrameError::PackLength(length)),
    };
    if bytes > HEADER_BYTES + BODY_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    if let Some(header) = input.get(4..6) {
        let header = i16::from_be_bytes([header[0], header[1]]);
        if usize::try_from(header) != Ok(HEADER_BYTES) {
            return Err(FrameError::HeaderLength(header));
        }
    }
    if input.len() < bytes {
        return Ok(None);
    }
    let mut body = input.split_to(bytes);
    body.advance(6);
    let head =
        Head { version: body.get_i16(), operation: body.get_i32(), sequence: body.get_i32() };
    Ok(Some(Frame { head, body }))
}

/// Takes the next frame off a WebSocket message, which holds whole frames only; `None` at its end.
pub fn decode_message(message: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    if message.is_empty() {
        return Ok(None);
    }
    decode(message)?.map(Some).ok_or(FrameError::Truncated)
}

/// Appends the header of a frame whose body of `body_len` bytes the caller appends next.
pub fn put_header(out: &mut BytesMut, head: Head, body_len: usize) {
    // Bodies towards clients are bounded far below 2 GiB, by what a log admits.
    out.put_i32((HEADER_BYTES + body_len) as i32);
    out.put_i16(HEADER_BYTES as i16);
    out.put_i16(head.version);
    out.put_i32(head.operation);
    out.put_i32(head.sequence);
}

/// Appends a whole frame.
pub fn put(out: &mut BytesMut, head: Head, body: &[u8]) {
    out.reserve(HEADER_BYTES + body.len());
    put_header(out, head, body.len());
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::operation;
    use super::*;

    const HEARTBEAT: &[u8] = b"\0\0\0\x10\0\x10\0\x01\0\0\0\x02\0\0\0\x07";

    fn frames(bytes: &[u8], piece: usize) -> Result<(Vec<Frame>, usize), FrameError> {
        let mut input = BytesMut::new();
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece) {
            input.extend_from_slice(piece);
            while let Some(frame) = decode(&mut input)? {
                frames.push(frame);
            }
        }
        Ok((frames, input.len()))
    }

    #[test]
    fn exact_bytes() {
        let head = Head { version: 1, operation: operation::HEARTBEAT, sequence: 7 };
        let mut out = BytesMut::new();
        put(&mut out, head, b"");
        assert_eq!(&out[..], HEARTBEAT);
        let (decoded, left) = frames(HEARTBEAT, 100).expect("a frame");
        assert_eq!((decoded, left), (vec![Frame { head, body: BytesMut::new() }], 0));

        let head = Head { version: -1, operation: -2, sequence: -3 };
        out.clear();
        put(&mut out, head, b"ab");
        assert_eq!(&out[..], b"\0\0\0\x12\0\x10\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xfdab");
        let (decoded, _) = frames(&out, 1).expect("a frame");
        assert_eq!(decoded, vec![Frame { head, body: b"ab"[..].into() }]);
    }

    #[test]
    fn lengths_are_refused_before_anything_else_arrives() {
        for (bytes, error) in [
            (&b"\xff\xff\xff\xff"[..], FrameError::PackLength(-1)),
            (b"\0\0\0\0", FrameError::PackLength(0)),
            (b"\0\0\0\x0f", FrameError::PackLength(15)),
            (b"\x80\0\0\0", FrameError::PackLength(i32::MIN)),
            (b"\0\0\x10\x11", FrameError::TooLarge(4113)),
            (b"\x7f\xff\xff\xff", FrameError::TooLarge(i32::MAX)),
            (b"\0\0\0\x10\0\x0f", FrameError::HeaderLength(15)),
            (b"\0\0\0\x10\xff\xf0", FrameError::HeaderLength(-16)),
        ] {
            assert_eq!(frames(bytes, 1), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_body_of_4096_bytes_passes() {
        let head = Head { version: 1, operation: 4, sequence: 0 };
        let mut bytes = BytesMut::new();
        put(&mut bytes, head, &[0; BODY_BYTES_MAX]);
        assert_eq!(decode(&mut bytes).map(|frame| frame.map(|f| f.body.len())), Ok(Some(4096)));
    }

    #[test]
    fn a_message_ends_with_a_frame() {
        let mut message = BytesMut::from(&[HEARTBEAT, HEARTBEAT].concat()[..]);
        assert!(matches!(decode_message(&mut message), Ok(Some(_))));
        assert!(matches!(decode_message(&mut message), Ok(Some(_))));
        assert_eq!(decode_message(&mut message), Ok(None));
        let mut message = BytesMut::from(&[HEARTBEAT, b"x"].concat()[..]);
        assert!(matches!(decode_message(&mut message), Ok(Some(_))));
        assert_eq!(decode_message(&mut message), Err(FrameError::Truncated));
    }

    proptest! {
        #[test]
        fn encoded_frames_decode_back_in_any_pieces(
            sent in prop::collection::vec(
                (any::<i16>(), any::<i32>(), any::<i32>(), prop::collection::vec(any::<u8>(), 0..50)),
                0..6,
            ),
            piece in 1usize..60,
        ) {
            let mut bytes = BytesMut::new();
            let mut expected = Vec::new();
            for (version, operation, sequence, body) in sent {
                let head = Head { version, operation, sequence };
                put(&mut bytes, head, &body);
                expected.push(Frame { head, body: body[..].into() });
            }
            prop_assert_eq!(frames(&bytes, piece), Ok((expected, 0)));
        }

        #[test]
        fn no_bytes_panic_and_pieces_do_not_matter(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            prop_assert_eq!(frames(&bytes, 1), frames(&bytes, 100));
            let mut perturbed = [HEARTBEAT, HEARTBEAT].concat();
            let at = at.index(perturbed.len());
            perturbed[at] = byte;
            prop_assert_eq!(frames(&perturbed, 1), frames(&perturbed, 100));
        }
    }
}
