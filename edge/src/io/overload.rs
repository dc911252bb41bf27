//! Watches how much is used of cores and uplink, and tells everybody what to leave out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shared::io::shutdown::Shutdown;
use tokio::sync::watch;

use super::counters::Counters;
use super::door::{Closed, Door};
use crate::config::Config;
use crate::pressure::{Pressure, Usage};

/// What is watched, and who is told.
pub(super) struct Overload {
    pub(super) config: Arc<Config>,
    pub(super) door: Arc<Door>,
    pub(super) shards: Vec<Arc<Counters>>,
    pub(super) pressure: watch::Sender<Pressure>,
}

impl Overload {
    /// Watches until the shutdown.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = (Instant::now(), self.read());
        loop {
            tokio::select! {
                () = shutdown.triggered() => return,
                _ = every.tick() => {}
            }
            let now = (Instant::now(), self.read());
            let usage = self.usage(&before, &now);
            before = now;
            let last = *self.pressure.borrow();
            let next = last.next(usage);
            if next == last {
                continue;
            }
            self.pressure.send_replace(next);
            self.door.close(next.refuses.then_some(Closed::Busy));
            if next.refuses != last.refuses {
                let Usage { cpu, bandwidth } = usage;
                tracing::warn!(
                    cpu,
                    bandwidth,
                    "{}",
                    match next.refuses {
                        true => "too much to do: new connections are refused",
                        false => "new connections are accepted again",
                    }
                );
            }
        }
    }

    /// CPU time of each shard and when it was that, and bytes written by all.
    fn read(&self) -> (Vec<(Instant, Duration)>, u64) {
        let bytes = self.shards.iter().map(|shard| shard.bytes.load(Ordering::Relaxed)).sum();
        (self.shards.iter().map(|shard| shard.cpu()).collect(), bytes)
    }

    fn usage(
        &self,
        (then, (cpu_then, bytes_then)): &Reading,
        (now, (cpu, bytes)): &Reading,
    ) -> Usage {
        let busy =
            |((now, cpu), (then, cpu_then)): (&(Instant, Duration), &(Instant, Duration))| {
                let seconds = now.saturating_duration_since(*then).as_secs_f64();
                let used = cpu.saturating_sub(*cpu_then).as_secs_f64();
                // Shards begin once the upstream is there; until they tell, nothing is known of them.
                let share = if seconds > 0.0 { used / seconds } else { 0.0 };
                share / self.config.overload.cpu
            };
        let seconds = now.duration_since(*then).as_secs_f64().max(EVERY.as_secs_f64() / 2.0);
        let max = self.config.public.bits_out_max as f64 * self.config.overload.bandwidth;
        let bits = bytes.saturating_sub(*bytes_then) as f64 * 8.0 / seconds;
        Usage {
            cpu: cpu.iter().zip(cpu_then).map(busy).fold(0.0, f64::max),
            bandwidth: if max > 0.0 { bits / max } else { 0.0 },
        }
    }
}

/// When it was read, and what.
type Reading = (Instant, (Vec<(Instant, Duration)>, u64));

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
