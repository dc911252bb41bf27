//! What shards are told: the queue of each, and what waits where that is full.
//!
//! The hub's task never waits for a shard, as the beats of its trunks would wait with it. A shard
//! that is busy holds the pulls' credit instead, and by that the upstream. One that takes nothing for
//! longer falls behind alone, and learns of a gap when it goes on.
//!
//! Invariant: a shard is told everything in order, or a gap instead of news that were dropped.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::ring::Weigh;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::ToShard;
use crate::form::Item;
use crate::hub::{News, Notice};

/// The way to a shard.
pub(super) struct Outlet {
    to: mpsc::Sender<ToShard>,
    /// What its queue has no place for.
    waiting: VecDeque<ToShard>,
    bytes: usize,
    /// When it last took something, while anything waits.
    moved_at: Instant,
    /// Channels of which news were dropped since too much waited, and whether messages were among
    /// them.
    lost: Option<BTreeMap<ChannelName, bool>>,
}

impl Outlet {
    pub(super) fn new(to: mpsc::Sender<ToShard>, now: Instant) -> Self {
        Self { to, waiting: VecDeque::new(), bytes: 0, moved_at: now, lost: None }
    }

    /// Tells the shard, now or when it has a place for it.
    pub(super) fn tell(&mut self, message: ToShard, now: Instant) {
        let Some(message) = self.keep(message) else { return };
        let message = if self.waiting.is_empty() {
            match self.to.try_send(message) {
                Err(TrySendError::Full(message)) => message,
                Ok(()) | Err(TrySendError::Closed(_)) => return,
            }
        } else {
            message
        };
        if self.waiting.is_empty() {
            self.moved_at = now;
        }
        self.bytes += weight(&message);
        self.waiting.push_back(message);
        if self.bytes > WAITING_BYTES_MAX && self.lost.is_none() {
            tracing::error!("a shard takes nothing: it loses messages");
            self.lost = Some(BTreeMap::new());
            let waiting = std::mem::take(&mut self.waiting);
            self.waiting = waiting.into_iter().filter_map(|message| self.keep(message)).collect();
            self.bytes = self.waiting.iter().map(weight).sum();
        }
    }

    /// Hands on what waited.
    pub(super) fn flush(&mut self, now: Instant) {
        while !self.waiting.is_empty() {
            match self.to.try_reserve() {
                Ok(place) => {
                    let Some(message) = self.waiting.pop_front() else { return };
                    self.bytes -= weight(&message);
                    self.moved_at = now;
                    place.send(message);
                }
                Err(TrySendError::Full(())) => return,
                Err(TrySendError::Closed(())) => {
                    self.waiting.clear();
                    self.bytes = 0;
                }
            }
        }
    }

    /// Whether something waits.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the upstream should wait for it.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.is_behind() && now.saturating_duration_since(self.moved_at) < HOLD_MAX
    }

    /// The channels whose news it has lost, once it has taken everything else. What it is told from
    /// now on it gets.
    pub(super) fn take_lost(&mut self) -> Option<BTreeMap<ChannelName, bool>> {
        if self.is_behind() { None } else { self.lost.take() }
    }

    /// Where answers to its requests go.
    pub(super) fn queue(&self) -> mpsc::Sender<ToShard> {
        self.to.clone()
    }

    /// A message, unless it belongs to the news that are dropped.
    fn keep(&mut self, message: ToShard) -> Option<ToShard> {
        let Some(lost) = &mut self.lost else { return Some(message) };
        let ToShard::Notice(Notice { channel, news, .. }) = &message else { return Some(message) };
        let is_total = match news {
            News::Open { .. } | News::Refused { .. } => return Some(message),
            News::Items(_) | News::Gap(_) => false,
            News::Total(_) => true,
        };
        *lost.entry(channel.clone()).or_default() |= !is_total;
        None
    }
}

/// Bytes that a message keeps; a channel's tail is its ring's.
fn weight(message: &ToShard) -> usize {
    let items = match message {
        ToShard::Notice(Notice { news: News::Items(items), .. }) => &**items,
        _ => &[],
    };
    let bytes = items.iter().map(|item| match item {
        Item::Message(message) => message.weight(),
        Item::Presence { info, .. } => info.conn_info.len() + info.chan_info.len() + ENTRY_BYTES,
    });
    ENTRY_BYTES + bytes.sum::<usize>()
}

/// How long a shard that takes nothing holds the upstream: longer than any of its tasks takes a turn.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// What may wait for a shard: a second of 50,000 messages of chat a second, twice.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Bytes of what is told without its content.
const ENTRY_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::message::{Content, Epoch, Message, Position};

    use super::*;
    use crate::hub::JoinId;

    fn notice(channel: &str, news: News) -> ToShard {
        let channel = ChannelName::parse(channel).unwrap().0;
        ToShard::Notice(Notice { channel, join: JoinId(1), news })
    }

    fn items(channel: &str, offset: u64, bytes: usize) -> ToShard {
        let content = Content { body: vec![0; bytes].into(), ..Content::default() };
        let message = Message { offset, time_ms: 0, content };
        notice(channel, News::Items([Item::Message(Arc::new(message))].into()))
    }

    fn open(channel: &str) -> ToShard {
        let position = Position { epoch: Epoch::new(1).unwrap(), offset: 0 };
        notice(channel, News::Open { position, offsets: true, tail: Vec::new() })
    }

    /// What comes out, in short.
    fn next(queue: &mut mpsc::Receiver<ToShard>) -> String {
        let Ok(ToShard::Notice(Notice { channel, news, .. })) = queue.try_recv() else {
            return "nothing".into();
        };
        match news {
            News::Open { .. } => format!("{channel} opens"),
            News::Items(items) => match &items[0] {
                Item::Message(message) => format!("{channel} {}", message.offset),
                Item::Presence { .. } => "presence".into(),
            },
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_busy_shard_gets_everything_in_order_and_holds_the_upstream_for_a_while() {
        let start = Instant::now();
        let (to, mut queue) = mpsc::channel(2);
        let mut outlet = Outlet::new(to, start);
        (1..=5).for_each(|offset| outlet.tell(items("a", offset, 10), start));
        assert!(outlet.holds(start) && !outlet.holds(start + HOLD_MAX));
        assert_eq!(next(&mut queue), "a 1");
        outlet.flush(start + HOLD_MAX);
        assert!(outlet.holds(start + HOLD_MAX), "it moves on");
        for offset in 2..=5 {
            assert_eq!(next(&mut queue), format!("a {offset}"));
            outlet.flush(start);
        }
        assert!(!outlet.is_behind() && outlet.bytes == 0 && outlet.take_lost().is_none());
        outlet.tell(items("a", 6, 10), start);
        assert_eq!(next(&mut queue), "a 6");
    }

    #[test]
    fn a_stalled_shard_loses_news_and_nothing_else() {
        let now = Instant::now();
        let (to, mut queue) = mpsc::channel(1);
        let mut outlet = Outlet::new(to, now);
        outlet.tell(items("a", 1, 10), now);
        outlet.tell(items("a", 2, 10), now);
        outlet.tell(open("b"), now);
        outlet.tell(items("b", 1, WAITING_BYTES_MAX), now);
        outlet.tell(notice("c", News::Total(3)), now);
        outlet.tell(open("d"), now);
        assert!(outlet.bytes < 1000 && outlet.take_lost().is_none(), "something waits yet");
        for told in ["a 1", "b opens", "d opens", "nothing"] {
            assert_eq!(next(&mut queue), told);
            outlet.flush(now);
        }
        let lost = outlet.take_lost().unwrap();
        let lost: Vec<_> = lost.iter().map(|(name, messages)| (name.as_str(), *messages)).collect();
        assert_eq!(lost, [("a", true), ("b", true), ("c", false)]);
        outlet.tell(items("a", 9, 10), now);
        assert_eq!(next(&mut queue), "a 9", "after its gap");
    }
}
