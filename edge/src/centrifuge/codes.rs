//! Centrifuge's numbers for what goes wrong: errors answer a command, disconnects end the
//! connection, unsubscribes end a subscription.
//!
//! SDKs act on the ranges: they reconnect after 3000 to 3499 and give up after 3500 to 3999, but only
//! where the reason is neither empty nor JSON. Unsubscribes from 2500 on make them resubscribe.
//!
//! Invariant: every reason written to a client is not empty, not JSON and at most 123 bytes.

use super::protocol::{Error, Unsubscribe};
use crate::session::{Blame, Close};

/// Bytes of a close reason: a WebSocket control frame's 125 without the code.
const REASON_BYTES_MAX: usize = 123;

/// An error that answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    UnknownChannel,
    PermissionDenied,
    AlreadySubscribed,
    LimitExceeded,
    BadRequest,
    NotAvailable,
    TokenExpired,
    Expired,
    TooManyRequests,
    UnrecoverablePosition,
    /// The upstream answered something else than what was asked.
    Internal,
}

/// Errors after which trying again may help; SDKs must be told so.
const TEMPORARY_CODES: [u32; 3] = [100, 111, 113];

impl Error {
    /// An error of the upstream's, made complete.
    pub(crate) fn told(code: u32, message: String, temporary: bool) -> Self {
        match code {
            0 => Refusal::Internal.into(),
            code => Self { code, message, temporary: temporary || TEMPORARY_CODES.contains(&code) },
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (code, message) = match refusal {
            Refusal::Internal => (100, "internal server error"),
            Refusal::UnknownChannel => (102, "unknown channel"),
            Refusal::PermissionDenied => (103, "permission denied"),
            Refusal::AlreadySubscribed => (105, "already subscribed"),
            Refusal::LimitExceeded => (106, "limit exceeded"),
            Refusal::BadRequest => (107, "bad request"),
            Refusal::NotAvailable => (108, "not available"),
            Refusal::TokenExpired => (109, "token expired"),
            Refusal::Expired => (110, "expired"),
            Refusal::TooManyRequests => (111, "too many requests"),
            Refusal::UnrecoverablePosition => (112, "unrecoverable position"),
        };
        Self { code, message: message.to_owned(), temporary: TEMPORARY_CODES.contains(&code) }
    }
}

/// Why we end a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disconnect {
    /// What the connection needs to begin did not come in time.
    Internal,
    /// The connection's token ran out and was not refreshed in time.
    ConnectionExpired,
    /// A server-side subscription ran out.
    SubscriptionExpired,
    /// A server-side subscription lost messages.
    InsufficientState,
    /// No pong to a ping.
    NoPong,
    /// More commands are waiting than are kept.
    TooManyRequests,
    InvalidToken,
    /// The protocol was broken; the text says how.
    BadRequest(&'static str),
    /// No connect command in time.
    Stale,
    /// More server-side subscriptions than a connection may have.
    ChannelLimit,
    /// The command exists but is not served.
    NotAvailable,
    /// The back end said so.
    Ordered {
        code: u32,
        reason: String,
    },
}

impl From<Disconnect> for Close {
    fn from(disconnect: Disconnect) -> Self {
        let (code, reason, blame) = match disconnect {
            Disconnect::Internal => (3004, "internal server error", Blame::Us),
            Disconnect::ConnectionExpired => (3005, "connection expired", Blame::Peer),
            Disconnect::SubscriptionExpired => (3006, "subscription expired", Blame::Peer),
            Disconnect::InsufficientState => (3010, "insufficient state", Blame::Us),
            Disconnect::NoPong => (3012, "no pong", Blame::Silence),
            Disconnect::TooManyRequests => (3013, "too many requests", Blame::Peer),
            Disconnect::InvalidToken => (3500, "invalid token", Blame::Peer),
            Disconnect::BadRequest(how) => {
                let reason = format!("bad request: {how}");
                return Self { code: 3501, reason, blame: Blame::Peer };
            }
            Disconnect::Stale => (3502, "stale: no connect command in time", Blame::Peer),
            Disconnect::ChannelLimit => (3505, "channel limit", Blame::Peer),
            Disconnect::NotAvailable => (3508, "not available", Blame::Peer),
            Disconnect::Ordered { code, reason } => {
                let code = u16::try_from(code).ok().filter(|code| (3000..5000).contains(code));
                return Self {
                    code: code.unwrap_or(FORCE_DISCONNECT),
                    reason: presentable(&reason, "force disconnect"),
                    blame: Blame::Order,
                };
            }
        };
        Self { code, reason: reason.to_owned(), blame }
    }
}

/// The code of a disconnect by a back end that names none, or none that a WebSocket may carry.
const FORCE_DISCONNECT: u16 = 3503;

/// A reason from outside, made safe: SDKs would take JSON apart, and misread an empty one.
fn presentable(reason: &str, otherwise: &str) -> String {
    let text = &reason.trim();
    let text = &text[..text.floor_char_boundary(REASON_BYTES_MAX)];
    if text.is_empty() {
        return otherwise.to_owned();
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return text.to_owned();
    }
    let mut text = format!("{otherwise}: {text}");
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

/// Why a subscription ends without the client's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The back end said so: SDKs do not resubscribe.
    Server,
    /// Messages were lost: SDKs recover at once.
    InsufficientState,
    /// It was not refreshed in time.
    Expired,
}

impl From<Removal> for Unsubscribe {
    fn from(removal: Removal) -> Self {
        let (code, reason) = match removal {
            Removal::Server => (2000, "server unsubscribe"),
            Removal::InsufficientState => (2500, "insufficient state"),
            Removal::Expired => (2501, "subscription expired"),
        };
        Self { code, reason: reason.to_owned() }
    }
}

/// How a command fails: with an error that answers it, or with the connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    Refused(Error),
    Disconnected(Disconnect),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Disconnect> for Failure {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnected(disconnect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_back_ends_are_made_safe() {
        let long = "é".repeat(100);
        for (code, reason, expected) in [
            (0, "", (3503, "force disconnect")),
            (4501, "go away", (4501, "go away")),
            (4501, "null", (4501, "force disconnect: null")),
            (4000, r#"{"reconnect":true}"#, (4000, r#"force disconnect: {"reconnect":true}"#)),
            (1005, "x", (3503, "x")),
            (70000, "x", (3503, "x")),
            (4000, &long, (4000, &"é".repeat(61))),
        ] {
            let close = Close::from(Disconnect::Ordered { code, reason: reason.to_owned() });
            assert_eq!((close.code, close.reason.as_str()), expected);
            assert!(close.reason.len() <= REASON_BYTES_MAX);
        }
    }

    #[test]
    fn temporary_errors_say_so() {
        for (refusal, temporary) in [
            (Refusal::Internal, true),
            (Refusal::TooManyRequests, true),
            (Refusal::PermissionDenied, false),
            (Refusal::TokenExpired, false),
        ] {
            assert_eq!(Error::from(refusal).temporary, temporary, "{refusal:?}");
        }
    }
}
