//! Subscriptions that end without the client's wish.

use super::*;

#[test]
fn lost_messages() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000"), ["subscribe 5 live:1000 seen as \"42\"/c1"]);
    assert_eq!(world.lost("#42"), ["subscribe 6 #42 filtered"]);
    assert!(!world.session.is_busy(), "no request waits for them");
    assert!(world.opened(5).is_empty());
    assert!(world.lost("live:5").is_empty(), "a room that was left");
    assert_eq!(world.failed(6), ["close 3004 Us"]);

    let config = Config { gap: GapMode::Close, ..Config::default() };
    let mut world = World::with(Transport::Tcp, config);
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000"), ["close 3010 Us"]);
}

#[test]
fn a_client_is_told_what_is_missing() {
    for (login, expected) in [(GOIM_LOGIN, "op 1999 v1 s0 "), (DANMAKU_LOGIN, "op 5 v0 s0 ")] {
        let config = Config { gap: GapMode::Notice, ..Config::default() };
        let mut world = World::with(Transport::Tcp, config);
        world.log_in(login);
        let said = world.lost("live:1000");
        assert!(said[0].starts_with(expected), "{said:?}");
        for part in ["LINECAST_GAP", "live://1000", "missing\\\":7"] {
            assert!(said[0].contains(part), "{said:?}");
        }
        assert!(said[1].contains(" live:1000 seen as"), "{said:?}");
        assert!(world.lost("live:5").is_empty(), "a room that it is not in");
    }
}

#[test]
fn a_lost_room_that_is_left_is_not_missed() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(world.lost("live:1000"), ["subscribe 5 live:1000 seen as \"42\"/c1"]);
    world.say(operation::CHANGE_ROOM, 1, "live://2");
    assert_eq!(world.opened(6), ["op 13 v1 s1 live://2", "unsubscribe live:1000"]);
    assert!(world.failed(5).is_empty(), "nobody wants it any more");
    assert_eq!(world.lost("#42"), ["subscribe 7 #42 filtered"]);
    assert!(world.opened(7).is_empty());
    assert!(world.session.reopening.is_none());
}
