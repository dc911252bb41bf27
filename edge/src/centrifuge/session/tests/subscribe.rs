//! Subscribing and unsubscribing: permissions, limits, spellings, order.

use super::*;

const OPENED: &str =
    r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"5","offset":9,"positioned":true}}"#;

fn error(id: u32, code: u32, message: &str) -> String {
    format!("{{\"id\":{id},\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}")
}

fn subscribe(channel: &str) -> String {
    say(json!({"id": 2, "subscribe": {"channel": channel}}))
}

#[test]
fn who_may_subscribe_to_what() {
    let denied = error(2, 103, "permission denied");
    let unknown = error(2, 102, "unknown channel");
    let bad = error(2, 107, "bad request");
    let too_long = format!("live:{}", "x".repeat(251));
    let table: [(&str, &str, &str); 27] = [
        ("", "live:1", "2 subscribe live:1 as \"\""),
        ("", "live://1", "2 subscribe live://1 as \"\""),
        ("", "news", "2 subscribe news as \"\""),
        ("", "quiet:1", "2 subscribe quiet:1"),
        ("", "shy:1", &denied),
        ("7", "shy:1", "2 subscribe shy:1 as \"7\""),
        ("7", "closed:1", &denied),
        ("7", "$live:1", &denied),
        ("7", "no:1", &unknown),
        ("7", "$no:1", &unknown),
        ("7", "#7", "2 subscribe #7"),
        ("7", "#8", &denied),
        ("", "#7", &denied),
        ("b", "#a#b", &denied),
        ("a#b", "#a#b", "2 subscribe #a#b"),
        ("8", "#7,8", &denied),
        ("", "#", &denied),
        ("7", "closed:dialog#6,7", "2 subscribe closed:dialog#6,7 as \"7\""),
        ("7", "live:dialog#6,8", &denied),
        ("", "live:dialog#", &denied),
        ("7", "@all", &denied),
        ("7", "@key:k", &denied),
        ("7", "live:é", &bad),
        ("7", "live:\u{1}", &bad),
        ("7", "live://", &bad),
        ("7", &too_long, &bad),
        ("7", "", "close 3501 bad request: a command names no channel"),
    ];
    for (user, channel, expected) in table {
        let said = Peer::connected(user).take(&Say(&subscribe(channel)));
        assert_eq!(said, [expected], "{user:?} {channel}");
    }
}

#[test]
fn tokens_admit_their_bearer() {
    let exp = START_S + 60;
    let wanted = "2 subscribe $live:1 as \"7\"";
    let table = [
        (json!({"sub": "7", "channel": "$live:1", "exp": exp}), wanted.to_owned()),
        (json!({"sub": "7", "channel": "$live://1"}), wanted.to_owned()),
        (json!({"sub": "7", "channel": "$live:1", "client": "c1"}), wanted.to_owned()),
        (
            json!({"sub": "7", "channel": "$live:1", "info": {"a": 1}}),
            format!("{wanted}{{\"a\":1}}"),
        ),
        (
            json!({"sub": "7", "channel": "$live:1", "override": {"presence": {"value": false}}}),
            "2 subscribe $live:1".to_owned(),
        ),
        (json!({"sub": "7", "channel": "$live:1", "exp": START_S}), error(2, 109, "token expired")),
        (json!({"sub": "7", "channel": "$live:1", "expire_at": 1}), error(2, 110, "expired")),
        (json!({"sub": "8", "channel": "$live:1"}), "close 3500 invalid token".to_owned()),
        (json!({"sub": "7", "channel": "$live:2"}), "close 3500 invalid token".to_owned()),
        (json!({"sub": "7"}), "close 3500 invalid token".to_owned()),
        (
            json!({"sub": "7", "channel": "$live:1", "client": "c2"}),
            "close 3500 invalid token".to_owned(),
        ),
    ];
    for (claims, expected) in table {
        let request =
            json!({"id": 2, "subscribe": {"channel": "$live:1", "token": sign(claims.clone())}});
        assert_eq!(Peer::connected("7").take(&Say(&say(request))), [expected], "{claims}");
    }
    let request = r#"{"id":2,"subscribe":{"channel":"$live:1","token":"a.b.c"}}"#;
    assert_eq!(Peer::connected("7").take(&Say(request)), [error(2, 103, "permission denied")]);
}

#[test]
fn features_that_are_not_served() {
    let table: [(serde_json::Value, String); 6] = [
        (json!({"delta": "fossil"}), "2 subscribe live:1 as \"\"".to_owned()),
        (json!({"flag": 1}), "2 subscribe live:1 as \"\"".to_owned()),
        (json!({"delta": "x"}), "close 3501 bad request: unknown delta type".to_owned()),
        (json!({"tf": {"op": "eq"}}), error(2, 107, "bad request")),
        (json!({"type": 4}), error(2, 108, "not available")),
        (json!({"type": 1}), error(2, 103, "permission denied")),
    ];
    for (mut request, expected) in table {
        request["channel"] = "live:1".into();
        let said = Peer::connected("").take(&Say(&say(json!({"id": 2, "subscribe": request}))));
        assert_eq!(said, [expected], "{request}");
    }
}

#[test]
fn one_subscription_whatever_the_spelling() {
    let again = error(3, 105, "already subscribed");
    Peer::connected("").run(&[
        (Say(&subscribe("live:1")), &["2 subscribe live:1 as \"\""]),
        (Say(r#"{"id":3,"subscribe":{"channel":"live://1"}}"#), &[&again]),
        (Open(2, 9), &[OPENED]),
        (Say(r#"{"id":3,"subscribe":{"channel":"live:1"}}"#), &[&again]),
        (
            Say(r#"{"id":4,"unsubscribe":{"channel":"live://1"}}"#),
            &[r#"{"id":4,"unsubscribe":{}}"#, "unsubscribe live:1"],
        ),
        (
            Say(r#"{"id":5,"unsubscribe":{"channel":"live://1"}}"#),
            &[r#"{"id":5,"unsubscribe":{}}"#],
        ),
    ]);
}

#[test]
fn subscriptions_are_limited() {
    let mut peer = Peer::connected("");
    for number in 0..128 {
        assert_eq!(peer.take(&Say(&subscribe(&format!("quiet:{number}")))).len(), 1);
    }
    let said = peer.take(&Say(&subscribe("quiet:one-more")));
    assert_eq!(said, [error(2, 106, "limit exceeded")]);
}

#[test]
fn unsubscribing_from_what_cannot_be_a_channel() {
    for name in ["live:é", "live://", "live:\u{1}"] {
        let said = Peer::connected("")
            .take(&Say(&say(json!({"id": 2, "unsubscribe": {"channel": name}}))));
        assert_eq!(said, [r#"{"id":2,"unsubscribe":{}}"#], "{name}");
    }
    let said = Peer::connected("").take(&Say(r#"{"id":2,"unsubscribe":{"channel":""}}"#));
    assert_eq!(said, ["close 3501 bad request: a command names no channel"]);
}

#[test]
fn unsubscribe_waits_for_a_running_subscribe() {
    let frame = concat!(
        "{\"id\":3,\"unsubscribe\":{\"channel\":\"live:1\"}}\n",
        "{\"id\":4,\"subscribe\":{\"channel\":\"live:1\"}}\n",
        "{\"id\":5,\"presence_stats\":{\"channel\":\"live:1\"}}\n",
        "{\"id\":6,\"presence_stats\":{\"channel\":\"live:2\"}}"
    );
    Peer::connected("").run(&[
        (Say(&subscribe("live:1")), &["2 subscribe live:1 as \"\""]),
        (Say(frame), &["3 stats live:2"]),
        (
            Open(2, 9),
            &[
                OPENED,
                r#"{"id":3,"unsubscribe":{}}"#,
                "unsubscribe live:1",
                "4 subscribe live:1 as \"\"",
                "5 stats live:1",
            ],
        ),
        (Open(4, 9), &[&OPENED.replace("\"id\":2", "\"id\":4")]),
    ]);
}

#[test]
fn unsubscribe_waits_for_a_subscribe_that_fails() {
    Peer::connected("").run(&[
        (Say(&subscribe("live:1")), &["2 subscribe live:1 as \"\""]),
        (Say(r#"{"id":3,"unsubscribe":{"channel":"live://1"}}"#), &[]),
        (
            Failed(2, 100, "away", false),
            &[
                r#"{"id":2,"error":{"code":100,"message":"away","temporary":true}}"#,
                r#"{"id":3,"unsubscribe":{}}"#,
            ],
        ),
        (Say(&subscribe("live:1")), &["3 subscribe live:1 as \"\""]),
    ]);
}

#[test]
fn unsubscribe_before_the_answer_to_connect() {
    let token = sign(json!({"sub": "7", "channels": ["live:9"]}));
    let frame = format!(
        "{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}\n{}\n{}",
        subscribe("live:1"),
        r#"{"id":3,"unsubscribe":{"channel":"live:1"}}"#
    );
    let mut peer = Peer::new(Config::default());
    assert_eq!(peer.take(&Say(&frame)).len(), 2);
    let said = peer.take(&Open(1, 0));
    assert_eq!(said[1..], ["2 subscribe @all", "3 subscribe live:1 as \"7\""]);
    assert_eq!(
        peer.take(&Open(3, 9)),
        [OPENED, r#"{"id":3,"unsubscribe":{}}"#, "unsubscribe live:1",]
    );
}

#[test]
fn a_channel_that_is_server_side_already() {
    let token = sign(json!({"sub": "7", "channels": ["live:1"]}));
    let mut peer = Peer::new(Config::default());
    peer.take(&Say(&say(json!({"id": 1, "connect": {"token": token}}))));
    peer.take(&Open(1, 0));
    assert_eq!(peer.take(&Say(&subscribe("live:1"))), [error(2, 105, "already subscribed")]);
}
