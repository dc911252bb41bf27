use shared::channel::Spelling;
use shared::message::{Content, Epoch};
use shared::namespace::Options;

use super::*;
use crate::form::{Compression, Dialect, Encoding, Form, Item, Transport};
use crate::session::Recover;

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn now() -> Instant {
    Instant::now()
}

fn channel(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a name").0
}

fn position(offset: u64) -> Position {
    Position { epoch: Epoch::new(7).expect("not zero"), offset }
}

fn message(offset: u64, speed: u32) -> Arc<Message> {
    let content = Content { body: "{}".into(), operation: 1000, speed, ..Content::default() };
    Arc::new(Message { offset, time_ms: 0, content })
}

fn subscribe(ask: u64, name: &str, recover: Option<Recover>) -> Ask {
    let dialect = if name.starts_with('@') {
        Dialect::Goim(Transport::Tcp)
    } else {
        Dialect::Centrifuge(Encoding::Json)
    };
    Ask::Subscribe {
        id: AskId(ask),
        channel: channel(name),
        form: Form { dialect, spelling: Spelling::Colon },
        recover,
        presence: Some(ClientInfo { client: format!("c{ask}"), ..ClientInfo::default() }),
        filtered: name.starts_with('@'),
    }
}

fn open(shard: &mut Shard, name: &str, offset: u64, now: Instant) {
    let tail = (1..=offset).map(|offset| message(offset, 0)).collect();
    tell(shard, name, News::Open { position: position(offset), offsets: true, tail }, now);
}

/// Tells the shard news of a channel, for the joining under way.
fn tell(shard: &mut Shard, name: &str, news: News, now: Instant) {
    let channel = channel(name);
    let join = shard.room(&channel).map_or(JoinId(0), |room| shard.rooms[room].join());
    shard.handle_notice(Notice { channel, join, news }, now);
}

fn items(messages: impl IntoIterator<Item = Arc<Message>>) -> News {
    News::Items(messages.into_iter().map(Item::Message).collect())
}

/// What the shard wants, in short.
fn events(shard: &mut Shard) -> Vec<String> {
    let told = |event| match event {
        Event::Answer(id, ask, Answer::Subscribed(subscribed)) => {
            let recovered = subscribed.recovered.map(|messages| messages.len());
            let at = subscribed.position.offset;
            format!("{} subscribed {} at {at} recovered {recovered:?}", id.slot, ask.0)
        }
        Event::Answer(id, ask, Answer::Failed { code, .. }) => {
            format!("{} failed {} with {code}", id.slot, ask.0)
        }
        Event::Answer(id, ask, Answer::Response(_)) => format!("{} answered {}", id.slot, ask.0),
        Event::Lost(id, channel, missing) => format!("{} lost {missing} of {channel}", id.slot),
        Event::Close(id, close) => format!("{} closes with {}", id.slot, close.code),
        Event::Hub(ToHub::Join(channel, _, from)) => {
            format!("join {channel} from {:?}", from.map(|cursor| cursor.next))
        }
        Event::Hub(ToHub::Leave(channel, _)) => format!("leave {channel}"),
        Event::Hub(ToHub::Count(channel, count)) => format!("count {channel} {count}"),
        Event::Hub(ToHub::Presence(channel, joined, info)) => {
            format!("{} {channel} {joined}", info.client)
        }
        Event::Hub(ToHub::Request(id, ask, _)) => format!("{} requests {}", id.slot, ask.0),
        Event::Hub(ToHub::Older(channel, position)) => {
            format!("older {channel} after {}", position.offset)
        }
        Event::Hub(ToHub::KeyTaken(key, id)) => format!("{} has key {key}", id.slot),
        Event::Hub(ToHub::KeyFree(key, id)) => format!("{} frees key {key}", id.slot),
    };
    std::iter::from_fn(|| shard.poll_event()).map(told).collect()
}

/// Sweeps everything, every socket taking all it is offered; bytes by connection slot.
fn sweep(shard: &mut Shard) -> Vec<(usize, usize)> {
    let mut written = Vec::new();
    while slice(shard, usize::MAX, &mut written) {}
    written
}

/// Makes a slice of sweeps, every socket taking all it is offered.
fn slice(shard: &mut Shard, size: usize, written: &mut Vec<(usize, usize)>) -> bool {
    shard.sweep(size, &now, &mut |id, accepted, segments| {
        let mut count = 0;
        for segment in segments {
            count += 1;
            if crate::room::accepts(accepted, segment) {
                written.push((id.slot, segment.messages as usize));
            }
        }
        Written { segments: count, more: true }
    })
}

#[test]
fn rooms_take_turns() {
    let start = now();
    let mut shard = Shard::default();
    for (ask, name) in [(1, "live:1"), (2, "live:1"), (3, "live:1"), (4, "live:2")] {
        let id = shard.connect();
        shard.handle_ask(id, subscribe(ask, name, None), start);
    }
    for name in ["live:1", "live:2"] {
        open(&mut shard, name, 0, start);
        tell(&mut shard, name, items([message(1, 0)]), start);
    }
    let mut written = Vec::new();
    while slice(&mut shard, 2, &mut written) {}
    let slots: Vec<usize> = written.into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(slots, [0, 1, 3, 2], "the small room before the rest of the large one");
    assert!(!shard.is_unswept());
}

#[test]
fn a_life_in_a_room() {
    let start = now();
    let mut shard = Shard::default();
    let (a, b) = (shard.connect(), shard.connect());
    shard.handle_ask(a, subscribe(1, "live:1", None), start);
    shard.handle_ask(b, subscribe(2, "live:1", None), start);
    assert_eq!(events(&mut shard), ["join live:1 from None"], "one join for all");
    open(&mut shard, "live:1", 3, start);
    assert_eq!(
        events(&mut shard),
        [
            "0 subscribed 1 at 3 recovered None",
            "c1 live:1 true",
            "1 subscribed 2 at 3 recovered None",
            "c2 live:1 true",
        ]
    );
    tell(&mut shard, "live:1", items([message(4, 0), message(5, 0)]), start);
    assert_eq!(sweep(&mut shard), [(0, 2), (1, 2)], "one segment for both messages");
    shard.handle_tick(start);
    assert_eq!(events(&mut shard), ["count live:1 2"]);

    shard.handle_ask(a, Ask::Unsubscribe(channel("live:1")), start);
    tell(&mut shard, "live:1", items([message(6, 0)]), start);
    assert_eq!(sweep(&mut shard), [(1, 1)]);
    shard.disconnect(b);
    assert_eq!(
        events(&mut shard),
        ["c1 live:1 false", "c2 live:1 false", "count live:1 0", "leave live:1",]
    );
    assert_eq!((shard.rooms(), shard.connections()), (0, 1));
}

#[test]
fn who_goes_while_waiting_is_forgotten() {
    let start = now();
    let mut shard = Shard::default();
    let (a, b) = (shard.connect(), shard.connect());
    shard.handle_ask(a, subscribe(1, "live:1", None), start);
    shard.handle_ask(b, subscribe(2, "live:1", None), start);
    shard.handle_ask(a, Ask::Unsubscribe(channel("live:1")), start);
    events(&mut shard);
    open(&mut shard, "live:1", 0, start);
    assert_eq!(events(&mut shard), ["1 subscribed 2 at 0 recovered None", "c2 live:1 true"]);

    shard.handle_ask(a, subscribe(3, "live:2", None), start);
    shard.disconnect(a);
    assert_eq!(events(&mut shard), ["join live:2 from None", "count live:2 0", "leave live:2"]);
}

#[test]
fn who_is_too_slow_is_told_or_closed() {
    let start = now();
    for (slow, expected) in
        [(SlowReader::Skip, "0 lost 40 of live:1"), (SlowReader::Close, "0 closes with 3008")]
    {
        let options = Options { slow, ..Options::default() };
        let namespaces = Namespaces::new([("live".to_owned(), options)].into());
        let mut shard = Shard::new(Arc::new(namespaces));
        let id = shard.connect();
        shard.handle_ask(id, subscribe(1, "live:1", None), start);
        open(&mut shard, "live:1", 0, start);
        events(&mut shard);
        let large = |offset| {
            let body = "a".repeat(30_000).into();
            let content = Content { body, ..Content::default() };
            Arc::new(Message { offset, time_ms: 0, content })
        };
        tell(&mut shard, "live:1", items((1..=40).map(large)), start);
        let nothing = Written { segments: 0, more: false };
        while shard.sweep(usize::MAX, &now, &mut |_, _, _| nothing) && shard.is_unswept() {}
        let said = events(&mut shard);
        assert!(said.iter().any(|event| event == expected), "{said:?}");
        // Its seat is nobody else's.
        let other = shard.connect();
        shard.handle_ask(other, subscribe(2, "live:1", None), start);
        open(&mut shard, "live:1", 40, start);
        shard.retire(id);
        assert_eq!(shard.rooms.iter().map(|(_, room)| room.members()).sum::<u32>(), 1);
    }
}

#[test]
fn a_refusal_and_a_gap_are_told() {
    let start = now();
    let mut shard = Shard::default();
    let a = shard.connect();
    shard.handle_ask(a, subscribe(1, "no:1", None), start);
    let (code, message) = (102, "unknown channel".to_owned());
    tell(&mut shard, "no:1", News::Refused { code, message, temporary: false }, start);
    assert_eq!(events(&mut shard), ["join no:1 from None", "0 failed 1 with 102"]);
    assert_eq!(shard.rooms(), 0);

    shard.handle_ask(a, subscribe(2, "live:1", None), start);
    open(&mut shard, "live:1", 3, start);
    events(&mut shard);
    tell(&mut shard, "live:1", News::Gap(position(9)), start);
    assert_eq!(
        events(&mut shard),
        ["c2 live:1 false", "0 lost 6 of live:1", "count live:1 0", "leave live:1",]
    );
}

#[test]
fn recovering_clients_share_one_pull_and_one_fetch() {
    let start = now();
    let mut shard = Shard::default();
    let recover = |offset| Some(Recover { epoch: Some(position(0).epoch), offset });
    let (a, b, c) = (shard.connect(), shard.connect(), shard.connect());
    shard.handle_ask(a, subscribe(1, "live:1", recover(8)), start);
    assert_eq!(events(&mut shard), ["join live:1 from Some(9)"]);
    let (name, tail) = (channel("live:1"), (9..=10).map(|offset| message(offset, 0)).collect());
    tell(&mut shard, "live:1", News::Open { position: position(10), offsets: true, tail }, start);
    assert_eq!(events(&mut shard)[0], "0 subscribed 1 at 10 recovered Some(2)");
    shard.handle_ask(b, subscribe(2, "live:1", recover(5)), start);
    shard.handle_ask(c, subscribe(3, "live:1", recover(6)), start);
    assert_eq!(events(&mut shard), ["older live:1 after 5"]);
    let older = (6..=10).map(|offset| message(offset, 0)).collect();
    shard.handle_older(&name, position(5), Some(older), start);
    let told = events(&mut shard);
    assert_eq!(told[0], "1 subscribed 2 at 10 recovered Some(5)");
    assert_eq!(told[2], "2 subscribed 3 at 10 recovered Some(4)");
}

#[test]
fn a_key_belongs_to_the_newest_connection() {
    let start = now();
    let mut shard = Shard::default();
    let (old, new) = (shard.connect(), shard.connect());
    let identify =
        || Ask::Identify(Identity { user: "42".into(), client: "c".into(), key: Some("k".into()) });
    shard.handle_ask(old, identify(), start);
    shard.handle_ask(new, identify(), start);
    assert_eq!(events(&mut shard), ["0 has key k", "0 closes with 3503", "1 has key k"]);
    shard.disconnect(old);
    shard.handle_key_taken("k", old);
    assert!(events(&mut shard).is_empty(), "the old one takes nothing with it");
    shard.handle_key_taken("k", new);
    assert_eq!(events(&mut shard), ["1 closes with 3503"]);
}

#[test]
fn an_id_stays_taken_until_its_connection_is_gone() {
    let start = now();
    let mut shard = Shard::default();
    let a = shard.connect();
    shard.handle_ask(a, subscribe(1, "live:1", None), start);
    open(&mut shard, "live:1", 0, start);
    shard.retire(a);
    let b = shard.connect();
    assert_ne!(a.slot, b.slot);
    assert_eq!(shard.rooms(), 0);
    events(&mut shard);
    shard.handle_ask(a, subscribe(2, "live:2", None), start);
    assert!(events(&mut shard).is_empty(), "nothing comes of one that is retired");
    shard.disconnect(a);
    assert_eq!(shard.connect().slot, a.slot);
}

#[test]
fn news_of_an_earlier_joining_is_not_taken_for_a_later_one() {
    let start = now();
    let mut shard = Shard::default();
    let (a, b) = (shard.connect(), shard.connect());
    shard.handle_ask(a, subscribe(1, "live:1", None), start);
    let earlier = shard.rooms[shard.room(&channel("live:1")).expect("a room")].join();
    shard.handle_ask(a, Ask::Unsubscribe(channel("live:1")), start);
    shard.handle_ask(b, subscribe(2, "live:1", None), start);
    events(&mut shard);
    let news = News::Open { position: position(3), offsets: true, tail: Vec::new() };
    let channel = channel("live:1");
    shard.handle_notice(Notice { channel, join: earlier, news }, start);
    assert!(events(&mut shard).is_empty());
    open(&mut shard, "live:1", 4, start);
    assert_eq!(events(&mut shard)[0], "1 subscribed 2 at 4 recovered None");
}

#[test]
fn a_room_whose_last_client_fails_is_left() {
    let start = now();
    let mut shard = Shard::default();
    let a = shard.connect();
    let recover = Some(Recover { epoch: Some(position(0).epoch), offset: 2 });
    shard.handle_ask(a, subscribe(1, "live:1", recover), start);
    let news = News::Open { position: position(10), offsets: true, tail: Vec::new() };
    tell(&mut shard, "live:1", news, start);
    events(&mut shard);
    shard.handle_older(&channel("live:1"), position(2), None, start);
    assert_eq!(events(&mut shard), ["0 failed 1 with 100", "count live:1 0", "leave live:1"]);
}

#[test]
fn filtered_rooms_respect_what_a_client_accepts() {
    let start = now();
    let mut shard = Shard::default();
    let (a, b) = (shard.connect(), shard.connect());
    shard.handle_ask(a, subscribe(1, "@all", None), start);
    shard.handle_ask(b, subscribe(2, "@all", None), start);
    shard.handle_ask(b, Ask::Accept([7].into()), start);
    open(&mut shard, "@all", 0, start);
    tell(&mut shard, "@all", items([message(1, 0)]), start);
    assert_eq!(sweep(&mut shard), [(0, 1)]);
}

#[test]
fn a_paced_broadcast_takes_its_time_and_leaves_nobody_out() {
    let start = now();
    let mut shard = Shard::default();
    for ask in 0..50 {
        let id = shard.connect();
        shard.handle_ask(id, subscribe(ask, "@all", None), start);
    }
    open(&mut shard, "@all", 0, start);
    shard.handle_tick(start);
    tell(&mut shard, "@all", items([message(1, 100)]), start);
    let mut reached = Vec::new();
    for tick in 1..=10u32 {
        shard.handle_tick(start + tick * TICK);
        let written = sweep(&mut shard);
        assert!(written.len() <= 10, "100 a second are 10 a tick");
        reached.extend(written.into_iter().map(|(slot, _)| slot));
    }
    reached.sort_unstable();
    assert_eq!(reached, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_compressed_form_gathers_for_a_tick() {
    let start = now();
    let mut shard = Shard::default();
    let a = shard.connect();
    let mut ask = subscribe(1, "live:1", None);
    if let Ask::Subscribe { form, .. } = &mut ask {
        form.dialect = Dialect::Danmaku(Transport::WebSocket, Compression::Brotli);
    }
    shard.handle_ask(a, ask, start);
    open(&mut shard, "live:1", 0, start);
    for offset in 1..=3 {
        tell(&mut shard, "live:1", items([message(offset, 0)]), start);
        assert!(sweep(&mut shard).is_empty());
    }
    shard.handle_tick(start + TICK);
    assert_eq!(sweep(&mut shard), [(0, 3)]);
}

#[test]
fn commands_find_their_connections() {
    let start = now();
    let mut shard = Shard::default();
    for (user, client) in [("42", "a"), ("42", "b"), ("", "c")] {
        let id = shard.connect();
        let (user, client) = (user.to_owned(), client.to_owned());
        shard.handle_ask(id, Ask::Identify(Identity { user, client, key: None }), start);
    }
    let unidentified = shard.connect();
    let slots = |user: &str, client: &str| {
        let (user, client) = (user.to_owned(), client.to_owned());
        let target = control::Target { user, client, session: String::new() };
        shard.matching(&target).into_iter().map(|id| id.slot).collect::<Vec<_>>()
    };
    assert_eq!(slots("42", ""), [0, 1]);
    assert_eq!(slots("42", "b"), [1]);
    assert_eq!(slots("", ""), [2], "anonymous users, but not those who have said nothing yet");
    assert_eq!(slots("42", "c"), [0usize; 0]);
    assert_eq!(unidentified.slot, 3);
}
