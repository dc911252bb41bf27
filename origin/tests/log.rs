//! The log through the origin's handle: what is published is there, once, in order, also after a
//! restart.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use origin::io::channels::{Read, Watcher};
use origin::io::origin::{Origin, Since};
use origin::publish::{Publish, Refusal};
use shared::message::Message;
use shared::ring::Cursor;
use support::{Folder, message, name, open};

const ALL: usize = usize::MAX;
const NONE: [u64; 0] = [];

async fn bodies(origin: &Origin, channel: &str) -> Vec<(u64, String)> {
    let history = origin.history(&name(channel), ALL, None, false, ALL).await.unwrap();
    history.messages.iter().map(|message| read(message)).collect()
}

fn read(message: &Message) -> (u64, String) {
    (message.offset, String::from_utf8(message.content.body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_published_is_there_after_a_restart() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    let mut expected = Vec::new();
    let mut position = None;
    for n in 1..=10u64 {
        let published = origin.publish(message("live:1", format!("m{n}"))).await.unwrap();
        assert_eq!((published.position.offset, published.duplicate), (n, false));
        position = Some(published.position);
        expected.push((n, format!("m{n}")));
    }
    let empty = Publish { may_be_empty: true, ..message("live:1", "") };
    assert_eq!(origin.publish(empty).await.unwrap().position.offset, 11);
    expected.push((11, String::new()));
    assert_eq!(bodies(&origin, "live:1").await, expected);
    origin.close();
    assert_eq!(origin.publish(message("live:1", "late")).await, Err(Refusal::ShuttingDown));
    drop(origin);

    let origin = open(folder.path()).unwrap();
    assert_eq!(bodies(&origin, "live:1").await, expected);
    let published = origin.publish(message("live:1", "m12")).await.unwrap();
    assert_eq!(published.position.offset, 12);
    assert_eq!(Some(published.position.epoch), position.map(|position| position.epoch));
    origin.close();
}

#[tokio::test]
async fn a_key_counts_once_even_over_a_restart() {
    let folder = Folder::new();
    let keyed = |body: &str| Publish {
        idempotency_key: "k1".to_owned(),
        ..message("live:1", body.to_owned())
    };
    let origin = open(folder.path()).unwrap();
    origin.publish(message("live:1", "before")).await.unwrap();
    let first = origin.publish(keyed("once")).await.unwrap();
    let again = origin.publish_all(vec![keyed("twice"), keyed("thrice")]).await;
    for again in again {
        let again = again.unwrap();
        assert_eq!((again.position, again.duplicate), (first.position, true));
    }
    let elsewhere = Publish { channel: name("live:2"), ..keyed("elsewhere") };
    assert!(!origin.publish(elsewhere).await.unwrap().duplicate);
    origin.close();
    drop(origin);

    let origin = open(folder.path()).unwrap();
    let again = origin.publish(keyed("after the restart")).await.unwrap();
    assert_eq!((again.position, again.duplicate), (first.position, true));
    let history = bodies(&origin, "live:1").await;
    assert_eq!(history, [(1, "before".to_owned()), (2, "once".to_owned())]);
    origin.close();
}

#[tokio::test]
async fn history_reads_both_ways_from_any_place() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    // Far more than the ring holds, so that the store is read as well.
    let batch = (1..=6000).map(|n| message("large:1", format!("m{n}"))).collect();
    for outcome in origin.publish_all(batch).await {
        outcome.unwrap();
    }
    let channel = name("large:1");
    let epoch = origin.channel(&channel).await.unwrap().position().epoch;
    let offsets = async |limit, since: Option<u64>, reverse| {
        let since = since.map(|offset| Since { epoch: Some(epoch), offset });
        let history = origin.history(&channel, limit, since, reverse, ALL).await.unwrap();
        assert_eq!(history.position.offset, 6000);
        history.messages.iter().map(|message| message.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(0, None, false).await, NONE);
    assert_eq!(offsets(3, None, false).await, [1, 2, 3]);
    assert_eq!(offsets(3, None, true).await, [6000, 5999, 5998]);
    assert_eq!(offsets(3, Some(10), false).await, [11, 12, 13]);
    assert_eq!(offsets(3, Some(10), true).await, [9, 8, 7]);
    assert_eq!(offsets(3, Some(2), true).await, [1]);
    assert_eq!(offsets(9, Some(5998), false).await, [5999, 6000]);
    assert_eq!(offsets(9, Some(6000), false).await, NONE);
    assert_eq!(offsets(9, Some(u64::MAX), false).await, NONE);
    assert_eq!(offsets(ALL, None, false).await, (1..=6000).collect::<Vec<_>>());
    let foreign = shared::message::Epoch::new(epoch.number() ^ 1);
    let since = Some(Since { epoch: foreign, offset: 1 });
    let refused = origin.history(&channel, ALL, since, false, ALL).await;
    assert_eq!(refused, Err(Refusal::OtherEpoch));

    // A reader that is far behind reads the log, then the ring.
    let opened = origin.channel(&channel).await.unwrap();
    let mut cursor = Cursor { epoch, next: 1 };
    assert!(matches!(opened.read(&mut cursor, 100), Read::Behind { .. }));
    let mut next = 1;
    while next <= 6000 {
        let read = match opened.read(&mut cursor, 700) {
            Read::Behind { .. } => origin.read_log(&opened, &mut cursor, 700).await.unwrap(),
            read => read,
        };
        let Read::Batch(batch) = read else { panic!("{read:?} at {next}") };
        for message in batch {
            assert_eq!(read_offset(&message), next);
            next += 1;
        }
    }
    assert_eq!(opened.read(&mut cursor, 1), Read::CaughtUp);
    origin.close();
}

fn read_offset(message: &Message) -> u64 {
    assert_eq!(read(message).1, format!("m{}", message.offset));
    message.offset
}

#[tokio::test]
async fn removing_history_keeps_the_position() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    for n in 1..=5 {
        origin.publish(message("live:1", format!("m{n}"))).await.unwrap();
    }
    origin.history_remove(&name("live:1")).await.unwrap();
    assert_eq!(bodies(&origin, "live:1").await, vec![]);
    origin.close();
    drop(origin);
    let origin = open(folder.path()).unwrap();
    assert_eq!(bodies(&origin, "live:1").await, vec![]);
    let published = origin.publish(message("live:1", "m6")).await.unwrap();
    assert_eq!(published.position.offset, 6);
    assert_eq!(bodies(&origin, "live:1").await, [(6, "m6".to_owned())]);
    origin.close();
}

#[tokio::test]
async fn retention_survives_a_restart() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    for n in 0..30 {
        let batch = (0..100).map(|m| message("live:1", format!("{n}/{m}"))).collect();
        for outcome in origin.publish_all(batch).await {
            outcome.unwrap();
        }
    }
    let kept = bodies(&origin, "live:1").await;
    assert_eq!(kept.len(), 1000);
    assert_eq!(kept.last(), Some(&(3000, "29/99".to_owned())));
    origin.close();
    drop(origin);
    let origin = open(folder.path()).unwrap();
    assert_eq!(bodies(&origin, "live:1").await, kept);
    origin.close();
}

#[tokio::test]
async fn a_channel_nobody_published_to_keeps_its_epoch() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    let position = origin.channel(&name("live:quiet")).await.unwrap().position();
    let other = origin.channel(&name("live:other")).await.unwrap().position();
    assert_ne!(position.epoch, other.epoch);
    origin.close();
    drop(origin);
    let origin = open(folder.path()).unwrap();
    assert_eq!(origin.channel(&name("live:quiet")).await.unwrap().position(), position);
    origin.close();
}

struct Count(AtomicU64);

impl Watcher for Count {
    fn advanced(&self, token: u64) {
        assert_eq!(token, 7);
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn watchers_are_told_after_the_message_can_be_read() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    let channel = origin.channel(&name("live:1")).await.unwrap();
    let mut cursor = Cursor::after(channel.position());
    let count = Arc::new(Count(AtomicU64::new(0)));
    let watcher: Arc<dyn Watcher> = count.clone();
    channel.watch(Arc::clone(&watcher), 7);
    assert_eq!(channel.read(&mut cursor, 9), Read::CaughtUp);
    origin.publish(message("live:1", "m1")).await.unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    let Read::Batch(batch) = channel.read(&mut cursor, 9) else { panic!("nothing there") };
    assert_eq!(read(&batch[0]), (1, "m1".to_owned()));
    channel.unwatch(&watcher, 7);
    origin.publish(message("live:1", "m2")).await.unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    origin.close();
}

#[tokio::test]
async fn refusals() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    let refused = origin.publish(message("nowhere:1", "x")).await.unwrap_err();
    assert_eq!(refused.code(), 102);
    let outcomes = origin
        .publish_all(vec![
            message("live:1", "a"),
            message("nowhere:1", "b"),
            message("live:1", "c"),
        ])
        .await;
    assert_eq!(outcomes[0].as_ref().unwrap().position.offset, 1);
    assert_eq!(outcomes[1].as_ref().unwrap_err().code(), 102);
    assert_eq!(outcomes[2].as_ref().unwrap().position.offset, 2);
    origin.close();
}
