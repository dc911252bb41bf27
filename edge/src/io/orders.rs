//! What svrlists want of this edge's clients, brought to the door and the shards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::door::Door;
use crate::drains::Drains;

/// Shared by the lines to all svrlists.
#[derive(Debug)]
pub(super) struct Orders {
    drains: Mutex<Drains>,
    door: Arc<Door>,
    rate: watch::Sender<f64>,
}

impl Orders {
    pub(super) fn new(svrlists: usize, door: Arc<Door>) -> Self {
        Self { drains: Mutex::new(Drains::new(svrlists)), door, rate: watch::Sender::new(0.0) }
    }

    /// Clients a second that are to be sent on, as it changes.
    pub(super) fn rate(&self) -> watch::Receiver<f64> {
        self.rate.subscribe()
    }

    /// A svrlist said how many clients a second.
    pub(super) fn hear(&self, svrlist: usize, rate: f64) {
        self.change(|drains| drains.handle_word(svrlist, rate));
    }

    /// A svrlist is not heard. To be called again while that lasts.
    pub(super) fn lose(&self, svrlist: usize) {
        self.change(|drains| drains.handle_lost(svrlist, Instant::now()));
    }

    fn change(&self, change: impl FnOnce(&mut Drains)) {
        let mut drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut drains);
        let rate = drains.rate(Instant::now());
        let changed = self.rate.send_if_modified(|last| std::mem::replace(last, rate) != rate);
        if changed {
            self.door.set_drain_rate(rate);
            if rate > 0.0 {
                tracing::info!(rate, "operators want clients sent on, so many a second");
            } else {
                tracing::info!("clients may stay and come again");
            }
        }
    }
}
