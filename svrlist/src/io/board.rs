//! The dashboard's clock: gathers the facts once a second, and lets those read who may.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::io::http::{Request, Response};
use shared::io::shutdown::Shutdown;

use super::live::Live;
use super::{Desk, now};
use crate::config;
use crate::dashboard::facts::Roster;
use crate::dashboard::{Dashboard, Refusal, View, private};
use crate::metrics::Metrics;
use crate::operators::Operators;

/// The dashboard and who may look at it.
#[derive(Debug)]
pub(super) struct Board {
    operators: Arc<Operators>,
    dashboard: Dashboard,
    live: Live,
    roster: Mutex<Roster>,
}

impl Board {
    pub(super) fn new(
        config: config::Dashboard,
        operators: Arc<Operators>,
        metrics: Metrics,
    ) -> Self {
        Self {
            operators,
            dashboard: Dashboard::default(),
            live: Live::new(config.streams_max, metrics),
            roster: Mutex::default(),
        }
    }

    /// Answers a request for a view.
    pub(super) fn answer(&self, request: &Request, view: Result<View, Refusal>) -> Response {
        if let Err(denial) = self.operators.may_read(request, now().calendar) {
            return private(denial.response());
        }
        match view {
            Ok(View::Live) => self.live.open(request, &self.dashboard.shot()),
            Ok(view) => self.dashboard.answer(&view),
            Err(refusal) => refusal.response(),
        }
    }

    /// An open stream counts as use of its session.
    fn may_read(&self, request: &Request) -> bool {
        self.operators.may_read(request, now().calendar).is_ok()
    }

    fn gather(&self, desk: &Desk) {
        let facts = {
            let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
            roster.handle_list(&desk.site.list(), desk.site.planned().conditions.clone(), now())
        };
        self.dashboard.show(facts);
        self.live.tell(&self.dashboard.shot(), |request| self.may_read(request));
    }
}

/// Gathers facts until the shutdown.
pub(super) async fn run(desk: Arc<Desk>, shutdown: Shutdown) {
    let mut interval = tokio::time::interval(GATHER_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            _ = interval.tick() => desk.board.gather(&desk),
        }
    }
    desk.board.live.end();
}

/// How old what is shown may be.
const GATHER_EVERY: Duration = Duration::from_secs(1);
