//! A client's bytes, in whatever pieces they come, to messages and control frames.
//!
//! Bytes are decoded where they were read: a frame that is complete in the input is unmasked in
//! place and split off without a copy, an incomplete one stays in the input, which the caller keeps
//! and extends. Only the pieces of a fragmented message are copied together. Everything that can be
//! known of a frame is checked as soon as it is there: limits from the declared length, UTF-8 byte
//! by byte.
//!
//! Invariant: `done` bytes of the frame at the front of the input are unmasked and checked; the
//! caller hands the same bytes in again, followed by more.

use bytes::{Buf, BytesMut};

use super::utf8::Utf8;
use super::{CONTROL_BYTES_MAX, Opcode};

/// Something a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message.
    Message {
        /// Whether it was sent as text, and so is UTF-8.
        text: bool,
        /// The bytes, unmasked.
        payload: BytesMut,
    },
    /// Asks for a pong with this payload.
    Ping(BytesMut),
    /// Answers a ping.
    Pong,
    /// The client ends the connection; the close frame wants a close frame. Nothing follows.
    Close {
        /// The code; `None` where the client gave none.
        code: Option<u16>,
        /// The reason.
        reason: String,
    },
}

/// How a client broke the protocol. Nothing can be decoded after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WsError {
    /// A reserved bit: an extension nobody agreed to.
    #[error("a reserved bit is set; no extension was agreed")]
    ReservedBit,
    /// A reserved opcode.
    #[error("opcode {0} is reserved")]
    ReservedOpcode(u8),
    /// A client's frame without mask.
    #[error("frames of clients must be masked")]
    Unmasked,
    /// A control frame in pieces.
    #[error("control frames must not be fragmented")]
    FragmentedControl,
    /// A control frame above [`CONTROL_BYTES_MAX`].
    #[error("a control frame carries at most {CONTROL_BYTES_MAX} bytes")]
    LongControl,
    /// A length written with more bytes than it needs, or beyond 63 bits.
    #[error("a frame's length is not written in its shortest form")]
    LongLength,
    /// A continuation of nothing.
    #[error("a continuation frame continues nothing")]
    NothingToContinue,
    /// A new message inside a fragmented one.
    #[error("a new message began before the last one was complete")]
    Unfinished,
    /// A close frame with half a code, or a code that must not be sent.
    #[error("a close frame has no valid code")]
    CloseCode,
    /// A text, or a close reason, that is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// A message above the limit.
    #[error("a message is larger than {max} bytes")]
    TooLarge {
        /// The limit.
        max: u32,
    },
}

impl WsError {
    /// The close code that says so.
    pub fn close_code(self) -> u16 {
        match self {
            Self::ReservedBit
            | Self::ReservedOpcode(_)
            | Self::Unmasked
            | Self::FragmentedControl
            | Self::LongControl
            | Self::LongLength
            | Self::NothingToContinue
            | Self::Unfinished
            | Self::CloseCode => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge { .. } => 1009,
        }
    }
}

/// Decodes the frames of one connection.
#[derive(Debug)]
pub struct Decoder {
    fragments: Option<Box<Fragments>>,
    message_max: u32,
    done: u32,
    utf8: Utf8,
    ended: bool,
}

/// The pieces so far of a fragmented message.
#[derive(Debug)]
struct Fragments {
    text: bool,
    payload: BytesMut,
}

/// A frame's header, after all checks that need no other frame.
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    bytes: usize,
    payload_len: u64,
}

struct Frame {
    fin: bool,
    opcode: Opcode,
    payload: BytesMut,
}

impl Decoder {
    /// Decodes messages of up to `message_max` bytes.
    pub fn new(message_max: u32) -> Self {
        Self { fragments: None, message_max, done: 0, utf8: Utf8::default(), ended: false }
    }

    /// Takes the next event off the front of `input`; `None` when more bytes are needed. What is left
    /// in `input` (less than one frame) must stay at its front, as it is, until the next call.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Event>, WsError> {
        if self.ended {
            input.clear();
            return Ok(None);
        }
        let outcome = self.next_event(input);
        if matches!(outcome, Err(_) | Ok(Some(Event::Close { .. }))) {
            self.ended = true;
            self.fragments = None;
            input.clear();
        }
        outcome
    }

    fn next_event(&mut self, input: &mut BytesMut) -> Result<Option<Event>, WsError> {
        while let Some(frame) = self.next_frame(input)? {
            if let Some(event) = self.take_frame(frame)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, WsError> {
        let Some(header) = self.header(input)? else {
            return Ok(None);
        };
        self.check_size(&header)?;
        let payload_len = header.payload_len as usize; // check_size bounds it by a u32
        let here = payload_len.min(input.len() - header.bytes);
        let done = self.done as usize;
        let fresh = &mut input[header.bytes + done..header.bytes + here];
        unmask(fresh, header.mask, done);
        if self.is_text(header.opcode) {
            self.utf8.check(fresh).map_err(|_| WsError::NotUtf8)?;
        }
        if here < payload_len {
            self.done = here as u32;
            return Ok(None);
        }
        self.done = 0;
        input.advance(header.bytes);
        let payload = input.split_to(payload_len);
        Ok(Some(Frame { fin: header.fin, opcode: header.opcode, payload }))
    }

    /// Reads as much of a header as is there, so that what is wrong is refused at once.
    fn header(&self, input: &[u8]) -> Result<Option<Header>, WsError> {
        let Some(first) = input.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(WsError::ReservedBit);
        }
        let fin = first & 0x80 != 0;
        let number = first & 0x0F;
        let opcode = Opcode::from_number(number).ok_or(WsError::ReservedOpcode(number))?;
        match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => {
                return Err(WsError::FragmentedControl);
            }
            Opcode::Continuation if self.fragments.is_none() => {
                return Err(WsError::NothingToContinue);
            }
            Opcode::Text | Opcode::Binary if self.fragments.is_some() => {
                return Err(WsError::Unfinished);
            }
            _ => {}
        }
        let Some(second) = input.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(WsError::Unmasked);
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(WsError::LongControl);
        }
        let (length_bytes, least, most) = match short {
            126 => (2, 126, u64::from(u16::MAX)),
            127 => (8, 1 << 16, i64::MAX as u64),
            _ => (0, 0, u64::MAX),
        };
        let Some(extended) = input.get(2..2 + length_bytes) else {
            return Ok(None);
        };
        let payload_len = match length_bytes {
            0 => u64::from(short),
            _ => extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if !(least..=most).contains(&payload_len) {
            return Err(WsError::LongLength);
        }
        let bytes = 2 + length_bytes + 4;
        let header = |mask| Header { fin, opcode, mask, bytes, payload_len };
        match input.get(bytes - 4..bytes).and_then(|mask| mask.try_into().ok()) {
            Some(mask) => Ok(Some(header(mask))),
            // The length is known before the mask is: refuse as early as that.
            None => self.check_size(&header([0; 4])).map(|()| None),
        }
    }

    fn check_size(&self, header: &Header) -> Result<(), WsError> {
        let before = match header.opcode {
            Opcode::Continuation => self.fragments.as_ref().map_or(0, |f| f.payload.len()),
            _ => 0,
        };
        let room = u64::from(self.message_max).saturating_sub(before as u64);
        if !header.opcode.is_control() && header.payload_len > room {
            return Err(WsError::TooLarge { max: self.message_max });
        }
        Ok(())
    }

    fn is_text(&self, opcode: Opcode) -> bool {
        match opcode {
            Opcode::Text => true,
            Opcode::Continuation => self.fragments.as_ref().is_some_and(|f| f.text),
            Opcode::Binary | Opcode::Close | Opcode::Ping | Opcode::Pong => false,
        }
    }

    fn take_frame(&mut self, frame: Frame) -> Result<Option<Event>, WsError> {
        let Frame { fin, opcode, payload } = frame;
        match opcode {
            Opcode::Ping => Ok(Some(Event::Ping(payload))),
            Opcode::Pong => Ok(Some(Event::Pong)),
            Opcode::Close => close_event(&payload).map(Some),
            Opcode::Text | Opcode::Binary if fin => self.message(opcode == Opcode::Text, payload),
            Opcode::Text | Opcode::Binary => {
                let text = opcode == Opcode::Text;
                // A copy: the payload is a part of the input, which must not be held.
                let payload = BytesMut::from(&payload[..]);
                self.fragments = Some(Box::new(Fragments { text, payload }));
                Ok(None)
            }
            Opcode::Continuation => {
                let mut fragments = self.fragments.take().ok_or(WsError::NothingToContinue)?;
                fragments.payload.extend_from_slice(&payload);
                if fin {
                    return self.message(fragments.text, fragments.payload);
                }
                self.fragments = Some(fragments);
                Ok(None)
            }
        }
    }

    fn message(&mut self, text: bool, payload: BytesMut) -> Result<Option<Event>, WsError> {
        if text {
            self.utf8.finish().map_err(|_| WsError::NotUtf8)?;
        }
        Ok(Some(Event::Message { text, payload }))
    }
}

fn close_event(payload: &[u8]) -> Result<Event, WsError> {
    if payload.is_empty() {
        return Ok(Event::Close { code: None, reason: String::new() });
    }
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Err(WsError::CloseCode);
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455, 7.4, and IANA's registry; 1004 to 1006 and 1015 must not be sent.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(WsError::CloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| WsError::NotUtf8)?;
    Ok(Event::Close { code: Some(code), reason: reason.to_owned() })
}

/// Takes the mask off bytes that begin `offset` bytes into a payload.
fn unmask(bytes: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;
