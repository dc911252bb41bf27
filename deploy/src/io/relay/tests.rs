//! The relay with real sockets: a target that echoes, a caller, and the admin API between them.

use std::future::Future;

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::io::http::Http;
use crate::relay::{Both, Preset, Settings};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running relay with two lines, `edge/telecom` and `edge/unicom`, to a target that sends everything
/// back. Callers use the first.
struct Fixture {
    admin: String,
    line: SocketAddr,
    target: SocketAddr,
    shutdown: Shutdown,
    serving: JoinSet<Result<(), RelayError>>,
    echo: JoinSet<()>,
}

/// Sends everything back.
async fn echo(socket: UdpSocket) {
    let mut buffer = vec![0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&buffer[..len], from).await.unwrap();
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Fixture {
    async fn new(own: Settings) -> Self {
        let socket = UdpSocket::bind(loopback()).await.unwrap();
        let target = socket.local_addr().unwrap();
        let mut echoing = JoinSet::new();
        echoing.spawn(echo(socket));
        let line = |carrier: &str| LineConfig {
            name: format!("edge/{carrier}"),
            listen: loopback(),
            target,
            own: Both { up: own, down: own },
            preset: Preset::Clean,
        };
        let relay = Relay::open(Config {
            admin: loopback(),
            lines: vec![line("telecom"), line("unicom")],
            clients_max: 4,
            client_idle: Duration::from_secs(60),
            seed: Some(1),
            log: shared::io::telemetry::LogConfig {
                filter: "info".to_owned(),
                format: shared::io::telemetry::LogFormat::Text,
            },
        });
        let relay = relay.await.unwrap();
        let admin = format!("http://{}", relay.admin().unwrap());
        let line = relay.lines()[0];
        let (shutdown, mut serving) = (Shutdown::new(), JoinSet::new());
        serving.spawn(relay.serve(shutdown.clone()));
        Self { admin, line, target, shutdown, serving, echo: echoing }
    }

    async fn caller(&self) -> UdpSocket {
        let socket = UdpSocket::bind(loopback()).await.unwrap();
        socket.connect(self.line).await.unwrap();
        socket
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.admin);
        let answer = Http::new(None).unwrap().post(&url, &[], body.to_string()).await.unwrap();
        (answer.status, answer.json().unwrap_or_default())
    }

    async fn line(&self) -> Value {
        self.get("/lines").await["lines"][0].take()
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.admin);
        Http::new(None).unwrap().get(&url).await.unwrap().json().unwrap()
    }

    /// Asks for the line until it is as it should be.
    async fn until(&self, reached: impl Fn(&Value) -> bool) -> Value {
        patiently(async {
            loop {
                let line = self.line().await;
                if reached(&line) {
                    return line;
                }
                tokio::time::sleep(millis(5)).await;
            }
        })
        .await
    }

    async fn stop(mut self) {
        self.shutdown.trigger();
        let ended = patiently(self.serving.join_next()).await.unwrap();
        ended.unwrap().unwrap();
    }
}

async fn patiently<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("done in time")
}

/// Sends `number` and waits for it to come back.
async fn round_trip(caller: &UdpSocket, number: u32) -> Duration {
    let began = Instant::now();
    caller.send(&number.to_be_bytes()).await.unwrap();
    let mut answer = [0; 16];
    let len = patiently(caller.recv(&mut answer)).await.unwrap();
    assert_eq!(answer[..len], number.to_be_bytes());
    began.elapsed()
}

#[tokio::test]
async fn a_delay_is_added_in_each_direction() {
    let fixture = Fixture::new(Settings { delay: millis(20), ..Settings::default() }).await;
    let caller = fixture.caller().await;
    let mut fastest = Duration::MAX;
    for number in 0..20 {
        fastest = fastest.min(round_trip(&caller, number).await);
    }
    assert!(fastest >= millis(40), "{fastest:?}");
    assert!(fastest < millis(50), "not even once within the delay and 10 ms: {fastest:?}");
    let (status, _) = fixture.post("/lines/edge/telecom", &json!({ "delay": "0s" })).await;
    assert_eq!(status, 200);
    round_trip(&caller, 20).await;
    let line = fixture.line().await;
    assert_eq!(line["up"]["passed"], json!({ "datagrams": 21, "bytes": 84 }));
    assert_eq!(line["down"]["passed"], json!({ "datagrams": 21, "bytes": 84 }));
    assert_eq!(line["clients"], 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_blackhole_takes_everything_until_it_is_healed() {
    let fixture = Fixture::new(Settings::default()).await;
    let caller = fixture.caller().await;
    round_trip(&caller, 0).await;
    let (status, line) =
        fixture.post("/lines/edge%2Ftelecom", &json!({ "preset": "blackhole" })).await;
    assert_eq!((status, &line["up"]["settings"]["blackhole"]), (200, &json!(true)));
    for number in 0..10_u32 {
        caller.send(&number.to_be_bytes()).await.unwrap();
    }
    let lost = |line: &Value| line["up"]["dropped"]["blackhole"]["datagrams"] == 10;
    let line = fixture.until(lost).await;
    assert_eq!(line["up"]["offered"], json!({ "datagrams": 11, "bytes": 44 }));
    assert_eq!(line["up"]["passed"], json!({ "datagrams": 1, "bytes": 4 }));
    assert_eq!(line["down"]["offered"]["datagrams"], 1);

    let (status, line) = fixture.post("/lines/edge/telecom/heal", &json!({})).await;
    assert_eq!((status, &line["up"]["settings"]["blackhole"]), (200, &json!(false)));
    // Nothing that was lost comes later.
    round_trip(&caller, 77).await;
    fixture.stop().await;
}

#[tokio::test]
async fn callers_are_told_apart_and_bounded() {
    let fixture = Fixture::new(Settings::default()).await;
    let mut callers = Vec::new();
    for _ in 0..6 {
        callers.push(fixture.caller().await);
    }
    for (number, caller) in (0..).zip(&callers) {
        round_trip(caller, number).await;
    }
    // The first two made room for the last two, and come back.
    for (number, caller) in (100..).zip(&callers) {
        round_trip(caller, number).await;
    }
    assert_eq!(fixture.line().await["clients"], 4);
    fixture.stop().await;
}

#[tokio::test]
async fn a_target_that_was_away_is_reached_again() {
    let mut fixture = Fixture::new(Settings::default()).await;
    let caller = fixture.caller().await;
    round_trip(&caller, 0).await;
    fixture.echo.shutdown().await;
    let (sent, passed) = (10, 11);
    for number in 0..sent {
        caller.send(&[number]).await.unwrap();
    }
    fixture.until(|line| line["up"]["passed"]["datagrams"] == passed).await;
    // Somebody else may hold the port for a moment.
    let back = patiently(async {
        loop {
            match UdpSocket::bind(fixture.target).await {
                Ok(socket) => return socket,
                Err(_) => tokio::time::sleep(millis(5)).await,
            }
        }
    });
    fixture.echo.spawn(echo(back.await));
    round_trip(&caller, 1).await;
    fixture.stop().await;
}

#[tokio::test]
async fn an_edge_is_all_its_lines() {
    let fixture = Fixture::new(Settings::default()).await;
    let holes = |told: &Value| -> Vec<bool> {
        let lines = told["lines"].as_array().unwrap();
        lines.iter().map(|line| line["up"]["settings"]["blackhole"] == true).collect()
    };
    let (status, told) = fixture.post("/lines/edge/unicom", &json!({ "blackhole": true })).await;
    assert_eq!((status, &told["name"]), (200, &json!("edge/unicom")));
    assert_eq!(holes(&fixture.get("/lines/edge").await), [false, true]);
    let (status, told) = fixture.post("/lines/edge", &json!({ "preset": "blackhole" })).await;
    assert_eq!((status, holes(&told)), (200, vec![true, true]));
    // Wrong in one part, it changes no line.
    let wrong = json!({ "blackhole": false, "loss": 2 });
    assert_eq!(fixture.post("/lines/edge", &wrong).await.0, 400);
    assert_eq!(holes(&fixture.get("/lines").await), [true, true]);
    let (status, told) = fixture.post("/lines/edge/heal", &json!({})).await;
    assert_eq!((status, holes(&told)), (200, vec![false, false]));
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let fixture = Fixture::new(Settings::default()).await;
    let (status, said) = fixture.post("/lines/edge/telecom", &json!({ "loss": 2 })).await;
    assert_eq!(status, 400);
    assert_eq!(said["error"], "loss = \"2\" must be 0.0 to 1.0");
    let (status, said) = fixture.post("/lines/telecom", &json!({ "loss": 0.5 })).await;
    assert_eq!(status, 404);
    assert_eq!(said["error"], "no line or edge \"telecom\"; there are edge/telecom, edge/unicom");
    assert_eq!(fixture.post("/lines", &json!({})).await.0, 405);
    assert_eq!(fixture.post("/linesmen", &json!({})).await.0, 404);
    let long = json!({ "loss": "0".repeat(20_000) });
    assert_eq!(fixture.post("/lines/edge/telecom", &long).await.0, 413);
    let http = Http::new(None).unwrap();
    let url = format!("{}/lines/edge/telecom", fixture.admin);
    let page = http.post(&url, &[("origin", "http://evil.example")], "{}").await.unwrap();
    assert_eq!(page.status, 403);
    assert_eq!(http.get(&url).await.unwrap().status, 200);
    fixture.stop().await;
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let taken = UdpSocket::bind(loopback()).await.unwrap();
    let listen = taken.local_addr().unwrap();
    let line = LineConfig {
        name: "bj".to_owned(),
        listen,
        target: listen,
        own: Both::default(),
        preset: Preset::Clean,
    };
    let clients = Clients::new(1, PATIENCE);
    let error = open_line(line, 1, clients).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {listen} for line bj"));
}
