//! The server's half of WebSocket (RFC 6455): frames in any pieces become events, messages become
//! frames.
//!
//! It knows nothing of sockets, sessions or extensions; permessage-deflate is never agreed to, since
//! batches are compressed once per room instead of once per client.
//!
//! Invariant: a connection on which nothing is half received costs the decoder no buffer.

mod decode;
mod encode;
mod utf8;

pub use decode::{Decoder, Event, WsError};
pub use encode::{put_close, put_header, put_message, put_ping, put_pong};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further piece of a fragmented message.
    Continuation,
    /// A message of UTF-8 text, or its first piece.
    Text,
    /// A message of bytes, or its first piece.
    Binary,
    /// The end of the connection, with a code and a reason.
    Close,
    /// Asks for a pong with the same payload.
    Ping,
    /// Answers a ping, or just says that one is there.
    Pong,
}

impl Opcode {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Reads the number; the others are reserved.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|opcode| opcode.number() == number)
    }

    /// Whether it may stand between the pieces of a fragmented message.
    pub fn is_control(self) -> bool {
        self.number() & 0x8 != 0
    }
}

/// Bytes of a control frame's payload at most (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Bytes of a close reason at most: a control payload without the code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;
