//! The simulated network: lines of two links each, datagrams that meet them, and streams that are sent
//! again until they have passed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use deploy::relay::{Fate, Link, Preset};
use shared::line::LineId;
use shared::wire::control::{down, up};
use shared::wire::frame::Frame;

use super::scenario::link;

/// Which end of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Edge,
    Upstream,
}

/// What arrives somewhere.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Datagram(Bytes),
    /// A control message, with its place in its stream.
    Up(u64, u64, up::Kind),
    Down(u64, u64, down::Kind),
    /// A whole stream.
    Frames(Vec<Frame>, usize),
    /// The other end closed the connection.
    Close,
    /// The caller's first flight, and the welcome with the trunk's name.
    Call,
    Welcome(u64),
}

impl Parcel {
    fn is_reliable(&self) -> bool {
        !matches!(self, Self::Datagram(_) | Self::Close)
    }
}

/// Something that happens at an instant.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Arrive {
        to: End,
        line: LineId,
        attempt: u64,
        parcel: Parcel,
    },
    /// A part of a stream was lost: it is sent again.
    Again {
        to: End,
        line: LineId,
        attempt: u64,
        parcel: Parcel,
        rest: Rest,
    },
}

/// What is still to arrive of something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    bytes: usize,
    tries: u32,
    /// When the last of the others arrives.
    latest: Instant,
}

/// Three lines and what is under way on them.
pub(super) struct Network {
    links: BTreeMap<LineId, [Link; 2]>,
    events: BTreeMap<(Instant, u64), Event>,
    next: u64,
    rtt: Duration,
    /// Bytes offered towards the edge, with all headers.
    pub(super) down_bytes: u64,
}

impl Network {
    pub(super) fn new(presets: [Preset; 2], rtt: Duration, seed: u64, now: Instant) -> Self {
        let line = |id: u32| {
            let seeds = [seed ^ (u64::from(id) << 33 | 1), seed ^ (u64::from(id) << 33 | 2)];
            let [up, down] = presets.map(|preset| link(preset, rtt));
            (LineId(id), [Link::new(up, seeds[0], now), Link::new(down, seeds[1], now)])
        };
        Self {
            links: (0..LINES).map(line).collect(),
            events: BTreeMap::new(),
            next: 0,
            rtt,
            down_bytes: 0,
        }
    }

    pub(super) fn set(&mut self, line: LineId, [up, down]: [Preset; 2], now: Instant) {
        if let Some([up_link, down_link]) = self.links.get_mut(&line) {
            up_link.set(link(up, self.rtt), now);
            down_link.set(link(down, self.rtt), now);
        }
    }

    pub(super) fn lines(&self) -> Vec<LineId> {
        self.links.keys().copied().collect()
    }

    /// Sends something of `bytes` bytes.
    pub(super) fn send(
        &mut self,
        to: End,
        (line, attempt): (LineId, u64),
        parcel: Parcel,
        bytes: usize,
        now: Instant,
    ) {
        let rest = Rest { bytes, tries: 0, latest: now };
        self.offer(to, (line, attempt), parcel, rest, now);
    }

    fn offer(
        &mut self,
        to: End,
        (line, attempt): (LineId, u64),
        parcel: Parcel,
        Rest { bytes, tries, mut latest }: Rest,
        now: Instant,
    ) {
        let Some([up, down]) = self.links.get_mut(&line) else { return };
        let link = if to == End::Edge { down } else { up };
        let mut lost = 0;
        for _ in 0..bytes.div_ceil(DATAGRAM_BYTES).max(1) {
            let length = bytes.min(DATAGRAM_BYTES) + HEADER_BYTES;
            if to == End::Edge {
                self.down_bytes += length as u64;
            }
            match link.offer(length, now) {
                Fate::Deliver(at) => latest = latest.max(at),
                Fate::Drop(_) => lost += bytes.min(DATAGRAM_BYTES),
            }
        }
        if lost == 0 {
            self.push(latest, Event::Arrive { to, line, attempt, parcel });
        } else if parcel.is_reliable() && tries < TRIES_MAX {
            // As QUIC's probe time-out: one and a half round trips, doubled each time.
            let at = now + self.rtt.mul_f64(1.5) * (1 << tries.min(3));
            let rest = Rest { bytes: lost, tries: tries + 1, latest };
            self.push(at, Event::Again { to, line, attempt, parcel, rest });
        }
    }

    /// Something has arrived that nobody can take yet.
    pub(super) fn wait(&mut self, event: Event, now: Instant) {
        let is_reliable = matches!(&event, Event::Arrive { parcel, .. } if parcel.is_reliable());
        if is_reliable {
            self.push(now + WAIT, event);
        }
    }

    /// What happens next, unless it is after `until`.
    pub(super) fn pop(&mut self, until: Instant) -> Option<Event> {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= until
        {
            let (at, _) = *entry.key();
            match entry.remove() {
                Event::Again { to, line, attempt, parcel, rest } => {
                    self.offer(to, (line, attempt), parcel, rest, at);
                }
                arrived => return Some(arrived),
            }
        }
        None
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }
}

/// Lines of a trunk.
const LINES: u32 = 3;
const DATAGRAM_BYTES: usize = 1200;
/// IPv4 and UDP, 28; QUIC's short header with an id of 8 bytes and a number of 2, its tag of 16, and the
/// head of the datagram's frame, 3.
const HEADER_BYTES: usize = 58;
/// How soon it is looked whether something can be taken.
const WAIT: Duration = Duration::from_millis(5);
/// Until then a connection has been given up.
const TRIES_MAX: u32 = 12;
