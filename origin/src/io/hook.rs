//! Calling the back end: a deadline, a bound on how many calls are under way, no retry of what may
//! have had an effect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use shared::limits::BODY_BYTES_MAX;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use crate::hook::{AnswerError, Call, Verdict, read_answer};

/// Which hooks there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// Where clients' remote procedure calls go.
    pub rpc: Option<Uri>,
    /// Who is asked before a client's message is published.
    pub publish: Option<Uri>,
    /// How long a call may take, waiting for its turn included.
    pub timeout: Duration,
    /// Calls under way at once.
    pub concurrency_max: usize,
}

/// The back end's hooks.
#[derive(Clone)]
pub(super) struct Hooks {
    pub(super) config: HookConfig,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    turns: Arc<Semaphore>,
    metrics: Metrics,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    #[error("the request could not be sent")]
    Send(#[from] hyper_util::client::legacy::Error),
    #[error("the request could not be made")]
    Request(#[from] hyper::http::Error),
    #[error("the back end answered with status {0}")]
    Status(StatusCode),
    #[error("the answer could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Hooks {
    pub(super) fn new(config: HookConfig, metrics: Metrics) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            turns: Arc::new(Semaphore::new(config.concurrency_max)),
            config,
            metrics,
        }
    }

    /// Asks the back end.
    pub(super) async fn ask(&self, uri: &Uri, call: &Call<'_>) -> Result<Verdict, HookError> {
        let started = Instant::now();
        let answer = tokio::time::timeout(self.config.timeout, self.post(uri, call.to_json()))
            .await
            .unwrap_or(Err(HookError::Deadline(self.config.timeout)));
        self.metrics.hook(started.elapsed(), answer.is_ok());
        if let Err(error) = &answer {
            tracing::warn!(host = uri.host(), path = uri.path(), %error, "a hook failed");
        }
        answer
    }

    async fn post(&self, uri: &Uri, body: Vec<u8>) -> Result<Verdict, HookError> {
        // Nobody closes it.
        let _turn = self.turns.acquire().await;
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = self.client.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(HookError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        Ok(read_answer(&body.await.map_err(HookError::Body)?.to_bytes())?)
    }
}

/// A body in base64 and what surrounds it.
const ANSWER_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
