//! Subscriptions that end without the client's wish.

use super::*;

#[test]
fn lost_messages() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000", Lost::Gap), ["subscribe 5 live:1000 seen as \"42\"/c1"]);
    assert_eq!(world.lost("#42", Lost::Gap), ["subscribe 6 #42 filtered"]);
    assert!(!world.session.is_busy(), "no request waits for them");
    assert!(world.opened(5).is_empty());
    assert!(world.lost("live:5", Lost::Gap).is_empty(), "a room that was left");
    assert_eq!(world.failed(6), ["close 3004 Us"]);

    let config = Config { gap: GapMode::Close, ..Config::default() };
    let mut world = World::with(Transport::Tcp, config);
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000", Lost::Gap), ["close 3010 Us"]);
}

#[test]
fn rooms_that_the_back_end_takes_away() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000", Lost::Removed), ["op 13 v1 s0"]);
    assert_eq!(world.say(operation::HEARTBEAT, 1, ""), ["op 3 v1 s1 \\x00\\x00\\x00\\x00"]);
    assert!(world.lost("#42", Lost::Removed).is_empty());

    // One that was opened for a change that is still under way: the change is off.
    world.say(operation::CHANGE_ROOM, 2, r#"["live://1","live://2"]"#);
    world.say(operation::HEARTBEAT, 3, "");
    world.opened(5);
    let said = world.lost("live:1", Lost::Removed);
    assert!(said[0].starts_with("op 13 v1 s2 {\\\"code\\\":103"), "{said:?}");
    assert_eq!(said[1..], ["unsubscribe live:2"]);
    assert!(!world.session.is_busy());
    let waited = world.bytes(b"");
    assert_eq!(waited, ["op 3 v1 s3 \\x00\\x00\\x00\\x00"]);
}

#[test]
fn a_lost_room_that_is_left_is_not_missed() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000", Lost::Gap), ["subscribe 5 live:1000 seen as \"42\"/c1"]);
    world.say(operation::CHANGE_ROOM, 1, "live://2");
    assert_eq!(world.opened(6), ["op 13 v1 s1 live://2", "unsubscribe live:1000"]);
    assert!(world.failed(5).is_empty(), "nobody wants it any more");
    assert_eq!(world.lost("#42", Lost::Gap), ["subscribe 7 #42 filtered"]);
    assert!(world.opened(7).is_empty());
    assert!(world.session.reopening.is_none());
}
