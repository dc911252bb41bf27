//! WebSocket as a client of a load run needs it: the upgrade, frames of a server found in place, frames
//! of our own.
//!
//! Our frames are masked with zeros, which the protocol allows and which costs nothing.

use super::Fault;

/// A frame of a server: where its payload is in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub opcode: u8,
    /// Where the payload starts.
    pub start: usize,
    /// Where the payload, and the frame, ends.
    pub end: usize,
}

/// A payload of text.
pub const TEXT: u8 = 1;
/// A payload of bytes.
pub const BINARY: u8 = 2;
/// The server closes the connection.
pub const CLOSE: u8 = 8;
/// Wants a pong.
pub const PING: u8 = 9;
/// Answers a ping.
pub const PONG: u8 = 10;

/// Appends the request that asks for an upgrade.
pub fn put_request(host: &str, path: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    let subprotocol =
        subprotocol.map_or_else(String::new, |one| format!("Sec-WebSocket-Protocol: {one}\r\n"));
    out.extend_from_slice(
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {subprotocol}\r\n"
        )
        .as_bytes(),
    );
}

/// The bytes of the answer to the request, when all of it is there.
pub fn answer(input: &[u8]) -> Result<Option<usize>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => match response.code {
            Some(101) => Ok(Some(bytes)),
            code => Err(Fault::Refused(format!(
                "the upgrade to WebSocket is answered with status {}",
                code.unwrap_or_default()
            ))),
        },
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Fault::Protocol("the answer to the upgrade is not HTTP")),
    }
}

/// The frame at the start of the input, when all of it is there.
#[inline]
pub fn frame(input: &[u8]) -> Result<Option<Frame>, Fault> {
    let [first, second, rest @ ..] = input else { return Ok(None) };
    if first & 0x80 == 0 || first & 0x0f == 0 {
        return Err(Fault::Protocol("a message comes in fragments"));
    }
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Fault::Protocol(
            "a frame is masked or uses an extension that nobody agreed to",
        ));
    }
    let (start, bytes) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(bytes) => (4, usize::from(u16::from_be_bytes(*bytes))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(bytes) => (10, u64::from_be_bytes(*bytes) as usize),
            None => return Ok(None),
        },
        bytes => (2, usize::from(bytes)),
    };
    if bytes > super::FRAME_BYTES_MAX {
        return Err(Fault::Protocol("a frame is longer than any that makes sense"));
    }
    let end = start + bytes;
    Ok((input.len() >= end).then_some(Frame { opcode: first & 0x0f, start, end }))
}

/// Appends a frame of a client.
pub fn put_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    put_head(opcode, payload.len(), 0x80, out);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Appends the head of a frame of a server.
pub fn put_server_head(opcode: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    put_head(opcode, payload_bytes, 0, out);
}

fn put_head(opcode: u8, bytes: usize, masked: u8, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match bytes {
        0..=125 => out.push(masked | bytes as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
}

/// The code and reason in a close frame's payload; 1005 where there is none.
pub fn close(payload: &[u8]) -> Fault {
    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
    Fault::Closed { code, reason }
}

const HEADERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_in_all_three_forms() {
        for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let mut out = Vec::new();
            put_server_head(BINARY, bytes, &mut out);
            out.resize(out.len() + bytes, 7);
            let frame = frame(&out).unwrap().unwrap();
            assert_eq!(
                (frame.opcode, frame.end, frame.end - frame.start),
                (BINARY, out.len(), bytes)
            );
            assert_eq!(
                super::frame(&out[..out.len() - 1]).unwrap().is_some(),
                bytes == 0 && out.len() > 2
            );
        }
    }

    #[test]
    fn only_101_is_an_upgrade() {
        assert!(matches!(answer(b"HTTP/1.1 101 Switching"), Ok(None)));
        let good = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nmore";
        assert_eq!(answer(good).unwrap(), Some(good.len() - 4));
        let refused = answer(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "the upgrade to WebSocket is answered with status 404");
    }
}
