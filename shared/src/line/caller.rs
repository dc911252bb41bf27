//! The end of a trunk that opens lines and pulls: an edge's.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::receiver::{Event, Firsts, Receiver};
use super::trunk::{Trunk, TrunkError, encoded};
use super::{LineEnd, LineId, TrunkAction};
use crate::message::{Class, Epoch};
use crate::ring::Cursor;
use crate::wire::control::{self, down, up};
use crate::wire::convert;
use crate::wire::datagram::{Item, Signal};
use crate::wire::frame::{Frame, NUMBER_MAX};

/// The calling end of a trunk. See [`Trunk`] for the order of calls.
#[derive(Debug)]
pub struct Caller {
    trunk: Trunk<up::Kind, down::Kind>,
    receiver: Receiver,
    firsts: Firsts,
    /// The line that brought the last live message.
    live: Option<LineId>,
}

impl Caller {
    /// A caller without lines.
    pub fn new(seed: u64, now: Instant) -> Self {
        Self {
            trunk: Trunk::new(seed, now),
            receiver: Receiver::new(),
            firsts: Firsts::default(),
            live: None,
        }
    }

    /// The trunk begins anew, with an upstream that knows nothing of it. What was counted stays.
    pub fn reset(&mut self, seed: u64, now: Instant) {
        self.trunk = Trunk::new(seed, now);
        self.receiver.reset();
        self.live = None;
    }

    /// A line is connected; its datagrams may have `datagram_max` bytes.
    pub fn handle_opened(
        &mut self,
        line: LineId,
        ends: (LineEnd, LineEnd),
        datagram_max: usize,
        now: Instant,
    ) {
        self.trunk.handle_opened(line, ends, datagram_max, now);
    }

    /// A line's connection ended.
    pub fn handle_closed(&mut self, line: LineId, now: Instant) {
        self.trunk.handle_closed(line, now);
        self.listen(now);
    }

    /// The upstream is about to close a line.
    pub fn handle_draining(&mut self, line: LineId, now: Instant) {
        self.trunk.pool.handle_draining(line, now);
    }

    /// Sends a control message; pulls are noted.
    ///
    /// # Errors
    /// If too many wait: the trunk must start anew.
    pub fn send(&mut self, message: up::Kind, now: Instant) -> Result<(), TrunkError> {
        match &message {
            up::Kind::Open(open) => {
                for pull in &open.pulls {
                    self.receiver.handle_open(pull.pull);
                }
            }
            up::Kind::Close(close) => {
                for pull in &close.pulls {
                    self.receiver.handle_close(*pull);
                }
            }
            _ => {}
        }
        self.trunk.send(message, now)
    }

    /// A numbered control message arrived on a line.
    ///
    /// # Errors
    /// If more is held than an upstream may send: the trunk must start anew.
    pub fn handle_control(
        &mut self,
        line: LineId,
        number: u64,
        message: down::Kind,
        now: Instant,
    ) -> Result<(), TrunkError> {
        self.trunk.handle_control(line, number, message, now)
    }

    /// The next control message, in order, but for those that tell where a pull stands.
    pub fn poll_control(&mut self, now: Instant) -> Option<down::Kind> {
        while let Some(message) = self.trunk.poll_control() {
            match message {
                down::Kind::Opened(opened) => {
                    let is_offset = (1..NUMBER_MAX).contains(&opened.next);
                    if let Some(epoch) = Epoch::new(opened.epoch).filter(|_| is_offset) {
                        let start = Cursor { epoch, next: opened.next };
                        let top = opened.top.min(NUMBER_MAX);
                        self.receiver.handle_opened(opened.pull, start, top, now);
                    }
                }
                down::Kind::Refused(control::Refused { pull, code, temporary, reason }) => {
                    let refused = Event::Refused { pull, code, temporary, reason };
                    self.receiver.handle_event(pull, refused);
                }
                down::Kind::Presence(presence) => {
                    for control::PresenceNote { pull, joined, info } in presence.notes {
                        let info = convert::info_in(info.unwrap_or_default());
                        self.receiver.handle_event(pull, Event::Presence { pull, joined, info });
                    }
                }
                other => return Some(other),
            }
        }
        None
    }

    /// A datagram arrived on a line.
    ///
    /// # Errors
    /// If it does not parse.
    pub fn handle_datagram(
        &mut self,
        line: LineId,
        bytes: Bytes,
        now: Instant,
    ) -> Result<(), TrunkError> {
        let items = self.trunk.handle_datagram(line, bytes, now)?;
        self.listen(now);
        for item in items {
            match item {
                Item::Frame(Frame { pull, epoch, message }) => {
                    self.live = Some(line);
                    self.trunk.pool.handle_live(message.content.class == Class::Urgent, now);
                    let first = self.receiver.handle_message(pull, epoch, message, false, now);
                    self.firsts.count(line, first);
                }
                Item::Signal(Signal::Marks(marks)) => {
                    let slack = self.live.map_or(Duration::ZERO, |live| self.trunk.pool.lag(live));
                    for mark in marks {
                        self.receiver.handle_mark(mark, slack, now);
                    }
                }
                Item::Signal(_) => {} // nothing for this end
            }
        }
        Ok(())
    }

    /// Frames arrived on a stream of a line, `bytes` in all.
    pub fn handle_stream(
        &mut self,
        line: LineId,
        frames: impl IntoIterator<Item = Frame>,
        bytes: usize,
        now: Instant,
    ) {
        self.trunk.pool.handle_heard(line, bytes, now);
        for Frame { pull, epoch, message } in frames {
            let first = self.receiver.handle_message(pull, epoch, message, true, now);
            self.firsts.count(line, first);
        }
    }

    /// Something else arrived on a line, or left on it: a sign of life.
    pub fn handle_heard(&mut self, line: LineId, now: Instant) {
        self.trunk.pool.handle_heard(line, 0, now);
    }

    /// Time has come to `now`.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.trunk.handle_deadline(now) {
            self.trunk.send_beats(Vec::new(), now);
        }
        self.listen(now);
        let pool = &self.trunk.pool;
        let again = pool.rtt().unwrap_or(RTT_ASSUMED).mul_f64(AGAIN_RTTS) + AGAIN_SLACK;
        let nacks = self.receiver.handle_deadline(again, now);
        for (nack, is_first) in nacks {
            let frame = encoded(&Signal::Nack(nack));
            let mut lines = self.trunk.pool.copies();
            let pool = &self.trunk.pool;
            let is_lossy = lines.first().is_some_and(|line| pool.loss_out(*line) >= LOSSY);
            if is_first && !is_lossy {
                lines.truncate(FIRST_NACK_LINES);
            }
            for line in lines {
                self.trunk.queue(line, frame.clone(), now);
            }
        }
        self.trunk.flush(now);
    }

    /// What to do next, in order.
    pub fn poll_action(&mut self) -> Option<TrunkAction<up::Kind>> {
        self.trunk.poll_action()
    }

    /// What to tell the readers of pulls next, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.receiver.poll_event()
    }

    /// When [`Caller::handle_deadline`] wants to be called next.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.trunk.next_deadline(now).into_iter().chain(self.receiver.next_deadline()).min()
    }

    /// The trunk: its lines and what is known of them.
    pub fn trunk(&self) -> &Trunk<up::Kind, down::Kind> {
        &self.trunk
    }

    /// The change of primary that was not yet told of.
    pub fn take_switch(&mut self) -> Option<super::pool::Switch> {
        self.trunk.pool.take_switch()
    }

    /// The receiver: what was delivered, repaired and lost.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Messages that a line brought first, and those that had come before.
    pub fn firsts(&self, line: LineId) -> (u64, u64) {
        self.firsts.of(line)
    }

    fn listen(&mut self, now: Instant) {
        let is_heard = self.trunk.pool.is_heard(now);
        self.receiver.handle_heard(is_heard, now);
    }
}

/// What is missing is asked for again after so many round trips of the best line,
const AGAIN_RTTS: f64 = 1.15;
/// and this.
const AGAIN_SLACK: Duration = Duration::from_millis(4);
const FIRST_NACK_LINES: usize = 2;
/// Loss from which a request goes by every line at once: it is small, and what it asks for is late.
const LOSSY: f64 = 0.1;
const RTT_ASSUMED: Duration = Duration::from_millis(100);
