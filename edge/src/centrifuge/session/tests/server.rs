//! What back ends order.

use super::*;

fn disconnect(code: u32, reason: &str, whitelist: &[&str]) -> In<'static> {
    In::Command(command::Kind::Disconnect(control::Disconnect {
        target: None,
        whitelist: whitelist.iter().map(|client| (*client).to_owned()).collect(),
        code,
        reason: reason.to_owned(),
    }))
}

fn unsubscribe(channel: &str) -> In<'static> {
    let channel = channel.to_owned();
    In::Command(command::Kind::Unsubscribe(control::Unsubscribe { target: None, channel }))
}

fn subscribe(channel: &str, recover: Option<u64>, expire_at_s: u64) -> In<'static> {
    In::Command(command::Kind::Subscribe(control::Subscribe {
        target: None,
        channel: channel.to_owned(),
        info: "[1]".into(),
        data: "{\"d\":1}".into(),
        expire_at_s,
        recover_epoch: recover.map_or(0, |_| 5),
        recover_offset: recover.unwrap_or(0),
    }))
}

fn refresh(expired: bool, expire_at_s: u64) -> In<'static> {
    In::Command(command::Kind::Refresh(control::Refresh {
        target: None,
        expired,
        expire_at_s,
        info: Bytes::new(),
    }))
}

#[test]
fn disconnects() {
    Peer::connected("7").run(&[
        (disconnect(0, "", &["c0", "c1"]), &[]),
        (disconnect(0, "", &["c0"]), &["close 3503 force disconnect"]),
        (disconnect(0, "", &[]), &[]),
    ]);
    Peer::connected("7").run(&[(disconnect(4500, "banned", &[]), &["close 4500 banned"])]);
}

#[test]
fn unsubscribes() {
    let gone = |channel: &str| {
        format!(
            "{{\"push\":{{\"channel\":\"{channel}\",\"unsubscribe\":\
             {{\"code\":2000,\"reason\":\"server unsubscribe\"}}}}}}"
        )
    };
    Peer::connected("7").run(&[
        (unsubscribe("quiet:1"), &[]),
        (
            Say("{\"id\":2,\"subscribe\":{\"channel\":\"quiet://1\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"quiet:2\"}}"),
            &["2 subscribe quiet://1", "3 subscribe quiet:2"],
        ),
        (Open(2, 0), &[r#"{"id":2,"subscribe":{}}"#]),
        (unsubscribe("quiet:1"), &[&gone("quiet://1"), "unsubscribe quiet:1"]),
        (unsubscribe("quiet:1"), &[]),
        // One that is under way ends after it has begun.
        (unsubscribe(""), &[]),
        (Open(3, 0), &[r#"{"id":3,"subscribe":{}}"#, &gone("quiet:2"), "unsubscribe quiet:2"]),
    ]);
}

#[test]
fn subscribes() {
    Peer::connected("7").run(&[
        (subscribe("no:1", None, 0), &[]),
        (subscribe("@all", None, 0), &[]),
        (subscribe("live://1", None, 0), &["2 subscribe live://1 as \"7\"[1]"]),
        (subscribe("live:1", None, 0), &[]),
        (
            Open(2, 9),
            &[r#"{"push":{"channel":"live://1","subscribe":{"recoverable":true,"epoch":"5","offset":9,"positioned":true,"data":{"d":1}}}}"#],
        ),
        (
            Say(r#"{"id":2,"subscribe":{"channel":"live:1"}}"#),
            &[r#"{"id":2,"error":{"code":105,"message":"already subscribed"}}"#],
        ),
        (subscribe("live:2", Some(3), 0), &["3 subscribe live:2 from 5:3 as \"7\"[1]"]),
        (
            Recovered(3, 4, &[4]),
            &[
                r#"{"push":{"channel":"live:2","subscribe":{"recoverable":true,"epoch":"5","offset":3,"positioned":true,"data":{"d":1}}}}"#,
                r#"{"push":{"channel":"live:2","pub":{"data":4,"offset":4}}}"#,
            ],
        ),
        (subscribe("live:3", None, 0), &["4 subscribe live:3 as \"7\"[1]"]),
        (unsubscribe("live:3"), &[]),
        (Open(4, 0), &["unsubscribe live:3"]),
        (subscribe("live:3", None, 0), &["5 subscribe live:3 as \"7\"[1]"]),
        (Failed(5, 100, "away", true), &[]),
    ]);
}

#[test]
fn server_side_subscriptions_expire_with_the_connection() {
    Peer::connected("7").run(&[
        (subscribe("quiet:1", None, START_S + 5), &["2 subscribe quiet:1"]),
        (Open(2, 0), &[r#"{"push":{"channel":"quiet:1","subscribe":{"data":{"d":1}}}}"#]),
        (Wait(20_000), &["{}"]),
        (Say("{}"), &[]),
        (Wait(9_999), &[]),
        (Wait(1), &["close 3006 subscription expired"]),
    ]);
}

#[test]
fn refreshes() {
    Peer::connected("7").run(&[
        (refresh(false, START_S + 60), &[r#"{"push":{"refresh":{"expires":true,"ttl":60}}}"#]),
        (refresh(false, 0), &[r#"{"push":{"refresh":{}}}"#]),
        (refresh(true, 0), &["close 3005 connection expired"]),
    ]);
    Peer::connected("7").run(&[(refresh(false, START_S), &["close 3005 connection expired"])]);
}

#[test]
fn orders_before_the_answer_to_connect() {
    let token = sign(json!({"sub": "7", "channels": ["quiet:1", "quiet:2", "quiet:3"]}));
    let mut peer = Peer::new(Config::default());
    assert_eq!(peer.take(&disconnect(0, "", &[])), [""; 0], "nobody yet");
    peer.take(&Say(&say(json!({"id": 1, "connect": {"token": token}}))));
    peer.run(&[
        (Open(1, 0), &[]),
        (unsubscribe("quiet:1"), &["unsubscribe quiet:1"]),
        (unsubscribe("quiet:2"), &[]),
        (subscribe("quiet:4", None, 0), &["4 subscribe quiet:4"]),
        (refresh(false, START_S + 9), &[]),
        (Open(2, 0), &["unsubscribe quiet:2"]),
        (Open(3, 0), &[]),
        (
            Open(4, 0),
            &[
                r#"{"id":1,"connect":{"client":"c1","version":"V","expires":true,"ttl":9,"subs":{"quiet:3":{},"quiet:4":{"data":{"d":1}}},"ping":25,"pong":true}}"#,
                "5 subscribe @all",
            ],
        ),
    ]);
}
