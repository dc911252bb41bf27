//! Crashes: a real process publishes, is killed at any moment, and what it was acknowledged is there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use origin::io::origin::{Origin, StartError};
use origin::io::store::OpenError;
use origin::log::witness::Witness;
use origin::publish::Publish;
use support::{Folder, message, name, open, settings};

const ALL: usize = usize::MAX;
const FOLDER: &str = "LINECAST_TEST_CRASH_FOLDER";
const SEED: &str = "LINECAST_TEST_CRASH_SEED";

/// Not a test of its own: what the killed process runs. It publishes to a few channels in batches
/// of changing size, and says a line for each acknowledged message.
#[test]
fn publisher_process() {
    let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else {
        return;
    };
    let seed: u64 = seed.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let origin = open(Path::new(&folder)).unwrap();
        let mut out = std::io::stdout().lock();
        let mut failed_rounds = 0;
        for round in 0.. {
            let count = 1 + (seed * 31 + round * 17) % 120;
            let one = |n: u64| {
                let namespace = if n.is_multiple_of(5) { "os" } else { "large" };
                let channel = format!("{namespace}:{}", (n + round) % 7);
                Publish {
                    idempotency_key: format!("{seed}-{round}-{n}"),
                    ..message(&channel, format!("{seed}-{round}-{n}"))
                }
            };
            let publishes: Vec<Publish> = (0..count).map(one).collect();
            let outcomes = origin.publish_all(publishes.clone()).await;
            let mut lines = String::new();
            let mut failures = 0;
            for (publish, outcome) in publishes.iter().zip(outcomes) {
                let position = match outcome {
                    Ok(published) => published.position,
                    Err(refusal) => {
                        lines += &format!("failed {refusal}\n");
                        failures += 1;
                        continue;
                    }
                };
                lines += &format!(
                    "ack {} {} {} {}\n",
                    publish.channel, position.epoch, position.offset, publish.idempotency_key
                );
            }
            out.write_all(lines.as_bytes()).unwrap();
            out.flush().unwrap();
            failed_rounds += u32::from(failures > 0);
            if failed_rounds == 3 {
                return;
            }
        }
    });
}

/// Everything that was acknowledged, by channel: its epoch, and bodies by offset.
#[derive(Default)]
struct Ledger {
    channels: BTreeMap<String, (String, BTreeMap<u64, String>)>,
    count: usize,
}

impl Ledger {
    fn note(&mut self, line: &str) {
        let [_, channel, epoch, offset, body] = line.split(' ').collect::<Vec<_>>()[..] else {
            // The kill cut the last line off.
            return;
        };
        let (known, bodies) = self.channels.entry(channel.to_owned()).or_default();
        if known.is_empty() {
            epoch.clone_into(known);
        }
        assert_eq!(known, epoch, "{channel} changed its epoch");
        let before = bodies.insert(offset.parse().unwrap(), body.to_owned());
        assert_eq!(before, None, "two messages at {channel} {offset}");
        self.count += 1;
    }

    /// Everything is there, at its place, once; and nothing twice under one key.
    async fn check(&self, origin: &Origin) {
        for (channel, (epoch, bodies)) in &self.channels {
            let history = origin.history(&name(channel), ALL, None, false, ALL).await.unwrap();
            assert_eq!(&history.position.epoch.to_string(), epoch);
            let found: BTreeMap<u64, String> = history
                .messages
                .iter()
                .map(|message| {
                    let body = String::from_utf8(message.content.body.to_vec()).unwrap();
                    (message.offset, body)
                })
                .collect();
            let mut seen = std::collections::HashSet::new();
            assert!(found.values().all(|body| seen.insert(body)), "a message twice in {channel}");
            // Channels of the namespace `os` keep the last thousand only.
            let oldest = *found.keys().next().unwrap();
            for (offset, body) in bodies.range(oldest..) {
                assert_eq!(found.get(offset), Some(body), "{channel} {offset}");
            }
            let (last, body) = bodies.iter().next_back().unwrap();
            let again = Publish { idempotency_key: body.clone(), ..message(channel, "again") };
            let again = origin.publish(again).await.unwrap();
            assert_eq!((again.position.offset, again.duplicate), (*last, true));
        }
    }
}

/// Starts the publisher, after what a shell is to do before.
fn publisher(folder: &Path, seed: u64, before: &str) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{before}exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["publisher_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs the publisher until it has acknowledged a number of messages, and kills it.
fn publish_and_kill(folder: &Path, seed: u64, ledger: &mut Ledger) {
    let mut publisher = publisher(folder, seed, "");
    let wanted = 300 + seed * 137 % 900;
    let mut lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
    let mut count = 0;
    while count < wanted {
        let line = lines.next().expect("the publisher ended by itself").unwrap();
        if line.starts_with("ack ") {
            ledger.note(&line);
            count += 1;
        }
    }
    publisher.kill().unwrap();
    // What it had still said before it was killed counts as well.
    for line in lines.map_while(Result::ok).filter(|line| line.starts_with("ack ")) {
        ledger.note(&line);
    }
    publisher.wait().unwrap();
}

#[tokio::test]
async fn acknowledged_messages_survive_kills() {
    let folder = Folder::new();
    let mut ledger = Ledger::default();
    for seed in 1..=12 {
        publish_and_kill(folder.path(), seed, &mut ledger);
        let origin = open(folder.path()).unwrap();
        ledger.check(&origin).await;
        origin.close();
        drop(origin);
    }
    assert!(ledger.count > 5000, "only {} messages", ledger.count);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// The part of a file that holds something: journals are made longer than what is in them.
fn used(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// How a damaged store behaved.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It did not open, and said why.
    Refused,
    /// It opened, and reading said that a channel is damaged.
    Reported,
    /// Everything was there all the same.
    Whole,
}

/// Opens a damaged store; whatever it serves must be what was acknowledged.
async fn inspect(folder: &Path, ledger: &Ledger) -> Found {
    let origin = match open(folder) {
        Ok(origin) => origin,
        // A bit of the library's mark makes another version of it.
        Err(StartError::Store(
            OpenError::Damaged { .. } | OpenError::Missing { .. } | OpenError::LibraryFormat { .. },
        )) => return Found::Refused,
        Err(other) => panic!("another error: {other:?}"),
    };
    let mut found = Found::Whole;
    for (channel, (epoch, bodies)) in &ledger.channels {
        match origin.history(&name(channel), ALL, None, false, ALL).await {
            Ok(history) => {
                assert_eq!(&history.position.epoch.to_string(), epoch);
                assert!(history.position.offset >= *bodies.keys().next_back().unwrap());
                let served: BTreeMap<u64, &[u8]> = history
                    .messages
                    .iter()
                    .map(|message| (message.offset, &message.content.body[..]))
                    .collect();
                for (offset, body) in bodies {
                    if !channel.starts_with("os") {
                        assert_eq!(
                            served.get(offset),
                            Some(&body.as_bytes()),
                            "{channel} {offset}"
                        );
                    }
                }
            }
            Err(refusal) => {
                assert_eq!(refusal.reason(), "damaged");
                let refused = origin.publish(message(channel, "more")).await.unwrap_err();
                assert_eq!(refused.reason(), "damaged", "a damaged log is not continued");
                found = Found::Reported;
            }
        }
    }
    origin.close();
    found
}

#[tokio::test]
async fn damage_is_reported_and_never_served() {
    let folder = Folder::new();
    let mut ledger = Ledger::default();
    publish_and_kill(folder.path(), 3, &mut ledger);
    let origin = open(folder.path()).unwrap();
    ledger.check(&origin).await;
    origin.close();
    drop(origin);
    publish_and_kill(folder.path(), 4, &mut ledger);

    let mut targets = Vec::new();
    files(folder.path(), &mut targets);
    let mut refused = 0;
    let mut tried = 0;
    for target in targets {
        let relative = target.strip_prefix(folder.path()).unwrap();
        let length = used(&target);
        if length == 0 || relative.ends_with("lock") {
            continue;
        }
        for part in [1, 3, 5, 7] {
            for cut in [false, true] {
                let at = length * part / 8;
                let damaged = Folder::new();
                copy(folder.path(), damaged.path());
                let path = damaged.path().join(relative);
                let mut bytes = std::fs::read(&path).unwrap();
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 0x10;
                }
                std::fs::write(&path, &bytes).unwrap();
                tried += 1;
                let found = inspect(damaged.path(), &ledger).await;
                println!("{} at {at} of {length} (cut: {cut}): {found:?}", relative.display());
                if relative.extension().is_some_and(|extension| extension == "jnl") {
                    assert_ne!(found, Found::Whole, "{} at {at}, cut: {cut}", relative.display());
                }
                refused += u32::from(found == Found::Refused);
            }
        }
    }
    assert!(tried > 20 && refused > 5, "{tried} tried, {refused} refused");
}

#[tokio::test]
async fn a_loss_can_be_accepted_and_then_every_epoch_is_new() {
    let folder = Folder::new();
    let mut ledger = Ledger::default();
    publish_and_kill(folder.path(), 5, &mut ledger);
    let journal = folder.path().join("store").join("0.jnl");
    let length = used(&journal);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(length as u64 / 2)
        .unwrap();
    let Err(StartError::Store(error @ OpenError::Missing { .. })) = open(folder.path()) else {
        panic!("the loss went unnoticed");
    };
    assert!(error.to_string().contains("accept_loss"), "{error}");
    assert!(matches!(open(folder.path()), Err(StartError::Store(OpenError::Missing { .. }))));
    let mut accepting = settings(folder.path());
    accepting.place.accept_loss = true;
    let origin = Origin::open(accepting, Default::default()).unwrap();
    for (channel, (epoch, _)) in &ledger.channels {
        let position = origin.channel(&name(channel)).await.unwrap().position();
        assert_ne!(&position.epoch.to_string(), epoch);
        assert_eq!(position.offset, 0);
    }
    origin.close();
    let aside = std::fs::read_dir(folder.path())
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("set-aside-"));
    assert!(aside, "the damaged store is kept");
}

/// Kills while the store is made for the first time, or just afterwards.
#[tokio::test]
async fn a_store_that_was_killed_in_the_making_opens() {
    for delay_ms in 0..25 {
        let folder = Folder::new();
        let mut publisher = publisher(folder.path(), 1, "");
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        publisher.kill().unwrap();
        let mut ledger = Ledger::default();
        let lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok).filter(|line| line.starts_with("ack ")) {
            ledger.note(&line);
        }
        publisher.wait().unwrap();
        let origin = open(folder.path()).unwrap_or_else(|error| panic!("{delay_ms} ms: {error:?}"));
        ledger.check(&origin).await;
        origin.publish(message("large:1", "more")).await.unwrap();
        origin.close();
    }
}

/// The journal may not grow beyond a limit of the system: every write then fails, as on a disk
/// that is full.
#[tokio::test]
async fn a_failed_write_is_named_and_final_and_loses_nothing() {
    let folder = Folder::new();
    let mut ledger = Ledger::default();
    publish_and_kill(folder.path(), 2, &mut ledger);
    open(folder.path()).unwrap().close();
    let mut publisher = publisher(folder.path(), 9, "trap '' XFSZ; ulimit -f 1000; ");
    let mut failures = Vec::new();
    for line in BufReader::new(publisher.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("ack ") {
            assert!(failures.is_empty(), "acknowledged after a failure: {line}");
            ledger.note(&line);
        } else if let Some(reason) = line.strip_prefix("failed ") {
            failures.push(reason.to_owned());
        }
    }
    publisher.wait().unwrap();
    assert!(failures.len() > 1, "{failures:?}");
    assert!(failures.iter().all(|reason| reason.contains("store failed")), "{failures:?}");
    let origin = open(folder.path()).unwrap();
    ledger.check(&origin).await;
    origin.close();
}

/// As after a power cut: the witness is of another run of the machine.
#[tokio::test]
async fn after_a_power_cut_only_what_was_left_to_the_system_begins_anew() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    let synced = origin.publish(message("live:1", "synced")).await.unwrap().position;
    let volatile = origin.publish(message("os:1", "volatile")).await.unwrap().position;
    origin.close();
    drop(origin);
    let path = folder.path().join("witness");
    let witness = Witness::decode(&std::fs::read(&path).unwrap()).unwrap();
    let cut = Witness { closed: false, boot: witness.boot + 1, ..witness };
    std::fs::write(&path, cut.encode()).unwrap();

    let origin = open(folder.path()).unwrap();
    assert_eq!(origin.channel(&name("live:1")).await.unwrap().position(), synced);
    let position = origin.channel(&name("os:1")).await.unwrap().position();
    assert_ne!(position.epoch, volatile.epoch);
    assert_eq!(position.offset, 0);
    let again = origin.publish(message("os:1", "again")).await.unwrap().position;
    assert_eq!((again.epoch, again.offset), (position.epoch, 1));
    origin.close();
    drop(origin);
    let origin = open(folder.path()).unwrap();
    assert_eq!(origin.channel(&name("os:1")).await.unwrap().position(), again);
    origin.close();
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_before_anything_fails() {
    let folder = Folder::new();
    let mut full = settings(folder.path());
    full.free_bytes_min = u64::MAX;
    let origin = Origin::open(full, Default::default()).unwrap();
    let refused = origin.publish(message("live:1", "x")).await.unwrap_err();
    assert_eq!((refused.reason(), refused.temporary()), ("disk_full", true));
    origin.close();
}

#[tokio::test]
async fn a_folder_in_use_is_named() {
    let folder = Folder::new();
    let origin = open(folder.path()).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StartError::Store(OpenError::Locked(_))), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
    origin.close();
}
