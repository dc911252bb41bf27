//! Logins of both dialects, with tokens and without.

use super::*;

#[test]
fn a_login_is_answered_when_everything_is_open() {
    let mut world = World::tcp();
    assert_eq!(
        world.say(operation::AUTH, 1, GOIM_LOGIN),
        [
            "identify \"42\" c1 \"k\"",
            "accept {1000, 1001}",
            "subscribe 1 #42 filtered",
            "subscribe 2 @key:k filtered",
            "subscribe 3 @all filtered",
            "subscribe 4 live:1000 seen as \"42\"/c1",
        ]
    );
    assert!(world.session.is_held() && world.session.is_busy());
    for id in [4, 1, 3] {
        assert!(world.opened(id).is_empty());
    }
    assert_eq!(world.opened(2), ["op 8 v1 s1"]);
    assert!(!world.session.is_held() && !world.session.is_busy());
    assert_eq!(world.session.form().dialect, form::Dialect::Goim(Transport::Tcp));
}

#[test]
fn an_anonymous_login_reads_the_broadcast_alone() {
    let mut world = World::tcp();
    assert_eq!(
        world.say(operation::AUTH, 9, "{}"),
        ["identify \"\" c1 \"\"", "subscribe 1 @all filtered"]
    );
    assert_eq!(world.opened(1), ["op 8 v1 s9"]);
    assert_eq!(world.say(operation::HEARTBEAT, 10, ""), ["op 3 v1 s10 \\x00\\x00\\x00\\x00"]);
}

#[test]
fn what_comes_before_the_login_is_dropped() {
    let mut world = World::tcp();
    for other in [operation::HEARTBEAT, operation::CHANGE_ROOM, 1000, 0, operation::RAW] {
        assert!(world.say(other, 1, "x").is_empty(), "{other}");
    }
    world.log_in("{}");
}

#[test]
fn a_login_that_cannot_be_accepted() {
    let rejected = |body: &str| World::tcp().say(operation::AUTH, 1, body);
    assert_eq!(rejected("x"), ["close 3501 Peer"]);
    assert_eq!(rejected(r#"{"mid":"42"}"#), ["close 3501 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"unknown://1"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r##"{"room_id":"#43"}"##), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"@all"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"@key:other"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"$live:1"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"room_id":"staff://1"}"#), ["close 3507 Peer"]);
    assert_eq!(rejected(r#"{"key":"\u0000"}"#), ["close 3501 Peer"]);
    assert_eq!(rejected(&format!(r#"{{"key":"{}"}}"#, "k".repeat(300))), ["close 3501 Peer"]);
    // danmaku's clients are told.
    assert_eq!(
        rejected(&DANMAKU_LOGIN.replace("1000", "\"0\",\"uid\":1e3")),
        ["close 3501 Peer"],
        "a body that cannot be read has no dialect"
    );
    let config = Config { danmaku_room: "staff:{roomid}".into(), ..Config::default() };
    let mut world = World::with(Transport::Tcp, config);
    let refused = ["op 8 v1 s1 {\\\"code\\\":-101}", "close 3507 Peer"];
    assert_eq!(world.say(operation::AUTH, 1, DANMAKU_LOGIN), refused);
    assert!(world.say(operation::AUTH, 1, "{}").is_empty(), "nothing is heard after the end");
    assert_eq!(world.session.next_deadline(), None);
}

fn token(user: &str, expires_s: u64) -> String {
    signed(&serde_json::json!({ "sub": user, "exp": expires_s }))
}

fn signed(claims: &serde_json::Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).expect("a token")
}

#[test]
fn tokens() {
    let said = |body: String| {
        let config = Config { auth: AuthMode::Token, ..Config::default() };
        World::with(Transport::Tcp, config).say(operation::AUTH, 1, body)
    };
    let goim = |mid: i64, token: &str| said(format!(r#"{{"mid":{mid},"token":"{token}"}}"#));
    let refused = ["close 3500 Peer"];
    // The world's time is 1000 s.
    let good = token("42", 1001);
    assert_eq!(goim(42, &good)[0], "identify \"42\" c1 \"\"");
    assert_eq!(goim(0, &good)[0], "identify \"42\" c1 \"\"", "the token says who");
    assert_eq!(goim(43, &good), refused, "a token of another user");
    assert_eq!(goim(42, &token("42", 1000)), refused, "expired");
    assert_eq!(goim(42, "x.y.z"), refused);
    assert_eq!(goim(42, ""), refused);
    let anonymous = goim(0, &token("", 1001));
    assert_eq!(anonymous[..2], ["identify \"\" c1 \"\"", "subscribe 1 @all filtered"]);

    let danmaku =
        |uid: i64, token: &str| said(format!(r#"{{"uid":{uid},"roomid":1000,"key":"{token}"}}"#));
    assert_eq!(danmaku(42, &good)[0], "identify \"42\" c1 \"\"");
    let refused = ["op 8 v1 s1 {\\\"code\\\":-101}", "close 3500 Peer"];
    assert_eq!(danmaku(43, &good), refused);
    assert_eq!(danmaku(42, "x"), refused);
}

#[test]
fn without_a_token_nobody_is_a_user_where_keys_are_set() {
    let said = |body: &str| {
        World::keyed(Transport::Tcp, Config::default(), true).say(operation::AUTH, 1, body)
    };
    let nobody = ["identify \"\" c1 \"\"", "subscribe 1 @all filtered"];
    assert_eq!(said(r#"{"mid":42}"#), nobody, "no inbox of another");
    assert_eq!(said(r#"{"uid":42,"key":"of another system"}"#), nobody);
    assert_eq!(said(r#"{"mid":42,"room_id":"users:1"}"#), ["close 3507 Peer"]);
    assert_eq!(said(r#"{"mid":42,"key":"k"}"#)[0], "identify \"\" c1 \"k\"");
    // A token makes the user, and a bad one is no better than in any other mode.
    let good = token("42", 1001);
    for body in
        [format!(r#"{{"mid":42,"token":"{good}"}}"#), format!(r#"{{"uid":42,"key":"{good}"}}"#)]
    {
        let proved = ["identify \"42\" c1 \"\"", "subscribe 1 #42 filtered"];
        assert_eq!(said(&body)[..2], proved, "{body}");
    }
    assert_eq!(said(&format!(r#"{{"mid":43,"token":"{good}"}}"#)), ["close 3500 Peer"]);
    assert_eq!(said(r#"{"mid":42,"token":"x.y.z"}"#), ["close 3500 Peer"]);
    let expired = format!(r#"{{"uid":42,"key":"{}"}}"#, token("42", 1000));
    assert_eq!(said(&expired)[1..], ["close 3500 Peer"], "it was ours");
}

#[test]
fn a_key_is_its_users() {
    let said = |claims: serde_json::Value| {
        let config = Config { auth: AuthMode::Token, ..Config::default() };
        let body = format!(r#"{{"key":"phone","token":"{}"}}"#, signed(&claims));
        World::with(Transport::Tcp, config).say(operation::AUTH, 1, body)
    };
    let named = said(serde_json::json!({ "sub": "1", "keys": ["tv", "phone"] }));
    assert_eq!(named[0], "identify \"1\" c1 \"phone\"");
    for claims in [
        serde_json::json!({ "sub": "2" }),
        serde_json::json!({ "sub": "2", "keys": ["tv"] }),
        serde_json::json!({ "sub": "2", "keys": "phone" }),
    ] {
        assert_eq!(said(claims.clone()), ["close 3507 Peer"], "{claims}");
    }
}

#[test]
fn a_connection_ends_with_its_token() {
    let config = Config { auth: AuthMode::Token, ..Config::default() };
    let log_in = |claims: serde_json::Value| {
        let mut world = World::with(Transport::Tcp, config.clone());
        let said = world.say(operation::AUTH, 1, format!(r#"{{"token":"{}"}}"#, signed(&claims)));
        (world, said)
    };
    let (mut world, _) = log_in(serde_json::json!({ "sub": "42", "exp": 1060 }));
    world.opened(1);
    world.opened(2);
    world.say(operation::HEARTBEAT, 1, "");
    assert_eq!(world.session.next_deadline(), Some(world.now + Duration::from_secs(60)));
    assert!(world.after(Duration::from_secs(59)).is_empty());
    assert_eq!(world.after(Duration::from_secs(1)), ["close 3005 Peer"]);
    assert!(world.after(Duration::from_secs(1)).is_empty());
    // `expire_at` counts before `exp`; 0 is never.
    let (mut world, _) = log_in(serde_json::json!({ "sub": "42", "exp": 1060, "expire_at": 0 }));
    world.opened(1);
    world.opened(2);
    assert!(world.after(Duration::from_secs(100)).is_empty());
    let (_, said) = log_in(serde_json::json!({ "sub": "42", "expire_at": 999 }));
    assert_eq!(said, ["close 3500 Peer"]);
}

#[test]
fn user_limited_rooms_are_for_their_users() {
    for room in ["live://dialog#42,43", "live://#42"] {
        let body = format!(r#"{{"mid":42,"room_id":"{room}"}}"#);
        assert_eq!(World::tcp().say(operation::AUTH, 1, &body), ["close 3507 Peer"], "{room}");
        let config = Config { auth: AuthMode::Token, ..Config::default() };
        let mut world = World::with(Transport::Tcp, config);
        world.log_in(&format!(r#"{{"room_id":"{room}","token":"{}"}}"#, token("42", 1001)));
        assert_eq!(world.session.rooms.len(), 1);
        let change = world.say(operation::CHANGE_ROOM, 2, "live://dialog#43");
        assert!(change[0].contains("103"), "{change:?}");
    }
}

#[test]
fn known_users() {
    let config = Config { auth: AuthMode::Token, ..Config::default() };
    let mut world = World::with(Transport::Tcp, config);
    let body = format!(r#"{{"mid":42,"room_id":"users:1","token":"{}"}}"#, token("42", 1001));
    world.log_in(&body);
    assert_eq!(world.say(operation::SEND_MESSAGE, 1, "hi"), ["publish 4 users:1 hi c1-4"]);
    // Nobody is known where everybody is believed.
    let said = World::tcp().say(operation::AUTH, 1, r#"{"mid":42,"room_id":"users:1"}"#);
    assert_eq!(said, ["close 3507 Peer"]);
}

#[test]
fn a_login_whose_subscription_fails_is_tried_again_by_the_client() {
    let mut world = World::tcp();
    world.say(operation::AUTH, 1, GOIM_LOGIN);
    world.opened(1);
    assert_eq!(world.failed(4), ["close 3004 Us"]);
    assert!(world.opened(2).is_empty() && world.failed(3).is_empty());
}

#[test]
fn danmaku() {
    let mut world = World::new(Transport::WebSocket);
    assert_eq!(
        world.say(operation::AUTH, 1, DANMAKU_LOGIN),
        [
            "identify \"\" c1 \"\"",
            "subscribe 1 @all filtered",
            "subscribe 2 live:1000 seen as \"\"/c1",
        ]
    );
    world.opened(1);
    assert_eq!(world.opened(2), ["op 8 v1 s1 {\\\"code\\\":0}"]);
    let dialect = form::Dialect::Danmaku(Transport::WebSocket, form::Compression::Brotli);
    assert_eq!(world.session.form().dialect, dialect);
    let mut beat = frame_of(operation::HEARTBEAT, 2, b"[object Object]");
    beat[7] = 0;
    assert_eq!(world.bytes(&beat), ["op 3 v1 s2 \\x00\\x00\\x00\\x07"], "not the client's version");
}
