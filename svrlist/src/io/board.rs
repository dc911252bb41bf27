//! The dashboard's clock: gathers the facts once a second, and lets those read who may.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::io::http::{Request, Response};
use shared::io::shutdown::Shutdown;

use super::history::Archive;
use super::live::Live;
use super::{Desk, now, now_ms};
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
    archive: Archive,
    roster: Mutex<Roster>,
}

impl Board {
    pub(super) fn new(
        config: config::Dashboard,
        operators: Arc<Operators>,
        metrics: Metrics,
        archive: Archive,
    ) -> Self {
        Self {
            operators,
            dashboard: Dashboard::default(),
            live: Live::new(config.streams_max, metrics),
            archive,
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
            Ok(View::History(ask)) => self.archive.answer(&ask, now_ms()),
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
            roster.handle_list(&desk.site.list(), desk.site.planned(), now())
        };
        self.dashboard.show(facts);
        self.live.tell(&self.dashboard.shot(), |request| self.may_read(request));
    }
}

/// Gathers facts until the shutdown.
pub(super) async fn run(desk: Arc<Desk>, shutdown: Shutdown) {
    let mut interval = tokio::time::interval(GATHER_EVERY);
    let mut sampling = tokio::time::interval(SAMPLE_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    sampling.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            _ = interval.tick() => desk.board.gather(&desk),
            _ = sampling.tick() => desk.board.archive.note(desk.board.dashboard.shot().facts()),
        }
    }
    desk.board.live.end();
}

/// Keeps histories until the shutdown.
pub(super) async fn keep(desk: Arc<Desk>, shutdown: Shutdown) {
    desk.board.archive.run(shutdown).await;
}

/// Twice in each of the times whose means are kept.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// How old what is shown may be.
const GATHER_EVERY: Duration = Duration::from_secs(1);
