//! The clock that all processes of a machine share, and this process's time on processors.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Microseconds of the monotonic clock.
pub(super) fn now() -> u64 {
    micros(ClockId::Monotonic)
}

/// Microseconds that this process spent on processors.
pub(super) fn cpu() -> u64 {
    micros(ClockId::ProcessCPUTime)
}

/// How long it is until `at`.
pub(super) fn until(at: u64) -> Duration {
    Duration::from_micros(at.saturating_sub(now()))
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither clock is ever negative.
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
