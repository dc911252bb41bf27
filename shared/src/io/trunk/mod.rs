//! Trunks over QUIC: the shells of [`Caller`](crate::line::Caller) and
//! [`Answerer`](crate::line::Answerer).
//!
//! Each end has one owner task. The tasks of a [`Connected`] line only move bytes: they tell the owner
//! what arrives, and write what it hands them. What a line that was replaced still tells is dropped by
//! its attempt's number.

mod answering;
mod calling;
mod requests;
mod switchboard;

pub use answering::{AnsweringEnd, TrunkEnd};
pub use calling::{CallingEnd, News, Place};
pub use requests::Requests;
pub use switchboard::{Handshake, NewTrunk, Switchboard};

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quinn::Connection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::line::{self, FrameReceiver, LineError, Receiver, Sender};
use super::tls::Nodes;
use crate::line::LineId;
use crate::wire::control::{Down, Up, down, up};
use crate::wire::frame::Frame;

/// A control message with its number: what [`Up`] and [`Down`] have in common.
trait Numbered: Message + Default + 'static {
    type Kind: Clone + Send + Sync + 'static;
    fn put(kind: Self::Kind, number: u64) -> Self;
    fn take(self) -> (Option<Self::Kind>, u64);
}

impl Numbered for Up {
    type Kind = up::Kind;
    fn put(kind: up::Kind, number: u64) -> Self {
        Self { kind: Some(kind), number }
    }
    fn take(self) -> (Option<up::Kind>, u64) {
        (self.kind, self.number)
    }
}

impl Numbered for Down {
    type Kind = down::Kind;
    fn put(kind: down::Kind, number: u64) -> Self {
        Self { kind: Some(kind), number }
    }
    fn take(self) -> (Option<down::Kind>, u64) {
        (self.kind, self.number)
    }
}

/// What a line's tasks tell its owner.
enum Heard<Kind> {
    Datagrams(Vec<Bytes>),
    Control(u64, Kind),
    Frames(Vec<Frame>, usize),
    Closed(LineError),
}

/// Which line, at which attempt, said what.
struct Tagged<Event> {
    line: LineId,
    attempt: u64,
    event: Event,
}

/// A connected line with its tasks, which end with it.
struct Connected<Out: Numbered> {
    attempt: u64,
    connection: Connection,
    control: mpsc::UnboundedSender<(u64, Arc<Out::Kind>)>,
    streams: JoinSet<()>,
    _tasks: JoinSet<()>,
}

impl<Out: Numbered> Connected<Out> {
    /// Starts the tasks of a line. `tell` makes the owner's event of what is heard.
    fn start<In: Numbered, Event: Send + 'static>(
        (line, attempt): (LineId, u64),
        connection: Connection,
        (sender, receiver): (Sender<Out>, Receiver<In>),
        nodes: &Nodes,
        events: &mpsc::Sender<Tagged<Event>>,
        tell: fn(Heard<In::Kind>) -> Event,
    ) -> Self {
        let teller = Teller { line, attempt, events: events.clone(), tell };
        let (control, control_in) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(write_control(connection.clone(), sender, control_in));
        tasks.spawn(read_control(receiver, teller.clone()));
        tasks.spawn(read_datagrams(connection.clone(), teller.clone()));
        tasks.spawn(accept_streams(connection.clone(), teller.clone()));
        let (of, nodes) = (connection.clone(), nodes.clone());
        tasks.spawn(async move {
            let error = line::distrusted(&of, &nodes).await;
            teller.tell(Heard::Closed(error)).await;
        });
        let streams = JoinSet::new();
        Self { attempt, connection, control, streams, _tasks: tasks }
    }

    /// Bytes that a datagram may have.
    fn datagram_max(connection: &Connection) -> usize {
        connection.max_datagram_size().map_or(0, |max| max.min(DATAGRAM_BYTES_MAX))
    }

    fn send_datagram(&self, bytes: Bytes) {
        // The connection's end is told by its reader; a datagram that is lost is asked for.
        let _ = self.connection.send_datagram(bytes);
    }

    fn send_control(&self, number: u64, message: Arc<Out::Kind>) {
        // What cannot be written is sent by another line.
        let _ = self.control.send((number, message));
    }

    fn has_space(&self) -> bool {
        self.connection.datagram_send_buffer_space() >= SPACE_MIN
    }

    fn send_stream(&mut self, pieces: Vec<Bytes>) {
        while self.streams.try_join_next().is_some() {}
        let connection = self.connection.clone();
        self.streams.spawn(async move {
            if let Err(error) = line::send_frames(&connection, pieces).await {
                tracing::debug!(error = &error as &dyn Error, "a stream of frames ended early");
            }
        });
    }

    fn close(self, reason: &str) {
        self.connection.close(line::CLOSE_DONE, reason.as_bytes());
    }
}

struct Teller<Kind, Event> {
    line: LineId,
    attempt: u64,
    events: mpsc::Sender<Tagged<Event>>,
    tell: fn(Heard<Kind>) -> Event,
}

impl<Kind, Event> Clone for Teller<Kind, Event> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), ..*self }
    }
}

impl<Kind, Event> Teller<Kind, Event> {
    /// Whether the owner still listens.
    async fn tell(&self, heard: Heard<Kind>) -> bool {
        let event = (self.tell)(heard);
        let (line, attempt) = (self.line, self.attempt);
        self.events.send(Tagged { line, attempt, event }).await.is_ok()
    }
}

/// Writes control messages. A peer that takes none loses the line: what it had not taken goes by
/// others.
async fn write_control<Out: Numbered>(
    connection: Connection,
    mut sender: Sender<Out>,
    mut messages: mpsc::UnboundedReceiver<(u64, Arc<Out::Kind>)>,
) {
    while let Some((number, message)) = messages.recv().await {
        let message = Out::put(Arc::unwrap_or_clone(message), number);
        let sent = tokio::time::timeout(CONTROL_WITHIN, sender.send(&message)).await;
        if let Err(error) = sent.unwrap_or(Err(LineError::TimedOut(CONTROL_WITHIN))) {
            tracing::debug!(error = &error as &dyn Error, "cannot write to the control stream");
            // The readers tell the owner.
            connection.close(line::CLOSE_PROTOCOL, b"control messages are not taken");
            return;
        }
    }
}

async fn read_control<In: Numbered, Event>(
    mut receiver: Receiver<In>,
    to: Teller<In::Kind, Event>,
) {
    loop {
        let heard = match receiver.receive().await {
            Ok(Some(message)) => match message.take() {
                (Some(kind), number) => Heard::Control(number, kind),
                (None, _) => continue, // of a newer version
            },
            Ok(None) => Heard::Closed(LineError::Protocol("the control stream ended")),
            Err(error) => Heard::Closed(error),
        };
        let ends = matches!(heard, Heard::Closed(_));
        if !to.tell(heard).await || ends {
            return;
        }
    }
}

async fn read_datagrams<Kind, Event>(connection: Connection, to: Teller<Kind, Event>) {
    loop {
        let mut datagrams = match connection.read_datagram().await {
            Ok(first) => vec![first],
            Err(error) => {
                to.tell(Heard::Closed(error.into())).await;
                return;
            }
        };
        while datagrams.len() < BATCH {
            tokio::select! {
                biased;
                Ok(more) = connection.read_datagram() => datagrams.push(more),
                () = std::future::ready(()) => break,
            }
        }
        if !to.tell(Heard::Datagrams(datagrams)).await {
            return;
        }
    }
}

async fn accept_streams<Kind: Send + 'static, Event: Send + 'static>(
    connection: Connection,
    to: Teller<Kind, Event>,
) {
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_uni() => match accepted {
                Ok(stream) => {
                    readers.spawn(read_frames(FrameReceiver::new(stream), to.clone()));
                }
                Err(_) => return, // the datagrams' reader tells why
            },
            Some(_) = readers.join_next() => {}
        }
    }
}

async fn read_frames<Kind, Event>(mut stream: FrameReceiver, to: Teller<Kind, Event>) {
    loop {
        let mut frames = Vec::new();
        let heard = match stream.receive(&mut frames).await {
            Ok(Some(bytes)) => Heard::Frames(frames, bytes),
            Ok(None) => return,
            Err(error @ LineError::Frame(_)) => Heard::Closed(error),
            Err(_) => return, // what is missing is asked for
        };
        if !to.tell(heard).await {
            return;
        }
    }
}

/// Datagrams are made no longer: what every path of the Internet carries with its headers.
const DATAGRAM_BYTES_MAX: usize = 1200;
/// How long a control message may wait for the peer to take those before it.
const CONTROL_WITHIN: Duration = Duration::from_secs(5);
/// A line whose buffer has less room takes nothing new.
const SPACE_MIN: usize = 64 << 10;
/// Datagrams that are told at once.
const BATCH: usize = 64;
/// How long both ends keep a trunk of which no line is left.
const TRUNK_LINGER: Duration = Duration::from_secs(10);
/// Events that wait for the owner: beyond this the lines' readers wait.
const EVENTS_MAX: usize = 256;
