//! Who waits for whom: nobody who tells, asks or wants something waits for a lesson, a plan or a snapshot.

use std::sync::mpsc::channel;
use std::thread;

use super::*;

/// Longer than anything here takes: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_lesson_a_plan_and_a_snapshot_hold_up_nobody() {
    let world = Arc::new(World::new(WITH_TOKENS));
    world.site.learn(world.now);
    // As long as these are held it is learnt, planned and written down.
    let (_lessons, _planner) = (world.site.lessons(), world.site.planner());
    let (told, all_told) = channel();
    let of = Arc::clone(&world);
    thread::spawn(move || {
        let (_, answer) = of.get_as("/svrlist", BEIJING, None);
        let body = serde_json::json!({
            "token": answer["token"], "session": "session 1",
            "reports": [{ "edge": "bj-telecom", "attempts": 1 }],
        });
        assert_eq!(of.report(BEIJING, &body).0, StatusCode::NO_CONTENT);
        let edge = Edge { begun: 9, ended: 9, ..fixture::edge("gz-mobile", "440100", "mobile") };
        of.site.handle_ends(&edge, &control::Ends { number: 1, ..Default::default() }).unwrap();
        of.site.set_list(of.site.list());
        of.site.set_policy(Arc::default());
        of.site.set_wishes(BTreeMap::new());
        told.send(()).unwrap();
    });
    all_told.recv_timeout(PATIENCE).expect("somebody waits");
}

#[test]
fn what_operators_want_while_it_is_planned_holds_after_it() {
    let world = Arc::new(World::new(""));
    let planner = world.site.planner();
    // Whoever plans has taken what was asked, and then waits for us.
    let asked = world.site.asks.counter(Cell::default(), Vantage::default());
    asked.store(1, Ordering::Relaxed);
    let of = Arc::clone(&world);
    let planning = thread::spawn(move || of.site.learn(of.now));
    while asked.load(Ordering::Relaxed) > 0 {
        thread::yield_now();
    }
    let mut policy = Policy::default();
    policy.drained.edges.insert("bj-telecom".to_owned());
    world.site.set_policy(Arc::new(policy.clone()));
    assert_eq!(*world.site.planned().conditions.policy, policy);
    drop(planner);
    planning.join().unwrap();
    assert_eq!(*world.site.planned().conditions.policy, policy);
    let (_, answer) = world.get_as("/svrlist", BEIJING, None);
    assert_ne!(first(&answer), "bj-telecom");
}
