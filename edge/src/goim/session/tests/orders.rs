//! What back ends order.

use super::*;

fn unsubscribe(channel: &str) -> command::Kind {
    command::Kind::Unsubscribe(control::Unsubscribe { target: None, channel: channel.to_owned() })
}

fn refresh(expired: bool, expire_at_s: u64) -> command::Kind {
    command::Kind::Refresh(control::Refresh { expired, expire_at_s, ..Default::default() })
}

#[test]
fn rooms_that_the_back_end_takes_away() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    for elsewhere in ["live:5", "#42", "@all", "\u{1}"] {
        assert!(world.command(unsubscribe(elsewhere)).is_empty(), "{elsewhere:?}");
    }
    assert_eq!(
        world.command(unsubscribe("live://1000")),
        ["op 13 v1 s0", "unsubscribe live:1000"],
        "whatever the spelling"
    );
    assert!(world.command(unsubscribe("live:1000")).is_empty());
    assert_eq!(world.say(operation::HEARTBEAT, 1, ""), ["op 3 v1 s1 \\x00\\x00\\x00\\x00"]);

    world.say(operation::CHANGE_ROOM, 2, r#"["live://1","live://2","live://3"]"#);
    for id in 5..=7 {
        world.opened(id);
    }
    assert_eq!(
        world.command(unsubscribe("live:1")),
        ["op 13 v1 s0 [\\\"live://2\\\",\\\"live://3\\\"]", "unsubscribe live:1"]
    );
    let all = ["op 13 v1 s0", "unsubscribe live:2", "unsubscribe live:3"];
    assert_eq!(world.command(unsubscribe("")), all);
}

#[test]
fn a_change_into_a_room_that_is_taken_away_is_off() {
    let refused = "op 13 v1 s1 {\\\"code\\\":103,\\\"message\\\":\\\"removed by the back end\\\"}";
    let changing = |opened: &[u64]| {
        let mut world = World::tcp();
        world.log_in(GOIM_LOGIN);
        world.say(operation::CHANGE_ROOM, 1, r#"["live://1","live://2","live://1000"]"#);
        for id in opened {
            world.opened(*id);
        }
        world
    };
    for opened in [&[][..], &[5], &[6]] {
        let mut world = changing(opened);
        let mut said = world.command(unsubscribe("live:1"));
        said[1..].sort();
        assert_eq!(said, [refused, "unsubscribe live:1", "unsubscribe live:2"]);
        assert!(!world.session.is_busy());
        assert_eq!(world.say(operation::HEARTBEAT, 2, ""), ["op 3 v1 s2 \\x00\\x00\\x00\\x07"]);
    }
    // A room that the change would keep is left, too.
    let mut world = changing(&[5]);
    assert_eq!(
        world.command(unsubscribe("live:1000")),
        [
            refused,
            "op 13 v1 s0",
            "unsubscribe live:1",
            "unsubscribe live:2",
            "unsubscribe live:1000"
        ]
    );
    assert!(world.opened(6).is_empty());
    // What a change leaves anyway does not hold it up.
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    world.say(operation::CHANGE_ROOM, 1, "live://2");
    let left = ["op 13 v1 s0", "unsubscribe live:1000"];
    assert_eq!(world.command(unsubscribe("live:1000")), left);
    assert_eq!(world.opened(5), ["op 13 v1 s1 live://2"]);
}

#[test]
fn a_login_into_a_room_that_is_taken_away_is_tried_again() {
    let mut world = World::tcp();
    world.say(operation::AUTH, 1, GOIM_LOGIN);
    assert_eq!(world.command(unsubscribe("live:1000")), ["close 3004 Us"]);
    assert!(world.command(unsubscribe("")).is_empty(), "it is over");
}

#[test]
fn frames_behind_a_change_that_is_off_are_answered() {
    let mut world = World::new(Transport::WebSocket);
    world.log_in(GOIM_LOGIN);
    world.say(operation::CHANGE_ROOM, 1, "live://1");
    assert!(world.say(operation::HEARTBEAT, 2, "").is_empty());
    let said = world.command(unsubscribe("live:1"));
    assert_eq!(said[1..], ["op 3 v1 s2 \\x00\\x00\\x00\\x07", "unsubscribe live:1"]);
}

#[test]
fn a_back_end_ends_it() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let order = control::Disconnect { code: 4001, reason: "go".into(), ..Default::default() };
    assert_eq!(world.command(command::Kind::Disconnect(order)), ["close 4001 Order"]);
    for code in [0, 1005, 2999, 5000, 70_000] {
        let mut world = World::new(Transport::WebSocket);
        world.log_in(GOIM_LOGIN);
        let order = control::Disconnect { code, ..Default::default() };
        let said = world.command(command::Kind::Disconnect(order));
        assert_eq!(said, ["close 3503 Order"], "{code} may not be sent");
    }
}

#[test]
fn a_back_end_spares_whom_it_lists() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let whitelist = vec!["another".to_owned(), world.session.client.to_string()];
    let order = control::Disconnect { code: 4001, whitelist, ..Default::default() };
    assert!(world.command(command::Kind::Disconnect(order)).is_empty());
}

#[test]
fn a_back_end_moves_the_expiry() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert!(world.command(refresh(false, 1005)).is_empty());
    assert_eq!(world.session.next_deadline(), Some(world.now + Duration::from_secs(5)));
    assert!(world.command(refresh(false, 0)).is_empty());
    assert_eq!(world.session.next_deadline(), Some(world.now + Duration::from_secs(480)));
    world.command(refresh(false, 1005));
    assert_eq!(world.after(Duration::from_secs(5)), ["close 3005 Peer"]);
    for order in [refresh(true, 0), refresh(false, 1000)] {
        let mut world = World::tcp();
        world.log_in(GOIM_LOGIN);
        assert_eq!(world.command(order), ["close 3005 Peer"]);
    }
}
