//! The server against peers, well-behaved and not, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::*;
use crate::config::ByteSize;
use crate::io::shutdown::Shutdown;

/// Longer than any test should take: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(20);
/// A deadline that is meant to be missed.
const SHORT: Duration = Duration::from_millis(150);

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    metrics: Metrics,
    tasks: JoinSet<()>,
}

impl Running {
    async fn start<H, F>(limits: Limits, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, metrics) = (Shutdown::new(), Metrics::default());
        let server = Server { limits, tls: None, metrics: metrics.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(listener, shutdown.clone(), handler));
        Self { address, shutdown, metrics, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a new connection and returns everything that comes back until it closes.
    async fn say(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        rest_of(&mut stream).await
    }

    fn counters(&self) -> String {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    async fn ended(mut self) {
        let end = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the server does not end");
    }
}

/// Everything until the connection closes; a reset counts as closing.
async fn rest_of(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let reading = stream.read_to_end(&mut received);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("the connection stays open");
    String::from_utf8(received).unwrap()
}

/// Reads until `end` was received.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut received = Vec::new();
    let reading = async {
        while !received.ends_with(end.as_bytes()) {
            let byte = stream.read_u8().await.unwrap();
            received.push(byte);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the answer does not come");
    String::from_utf8(received).unwrap()
}

async fn echo(request: Request) -> Response {
    let query: Vec<String> = request.query.pairs().map(|(k, v)| format!("{k}={v}")).collect();
    let body = String::from_utf8_lossy(&request.body).into_owned();
    text(StatusCode::OK, format!("{} {} {query:?} {body}", request.method, request.path))
}

#[tokio::test]
async fn a_request_is_answered_and_the_connection_kept() {
    let server = Running::start(Limits::default(), echo).await;
    let mut stream = server.connect().await;
    for body in ["first", "second"] {
        let request = format!(
            "POST /a%20b?x=1&x=%32 HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, body).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("POST /a%20b [\"x=1\", \"x=2\"] "), "{answer}");
    }
    assert!(server.counters().contains("http_requests_total{status=\"200\"} 2"));
    assert!(server.counters().contains("http_connections 1\n"));
}

#[tokio::test]
async fn a_silent_or_slow_head_closes_the_connection() {
    let limits = Limits { head_deadline: SHORT, ..Limits::default() };
    let server = Running::start(limits, echo).await;
    assert_eq!(server.say(b"").await, "");
    assert!(!server.say(b"GET / HTTP/1.1\r\nhost: t\r\n").await.contains("200"));

    // Bytes that trickle in do not buy time.
    let mut stream = server.connect().await;
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut sink = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut sink) => {}
        () = trickle => {}
        () = tokio::time::sleep(PATIENCE) => panic!("the connection stays open"),
    }
}

#[tokio::test]
async fn a_kept_connection_may_idle_longer_than_a_head_may_take() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: t\r\n\r\n";
    let limits = Limits { head_deadline: SHORT, ..Limits::default() };
    let server = Running::start(limits, echo).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "GET / [] ").await;
    tokio::time::sleep(SHORT * 2).await;
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "GET / [] ").await;
    // The next head is bounded from its first byte on.
    stream.write_all(b"GET / HT").await.unwrap();
    rest_of(&mut stream).await;
}

#[tokio::test]
async fn an_idle_connection_ends_some_time() {
    let server = Running::start(Limits { idle_deadline: SHORT, ..Limits::default() }, echo).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    assert!(rest_of(&mut stream).await.contains("200 OK"));
}

#[tokio::test]
async fn a_declared_body_is_refused_before_it_is_read() {
    let limits = Limits { body_bytes_max: ByteSize(10), ..Limits::default() };
    let server = Running::start(limits, echo).await;
    let head = "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 11\r\n\r\n";
    let answer = server.say(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let head =
        "POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 10\r\n\r\n0123456789";
    assert!(server.say(head.as_bytes()).await.contains("0123456789"));
}

#[tokio::test]
async fn a_chunked_body_is_refused_where_it_passes_the_bound() {
    let limits = Limits { body_bytes_max: ByteSize(10), ..Limits::default() };
    let server = Running::start(limits, echo).await;
    let head = "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = server.say(format!("{head}8\r\n01234567\r\n8\r\n01234567\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_refused_costs_no_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refuse = |head: &Parts, _: &Query, _: SocketAddr| {
        (head.uri.path() == "/no").then(|| empty(StatusCode::UNAUTHORIZED))
    };
    let shutdown = Shutdown::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(Server::default().serve_admitted(listener, shutdown.clone(), refuse, echo));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /no HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let kept = read_until(&mut stream, "\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 401 ") && !kept.contains("close"), "{kept}");
    // Of this body nothing is ever sent.
    let post = b"POST /no HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(post).await.unwrap();
    let closed = rest_of(&mut stream).await;
    assert!(closed.starts_with("HTTP/1.1 401 ") && closed.contains("close"), "{closed}");
    shutdown.trigger();
}

#[tokio::test]
async fn a_head_may_be_allowed_a_body_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let admit = |head: &Parts, _: &Query, peer: SocketAddr| match head.uri.path() {
        "/large" if peer.ip().is_loopback() => Admission::Body(ByteSize(6)),
        _ => Admission::Usual,
    };
    let limits = Limits { body_bytes_max: ByteSize(3), ..Limits::default() };
    let server = Server { limits, ..Server::default() };
    let shutdown = Shutdown::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve_admitted(listener, shutdown.clone(), admit, echo));
    for (path, length, status) in
        [("/a", 3, 200), ("/a", 4, 413), ("/large", 6, 200), ("/large", 7, 413)]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&b"1234567"[..length]).await.unwrap();
        let answer = rest_of(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {length}: {answer}");
    }
    shutdown.trigger();
}

#[tokio::test]
async fn bodies_are_bounded_over_all_connections() {
    let bodies_bytes_max = ByteSize(10);
    let server = Running::start(Limits { bodies_bytes_max, ..Limits::default() }, echo).await;
    let post = b"POST /a HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 7\r\n\r\n";
    let mut slow = server.connect().await;
    slow.write_all(&[&post[..], b"123456"].concat()).await.unwrap();
    let mut answers = Vec::new();
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < PATIENCE && answers.last() != Some(&503) {
        let answer = server.say(&[&post[..], b"1234567"].concat()).await;
        answers.push(answer[9..12].parse().unwrap());
    }
    assert_eq!(answers.last(), Some(&503));
    slow.write_all(b"7").await.unwrap();
    assert!(rest_of(&mut slow).await.starts_with("HTTP/1.1 200 "));
    let answer = server.say(&[&post[..], b"1234567"].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let limits = Limits { body_deadline: SHORT, ..Limits::default() };
    let server = Running::start(limits, echo).await;
    let answer = server.say(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nab").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_large_head_and_a_bad_query_are_refused() {
    let server = Running::start(Limits::default(), echo).await;
    let filler = "x".repeat(20 * 1024);
    let answer =
        server.say(format!("GET / HTTP/1.1\r\nhost: t\r\nx: {filler}\r\n\r\n").as_bytes()).await;
    // A peer that is still writing may see the reset before the answer.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = server.say(b"GET /?a=%zz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn connections_are_bounded_by_address_and_in_all() {
    for (limits, reason) in [
        (Limits { connections_max: 2, ..Limits::default() }, "connections_max"),
        (
            Limits { connections_per_address_max: 2, ..Limits::default() },
            "connections_per_address_max",
        ),
    ] {
        let server = Running::start(limits, echo).await;
        let (first, _second) = (server.connect().await, server.connect().await);
        assert_eq!(server.say(b"").await, "", "{reason}");
        let counted = format!("http_refused_connections_total{{reason=\"{reason}\"}} 1\n");
        assert!(server.counters().contains(&counted), "{}", server.counters());
        // A place that becomes free is given away again.
        drop(first);
        let retrying = async {
            loop {
                let mut stream = server.connect().await;
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
                if rest_of(&mut stream).await.contains("200 OK") {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, retrying).await.expect("the place is never free again");
    }
    let limits = Limits {
        connections_per_address_max: 1,
        unlimited: vec!["127.0.0.0/8".parse().unwrap()],
        ..Limits::default()
    };
    let server = Running::start(limits, echo).await;
    let _first = server.connect().await;
    assert!(server.say(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.contains("200 OK"));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let limits = Limits { write_deadline: SHORT, ..Limits::default() };
    let ended = Arc::new(Notify::new());
    let seen = Arc::clone(&ended);
    let server = Running::start(limits, move |_| {
        let (pieces, receiver) = mpsc::channel(1);
        let seen = Arc::clone(&seen);
        async move {
            let mut feeding = JoinSet::new();
            feeding.spawn(async move {
                while pieces.send(Bytes::from(vec![0; 65536])).await.is_ok() {}
                seen.notify_one();
            });
            feeding.detach_all();
            stream("application/octet-stream", receiver)
        }
    })
    .await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    tokio::time::timeout(PATIENCE, ended.notified()).await.expect("the response is never given up");
    drop(stream);
}

#[tokio::test]
async fn large_responses_that_nobody_reads_are_bounded_together() {
    // More than the sockets' buffers hold.
    let body = Bytes::from(vec![0; 24 << 20]);
    let unlimited = vec!["127.0.0.2/32".parse().unwrap()];
    let limits =
        Limits { responses_bytes_max: ByteSize::mib(8 * 40), unlimited, ..Limits::default() };
    let server = Running::start(limits, move |request| {
        let large = request.path == "/large";
        let body = if large { body.clone() } else { Bytes::from_static(b"small") };
        async move { bytes(StatusCode::OK, "application/octet-stream", body) }
    })
    .await;
    let ask_from = async |from: u8, what: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        let request =
            format!("{what} HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_until(&mut stream, "\r\n\r\n").await;
        (stream, head)
    };
    let ask = async |what: &str| ask_from(1, what).await;
    let (mut first, head) = ask("GET /large").await;
    assert!(head.contains("200 OK"), "{head}");
    let (_, head) = ask("GET /large").await;
    assert!(head.contains("503") && head.contains("retry-after: 5"), "{head}");
    assert!(ask("GET /small").await.1.contains("200 OK"), "small ones need no memory");
    let (_, head) = ask("POST /large").await;
    assert!(head.contains("200 OK"), "what was done is told: {head}");
    // An address that is trusted has as much as all together.
    let mut trusted = Vec::new();
    while trusted.len() < 20 {
        let (stream, head) = ask_from(2, "GET /large").await;
        trusted.push(stream);
        if !head.contains("200 OK") {
            break;
        }
    }
    assert!((10..=13).contains(&trusted.len()), "{} of 24 MiB within 320", trusted.len());
    assert!(ask_from(3, "GET /large").await.1.contains("503"), "there is no more for anybody");
    drop(trusted);
    // What was read is no longer counted, nor is what is given up.
    let mut all = Vec::new();
    first.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 24 << 20);
    for _ in 0..2 {
        let again = async { while !ask("GET /large").await.1.contains("200 OK") {} };
        tokio::time::timeout(PATIENCE, again).await.expect("its bytes are counted for ever");
    }
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let (events, receiver) = mpsc::channel(4);
    let receiver = std::sync::Mutex::new(Some(receiver));
    let server = Running::start(Limits::default(), move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async move { stream("text/event-stream", receiver) }
    })
    .await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(Bytes::from(event)).await.unwrap();
        let received = read_until(&mut stream, &format!("{event}\r\n")).await;
        assert_eq!(received.contains("text/event-stream"), event.contains('1'), "{received}");
    }
    drop(events);
    read_until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_panic_of_the_handler_costs_one_connection() {
    let calls = AtomicUsize::new(0);
    let server = Running::start(Limits::default(), move |request| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "a bug of the test");
        echo(request)
    })
    .await;
    let request = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    assert_eq!(server.say(request).await, "");
    assert!(server.say(request).await.contains("200 OK"));
}

#[tokio::test]
async fn a_shutdown_lets_requests_end() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arriving, going) = (Arc::clone(&arrived), Arc::clone(&go_on));
    let server = Running::start(Limits::default(), move |request| {
        let (arriving, going) = (Arc::clone(&arriving), Arc::clone(&going));
        async move {
            arriving.notify_one();
            going.notified().await;
            echo(request).await
        }
    })
    .await;
    let mut idle = server.connect().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /late HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    arrived.notified().await;
    server.shutdown.trigger();
    assert_eq!(rest_of(&mut idle).await, "", "an idle connection is closed at once");
    go_on.notify_one();
    assert!(rest_of(&mut stream).await.contains("GET /late"));
    server.ended().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_at_shutdown() {
    let limits = Limits { drain_deadline: SHORT, ..Limits::default() };
    let arrived = Arc::new(Notify::new());
    let arriving = Arc::clone(&arrived);
    let server = Running::start(limits, move |_| {
        arriving.notify_one();
        std::future::pending()
    })
    .await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    arrived.notified().await;
    server.shutdown.trigger();
    assert_eq!(rest_of(&mut stream).await, "");
    server.ended().await;
}

#[test]
fn limits_are_read_from_their_section() {
    use crate::config::{Configure, Layers, Reader, resolve};

    #[derive(Debug)]
    struct Api(Limits);
    impl Configure for Api {
        fn read(reader: &mut Reader) -> Self {
            Self(Limits::read(reader, "api", Limits::default()))
        }
    }
    let read = |file: &str| {
        resolve::<Api>(Layers::new("T").with_file("f", file), |_| {
            Err(std::io::ErrorKind::NotFound.into())
        })
    };
    assert_eq!(read("").unwrap().0, Limits::default());
    let limits = read("[api]\nbody_bytes_max = \"2MiB\"\nidle_deadline = \"5s\"").unwrap().0;
    assert_eq!((limits.body_bytes_max, limits.idle_deadline.as_secs()), (ByteSize::mib(2), 5));
    assert_eq!(
        read("[api]\nhead_bytes_max = 100\nconnections_max = 0").unwrap_err().list().len(),
        2
    );
}
