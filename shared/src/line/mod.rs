//! Lines: the connections between an edge and its upstream, as decisions without I/O.
//!
//! An edge has a [`Caller`], its upstream an [`Answerer`]: the two ends of a trunk, which is all lines
//! between them and what those share. From the inside out:
//!
//! * [`Meter`]: what one end sees of the direction towards it of one line.
//! * [`pool`]: the connected lines, which of them is the primary, and which carries a second copy.
//! * [`sender`] and [`receiver`]: live messages over any line, each in order, once, and repaired.
//! * [`Outbox`] and [`Inbox`]: control messages over any line, in order.
//! * [`opener`]: which lines a caller tries, and when again.
//! * [`Budget`]: how much each may carry, whatever it loses.
//!
//! The shells (`io/line.rs` and the services' `io/`) carry their actions out and tell them what
//! happened; so does the simulation of the tests, in virtual time.

mod answerer;
mod budget;
mod caller;
pub mod ledger;
mod line_end;
mod meter;
pub mod opener;
mod ordered;
pub mod pool;
pub mod receiver;
pub mod sender;
mod trunk;

pub use answerer::{Answerer, Asked};
pub use budget::{BITS_PER_SECOND, Budget, BudgetFactory, WINDOW_MAX, WINDOW_MIN};
pub use caller::Caller;
pub use line_end::{CARRIER_BYTES_MAX, LineEnd, LineEndError};
pub use meter::{BEAT_IDLE, LOSS_HALF_LIFE, Meter, MeterCounts, Rtt};
pub use ordered::{Inbox, OUTBOX_MAX, Outbox, Overflow};
pub use trunk::{Action as TrunkAction, Trunk, TrunkError};

/// Names a line of one trunk; the caller numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(pub u32);
