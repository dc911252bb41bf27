use bytes::Bytes;

use super::*;
use crate::message::Content;

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

fn message(offset: u64) -> Message {
    Message { offset, time_ms: 0, content: Content::default() }
}

/// A receiver of pull 1, opened at offset 1.
fn opened(now: Instant) -> Receiver {
    let mut receiver = Receiver::new();
    receiver.handle_heard(true, now);
    receiver.handle_open(1);
    receiver.handle_opened(1, Cursor { epoch: epoch(7), next: 1 }, 0, now);
    receiver
}

/// What is asked for until `until`, with the instants.
fn asked(receiver: &mut Receiver, until: Instant) -> Vec<(Instant, Vec<(u64, u64)>)> {
    let mut asked = Vec::new();
    while let Some(at) = receiver.next_deadline().filter(|at| *at <= until) {
        let nacks = receiver.handle_deadline(ms(50), at);
        asked.extend(nacks.into_iter().map(|(nack, _)| (at, nack.ranges)));
    }
    asked
}

#[test]
fn streams_that_bring_later_messages_do_not_put_off_a_request() {
    let start = start();
    let mut receiver = opened(start);
    receiver.handle_message(1, epoch(7), message(1), true, start);
    let mut requests = Vec::new();
    // Offset 2 is lost; each later one comes by a stream of its own, and once more.
    for n in 3..13 {
        let now = start + ms(100 * (n - 2));
        requests.extend(asked(&mut receiver, now));
        receiver.handle_message(1, epoch(7), message(n), true, now);
        receiver.handle_message(1, epoch(7), message(n), true, now);
    }
    let first = requests.first().expect("a request");
    assert_eq!(*first, (start + PATIENCE, vec![(2, 1)]));
    let mut n = 13;
    while receiver.counts().lost == 0 {
        let now = start + ms(100 * (n - 2));
        asked(&mut receiver, now);
        receiver.handle_message(1, epoch(7), message(n), true, now);
        assert!(now < start + DEADLINE + ms(500), "it is given up in time");
        n += 1;
    }
}

#[test]
fn what_is_dropped_for_want_of_memory_is_asked_for() {
    let now = start();
    let mut receiver = opened(now);
    let mut large = message(2);
    large.content.body = Bytes::from(vec![0; HELD_BYTES_MAX]);
    assert!(!receiver.handle_message(1, epoch(7), large.clone(), false, now));
    assert_eq!(receiver.counts().dropped, 1);
    assert_eq!(asked(&mut receiver, now + ms(10)), [(now + ms(10), vec![(1, 2)])]);
    assert!(receiver.handle_message(1, epoch(7), message(1), false, now + ms(20)));
    // The next one is taken whatever it weighs.
    assert!(receiver.handle_message(1, epoch(7), large, false, now + ms(30)));
    assert_eq!((receiver.counts().delivered, receiver.held()), (2, 0));
}

#[test]
fn single_holes_are_asked_for_at_once_and_later_ones_in_their_turn() {
    let now = start();
    let mut receiver = opened(now);
    // Every other message is lost; the last hole spans most of them.
    for n in 1..=300 {
        receiver.handle_message(1, epoch(7), message(2 * n), false, now);
    }
    let requests = asked(&mut receiver, now + ms(10));
    let first: Vec<u64> =
        requests.iter().flat_map(|(_, ranges)| ranges).map(|(first, _)| *first).collect();
    assert_eq!(first, (0..ASKED_MAX).map(|n| 2 * n + 1).collect::<Vec<_>>());
    assert!(requests.iter().all(|(_, ranges)| ranges.len() <= RANGES_MAX));
    for n in first {
        receiver.handle_message(1, epoch(7), message(n), false, now + ms(40));
    }
    let rest = asked(&mut receiver, now + ms(60));
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].1, (ASKED_MAX..300).map(|n| (2 * n + 1, 1)).collect::<Vec<_>>());
}

#[test]
fn of_pulls_that_are_closed_nobody_is_told() {
    let mut receiver = opened(start());
    let refused = |pull| Event::Refused { pull, code: 103, temporary: false, reason: "no".into() };
    while receiver.poll_event().is_some() {}
    receiver.handle_event(2, refused(2));
    assert_eq!(receiver.poll_event(), None);
    receiver.handle_event(1, refused(1));
    assert_eq!(receiver.poll_event(), Some(refused(1)));
}

#[test]
fn what_is_known_of_a_life_before_it_is_opened_is_asked_for_then() {
    let now = start();
    let mut receiver = Receiver::new();
    receiver.handle_heard(true, now);
    receiver.handle_open(1);
    let mark = |life, high| Mark { pull: 1, life, high };
    receiver.handle_mark(mark(7, 4), Duration::ZERO, now);
    receiver.handle_opened(1, Cursor { epoch: epoch(7), next: 3 }, 2, now);
    assert_eq!(asked(&mut receiver, now + ms(20)), [(now + ms(10), vec![(3, 2)])]);
    for n in 3..5 {
        assert!(receiver.handle_message(1, epoch(7), message(n), false, now + ms(20)));
    }
    // The next life's marks and messages come before it is opened, and late ones of this life.
    receiver.handle_mark(mark(8, 2), Duration::ZERO, now + ms(20));
    assert!(!receiver.handle_message(1, epoch(8), message(3), false, now + ms(20)));
    receiver.handle_mark(mark(7, 4), Duration::ZERO, now + ms(20));
    assert_eq!(asked(&mut receiver, now + ms(500)), []);
    let later = now + ms(500);
    receiver.handle_opened(1, Cursor { epoch: epoch(8), next: 1 }, 0, later);
    assert_eq!(asked(&mut receiver, later + ms(20)), [(later + ms(10), vec![(1, 3)])]);
    assert_eq!(receiver.counts().lost, 0);
}
