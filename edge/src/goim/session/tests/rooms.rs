//! Changing rooms: one or several, refused changes.

use super::*;

#[test]
fn changing_rooms() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    // To the room one is in: one stays in it, and misses nothing.
    assert_eq!(world.say(operation::CHANGE_ROOM, 1, "live://1000"), ["op 13 v1 s1 live://1000"]);
    assert_eq!(world.say(operation::CHANGE_ROOM, 2, "live:1000"), ["op 13 v1 s2 live:1000"]);
    assert_eq!(world.say(operation::HEARTBEAT, 3, ""), ["op 3 v1 s3 \\x00\\x00\\x00\\x07"]);
    // To none, and back.
    assert_eq!(world.say(operation::CHANGE_ROOM, 4, ""), ["op 13 v1 s4", "unsubscribe live:1000"]);
    assert_eq!(world.say(operation::HEARTBEAT, 5, ""), ["op 3 v1 s5 \\x00\\x00\\x00\\x00"]);
    assert_eq!(world.say(operation::CHANGE_ROOM, 6, "unseen://1"), ["subscribe 5 unseen:1"]);
    assert_eq!(world.opened(5), ["op 13 v1 s6 unseen://1"]);
}

#[test]
fn a_refused_change_leaves_the_client_where_it_is() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    for (body, code) in [
        (&b"nowhere://1"[..], 102),
        (b"staff://1", 103),
        (b"#43", 103),
        (b"@all", 103),
        (b"\xff", 107),
        (b"live://", 107),
        (b"[1]", 107),
        (b"[", 107),
    ] {
        let said = world.say(operation::CHANGE_ROOM, 1, body);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("op 13 v1 s1 {{\\\"code\\\":{code},")), "{said:?}");
    }
    world.say(operation::CHANGE_ROOM, 2, "[\"live://1\",\"live://2\",\"live://3\"]");
    world.opened(6);
    assert_eq!(
        world.failed(5),
        [
            "op 13 v1 s2 {\\\"code\\\":100,\\\"message\\\":\\\"no upstream\\\"}",
            "unsubscribe live:2",
            "unsubscribe live:3",
        ]
    );
    assert_eq!(world.say(operation::HEARTBEAT, 3, ""), ["op 3 v1 s3 \\x00\\x00\\x00\\x07"]);
}

#[test]
fn several_rooms_at_once() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let body = r#"["live://2","live://1000","live:2"]"#;
    assert_eq!(
        world.say(operation::CHANGE_ROOM, 1, body),
        ["subscribe 5 live:2 seen as \"42\"/c1"]
    );
    let echoed = format!("op 13 v1 s1 {}", body.as_bytes().escape_ascii());
    assert_eq!(world.opened(5), [echoed], "named twice is entered once; the old one is kept");
    assert_eq!(world.say(operation::HEARTBEAT, 2, ""), ["op 3 v1 s2 \\x00\\x00\\x00\\x02"]);
    assert_eq!(
        world.say(operation::CHANGE_ROOM, 3, "[]"),
        ["op 13 v1 s3 []", "unsubscribe live:2", "unsubscribe live:1000"]
    );
    let many: Vec<String> = (0..17).map(|room| format!("live://{room}")).collect();
    let many = serde_json::to_string(&many).expect("JSON");
    let refused = world.say(operation::CHANGE_ROOM, 4, many);
    assert!(refused[0].contains("106"), "{refused:?}");
}

#[test]
fn rooms_that_are_refused_together() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    world.say(operation::CHANGE_ROOM, 1, r#"["live://1","live://2"]"#);
    let refused = [
        "op 13 v1 s1 {\\\"code\\\":100,\\\"message\\\":\\\"no upstream\\\"}",
        "unsubscribe live:2",
    ];
    assert_eq!(world.failed(5), refused);
    assert!(world.failed(6).is_empty(), "it had been on its way");
    assert_eq!(world.say(operation::HEARTBEAT, 2, ""), ["op 3 v1 s2 \\x00\\x00\\x00\\x07"]);
    // The late answer says nothing about the next change either.
    world.say(operation::CHANGE_ROOM, 3, r#"["live://1","live://2"]"#);
    assert_eq!(world.failed(7).len(), 2);
    assert_eq!(
        world.say(operation::CHANGE_ROOM, 4, "live://2"),
        ["subscribe 9 live:2 seen as \"42\"/c1"]
    );
    assert!(world.failed(8).is_empty());
    assert_eq!(world.opened(9), ["op 13 v1 s4 live://2", "unsubscribe live:1000"]);
}
