use proptest::prelude::*;

use super::*;

const MAX: u32 = 1 << 16;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame, written without any of the code under test.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    bytes
}

/// Feeds pieces as a shard does, keeping what is left over.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Event>, WsError> {
    let mut decoder = Decoder::new(MAX);
    let mut events = Vec::new();
    let mut input = BytesMut::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(event) = decoder.decode(&mut input)? {
            events.push(event);
        }
    }
    Ok(events)
}

fn decode(bytes: &[u8]) -> Result<Vec<Event>, WsError> {
    let whole = feed([bytes]);
    assert_eq!(whole, feed(bytes.chunks(1)), "byte by byte it is the same");
    whole
}

fn text(payload: &str) -> Event {
    Event::Message { text: true, payload: payload.into() }
}

fn binary(payload: &[u8]) -> Event {
    Event::Message { text: false, payload: payload.into() }
}

#[test]
fn idle_costs_nothing() {
    assert!(size_of::<Decoder>() <= 24, "{}", size_of::<Decoder>());
    let mut decoder = Decoder::new(MAX);
    let mut input = BytesMut::from(&[frame(0x01, b"a"), frame(0x80, b"b")].concat()[..]);
    assert_eq!(decoder.decode(&mut input), Ok(Some(text("ab"))));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(decoder.fragments.is_none() && input.is_empty());
}

#[test]
fn the_rfc_examples() {
    assert_eq!(decode(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), Ok(vec![text("Hello")]));
    assert_eq!(
        decode(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        Ok(vec![Event::Ping("Hello".as_bytes().into())])
    );
}

#[test]
fn a_whole_message_is_not_copied() {
    let mut input = BytesMut::from(&frame(0x82, b"payload")[..]);
    let at = input.as_ptr() as usize;
    let event = Decoder::new(MAX).decode(&mut input).expect("a message");
    let Some(Event::Message { payload, .. }) = event else { panic!("{event:?}") };
    assert_eq!(payload.as_ptr() as usize, at + 6);
}

#[test]
fn all_three_forms_of_a_length() {
    for len in [0, 1, 125, 126, 127, 128, 65535, 65536] {
        let payload = vec![7; len];
        assert_eq!(feed([&frame(0x82, &payload)[..]]), Ok(vec![binary(&payload)]), "{len}");
    }
}

#[test]
fn fragments_with_control_frames_between_them() {
    let stream = [
        frame(0x01, b"frag"),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x8A, b"pong"),
        frame(0x80, b"ment"),
        frame(0x82, b"next"),
    ]
    .concat();
    let expected =
        vec![Event::Ping(b"ping"[..].into()), Event::Pong, text("fragment"), binary(b"next")];
    assert_eq!(decode(&stream), Ok(expected));
}

#[test]
fn a_character_may_be_cut_by_fragments() {
    let stream = [frame(0x01, b"\xce"), frame(0x89, b""), frame(0x80, b"\xba")].concat();
    assert_eq!(decode(&stream), Ok(vec![Event::Ping(b""[..].into()), text("κ")]));
    assert_eq!(decode(&[frame(0x01, b"\xce"), frame(0x80, b"")].concat()), Err(WsError::NotUtf8));
}

#[test]
fn text_fails_before_its_frame_is_complete() {
    // Autobahn 6.4.3: the frame's later bytes never come.
    let whole = frame(0x81, b"\xce\xba\xf4\x90\x80\x80edited");
    let mut decoder = Decoder::new(MAX);
    let mut input = BytesMut::from(&whole[..8]);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    input.extend_from_slice(&whole[8..9]);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    input.extend_from_slice(&whole[9..10]);
    assert_eq!(decoder.decode(&mut input), Err(WsError::NotUtf8));
}

#[test]
fn what_breaks_the_protocol() {
    for (bytes, error, code) in [
        (frame(0xC1, b""), WsError::ReservedBit, 1002),
        (frame(0xA1, b""), WsError::ReservedBit, 1002),
        (frame(0x91, b""), WsError::ReservedBit, 1002),
        (frame(0x83, b""), WsError::ReservedOpcode(3), 1002),
        (frame(0x8B, b""), WsError::ReservedOpcode(11), 1002),
        (b"\x81\x00".to_vec(), WsError::Unmasked, 1002),
        (frame(0x09, b""), WsError::FragmentedControl, 1002),
        (frame(0x08, b""), WsError::FragmentedControl, 1002),
        (frame(0x89, &[0; 126]), WsError::LongControl, 1002),
        (frame(0x88, &[0; 126]), WsError::LongControl, 1002),
        (b"\x82\xfe\x00\x7d".to_vec(), WsError::LongLength, 1002),
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff".to_vec(), WsError::LongLength, 1002),
        (b"\x82\xff\x80\x00\x00\x00\x00\x01\x00\x00".to_vec(), WsError::LongLength, 1002),
        (frame(0x80, b""), WsError::NothingToContinue, 1002),
        (frame(0x00, b""), WsError::NothingToContinue, 1002),
        ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), WsError::Unfinished, 1002),
        ([frame(0x02, b"a"), frame(0x01, b"b")].concat(), WsError::Unfinished, 1002),
        (frame(0x88, b"\x03"), WsError::CloseCode, 1002),
        (frame(0x88, b"\x03\xe8\xff"), WsError::NotUtf8, 1007),
        (frame(0x81, b"\xff"), WsError::NotUtf8, 1007),
        (
            b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01".to_vec(),
            WsError::TooLarge { max: MAX },
            1009,
        ),
        (
            [frame(0x02, &[0; 65536]), b"\x80\x81".to_vec()].concat(),
            WsError::TooLarge { max: MAX },
            1009,
        ),
    ] {
        assert_eq!(feed([&bytes[..]]), Err(error), "{bytes:02x?}");
        assert_eq!(feed(bytes.chunks(1)), Err(error), "{bytes:02x?}");
        assert_eq!(error.close_code(), code);
    }
}

#[test]
fn close_codes() {
    let close = |code: u16| decode(&frame(0x88, &[&code.to_be_bytes()[..], b"why"].concat()));
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let event = Event::Close { code: Some(code), reason: "why".into() };
        assert_eq!(close(code), Ok(vec![event]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        assert_eq!(close(code), Err(WsError::CloseCode), "{code}");
    }
    let event = Event::Close { code: None, reason: String::new() };
    assert_eq!(decode(&frame(0x88, b"")), Ok(vec![event]));
}

#[test]
fn nothing_is_heard_after_a_close() {
    let stream = [frame(0x88, b"\x03\xe8"), frame(0x81, b"late"), b"\xff\xff".to_vec()].concat();
    let events = feed([&stream[..]]).expect("garbage after a close is not looked at");
    assert_eq!(events.len(), 1);
}

fn any_message() -> impl Strategy<Value = (bool, Vec<u8>)> {
    prop_oneof![
        any::<String>().prop_map(|text| (true, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (false, bytes)),
    ]
}

proptest! {
    #[test]
    fn any_fragments_in_any_pieces(
        messages in prop::collection::vec((any_message(), 1usize..5), 0..5),
        piece in 1usize..40,
    ) {
        let mut stream = Vec::new();
        for ((text, payload), fragments) in &messages {
            let pieces: Vec<&[u8]> = payload.chunks(payload.len() / fragments + 1).collect();
            let pieces = if pieces.is_empty() { vec![&[][..]] } else { pieces };
            for (at, piece) in pieces.iter().enumerate() {
                let opcode = match (at, text) { (0, true) => 1, (0, false) => 2, _ => 0 };
                let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
                stream.extend(frame(fin | opcode, piece));
                stream.extend(frame(0x8A, b""));
            }
        }
        let events = feed(stream.chunks(piece)).expect("a valid stream");
        let heard: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Message { text, payload } => Some((text, payload.to_vec())),
                _ => None,
            })
            .collect();
        let said: Vec<_> = messages.into_iter().map(|(message, _)| message).collect();
        prop_assert_eq!(heard, said);
    }

    #[test]
    fn no_bytes_panic_and_pieces_do_not_matter(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
        prop_assert_eq!(feed([&bytes[..]]), feed([head, tail]));
    }

    #[test]
    fn perturbed_frames_never_panic(
        (text, payload) in any_message(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut bytes = frame(if text { 0x81 } else { 0x82 }, &payload);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = feed([&bytes[..]]);
        let _ = feed(bytes.chunks(3));
    }
}
