//! Live messages as Centrifuge pushes, in whole WebSocket frames: the path every message of a room
//! takes, once per form.
//!
//! JSON is put together around the body as it is, Protobuf by lengths that are summed up first; no
//! tree of structs is built.
//!
//! Invariant: items keep their order, and no offset is written where clients may see none.

use bytes::{BufMut, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};
use shared::body::json_body;
use shared::channel::{ChannelName, Spelling};
use shared::message::{ClientInfo, Content, Message};

use super::frame::Frames;
use super::json::{self, Info, Object};
use crate::form::{Encoding, Item};

/// Bytes of a push beside the body, the channel and the rarer parts.
const PUSH_OVERHEAD_BYTES: usize = 128;

/// Appends items as publications and join/leave pushes.
pub fn items(
    encoding: Encoding,
    channel: &ChannelName,
    spelling: Spelling,
    offsets: bool,
    items: &[Item],
    out: &mut BytesMut,
) {
    let name = Name::new(channel, spelling);
    let mut frames = Frames::new(encoding, out);
    for item in items {
        let out = frames.reply(hint(item));
        match (encoding, item) {
            (Encoding::Json, Item::Message(message)) => {
                json_publication(out, name, offsets, message)
            }
            (Encoding::Json, Item::Presence { joined, info }) => {
                json_presence(out, name, *joined, info)
            }
            (Encoding::Protobuf, Item::Message(message)) => {
                protobuf_publication(out, name, offsets, message);
            }
            (Encoding::Protobuf, Item::Presence { joined, info }) => {
                protobuf_presence(out, name, *joined, info);
            }
        }
    }
    frames.end();
}

/// Appends items as asynchronous messages. The broadcast has no presence.
pub fn broadcast_items(encoding: Encoding, items: &[Item], out: &mut BytesMut) {
    let mut frames = Frames::new(encoding, out);
    for item in items {
        let Item::Message(message) = item else { continue };
        let body = &message.content.body;
        let out = frames.reply(hint(item));
        match encoding {
            Encoding::Json => {
                out.put_slice(b"{\"push\":{\"message\":{\"data\":");
                out.put_slice(&json_body(body));
                out.put_slice(b"}}}");
            }
            Encoding::Protobuf => {
                let message = bytes_len(1, body.len());
                let push = bytes_len(8, message);
                put_reply_head(out, push);
                put_key(out, 8, message);
                put_bytes(out, 1, body);
            }
        }
    }
    frames.end();
}

/// About the bytes of an item's push.
fn hint(item: &Item) -> usize {
    PUSH_OVERHEAD_BYTES
        + match item {
            Item::Message(message) => message.content.body.len(),
            Item::Presence { info, .. } => info.conn_info.len() + info.chan_info.len(),
        }
}

/// A channel's name in pieces, so that no spelling of it needs memory.
#[derive(Clone, Copy)]
struct Name<'a> {
    namespace: &'a str,
    boundary: &'a str,
    rest: &'a str,
}

impl<'a> Name<'a> {
    fn new(channel: &'a ChannelName, spelling: Spelling) -> Self {
        match (spelling, channel.as_str().split_once(':')) {
            (Spelling::Slashes, Some((namespace, rest))) => {
                Self { namespace, boundary: "://", rest }
            }
            _ => Self { namespace: "", boundary: "", rest: channel.as_str() },
        }
    }

    fn len(self) -> usize {
        self.namespace.len() + self.boundary.len() + self.rest.len()
    }
}

// ---- JSON ----

fn json_head(out: &mut BytesMut, name: Name<'_>) {
    out.put_slice(b"{\"push\":{\"channel\":\"");
    json::put_escaped(out, name.namespace);
    out.put_slice(name.boundary.as_bytes());
    json::put_escaped(out, name.rest);
}

fn json_publication(out: &mut BytesMut, name: Name<'_>, offsets: bool, message: &Message) {
    json_head(out, name);
    out.put_slice(b"\",\"pub\":");
    let content = &message.content;
    let mut object = Object::open(out);
    object.body("data", &content.body);
    let info = content.publisher.as_deref().map(Info::from);
    let offset = if offsets { message.offset } else { 0 };
    object.publication_rest(info, offset, &content.tags);
    object.close();
    out.put_slice(b"}}");
}

fn json_presence(out: &mut BytesMut, name: Name<'_>, joined: bool, info: &ClientInfo) {
    json_head(out, name);
    out.put_slice(if joined { b"\",\"join\":" } else { b"\",\"leave\":" });
    let mut object = Object::open(out);
    object.info("info", info.into());
    object.close();
    out.put_slice(b"}}");
}

// ---- Protobuf: Reply { 4: Push { 2: channel, 4: pub | 5: join | 6: leave } } ----

fn protobuf_publication(out: &mut BytesMut, name: Name<'_>, offsets: bool, message: &Message) {
    let content = &message.content;
    let offset = if offsets { message.offset } else { 0 };
    let info_len = content.publisher.as_deref().map(info_len);
    let publication = non_empty_len(4, content.body.len())
        + info_len.map_or(0, |len| bytes_len(5, len))
        + if offset == 0 { 0 } else { 1 + encoded_len_varint(offset) }
        + tags_len(content);
    put_reply_head(out, bytes_len(2, name.len()) + bytes_len(4, publication));
    put_name(out, name);
    put_key(out, 4, publication);
    put_unless_empty(out, 4, &content.body);
    if let (Some(info), Some(len)) = (content.publisher.as_deref(), info_len) {
        put_key(out, 5, len);
        put_info(out, info);
    }
    if offset != 0 {
        out.put_u8(6 << 3);
        encode_varint(offset, out);
    }
    for (key, value) in &content.tags {
        put_key(out, 7, tag_len(key, value));
        put_unless_empty(out, 1, key.as_bytes());
        put_unless_empty(out, 2, value.as_bytes());
    }
}

fn protobuf_presence(out: &mut BytesMut, name: Name<'_>, joined: bool, info: &ClientInfo) {
    let field = if joined { 5 } else { 6 };
    let info_len = info_len(info);
    let change = bytes_len(1, info_len);
    put_reply_head(out, bytes_len(2, name.len()) + bytes_len(field, change));
    put_name(out, name);
    put_key(out, field, change);
    put_key(out, 1, info_len);
    put_info(out, info);
}

/// The length of a reply that holds a push of `push_len` bytes, and the push's key.
fn put_reply_head(out: &mut BytesMut, push_len: usize) {
    encode_varint(bytes_len(4, push_len) as u64, out);
    put_key(out, 4, push_len);
}

fn put_name(out: &mut BytesMut, name: Name<'_>) {
    put_key(out, 2, name.len());
    for part in [name.namespace, name.boundary, name.rest] {
        out.put_slice(part.as_bytes());
    }
}

fn put_info(out: &mut BytesMut, info: &ClientInfo) {
    put_unless_empty(out, 1, info.user.as_bytes());
    put_unless_empty(out, 2, info.client.as_bytes());
    put_unless_empty(out, 3, &info.conn_info);
    put_unless_empty(out, 4, &info.chan_info);
}

fn info_len(info: &ClientInfo) -> usize {
    non_empty_len(1, info.user.len())
        + non_empty_len(2, info.client.len())
        + non_empty_len(3, info.conn_info.len())
        + non_empty_len(4, info.chan_info.len())
}

fn tags_len(content: &Content) -> usize {
    content.tags.iter().map(|(key, value)| bytes_len(7, tag_len(key, value))).sum()
}

fn tag_len(key: &str, value: &str) -> usize {
    non_empty_len(1, key.len()) + non_empty_len(2, value.len())
}

/// The bytes of a length-delimited field: every number here is below 16, so its key is one byte.
fn bytes_len(field: u8, len: usize) -> usize {
    debug_assert!(field < 16);
    1 + encoded_len_varint(len as u64) + len
}

fn non_empty_len(field: u8, len: usize) -> usize {
    if len == 0 { 0 } else { bytes_len(field, len) }
}

fn put_key(out: &mut BytesMut, field: u8, len: usize) {
    out.put_u8(field << 3 | 2);
    encode_varint(len as u64, out);
}

fn put_bytes(out: &mut BytesMut, field: u8, bytes: &[u8]) {
    put_key(out, field, bytes.len());
    out.put_slice(bytes);
}

fn put_unless_empty(out: &mut BytesMut, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, field, bytes);
    }
}

#[cfg(test)]
mod tests;
