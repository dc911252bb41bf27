//! Operators at a whole svrlist on sockets of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shared::wire::control::{Down, down};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::WAITING_MAX;
use crate::config::Config;
use crate::fixture;
use crate::io::Svrlist;
use crate::io::tests::{EdgeLine, PATIENCE, Pki, Running, until};

const KEY: &str = "authorization: Bearer 0123456789abcdef";
const LOOK: &str = "authorization: Bearer fedcba9876543210";

impl Running {
    /// Status, head and body of the answer to a request.
    async fn ask(&self, what: &str, headers: &[&str], body: Value) -> (u16, String, Value) {
        let mut stream = TcpStream::connect(self.addresses.listen).await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!(
            "{what} HTTP/1.1\r\nhost: list\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn change(&self, what: &str, body: Value) -> Value {
        let (status, _, answer) = self.ask(what, &[KEY], body).await;
        assert_eq!(status, 200, "{what}: {answer}");
        answer
    }

    /// Which share of many users is told an edge of this zone first.
    async fn share(&self, edge: &str) -> f64 {
        let mut first = 0;
        for user in 0..USERS {
            let path = format!("GET /svrlist?uid={user}");
            let (_, _, answer) = self.ask(&path, &[], Value::Null).await;
            first += u32::from(answer["servers"][0]["id"] == edge);
        }
        f64::from(first) / f64::from(USERS)
    }
}

const USERS: u32 = 300;

fn config(pki: &Pki) -> Config {
    let mut config = pki.config();
    let text = r#"
        [operator.ann]
        password = "correct horse"
        key = "0123456789abcdef"
        role = "admin"
        [operator.bob]
        key = "fedcba9876543210"
    "#;
    config.operators = crate::config::tests::config(text).unwrap().operators;
    config.dashboard.open = false;
    config
}

async fn zoned(pki: &Pki, running: &Running, name: &str, zone: &str) -> EdgeLine {
    let mut edge = EdgeLine::open(pki, name, running.addresses.line).await;
    let mut report = fixture::report(name, "110000", "telecom");
    report.zone = zone.to_owned();
    report.site = "bj".to_owned();
    edge.report(report).await;
    edge
}

#[tokio::test]
async fn a_person_signs_in_changes_something_and_signs_out() {
    let pki = Pki::new();
    let running = Running::start(config(&pki)).await;
    let wrong = json!({"name": "ann", "password": "battery staple"});
    assert_eq!(running.ask("POST /api/session", &[], wrong.clone()).await.0, 401);
    let foreign = ["origin: http://evil"];
    assert_eq!(running.ask("POST /api/session", &foreign, wrong).await.0, 403);
    let right = json!({"name": "ann", "password": "correct horse"});
    let (status, head, session) = running.ask("POST /api/session", &[], right).await;
    assert_eq!((status, &session["operator"]["role"]), (200, &"admin".into()), "{session}");
    assert!(head.contains("httponly; samesite=strict"), "{head}");
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    let (_, cookie) = head.split_once("set-cookie: ").unwrap();
    // The head was made lower case, the token not: it is asked for again as it was sent.
    assert!(cookie.starts_with("linecast_session="));
    let cookie = signed_in(&running).await;

    let drain = json!({"edge": "bj-1"});
    let with = |line: &'static str| [cookie.clone(), line.to_owned()];
    for (line, status) in
        [("x: y", 403), ("origin: http://evil", 403), ("origin: http://list", 200)]
    {
        let headers = with(line);
        let headers = [headers[0].as_str(), headers[1].as_str()];
        let answer = running.ask("POST /api/control/drain", &headers, drain.clone()).await;
        assert_eq!(answer.0, status, "{line}: {}", answer.2);
    }
    let here = with("origin: http://list");
    let here = [here[0].as_str(), here[1].as_str()];
    assert_eq!(running.ask("DELETE /api/session", &here, Value::Null).await.0, 204);
    assert_eq!(running.ask("GET /api/audit", &here, Value::Null).await.0, 401);
    let (_, _, told) = running.ask("GET /api/session", &here, Value::Null).await;
    assert_eq!(told["operator"], Value::Null);

    let (_, _, audit) = running.ask("GET /api/audit?limit=20", &[LOOK], Value::Null).await;
    let entries: Vec<String> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {} {}", entry["who"], entry["action"], entry["outcome"]))
        .collect();
    assert_eq!(
        entries,
        [
            r#""ann" "sign-out" "ok""#,
            r#""ann" "change" "ok""#,
            r#""ann" "change" "refused""#,
            r#""ann" "change" "refused""#,
            r#""ann" "sign-in" "ok""#,
            r#""ann" "sign-in" "ok""#,
            r#""ann" "sign-in" "refused""#,
        ]
    );
    running.end().await;
}

/// The cookie header of a new session.
async fn signed_in(running: &Running) -> String {
    let mut stream = TcpStream::connect(running.addresses.listen).await.unwrap();
    let body = r#"{"name": "ann", "password": "correct horse"}"#;
    let request = format!(
        "POST /api/session HTTP/1.1\r\nhost: list\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (_, cookie) = response.split_once("linecast_session=").unwrap();
    format!("cookie: linecast_session={}", cookie.split(';').next().unwrap())
}

#[tokio::test]
async fn passwords_cannot_be_guessed_fast() {
    let pki = Pki::new();
    let running = Running::start(config(&pki)).await;
    let mut statuses = Vec::new();
    for guess in 0..12 {
        let body = json!({"name": "ann", "password": format!("guess {guess}")});
        statuses.push(running.ask("POST /api/session", &[], body).await.0);
    }
    assert_eq!(statuses[..10], [401; 10]);
    let right = json!({"name": "ann", "password": "correct horse"});
    let (status, head, _) = running.ask("POST /api/session", &[], right).await;
    assert_eq!(status, 429, "not even the right one is looked at");
    assert!(head.contains("retry-after: "), "{head}");
    running.end().await;
}

#[tokio::test]
async fn an_operator_signs_in_where_they_are_known_while_strangers_keep_it_busy() {
    let pki = Pki::new();
    let mut config = config(&pki);
    let hash = crate::operators::hash("correct horse", [7; 16]).unwrap();
    let text = format!("[operator.ann]\npassword = \"{hash}\"\nrole = \"admin\"");
    config.operators = crate::config::tests::config(&text).unwrap().operators;
    config.answers.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    config.state.folder = Some(pki.folder.join("state"));
    let sign_in = async |running: &Running, from: String, password: &str| {
        let body = json!({"name": "ann", "password": password});
        let from = format!("x-forwarded-for: {from}");
        running.ask("POST /api/session", &[&from], body).await
    };
    let running = Running::start(config.clone()).await;
    let home = || "192.0.2.1".to_owned();
    assert_eq!(sign_in(&running, home(), "correct horse").await.0, 200);
    running.end().await;

    // A restart does not make her a stranger.
    let running = Arc::new(Running::start(config).await);
    let mut strangers = JoinSet::new();
    let refused = Arc::new(AtomicU32::new(0));
    for stranger in 0..3 * WAITING_MAX {
        let (running, refused) = (Arc::clone(&running), Arc::clone(&refused));
        strangers.spawn(async move {
            for guess in 0..u32::MAX {
                let from = format!("2001:db8:{stranger}:{}::1", guess % 0x1_0000);
                let name = format!("nobody-{stranger}-{guess}");
                let body = json!({"name": name, "password": "guess"});
                let from = format!("x-forwarded-for: {from}");
                let (status, head, _) = running.ask("POST /api/session", &[&from], body).await;
                if status == 503 {
                    assert!(head.contains("retry-after: "), "{head}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    for _ in 0..5 {
        let before = refused.load(Ordering::Relaxed);
        let busy = async {
            while refused.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, busy).await.unwrap();
        let (status, _, answer) = sign_in(&running, home(), "correct horse").await;
        assert_eq!(status, 200, "{answer}");
    }
    strangers.shutdown().await;
    Arc::into_inner(running).unwrap().end().await;
}

#[tokio::test]
async fn a_wrong_key_counts_once() {
    let pki = Pki::new();
    let running = Running::start(config(&pki)).await;
    let guess = async || {
        let zone = json!({"zone": "blue", "share": 10});
        running.ask("POST /api/control/zone", &["authorization: Bearer guess"], zone).await.0
    };
    for _ in 0..20 {
        assert_eq!(guess().await, 401);
    }
    // Some of them may be forgotten by now, one a second.
    let slowed = async { while guess().await != 429 {} };
    tokio::time::timeout(PATIENCE, slowed).await.unwrap();
    running.change("POST /api/control/zone", json!({"zone": "blue", "share": 10})).await;
    running.end().await;
}

#[tokio::test]
async fn what_is_too_large_says_nothing_of_a_short_key() {
    let pki = Pki::new();
    let mut config = config(&pki);
    let text = "[operator.dev]\nkey = \"dev\"\nrole = \"admin\"";
    config.operators = crate::config::tests::config(text).unwrap().operators;
    let running = Running::start(config).await;
    for key in ["dev", "guess"] {
        let request = format!(
            "PUT /api/control HTTP/1.1\r\nhost: list\r\nauthorization: Bearer {key}\r\n\
             content-length: 9000\r\nexpect: 100-continue\r\n\r\n"
        );
        let mut stream = TcpStream::connect(running.addresses.listen).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 413", "{key}");
    }
    running.end().await;
}

#[tokio::test]
async fn changes_need_an_admin_and_name_what_is_wrong() {
    let pki = Pki::new();
    let running = Running::start(config(&pki)).await;
    let status = async |what: &str, headers: &[&str], body: Value| {
        let (status, _, answer) = running.ask(what, headers, body).await;
        (status, answer)
    };
    let zone = json!({"zone": "blue", "share": 10});
    assert_eq!(status("POST /api/control/zone", &[], zone.clone()).await.0, 401);
    assert_eq!(status("POST /api/control/zone", &[LOOK], zone).await.0, 403);
    assert_eq!(status("GET /api/control", &[], Value::Null).await.0, 401);
    assert_eq!(status("GET /api/control", &[LOOK], Value::Null).await.1["revision"], 0);
    assert_eq!(status("GET /api/control/zone", &[KEY], Value::Null).await.0, 405);

    let (code, answer) =
        status("POST /api/control/zone", &[KEY], json!({"zone": "blue", "share": 101})).await;
    assert_eq!((code, &answer["faults"][0]["field"]), (400, &"zones.blue".into()), "{answer}");
    let (code, answer) = status("POST /api/control/drain", &[KEY], json!({"edgy": "a"})).await;
    assert!(code == 400 && answer["error"].as_str().unwrap().contains("edgy"), "{answer}");

    let put = json!({"weights": {"bj-9": 2}, "note": "more for bj-9"});
    assert_eq!(status("PUT /api/control", &[KEY], put.clone()).await.0, 428);
    let (code, answer) = status("PUT /api/control", &[KEY, "if-match: \"0\""], put.clone()).await;
    assert_eq!((code, &answer["revision"]), (200, &1.into()));
    assert_eq!(answer["warnings"], json!(["no edge called bj-9 is known"]));
    assert_eq!(answer["revisions"][0]["changes"], json!(["weight of bj-9: its own → 2"]));
    let (code, answer) = status("PUT /api/control", &[KEY, "if-match: 0"], put.clone()).await;
    assert_eq!((code, &answer["revision"]), (412, &1.into()));
    let (_, answer) = status("PUT /api/control", &[KEY, "if-match: 1"], put).await;
    assert_eq!(answer["revision"], 1, "what changes nothing is no revision");

    // Larger than what strangers may send.
    let weights: serde_json::Map<String, Value> =
        (0..5_000).map(|edge| (format!("edge-{edge}"), json!(1))).collect();
    let large = json!({"weights": weights});
    assert_eq!(status("PUT /api/control", &[LOOK, "if-match: 1"], large.clone()).await.0, 413);
    assert_eq!(status("PUT /api/control", &[KEY, "if-match: 1"], large).await.0, 200);
    let (code, answer) = status("POST /api/control/rollback", &[KEY], json!({"revision": 7})).await;
    assert_eq!((code, &answer["error"]), (404, &"revision 7 is not kept; 0 to 2 are".into()));
    running.end().await;
}

#[tokio::test]
async fn a_zone_gets_the_share_that_it_is_given_and_none_after_a_rollback() {
    let pki = Pki::new();
    let running = Running::start(config(&pki)).await;
    let _green = zoned(&pki, &running, "bj-1", "green").await;
    let _blue = zoned(&pki, &running, "bj-2", "blue").await;
    until(running.addresses.listen, "/svrlist", |answer| {
        answer["servers"].as_array().is_some_and(|servers| servers.len() == 2)
    })
    .await;
    let near = |share: f64, percent: f64| (share - percent / 100.0).abs() < 0.08;
    let set = async |share: Value| {
        running.change("POST /api/control/zone", json!({"zone": "blue", "share": share})).await
    };
    let answer = set(json!(10)).await;
    let zones = answer["zones"].as_array().unwrap();
    assert_eq!((&zones[0]["zone"], &zones[0]["share"]), (&"blue".into(), &10.0.into()));
    assert!(zones[0]["versions"][0].is_string() && zones[0]["edges"] == json!(["bj-2"]));
    let share = running.share("bj-2").await;
    assert!(near(share, 10.0), "{share}");
    set(json!(50)).await;
    let share = running.share("bj-2").await;
    assert!(near(share, 50.0), "{share}");
    set(json!(0)).await;
    assert_eq!(running.share("bj-2").await, 0.0);
    running.change("POST /api/control/rollback", json!({"revision": 2})).await;
    let share = running.share("bj-2").await;
    assert!(near(share, 50.0), "{share}");
    running.change("POST /api/control/rollback", json!({"revision": 1})).await;
    let share = running.share("bj-2").await;
    assert!(near(share, 10.0), "{share}");
    running.end().await;
}

async fn drain_rate(edge: &mut EdgeLine) -> f64 {
    let hearing = async {
        loop {
            let told = edge.call.down.receive().await.unwrap().unwrap();
            if let Down { kind: Some(down::Kind::Drain(drain)), .. } = told {
                return drain.rate_per_s;
            }
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.unwrap()
}

#[tokio::test]
async fn edges_are_told_to_drain_on_every_line_until_they_are_not() {
    let pki = Pki::new();
    let running = Running::start(config(&pki)).await;
    let mut edge = zoned(&pki, &running, "bj-1", "blue").await;
    assert_eq!(drain_rate(&mut edge).await, 0.0, "a new line begins with what is wanted");
    let drain = async |body: Value| running.change("POST /api/control/drain", body).await;
    drain(json!({"edge": "bj-1", "rate": 3})).await;
    assert_eq!(drain_rate(&mut edge).await, 3.0);
    drain(json!({"site": "bj", "rate": 20})).await;
    assert_eq!(drain_rate(&mut edge).await, 20.0);
    drop(edge);
    let mut edge = zoned(&pki, &running, "bj-1", "blue").await;
    assert_eq!(drain_rate(&mut edge).await, 20.0, "repeated on the new line");
    drain(json!({"site": "bj", "drained": false})).await;
    assert_eq!(drain_rate(&mut edge).await, 3.0);
    drain(json!({"edge": "bj-1", "drained": false})).await;
    assert_eq!(drain_rate(&mut edge).await, 0.0);
    running.end().await;
}

#[tokio::test]
async fn what_is_wanted_survives_a_restart() {
    let pki = Pki::new();
    let mut config = config(&pki);
    config.state.folder = Some(pki.folder.join("state"));
    let running = Running::start(config.clone()).await;
    running.change("POST /api/control/zone", json!({"zone": "blue", "share": 10})).await;
    let before = running.change("POST /api/control/drain", json!({"zone": "blue"})).await;
    running.end().await;
    let running = Running::start(config).await;
    let (_, _, after) = running.ask("GET /api/control", &[LOOK], Value::Null).await;
    for key in ["revision", "digest", "control", "revisions"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let (_, _, audit) = running.ask("GET /api/audit", &[LOOK], Value::Null).await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 2);
    assert_eq!(audit["entries"][0]["detail"], json!(["zone blue: not drained → drained at 50/s"]));
    let (_, _, page) = running.ask("GET /api/audit?before=2", &[LOOK], Value::Null).await;
    assert_eq!(page["entries"][0]["revision"], 1);
    running.end().await;
}

#[tokio::test]
async fn a_file_has_the_last_word_on_what_it_names_and_a_broken_one_has_none() {
    let pki = Pki::new();
    let mut config = config(&pki);
    let file: PathBuf = pki.write("control.toml", "[zones.blue]\nshare = 10\n");
    config.control.file = Some(file.clone());
    config.control.poll = Duration::from_millis(100);
    let running = Running::start(config.clone()).await;
    let control = async |holds: &dyn Fn(&Value) -> bool| {
        let asking = async {
            loop {
                let (_, _, told) = running.ask("GET /api/control", &[LOOK], Value::Null).await;
                if holds(&told) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap()
    };
    let told = control(&|_| true).await;
    assert_eq!(told["control"]["zones"]["blue"]["share"], 10.0);
    assert_eq!(told["file"]["parts"], json!(["zones"]));

    let zone = json!({"zone": "blue", "share": 20});
    let (status, _, answer) = running.ask("POST /api/control/zone", &[KEY], zone).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("control.file has zones"), "{answer}");
    running.change("POST /api/control/drain", json!({"edge": "bj-1"})).await;

    pki.write("control.toml", "[zones.blue]\nshare = 1000\n");
    let told = control(&|told| told["file_error"].is_string()).await;
    let error = told["file_error"].as_str().unwrap();
    assert!(error.starts_with("zones.blue is 1000, must be a number from 0 to 100"), "{error}");
    assert_eq!(told["control"]["zones"]["blue"]["share"], 10.0, "the old state stays");

    pki.write("control.toml", "[zones.blue]\nshare = 30\n");
    let told = control(&|told| told["file_error"].is_null()).await;
    assert_eq!(told["control"]["zones"]["blue"]["share"], 30.0);
    assert!(told["control"]["drained"]["edges"]["bj-1"].is_object(), "the rest is the API's");
    assert_eq!(told["revisions"][0]["who"], "file");
    let back = running.change("POST /api/control/rollback", json!({"revision": 1})).await;
    assert_eq!(back["control"]["zones"]["blue"]["share"], 30.0, "the file's stays");
    assert!(back["control"]["drained"]["edges"]["bj-1"].is_null());
    running.end().await;

    pki.write("control.toml", "zones = 1");
    let error = Svrlist::open(config).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("control.toml: zones"), "{cause}");
}

#[tokio::test]
async fn a_change_is_written_down_whoever_hangs_up() {
    let pki = Pki::new();
    let mut config = config(&pki);
    let folder = pki.folder.join("state");
    config.state.folder = Some(folder.clone());
    let running = Running::start(config).await;
    for share in 1..=HANGING_UP {
        let body = json!({ "zone": "blue", "share": share }).to_string();
        let request = format!(
            "POST /api/control/zone HTTP/1.1\r\nhost: list\r\n{KEY}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(running.addresses.listen).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // Until it is in force, which is before it is written down: the hanging up meets that.
        tokio::time::timeout(PATIENCE, until_revision(&running, share)).await.unwrap();
        stream.set_zero_linger().unwrap();
    }
    let written = || {
        let text = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap_or_default();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter(|entry| entry["action"] == "change" && entry["outcome"] == "ok").count()
    };
    let all = async {
        while written() as u64 != HANGING_UP {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("every change is in the audit log's file");
    running.end().await;
}

const HANGING_UP: u64 = 20;

#[tokio::test]
async fn no_change_is_left_in_the_middle_by_an_end() {
    let pki = Pki::new();
    let mut config = config(&pki);
    let folder = pki.folder.join("state");
    config.state.folder = Some(folder.clone());
    let running = Running::start(config).await;
    let disk = SlowDisk::new(&folder);
    let body = json!({ "zone": "blue", "share": 1 }).to_string();
    let request = format!(
        "POST /api/control/zone HTTP/1.1\r\nhost: list\r\n{KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(running.addresses.listen).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, until_revision(&running, 1)).await.unwrap();
    stream.set_zero_linger().unwrap();
    drop(stream);
    let mut ending = std::pin::pin!(running.end());
    let ended = tokio::time::timeout(Duration::from_millis(500), &mut ending).await;
    disk.take();
    assert!(ended.is_err(), "the change is not yet kept");
    ending.await;
    let written = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    assert_eq!(written.lines().count(), 1, "{written}");
}

/// A disk that takes nothing: whoever keeps the control waits until somebody takes it.
struct SlowDisk(PathBuf);

impl SlowDisk {
    fn new(folder: &Path) -> Self {
        let pipe = folder.join("control.new");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        Self(pipe)
    }

    fn take(self) {
        let reader = std::fs::File::open(&self.0).unwrap();
        std::fs::remove_file(&self.0).unwrap();
        std::io::read_to_string(reader).unwrap();
    }
}

#[tokio::test]
async fn what_a_broken_file_had_stays_its_own_across_a_restart() {
    let pki = Pki::new();
    let mut config = config(&pki);
    config.control.file = Some(pki.write("control.toml", "[zones.blue]\nshare = 10\n"));
    config.state.folder = Some(pki.folder.join("state"));
    let running = Running::start(config.clone()).await;
    let entries = async |running: &Running| -> Vec<Value> {
        let (_, _, audit) = running.ask("GET /api/audit", &[LOOK], Value::Null).await;
        audit["entries"].as_array().unwrap().clone()
    };
    let first = &entries(&running).await[0];
    assert_eq!(
        (&first["who"], &first["outcome"], &first["revision"]),
        (&"file".into(), &"ok".into(), &1.into())
    );
    assert_eq!(first["detail"], json!(["share of zone blue: what is left → 10 %"]));
    running.end().await;

    pki.write("control.toml", "[zones.blue]\nshare = 1000\n");
    let running = Running::start(config.clone()).await;
    let zone = json!({"zone": "blue", "share": 20});
    let (status, _, answer) = running.ask("POST /api/control/zone", &[KEY], zone).await;
    assert_eq!(status, 409, "{answer}");
    running.change("POST /api/control/drain", json!({"edge": "bj-1"})).await;
    let outcomes: Vec<String> = entries(&running)
        .await
        .iter()
        .map(|entry| format!("{} {}", entry["who"], entry["outcome"]))
        .collect();
    assert_eq!(
        outcomes,
        [r#""ann" "ok""#, r#""ann" "refused""#, r#""file" "refused""#, r#""file" "ok""#]
    );
    running.end().await;

    // Without a file everything is the API's.
    config.control.file = None;
    let running = Running::start(config).await;
    running.change("POST /api/control/zone", json!({"zone": "blue", "share": 20})).await;
    running.end().await;
}

#[tokio::test]
async fn who_reads_does_not_wait_for_the_disk() {
    let pki = Pki::new();
    let mut config = config(&pki);
    let folder = pki.folder.join("state");
    config.state.folder = Some(folder.clone());
    let running = Arc::new(Running::start(config).await);
    let disk = SlowDisk::new(&folder);
    let mut writers = JoinSet::new();
    for body in [json!({"edge": "bj-1"}), json!({"edge": "bj-2"})] {
        let running = Arc::clone(&running);
        writers.spawn(async move { running.change("POST /api/control/drain", body).await });
    }
    let seen = async {
        until_revision(&running, 1).await;
        running.ask("GET /api/audit", &[LOOK], Value::Null).await.2
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    let written = writers.try_join_next();
    // Nothing could end before this, not even a failed test.
    disk.take();
    assert_eq!(seen.expect("readers are answered")["entries"], json!([]));
    assert!(written.is_none(), "both wait, the second for the first: {written:?}");
    while let Some(answer) = writers.join_next().await {
        answer.unwrap();
    }
    until_revision(&running, 2).await;
    Arc::into_inner(running).unwrap().end().await;
}

async fn until_revision(running: &Running, revision: u64) {
    while running.ask("GET /api/control", &[LOOK], Value::Null).await.2["revision"] != revision {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
