//! The end of a trunk that answers and is pulled from: an origin's, or that of an edge which serves
//! other edges.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::pool::Tier;
use super::sender::{Sender, asked};
use super::trunk::{Action, Trunk, TrunkError};
use super::{LineEnd, LineId, TrunkAction};
use crate::message::{Class, Epoch, Message};
use crate::wire::control::{down, up};
use crate::wire::datagram::{Item, Signal};
use crate::wire::frame::message_head;

/// Messages that the other end misses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The line that the request came by.
    pub line: LineId,
    /// The pull.
    pub pull: u64,
    /// Their offsets, ascending.
    pub offsets: Vec<u64>,
}

/// The answering end of a trunk. See [`Trunk`] for the order of calls.
#[derive(Debug)]
pub struct Answerer {
    trunk: Trunk<down::Kind, up::Kind>,
    sender: Sender,
    asked: VecDeque<Asked>,
}

impl Answerer {
    /// An answerer without lines.
    pub fn new(seed: u64, now: Instant) -> Self {
        Self { trunk: Trunk::new(seed, now), sender: Sender::default(), asked: VecDeque::new() }
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
    }

    /// Whether a line takes more datagrams at the moment.
    pub fn handle_space(&mut self, line: LineId, has_space: bool, now: Instant) {
        self.trunk.pool.handle_space(line, has_space, now);
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// If too many wait: the trunk must start anew.
    pub fn send(&mut self, message: down::Kind, now: Instant) -> Result<(), TrunkError> {
        self.trunk.send(message, now)
    }

    /// A numbered control message arrived on a line.
    ///
    /// # Errors
    /// If more is held than an edge may send: the trunk must start anew.
    pub fn handle_control(
        &mut self,
        line: LineId,
        number: u64,
        message: up::Kind,
        now: Instant,
    ) -> Result<(), TrunkError> {
        self.trunk.handle_control(line, number, message, now)
    }

    /// The next control message, in order.
    pub fn poll_control(&mut self) -> Option<up::Kind> {
        let message = self.trunk.poll_control()?;
        if let up::Kind::Close(close) = &message {
            for pull in &close.pulls {
                self.sender.handle_close(*pull);
            }
        }
        Some(message)
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
        let (base, heard) = self.trunk.pool.heard_beats();
        self.sender.handle_beats(base, heard);
        for item in items {
            if let Item::Signal(Signal::Nack(nack)) = item {
                let offsets = asked(&nack).collect();
                if self.asked.len() < ASKED_MAX {
                    self.asked.push_back(Asked { line, pull: nack.pull, offsets });
                }
            }
        }
        Ok(())
    }

    /// The next request for missing messages, to be answered by [`Answerer::repair`], or by an
    /// [`down::Kind::Opened`] that says they are gone.
    pub fn poll_asked(&mut self) -> Option<Asked> {
        self.asked.pop_front()
    }

    /// Sends a live message; [`Answerer::flush`] follows the last of a batch.
    pub fn publish(&mut self, pull: u64, epoch: Epoch, message: &Message, now: Instant) {
        let class = message.content.class;
        self.trunk.pool.handle_live(class == Class::Urgent, now);
        let head = message_head(pull, epoch, message);
        let length = head.len() + message.content.body.len();
        self.sender.mark(pull, epoch, message.offset);
        if length > self.trunk.frame_max() {
            let mut lines = self.trunk.pool.copies();
            lines.truncate(if class == Class::Urgent { 2 } else { 1 });
            self.sender.sent_by_stream((pull, message.offset), length, lines.len(), now);
            self.stream(&lines, vec![head, message.content.body.clone()]);
        } else {
            let lines = self.sender.send(&self.trunk.pool, class, length);
            // Where messages follow closely, further copies share datagrams.
            let gather = if self.trunk.pool.is_dense() { GATHER } else { Duration::ZERO };
            self.datagrams(&lines, &head, &message.content.body, (now, now + gather));
        }
    }

    /// Sends a message that was asked for on `line`, unless that was done just now.
    pub fn repair(
        &mut self,
        line: LineId,
        pull: u64,
        epoch: Epoch,
        message: &Message,
        now: Instant,
    ) {
        let again = self.trunk.pool.rtt().unwrap_or(RTT_ASSUMED).mul_f64(REPAIR_AGAIN_RTTS);
        let key = (pull, message.offset);
        let Some(mut lines) = self.sender.repair(&self.trunk.pool, key, line, again, now) else {
            return;
        };
        let head = message_head(pull, epoch, message);
        let length = head.len() + message.content.body.len();
        let by_stream = length > self.trunk.frame_max();
        if by_stream {
            lines.truncate(1);
        }
        self.sender.count_repair(lines.len(), length);
        if by_stream {
            self.stream(&lines, vec![head, message.content.body.clone()]);
        } else {
            self.datagrams(&lines, &head, &message.content.body, (now, now));
        }
    }

    /// Sends messages that a pull has to catch up with on a stream, apart from what is live: on a
    /// line that carries little else, if there is one. Answers the line; without any, the messages
    /// are marked as sent, and asked for once there is one.
    pub fn catch_up<'a>(
        &mut self,
        pull: u64,
        epoch: Epoch,
        messages: impl IntoIterator<Item = &'a Message>,
        now: Instant,
    ) -> Option<LineId> {
        let line = self.bulk_line();
        let mut pieces = Vec::new();
        for message in messages {
            self.sender.mark(pull, epoch, message.offset);
            if line.is_none() {
                continue;
            }
            let head = message_head(pull, epoch, message);
            let length = head.len() + message.content.body.len();
            self.sender.sent_by_stream((pull, message.offset), length, 1, now);
            pieces.push(head);
            if !message.content.body.is_empty() {
                pieces.push(message.content.body.clone());
            }
        }
        let line = line?;
        self.trunk.actions.push_back(Action::Stream { line, pieces });
        Some(line)
    }

    /// The line that streams should go by: a good one that carries few live messages.
    pub fn bulk_line(&self) -> Option<LineId> {
        let ranked = self.trunk.pool.ranked();
        let usable = |line: &LineId| self.trunk.pool.tier(*line).is_some_and(|t| t <= Tier::Held);
        ranked.iter().copied().skip(1).find(usable).or(ranked.first().copied())
    }

    /// Sends what waits to share datagrams.
    pub fn flush(&mut self, now: Instant) {
        self.trunk.flush(now);
    }

    /// Whether it is worth sending live messages: some line works and takes them.
    pub fn is_ready(&self) -> bool {
        self.trunk.pool.is_alive()
    }

    /// Time has come to `now`.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.trunk.handle_deadline(now) {
            let marks = self.sender.marks(self.trunk.pool.beats(), self.trunk.marks_max());
            self.trunk.send_beats(marks, now);
            if self.sender.has_untold() {
                self.trunk.pool.beat_again(now);
            }
        }
    }

    /// What to do next, in order.
    pub fn poll_action(&mut self) -> Option<TrunkAction<down::Kind>> {
        self.trunk.poll_action()
    }

    /// When [`Answerer::handle_deadline`] wants to be called next.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.trunk.next_deadline(now)
    }

    /// The trunk: its lines and what is known of them.
    pub fn trunk(&self) -> &Trunk<down::Kind, up::Kind> {
        &self.trunk
    }

    /// The change of primary that was not yet told of.
    pub fn take_switch(&mut self) -> Option<super::pool::Switch> {
        self.trunk.pool.take_switch()
    }

    /// The sender: copies, repairs and their bytes.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The first copy leaves at the first instant, further ones at the second.
    fn datagrams(
        &mut self,
        lines: &[LineId],
        head: &Bytes,
        body: &Bytes,
        (first, further): (Instant, Instant),
    ) {
        let mut frame = BytesMut::with_capacity(head.len() + body.len());
        frame.extend_from_slice(head);
        frame.extend_from_slice(body);
        let frame = frame.freeze();
        for (at, line) in lines.iter().enumerate() {
            let due = if at == 0 { first } else { further };
            self.trunk.queue(*line, frame.clone(), due);
        }
    }

    fn stream(&mut self, lines: &[LineId], pieces: Vec<Bytes>) {
        for line in lines {
            self.trunk.actions.push_back(Action::Stream { line: *line, pieces: pieces.clone() });
        }
    }
}

/// How long further copies wait for each other where messages follow closely.
const GATHER: Duration = Duration::from_millis(6);
/// Requests that wait to be answered; more are asked again.
const ASKED_MAX: usize = 256;
/// A message is not repaired again within so many round trips: less than until it is asked again.
const REPAIR_AGAIN_RTTS: f64 = 0.75;
const RTT_ASSUMED: Duration = Duration::from_millis(100);
