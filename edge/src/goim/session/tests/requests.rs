//! Accepted operations, and publishing.

use super::*;

#[test]
fn accepted_operations() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert_eq!(
        world.say(operation::SUB, 1, "1002,1003"),
        ["op 15 v1 s1 1002,1003", "accept {1000, 1001, 1002, 1003}"]
    );
    assert_eq!(
        world.say(operation::UNSUB, 2, "1000,1002,5"),
        ["op 17 v1 s2 1000,1002,5", "accept {1001, 1003}"]
    );
    assert_eq!(world.say(operation::SUB, 3, "1001"), ["op 15 v1 s3 1001"], "nothing new");
    assert_eq!(world.say(operation::SUB, 4, "7,x"), ["op 15 v1 s4 7,x"], "ignored as a whole");
    assert_eq!(world.say(operation::SUB, 5, b"\xff"), ["op 15 v1 s5 \\xff"]);
    // Whoever never said what it accepts gets everything, until it says.
    let mut world = World::tcp();
    world.log_in("{}");
    for no_list in ["", "x", "1,,2"] {
        assert_eq!(world.say(operation::SUB, 1, no_list).len(), 1, "it changes nothing");
        assert_eq!(world.say(operation::UNSUB, 1, no_list).len(), 1);
    }
    assert_eq!(world.say(operation::SUB, 1, "1000"), ["op 15 v1 s1 1000", "accept {1000}"]);
    let mut world = World::tcp();
    world.log_in("{}");
    assert_eq!(world.say(operation::UNSUB, 1, "1000"), ["op 17 v1 s1 1000", "accept {}"]);
}

#[test]
fn accepted_operations_are_told_once_for_all_frames_that_come_together() {
    // What is told is a copy of up to 2,048 operations, and a frame that changes them has 17 bytes.
    for transport in [Transport::Tcp, Transport::WebSocket] {
        let mut world = World::new(transport);
        world.log_in(GOIM_LOGIN);
        let frames: Vec<Vec<u8>> = (0..300)
            .map(|n| frame_of(if n % 3 < 2 { operation::SUB } else { operation::UNSUB }, n, b"7"))
            .chain([frame_of(operation::SUB, 300, b"8")])
            .collect();
        let said = world.bytes(&frames.concat());
        assert_eq!(said.len(), 302);
        assert_eq!(said[301], "accept {8, 1000, 1001}");
    }
}

#[test]
fn accepted_operations_are_bounded() {
    let mut world = World::tcp();
    world.log_in("{}");
    let some = |from: i32| (from..from + 800).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    world.say(operation::SUB, 1, some(1000));
    world.say(operation::SUB, 2, some(2000));
    let said = world.say(operation::SUB, 3, some(3000));
    assert!(said.len() == 1 && said[0].starts_with("op 15 v1 s3 {\\\"code\\\":106"), "{said:?}");
}

#[test]
fn publishing() {
    let mut world = World::tcp();
    world.log_in("{}");
    let refused = |said: Vec<String>, code: u32| {
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("op 4 v1 s1 {{\\\"code\\\":{code},")), "{said:?}");
    };
    refused(world.say(operation::SEND_MESSAGE, 1, "hi"), 108);
    world.say(operation::CHANGE_ROOM, 1, "news://1");
    world.opened(2);
    refused(world.say(operation::SEND_MESSAGE, 1, "hi"), 103);
    world.say(operation::CHANGE_ROOM, 1, "live://1");
    world.opened(3);
    assert_eq!(world.say(operation::SEND_MESSAGE, 1, "hi"), ["publish 4 live:1 hi c1-4"]);
    refused(world.failed(4), 100);
    assert_eq!(world.say(operation::SEND_MESSAGE, 1, "hi"), ["publish 5 live:1 hi c1-5"]);
    let failure =
        |disconnect| Answer::Response(response::Kind::Failure(control_failure(disconnect)));
    refused(world.answer(5, failure(0)), 111);
    world.say(operation::SEND_MESSAGE, 1, "hi");
    assert_eq!(world.answer(6, failure(4500)), ["close 4500 Order"]);
    for forbidden in [1, 1005, 5000, 70_000] {
        let mut world = World::tcp();
        world.log_in(GOIM_LOGIN);
        world.say(operation::SEND_MESSAGE, 1, "hi");
        assert_eq!(world.answer(5, failure(forbidden)), ["close 3503 Order"], "{forbidden}");
    }
}

fn control_failure(disconnect: u32) -> shared::wire::control::Failure {
    let message = "too many requests".to_owned();
    shared::wire::control::Failure { code: 111, message, temporary: true, disconnect }
}
