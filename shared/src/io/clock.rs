//! The calendar clock, as messages, tokens and reports tell the time.

use std::time::SystemTime;

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    // A clock before 1970 is as good as none.
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
