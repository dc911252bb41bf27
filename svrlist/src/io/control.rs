//! Operators' requests: signing in and out.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::Method;
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use shared::io::http::{Request, Response, StatusCode, empty, error, json};
use tokio::sync::Semaphore;

use crate::operators::{Check, Denial, Operator, Operators, Token, is_cross_site, set_cookie};

/// Everything operators' requests need.
#[derive(Debug)]
pub(super) struct Control {
    operators: Arc<Operators>,
    /// Passwords that are verified at the same time, each with its memory.
    verifying: Semaphore,
    /// And those that may wait for that.
    places: Semaphore,
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
struct OperatorJson<'a> {
    name: &'a str,
    role: &'static str,
}

impl Control {
    pub(super) fn new(operators: Arc<Operators>) -> Self {
        Self {
            operators,
            verifying: Semaphore::new(VERIFYING_MAX),
            places: Semaphore::new(VERIFYING_MAX + WAITING_MAX),
        }
    }

    /// Answers what is for operators alone; `None` for any other path. `is_tls`: whether the
    /// request came over TLS.
    pub(super) async fn answer(&self, request: &Request, is_tls: bool) -> Option<Response> {
        let now = SystemTime::now();
        let mut response = match request.path.as_str() {
            "/api/session" => match request.method {
                Method::GET | Method::HEAD => self.session(request, now),
                Method::POST => {
                    let signed_in = self.sign_in(request, is_tls, now).await;
                    signed_in.unwrap_or_else(|refused| refused)
                }
                Method::DELETE => self.sign_out(request, is_tls, now),
                _ => not_allowed("GET, POST, DELETE"),
            },
            _ => return None,
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    fn session(&self, request: &Request, now: SystemTime) -> Response {
        let operator = self.operators.identify(request, now);
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
        now: SystemTime,
    ) -> Result<Response, Response> {
        if is_cross_site(&request.headers) {
            return Err(Denial::CrossSite.response());
        }
        let SignIn { name, password } = serde_json::from_slice(&request.body).map_err(|fault| {
            let fault = format!("the body must be {{\"name\": …, \"password\": …}}: {fault}");
            error(StatusCode::BAD_REQUEST, &fault)
        })?;
        let address = self.operators.address(request.peer.ip(), &request.headers);
        let begun = self.operators.begin(&name, &password, address, now);
        let is_right = match begun {
            Ok(check) => self.verify(check).await?,
            Err(denial) => {
                tracing::info!(name, %address, %denial, "refused a sign-in");
                return Err(denial.response());
            }
        };
        let token = Token::new(rand::rng().random());
        let now = SystemTime::now();
        let operator =
            is_right.then(|| self.operators.sign_in(&name, address, &token, now)).flatten();
        let Some(operator) = operator else {
            tracing::info!(name, %address, "a sign-in failed: {}", Denial::Wrong);
            return Err(Denial::Wrong.response());
        };
        tracing::info!(name, %address, "an operator signed in");
        let mut response = self.told(Some(&operator), Some(now + self.operators.lifetime()));
        let is_secure = is_tls || self.operators.is_proxied_https(request);
        set_cookie(&mut response, self.operators.cookie(Some(&token), is_secure));
        Ok(response)
    }

    /// Verifies a password, which takes a while, where nobody else has to wait for it.
    async fn verify(&self, check: Check) -> Result<bool, Response> {
        let busy = |_| {
            let mut response =
                error(StatusCode::SERVICE_UNAVAILABLE, "too many sign-ins at once: try again");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            response
        };
        let _place = self.places.try_acquire().map_err(busy)?;
        // Never closed, so there is always a turn.
        let _turn = self.verifying.acquire().await;
        match tokio::task::spawn_blocking(move || check.verify()).await {
            Ok(is_right) => Ok(is_right),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    fn sign_out(&self, request: &Request, is_tls: bool, now: SystemTime) -> Response {
        if is_cross_site(&request.headers) {
            return Denial::CrossSite.response();
        }
        if let Some(name) = self.operators.sign_out(&request.headers, now) {
            let address = self.operators.address(request.peer.ip(), &request.headers);
            tracing::info!(%name, %address, "an operator signed out");
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

/// Passwords that are verified at the same time: 19 MiB and a core for some 20 ms each.
const VERIFYING_MAX: usize = 2;
/// Sign-ins that wait for that.
const WAITING_MAX: usize = 16;
