//! Publishers: of one numbered stream, and of streams that survive a publisher's origin.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::api::{Origin, Position};
use tests::stream::Stream;
use tests::wait::within_time;

/// Publishes messages `numbers` one after the other.
pub(crate) async fn numbers(origin: &Origin, channel: &str, numbers: Range<u64>) -> Result<()> {
    for n in numbers {
        origin.publish(channel, &Stream::body(n)).await?;
    }
    Ok(())
}

/// What a publisher was promised: message `n` of its own stands at `position`.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) publisher: u64,
    pub(crate) n: u64,
    pub(crate) position: Position,
}

/// Publishes messages of `publisher` one after the other until `stop` is set, each again and again under
/// its idempotency key until it is acknowledged. `total` counts the acknowledged of all publishers.
pub(crate) async fn stubbornly(
    origin: Origin,
    channel: String,
    publisher: u64,
    total: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Vec<Acknowledged>> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let request = json!({
            "channel": channel,
            "data": { "publisher": publisher, "n": n },
            "idempotency_key": format!("{publisher}-{n}"),
        });
        let position = within_time(&request.to_string(), GIVE_UP, async {
            loop {
                match origin.publish_as(&request).await {
                    Ok(position) => return Ok(position),
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        })
        .await?;
        acknowledged.push(Acknowledged { publisher, n, position });
        total.fetch_add(1, Ordering::Relaxed);
    }
    Ok(acknowledged)
}

const AGAIN: Duration = Duration::from_millis(10);
const GIVE_UP: Duration = Duration::from_secs(30);
