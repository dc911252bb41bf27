//! Live frames: what flows from an upstream to an edge for its pulls.
//!
//! Layout, all numbers LEB128 varints unless said otherwise:
//!
//! ```text
//! length of the rest | kind (1 byte) | pull | …
//!   0 message:  epoch | offset | class (1 byte) | operation (zigzag) | time_ms | meta length | meta | body to the end
//!   1 opened:   epoch | next | top          the pull reads from `next` on; the log's last offset is `top`
//!   2 refused:  code | temporary (1 byte) | reason to the end    the pull is not served; code as in Centrifuge's errors
//!   3 joined, 4 left: ClientInfo (Protobuf) to the end
//! ```
//!
//! `meta` is the Protobuf message `Meta`, empty for most messages. A pull may be opened again with
//! another epoch or a later `next`: that is how a gap is told.
//!
//! Invariant: no length a peer declares is trusted before it is compared with its bound.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

use super::control;
use super::convert;
use crate::limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX, META_BYTES_MAX};
use crate::message::{Class, ClientInfo, Content, Epoch, Message};

/// One live frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A message of the pull's channel.
    Message {
        /// The pull it belongs to.
        pull: u64,
        /// The life of the log it belongs to.
        epoch: Epoch,
        /// The message.
        message: Message,
    },
    /// From here on the pull is served.
    Opened {
        /// The pull.
        pull: u64,
        /// The life of the log.
        epoch: Epoch,
        /// The first offset that will be sent.
        next: u64,
        /// The last offset of the log at this moment.
        top: u64,
    },
    /// The pull is not served.
    Refused {
        /// The pull.
        pull: u64,
        /// A Centrifuge error code.
        code: u32,
        /// Whether trying again later may help.
        temporary: bool,
        /// For a log, not for a client.
        reason: String,
    },
    /// A client came to the channel or left it.
    Presence {
        /// The pull.
        pull: u64,
        /// Came, or left.
        joined: bool,
        /// Who.
        info: ClientInfo,
    },
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
const OPENED: u8 = 1;
const REFUSED: u8 = 2;
const JOINED: u8 = 3;
const LEFT: u8 = 4;

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
    /// Appends the whole frame. (A message's body is copied here; the hot path uses
    /// [`message_head`].)
    pub fn encode(&self, out: &mut BytesMut) {
        let mut rest = BytesMut::new();
        match self {
            Self::Message { pull, epoch, message } => {
                out.extend_from_slice(&message_head(*pull, *epoch, message));
                out.extend_from_slice(&message.content.body);
                return;
            }
            Self::Opened { pull, epoch, next, top } => {
                rest.put_u8(OPENED);
                put_varint(&mut rest, *pull);
                put_varint(&mut rest, epoch.number().into());
                put_varint(&mut rest, *next);
                put_varint(&mut rest, *top);
            }
            Self::Refused { pull, code, temporary, reason } => {
                rest.put_u8(REFUSED);
                put_varint(&mut rest, *pull);
                put_varint(&mut rest, (*code).into());
                rest.put_u8((*temporary).into());
                rest.extend_from_slice(reason.as_bytes());
            }
            Self::Presence { pull, joined, info } => {
                rest.put_u8(if *joined { JOINED } else { LEFT });
                put_varint(&mut rest, *pull);
                convert::info_out(info).encode_raw(&mut rest);
            }
        }
        put_varint(out, rest.len() as u64);
        out.extend_from_slice(&rest);
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
        let pull = number(&mut rest)?;
        match kind {
            MESSAGE => {
                let epoch = epoch(&mut rest)?;
                let offset = number(&mut rest)?;
                if offset == 0 {
                    return Err(FrameError::Field("offset"));
                }
                let class =
                    Class::from_number(byte(&mut rest)?).ok_or(FrameError::Field("class"))?;
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
                let mut content = Content {
                    body: Bytes::copy_from_slice(body),
                    class,
                    operation,
                    ..Content::default()
                };
                convert::apply_meta(&mut content, meta);
                Ok(Self::Message { pull, epoch, message: Message { offset, time_ms, content } })
            }
            OPENED => Ok(Self::Opened {
                pull,
                epoch: epoch(&mut rest)?,
                next: number(&mut rest)?,
                top: number(&mut rest)?,
            }),
            REFUSED => {
                let code =
                    u32::try_from(number(&mut rest)?).map_err(|_| FrameError::Field("code"))?;
                let temporary = byte(&mut rest)? != 0;
                let reason = String::from_utf8_lossy(rest).into_owned();
                Ok(Self::Refused { pull, code, temporary, reason })
            }
            JOINED | LEFT => {
                let info =
                    control::ClientInfo::decode(rest).map_err(|_| FrameError::Field("info"))?;
                Ok(Self::Presence { pull, joined: kind == JOINED, info: convert::info_in(info) })
            }
            other => Err(FrameError::Kind(other)),
        }
    }
}

fn byte(input: &mut &[u8]) -> Result<u8, FrameError> {
    let (first, rest) = input.split_first().ok_or(FrameError::Truncated)?;
    *input = rest;
    Ok(*first)
}

pub(super) fn number(input: &mut &[u8]) -> Result<u64, FrameError> {
    take_varint(input)?.ok_or(FrameError::Truncated)
}

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
        prop_oneof![
            (any::<u64>(), epoch.clone(), 1u64.., any::<u64>(), content).prop_map(
                |(pull, epoch, offset, time_ms, content)| Frame::Message {
                    pull,
                    epoch,
                    message: Message { offset, time_ms, content },
                }
            ),
            (any::<u64>(), epoch, any::<u64>(), any::<u64>())
                .prop_map(|(pull, epoch, next, top)| Frame::Opened { pull, epoch, next, top }),
            (any::<u64>(), any::<u32>(), any::<bool>(), "\\PC{0,20}").prop_map(
                |(pull, code, temporary, reason)| Frame::Refused { pull, code, temporary, reason }
            ),
            (any::<u64>(), any::<bool>(), info).prop_map(|(pull, joined, info)| Frame::Presence {
                pull,
                joined,
                info
            }),
        ]
    }

    #[test]
    fn exact_bytes() {
        let mut out = BytesMut::new();
        let content =
            Content { body: Bytes::from_static(b"hi"), operation: 1000, ..Content::default() };
        let epoch = Epoch::new(300).expect("not zero");
        Frame::Message { pull: 5, epoch, message: Message { offset: 1, time_ms: 127, content } }
            .encode(&mut out);
        assert_eq!(&out[..], b"\x0c\x00\x05\xac\x02\x01\x01\xd0\x0f\x7f\x00hi");
        out.clear();
        Frame::Opened { pull: 5, epoch, next: 1, top: 0 }.encode(&mut out);
        assert_eq!(&out[..], b"\x06\x01\x05\xac\x02\x01\x00");
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
