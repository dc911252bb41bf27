//! A trunk: all lines between an edge and one upstream, with what they share.
//!
//! Both ends have one: the lines and what is known of them ([`Pool`]), control messages in order over
//! any of them ([`Outbox`], [`Inbox`]), and datagrams in the making. [`Caller`](super::Caller) and
//! [`Answerer`](super::Answerer) add what differs.
//!
//! Order of calls: after every `handle_*`, drain `poll_action` until `None`, then sleep until
//! `next_deadline` or the next event. Time never runs backwards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::pool::{Pool, Tier};
use super::{Inbox, LineEnd, LineId, Outbox, Overflow};
use crate::ring::Weigh;
use crate::wire::control::{down, up};
use crate::wire::datagram::{self, Item, Mark, Signal};
use crate::wire::frame::FrameError;

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<Out> {
    /// Send a datagram.
    Datagram {
        /// By which line.
        line: LineId,
        /// All of it.
        bytes: Bytes,
    },
    /// Send a control message on the line's control stream.
    Control {
        /// By which line.
        line: LineId,
        /// Its number.
        number: u64,
        /// The message.
        message: Arc<Out>,
    },
    /// Send frames, pieces in order, on a stream of their own.
    Stream {
        /// By which line.
        line: LineId,
        /// The frames' bytes.
        pieces: Vec<Bytes>,
    },
    /// The line has been silent too long: drop its connection at once. It counts as closed.
    Abandon(LineId),
}

/// Frames that wait to share a datagram.
#[derive(Debug)]
struct Waiting {
    frames: Vec<Bytes>,
    bytes: usize,
    /// When they leave whatever else comes.
    due: Instant,
}

/// Why a trunk must start anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrunkError {
    /// Control messages pile up.
    #[error("control messages pile up")]
    Overflow(#[from] Overflow),
    /// A datagram that does not parse.
    #[error("a datagram does not parse")]
    Frame(#[from] FrameError),
}

/// What both ends of a trunk have.
#[derive(Debug)]
pub struct Trunk<Out, In> {
    pub(super) pool: Pool,
    outbox: Outbox<Out>,
    inbox: Inbox<In>,
    ready: VecDeque<In>,
    pub(super) actions: VecDeque<Action<Out>>,
    /// Frames that wait to share a datagram.
    frames: BTreeMap<LineId, Waiting>,
    /// The longest datagram of each line.
    datagram_max: BTreeMap<LineId, usize>,
}

impl<Out, In: Weigh> Trunk<Out, In> {
    /// A trunk without lines. `seed` spreads the beats of many.
    pub fn new(seed: u64, now: Instant) -> Self {
        Self {
            pool: Pool::new(seed, now),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            ready: VecDeque::new(),
            actions: VecDeque::new(),
            frames: BTreeMap::new(),
            datagram_max: BTreeMap::new(),
        }
    }

    /// A line is connected; its datagrams may have `datagram_max` bytes.
    pub(super) fn handle_opened(
        &mut self,
        line: LineId,
        (local, remote): (LineEnd, LineEnd),
        datagram_max: usize,
        now: Instant,
    ) {
        self.pool.handle_opened(line, local, remote, now);
        self.datagram_max.insert(line, datagram_max);
        self.poll_outbox(now);
    }

    pub(super) fn handle_closed(&mut self, line: LineId, now: Instant) {
        self.pool.handle_closed(line, now);
        self.datagram_max.remove(&line);
        self.frames.remove(&line);
        self.outbox.handle_line_gone(line, now);
        self.poll_outbox(now);
    }

    /// Sends a control message.
    pub(super) fn send(&mut self, message: Out, now: Instant) -> Result<(), TrunkError> {
        self.outbox.push(message, now)?;
        self.poll_outbox(now);
        Ok(())
    }

    /// A numbered control message arrived.
    pub(super) fn handle_control(
        &mut self,
        line: LineId,
        number: u64,
        message: In,
        now: Instant,
    ) -> Result<(), TrunkError> {
        self.pool.handle_heard(line, 0, now);
        self.inbox.handle(number, message, &mut self.ready)?;
        self.pool.beat_soon(now); // to acknowledge it
        Ok(())
    }

    /// The next control message of the other end, in order.
    pub fn poll_control(&mut self) -> Option<In> {
        self.ready.pop_front()
    }

    /// A datagram arrived. Answers what it holds apart from beats.
    pub(super) fn handle_datagram(
        &mut self,
        line: LineId,
        bytes: Bytes,
        now: Instant,
    ) -> Result<Vec<Item>, TrunkError> {
        let length = bytes.len();
        let (seq, mut items) = datagram::read(bytes)?;
        self.pool.handle_datagram(line, seq, length, now);
        items.retain(|item| match item {
            Item::Signal(Signal::Beat(beat)) => {
                self.pool.handle_beat(line, beat, now);
                self.outbox.handle_ack(beat.acked, now);
                false
            }
            _ => true,
        });
        self.poll_outbox(now);
        Ok(items)
    }

    /// Time has come to `now`. Answers whether a beat is due, which [`Trunk::send_beats`] sends.
    pub(super) fn handle_deadline(&mut self, now: Instant) -> bool {
        while let Some(line) = self.pool.dead(now) {
            self.actions.push_back(Action::Abandon(line));
            self.handle_closed(line, now);
        }
        self.flush(now);
        let is_due = self.pool.handle_deadline(now);
        self.poll_outbox(now);
        is_due
    }

    /// Sends the beat that is due on every line, with `marks` of at most [`Trunk::marks_max`] bytes.
    pub(super) fn send_beats(&mut self, marks: Vec<Mark>, now: Instant) {
        let lines: Vec<LineId> = self.pool.ids().collect();
        let marks = Signal::Marks(marks);
        for line in lines {
            let mut frames = BytesMut::new();
            Signal::Beat(self.pool.beat(line, self.inbox.had(), now)).encode(&mut frames);
            if marks != Signal::Marks(Vec::new()) {
                marks.encode(&mut frames);
            }
            // In one datagram: whoever has heard the beat knows the marks.
            self.queue(line, frames.freeze(), now);
        }
        self.flush(now);
    }

    /// Bytes of marks that fit a datagram beside a beat.
    pub(super) fn marks_max(&self) -> usize {
        self.frame_max().saturating_sub(BEAT_BYTES + self.pool.len() * LINE_BYTES)
    }

    /// Puts a frame into the line's next datagram, which leaves at `due`.
    pub(super) fn queue(&mut self, line: LineId, frame: Bytes, due: Instant) {
        let max = self.datagram_max.get(&line).copied().unwrap_or(0);
        let is_full = |waiting: &Waiting| waiting.bytes + frame.len() + SEQ_BYTES > max;
        if self.frames.get(&line).is_some_and(is_full) {
            self.flush_line(line);
        }
        let empty = Waiting { frames: Vec::new(), bytes: 0, due };
        let waiting = self.frames.entry(line).or_insert(empty);
        waiting.bytes += frame.len();
        waiting.due = waiting.due.min(due);
        waiting.frames.push(frame);
    }

    /// Sends the datagrams that are due.
    pub(super) fn flush(&mut self, now: Instant) {
        let due = self.frames.iter().filter(|(_, waiting)| waiting.due <= now);
        for line in due.map(|(line, _)| *line).collect::<Vec<_>>() {
            self.flush_line(line);
        }
    }

    fn flush_line(&mut self, line: LineId) {
        let Some(Waiting { frames, bytes, .. }) = self.frames.remove(&line) else { return };
        if let Some(seq) = self.pool.next_seq(line, bytes + SEQ_BYTES) {
            let bytes = datagram::datagram(seq, &frames);
            self.actions.push_back(Action::Datagram { line, bytes });
        }
    }

    /// Bytes that a frame may have to fit a datagram of any line.
    pub(super) fn frame_max(&self) -> usize {
        self.datagram_max.values().min().map_or(0, |max| max.saturating_sub(SEQ_BYTES))
    }

    /// What to do next, in order.
    pub fn poll_action(&mut self) -> Option<Action<Out>> {
        self.actions.pop_front()
    }

    /// When `handle_deadline` wants to be called next.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let outbox = self.outbox.next_deadline().filter(|_| !self.pool.is_empty());
        let frames = self.frames.values().map(|waiting| waiting.due);
        outbox.into_iter().chain(self.pool.next_deadline(now)).chain(frames).min()
    }

    /// The lines and what is known of them.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Control messages that wait for an acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    fn poll_outbox(&mut self, now: Instant) {
        if self.outbox.is_empty() {
            return;
        }
        let mut lines = self.pool.ranked();
        if self.pool.is_alive() {
            lines.retain(|line| self.pool.tier(*line).is_some_and(|tier| tier < Tier::Silent));
        }
        let overdue = self.pool.rtt().unwrap_or(RTT_ASSUMED).mul_f64(1.25) + ACK_WITHIN;
        while let Some((line, number, message)) = self.outbox.poll(&lines, overdue, now) {
            self.actions.push_back(Action::Control { line, number, message });
        }
    }
}

impl Weigh for up::Kind {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.encoded_len()
    }
}

impl Weigh for down::Kind {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.encoded_len()
    }
}

/// A signal's bytes.
pub(super) fn encoded(signal: &Signal) -> Bytes {
    let mut out = BytesMut::new();
    signal.encode(&mut out);
    out.freeze()
}

/// Bytes of a datagram's number: up to 2^35 datagrams.
const SEQ_BYTES: usize = 5;
/// Bytes of a beat apart from its lines, and of a frame's head, where each number has its usual size
/// after years; and of each of its lines.
const BEAT_BYTES: usize = 60;
const LINE_BYTES: usize = 24;
/// An acknowledgement comes in the beat that a control message hastens, or in the next one.
const ACK_WITHIN: Duration = Duration::from_millis(80);
const RTT_ASSUMED: Duration = Duration::from_millis(100);
