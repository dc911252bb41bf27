//! goim and its danmaku dialect: the same frames, other operations and bodies.

use std::io::Read;

use serde_json::json;

use super::{Compression, Event, Fault, Login};

/// Appends the login of a goim client.
pub fn put_login(login: &Login, out: &mut Vec<u8>) {
    let mut body = json!({ "mid": 0, "room_id": login.channel, "platform": "load", "accepts": [] });
    if let Some(token) = &login.token {
        body["token"] = json!(token);
    }
    put_frame(AUTH, body.to_string().as_bytes(), out);
}

/// Appends the login of a danmaku client; the channel is a number.
pub fn put_danmaku_login(login: &Login, compression: Compression, out: &mut Vec<u8>) {
    let version = match compression {
        Compression::None => 0,
        Compression::Zlib => 2,
        Compression::Brotli => 3,
    };
    let room: u64 = login.channel.parse().unwrap_or_default();
    let token = login.token.as_deref().unwrap_or_default();
    let body = json!({
        "uid": 0, "roomid": room, "protover": version, "platform": "web", "type": 2, "key": token,
    });
    put_frame(AUTH, body.to_string().as_bytes(), out);
}

/// Appends a heartbeat.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    put_frame(HEARTBEAT, b"", out);
}

/// Appends a frame with a message, as the bare loop sends it.
pub fn put_message(danmaku: bool, body: &[u8], out: &mut Vec<u8>) {
    put_frame(if danmaku { DANMAKU } else { BUSINESS }, body, out);
}

fn put_frame(operation: i32, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&((HEADER_BYTES + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(&(HEADER_BYTES as u16).to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    out.extend_from_slice(&operation.to_be_bytes());
    out.extend_from_slice(&0_u32.to_be_bytes());
    out.extend_from_slice(body);
}

/// Walks over the frames in the input, nested ones as if they were not, and answers how many bytes were
/// whole frames. `unpacked` is memory for what has to be decompressed.
pub fn walk(
    input: &[u8],
    unpacked: &mut Vec<u8>,
    on: &mut impl FnMut(Event<'_>),
) -> Result<usize, Fault> {
    let mut at = 0;
    while let Some(head) = input[at..].first_chunk::<HEADER_BYTES>() {
        let bytes = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let operation = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if operation == RAW {
            // The frames inside follow one another as the ones outside do.
            at += HEADER_BYTES;
            continue;
        }
        if !(HEADER_BYTES..=super::FRAME_BYTES_MAX).contains(&bytes) {
            return Err(Fault::Protocol("a frame's length makes no sense"));
        }
        let Some(body) = input[at..].get(HEADER_BYTES..bytes) else { break };
        match (operation, head[7]) {
            (AUTH_REPLY, _) => on(Event::Ready),
            (HEARTBEAT_REPLY | CHANGE_ROOM_REPLY | SUB_REPLY | UNSUB_REPLY, _) => {}
            (DANMAKU, 2) => walk_packed(flate2::read::ZlibDecoder::new(body), unpacked, on)?,
            (DANMAKU, 3) => walk_packed(brotli::Decompressor::new(body, 4096), unpacked, on)?,
            _ => on(Event::Message(body)),
        }
        at += bytes;
    }
    Ok(at)
}

fn walk_packed(
    packed: impl Read,
    unpacked: &mut Vec<u8>,
    on: &mut impl FnMut(Event<'_>),
) -> Result<(), Fault> {
    unpacked.clear();
    let limited = packed.take(super::FRAME_BYTES_MAX as u64).read_to_end(unpacked);
    limited.map_err(|_| Fault::Protocol("a compressed frame cannot be read"))?;
    let mut at = 0;
    while let Some(head) = unpacked[at..].first_chunk::<HEADER_BYTES>() {
        let bytes = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(body) = unpacked[at..].get(HEADER_BYTES..bytes) else { break };
        on(Event::Message(body));
        at += bytes;
    }
    if at == unpacked.len() {
        Ok(())
    } else {
        Err(Fault::Protocol("a compressed frame is cut off"))
    }
}

const HEADER_BYTES: usize = 16;
const HEARTBEAT: i32 = 2;
const HEARTBEAT_REPLY: i32 = 3;
const DANMAKU: i32 = 5;
const AUTH: i32 = 7;
const AUTH_REPLY: i32 = 8;
const RAW: i32 = 9;
const CHANGE_ROOM_REPLY: i32 = 13;
const SUB_REPLY: i32 = 15;
const UNSUB_REPLY: i32 = 17;

/// An operation that applications may use for messages.
const BUSINESS: i32 = 1000;
