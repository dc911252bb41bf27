//! Operators' requests: signing in and out, reading and changing the control, the audit log.
//!
//! Changes are made one at a time, each with its writing down, so that revisions, files and the
//! audit log tell one story. Whoever reads sees the last state and waits for none of that.

mod changes;
mod file;
mod journal;
mod log;
mod store;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use hyper::Method;
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use shared::config::ByteSize;
use shared::io::http::{Admission, Parts, Request, Response, StatusCode, empty, error, json};
use tokio::sync::{Mutex, Semaphore, watch};

use self::file::FileError;
use self::file::Followed;
pub(super) use self::file::watch as follow;
use self::journal::Journal;
use self::store::{Opened, Store, StoreError};
use crate::control::audit::{Audit, Entry, Note, SIGN_IN};
use crate::control::revisions::{Kept, Revisions, revision_json};
use crate::control::{self, Part};
use crate::metrics::Metrics;
use crate::operators::{Check, Denial, Operator, Operators, Token, is_cross_site, set_cookie};
use crate::site::{Moment, Site};

/// Everything operators' requests need.
#[derive(Debug)]
pub(super) struct Control {
    operators: Arc<Operators>,
    /// Passwords that are verified at the same time, each with its memory.
    verifying: Semaphore,
    /// And those that may wait for that: of strangers, and of operators where they are known.
    strangers: Semaphore,
    known: Semaphore,
    state: ArcSwap<State>,
    /// Held by whoever changes the state, until that is kept.
    turn: Mutex<()>,
    journal: Arc<Journal>,
    folder: Option<PathBuf>,
    wanted: watch::Sender<Arc<control::Control>>,
    metrics: Metrics,
}

/// What is in force, and what the file has of it. A change makes a new one.
#[derive(Clone, Debug)]
struct State {
    revisions: Revisions,
    file: Option<Followed>,
}

impl State {
    fn owned(&self) -> &[Part] {
        self.file.as_ref().map_or(&[], |file| &file.parts)
    }

    fn kept(&self) -> Kept {
        Kept { revisions: self.revisions.clone(), owned: self.owned().to_vec() }
    }
}

/// What was kept, or the file, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What was kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    name: String,
    password: String,
}

#[derive(Serialize)]
struct SessionJson<'a> {
    /// Nobody, where nobody is signed in.
    operator: Option<OperatorJson<'a>>,
    /// Whether anybody may look.
    open: bool,
    /// When the session ends at the latest; a program's key does not.
    expires_ms: Option<u64>,
}

#[derive(Serialize)]
struct AuditJson<'a> {
    /// Newest first.
    entries: Vec<&'a Entry>,
}

#[derive(Serialize)]
struct OperatorJson<'a> {
    name: &'a str,
    role: &'static str,
}

impl Control {
    /// Opens what was kept in `folder` and reads `file`. Blocks.
    pub(super) fn open(
        operators: Arc<Operators>,
        folder: Option<PathBuf>,
        file: Option<PathBuf>,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let now = super::now();
        let (store, kept, audit, sign_ins) = match &folder {
            Some(folder) => {
                let Opened { store, kept, audit, sign_ins } = Store::open(folder)?;
                (Some(store), kept, audit, sign_ins)
            }
            None => (None, None, Audit::new([]), Vec::new()),
        };
        for entry in sign_ins {
            if let Ok(address) = entry.from.parse() {
                let at = UNIX_EPOCH + Duration::from_millis(entry.at_ms);
                operators.remember(&entry.who, address, at, now);
            }
        }
        let (state, said) = file::first(kept, file, now.calendar)?;
        metrics.file_broken(state.file.as_ref().is_some_and(|file| file.error.is_some()));
        let control = Self {
            operators,
            verifying: Semaphore::new(VERIFYING_MAX),
            strangers: Semaphore::new(WAITING_MAX),
            known: Semaphore::new(WAITING_MAX),
            state: ArcSwap::from_pointee(state),
            turn: Mutex::default(),
            journal: Arc::new(Journal::new(audit, store)),
            folder,
            wanted: watch::Sender::default(),
            metrics,
        };
        if let (Some(folder), Some(_)) = (&control.folder, &control.state.load().file) {
            // What the file says at the start outlives the file; what cannot be kept is logged.
            let _ = control.kept(Store::keep(folder, &control.state.load().kept()));
        }
        if let Some(note) = said {
            control.written(control.journal.note_blocking(note, now));
        }
        Ok(control)
    }

    /// Puts into force what was opened.
    pub(super) fn start(&self, site: &Site) {
        self.apply(site, self.state.load().revisions.current());
    }

    /// What operators want, as it changes.
    pub(super) fn wanted(&self) -> watch::Receiver<Arc<control::Control>> {
        self.wanted.subscribe()
    }

    /// An admin's change may be larger than what strangers send. What is refused for its size is never
    /// answered and so no guess, so that must say nothing of a key that can be guessed.
    pub(super) fn admission(&self, head: &Parts, peer: IpAddr) -> Admission {
        let is_change = CHANGES.contains(&head.uri.path()) && head.method != Method::GET;
        let now = super::now().monotonic;
        if is_change && self.operators.is_surely_admin(peer, &head.headers, now) {
            Admission::Body(CONTROL_BYTES_MAX)
        } else {
            Admission::Usual
        }
    }

    /// Answers what is for operators alone; `None` for any other path. `is_tls`: whether the
    /// request came over TLS.
    pub(super) async fn answer(
        &self,
        site: &Site,
        request: &Request,
        is_tls: bool,
    ) -> Option<Response> {
        let now = super::now();
        let mut response = match request.path.as_str() {
            "/api/session" => match request.method {
                Method::GET | Method::HEAD => self.session(request, now),
                Method::POST => {
                    let signed_in = self.sign_in(request, is_tls, now).await;
                    signed_in.unwrap_or_else(|refused| refused)
                }
                Method::DELETE => self.sign_out(request, is_tls, now).await,
                _ => not_allowed("GET, POST, DELETE"),
            },
            "/api/control" => match request.method {
                Method::GET | Method::HEAD => self.read(site, request, now),
                Method::PUT => self.admit(site, request, now).await,
                _ => not_allowed("GET, PUT"),
            },
            "/api/audit" => match request.method {
                Method::GET | Method::HEAD => self.read_audit(request, now),
                _ => not_allowed("GET"),
            },
            path if CHANGES.contains(&path) => match request.method {
                Method::POST => self.admit(site, request, now).await,
                _ => not_allowed("POST"),
            },
            _ => return None,
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    fn read(&self, site: &Site, request: &Request, now: Moment) -> Response {
        let who = match self.operators.may_read(request, now.monotonic) {
            Ok(who) => who,
            Err(denial) => return denial.response(),
        };
        let state = self.state.load();
        let Some(number) = request.query.get("revision") else {
            return self.view(&state, site, who.is_some(), None);
        };
        let missing = |problem: &str| error(StatusCode::NOT_FOUND, problem);
        match number.parse::<u64>().map(|number| state.revisions.get(number)) {
            Ok(Ok(revision)) => json(StatusCode::OK, &revision_json(revision, who.is_some())),
            Ok(Err(not_kept)) => missing(&not_kept.to_string()),
            Err(_) => error(StatusCode::BAD_REQUEST, "revision must be a number"),
        }
    }

    /// Makes a change for whoever may make it.
    async fn admit(&self, site: &Site, request: &Request, now: Moment) -> Response {
        let (peer, headers) = (request.peer.ip(), &request.headers);
        let allowed = self.operators.may_change(peer, headers, now.monotonic);
        let denial = match allowed {
            Ok(operator) => return self.change(site, request, &operator, now).await,
            Err(denial) => denial,
        };
        self.metrics.changed(false);
        self.note(self.denied(request, "change", denial, now), now).await;
        denial.response()
    }

    /// What is written down of somebody who may not do what the request asks for.
    pub(super) fn denied(
        &self,
        request: &Request,
        action: &'static str,
        denial: Denial,
        now: Moment,
    ) -> Note {
        let who = match denial {
            Denial::Viewer | Denial::CrossSite => self.operators.identify(request, now.monotonic),
            _ => None,
        };
        Note {
            strange: true,
            who: who.map(|operator| operator.name.to_string()).unwrap_or_default(),
            from: self.operators.address(request.peer.ip(), &request.headers).to_string(),
            action,
            detail: vec![request.path.clone(), denial.to_string()],
            ..Note::default()
        }
    }

    fn read_audit(&self, request: &Request, now: Moment) -> Response {
        // Where others were and what they mistyped is for operators, open or not.
        if self.operators.identify(request, now.monotonic).is_none() {
            return Denial::Unknown.response();
        }
        let number = |name: &str| match request.query.get(name).map(str::parse::<u64>) {
            Some(Ok(number)) => Ok(Some(number)),
            None => Ok(None),
            Some(Err(_)) => Err(format!("{name} must be a number")),
        };
        let (limit, before) = match (number("limit"), number("before")) {
            (Ok(limit), Ok(before)) => (limit, before),
            (Err(problem), _) | (_, Err(problem)) => {
                return error(StatusCode::BAD_REQUEST, &problem);
            }
        };
        let limit = limit.unwrap_or(AUDIT_PAGE).clamp(1, AUDIT_PAGE_MAX);
        self.journal.read(|audit| {
            // The limit is small.
            let entries: Vec<&Entry> = audit.read(before, limit as usize).collect();
            json(StatusCode::OK, &AuditJson { entries })
        })
    }

    /// Writes down what was done or tried.
    pub(super) async fn note(&self, note: Note, now: Moment) {
        self.written(self.journal.note(note, now).await);
    }

    fn written(&self, written: io::Result<()>) {
        if let Err(error) = written {
            self.metrics.unkept();
            tracing::error!(%error, "cannot write the audit log");
        }
    }

    /// Keeps the state, where there is a place for it.
    async fn keep(&self, state: &State) -> Result<(), String> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let kept = state.kept();
        match tokio::task::spawn_blocking(move || Store::keep(&folder, &kept)).await {
            Ok(kept) => self.kept(kept),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    fn kept(&self, kept: io::Result<()>) -> Result<(), String> {
        kept.map_err(|error| {
            self.metrics.unkept();
            tracing::error!(%error, "cannot keep the control: a restart would lose it");
            format!("the change is in force, but a restart would lose it: {error}")
        })
    }

    fn session(&self, request: &Request, now: Moment) -> Response {
        let operator = self.operators.identify(request, now.monotonic);
        let ends = self.operators.ends(&request.headers, now);
        self.told(operator.as_ref(), ends)
    }

    fn told(&self, operator: Option<&Operator>, ends: Option<SystemTime>) -> Response {
        let session = SessionJson {
            expires_ms: operator.and(ends).map(unix_ms),
            operator: operator
                .map(|operator| OperatorJson { name: &operator.name, role: operator.role.name() }),
            open: self.operators.is_open(),
        };
        json(StatusCode::OK, &session)
    }

    async fn sign_in(
        &self,
        request: &Request,
        is_tls: bool,
        now: Moment,
    ) -> Result<Response, Response> {
        if is_cross_site(&request.headers) {
            return Err(Denial::CrossSite.response());
        }
        let SignIn { name, password } = serde_json::from_slice(&request.body).map_err(|fault| {
            let fault = format!("the body must be {{\"name\": …, \"password\": …}}: {fault}");
            error(StatusCode::BAD_REQUEST, &fault)
        })?;
        let address = self.operators.address(request.peer.ip(), &request.headers);
        let verified = match self.operators.begin(&name, &password, address, now.monotonic) {
            Ok(check) => match self.verify(check).await {
                Some(true) => Ok(()),
                Some(false) => Err(Denial::Wrong),
                None => {
                    self.operators.give_up(&name, address, super::now().monotonic);
                    Err(Denial::Busy)
                }
            },
            Err(denial) => Err(denial),
        };
        let now = super::now();
        let token = Token::new(rand::rng().random());
        let signed_in = verified.and_then(|()| {
            let operator = self.operators.sign_in(&name, address, &token, now.monotonic);
            operator.ok_or(Denial::Wrong)
        });
        let operator = match signed_in {
            Ok(operator) => operator,
            Err(denial) => {
                self.signed(&name, address, Some(denial), now).await;
                return Err(denial.response());
            }
        };
        self.signed(&name, address, None, now).await;
        let mut response =
            self.told(Some(&operator), Some(now.calendar + self.operators.lifetime()));
        let is_secure = is_tls || self.operators.is_proxied_https(request);
        set_cookie(&mut response, self.operators.cookie(Some(&token), is_secure));
        Ok(response)
    }

    /// Writes down a sign-in, or why there was none.
    async fn signed(&self, name: &str, address: IpAddr, denial: Option<Denial>, now: Moment) {
        self.metrics.signed_in(denial.is_none());
        match denial {
            None => tracing::info!(name, %address, "an operator signed in"),
            // The name may be a password in the wrong field; the audit log, which is bounded, has it.
            Some(denial) => tracing::debug!(%address, %denial, "refused a sign-in"),
        }
        let note = Note {
            who: name.to_owned(),
            from: address.to_string(),
            action: SIGN_IN,
            done: denial.is_none(),
            strange: denial.is_some(),
            detail: denial.map(|denial| denial.to_string()).into_iter().collect(),
            ..Note::default()
        };
        self.note(note, now).await;
    }

    /// Verifies a password, which takes a while, where nobody else has to wait for it; `None` if too
    /// many wait for that.
    async fn verify(&self, check: Check) -> Option<bool> {
        let waiting = if check.is_known() { &self.known } else { &self.strangers };
        let _place = waiting.try_acquire().ok()?;
        // Never closed, so there is always a turn.
        let _turn = self.verifying.acquire().await;
        match tokio::task::spawn_blocking(move || check.verify()).await {
            Ok(is_right) => Some(is_right),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    async fn sign_out(&self, request: &Request, is_tls: bool, now: Moment) -> Response {
        if is_cross_site(&request.headers) {
            return Denial::CrossSite.response();
        }
        if let Some(name) = self.operators.sign_out(&request.headers, now.monotonic) {
            let address = self.operators.address(request.peer.ip(), &request.headers);
            tracing::info!(%name, %address, "an operator signed out");
            let (who, from) = (name.to_string(), address.to_string());
            let note = Note { who, from, action: "sign-out", done: true, ..Note::default() };
            self.note(note, now).await;
        }
        let mut response = empty(StatusCode::NO_CONTENT);
        let is_secure = is_tls || self.operators.is_proxied_https(request);
        set_cookie(&mut response, self.operators.cookie(None, is_secure));
        response
    }
}

fn not_allowed(methods: &'static str) -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, methods);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn unix_ms(at: SystemTime) -> u64 {
    // Milliseconds since 1970 fit 64 bits for longer than anything else.
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Paths that change something; the first is read, too.
const CHANGES: [&str; 4] =
    ["/api/control", "/api/control/rollback", "/api/control/drain", "/api/control/zone"];
/// Largest body of a change.
const CONTROL_BYTES_MAX: ByteSize = ByteSize(256 * 1024);
/// Entries of the audit log in one answer, unless another number is asked for.
const AUDIT_PAGE: u64 = 100;
const AUDIT_PAGE_MAX: u64 = 1_000;
/// Passwords that are verified at the same time: 19 MiB and a core for some 20 ms each.
const VERIFYING_MAX: usize = 2;
/// Sign-ins of strangers that are verified or wait for that, and as many of operators where they are
/// known: however many strangers there are, these wait for no more than that.
const WAITING_MAX: usize = 16;

#[cfg(test)]
mod tests;
