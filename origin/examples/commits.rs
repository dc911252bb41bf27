//! How many messages a second an origin makes durable, through its handle.
//!
//! ```text
//! cargo run --release -p origin --example commits -- [seconds] [publishers] [batch] [channels] [bytes]
//! ```
//!
//! Each publisher hands in a batch, waits until it is durable (`fsync`), and hands in the next. Unfair
//! in our favour: no HTTP, no JSON. The data folder is a temporary one: name another disk in TMPDIR.
#![allow(clippy::print_stdout, reason = "it is what an example does")]
#![allow(clippy::disallowed_methods, reason = "a measurement looks at the clock and spawns")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use origin::io::hook::HookConfig;
use origin::io::metrics::Metrics;
use origin::io::origin::{Origin, Settings};
use origin::io::store::Place;
use origin::publish::Publish;
use shared::channel::ChannelName;
use shared::namespace::Namespaces;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<u64> =
        std::env::args().skip(1).map(|n| n.parse()).collect::<Result<_, _>>()?;
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (seconds, publishers, batch) = (number(0, 5), number(1, 4), number(2, 500));
    let (channels, bytes) = (number(3, 100), number(4, 200));
    let folder = std::env::temp_dir().join(format!("linecast-commits-{}", std::process::id()));
    let settings = Settings {
        place: Place { folder: folder.clone(), accept_loss: false, memtable_bytes: 32 << 20 },
        namespaces: Namespaces::default(),
        channels_max: 1_000_000,
        free_bytes_min: 0,
        edge_grace: Duration::from_secs(10),
        hook: HookConfig {
            rpc: None,
            publish: None,
            timeout: Duration::from_secs(1),
            concurrency_max: 1,
        },
    };
    let origin = Origin::open(settings, Metrics::default())?;
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    for publisher in 0..publishers {
        let (origin, done) = (origin.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let body = bytes::Bytes::from(vec![b'x'; usize::try_from(bytes).unwrap_or(1).max(1)]);
            let mut next = publisher;
            while Instant::now() < until {
                let publishes = (0..batch)
                    .map(|_| {
                        next += publishers;
                        let name = ChannelName::parse(&format!("room{}", next % channels))?.0;
                        Ok(Publish::new(name, body.clone()))
                    })
                    .collect::<Result<Vec<_>, shared::channel::NameError>>()?;
                let handed_in = Instant::now();
                for outcome in origin.publish_all(publishes).await {
                    outcome?;
                }
                latencies.push(handed_in.elapsed());
                done.fetch_add(batch, Ordering::Relaxed);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended?.map_err(|error| error.to_string())?);
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 1000).copied();
    println!(
        "{:.0} messages/s durable ({publishers} publishers, batches of {batch}, {channels} \
         channels, {bytes} bytes); a batch took p50 {:?} p99 {:?} p99.9 {:?}",
        done.load(Ordering::Relaxed) as f64 / took.as_secs_f64(),
        at(500).unwrap_or_default(),
        at(990).unwrap_or_default(),
        at(999).unwrap_or_default(),
    );
    origin.close();
    drop(origin);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
