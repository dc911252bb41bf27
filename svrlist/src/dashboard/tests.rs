//! Views of made-up networks at given times.

use std::net::SocketAddr;

use geo_data::{Carrier, Cell, Region};
use hyper::HeaderMap;
use serde_json::Value;
use shared::io::http::Query;

use super::facts::State;
use super::*;
use crate::edge::Edge;
use crate::fixture::{Scene, body, edge, line_report, report};
use crate::learning::{Ends, Learning};
use crate::planner::Planned;
use crate::ranking::{Conditions, Policy};

/// Edges that report, what is learnt of them, and a clock.
struct World {
    scene: Scene,
    learning: Learning,
    policy: Policy,
}

impl World {
    fn new() -> Self {
        Self { scene: Scene::new(), learning: Learning::new(), policy: Policy::default() }
    }

    fn learn(&mut self) {
        let list = self.scene.list();
        let edges = list.edges.iter().map(|listed| &listed.edge);
        self.learning.handle_tick(edges, self.scene.now.monotonic);
    }

    fn facts(&mut self) -> Facts {
        let list = self.scene.list();
        let policy = Arc::new(self.policy.clone());
        let conditions = Conditions { view: self.learning.view(), policy, ..Conditions::default() };
        let planned = Planned { conditions, ..Planned::default() };
        self.scene.facts(&list, planned)
    }

    fn see(&mut self, view: &View) -> (StatusCode, Value) {
        let dashboard = Dashboard::default();
        dashboard.show(self.facts());
        let response = dashboard.answer(view);
        let status = response.status();
        (status, serde_json::from_slice(&body(response)).unwrap())
    }
}

fn read(method: Method, path: &str) -> Option<Result<View, Refusal>> {
    View::read(&Request {
        method,
        path: path.to_owned(),
        query: Query::default(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        peer: SocketAddr::from(([127, 0, 0, 1], 4242)),
    })
}

fn beijing() -> Cell {
    Cell { region: Region::parse("110000").unwrap(), carrier: Carrier::Telecom }
}

#[test]
fn the_overview_tells_of_edges_sites_and_zones() {
    let mut world = World::new();
    let mut first = report("bj-1", "110000", "telecom");
    (first.site, first.zone) = ("bj".to_owned(), "blue".to_owned());
    (first.connections, first.bits_out, first.bits_out_max) = (40, 500, 1000);
    let mut line = line_report();
    (line.line, line.primary, line.loss, line.loss_up) = (3, true, 0.25, 0.5);
    first.lines = vec![line];
    let mut second = report("bj-2", "110000", "unicom");
    (second.site, second.connections, second.bits_out) = ("bj".to_owned(), 2, 7);
    for report in [&first, &second] {
        world.scene.report(Edge::from_report(report).unwrap());
    }
    world.policy.zone_shares.insert("green".to_owned(), 0.0);
    let (status, overview) = world.see(&View::Overview);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(overview["now_ms"], 1_800_000_000_000_u64);
    let edge = &overview["edges"][0];
    assert_eq!((&edge["name"], &edge["state"]), (&"bj-1".into(), &"open".into()));
    assert!((edge["position"]["lat"].as_f64().unwrap() - 39.9).abs() < 0.5, "{edge}");
    let line = &edge["lines"][0];
    assert_eq!((&line["line"], &line["primary"]), (&3.into(), &true.into()));
    assert_eq!((&line["loss"], &line["loss_up"]), (&0.25.into(), &0.5.into()));
    assert_eq!(
        (&line["remote"], &line["remote_carrier"]),
        (&"203.0.113.1:7401".into(), &"telecom".into())
    );
    let site = &overview["sites"][0];
    assert_eq!((&site["connections"], &site["bits_out"]), (&42.into(), &507.into()));
    assert_eq!(site["edges"], serde_json::json!(["bj-1", "bj-2"]));
    assert_eq!(site["carriers"], serde_json::json!(["telecom", "unicom"]));
    let zones = overview["zones"].as_array().unwrap();
    let named: Vec<_> = zones.iter().map(|zone| zone["zone"].as_str().unwrap()).collect();
    assert_eq!(named, ["", "blue", "green"], "those without edges, too");
    assert_eq!((&zones[2]["drained"], &zones[1]["drained"]), (&true.into(), &false.into()));
    assert_eq!((&zones[2]["share"], &zones[1]["share"]), (&0.0.into(), &Value::Null));
}

#[test]
fn the_state_of_an_edge_is_one_word() {
    let of = |change: fn(&mut Edge)| {
        let mut world = World::new();
        let mut edge = edge("a", "110000", "telecom");
        change(&mut edge);
        world.policy.drained.sites.insert("closed".to_owned());
        world.scene.report(edge);
        world.facts().edges[0].state
    };
    assert_eq!(of(|_| {}), State::Open);
    assert_eq!(of(|edge| edge.load = 0.99), State::Full);
    assert_eq!(of(|edge| edge.busy = true), State::Busy);
    assert_eq!(of(|edge| edge.draining = true), State::Draining);
    assert_eq!(of(|edge| edge.weight = 0.0), State::Drained);
    assert_eq!(of(|edge| edge.site = "closed".into()), State::Drained);
    assert_eq!(serde_json::to_value(State::CutOff).unwrap(), "cut-off");
}

#[test]
fn a_lost_edge_is_shown_for_an_hour_and_one_that_said_goodbye_is_not() {
    let mut world = World::new();
    world.scene.report(edge("stays", "110000", "telecom"));
    world.scene.report(edge("dies", "110000", "telecom"));
    world.scene.report(Edge { draining: true, ..edge("leaves", "110000", "telecom") });
    assert_eq!(world.facts().edges.len(), 3);
    for _ in 0..6 {
        world.scene.wait(2);
        world.scene.report(edge("stays", "110000", "telecom"));
    }
    let facts = world.facts();
    let states: Vec<_> = facts.edges.iter().map(|s| (&*s.edge.name, s.state)).collect();
    assert_eq!(states, [("dies", State::Lost), ("stays", State::Open)]);
    let (_, map) = world.see(&View::Map);
    assert_eq!(map["edges"].as_array().unwrap().len(), 1, "nobody is sent to a lost edge");
    world.scene.wait(facts::SHOWN_FOR.as_secs());
    world.scene.report(edge("stays", "110000", "telecom"));
    assert_eq!(world.facts().edges.len(), 1);
}

#[test]
fn the_map_and_the_pages_tell_what_was_learnt() {
    let mut world = World::new();
    for round in 0..40 {
        world.scene.report(edge("good", "110000", "telecom"));
        world.scene.report(edge("other", "440100", "mobile"));
        world.learn();
        let ends = Ends { normal: 90, reset: 10, ..Ends::default() };
        if round > 0 {
            world.learning.intake.handle_ends(&"good".into(), beijing(), &ends);
        }
        world.scene.wait(2);
    }
    let (_, map) = world.see(&View::Map);
    assert_eq!((&map["edges"][0]["name"], &map["left_out"]), (&"good".into(), &0.into()));
    let row = &map["cells"][0];
    assert_eq!((&row["cell"], &row["name"]), (&"110000/telecom".into(), &"Beijing".into()));
    assert!(row["values"][0]["reports"].as_f64().unwrap() > 10.0, "{row}");
    assert!(row["values"][0]["share"].as_f64().unwrap() > 0.9, "{row}");
    assert_eq!(row["values"].as_array().unwrap().len(), 2, "one for each edge: {row}");
    let (_, page) = world.see(&View::Edge("good".to_owned()));
    assert_eq!(page["cells"][0]["cell"], "110000/telecom");
    assert_eq!(page["cells"].as_array().unwrap().len(), 1);
    let (_, page) = world.see(&View::Cell(beijing()));
    assert_eq!((&page["known"], &page["edges"][0]["edge"]), (&true.into(), &"good".into()));
    assert_eq!(page["edges"][0]["distance_km"], 0.0);
    let (_, page) = world.see(&View::Cell(Cell::default()));
    assert_eq!((&page["known"], &page["cell"]), (&false.into(), &"unknown/unknown".into()));
}

#[test]
fn a_view_is_written_once_a_shot_and_a_map_once_in_a_while() {
    let mut world = World::new();
    world.scene.report(edge("a", "110000", "telecom"));
    let dashboard = Dashboard::default();
    dashboard.show(world.facts());
    let (shot, map) = (dashboard.shot(), dashboard.shot().map());
    assert_eq!(shot.overview().as_ptr(), shot.overview().as_ptr(), "the very same bytes");
    let page = |name: &str| shot.page(&View::Edge(name.to_owned()));
    assert_eq!(page("a").unwrap().as_ptr(), page("a").unwrap().as_ptr());
    world.scene.wait(1);
    dashboard.show(world.facts());
    assert_ne!(dashboard.shot().overview(), shot.overview(), "the time went on");
    assert_eq!(dashboard.shot().map().as_ptr(), map.as_ptr(), "not yet");
    world.scene.wait(map::LASTS.as_secs());
    dashboard.show(world.facts());
    assert_ne!(dashboard.shot().map().as_ptr(), map.as_ptr());
}

#[test]
fn paths_are_read_and_nonsense_is_refused_by_field() {
    let get = |path| read(Method::GET, path);
    assert_eq!(get("/api/overview"), Some(Ok(View::Overview)));
    assert_eq!(get("/edges"), Some(Ok(View::Overview)));
    assert_eq!(get("/api/edges/b%6A-1"), Some(Ok(View::Edge("bj-1".to_owned()))));
    assert_eq!(get("/api/cells/110000/telecom"), Some(Ok(View::Cell(beijing()))));
    assert_eq!(get("/api/overview/"), None);
    assert_eq!(get("/svrlist"), None);
    let long = format!("/api/edges/{}", "a".repeat(65));
    for (path, named) in [
        ("/api/edges/", "edge"),
        ("/api/edges/%zz", "edge"),
        (&*long, "edge"),
        ("/api/cells/", "cell"),
        ("/api/cells/110000", "cell"),
        ("/api/cells/110000/telecom/x", "cell"),
        ("/api/cells/000000/telecom", "cell"),
        ("/api/cells/110000/CT", "cell"),
    ] {
        match get(path) {
            Some(Err(refusal @ Refusal::Field { field, .. })) => {
                assert_eq!(field, named, "{path}");
                assert_eq!(refusal.response().status(), StatusCode::BAD_REQUEST);
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    assert_eq!(read(Method::POST, "/api/map"), Some(Err(Refusal::Method)));
    assert_eq!(Refusal::Method.response().headers()["allow"], "GET, HEAD");
}

#[test]
fn an_edge_that_nobody_knows_is_not_found() {
    let (status, answer) = World::new().see(&View::Edge("a".to_owned()));
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["error"].is_string());
}

fn ask(query: &str) -> Result<history::Ask, Refusal> {
    history::Ask::read(&Query::parse(query).unwrap())
}

/// The field that a question is refused for, when it is asked or answered.
fn refused(query: &str) -> &'static str {
    let empty = crate::history::History::new(1);
    let answer = |ask| history::Answer::new(&ask, &empty, 1_800_000_000_000).map(|_| ());
    match ask(query).and_then(answer) {
        Err(Refusal::Field { field, .. }) => field,
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn hostile_questions_about_history_are_refused_by_field() {
    let many = format!("series={}", ["edge.a.load"; 33].join(","));
    let repeated = ["series=edge.a.load"; 33].join("&");
    for (query, field) in [
        ("", "series"),
        ("series=", "series"),
        ("series=edge.a.load,", "series"),
        ("series=edge.a.nonsense", "series"),
        ("series=line.a.99999999999.up", "series"),
        (&*many, "series"),
        (&*repeated, "series"),
        ("series=edge.a.load&points=0", "points"),
        ("series=edge.a.load&points=2001", "points"),
        ("series=edge.a.load&points=-1", "points"),
        ("series=edge.a.load&from_ms=yesterday", "from_ms"),
        ("series=edge.a.load&from_ms=18446744073709551615", "from_ms"),
        ("series=edge.a.load&to_ms=1e3", "to_ms"),
        ("series=edge.a.load&from_ms=10&to_ms=10", "from_ms"),
        ("series=edge.a.load&from_ms=0", "from_ms"),
        ("series=edge.a.load&from_ms=0&to_ms=2678400001", "from_ms"),
    ] {
        assert_eq!(refused(query), field, "{query}");
    }
    assert!(ask("series=edge.a.load&from_ms=&points=").is_ok(), "empty counts as absent");
}

#[test]
fn histories_are_sampled_and_told_with_nulls_where_nothing_was_heard() {
    let mut world = World::new();
    let mut kept = crate::history::History::new(100);
    let mut told = report("a", "110000", "telecom");
    (told.connections, told.bits_out) = (7, 1000);
    told.lines = vec![line_report()];
    told.lines[0].line = 4;
    for second in 0..60 {
        if second < 20 {
            world.scene.report(Edge::from_report(&told).unwrap());
        }
        let facts = world.facts();
        kept.handle_samples(history::samples(&facts), facts.now_ms);
        world.scene.wait(1);
    }
    let now_ms = world.scene.now.since_1970_ms();
    let from = now_ms - 60_000;
    let names = "edge.a.connections,site.site-a.bits_out,line.a.4.rtt_ms,line.a.5.rtt_ms";
    let ask =
        ask(&format!("series={names}&series=site.site-a.price&from_ms={from}&to_ms={now_ms}"));
    let answer = history::Answer::new(&ask.unwrap(), &kept, now_ms).unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!((&answer["step_ms"], &answer["from_ms"]), (&10_000.into(), &from.into()));
    let points = |at: usize| -> Vec<Option<f64>> {
        let points = answer["series"][at]["points"].as_array().unwrap();
        points.iter().map(|point| point[1].as_f64()).collect()
    };
    // It is lost eight seconds after its last report.
    let heard = |value| [Some(value), Some(value), Some(value), None, None, None];
    assert_eq!(points(0), heard(7.0));
    assert_eq!(points(1), heard(1000.0));
    assert_eq!(points(2), heard(40.0));
    assert_eq!(points(3), [None; 6], "such a line there never was");
    assert_eq!(points(4), heard(0.0));
    assert_eq!(answer["series"][2]["unit"], "ms");
    assert_eq!(answer["series"][0]["name"], "edge.a.connections");
}

#[test]
fn a_pair_of_which_much_is_known_has_a_history() {
    let mut world = World::new();
    for round in 0..40 {
        world.scene.report(edge("a", "110000", "telecom"));
        world.learn();
        let ends = Ends { normal: 90, reset: 10, ..Ends::default() };
        if round > 0 {
            world.learning.intake.handle_ends(&"a".into(), beijing(), &ends);
        }
        world.scene.wait(2);
    }
    let samples = history::samples(&world.facts());
    let named = samples.iter().map(|(series, _)| series.to_string());
    assert!(named.into_iter().any(|name| name == "pair.110000/telecom.a.drop_pp"), "{samples:?}");
}
