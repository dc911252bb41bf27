//! What operators see: views of the network as JSON, and who may read them.
//!
//! Once a second the facts are gathered into a [`Shot`]. Each view of a shot is written at most once,
//! by whoever asks for it first, so that a thousand open dashboards cost what one does.
//!
//! Invariant: a shot never changes; what two readers see of one shot is the same.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS};
use moka::sync::Cache;
use serde::Serialize;
use shared::io::http::{Request, Response, StatusCode, bytes, error, percent_decode};

pub mod alerts;
pub mod cell;
pub mod edge;
pub mod facts;
pub mod history;
pub mod live;
pub mod map;
pub mod overview;

use self::facts::Facts;

/// The views, over the latest shot.
#[derive(Debug, Default)]
pub struct Dashboard {
    shot: ArcSwap<Shot>,
}

/// The views of one moment.
#[derive(Debug)]
pub struct Shot {
    facts: Facts,
    overview: OnceLock<Bytes>,
    alerts: OnceLock<Bytes>,
    /// Shared by the shots of [`map::LASTS`].
    map: Arc<OnceLock<Bytes>>,
    /// The pages of single edges and cells, by path; `None` where there is no such thing.
    pages: Cache<String, Option<Bytes>>,
}

impl Default for Shot {
    fn default() -> Self {
        Self::new(Facts::default(), Arc::default())
    }
}

impl Shot {
    fn new(facts: Facts, map: Arc<OnceLock<Bytes>>) -> Self {
        Self {
            facts,
            overview: OnceLock::new(),
            alerts: OnceLock::new(),
            map,
            pages: Cache::new(PAGES_MAX),
        }
    }

    /// The facts it shows.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The body of `/api/overview`.
    pub fn overview(&self) -> Bytes {
        let write = || written(&overview::Overview::new(&self.facts));
        self.overview.get_or_init(write).clone()
    }

    /// The body of `/api/alerts`.
    pub fn alerts(&self) -> Bytes {
        self.alerts.get_or_init(|| written(&alerts::Alerts::new(&self.facts))).clone()
    }

    /// The body of `/api/map`.
    pub fn map(&self) -> Bytes {
        self.map.get_or_init(|| written(&map::Map::new(&self.facts))).clone()
    }

    fn page(&self, view: &View) -> Option<Bytes> {
        let write = || match view {
            View::Edge(name) => edge::EdgePage::new(&self.facts, name).as_ref().map(written),
            View::Cell(cell) => Some(written(&cell::CellPage::new(&self.facts, *cell))),
            _ => None,
        };
        self.pages.get_with(view.to_string(), write)
    }
}

/// What can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Edges, sites, zones and alerts.
    Overview,
    /// Drop rates by cell and edge.
    Map,
    /// One edge.
    Edge(String),
    /// One cell.
    Cell(geo_data::Cell),
    /// Overview and map, again and again.
    Live,
    /// What is wrong, and was.
    Alerts,
    /// How values went.
    History(history::Ask),
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Overview => f.write_str("overview"),
            Self::Map => f.write_str("map"),
            Self::Edge(name) => write!(f, "edges/{name}"),
            Self::Cell(cell) => write!(f, "cells/{cell}"),
            Self::Live => f.write_str("live"),
            Self::Alerts => f.write_str("alerts"),
            Self::History(_) => f.write_str("history"),
        }
    }
}

/// Why a request for a view goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Views are read by GET.
    Method,
    /// Something in the request cannot be.
    Field {
        /// Its name.
        field: &'static str,
        /// Its value, cut to a readable length.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl Refusal {
    /// The refusal of a field.
    pub fn field(field: &'static str, value: &str, allowed: &'static str) -> Self {
        Self::Field { field, value: value.chars().take(SHOWN_MAX).collect(), allowed }
    }

    /// The refusal as it is answered.
    pub fn response(&self) -> Response {
        match self {
            Self::Method => {
                let mut response =
                    error(StatusCode::METHOD_NOT_ALLOWED, "this is only read: GET or HEAD");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                private(response)
            }
            Self::Field { field, value, allowed } => {
                let error = format!("{field} is {value:?}, must be {allowed}");
                let said = FieldJson { error, field, value, allowed };
                private(shared::io::http::json(StatusCode::BAD_REQUEST, &said))
            }
        }
    }
}

#[derive(Serialize)]
struct FieldJson<'a> {
    error: String,
    field: &'a str,
    value: &'a str,
    allowed: &'a str,
}

impl View {
    /// The view that a request asks for; `None` if it is not about views.
    pub fn read(request: &Request) -> Option<Result<Self, Refusal>> {
        let view = match request.path.as_str() {
            "/api/overview" | "/edges" => Ok(Self::Overview),
            "/api/map" => Ok(Self::Map),
            "/api/live" => Ok(Self::Live),
            "/api/alerts" => Ok(Self::Alerts),
            "/api/history" => history::Ask::read(&request.query).map(Self::History),
            path => match path.strip_prefix("/api/edges/") {
                Some(name) => edge_named(name),
                None => cell_named(path.strip_prefix("/api/cells/")?),
            },
        };
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        Some(if reads { view } else { Err(Refusal::Method) })
    }
}

fn edge_named(name: &str) -> Result<View, Refusal> {
    let allowed = "an edge's name, percent-encoded where need be";
    let fits = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
    let decoded = percent_decode(name).ok().filter(fits);
    decoded.map(View::Edge).ok_or_else(|| Refusal::field("edge", name, allowed))
}

fn cell_named(name: &str) -> Result<View, Refusal> {
    let allowed = "REGION/CARRIER such as 110000/telecom, SG/overseas or unknown/unknown";
    let cell = facts::cell(name).ok_or_else(|| Refusal::field("cell", name, allowed))?;
    Ok(View::Cell(cell))
}

impl Dashboard {
    /// Shows these facts from now on.
    pub fn show(&self, facts: Facts) {
        let before = self.shot.load();
        let same = facts.map_turn() == before.facts.map_turn();
        let map = if same { Arc::clone(&before.map) } else { Arc::default() };
        self.shot.store(Arc::new(Shot::new(facts, map)));
    }

    /// What is shown at the moment.
    pub fn shot(&self) -> Arc<Shot> {
        self.shot.load_full()
    }

    /// Answers somebody who may read. Streams and histories are not answered here.
    pub fn answer(&self, view: &View) -> Response {
        let shot = self.shot.load();
        let body = match view {
            View::Overview => Some(shot.overview()),
            View::Map => Some(shot.map()),
            View::Alerts => Some(shot.alerts()),
            _ => shot.page(view),
        };
        private(match body {
            Some(body) => bytes(StatusCode::OK, "application/json", body),
            None => error(StatusCode::NOT_FOUND, "no such edge has reported of late"),
        })
    }
}

/// The alert that a request is about to acknowledge, by its path `/api/alerts/ID/ack`.
pub fn acknowledges(path: &str) -> Option<&str> {
    path.strip_prefix("/api/alerts/")?.strip_suffix("/ack")
}

/// For whoever asked alone, and always fresh.
pub fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("cookie, authorization"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A view as JSON. Views hold texts and numbers alone, which can always be written.
pub(crate) fn written(view: &impl Serialize) -> Bytes {
    let body = serde_json::to_vec(view);
    body.map_or_else(|error| Bytes::from(format!("{{\"error\":\"{error}\"}}")), Bytes::from)
}

/// Pages of edges and cells in memory, of one shot.
const PAGES_MAX: u64 = 1024;

/// Longest name of an edge, as in reports.
const NAME_BYTES_MAX: usize = 64;

/// How much of a bad value is told again.
const SHOWN_MAX: usize = 64;

#[cfg(test)]
mod tests;
