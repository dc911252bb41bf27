//! What crosses lines: datagrams, frames of streams, control messages.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use shared::channel::ChannelName;
use shared::limits::FRAME_BYTES_MAX;
use shared::message::{Class, ClientInfo, Content, Epoch, Message};
use shared::namespace::Namespaces;
use shared::wire::control::{self, Command, Down, OpenPull, Report, Request, Response, Up};
use shared::wire::convert;
use shared::wire::datagram::{
    Beat, Item, LINES_MAX, LineNote, MARKS_MAX, Mark, Nack, RANGES_MAX, Signal, Verdict, datagram,
    read,
};
use shared::wire::frame::Frame;

use super::choices::{Choices, seed};

/// No number on a line reaches it, so that sums of two cannot overflow.
const NUMBER_MAX: u64 = 1 << 62;

pub(crate) fn datagrams(data: &[u8]) {
    let Ok((seq, items)) = read(Bytes::copy_from_slice(data)) else { return };
    assert!((1..NUMBER_MAX).contains(&seq));
    let mut frames = Vec::new();
    for item in &items {
        let mut out = BytesMut::new();
        match item {
            Item::Frame(frame) => {
                check_frame(frame);
                frame.encode(&mut out);
            }
            Item::Signal(signal) => {
                check_signal(signal);
                signal.encode(&mut out);
            }
        }
        frames.push(out.freeze());
    }
    assert_eq!(read(datagram(seq, &frames)), Ok((seq, items)), "written again it reads the same");
}

fn check_signal(signal: &Signal) {
    match signal {
        Signal::Beat(beat) => assert!(beat.lines.len() <= LINES_MAX),
        Signal::Marks(marks) => {
            assert!(marks.len() <= MARKS_MAX);
            assert!(marks.iter().all(|mark| mark.pull.max(mark.high) < NUMBER_MAX));
        }
        Signal::Nack(nack) => {
            assert!(nack.ranges.len() <= RANGES_MAX);
            let sums = nack.ranges.iter().map(|(first, count)| first.checked_add(*count));
            assert!(sums.flatten().count() == nack.ranges.len());
        }
    }
}

fn check_frame(frame: &Frame) {
    let Message { offset, time_ms, .. } = frame.message;
    assert!([frame.pull, offset, time_ms].into_iter().all(|number| number < NUMBER_MAX));
}

pub(crate) fn frames(data: &[u8]) {
    let mut choices = Choices::new(data);
    let pieces = choices.pieces();
    let bytes = choices.rest();
    let (frames, end) = fed(&[bytes]);
    assert_eq!(fed(&pieces.cut(bytes)), (frames.clone(), end), "cutting it changes nothing");
    let mut out = BytesMut::new();
    for frame in &frames {
        check_frame(frame);
        frame.encode(&mut out);
    }
    let (again, rest) = fed(&[&out]);
    assert_eq!(again, frames, "written again they read the same");
    assert_eq!(rest, Ok(0));
}

/// Frames of a stream, and how many bytes of the next one are there, or why it is none.
fn fed(pieces: &[&[u8]]) -> (Vec<Frame>, Result<usize, shared::wire::frame::FrameError>) {
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match Frame::decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(input.len() < FRAME_BYTES_MAX + 10, "less than one frame is left");
    }
    (frames, Ok(input.len()))
}

pub(crate) fn control(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            let Some(Up { kind, .. }) = survives::<Up>(data) else { return };
            if let Some(control::up::Kind::Open(open)) = kind {
                let names = open.pulls.iter().map(|pull| ChannelName::parse(&pull.channel));
                assert!(names.flatten().all(|(name, _)| name.as_str().len() <= 255));
            }
        }
        1 => {
            let Some(Down { kind, .. }) = survives::<Down>(data) else { return };
            if let Some(control::down::Kind::Welcome(welcome)) = kind {
                let namespaces = convert::namespaces_in(welcome.namespaces);
                let told = convert::namespaces_out(&namespaces);
                assert_eq!(convert::namespaces_in(told), namespaces);
            }
        }
        2 => {
            survives::<Request>(data);
        }
        _ => {
            let Some(Response { kind }) = survives::<Response>(data) else { return };
            if let Some(control::response::Kind::History(history)) = kind {
                for message in history.messages.into_iter().filter_map(convert::stored_in) {
                    let again = convert::stored_in(convert::stored_out(&message));
                    assert_eq!(again, Some(message));
                }
            }
        }
    }
}

/// What can be read, which then reads the same when it is written again.
fn survives<M: prost::Message + Default + PartialEq>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    let written = message.encode_to_vec();
    // NaN is no equal of itself, so bytes are compared.
    let again = M::decode(&written[..]).expect("what was written").encode_to_vec();
    assert_eq!(again, written);
    Some(message)
}

fn frame(pull: u64, body: &'static [u8]) -> Frame {
    let publisher = ClientInfo { user: "42".to_owned(), ..ClientInfo::default() };
    let content = Content {
        body: Bytes::from_static(body),
        class: Class::Urgent,
        operation: -3,
        publisher: (pull > 1).then(|| Box::new(publisher)),
        ..Content::default()
    };
    let epoch = Epoch::new(300).expect("not zero");
    Frame { pull, epoch, message: Message { offset: 9, time_ms: 1 << 40, content } }
}

pub(crate) fn datagram_seeds() -> Vec<Vec<u8>> {
    let note = LineNote {
        line: 3,
        sent: 9,
        loss_permille: 10,
        lag_us: 5,
        verdict: Verdict::Gray,
        beats: 7,
    };
    let beat = Beat {
        number: 4,
        echo: Some((1, 2)),
        primary: Some(3),
        lines: vec![note],
        ..Beat::default()
    };
    let signals = [
        Signal::Beat(beat),
        Signal::Marks(vec![Mark { pull: 1, life: 300, high: 12 }]),
        Signal::Nack(Nack { pull: 1, ranges: vec![(3, 4), (9, 1)] }),
    ];
    let encoded = |signal: &Signal| {
        let mut out = BytesMut::new();
        signal.encode(&mut out);
        out.freeze()
    };
    let mut all: Vec<Bytes> = signals.iter().map(encoded).collect();
    let mut out = BytesMut::new();
    frame(2, b"hello").encode(&mut out);
    all.push(out.freeze());
    let mut seeds: Vec<Vec<u8>> =
        all.iter().map(|one| datagram(7, std::slice::from_ref(one)).to_vec()).collect();
    seeds.push(datagram(300, &all).to_vec());
    // A number that sums could overflow with.
    let high = Signal::Marks(vec![Mark { pull: 1, life: 0, high: NUMBER_MAX }]);
    seeds.push(datagram(7, &[encoded(&high)]).to_vec());
    seeds
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let mut out = BytesMut::new();
    frame(1, b"hello").encode(&mut out);
    frame(2, b"{}").encode(&mut out);
    vec![seed(&[3, 1, 4, 9], &out), seed(&[0], b"\xff\xff\xff\x7f")]
}

pub(crate) fn control_seeds() -> Vec<Vec<u8>> {
    let pull = OpenPull { pull: 1, channel: "live:1".to_owned(), epoch: 5, next: 6, credit: 7 };
    let open = control::OpenPulls { pulls: vec![pull] };
    let report = Report { edge: "e".to_owned(), weight: 0.5, ..Report::default() };
    let welcome = control::Welcome {
        namespaces: convert::namespaces_out(&Namespaces::default()),
        ..Default::default()
    };
    let message = convert::stored_out(&frame(2, b"{}").message);
    let history = control::HistoryResult { epoch: 1, top: 9, messages: vec![message] };
    let publish = control::Publish { channel: "live:1".to_owned(), ..Default::default() };
    let up = |kind| Up { kind: Some(kind), number: 3 }.encode_to_vec();
    let down = |kind| Down { kind: Some(kind), number: 3 }.encode_to_vec();
    vec![
        seed(&[0], &up(control::up::Kind::Open(open))),
        seed(&[0], &up(control::up::Kind::Report(report))),
        seed(&[1], &down(control::down::Kind::Welcome(welcome))),
        seed(&[1], &down(control::down::Kind::Command(Command::default()))),
        seed(
            &[2],
            &Request { kind: Some(control::request::Kind::Publish(publish)), ..Default::default() }
                .encode_to_vec(),
        ),
        seed(
            &[3],
            &Response { kind: Some(control::response::Kind::History(history)) }.encode_to_vec(),
        ),
    ]
}
