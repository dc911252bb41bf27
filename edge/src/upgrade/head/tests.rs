use proptest::prelude::*;
use shared::config::{Layers, resolve};

use super::super::origin::OriginPattern;
use super::*;

const USUAL: &str = "Host: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn read_with(config: &Config, text: &str) -> Head {
    read(&mut BytesMut::from(text), config)
}

/// Reads a request for `target` with the usual headers and `more`.
fn request(target: &str, more: &str) -> Head {
    read_with(&Config::default(), &format!("GET {target} HTTP/1.1\r\n{USUAL}{more}\r\n"))
}

fn upgrade(head: Head) -> Upgrade {
    match head {
        Head::Upgrade(upgrade) => upgrade,
        other => panic!("not an upgrade: {other:?}"),
    }
}

fn status(head: Head) -> u16 {
    match head {
        Head::Refused(answer) => {
            let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
            let length = head.split_once("Content-Length: ").expect("a length").1;
            let length = length.lines().next().expect("a line");
            assert_eq!(length.parse(), Ok(text.len()));
            assert!(head.contains("\r\nConnection: close\r\n"));
            head[9..12].parse().expect("a status")
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_rfc_example() {
    let mut out = BytesMut::new();
    upgrade(request("/sub", "")).put_answer(&mut out);
    assert_eq!(
        std::str::from_utf8(&out),
        Ok("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    );
}

#[test]
fn goim_can_be_switched_off() {
    let read = |file: &str| {
        let layers = Layers::new("EDGE").with_file("edge.toml", file);
        resolve::<Config>(layers, |_| Err(std::io::ErrorKind::NotFound.into()))
    };
    let off = read("goim.enabled = false").expect("valid");
    let request = |path: &str| read_with(&off, &format!("GET {path} HTTP/1.1\r\n{USUAL}\r\n"));
    assert_eq!(status(request("/sub")), 404);
    assert_eq!(upgrade(request("/connection/websocket")).endpoint, Endpoint::Centrifuge);
    let faults = read("goim.enabled = false\nlisten.goim = \"127.0.0.1:1\"").expect_err("a fault");
    assert!(faults.to_string().contains("goim.enabled"), "{faults}");
}

#[test]
fn paths_and_queries() {
    assert_eq!(upgrade(request("/sub", "")).endpoint, Endpoint::Goim);
    let queried = upgrade(request("/sub?x=1", ""));
    assert_eq!((queried.endpoint, queried.query.as_str()), (Endpoint::Goim, "x=1"));
    let absolute = upgrade(request("http://edge:80/connection/websocket?a=b", ""));
    assert_eq!((absolute.endpoint, absolute.query.as_str()), (Endpoint::Centrifuge, "a=b"));
    for other in ["/", "/sub/", "/subs", "/?/sub", "/connection/websocket/x", "http://sub"] {
        assert_eq!(status(request(other, "")), 404, "{other}");
    }
}

#[test]
fn subprotocols() {
    let chosen = |offers: &str| {
        let more = format!("Sec-WebSocket-Protocol: {offers}\r\n");
        let upgrade = upgrade(request("/connection/websocket", &more));
        let mut out = BytesMut::new();
        upgrade.put_answer(&mut out);
        let answer = String::from_utf8(out.to_vec()).expect("ASCII");
        let echoed =
            answer.split_once("Sec-WebSocket-Protocol: ").map(|(_, rest)| rest.trim().to_owned());
        assert_eq!(echoed.as_deref(), upgrade.subprotocol.map(Subprotocol::name));
        (upgrade.subprotocol, upgrade.wants_protobuf())
    };
    assert_eq!(chosen("centrifuge-protobuf"), (Some(Subprotocol::CentrifugeProtobuf), true));
    assert_eq!(
        chosen("other , centrifuge-json,centrifuge-protobuf"),
        (Some(Subprotocol::CentrifugeJson), false)
    );
    assert_eq!(chosen("Centrifuge-Json, evil"), (None, false));
    let goim = upgrade(request("/sub", "Sec-WebSocket-Protocol: centrifuge-json\r\n"));
    assert_eq!(goim.subprotocol, None);
}

#[test]
fn protobuf_by_query() {
    for (query, expected) in [
        ("cf_protocol=protobuf", true),
        ("a=1&format=protobuf", true),
        ("cf_protocol=json", false),
        ("xformat=protobuf", false),
        ("", false),
    ] {
        let upgrade = upgrade(request(&format!("/connection/websocket?{query}"), ""));
        assert_eq!(upgrade.wants_protobuf(), expected, "{query}");
    }
}

#[test]
fn origins() {
    let origin = "Origin: https://app.example.com\r\n";
    assert_eq!(status(request("/sub", origin)), 403, "only programs by default");
    for (patterns, admitted) in [
        (vec!["*"], true),
        (vec!["https://other.test", "https://*.example.com"], true),
        (vec!["https://example.com"], false),
    ] {
        let origins = patterns.iter().filter_map(|text| OriginPattern::parse(text)).collect();
        let text = format!("GET /sub HTTP/1.1\r\n{USUAL}{origin}\r\n");
        let head = read_with(&Config { origins, ..Config::default() }, &text);
        assert_eq!(matches!(head, Head::Upgrade(_)), admitted, "{patterns:?}");
    }
}

#[test]
fn forwarded_addresses_are_handed_on() {
    let more = "X-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\n";
    let forwarded = upgrade(request("/sub", more)).forwarded_for;
    assert_eq!(forwarded.as_deref(), Some("1.2.3.4, 10.0.0.1, 10.0.0.2"));
    assert_eq!(upgrade(request("/sub", "")).forwarded_for, None);
}

#[test]
fn refusals() {
    let changed = |from: &str, to: &str| {
        let text = format!("GET /sub HTTP/1.1\r\n{USUAL}\r\n").replace(from, to);
        status(read_with(&Config::default(), &text))
    };
    assert_eq!(changed("HTTP/1.1", "HTTP/1.0"), 505);
    assert_eq!(changed("HTTP/1.1", "HTTP/2.0"), 505);
    assert_eq!(changed("GET", "POST"), 405);
    assert_eq!(changed("Host: edge\r\n", ""), 400);
    assert_eq!(changed("Upgrade: websocket\r\n", ""), 426, "a plain GET");
    assert_eq!(changed("Upgrade: websocket", "Upgrade: h2c"), 426);
    assert_eq!(changed("Connection: Upgrade", "Connection: keep-alive"), 400);
    assert_eq!(changed("Version: 13", "Version: 8"), 426);
    assert_eq!(changed("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13"), 400);
    assert_eq!(changed("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400);
    assert_eq!(changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), 400);
    assert_eq!(changed("Host: edge", "Host: edge\r\nContent-Length: 4"), 400);
    assert_eq!(changed("Host: edge", "Host: edge\r\nTransfer-Encoding: chunked"), 400);
    assert_eq!(changed("GET /sub", "\0\0\0\u{10}"), 400, "goim frames on the HTTP port");
}

#[test]
fn names_and_tokens_in_any_case() {
    let text = format!("GET /sub HTTP/1.1\r\n{USUAL}\r\n")
        .replace("Upgrade: websocket", "UPGRADE: WebSocket")
        .replace("Connection: Upgrade", "connection: keep-alive, upgrade");
    upgrade(read_with(&Config::default(), &text));
}

#[test]
fn limits() {
    let many = "X: y\r\n".repeat(HEADERS_MAX);
    assert_eq!(status(request("/sub", &many)), 431);
    let long = format!("GET /sub?{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(status(read_with(&Config::default(), &long)), 431);
}

#[test]
fn frames_after_the_head_stay_and_a_refusal_repeats_nothing() {
    let text = format!("GET /sub HTTP/1.1\r\n{USUAL}\r\n\u{1}\u{2}");
    let mut input = BytesMut::from(&text[..]);
    upgrade(read(&mut input, &Config::default()));
    assert_eq!(&input[..], b"\x01\x02");

    let more = "Origin: https://marker.test\r\nCookie: marker\r\n";
    let Head::Refused(answer) = request("/sub?marker", more) else { panic!("not refused") };
    assert!(!answer.contains("marker"));
}

proptest! {
    #[test]
    fn arrives_in_any_pieces(cut in any::<prop::sample::Index>()) {
        let text = format!("GET /sub?x=1 HTTP/1.1\r\n{USUAL}X-Forwarded-For: 1.1.1.1\r\n\r\n");
        let cut = cut.index(text.len());
        let mut input = BytesMut::from(&text[..cut]);
        prop_assert_eq!(read(&mut input, &Config::default()), Head::More);
        prop_assert_eq!(&input[..], &text.as_bytes()[..cut]);
        input.extend_from_slice(&text.as_bytes()[cut..]);
        prop_assert!(matches!(read(&mut input, &Config::default()), Head::Upgrade(_)));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&mut BytesMut::from(&bytes[..]), &Config::default());
    }

    #[test]
    fn perturbed_requests_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = format!("GET /sub?x=1 HTTP/1.1\r\n{USUAL}\r\n").into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read(&mut BytesMut::from(&bytes[..]), &Config::default());
    }
}
