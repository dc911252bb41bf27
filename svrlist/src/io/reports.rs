//! Lines of edges: answers them, and brings their reports to the desk.
//!
//! An edge that reports is believed because its certificate says who it is; what it says is checked
//! by [`Edge::admit`]. A refused report is logged once per line, since the next one will be the same.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Endpoint, Incoming};
use shared::io::line::{self, Answered, CLOSE_DONE, LineError};
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::wire::control::{
    Down, Drain, Elsewhere, Ends, EndsTaken, Pong, Report, Up, Welcome, down, up,
};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::{Desk, blocking};
use crate::drain::{Drains, Step};
use crate::edge::Edge;
use crate::pace::Pace;

/// Everything the lines need.
pub(super) struct Intake {
    desk: Arc<Desk>,
    nodes: Nodes,
    weights: BTreeMap<String, f64>,
    /// Whose turn it is to [find out](Self::find), which takes a while in a large network.
    finding: Arc<Semaphore>,
}

impl Intake {
    pub(super) fn new(desk: Arc<Desk>, nodes: Nodes, weights: BTreeMap<String, f64>) -> Self {
        Self { desk, nodes, weights, finding: Arc::new(Semaphore::new(FINDING_MAX)) }
    }

    /// Answers lines until the shutdown.
    pub(super) async fn run(self, endpoint: Endpoint, shutdown: Shutdown) {
        let this = Arc::new(self);
        let mut lines = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.triggered() => break,
                Some(ended) = lines.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the task of a line failed");
                    }
                }
                incoming = endpoint.accept() => match incoming {
                    None => break,
                    Some(incoming) if lines.len() >= LINES_MAX => {
                        tracing::warn!(lines = lines.len(), "refused a line: too many");
                        incoming.refuse();
                    }
                    Some(incoming) => {
                        lines.spawn(Arc::clone(&this).line(incoming));
                    }
                },
            }
        }
        endpoint.close(CLOSE_DONE, b"svrlist is ending");
        lines.shutdown().await;
        // Lets the close reach the edges; whoever does not hear it finds out by itself.
        let _ = tokio::time::timeout(CLOSE_GRACE, endpoint.wait_idle()).await;
    }

    async fn line(self: Arc<Self>, incoming: Incoming) {
        let remote = incoming.remote_address();
        let answered = match line::answer(incoming).await {
            Ok(answered) => answered,
            Err(error) => {
                tracing::debug!(%remote, error = &error as &dyn std::error::Error, "no line");
                return;
            }
        };
        let edge = answered.peer.name.clone();
        tracing::info!(edge, %remote, "an edge opened a line");
        self.desk.metrics.line_opened();
        let ended = Arc::clone(&self).listen(answered).await;
        self.desk.metrics.line_closed();
        match ended {
            Ok(()) => tracing::info!(edge, %remote, "an edge closed its line"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::info!(edge, %remote, error, "a line ended");
            }
        }
    }

    /// Listens to one edge until it or the line ends.
    async fn listen(self: Arc<Self>, answered: Answered) -> Result<(), LineError> {
        let connection = answered.connection.clone();
        let mut distrusted = pin!(line::distrusted(&connection, &self.nodes));
        let mut wanted = self.desk.control.wanted();
        let mut line = Line::new(&self, answered);
        line.welcome().await?;
        loop {
            let waits = line.held.is_some();
            let free_at = line.pace.free_at().map_or_else(tokio::time::Instant::now, Into::into);
            let message = tokio::select! {
                message = line.answered.up.receive() => message,
                () = tokio::time::sleep_until(free_at), if waits => {
                    line.hear_held().await?;
                    continue;
                }
                Some(found) = line.finding.join_next() => {
                    line.tell_elsewhere(found).await?;
                    continue;
                }
                Ok(()) = wanted.changed() => {
                    line.find_elsewhere();
                    line.tell_drain().await?;
                    continue;
                }
                error = &mut distrusted => return Err(error),
            };
            let kind = match message {
                Ok(Some(Up { kind, .. })) => kind,
                ended => {
                    // An edge's last word counts, however many came right before; nobody hears an answer.
                    let _ = line.hear().await;
                    return ended.map(|_| ());
                }
            };
            match kind {
                Some(up::Kind::Report(report)) => {
                    line.hold(report);
                    line.hear_held().await?;
                }
                Some(up::Kind::Ping(ping)) => {
                    line.send(down::Kind::Pong(Pong { sent_us: ping.sent_us })).await?;
                }
                // What an edge says to origins; newer edges may say more.
                Some(
                    up::Kind::Hello(_)
                    | up::Kind::Open(_)
                    | up::Kind::Credit(_)
                    | up::Kind::Close(_)
                    | up::Kind::Presence(_)
                    | up::Kind::Online(_),
                )
                | None => {}
            }
        }
    }

    /// Finds out where the edge's clients may go instead.
    async fn find(self: Arc<Self>, edge: Arc<Edge>) -> Found {
        let turn = Arc::clone(&self.finding).acquire_owned().await;
        let desk = Arc::clone(&self.desk);
        let find = move || {
            // What is begun goes on though its line ends, and its turn lasts as long.
            let _turn = turn;
            let version = Some(desk.site.version());
            let edges = desk.site.list().edges.len();
            let elsewhere = Elsewhere { alternatives: desk.site.elsewhere(&edge) };
            Found { version, edges, at: Some(Instant::now()), elsewhere }
        };
        blocking(find).await
    }

    fn ends(&self, edge: &Edge, ends: &Ends, refused: &mut bool) {
        let told = self.desk.site.handle_ends(edge, ends);
        self.desk.metrics.ended(told.is_ok());
        match told {
            Ok(()) => *refused = false,
            Err(error) if !std::mem::replace(refused, true) => {
                tracing::warn!(edge = &*edge.name, %error, "refused how sessions ended");
            }
            Err(_) => {}
        }
    }

    fn report(&self, report: &Report, peer: &str, refused: &mut bool) -> Option<Edge> {
        match Edge::admit(report, peer, &self.weights) {
            Ok(edge) => {
                *refused = false;
                self.desk.metrics.reported(true);
                self.desk.tell(|registry, now| registry.handle_report(edge.clone(), now));
                Some(edge)
            }
            Err(error) => {
                self.desk.metrics.reported(false);
                if !std::mem::replace(refused, true) {
                    tracing::warn!(edge = peer, %error, "refused a report");
                }
                None
            }
        }
    }
}

/// One edge's line: what the edge told last, and what it was told.
struct Line {
    intake: Arc<Intake>,
    answered: Answered,
    /// The report whose turn has not come.
    held: Option<Report>,
    pace: Pace,
    /// Whether the last report, and the last ends, were refused.
    refused: (bool, bool),
    edge: Option<Arc<Edge>>,
    /// Finds out where the edge's clients may go instead; at most one task.
    finding: JoinSet<Found>,
    found: Found,
    drains: Drains,
}

/// Where an edge's clients may go instead, and [of when](crate::site::Site::version) that is.
#[derive(Default)]
struct Found {
    version: Option<(u64, u64)>,
    /// How many edges were listed, and when it was found out.
    edges: usize,
    at: Option<Instant>,
    elsewhere: Elsewhere,
}

impl Line {
    fn new(intake: &Arc<Intake>, answered: Answered) -> Self {
        Self {
            intake: Arc::clone(intake),
            answered,
            held: None,
            pace: Pace::new(REPORT_EVERY, REPORTS_AT_ONCE),
            refused: (false, false),
            edge: None,
            finding: JoinSet::new(),
            found: Found::default(),
            drains: Drains::default(),
        }
    }

    async fn welcome(&mut self) -> Result<(), LineError> {
        let welcome = Welcome {
            node: self.intake.nodes.name().name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Welcome::default()
        };
        self.send(down::Kind::Welcome(welcome)).await
    }

    async fn send(&mut self, kind: down::Kind) -> Result<(), LineError> {
        self.answered.down.send(&Down { kind: Some(kind), number: 0 }).await
    }

    /// Keeps a report for its turn, in place of one that has not had it: the later one says all that the
    /// earlier one did but for how sessions ended.
    fn hold(&mut self, mut report: Report) {
        if let Some(before) = self.held.take() {
            self.intake.desk.metrics.superseded();
            report.ends = report.ends.or(before.ends);
        }
        self.held = Some(report);
    }

    /// Hears what is held if it has its turn.
    async fn hear_held(&mut self) -> Result<(), LineError> {
        if self.held.is_some() && self.pace.pass(Instant::now()) {
            self.hear().await
        } else {
            Ok(())
        }
    }

    async fn hear(&mut self) -> Result<(), LineError> {
        let Some(report) = self.held.take() else { return Ok(()) };
        let peer = &self.answered.peer.name;
        let Some(edge) = self.intake.report(&report, peer, &mut self.refused.0) else {
            return Ok(());
        };
        if let Some(ends) = &report.ends {
            self.intake.ends(&edge, ends, &mut self.refused.1);
            let taken = EndsTaken { session: ends.session, number: ends.number };
            self.send(down::Kind::EndsTaken(taken)).await?;
        }
        self.edge = Some(Arc::new(edge));
        self.find_elsewhere();
        self.tell_drain().await
    }

    /// Begins to find out where the edge's clients may go instead, if that may have changed and is due.
    fn find_elsewhere(&mut self) {
        let Some(edge) = self.edge.clone() else { return };
        let site = &self.intake.desk.site;
        if !self.finding.is_empty() || self.found.version == Some(site.version()) {
            return;
        }
        // An edge that keeps its clients has these places in reserve.
        let sends_on = edge.draining || edge.busy || self.wanted_rate(&edge) > 0.0;
        let fresh = self.found.at.is_some_and(|at| at.elapsed() < FIND_EVERY)
            && self.found.edges == site.list().edges.len()
            && !self.found.elsewhere.alternatives.is_empty();
        if fresh && !sends_on {
            return;
        }
        self.finding.spawn(Arc::clone(&self.intake).find(edge));
    }

    /// Clients a second that operators want the edge to send on.
    fn wanted_rate(&self, edge: &Edge) -> f64 {
        self.intake.desk.control.wanted().borrow().drain_rate(edge)
    }

    async fn tell_elsewhere(&mut self, found: Result<Found, JoinError>) -> Result<(), LineError> {
        let found = found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let before = std::mem::replace(&mut self.found, found).elsewhere;
        if before != self.found.elsewhere {
            self.send(down::Kind::Elsewhere(self.found.elsewhere.clone())).await?;
        }
        self.tell_drain().await
    }

    /// Tells the edge how many clients a second it is to send on if it does not know: after the places to go
    /// to, and these as operators want them by now.
    async fn tell_drain(&mut self) -> Result<(), LineError> {
        let Some(edge) = &self.edge else { return Ok(()) };
        let rate_per_s = self.wanted_rate(edge);
        let plan = self.intake.desk.site.version().1;
        let found = self.found.version.map(|(_, plan)| plan);
        match self.drains.handle_rate(rate_per_s, plan, found) {
            Step::Nothing => Ok(()),
            Step::Find => {
                self.find_elsewhere();
                Ok(())
            }
            Step::Tell => self.send(down::Kind::Drain(Drain { rate_per_s })).await,
        }
    }
}

/// Lines at the same time: several for each of some hundred edges.
const LINES_MAX: usize = 4096;

/// How often a line's reports are heard when they come faster: ten times as often as edges report.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Reports that are heard at once after a rest: an edge that has news says so between two others.
const REPORTS_AT_ONCE: u32 = 5;

/// How often it is found out where the clients of an edge may go that keeps them, unless edges came or went:
/// with a thousand edges once a second for each hundred.
const FIND_EVERY: Duration = Duration::from_secs(10);

/// Lines for which it is found out at the same time where clients may go instead.
const FINDING_MAX: usize = 1;

/// How long the end of the service waits for its close to be sent.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::task::spawn_blocking;

    use super::*;
    use crate::fixture;
    use crate::io::Svrlist;
    use crate::io::tests::Pki;

    #[test]
    fn a_line_that_ends_gives_no_other_its_turn_before_its_own_is_over() {
        // One thread does what takes a while, so that what waits for it can be watched.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let pki = Pki::new();
            let svrlist = Svrlist::open(pki.config()).await.unwrap();
            let intake = Arc::new(Intake::new(svrlist.desk, svrlist.nodes, BTreeMap::new()));
            let (free, held) = std::sync::mpsc::channel::<()>();
            let holding = spawn_blocking(move || held.recv());
            let edge = Arc::new(fixture::edge("bj-1", "110000", "telecom"));
            let mut line = Box::pin(Arc::clone(&intake).find(edge));
            let begun = poll_fn(|cx| Poll::Ready(line.as_mut().poll(cx).is_pending())).await;
            assert!(begun);
            drop(line);
            assert_eq!(intake.finding.available_permits(), 0);
            drop(free);
            let _ = holding.await;
            // The one thread has done it before this.
            spawn_blocking(|| ()).await.unwrap();
            assert_eq!(intake.finding.available_permits(), FINDING_MAX);
        });
    }
}
