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
