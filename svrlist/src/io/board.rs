//! The dashboard's clock: gathers the facts once a second, and lets those read who may.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use hyper::header::{ALLOW, HeaderValue};
use shared::io::http::{Request, Response, StatusCode, empty, error};
use shared::io::shutdown::Shutdown;

use super::control::Control;
use super::history::Archive;
use super::live::Live;
use super::webhook::Webhook;
use super::{Desk, now};
use crate::alerts::{Acknowledged, Alerts};
use crate::config;
use crate::control::audit::Note;
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
    alerts: Mutex<Alerts>,
    webhook: Webhook,
    metrics: Metrics,
}

impl Board {
    pub(super) fn new(
        config: config::Dashboard,
        operators: Arc<Operators>,
        metrics: Metrics,
        archive: Archive,
        webhook: Webhook,
    ) -> Self {
        Self {
            operators,
            dashboard: Dashboard::default(),
            live: Live::new(config.streams_max, metrics.clone()),
            archive,
            roster: Mutex::default(),
            alerts: Mutex::default(),
            webhook,
            metrics,
        }
    }

    /// Answers a request for a view.
    pub(super) fn answer(&self, request: &Request, view: Result<View, Refusal>) -> Response {
        if let Err(denial) = self.operators.may_read(request, now().monotonic) {
            return private(denial.response());
        }
        match view {
            Ok(View::Live) => self.live.open(request, &self.dashboard.shot()),
            Ok(View::History(ask)) => self.archive.answer(&ask, now()),
            Ok(view) => self.dashboard.answer(&view),
            Err(refusal) => refusal.response(),
        }
    }

    /// An open stream counts as use of its session.
    fn may_read(&self, request: &Request) -> bool {
        self.operators.may_read(request, now().monotonic).is_ok()
    }

    /// Notes that an operator has seen an alert, or takes that back; with what is to be written down of it.
    pub(super) fn acknowledge(
        &self,
        request: &Request,
        id: &str,
        control: &Control,
    ) -> (Response, Option<Note>) {
        let seen = match request.method {
            Method::POST => true,
            Method::DELETE => false,
            _ => {
                let said = "an alert is acknowledged by POST, which DELETE takes back";
                let mut response = error(StatusCode::METHOD_NOT_ALLOWED, said);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
                return (private(response), None);
            }
        };
        let now = now();
        let (peer, headers) = (request.peer.ip(), &request.headers);
        let operator = match self.operators.may_change(peer, headers, now.monotonic) {
            Ok(operator) => operator,
            Err(denial) => {
                let note = control.denied(request, ACKNOWLEDGE, denial, now);
                return (private(denial.response()), Some(note));
            }
        };
        let note = |done, detail| Note {
            who: operator.name.to_string(),
            from: self.operators.address(peer, headers).to_string(),
            action: ACKNOWLEDGE,
            done,
            detail: vec![detail],
            ..Note::default()
        };
        let by = Arc::clone(&operator.name);
        let at_ms = now.since_1970_ms();
        let acknowledged = seen.then_some(Acknowledged { by, at_ms });
        let mut alerts = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(title) = alerts.acknowledge(id, acknowledged) else {
            let missing = "no such alert is open";
            let note = note(false, format!("alert {id}: {missing}"));
            return (private(error(StatusCode::NOT_FOUND, missing)), Some(note));
        };
        let detail = format!("alert {id}{}: {title}", if seen { "" } else { ", taken back" });
        (private(empty(StatusCode::NO_CONTENT)), Some(note(true, detail)))
    }

    fn gather(&self, desk: &Desk) {
        let now = now();
        let mut facts = {
            let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
            roster.handle_list(&desk.site.list(), desk.site.planned(), now)
        };
        {
            let mut alerts = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
            alerts.handle_facts(&facts, self.metrics.refused(), now);
            (facts.alerts, facts.past) = (alerts.open(), alerts.past());
            self.webhook.tell(alerts.poll_notices());
        }
        self.metrics.alerts(&facts.alerts);
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
            _ = interval.tick() => apart(&desk, |desk| desk.board.gather(desk)).await,
            _ = sampling.tick() => apart(&desk, |desk| {
                desk.board.archive.note(desk.board.dashboard.shot().facts(), now());
            }).await,
        }
    }
    desk.board.live.end();
}

/// Does what takes a while in a large network where no client waits for it.
async fn apart(desk: &Arc<Desk>, work: impl FnOnce(&Desk) + Send + 'static) {
    let desk = Arc::clone(desk);
    if let Err(failed) = tokio::task::spawn_blocking(move || work(&desk)).await
        && let Ok(panic) = failed.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Keeps histories until the shutdown.
pub(super) async fn keep(desk: Arc<Desk>, shutdown: Shutdown) {
    desk.board.archive.run(shutdown).await;
}

/// Tells of alerts until the shutdown.
pub(super) async fn notify(desk: Arc<Desk>, shutdown: Shutdown) {
    desk.board.webhook.run(shutdown).await;
}

/// Twice in each of the times whose means are kept.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// How old what is shown may be.
const GATHER_EVERY: Duration = Duration::from_secs(1);

/// What an operator does who has seen an alert.
const ACKNOWLEDGE: &str = "acknowledge";
