//! Lines: the connections between an edge and its upstream, as decisions without I/O.
//!
//! A [`Pool`] holds all lines to one upstream and decides which are opened, probed and given up. The
//! shell (`io/line.rs` and the services' `io/`) carries its [`Action`]s out and tells it what
//! happened. This is where several lines per edge plug in: the pool already speaks of lines in the
//! plural, its [`Pool::primary`] chooses among those that are up.
//!
//! Order of calls: after every `handle_*`, drain [`Pool::poll_action`] until `None`, then sleep until
//! [`Pool::next_deadline`] or the next event. Time never runs backwards.

mod access;
mod budget;
mod meter;
mod pool;

pub use access::{Access, AccessError, CARRIER_BYTES_MAX};
pub use budget::{BITS_PER_SECOND, Budget, BudgetFactory, WINDOW_MAX, WINDOW_MIN};
pub use meter::{BEAT_IDLE, LOSS_HALF_LIFE, Meter, MeterCounts, Rtt};
pub use pool::{
    Action, DOWN_AFTER, LineId, PAUSE_MAX, PAUSE_MIN, PING_EVERY, Pool, SUSPECT_AFTER, State,
};
