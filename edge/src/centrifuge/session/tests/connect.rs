//! The connect command, and what must not come before or beside it.

use super::*;

const CONNECTED: &str = r#"{"id":1,"connect":{"client":"c1","version":"V","ping":25,"pong":true}}"#;

#[test]
fn anonymous() {
    Peer::new(Config::default()).run(&[
        (Say(r#"{"id":1,"connect":{}}"#), &[CONNECTED, "identify \"\" c1", "1 subscribe @all"]),
        (Open(1, 7), &[]),
        (Say(r#"{"id":2,"connect":{}}"#), &["close 3501 bad request: already connected"]),
        (Say(r#"{"id":3,"rpc":{}}"#), &[]),
    ]);
}

#[test]
fn ids_may_begin_anywhere() {
    let said = Peer::new(Config::default()).take(&Say(r#"{"id":37,"connect":{"name":"js"}}"#));
    assert_eq!(said[0], CONNECTED.replace("\"id\":1", "\"id\":37"));
}

#[test]
fn refused_from_the_start() {
    let expired = say(json!({"id": 1, "connect": {"token": sign(json!({"exp": START_S}))}}));
    let early = say(json!({"id": 1, "connect": {"token": sign(json!({"nbf": START_S + 1}))}}));
    let over = say(json!({"id": 1, "connect": {"token": sign(json!({"expire_at": 5}))}}));
    let unknown = say(json!({"id": 1, "connect": {"token": sign(json!({"channels": ["no:1"]}))}}));
    let reserved = say(json!({"id": 1, "connect": {"token": sign(json!({"channels": ["@all"]}))}}));
    let first = "close 3501 bad request: the first command must be connect";
    let undecodable = "close 3501 bad request: a frame cannot be decoded";
    let expired_error = r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#;
    let unknown_error = r#"{"id":1,"error":{"code":102,"message":"unknown channel"}}"#;
    let table: [(&str, &str); 12] = [
        (r#"{"id":1,"subscribe":{"channel":"live:1"}}"#, first),
        (r#"{"connect":{}}"#, first),
        ("{}", first),
        ("", undecodable),
        ("\n", undecodable),
        ("hello", undecodable),
        (r#"{"id":1,"connect":{"token":"a.b.c"}}"#, "close 3500 invalid token"),
        (&expired, expired_error),
        (&early, expired_error),
        (&over, r#"{"id":1,"error":{"code":110,"message":"expired"}}"#),
        (&unknown, unknown_error),
        (&reserved, unknown_error),
    ];
    for (said, expected) in table {
        assert_eq!(Peer::new(Config::default()).take(&Say(said)), [expected], "{said}");
    }
}

#[test]
fn a_refused_connection_is_unusable() {
    let token = sign(json!({"exp": START_S - 1}));
    let frame =
        format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}\n{{\"id\":2,\"rpc\":{{}}}}");
    let refused = r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#;
    Peer::new(Config::default()).run(&[
        (Say(&frame), &[refused]),
        (Say(r#"{"id":3,"rpc":{}}"#), &["close 3501 bad request: the connection was refused"]),
    ]);
    Peer::new(Config::default()).run(&[
        (Say(&frame), &[refused]),
        (Wait(10_000), &["close 3502 stale: no connect command in time"]),
    ]);
}

#[test]
fn anonymous_may_be_forbidden() {
    let config = Config { allow_anonymous: false, ..Config::default() };
    Peer::new(config).run(&[(
        Say(r#"{"id":1,"connect":{}}"#),
        &["close 3501 bad request: connect brings no token"],
    )]);
}

#[test]
fn everything_in_one_frame_is_done_in_order() {
    let frame = concat!(
        "{\"id\":1,\"connect\":{}}\n",
        "{\"id\":2,\"subscribe\":{\"channel\":\"live:1\",\"flag\":1}}\n",
        "{\"id\":3,\"subscribe\":{\"channel\":\"quiet:1\",\"flag\":1}}\n"
    );
    Peer::new(Config::default()).run(&[
        (
            Say(frame),
            &[
                CONNECTED,
                "identify \"\" c1",
                "1 subscribe @all",
                "2 subscribe live:1 as \"\"",
                "3 subscribe quiet:1",
            ],
        ),
        (Open(3, 0), &[r#"{"id":3,"subscribe":{}}"#]),
        (
            Open(2, 9),
            &[r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"5","offset":9,"positioned":true}}"#],
        ),
    ]);
}

#[test]
fn server_side_subscriptions_come_with_the_answer() {
    let config = Config { personal_channel: true, ..Config::default() };
    let token = sign(json!({
        "sub": "42", "info": {"name": "x"}, "exp": START_S + 60,
        "subs": {"live://1": {"data": {"a": 1}, "info": {"c": 2}}, "quiet:1": {}}
    }));
    let connect = say(json!({"id": 1, "connect": {"token": token, "subs": {
        "live://1": {"recover": true, "epoch": "5", "offset": 3},
        "live:other": {"recover": true, "epoch": "5", "offset": 3}
    }}}));
    let mut peer = Peer::new(config);
    assert!(!peer.session.is_held());
    let said = peer.take(&Say(&connect));
    assert_eq!(
        said,
        [
            "identify \"42\" c1",
            "1 subscribe live://1 from 5:3 as \"42\"{\"c\":2}",
            "2 subscribe quiet:1",
            "3 subscribe #42",
        ]
    );
    assert!(peer.session.is_held(), "no message may come before the answer to connect");
    let peer = peer.run(&[
        (Say(r#"{"id":2,"subscribe":{"channel":"live:1"}}"#), &[]),
        (Say(r#"{"id":3,"rpc":{"method":"m"}}"#), &[]),
        (Open(2, 0), &[]),
        (Recovered(1, 5, &[4, 5]), &[]),
        (
            Open(3, 1),
            &[
                concat!(
                    r##"{"id":1,"connect":{"client":"c1","version":"V","expires":true,"ttl":60,"subs":{"##,
                    r##""#42":{"recoverable":true,"epoch":"5","offset":1,"positioned":true},"##,
                    r##""live://1":{"recoverable":true,"epoch":"5","publications":["##,
                    r##"{"data":4,"offset":4},{"data":5,"offset":5}],"recovered":true,"offset":3,"##,
                    r##""positioned":true,"data":{"a":1},"was_recovering":true},"##,
                    r##""quiet:1":{}},"ping":25,"pong":true}}"##,
                ),
                r#"{"id":2,"error":{"code":105,"message":"already subscribed"}}"#,
                "4 subscribe @all",
                "5 rpc m  websocket/json",
            ],
        ),
    ]);
    assert!(!peer.session.is_held());
}

#[test]
fn one_failed_subscription_fails_connect() {
    let token = sign(json!({"sub": "42", "channels": ["live:1", "live:2", "live:2"]}));
    let connect = say(json!({"id": 1, "connect": {"token": token}}));
    let subscribes: &[&str] =
        &["identify \"42\" c1", "1 subscribe live:1 as \"42\"", "2 subscribe live:2 as \"42\""];
    Peer::new(Config::default()).run(&[
        (Say(&connect), subscribes),
        (
            Failed(1, 100, "upstream away", true),
            &[
                r#"{"id":1,"error":{"code":100,"message":"upstream away","temporary":true}}"#,
                "unsubscribe live:2",
            ],
        ),
        (Open(2, 1), &[]),
        (Say("{}"), &["close 3501 bad request: the connection was refused"]),
    ]);
    Peer::new(Config::default())
        .run(&[(Say(&connect), subscribes), (Wait(10_000), &["close 3004 internal server error"])]);
}

#[test]
fn what_waits_for_connect_is_bounded() {
    let token = sign(json!({"sub": "42", "channels": ["live:1"]}));
    let connect = say(json!({"id": 1, "connect": {"token": token}}));
    let publish =
        say(json!({"id": 2, "publish": {"channel": "live:1", "data": "x".repeat(60_000)}}));
    Peer::new(Config::default()).run(&[
        (Say(&connect), &["identify \"42\" c1", "1 subscribe live:1 as \"42\""]),
        (Say(&publish), &[]),
        (Say(&publish), &[]),
        (Say(&publish), &[]),
        (Say(&publish), &[]),
        (Say(&publish), &["close 3013 too many requests"]),
    ]);
}

#[test]
fn too_many_server_side_subscriptions() {
    let channels: Vec<String> = (0..129).map(|number| format!("live:{number}")).collect();
    let token = sign(json!({"sub": "42", "channels": channels}));
    let connect = say(json!({"id": 1, "connect": {"token": token}}));
    Peer::new(Config::default()).run(&[(Say(&connect), &["close 3505 channel limit"])]);
}

#[test]
fn protobuf_is_spoken_too() {
    let mut peer = Peer::with_encoding(Config::default(), Encoding::Protobuf);
    let context = Context {
        now: peer.now,
        unix_ms: peer.unix_ms,
        namespaces: &peer.namespaces,
        online: &|_| 0,
    };
    let mut output = Output::default();
    peer.session.handle_message(&[4, 8, 1, 34, 0], &context, &mut output);
    let [0x82, frame_len, len, 8, 1, 42, payload @ ..] = &output.bytes[..] else {
        panic!("{:?}", output.bytes)
    };
    assert_eq!(usize::from(*frame_len), usize::from(*len) + 1);
    assert!(payload.starts_with(&[(*len - 4), 10, 2, b'c', b'1', 18]), "{payload:?}");
    assert!(payload.ends_with(&[56, 25, 64, 1]), "{payload:?}");
}
