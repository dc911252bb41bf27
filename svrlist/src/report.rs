//! What clients tell of edges: `POST /report`, bounded and checked before it counts.
//!
//! A client speaks for the cell that svrlist signed for it, and for nobody else's. What its words
//! weigh is [`crate::learning`]'s business.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

/// The body of a report.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Body {
    /// The cell token of an answer.
    pub token: String,
    /// What the client calls its session: anything that no other client chooses.
    pub session: String,
    /// What it tells, an edge each.
    pub reports: Vec<OfEdge>,
}

/// What a client tells of one edge since it last told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OfEdge {
    /// The edge, by the `id` of an answer.
    pub edge: String,
    /// Attempts to connect.
    #[serde(default)]
    pub attempts: u32,
    /// Those that failed.
    #[serde(default)]
    pub failures: u32,
    /// Connections that broke.
    #[serde(default)]
    pub drops: u32,
    /// Round trip, in milliseconds.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// How long it was connected, in seconds.
    #[serde(default)]
    pub seconds: f64,
}

/// A report that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {allowed}")]
pub struct ReportError {
    /// Where.
    pub field: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl Body {
    /// Reads a body and checks every bound.
    pub fn parse(body: &[u8]) -> Result<Self, ReportError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(fault("the body", "at most 8192 bytes"));
        }
        let read = serde_json::from_slice::<Self>(body);
        let body =
            read.map_err(|error| fault(format!("the body ({error})"), "JSON as documented"))?;
        let session_fits = (SESSION_BYTES_MIN..=SESSION_BYTES_MAX).contains(&body.session.len());
        if !session_fits {
            return Err(fault("session", "8 to 64 bytes"));
        }
        if !(1..=EDGES_MAX).contains(&body.reports.len()) {
            return Err(fault("reports", "1 to 16 edges"));
        }
        let mut seen = BTreeSet::new();
        for (at, report) in body.reports.iter().enumerate() {
            report.check(at)?;
            if !seen.insert(&report.edge) {
                return Err(fault(format!("reports[{at}].edge"), "another one than before"));
            }
        }
        Ok(body)
    }

    /// The number that stands for the session and an edge: each edge is told of once an interval.
    pub fn session_of(&self, report: &OfEdge) -> u64 {
        xxh3_64(self.session.as_bytes()) ^ xxh3_64(report.edge.as_bytes()).rotate_left(1)
    }
}

impl OfEdge {
    /// The round trip, if it was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt_ms.map(|ms| Duration::from_secs_f64(ms / 1000.0))
    }

    fn check(&self, at: usize) -> Result<(), ReportError> {
        let field = |name: &str| format!("reports[{at}].{name}");
        if !(1..=EDGE_BYTES_MAX).contains(&self.edge.len()) {
            return Err(fault(field("edge"), "the id of an edge"));
        }
        if self.attempts > COUNT_MAX || self.drops > COUNT_MAX {
            return Err(fault(field("attempts"), "at most 1000, as drops"));
        }
        if self.failures > self.attempts {
            return Err(fault(field("failures"), "at most as many as attempts"));
        }
        if self.rtt_ms.is_some_and(|ms| !(0.0..=RTT_MS_MAX).contains(&ms)) {
            return Err(fault(field("rtt_ms"), "0 to 60000"));
        }
        if !(0.0..=SECONDS_MAX).contains(&self.seconds) {
            return Err(fault(field("seconds"), "0 to 86400"));
        }
        Ok(())
    }
}

fn fault(field: impl Into<String>, allowed: &'static str) -> ReportError {
    ReportError { field: field.into(), allowed }
}

/// Bytes of a report.
pub const BODY_BYTES_MAX: usize = 8192;
const SESSION_BYTES_MIN: usize = 8;
const SESSION_BYTES_MAX: usize = 64;
/// Edges in one report: several times what an answer names.
const EDGES_MAX: usize = 16;
const EDGE_BYTES_MAX: usize = 64;
const COUNT_MAX: u32 = 1000;
const RTT_MS_MAX: f64 = 60_000.0;
const SECONDS_MAX: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(body: &serde_json::Value) -> Result<Body, String> {
        Body::parse(body.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn with(report: serde_json::Value) -> Result<Body, String> {
        parse(&json!({ "token": "t", "session": "12345678", "reports": [report] }))
    }

    #[test]
    fn good_reports_are_read() {
        let body = with(json!({ "edge": "bj", "attempts": 2, "failures": 1, "rtt_ms": 12.5 }));
        let report = &body.unwrap().reports[0];
        assert_eq!((report.drops, report.rtt()), (0, Some(Duration::from_micros(12_500))));
    }

    #[test]
    fn bad_ones_are_told_what_is_wrong() {
        for (report, said) in [
            (json!({ "edge": "" }), "reports[0].edge must be the id of an edge"),
            (json!({ "edge": "a", "attempts": 1001 }), "reports[0].attempts must be at most 1000"),
            (json!({ "edge": "a", "failures": 1 }), "reports[0].failures must be at most as many"),
            (json!({ "edge": "a", "rtt_ms": -1 }), "reports[0].rtt_ms must be 0 to 60000"),
            (json!({ "edge": "a", "seconds": 1e9 }), "reports[0].seconds must be 0 to 86400"),
            (json!({ "edge": "a", "attempts": -1 }), "the body"),
        ] {
            let refused = with(report).unwrap_err();
            assert!(refused.starts_with(said), "{refused}");
        }
        let twice = json!({ "edge": "a" });
        let body = json!({ "token": "t", "session": "12345678", "reports": [twice, twice] });
        assert!(parse(&body).unwrap_err().starts_with("reports[1].edge"));
        let body = json!({ "token": "t", "session": "1", "reports": [twice] });
        assert!(parse(&body).unwrap_err().starts_with("session"));
        assert!(Body::parse(&[b' '; BODY_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Body::parse(&bytes);
        }
    }
}
