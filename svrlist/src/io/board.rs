//! The dashboard's clock: gathers the facts once a second, and lets those read who may.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::io::http::{Request, Response};
use shared::io::shutdown::Shutdown;

use super::{Desk, now};
use crate::config;
use crate::dashboard::facts::Roster;
use crate::dashboard::{self, Dashboard, Refusal, View};

/// The dashboard and who may look at it.
#[derive(Debug)]
pub(super) struct Board {
    open: bool,
    dashboard: Dashboard,
    roster: Mutex<Roster>,
}

impl Board {
    pub(super) fn new(config: config::Dashboard) -> Self {
        Self { open: config.open, dashboard: Dashboard::default(), roster: Mutex::default() }
    }

    /// Answers a request for a view.
    pub(super) fn answer(&self, _request: &Request, view: Result<View, Refusal>) -> Response {
        if !self.open {
            return dashboard::unknown();
        }
        match view {
            Ok(view) => self.dashboard.answer(&view),
            Err(refusal) => refusal.response(),
        }
    }

    fn gather(&self, desk: &Desk) {
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        self.dashboard.show(roster.handle_list(&desk.site.list(), desk.site.conditions(), now()));
    }
}

/// Gathers facts until the shutdown.
pub(super) async fn run(desk: Arc<Desk>, shutdown: Shutdown) {
    let mut interval = tokio::time::interval(GATHER_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = interval.tick() => desk.board.gather(&desk),
        }
    }
}

/// How old what is shown may be.
const GATHER_EVERY: Duration = Duration::from_secs(1);
