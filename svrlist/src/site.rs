//! The public face: which path gets which answer. A function from request and moment to response.
//!
//! An answer is made in two steps: the edges are priced once per cell and list (coalesced, so that a
//! thousand clients who arrive together cost one pricing), then ordered for the user.

pub mod lines;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use geo_data::{Cell, Databases, Place};
use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER,
};
use moka::sync::Cache;
use serde::Serialize;
use shared::address::{bucket, client_address};
use shared::io::http::{Request, Response, StatusCode, empty, error, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::{Answer, CellJson, Server};
use crate::ask::{Ask, AskError};
use crate::config::Answers;
use crate::edge::{Edge, Transport};
use crate::goim::{Envelope, Instance, Weighted};
use crate::learning::{self, Learning, View};
use crate::metrics::Metrics;
use crate::pages;
use crate::ranking::{Choice, Conditions, Ranking, Vantage};
use crate::registry::List;
use crate::report::Body;
use crate::token::{Minute, Signer};

/// Everything an answer is made from.
#[derive(Debug)]
pub struct Site {
    answers: Answers,
    signer: Option<Signer>,
    places: ArcSwap<Databases>,
    list: ArcSwap<List>,
    learning: Mutex<Learning>,
    /// What was learnt, and how often.
    learnt: ArcSwap<(u64, View)>,
    rankings: Cache<(u64, u64, Vantage, Cell), Arc<Ranking>>,
    tokens: Cache<(Minute, Cell), Option<Arc<str>>>,
    metrics: Metrics,
}

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the clock that only runs forward, for ages.
    pub monotonic: Instant,
    /// On the calendar, for what others read.
    pub calendar: SystemTime,
}

impl Site {
    /// A site that knows no edge yet.
    pub fn new(answers: Answers, places: Databases, metrics: Metrics) -> Self {
        let signer =
            answers.token_secret.as_ref().map(|secret| Signer::new(secret, answers.token_lifetime));
        Self {
            answers,
            signer,
            places: ArcSwap::from_pointee(places),
            list: ArcSwap::default(),
            learning: Mutex::default(),
            learnt: ArcSwap::default(),
            rankings: Cache::new(RANKINGS_MAX),
            tokens: Cache::new(TOKENS_MAX),
            metrics,
        }
    }

    /// Answers by this list from now on.
    pub fn set_list(&self, list: Arc<List>) {
        self.list.store(list);
    }

    /// The list in use.
    pub fn list(&self) -> Arc<List> {
        self.list.load_full()
    }

    /// What edges are ranked by at the moment.
    pub fn conditions(&self) -> Conditions {
        Conditions { view: self.learnt.load().1.clone(), ..Conditions::default() }
    }

    /// Finds places in these databases from now on.
    pub fn set_places(&self, places: Databases) {
        self.places.store(Arc::new(places));
    }

    /// The databases in use.
    pub fn places(&self) -> Arc<Databases> {
        self.places.load_full()
    }

    /// Answers any request.
    pub fn answer(&self, request: &Request, now: Moment) -> Response {
        let page = pages::find(&request.path);
        let known = page.is_some() || API_PATHS.contains(&request.path.as_str());
        if !known {
            return error(StatusCode::NOT_FOUND, "no such path");
        }
        match request.method {
            // A HEAD is answered like a GET; the server leaves the body out.
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return allowing(empty(StatusCode::NO_CONTENT)),
            Method::POST if request.path == REPORT => return public(self.report(request, now)),
            _ => return allowing(error(StatusCode::METHOD_NOT_ALLOWED, "this is only read")),
        }
        if let Some(page) = page {
            return page.response();
        }
        let answer = match request.path.as_str() {
            REPORT => return allowing(error(StatusCode::METHOD_NOT_ALLOWED, "reports are posted")),
            "/svrlist" => self.svrlist(request, now),
            "/goim/nodes/weighted" => self.weighted(request),
            _ => self.instances(now),
        };
        public(answer)
    }

    fn svrlist(&self, request: &Request, now: Moment) -> Response {
        let ask = match Ask::parse(&request.query) {
            Ok(ask) => ask,
            Err(refusal) => return refused(&refusal),
        };
        let client = Client::of(self, request, &ask);
        let list = self.list.load();
        let ranking = self.ranking(&list, &client.place);
        let choices = ranking.choose(&client.user, |edge| suits(edge, &ask));
        let Some(best) = choices.first() else {
            self.metrics.answered("none");
            return no_edges();
        };
        self.metrics.answered(best.why.carrier_match());
        let turn = xxh3_64(&client.user);
        let token = self.token(client.place.cell(), now.calendar);
        let servers = (0..).zip(&choices);
        let answer = Answer {
            cell: CellJson::from(&client.place),
            servers: servers
                .map(|(at, choice)| Server::new(choice, turn ^ at, ask.explain))
                .collect(),
            stale: list.stale,
            ttl: jittered(self.answers.ttl.as_secs(), turn ^ list.generation),
            pace: self.answers.pace(),
            report_interval: token.as_ref().map(|_| learning::INTERVAL.as_secs()),
            token: token.as_deref(),
        };
        json(StatusCode::OK, &answer)
    }

    /// Hears what a client tells of edges.
    fn report(&self, request: &Request, now: Moment) -> Response {
        let Some(signer) = &self.signer else {
            return error(
                StatusCode::NOT_FOUND,
                "no cell_token.secret is set, so reports are not taken",
            );
        };
        let body = match Body::parse(&request.body) {
            Ok(body) => body,
            Err(fault) => {
                self.metrics.told("malformed");
                return error(StatusCode::BAD_REQUEST, &fault.to_string());
            }
        };
        let Some(cell) = signer.read(&body.token, now.calendar) else {
            self.metrics.told("token");
            return error(
                StatusCode::UNAUTHORIZED,
                "token is none of ours or has run out: ask anew",
            );
        };
        let trusted = &self.answers.trusted_proxies;
        let address = client_address(request.peer.ip(), &request.headers, trusted);
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut again = false;
        for told in &body.reports {
            let report = learning::Report {
                session: body.session_of(told),
                address,
                cell,
                edge: &told.edge,
                attempts: told.attempts,
                failures: told.failures,
                drops: told.drops,
                lost: None,
                rtt: told.rtt(),
            };
            let heard = learning.handle_report(&report, now.monotonic);
            again |= heard == Err(learning::Refusal::Again);
            self.metrics.told(match heard {
                Ok(()) => "heard",
                Err(learning::Refusal::Again) => "again",
                Err(learning::Refusal::Prefix) => "prefix",
                Err(learning::Refusal::Edge) => "edge",
                Err(learning::Refusal::Full) => "full",
            });
        }
        if !again {
            return empty(StatusCode::NO_CONTENT);
        }
        let mut response =
            error(StatusCode::TOO_MANY_REQUESTS, "one report a session and interval");
        let seconds = HeaderValue::from(learning::INTERVAL.as_secs());
        response.headers_mut().insert(RETRY_AFTER, seconds);
        response
    }

    /// What was heard since the last tick is learnt. To be called every [`learning::TICK`].
    pub fn learn(&self, now: Instant) {
        let list = self.list.load();
        let edges = list.edges.iter().map(|listed| &listed.edge);
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let view = learning.handle_tick(edges, now);
        self.learnt.store(Arc::new((self.learnt.load().0 + 1, view)));
    }

    fn weighted(&self, request: &Request) -> Response {
        let ask = match Ask::parse(&request.query) {
            Ok(ask) => ask,
            Err(refusal) => {
                let envelope: Envelope<()> = Envelope::refusal(-400, refusal.to_string());
                return json(StatusCode::BAD_REQUEST, &envelope);
            }
        };
        let client = Client::of(self, request, &ask);
        let ranking = self.ranking(&self.list.load(), &client.place);
        let choices: Vec<Choice<'_>> = ranking.choose(&client.user, |edge| suits(edge, &ask));
        match Weighted::new(&choices, self.answers.goim_domain.as_deref(), self.answers.pace()) {
            Some(weighted) => json(StatusCode::OK, &Envelope::of(weighted)),
            None => {
                let envelope: Envelope<()> = Envelope::refusal(-500, NO_EDGES);
                json(StatusCode::OK, &envelope)
            }
        }
    }

    fn instances(&self, now: Moment) -> Response {
        let list = self.list.load();
        let since_1970 = now.calendar.duration_since(UNIX_EPOCH).unwrap_or_default();
        let instance = |listed: &crate::registry::Listed| {
            let heard = since_1970.saturating_sub(now.monotonic - listed.heard);
            // Nanoseconds since 1970 fit 64 bits until 2554.
            serde_json::json!(Instance::new(&listed.edge, heard.as_nanos() as u64))
        };
        let instances: Vec<_> = list.edges.iter().map(instance).collect();
        json(StatusCode::OK, &Envelope::of(instances))
    }

    /// The edges priced for a client's cell.
    fn ranking(&self, list: &List, place: &Place) -> Arc<Ranking> {
        let position = place.region.position().or(place.position.map(|point| point.coarse()));
        let vantage = Vantage { carrier: place.carrier, position };
        let (cell, learnt) = (place.cell(), self.learnt.load());
        self.rankings.get_with((list.generation, learnt.0, vantage, cell), || {
            let conditions = Conditions { view: learnt.1.clone(), ..Conditions::default() };
            let edges = list.edges.iter().map(|listed| &listed.edge);
            Arc::new(Ranking::of(vantage, cell, edges, &conditions))
        })
    }

    fn token(&self, cell: Cell, now: SystemTime) -> Option<Arc<str>> {
        let signer = self.signer.as_ref()?;
        let minute = Minute::of(now);
        self.tokens.get_with((minute, cell), || signer.sign(cell, minute).map(Arc::from))
    }
}

/// Who asks, from where.
struct Client {
    place: Place,
    /// What its place among equals hangs on.
    user: Vec<u8>,
}

impl Client {
    fn of(site: &Site, request: &Request, ask: &Ask<'_>) -> Self {
        let trusted = &site.answers.trusted_proxies;
        let address = client_address(request.peer.ip(), &request.headers, trusted);
        let user = match (ask.uid, bucket(address)) {
            (Some(uid), _) => uid.as_bytes().to_vec(),
            (None, IpAddr::V4(v4)) => v4.octets().to_vec(),
            (None, IpAddr::V6(v6)) => v6.octets().to_vec(),
        };
        Self { place: site.places.load().lookup(address), user }
    }
}

/// Whether a client of this kind can use an edge at all.
fn suits(edge: &Edge, ask: &Ask<'_>) -> bool {
    let web =
        || [Transport::Http, Transport::Https].into_iter().any(|t| edge.endpoint(t).is_some());
    !ask.is_web() || web()
}

/// The time to live, 30 % more or less by the low bits of `dice`, so that clients which came
/// together do not come back together.
fn jittered(ttl: u64, dice: u64) -> u64 {
    (ttl * (70 + dice % 61) / 100).max(1)
}

fn refused(refusal: &AskError) -> Response {
    let AskError { parameter, value, allowed } = refusal;
    let error = refusal.to_string();
    json(StatusCode::BAD_REQUEST, &RefusalJson { error, parameter, value, allowed })
}

#[derive(Serialize)]
struct RefusalJson<'a> {
    error: String,
    parameter: &'a str,
    value: &'a str,
    allowed: &'a str,
}

fn no_edges() -> Response {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, NO_EDGES);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// Readable by any page, and always fresh.
fn public(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    response
}

fn allowing(mut response: Response) -> Response {
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS, POST"));
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    public(response)
}

const REPORT: &str = "/report";
const API_PATHS: [&str; 4] = ["/svrlist", "/goim/nodes/weighted", "/goim/nodes/instances", REPORT];

const NO_EDGES: &str = "no edge that suits has reported yet; ask again";

/// Priced cells in memory: some thousand cells over the last few lists, a few KiB each.
const RANKINGS_MAX: u64 = 8 * 1024;

/// Signed cells in memory, about 300 bytes each.
const TOKENS_MAX: u64 = 16 * 1024;

#[cfg(test)]
mod tests;
