//! The policy as examples, and the promises as properties.

use std::collections::HashSet;

use geo_data::Region;
use proptest::prelude::*;

use super::*;
use crate::fixture;

fn vantage(region: &str, carrier: Carrier) -> Vantage {
    Vantage { carrier, position: Region::parse(region).unwrap().position() }
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
    let edges = [heavy, edge("b", "120000", "telecom")];
    let share = share(vantage("110000", Carrier::Telecom), &edges, "a");
    assert!((0.70..0.80).contains(&share), "{share}");
}

#[test]
fn load_moves_users_a_few_at_a_time() {
    let client = vantage("110000", Carrier::Telecom);
    let at = |load| {
        let near = changed(&edge("near", "110000", "telecom"), |edge| edge.load = load);
        share(client, &[near, edge("far", "310000", "telecom")], "near")
    };
    assert_eq!(at(0.0), 1.0);
    assert_eq!(at(0.80), 1.0);
    let shares = [at(0.86), at(0.90), at(0.92), at(0.94), at(0.96)];
    assert!(shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
    assert!(shares[0] > 0.5 && shares[4] < 0.2, "{shares:?}");
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
    let of = named("of", "110000", 0.0);
    let near = named("near", "120000", 0.0);
    let far = named("far", "440000", 0.0);
    let busy = named("busy", "110000", 1.0);
    let told = elsewhere(&of, &[of.clone(), far, busy, near]);
    let told: Vec<_> = told.iter().map(|e| (e.host.as_str(), e.protocol.as_str())).collect();
    assert_eq!(
        told,
        [("near", "goim-tcp"), ("near", "http"), ("far", "goim-tcp"), ("far", "http")]
    );
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
    assert!((load_cost(0.86) - 1.0).abs() < 1e-9);
    assert!((load_cost(0.92) - 2.0).abs() < 1e-9);
    assert!((load_cost(0.95) - 11.0).abs() < 1e-9);
    assert_eq!(load_cost(5.0), LOAD_FULL_PP);
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
        let best = edges.iter().map(|edge| Standing::of(edge)).min();
        let all: Vec<&Arc<Edge>> = edges.iter().collect();
        let eligible: Vec<&Arc<Edge>> =
            edges.iter().filter(|edge| Some(Standing::of(edge)) == best).collect();

        prop_assert!(chosen.iter().map(|edge| Standing::of(edge)).is_sorted());
        let of_the_best = chosen.iter().filter(|edge| Some(Standing::of(edge)) == best).count();
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
    fn an_edge_that_goes_moves_only_its_own_users(
        edges in any_edges(),
        vantage in any_vantage(),
        user in "[a-z0-9]{0,8}",
        at in any::<prop::sample::Index>(),
    ) {
        let open: Vec<Arc<Edge>> =
            edges.into_iter().filter(|edge| Standing::of(edge) == Standing::Open).collect();
        prop_assume!(open.len() > 1);
        let mut fewer = open.clone();
        let gone = fewer.remove(at.index(open.len()));
        let before = first(vantage, &open, &user);
        if before != *gone.name {
            prop_assert_eq!(before, first(vantage, &fewer, &user));
        }
    }
}
