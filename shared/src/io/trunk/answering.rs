//! The answering end: takes the lines that an edge opens, and runs the [`Answerer`] over them.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Connection, VarInt};
use tokio::sync::mpsc;

use super::{Connected, EVENTS_MAX, Heard, TRUNK_LINGER, Tagged};
use crate::io::line::{self, Answered};
use crate::io::tls::Nodes;
use crate::line::pool::Switch;
use crate::line::{Answerer, LineEnd, LineId, TrunkAction, TrunkError};
use crate::message::{Epoch, Message};
use crate::wire::control::{Down, Welcome, down, up};
use crate::wire::datagram::LINES_MAX;

/// The answering end of a trunk, with its connections.
pub struct AnsweringEnd {
    answerer: Answerer,
    nodes: Nodes,
    lines: BTreeMap<LineId, Connected<Down>>,
    attempt_next: u64,
    events: mpsc::Sender<Tagged<Heard<up::Kind>>>,
    events_in: mpsc::Receiver<Tagged<Heard<up::Kind>>>,
    lost_at: Option<Instant>,
    failed: Option<TrunkError>,
    /// Whether live messages wait for a line that takes them.
    pressed: bool,
}

impl AnsweringEnd {
    /// An end without lines.
    pub fn new(nodes: Nodes) -> Self {
        let (now, seed) = (Instant::now(), rand::random());
        let (events, events_in) = mpsc::channel(EVENTS_MAX);
        Self {
            answerer: Answerer::new(seed, now),
            nodes,
            lines: BTreeMap::new(),
            attempt_next: 0,
            events,
            events_in,
            lost_at: Some(now),
            failed: None,
            pressed: false,
        }
    }

    /// Takes a line of this trunk and welcomes it. A line of the same number before it is closed.
    pub fn take(&mut self, answered: Answered, welcome: Welcome) {
        let Answered { connection, hello, up, down, .. } = answered;
        let line = LineId(hello.line);
        self.drop_line(line, "replaced");
        if self.lines.len() >= LINES_MAX || hello.line >= LINE_NUMBERS_MAX {
            return connection.close(line::CLOSE_REFUSED, b"too many lines");
        }
        self.attempt_next += 1;
        let id = (line, self.attempt_next);
        let datagram_max = Connected::<Down>::datagram_max(&connection);
        let carried = |address, carrier: &str| {
            let access = format!("{address} {carrier}").parse();
            access.unwrap_or_else(|_| LineEnd::of(address))
        };
        let any = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let ends = (
            carried(any, &hello.remote_carrier),
            carried(connection.remote_address(), &hello.local_carrier),
        );
        let connected =
            Connected::start(id, connection, (down, up), &self.nodes, &self.events, |heard| heard);
        // Before all else, and written by the line's own task: whoever does not read it holds up
        // nobody else.
        connected.send_control(0, Arc::new(down::Kind::Welcome(welcome)));
        self.lines.insert(line, connected);
        self.lost_at = None;
        self.answerer.handle_opened(line, ends, datagram_max, Instant::now());
        self.act();
    }

    /// Waits until something has happened, and takes it in. Cancelling loses nothing.
    ///
    /// # Errors
    /// If the trunk must end: its peer breaks the protocol or has been away for too long.
    pub async fn wait(&mut self) -> Result<(), TrunkEnd> {
        self.act();
        let now = Instant::now();
        // Whoever waits for a line asks again after this.
        let pressed = std::mem::take(&mut self.pressed).then(|| now + PRESSED_POLL);
        let gone = self.lost_at.map(|at| at + TRUNK_LINGER);
        let deadline =
            [self.answerer.next_deadline(now), pressed, gone].into_iter().flatten().min();
        let at = deadline.unwrap_or(now + TRUNK_LINGER);
        tokio::select! {
            biased;
            Some(tagged) = self.events_in.recv() => {
                self.handle(tagged);
                while let Ok(tagged) = self.events_in.try_recv() {
                    self.handle(tagged);
                }
            }
            () = tokio::time::sleep_until(at.into()) => {}
        }
        let now = Instant::now();
        self.answerer.handle_deadline(now);
        self.act();
        if let Some(error) = self.failed {
            return Err(TrunkEnd::Failed(error));
        }
        if self.lost_at.is_some_and(|at| at + TRUNK_LINGER <= now) {
            return Err(TrunkEnd::Away);
        }
        Ok(())
    }

    /// The next control message, in order.
    pub fn poll_control(&mut self) -> Option<up::Kind> {
        self.answerer.poll_control()
    }

    /// The next request for messages that the other end misses.
    pub fn poll_asked(&mut self) -> Option<crate::line::Asked> {
        self.answerer.poll_asked()
    }

    /// The change of primary that was not yet told of.
    pub fn poll_switch(&mut self) -> Option<Switch> {
        self.answerer.take_switch()
    }

    /// Sends a control message.
    pub fn send(&mut self, message: down::Kind) {
        if let Err(error) = self.answerer.send(message, Instant::now()) {
            self.failed = Some(error);
        }
    }

    /// Sends a control message on every line, outside of the order.
    pub fn tell_all(&self, message: down::Kind) {
        let message = Arc::new(message);
        for line in self.lines.values() {
            line.send_control(0, Arc::clone(&message));
        }
    }

    /// Whether live messages may be sent now: some line works and takes them, and large ones that
    /// were sent before, by streams, do not pile up. If not, ask again after [`AnsweringEnd::wait`].
    pub fn is_ready(&mut self) -> bool {
        let now = Instant::now();
        for (id, line) in &self.lines {
            self.answerer.handle_space(*id, line.has_space(), now);
        }
        let is_ready = self.answerer.is_ready() && self.streams_open() < STREAMS_LIVE_MAX;
        self.pressed |= !is_ready && !self.lines.is_empty();
        is_ready
    }

    /// Sends a live message; [`AnsweringEnd::flush`] follows the last of a batch.
    pub fn publish(&mut self, pull: u64, epoch: Epoch, message: &Message) {
        self.answerer.publish(pull, epoch, message, Instant::now());
    }

    /// Sends messages that a pull has to catch up with.
    pub fn catch_up<'a>(
        &mut self,
        pull: u64,
        epoch: Epoch,
        messages: impl IntoIterator<Item = &'a Message>,
    ) {
        self.answerer.catch_up(pull, epoch, messages, Instant::now());
    }

    /// Whether another stream of earlier messages may follow those that have not arrived yet and
    /// `under_way` more, which are being read. If not, ask again after [`AnsweringEnd::wait`].
    pub fn has_streams(&mut self, under_way: usize) -> bool {
        let has_room = self.streams_open() + under_way < STREAMS_OPEN_MAX;
        self.pressed |= !has_room;
        has_room
    }

    fn streams_open(&mut self) -> usize {
        let open = self.lines.values_mut().map(|line| {
            while line.streams.try_join_next().is_some() {}
            line.streams.len()
        });
        open.sum()
    }

    /// Sends a message that was asked for on `line`.
    pub fn repair(&mut self, line: LineId, pull: u64, epoch: Epoch, message: &Message) {
        self.answerer.repair(line, pull, epoch, message, Instant::now());
    }

    /// Sends what waits to share datagrams.
    pub fn flush(&mut self) {
        self.answerer.flush(Instant::now());
        self.act();
    }

    /// The machine: what is known of lines and what was sent.
    pub fn answerer(&self) -> &Answerer {
        &self.answerer
    }

    /// The lines' connections.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.lines.values().map(|line| &line.connection)
    }

    /// Closes all lines.
    pub fn close(&mut self, reason: &str) {
        self.close_with(line::CLOSE_DONE, reason);
    }

    /// Closes all lines because another process of the edge has opened its own.
    pub fn close_replaced(&mut self) {
        self.close_with(line::CLOSE_REPLACED, "another session takes its place");
    }

    fn close_with(&mut self, code: VarInt, reason: &str) {
        for (_, line) in std::mem::take(&mut self.lines) {
            line.connection.close(code, reason.as_bytes());
        }
    }

    fn handle(&mut self, Tagged { line, attempt, event }: Tagged<Heard<up::Kind>>) {
        let now = Instant::now();
        if self.lines.get(&line).is_none_or(|known| known.attempt != attempt) {
            return; // of a line that was replaced
        }
        let outcome = match event {
            Heard::Datagrams(datagrams) => datagrams
                .into_iter()
                .try_for_each(|bytes| self.answerer.handle_datagram(line, bytes, now)),
            Heard::Control(0, _) | Heard::Frames(..) => Ok(()),
            Heard::Control(number, message) => {
                self.answerer.handle_control(line, number, message, now)
            }
            Heard::Closed(error) => {
                tracing::info!(line = line.0, error = &error as &dyn Error, "a line closed");
                self.drop_line(line, "closed");
                Ok(())
            }
        };
        if let Err(error) = outcome {
            self.failed = Some(error);
        }
    }

    fn drop_line(&mut self, line: LineId, reason: &str) {
        if let Some(connected) = self.lines.remove(&line) {
            let now = Instant::now();
            connected.close(reason);
            self.answerer.handle_closed(line, now);
            if self.lines.is_empty() {
                self.lost_at = Some(now);
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.answerer.poll_action() {
            match action {
                TrunkAction::Datagram { line, bytes } => {
                    if let Some(connected) = self.lines.get(&line) {
                        connected.send_datagram(bytes);
                    }
                }
                TrunkAction::Control { line, number, message } => {
                    if let Some(connected) = self.lines.get(&line) {
                        connected.send_control(number, message);
                    }
                }
                TrunkAction::Stream { line, pieces } => {
                    if let Some(connected) = self.lines.get_mut(&line) {
                        connected.send_stream(pieces);
                    }
                }
                TrunkAction::Abandon(line) => {
                    tracing::info!(line = line.0, "a line is silent: abandoning it");
                    self.drop_line(line, "silent");
                }
            }
        }
    }
}

/// Why an answering end is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrunkEnd {
    /// It broke the protocol, or does not keep up.
    #[error("the trunk failed")]
    Failed(#[source] TrunkError),
    /// It has had no line for too long.
    #[error("no line for {TRUNK_LINGER:?}")]
    Away,
}

/// Numbers that lines have at most, of which a little is kept each: an edge gives new ones when it
/// hears of new addresses.
const LINE_NUMBERS_MAX: u32 = 1 << 16;
/// How often it is looked whether a line takes more again.
const PRESSED_POLL: Duration = Duration::from_millis(2);
/// Streams of earlier messages under way. Most are of 256 messages, 77 KiB of chat; the largest have
/// the 4 MiB of a ring.
const STREAMS_OPEN_MAX: usize = 32;
/// Streams under way beyond which nothing is sent, live messages that are too large for a datagram
/// included: at 256 KiB each, 8 MiB beside those of earlier messages.
const STREAMS_LIVE_MAX: usize = STREAMS_OPEN_MAX + 32;
