//! Any conversation against a naive model: each command is answered once, and session and shard
//! agree on what is subscribed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Names of two channels, one of them in both spellings.
const NAMES: [&str; 3] = ["live:1", "live://1", "quiet:2"];

#[derive(Clone, Debug)]
enum Step {
    /// A command on a channel, by the names of requests.
    Command(&'static str, usize),
    /// The oldest, second oldest, ... open ask is answered well, or fails.
    Answer(usize, bool),
    Lose(usize),
    Remove(usize),
    Order(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let requests = ["subscribe", "subscribe", "unsubscribe", "unsubscribe", "presence", "publish"];
    prop_oneof![
        4 => (0..requests.len(), 0..NAMES.len())
            .prop_map(move |(request, name)| Step::Command(requests[request], name)),
        3 => (0..4_usize, any::<bool>()).prop_map(|(index, good)| Step::Answer(index, good)),
        1 => (0..NAMES.len()).prop_map(Step::Lose),
        1 => (0..NAMES.len()).prop_map(Step::Remove),
        1 => (0..NAMES.len()).prop_map(Step::Order),
    ]
}

/// What a shard knows.
#[derive(Default)]
struct Shard {
    /// Subscriptions under way.
    asked: BTreeMap<AskId, ChannelName>,
    open: BTreeSet<ChannelName>,
    requests: BTreeMap<AskId, request::Kind>,
    replies: BTreeMap<u64, usize>,
    closed: bool,
}

impl Shard {
    fn take(&mut self, output: &Output) {
        for text in texts(&output.bytes) {
            let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
            if let Some(id) = reply["id"].as_u64() {
                *self.replies.entry(id).or_default() += 1;
            }
        }
        for ask in &output.asks {
            match ask {
                Ask::Subscribe { id, channel, .. } => {
                    assert!(!self.open.contains(channel), "{channel} is open already");
                    assert!(!self.asked.values().any(|known| known == channel));
                    self.asked.insert(*id, channel.clone());
                }
                Ask::Unsubscribe(channel) => {
                    self.open.remove(channel);
                    self.asked.retain(|_, known| known != channel);
                }
                Ask::Request { id, request } => {
                    self.requests.insert(*id, request.clone());
                }
                Ask::Close(_) => self.closed = true,
                Ask::Identify(_) | Ask::Accept(_) => {}
            }
        }
    }

    fn answer(&mut self, index: usize, good: bool) -> Option<In<'static>> {
        let failed = |AskId(id)| Failed(id, 100, "away", true);
        let asks: Vec<AskId> = self.asked.keys().chain(self.requests.keys()).copied().collect();
        let id = *asks.get(index)?;
        if let Some(channel) = self.asked.remove(&id) {
            if !good {
                return Some(failed(id));
            }
            self.open.insert(channel);
            return Some(Open(id.0, 0));
        }
        let kind = match self.requests.remove(&id)? {
            request::Kind::Publish(_) => response::Kind::Publish(Default::default()),
            _ => response::Kind::Presence(Default::default()),
        };
        Some(if good { Response(id.0, kind) } else { failed(id) })
    }
}

proptest! {
    #[test]
    fn conversations(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut peer = Peer::new(Config::default());
        let mut shard = Shard::default();
        shard.take(&peer.step(&Say(r#"{"id":1,"connect":{}}"#)));
        let mut last_id = 1;
        for step in steps {
            let name = |index: usize| ChannelName::parse(NAMES[index]).unwrap().0;
            let output = match step {
                Step::Command(request, index) => {
                    last_id += 1;
                    let body = json!({"channel": NAMES[index], "data": 1});
                    let text = format!("{{\"id\":{last_id},\"{request}\":{body}}}");
                    peer.step(&Say(&text))
                }
                Step::Answer(index, good) => {
                    let Some(answer) = shard.answer(index, good) else { continue };
                    peer.step(&answer)
                }
                Step::Lose(index) => {
                    // One that the back end made takes the connection with it.
                    let known = peer.session.find(&name(index));
                    if known.is_some_and(|at| peer.session.subscriptions[at].side.is_server()) {
                        continue;
                    }
                    if !shard.open.remove(&name(index)) {
                        continue;
                    }
                    peer.step(&In::Lost(NAMES[index]))
                }
                Step::Remove(index) => peer.step(&In::Command(command::Kind::Unsubscribe(
                    control::Unsubscribe { target: None, channel: NAMES[index].to_owned() },
                ))),
                Step::Order(index) => peer.step(&In::Command(command::Kind::Subscribe(
                    control::Subscribe { channel: NAMES[index].to_owned(), ..Default::default() },
                ))),
            };
            shard.take(&output);
        }
        while let Some(answer) = shard.answer(0, true) {
            let output = peer.step(&answer);
            shard.take(&output);
        }
        prop_assert!(!shard.closed);
        let replies: Vec<(u64, usize)> = shard.replies.into_iter().collect();
        let expected: Vec<(u64, usize)> = (1..=last_id).map(|id| (id, 1)).collect();
        prop_assert_eq!(replies, expected);
        // The broadcast is no subscription of the client's, and may have failed.
        shard.open.remove(&ChannelName::broadcast());
        let known: BTreeSet<ChannelName> =
            peer.session.subscriptions.iter().map(|known| known.channel.clone()).collect();
        prop_assert_eq!(shard.open, known);
        prop_assert_eq!(peer.session.waiting_bytes, 0);
        prop_assert!(peer.session.pending.is_empty());
    }
}
