//! Tells somebody outside of alerts: posts each as JSON to `alerts.webhook`, in order.
//!
//! What cannot be delivered is tried again a few times, longer apart each time, and then given up with a
//! warning. Meanwhile others wait in a queue; when that is full, the oldest leaves.
//!
//! Invariant: whoever raises alerts never waits here.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use shared::io::shutdown::Shutdown;
use tokio::sync::Notify;

use crate::alerts::Notice;
use crate::dashboard::{alerts::NoticeJson, written};
use crate::metrics::Metrics;

/// The queue to `alerts.webhook`.
#[derive(Debug)]
pub(super) struct Webhook {
    to: Option<Uri>,
    waiting: Mutex<VecDeque<Bytes>>,
    more: Notify,
    metrics: Metrics,
}

type Poster = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl Webhook {
    pub(super) fn new(to: Option<Uri>, metrics: Metrics) -> Self {
        Self { to, waiting: Mutex::default(), more: Notify::new(), metrics }
    }

    /// Will tell of these, if there is somebody to tell.
    pub(super) fn tell(&self, notices: Vec<Notice>) {
        if self.to.is_none() || notices.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for notice in &notices {
            if waiting.len() >= WAITING_MAX {
                waiting.pop_front();
                self.metrics.noticed(false);
            }
            waiting.push_back(written(&NoticeJson::from(notice)));
        }
        self.more.notify_one();
    }

    /// Tells until the shutdown.
    pub(super) async fn run(&self, shutdown: Shutdown) {
        let Some(to) = &self.to else { return shutdown.triggered().await };
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let telling = async {
            loop {
                match self.next() {
                    Some(body) => self.deliver(&client, to, body).await,
                    None => self.more.notified().await,
                }
            }
        };
        tokio::select! {
            () = shutdown.triggered() => {}
            () = telling => {}
        }
    }

    fn next(&self) -> Option<Bytes> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn deliver(&self, client: &Poster, to: &Uri, body: Bytes) {
        let mut rest = REST_FIRST;
        for attempt in 1..=ATTEMPTS {
            let posted = tokio::time::timeout(ANSWER_WITHIN, post(client, to, body.clone())).await;
            let error = match posted {
                Ok(Ok(())) => return self.metrics.noticed(true),
                Ok(Err(error)) => error,
                Err(elapsed) => elapsed.into(),
            };
            // The path may hold a secret.
            let (host, error) = (to.host(), &*error);
            if attempt == ATTEMPTS {
                tracing::warn!(host, error, "alerts.webhook was not told of an alert");
            } else {
                tracing::debug!(host, error, attempt, "alerts.webhook does not take an alert");
                tokio::time::sleep(rest).await;
                rest *= 2;
            }
        }
        self.metrics.noticed(false);
    }
}

async fn post(client: &Poster, to: &Uri, body: Bytes) -> Result<(), Box<dyn Error + Send + Sync>> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(to)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let status = client.request(request).await?.status();
    if status.is_success() { Ok(()) } else { Err(format!("it answers with {status}").into()) }
}

/// Alerts that wait to be told.
const WAITING_MAX: usize = 256;

/// Attempts for each alert, and the rest after the first, which doubles.
const ATTEMPTS: u32 = 5;
const REST_FIRST: Duration = Duration::from_secs(1);

/// A receiver that takes longer is tried again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use shared::io::http::{Server, StatusCode, empty};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::*;
    use crate::alerts::{Alert, Cause};

    fn notice(title: &str) -> Notice {
        let alert = Alert {
            id: "places-1".into(),
            cause: Cause::Places,
            title: title.to_owned(),
            since_ms: 1,
            until_ms: None,
            acknowledged: None,
            related: Vec::new(),
        };
        Notice { is_over: false, alert }
    }

    #[tokio::test]
    async fn alerts_are_posted_in_order_and_again_where_that_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("http://{}/alerts?key=1", listener.local_addr().unwrap());
        let (told, mut hears) = mpsc::unbounded_channel();
        let asked = AtomicUsize::new(0);
        let shutdown = Shutdown::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Server::default().serve(listener, shutdown.clone(), move |request| {
            let fails = asked.fetch_add(1, Ordering::Relaxed) == 0;
            if !fails {
                told.send((request.path, request.body)).unwrap();
            }
            let status =
                if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT };
            async move { empty(status) }
        }));
        let webhook = Arc::new(Webhook::new(Some(to.parse().unwrap()), Metrics::default()));
        webhook.tell(vec![notice("first"), notice("second")]);
        let (teller, ending) = (Arc::clone(&webhook), shutdown.clone());
        tasks.spawn(async move { teller.run(ending).await });
        for title in ["first", "second"] {
            let hearing = tokio::time::timeout(Duration::from_secs(20), hears.recv());
            let (path, body) = hearing.await.unwrap().unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((path.as_str(), &body["event"]), ("/alerts", &"raised".into()));
            assert_eq!(
                (&body["alert"]["title"], &body["alert"]["cause"]),
                (&title.into(), &"places".into())
            );
        }
        shutdown.trigger();
        while tasks.join_next().await.is_some() {}
    }

    #[test]
    fn the_oldest_leave_a_full_queue() {
        let webhook =
            Webhook::new(Some(Uri::from_static("http://127.0.0.1:1/")), Metrics::default());
        for number in 0..WAITING_MAX + 2 {
            webhook.tell(vec![notice(&format!("number {number}."))]);
        }
        assert_eq!(webhook.waiting.lock().unwrap().len(), WAITING_MAX);
        let first = webhook.next().unwrap();
        assert!(String::from_utf8_lossy(&first).contains("number 2."));
        let nobody = Webhook::new(None, Metrics::default());
        nobody.tell(vec![notice("a")]);
        assert!(nobody.next().is_none());
    }
}
