//! Recovery, and the loss of a position.

use super::*;

/// The reply to subscribe with these fields of its result.
fn reply(fields: &str) -> String {
    format!("{{\"id\":2,\"subscribe\":{{{fields}}}}}")
}

#[test]
fn replies_are_truthful() {
    let top = r#""recoverable":true,"epoch":"5","offset":9,"positioned":true"#;
    let unrecovered = format!("{top},\"was_recovering\":true");
    let recovered = |publications: &str, offset: u64| {
        format!(
            "\"recoverable\":true,\"epoch\":\"5\",{publications}\"recovered\":true,\
             \"offset\":{offset},\"positioned\":true,\"was_recovering\":true"
        )
    };
    let two = recovered(r#""publications":[{"data":8,"offset":8},{"data":9,"offset":9}],"#, 7);
    let first = r#""recoverable":true,"epoch":"5","publications":[{"data":1,"offset":1}],"recovered":true,"positioned":true,"was_recovering":true"#;
    let table: [(serde_json::Value, &str, In<'_>, &str); 10] = [
        // Nothing asked: the top, because the namespace forces recovery.
        (json!({}), "", Open(2, 9), top),
        (
            json!({"recover": true, "epoch": "5", "offset": 7}),
            "from 5:7 ",
            Recovered(2, 9, &[8, 9]),
            &two,
        ),
        (
            json!({"recover": true, "epoch": "5", "offset": 9}),
            "from 5:9 ",
            Recovered(2, 9, &[]),
            &recovered("", 9),
        ),
        (
            json!({"recover": true, "epoch": "5", "offset": 2}),
            "from 5:2 ",
            Open(2, 9),
            &unrecovered,
        ),
        // No epoch matches any.
        (json!({"recover": true}), "from any:0 ", Recovered(2, 1, &[1]), first),
        (
            json!({"recover": true, "epoch": null, "offset": 7}),
            "from any:7 ",
            Recovered(2, 9, &[8, 9]),
            &two,
        ),
        // Epochs that are none of ours are not even asked for.
        (json!({"recover": true, "epoch": "_", "offset": 7}), "", Open(2, 9), &unrecovered),
        (json!({"recover": true, "epoch": "foreign!", "offset": 7}), "", Open(2, 9), &unrecovered),
        (
            json!({"recover": true, "epoch": "4", "offset": 7}),
            "from 4:7 ",
            Open(2, 9),
            &unrecovered,
        ),
        // Recovered messages nobody asked for are not told.
        (json!({}), "", Recovered(2, 9, &[8, 9]), top),
    ];
    for (mut request, from, answer, expected) in table {
        request["channel"] = "live:1".into();
        let text = say(json!({"id": 2, "subscribe": request}));
        Peer::connected("").run(&[
            (Say(&text), &[&format!("2 subscribe live:1 {from}as \"\"")]),
            (answer, &[&reply(expected)]),
        ]);
    }
}

#[test]
fn wishes_are_granted_as_far_as_the_namespace_goes() {
    let table: [(&str, serde_json::Value, &str); 6] = [
        ("shy:1", json!({}), ""),
        ("shy:1", json!({"positioned": true}), r#""epoch":"5","offset":9,"positioned":true"#),
        (
            "shy:1",
            json!({"recoverable": true}),
            r#""recoverable":true,"epoch":"5","offset":9,"positioned":true"#,
        ),
        ("quiet:1", json!({}), ""),
        ("quiet:1", json!({"recoverable": true, "positioned": true}), ""),
        ("quiet:1", json!({"recover": true, "offset": 3}), r#""was_recovering":true"#),
    ];
    for (channel, mut request, expected) in table {
        request["channel"] = channel.into();
        let mut peer = Peer::connected("7");
        let asked = peer.take(&Say(&say(json!({"id": 2, "subscribe": request}))));
        assert!(asked[0].starts_with("2 subscribe") && !asked[0].contains("from"), "{asked:?}");
        assert_eq!(peer.take(&Open(2, 9)), [reply(expected)], "{request}");
    }
}

#[test]
fn a_client_may_insist_on_recovery() {
    let error = r#"{"id":2,"error":{"code":112,"message":"unrecoverable position"}}"#;
    let insist = |epoch: &str| {
        say(json!({"id": 2, "subscribe":
            {"channel": "live:1", "recover": true, "epoch": epoch, "offset": 1, "flag": 3}}))
    };
    Peer::connected("").run(&[
        (Say(&insist("_")), &[error]),
        (Say(&insist("5")), &["2 subscribe live:1 from 5:1 as \"\""]),
        (Open(2, 9), &[error, "unsubscribe live:1"]),
        (Say(&insist("5")), &["3 subscribe live:1 from 5:1 as \"\""]),
        (
            Recovered(3, 1, &[]),
            &[&reply(
                r#""recoverable":true,"epoch":"5","recovered":true,"offset":1,"positioned":true,"was_recovering":true"#,
            )],
        ),
    ]);
}

#[test]
fn a_lost_position_is_told() {
    Peer::connected("").run(&[
        (
            Say(r#"{"id":2,"subscribe":{"channel":"live://1"}}"#),
            &["2 subscribe live://1 as \"\""],
        ),
        (
            Open(2, 9),
            &[&reply(r#""recoverable":true,"epoch":"5","offset":9,"positioned":true"#)],
        ),
        (
            In::Lost("live:1"),
            &[r#"{"push":{"channel":"live://1","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#],
        ),
        (
            Say(r#"{"id":2,"subscribe":{"channel":"live:1","recover":true,"epoch":"5","offset":9}}"#),
            &["3 subscribe live:1 from 5:9 as \"\""],
        ),
        (In::Lost("live:1"), &[]),
        (In::Lost("live:2"), &[]),
    ]);
}

#[test]
fn a_server_side_position_cannot_be_lost_alone() {
    let token = sign(json!({"sub": "7", "channels": ["live:1"]}));
    let mut peer = Peer::new(Config::default());
    peer.take(&Say(&say(json!({"id": 1, "connect": {"token": token}}))));
    peer.take(&Open(1, 0));
    assert_eq!(peer.take(&In::Lost("live:1")), ["close 3010 insufficient state"]);
}

#[test]
fn the_broadcast_is_taken_up_again() {
    Peer::connected("").run(&[
        (Open(1, 3), &[]),
        (In::Lost("@all"), &["2 subscribe @all"]),
        (Failed(2, 100, "away", true), &[]),
        (Wait(12_500), &["{}", "3 subscribe @all"]),
        (Failed(3, 103, "never", false), &[]),
        (Say("{}"), &[]),
        (Wait(25_000), &["{}"]),
    ]);
}
