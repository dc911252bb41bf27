//! Following one channel as a Centrifuge client: the decisions, without a socket.
//!
//! A position (epoch, offset) is all that has to survive a lost connection. After each subscribe the
//! edge is asked to recover from there; what it cannot recover is read from the history; what is not
//! there either is a gap, and said.
//!
//! Invariant: offsets come out ascending and without a hole, except where a [`Out::Gap`] says so.

mod protocol;

use std::collections::VecDeque;

use serde_json::json;
use serde_json::value::RawValue;

use self::protocol::{Failure, HistoryResult, Publication, Push, Reply, SubscribeResult};

/// What the connection is to do, or a person to see.
#[derive(Clone, Debug)]
pub enum Out {
    /// Send this text.
    Send(String),
    /// A message.
    Message(Message),
    /// Messages that were published and cannot be had: the first and the last offset.
    Gap(u64, u64),
    /// The channel's log was lost, and offsets begin anew.
    NewEpoch(String),
    /// The channel is being followed, the next message will be the one after this offset.
    Following(u64),
    /// Send something at least this often, in seconds; expect the same.
    Ping(u64),
}

/// A message, as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its offset; `None` in channels without history.
    pub offset: Option<u64>,
    /// Its body.
    pub data: Box<RawValue>,
    /// The user who published it, if a client did.
    pub user: Option<String>,
    /// Its tags, as `key=value`.
    pub tags: Vec<String>,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Another attempt may succeed.
    #[error("{0}")]
    Again(String),
    /// Another attempt would fail alike.
    #[error("{0}")]
    ForGood(String),
}

/// Where to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next message.
    #[default]
    Now,
    /// After this offset; 0 is the oldest message that is kept.
    After(u64),
}

/// The state of following a channel.
#[derive(Debug)]
pub struct Tail {
    channel: String,
    token: Option<String>,
    /// The epoch and the last offset that was seen, or asked for; the epoch is empty before the
    /// first reply.
    position: Option<(String, u64)>,
    /// While the history is read up to an offset.
    filling: Option<u64>,
    /// What came meanwhile.
    held: VecDeque<Publication>,
    /// The ids of the subscribe and of the history command whose replies are due.
    subscribing: u32,
    reading: u32,
    id: u32,
}

impl Tail {
    /// Follows `channel`; `token` says who we are, without it we are nobody.
    pub fn new(channel: &str, token: Option<String>, start: Start) -> Self {
        let position = match start {
            Start::Now => None,
            Start::After(offset) => Some((String::new(), offset)),
        };
        Self {
            channel: channel.to_owned(),
            token,
            position,
            filling: None,
            held: VecDeque::new(),
            subscribing: 0,
            reading: 0,
            id: 0,
        }
    }

    /// A new connection is open: what to send first.
    pub fn handle_open(&mut self) -> String {
        self.filling = None;
        self.held.clear();
        let mut connect = json!({ "name": "linecast", "version": env!("CARGO_PKG_VERSION") });
        if let Some(token) = &self.token {
            connect["token"] = json!(token);
        }
        let connect = json!({ "id": self.next_id(), "connect": connect });
        format!("{connect}\n{}", self.subscribe())
    }

    /// A frame came: what follows from it.
    pub fn handle_frame(&mut self, frame: &str) -> Result<Vec<Out>, Ended> {
        let mut out = Vec::new();
        for line in frame.lines() {
            if line == "{}" {
                out.push(Out::Send("{}".to_owned()));
                continue;
            }
            let reply: Reply = serde_json::from_str(line)
                .map_err(|error| Ended::Again(format!("the edge sent {line:?}: {error}")))?;
            self.handle_reply(reply, &mut out)?;
        }
        Ok(out)
    }

    /// The connection was closed with this code: whether to connect again.
    pub fn handle_closed(&self, code: u16, reason: &str) -> Ended {
        let said = if reason.is_empty() { "without a reason" } else { reason };
        let text = format!("the edge closed the connection: {said} ({code})");
        // Centrifuge's ranges of codes that ask the client to stay away.
        if matches!(code, 3500..4000 | 4500..5000) {
            Ended::ForGood(text)
        } else {
            Ended::Again(text)
        }
    }

    fn handle_reply(&mut self, reply: Reply, out: &mut Vec<Out>) -> Result<(), Ended> {
        if let Some(push) = reply.push {
            return if push.channel == self.channel { self.handle_push(push, out) } else { Ok(()) };
        }
        if let Some(failure) = reply.error {
            if reply.id == self.reading && self.filling.is_some() {
                // There is no history to read: what was missed stays so.
                self.finish_filling(out);
                return Ok(());
            }
            let what = if reply.id == self.subscribing { "subscribing" } else { "connecting" };
            return Err(failure.ended(what, &self.channel));
        }
        if let Some(connected) = reply.connect
            && connected.ping > 0
        {
            out.push(Out::Ping(connected.ping));
        }
        if let Some(result) = reply.subscribe {
            self.handle_subscribed(result, out);
        }
        if let Some(result) = reply.history {
            self.handle_history(result, out);
        }
        Ok(())
    }

    fn handle_push(&mut self, push: Push, out: &mut Vec<Out>) -> Result<(), Ended> {
        if let Some(publication) = push.publication {
            if self.filling.is_none() {
                self.take(publication, out);
            } else if self.held.len() < HELD_MAX {
                self.held.push_back(publication);
            } else {
                return Err(Ended::Again("more messages came than could be held".to_owned()));
            }
        }
        if let Some(unsubscribe) = push.unsubscribe {
            let text = format!("unsubscribed: {} ({})", unsubscribe.reason, unsubscribe.code);
            if unsubscribe.code < RESUBSCRIBE_FROM {
                return Err(Ended::ForGood(text));
            }
            let again = self.subscribe();
            out.push(Out::Send(again));
        }
        Ok(())
    }

    fn handle_subscribed(&mut self, result: SubscribeResult, out: &mut Vec<Out>) {
        let SubscribeResult { epoch, offset: top, recovered, publications } = result;
        let Some((known, last)) = self.position.take() else {
            self.position = Some((epoch, top));
            out.push(Out::Following(top));
            return;
        };
        let same = known.is_empty() || known == epoch;
        if !same {
            out.push(Out::NewEpoch(epoch.clone()));
        }
        // In a new epoch, everything there is was published while we were away.
        let last = if same { last } else { 0 };
        self.position = Some((epoch, last));
        if recovered {
            for publication in publications {
                self.take(publication, out);
            }
            out.push(Out::Following(self.last()));
        } else if last < top {
            self.filling = Some(top);
            let read = self.read_history();
            out.push(Out::Send(read));
        } else {
            out.push(Out::Following(last));
        }
    }

    fn handle_history(&mut self, result: HistoryResult, out: &mut Vec<Out>) {
        let Some(goal) = self.filling else { return };
        let before = self.last();
        for publication in result.publications {
            self.take(publication, out);
        }
        if self.last() > before && self.last() < goal {
            let read = self.read_history();
            out.push(Out::Send(read));
        } else {
            self.finish_filling(out);
        }
    }

    /// Ends reading the history: what it did not have is gone.
    fn finish_filling(&mut self, out: &mut Vec<Out>) {
        let Some(goal) = self.filling.take() else { return };
        self.skip_to(goal + 1, out);
        out.push(Out::Following(self.last()));
        for publication in std::mem::take(&mut self.held) {
            self.take(publication, out);
        }
    }

    /// Lets a message out, unless it came before.
    fn take(&mut self, publication: Publication, out: &mut Vec<Out>) {
        if let Some(offset) = publication.offset {
            if offset <= self.last() {
                return;
            }
            self.skip_to(offset, out);
            if let Some((_, last)) = &mut self.position {
                *last = offset;
            }
        }
        out.push(Out::Message(publication.into()));
    }

    /// Says what is missing before `next`, which is then due.
    fn skip_to(&mut self, next: u64, out: &mut Vec<Out>) {
        if let Some((_, last)) = &mut self.position
            && *last + 1 < next
        {
            out.push(Out::Gap(*last + 1, next - 1));
            *last = next - 1;
        }
    }

    fn last(&self) -> u64 {
        self.position.as_ref().map_or(0, |(_, last)| *last)
    }

    fn subscribe(&mut self) -> String {
        let mut request = json!({ "channel": self.channel });
        if let Some((epoch, offset)) = &self.position {
            request["recover"] = json!(true);
            request["epoch"] = json!(epoch);
            request["offset"] = json!(offset);
        }
        self.subscribing = self.next_id();
        json!({ "id": self.subscribing, "subscribe": request }).to_string()
    }

    fn read_history(&mut self) -> String {
        let (epoch, last) = self.position.clone().unwrap_or_default();
        self.reading = self.next_id();
        let since = json!({ "epoch": epoch, "offset": last });
        let request = json!({ "channel": self.channel, "limit": PAGE, "since": since });
        json!({ "id": self.reading, "history": request }).to_string()
    }

    fn next_id(&mut self) -> u32 {
        self.id += 1;
        self.id
    }
}

impl Failure {
    fn ended(self, what: &str, channel: &str) -> Ended {
        let text = format!("{what} to {channel}: {} ({})", self.message, self.code);
        if self.temporary { Ended::Again(text) } else { Ended::ForGood(text) }
    }
}

/// Messages asked of the history at once: Centrifugo's own limit.
const PAGE: u32 = 300;

/// Messages kept while the history is read.
const HELD_MAX: usize = 10_000;

/// Codes of unsubscribe pushes from here on ask to subscribe again.
const RESUBSCRIBE_FROM: u32 = 2500;

#[cfg(test)]
mod tests;
