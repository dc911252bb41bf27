//! The public face: which path gets which answer. A function from request and moment to response.
//!
//! An answer is made in two steps: the edges are priced once per cell and list (coalesced, so that a
//! thousand clients who arrive together cost one pricing), then ordered for the user.

pub mod lines;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use geo_data::{Cell, Databases, Place};
use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER,
};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::Serialize;
use shared::address::{bucket, client_address};
use shared::io::http::{Request, Response, StatusCode, bytes, empty, error, json};
use shared::wire::control;
use xxhash_rust::xxh3::xxh3_64;

use crate::accounts::{self, Accounts};
use crate::answer::{Advice, Answer, CellJson, Server};
use crate::ask::{Ask, AskError};
use crate::config::Answers;
use crate::edge::{Edge, Transport};
use crate::ends::{self, EndsError};
use crate::goim::{Envelope, Instance, Weighted};
use crate::learning::{self, Intake, Learning, Lessons};
use crate::metrics::Metrics;
use crate::pages;
use crate::planner::{Asks, Planned, Planner};
use crate::ranking::{self, Asker, Choice, Conditions, Policy, Ranking, Vantage};
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
    /// What edges and clients tell waits for this lock alone, which nobody holds for long.
    intake: Mutex<Intake>,
    lessons: Mutex<Lessons>,
    planner: Mutex<Planner>,
    /// Held for moments, and never while it is planned.
    wanted: Mutex<Wanted>,
    ends: Mutex<ends::Intake>,
    /// What is planned, and its number.
    planned: ArcSwap<(u64, Arc<Planned>)>,
    plans: AtomicU64,
    asks: Asks,
    rankings: Rankings,
    metrics: Metrics,
}

/// What operators want of the next plan.
#[derive(Clone, Debug, Default)]
struct Wanted {
    policy: Arc<Policy>,
    wishes: Arc<BTreeMap<Arc<str>, f64>>,
}

/// Rankings by the number of the list, that of the plan, and for whom they are.
type Rankings = Cache<(u64, u64, Vantage, Cell), Arc<Ranked>>;

/// A ranking, and the counter of those who are answered by it.
#[derive(Debug)]
struct Ranked {
    ranking: Ranking,
    asked: Arc<AtomicU64>,
    /// The cell's token of the last minute that anybody asked in.
    token: ArcSwapOption<(Minute, Arc<str>)>,
}

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the clock that only runs forward, for ages.
    pub monotonic: Instant,
    /// On the calendar, for what others read.
    pub calendar: SystemTime,
}

impl Moment {
    /// The calendar in milliseconds since 1970.
    pub fn since_1970_ms(self) -> u64 {
        // They fit 64 bits for as long as there are edges.
        self.calendar.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    }
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
            intake: Mutex::default(),
            lessons: Mutex::default(),
            planner: Mutex::default(),
            wanted: Mutex::default(),
            ends: Mutex::default(),
            planned: ArcSwap::default(),
            plans: AtomicU64::default(),
            asks: Asks::default(),
            rankings: rankings(RANKINGS_BYTES_MAX),
            metrics,
        }
    }

    /// Answers by this list from now on.
    pub fn set_list(&self, list: Arc<List>) {
        self.intake().handle_list(list.edges.iter().map(|listed| &listed.edge.name));
        self.list.store(list);
    }

    /// The list in use.
    pub fn list(&self) -> Arc<List> {
        self.list.load_full()
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
        let known = API_PATHS.contains(&request.path.as_str());
        let page = if known { None } else { pages::find(&request.path) };
        if !known && page.is_none() {
            let missing = pages::missing(request);
            return missing.unwrap_or_else(|| error(StatusCode::NOT_FOUND, "no such path"));
        }
        match request.method {
            // A HEAD is answered like a GET; the server leaves the body out.
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return allowing(empty(StatusCode::NO_CONTENT)),
            Method::POST if request.path == REPORT => return public(self.report(request, now)),
            _ => return allowing(error(StatusCode::METHOD_NOT_ALLOWED, "this is only read")),
        }
        if let Some(page) = page {
            return page.response(&request.headers);
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
        let ranked = self.ranking(&list, &client.place);
        let choices = ranked.ranking.choose_for(&client.asker(), |edge| suits(edge, &ask));
        let Some(best) = choices.first() else {
            self.metrics.answered("none");
            return no_edges();
        };
        self.metrics.answered(best.why.carrier_match());
        let turn = xxh3_64(&client.user);
        let token = self.token(&ranked, client.place.cell(), now.calendar);
        let servers = (0..).zip(&choices);
        let answer = Answer {
            cell: CellJson::from(&client.place),
            servers: servers
                .map(|(at, choice)| Server::new(choice, turn ^ at, ask.explain))
                .collect(),
            advice: Advice {
                stale: list.stale,
                ttl: jittered(self.answers.ttl.as_secs(), turn ^ list.generation),
                pace: self.answers.pace(),
                report_interval: token.as_ref().map(|_| learning::INTERVAL.as_secs()),
                token: token.as_deref(),
            },
        };
        bytes(StatusCode::OK, "application/json", answer.to_json())
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
        let roams = !lies_in(&self.places.load().lookup(address), cell);
        let mut intake = self.intake();
        let mut again = false;
        for told in &body.reports {
            let report = learning::Report {
                session: body.session_of(told),
                address,
                cell,
                roams,
                edge: &told.edge,
                attempts: told.attempts,
                failures: told.failures,
                drops: told.drops,
                lost: None,
                rtt: told.rtt(),
            };
            let heard = intake.handle_report(&report, now.monotonic);
            again |= heard == Err(learning::Refusal::Again);
            self.metrics.told(match heard {
                Ok(()) => "heard",
                Err(learning::Refusal::Again) => "again",
                Err(learning::Refusal::Prefix) => "prefix",
                Err(learning::Refusal::Roaming) => "roaming",
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

    /// What was heard since the last tick is learnt, and answers are planned by it. To be called
    /// every [`learning::TICK`]. With a thousand edges and cells it takes some tenths of a second, for which
    /// nobody waits who tells, asks or wants something.
    pub fn learn(&self, now: Moment) {
        let list = self.list.load_full();
        let edges = list.edges.iter().map(|listed| &listed.edge);
        let heard = {
            let mut intake = self.intake();
            // While no edge is heard nobody makes a list anew, and what clients tell of the old one counts.
            intake.handle_list(edges.clone().map(|edge| &edge.name));
            intake.handle_tick(now.monotonic)
        };
        let view = self.lessons().handle_tick(heard, edges);
        let by = self.wanted().clone();
        let asked = self.asks.take();
        let (mut planned, rankings, believed) = {
            let mut planner = self.planner();
            planner.set_policy(Arc::clone(&by.policy));
            planner.set_wishes((*by.wishes).clone());
            planner.handle_tick(&list, view, &asked, now)
        };
        self.metrics.planned(&planned, believed);
        let mut number = self.next_plan();
        for (demand, ranking) in planned.demands.iter().zip(rankings) {
            let asked = self.asks.counter(demand.cell, demand.vantage);
            let key = (list.generation, number, demand.vantage, demand.cell);
            self.rankings.insert(key, Arc::new(Ranked::new(ranking, asked)));
        }
        let wanted = self.wanted();
        if !Arc::ptr_eq(&wanted.policy, &by.policy) {
            // Operators have changed their minds meanwhile: the rankings are made anew as they are asked for.
            planned.conditions.policy = Arc::clone(&wanted.policy);
            number = self.next_plan();
        }
        self.planned.store(Arc::new((number, Arc::new(planned))));
    }

    fn next_plan(&self) -> u64 {
        self.plans.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What answers are made by: as of the last [`learn`](Self::learn), but for the policy.
    pub fn planned(&self) -> Arc<Planned> {
        Arc::clone(&self.planned.load().1)
    }

    /// Where the clients of an edge may go instead. With a thousand edges it takes about a millisecond.
    pub fn elsewhere(&self, edge: &Edge) -> Vec<control::Alternative> {
        let (list, planned) = (self.list.load(), self.planned());
        let edges = list.edges.iter().map(|listed| &listed.edge);
        ranking::elsewhere(edge, edges, &planned.conditions)
    }

    /// Changes with everything that [`elsewhere`](Self::elsewhere) is made of.
    pub fn version(&self) -> (u64, u64) {
        (self.list.load().generation, self.planned.load().0)
    }

    /// Follows this policy from the next answer on.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        let mut wanted = self.wanted();
        wanted.policy = Arc::clone(&policy);
        let planned = self.planned();
        let conditions = Conditions { policy, ..planned.conditions.clone() };
        let planned = Planned { conditions, ..(*planned).clone() };
        self.planned.store(Arc::new((self.next_plan(), Arc::new(planned))));
    }

    /// What sites are wished to send at most, in bits per second, by name; what is no positive
    /// number wishes for nothing. Prices follow with the next [`learn`](Self::learn).
    pub fn set_wishes(&self, wishes: BTreeMap<Arc<str>, f64>) {
        self.wanted().wishes = Arc::new(wishes);
    }

    /// Goes on with what was known before a restart.
    pub fn restore(&self, learning: Option<Learning>, accounts: Option<Accounts>) {
        if let Some(Learning { intake, lessons }) = learning {
            *self.intake() = intake;
            *self.lessons() = lessons;
        }
        if let Some(accounts) = accounts {
            self.planner().restore(accounts);
        }
    }

    /// What to keep for a restart.
    pub fn snapshots(&self) -> (learning::Snapshot, accounts::Snapshot) {
        // It takes longer to write down than to copy.
        let lessons = self.lessons().clone();
        (lessons.snapshot(), self.planner().accounts().snapshot())
    }

    /// An edge tells how sessions ended. What is refused is refused for good.
    pub fn handle_ends(&self, edge: &Edge, ends: &control::Ends) -> Result<(), EndsError> {
        let mut told = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = told.handle_ends(edge, ends, &self.places.load())?;
        let mut intake = self.intake();
        for (cell, ends) in cells {
            intake.handle_ends(&edge.name, cell, &ends);
        }
        Ok(())
    }

    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lessons(&self) -> MutexGuard<'_, Lessons> {
        self.lessons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn planner(&self) -> MutexGuard<'_, Planner> {
        self.planner.lock().unwrap_or_else(PoisonError::into_inner)
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
        let ranked = self.ranking(&self.list.load(), &client.place);
        let choices: Vec<Choice<'_>> =
            ranked.ranking.choose_for(&client.asker(), |edge| suits(edge, &ask));
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
    fn ranking(&self, list: &List, place: &Place) -> Arc<Ranked> {
        let position = place.region.position().or(place.position.map(|point| point.coarse()));
        let vantage = Vantage { carrier: place.carrier, also: place.also, position };
        let (cell, planned) = (place.cell(), self.planned.load());
        let ranked = self.rankings.get_with((list.generation, planned.0, vantage, cell), || {
            let edges = list.edges.iter().map(|listed| &listed.edge);
            let ranking = Ranking::of(vantage, cell, edges, &planned.1.conditions);
            Arc::new(Ranked::new(ranking, self.asks.counter(cell, vantage)))
        });
        ranked.asked.fetch_add(1, Ordering::Relaxed);
        ranked
    }

    fn token(&self, ranked: &Ranked, cell: Cell, now: SystemTime) -> Option<Arc<str>> {
        let signer = self.signer.as_ref()?;
        let minute = Minute::of(now);
        match &*ranked.token.load() {
            Some(known) if known.0 == minute => return Some(Arc::clone(&known.1)),
            _ => {}
        }
        let token: Arc<str> = signer.sign(cell, minute)?.into();
        ranked.token.store(Some(Arc::new((minute, Arc::clone(&token)))));
        Some(token)
    }
}

impl Ranked {
    fn new(ranking: Ranking, asked: Arc<AtomicU64>) -> Self {
        Self { ranking, asked, token: ArcSwapOption::empty() }
    }
}

/// Keeps rankings that take so many bytes. Those of lists and plans that are no more go soon, and the oldest first.
fn rankings(bytes_max: u64) -> Rankings {
    let bytes = |ranked: &Ranked| size_of::<Ranked>() + ranked.ranking.bytes() + KEPT_BYTES;
    Cache::builder()
        .weigher(move |_, ranked: &Arc<Ranked>| bytes(ranked).try_into().unwrap_or(u32::MAX))
        .max_capacity(bytes_max)
        .time_to_idle(RANKINGS_KEPT)
        .eviction_policy(EvictionPolicy::lru())
        .build()
}

/// Who asks, from where.
struct Client {
    place: Place,
    /// What its place among equals hangs on.
    user: Vec<u8>,
    address: IpAddr,
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
        Self { place: site.places.load().lookup(address), user, address }
    }

    fn asker(&self) -> Asker<'_> {
        Asker { user: &self.user, address: Some(self.address) }
    }
}

/// Whether a place lies in a cell, as far as both are known: who has an address of either protocol may be found
/// in the city by one and in the country by the other.
fn lies_in(place: &Place, cell: Cell) -> bool {
    let carrier = place.carrier == cell.carrier || place.also.contains(cell.carrier);
    let region = place.region.contains(cell.region) || cell.region.contains(place.region);
    carrier && region
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
pub(crate) const API_PATHS: [&str; 4] =
    ["/svrlist", "/goim/nodes/weighted", "/goim/nodes/instances", REPORT];

const NO_EDGES: &str = "no edge that suits has reported yet; ask again";

/// Priced cells in memory: of the last few lists, some thousand cells with 256 edges of some 200 bytes each.
const RANKINGS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// About what the cell's token takes, and the cache for each of them.
const KEPT_BYTES: usize = 512;

/// How long a ranking is kept that nobody asks for: lists change every second or two.
const RANKINGS_KEPT: Duration = Duration::from_secs(3);

#[cfg(test)]
pub(crate) mod tests;
