//! HTTP heads: what asks for a WebSocket, and what else comes.

use bytes::BytesMut;
use edge::upgrade::{Config, Endpoint, HEAD_BYTES_MAX, Head, OriginPattern, Upgrade, read};
use shared::address;

use super::choices::{Choices, seed};

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let origins = choices.one_of(&[&[][..], &["*"], &["https://*.example.com"]]);
    let config = Config {
        origins: origins.iter().filter_map(|origin| OriginPattern::parse(origin)).collect(),
        goim: choices.byte().is_multiple_of(2),
    };
    let pieces = choices.pieces();
    let bytes = choices.rest();
    let whole = feed(&[bytes], &config);
    assert_eq!(feed(&pieces.cut(bytes), &config), whole, "cutting it changes nothing");
    match whole {
        (Head::More, _) => assert!(bytes.len() < HEAD_BYTES_MAX, "heads are bounded"),
        (Head::Refused(answer), _) => check_refusal(&answer),
        (Head::Upgrade(upgrade), head_bytes) => {
            assert!(head_bytes <= HEAD_BYTES_MAX);
            check_upgrade(&upgrade, &bytes[..head_bytes], origins, &config);
        }
    }
}

/// What the pieces come to, and of how many bytes the head was.
fn feed(pieces: &[&[u8]], config: &Config) -> (Head, usize) {
    let mut input = BytesMut::new();
    let mut fed = 0;
    for piece in pieces {
        input.extend_from_slice(piece);
        fed += piece.len();
        let before = input.clone();
        match read(&mut input, config) {
            Head::More => assert_eq!(input, before, "what is incomplete stays"),
            Head::Refused(answer) => return (Head::Refused(answer), 0),
            upgrade @ Head::Upgrade(_) => return (upgrade, fed - input.len()),
        }
    }
    (Head::More, 0)
}

/// An answer is one whole response that ends the connection, and no longer than what we may have
/// written ourselves.
fn check_refusal(answer: &str) {
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a text");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a status line");
    assert!(status.starts_with("HTTP/1.1 4") || status.starts_with("HTTP/1.1 505"), "{status}");
    assert!(lines.clone().any(|line| line == "Connection: close"));
    let length = lines.find_map(|line| line.strip_prefix("Content-Length: "));
    assert_eq!(length, Some(text.len().to_string().as_str()));
    assert!(answer.is_ascii() && answer.len() < 512, "{answer}");
}

fn check_upgrade(upgrade: &Upgrade, head: &[u8], origins: &[&str], config: &Config) {
    let mut answer = BytesMut::new();
    upgrade.put_answer(&mut answer);
    let answer = std::str::from_utf8(&answer).expect("text");
    let lines: Vec<&str> = answer.split("\r\n").collect();
    let accept = lines[3].strip_prefix("Sec-WebSocket-Accept: ").expect("the hash of the key");
    assert!(
        accept.len() == 28
            && accept.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
    );
    let start = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
    assert_eq!(lines[..3], start);
    match lines[4..] {
        ["", ""] => assert_eq!(upgrade.subprotocol, None),
        [chosen, "", ""] => {
            let chosen = chosen.strip_prefix("Sec-WebSocket-Protocol: ").expect("a subprotocol");
            assert!(["centrifuge-json", "centrifuge-protobuf"].contains(&chosen));
            let offered = head.windows(chosen.len()).any(|offer| offer == chosen.as_bytes());
            assert!(offered, "only what was offered is chosen");
        }
        _ => panic!("{lines:?}"),
    }

    let text = String::from_utf8_lossy(head).to_lowercase();
    assert!(text.starts_with("get ") || text.trim_start().starts_with("get "), "{text}");
    assert!(config.goim || upgrade.endpoint != Endpoint::Goim, "goim is off");
    // Browsers tell their page's origin: where none is admitted, none comes in.
    let origin = text.split('\n').find_map(|line| line.strip_prefix("origin:")).map(str::trim);
    match (origin, origins) {
        (None, _) | (Some(_), ["*"]) => {}
        (Some(origin), []) => panic!("a page of {origin} came in"),
        (Some(origin), _) => {
            let host = origin.strip_prefix("https://").expect("the scheme is the pattern's");
            assert!(host.ends_with(".example.com"), "{host}");
            assert!(!host.contains(['/', '\\', ':', '@', '?', '#', '[', ']']), "{host}");
        }
    }

    // Whoever is not trusted does not choose its address.
    let told = upgrade.forwarded_for.as_deref();
    let peer = [203, 0, 113, 7].into();
    assert_eq!(address::forwarded(peer, told.into_iter(), &[]), peer);
    let everyone = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
    let believed = address::forwarded(peer, told.into_iter(), &everyone);
    assert_eq!(address::canonical(believed), believed);
    if told.is_none() {
        assert_eq!(believed, peer);
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade =
        format!("Host: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n{key}");
    let mut long = format!("GET /sub HTTP/1.1\r\n{upgrade}");
    while long.len() < HEAD_BYTES_MAX {
        long +=
            "Cookie: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
    }
    let heads = [
        format!("GET /sub HTTP/1.1\r\n{upgrade}\r\n\x02\x03"),
        format!("GET /sub?a=b HTTP/1.1\n{}\n", upgrade.replace("\r\n", "\n")),
        format!(
            "GET /connection/websocket?cf_protocol=protobuf HTTP/1.1\r\n{upgrade}\
             Sec-WebSocket-Protocol: x, centrifuge-protobuf\r\n\r\n"
        ),
        format!(
            "GET http://a:80/connection/websocket?format=json HTTP/1.1\r\n{upgrade}\
             Sec-WebSocket-Protocol: centrifuge-json\r\nOrigin: https://a.example.com\r\n\
             X-Forwarded-For: 1.2.3.4, [::1]:80\r\nX-Forwarded-For: \"5.6.7.8\"\r\n\r\n"
        ),
        format!("GET /sub HTTP/1.1\r\n{upgrade}Content-Length: 5\r\n\r\nhello"),
        format!("POST /sub HTTP/1.1\r\n{upgrade}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET /sub HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65)),
        long,
    ];
    heads
        .iter()
        .enumerate()
        .map(|(at, head)| seed(&[at as u8, 0, 2, 7, 90], head.as_bytes()))
        .collect()
}
