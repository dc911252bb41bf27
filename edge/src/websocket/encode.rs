//! Frames to a client: never masked, never fragmented.

use bytes::{BufMut, BytesMut};

use super::{CLOSE_REASON_BYTES_MAX, CONTROL_BYTES_MAX, Opcode};

const FIN: u8 = 0x80;

/// Appends the header of an unfragmented frame whose payload of `payload_len` bytes the caller
/// appends next.
pub fn put_header(out: &mut BytesMut, opcode: Opcode, payload_len: usize) {
    out.put_u8(FIN | opcode.number());
    match payload_len {
        0..=125 => out.put_u8(payload_len as u8),
        126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(payload_len as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload_len as u64);
        }
    }
}

/// Appends a whole frame.
pub fn put_message(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    out.reserve(10 + payload.len());
    put_header(out, opcode, payload.len());
    out.put_slice(payload);
}

/// Appends a close frame. A reason longer than [`CLOSE_REASON_BYTES_MAX`] is cut between characters;
/// code 1005 stands for a frame without code.
pub fn put_close(out: &mut BytesMut, code: u16, reason: &str) {
    if code == 1005 {
        return put_header(out, Opcode::Close, 0);
    }
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    put_header(out, Opcode::Close, 2 + reason.len());
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

/// Appends the answer to a ping.
pub fn put_pong(out: &mut BytesMut, payload: &[u8]) {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX);
    put_message(out, Opcode::Pong, payload);
}

/// Appends a ping without payload.
pub fn put_ping(out: &mut BytesMut) {
    put_header(out, Opcode::Ping, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(put: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out);
        out.to_vec()
    }

    #[test]
    fn exact_bytes() {
        assert_eq!(frame(|o| put_message(o, Opcode::Text, b"Hello")), b"\x81\x05Hello");
        assert_eq!(frame(|o| put_message(o, Opcode::Binary, b"")), b"\x82\x00");
        assert_eq!(frame(|o| put_header(o, Opcode::Binary, 125)), b"\x82\x7d");
        assert_eq!(frame(|o| put_header(o, Opcode::Binary, 126)), b"\x82\x7e\x00\x7e");
        assert_eq!(frame(|o| put_header(o, Opcode::Binary, 65535)), b"\x82\x7e\xff\xff");
        assert_eq!(
            frame(|o| put_header(o, Opcode::Binary, 65536)),
            b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
        );
        assert_eq!(frame(|o| put_pong(o, b"x")), b"\x8a\x01x");
        assert_eq!(frame(put_ping), b"\x89\x00");
        assert_eq!(frame(|o| put_close(o, 1000, "bye")), b"\x88\x05\x03\xe8bye");
        assert_eq!(frame(|o| put_close(o, 1005, "unused")), b"\x88\x00");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let bytes = frame(|o| put_close(o, 1000, &"你".repeat(42)));
        assert_eq!(bytes[1], 125, "41 characters of three bytes fit");
        let bytes = frame(|o| put_close(o, 1000, &format!("ab{}", "你".repeat(42))));
        assert_eq!(bytes[1], 124);
        assert!(std::str::from_utf8(&bytes[4..]).is_ok());
    }
}
