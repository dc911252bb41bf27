//! The PROXY protocol's header, against a naive reading of HAProxy's specification.

use std::net::IpAddr;

use bytes::BytesMut;
use edge::io::{Preface, read_preface};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says and how long it is; `None` while there is more to come.
type Header = Option<(Option<IpAddr>, usize)>;

/// It is none.
struct Wrong;

pub(crate) fn run(data: &[u8]) {
    // As it is read from a socket: so much as is asked for, and never more.
    let mut input = BytesMut::new();
    let mut rest = data;
    let outcome = loop {
        match read_preface(&mut input) {
            Preface::More(more) => {
                assert!(more > 0 && input.len() + more <= 16 + 1024, "headers are bounded");
                let Some((next, after)) = rest.split_at_checked(more) else { break None };
                input.extend_from_slice(next);
                rest = after;
            }
            preface => break Some(preface),
        }
    };
    match (&outcome, read(data)) {
        (Some(Preface::From(address)), Ok(Some((expected, length)))) => {
            assert_eq!(*address, expected);
            assert!(input.is_empty() && data.len() - rest.len() == length, "what follows stays");
        }
        (Some(Preface::Wrong), Err(Wrong)) | (None, Ok(None)) => {}
        // Fewer bytes than are asked for next were not looked at.
        (None, Err(Wrong)) if data.len() < 16 => {}
        (outcome, _) => panic!("{outcome:?}"),
    }

    let mut whole = BytesMut::from(data);
    let at_once = read_preface(&mut whole);
    match outcome {
        Some(outcome) => assert_eq!(at_once, outcome),
        None if data.len() < 16 => {}
        None => assert!(matches!(at_once, Preface::More(_))),
    }
}

fn read(data: &[u8]) -> Result<Header, Wrong> {
    let start = data.len().min(SIGNATURE.len());
    if data[..start] != SIGNATURE[..start] {
        return Err(Wrong);
    }
    let Some(fixed) = data.first_chunk::<16>() else { return Ok(None) };
    let length = usize::from(fixed[14]) << 8 | usize::from(fixed[15]);
    if length > 1024 {
        return Err(Wrong);
    }
    let Some(rest) = data.get(16..16 + length) else { return Ok(None) };
    let is_local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(Wrong),
    };
    if fixed[13] & 15 > 2 {
        return Err(Wrong);
    }
    let (bytes, source) = match fixed[13] >> 4 {
        0 => (0, None),
        1 => (12, rest.first_chunk::<4>().map(|address| IpAddr::from(*address))),
        2 => (36, rest.first_chunk::<16>().map(|address| IpAddr::from(*address))),
        3 => (216, None),
        _ => return Err(Wrong),
    };
    if rest.len() < bytes {
        return Err(Wrong);
    }
    Ok(Some((source.filter(|_| !is_local), 16 + length)))
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let header = |command: u8, family: u8, rest: &[u8]| {
        [SIGNATURE, &[command, family, 0, rest.len() as u8], rest, b"GET / HTTP/1.1\r\n"].concat()
    };
    let padding = b"\x04\0\x07padding";
    vec![
        header(0x21, 0x11, &[[10, 1, 2, 3, 10, 0, 0, 1, 0, 4, 0, 80], [4; 12]].concat()),
        header(0x21, 0x21, &[&[1; 36][..], padding].concat()),
        header(0x21, 0x31, &[b'/'; 216]),
        header(0x20, 0x00, padding),
        header(0x20, 0x11, &[9; 12]),
        header(0x20, 0x11, b""),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
    ]
}
