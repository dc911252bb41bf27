//! Bodies of logins in both dialects.

use edge::form::Compression;
use edge::goim::auth::{Auth, AuthError, Dialect, parse};
use serde_json::{Map, Value, json};

const TEMPLATE: &str = "live://{roomid}";

pub(crate) fn run(data: &[u8]) {
    let is_object = serde_json::from_slice::<Map<String, Value>>(data).is_ok();
    let auth = match parse(data, TEMPLATE) {
        Ok(auth) => auth,
        Err(AuthError::NotJson) => return assert!(!is_object),
        Err(AuthError::Field(_)) => return assert!(is_object),
    };
    assert!(is_object);
    assert_eq!(parse(body_of(&auth).to_string().as_bytes(), TEMPLATE), Ok(auth));
}

/// What a client writes that says the same of itself.
fn body_of(auth: &Auth) -> Value {
    match auth.dialect {
        Dialect::Goim => json!({
            "mid": auth.mid,
            "key": auth.key,
            "room_id": auth.room,
            "accepts": auth.accepts,
            "token": auth.token,
        }),
        Dialect::Danmaku(compression) => {
            assert!(auth.key.is_empty() && auth.accepts.is_none());
            let room = match auth.room.strip_prefix("live://") {
                Some(number) => number.parse().expect("a room is a number"),
                None => {
                    assert_eq!(auth.room, "");
                    0
                }
            };
            let version = match compression {
                Compression::None => 1,
                Compression::Zlib => 2,
                Compression::Brotli => 3,
            };
            let room: i64 = room;
            json!({ "uid": auth.mid, "roomid": room, "protover": version, "key": auth.token })
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies: [&str; 6] = [
        r#"{"mid":123,"key":"k","room_id":"live://1000","platform":"web","accepts":[1002,1000]}"#,
        r#"{"uid":7,"roomid":1000,"protover":3,"platform":"web","type":2,"key":"TOKEN"}"#,
        r#"{"roomid":"-5","protover":2,"uid":null}"#,
        r#"{"mid":null,"accepts":null,"roomid":1,"room_id":"","token":"t"}"#,
        r#"{"mid":9223372036854775808,"accepts":[2147483648,1.5]}"#,
        r#"{"a":[[[[[[{"b":"\ud83d\udd25\u0000"}]]]]]]}"#,
    ];
    bodies.iter().map(|body| body.as_bytes().to_vec()).collect()
}
