//! One client's connection: what has been read and not understood, what has been decided and not
//! written. It holds no buffer while it is idle.
//!
//! Invariant: bytes leave in this order: the rest of a half-written segment, then replies, then what
//! rooms offer.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::task::Waker;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::door::Guest;
use super::shards::Way;
use super::socket::Socket;
use crate::protocol::Protocol;
use crate::room::{ConnectionId, Segment, Written, accepts};
use crate::session::{Blame, Close};
use crate::tokens::Tokens;
use crate::websocket::{self, Decoder};
use crate::wheel::Tick;

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// A proxy says who its client is, before anything else.
    Preface(Box<Way>),
    /// An HTTP head is expected.
    Head,
    /// WebSocket messages are expected.
    WebSocket(Decoder),
    /// Protocol bytes are expected.
    Plain,
    /// It ends: what is pending is written, then the client's last bytes are awaited and dropped.
    Ending {
        /// The write half is closed.
        finished: bool,
        /// When waiting ends.
        until: Instant,
    },
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) socket: Socket,
    /// Where it comes from: a client, or a proxy.
    pub(super) peer: IpAddr,
    /// How it is counted at the door.
    pub(super) guest: Guest,
    /// The client's own address, behind trusted proxies.
    pub(super) address: IpAddr,
    pub(super) stage: Stage,
    pub(super) protocol: Option<Protocol>,
    /// Bytes that are not a whole frame yet.
    pub(super) input: BytesMut,
    /// Replies that have not been written.
    pub(super) replies: BytesMut,
    /// How many of them are in the shard's sum.
    pub(super) counted: usize,
    /// The rest of a segment that was written in part.
    tail: Bytes,
    /// The socket took less than it was given: wait until it is writable.
    pub(super) blocked: bool,
    /// The protocol wants nothing from rooms to be written yet.
    pub(super) held: bool,
    /// Since when the socket has taken nothing, and how much it had taken then.
    stalled: Option<(Instant, u64)>,
    /// Asks it may still make at once, and when they were counted last.
    pub(super) asks: Tokens,
    /// Who made it end, once that is known.
    pub(super) ended: Option<Blame>,
    pub(super) waker: Option<Waker>,
    /// When it is looked at again, at the latest when its next deadline is due.
    pub(super) looked_at: Option<Tick>,
    /// When it was accepted: the deadlines of TLS, HTTP head and login all count from here.
    pub(super) accepted_at: Instant,
    /// The socket failed or all is over.
    pub(super) dead: bool,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        socket: Socket,
        (peer, guest): (IpAddr, Guest),
        stage: Stage,
        asks: Tokens,
        accepted_at: Instant,
    ) -> Self {
        Self {
            id,
            socket,
            peer,
            guest,
            address: peer,
            stage,
            protocol: None,
            input: BytesMut::new(),
            replies: BytesMut::new(),
            counted: 0,
            tail: Bytes::new(),
            blocked: false,
            held: false,
            stalled: None,
            asks,
            ended: None,
            waker: None,
            looked_at: None,
            accepted_at,
            dead: false,
        }
    }

    /// Whether more may be read from it: not while its protocol waits for an answer, nor while much
    /// that it asked for is still to be written. Being behind in a room is no reason not to hear it.
    pub(super) fn may_read(&self) -> bool {
        !self.is_busy() && self.replies.len() <= REPLIES_READING_MAX
    }

    /// The listeners of other edges that a WebSocket client could go to, as reports name them.
    pub(super) fn web(&self) -> &'static str {
        if self.socket.is_tls() { "https" } else { "http" }
    }

    /// Since when the socket has taken nothing of what waits for it.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled.map(|(since, _)| since)
    }

    /// Whether it is on its way out.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. }) || self.dead
    }

    /// Whether nothing more is read until its protocol has an answer.
    pub(super) fn is_busy(&self) -> bool {
        !self.is_ending() && self.protocol.as_ref().is_some_and(Protocol::is_busy)
    }

    /// Begins to end it. On WebSocket the client is told why.
    pub(super) fn end(&mut self, close: &Close, until: Instant) {
        if self.is_ending() {
            return;
        }
        if matches!(self.stage, Stage::WebSocket(_)) {
            websocket::put_close(&mut self.replies, close.code, &close.reason);
        }
        self.ended = Some(close.blame);
        self.input = BytesMut::new();
        self.stage = Stage::Ending { finished: false, until };
    }

    /// Writes what is pending; returns whether nothing is left.
    pub(super) fn flush(&mut self, now: Instant) -> bool {
        let unfinished = matches!(self.stage, Stage::Ending { finished: false, .. });
        let pending = self.tail.len() + self.replies.len();
        if pending == 0 && !self.blocked && !unfinished {
            return true;
        }
        let flushed = self.try_flush();
        if !self.settle(flushed, now) {
            return false;
        }
        self.blocked = false;
        self.stalled = None;
        if let Stage::Ending { finished: finished @ false, .. } = &mut self.stage {
            *finished = true;
            self.socket.finish();
        }
        true
    }

    /// Offers segments of a room; the front of [`Connection`]'s own bytes goes first.
    pub(super) fn write_segments(
        &mut self,
        accepted: Option<&std::collections::BTreeSet<i32>>,
        segments: &mut dyn Iterator<Item = &Segment>,
        now: Instant,
        counts: &mut WriteCounts,
    ) -> Written {
        const NOTHING: Written = Written { segments: 0, more: false };
        if self.blocked || self.held || self.is_ending() {
            return NOTHING;
        }
        if !self.replies.is_empty() && !self.flush(now) {
            return NOTHING;
        }
        let mut taken = 0;
        loop {
            // On the stack: this is done once for every client and write.
            let mut batch: [(Option<&Segment>, bool); PIECES_MAX] = [(None, false); PIECES_MAX];
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let (mut offered, mut wanted, mut bytes) = (0, 0, 0);
            for segment in &mut *segments {
                let accepted = accepts(accepted, segment);
                batch[offered] = (Some(segment), accepted);
                if accepted {
                    pieces[wanted] = IoSlice::new(&segment.bytes);
                    wanted += 1;
                    bytes += segment.bytes.len();
                }
                offered += 1;
                if bytes >= WRITE_BYTES || offered == PIECES_MAX {
                    break;
                }
            }
            if offered == 0 {
                return Written { segments: taken, more: true };
            }
            let mut written = 0;
            if wanted > 0 {
                match self.socket.write(&pieces[..wanted]) {
                    Ok(taken) => written = taken,
                    Err(error) => {
                        self.die(Blame::from(&error));
                        return Written { segments: taken, more: false };
                    }
                }
            }
            counts.writes += u64::from(written > 0);
            for (segment, accepted) in &batch[..offered] {
                let Some(segment) = segment.filter(|_| *accepted) else {
                    taken += 1;
                    let is_shed = segment.is_some_and(|segment| segment.bytes.is_empty());
                    counts.shed += segment.filter(|_| is_shed).map_or(0, |s| u64::from(s.messages));
                    continue;
                };
                if written == 0 {
                    self.block(now);
                    return Written { segments: taken, more: false };
                }
                taken += 1;
                counts.messages += u64::from(segment.messages);
                if written < segment.bytes.len() {
                    self.tail = segment.bytes.slice(written..);
                    self.block(now);
                    return Written { segments: taken, more: false };
                }
                written -= segment.bytes.len();
            }
            if !self.flush_socket(now) {
                return Written { segments: taken, more: false };
            }
        }
    }

    /// All is over; `blame` counts unless its end was decided before.
    pub(super) fn die(&mut self, blame: Blame) {
        self.ended.get_or_insert(blame);
        self.dead = true;
        self.replies = BytesMut::new();
        self.tail = Bytes::new();
        self.wake();
    }

    /// Lets the connection's task look at it again.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn try_flush(&mut self) -> io::Result<bool> {
        while self.tail.len() + self.replies.len() > 0 {
            let pieces = [IoSlice::new(&self.tail), IoSlice::new(&self.replies)];
            let written = self.socket.write(&pieces)?;
            if written == 0 {
                return Ok(false);
            }
            let of_tail = written.min(self.tail.len());
            self.tail.advance(of_tail);
            self.replies.advance(written - of_tail);
        }
        self.tail = Bytes::new();
        self.replies = BytesMut::new();
        self.socket.flush()
    }

    /// Under TLS, records may be pending although every byte was taken.
    pub(super) fn flush_socket(&mut self, now: Instant) -> bool {
        let flushed = self.socket.flush();
        self.settle(flushed, now)
    }

    /// Draws the consequences of a flush: whether all was taken.
    fn settle(&mut self, flushed: io::Result<bool>, now: Instant) -> bool {
        match flushed {
            Ok(true) => return true,
            Ok(false) => self.block(now),
            Err(error) => self.die(Blame::from(&error)),
        }
        false
    }

    fn block(&mut self, now: Instant) {
        self.blocked = true;
        let taken = self.socket.taken();
        if self.stalled.is_none_or(|(_, before)| before != taken) {
            self.stalled = Some((now, taken));
        }
        self.wake();
    }
}

/// What writing amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WriteCounts {
    /// Calls of the kernel.
    pub(super) writes: u64,
    /// Messages whose last byte, or first part, it took.
    pub(super) messages: u64,
    /// Droppable messages that a slow client does not get.
    pub(super) shed: u64,
}

/// Bytes offered in one write: what a socket's send buffer takes at most by default.
const WRITE_BYTES: usize = 256 << 10;
/// Replies that may wait while more is read from a client.
const REPLIES_READING_MAX: usize = 64 << 10;
/// Replies that may wait for a client in all: several of the largest histories.
pub(super) const REPLIES_MAX: usize = 8 << 20;
/// Pieces offered in one write. A client that keeps up gets one; one that was blocked, a few.
const PIECES_MAX: usize = 32;
