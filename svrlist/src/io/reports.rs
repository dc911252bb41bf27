//! Lines of edges: answers them, and brings their reports to the desk.
//!
//! An edge that reports is believed because its certificate says who it is; what it says is checked
//! by [`Edge::admit`]. A refused report is logged once per line, since the next one will be the same.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use shared::io::line::{self, Answered, CLOSE_DONE, LineError};
use shared::io::shutdown::Shutdown;
use shared::io::tls::Nodes;
use shared::wire::control::{
    Down, Drain, Elsewhere, Ends, EndsTaken, Pong, Report, Up, Welcome, down, up,
};
use tokio::task::JoinSet;

use super::Desk;
use crate::edge::Edge;
use crate::ranking;

/// Everything the lines need.
pub(super) struct Intake {
    pub(super) desk: Arc<Desk>,
    pub(super) nodes: Nodes,
    pub(super) weights: BTreeMap<String, f64>,
}

impl Intake {
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
        let ended = self.listen(answered).await;
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
    async fn listen(&self, mut answered: Answered) -> Result<(), LineError> {
        let welcome = Welcome {
            node: self.nodes.name().name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Welcome::default()
        };
        answered.down.send(&Down { kind: Some(down::Kind::Welcome(welcome)), number: 0 }).await?;
        let connection = answered.connection.clone();
        let mut distrusted = pin!(line::distrusted(&connection, &self.nodes));
        let (mut refused, mut refused_ends) = (false, false);
        let mut told = Elsewhere::default();
        let mut wanted = self.desk.control.wanted();
        let mut drain = None;
        let mut reported: Option<Edge> = None;
        loop {
            let message = tokio::select! {
                message = answered.up.receive() => message?,
                Ok(()) = wanted.changed() => {
                    let Some(edge) = &reported else { continue };
                    let rate = wanted.borrow_and_update().drain_rate(edge);
                    tell_drain(&mut answered, &mut drain, rate).await?;
                    continue;
                }
                error = &mut distrusted => return Err(error),
            };
            let Some(Up { kind, .. }) = message else { return Ok(()) };
            match kind {
                Some(up::Kind::Report(report)) => {
                    let Some(edge) = self.report(&report, &answered.peer.name, &mut refused) else {
                        continue;
                    };
                    if let Some(ends) = &report.ends {
                        self.ends(&edge, ends, &mut refused_ends);
                        let taken = EndsTaken { session: ends.session, number: ends.number };
                        let kind = Some(down::Kind::EndsTaken(taken));
                        answered.down.send(&Down { kind, number: 0 }).await?;
                    }
                    let list = self.desk.site.list();
                    let edges = list.edges.iter().map(|listed| &listed.edge);
                    let planned = self.desk.site.planned();
                    let alternatives = ranking::elsewhere(&edge, edges, &planned.conditions);
                    let elsewhere = Elsewhere { alternatives };
                    if elsewhere != told {
                        told = elsewhere.clone();
                        let kind = Some(down::Kind::Elsewhere(elsewhere));
                        answered.down.send(&Down { kind, number: 0 }).await?;
                    }
                    // After the places to go to.
                    let rate = wanted.borrow_and_update().drain_rate(&edge);
                    tell_drain(&mut answered, &mut drain, rate).await?;
                    reported = Some(edge);
                }
                Some(up::Kind::Ping(ping)) => {
                    let pong = Pong { sent_us: ping.sent_us };
                    answered
                        .down
                        .send(&Down { kind: Some(down::Kind::Pong(pong)), number: 0 })
                        .await?;
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

/// Tells an edge how many clients a second it is to send on, if it has not been told on this line.
async fn tell_drain(
    answered: &mut Answered,
    told: &mut Option<f64>,
    rate_per_s: f64,
) -> Result<(), LineError> {
    if told.replace(rate_per_s) == Some(rate_per_s) {
        return Ok(());
    }
    let kind = Some(down::Kind::Drain(Drain { rate_per_s }));
    answered.down.send(&Down { kind, number: 0 }).await
}

/// Lines at the same time: several for each of some hundred edges.
const LINES_MAX: usize = 4096;

/// How long the end of the service waits for its close to be sent.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
