//! The sweep: what has to happen to channels although nobody asks for it.
//!
//! Channels in memory are shown to the writer, which applies retention to them; idle ones are let
//! go. A slow walk over the store finds channels that are not in memory but hold messages past
//! their time (they are loaded, and so swept next time) and those of which nothing has been left
//! for long.

use std::time::Duration;

use shared::io::shutdown::Shutdown;

use super::origin::Origin;
use super::writer::Work;
use crate::limits::KEPT_AT_LEAST;
use crate::log::key;
use shared::io::clock::unix_ms;

/// When things are swept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long channels are remembered after their last message.
    pub(super) meta_age: Duration,
}

impl Origin {
    /// Sweeps until the shutdown.
    pub(super) async fn sweep(self, pace: Pace, shutdown: Shutdown) {
        let mut after = None;
        loop {
            tokio::select! {
                () = shutdown.triggered() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
            self.shared.channels.evict(unix_ms(), millis(IDLE));
            self.sweep_loaded();
            after = self.walk_store(after, pace).await;
        }
    }

    fn sweep_loaded(&self) {
        let channels = self.shared.channels.all();
        let ring_bytes = channels.iter().map(|channel| channel.lock().bytes()).sum();
        let count = self.shared.channels.len();
        self.shared.metrics.sizes(count, ring_bytes, self.shared.store.disk_bytes());
        for some in channels.chunks(CHANNELS_AT_ONCE) {
            // Without a writer there is nothing to sweep.
            let _ = self.shared.work.send(Work::Sweep(some.to_vec()));
        }
    }

    /// Looks at the next metas of the store; answers where to go on.
    async fn walk_store(&self, after: Option<Vec<u8>>, pace: Pace) -> Option<Vec<u8>> {
        let store = self.shared.store.clone();
        let read = move || store.metas(after.as_deref(), METAS_AT_ONCE);
        let metas = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(metas)) => metas,
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot read the store");
                return None;
            }
            Err(_) => return None,
        };
        let now_ms = unix_ms();
        let mut forgotten = Vec::new();
        let last = (metas.len() == METAS_AT_ONCE).then(|| metas.last().map(|(key, _)| key.clone()));
        for (name, meta) in metas {
            let (Some(name), Ok(meta)) = (key::meta_channel(&name), meta) else {
                tracing::error!(key = %name.escape_ascii(), "the meta of a channel is damaged");
                self.shared.metrics.damaged();
                continue;
            };
            if self.shared.channels.contains(&name) {
                continue;
            }
            let is_past = |age: Duration| meta.time_ms.saturating_add(millis(age)) <= now_ms;
            let options = self.shared.namespaces.options(&name);
            let holds_runs = options.is_some() && meta.oldest <= meta.top;
            let age = options.map_or(Duration::ZERO, |options| options.history_age);
            if holds_runs && is_past(age.max(KEPT_AT_LEAST)) {
                // A failure has been logged; the next walk tries again.
                let _ = self.channel(&name).await;
            } else if !holds_runs && is_past(pace.meta_age) {
                forgotten.push(name);
            }
        }
        if !forgotten.is_empty() {
            let _ = self.shared.work.send(Work::Forget(forgotten));
        }
        last.flatten()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// From one round to the next.
const ROUND: Duration = Duration::from_secs(2);
/// How long a channel that nobody uses stays in memory.
const IDLE: Duration = Duration::from_secs(60);
/// Channels that one piece of work shows to the writer, so that publishes get between.
const CHANNELS_AT_ONCE: usize = 500;
/// Metas looked at in one round: 1,000,000 channels are walked in an hour.
const METAS_AT_ONCE: usize = 1000;

#[cfg(test)]
mod tests {
    use shared::channel::ChannelName;
    use shared::message::Position;

    use super::super::fixture::Temporary;
    use super::*;
    use crate::publish::Publish;

    /// Waits until the writer has done everything it was asked before.
    async fn settle(origin: &Origin) {
        let other = ChannelName::parse("settle").unwrap().0;
        origin.publish(Publish::new(other, "x")).await.unwrap();
    }

    #[tokio::test]
    async fn a_forgotten_channel_begins_another_life() {
        let temporary = Temporary::open(|_| {});
        let origin = &temporary.origin;
        let name = ChannelName::parse("room").unwrap().0;
        let position = async || -> Position { origin.channel(&name).await.unwrap().position() };
        origin.publish(Publish::new(name.clone(), "x")).await.unwrap();
        let first = position().await;
        // The writer may hold the channel a little longer than it takes to answer.
        settle(origin).await;

        // With messages left it is kept.
        let pace = Pace { meta_age: Duration::ZERO };
        origin.shared.channels.evict(unix_ms(), 0);
        assert!(!origin.shared.channels.contains(&name));
        origin.walk_store(None, pace).await;
        settle(origin).await;
        assert_eq!(position().await, first);

        origin.history_remove(&name).await.unwrap();
        origin.sweep_loaded();
        settle(origin).await;
        assert_eq!(position().await, first);
        // In use it is kept.
        origin.walk_store(None, pace).await;
        settle(origin).await;
        assert_eq!(position().await, first);
        origin.shared.channels.evict(unix_ms(), 0);
        origin.walk_store(None, pace).await;
        settle(origin).await;
        let second = position().await;
        assert_eq!(second.offset, 0);
        assert_ne!(second.epoch, first.epoch);
    }
}
