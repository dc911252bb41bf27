use proptest::prelude::*;
use shared::channel::Spelling;
use shared::message::{Content, Epoch};
use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::form::{Compression, Dialect, Transport};

fn form() -> Form {
    // TCP danmaku frames end with the body, so that what was written can be read back.
    let dialect = Dialect::Danmaku(Transport::Tcp, Compression::None);
    Form { dialect, spelling: Spelling::Colon }
}

fn channel() -> ChannelName {
    ChannelName::parse("live:1").expect("a name").0
}

fn position(offset: u64) -> Position {
    Position { epoch: Epoch::new(7).expect("not zero"), offset }
}

fn message(offset: u64, size: usize) -> Arc<Message> {
    let body = format!("{{\"n\":{offset:<size$}}}").into();
    let content = Content { body, operation: 1000 + (offset % 2) as i32, ..Content::default() };
    Arc::new(Message { offset, time_ms: 0, content })
}

fn items(offsets: std::ops::RangeInclusive<u64>, size: usize) -> Vec<Item> {
    offsets.map(|offset| Item::Message(message(offset, size))).collect()
}

fn id(slot: usize) -> ConnectionId {
    ConnectionId { slot, serial: slot as u64 + 1 }
}

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn now() -> Instant {
    Instant::now()
}

fn waiting(slot: usize, recover: Option<Recover>, now: Instant) -> Waiting {
    let until = now + Duration::from_secs(3);
    Waiting { connection: id(slot), id: AskId(1), form: form(), filtered: false, recover, until }
}

fn recover(offset: u64) -> Option<Recover> {
    Some(Recover { epoch: Some(position(0).epoch), offset })
}

fn open(offsets: std::ops::RangeInclusive<u64>) -> Room {
    let mut room = Room::new(channel(), JoinId(1));
    let tail = offsets.clone().map(|offset| message(offset, 1)).collect();
    room.handle_open(position(*offsets.end()), true, tail);
    room
}

fn seated(room: &mut Room, waiting: Waiting, now: Instant) -> (Seat, Subscribed) {
    match room.admit(waiting, now) {
        Admission::Seated(seat, subscribed) => (seat, subscribed),
        Admission::Waits => panic!("it waits"),
    }
}

fn offsets(subscribed: &Subscribed) -> Option<Vec<u64>> {
    let recovered = subscribed.recovered.as_ref()?;
    Some(recovered.iter().map(|message| message.offset).collect())
}

/// The offsets in danmaku frames.
fn read_back(mut bytes: &[u8]) -> Vec<u64> {
    let mut offsets = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[..4].try_into().expect("4 bytes")) as usize;
        let body = std::str::from_utf8(&bytes[16..length]).expect("JSON");
        let number = body.trim_start_matches("{\"n\":").trim_end_matches('}').trim_end();
        offsets.push(number.parse().expect("a number"));
        bytes = &bytes[length..];
    }
    offsets
}

#[test]
fn recovery_tells_the_truth() {
    let start = now();
    let mut room = open(6..=10);
    let mut ask = |recover, at| {
        let (seat, subscribed) = seated(&mut room, waiting(0, recover, start), at);
        room.leave(seat);
        (offsets(&subscribed), subscribed.position.offset)
    };
    assert_eq!(ask(None, start), (None, 10));
    assert_eq!(ask(recover(7), start), (Some(vec![8, 9, 10]), 10));
    assert_eq!(ask(recover(5), start), (Some(vec![6, 7, 8, 9, 10]), 10));
    assert_eq!(ask(recover(10), start), (Some(vec![]), 10));
    assert_eq!(ask(Some(Recover { epoch: None, offset: 9 }), start), (Some(vec![10]), 10));
    let other = Epoch::new(9).expect("not zero");
    assert_eq!(ask(Some(Recover { epoch: Some(other), offset: 9 }), start), (None, 10));
    // Ahead of this edge, and it never catches up.
    assert_eq!(ask(recover(12), start + Duration::from_secs(3)), (None, 10));
}

#[test]
fn absurd_offsets_are_only_ahead() {
    let start = now();
    let mut room = open(6..=10);
    assert!(matches!(room.admit(waiting(0, recover(u64::MAX), start), start), Admission::Waits));
    assert_eq!(room.wants_older(), None);
    assert!(room.handle_older(position(2), None).is_empty());
}

#[test]
fn a_client_that_is_ahead_waits_for_this_edge() {
    let start = now();
    let mut room = open(6..=10);
    assert!(matches!(room.admit(waiting(0, recover(11), start), start), Admission::Waits));
    assert_eq!(room.wants_older(), None);
    room.handle_items(&items(11..=12, 1), NONE, start);
    let again = room.take_waiting().pop().expect("it waits");
    let (_, subscribed) = seated(&mut room, again, start);
    assert_eq!(offsets(&subscribed), Some(vec![12]));
}

#[test]
fn older_messages_are_fetched_once_for_all() {
    let start = now();
    let mut room = open(6..=10);
    assert!(matches!(room.admit(waiting(0, recover(3), start), start), Admission::Waits));
    assert!(matches!(room.admit(waiting(1, recover(2), start), start), Admission::Waits));
    assert_eq!(room.wants_older(), Some(position(2)));
    assert_eq!(room.wants_older(), None, "asked already");
    room.handle_older(position(2), Some((3..=8).map(|offset| message(offset, 1)).collect()));
    let again = room.take_waiting();
    let told: Vec<_> = again.into_iter().map(|w| offsets(&seated(&mut room, w, start).1)).collect();
    assert_eq!(told, [Some((4..=10).collect()), Some((3..=10).collect())]);
}

#[test]
fn what_the_log_has_lost_is_not_recovered_and_what_it_cannot_say_fails() {
    let start = now();
    let mut room = open(6..=10);
    assert!(matches!(room.admit(waiting(0, recover(2), start), start), Admission::Waits));
    assert_eq!(room.wants_older(), Some(position(2)));
    room.handle_older(position(2), Some((5..=8).map(|offset| message(offset, 1)).collect()));
    let again = room.take_waiting().pop().expect("it waits");
    assert_eq!(offsets(&seated(&mut room, again, start).1), None);

    room.drop_older();
    assert!(matches!(room.admit(waiting(1, recover(2), start), start), Admission::Waits));
    assert_eq!(room.wants_older(), Some(position(2)));
    let failed = room.handle_older(position(2), None);
    assert_eq!(failed.len(), 1);
    assert!(!room.has_waiting());
}

#[test]
fn who_comes_later_does_not_get_what_came_before() {
    let start = now();
    let mut room = open(1..=1);
    seated(&mut room, waiting(0, None, start), start);
    room.handle_items(&items(2..=3, 1), NONE, start);
    let (_, late) = seated(&mut room, waiting(1, None, start), start);
    assert_eq!(late.position.offset, 3);
    room.handle_items(&items(4..=4, 1), NONE, start);
    let mut got: HashMap<usize, Vec<u64>> = HashMap::new();
    room.sweep(&mut ALL.clone(), NONE, &|| start, &mut |id, segments| {
        let mut count = 0;
        for segment in segments {
            got.entry(id.slot).or_default().extend(read_back(&segment.bytes));
            count += 1;
        }
        Written { segments: count, more: true }
    });
    assert_eq!(got, HashMap::from([(0, vec![2, 3, 4]), (1, vec![4])]));
}

#[test]
fn a_member_far_behind_loses_its_place_and_others_do_not() {
    let start = now();
    let mut room = open(1..=1);
    seated(&mut room, waiting(0, None, start), start);
    seated(&mut room, waiting(1, None, start), start);
    let mut lost = Vec::new();
    let mut fast = 0;
    for offset in 2..=100 {
        room.handle_items(&items(offset..=offset, 40_000), NONE, start);
        let swept = room.sweep(&mut ALL.clone(), NONE, &|| start, &mut |id, segments| {
            let segments = if id.slot == 0 { 0 } else { segments.count() };
            fast += segments;
            Written { segments, more: true }
        });
        lost.extend(swept.lost);
        assert!(room.streams[0].bytes() <= STREAM_BYTES_MAX);
    }
    assert_eq!(lost, [Lost { connection: id(0), missing: 27 }]);
    assert_eq!(fast, 99);
    assert_eq!(room.members(), 1);
}

/// Slices in which everybody has a turn.
const ALL: usize = usize::MAX;
/// No pressure.
const NONE: Pressure = Pressure { refuses: false, keep: 1.0, sweep_interval: Duration::ZERO };

#[test]
fn a_burst_is_offered_before_any_of_it_is_dropped() {
    let start = now();
    let mut room = open(1..=1);
    room.set_options(&Options { sweep_interval: Duration::from_secs(1), ..Options::default() });
    seated(&mut room, waiting(0, None, start), start);
    let mut got = Vec::new();
    let mut write = |_: ConnectionId, segments: &mut dyn Iterator<Item = &Segment>| {
        let mut count = 0;
        for segment in segments {
            got.extend(read_back(&segment.bytes));
            count += 1;
        }
        Written { segments: count, more: true }
    };
    room.sweep(&mut ALL.clone(), NONE, &|| start, &mut write);
    room.handle_items(&items(2..=41, 60_000), NONE, start);
    assert_eq!(room.sweep_at(start), None, "it does not wait for the interval");
    while room.has_fresh() {
        assert!(room.sweep(&mut ALL.clone(), NONE, &|| start, &mut write).lost.is_empty());
    }
    assert_eq!(got, (2..=41).collect::<Vec<_>>());
}

#[test]
fn droppable_messages_make_room_for_others() {
    let start = now();
    let mut room = open(1..=1);
    room.set_options(&Options { droppable_rate: 0, ..Options::default() });
    seated(&mut room, waiting(0, None, start), start);
    let push = |room: &mut Room, offsets: std::ops::RangeInclusive<u64>, class| {
        for offset in offsets {
            let mut message = Arc::unwrap_or_clone(message(offset, 40_000));
            message.content.class = class;
            room.handle_items(&[Item::Message(Arc::new(message))], NONE, start);
            let swept = room.sweep(&mut ALL.clone(), NONE, &|| start, &mut |_, _| Written {
                segments: 0,
                more: false,
            });
            assert!(swept.lost.is_empty());
        }
    };
    push(&mut room, 2..=11, Class::Urgent);
    push(&mut room, 12..=60, Class::Droppable);
    push(&mut room, 61..=65, Class::Normal);
    let (mut got, mut shed) = (Vec::new(), 0);
    room.sweep(&mut ALL.clone(), NONE, &|| start, &mut |_, segments| {
        let mut count = 0;
        for segment in segments {
            match accepts(None, segment) {
                true => got.extend(read_back(&segment.bytes)),
                false => shed += segment.messages,
            }
            count += 1;
        }
        Written { segments: count, more: true }
    });
    assert!((2..=11).chain(61..=65).all(|offset| got.contains(&offset)), "{got:?}");
    assert_eq!(got.len() + shed as usize, 64);
    assert!(shed > 30);
    assert!(got.is_sorted());
}

#[test]
fn members_get_a_sample_and_recovery_all() {
    let start = now();
    let mut room = open(1..=1);
    room.set_options(&Options { droppable_rate: 40, ..Options::default() });
    seated(&mut room, waiting(0, None, start), start);
    let droppable = (2..=101).map(|offset| {
        let mut message = Arc::unwrap_or_clone(message(offset, 1));
        message.content.class = Class::Droppable;
        Item::Message(Arc::new(message))
    });
    let sampled_out = room.handle_items(&droppable.collect::<Vec<_>>(), NONE, start);
    assert_eq!(sampled_out, 90, "a burst is a quarter of a second's worth");
    let (_, subscribed) = seated(&mut room, waiting(1, recover(1), start), start);
    assert_eq!(offsets(&subscribed).map(|offsets| offsets.len()), Some(100));
}

#[test]
fn a_sweep_in_slices_reaches_everyone_once() {
    let start = now();
    let mut room = open(1..=1);
    for slot in 0..5 {
        seated(&mut room, waiting(slot, None, start), start);
    }
    let mut got: Vec<(usize, u64)> = Vec::new();
    let slice = |room: &mut Room, got: &mut Vec<(usize, u64)>| {
        let swept = room.sweep(&mut 2, NONE, &|| start, &mut |id, segments| {
            let before = got.len();
            for segment in segments {
                got.extend(read_back(&segment.bytes).into_iter().map(|offset| (id.slot, offset)));
            }
            Written { segments: got.len() - before, more: true }
        });
        swept.done
    };
    room.handle_items(&items(2..=2, 1), NONE, start);
    assert!(!slice(&mut room, &mut got));
    // What comes meanwhile waits for the next sweep, whoever comes meanwhile for what is next.
    room.handle_items(&items(3..=3, 1), NONE, start);
    assert!(!slice(&mut room, &mut got));
    seated(&mut room, waiting(5, None, start), start);
    assert!(!slice(&mut room, &mut got), "3 was encoded for those who were here");
    while !slice(&mut room, &mut got) {}
    got.sort_unstable();
    let expected: Vec<(usize, u64)> = (0..5).flat_map(|slot| [(slot, 2), (slot, 3)]).collect();
    assert_eq!(got, expected);
}

#[test]
fn an_interval_lies_between_the_beginnings_of_sweeps() {
    let start = now();
    let mut room = open(1..=1);
    room.set_options(&Options { sweep_interval: Duration::from_millis(100), ..Options::default() });
    for slot in 0..2 {
        seated(&mut room, waiting(slot, None, start), start);
    }
    let mut all = |id: ConnectionId, segments: &mut dyn Iterator<Item = &Segment>| {
        let _ = id;
        Written { segments: segments.count(), more: true }
    };
    room.handle_items(&items(2..=2, 1), NONE, start);
    assert_eq!(room.sweep_at(start), None);
    assert!(!room.sweep(&mut 1, NONE, &|| start, &mut all).done);
    assert_eq!(room.sweep_at(start), None, "what has begun goes on");
    assert!(room.sweep(&mut 1, NONE, &|| start, &mut all).done);
    let next = start + Duration::from_millis(100);
    assert_eq!((room.sweep_at(start), room.sweep_at(next)), (Some(next), None));
}

#[test]
fn a_room_rests_after_a_long_sweep() {
    let start = now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut room = open(1..=1);
    for slot in 0..3 {
        seated(&mut room, waiting(slot, None, start), start);
    }
    let mut all = |_: ConnectionId, segments: &mut dyn Iterator<Item = &Segment>| Written {
        segments: segments.count(),
        more: true,
    };
    // Each look at the clock finds it 10 ms later.
    let time = std::cell::Cell::new(0);
    let clock = || {
        time.set(time.get() + 10);
        ms(time.get())
    };
    let mut sweep = |room: &mut Room, from| {
        time.set(from);
        room.sweep(&mut 2, NONE, &clock, &mut all).done
    };
    room.handle_items(&items(2..=2, 1), NONE, start);
    assert!(!sweep(&mut room, 0)); // from 10 to 20
    assert!(sweep(&mut room, 100)); // from 110 to 120: others had their turns meanwhile
    // Twenty of forty milliseconds are half of a long sweep.
    assert_eq!(room.sweep_at(ms(120)), Some(ms(130)));
    room.handle_items(&items(3..=3, 1), NONE, start);
    assert!(!sweep(&mut room, 130));
    assert!(sweep(&mut room, 160));
    // What takes no longer than a slice needs no rest.
    assert!(room.sweep(&mut ALL.clone(), NONE, &|| ms(3000), &mut all).done);
    assert_eq!(room.sweep_at(ms(3000)), None);
}

proptest! {
    /// However little each member takes at a time, it gets every message once and in order.
    #[test]
    fn cursors_lose_nothing(steps in proptest::collection::vec((0u8..7, 0usize..4), 1..150)) {
        let start = now();
        let mut room = open(1..=1);
        let mut top = 1;
        let mut seats = HashMap::new();
        let mut got: HashMap<usize, Vec<u64>> = HashMap::new();
        let mut joined_at = HashMap::new();
        for (what, n) in steps {
            match what {
                0 | 1 => {
                    room.handle_items(&items(top + 1..=top + n as u64, 3), NONE, start);
                    top += n as u64;
                }
                2 => {
                    if let std::collections::hash_map::Entry::Vacant(seat) = seats.entry(n) {
                        let (taken, subscribed) = seated(&mut room, waiting(n, None, start), start);
                        prop_assert_eq!(subscribed.position.offset, top);
                        seat.insert(taken);
                        joined_at.insert(n, top);
                        got.insert(n, Vec::new());
                    }
                }
                3 => {
                    if let Some(seat) = seats.remove(&n) {
                        room.leave(seat);
                    }
                }
                _ => {
                    let mut write = |id: ConnectionId, segments: &mut dyn Iterator<Item = &Segment>| {
                        let mut count = 0;
                        for segment in segments.take((id.slot + n) % 3) {
                            got.entry(id.slot).or_default().extend(read_back(&segment.bytes));
                            count += 1;
                        }
                        Written { segments: count, more: true }
                    };
                    if what < 6 {
                        let swept = room.sweep(&mut n.clone(), NONE, &|| start, &mut write);
                        prop_assert!(swept.lost.is_empty());
                    } else if let Some(seat) = seats.get(&n) {
                        prop_assert!(room.offer(*seat, &mut write).is_ok());
                    }
                }
            }
            for slot in seats.keys() {
                let first = joined_at[slot] + 1;
                let expected: Vec<u64> = (first..first + got[slot].len() as u64).collect();
                prop_assert_eq!(&got[slot], &expected);
            }
        }
        // The first may finish one that is under way.
        for _ in 0..2 {
            room.sweep(&mut ALL.clone(), NONE, &|| start, &mut |id, segments| {
                let mut count = 0;
                for segment in segments {
                    got.entry(id.slot).or_default().extend(read_back(&segment.bytes));
                    count += 1;
                }
                Written { segments: count, more: true }
            });
        }
        for slot in seats.keys() {
            let expected: Vec<u64> = (joined_at[slot] + 1..=top).collect();
            prop_assert_eq!(&got[slot], &expected);
        }
    }
}
