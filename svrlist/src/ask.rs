//! What a client asks: the parameters of a request for servers, bounded and checked.
//!
//! Every parameter is optional. What is given must be sane, because a client that sends rubbish has
//! a bug its developer wants to hear of: the refusal names parameter, value and what is allowed.

use shared::io::http::Query;

/// The parameters of `/svrlist` and `/goim/nodes/weighted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The room the client is about to enter. Checked and not used by the ranking.
    pub room: Option<&'a str>,
    /// The user, who tends to the same edge; without one, the client's address (of IPv6, the
    /// /64) stands for it.
    pub uid: Option<&'a str>,
    /// What the client runs on; `web` gets edges that speak WebSocket alone.
    pub platform: Option<&'a str>,
    /// Whether every server comes with all the reasons for its place.
    pub explain: bool,
}

/// A parameter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} is {value:?}, must be {allowed}")]
pub struct AskError {
    /// Its name.
    pub parameter: &'static str,
    /// Its value, cut to a readable length.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl<'a> Ask<'a> {
    /// Reads the parameters of a query; others are ignored, an empty one counts as absent.
    pub fn parse(query: &'a Query) -> Result<Self, AskError> {
        let read = |parameter: &'static str, bytes_max, allowed, fits: fn(char) -> bool| {
            let value = query.get(parameter).filter(|value| !value.is_empty());
            match value {
                Some(value) if value.len() > bytes_max || !value.chars().all(fits) => {
                    Err(AskError { parameter, value: shortened(value), allowed })
                }
                value => Ok(value),
            }
        };
        let printable = |c: char| !c.is_control();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        Ok(Self {
            room: read("room", 255, "at most 255 bytes without control characters", printable)?,
            uid: read("uid", 128, "at most 128 bytes without control characters", printable)?,
            platform: read("platform", 32, "at most 32 letters, digits, '.', '-' and '_'", word)?,
            explain: read("explain", 1, "0 or 1", |c| matches!(c, '0' | '1'))? == Some("1"),
        })
    }

    /// Whether the client runs in a browser, which cannot open a TCP connection.
    pub fn is_web(&self) -> bool {
        self.platform.is_some_and(|platform| platform.eq_ignore_ascii_case("web"))
    }
}

fn shortened(value: &str) -> String {
    let mut short: String = value.chars().take(VALUE_CHARS_SHOWN).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

/// How much of a refused value is repeated to its sender.
const VALUE_CHARS_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> AskError {
        Ask::parse(&Query::parse(query).unwrap()).unwrap_err()
    }

    #[test]
    fn everything_is_optional() {
        let query = Query::parse("uid=&other=1").unwrap();
        assert_eq!(Ask::parse(&query), Ok(Ask::default()));
    }

    #[test]
    fn what_is_given_is_taken() {
        let query = Query::parse("room=live%3A%2F%2F1000&uid=42&platform=Web").unwrap();
        let ask = Ask::parse(&query).unwrap();
        assert_eq!((ask.room, ask.uid), (Some("live://1000"), Some("42")));
        assert!(ask.is_web());
    }

    #[test]
    fn a_refusal_names_parameter_value_and_what_is_allowed() {
        assert_eq!(
            refused("platform=a%20b").to_string(),
            "platform is \"a b\", must be at most 32 letters, digits, '.', '-' and '_'"
        );
        assert_eq!(refused("uid=a%0ab").parameter, "uid");
        let long = refused(&format!("room={}", "界".repeat(86)));
        assert_eq!((long.parameter, long.value.chars().count()), ("room", 41));
    }
}
