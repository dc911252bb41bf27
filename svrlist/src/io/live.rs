//! The streams of `/api/live`: one feed for all, and a bounded queue for each.
//!
//! A stream that cannot take a piece goes without it: the next one says everything anew. One that takes
//! nothing for [`STALLED_PIECES`] pieces is given up; its connection then ends by the listener's write
//! deadline. Streams also end with the right of their readers to read, and at the shutdown.
//!
//! Invariant: the memory of a stream is its queue's, whatever its reader does.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use shared::io::http::{Request, Response, StatusCode, empty, error, stream};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::dashboard::live::{Feed, is_wanted, opening};
use crate::dashboard::{Shot, private};
use crate::metrics::Metrics;

/// All streams.
#[derive(Debug)]
pub(super) struct Live {
    streams_max: usize,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    feed: Feed,
    streams: Vec<Stream>,
    ended: bool,
}

#[derive(Debug)]
struct Stream {
    /// What it was opened with, to see whether that still holds.
    request: Request,
    pieces: mpsc::Sender<Bytes>,
    missed: u32,
}

impl Live {
    pub(super) fn new(streams_max: usize, metrics: Metrics) -> Self {
        Self { streams_max, metrics, state: Mutex::default() }
    }

    /// Opens a stream for somebody who may read.
    pub(super) fn open(&self, request: &Request, shot: &Shot) -> Response {
        if request.method == Method::HEAD {
            return private(empty(StatusCode::OK));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.streams.retain(|stream| !stream.pieces.is_closed());
        if state.streams.len() >= self.streams_max || state.ended {
            self.metrics.live_refused();
            let said = "too many live streams are open (dashboard.streams_max); read /api/overview";
            let mut response = error(StatusCode::SERVICE_UNAVAILABLE, said);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            return private(response);
        }
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let events = request.query.get("events");
        for piece in opening(shot).into_iter().filter(|piece| is_wanted(piece, events)) {
            // The queue is empty and has room for all of these.
            let _ = pieces.try_send(piece);
        }
        let request = Request { body: Bytes::new(), ..request.clone() };
        state.streams.push(Stream { request, pieces, missed: 0 });
        self.metrics.live(state.streams.len());
        let mut response = stream("text/event-stream", receiver);
        let unbuffered = HeaderName::from_static("x-accel-buffering");
        response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
        private(response)
    }

    /// Tells the streams of whoever may still read what is shown.
    pub(super) fn tell(&self, shot: &Shot, may_read: impl Fn(&Request) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.streams.is_empty() {
            return self.metrics.live(0);
        }
        let pieces = state.feed.handle_shot(shot);
        state.streams.retain_mut(|stream| {
            let takes = pieces.iter().all(|piece| stream.take(piece));
            takes && !stream.pieces.is_closed() && may_read(&stream.request)
        });
        self.metrics.live(state.streams.len());
    }

    /// Ends all streams; no more are opened.
    pub(super) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        state.streams.clear();
        self.metrics.live(0);
    }
}

impl Stream {
    /// Whether there is still somebody.
    fn take(&mut self, piece: &Bytes) -> bool {
        if !is_wanted(piece, self.request.query.get("events")) {
            return true;
        }
        match self.pieces.try_send(piece.clone()) {
            Ok(()) => {
                self.missed = 0;
                true
            }
            Err(TrySendError::Full(_)) => {
                self.missed += 1;
                self.missed < STALLED_PIECES
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

/// Pieces that wait for one reader: what a stream begins with, and one more.
const QUEUE: usize = 4;

/// About half a minute.
const STALLED_PIECES: u32 = 20;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http_body_util::BodyExt;
    use hyper::HeaderMap;
    use shared::io::http::Query;

    use super::*;
    use crate::dashboard::Dashboard;
    use crate::dashboard::facts::Facts;

    fn request() -> Request {
        Request {
            method: Method::GET,
            path: "/api/live".to_owned(),
            query: Query::default(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            peer: SocketAddr::from(([127, 0, 0, 1], 4242)),
        }
    }

    /// What is shown at a second: a list of its own.
    fn shot(second: u64) -> std::sync::Arc<Shot> {
        let dashboard = Dashboard::default();
        dashboard.show(Facts { now_ms: 1000 * second, generation: second, ..Facts::default() });
        dashboard.shot()
    }

    async fn piece(response: &mut Response) -> Option<String> {
        let frame = response.body_mut().frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_stream_begins_with_everything_and_goes_on_with_news() {
        let live = Live::new(1, Metrics::default());
        let mut response = live.open(&request(), &shot(1));
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(piece(&mut response).await.unwrap(), "retry: 2000\n\n");
        let overview = piece(&mut response).await.unwrap();
        assert!(overview.starts_with("event: overview\ndata: {\"now_ms\":1000,"), "{overview}");
        assert!(piece(&mut response).await.unwrap().starts_with("event: map\ndata: {"));
        live.tell(&shot(10), |_| true);
        assert!(piece(&mut response).await.unwrap().contains("\"now_ms\":10000,"));
        live.end();
        while let Some(piece) = piece(&mut response).await {
            assert!(piece.starts_with("event: map"), "{piece}");
        }
    }

    #[tokio::test]
    async fn a_stream_without_maps_is_told_none() {
        let live = Live::new(1, Metrics::default());
        let query = Query::parse("events=overview").unwrap();
        let mut response = live.open(&Request { query, ..request() }, &shot(1));
        live.tell(&shot(10), |_| true);
        live.end();
        let mut told = Vec::new();
        while let Some(piece) = piece(&mut response).await {
            told.push(piece);
        }
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|piece| !piece.contains("event: map")), "{told:?}");
    }

    #[tokio::test]
    async fn no_more_streams_than_allowed() {
        let live = Live::new(1, Metrics::default());
        let first = live.open(&request(), &shot(1));
        assert_eq!(live.open(&request(), &shot(1)).status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert_eq!(live.open(&request(), &shot(1)).status(), StatusCode::OK);
        let head = Request { method: Method::HEAD, ..request() };
        assert_eq!(live.open(&head, &shot(1)).status(), StatusCode::OK);
        live.end();
        assert_eq!(live.open(&request(), &shot(1)).status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_reader_who_stops_is_given_up() {
        let live = Live::new(1, Metrics::default());
        let _stopped = live.open(&request(), &shot(1));
        let told = (2..200).take_while(|second| {
            live.tell(&shot(2 * second), |_| true);
            !live.state.lock().unwrap().streams.is_empty()
        });
        assert!((10..60).contains(&told.count()));
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_right_to_read() {
        let live = Live::new(1, Metrics::default());
        let mut response = live.open(&request(), &shot(1));
        live.tell(&shot(3), |_| false);
        while piece(&mut response).await.is_some() {}
        assert!(live.state.lock().unwrap().streams.is_empty());
    }
}
