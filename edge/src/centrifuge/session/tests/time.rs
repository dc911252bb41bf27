//! Pings, pongs, deadlines, refreshes.

use super::*;

#[test]
fn connect_must_come_in_time() {
    let peer = Peer::new(Config::default());
    assert_eq!(peer.session.next_deadline(), Some(peer.now + Duration::from_secs(10)));
    let peer = peer.run(&[
        (Wait(9_999), &[]),
        (Wait(1), &["close 3502 stale: no connect command in time"]),
        (Wait(1), &[]),
    ]);
    assert_eq!(peer.session.next_deadline(), None);
}

#[test]
fn the_first_ping_is_spread() {
    for (seed, expected_ms) in [(0, 12_500), (u64::MAX / 2, 18_750), (u64::MAX, 25_000)] {
        let mut peer = Peer::new(Config::default());
        peer.session.phase = Phase::Fresh { seed };
        peer.take(&Say(r#"{"id":1,"connect":{}}"#));
        let due = peer.session.next_deadline().unwrap() - peer.now;
        assert!(due.as_millis().abs_diff(expected_ms) <= 1, "{due:?}");
    }
}

#[test]
fn pings_want_one_pong_each() {
    let unwanted = "close 3501 bad request: a pong without a ping";
    Peer::connected("").run(&[
        (Wait(12_499), &[]),
        (Wait(1), &["{}"]),
        (Wait(7_999), &[]),
        (Say("{}"), &[]),
        (Wait(17_000), &[]),
        (Wait(1), &["{}"]),
        (Say("{}"), &[]),
        (Say("{}"), &[unwanted]),
    ]);
    Peer::connected("").run(&[(Wait(12_500), &["{}"]), (Say("{}\n{}"), &[unwanted])]);
    Peer::connected("").run(&[(Wait(12_500), &["{}"]), (Wait(8_000), &["close 3012 no pong"])]);
    // Any command without an id but `send` counts as a pong.
    Peer::connected("").run(&[(Say(r#"{"rpc":{}}"#), &[unwanted])]);
    Peer::connected("").run(&[(Wait(12_500), &["{}"]), (Say(r#"{"connect":{}}"#), &[])]);
}

#[test]
fn connections_expire_unless_refreshed() {
    let connect = |exp: u64| {
        say(json!({"id": 1, "connect": {"token": sign(json!({"sub": "7", "exp": exp}))}}))
    };
    let refresh =
        |claims: serde_json::Value| say(json!({"id": 2, "refresh": {"token": sign(claims)}}));
    let answer = r#"{"id":1,"connect":{"client":"c1","version":"V","expires":true,"ttl":5,"ping":25,"pong":true}}"#;
    let connected: &[&str] = &[answer, "identify \"7\" c1", "1 subscribe @all"];
    let first = connect(START_S + 5);
    Peer::new(Config::default()).run(&[
        (Say(&first), connected),
        (Wait(20_000), &["{}"]),
        (Say("{}"), &[]),
        (Wait(9_999), &[]),
        (Wait(1), &["close 3005 connection expired"]),
    ]);
    Peer::new(Config::default()).run(&[
        (Say(&first), connected),
        (
            Say(&refresh(json!({"sub": "7", "exp": START_S + 50}))),
            &[r#"{"id":2,"refresh":{"client":"c1","version":"V","expires":true,"ttl":50}}"#],
        ),
        (Wait(20_000), &["{}"]),
        (Say("{}"), &[]),
        (Wait(14_000), &[]),
        (
            Say(&refresh(json!({"sub": "7"}))),
            &[r#"{"id":2,"refresh":{"client":"c1","version":"V"}}"#],
        ),
    ]);
    let table = [
        (refresh(json!({"sub": "7", "exp": START_S})), "close 3005 connection expired"),
        (refresh(json!({"sub": "7", "expire_at": 9})), "close 3005 connection expired"),
        (refresh(json!({"sub": "8"})), "close 3500 invalid token"),
        (refresh(json!({"sub": "7", "channels": ["live:1"]})), "close 3010 insufficient state"),
        (say(json!({"id": 2, "refresh": {"token": "x"}})), "close 3500 invalid token"),
        (say(json!({"id": 2, "refresh": {}})), "close 3501 bad request: refresh brings no token"),
    ];
    for (text, expected) in table {
        Peer::connected("7").run(&[(Say(&text), &[expected])]);
    }
}

#[test]
fn subscriptions_expire_unless_refreshed() {
    let token = |claims: serde_json::Value| {
        let mut all = json!({"sub": "7", "channel": "$quiet:1"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        sign(all)
    };
    let subscribe = say(json!({"id": 2, "subscribe":
        {"channel": "$quiet:1", "token": token(json!({"exp": START_S + 5, "data": [1]}))}}));
    let refresh = |claims| {
        say(json!({"id": 3, "sub_refresh":
        {"channel": "$quiet:1", "token": token(claims)}}))
    };
    let opened = r#"{"id":2,"subscribe":{"expires":true,"ttl":5,"data":[1]}}"#;
    let expired = r#"{"push":{"channel":"$quiet:1","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#;
    Peer::connected("7").run(&[
        (Say(&subscribe), &["2 subscribe $quiet:1"]),
        (Open(2, 0), &[opened]),
        (Wait(20_000), &["{}"]),
        (Say("{}"), &[]),
        (Wait(9_999), &[]),
        (Wait(1), &[expired, "unsubscribe $quiet:1"]),
    ]);
    Peer::connected("7").run(&[
        (Say(&subscribe), &["2 subscribe $quiet:1"]),
        (
            Say(&refresh(json!({}))),
            &[r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#],
        ),
        (Open(2, 0), &[opened]),
        (
            Say(&refresh(json!({"exp": START_S + 9}))),
            &[r#"{"id":3,"sub_refresh":{"expires":true,"ttl":9}}"#],
        ),
        (
            Say(&refresh(json!({"exp": START_S}))),
            &[r#"{"id":3,"error":{"code":110,"message":"expired"}}"#],
        ),
        (
            Say(r#"{"id":3,"sub_refresh":{"channel":"$quiet:1"}}"#),
            &[r#"{"id":3,"error":{"code":107,"message":"bad request"}}"#],
        ),
        (Say(&refresh(json!({}))), &[r#"{"id":3,"sub_refresh":{}}"#]),
        (Wait(20_000), &["{}"]),
        (Say("{}"), &[]),
        (Wait(16_999), &[]),
        (Say(&refresh(json!({"sub": "8"}))), &["close 3500 invalid token"]),
    ]);
}

#[test]
fn a_ttl_is_never_zero() {
    let token = sign(json!({"sub": "7", "exp": START_S + 1}));
    let mut peer = Peer::new(Config::default());
    peer.take(&Wait(999));
    let said = peer.take(&Say(&say(json!({"id": 1, "connect": {"token": token}}))));
    assert!(said[0].contains(r#""expires":true,"ttl":1,"#), "{said:?}");
}

#[test]
fn tokens_are_verified_so_often_between_pings() {
    let config = || Config { channels_max: 2, ..Config::default() };
    let most = TOKENS_PER_CHANNEL_MAX * 3;
    let connect = say(json!({"id": 1, "connect": {"token": sign(json!({"sub": "7"}))}}));
    let subscribe = say(json!({"id": 2, "subscribe": {"channel": "$live:1", "token": "x"}}));
    let refresh = say(json!({"id": 2, "refresh": {"token": sign(json!({"sub": "7"}))}}));
    let too_many = ["close 3013 too many requests"];
    for (said, answer) in [(&subscribe, "permission denied"), (&refresh, "refresh")] {
        let mut peer = Peer::new(config());
        peer.take(&Say(&connect));
        for _ in 0..2 {
            for _ in 0..most {
                assert!(peer.take(&Say(said))[0].contains(answer));
            }
            assert_eq!(peer.take(&Wait(12_500)), ["{}"]);
            peer.take(&Say("{}"));
            peer.take(&Wait(12_500));
        }
        for _ in 0..most {
            peer.take(&Say(said));
        }
        assert_eq!(peer.take(&Say(said)), too_many);
    }
}
