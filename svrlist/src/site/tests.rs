//! The public face without a socket: requests in, responses out.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use geo_data::database::{Database, Kind};
use geo_data::write::{Record, packed};
use geo_data::{Carrier, Carriers, Region};
use hyper::HeaderMap;
use serde_json::Value;
use shared::io::http::Query;

use super::*;
use crate::config::tests::config;
use crate::fixture::{self, body};
use crate::registry::Registry;

mod bounds;
mod waits;

/// A site with the demo's places and three edges, and a clock.
struct World {
    site: Site,
    now: Moment,
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the test")]
pub(crate) fn moment() -> Moment {
    Moment { monotonic: Instant::now(), calendar: UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
}

impl World {
    fn new(text: &str) -> Self {
        let world = Self::without_edges(text);
        let mut registry = Registry::default();
        for (name, region, carrier) in [
            ("bj-telecom", "110000", "telecom"),
            ("sh-unicom", "310000", "unicom"),
            ("gz-mobile", "440100", "mobile"),
        ] {
            registry.handle_report(fixture::edge(name, region, carrier), world.now.monotonic);
        }
        registry.handle_tick(world.now.monotonic);
        world.site.set_list(registry.list());
        world
    }

    fn without_edges(text: &str) -> Self {
        let bytes = geo_data::demo::database();
        let own = Database::from_bytes(Kind::Own, "demo", bytes).unwrap();
        let places = Databases { own: Some(own), ..Databases::default() };
        let site = Site::new(config(text).unwrap().answers, places, Metrics::default());
        Self { site, now: moment() }
    }

    fn ask(&self, method: Method, target: &str, peer: &str, forwarded: Option<&str>) -> Response {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        if let Some(forwarded) = forwarded {
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        }
        let request = Request {
            method,
            path: path.to_owned(),
            query: Query::parse(query).unwrap(),
            headers,
            body: Bytes::new(),
            peer: SocketAddr::new(peer.parse().unwrap(), 4242),
        };
        self.site.answer(&request, self.now)
    }

    fn get(&self, target: &str) -> (StatusCode, Value) {
        self.get_as(target, "127.0.0.1", None)
    }

    fn get_as(&self, target: &str, peer: &str, forwarded: Option<&str>) -> (StatusCode, Value) {
        let response = self.ask(Method::GET, target, peer, forwarded);
        let status = response.status();
        (status, serde_json::from_slice(&body(response)).unwrap())
    }
}

fn first(answer: &Value) -> &str {
    answer["servers"][0]["id"].as_str().unwrap()
}

#[test]
fn the_cell_decides_who_comes_first() {
    let world = World::new("trusted_proxies = [\"127.0.0.1\"]");
    let from = |address| {
        let (status, answer) = world.get_as("/svrlist?uid=42", "127.0.0.1", Some(address));
        assert_eq!(status, StatusCode::OK);
        answer
    };
    let guangzhou = from("127.0.3.9");
    assert_eq!(first(&guangzhou), "gz-mobile");
    assert_eq!(guangzhou["cell"]["region"], "440100");
    assert_eq!(guangzhou["cell"]["city"], "广州市");
    assert_eq!(guangzhou["cell"]["province"], "广东省");
    assert_eq!(guangzhou["cell"]["carrier"], "mobile");
    assert_eq!(guangzhou["cell"]["found"]["carrier"], "own");
    assert_eq!(guangzhou["servers"].as_array().unwrap().len(), 3);
    assert_eq!(first(&from("127.0.2.5")), "sh-unicom");
    assert_eq!(first(&from("::ffff:127.0.2.5")), "sh-unicom");
    assert_eq!(first(&from("10.0.0.1, 127.0.2.5")), "sh-unicom");
    assert_eq!(guangzhou["heartbeat"], 240);
    assert_eq!(guangzhou["backoff"]["max_delay"], 300);
    assert_eq!(guangzhou["stale"], false);
    let ttl = guangzhou["ttl"].as_u64().unwrap();
    assert!((31..=59).contains(&ttl), "{ttl}");
}

#[test]
fn a_network_of_several_carriers_counts_as_of_each() {
    let world = World::new("trusted_proxies = [\"127.0.0.1\"]");
    let network = "198.51.100.0/24".parse().unwrap();
    let record = |also: Carriers| Record {
        region: Region::parse("440100").unwrap(),
        carrier: Carrier::Telecom,
        also,
        ..Record::default()
    };
    let asked = |also| {
        let bytes = packed(&[record(also)], &[(network, 0)], UNIX_EPOCH, |_| ()).unwrap();
        let own = Some(Database::from_bytes(Kind::Own, "test", bytes).unwrap());
        world.site.set_places(Databases { own, ..Databases::default() });
        world.get_as("/svrlist?uid=42", "127.0.0.1", Some("198.51.100.7")).1
    };
    assert_eq!(first(&asked(Carriers::default())), "bj-telecom");
    let both = asked(Carriers::default().with(Carrier::Unicom));
    assert_eq!((first(&both), both["cell"]["carrier"].as_str()), ("sh-unicom", Some("telecom")));
}

#[test]
fn only_a_trusted_proxy_speaks_for_a_client() {
    let world = World::new("");
    let (_, answer) = world.get_as("/svrlist", "127.0.0.1", Some("127.0.3.9"));
    assert_eq!(first(&answer), "bj-telecom");
    let (_, answer) = world.get_as("/svrlist", "127.0.3.1", None);
    assert_eq!(first(&answer), "gz-mobile");
}

#[test]
fn without_a_uid_an_ipv6_subscriber_is_its_network() {
    let world = World::without_edges("");
    let mut registry = Registry::default();
    for n in 0..40 {
        let edge = fixture::edge(&format!("edge-{n}"), "110000", "telecom");
        registry.handle_report(edge, world.now.monotonic);
    }
    registry.handle_tick(world.now.monotonic);
    world.site.set_list(registry.list());
    let named = |peer: &str| world.get_as("/svrlist", peer, None).1["servers"].clone();
    // Privacy addresses change daily within one /64.
    assert_eq!(named("2001:db8:1:2:a:b:c:d"), named("2001:db8:1:2:1:2:3:4"));
    assert_ne!(named("2001:db8:1:2:a:b:c:d"), named("2001:db8:1:3:a:b:c:d"));
    assert_eq!(named("::ffff:192.0.2.1"), named("192.0.2.1"));
}

#[test]
fn the_token_is_there_with_a_secret_alone() {
    let (_, answer) = World::new("").get("/svrlist");
    assert_eq!((answer.get("token"), answer.get("report_interval")), (None, None));
    let (_, answer) = World::new("[cell_token]\nsecret = \"s\"").get("/svrlist");
    assert_eq!(answer["token"].as_str().unwrap().split('.').count(), 3);
}

#[test]
fn refusals_say_what_is_wrong() {
    let world = World::new("");
    let (status, answer) = world.get("/svrlist?platform=a%2Fb");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!((&answer["parameter"], &answer["value"]), (&"platform".into(), &"a/b".into()));
    assert!(answer["error"].as_str().unwrap().contains("must be"));
    let (status, answer) = world.get("/goim/nodes/weighted?platform=a%2Fb");
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &(-400).into()));
}

#[test]
fn without_edges_it_says_so() {
    let world = World::without_edges("");
    let response = world.ask(Method::GET, "/svrlist", "127.0.0.1", None);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "2");
    let (status, answer) = world.get("/goim/nodes/weighted");
    assert_eq!((status, &answer["code"]), (StatusCode::OK, &(-500).into()));
}

#[test]
fn goims_answers() {
    let world = World::new("");
    let (_, weighted) = world.get("/goim/nodes/weighted?platform=android");
    let data = &weighted["data"];
    assert_eq!((&data["tcp_port"], &data["ws_port"]), (&7611.into(), &7612.into()));
    assert_eq!(data["nodes"], serde_json::json!(["127.0.0.1"]));
    let (_, instances) = world.get("/goim/nodes/instances");
    let instances = instances["data"].as_array().unwrap();
    assert_eq!(instances.len(), 3);
    assert_eq!(instances[0]["hostname"], "bj-telecom");
    assert_eq!(instances[0]["latest_timestamp"], 1_800_000_000_000_000_000_u64);
    assert_eq!(instances[0]["metadata"]["weight"], "1");
}

#[test]
fn browsers_are_sent_to_edges_they_can_use() {
    let world = World::new("");
    let mut registry = Registry::default();
    let mut tcp_only = fixture::edge("tcp-only", "110000", "telecom");
    tcp_only.endpoints.truncate(1);
    registry.handle_report(tcp_only, world.now.monotonic);
    world.site.set_list(registry.list());
    assert_eq!(world.get("/svrlist?platform=ios").0, StatusCode::OK);
    assert_eq!(world.get("/svrlist?platform=web").0, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn methods_and_paths() {
    let world = World::new("");
    let status = |method: Method, target| world.ask(method, target, "127.0.0.1", None).status();
    assert_eq!(status(Method::HEAD, "/svrlist"), StatusCode::OK);
    assert_eq!(status(Method::GET, "/"), StatusCode::OK);
    assert_eq!(status(Method::GET, "/demo"), StatusCode::OK);
    assert_eq!(status(Method::GET, "/nothing"), StatusCode::NOT_FOUND);
    assert_eq!(status(Method::POST, "/nothing"), StatusCode::NOT_FOUND);
    let refused = world.ask(Method::POST, "/svrlist", "127.0.0.1", None);
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers()["allow"], "GET, HEAD, OPTIONS, POST");
    assert_eq!(status(Method::OPTIONS, "/svrlist"), StatusCode::NO_CONTENT);
    let answer = world.ask(Method::GET, "/svrlist", "127.0.0.1", None);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["cache-control"], "no-store");
}

#[test]
fn a_stale_list_is_answered_and_marked() {
    let world = World::new("");
    let mut list = (*world.site.list()).clone();
    list.stale = true;
    list.generation += 1;
    world.site.set_list(Arc::new(list));
    let (status, answer) = world.get("/svrlist");
    assert_eq!((status, &answer["stale"]), (StatusCode::OK, &true.into()));
}

#[test]
fn times_to_live_differ_by_30_percent_at_most() {
    let all: Vec<u64> = (0..1_000).map(|dice| jittered(100, dice)).collect();
    assert_eq!((all.iter().min(), all.iter().max()), (Some(&70), Some(&130)));
    assert_eq!(jittered(1, 0), 1);
}

impl World {
    fn report(&self, peer: &str, body: &Value) -> (StatusCode, String) {
        let request = Request {
            method: Method::POST,
            path: "/report".into(),
            query: Query::parse("").unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
            peer: SocketAddr::new(peer.parse().unwrap(), 4242),
        };
        let response = self.site.answer(&request, self.now);
        (response.status(), String::from_utf8(body_of(response)).unwrap())
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.calendar += time;
    }
}

fn body_of(response: Response) -> Vec<u8> {
    body(response).to_vec()
}

const WITH_TOKENS: &str = "cell_token.secret = \"s\"\n";
/// A client of telecom in Beijing, by the demo's places.
const BEIJING: &str = "127.0.1.1";

#[test]
fn an_edge_that_fails_its_clients_is_told_last() {
    let mut world = World::new(WITH_TOKENS);
    world.site.learn(world.now);
    let best = |world: &World| {
        let (_, answer) = world.get_as("/svrlist?uid=7&explain=1", BEIJING, None);
        answer["servers"][0]["id"].as_str().unwrap().to_owned()
    };
    let bad = best(&world);
    for tick in 0..6u64 {
        let (_, answer) = world.get_as("/svrlist?uid=7", BEIJING, None);
        for n in 0..40 {
            let body = serde_json::json!({
                "token": answer["token"],
                "session": format!("session {tick} {n}"),
                "reports": [{ "edge": bad, "attempts": 1, "failures": 1 }],
            });
            let (status, said) = world.report(&format!("127.{}.{tick}.1", 100 + n), &body);
            assert_eq!(status, StatusCode::NO_CONTENT, "{said}");
        }
        world.pass(learning::TICK);
        world.site.learn(world.now);
    }
    assert_ne!(best(&world), bad);
}

#[test]
fn clients_of_a_stale_list_are_heard_for_as_long_as_it_lasts() {
    let mut world = World::new(WITH_TOKENS);
    world.site.learn(world.now);
    let mut told = 0;
    let begun = world.now.monotonic;
    // No edge is heard, so no list is made, but clients tell of the one that there is.
    while world.now.monotonic < begun + 2 * Duration::from_secs(3600) {
        let (_, answer) = world.get_as("/svrlist", BEIJING, None);
        let body = serde_json::json!({
            "token": answer["token"],
            "session": format!("session {told}"),
            "reports": [{ "edge": first(&answer), "attempts": 1 }],
        });
        assert_eq!(world.report(BEIJING, &body).0, StatusCode::NO_CONTENT);
        told += 1;
        for _ in 0..4 {
            world.pass(learning::TICK);
            world.site.learn(world.now);
        }
    }
    assert!(told > 300);
    assert_eq!(world.site.metrics.refused().clients_heard, told);
}

#[test]
fn a_token_is_worth_little_outside_its_cell() {
    let reports = |from: &dyn Fn(u64) -> String| {
        let mut world = World::new(WITH_TOKENS);
        world.site.learn(world.now);
        let (_, answer) = world.get_as("/svrlist", BEIJING, None);
        for n in 0..100 {
            let body = serde_json::json!({
                "token": answer["token"],
                "session": format!("session {n}"),
                "reports": [{ "edge": "bj-telecom", "attempts": 1, "failures": 1 }],
            });
            assert_eq!(world.report(&from(n), &body).0, StatusCode::NO_CONTENT);
        }
        world.pass(learning::TICK);
        world.site.learn(world.now);
        let cell = world.site.places().lookup(BEIJING.parse().unwrap()).cell();
        let edge = fixture::edge("bj-telecom", "110000", "telecom");
        let row = world.site.planned();
        row.conditions.view.row(cell).estimate(&edge, None).reports
    };
    let at_home = reports(&|n| format!("127.{}.9.1", 100 + n));
    let (mobile, nowhere) = (reports(&|_| "127.0.3.9".into()), reports(&|n| format!("10.{n}.0.1")));
    assert!(at_home > 90.0, "{at_home}");
    // As much as one prefix where nobody else says anything, so that who roams is heard at all.
    assert!((1.0..4.0).contains(&mobile), "{mobile}");
    assert!((1.0..4.0).contains(&nowhere), "from however many networks: {nowhere}");
}

#[test]
fn who_is_known_less_well_does_not_roam() {
    let cell = |region: &str, carrier| Cell { region: Region::parse(region).unwrap(), carrier };
    let place = |region: &str, carrier, also: &[Carrier]| Place {
        region: Region::parse(region).unwrap(),
        carrier,
        also: also.iter().copied().collect(),
        ..Place::default()
    };
    let telecom = Carrier::Telecom;
    let guangzhou = cell("440100", telecom);
    for region in ["440100", "440000", "100000"] {
        assert!(lies_in(&place(region, telecom, &[]), guangzhou), "{region}");
        assert!(lies_in(&place("440100", telecom, &[]), cell(region, telecom)), "{region}");
    }
    assert!(lies_in(&place("440100", Carrier::Unicom, &[telecom]), guangzhou));
    for (region, carrier) in [
        ("440300", telecom),
        ("110000", telecom),
        ("SG", telecom),
        ("unknown", telecom),
        ("440100", Carrier::Unicom),
        ("440100", Carrier::Unknown),
    ] {
        assert!(!lies_in(&place(region, carrier, &[]), guangzhou), "{region} {carrier:?}");
    }
    assert!(lies_in(&Place::default(), Cell::default()), "without a database nobody roams");
}

#[test]
fn rankings_in_memory_are_counted_by_what_they_take() {
    let cache = rankings(100_000);
    let ranked = |edges: usize| {
        let edge = |at| Arc::new(fixture::edge(&format!("e{at}"), "110000", "telecom"));
        let edges: Vec<Arc<Edge>> = (0..edges).map(edge).collect();
        Arc::new(Ranked::new(Ranking::new(Vantage::default(), &edges), Arc::default()))
    };
    let kept = |edges: usize| {
        cache.invalidate_all();
        let ranked = ranked(edges);
        for list in 0..1000 {
            let key = (list, edges as u64, Vantage::default(), Cell::default());
            cache.insert(key, Arc::clone(&ranked));
            cache.run_pending_tasks();
        }
        assert!(cache.weighted_size() <= 100_000);
        cache.entry_count()
    };
    let (few, many) = (kept(1), kept(200));
    assert!((50..400).contains(&few) && (1..10).contains(&many), "{few} {many}");
}

#[test]
fn reports_are_refused_with_a_reason() {
    let mut world = World::new(WITH_TOKENS);
    world.site.learn(world.now);
    let (_, answer) = world.get_as("/svrlist", BEIJING, None);
    let report = |token: &Value, session: &str| {
        serde_json::json!({
            "token": token, "session": session, "reports": [{ "edge": "bj-telecom", "attempts": 1 }],
        })
    };
    assert_eq!(answer["report_interval"], learning::INTERVAL.as_secs());
    let good = report(&answer["token"], "session 1");
    assert_eq!(world.report(BEIJING, &good).0, StatusCode::NO_CONTENT);
    assert_eq!(world.report(BEIJING, &good).0, StatusCode::TOO_MANY_REQUESTS, "twice");
    let forged = report(&Value::from("forged"), "session 2");
    assert_eq!(world.report(BEIJING, &forged).0, StatusCode::UNAUTHORIZED);
    let (status, said) = world.report(BEIJING, &serde_json::json!({ "token": "t" }));
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(said.contains("session"), "{said}");
    world.pass(Duration::from_secs(86_400));
    assert_eq!(world.report(BEIJING, &good).0, StatusCode::UNAUTHORIZED, "its token has run out");

    let silent = World::new("");
    assert_eq!(silent.report(BEIJING, &good).0, StatusCode::NOT_FOUND);
}

#[test]
fn ends_of_an_edge_count_from_its_first_report_on() {
    let mut world = World::new("");
    let edge = Edge { begun: 400, ended: 400, ..fixture::edge("gz-mobile", "440100", "mobile") };
    let cell = world.site.places().lookup("127.0.3.1".parse().unwrap()).cell();
    let reports = |world: &World| {
        world.site.planned().conditions.view.row(cell).estimate(&edge, None).reports
    };
    for number in [1, 2] {
        let prefix = vec![127, 0, 3].into();
        let ends = control::PrefixEnds { prefix, normal: 200, ..Default::default() };
        let ends = control::Ends { session: 1, number, prefixes: vec![ends] };
        assert_eq!(reports(&world), 0.0);
        world.site.handle_ends(&edge, &ends).unwrap();
        world.now.monotonic += learning::TICK;
        world.site.learn(world.now);
    }
    // The first batch told what is usual, the second by how much this differs.
    assert!(reports(&world) > 5.0, "{}", reports(&world));
    let more = control::Ends { session: 1, number: 3, prefixes: vec![] };
    assert_eq!(world.site.handle_ends(&edge, &more), Ok(()));
}
