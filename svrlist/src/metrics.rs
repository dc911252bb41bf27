//! What this svrlist counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::alerts::{Alert, Refused, Severity};
use crate::planner::Planned;
use crate::registry::List;

/// Counters and gauges; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    answers: Family<Match, Counter>,
    reports: Family<Outcome, Counter>,
    told: Family<Outcome, Counter>,
    sign_ins: Family<Outcome, Counter>,
    changes: Family<Outcome, Counter>,
    revision: Gauge,
    file_broken: Gauge,
    unkept: Counter,
    lines: Gauge,
    edges: Gauge,
    stale: Gauge,
    live: Gauge,
    live_refused: Counter,
    ends: Family<Outcome, Counter>,
    saves: Family<Outcome, Counter>,
    demand: Gauge<f64, AtomicU64>,
    demand_cells: Gauge,
    calendar_jumps: Counter,
    series: Gauge,
    series_refused: Counter,
    history_writes: Family<Outcome, Counter>,
    alerts: Family<OfSeverity, Gauge>,
    notices: Family<Outcome, Counter>,
    place_reloads: Family<Outcome, Counter>,
    unreadable_records: Gauge<u64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Match {
    carrier: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSeverity {
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Metrics {
    /// Registers everything.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "answers",
            "Lists answered, by how the first server's carrier relates to the client's",
            self.answers.clone(),
        );
        registry.register("reports", "Reports of edges, by outcome", self.reports.clone());
        let help = "What clients told of an edge, by outcome";
        registry.register("client_reports", help, self.told.clone());
        let help = "Sign-ins of operators, by outcome";
        registry.register("sign_ins", help, self.sign_ins.clone());
        let help = "Changes of the control that were asked for, by outcome";
        registry.register("control_changes", help, self.changes.clone());
        registry.register("control_revision", "Revision in force", self.revision.clone());
        let help = "Whether control.file is refused as it is";
        registry.register("control_file_broken", help, self.file_broken.clone());
        let help = "Changes and audit entries that could not be written to state.folder";
        registry.register("control_unkept", help, self.unkept.clone());
        registry.register("lines", "Lines of edges that are open", self.lines.clone());
        registry.register("live_edges", "Edges on the list", self.edges.clone());
        registry.register(
            "stale",
            "Whether so few edges report that the silent ones stay on the list",
            self.stale.clone(),
        );
        let help = "Dashboards that are kept up to date";
        registry.register("live_streams", help, self.live.clone());
        let help = "Dashboards that were refused because there were too many";
        registry.register("live_streams_refused", help, self.live_refused.clone());
        let help = "Batches of sessions' ends that edges told, by outcome";
        registry.register("end_batches", help, self.ends.clone());
        registry.register("state_writes", "Writings of the state, by outcome", self.saves.clone());
        let help = "Sessions that all cells are expected to begin within a tick of 5 s";
        registry.register("demand_sessions", help, self.demand.clone());
        registry.register("demand_cells", "Cells with a demand", self.demand_cells.clone());
        let help = "Ticks at which the calendar was not believed, because it had jumped";
        registry.register("calendar_jumps", help, self.calendar_jumps.clone());
        let help = "Values that have a history";
        registry.register("history_series", help, self.series.clone());
        let help = "Samples left out because there are too many series";
        registry.register("history_samples_refused", help, self.series_refused.clone());
        let help = "Writes of the store of histories, by outcome";
        registry.register("history_writes", help, self.history_writes.clone());
        let help = "Alerts that are open, by severity; what is under another is not counted";
        registry.register("alerts", help, self.alerts.clone());
        let help = "Alerts told to alerts.webhook, by outcome";
        registry.register("alert_notices", help, self.notices.clone());
        registry.register(
            "place_reloads",
            "Changes of the place databases, by outcome",
            self.place_reloads.clone(),
        );
        registry.register(
            "place_unreadable_records",
            "Records of the place databases that do not have their layout",
            self.unreadable_records.clone(),
        );
    }

    /// A list was answered whose first server relates so to the client's carrier.
    pub fn answered(&self, carrier: &'static str) {
        self.answers.get_or_create(&Match { carrier }).inc();
    }

    /// A report was taken, or refused.
    pub fn reported(&self, taken: bool) {
        self.reports.get_or_create(&outcome(taken)).inc();
    }

    /// A report gave way to the next one of its line.
    pub fn superseded(&self) {
        self.reports.get_or_create(&Outcome { outcome: "superseded" }).inc();
    }

    /// An edge told how sessions ended: it was taken, or refused.
    pub fn ended(&self, taken: bool) {
        self.ends.get_or_create(&outcome(taken)).inc();
    }

    /// State was written; `refused` is what the system did if not.
    pub fn saved(&self, written: bool) {
        self.saves.get_or_create(&outcome(written)).inc();
    }

    /// A client told of an edge: it was heard, or why not.
    pub fn told(&self, outcome: &'static str) {
        self.told.get_or_create(&Outcome { outcome }).inc();
    }

    /// Somebody signed in, or was refused.
    pub fn signed_in(&self, taken: bool) {
        self.sign_ins.get_or_create(&outcome(taken)).inc();
    }

    /// A change of the control was made, or refused.
    pub fn changed(&self, taken: bool) {
        self.changes.get_or_create(&outcome(taken)).inc();
    }

    /// A revision of the control is in force.
    pub fn controlled(&self, revision: u64) {
        // Nobody makes that many changes.
        self.revision.set(revision as i64);
    }

    /// Whether the control's file is refused as it is.
    pub fn file_broken(&self, broken: bool) {
        self.file_broken.set(i64::from(broken));
    }

    /// What operators did could not be written down.
    pub fn unkept(&self) {
        self.unkept.inc();
    }

    /// A line was opened.
    pub fn line_opened(&self) {
        self.lines.inc();
    }

    /// A line was closed.
    pub fn line_closed(&self) {
        self.lines.dec();
    }

    /// A list is in use.
    pub fn listed(&self, list: &List) {
        // A list is far shorter than an i64's range.
        self.edges.set(list.edges.len() as i64);
        self.stale.set(i64::from(list.stale));
    }

    /// So many dashboards are kept up to date.
    pub fn live(&self, streams: usize) {
        // Streams are bounded far below an i64's range.
        self.live.set(streams as i64);
    }

    /// A dashboard was one too many.
    pub fn live_refused(&self) {
        self.live_refused.inc();
    }

    /// Answers are planned anew; whether the calendar was believed.
    pub fn planned(&self, planned: &Planned, believed: bool) {
        self.demand.set(planned.demands.iter().map(|demand| demand.sessions).sum());
        self.demand_cells.set(planned.demands.len() as i64); // bounded by DEMANDS_MAX
        self.calendar_jumps.inc_by(u64::from(!believed));
    }

    /// So many series are kept, and so many samples were refused.
    pub fn sampled(&self, series: usize, refused: usize) {
        // A million at most.
        self.series.set(series as i64);
        self.series_refused.inc_by(refused as u64);
    }

    /// Histories were written, or not.
    pub fn history_written(&self, all: bool) {
        self.history_writes.get_or_create(&outcome(all)).inc();
    }

    /// These alerts are open.
    pub fn alerts(&self, alerts: &[Alert]) {
        for severity in Severity::ALL {
            let count = alerts.iter().filter(|alert| alert.cause.severity() == severity).count();
            let severity = severity.as_str();
            self.alerts.get_or_create(&OfSeverity { severity }).set(count as i64);
        }
    }

    /// Somebody outside was told of an alert, or not.
    pub fn noticed(&self, told: bool) {
        self.notices.get_or_create(&outcome(told)).inc();
    }

    /// What was refused since the start.
    pub fn refused(&self) -> Refused {
        let of = |family: &Family<Outcome, Counter>, outcome: &'static str| {
            family.get_or_create(&Outcome { outcome }).get()
        };
        let clients = ["malformed", "token", "again", "prefix", "roaming", "edge", "full"];
        Refused {
            edges: of(&self.reports, "refused"),
            clients: clients.map(|outcome| of(&self.told, outcome)).iter().sum(),
            clients_heard: of(&self.told, "heard"),
            places: of(&self.place_reloads, "refused"),
            places_taken: of(&self.place_reloads, "taken"),
        }
    }

    /// New place databases were taken, or refused.
    pub fn reloaded(&self, taken: bool) {
        self.place_reloads.get_or_create(&outcome(taken)).inc();
    }

    /// How many records of the databases in use could not be read so far.
    pub fn unreadable(&self, records: u64) {
        self.unreadable_records.set(records);
    }
}

fn outcome(taken: bool) -> Outcome {
    Outcome { outcome: if taken { "taken" } else { "refused" } }
}
