//! The pace of a broadcast that has a speed.

use std::time::{Duration, Instant};

use super::TICK;
use crate::room::{Segment, Written};

/// How many paced writes a shard may make: a broadcast with a speed goes to so many connections a
/// second and no more.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    elapsed: Duration,
    /// Paced writes made since the last tick.
    spent: f64,
    /// Whether one was held back.
    held: bool,
}

impl Pace {
    pub(super) fn handle_tick(&mut self, now: Instant) {
        let since = self.last.map_or(TICK, |last| now.saturating_duration_since(last));
        self.elapsed = since.min(4 * TICK);
        self.last = Some(now);
        self.spent = 0.0;
    }

    /// Whether a write was held back since this was last asked.
    pub(super) fn take_held(&mut self) -> bool {
        std::mem::take(&mut self.held)
    }

    /// Writes segments up to the first paced one that must wait. `share` is this shard's part of
    /// all connections.
    pub(super) fn write(
        &mut self,
        share: f64,
        segments: &mut dyn Iterator<Item = &Segment>,
        write: &mut dyn FnMut(&mut dyn Iterator<Item = &Segment>) -> Written,
    ) -> Written {
        let mut held = false;
        let (elapsed, spent) = (self.elapsed.as_secs_f64(), &mut self.spent);
        let mut allowed = segments.take_while(|segment| {
            if segment.speed > 0 {
                let budget = (f64::from(segment.speed) * share * elapsed).max(1.0);
                if *spent + 1.0 > budget {
                    held = true;
                    return false;
                }
                *spent += 1.0;
            }
            true
        });
        let written = write(&mut allowed);
        self.held |= held;
        written
    }
}
