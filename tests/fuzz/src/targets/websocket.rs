//! WebSocket frames of clients, against a naive reading of RFC 6455.

use bytes::BytesMut;
use edge::websocket::{self, Decoder, Event, Opcode, WsError};

use super::choices::{Choices, seed};
use super::written;

/// Bytes of the longest header of a client's frame.
const HEADER_BYTES_MAX: usize = 14;

/// What a stream comes to: events, and how it breaks the protocol, if it does.
type Heard = (Vec<Event>, Option<WsError>);

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let max = choices.one_of(&[65_536, 0, 1, 125, 126, 1000]);
    let pieces = choices.pieces();
    let bytes = choices.rest();
    let expected = read(bytes, max as usize);
    assert_eq!(feed(&[bytes], max), expected);
    assert_eq!(feed(&pieces.cut(bytes), max), expected, "cutting it changes nothing");
    for event in &expected.0 {
        check_echo(event);
    }
}

fn feed(pieces: &[&[u8]], max: u32) -> Heard {
    let mut decoder = Decoder::new(max);
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    let mut ended = false;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match decoder.decode(&mut input) {
                Ok(Some(event)) => {
                    assert!(!ended, "nothing follows a close");
                    ended = matches!(event, Event::Close { .. });
                    assert!(input.len() < before, "an event is made of bytes");
                    events.push(event);
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(input.is_empty());
                    input.extend_from_slice(b"more");
                    assert_eq!(decoder.decode(&mut input), Ok(None), "an error is the end");
                    assert!(input.is_empty());
                    return (events, Some(error));
                }
            }
        }
        assert!(!ended || input.is_empty());
        assert!(input.len() <= HEADER_BYTES_MAX + (max as usize).max(125), "{}", input.len());
    }
    (events, None)
}

/// What a client may say comes back as it was, in a server's frame.
fn check_echo(event: &Event) {
    let mut out = BytesMut::new();
    match event {
        Event::Message { text, payload } => {
            assert!(!text || std::str::from_utf8(payload).is_ok());
            let opcode = if *text { Opcode::Text } else { Opcode::Binary };
            websocket::put_message(&mut out, opcode, payload);
            assert_eq!(written::websocket(&out), [(opcode.number(), payload.to_vec())]);
        }
        Event::Ping(payload) => {
            websocket::put_pong(&mut out, payload);
            assert_eq!(written::websocket(&out), [(10, payload.to_vec())]);
        }
        Event::Pong => {}
        Event::Close { code, reason } => {
            websocket::put_close(&mut out, code.unwrap_or(1005), reason);
            let code = code.map(u16::to_be_bytes);
            let payload = [code.as_ref().map_or(&[][..], |code| code), reason.as_bytes()].concat();
            assert_eq!(written::websocket(&out), [(8, payload)]);
        }
    }
}

/// The whole stream at once, read as slowly and plainly as possible.
fn read(mut bytes: &[u8], max: usize) -> Heard {
    let mut events = Vec::new();
    // The message that has begun: whether it is text, and its bytes so far.
    let mut open: Option<(bool, Vec<u8>)> = None;
    loop {
        let (frame, rest) = match next(bytes, open.as_ref(), max) {
            Ok(Some(frame)) => frame,
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        };
        bytes = rest;
        let (fin, opcode, payload) = frame;
        match opcode {
            9 => events.push(Event::Ping(payload[..].into())),
            10 => events.push(Event::Pong),
            8 => {
                match close(&payload) {
                    Ok(close) => events.push(close),
                    Err(error) => return (events, Some(error)),
                }
                return (events, None);
            }
            _ => {
                let (text, mut said) = open.take().unwrap_or((opcode == 1, Vec::new()));
                said.extend(payload);
                if !fin {
                    open = Some((text, said));
                } else if text && std::str::from_utf8(&said).is_err() {
                    return (events, Some(WsError::NotUtf8));
                } else {
                    events.push(Event::Message { text, payload: said[..].into() });
                }
            }
        }
    }
}

type Frame = (bool, u8, Vec<u8>);

/// The next frame and what follows it; `None` where it is incomplete and not wrong so far.
fn next<'a>(
    bytes: &'a [u8],
    open: Option<&(bool, Vec<u8>)>,
    max: usize,
) -> Result<Option<(Frame, &'a [u8])>, WsError> {
    let [first, rest @ ..] = bytes else { return Ok(None) };
    let (fin, opcode) = (first >> 7 == 1, first & 15);
    if (first >> 4) & 7 != 0 {
        return Err(WsError::ReservedBit);
    }
    match opcode {
        0 if open.is_none() => return Err(WsError::NothingToContinue),
        1 | 2 if open.is_some() => return Err(WsError::Unfinished),
        8..=10 if !fin => return Err(WsError::FragmentedControl),
        0..=2 | 8..=10 => {}
        reserved => return Err(WsError::ReservedOpcode(reserved)),
    }
    let [second, rest @ ..] = rest else { return Ok(None) };
    if second >> 7 == 0 {
        return Err(WsError::Unmasked);
    }
    if opcode >= 8 && second & 127 > 125 {
        return Err(WsError::LongControl);
    }
    let (length, rest) = match second & 127 {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest)
        }
        short => (u64::from(short), rest),
    };
    match second & 127 {
        126 if length < 126 => return Err(WsError::LongLength),
        127 if length <= 0xFFFF || length >> 63 == 1 => return Err(WsError::LongLength),
        _ => {}
    }
    let before = open.map_or(0, |(_, said)| said.len());
    if opcode < 8 && before as u64 + length > max as u64 {
        return Err(WsError::TooLarge { max: max as u32 });
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let here = rest.len().min(length as usize);
    let payload: Vec<u8> = (0..here).map(|at| rest[at] ^ mask[at % 4]).collect();
    let text = opcode == 1 || opcode == 0 && open.is_some_and(|(text, _)| *text);
    if text {
        let said = [open.map_or(&[][..], |(_, said)| said), &payload[..]].concat();
        if std::str::from_utf8(&said).is_err_and(|error| error.error_len().is_some()) {
            return Err(WsError::NotUtf8);
        }
    }
    Ok((here as u64 == length).then(|| ((fin, opcode, payload), &rest[here..])))
}

fn close(payload: &[u8]) -> Result<Event, WsError> {
    let (code, reason) = match payload {
        [] => return Ok(Event::Close { code: None, reason: String::new() }),
        [_] => return Err(WsError::CloseCode),
        [high, low, reason @ ..] => (u16::from(*high) << 8 | u16::from(*low), reason),
    };
    let is_known = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    if !is_known.contains(&code) && !(3000..5000).contains(&code) {
        return Err(WsError::CloseCode);
    }
    match String::from_utf8(reason.to_vec()) {
        Ok(reason) => Ok(Event::Close { code: Some(code), reason }),
        Err(_) => Err(WsError::NotUtf8),
    }
}

/// A client's frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let length = payload.len();
    let head = match length {
        0..126 => vec![first, 128 | length as u8],
        126..0x1_0000 => [&[first, 254][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, 255][..], &(length as u64).to_be_bytes()].concat(),
    };
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    head.into_iter().chain(mask).chain(masked).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let streams = [
        [frame(0x81, "Hello, 你好 🎁".as_bytes()), frame(0x82, &[7; 200])].concat(),
        [frame(0x01, b"\xce"), frame(0x89, b"ping"), frame(0x00, b"\xba"), frame(0x80, b"")]
            .concat(),
        [frame(0x01, b"\xce"), frame(0x80, b"")].concat(),
        [frame(0x02, b"ab"), frame(0x8A, b"pong"), frame(0x80, b"cd")].concat(),
        [frame(0x88, b"\x03\xe8bye"), frame(0x81, b"late")].concat(),
        frame(0x88, b""),
        frame(0x88, b"\x0b\xb8\xff"),
        frame(0x81, b"\xce\xba\xf4\x90\x80\x80edited"),
        frame(0x82, &[9; 65_536]),
        b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01".to_vec(),
        b"\x82\xfe\x00\x7d".to_vec(),
    ];
    streams.iter().map(|stream| seed(&[0, 3, 1, 5, 40], stream)).collect()
}
