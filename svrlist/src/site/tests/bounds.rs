//! Clocks that are wrong and cells without end.

use geo_data::region::divisions;
use geo_data::{Carrier, Region};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn report(token: &Value, session: &str) -> Value {
    let told = [serde_json::json!({ "edge": "bj-telecom", "attempts": 1 })];
    serde_json::json!({ "token": token, "session": session, "reports": told })
}

/// A client knows no time but svrlist's, so only svrlist's own clock matters, and only how it runs.
#[test]
fn a_clock_that_is_off_costs_nothing_and_one_that_steps_a_new_list() {
    for off in [-24_i32, -1, 0, 1, 24] {
        let mut world = World::new(WITH_TOKENS);
        let calendar = &mut world.now.calendar;
        *calendar = if off < 0 {
            *calendar - HOUR * off.unsigned_abs()
        } else {
            *calendar + HOUR * off as u32
        };
        world.site.learn(world.now);
        let (_, answer) = world.get_as("/svrlist", BEIJING, None);
        let good = report(&answer["token"], "before the step");
        assert_eq!(world.report(BEIJING, &good).0, StatusCode::NO_CONTENT, "{off} hours");

        // It is set right, backwards: what was given holds on, for the step longer.
        world.now.calendar -= HOUR;
        let held = report(&answer["token"], "after the step back");
        assert_eq!(world.report(BEIJING, &held).0, StatusCode::NO_CONTENT);
        // And forwards: what was given has run out, and a new list brings what holds.
        world.now.calendar += 2 * HOUR;
        let spent = report(&answer["token"], "after the step forward");
        assert_eq!(world.report(BEIJING, &spent).0, StatusCode::UNAUTHORIZED);
        let (_, answer) = world.get_as("/svrlist", BEIJING, None);
        let fresh = report(&answer["token"], "with a new list");
        // From elsewhere: a network has its share, too.
        assert_eq!(world.report("127.9.1.1", &fresh).0, StatusCode::NO_CONTENT);
        // Reports are counted by the clock that never steps.
        assert_eq!(world.report("127.9.1.1", &fresh).0, StatusCode::TOO_MANY_REQUESTS);
    }
}

/// Every cell there can be, more than are remembered: all are answered, and memory stays in its bounds.
#[test]
fn cells_without_end_are_answered_and_forgotten() {
    let world = World::new(WITH_TOKENS);
    world.site.learn(world.now);
    let countries = (b'A'..=b'Z').flat_map(|a| (b'A'..=b'Z').map(move |b| [a, b]));
    let countries = countries.filter_map(|code| Region::parse(std::str::from_utf8(&code).unwrap()));
    let divisions = divisions().map(|division| Region::Division(division.code));
    let regions: Vec<Region> = divisions.chain(countries).chain([Region::Unknown]).collect();
    let list = world.site.list();
    let mut cells = 0;
    for region in regions {
        for carrier in Carrier::ALL {
            let place = Place { region, carrier, ..Place::default() };
            let ranked = world.site.ranking(&list, &place);
            assert_eq!(ranked.ranking.choose(b"7", |_| true).len(), 3);
            assert!(world.site.token(&ranked, place.cell(), world.now.calendar).is_some());
            cells += 1;
        }
    }
    world.site.rankings.run_pending_tasks();
    let bytes = world.site.rankings.weighted_size();
    assert!(cells > 8_000 && bytes > 1_000 * cells, "{cells} cells, {bytes} bytes");
    assert!(bytes <= RANKINGS_BYTES_MAX);
}
