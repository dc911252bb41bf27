//! goim's HTTP API: its requests and its envelope.
//!
//! Status 200 with a code in the envelope for everything but parameters that do not bind, which are
//! 400, as there; a negative limit is answered and not a crash, unlike there.

use serde::Serialize;
use shared::channel::ChannelName;
use shared::io::http::Query;

use crate::limits::API_CHANNELS_MAX;
use crate::publish::Refusal;

/// What a back end asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Push the body to these channels.
    Push {
        /// Rooms, inboxes, or the broadcast.
        channels: Vec<ChannelName>,
        /// The operation, where one is named.
        operation: Option<i32>,
        /// Pace of a broadcast.
        speed: u32,
    },
    /// The fullest rooms.
    Top {
        /// What the room's key begins with.
        kind: String,
        /// How many.
        limit: usize,
    },
    /// How many are in these rooms.
    Rooms {
        /// The rooms as they were named, and their channels.
        rooms: Vec<(String, ChannelName)>,
    },
    /// How many are everywhere.
    Total,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoimError {
    /// No such path.
    Path,
    /// Another HTTP method is needed.
    Method,
    /// A parameter is missing or of the wrong type: status 400.
    Bind(String),
    /// What was asked makes no sense: code -400.
    Request(String),
}

/// What every answer is wrapped in.
#[derive(Debug, Serialize)]
pub struct Envelope<T> {
    /// 0, -400, -401 or -500.
    pub code: i32,
    /// Why, for codes other than 0.
    pub message: String,
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
}

impl<T> Envelope<T> {
    /// Done, with an answer or without.
    pub fn ok(data: Option<T>) -> Self {
        Self { code: OK, message: String::new(), data }
    }

    /// Not done.
    pub fn error(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// The code of a refused publish.
pub fn code_of(refusal: &Refusal) -> i32 {
    match refusal.code() {
        102 | 107 => REQUEST,
        _ => SERVER,
    }
}

/// A room in the answer of `top`.
#[derive(Debug, Serialize)]
pub struct Room {
    /// Its name without the kind.
    pub room_id: String,
    /// Clients in it.
    pub count: u32,
}

/// The answer of `total`.
#[derive(Debug, Serialize)]
pub struct Total {
    /// Distinct addresses, counted at each edge.
    pub ip_count: u64,
    /// Connections.
    pub conn_count: u64,
}

/// Reads a request.
pub fn read(is_post: bool, path: &str, query: &Query) -> Result<Call, GoimError> {
    let (push, ask) = match path {
        "/goim/push/keys" | "/goim/push/mids" | "/goim/push/room" | "/goim/push/all" => {
            (true, false)
        }
        "/goim/online/top" | "/goim/online/room" | "/goim/online/total" => (false, true),
        _ => return Err(GoimError::Path),
    };
    if push != is_post || ask == is_post {
        return Err(GoimError::Method);
    }
    match path {
        "/goim/push/keys" => {
            let keys: Vec<&str> = query.all("keys").collect();
            if keys.is_empty() {
                return Err(GoimError::Request("keys must not be empty".to_owned()));
            }
            // A key that nobody can have reaches nobody, as there.
            let keys = keys.into_iter().map(ChannelName::key).filter(Result::is_ok);
            push_to(keys, optional_operation(query)?, 0)
        }
        "/goim/push/mids" => {
            let mids = query.all("mids").map(|mid| integer::<i64>("mids", mid));
            let mids = mids.collect::<Result<Vec<_>, _>>()?;
            let inboxes = mids.into_iter().map(|mid| ChannelName::inbox(&mid.to_string()));
            push_to(inboxes, optional_operation(query)?, 0)
        }
        "/goim/push/room" => {
            let operation = required_operation(query)?;
            let (kind, room) = (required(query, "type")?, required(query, "room")?);
            push_to([ChannelName::room(kind, room)].into_iter(), Some(operation), 0)
        }
        "/goim/push/all" => {
            let operation = required_operation(query)?;
            let speed = query.get("speed").filter(|speed| !speed.is_empty());
            let speed = speed.map_or(Ok(0), |speed| integer::<i32>("speed", speed))?;
            // goim takes a pace that is none for no pace at all.
            let speed = u32::try_from(speed).unwrap_or(0);
            push_to([Ok(ChannelName::broadcast())].into_iter(), Some(operation), speed)
        }
        "/goim/online/top" => {
            let kind = required(query, "type")?.to_owned();
            let limit = integer::<i64>("limit", required(query, "limit")?)?;
            if limit == 0 {
                return Err(GoimError::Bind("limit must not be 0".to_owned()));
            }
            let limit = usize::try_from(limit)
                .map_err(|_| GoimError::Request("limit must not be negative".to_owned()))?;
            Ok(Call::Top { kind, limit: limit.min(API_CHANNELS_MAX) })
        }
        "/goim/online/room" => {
            let kind = required(query, "type")?;
            let rooms: Vec<&str> = query.all("rooms").collect();
            if rooms.is_empty() {
                return Err(GoimError::Bind("rooms is required".to_owned()));
            }
            let rooms = rooms.into_iter().map(|room| match ChannelName::room(kind, room) {
                Ok(channel) => Ok((room.to_owned(), channel)),
                Err(error) => Err(GoimError::Request(error.to_string())),
            });
            Ok(Call::Rooms { rooms: rooms.collect::<Result<_, _>>()? })
        }
        _ => Ok(Call::Total),
    }
}

fn push_to(
    channels: impl Iterator<Item = Result<ChannelName, shared::channel::NameError>>,
    operation: Option<i32>,
    speed: u32,
) -> Result<Call, GoimError> {
    let channels = channels.collect::<Result<Vec<_>, _>>();
    let channels = channels.map_err(|error| GoimError::Request(error.to_string()))?;
    if channels.len() > API_CHANNELS_MAX {
        return Err(GoimError::Request(format!("at most {API_CHANNELS_MAX} at once")));
    }
    Ok(Call::Push { channels, operation, speed })
}

fn optional_operation(query: &Query) -> Result<Option<i32>, GoimError> {
    let operation = query.get("operation").filter(|operation| !operation.is_empty());
    let operation =
        operation.map(|operation| integer::<i32>("operation", operation)).transpose()?;
    // 0 is what goim reads where none is named.
    Ok(operation.filter(|operation| *operation != 0))
}

fn required_operation(query: &Query) -> Result<i32, GoimError> {
    optional_operation(query)?
        .ok_or_else(|| GoimError::Bind("operation is required and must not be 0".to_owned()))
}

fn required<'a>(query: &'a Query, name: &str) -> Result<&'a str, GoimError> {
    let value = query.get(name).filter(|value| !value.is_empty());
    value.ok_or_else(|| GoimError::Bind(format!("{name} is required")))
}

fn integer<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, GoimError> {
    text.parse().map_err(|_| GoimError::Bind(format!("{name} must be a whole number: {text:?}")))
}

/// Done.
pub const OK: i32 = 0;
/// The caller's fault.
pub const REQUEST: i32 = -400;
/// The key is missing or wrong.
pub const UNAUTHORISED: i32 = -401;
/// Our fault.
pub const SERVER: i32 = -500;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(is_post: bool, target: &str) -> Result<Call, GoimError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        read(is_post, path, &Query::parse(query).unwrap())
    }

    fn push(target: &str) -> (Vec<String>, Option<i32>, u32) {
        let Ok(Call::Push { channels, operation, speed }) = ask(true, target) else {
            panic!("{target} is no push");
        };
        (channels.iter().map(ToString::to_string).collect(), operation, speed)
    }

    #[test]
    fn pushes() {
        let room = push("/goim/push/room?operation=1000&type=live&room=7");
        assert_eq!(room, (vec!["live:7".into()], Some(1000), 0));
        let mids = push("/goim/push/mids?operation=1&mids=4&mids=2");
        assert_eq!(mids, (vec!["#4".into(), "#2".into()], Some(1), 0));
        assert_eq!(push("/goim/push/mids"), (vec![], None, 0));
        let keys = push("/goim/push/keys?keys=a%20b");
        assert_eq!(keys, (vec!["@key:a b".into()], None, 0));
        let long = format!("/goim/push/keys?keys={}&keys=&keys=b", "k".repeat(300));
        assert_eq!(push(&long).0, ["@key:b"]);
        let all = push("/goim/push/all?operation=9&speed=50");
        assert_eq!(all, (vec!["@all".into()], Some(9), 50));
    }

    #[test]
    fn faults() {
        use GoimError::{Bind, Method, Path, Request};
        for (is_post, target, is_expected) in [
            (true, "/goim/push/room?type=live&room=7", (|e| matches!(e, Bind(_))) as fn(_) -> bool),
            (true, "/goim/push/room?operation=0&type=live&room=7", |e| matches!(e, Bind(_))),
            (true, "/goim/push/room?operation=1&room=7", |e| matches!(e, Bind(_))),
            (true, "/goim/push/mids?mids=1,2", |e| matches!(e, Bind(_))),
            (true, "/goim/push/keys?operation=1", |e| matches!(e, Request(_))),
            (false, "/goim/push/all?operation=1", |e| matches!(e, Method)),
            (true, "/goim/online/total", |e| matches!(e, Method)),
            (false, "/goim/online/top?type=live&limit=0", |e| matches!(e, Bind(_))),
            (false, "/goim/online/top?type=live&limit=-4", |e| matches!(e, Request(_))),
            (false, "/goim/online/top?limit=4", |e| matches!(e, Bind(_))),
            (false, "/goim/online/room?type=live", |e| matches!(e, Bind(_))),
            (false, "/goim/else", |e| matches!(e, Path)),
        ] {
            assert!(is_expected(ask(is_post, target).unwrap_err()), "{target}");
        }
    }

    #[test]
    fn questions() {
        let top = Call::Top { kind: "live".into(), limit: 5 };
        assert_eq!(ask(false, "/goim/online/top?type=live&limit=5"), Ok(top));
        let channel = ChannelName::room("live", "1").unwrap();
        let rooms = Call::Rooms { rooms: vec![("1".into(), channel)] };
        assert_eq!(ask(false, "/goim/online/room?type=live&rooms=1"), Ok(rooms));
        assert_eq!(ask(false, "/goim/online/total"), Ok(Call::Total));
    }
}
