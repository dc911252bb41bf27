//! Live frames: the messages that flow from an upstream to an edge for its pulls.
//!
//! Layout, all numbers LEB128 varints unless said otherwise:
//!
//! ```text
//! length of the rest | kind (1 byte) | pull | …
//!   0 message:  epoch | offset | class (1 byte) | operation (zigzag) | time_ms | meta length | meta | body to the end
//! ```
//!
//! `meta` is the Protobuf message `Meta`, empty for most messages. Frames follow each other on streams
//! and in datagrams, which carry other kinds too (see [`datagram`](super::datagram)).
//!
//! Invariant: no length a peer declares is trusted before it is compared with its bound, and no number
//! reaches 2^62.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

use super::control;
use super::convert;
use crate::limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX, META_BYTES_MAX};
use crate::message::{Class, Content, Epoch, Message};

/// One live frame: a message of a pull's channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The pull it belongs to.
    pub pull: u64,
    /// The life of the log it belongs to.
    pub epoch: Epoch,
    /// The message.
    pub message: Message,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A declared length beyond [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(u64),
    /// The frame ends within a field.
    #[error("a frame ends within a field")]
    Truncated,
    /// A varint of more than ten bytes or 64 bits.
    #[error("a number does not fit 64 bits")]
    Number,
    /// A kind that this version does not know.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A field outside its range.
    #[error("field {0} is out of range")]
    Field(&'static str),
}

const MESSAGE: u8 = 0;

/// The head of a message's frame; the frame is this followed by the body, which stays shared.
pub fn message_head(pull: u64, epoch: Epoch, message: &Message) -> Bytes {
    let content = &message.content;
    let meta = convert::meta_of(content);
    let meta_len = meta.as_ref().map_or(0, prost::Message::encoded_len);
    let operation = zigzag(content.operation);
    let rest = 2
        + varint_len(pull)
        + varint_len(epoch.number().into())
        + varint_len(message.offset)
        + varint_len(operation)
        + varint_len(message.time_ms)
        + varint_len(meta_len as u64)
        + meta_len
        + content.body.len();
    let mut head = BytesMut::with_capacity(varint_len(rest as u64) + rest - content.body.len());
    put_varint(&mut head, rest as u64);
    head.put_u8(MESSAGE);
    put_varint(&mut head, pull);
    put_varint(&mut head, epoch.number().into());
    put_varint(&mut head, message.offset);
    head.put_u8(content.class.number());
    put_varint(&mut head, operation);
    put_varint(&mut head, message.time_ms);
    put_varint(&mut head, meta_len as u64);
    if let Some(meta) = meta {
        meta.encode_raw(&mut head);
    }
    head.freeze()
}

impl Frame {
    /// Appends the whole frame. (The body is copied here; what sends uses [`message_head`].)
    pub fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(&message_head(self.pull, self.epoch, &self.message));
        out.extend_from_slice(&self.message.content.body);
    }

    /// Takes the next whole frame from the front of `input`; `None` while bytes are missing.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let mut peek = &input[..];
        let Some(length) = take_varint(&mut peek)? else { return Ok(None) };
        if length > FRAME_BYTES_MAX as u64 {
            return Err(FrameError::TooLong(length));
        }
        let length = length as usize; // at most FRAME_BYTES_MAX
        if peek.len() < length {
            return Ok(None);
        }
        let frame = Self::decode_rest(&peek[..length])?;
        let head = input.len() - peek.len();
        input.advance(head + length);
        Ok(Some(frame))
    }

    pub(super) fn decode_rest(mut rest: &[u8]) -> Result<Self, FrameError> {
        let kind = byte(&mut rest)?;
        if kind != MESSAGE {
            return Err(FrameError::Kind(kind));
        }
        let pull = number(&mut rest)?;
        let epoch = epoch(&mut rest)?;
        let offset = number(&mut rest)?;
        if offset == 0 {
            return Err(FrameError::Field("offset"));
        }
        let class = Class::from_number(byte(&mut rest)?).ok_or(FrameError::Field("class"))?;
        let operation = unzigzag(number(&mut rest)?)?;
        let time_ms = number(&mut rest)?;
        let meta_len = number(&mut rest)?;
        if meta_len > META_BYTES_MAX as u64 {
            return Err(FrameError::Field("meta"));
        }
        let meta_len = meta_len as usize; // at most META_BYTES_MAX
        if rest.len() < meta_len {
            return Err(FrameError::Truncated);
        }
        let (meta, body) = rest.split_at(meta_len);
        if body.len() > BODY_BYTES_MAX {
            return Err(FrameError::Field("body"));
        }
        let meta = control::Meta::decode(meta).map_err(|_| FrameError::Field("meta"))?;
        // Copied out, so that one kept message does not pin a whole receive buffer.
        let body = Bytes::copy_from_slice(body);
        let mut content = Content { body, class, operation, ..Content::default() };
        convert::apply_meta(&mut content, meta);
        Ok(Self { pull, epoch, message: Message { offset, time_ms, content } })
    }
}

fn byte(input: &mut &[u8]) -> Result<u8, FrameError> {
    let (first, rest) = input.split_first().ok_or(FrameError::Truncated)?;
    *input = rest;
    Ok(*first)
}

/// A number that sums and conversions to signed ones can take.
pub(super) fn number(input: &mut &[u8]) -> Result<u64, FrameError> {
    let number = take_varint(input)?.ok_or(FrameError::Truncated)?;
    if number < NUMBER_MAX { Ok(number) } else { Err(FrameError::Field("number")) }
}

/// No offset, count or time of ours comes near it.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

fn epoch(input: &mut &[u8]) -> Result<Epoch, FrameError> {
    u32::try_from(number(input)?).ok().and_then(Epoch::new).ok_or(FrameError::Field("epoch"))
}

fn zigzag(number: i32) -> u64 {
    u64::from(((number << 1) ^ (number >> 31)).cast_unsigned())
}

fn unzigzag(number: u64) -> Result<i32, FrameError> {
    let number = u32::try_from(number).map_err(|_| FrameError::Field("operation"))?;
    Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

pub(super) fn varint_len(number: u64) -> usize {
    prost::encoding::encoded_len_varint(number)
}

pub(super) fn put_varint(out: &mut BytesMut, number: u64) {
    prost::encoding::encode_varint(number, out);
}

/// Takes a varint; `None` where the input ends within it.
fn take_varint(input: &mut &[u8]) -> Result<Option<u64>, FrameError> {
    let mut number = 0u64;
    for (index, byte) in input.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return Err(FrameError::Number);
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *input = &input[index + 1..];
            return Ok(Some(number));
        }
    }
    if input.len() >= 10 { Err(FrameError::Number) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::ClientInfo;

    fn frames() -> impl Strategy<Value = Frame> {
        let epoch = (1u32..).prop_map(|n| Epoch::new(n).expect("not zero"));
        let info = ("\\PC{0,8}", "\\PC{0,8}", any::<Vec<u8>>()).prop_map(|(user, client, info)| {
            ClientInfo { user, client, conn_info: info.into(), ..ClientInfo::default() }
        });
        let content = (
            any::<Vec<u8>>(),
            0u8..3,
            any::<i32>(),
            proptest::option::of(info.clone()),
            proptest::collection::btree_map("[a-z]{0,4}", "\\PC{0,4}", 0..3),
            any::<u32>(),
        )
            .prop_map(|(body, class, operation, publisher, tags, speed)| Content {
                body: body.into(),
                class: Class::from_number(class).expect("a class"),
                operation,
                publisher: publisher.filter(|p| *p != ClientInfo::default()).map(Box::new),
                tags,
                speed,
            });
        (0..NUMBER_MAX, epoch, 1..NUMBER_MAX, 0..NUMBER_MAX, content).prop_map(
            |(pull, epoch, offset, time_ms, content)| Frame {
                pull,
                epoch,
                message: Message { offset, time_ms, content },
            },
        )
    }

    #[test]
    fn exact_bytes() {
        let mut out = BytesMut::new();
        let content =
            Content { body: Bytes::from_static(b"hi"), operation: 1000, ..Content::default() };
        let epoch = Epoch::new(300).expect("not zero");
        Frame { pull: 5, epoch, message: Message { offset: 1, time_ms: 127, content } }
            .encode(&mut out);
        assert_eq!(&out[..], b"\x0c\x00\x05\xac\x02\x01\x01\xd0\x0f\x7f\x00hi");
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_buffered() {
        let mut input = BytesMut::new();
        put_varint(&mut input, FRAME_BYTES_MAX as u64 + 1);
        assert_eq!(Frame::decode(&mut input), Err(FrameError::TooLong(FRAME_BYTES_MAX as u64 + 1)));
        let mut input = BytesMut::from(&[0xffu8; 10][..]);
        assert_eq!(Frame::decode(&mut input), Err(FrameError::Number));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(frames in proptest::collection::vec(frames(), 1..5), cuts in any::<Vec<u8>>()) {
            let mut bytes = BytesMut::new();
            for frame in &frames {
                frame.encode(&mut bytes);
            }
            let mut cuts = cuts.into_iter();
            let mut input = BytesMut::new();
            let mut read = Vec::new();
            while !bytes.is_empty() {
                let piece = usize::from(cuts.next().unwrap_or(255)).clamp(1, bytes.len());
                input.unsplit(bytes.split_to(piece));
                while let Some(frame) = Frame::decode(&mut input).expect("our own frames") {
                    read.push(frame);
                }
            }
            prop_assert!(input.is_empty());
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn damaged_bytes_never_panic(frame in frames(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = BytesMut::new();
            frame.encode(&mut bytes);
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            while let Ok(Some(_)) = Frame::decode(&mut bytes) {}
        }

        #[test]
        fn noise_never_panics(noise in any::<Vec<u8>>()) {
            let mut input = BytesMut::from(&noise[..]);
            while let Ok(Some(_)) = Frame::decode(&mut input) {}
        }
    }
}
