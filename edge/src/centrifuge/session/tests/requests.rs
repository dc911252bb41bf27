//! Publish, history, presence, rpc.

use shared::wire::convert::stored_out;

use super::*;

#[test]
fn what_is_asked_of_the_upstream() {
    let error = |code: u32, message: &str| {
        format!("{{\"id\":2,\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}")
    };
    let (denied, bad, absent, unknown, position) = (
        error(103, "permission denied"),
        error(107, "bad request"),
        error(108, "not available"),
        error(102, "unknown channel"),
        error(112, "unrecoverable position"),
    );
    let table: [(&str, serde_json::Value, &str); 33] = [
        (
            "",
            json!({"publish": {"channel": "live://1", "data": {"a": 1}}}),
            "2 publish live:1 {\"a\":1} by /c1 key c1:2",
        ),
        (
            "7",
            json!({"publish": {"channel": "live:1", "data": null}}),
            "2 publish live:1 null by 7/c1 key c1:2",
        ),
        ("", json!({"publish": {"channel": "live:1"}}), &bad),
        (
            "",
            json!({"publish": {"channel": "", "data": 1}}),
            "close 3501 bad request: a command names no channel",
        ),
        ("", json!({"publish": {"channel": "shy:1", "data": 1}}), &denied),
        (
            "7",
            json!({"publish": {"channel": "shy:1", "data": 1}}),
            "2 publish shy:1 1 by 7/c1 key c1:2",
        ),
        ("7", json!({"publish": {"channel": "quiet:1", "data": 1}}), &denied),
        ("7", json!({"publish": {"channel": "news", "data": 1}}), &denied),
        ("7", json!({"publish": {"channel": "no:1", "data": 1}}), &unknown),
        ("7", json!({"publish": {"channel": "@all", "data": 1}}), &denied),
        ("", json!({"history": {"channel": "live:1"}}), "2 history live:1 0"),
        ("", json!({"history": {"channel": "live:1", "limit": 10}}), "2 history live:1 10"),
        ("", json!({"history": {"channel": "live:1", "limit": -1}}), "2 history live:1 -1"),
        ("", json!({"history": {"channel": "live:1", "limit": 5000}}), "2 history live:1 300"),
        (
            "",
            json!({"history": {"channel": "live:1", "limit": 3, "since": {"offset": 4, "epoch": "5"}, "reverse": true}}),
            "2 history live:1 3 since 5:4 reverse",
        ),
        (
            "",
            json!({"history": {"channel": "live:1", "limit": 3, "since": {"offset": 4}}}),
            "2 history live:1 3 since 0:4",
        ),
        (
            "",
            json!({"history": {"channel": "live:1", "limit": 3, "reverse": true}}),
            "2 history live:1 3 reverse",
        ),
        (
            "",
            json!({"history": {"channel": "live:1", "since": {"epoch": "5"}, "reverse": true}}),
            &bad,
        ),
        (
            "",
            json!({"history": {"channel": "live:1", "since": {"offset": 1, "epoch": "foreign!"}}}),
            &position,
        ),
        ("", json!({"history": {"channel": "quiet:1"}}), &absent),
        ("7", json!({"history": {"channel": "shy:1"}}), &absent),
        ("7", json!({"history": {"channel": "closed:1"}}), &denied),
        ("7", json!({"history": {"channel": "#8"}}), &denied),
        ("7", json!({"history": {"channel": "@all"}}), &denied),
        ("7", json!({"history": {"channel": "é"}}), &bad),
        ("", json!({"presence": {"channel": "live:1"}}), "2 presence live:1"),
        ("", json!({"presence_stats": {"channel": "live:1"}}), "2 stats live:1"),
        ("", json!({"presence": {"channel": "quiet:1"}}), &absent),
        ("", json!({"presence_stats": {"channel": "shy:1"}}), &denied),
        ("", json!({"rpc": {"method": "m", "data": [1, 2]}}), "2 rpc m [1,2] websocket/json"),
        ("", json!({"send": {"data": 1}}), "close 3508 not available"),
        ("", json!({}), "close 3501 bad request: a command asks for nothing"),
        ("", json!({"ping": {}}), "close 3501 bad request: a command asks for nothing"),
    ];
    for (user, mut command, expected) in table {
        command["id"] = 2.into();
        assert_eq!(
            Peer::connected(user).take(&Say(&say(command.clone()))),
            [expected],
            "{command}"
        );
    }
    assert_eq!(
        Peer::connected("").take(&Say(r#"{"send":{"data":1}}"#)),
        ["close 3508 not available"]
    );
}

#[test]
fn subscribers_may_publish_where_only_they_may() {
    Peer::connected("").run(&[
        (Say(r#"{"id":2,"subscribe":{"channel":"quiet:1"}}"#), &["2 subscribe quiet:1"]),
        (Open(2, 0), &[r#"{"id":2,"subscribe":{}}"#]),
        (
            Say(r#"{"id":3,"publish":{"channel":"quiet:1","data":1}}"#),
            &["3 publish quiet:1 1 by /c1 key c1:3"],
        ),
        (
            Say(r#"{"id":3,"publish":{"channel":"quiet:1","data":1}}"#),
            &["4 publish quiet:1 1 by /c1 key c1:4"],
        ),
    ]);
}

#[test]
fn answers() {
    let info = |user: &str, client: &str| control::ClientInfo {
        user: user.to_owned(),
        client: client.to_owned(),
        conn_info: "{\"n\":1}".into(),
        ..Default::default()
    };
    let mut published = (*message(4)).clone();
    published.content.publisher = Some(Box::new(ClientInfo {
        user: "7".to_owned(),
        client: "c9".to_owned(),
        chan_info: "[]".into(),
        ..Default::default()
    }));
    published.content.tags.insert("k".to_owned(), "\"v\"".to_owned());
    let history = |epoch: u32| {
        response::Kind::History(control::HistoryResult {
            epoch,
            top: 9,
            messages: vec![stored_out(&message(3)), stored_out(&published)],
        })
    };
    let empty =
        response::Kind::History(control::HistoryResult { epoch: 5, top: 0, messages: vec![] });
    let failure = |code, temporary, disconnect| {
        response::Kind::Failure(control::Failure {
            code,
            message: "no".to_owned(),
            temporary,
            disconnect,
        })
    };
    let (publish, ask_history, ask_presence, stats, rpc) = (
        r#""publish":{"channel":"live:1","data":1}"#,
        r#""history":{"channel":"live:1","limit":2,"since":{"offset":2,"epoch":"5"}}"#,
        r#""presence":{"channel":"live:1"}"#,
        r#""presence_stats":{"channel":"live:1"}"#,
        r#""rpc":{"method":"m"}"#,
    );
    let told = |data: &'static [u8]| response::Kind::Rpc(control::RpcResult { data: data.into() });
    let presence = response::Kind::Presence(control::PresenceResult {
        clients: vec![info("7", "b"), info("", "a")],
    });
    let numbers =
        |clients, users| response::Kind::PresenceStats(control::PresenceStats { clients, users });
    let done = response::Kind::Publish(control::PublishResult { epoch: 5, offset: 1 });
    let internal =
        r#"{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}"#;
    let table = [
        (publish, done.clone(), r#"{"id":2,"publish":{}}"#),
        (publish, failure(103, false, 0), r#"{"id":2,"error":{"code":103,"message":"no"}}"#),
        (
            publish,
            failure(111, false, 0),
            r#"{"id":2,"error":{"code":111,"message":"no","temporary":true}}"#,
        ),
        (
            publish,
            failure(1000, true, 0),
            r#"{"id":2,"error":{"code":1000,"message":"no","temporary":true}}"#,
        ),
        (publish, failure(0, false, 0), internal),
        (publish, failure(103, false, 4500), "close 4500 no"),
        (publish, told(b"1"), internal),
        (
            ask_history,
            history(5),
            r#"{"id":2,"history":{"publications":[{"data":3,"offset":3},{"data":4,"info":{"user":"7","client":"c9","chan_info":[]},"offset":4,"tags":{"k":"\"v\""}}],"epoch":"5","offset":9}}"#,
        ),
        (
            ask_history,
            history(6),
            r#"{"id":2,"error":{"code":112,"message":"unrecoverable position"}}"#,
        ),
        (ask_history, empty, r#"{"id":2,"history":{"publications":[],"epoch":"5","offset":0}}"#),
        (
            ask_presence,
            presence,
            r#"{"id":2,"presence":{"presence":{"a":{"user":"","client":"a","conn_info":{"n":1}},"b":{"user":"7","client":"b","conn_info":{"n":1}}}}}"#,
        ),
        (
            ask_presence,
            response::Kind::Presence(Default::default()),
            r#"{"id":2,"presence":{"presence":{}}}"#,
        ),
        (stats, numbers(3, 2), r#"{"id":2,"presence_stats":{"num_clients":3,"num_users":2}}"#),
        (stats, numbers(0, 0), r#"{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}"#),
        (rpc, told(b"{\"a\": 1}"), r#"{"id":2,"rpc":{"data":{"a": 1}}}"#),
        (rpc, told(b"plain"), r#"{"id":2,"rpc":{"data":"plain"}}"#),
        (rpc, told(b""), r#"{"id":2,"rpc":{}}"#),
        (rpc, failure(108, false, 0), r#"{"id":2,"error":{"code":108,"message":"no"}}"#),
    ];
    for (request, kind, expected) in table {
        let mut peer = Peer::connected("");
        assert_eq!(peer.take(&Say(&format!("{{\"id\":2,{request}}}"))).len(), 1);
        assert_eq!(peer.take(&Response(2, kind.clone())), [expected], "{request}");
        assert_eq!(peer.take(&Response(2, kind)), [""; 0], "an answer counts once");
    }
}

#[test]
fn replies_come_in_the_order_of_answers() {
    let reply =
        |text: &str| response::Kind::Rpc(control::RpcResult { data: text.to_owned().into() });
    Peer::connected("").run(&[
        (
            Say("{\"id\":2,\"rpc\":{\"method\":\"a\"}}\n{\"id\":3,\"rpc\":{\"method\":\"b\"}}"),
            &["2 rpc a  websocket/json", "3 rpc b  websocket/json"],
        ),
        (Response(3, reply("2")), &[r#"{"id":3,"rpc":{"data":2}}"#]),
        (Response(2, reply("1")), &[r#"{"id":2,"rpc":{"data":1}}"#]),
    ]);
}

#[test]
fn requests_under_way_are_bounded() {
    let mut peer = Peer::connected("");
    for _ in 0..256 {
        peer.take(&Say(r#"{"id":2,"rpc":{"method":"m"}}"#));
    }
    let said = peer.take(&Say(r#"{"id":2,"rpc":{"method":"m"}}"#));
    assert_eq!(
        said,
        [r#"{"id":2,"error":{"code":111,"message":"too many requests","temporary":true}}"#]
    );
}
