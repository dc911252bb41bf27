//! Datagrams of a line: its number on the line, then frames back to back.
//!
//! ```text
//! seq | frame…        all numbers LEB128 varints, a frame is length | kind (1 byte) | …
//!   0 message   as in frame.rs
//!   5 beat      number | period_ms | sent_us | acked | base | primary | echo | held_us | count | line…
//!     line      id | sent | loss_permille | lag_us | verdict (1 byte) | beats (8 bytes, big-endian)
//!   6 marks     (pull | life | high)…      the last offset that was sent for a pull
//!   7 nack      pull | (first | count)…    offsets that are missing
//! ```
//!
//! Invariant: whatever arrives, at most [`LINES_MAX`] lines, [`MARKS_MAX`] marks and [`RANGES_MAX`]
//! ranges are read of a frame, no number reaches 2^62, and nothing is allocated by a number that a peer
//! declares.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::{Frame, FrameError, number, put_varint, varint_len};
use crate::message::Epoch;

/// A heartbeat. Both ends of a trunk send one with the same number on every line at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Counts the sender's beats.
    pub number: u64,
    /// The time until its next one, milliseconds.
    pub period_ms: u64,
    /// When it was sent, microseconds by the sender's clock.
    pub sent_us: u64,
    /// The last control message that the sender has had in order.
    pub acked: u64,
    /// The highest number of the other end's beats that was heard on any line; bit `i` of
    /// [`LineNote::beats`] stands for beat `base - i`.
    pub base: u64,
    /// The line that the sender's single copies go by.
    pub primary: Option<u32>,
    /// `sent_us` of the last beat heard on this line, and how long ago that was, microseconds.
    pub echo: Option<(u64, u64)>,
    /// What is known of each line.
    pub lines: Vec<LineNote>,
}

/// What one end of a trunk tells the other of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineNote {
    /// The line.
    pub line: u32,
    /// Datagrams that this end has sent on it.
    pub sent: u64,
    /// Share of the other end's datagrams that did not arrive, in thousandths.
    pub loss_permille: u64,
    /// How much later they arrive than on the fastest line, microseconds.
    pub lag_us: u64,
    /// What this end thinks of the direction towards it.
    pub verdict: Verdict,
    /// Which of the other end's last 64 beats were heard on it.
    pub beats: u64,
}

/// What the receiving end thinks of a direction. Declared best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As good as it usually is.
    #[default]
    Good,
    /// It loses far more than it usually does.
    Gray,
    /// Nothing arrives.
    Silent,
}

/// The last offset that was sent for a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The pull.
    pub pull: u64,
    /// The life of the log, as [`Mark::life_of`] shortens it.
    pub life: u16,
    /// The offset.
    pub high: u64,
}

impl Mark {
    /// The low 14 bits of an epoch, two bytes: epochs are random, and a mark is mistaken only where
    /// it overtakes the change of epoch and both agree, once in 16,384 times.
    pub fn life_of(epoch: Epoch) -> u16 {
        (epoch.number() % (1 << LIFE_BITS)) as u16
    }

    /// Bytes in a frame.
    pub fn encoded_len(&self) -> usize {
        varint_len(self.pull) + varint_len(self.life.into()) + varint_len(self.high)
    }
}

/// Offsets that did not arrive and are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The pull.
    pub pull: u64,
    /// First offset and count of each range; no count is zero.
    pub ranges: Vec<(u64, u64)>,
}

/// A frame that only datagrams carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A heartbeat.
    Beat(Beat),
    /// Where pulls stand.
    Marks(Vec<Mark>),
    /// What is missing.
    Nack(Nack),
}

/// What a datagram holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A live message.
    Frame(Frame),
    /// Something about the line or the trunk.
    Signal(Signal),
}

pub(super) const BEAT: u8 = 5;
const MARKS: u8 = 6;
const NACK: u8 = 7;

impl Signal {
    /// Appends the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut rest = BytesMut::new();
        match self {
            Self::Beat(beat) => {
                rest.put_u8(BEAT);
                let (echo, held_us) = beat.echo.map_or((0, 0), |(sent, held)| (sent + 1, held));
                for number in [beat.number, beat.period_ms, beat.sent_us, beat.acked, beat.base] {
                    put_varint(&mut rest, number);
                }
                put_varint(&mut rest, beat.primary.map_or(0, |line| u64::from(line) + 1));
                put_varint(&mut rest, echo);
                put_varint(&mut rest, held_us);
                put_varint(&mut rest, beat.lines.len() as u64);
                for note in &beat.lines {
                    put_varint(&mut rest, note.line.into());
                    put_varint(&mut rest, note.sent);
                    put_varint(&mut rest, note.loss_permille);
                    put_varint(&mut rest, note.lag_us);
                    rest.put_u8(note.verdict as u8);
                    rest.put_u64(note.beats);
                }
            }
            Self::Marks(marks) => {
                rest.put_u8(MARKS);
                for mark in marks {
                    put_varint(&mut rest, mark.pull);
                    put_varint(&mut rest, mark.life.into());
                    put_varint(&mut rest, mark.high);
                }
            }
            Self::Nack(nack) => {
                rest.put_u8(NACK);
                put_varint(&mut rest, nack.pull);
                for (first, count) in &nack.ranges {
                    put_varint(&mut rest, *first);
                    put_varint(&mut rest, *count);
                }
            }
        }
        put_varint(out, rest.len() as u64);
        out.extend_from_slice(&rest);
    }

    fn decode(kind: u8, mut rest: &[u8]) -> Result<Self, FrameError> {
        match kind {
            BEAT => Ok(Self::Beat(beat(&mut rest)?)),
            MARKS => {
                let mut marks = Vec::new();
                while !rest.is_empty() {
                    if marks.len() == MARKS_MAX {
                        return Err(FrameError::Field("marks"));
                    }
                    let (pull, life) = (number(&mut rest)?, number(&mut rest)?);
                    let life = u16::try_from(life).ok().filter(|life| life >> LIFE_BITS == 0);
                    let life = life.ok_or(FrameError::Field("life"))?;
                    marks.push(Mark { pull, life, high: number(&mut rest)? });
                }
                Ok(Self::Marks(marks))
            }
            NACK => {
                let pull = number(&mut rest)?;
                let mut ranges = Vec::new();
                while !rest.is_empty() {
                    let (first, count) = (number(&mut rest)?, number(&mut rest)?);
                    let fits = first > 0 && count > 0;
                    if !fits || ranges.len() == RANGES_MAX {
                        return Err(FrameError::Field("ranges"));
                    }
                    ranges.push((first, count));
                }
                Ok(Self::Nack(Nack { pull, ranges }))
            }
            other => Err(FrameError::Kind(other)),
        }
    }
}

fn beat(rest: &mut &[u8]) -> Result<Beat, FrameError> {
    let mut beat = Beat {
        number: number(rest)?,
        period_ms: number(rest)?,
        sent_us: number(rest)?,
        acked: number(rest)?,
        base: number(rest)?,
        ..Beat::default()
    };
    let primary = number(rest)?.checked_sub(1).map(u32::try_from).transpose();
    beat.primary = primary.map_err(|_| FrameError::Field("primary"))?;
    let (echo, held_us) = (number(rest)?, number(rest)?);
    beat.echo = echo.checked_sub(1).map(|sent| (sent, held_us));
    let count = number(rest)?;
    if count > LINES_MAX as u64 {
        return Err(FrameError::Field("lines"));
    }
    for _ in 0..count {
        let line = u32::try_from(number(rest)?).map_err(|_| FrameError::Field("line"))?;
        let (sent, loss_permille, lag_us) = (number(rest)?, number(rest)?, number(rest)?);
        if loss_permille > 1000 {
            return Err(FrameError::Field("loss"));
        }
        let (verdict, after) = rest.split_first().ok_or(FrameError::Truncated)?;
        let verdict = match verdict {
            0 => Verdict::Good,
            1 => Verdict::Gray,
            2 => Verdict::Silent,
            _ => return Err(FrameError::Field("verdict")),
        };
        let (beats, after) = after.split_first_chunk::<8>().ok_or(FrameError::Truncated)?;
        *rest = after;
        let beats = u64::from_be_bytes(*beats);
        beat.lines.push(LineNote { line, sent, loss_permille, lag_us, verdict, beats });
    }
    if rest.is_empty() { Ok(beat) } else { Err(FrameError::Field("beat")) }
}

/// A datagram of frames that are encoded already.
pub fn datagram(seq: u64, frames: &[Bytes]) -> Bytes {
    let length: usize = frames.iter().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(varint_len(seq) + length);
    put_varint(&mut out, seq);
    for frame in frames {
        out.extend_from_slice(frame);
    }
    out.freeze()
}

/// Reads a datagram: its number on the line, and what it holds.
///
/// # Errors
/// If any of it does not parse; nothing of such a datagram counts.
pub fn read(mut datagram: Bytes) -> Result<(u64, Vec<Item>), FrameError> {
    let mut peek = &datagram[..];
    let seq = number(&mut peek)?;
    if seq == 0 {
        return Err(FrameError::Field("seq"));
    }
    let head = datagram.len() - peek.len();
    datagram.advance(head);
    let mut items = Vec::new();
    while !datagram.is_empty() {
        let mut peek = &datagram[..];
        let length = number(&mut peek)?;
        if length > peek.len() as u64 {
            return Err(FrameError::Truncated);
        }
        let head = datagram.len() - peek.len();
        datagram.advance(head);
        let frame = datagram.split_to(length as usize); // within the datagram
        items.push(match frame.first() {
            Some(kind) if *kind >= BEAT => Item::Signal(Signal::decode(*kind, &frame[1..])?),
            _ => Item::Frame(Frame::decode_rest(&frame)?),
        });
    }
    Ok((seq, items))
}

/// Lines of one trunk.
pub const LINES_MAX: usize = 32;
/// Marks in one frame: of the least size, three bytes each, what a datagram of 1,200 bytes holds.
pub const MARKS_MAX: usize = 400;
const LIFE_BITS: u32 = 14;
/// Ranges in one nack.
pub const RANGES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::NUMBER_MAX;
    use super::*;

    fn signals() -> impl Strategy<Value = Signal> {
        let verdict = prop::sample::select(vec![Verdict::Good, Verdict::Gray, Verdict::Silent]);
        let number = || 0..NUMBER_MAX;
        let note = (any::<u32>(), number(), 0..=1000u64, number(), verdict, any::<u64>());
        let note = note.prop_map(|(line, sent, loss_permille, lag_us, verdict, beats)| LineNote {
            line,
            sent,
            loss_permille,
            lag_us,
            verdict,
            beats,
        });
        let numbers = proptest::array::uniform5(number());
        let echo = proptest::option::of((0..NUMBER_MAX - 1, number()));
        let primary = proptest::option::of(any::<u32>());
        let beat = (numbers, primary, echo, proptest::collection::vec(note, 0..5)).prop_map(
            |([number, period_ms, sent_us, acked, base], primary, echo, lines)| {
                Signal::Beat(Beat { number, period_ms, sent_us, acked, base, primary, echo, lines })
            },
        );
        let mark = (number(), 0..1u16 << LIFE_BITS, number());
        let mark = mark.prop_map(|(pull, life, high)| Mark { pull, life, high });
        let range = (1..NUMBER_MAX, 1..NUMBER_MAX);
        prop_oneof![
            beat,
            proptest::collection::vec(mark, 0..20).prop_map(Signal::Marks),
            (number(), proptest::collection::vec(range, 0..9))
                .prop_map(|(pull, ranges)| Signal::Nack(Nack { pull, ranges })),
        ]
    }

    #[test]
    fn numbers_that_sums_might_overflow_with_are_refused() {
        let read_mark = |high| {
            let mut frame = BytesMut::new();
            Signal::Marks(vec![Mark { pull: 1, life: 2, high }]).encode(&mut frame);
            read(datagram(1, &[frame.freeze()])).map(|_| ())
        };
        assert_eq!(read_mark(NUMBER_MAX - 1), Ok(()));
        assert_eq!(read_mark(NUMBER_MAX), Err(FrameError::Field("number")));
        assert_eq!(read(datagram(u64::MAX, &[])), Err(FrameError::Field("number")));
    }

    proptest! {
        #[test]
        fn datagrams_read_back(seq in 1..NUMBER_MAX, signals in proptest::collection::vec(signals(), 0..4)) {
            let frames: Vec<Bytes> = signals.iter().map(|signal| {
                let mut out = BytesMut::new();
                signal.encode(&mut out);
                out.freeze()
            }).collect();
            let items = signals.into_iter().map(Item::Signal).collect();
            prop_assert_eq!(read(datagram(seq, &frames)), Ok((seq, items)));
        }

        #[test]
        fn noise_never_panics(noise in any::<Vec<u8>>()) {
            let _ = read(noise.into());
        }

        #[test]
        fn damage_never_panics(signal in signals(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut frame = BytesMut::new();
            signal.encode(&mut frame);
            let mut bytes = datagram(7, &[frame.freeze()]).to_vec();
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            let _ = read(bytes.into());
        }
    }
}
