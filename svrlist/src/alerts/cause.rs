//! What can be wrong.

use std::sync::Arc;
use std::time::Duration;

use geo_data::Carrier;

/// Something that can be wrong; each is told once, however many things it leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Most edges are silent: this svrlist may be cut off.
    ListStale,
    /// Most edges are cut off from their upstream.
    Upstream,
    /// A carrier has trouble everywhere: its clients on many edges, or its lines to all others.
    Carrier(Arc<str>),
    /// Lines between two carriers have trouble on many edges.
    CarrierLines(Arc<str>, Arc<str>),
    /// All edges of a site are silent.
    SiteLost(Arc<str>),
    /// An edge is silent.
    EdgeLost(Arc<str>),
    /// No line of an edge to its upstream is up.
    EdgeCutOff(Arc<str>),
    /// Clients agree that an edge is of no use.
    EdgeCut(Arc<str>),
    /// Clients of several carriers have trouble with an edge.
    EdgeIncident(Arc<str>),
    /// Clients of a carrier have trouble with an edge.
    Incident(Arc<str>, Carrier),
    /// A line is down.
    LineDown(Arc<str>, u32),
    /// A line loses much.
    LineLossy(Arc<str>, u32),
    /// A line is slower than it was.
    LineSlow(Arc<str>, u32),
    /// A site sends more than its level.
    SiteOver(Arc<str>),
    /// A site has spent its free samples.
    SiteSpent(Arc<str>),
    /// No edge of a zone gets clients.
    ZoneClosed(Arc<str>),
    /// New place databases were refused.
    Places,
    /// Reports of edges are refused.
    EdgeReports,
    /// Many reports of clients are refused.
    ClientReports,
}

/// How bad it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Clients notice, or soon will.
    Critical,
    /// What stood in for others is gone.
    Warning,
}

impl Severity {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Critical, Self::Warning];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

impl Cause {
    /// Its name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ListStale => "list-stale",
            Self::Upstream => "upstream",
            Self::Carrier(_) => "carrier",
            Self::CarrierLines(..) => "carrier-lines",
            Self::SiteLost(_) => "site-lost",
            Self::EdgeLost(_) => "edge-lost",
            Self::EdgeCutOff(_) => "edge-cut-off",
            Self::EdgeCut(_) => "edge-cut",
            Self::EdgeIncident(_) => "edge-incident",
            Self::Incident(..) => "incident",
            Self::LineDown(..) => "line-down",
            Self::LineLossy(..) => "line-lossy",
            Self::LineSlow(..) => "line-slow",
            Self::SiteOver(_) => "site-over",
            Self::SiteSpent(_) => "site-spent",
            Self::ZoneClosed(_) => "zone-closed",
            Self::Places => "places",
            Self::EdgeReports => "edge-reports",
            Self::ClientReports => "client-reports",
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::ListStale
            | Self::Upstream
            | Self::Carrier(_)
            | Self::SiteLost(_)
            | Self::EdgeLost(_)
            | Self::EdgeCutOff(_)
            | Self::EdgeCut(_)
            | Self::EdgeIncident(_)
            | Self::ZoneClosed(_) => Severity::Critical,
            Self::CarrierLines(..)
            | Self::Incident(..)
            | Self::LineDown(..)
            | Self::LineLossy(..)
            | Self::LineSlow(..)
            | Self::SiteOver(_)
            | Self::SiteSpent(_)
            | Self::Places
            | Self::EdgeReports
            | Self::ClientReports => Severity::Warning,
        }
    }

    /// How long it must last before it is told.
    pub fn raise_after(&self) -> Duration {
        Duration::from_secs(match self {
            // The facts have waited already.
            Self::ListStale
            | Self::Upstream
            | Self::SiteLost(_)
            | Self::EdgeLost(_)
            | Self::EdgeCutOff(_)
            | Self::EdgeCut(_)
            | Self::Places
            | Self::EdgeReports
            | Self::ClientReports => 0,
            Self::ZoneClosed(_)
            | Self::Carrier(_)
            | Self::EdgeIncident(_)
            | Self::Incident(..)
            | Self::CarrierLines(..)
            | Self::LineDown(..) => 10,
            Self::LineLossy(..) | Self::LineSlow(..) => 15,
            Self::SiteOver(_) | Self::SiteSpent(_) => 60,
        })
    }

    /// How long it must be good before that is told.
    pub fn clear_after(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Places | Self::ListStale => 0,
            Self::SiteOver(_) | Self::SiteSpent(_) | Self::EdgeReports | Self::ClientReports => 60,
            Self::LineDown(..)
            | Self::LineLossy(..)
            | Self::LineSlow(..)
            | Self::CarrierLines(..)
            | Self::Incident(..)
            | Self::EdgeIncident(_)
            | Self::Carrier(_) => 30,
            _ => 10,
        })
    }

    /// What is under another is lower than that.
    pub(super) fn height(&self) -> u8 {
        match self {
            Self::LineDown(..) | Self::LineLossy(..) | Self::LineSlow(..) | Self::Incident(..) => 0,
            Self::EdgeCutOff(_) | Self::EdgeCut(_) | Self::EdgeIncident(_) => 1,
            Self::EdgeLost(_) | Self::CarrierLines(..) | Self::ZoneClosed(_) => 2,
            _ => 3,
        }
    }

    /// The edge that it is about, if it is about one.
    pub fn edge(&self) -> Option<&Arc<str>> {
        match self {
            Self::EdgeLost(edge)
            | Self::EdgeCutOff(edge)
            | Self::EdgeCut(edge)
            | Self::EdgeIncident(edge)
            | Self::Incident(edge, _)
            | Self::LineDown(edge, _)
            | Self::LineLossy(edge, _)
            | Self::LineSlow(edge, _) => Some(edge),
            _ => None,
        }
    }

    /// The line that it is about, if it is about one.
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::LineDown(_, line) | Self::LineLossy(_, line) | Self::LineSlow(_, line) => {
                Some(*line)
            }
            _ => None,
        }
    }

    /// The site that it is about, if it is about one.
    pub fn site(&self) -> Option<&str> {
        match self {
            Self::SiteLost(site) | Self::SiteOver(site) | Self::SiteSpent(site) => Some(site),
            _ => None,
        }
    }

    /// The zone that it is about, if it is about one.
    pub fn zone(&self) -> Option<&str> {
        match self {
            Self::ZoneClosed(zone) => Some(zone),
            _ => None,
        }
    }

    /// The carriers that it is about, if it is about any.
    pub fn carrier(&self) -> Option<String> {
        match self {
            Self::Carrier(carrier) => Some(carrier.to_string()),
            Self::CarrierLines(one, other) => Some(format!("{one} – {other}")),
            Self::Incident(_, carrier) => Some(carrier.as_str().to_owned()),
            _ => None,
        }
    }
}
