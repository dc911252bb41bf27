//! The accept loop and the life of one connection.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request as HyperRequest, Response as HyperResponse, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::guard::{Guarded, Phase, ServedBody, Share};
use super::{Limits, Query, Request, Response, response};
use crate::address;
use crate::config::ByteSize;
use crate::io::shutdown::Shutdown;

/// How long accepting rests after a failure such as running out of file descriptors: the pending
/// connection stays in the queue, so trying at once again would only spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Smaller responses are bounded by the number of connections, and pages that never change are smaller.
const LARGE_BYTES: usize = 64 << 10;

/// What the system holds of a response that it has not sent.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 16 << 10;

/// Of the bytes of all large responses, those of one address are one in so many.
const OWN_PART: usize = 8;

/// The least buffer that hyper works with.
const HYPER_BUFFER_MIN: usize = 8192;

/// What a listener counts. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    connections: Gauge,
    refused: Family<Reason, Counter>,
    requests: Family<Status, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

impl Metrics {
    /// Registers the counters below `http_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("http");
        let connections = self.connections.clone();
        registry.register("connections", "Open connections", connections);
        let refused = self.refused.clone();
        registry.register(
            "refused_connections",
            "Connections closed by a bound, by reason",
            refused,
        );
        registry.register("requests", "Answered requests by status", self.requests.clone());
    }

    fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    fn answered(&self, status: StatusCode) {
        self.requests.get_or_create(&Status { status: status.as_u16() }).inc();
    }
}

/// What becomes of a request when its head is there.
#[derive(Debug)]
pub enum Admission {
    /// It is taken, with a body within the listener's bound.
    Usual,
    /// It is taken, with a body within another bound.
    Body(ByteSize),
    /// It is answered at once, in the handler's place.
    Refused(Response),
}

impl From<Option<Response>> for Admission {
    fn from(refused: Option<Response>) -> Self {
        refused.map_or(Self::Usual, Self::Refused)
    }
}

/// An HTTP/1.1 server, to be given a listener and a handler.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// The bounds of the listener.
    pub limits: Limits,
    /// TLS, if the listener speaks it. See [`crate::io::tls`] for one that reloads.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What is counted; shared between listeners that are to be counted together.
    pub metrics: Metrics,
}

impl Server {
    /// Serves until the shutdown, then lets requests end within the drain deadline. A panic of the
    /// handler closes that one connection and is logged.
    pub async fn serve<H, F>(self, listener: TcpListener, shutdown: Shutdown, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let usual = |_: &Parts, _: &Query, _: SocketAddr| Admission::Usual;
        self.serve_admitted(listener, shutdown, usual, handler).await;
    }

    /// The same where `admit` looks at each head and its peer first, before a byte of the body is
    /// taken.
    pub async fn serve_admitted<R, A, H, F>(
        self,
        listener: TcpListener,
        shutdown: Shutdown,
        admit: R,
        handler: H,
    ) where
        R: Fn(&Parts, &Query, SocketAddr) -> A + Send + Sync + 'static,
        A: Into<Admission> + 'static,
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let drain_deadline = self.limits.drain_deadline;
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        let service = Arc::new((admit, handler));
        let (bodies, responses) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut open = Connections::new(self.limits.clone(), self.metrics.clone());
        loop {
            let (stream, peer) = tokio::select! {
                () = shutdown.triggered() => break,
                Some(ended) = open.set.join_next_with_id() => {
                    open.ended(ended);
                    continue;
                }
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        rest_after(&error, &shutdown).await;
                        continue;
                    }
                },
            };
            // Small answers are to leave at once; where it cannot be set, they leave later.
            let _ = stream.set_nodelay(true);
            // Else a peer that reads slowly takes nothing for long, and then some hundred KiB at once.
            #[cfg(target_os = "linux")]
            let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
            if let Some(bucket) = open.admit(peer) {
                let own_responses = open.responses_of(bucket);
                let connection = Connection {
                    limits: self.limits.clone(),
                    metrics: self.metrics.clone(),
                    shutdown: shutdown.clone(),
                    service: Arc::clone(&service),
                    bodies: Arc::clone(&bodies),
                    responses: [own_responses, Arc::clone(&responses)],
                    peer,
                };
                open.start(bucket, connection.run(stream, acceptor.clone()));
            }
        }
        drop(listener);
        let drained = async {
            while let Some(ended) = open.set.join_next_with_id().await {
                open.ended(ended);
            }
        };
        if tokio::time::timeout(drain_deadline, drained).await.is_err() {
            tracing::info!(connections = open.set.len(), "cutting off requests still being served");
            open.set.shutdown().await;
        }
    }
}

/// Logs a failure to accept, and rests where trying at once would fail again.
async fn rest_after(error: &io::Error, shutdown: &Shutdown) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::debug!(%error, "a connection went away before it was accepted");
        return;
    }
    tracing::warn!(%error, "cannot accept connections");
    tokio::select! {
        () = shutdown.triggered() => {}
        () = tokio::time::sleep(ACCEPT_REST) => {}
    }
}

/// The open connections of a listener, counted in all and by address.
struct Connections {
    limits: Limits,
    metrics: Metrics,
    set: JoinSet<()>,
    bucket_of: HashMap<Id, IpAddr>,
    of: HashMap<IpAddr, OfAddress>,
}

/// The open connections of one address.
#[derive(Default)]
struct OfAddress {
    count: usize,
    /// Bytes of their responses' large bodies.
    responses: Arc<AtomicUsize>,
}

impl Connections {
    fn new(limits: Limits, metrics: Metrics) -> Self {
        let (bucket_of, of) = (HashMap::new(), HashMap::new());
        Self { limits, metrics, set: JoinSet::new(), bucket_of, of }
    }

    /// The bytes of large bodies that connections of a bucket share. [`start`](Self::start) must follow.
    fn responses_of(&mut self, bucket: IpAddr) -> Arc<AtomicUsize> {
        Arc::clone(&self.of.entry(bucket).or_default().responses)
    }

    /// The bucket a new connection counts in, or nothing if it is one too many.
    fn admit(&self, peer: SocketAddr) -> Option<IpAddr> {
        let bucket = address::bucket(peer.ip());
        let count = self.of.get(&bucket).map_or(0, |of| of.count);
        let reason = if self.set.len() >= self.limits.connections_max {
            "connections_max"
        } else if count >= self.limits.connections_per_address_max
            && !self.limits.is_unlimited(peer.ip())
        {
            "connections_per_address_max"
        } else {
            return Some(bucket);
        };
        self.metrics.refuse(reason);
        tracing::debug!(%peer, reason, "refused a connection");
        None
    }

    fn start(&mut self, bucket: IpAddr, connection: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(connection);
        self.bucket_of.insert(handle.id(), bucket);
        self.of.entry(bucket).or_default().count += 1;
        self.metrics.connections.inc();
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a connection's task failed");
                error.id()
            }
        };
        if let Some(bucket) = self.bucket_of.remove(&id) {
            self.metrics.connections.dec();
            if let Some(of) = self.of.get_mut(&bucket) {
                of.count -= 1;
                if of.count == 0 {
                    self.of.remove(&bucket);
                }
            }
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.metrics.connections.dec_by(self.bucket_of.len() as i64);
    }
}

/// One connection with everything its task needs.
struct Connection<R, H> {
    limits: Limits,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Who admits requests, and who answers them.
    service: Arc<(R, H)>,
    /// Bytes of the requests' bodies of all connections.
    bodies: Arc<AtomicUsize>,
    /// Bytes of the responses' large bodies, of connections of this address and of all.
    responses: [Arc<AtomicUsize>; 2],
    peer: SocketAddr,
}

impl<R, A, H, F> Connection<R, H>
where
    R: Fn(&Parts, &Query, SocketAddr) -> A + Send + Sync + 'static,
    A: Into<Admission> + 'static,
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        let first_head_by = Instant::now() + self.limits.head_deadline;
        let Some(acceptor) = acceptor else {
            return self.speak(stream, first_head_by).await;
        };
        match tokio::time::timeout_at(first_head_by, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, first_head_by).await,
            Ok(Err(error)) => {
                self.metrics.refuse("tls");
                tracing::debug!(peer = %self.peer, %error, "the TLS handshake failed");
            }
            Err(_) => {
                self.metrics.refuse("tls_deadline");
                tracing::debug!(peer = %self.peer, "the TLS handshake is overdue");
            }
        }
    }

    async fn speak<S>(self, stream: S, first_head_by: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let this = Arc::new(self);
        let limits = &this.limits;
        let phase = Phase::default();
        let guarded = Guarded::new(
            stream,
            phase.clone(),
            first_head_by,
            limits.head_deadline,
            limits.write_deadline,
        );
        let service = service_fn({
            let this = Arc::clone(&this);
            move |request| {
                let (this, serving) = (Arc::clone(&this), phase.serve());
                async move {
                    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
                    let (response, shares) = this.bounded(this.answer(request).await, reads);
                    this.metrics.answered(response.status());
                    let response: HyperResponse<ServedBody> =
                        response.map(|body| ServedBody::new(body, shares, serving));
                    Ok::<_, Infallible>(response)
                }
            }
        });
        let head_bytes_max = limits.head_bytes_max.bytes();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle_deadline)
            .max_header_size(head_bytes_max)
            .max_buf_size(head_bytes_max.max(HYPER_BUFFER_MIN))
            .serve_connection(TokioIo::new(guarded), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = this.shutdown.triggered() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %this.peer, %error, "a connection failed");
        }
    }

    /// Refuses a response that there is no memory for while its peer reads it, unless the request has
    /// changed something: whoever asked for that must hear of it.
    fn bounded(&self, response: Response, reads: bool) -> (Response, Vec<Share>) {
        let bytes = response.body().size_hint().exact().unwrap_or(0) as usize;
        if bytes < LARGE_BYTES {
            return (response, Vec::new());
        }
        let all_max = self.limits.responses_bytes_max.bytes();
        let free = self.limits.is_unlimited(self.peer.ip());
        let own_max = if free { all_max } else { all_max / OWN_PART };
        let mut shares: Vec<Share> = self.responses.iter().map(Share::new).collect();
        let over = |(share, max): (&mut Share, usize)| share.grow(bytes) > max;
        let over = shares.iter_mut().zip([own_max, all_max]).map(over).filter(|over| *over).count();
        if over == 0 || !reads {
            return (response, shares);
        }
        let said = "too many large answers are being read; try again in some seconds";
        let mut refused = response::error(StatusCode::SERVICE_UNAVAILABLE, said);
        refused.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        (refused, Vec::new())
    }

    /// Collects the request within its bounds and hands it to the handler.
    async fn answer(&self, request: HyperRequest<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        let query = match Query::parse(head.uri.query().unwrap_or("")) {
            Ok(query) => query,
            Err(error) => return response::error(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let (admit, handler) = &*self.service;
        let body_bytes_max = match admit(&head, &query, self.peer).into() {
            Admission::Usual => self.limits.body_bytes_max,
            Admission::Body(bytes_max) => bytes_max,
            Admission::Refused(refused) => {
                return if body.is_end_stream() { refused } else { closing(refused) };
            }
        };
        // Lasts as long as the handler has the body.
        let mut share = Share::new(&self.bodies);
        match self.collect(body, body_bytes_max, &mut share).await {
            Ok(body) => {
                handler(Request {
                    method: head.method,
                    path: head.uri.path().to_owned(),
                    query,
                    headers: head.headers,
                    body,
                    peer: self.peer,
                })
                .await
            }
            Err((status, message)) => closing(response::error(status, message)),
        }
    }

    /// Collects a body within its bound, and all bodies within theirs.
    async fn collect(
        &self,
        body: Incoming,
        bytes_max: ByteSize,
        share: &mut Share,
    ) -> Result<Bytes, (StatusCode, &'static str)> {
        const TOO_LARGE: (StatusCode, &str) =
            (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this listener allows");
        let bytes_max = bytes_max.bytes();
        // What the head declares is refused before a byte of it is taken.
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(TOO_LARGE);
        }
        let collected = async {
            let (mut body, mut bytes) = (Limited::new(body, bytes_max), BytesMut::new());
            while let Some(frame) = body.frame().await {
                let data = match frame {
                    Ok(frame) => frame.into_data().unwrap_or_default(),
                    Err(error) if error.is::<LengthLimitError>() => return Err(TOO_LARGE),
                    Err(_) => return Err((StatusCode::BAD_REQUEST, "the body is incomplete")),
                };
                if share.grow(data.len()) > self.limits.bodies_bytes_max.bytes() {
                    return Err((StatusCode::SERVICE_UNAVAILABLE, "too many bodies at once"));
                }
                bytes.extend_from_slice(&data);
            }
            Ok(bytes.freeze())
        };
        let overdue = (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
        let collected = tokio::time::timeout(self.limits.body_deadline, collected).await;
        collected.unwrap_or(Err(overdue))
    }
}

/// An answer before the end of a body, the rest of which is not worth reading.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
