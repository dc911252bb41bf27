//! The relay's client against a relay that is not one: what is asked of it, how often, and what pages
//! are told when it misbehaves.

use std::sync::{Arc, Mutex as StdMutex};

use serde_json::{Value, json};
use shared::io::http::{Request, Server, error, json as json_response, text};
use shared::io::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// Answers like a relay with one line, and remembers what it was asked.
struct Fake {
    address: SocketAddr,
    asked: Arc<StdMutex<Vec<(String, String)>>>,
    _serving: JoinSet<()>,
}

impl Fake {
    async fn new(answer: fn(&Request) -> Response) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<StdMutex<Vec<(String, String)>>>::default();
        let mut serving = JoinSet::new();
        let heard = Arc::clone(&asked);
        serving.spawn(Server::default().serve(listener, Shutdown::new(), move |request| {
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            heard.lock().unwrap().push((format!("{} {}", request.method, request.path), body));
            std::future::ready(answer(&request))
        }));
        Self { address, asked, _serving: serving }
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

fn one_line(request: &Request) -> Response {
    match request.path.as_str() {
        "/lines" => json_response(StatusCode::OK, &json!({ "lines": [line()] })),
        "/lines/bj/telecom" => json_response(StatusCode::OK, &line()),
        _ => error(StatusCode::NOT_FOUND, "no such line"),
    }
}

fn line() -> Value {
    json!({ "name": "bj/telecom", "listen": "127.0.0.1:1", "up": {}, "down": {} })
}

fn change(name: &str) -> Result<Wanted, Refusal> {
    Ok(Wanted::Change { name: name.to_owned(), preset: "blackhole".to_owned() })
}

async fn told(relay: &Relay, wanted: Result<Wanted, Refusal>) -> (u16, Value) {
    let response = relay.answer(wanted, &List::default()).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Makes what was told last, told a minute from now: so that a slow machine does not outlive it.
async fn keep(relay: &Relay) {
    let mut last = relay.last.lock().await;
    last.as_mut().unwrap().0 = Instant::now() + Duration::from_secs(60);
}

#[tokio::test]
async fn lines_are_read_and_changed() {
    let fake = Fake::new(one_line).await;
    let relay = Relay::new(Some(fake.address));
    let (status, all) = told(&relay, Ok(Wanted::All)).await;
    assert_eq!((status, &all["edges"][0]["lines"][0]["name"]), (200, &json!("bj/telecom")));
    let (status, one) = told(&relay, change("bj/telecom")).await;
    assert_eq!((status, &one["edges"]), (200, &all["edges"]));
    assert_eq!(told(&relay, change("bj/unicom")).await, (404, json!({ "error": "no such line" })));
    assert_eq!(told(&relay, Err(Refusal::Page)).await.0, 403);
    let preset = r#"{"preset":"blackhole"}"#.to_owned();
    let expected = [
        ("GET /lines".to_owned(), String::new()),
        ("POST /lines/bj/telecom".to_owned(), preset.clone()),
        ("POST /lines/bj/unicom".to_owned(), preset),
    ];
    assert_eq!(fake.asked(), expected);
}

#[tokio::test]
async fn many_pages_cost_the_relay_one_request() {
    let fake = Fake::new(one_line).await;
    let relay = Arc::new(Relay::new(Some(fake.address)));
    told(&relay, Ok(Wanted::All)).await;
    keep(&relay).await;
    let mut pages = JoinSet::new();
    for _ in 0..50 {
        let relay = Arc::clone(&relay);
        pages.spawn(async move { told(&relay, Ok(Wanted::All)).await });
    }
    while let Some(page) = pages.join_next().await {
        assert_eq!(page.unwrap().0, 200);
    }
    assert_eq!(fake.asked().len(), 1);
    told(&relay, change("bj/telecom")).await;
    told(&relay, Ok(Wanted::All)).await;
    assert_eq!(fake.asked().len(), 3, "a change is seen at once");
}

#[tokio::test]
async fn without_a_relay_there_is_nothing_to_see() {
    let relay = Relay::new(None);
    assert_eq!(told(&relay, Ok(Wanted::All)).await, (204, Value::Null));
    assert_eq!(told(&relay, change("bj/telecom")).await.0, 404);
}

#[tokio::test]
async fn a_relay_that_misbehaves_is_an_error_to_pages() {
    let unreachable = (502, json!({ "error": "the relay does not answer" }));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(told(&Relay::new(Some(closed)), Ok(Wanted::All)).await, unreachable);
    let nonsense = Fake::new(|_| text(StatusCode::OK, "hello")).await;
    assert_eq!(told(&Relay::new(Some(nonsense.address)), Ok(Wanted::All)).await, unreachable);
    let endless = Fake::new(|_| text(StatusCode::OK, vec![b' '; ANSWER_BYTES_MAX + 1])).await;
    let relay = Relay::new(Some(endless.address));
    assert_eq!(told(&relay, Ok(Wanted::All)).await, unreachable);
}

#[tokio::test]
async fn a_silent_relay_is_waited_for_and_given_up() {
    // The system takes the connection, and nobody ever answers on it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::new(Some(listener.local_addr().unwrap()));
    let began = Instant::now();
    assert_eq!(told(&relay, Ok(Wanted::All)).await.0, 502);
    assert!(began.elapsed() >= ANSWER_WITHIN);
    keep(&relay).await;
    let began = Instant::now();
    assert_eq!(told(&relay, Ok(Wanted::All)).await.0, 502);
    assert!(began.elapsed() < ANSWER_WITHIN, "the failure was told a moment ago");
}
