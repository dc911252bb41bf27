use proptest::prelude::*;
use prost::Message as _;
use shared::limits::CONTROL_BYTES_MAX;
use shared::message::{Content, Epoch};

use super::*;

const SHARD: ShardId = ShardId(0);
const OTHER: ShardId = ShardId(1);

fn room() -> ChannelName {
    ChannelName::parse("live:1").expect("a name").0
}

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).expect("not zero")
}

fn message(offset: u64) -> Message {
    Message { offset, time_ms: 0, content: Content::default() }
}

fn namespaces() -> Arc<Namespaces> {
    Arc::new(Namespaces::new([("live".to_owned(), Options::default())].into()))
}

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn now() -> Instant {
    Instant::now()
}

fn drain(hub: &mut Hub) -> Vec<Action> {
    std::iter::from_fn(|| hub.poll_action()).collect()
}

/// A hub with a line, and whatever it said about that out of the way.
fn connected(start: Instant) -> Hub {
    let mut hub = Hub::new(Duration::from_secs(30), 100, start);
    hub.handle_line_up(namespaces());
    hub.handle_origin_up();
    drain(&mut hub);
    hub
}

fn open_of(action: &Action) -> Option<&Vec<control::OpenPull>> {
    let Action::Up(kind) = action else { return None };
    let up::Kind::Open(open) = &**kind else { return None };
    Some(&open.pulls)
}

/// The pulls that are opened, but for the broadcast.
fn opens(actions: &[Action]) -> Vec<&control::OpenPull> {
    let all = actions.iter().filter_map(open_of).flatten();
    all.filter(|open| open.channel != "@all").collect()
}

/// What a shard was told, in short.
fn told(actions: Vec<Action>, to: ShardId) -> Vec<String> {
    actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Tell(shard, notice) if shard == to => Some(notice.news),
            _ => None,
        })
        .map(|news| match news {
            News::Open { position, tail, .. } => {
                format!("open at {} with {}", position.offset, tail.len())
            }
            News::Items(items) => {
                let offsets = items.iter().map(|item| match item {
                    Item::Message(message) => message.offset.to_string(),
                    Item::Presence { info, .. } => info.client.clone(),
                });
                format!("items {}", offsets.collect::<Vec<_>>().join(" "))
            }
            News::Gap(position) => format!("gap to {}", position.offset),
            News::Refused { code, temporary, .. } => format!("refused {code} {temporary}"),
            News::Total(count) => format!("total {count}"),
        })
        .collect()
}

#[test]
fn many_joins_make_one_pull() {
    let start = now();
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    hub.handle_join(OTHER, JoinId(1), room(), None, start);
    hub.handle_join(OTHER, JoinId(1), room(), None, start);
    let actions = drain(&mut hub);
    let opens = opens(&actions);
    assert_eq!(opens.len(), 1);
    let pull = opens[0].pull;

    hub.handle_events([Event::Opened { pull, epoch: epoch(7), next: 1, top: 2 }], start);
    assert!(drain(&mut hub).is_empty(), "nobody reads before the pull has caught up");
    let frame = |offset| Event::Message {
        pull,
        epoch: epoch(7),
        message: message(offset),
        waited: Duration::ZERO,
    };
    hub.handle_events([frame(1), frame(2), frame(3)], start);
    let actions = drain(&mut hub);
    for shard in [SHARD, OTHER] {
        assert_eq!(told(actions.clone(), shard), ["open at 2 with 2", "items 3"]);
    }
    // A shard that comes later is served from the ring, at once.
    hub.handle_join(ShardId(2), JoinId(1), room(), None, start);
    assert_eq!(told(drain(&mut hub), ShardId(2)), ["open at 3 with 3"]);
}

#[test]
fn a_pull_resumes_at_its_cursor_and_a_new_epoch_is_a_gap() {
    let start = now();
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    let pull = opens(&drain(&mut hub))[0].pull;
    hub.handle_events([Event::Opened { pull, epoch: epoch(7), next: 5, top: 4 }], start);
    hub.handle_events(
        [Event::Message { pull, epoch: epoch(7), message: message(5), waited: Duration::ZERO }],
        start,
    );
    assert_eq!(told(drain(&mut hub), SHARD), ["open at 4 with 0", "items 5"]);

    hub.handle_line_down();
    hub.handle_join(OTHER, JoinId(1), room(), None, start);
    assert_eq!(told(drain(&mut hub), OTHER), ["open at 5 with 1"], "served while the line is away");
    hub.handle_line_up(namespaces());
    let actions = drain(&mut hub);
    let open = opens(&actions)[0];
    assert_eq!((open.epoch, open.next), (7, 6));
    let pull = open.pull;
    hub.handle_events(
        [
            Event::Opened { pull, epoch: epoch(7), next: 6, top: 6 },
            Event::Message { pull, epoch: epoch(7), message: message(6), waited: Duration::ZERO },
        ],
        start,
    );
    assert_eq!(told(drain(&mut hub), SHARD), ["items 6"]);

    hub.handle_line_down();
    hub.handle_line_up(namespaces());
    let pull = opens(&drain(&mut hub))[0].pull;
    hub.handle_events(
        [
            Event::Opened { pull, epoch: epoch(8), next: 3, top: 3 },
            Event::Message { pull, epoch: epoch(8), message: message(3), waited: Duration::ZERO },
        ],
        start,
    );
    assert_eq!(told(drain(&mut hub), SHARD), ["gap to 2", "items 3"]);
    assert_eq!(hub.counts().gaps, 1);
}

#[test]
fn what_does_not_follow_is_pulled_anew_and_what_came_before_is_dropped() {
    let start = now();
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    let pull = opens(&drain(&mut hub))[0].pull;
    let frame = |pull, offset| Event::Message {
        pull,
        epoch: epoch(7),
        message: message(offset),
        waited: Duration::ZERO,
    };
    hub.handle_events([Event::Opened { pull, epoch: epoch(7), next: 1, top: 0 }], start);
    drain(&mut hub);
    hub.handle_events([frame(pull, 1), frame(pull, 1), frame(pull, 3), frame(pull, 4)], start);
    let actions = drain(&mut hub);
    assert_eq!(told(actions.clone(), SHARD), ["items 1"]);
    assert_eq!(hub.counts().duplicates, 1);
    let open = opens(&actions)[0];
    assert_eq!((open.epoch, open.next), (7, 2));
}

#[test]
fn a_channel_that_nobody_answers_for_is_refused_in_time() {
    let start = now();
    let mut hub = Hub::new(Duration::from_secs(30), 100, start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    hub.handle_deadline(start + JOIN_TIMEOUT);
    assert_eq!(told(drain(&mut hub), SHARD), ["refused 100 true"]);
    assert_eq!(hub.channels(), 1, "only the broadcast is left");
}

#[test]
fn a_refused_broadcast_is_tried_again() {
    let start = now();
    let mut hub = Hub::new(Duration::from_secs(30), 100, start);
    hub.handle_line_up(namespaces());
    let pulls = |actions: &[Action]| {
        let all = actions.iter().filter_map(open_of).flatten();
        all.filter(|open| open.channel == "@all").map(|open| open.pull).collect::<Vec<_>>()
    };
    let pull = pulls(&drain(&mut hub))[0];
    hub.handle_join(SHARD, JoinId(1), ChannelName::broadcast(), None, start);
    let (code, temporary, reason) = (106, true, "full".to_owned());
    hub.handle_events([Event::Refused { pull, code, temporary, reason }], start);
    assert_eq!(told(drain(&mut hub), SHARD), ["refused 106 true"]);
    hub.handle_join(SHARD, JoinId(2), ChannelName::broadcast(), None, start);
    hub.handle_deadline(start + Duration::from_secs(5));
    assert_eq!(told(drain(&mut hub), SHARD), ["refused 100 true"], "nobody waits for ever");
    hub.handle_deadline(start + Duration::from_secs(7));
    assert_eq!(pulls(&drain(&mut hub)).len(), 1);
}

#[test]
fn who_joins_again_is_answered_in_time() {
    let start = now();
    let mut hub = Hub::new(Duration::from_secs(30), 100, start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    hub.handle_leave(SHARD, JoinId(1), &room(), start);
    hub.handle_join(SHARD, JoinId(2), room(), None, start);
    hub.handle_leave(SHARD, JoinId(1), &room(), start); // late: of the joining that is over
    hub.handle_deadline(start + JOIN_TIMEOUT);
    assert_eq!(told(drain(&mut hub), SHARD), ["refused 100 true"]);
}

#[test]
fn channels_are_bounded() {
    let start = now();
    let mut hub = Hub::new(Duration::from_secs(30), 2, start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    let other = ChannelName::parse("live:2").expect("a name").0;
    hub.handle_join(SHARD, JoinId(2), other.clone(), None, start);
    assert_eq!(told(drain(&mut hub), SHARD), ["refused 106 true"]);
    // What merely lingers makes room.
    hub.handle_leave(SHARD, JoinId(1), &room(), start);
    hub.handle_join(SHARD, JoinId(3), other, None, start);
    assert!(told(drain(&mut hub), SHARD).is_empty());
    assert!(!hub.channels.contains_key(&room()));
}

#[test]
fn presence_is_cut_into_pieces_that_fit() {
    let start = now();
    let mut hub = connected(start);
    let info = ClientInfo { conn_info: vec![b' '; 10_000].into(), ..ClientInfo::default() };
    for client in 0..1000 {
        let info = ClientInfo { client: client.to_string(), ..info.clone() };
        hub.handle_presence(&room(), true, &info);
    }
    let mut told = 0;
    for action in drain(&mut hub) {
        if let Action::Update(kind) = action
            && let up::Kind::Presence(update) = *kind
        {
            assert!(update.encoded_len() <= CONTROL_BYTES_MAX);
            told += update.changes.len();
        }
    }
    assert_eq!(told, 1000);
}

#[test]
fn a_refusal_reaches_every_shard() {
    let start = now();
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    hub.handle_join(OTHER, JoinId(1), room(), None, start);
    let pull = opens(&drain(&mut hub))[0].pull;
    hub.handle_events(
        [Event::Refused { pull, code: 102, temporary: false, reason: "unknown".into() }],
        start,
    );
    let actions = drain(&mut hub);
    assert_eq!(told(actions.clone(), SHARD), ["refused 102 false"]);
    assert_eq!(told(actions, OTHER), ["refused 102 false"]);
}

#[test]
fn a_pull_lingers_after_its_last_reader() {
    let start = now();
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    let pull = opens(&drain(&mut hub))[0].pull;
    hub.handle_events([Event::Opened { pull, epoch: epoch(7), next: 1, top: 0 }], start);
    hub.handle_leave(SHARD, JoinId(1), &room(), start);
    hub.handle_deadline(start + Duration::from_secs(29));
    hub.handle_events(
        [Event::Message { pull, epoch: epoch(7), message: message(1), waited: Duration::ZERO }],
        start,
    );
    drain(&mut hub);
    hub.handle_join(SHARD, JoinId(1), room(), None, start + Duration::from_secs(29));
    assert_eq!(told(drain(&mut hub), SHARD), ["open at 1 with 1"]);

    hub.handle_leave(SHARD, JoinId(1), &room(), start + Duration::from_secs(29));
    hub.handle_deadline(start + Duration::from_secs(59));
    let closed = |action: &Action| match action {
        Action::Up(kind) => matches!(**kind, up::Kind::Close(_)),
        Action::Update(_) | Action::Tell(..) | Action::Fetched(..) => false,
    };
    assert_eq!(drain(&mut hub).iter().filter(|action| closed(action)).count(), 1);
    assert_eq!(hub.channels(), 1);
}

#[test]
fn an_inbox_does_not_linger() {
    let start = now();
    let mut hub = connected(start);
    let inbox = ChannelName::inbox("42").expect("a name");
    hub.handle_join(SHARD, JoinId(1), inbox.clone(), None, start);
    hub.handle_leave(SHARD, JoinId(1), &inbox, start);
    assert_eq!(hub.channels(), 1);
}

#[test]
fn credit_is_granted_as_messages_are_taken() {
    let start = now();
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    let open = opens(&drain(&mut hub))[0].clone();
    hub.handle_events([Event::Opened { pull: open.pull, epoch: epoch(7), next: 1, top: 0 }], start);
    let mut until = 1 + u64::from(open.credit);
    for offset in 1..=10_000 {
        assert!(offset < until, "the upstream never has to wait for a reader that keeps up");
        let message = message(offset);
        hub.handle_events(
            [Event::Message { pull: open.pull, epoch: epoch(7), message, waited: Duration::ZERO }],
            start,
        );
        for action in drain(&mut hub) {
            if let Action::Up(kind) = action
                && let up::Kind::Credit(grant) = *kind
            {
                until = grant.grants[0].until;
            }
        }
    }
}

#[test]
fn counts_are_summed_over_shards_and_told_anew_with_each_line() {
    let start = now();
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    hub.handle_join(OTHER, JoinId(1), room(), None, start);
    hub.handle_count(SHARD, &room(), 3);
    hub.handle_count(OTHER, &room(), 4);
    for private in [ChannelName::inbox("42"), ChannelName::key("k")] {
        let private = private.expect("a name");
        hub.handle_join(SHARD, JoinId(2), private.clone(), None, start);
        hub.handle_count(SHARD, &private, 1);
    }
    drain(&mut hub);
    hub.handle_deadline(start + ONLINE_EVERY);
    let counts = |actions: Vec<Action>| {
        let update = |action| match action {
            Action::Update(kind) => match *kind {
                up::Kind::Online(update) => Some(update),
                _ => None,
            },
            Action::Up(_) | Action::Tell(..) | Action::Fetched(..) => None,
        };
        let updates: Vec<_> = actions.into_iter().filter_map(update).collect();
        assert_eq!(updates.len(), 1);
        let rooms = updates[0].rooms.iter().map(|room| (room.channel.clone(), room.count));
        (updates[0].snapshot, rooms.collect::<Vec<_>>())
    };
    assert_eq!(counts(drain(&mut hub)), (false, vec![("live:1".to_owned(), 7)]));
    hub.handle_line_down();
    hub.handle_line_up(namespaces());
    assert!(drain(&mut hub).iter().all(|action| !matches!(action, Action::Update(_))));
    hub.handle_origin_down();
    hub.handle_origin_up();
    assert_eq!(counts(drain(&mut hub)), (true, vec![("live:1".to_owned(), 7)]));
}

#[test]
fn what_is_left_is_told_and_what_is_gone_reads_nothing() {
    let start = now();
    let neighbour = ShardId(SHARDS_MAX as u8);
    let mut hub = connected(start);
    hub.handle_join(SHARD, JoinId(1), room(), None, start);
    let other = ChannelName::parse("live:2").expect("a name").0;
    hub.handle_join(neighbour, JoinId(1), other.clone(), None, start);
    hub.handle_join(neighbour, JoinId(2), room(), None, start);
    hub.handle_shard_gone(neighbour, start);
    let pulls: Vec<u64> = opens(&drain(&mut hub)).iter().map(|open| open.pull).collect();
    let [pull, left] = pulls[..] else { panic!("{pulls:?}") };
    hub.handle_events([Event::Opened { pull, epoch: epoch(7), next: 1, top: 0 }], start);
    hub.handle_deadline(start + Duration::from_secs(60));
    let closed = |actions: Vec<Action>| {
        let close = |action| match action {
            Action::Up(kind) => match *kind {
                up::Kind::Close(close) => Some(close.pulls),
                _ => None,
            },
            _ => None,
        };
        actions.into_iter().filter_map(close).flatten().collect::<Vec<_>>()
    };
    assert_eq!(closed(drain(&mut hub)), [left]);
    hub.handle_line_left();
    let left = closed(drain(&mut hub));
    assert!(left.contains(&pull) && left.len() == 2, "and the broadcast: {left:?}");
    hub.handle_line_left();
    assert!(drain(&mut hub).is_empty(), "there is nobody to tell");
}

#[test]
fn what_left_the_ring_is_fetched_beside_it() {
    let start = now();
    let mut hub = connected(start);
    let (neighbour, join) = (ShardId(SHARDS_MAX as u8), JoinId(1));
    let from = |next| Cursor { epoch: epoch(7), next };
    let fetch = |hub: &mut Hub, next| {
        hub.handle_fetch(neighbour, join, room(), from(next), 2);
        let actions = drain(hub);
        let open = opens(&actions)[0];
        assert_eq!((open.epoch, open.next, open.credit), (7, next, 2));
        open.pull
    };
    let fetched = |hub: &mut Hub| {
        let actions = drain(hub);
        let [Action::Up(close), Action::Fetched(to, fetched)] = &actions[..] else {
            panic!("{actions:?}");
        };
        assert!(matches!(**close, up::Kind::Close(_)));
        assert_eq!((*to, fetched.join), (neighbour, join));
        let offsets = |all: &Vec<Arc<Message>>| all.iter().map(|m| m.offset).collect::<Vec<_>>();
        (fetched.from.next, fetched.messages.as_ref().map(offsets).map_err(|place| place.next))
    };
    let frame = |pull, offset| Event::Message {
        pull,
        epoch: epoch(7),
        message: message(offset),
        waited: Duration::ZERO,
    };
    let pull = fetch(&mut hub, 3);
    hub.handle_events([Event::Opened { pull, epoch: epoch(7), next: 3, top: 99 }], start);
    hub.handle_events([frame(pull, 3), frame(pull, 4), frame(pull, 5)], start);
    assert_eq!(fetched(&mut hub), (3, Ok(vec![3, 4])));
    let pull = fetch(&mut hub, 5);
    hub.handle_events([Event::Opened { pull, epoch: epoch(7), next: 9, top: 99 }], start);
    assert_eq!(fetched(&mut hub), (5, Err(9)), "gone");
    fetch(&mut hub, 5);
    hub.handle_shard_gone(neighbour, start);
    assert_eq!(drain(&mut hub).len(), 1, "it is closed");
}

proptest! {
    /// However lines flap and frames repeat, a shard sees dense offsets, or is told of a gap.
    #[test]
    fn a_shard_sees_everything_in_order(steps in proptest::collection::vec((0u8..10, 1u64..6), 1..120)) {
        let start = now();
        let mut hub = Hub::new(Duration::from_secs(30), 100, start);
        hub.handle_join(SHARD, JoinId(1), room(), None, start);
        let mut top = 3u64; // the upstream's log has messages 1 to `top`
        let mut sent = 0u64;
        let mut pull = None;
        let mut seen: Option<u64> = None;
        for (what, count) in steps {
            match what {
                0 => { hub.handle_line_down(); pull = None; }
                1 => { hub.handle_line_down(); pull = None; hub.handle_line_up(namespaces()); }
                2..=5 => top += count,
                6 if pull.is_some() => sent = sent.saturating_sub(count), // sent again
                _ if pull.is_some() => {
                    let until = (sent + count).min(top);
                    let frames = (sent + 1..=until).map(|offset| Event::Message {
                        pull: pull.expect("checked"), epoch: epoch(7), message: message(offset), waited: Duration::ZERO });
                    hub.handle_events(frames.collect::<Vec<_>>(), start);
                    sent = until;
                }
                _ => {}
            }
            loop {
                let actions = drain(&mut hub);
                if actions.is_empty() { break }
                for open in opens(&actions) {
                    pull = Some(open.pull);
                    let next = if open.epoch == 0 { top + 1 } else { open.next };
                    sent = next - 1;
                    hub.handle_events([Event::Opened { pull: open.pull, epoch: epoch(7), next, top }], start);
                }
                for action in actions {
                    let Action::Tell(_, notice) = action else { continue };
                    match notice.news {
                        News::Open { position, .. } => {
                            prop_assert!(seen.is_none());
                            seen = Some(position.offset);
                        }
                        News::Items(items) => for item in items.iter() {
                            let Item::Message(message) = item else { continue };
                            prop_assert_eq!(Some(message.offset - 1), seen);
                            seen = Some(message.offset);
                        },
                        News::Gap(_) | News::Refused { .. } => prop_assert!(false),
                        News::Total(_) => {}
                    }
                }
            }
        }
    }
}

#[test]
fn other_edges_leave_room_for_this_ones_clients() {
    let start = now();
    let mut hub = connected(start); // for 100 channels, the broadcast's among them
    let name = |n: u32| ChannelName::parse(&format!("live:{n}")).expect("a name").0;
    let edge = ShardId(SHARDS_MAX as u8);
    for n in 0..80 {
        hub.handle_join(edge, JoinId(n.into()), name(n), None, start);
    }
    assert_eq!(hub.channels(), 75);
    for n in 80..120 {
        hub.handle_join(SHARD, JoinId(n.into()), name(n), None, start);
    }
    assert_eq!(hub.channels(), 100);
}
