//! Who logs in: the body of operation 7, in either dialect.
//!
//! The body tells the dialects apart: goim names a `room_id` and a `mid`, danmaku a `roomid` and a
//! `uid`. As in goim every field may be absent, unknown ones are ignored, and a field that is there
//! has its type.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::form::Compression;

/// Which bodies a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// goim v2.
    #[default]
    Goim,
    /// The danmaku dialect, with the compression its client asked for.
    Danmaku(Compression),
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// How it speaks.
    pub dialect: Dialect,
    /// The user id; 0 for an anonymous one.
    pub mid: i64,
    /// The name of this connection; empty for none. danmaku has none.
    pub key: String,
    /// The room as the client writes it; empty for none.
    pub room: String,
    /// Operations accepted from inboxes and the broadcast; `None` where the client does not say.
    pub accepts: Option<BTreeSet<i32>>,
    /// The token that proves the user: goim's `token` (our addition), danmaku's `key`; may be empty.
    pub token: String,
}

/// Why a login body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not a JSON object.
    #[error("the body is not a JSON object")]
    NotJson,
    /// A field of another type.
    #[error("a field has another type than the protocol's: {0}")]
    Field(String),
}

/// What a danmaku room's number is replaced for in the template of its channel.
pub const ROOM_PLACEHOLDER: &str = "{roomid}";

#[derive(Deserialize)]
struct GoimBody {
    mid: Option<i64>,
    key: Option<String>,
    room_id: Option<String>,
    accepts: Option<BTreeSet<i32>>,
    token: Option<String>,
}

#[derive(Deserialize)]
struct DanmakuBody {
    uid: Option<Number>,
    roomid: Option<Number>,
    protover: Option<Number>,
    key: Option<String>,
}

/// A number as danmaku clients write one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(i64),
    Text(String),
}

impl Number {
    fn value(self) -> Result<i64, AuthError> {
        match self {
            Self::Plain(number) => Ok(number),
            Self::Text(text) => {
                text.parse().map_err(|_| AuthError::Field("a number was expected".to_owned()))
            }
        }
    }
}

/// Reads a login body. `danmaku_room` is the channel of a danmaku room, with
/// [`ROOM_PLACEHOLDER`] for its number.
pub fn parse(body: &[u8], danmaku_room: &str) -> Result<Auth, AuthError> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| AuthError::NotJson)?;
    let has = |name: &str| fields.contains_key(name);
    let danmaku = has("roomid") || has("uid") || has("protover");
    if danmaku && !has("room_id") && !has("mid") {
        danmaku_auth(fields_as(fields)?, danmaku_room)
    } else {
        Ok(goim_auth(fields_as(fields)?))
    }
}

fn fields_as<T: for<'a> Deserialize<'a>>(fields: Map<String, Value>) -> Result<T, AuthError> {
    T::deserialize(Value::Object(fields)).map_err(|error| AuthError::Field(error.to_string()))
}

fn goim_auth(body: GoimBody) -> Auth {
    Auth {
        dialect: Dialect::Goim,
        mid: body.mid.unwrap_or_default(),
        key: body.key.unwrap_or_default(),
        room: body.room_id.unwrap_or_default(),
        accepts: body.accepts,
        token: body.token.unwrap_or_default(),
    }
}

fn danmaku_auth(body: DanmakuBody, danmaku_room: &str) -> Result<Auth, AuthError> {
    let value = |number: Option<Number>| number.map_or(Ok(0), Number::value);
    let compression = match value(body.protover)? {
        2 => Compression::Zlib,
        3 => Compression::Brotli,
        _ => Compression::None,
    };
    let room = match value(body.roomid)? {
        0 => String::new(),
        number => danmaku_room.replace(ROOM_PLACEHOLDER, &number.to_string()),
    };
    Ok(Auth {
        dialect: Dialect::Danmaku(compression),
        mid: value(body.uid)?,
        key: String::new(),
        room,
        accepts: None,
        token: body.key.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(body: &str) -> Result<Auth, AuthError> {
        parse(body.as_bytes(), "live://{roomid}")
    }

    #[test]
    fn goim() {
        let body = r#"{"mid":123,"key":"k","room_id":"live://1000","platform":"web",
            "accepts":[1002,1000,1000],"token":"t"}"#;
        let expected = Auth {
            dialect: Dialect::Goim,
            mid: 123,
            key: "k".into(),
            room: "live://1000".into(),
            accepts: Some(BTreeSet::from([1000, 1002])),
            token: "t".into(),
        };
        assert_eq!(parsed(body), Ok(expected));
        assert_eq!(parsed("{}"), Ok(Auth::default()), "every field may be absent");
        assert_eq!(
            parsed(r#"{"mid":null,"accepts":null,"roomid":1,"room_id":""}"#),
            Ok(Auth::default())
        );
        assert_eq!(
            parsed(r#"{"mid":1,"mid":2}"#).map(|auth| auth.mid),
            Ok(2),
            "the last one counts"
        );
    }

    #[test]
    fn danmaku() {
        let body =
            r#"{"uid":7,"roomid":1000,"protover":3,"platform":"web","type":2,"key":"TOKEN"}"#;
        let expected = Auth {
            dialect: Dialect::Danmaku(Compression::Brotli),
            mid: 7,
            key: String::new(),
            room: "live://1000".into(),
            accepts: None,
            token: "TOKEN".into(),
        };
        assert_eq!(parsed(body), Ok(expected));
        let short = parsed(r#"{"roomid":"5","protover":2}"#).expect("a login");
        assert_eq!(
            (short.room.as_str(), short.dialect),
            ("live://5", Dialect::Danmaku(Compression::Zlib))
        );
        for protover in [0, 1, 4] {
            let auth = parsed(&format!(r#"{{"uid":0,"protover":{protover}}}"#)).expect("a login");
            assert_eq!(auth.dialect, Dialect::Danmaku(Compression::None));
            assert_eq!(auth.room, "");
        }
    }

    #[test]
    fn what_cannot_be_read() {
        for body in ["", "x", "[]", "7", "{\"mid\":1", "{}x", "\u{feff}{}"] {
            assert_eq!(parsed(body), Err(AuthError::NotJson), "{body}");
        }
        for body in [
            r#"{"mid":"1"}"#,
            r#"{"mid":1.5}"#,
            r#"{"mid":9223372036854775808}"#,
            r#"{"accepts":[2147483648]}"#,
            r#"{"room_id":1}"#,
            r#"{"roomid":"x"}"#,
            r#"{"roomid":1,"uid":{}}"#,
        ] {
            assert!(matches!(parsed(body), Err(AuthError::Field(_))), "{body}");
        }
        let nested = format!("{{\"a\":{}", "[".repeat(4000));
        assert_eq!(parsed(&nested), Err(AuthError::NotJson), "nesting is bounded");
    }

    proptest! {
        #[test]
        fn no_body_panics(body in any::<Vec<u8>>(), text in "[{}\\[\\]\":,a-z0-9_]{0,60}") {
            let _ = parse(&body, "");
            let _ = parsed(&text);
        }
    }
}
