//! What the tests of this crate have in common: reports of made-up edges, and who watches them.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt;
use shared::io::http::Response;
use shared::wire::control;

use crate::dashboard::facts::{Facts, Roster};
use crate::edge::Edge;
use crate::planner::Planned;
use crate::registry::{List, Registry};
use crate::site::Moment;

/// The report of an idle edge with a goim listener on 7611 and an HTTP listener on 7612.
pub(crate) fn report(edge: &str, region: &str, carrier: &str) -> control::Report {
    let endpoint = |protocol: &str, port| control::Endpoint {
        protocol: protocol.to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
    };
    control::Report {
        edge: edge.to_owned(),
        region: region.to_owned(),
        carrier: carrier.to_owned(),
        site: format!("site-{edge}"),
        version: "0.1.0".to_owned(),
        endpoints: vec![endpoint("goim-tcp", 7611), endpoint("http", 7612)],
        weight: 1.0,
        connections_max: 100,
        started_ms: 1,
        ..control::Report::default()
    }
}

/// The report of a good line through telecom.
pub(crate) fn line_report() -> control::LineReport {
    control::LineReport {
        local: "0.0.0.0:0".to_owned(),
        remote: "203.0.113.1:7401".to_owned(),
        remote_carrier: "telecom".to_owned(),
        upstream: "origin".to_owned(),
        up: true,
        state: "good".to_owned(),
        rtt_ms: 40.0,
        ..control::LineReport::default()
    }
}

/// An idle edge.
pub(crate) fn edge(name: &str, region: &str, carrier: &str) -> Edge {
    Edge::from_report(&report(name, region, carrier)).expect("the fixture is a good report")
}

/// Edges that report, and who watches them, at given times.
pub(crate) struct Scene {
    pub(crate) registry: Registry,
    pub(crate) roster: Roster,
    pub(crate) now: Moment,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let calendar = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let now = Moment { calendar, ..moment(0) };
        Self { registry: Registry::default(), roster: Roster::default(), now }
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now.monotonic += Duration::from_secs(seconds);
        self.now.calendar += Duration::from_secs(seconds);
    }

    pub(crate) fn report(&mut self, edge: Edge) {
        self.registry.handle_report(edge, self.now.monotonic);
    }

    pub(crate) fn list(&mut self) -> Arc<List> {
        self.registry.handle_tick(self.now.monotonic);
        self.registry.list()
    }

    /// What is to be seen of these edges, by this plan.
    pub(crate) fn facts(&mut self, list: &List, planned: Planned) -> Facts {
        self.roster.handle_list(list, Arc::new(planned), self.now)
    }
}

/// The body of a response that is all there.
pub(crate) fn body(response: Response) -> Bytes {
    let mut collecting = Box::pin(response.into_body().collect());
    let waker = std::task::Waker::noop();
    match collecting.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(collected) => collected.unwrap().to_bytes(),
        std::task::Poll::Pending => panic!("the body is not all there"),
    }
}

/// So many seconds after a beginning that all tests have in common, on both clocks.
#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of tests")]
pub(crate) fn moment(seconds: u64) -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = Duration::from_secs(seconds);
    let calendar = UNIX_EPOCH + Duration::from_secs(1_000_000_000) + since;
    Moment { monotonic: *START + since, calendar }
}
