//! The lines of a demo's network, as `/demo` shows and changes them: what a page may ask of the relay,
//! and what it is told.
//!
//! Whoever runs a demo names its relay in `demo.relay`; anybody who can open the page can then break
//! lines, which is what a demo is for. Two things are kept out all the same: other people's pages,
//! which a browser would let send requests here, and everything but the presets of lines.
//!
//! Invariant: what is sent to the relay was written here; of a request only a name and a preset
//! remain, both of letters, digits and a few signs that mean nothing in a URL.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::Method;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::io::http::{Request, Response, StatusCode, empty, error, json};

use crate::dashboard::overview::LineJson;
use crate::edge::Edge;
use crate::line::Line;
use crate::registry::List;

/// What a page wants of the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// To see all lines.
    All,
    /// To make a line, or all lines of an edge, what a preset says.
    Change {
        /// The line, `EDGE/CARRIER`, or the edge.
        name: String,
        /// The preset.
        preset: String,
    },
}

/// Why a request about lines goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Lines are read and changed in other ways.
    Method,
    /// No line can be called so.
    Name,
    /// A browser says that another page sent it.
    Page,
    /// Its body is not said to be JSON.
    ContentType,
    /// Its body is not what can be done to a line.
    Body,
}

impl Refusal {
    /// The refusal as it is answered.
    pub fn response(self) -> Response {
        let (status, said) = match self {
            Self::Method => {
                let said = "/demo/lines is read by GET, /demo/lines/NAME changed by POST";
                (StatusCode::METHOD_NOT_ALLOWED, said)
            }
            Self::Name => {
                (StatusCode::NOT_FOUND, "a line is called EDGE/CARRIER; EDGE is all of its lines")
            }
            Self::Page => {
                (StatusCode::FORBIDDEN, "lines are changed by the page of this host alone")
            }
            Self::ContentType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
            }
            Self::Body => {
                (StatusCode::BAD_REQUEST, "the body must be such as {\"preset\": \"blackhole\"}")
            }
        };
        let mut response = fresh(error(status, said));
        if self == Self::Method {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        response
    }
}

impl Wanted {
    /// What a request wants; `None` if it is not about lines.
    pub fn read(request: &Request) -> Option<Result<Self, Refusal>> {
        let rest = request.path.strip_prefix(PATH)?;
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Some(match request.method {
                Method::GET | Method::HEAD => Ok(Self::All),
                _ => Err(Refusal::Method),
            }),
            None => None,
            Some(name) => Some(Self::change(request, name)),
        }
    }

    fn change(request: &Request, name: &str) -> Result<Self, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        if !is_own(request) {
            return Err(Refusal::Page);
        }
        // Pages of other hosts cannot send this type without asking first, which nobody answers.
        let kind = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::ContentType);
        }
        if !is_name(name) {
            return Err(Refusal::Name);
        }
        let change: Change = serde_json::from_slice(&request.body).map_err(|_| Refusal::Body)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '+';
        if !(1..=PRESET_BYTES_MAX).contains(&change.preset.len())
            || !change.preset.chars().all(plain)
        {
            return Err(Refusal::Body);
        }
        Ok(Self::Change { name: name.to_owned(), preset: change.preset })
    }

    /// What to ask of the relay's admin listener: method, path and body.
    pub fn order(&self) -> (Method, String, String) {
        match self {
            Self::All => (Method::GET, "/lines".to_owned(), String::new()),
            Self::Change { name, preset } => {
                let body = serde_json::json!({ "preset": preset });
                (Method::POST, format!("/lines/{name}"), body.to_string())
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    preset: String,
}

/// Whether a request comes from a page of this host, or from no page at all.
fn is_own(request: &Request) -> bool {
    let Some(origin) = request.headers.get(ORIGIN) else { return true };
    let host = request.header(HOST.as_str()).filter(|host| !host.is_empty());
    let origin = origin.to_str().unwrap_or_default();
    let origin = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
    origin.is_some_and(|origin| host.is_some_and(|host| origin.eq_ignore_ascii_case(host)))
}

/// Whether a line or an edge can be called so. `heal` behind a slash is the relay's own word.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let part = |part: &str| !part.is_empty() && part.chars().all(plain);
    match name.split_once('/') {
        Some((edge, carrier)) => part(edge) && part(carrier) && carrier != "heal",
        None => part(name),
    }
}

/// Nothing is told: there is no relay.
pub fn none() -> Response {
    fresh(empty(StatusCode::NO_CONTENT))
}

/// The relay cannot be asked.
pub fn unreachable() -> Response {
    fresh(error(StatusCode::BAD_GATEWAY, "the relay does not answer"))
}

/// What the relay answered, together with what the edges on `list` measure on the same lines.
pub fn answer(status: StatusCode, body: &[u8], list: &List) -> Response {
    if status != StatusCode::OK {
        let said = serde_json::from_slice::<Fault>(body).map(|fault| fault.error);
        let status = if status.is_client_error() { status } else { StatusCode::BAD_GATEWAY };
        let said = said.as_deref().unwrap_or("the relay refuses and does not say why");
        return fresh(error(status, said));
    }
    match serde_json::from_slice(body) {
        Ok(Told::Lines { lines }) => fresh(json(StatusCode::OK, &View::new(&lines, list))),
        Ok(Told::Line(line)) => fresh(json(StatusCode::OK, &View::new(&[line], list))),
        Err(error) => {
            tracing::debug!(%error, "what the relay tells of lines is not understood");
            unreachable()
        }
    }
}

/// Not readable by pages of other hosts, unlike all that svrlist tells besides.
fn fresh(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What the relay tells.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Lines { lines: Vec<Relayed> },
    Line(Relayed),
}

/// A line as the relay tells of it. What it does to each direction is for the page to read.
#[derive(Deserialize)]
struct Relayed {
    name: String,
    listen: SocketAddr,
    up: Value,
    down: Value,
}

#[derive(Deserialize)]
struct Fault {
    error: String,
}

/// Lines by their edges, in the relay's order.
#[derive(Serialize)]
struct View<'a> {
    edges: Vec<EdgeView<'a>>,
}

#[derive(Serialize)]
struct EdgeView<'a> {
    name: &'a str,
    lines: Vec<LineView<'a>>,
}

#[derive(Serialize)]
struct LineView<'a> {
    name: &'a str,
    carrier: Option<&'a str>,
    /// Towards the origin.
    up: &'a Value,
    /// Towards the edge.
    down: &'a Value,
    /// What the edge tells of the lines that it opened here: one for each of its local addresses.
    measured: Vec<LineJson<'a>>,
}

impl<'a> View<'a> {
    fn new(lines: &'a [Relayed], list: &'a List) -> Self {
        let edges = list.edges.iter().map(|listed| (&*listed.edge.name, &*listed.edge));
        let edges: BTreeMap<&str, &'a Edge> = edges.collect();
        let mut views: Vec<EdgeView<'a>> = Vec::new();
        for line in lines {
            let (name, carrier) = match line.name.split_once('/') {
                Some((edge, carrier)) => (edge, Some(carrier)),
                None => (line.name.as_str(), None),
            };
            let edge = edges.get(name).copied();
            let view = LineView {
                name: &line.name,
                carrier,
                up: &line.up,
                down: &line.down,
                measured: edge.map_or_else(Vec::new, |edge| measured(edge, line.listen, carrier)),
            };
            match views.iter_mut().find(|view| view.name == name) {
                Some(edge) => edge.lines.push(view),
                None => views.push(EdgeView { name, lines: vec![view] }),
            }
        }
        Self { edges: views }
    }
}

/// The lines that an edge opened to this address of the relay or, where the relay's own address is
/// not the one it is called by, through this carrier.
fn measured<'a>(edge: &'a Edge, listen: SocketAddr, carrier: Option<&str>) -> Vec<LineJson<'a>> {
    let found = |here: &dyn Fn(&Line) -> bool| -> Vec<LineJson<'a>> {
        edge.lines.iter().filter(|line| here(line)).map(LineJson::from).collect()
    };
    let by_address = found(&|line| line.remote.address == listen);
    match carrier {
        Some(carrier) if by_address.is_empty() => found(&|line| line.remote.carrier == carrier),
        _ => by_address,
    }
}

/// Where lines are read, and below it changed.
const PATH: &str = "/demo/lines";

/// The relay's longest preset takes ten.
const PRESET_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use hyper::HeaderMap;
    use serde_json::json;
    use shared::io::http::Query;
    use shared::wire::control;

    use super::super::tests::moment;
    use super::*;
    use crate::fixture::{self, body};
    use crate::registry::Listed;

    const HEADERS: [(&str, &str); 2] =
        [("content-type", "application/json"), ("host", "127.0.0.1:7500")];

    fn read(
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Option<Result<Wanted, Refusal>> {
        let named = headers.iter().map(|(name, value)| {
            (hyper::header::HeaderName::from_static(name), value.parse().unwrap())
        });
        Wanted::read(&Request {
            method,
            path: path.to_owned(),
            query: Query::parse("").unwrap(),
            headers: named.collect::<HeaderMap>(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: SocketAddr::from(([127, 0, 0, 1], 4242)),
        })
    }

    fn post(path: &str, headers: &[(&'static str, &str)], body: &str) -> Result<Wanted, Refusal> {
        read(Method::POST, path, headers, body).expect("it is about lines")
    }

    const BREAK: &str = r#"{"preset": "blackhole"}"#;

    #[test]
    fn only_paths_of_lines_are_about_lines() {
        for path in ["/demo", "/demo/linesmen", "/lines"] {
            assert_eq!(read(Method::GET, path, &[], ""), None);
        }
        assert_eq!(read(Method::GET, "/demo/lines", &[], ""), Some(Ok(Wanted::All)));
        assert_eq!(Wanted::All.order(), (Method::GET, "/lines".to_owned(), String::new()));
        for (method, path) in [
            (Method::POST, "/demo/lines"),
            (Method::OPTIONS, "/demo/lines"),
            (Method::GET, "/demo/lines/bj"),
            (Method::DELETE, "/demo/lines/bj/telecom"),
        ] {
            assert_eq!(read(method, path, &HEADERS, BREAK), Some(Err(Refusal::Method)));
        }
    }

    #[test]
    fn a_change_is_a_name_and_a_preset() {
        for name in ["bj-telecom/unicom", "bj_1"] {
            let change = post(&format!("/demo/lines/{name}"), &HEADERS, BREAK).unwrap();
            let (method, path, body) = change.order();
            assert_eq!((method, path), (Method::POST, format!("/lines/{name}")));
            assert_eq!(
                serde_json::from_str::<Value>(&body).unwrap(),
                json!({"preset": "blackhole"})
            );
        }
        for name in ["", "bj/heal", "bj/", "/telecom", "bj/a/b", "b%6A", "..", "bj?x", "bj x"] {
            let refused = post(&format!("/demo/lines/{name}"), &HEADERS, BREAK);
            assert_eq!(refused, Err(Refusal::Name), "{name}");
        }
        let long = format!("{{\"preset\": \"{}\"}}", "a".repeat(33));
        for body in [
            "",
            "[]",
            "{}",
            r#"{"preset": ""}"#,
            r#"{"preset": "a b"}"#,
            r#"{"preset": "clean", "loss": 1}"#,
            &long,
        ] {
            assert_eq!(post("/demo/lines/bj", &HEADERS, body), Err(Refusal::Body), "{body}");
        }
    }

    #[test]
    fn pages_of_others_change_nothing() {
        let from = |origin: &str, host: &str| {
            let headers =
                [("content-type", "application/json"), ("origin", origin), ("host", host)];
            post("/demo/lines/bj", &headers, BREAK)
        };
        for (origin, host) in [
            ("http://127.0.0.1:7500", "127.0.0.1:7500"),
            ("https://Demo.Example", "demo.example"),
            ("http://[::1]:7500", "[::1]:7500"),
        ] {
            assert!(from(origin, host).is_ok(), "{origin}");
        }
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:7500"),
            ("http://127.0.0.1:7501", "127.0.0.1:7500"),
            ("null", "127.0.0.1:7500"),
            ("http://", ""),
            ("", "127.0.0.1:7500"),
        ] {
            assert_eq!(from(origin, host), Err(Refusal::Page), "{origin}");
        }
        // Forms can be sent from anywhere, in these types alone.
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            let refused = post("/demo/lines/bj", &[("content-type", kind)], BREAK);
            assert_eq!(refused, Err(Refusal::ContentType), "{kind}");
        }
        assert_eq!(post("/demo/lines/bj", &[], BREAK), Err(Refusal::ContentType));
        let spelt = [("content-type", "Application/JSON; charset=utf-8")];
        assert!(post("/demo/lines/bj", &spelt, BREAK).is_ok());
    }

    fn list(lines: Vec<control::LineReport>) -> List {
        let mut report = fixture::report("bj", "110000", "telecom");
        report.lines = lines;
        let edge = Arc::new(Edge::from_report(&report).unwrap());
        let heard = moment().monotonic;
        List { edges: vec![Listed { edge, heard, cut_off_since: None }], ..List::default() }
    }

    fn measured_on(remote: &str, carrier: &str, rtt_ms: f64) -> control::LineReport {
        let (remote, remote_carrier) = (remote.to_owned(), carrier.to_owned());
        control::LineReport { remote, remote_carrier, rtt_ms, ..fixture::line_report() }
    }

    fn told(status: u16, body: &Value, list: &List) -> (u16, Value) {
        let status = StatusCode::from_u16(status).unwrap();
        let response = answer(status, body.to_string().as_bytes(), list);
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(!response.headers().contains_key("access-control-allow-origin"));
        (status, serde_json::from_slice(&fixture::body(response)).unwrap())
    }

    #[test]
    fn lines_are_told_by_edge_with_what_is_measured() {
        let line = |name: &str, port: u16| {
            json!({
                "name": name, "listen": format!("127.0.0.1:{port}"), "target": "127.0.0.1:1",
                "clients": 1, "up": { "a": 1 }, "down": { "b": 2 },
            })
        };
        let list = list(vec![
            measured_on("127.0.0.1:1", "unicom", 1.0),
            measured_on("127.0.0.1:2", "telecom", 2.0),
            measured_on("10.0.0.1:9", "mobile", 3.0),
        ]);
        let lines = json!({ "lines": [
            line("bj/telecom", 1), line("gone", 4), line("bj/unicom", 2), line("bj/mobile", 3),
            line("bj/cable", 5),
        ] });
        let (status, told) = told(200, &lines, &list);
        assert_eq!(status, 200);
        let [bj, gone] = told["edges"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!((&bj["name"], &gone["name"]), (&json!("bj"), &json!("gone")));
        assert_eq!(gone["lines"][0]["measured"], json!([]));
        let rtt = |at: usize| &bj["lines"][at]["measured"][0]["rtt_ms"];
        // By address, even against the carrier; by carrier where nobody calls the address.
        assert_eq!([rtt(0), rtt(1), rtt(2)], [&json!(1.0), &json!(2.0), &json!(3.0)]);
        assert_eq!(bj["lines"][3]["measured"], json!([]));
        assert_eq!(bj["lines"][0]["up"], json!({ "a": 1 }));
        assert_eq!(bj["lines"][0]["carrier"], "telecom");
        let (_, one) = self::told(200, &line("bj/telecom", 1), &list);
        assert_eq!(one["edges"][0]["lines"][0]["name"], "bj/telecom");
    }

    #[test]
    fn the_relays_refusals_are_passed_on() {
        let none = List::default();
        assert_eq!(
            told(404, &json!({"error": "no line"}), &none),
            (404, json!({"error": "no line"}))
        );
        assert_eq!(told(500, &json!({"error": "panic"}), &none), (502, json!({"error": "panic"})));
        let (status, said) = told(400, &json!("what"), &none);
        assert_eq!(
            (status, &said["error"]),
            (400, &json!("the relay refuses and does not say why"))
        );
        for strange in [json!({}), json!({"lines": [{}]}), json!("hello")] {
            assert_eq!(told(200, &strange, &none).0, 502);
        }
        assert_eq!(none_status(), (204, 502));
    }

    fn none_status() -> (u16, u16) {
        let none = none();
        let status = none.status().as_u16();
        assert!(body(none).is_empty());
        (status, unreachable().status().as_u16())
    }

    #[test]
    fn refusals_have_their_status() {
        let all = [
            (Refusal::Method, 405),
            (Refusal::Name, 404),
            (Refusal::Page, 403),
            (Refusal::ContentType, 415),
            (Refusal::Body, 400),
        ];
        for (refusal, status) in all {
            let response = refusal.response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key("allow"), refusal == Refusal::Method);
        }
    }
}
