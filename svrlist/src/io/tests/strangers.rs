//! What strangers may send to a real svrlist: forged and repeated reports, floods, spoofed addresses, heads and
//! bodies that are too large or too slow. Each is refused with a reason and counted, and what others are
//! told stays as it was.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::contract::{exchange, send, svrlist};
use super::*;

const SETTINGS: &str = "trusted_proxies = [\"127.0.0.1\"]\n[cell_token]\nsecret = \"s\"";

/// A token with these claims, signed with `secret`.
fn token(secret: &str, algorithm: Algorithm, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

fn seconds_from_now(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs() as i64 + offset
}

fn claims(cell: (&str, &str), expires_in: i64) -> Value {
    let exp = seconds_from_now(expires_in);
    json!({ "aud": "linecast-cell", "region": cell.0, "carrier": cell.1, "exp": exp })
}

const BEIJING: (&str, &str) = ("110000", "telecom");

/// A report from an address; the status of the answer.
async fn report(at: Addresses, from: &str, token: &str, session: usize, row: Value) -> u16 {
    let body = json!({ "token": token, "session": format!("{session:032}"), "reports": [row] });
    let from = [("x-forwarded-for", from)];
    exchange(at.listen, "POST", "/report", &from, body.to_string().as_bytes()).await.status
}

/// How often a counter with this label was counted.
async fn counted(at: Addresses, name: &str) -> u64 {
    let (_, metrics) = get_text(at.admin, "/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

fn told(outcome: &str) -> String {
    format!("linecast_svrlist_client_reports_total{{outcome=\"{outcome}\"}}")
}

/// Waits until svrlist has learnt that there is the edge: with its next lesson. Answers how many reports it
/// has heard till then.
async fn acquainted(at: Addresses) -> u64 {
    let known = async {
        for session in 1_000_000.. {
            let token = token("s", Algorithm::HS256, &claims(("310000", "unicom"), 600));
            report(at, "127.0.2.1", &token, session, json!({ "edge": "bj-1" })).await;
            match counted(at, &told("heard")).await {
                0 => tokio::time::sleep(Duration::from_millis(50)).await,
                heard => return heard,
            }
        }
        0
    };
    tokio::time::timeout(PATIENCE, known).await.unwrap()
}

#[tokio::test]
async fn tokens_that_svrlist_did_not_give_are_refused() {
    let pki = Pki::new();
    let (running, _edge) = svrlist(&pki, SETTINGS, true).await;
    let at = running.addresses;
    let good = get(at.listen, "/svrlist").await.1["token"].as_str().unwrap().to_owned();
    let (head, rest) = good.split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let body = |claims: &Value| {
        let sealed = token("x", Algorithm::HS256, claims);
        sealed.split('.').nth(1).unwrap().to_owned()
    };
    let elsewhere = body(&claims(("440100", "mobile"), 600));
    let mut other_audience = claims(BEIJING, 600);
    other_audience["aud"] = json!("linecast");
    let forged = [
        String::new(),
        "a.b.c".to_owned(),
        "x".repeat(4000),
        token("another secret", Algorithm::HS256, &claims(BEIJING, 600)),
        // Another hash with the right secret, and none at all ({"alg":"none"}).
        token("s", Algorithm::HS512, &claims(BEIJING, 600)),
        format!("eyJhbGciOiJub25lIn0.{elsewhere}."),
        // The cell of somebody else under the good signature.
        format!("{head}.{elsewhere}.{signature}"),
        token("s", Algorithm::HS256, &other_audience),
        token("s", Algorithm::HS256, &json!({ "aud": "linecast-cell" })),
        token("s", Algorithm::HS256, &claims(("no", "such"), 600)),
        // It has run out: an hour ago, and just now.
        token("s", Algorithm::HS256, &claims(BEIJING, -3600)),
        token("s", Algorithm::HS256, &claims(BEIJING, -1)),
    ];
    for (at_most, forged) in (1..).zip(&forged) {
        let status = report(at, "127.1.1.1", forged, 1, json!({ "edge": "bj-1" })).await;
        assert_eq!(status, 401, "{forged}");
        assert_eq!(counted(at, &told("token")).await, at_most);
    }
    assert_eq!(counted(at, &told("heard")).await, 0);
    let heard = acquainted(at).await;
    let strange = counted(at, &told("edge")).await;
    assert_eq!(report(at, "127.1.1.1", &good, 1, json!({ "edge": "bj-1" })).await, 204);
    assert_eq!(counted(at, &told("heard")).await, heard + 1);
    // The same words again, from the same and from another address.
    for from in ["127.1.1.1", "127.8.8.8"] {
        assert_eq!(report(at, from, &good, 1, json!({ "edge": "bj-1" })).await, 429);
    }
    assert_eq!(counted(at, &told("again")).await, 2);
    assert_eq!(report(at, "127.1.1.1", &good, 2, json!({ "edge": "nobody's" })).await, 204);
    assert_eq!(counted(at, &told("edge")).await, strange + 1);
    running.end().await;
}

/// What svrlist thinks of its first server for a client from `from`.
async fn explained(at: Addresses, from: &str) -> Value {
    let from = [("x-forwarded-for", from)];
    let answer = exchange(at.listen, "GET", "/svrlist?explain=1", &from, b"").await;
    assert_eq!(answer.status, 200);
    answer.json()["servers"][0]["explain"].clone()
}

#[tokio::test]
async fn a_flood_from_one_network_says_little_and_of_its_own_cell_alone() {
    let pki = Pki::new();
    let (running, _edge) = svrlist(&pki, SETTINGS, true).await;
    let at = running.addresses;
    let liar = token("s", Algorithm::HS256, &claims(("440100", "mobile"), 600));
    let honest = token("s", Algorithm::HS256, &claims(BEIJING, 600));
    let bad = json!({ "edge": "bj-1", "attempts": 1000, "failures": 1000, "drops": 1000 });
    let good = json!({ "edge": "bj-1", "attempts": 1, "seconds": 60 });
    const FLOOD: usize = 600;
    acquainted(at).await;
    for n in 0..FLOOD {
        report(at, &format!("127.0.3.{}", n % 256), &liar, n, bad.clone()).await;
        // Those who are many live in many networks.
        if n % 6 == 0 {
            report(at, &format!("127.{}.9.1", 1 + n % 200), &honest, FLOOD + n, good.clone()).await;
        }
    }
    let (heard, refused) = (counted(at, &told("heard")).await, counted(at, &told("prefix")).await);
    assert!(refused > (FLOOD as u64) * 9 / 10, "{refused} refused, {heard} heard");
    // Learning has its tick.
    let known = async {
        while explained(at, "127.5.5.5").await["reports"].as_f64().unwrap() < 10.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, known).await.unwrap();
    let (lied_of, other) = (explained(at, "127.0.3.9").await, explained(at, "127.5.5.5").await);
    assert!(lied_of["reports"].as_f64().unwrap() < 4.0, "{lied_of}");
    assert!(other["mean"].as_f64().unwrap() < 2.0, "{other}");
    running.end().await;
}

/// The cell that an answer places its client in.
async fn cell(at: Addresses, forwarded: &[(&str, &str)]) -> String {
    let answer = exchange(at.listen, "GET", "/svrlist", forwarded, b"").await.json();
    let word = |name: &str| answer["cell"][name].as_str().unwrap().to_owned();
    format!("{}/{}", word("region"), word("carrier"))
}

#[tokio::test]
async fn addresses_are_believed_as_far_as_proxies_are_trusted() {
    let pki = Pki::new();
    let (running, _edge) = svrlist(&pki, "", true).await;
    let at = running.addresses;
    let mobile = [("x-forwarded-for", "127.0.3.9")];
    assert_eq!(cell(at, &mobile).await, "110000/telecom", "no proxy is trusted");
    running.end().await;

    let trusts = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";
    let (running, _edge) = svrlist(&pki, trusts, true).await;
    let at = running.addresses;
    assert_eq!(cell(at, &mobile).await, "440100/mobile");
    let long = "6.6.6.6, ".repeat(1500);
    for (hops, is) in [
        // What stands left of the last stranger was written by that stranger.
        ("127.0.2.5, 127.0.3.9", "440100/mobile"),
        ("127.0.2.5, 127.0.3.9, 10.1.1.1, 127.0.0.1", "440100/mobile"),
        ("127.0.3.9, unknown, 10.1.1.1", "unknown/unknown"),
        ("127.0.3.9, 999.1.1.1", "110000/telecom"),
        (", , ,", "110000/telecom"),
        (&format!("{long}127.0.3.9"), "440100/mobile"),
        (&"127.0.0.1, ".repeat(1300), "110000/telecom"),
    ] {
        assert_eq!(cell(at, &[("x-forwarded-for", hops)]).await, is, "{hops:.60}");
    }
    let lines = [("x-forwarded-for", "127.0.2.5"), ("x-forwarded-for", "127.0.3.9")];
    assert_eq!(cell(at, &lines).await, "440100/mobile", "lines are one list");
    running.end().await;
}

fn answered(status: u16) -> String {
    format!("linecast_svrlist_http_requests_total{{status=\"{status}\"}}")
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_is_refused_and_counted() {
    let pki = Pki::new();
    let settings =
        format!("{SETTINGS}\n[http]\nbody_deadline = \"200ms\"\nhead_deadline = \"200ms\"");
    let (running, _edge) = svrlist(&pki, &settings, true).await;
    let at = running.addresses;
    let post = |head: &str| format!("POST /report HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");

    let head = [("x-much", "y".repeat(20_000))];
    let head = head.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(exchange(at.listen, "GET", "/svrlist", &head, b"").await.status, 431);
    let long = format!("/svrlist?room={}", "x".repeat(20_000));
    assert!(matches!(exchange(at.listen, "GET", &long, &[], b"").await.status, 414 | 431));

    let large = vec![b' '; 9000];
    assert_eq!(exchange(at.listen, "POST", "/report", &[], &large).await.status, 413);
    for declared in ["content-length: 1000000000000", "content-length: 8193"] {
        // No byte of it is awaited.
        let answer = send(at.listen, post(declared).as_bytes()).await;
        assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    }
    let mut chunked = post("transfer-encoding: chunked").into_bytes();
    for _ in 0..10 {
        chunked.extend_from_slice(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes());
    }
    assert_eq!(send(at.listen, &chunked).await.status, 413);
    assert_eq!(counted(at, &answered(413)).await, 4);

    let slow = send(at.listen, format!("{}{{", post("content-length: 100")).as_bytes()).await;
    assert_eq!(slow.status, 408);
    assert_eq!(counted(at, &answered(408)).await, 1);

    // A head that does not end, byte by byte.
    let mut stream = TcpStream::connect(at.listen).await.unwrap();
    let mut ended = false;
    for byte in b"GET /svrlist HTTP/1.1\r\n".iter().chain([b'x'; 200].iter()) {
        if stream.write_all(&[*byte]).await.is_err() {
            ended = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(ended || closed.is_err() || !rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");

    for nonsense in [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let nonsense = [nonsense, b"\r\n\r\n"].concat();
        assert_eq!(send(at.listen, &nonsense).await.status, 400);
    }
    // Deep nesting, numbers beyond all bounds, and what is no UTF-8.
    let deep = format!("{}1{}", "[".repeat(4000), "]".repeat(4000));
    let huge = r#"{"token":"t","session":"12345678","reports":[{"edge":"bj-1","rtt_ms":1e999}]}"#;
    for body in [deep.as_bytes(), huge.as_bytes(), b"{\"token\":\"\xff\"}"] {
        assert_eq!(exchange(at.listen, "POST", "/report", &[], body).await.status, 400);
    }
    assert_eq!(counted(at, &told("malformed")).await, 3);
    assert_eq!(get(at.listen, "/svrlist").await.0, 200);
    running.end().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let pki = Pki::new();
    let (running, _edge) = svrlist(&pki, "", true).await;
    let at = running.addresses;
    const COUNT: usize = 500;
    let mut requests = String::new();
    for n in 0..COUNT {
        // Every third is refused, and says what it was.
        let query = if n % 3 == 0 { format!("explain=x{n}") } else { "explain=0".to_owned() };
        let end = if n + 1 == COUNT { "connection: close\r\n" } else { "" };
        requests += &format!("GET /svrlist?{query} HTTP/1.1\r\nhost: x\r\n{end}\r\n");
    }
    let mut stream = TcpStream::connect(at.listen).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answers = Vec::new();
    let asked = write.write_all(requests.as_bytes());
    let (asked, answered) = tokio::join!(asked, read.read_to_end(&mut answers));
    asked.unwrap();
    answered.unwrap();
    let answers = String::from_utf8(answers).unwrap();
    let answers: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(answers.len(), COUNT);
    for (n, answer) in answers.iter().enumerate() {
        let refused = n % 3 == 0;
        assert!(answer.starts_with(if refused { "400" } else { "200" }), "{n}: {answer}");
        assert!(!refused || answer.contains(&format!("\"x{n}\"")), "{n}: {answer}");
    }
    running.end().await;
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let pki = Pki::new();
    let settings = "[http]\nconnections_per_address_max = 5";
    let (running, _edge) = svrlist(&pki, settings, true).await;
    let at = running.addresses;
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(TcpStream::connect(at.listen).await.unwrap());
    }
    // Fifteen are closed without a word; at least those after the first five.
    for stream in &mut open[5..] {
        let _ = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
    }
    let refused =
        "linecast_svrlist_http_refused_connections_total{reason=\"connections_per_address_max\"}";
    assert!(counted(at, refused).await >= 15);
    drop(open);
    let answered = until_text(at.admin, "/metrics", |metrics| {
        metrics.contains("linecast_svrlist_http_connections 0\n")
    });
    answered.await;
    assert_eq!(get(at.listen, "/svrlist").await.0, 200);
    running.end().await;
}
