//! Bytes in and out: both transports, pieces, malformed frames, bounds, order.

use super::*;

#[test]
fn exact_bytes_on_both_transports() {
    for (transport, expected) in [
        (Transport::Tcp, &b"\0\0\0\x14\0\x10\0\x01\0\0\0\x03\0\0\0\x05\0\0\0\x07"[..]),
        (Transport::WebSocket, b"\x82\x14\0\0\0\x14\0\x10\0\x01\0\0\0\x03\0\0\0\x05\0\0\0\x07"),
    ] {
        let mut world = World::new(transport);
        world.log_in(GOIM_LOGIN);
        let heartbeat = frame_of(operation::HEARTBEAT, 5, b"");
        world.input.extend_from_slice(&heartbeat);
        world.call(|session, input, context, output| match transport {
            Transport::Tcp => session.handle_input(input, context, output),
            Transport::WebSocket => session.handle_message(input.split(), context, output),
        });
        assert_eq!(&world.output.bytes[..], expected);
    }
}

#[test]
fn several_frames_in_one_websocket_message() {
    let mut world = World::new(Transport::WebSocket);
    let mut message = frame_of(operation::AUTH, 1, DANMAKU_LOGIN.as_bytes());
    message.extend(frame_of(operation::HEARTBEAT, 2, b""));
    message.extend(frame_of(operation::AUTH, 3, b"{}"));
    assert_eq!(world.bytes(&message).len(), 3, "the login waits, and the rest with it");
    world.opened(1);
    assert_eq!(
        world.opened(2),
        ["op 8 v1 s1 {\\\"code\\\":0}", "op 3 v1 s2 \\x00\\x00\\x00\\x07", "op 7 v1 s3"]
    );
    assert!(world.session.backlog.is_none());
    assert_eq!(world.bytes(b""), ["close 1002 Peer"]);
}

#[test]
fn a_backlog_is_bounded() {
    let mut world = World::new(Transport::WebSocket);
    world.say(operation::AUTH, 1, "{}");
    let message = frame_of(1000, 2, &[0; 4080]).repeat(16);
    assert!(world.bytes(&message).is_empty());
    assert_eq!(world.say(1000, 3, ""), ["close 3013 Peer"]);
    assert!(world.session.backlog.is_none());
}

#[test]
fn malformed_frames_end_the_connection() {
    let closed = ["close 1002 Peer"];
    for header in [
        &b"\0\0\0\x0f\0\x10"[..],
        b"\xff\xff\xff\xff\0\x10",
        b"\0\0\x10\x11\0\x10",
        b"\0\0\0\x10\0\x11",
    ] {
        let mut world = World::tcp();
        assert_eq!(world.bytes(header), closed, "{header:?}");
        assert!(world.input.is_empty());
        let mut world = World::new(Transport::WebSocket);
        world.log_in("{}");
        let rest = [header, &[0; 10]].concat();
        assert_eq!(world.bytes(&rest), closed, "{header:?}");
    }
    // On WebSocket a frame is as long as its message: what goim answered with foreign memory.
    let mut world = World::new(Transport::WebSocket);
    world.log_in("{}");
    let mut long = frame_of(operation::SUB, 1, b"1000");
    long[2..4].copy_from_slice(&4112_u16.to_be_bytes());
    assert_eq!(world.bytes(&long), closed);
    let mut world = World::new(Transport::WebSocket);
    world.log_in("{}");
    let trailing = [frame_of(operation::HEARTBEAT, 1, b""), b"x".to_vec()].concat();
    assert_eq!(world.bytes(&trailing), ["op 3 v1 s1 \\x00\\x00\\x00\\x00", "close 1002 Peer"]);
}

#[test]
fn bodies_up_to_4096_bytes() {
    let mut world = World::tcp();
    world.log_in("{}");
    assert_eq!(world.say(1000, 1, [b'x'; 4096]), ["op 1000 v1 s1"]);
    assert_eq!(world.say(1000, 2, [b'x'; 4097]), ["close 1002 Peer"]);
}

#[test]
fn other_operations_are_echoed_without_their_body() {
    for (transport, raw) in [(Transport::Tcp, vec![]), (Transport::WebSocket, vec!["op 9 v1 s4"])] {
        let mut world = World::new(transport);
        world.log_in(GOIM_LOGIN);
        assert_eq!(world.say(1000, 1, "x"), ["op 1000 v1 s1"]);
        assert_eq!(world.say(-5, 2, "x"), ["op -5 v1 s2"]);
        assert_eq!(world.say(operation::AUTH, 3, GOIM_LOGIN), ["op 7 v1 s3"], "no second login");
        assert_eq!(world.say(operation::RAW, 4, "x"), raw);
        let mut frame = frame_of(0, i32::MIN, b"");
        frame[6..8].copy_from_slice(&(-2_i16).to_be_bytes());
        assert_eq!(world.bytes(&frame), ["op 0 v-2 s-2147483648"]);
    }
}

#[test]
fn any_number_of_requests_may_be_on_the_way() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let requests: Vec<u8> =
        (0..400).flat_map(|sequence| frame_of(operation::HEARTBEAT, sequence, b"")).collect();
    let answers = world.bytes(&requests);
    assert_eq!(answers.len(), 400);
    assert_eq!(answers[399], "op 3 v1 s399 \\x00\\x00\\x00\\x07");
}

#[test]
fn requests_behind_one_that_waits_are_answered_in_order() {
    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    let requests = [
        frame_of(operation::SEND_MESSAGE, 1, b"hi"),
        frame_of(operation::HEARTBEAT, 2, b""),
        frame_of(operation::CHANGE_ROOM, 3, b"live://7"),
        frame_of(operation::HEARTBEAT, 4, b""),
    ]
    .concat();
    assert_eq!(world.bytes(&requests), ["publish 5 live:1000 hi c1-5"]);
    let done = Answer::Response(response::Kind::Publish(PublishResult::default()));
    assert_eq!(
        world.answer(5, done),
        ["op 4 v1 s1", "op 3 v1 s2 \\x00\\x00\\x00\\x07", "subscribe 6 live:7 seen as \"42\"/c1"]
    );
    assert_eq!(
        world.opened(6),
        ["op 13 v1 s3 live://7", "op 3 v1 s4 \\x00\\x00\\x00\\x02", "unsubscribe live:1000"]
    );
}

proptest! {
    #[test]
    fn pieces_do_not_matter(piece in 1usize..50) {
        let stream: Vec<u8> = [
            frame_of(operation::HEARTBEAT, 1, b"early"),
            frame_of(operation::AUTH, 2, b"{}"),
            frame_of(operation::HEARTBEAT, 3, b""),
            frame_of(1000, 4, b"body"),
        ]
        .concat();
        let mut world = World::tcp();
        let mut said = Vec::new();
        for piece in stream.chunks(piece) {
            said.extend(world.bytes(piece));
        }
        said.extend(world.opened(1));
        prop_assert_eq!(
            said,
            [
                "identify \"\" c1 \"\"",
                "subscribe 1 @all filtered",
                "op 8 v1 s2",
                "op 3 v1 s3 \\x00\\x00\\x00\\x00",
                "op 1000 v1 s4",
            ]
        );
    }

    #[test]
    fn no_input_panics(
        frames in prop::collection::vec(
            (0..20, prop::collection::vec(any::<u8>(), 0..30)), 0..10,
        ),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        websocket in any::<bool>(),
    ) {
        let mut bytes: Vec<u8> =
            frames.iter().flat_map(|(operation, body)| frame_of(*operation, 1, body)).collect();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut world = World::new(if websocket { Transport::WebSocket } else { Transport::Tcp });
        world.log_in("{}");
        world.bytes(&bytes);
        for id in 2..12 {
            world.opened(id);
        }
    }
}
