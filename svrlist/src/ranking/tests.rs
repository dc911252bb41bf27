//! The policy as examples, and the promises as properties.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use geo_data::Region;
use proptest::prelude::*;
use shared::wire::control;

use super::score::*;
use super::*;
use crate::fixture;
use crate::learning::{Learning, Tally};

fn vantage(region: &str, carrier: Carrier) -> Vantage {
    let position = Region::parse(region).unwrap().position();
    Vantage { carrier, position, ..Vantage::default() }
}

fn edge(name: &str, region: &str, carrier: &str) -> Arc<Edge> {
    Arc::new(fixture::edge(name, region, carrier))
}

fn changed(edge: &Arc<Edge>, change: impl FnOnce(&mut Edge)) -> Arc<Edge> {
    let mut edge = (**edge).clone();
    change(&mut edge);
    Arc::new(edge)
}

fn names(vantage: Vantage, edges: &[Arc<Edge>], user: &str) -> Vec<String> {
    let ranking = Ranking::new(vantage, edges);
    let chosen = ranking.choose(user.as_bytes(), |_| true);
    chosen.iter().map(|choice| choice.edge.name.to_string()).collect()
}

fn first(vantage: Vantage, edges: &[Arc<Edge>], user: &str) -> String {
    names(vantage, edges, user).swap_remove(0)
}

/// Share of a thousand users whose first server is `name`.
fn share(vantage: Vantage, edges: &[Arc<Edge>], name: &str) -> f64 {
    let hits = (0..1000).filter(|user| first(vantage, edges, &user.to_string()) == name);
    hits.count() as f64 / 1000.0
}

#[test]
fn the_same_carrier_first_then_the_distance() {
    let edges = [
        edge("beijing-telecom", "110000", "telecom"),
        edge("shanghai-unicom", "310000", "unicom"),
        edge("guangzhou-mobile", "440100", "mobile"),
    ];
    let from = |region, carrier| names(vantage(region, carrier), &edges, "42");
    // Beijing and Guangzhou are about equally far from Shanghai.
    assert_eq!(from("310000", Carrier::Unicom)[0], "shanghai-unicom");
    // From Shenzhen over telecom: its own carrier though it is far, then the nearest.
    assert_eq!(
        from("440300", Carrier::Telecom),
        ["beijing-telecom", "guangzhou-mobile", "shanghai-unicom"]
    );
    assert_eq!(from("440300", Carrier::Unknown)[0], "guangzhou-mobile");
}

#[test]
fn an_unknown_carrier_is_nobodys_own() {
    let [unknown, cloud] = ["unknown", "cloud"].map(|carrier| edge(carrier, "110000", carrier));
    let matches = |client, edge: &Arc<Edge>| {
        let ranking = Ranking::new(vantage("110000", client), [edge]);
        let why = ranking.choose(b"1", |_| true)[0].why;
        (why.cost.carrier, why.carrier_match())
    };
    for client in [Carrier::Unknown, Carrier::Telecom, Carrier::Cloud] {
        assert_eq!(matches(client, &unknown), (BETWEEN_CARRIERS_PP, "between"), "{client:?}");
    }
    assert_eq!(matches(Carrier::Unknown, &cloud), (BETWEEN_CARRIERS_PP, "between"));
    assert_eq!(matches(Carrier::Cloud, &cloud), (0.0, "same"));
    // So it does not draw every client whose carrier is unknown.
    let edges = [unknown, edge("telecom", "110000", "telecom")];
    let share = share(vantage("110000", Carrier::Unknown), &edges, "unknown");
    assert!((0.45..0.55).contains(&share), "{share}");
}

#[test]
fn reasons_are_in_words() {
    let edges = [edge("bj", "110000", "telecom"), edge("sh", "310000", "unicom")];
    let ranking = Ranking::new(vantage("110000", Carrier::Telecom), &edges);
    let why: Vec<String> =
        ranking.choose(b"1", |_| true).iter().map(|choice| choice.why.to_string()).collect();
    assert_eq!(why, ["same carrier, 0 km, load 0 %", "other carrier, 1067 km, load 0 %"]);
}

#[test]
fn equals_share_users_by_weight() {
    let heavy = changed(&edge("a", "110000", "telecom"), |edge| edge.weight = 3.0);
    let equal = [Arc::clone(&heavy), edge("b", "110000", "telecom")];
    let client = vantage("110000", Carrier::Telecom);
    let by_weight = share(client, &equal, "a");
    assert!((0.72..0.78).contains(&by_weight), "{by_weight}");
    // A hundred kilometres are a tenth of a point: three fifths of as many.
    let nearly = share(client, &[heavy, edge("b", "120000", "telecom")], "a");
    assert!((0.80..0.87).contains(&nearly), "{nearly}");
}

#[test]
fn load_moves_users_a_few_at_a_time() {
    let client = vantage("110000", Carrier::Telecom);
    let at = |load| {
        let near = changed(&edge("near", "110000", "telecom"), |edge| edge.load = load);
        share(client, &[near, edge("far", "310000", "telecom")], "near")
    };
    // But for the few who are sent to the far one, which has more room.
    assert!(at(0.0) > 0.98 && at(0.80) > 0.95, "{} {}", at(0.0), at(0.80));
    let shares: Vec<f64> = (82..94).map(|percent| at(f64::from(percent) / 100.0)).collect();
    assert!(shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
    let between = shares.iter().filter(|share| (0.01..0.99).contains(*share)).count();
    assert!(between >= 4 && at(0.96) == 0.0, "{shares:?}");
    assert_eq!(at(0.98), 0.0);
}

#[test]
fn clients_go_elsewhere_only_where_they_are_taken() {
    let named = |name: &str, region: &str, load: f64| {
        changed(&edge(name, region, "telecom"), |edge| {
            edge.load = load;
            edge.endpoints.iter_mut().for_each(|endpoint| endpoint.host = name.into());
        })
    };
    let of = named("of", "110000", 1.0);
    let near = named("near", "120000", 0.0);
    let far = named("far", "440000", 0.0);
    let busy = named("busy", "110000", 1.0);
    let told = |edges: &[&Arc<Edge>], policy: Policy| -> Vec<(String, String, f64)> {
        let conditions = Conditions { policy: Arc::new(policy), ..Conditions::default() };
        let told = elsewhere(&of, edges.iter().copied(), &conditions);
        let text = |told: control::Alternative| {
            let endpoint = told.endpoint.unwrap();
            (endpoint.host, endpoint.protocol, told.share)
        };
        told.into_iter().map(text).collect()
    };
    let hosts = |edges: &[&Arc<Edge>], policy: Policy| -> Vec<(String, f64)> {
        let told = told(edges, policy).into_iter().filter(|(_, protocol, _)| protocol == "http");
        told.map(|(host, _, share)| (host, share)).collect()
    };
    let one = |name: &str, share| (name.to_owned(), share);
    // The far one is so much worse that hardly anybody is sent there.
    let told = told(&[&of, &far, &busy, &near], Policy::default());
    let names: Vec<_> =
        told.iter().map(|(host, protocol, share)| (&**host, &**protocol, *share)).collect();
    let expected = [("near", 0.95), ("far", 0.05)]
        .map(|(host, share)| ["goim-tcp", "http"].map(|protocol| (host, protocol, share)));
    assert_eq!(names, expected.concat());
    // The best comes first and gets most; the next best some; room counts as quality does.
    let next = named("next", "310000", 0.0);
    let filled = named("filled", "120000", 0.7);
    let shares = hosts(&[&of, &next, &filled, &near], Policy::default());
    assert_eq!(shares, [one("near", 0.7), one("filled", 0.2), one("next", 0.1)]);
    // What the operator drained is no place to go to, and zones keep to themselves.
    let drained = |name: &str| {
        let mut policy = Policy::default();
        policy.drained.edges.insert(name.to_owned());
        policy
    };
    assert_eq!(hosts(&[&of, &near, &far], drained("near")), [one("far", 1.0)]);
    let green = changed(&near, |edge| edge.zone = "green".into());
    let zones =
        |share| Policy { zone_shares: [("green".to_owned(), share)].into(), ..Policy::default() };
    assert_eq!(hosts(&[&of, &green, &far], zones(5.0)), [one("far", 1.0)]);
    assert_eq!(hosts(&[&of, &green], zones(5.0)), [one("near", 1.0)], "better than nothing");
    assert_eq!(hosts(&[&of, &green], zones(0.0)), []);
    assert_eq!(hosts(&[&of, &busy], Policy::default()), []);
}

#[test]
fn clients_go_elsewhere_by_what_was_learnt() {
    let edges: Vec<Arc<Edge>> =
        ["of", "good", "bad"].iter().map(|name| edge(name, "110000", "telecom")).collect();
    let conditions = told("110000", &edges, &[("good", 0.01), ("bad", 0.06)], 40);
    let told = elsewhere(&edges[0], &edges, &conditions);
    let good = told.iter().map(|told| told.share).collect::<Vec<f64>>();
    assert_eq!(good, [1.0, 1.0], "one edge with two listeners: {told:?}");
}

#[test]
fn who_has_several_carriers_counts_as_of_each() {
    let home = edge("unicom at home", "110000", "unicom");
    let edges = [edge("telecom far away", "440100", "telecom"), Arc::clone(&home)];
    let single = vantage("110000", Carrier::Telecom);
    assert_eq!(first(single, &edges, "1"), "telecom far away");
    let double = Vantage { also: Carriers::default().with(Carrier::Unicom), ..single };
    let ranking = Ranking::new(double, &edges);
    let best = ranking.choose(b"1", |_| true)[0].why;
    assert_eq!((best.carrier_match(), best.cost.distance_km), ("same", Some(0.0)));
    assert_eq!(double.carrier_at(Carrier::Mobile), Carrier::Telecom);
    // And meets there what its clients have met.
    let mut learning = Learning::new();
    #[allow(clippy::disallowed_methods, reason = "a beginning that any other would do for")]
    let start = Instant::now();
    learning.handle_tick(&edges, start);
    let region = Region::parse("110000").unwrap();
    for (carrier, bad) in [(Carrier::Telecom, 90.0), (Carrier::Unicom, 10.0)] {
        let tally = Tally { reports: 1000.0, bad, ..Tally::default() };
        learning.handle_tally("unicom at home", Cell { region, carrier }, &tally);
    }
    let view = learning.handle_tick(&edges, start + Duration::from_secs(5));
    let conditions = Conditions { view, ..Conditions::default() };
    let mean = |vantage| {
        let cell = Cell { region, carrier: Carrier::Telecom };
        let ranking = Ranking::of(vantage, cell, [&home], &conditions);
        ranking.choose(b"1", |_| true)[0].explain.terms.mean
    };
    assert!(mean(single) > 8.0 && mean(double) < 1.5, "{} {}", mean(single), mean(double));
}

#[test]
fn what_is_full_or_draining_is_the_last_resort() {
    let full = changed(&edge("full", "110000", "telecom"), |edge| edge.load = 0.99);
    let draining = changed(&edge("draining", "110000", "telecom"), |edge| edge.draining = true);
    let weightless = changed(&edge("weightless", "110000", "telecom"), |edge| edge.weight = 0.0);
    let client = vantage("110000", Carrier::Telecom);
    let open = edge("open", "650100", "mobile");
    let cut_off = changed(&edge("cut off", "110000", "telecom"), |edge| edge.cut_off = true);
    let all = [draining, weightless, cut_off, full, open];
    assert_eq!(names(client, &all, "1"), ["open", "full", "cut off"]);
    let last = names(client, &all[..4], "1");
    assert_eq!((last.len(), &last[..2]), (3, &["full".to_owned(), "cut off".to_owned()][..]));
    assert_eq!(names(client, &all[..3], "1")[0], "cut off");
    assert_eq!(names(client, &all[..2], "1").len(), 2);
    assert!(names(client, &[], "1").is_empty());
}

#[test]
fn one_open_edge_among_full_ones_is_not_the_only_one_named() {
    let full = |n| changed(&edge(&format!("full {n}"), "110000", "telecom"), |e| e.load = 0.99);
    let mut edges: Vec<Arc<Edge>> = (0..10).map(full).collect();
    edges.push(edge("open", "650100", "telecom"));
    let client = vantage("110000", Carrier::Telecom);
    let ranking = Ranking::new(client, &edges);
    let chosen = ranking.choose(b"1", |_| true);
    let standings: Vec<Standing> = chosen.iter().map(|choice| choice.why.standing).collect();
    assert_eq!(standings, [Standing::Open, Standing::Full, Standing::Full]);
    assert_eq!(chosen[1].why.to_string(), "same carrier, 0 km, load 99 %, full");
    // Another carrier is worth a place on the list, though at its end.
    let unicom = edge("unicom", "110000", "unicom");
    edges.push(changed(&unicom, |edge| edge.draining = true));
    let names = names(client, &edges, "1");
    assert_eq!((names.len(), &*names[0], &*names[3]), (4, "open", "unicom"));
}

#[test]
fn a_second_carrier_and_site_come_in_at_the_end() {
    let mut edges: Vec<Arc<Edge>> = (0..8)
        .map(|n| changed(&edge(&format!("t{n}"), "110000", "telecom"), |e| e.site = "one".into()))
        .collect();
    edges.push(changed(&edge("u", "110000", "unicom"), |edge| edge.site = "one".into()));
    edges.push(changed(&edge("far", "650100", "telecom"), |edge| edge.site = "two".into()));
    let names = names(vantage("110000", Carrier::Telecom), &edges, "7");
    assert_eq!(names.len(), SERVERS_MAX);
    assert_eq!(names[3..], ["far", "u"]);
}

#[test]
fn only_admitted_edges_are_named() {
    let edges = [edge("a", "110000", "telecom"), edge("b", "110000", "telecom")];
    let ranking = Ranking::new(vantage("110000", Carrier::Telecom), &edges);
    let chosen = ranking.choose(b"1", |edge| &*edge.name == "b");
    assert_eq!(chosen.len(), 1);
}

#[test]
fn the_load_penalty_is_the_written_one() {
    assert_eq!(load_cost(0.5), 0.0);
    assert_eq!(load_cost(0.80), 0.0);
    assert!((load_cost(0.86) - 0.5).abs() < 1e-9);
    assert!((load_cost(0.92) - 1.0).abs() < 1e-9);
    assert!((load_cost(0.95) - 10.5).abs() < 1e-9);
    assert_eq!(load_cost(5.0), LOAD_FULL_PP);
}

/// What clients of a cell told of edges, for some ticks.
fn told(region: &str, edges: &[Arc<Edge>], rates: &[(&str, f64)], ticks: u64) -> Conditions {
    let cell = Cell { region: Region::parse(region).unwrap(), carrier: Carrier::Telecom };
    let mut learning = Learning::new();
    #[allow(clippy::disallowed_methods, reason = "a beginning that any other would do for")]
    let start = Instant::now();
    for tick in 0..ticks {
        let view = learning.handle_tick(edges, start + 5 * tick as u32 * Duration::from_secs(1));
        drop(view);
        for (edge, rate) in rates {
            let tally = Tally { reports: 100.0, bad: 100.0 * rate, ..Tally::default() };
            learning.handle_tally(edge, cell, &tally);
        }
    }
    let view = learning.handle_tick(edges, start + 5 * ticks as u32 * Duration::from_secs(1));
    Conditions { view, ..Conditions::default() }
}

fn ranked(region: &str, edges: &[Arc<Edge>], conditions: &Conditions) -> Ranking {
    let vantage = vantage(region, Carrier::Telecom);
    let cell = Cell { region: Region::parse(region).unwrap(), carrier: Carrier::Telecom };
    Ranking::of(vantage, cell, edges, conditions)
}

fn share_of(ranking: &Ranking, name: &str) -> f64 {
    ranking.shares().find(|(edge, _)| &*edge.name == name).map_or(0.0, |(_, share)| share)
}

#[test]
fn what_clients_met_outranks_the_map() {
    let edges = [edge("near", "110000", "telecom"), edge("far", "440100", "telecom")];
    let conditions = told("110000", &edges, &[("near", 0.04), ("far", 0.005)], 40);
    let ranking = ranked("110000", &edges, &conditions);
    assert!(share_of(&ranking, "far") > 0.999);
    let choices = ranking.choose(b"1", |_| true);
    let [far, near] = [choices[0].explain, choices[1].explain];
    assert_eq!(
        (far.placed, far.near, near.placed, near.near),
        (Placed::NearBest, true, Placed::Next, false)
    );
    assert!(near.behind > 3.0 && near.reports > 1000.0, "{near:?}");
    assert!((near.terms.score() - near.score).abs() < 1e-12);
}

#[test]
fn a_score_that_wavers_sends_nobody_back_and_forth() {
    // The best are busy, and one that is hardly as good has all its room.
    let busy = |name: &str| {
        changed(&edge(name, "110000", "telecom"), |edge| {
            (edge.connections, edge.load, edge.connections_max) = (800, 0.8, 1000);
        })
    };
    let edges = [busy("a"), busy("b"), edge("empty", "110000", "telecom")];
    let empty = |rate: f64| {
        let rates = [("a", 0.01), ("b", 0.01), ("empty", rate)];
        share_of(&ranked("110000", &edges, &told("110000", &edges, &rates, 40)), "empty")
    };
    for behind in [0.001, 0.003, 0.005, 0.0055, 0.006, 0.007] {
        let (before, after) = (empty(0.01 + behind), empty(0.0105 + behind));
        assert!(after > 0.6 * before, "{behind}: {before} to {after}");
    }
}

#[test]
fn the_first_good_reports_bring_no_flood() {
    let edges = [edge("known", "110000", "telecom"), edge("new", "110000", "telecom")];
    let new = |rates: &[(&str, f64)]| {
        share_of(&ranked("110000", &edges, &told("110000", &edges, rates, 40)), "new")
    };
    let unheard = new(&[("known", 0.01)]);
    let known = new(&[("known", 0.01), ("new", 0.008)]);
    assert!((0.01..0.1).contains(&unheard), "{unheard}");
    assert!(known > 0.7, "{known}");
}

#[test]
fn an_edge_takes_no_more_than_its_quota_and_the_next_best_take_the_rest() {
    let named = |name: &str, region: &str| {
        changed(&edge(name, region, "telecom"), |edge| {
            (edge.connections, edge.load, edge.connections_max) = (500, 0.5, 1000);
        })
    };
    let edges = [named("best", "110000"), named("next", "310000"), named("last", "650000")];
    let quotas: Vec<Quota> = edges.iter().map(|edge| Quota::of(edge, 0.0)).collect();
    // Of 1000: a quarter of the 300 below the easy load, and 3 % of the 180 beyond it.
    let quota = 75.0 + 5.4;
    assert!((quotas[0].sessions - quota).abs() < 1e-9, "{quotas:?}");
    let vantage = vantage("110000", Carrier::Telecom);
    let cell = Cell { region: Region::parse("110000").unwrap(), carrier: Carrier::Telecom };
    let planned = |sessions| {
        let demand = Demand { cell, vantage, sessions };
        plan(&Conditions::default(), &edges, &quotas, &[demand])
    };
    let few = planned(0.9 * quota);
    assert!(share_of(&few.rankings[0], "best") > 0.99);
    let sessions = quota / 0.6;
    let many = planned(sessions);
    let ranking = &many.rankings[0];
    let shares = ["best", "next", "last"].map(|name| sessions * share_of(ranking, name));
    assert!((shares[0] - quota).abs() < 1e-6, "{shares:?}");
    assert!(shares[1] > 48.0 && shares[2] < 5.0, "{shares:?}");
    let sum: f64 = ranking.shares().map(|(_, share)| share).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    // Users are drawn by the shares, and say so.
    let users = (0..2000_u32).map(|user| user.to_le_bytes());
    let firsts: Vec<(String, Placed)> = users
        .map(|user| {
            let first = ranking.choose(&user, |_| true).swap_remove(0);
            (first.edge.name.to_string(), first.explain.placed)
        })
        .collect();
    let of = |name: &str| firsts.iter().filter(|(first, _)| first == name).count();
    assert!((1120..1280).contains(&of("best")), "{}", of("best"));
    let last = firsts.iter().filter(|(first, _)| first == "last");
    assert!(of("last") > 0 && last.into_iter().all(|(_, placed)| *placed == Placed::Spill));
    // A cell that nobody expected is served by the same rules.
    let conditions = Conditions { fill: many.fill, ..Conditions::default() };
    let other = Ranking::of(vantage, cell, &edges, &conditions);
    assert_eq!(share_of(&other, "best"), share_of(ranking, "best"));
    // More than all can take is still told somewhere.
    let flood = planned(100_000.0);
    let sum: f64 = flood.rankings[0].shares().map(|(_, share)| share).sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

#[test]
fn a_share_that_changes_a_little_moves_few_users() {
    let at = |load| {
        let full = changed(&edge("a", "110000", "telecom"), |edge| edge.load = load);
        let edges = [full, edge("b", "110000", "telecom"), edge("c", "110000", "telecom")];
        let vantage = vantage("110000", Carrier::Telecom);
        (0..1000).map(|user| first(vantage, &edges, &user.to_string())).collect::<Vec<_>>()
    };
    let moved = at(0.5).iter().zip(at(0.55)).filter(|(a, b)| **a != *b).count();
    assert!((1..60).contains(&moved), "{moved}");
}

#[test]
fn some_explore_but_never_first() {
    let region = |n| if n < 6 { "110000" } else { "310000" };
    let edges: Vec<Arc<Edge>> =
        (0..12).map(|n| edge(&format!("e{n}"), region(n), "telecom")).collect();
    let known: Vec<(String, f64)> = (0..6).map(|n| (format!("e{n}"), 0.0)).collect();
    let known: Vec<(&str, f64)> = known.iter().map(|(name, rate)| (name.as_str(), *rate)).collect();
    let ranking = ranked("110000", &edges, &told("110000", &edges, &known, 40));
    assert_eq!(ranking.unknown().count(), 6);
    let mut explored = 0;
    for user in 0..5000_u32 {
        let choices = ranking.choose(&user.to_le_bytes(), |_| true);
        let places: Vec<usize> = (0..choices.len())
            .filter(|at| choices[*at].explain.placed == Placed::Exploration)
            .collect();
        assert!(places.is_empty() || places == [1] || places == [2], "{places:?}");
        explored += places.len();
    }
    assert!((60..140).contains(&explored), "{explored} of 5000");
}

#[test]
fn the_operator_has_the_last_word() {
    let zoned = |name: &str, zone: &str| {
        changed(&edge(name, "110000", "telecom"), |edge| edge.zone = zone.to_owned())
    };
    let edges = [zoned("a", "old"), zoned("b", "old"), zoned("c", "new")];
    let with = |policy: Policy| {
        policy.check().unwrap();
        let conditions = Conditions { policy: Arc::new(policy), ..Conditions::default() };
        ranked("110000", &edges, &conditions)
    };
    let firsts = |ranking: &Ranking| -> Vec<String> {
        let first =
            |user: u32| ranking.choose(&user.to_le_bytes(), |_| true)[0].edge.name.to_string();
        (0..1000).map(first).collect()
    };
    let share =
        |firsts: &[String], name: &str| firsts.iter().filter(|first| *first == name).count();
    let zones =
        |percent| Policy { zone_shares: [("new".to_owned(), percent)].into(), ..Policy::default() };
    let (five, ten) = (firsts(&with(zones(5.0))), firsts(&with(zones(10.0))));
    assert!((30..70).contains(&share(&five, "c")) && (75..125).contains(&share(&ten, "c")));
    let back = five.iter().zip(&ten).filter(|(five, ten)| *five == "c" && *ten != "c").count();
    assert_eq!(back, 0, "whoever was let in stays in");
    assert_eq!(share(&firsts(&with(zones(0.0))), "c"), 0);
    assert_eq!(share(&firsts(&with(zones(100.0))), "c"), 1000);
    let mut drained = Policy::default();
    drained.drained.edges.insert("a".to_owned());
    drained.weights.insert("b".to_owned(), 0.0);
    assert_eq!(share(&firsts(&with(drained)), "c"), 1000);
    let rule = Override {
        network: "198.51.100.0/24".parse().unwrap(),
        prefer: ["c".to_owned()].into(),
        forbid: ["a".to_owned()].into(),
    };
    let ranking = with(Policy { overrides: vec![rule], ..Policy::default() });
    for user in 0..200_u32 {
        let user = &user.to_le_bytes()[..];
        let address = Some("::ffff:198.51.100.7".parse().unwrap());
        let choices = ranking.choose_for(&Asker { user, address }, |_| true);
        assert_eq!((&*choices[0].edge.name, choices[0].explain.placed), ("c", Placed::Preferred));
        assert!(choices.iter().all(|choice| &*choice.edge.name != "a"));
    }
    let shares = [("a".to_owned(), 60.0), ("b".to_owned(), 50.0)].into();
    let policy = Policy { zone_shares: shares, ..Policy::default() };
    assert_eq!(
        policy.check().unwrap_err().to_string(),
        "zones have 110 % of users together, must be at most 100"
    );
}

#[test]
fn a_price_moves_those_who_have_as_good_a_choice() {
    let edges = [edge("a", "110000", "telecom"), edge("b", "110000", "telecom")];
    let prices: Prices = [(Arc::clone(&edges[0].site), 1.2)].into();
    let conditions = Conditions { prices: Arc::new(prices), ..Conditions::default() };
    let ranking = ranked("110000", &edges, &conditions);
    assert!(share_of(&ranking, "b") > 0.99);
    assert_eq!(ranking.choose(b"1", |_| true)[1].explain.terms.price, 1.2);
}

#[test]
fn an_edge_that_clients_cut_is_no_choice() {
    let edges: Vec<Arc<Edge>> =
        (0..6).map(|n| edge(&format!("e{n}"), "110000", "telecom")).collect();
    let mut learning = Learning::new();
    #[allow(clippy::disallowed_methods, reason = "a beginning that any other would do for")]
    let now = Instant::now();
    learning.handle_tick(&edges, now);
    for region in ["110000", "120000", "130000"] {
        let cell = Cell { region: Region::parse(region).unwrap(), carrier: Carrier::Telecom };
        let tally = Tally { reports: 10.0, bad: 9.0, ..Tally::default() };
        learning.handle_tally("e0", cell, &tally);
    }
    let view = learning.handle_tick(&edges, now + Duration::from_secs(5));
    let ranking = ranked("110000", &edges, &Conditions { view, ..Conditions::default() });
    assert!((0..100_u32).all(|user| {
        ranking
            .choose(&user.to_le_bytes(), |_| true)
            .iter()
            .all(|choice| &*choice.edge.name != "e0")
    }));
}

#[test]
fn what_the_lines_lose_is_paid() {
    let line = |loss| {
        crate::line::Line::from_report(&shared::wire::control::LineReport {
            loss,
            ..fixture::line_report()
        })
        .unwrap()
    };
    let with = |losses: &[f64]| {
        let edge = changed(&edge("a", "110000", "telecom"), |edge| {
            edge.lines = losses.iter().map(|loss| line(*loss)).collect();
        });
        let ranking = ranked("110000", &[edge], &Conditions::default());
        ranking.choose(b"1", |_| true)[0].explain.terms.line
    };
    assert_eq!((with(&[]), with(&[0.0])), (0.0, 0.0));
    assert!((with(&[0.2, 0.5, 0.1]) - 2.0).abs() < 1e-9, "two lines together");
    assert!((with(&[0.2]) - 2.0).abs() < 1e-9 && with(&[1.0]) == LINE_MAX_PP);
}

fn any_edge() -> impl Strategy<Value = Edge> {
    let region =
        prop::sample::select(vec!["110000", "310000", "440100", "650100", "SG", "unknown"]);
    let carrier = prop::sample::select(vec!["telecom", "unicom", "mobile", "cloud", "unknown"]);
    let load = prop_oneof![0.0..0.8_f64, 0.8..1.2_f64];
    let weight = prop_oneof![Just(0.0), 0.1..10.0_f64];
    let rarely = || prop::bool::weighted(0.2);
    (region, carrier, 0..4_u8, load, weight, rarely(), rarely()).prop_map(
        |(region, carrier, site, load, weight, draining, cut_off)| Edge {
            site: format!("site {site}").into(),
            load,
            weight,
            draining,
            cut_off,
            ..fixture::edge("unnamed", region, carrier)
        },
    )
}

/// Up to 14 edges with names of their own.
fn any_edges() -> impl Strategy<Value = Vec<Arc<Edge>>> {
    prop::collection::vec(any_edge(), 0..14).prop_map(|edges| {
        let named = |(n, edge)| Arc::new(Edge { name: format!("edge {n}").into(), ..edge });
        edges.into_iter().enumerate().map(named).collect()
    })
}

fn any_vantage() -> impl Strategy<Value = Vantage> {
    let region = prop::sample::select(vec!["110000", "440300", "SG", "unknown"]);
    let carrier = prop::sample::select(vec![Carrier::Telecom, Carrier::Mobile, Carrier::Unknown]);
    (region, carrier).prop_map(|(region, carrier)| vantage(region, carrier))
}

fn open(edge: &Edge) -> Standing {
    Standing::of(edge, edge.weight, false)
}

fn count<K: Eq + std::hash::Hash>(edges: &[&Arc<Edge>], key: impl Fn(&Edge) -> K) -> usize {
    edges.iter().map(|edge| key(edge)).collect::<HashSet<K>>().len()
}

proptest! {
    #[test]
    fn independent_of_the_order_of_the_input(
        (edges, shuffled) in any_edges().prop_flat_map(|edges| {
            (Just(edges.clone()), Just(edges).prop_shuffle())
        }),
        vantage in any_vantage(),
        user in "[a-z0-9]{0,8}",
    ) {
        prop_assert_eq!(names(vantage, &edges, &user), names(vantage, &shuffled, &user));
    }

    #[test]
    fn bounds_and_spread(
        edges in any_edges(),
        vantage in any_vantage(),
        user in "[a-z0-9]{0,8}",
    ) {
        let ranking = Ranking::new(vantage, &edges);
        let choices = ranking.choose(user.as_bytes(), |_| true);
        let chosen: Vec<&Arc<Edge>> = choices.iter().map(|choice| choice.edge).collect();
        let best = edges.iter().map(|edge| open(edge)).min();
        let all: Vec<&Arc<Edge>> = edges.iter().collect();
        let eligible: Vec<&Arc<Edge>> =
            edges.iter().filter(|edge| Some(open(edge)) == best).collect();

        prop_assert!(chosen.iter().map(|edge| open(edge)).is_sorted());
        let of_the_best = chosen.iter().filter(|edge| Some(open(edge)) == best).count();
        // The last of five may make room for another carrier.
        prop_assert!(of_the_best >= eligible.len().min(SERVERS_MAX - 1));
        prop_assert!(chosen.len() >= eligible.len().min(SERVERS_MAX));
        prop_assert!(chosen.len() >= all.len().min(SERVERS_MIN));
        prop_assert!(chosen.len() <= SERVERS_MAX);
        prop_assert_eq!(count(&chosen, |edge| edge.name.clone()), chosen.len(), "no edge twice");
        let carriers = |edges: &[&Arc<Edge>]| count(edges, |edge| edge.carrier);
        let sites = |edges: &[&Arc<Edge>]| count(edges, |edge| edge.site.clone());
        prop_assert!(carriers(&chosen) >= carriers(&all).min(2));
        prop_assert!(sites(&chosen) >= sites(&eligible).min(2));
    }

    #[test]
    fn an_equal_that_goes_moves_only_its_own_users(
        loads in prop::collection::vec(0.0..0.7_f64, 2..12),
        user in "[a-z0-9]{0,8}",
        at in any::<prop::sample::Index>(),
    ) {
        let equal = |(n, load): (usize, &f64)| {
            changed(&edge(&format!("e{n}"), "110000", "telecom"), |edge| edge.load = *load)
        };
        let open: Vec<Arc<Edge>> = loads.iter().enumerate().map(equal).collect();
        let vantage = vantage("110000", Carrier::Telecom);
        let mut fewer = open.clone();
        let gone = fewer.remove(at.index(open.len()));
        let before = first(vantage, &open, &user);
        if before != *gone.name {
            prop_assert_eq!(before, first(vantage, &fewer, &user));
        }
    }
}
