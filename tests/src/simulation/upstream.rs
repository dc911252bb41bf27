//! The simulated upstream: logs, pulls, and the answering end of the trunk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use shared::line::{Answerer, Asked};
use shared::message::{Class, Content, Epoch, Message};
use shared::wire::control::{self, down, up};

/// One channel's log, and the pull that reads it.
#[derive(Debug)]
struct Channel {
    epoch: Epoch,
    log: Vec<Message>,
    /// The next offset to send, once the pull is open; and how far it may be sent.
    next: Option<u64>,
    until: u64,
}

/// An upstream's process.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) answerer: Answerer,
    /// The trunk's name.
    pub(super) trunk: u64,
    /// By the channel's name, which is the pull's place in the scenario.
    channels: BTreeMap<String, Channel>,
    /// The channel of each pull.
    pulls: BTreeMap<u64, String>,
    /// Pulls whose stream of earlier messages is under way.
    pub(super) streaming: BTreeSet<u64>,
    /// What the edge told, in order.
    pub(super) told: Vec<u64>,
}

impl Upstream {
    pub(super) fn new(channels: usize, seed: u64, now: Instant) -> Self {
        let channel = |at: usize| {
            let epoch = Epoch::from_random(7);
            (at.to_string(), Channel { epoch, log: Vec::new(), next: None, until: 0 })
        };
        Self {
            answerer: Answerer::new(seed, now),
            trunk: 1,
            channels: (0..channels).map(channel).collect(),
            pulls: BTreeMap::new(),
            streaming: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    /// Another process takes over: it knows no trunk, and perhaps no log.
    pub(super) fn restart(&mut self, log_lost: bool, seed: u64, now: Instant) {
        self.answerer = Answerer::new(seed, now);
        self.trunk += 1;
        self.pulls.clear();
        self.streaming.clear();
        for channel in self.channels.values_mut() {
            channel.next = None;
            if log_lost {
                channel.log.clear();
                channel.epoch = Epoch::from_random(channel.epoch.number() + 1);
            }
        }
    }

    /// Publishes the next message of a channel; answers where it is.
    pub(super) fn publish(&mut self, at: usize, bytes: usize, class: Class) -> (Epoch, u64) {
        let Some(channel) = self.channels.get_mut(&at.to_string()) else {
            return (Epoch::from_random(1), 0);
        };
        let offset = channel.log.len() as u64 + 1;
        let body = body(at, channel.epoch, offset, bytes);
        let content = Content { body, class, ..Content::default() };
        channel.log.push(Message { offset, time_ms: 1_800_000_000_000, content });
        (channel.epoch, offset)
    }

    /// Takes what the edge said and asked, and sends what is due.
    pub(super) fn act(&mut self, now: Instant) {
        while let Some(kind) = self.answerer.poll_control() {
            match kind {
                up::Kind::Open(open) => {
                    for pull in open.pulls {
                        self.open(&pull, now);
                    }
                }
                up::Kind::Credit(credit) => {
                    for grant in credit.grants {
                        if let Some(channel) = self.channel(grant.pull) {
                            channel.until = channel.until.max(grant.until);
                        }
                    }
                }
                up::Kind::Online(update) => self.told.push(update.seq),
                _ => {}
            }
        }
        while let Some(asked) = self.answerer.poll_asked() {
            self.repair(&asked, now);
        }
        for pull in self.pulls.keys().copied().collect::<Vec<_>>() {
            self.write(pull, now);
        }
        self.answerer.flush(now);
    }

    fn channel(&mut self, pull: u64) -> Option<&mut Channel> {
        self.channels.get_mut(self.pulls.get(&pull)?)
    }

    fn open(&mut self, open: &control::OpenPull, now: Instant) {
        self.pulls.retain(|_, name| *name != open.channel);
        self.pulls.insert(open.pull, open.channel.clone());
        let Some(channel) = self.channel(open.pull) else { return };
        let top = channel.log.len() as u64;
        let same = open.epoch == channel.epoch.number();
        let next = if same { open.next } else { top + 1 };
        channel.next = Some(next);
        channel.until = next + u64::from(open.credit);
        let epoch = channel.epoch.number();
        let opened = control::Opened { pull: open.pull, epoch, next, top };
        let _ = self.answerer.send(down::Kind::Opened(opened), now);
    }

    fn repair(&mut self, asked: &Asked, now: Instant) {
        let Some(name) = self.pulls.get(&asked.pull) else { return };
        let Some(channel) = self.channels.get(name) else { return };
        for offset in &asked.offsets {
            if let Some(message) = channel.log.get(*offset as usize - 1) {
                self.answerer.repair(asked.line, asked.pull, channel.epoch, message, now);
            }
        }
    }

    fn write(&mut self, pull: u64, now: Instant) {
        if !self.answerer.is_ready() || self.streaming.contains(&pull) {
            return;
        }
        let Some(name) = self.pulls.get(&pull) else { return };
        let Some(channel) = self.channels.get_mut(name) else { return };
        let Some(next) = channel.next else { return };
        let end = (channel.log.len() as u64 + 1).min(channel.until).min(next + TURN);
        if next >= end {
            return;
        }
        let batch = &channel.log[next as usize - 1..end as usize - 1];
        if channel.log.len() as u64 + 1 - next > LIVE {
            if self.answerer.catch_up(pull, channel.epoch, batch, now).is_some() {
                self.streaming.insert(pull);
            }
        } else {
            for message in batch {
                self.answerer.publish(pull, channel.epoch, message, now);
            }
        }
        channel.next = Some(end);
    }
}

/// What a message must be.
pub(super) fn body(at: usize, epoch: Epoch, offset: u64, bytes: usize) -> Bytes {
    let head = format!("{at} {} {offset} ", epoch.number());
    let mut body = head.into_bytes();
    body.resize(bytes.max(body.len()), b'x');
    body.into()
}

/// Messages of one pull at a time.
const TURN: u64 = 256;
/// A pull that is further behind catches up on a stream.
const LIVE: u64 = 64;
