//! Messages as goim and danmaku clients read them, written once for all members of a room.
//!
//! | | TCP | WebSocket |
//! |---|---|---|
//! | goim | the frames as they are | one message: an operation 9 frame around all of them |
//! | danmaku | the frames as they are | one message: the frames as they are |
//!
//! A danmaku frame is either one message (operation 5, version 0) or a compressed run of such
//! frames (version 2 zlib, 3 Brotli), whichever is smaller.
//!
//! Invariant: what is appended is whole transport frames, so that results may be concatenated.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use shared::body::json_body;
use shared::message::Message;

use super::compress;
use super::frame::{self, HEADER_BYTES, Head};
use super::operation;
use crate::form::{Compression, Item, Transport};
use crate::websocket::{self, Opcode};

/// Bytes of pushed frames put together in one WebSocket message or one compressed frame, unless a
/// single one is larger. A browser is handed a message only when it is complete, and a slow phone
/// needs a quarter of a second for this much.
pub const BATCH_BYTES_MAX: usize = 32 << 10;

/// Appends items as goim frames. Presence is not goim's.
pub fn items(transport: Transport, items: &[Item], out: &mut BytesMut) {
    let frames: Vec<Push<'_>> = messages(items).map(Push::goim).collect();
    match transport {
        Transport::Tcp => put_all(&frames, out),
        Transport::WebSocket => {
            for batch in batches(&frames) {
                let bytes = total(batch);
                websocket::put_header(out, Opcode::Binary, HEADER_BYTES + bytes);
                let head = Head { version: 1, operation: operation::RAW, sequence: 0 };
                frame::put_header(out, head, bytes);
                put_all(batch, out);
            }
        }
    }
}

/// Appends items as danmaku frames.
pub fn danmaku_items(
    transport: Transport,
    compression: Compression,
    items: &[Item],
    out: &mut BytesMut,
) {
    let frames: Vec<Push<'_>> = messages(items).map(Push::danmaku).collect();
    for batch in batches(&frames) {
        let compressed = match compression {
            Compression::None => None,
            Compression::Zlib => compressed(batch, 2, compress::zlib),
            Compression::Brotli => compressed(batch, 3, compress::brotli),
        };
        let bytes = compressed.as_ref().map_or_else(|| total(batch), Push::bytes);
        if transport == Transport::WebSocket {
            websocket::put_header(out, Opcode::Binary, bytes);
        }
        match compressed {
            Some(frame) => frame.put(out),
            None => put_all(batch, out),
        }
    }
}

fn messages(items: &[Item]) -> impl Iterator<Item = &Message> {
    items.iter().filter_map(|item| match item {
        Item::Message(message) => Some(&**message),
        Item::Presence { .. } => None,
    })
}

/// A frame to be pushed.
struct Push<'a> {
    head: Head,
    body: Cow<'a, [u8]>,
}

impl<'a> Push<'a> {
    fn goim(message: &'a Message) -> Self {
        let head = Head { version: 1, operation: message.content.operation, sequence: 0 };
        Self { head, body: Cow::Borrowed(&message.content.body) }
    }

    fn danmaku(message: &'a Message) -> Self {
        let head = Head { version: 0, operation: operation::MESSAGE, sequence: 0 };
        Self { head, body: json_body(&message.content.body) }
    }

    fn bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    fn put(&self, out: &mut BytesMut) {
        frame::put_header(out, self.head, self.body.len());
        out.put_slice(&self.body);
    }
}

/// One frame with all of a batch, if that is smaller than the batch.
fn compressed(
    batch: &[Push<'_>],
    version: i16,
    compress: fn(&[u8]) -> Option<Vec<u8>>,
) -> Option<Push<'static>> {
    let mut plain = BytesMut::with_capacity(total(batch));
    put_all(batch, &mut plain);
    let head = Head { version, operation: operation::MESSAGE, sequence: 0 };
    let frame = Push { head, body: Cow::Owned(compress(&plain)?) };
    (frame.bytes() < plain.len()).then_some(frame)
}

fn total(frames: &[Push<'_>]) -> usize {
    frames.iter().map(Push::bytes).sum()
}

fn put_all(frames: &[Push<'_>], out: &mut BytesMut) {
    out.reserve(total(frames));
    for frame in frames {
        frame.put(out);
    }
}

/// Cuts frames into runs of at most [`BATCH_BYTES_MAX`], or of one frame.
fn batches<'a, 'b>(frames: &'a [Push<'b>]) -> impl Iterator<Item = &'a [Push<'b>]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|frame| {
            bytes += frame.bytes();
            bytes <= BATCH_BYTES_MAX
        });
        let count = fits.count().max(1);
        let (batch, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests;
