//! What an edge that pulls through this one wants and this one's ring holds no more: it is fetched
//! from the upstream by a pull of its own, and handed on without entering the ring.

use std::sync::Arc;

use shared::channel::ChannelName;
use shared::line::receiver::Event;
use shared::message::Message;
use shared::ring::Cursor;
use shared::wire::control::{self, up};

use super::{Action, Hub, JoinId, ShardId};

/// A pull of messages that are in no ring.
#[derive(Debug)]
pub(super) struct Fetch {
    shard: ShardId,
    join: JoinId,
    channel: ChannelName,
    from: Cursor,
    until: u64,
    messages: Vec<Arc<Message>>,
}

/// What came of a fetch.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The channel.
    pub channel: ChannelName,
    /// The joining for which it was fetched.
    pub join: JoinId,
    /// Where it began.
    pub from: Cursor,
    /// All messages that were wanted, or the place before which they are gone.
    pub messages: Result<Vec<Arc<Message>>, Cursor>,
}

impl Hub {
    /// A reader wants `count` messages from `from` on, which this edge's ring holds no more. Nothing
    /// comes of it if the line goes down before.
    pub fn handle_fetch(
        &mut self,
        shard: ShardId,
        join: JoinId,
        channel: ChannelName,
        from: Cursor,
        count: u32,
    ) {
        if !self.line_up || count == 0 {
            return;
        }
        let pull = self.pull_next;
        self.pull_next += 1;
        let open = control::OpenPull {
            pull,
            channel: channel.as_str().to_owned(),
            epoch: from.epoch.number(),
            next: from.next,
            credit: count,
        };
        let until = from.next.saturating_add(count.into());
        let fetch = Fetch { shard, join, channel, from, until, messages: Vec::new() };
        self.fetches.insert(pull, fetch);
        self.up(up::Kind::Open(control::OpenPulls { pulls: vec![open] }));
    }

    /// Takes an event that belongs to a fetch; gives back any other.
    pub(super) fn take_fetched(&mut self, event: Event) -> Option<Event> {
        let (Event::Message { pull, .. }
        | Event::Opened { pull, .. }
        | Event::Refused { pull, .. }
        | Event::Presence { pull, .. }) = event;
        let Some(fetch) = self.fetches.get_mut(&pull) else { return Some(event) };
        let ended = match event {
            Event::Message { message, .. } => {
                let is_last = message.offset.saturating_add(1) >= fetch.until;
                fetch.messages.push(Arc::new(message));
                is_last.then(|| Ok(std::mem::take(&mut fetch.messages)))
            }
            Event::Opened { epoch, next, .. } => {
                let place = Cursor { epoch, next };
                // A place further on is a gap, also when it is told in the middle.
                let due = fetch.from.next + fetch.messages.len() as u64;
                (place != Cursor { next: due, ..fetch.from }).then_some(Err(place))
            }
            Event::Refused { .. } => Some(Err(Cursor { next: fetch.until, ..fetch.from })),
            Event::Presence { .. } => None,
        };
        if let Some(messages) = ended
            && let Some(Fetch { shard, join, channel, from, .. }) = self.fetches.remove(&pull)
        {
            self.up(up::Kind::Close(control::ClosePulls { pulls: vec![pull] }));
            let fetched = Fetched { channel, join, from, messages };
            self.actions.push_back(Action::Fetched(shard, fetched));
        }
        None
    }

    /// A shard is gone: nothing is fetched for it any more.
    pub(super) fn forget_fetches(&mut self, shard: ShardId) {
        let gone = self.fetches.extract_if(.., |_, fetch| fetch.shard == shard);
        let pulls: Vec<u64> = gone.map(|(pull, _)| pull).collect();
        if !pulls.is_empty() {
            self.up(up::Kind::Close(control::ClosePulls { pulls }));
        }
    }
}
