//! The listener for operators: metrics, health, readiness, and what a service adds.
//!
//! It listens on loopback unless told otherwise, since it asks for no key.

use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use super::http::{Limits, Metrics, Request, Response, Server, bytes, error, json, text};
use super::shutdown::Shutdown;
use super::telemetry::Telemetry;

/// The OpenMetrics media type.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a service can do its work, with the reason when it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot yet, or no longer.
    NotReady(String),
}

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;
type Extra = dyn Fn(Request) -> Option<Answer> + Send + Sync;

/// The admin listener of a service, to be extended and then served.
#[derive(Clone)]
pub struct Admin {
    telemetry: Telemetry,
    readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    extras: Vec<Arc<Extra>>,
    limits: Limits,
}

impl fmt::Debug for Admin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Admin").field("extras", &self.extras.len()).finish_non_exhaustive()
    }
}

/// The default address of an admin listener: loopback, so that exposing it is a decision.
pub fn default_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Admin {
    /// Serves `/metrics` from `telemetry`, and `/readyz` from `readiness`.
    pub fn new(
        telemetry: Telemetry,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Self {
        let limits =
            Limits { connections_max: 256, connections_per_address_max: 256, ..Limits::default() };
        Self { telemetry, readiness: Arc::new(readiness), extras: Vec::new(), limits }
    }

    /// Adds routes, tried in the order in which they were added and after the common ones: the
    /// closure answers `None` for a path that is not its own.
    pub fn with_routes<F>(
        mut self,
        routes: impl Fn(Request) -> Option<F> + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        self.extras.push(Arc::new(move |request| {
            routes(request).map(|answer| Box::pin(answer) as Answer)
        }));
        self
    }

    /// Serves until the shutdown.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        let server = Server { limits: self.limits.clone(), tls: None, metrics: Metrics::default() };
        let admin = Arc::new(self);
        server
            .serve(listener, shutdown, move |request| {
                let admin = Arc::clone(&admin);
                async move { admin.answer(request).await }
            })
            .await;
    }

    async fn answer(&self, request: Request) -> Response {
        let reading = matches!(request.method, Method::GET | Method::HEAD);
        match request.path.as_str() {
            "/metrics" | "/healthz" | "/readyz" if !reading => {
                error(StatusCode::METHOD_NOT_ALLOWED, "this is only read")
            }
            "/metrics" => bytes(StatusCode::OK, OPEN_METRICS, self.telemetry.text()),
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match (self.readiness)() {
                Readiness::Ready => json(StatusCode::OK, &json!({ "ready": true })),
                Readiness::NotReady(reason) => json(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &json!({ "ready": false, "reason": reason }),
                ),
            },
            _ => match self.extras.iter().find_map(|extra| extra(request.clone())) {
                Some(answer) => answer.await,
                None => error(StatusCode::NOT_FOUND, "no such path"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;
    use http_body_util::BodyExt;
    use hyper::HeaderMap;

    use super::super::http::Query;
    use super::*;

    async fn ask(admin: &Admin, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request {
            method,
            path: path.to_owned(),
            query: Query::default(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            peer: default_address(1),
        };
        let response = admin.answer(request).await;
        let status = response.status();
        let Ok(body) = response.into_body().collect().await;
        (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn common_paths_and_those_of_the_service_are_answered() {
        let ready = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&ready);
        let admin =
            Admin::new(Telemetry::new("edge"), move || match state.load(Ordering::Relaxed) {
                true => Readiness::Ready,
                false => Readiness::NotReady("no line to an origin".to_owned()),
            })
            .with_routes(|request| {
                (request.path == "/debug/rooms").then_some(async { text(StatusCode::OK, "rooms") })
            });
        let get = |path| ask(&admin, Method::GET, path);
        assert_eq!(get("/metrics").await, (StatusCode::OK, "# EOF\n".to_owned()));
        assert_eq!(get("/healthz").await.0, StatusCode::OK);
        let (status, body) = get("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("no line to an origin"), "{body}");
        ready.store(true, Ordering::Relaxed);
        assert_eq!(get("/readyz").await.0, StatusCode::OK);
        assert_eq!(get("/debug/rooms").await, (StatusCode::OK, "rooms".to_owned()));
        assert_eq!(get("/absent").await.0, StatusCode::NOT_FOUND);
        let (status, _) = ask(&admin, Method::POST, "/metrics").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
