//! `openapi.json` against a real svrlist: requests are made from it, good and bad, and every answer's status,
//! headers and body must be as it says. A field that is answered and not described fails here.

use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, TestCaseError, TestRunner};
use serde_json::json;

use super::*;

/// An answer as it came.
pub(super) struct Exchange {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Exchange {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Sends a request with these headers on a connection of its own.
pub(super) async fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Exchange {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if method == "POST" || !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let request = [head.as_bytes(), b"\r\n", body].concat();
    send(address, &request).await
}

/// Sends bytes and reads until the end.
pub(super) async fn send(address: SocketAddr, request: &[u8]) -> Exchange {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has refused what it saw of a request does not read the rest.
    let _ = stream.write_all(request).await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    let end = response.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&response[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    Exchange { status, headers: lines.map(header).collect(), body: response[end + 4..].to_vec() }
}

/// The description.
struct Contract(Value);

impl Contract {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("../../../openapi.json")).unwrap())
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(path) => self.0.pointer(path.trim_start_matches('#')).expect(path),
            None => value,
        }
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut whole = schema.clone();
        whole["components"] = self.0["components"].clone();
        jsonschema::draft202012::new(&whole).expect("a schema")
    }

    /// What is wrong with an answer, if anything.
    fn check(&self, path: &str, method: &str, answer: &Exchange) -> Result<(), String> {
        let described = if method == "HEAD" { "GET" } else { method };
        let operation = &self.0["paths"][path][described.to_lowercase()];
        let response = self.resolve(&operation["responses"][answer.status.to_string()]);
        if response.is_null() {
            return Err(format!("status {} is not described", answer.status));
        }
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = self.resolve(header);
            let Some(value) = answer.header(name) else {
                return Err(format!("{}: no header {name}", answer.status));
            };
            if !self.validator(&header["schema"]).is_valid(&json!(value)) {
                return Err(format!("{}: {name}: {value}", answer.status));
            }
        }
        let contents = response["content"].as_object();
        let Some(contents) = contents.filter(|_| method != "HEAD") else {
            return if answer.body.is_empty() { Ok(()) } else { Err("a body".to_owned()) };
        };
        let content_type = answer.header("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default();
        let Some(content) = contents.get(essence) else {
            return Err(format!("{}: content-type {content_type:?}", answer.status));
        };
        let said = answer.json();
        let wrong = self.validator(&content["schema"]).iter_errors(&said).next().map(|error| {
            format!("{}: {} at {}: {said}", answer.status, error, error.instance_path())
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Whether a parameter's value is allowed; `None` where characters fit and bytes do not.
    fn allows(&self, parameter: &Value, value: &str) -> Option<bool> {
        let schema = self.resolve(&parameter["schema"]);
        let valid = value.is_empty() || self.validator(schema).is_valid(&json!(value));
        let bytes_max = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        (!valid || value.len() as u64 <= bytes_max).then_some(valid)
    }
}

/// A request that the description makes.
#[derive(Clone, Debug)]
struct Made {
    path: &'static str,
    method: &'static str,
    /// By parameter.
    query: Vec<(&'static str, String)>,
    forwarded: Option<String>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Json(Value),
    Bytes(Vec<u8>),
}

/// Values of a parameter: good, bad, at the bounds, empty.
fn value(bound: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => select(vec!["", "0", "1", "42", "web", "WEB", "android-12.1_x", "live://1000", "a b", "2"])
            .prop_map(str::to_owned),
        1 => Just("x".repeat(bound)),
        1 => Just("x".repeat(bound + 1)),
        1 => any::<String>(),
        1 => proptest::collection::vec(any::<char>(), 0..300).prop_map(|all| all.iter().collect()),
        1 => Just("a\u{7}b".to_owned()),
    ]
}

fn hops() -> impl Strategy<Value = String> {
    let hop = prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| format!("127.{a}.{b}.{c}")),
        any::<[u16; 8]>().prop_map(|all| std::net::Ipv6Addr::from(all).to_string()),
        "[ -~]{0,40}",
    ];
    proptest::collection::vec(hop, 1..5).prop_map(|hops| hops.join(", "))
}

fn reads() -> impl Strategy<Value = Made> {
    let paths = vec!["/svrlist", "/goim/nodes/weighted", "/goim/nodes/instances", "/openapi.json"];
    let names = [("room", 255), ("uid", 128), ("platform", 32), ("explain", 1), ("other", 9)];
    let query = names.map(|(name, bound)| {
        proptest::option::of(value(bound)).prop_map(move |value| value.map(|value| (name, value)))
    });
    let method = prop_oneof![4 => Just("GET"), 1 => Just("HEAD")];
    (select(paths), method, query, proptest::option::of(hops())).prop_map(
        |(path, method, query, forwarded)| Made {
            path,
            method,
            query: query.into_iter().flatten().collect(),
            forwarded,
            body: Body::Bytes(Vec::new()),
        },
    )
}

fn reports() -> impl Strategy<Value = Made> {
    let count = || {
        prop_oneof![
            6 => (0..1000_u32).prop_map(Value::from),
            1 => select(vec![json!(1001), json!(-1), json!(1.5), json!("1"), json!(u64::MAX), json!(null)]),
        ]
    };
    let number = || {
        prop_oneof![
            6 => (0.0..60_000.0).prop_map(Value::from),
            1 => select(vec![json!(-0.1), json!(1e300), json!("x"), json!([])]),
        ]
    };
    let edge = prop_oneof![
        6 => select(vec!["bj-1", "none", "sh-1"]).prop_map(str::to_owned),
        1 => select(vec![String::new(), "x".repeat(64), "x".repeat(65)]),
    ];
    let fields =
        [count().boxed(), count().boxed(), count().boxed(), number().boxed(), number().boxed()];
    let fields = fields.map(proptest::option::of);
    let row = (edge, fields).prop_map(|(edge, fields)| {
        let mut row = json!({ "edge": edge });
        let names = ["attempts", "failures", "drops", "rtt_ms", "seconds"];
        for (name, value) in names.into_iter().zip(fields) {
            if let Some(value) = value {
                row[name] = value;
            }
        }
        row
    });
    let session = prop_oneof![
        6 => "[0-9a-f]{32}",
        1 => select(vec![String::new(), "x".repeat(7), "x".repeat(64), "x".repeat(65)]),
    ];
    let rows = prop_oneof![
        8 => proptest::collection::vec(row, 0..4).prop_map(Value::from),
        1 => (1..18_usize).prop_map(|n| (0..n).map(|n| json!({ "edge": format!("e{n}") })).collect()),
        1 => select(vec![json!(null), json!({}), json!([1])]),
    ];
    let token = prop_oneof![4 => Just("TOKEN".to_owned()), 1 => "[a-z.]{0,80}"];
    let body = (token, session, rows, 0..20).prop_map(|(token, session, rows, lacks)| {
        let mut body = json!({ "token": token, "session": session, "reports": rows, "more": 1 });
        let lacking = ["token", "session", "reports"].get(lacks as usize);
        if let (Some(lacking), Some(body)) = (lacking, body.as_object_mut()) {
            body.remove(*lacking);
        }
        Body::Json(body)
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..200).prop_map(Body::Bytes);
    let body = prop_oneof![12 => body, 1 => bytes];
    (body, proptest::option::of(hops())).prop_map(|(body, forwarded)| Made {
        path: "/report",
        method: "POST",
        query: Vec::new(),
        forwarded,
        body,
    })
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

impl Made {
    async fn send(&self, address: SocketAddr, token: &str) -> Exchange {
        let query: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let target = format!("{}?{}", self.path, query.join("&"));
        let forwarded = self.forwarded.iter().map(|hops| ("x-forwarded-for", hops.as_str()));
        let headers: Vec<(&str, &str)> = forwarded.collect();
        let body = match &self.body {
            Body::Json(body) => {
                body.to_string().replace("\"TOKEN\"", &format!("\"{token}\"")).into_bytes()
            }
            Body::Bytes(bytes) => bytes.clone(),
        };
        exchange(address, self.method, &target, &headers, &body).await
    }

    /// Whether the description allows the request; `None` where it leaves that open.
    fn allowed(&self, contract: &Contract) -> Option<bool> {
        let operation =
            &contract.0["paths"][self.path][&self.method.replace("HEAD", "GET").to_lowercase()];
        if self.method == "POST" {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = match &self.body {
                Body::Json(body) => body.clone(),
                Body::Bytes(_) => return Some(false),
            };
            let valid = contract.validator(schema).is_valid(&body);
            return if valid && !self.is_consistent(&body) { None } else { Some(valid) };
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let parameters: Vec<&Value> = parameters.map(|one| contract.resolve(one)).collect();
        let mut all = Some(true);
        for (name, value) in &self.query {
            let Some(parameter) = parameters.iter().find(|one| one["name"] == *name) else {
                continue;
            };
            match contract.allows(parameter, value) {
                Some(false) => return Some(false),
                None => all = None,
                Some(true) => {}
            }
        }
        all
    }

    /// What words alone say: failures are among the attempts, and no edge is there twice.
    fn is_consistent(&self, body: &Value) -> bool {
        let rows = body["reports"].as_array().into_iter().flatten();
        let mut seen = std::collections::BTreeSet::new();
        let count = |row: &Value, name: &str| row[name].as_u64().unwrap_or(0);
        rows.into_iter().all(|row| {
            seen.insert(row["edge"].to_string()) && count(row, "failures") <= count(row, "attempts")
        })
    }
}

/// A svrlist with these settings and, if wanted, an edge.
pub(super) async fn svrlist(pki: &Pki, text: &str, edge: bool) -> (Running, Option<EdgeLine>) {
    let mut config = pki.config();
    let said = crate::config::tests::config(text).unwrap();
    (config.answers, config.limits) = (said.answers, said.limits);
    (config.dashboard, config.operators) = (said.dashboard, said.operators);
    let running = Running::start(config).await;
    if !edge {
        return (running, None);
    }
    let Addresses { listen, line, .. } = running.addresses;
    let mut edge = EdgeLine::open(pki, "bj-1", line).await;
    edge.report(fixture::report("bj-1", "110000", "telecom")).await;
    until(listen, "/svrlist", |answer| answer["servers"].is_array()).await;
    (running, Some(edge))
}

/// Makes requests and judges the answers; says which statuses were met.
async fn hold(
    contract: &Contract,
    address: SocketAddr,
    token: &str,
    cases: u32,
    made: BoxedStrategy<Made>,
) -> std::collections::BTreeSet<u16> {
    let mut runner =
        TestRunner::new(Cases { cases, failure_persistence: None, ..Cases::default() });
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..cases {
        let request = made.new_tree(&mut runner).map(|tree| tree.current()).unwrap();
        let answer = request.send(address, token).await;
        met.insert(answer.status);
        let judged = contract.check(request.path, request.method, &answer);
        let judged = judged.and_then(|()| match (request.allowed(contract), answer.status) {
            (Some(true), 400) => Err(format!("refused, but allowed: {}", answer.json())),
            (Some(false), status) if !matches!(status, 400 | 404) => {
                Err(format!("{status}, but not allowed"))
            }
            _ => Ok(()),
        });
        if let Err(wrong) = judged {
            panic!("{}", TestCaseError::fail(format!("{wrong}\n{request:?}")));
        }
    }
    met
}

const SETTINGS: &str = "trusted_proxies = [\"127.0.0.1\"]\n[cell_token]\nsecret = \"s\"";

#[tokio::test]
async fn answers_are_as_described() {
    let (pki, contract) = (Pki::new(), Contract::read());
    let (running, _edge) = svrlist(&pki, SETTINGS, true).await;
    let at = running.addresses;
    let token = get(at.listen, "/svrlist").await.1["token"].as_str().unwrap().to_owned();
    let met = hold(&contract, at.listen, &token, 400, reads().boxed()).await;
    assert_eq!(met.into_iter().collect::<Vec<_>>(), [200, 400]);
    let met = hold(&contract, at.listen, &token, 300, reports().boxed()).await;
    assert!([204, 400, 401].iter().all(|status| met.contains(status)), "{met:?}");
    // The same again within an interval, once svrlist has learnt that there is the edge.
    let body =
        json!({ "token": token, "session": "x".repeat(32), "reports": [{ "edge": "bj-1" }] });
    let body = body.to_string();
    let again = async {
        loop {
            // The network of the others has had its share.
            let from = [("x-forwarded-for", "127.9.9.9")];
            let answer = exchange(at.listen, "POST", "/report", &from, body.as_bytes()).await;
            contract.check("/report", "POST", &answer).unwrap();
            if answer.status == 429 {
                break;
            }
            assert_eq!(answer.status, 204);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    running.end().await;
}

#[tokio::test]
async fn answers_without_edges_and_secret_are_as_described() {
    let (pki, contract) = (Pki::new(), Contract::read());
    let (running, _) = svrlist(&pki, "", false).await;
    let at = running.addresses;
    let met = hold(&contract, at.listen, "", 200, reads().boxed()).await;
    assert_eq!(met.into_iter().collect::<Vec<_>>(), [200, 400, 503]);
    let met = hold(&contract, at.listen, "", 20, reports().boxed()).await;
    assert_eq!(met.into_iter().collect::<Vec<_>>(), [404]);
    running.end().await;
}

/// Requests of operators, by path.
const OPERATORS: [(&str, &str, u16); 13] = [
    ("/api/overview", "/api/overview", 200),
    ("/edges", "/edges", 200),
    ("/api/map", "/api/map", 200),
    ("/api/alerts", "/api/alerts", 200),
    ("/api/edges/{edge}", "/api/edges/bj-1", 200),
    ("/api/edges/{edge}", "/api/edges/nobody", 404),
    ("/api/edges/{edge}", "/api/edges/", 400),
    ("/api/cells/{region}/{carrier}", "/api/cells/110000/telecom", 200),
    ("/api/cells/{region}/{carrier}", "/api/cells/nowhere", 400),
    ("/api/history", "/api/history?series=edge.bj-1.load,site.site-bj-1.bits_out", 200),
    ("/api/history", "/api/history", 400),
    ("/api/session", "/api/session", 200),
    ("/openapi.json", "/openapi.json", 200),
];

#[tokio::test]
async fn operators_views_are_as_described() {
    let (pki, contract) = (Pki::new(), Contract::read());
    for open in [true, false] {
        let settings = format!("{SETTINGS}\n[dashboard]\nopen = {open}\n{OPERATOR}");
        let (running, _edge) = svrlist(&pki, &settings, true).await;
        let at = running.addresses;
        let key = [("authorization", "Bearer a key of the operators")];
        let listed = async {
            // The facts are gathered once a second.
            while exchange(at.listen, "GET", "/api/edges/bj-1", &key, b"").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listed).await.unwrap();
        for (path, target, status) in OPERATORS {
            for headers in [&[][..], &key] {
                let answer = exchange(at.listen, "GET", target, headers, b"").await;
                let closed = headers.is_empty() && !open;
                let public = matches!(path, "/api/session" | "/openapi.json");
                let expected = if closed && !public { 401 } else { status };
                assert_eq!(answer.status, expected, "{target}, open: {open}");
                contract.check(path, "GET", &answer).unwrap();
            }
        }
        for body in ["{}", r#"{"name":"op","password":"wrong"}"#] {
            let answer = exchange(at.listen, "POST", "/api/session", &[], body.as_bytes()).await;
            contract.check("/api/session", "POST", &answer).unwrap();
            assert_ne!(answer.status, 200);
        }
        for (headers, status) in [(&[][..], 401), (&key, 403)] {
            for method in ["POST", "DELETE"] {
                let answer = exchange(at.listen, method, "/api/alerts/x/ack", headers, b"").await;
                assert_eq!(answer.status, status, "a viewer changes nothing");
                contract.check("/api/alerts/{id}/ack", method, &answer).unwrap();
            }
        }
        let answer = exchange(at.listen, "DELETE", "/api/session", &[], b"").await;
        contract.check("/api/session", "DELETE", &answer).unwrap();
        running.end().await;
    }
}

/// Changes of the control, one after the other, and what comes of them.
const CHANGES: [(&str, &str, &str, &str, u16); 12] = [
    ("PUT", "/api/control", "", "{}", 428),
    ("PUT", "/api/control", "9", "{}", 412),
    ("PUT", "/api/control", "*", "{\"weights\":{\"bj-1\":-1}}", 400),
    ("PUT", "/api/control", "*", "nothing", 400),
    (
        "PUT",
        "/api/control",
        "*",
        r#"{"weights":{"bj-1":2},"drained":{"sites":{"x":{"rate":5}}},"zones":{"blue":{"share":10}},
            "overrides":[{"network":"10.0.0.0/8","prefer":["bj-1"]}],"wishes":{"x":2e9},"note":"n"}"#,
        200,
    ),
    ("POST", "/api/control/drain", "", r#"{"edge":"bj-1","rate":20}"#, 200),
    ("POST", "/api/control/drain", "", r#"{"edge":"bj-1","site":"x"}"#, 400),
    ("POST", "/api/control/zone", "", r#"{"zone":"blue","share":101}"#, 400),
    ("POST", "/api/control/zone", "", r#"{"zone":"blue","share":null}"#, 200),
    ("POST", "/api/control/rollback", "", r#"{"revision":77}"#, 404),
    ("POST", "/api/control/rollback", "", r#"{"revision":0}"#, 200),
    ("POST", "/api/control/rollback", "1", r#"{"revision":0}"#, 412),
];

#[tokio::test]
async fn changes_are_as_described() {
    let (pki, contract) = (Pki::new(), Contract::read());
    let admin = OPERATOR.replace("viewer", "admin");
    let (running, _edge) = svrlist(&pki, &format!("{SETTINGS}\n{admin}"), true).await;
    let at = running.addresses;
    let key = ("authorization", "Bearer a key of the operators");
    for (method, path, if_match, body, status) in CHANGES {
        let refused = exchange(at.listen, method, path, &[], body.as_bytes()).await;
        assert_eq!(refused.status, 401, "{path}");
        contract.check(path, method, &refused).unwrap();
        let mut headers = vec![key];
        headers.extend(Some(("if-match", if_match)).filter(|_| !if_match.is_empty()));
        let answer = exchange(at.listen, method, path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path} {body}");
        contract.check(path, method, &answer).unwrap();
    }
    for (path, query, status) in [
        ("/api/control", "", 200),
        ("/api/control", "?revision=1", 200),
        ("/api/control", "?revision=77", 404),
        ("/api/control", "?revision=x", 400),
        ("/api/audit", "", 200),
        ("/api/audit", "?limit=2&before=5", 200),
        ("/api/audit", "?limit=x", 400),
    ] {
        let answer = exchange(at.listen, "GET", &format!("{path}{query}"), &[key], b"").await;
        assert_eq!(answer.status, status, "{path}{query}");
        contract.check(path, "GET", &answer).unwrap();
        let closed = exchange(at.listen, "GET", &format!("{path}{query}"), &[], b"").await;
        contract.check(path, "GET", &closed).unwrap();
        assert_eq!(closed.status, 401);
    }
    running.end().await;
}

const OPERATOR: &str = "[operator.op]\nkey = \"a key of the operators\"\nrole = \"viewer\"";

#[tokio::test]
async fn whatever_is_not_described_is_refused() {
    let (pki, contract) = (Pki::new(), Contract::read());
    let (running, _) = svrlist(&pki, "[dashboard]\nopen = true", false).await;
    let at = running.addresses;
    let paths = contract.0["paths"].as_object().unwrap();
    for path in crate::site::API_PATHS {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    for (path, item) in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if item.get(method.to_lowercase()).is_none() {
                let answer = exchange(at.listen, method, path, &[], b"").await;
                assert_eq!(answer.status, 405, "{method} {path}");
                assert!(answer.header("allow").is_some(), "{method} {path}");
            }
        }
        if item["get"]["tags"][0] != "clients" && item["get"]["tags"][0] != "goim" {
            continue;
        }
        let asked = exchange(at.listen, "OPTIONS", path, &[], b"").await;
        assert_eq!((asked.status, asked.body.len()), (204, 0), "{path}");
    }
    for path in ["/nothing", "/svrlist/", "/report/x", "//svrlist"] {
        assert_eq!(exchange(at.listen, "GET", path, &[], b"").await.status, 404, "{path}");
    }
    running.end().await;
}
