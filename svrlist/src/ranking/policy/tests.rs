//! The operator's word as properties: whatever it says of whichever edges.

use std::sync::Arc;

use geo_data::{Carrier, Cell, Region};
use proptest::prelude::*;

use super::*;
use crate::fixture;
use crate::ranking::choose::USER_SEED;
use crate::ranking::{Asker, Choice, Conditions, Ranking, SERVERS_MIN, Standing, Vantage};

/// Users of one property: their numbers are their names.
const USERS: u32 = 200;

fn ranking(edges: &[Arc<Edge>], policy: &Policy) -> Ranking {
    policy.check().unwrap();
    let region = Region::parse("110000").unwrap();
    let carrier = Carrier::Telecom;
    let vantage = Vantage { carrier, position: region.position(), ..Vantage::default() };
    let conditions = Conditions { policy: Arc::new(policy.clone()), ..Conditions::default() };
    Ranking::of(vantage, Cell { region, carrier }, edges, &conditions)
}

/// What zones are drawn by.
fn number(user: u32) -> u64 {
    xxh3_64_with_seed(&user.to_le_bytes(), USER_SEED)
}

/// Where each user is sent first.
fn firsts(ranking: &Ranking) -> Vec<Option<Arc<Edge>>> {
    let first = |user: u32| {
        let choices = ranking.choose(&user.to_le_bytes(), |_| true);
        choices.first().map(|choice| Arc::clone(choice.edge))
    };
    (0..USERS).map(first).collect()
}

fn choose<'a>(ranking: &'a Ranking, user: u32, address: &str) -> Vec<Choice<'a>> {
    let address = Some(address.parse().unwrap());
    ranking.choose_for(&Asker { user: &user.to_le_bytes(), address }, |_| true)
}

/// Open edges with names of their own in zones a to d, several in each that there is.
fn any_edges() -> impl Strategy<Value = Vec<Arc<Edge>>> {
    let carrier = prop::sample::select(vec!["telecom", "unicom", "mobile"]);
    let zone = prop::sample::select(vec!["a", "b", "c", "d"]);
    let edge = (carrier, zone, 0.0..0.9_f64, 0.1..10.0_f64);
    prop::collection::vec(edge, 1..12).prop_map(|edges| {
        let made = |(at, (carrier, zone, load, weight)): (usize, (&str, &str, f64, f64))| {
            let edge = fixture::edge(&format!("e{at}"), "110000", carrier);
            let site = format!("site {}", at % 5).into();
            Arc::new(Edge { zone: zone.to_owned(), load, weight, site, ..edge })
        };
        edges.into_iter().enumerate().map(made).collect()
    })
}

/// Shares of zones a to c, 100 percent at most together.
fn any_shares() -> impl Strategy<Value = BTreeMap<String, f64>> {
    let share = || prop_oneof![Just(0.0), Just(1.0), 0.0..60.0_f64, Just(100.0)];
    prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), share(), 0..4).prop_map(
        |shares| {
            let over = (shares.values().sum::<f64>() / 100.0).max(1.0);
            shares.into_iter().map(|(zone, share)| (zone.to_owned(), share / over)).collect()
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let names = || prop::collection::btree_set((0..12_u32).prop_map(|at| format!("e{at}")), 0..4);
    let weights = prop::collection::btree_map(
        (0..12_u32).prop_map(|at| format!("e{at}")),
        prop_oneof![Just(0.0), 0.0..1000.0_f64],
        0..4,
    );
    let network = prop::sample::select(vec!["198.51.100.0/24", "198.51.0.0/16", "2001:db8::/32"]);
    let rule = (network, names(), names()).prop_map(|(network, prefer, forbid)| Override {
        network: network.parse().unwrap(),
        prefer,
        forbid,
    });
    let overrides = prop::collection::vec(rule, 0..3);
    let zones = prop::collection::btree_set(prop::sample::select(vec!["a", "d"]), 0..2);
    (any_shares(), weights, overrides, names(), zones).prop_map(
        |(zone_shares, weights, overrides, edges, zones)| {
            let zones = zones.into_iter().map(str::to_owned).collect();
            let drained = Drained { edges, zones, ..Drained::default() };
            Policy { weights, drained, zone_shares, overrides, ..Policy::default() }
        },
    )
}

#[test]
fn zones_get_their_shares() {
    let shares = BTreeMap::from([("a".to_owned(), 5.0), ("b".to_owned(), 20.0)]);
    let policy = Policy { zone_shares: shares, ..Policy::default() };
    let count = |zone| {
        let users = (0..20_000_u64).map(|user| user.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        users.filter(|user| policy.zone(*user) == zone).count() as f64 / 200.0
    };
    let [a, b, rest] = [Some("a"), Some("b"), None].map(count);
    assert!((a - 5.0).abs() < 0.6 && (b - 20.0).abs() < 1.2, "{a} {b}");
    assert!((rest - 75.0).abs() < 1.3, "{rest}");
}

#[test]
fn rounding_leaves_no_share_over() {
    let tenths = (0..10).map(|zone| (format!("z{zone}"), 10.0));
    let policy = Policy { zone_shares: tenths.collect(), ..Policy::default() };
    assert!((0..50_000_u64).all(|user| policy.zone(user).is_some()));
}

#[test]
fn a_copy_of_a_policy_works_out_its_own() {
    let user = 7;
    let mut policy = Policy::default();
    assert_eq!(policy.zone(user), None);
    policy = policy.clone();
    policy.zone_shares.insert("a".to_owned(), 100.0);
    assert_eq!(policy.zone(user), Some("a"));
    assert_eq!(policy, policy.clone(), "they are compared by what they say");
}

#[test]
fn a_rule_for_a_network_is_for_its_addresses_alone() {
    let edges: Vec<Arc<Edge>> =
        (0..4).map(|at| Arc::new(fixture::edge(&format!("e{at}"), "110000", "telecom"))).collect();
    let named = |name: &str| BTreeSet::from([name.to_owned()]);
    let rule = |network: &str, prefer, forbid| Override {
        network: network.parse().unwrap(),
        prefer: named(prefer),
        forbid: named(forbid),
    };
    let overrides = vec![rule("198.51.100.0/24", "e1", "e2"), rule("198.51.0.0/16", "e3", "e1")];
    let ranking = ranking(&edges, &Policy { overrides, ..Policy::default() });
    let first = |user, address| choose(&ranking, user, address)[0].edge.name.to_string();
    for user in 0..USERS {
        assert_eq!(first(user, "198.51.100.255"), "e1", "the first rule that fits holds");
        assert_eq!(first(user, "198.51.101.0"), "e3");
        assert_eq!(first(user, "::ffff:198.51.101.0"), "e3");
    }
    // With e1 drained, those who prefer it get what there is.
    let mut drained = named("e1");
    let overrides = vec![rule("198.51.100.0/24", "e1", "e2")];
    let mut policy = Policy { overrides, ..Policy::default() };
    policy.drained.edges.append(&mut drained);
    let ranking = super::tests::ranking(&edges, &policy);
    let choices = choose(&ranking, 1, "198.51.100.7");
    assert!(["e0", "e3"].contains(&&*choices[0].edge.name), "{choices:?}");
}

fn any_network() -> impl Strategy<Value = IpNet> {
    // Few bits differ, so that networks contain each other and the addresses below.
    let v4 = (0..8_u32, 0..=32_u8).prop_map(|(bits, length)| {
        ipnet::Ipv4Net::new((0xc633_6400 | bits << 6).into(), length).unwrap().trunc().into()
    });
    let v6 = (0..8_u128, 0..=128_u8).prop_map(|(bits, length)| {
        ipnet::Ipv6Net::new((0x2001_0db8 << 96 | bits << 62).into(), length).unwrap().trunc().into()
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn the_first_rule_that_fits_is_found(
        networks in prop::collection::vec(any_network(), 0..20),
        bits in 0..512_u32,
    ) {
        let rule = |network| Override { network, prefer: BTreeSet::new(), forbid: BTreeSet::new() };
        let overrides = networks.into_iter().map(rule).collect();
        let policy = Policy { overrides, ..Policy::default() };
        let v4 = IpAddr::from((0xc633_6400 | bits).to_be_bytes());
        let v6 = IpAddr::from((0x2001_0db8 << 96 | u128::from(bits) << 56).to_be_bytes());
        for address in [v4, v6] {
            let first = policy.overrides.iter().find(|rule| rule.network.contains(&address));
            prop_assert_eq!(policy.rule(Some(address)).map(std::ptr::from_ref), first.map(std::ptr::from_ref));
        }
    }

    #[test]
    fn a_share_that_grows_takes_users_in_and_lets_none_go(
        edges in any_edges(),
        shares in any_shares(),
        zone in prop::sample::select(vec!["a", "b", "c"]),
        growth in 0.0..1.0_f64,
    ) {
        let before = Policy { zone_shares: shares.clone(), ..Policy::default() };
        let rest = 100.0 - shares.values().sum::<f64>();
        let mut grown = shares;
        *grown.entry(zone.to_owned()).or_default() += growth * rest.max(0.0);
        let after = Policy { zone_shares: grown, ..Policy::default() };
        for user in 0..u64::from(USERS) {
            let user = user.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (was, is) = (before.zone(user), after.zone(user));
            // Those of no zone become fewer, and may go to any.
            let kept = was == is || is == Some(zone) || was.is_none();
            prop_assert!(kept, "{:?} to {:?}", was, is);
        }
        // And so its users stay at the edges where they were.
        let [was, is] = [&before, &after].map(|policy| firsts(&ranking(&edges, policy)));
        for (user, (was, is)) in (0..USERS).zip(was.iter().zip(&is)) {
            if before.zone(number(user)) == Some(zone) {
                prop_assert_eq!(was, is);
            }
        }
    }

    #[test]
    fn a_rollback_gives_exactly_the_earlier_answers(
        edges in any_edges(),
        policies in prop::collection::vec(any_policy(), 2),
        user in any::<u32>(),
    ) {
        let answers = |policy: &Policy| {
            let ranking = ranking(&edges, policy);
            ["198.51.100.7", "203.0.113.1", "2001:db8::1"].map(|address| {
                choose(&ranking, user, address)
                    .into_iter()
                    .map(|choice| (Arc::clone(choice.edge), choice.explain))
                    .collect::<Vec<_>>()
            })
        };
        let first = answers(&policies[0]);
        let _ = answers(&policies[1]);
        prop_assert_eq!(first, answers(&policies[0]));
    }

    #[test]
    fn what_is_drained_is_named_only_where_little_else_is(
        edges in any_edges(),
        policy in any_policy(),
        user in any::<u32>(),
    ) {
        let ranking = ranking(&edges, &policy);
        let choices = choose(&ranking, user, "203.0.113.1");
        let open = edges.iter().filter(|edge| policy.weight(edge) > 0.0).count();
        let drained = |choice: &&Choice<'_>| policy.weight(choice.edge) == 0.0;
        for choice in choices.iter().filter(drained) {
            prop_assert_eq!(choice.why.standing, Standing::Draining);
        }
        if open > 0 {
            prop_assert!(!drained(&&choices[0]));
            // One may stand for a second carrier, and beside others one for a second site.
            let missing = SERVERS_MIN.saturating_sub(open);
            let named = choices.iter().filter(drained).count();
            prop_assert!(named <= missing + if missing > 0 { 2 } else { 1 }, "{} of {}", named, open);
        }
        for (zone, _) in policy.zone_shares.iter().filter(|(_, share)| **share == 0.0) {
            let of_zone = edges.iter().filter(|edge| edge.zone == *zone);
            prop_assert!(of_zone.into_iter().all(|edge| policy.weight(edge) == 0.0));
        }
    }

    #[test]
    fn users_are_told_their_zones_edges_first(
        edges in any_edges(),
        shares in any_shares(),
        user in any::<u32>(),
    ) {
        prop_assume!(!shares.is_empty());
        let policy = Policy { zone_shares: shares, ..Policy::default() };
        let ranking = ranking(&edges, &policy);
        let choices = ranking.choose(&user.to_le_bytes(), |_| true);
        let zone = policy.zone(number(user));
        let suits = |edge: &Edge| match zone {
            Some(zone) => edge.zone == zone,
            None => !policy.zone_shares.contains_key(&edge.zone),
        };
        let own = |edge: &Edge| policy.weight(edge) > 0.0 && suits(edge);
        if edges.iter().any(|edge| own(edge)) {
            prop_assert!(own(choices[0].edge), "{:?} was told {:?}", zone, choices[0].edge.zone);
        }
    }

    #[test]
    fn rules_hold_for_their_networks_and_nobody_else(
        edges in any_edges(),
        policy in any_policy(),
        user in any::<u32>(),
    ) {
        let ranked = ranking(&edges, &policy);
        for address in ["198.51.100.7", "198.51.7.7", "2001:db8::7"] {
            let rule = policy.rule(Some(address.parse().unwrap()));
            let choices = choose(&ranked, user, address);
            let forbidden = |edge: &Edge| rule.is_some_and(|rule| rule.forbid.contains(&*edge.name));
            let preferred = |edge: &Edge| rule.is_some_and(|rule| rule.prefer.contains(&*edge.name));
            prop_assert!(choices.iter().all(|choice| !forbidden(choice.edge)));
            let wanted =
                |edge: &&Arc<Edge>| preferred(edge) && !forbidden(edge) && policy.weight(edge) > 0.0;
            if edges.iter().any(|edge| wanted(&edge)) {
                prop_assert!(wanted(&choices[0].edge));
            }
        }
        let without = Policy { overrides: Vec::new(), ..policy.clone() };
        let other = ranking(&edges, &without);
        prop_assert_eq!(choose(&ranked, user, "203.0.113.1"), choose(&other, user, "203.0.113.1"));
    }

    #[test]
    fn answers_hold_two_carriers_where_there_is_a_choice(
        edges in any_edges(),
        policy in any_policy(),
        user in any::<u32>(),
        address in prop::sample::select(vec!["198.51.100.7", "203.0.113.1"]),
    ) {
        let rule = policy.rule(Some(address.parse().unwrap()));
        let allowed = |edge: &&Arc<Edge>| rule.is_none_or(|rule| !rule.forbid.contains(&*edge.name));
        let carriers = |edges: &mut dyn Iterator<Item = &Arc<Edge>>| {
            edges.map(|edge| edge.carrier).collect::<BTreeSet<Carrier>>().len()
        };
        let ranking = ranking(&edges, &policy);
        let choices = choose(&ranking, user, address);
        let named = carriers(&mut choices.iter().map(|choice| choice.edge));
        prop_assert!(named >= carriers(&mut edges.iter().filter(allowed)).min(2));
    }
}
