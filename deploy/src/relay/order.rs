//! What a person orders about lines, as requests to a relay, and what comes of it.

use serde_json::{Map, Value, json};

use super::report::{LineReport, Report};

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Lose everything on a line, or on all of an edge.
    Break {
        /// The line, or the edge.
        name: String,
    },
    /// Make lines what they are without faults.
    Heal {
        /// The line, or the edge.
        name: String,
    },
    /// Show all lines.
    List,
    /// Change settings of lines.
    Set {
        /// The line, or the edge.
        name: String,
        /// Keys such as `loss` or `up.preset`, with their values as words.
        settings: Vec<(String, String)>,
    },
}

/// What the relay said instead of doing it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay refuses ({status}): {said}")]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// Its words.
    pub said: String,
}

impl Order {
    /// The path to ask, and what to post there; nothing to post is a question.
    pub fn request(&self) -> (String, Option<Value>) {
        match self {
            Self::Break { name } => (path(name), Some(json!({ "preset": "blackhole" }))),
            Self::Heal { name } => (format!("{}/heal", path(name)), Some(json!({}))),
            Self::List => ("/lines".to_owned(), None),
            Self::Set { name, settings } => (path(name), Some(fields(settings))),
        }
    }

    /// What to show of the relay's answer.
    pub fn outcome(&self, status: u16, body: &[u8]) -> Result<String, Refusal> {
        let line = || serde_json::from_slice::<LineReport>(body).map(|report| report.to_string());
        let lines = serde_json::from_slice::<Report>(body).map(|report| report.to_string());
        match lines.or_else(|_| line()) {
            Ok(shown) if status == 200 => Ok(shown),
            _ => Err(Refusal { status, said: words(body) }),
        }
    }
}

/// The path of a line. What no line's name holds is escaped, so that it stays a wrong name.
fn path(name: &str) -> String {
    let mut path = String::from("/lines/");
    for byte in name.bytes() {
        match char::from(byte) {
            plain if plain.is_ascii_alphanumeric() || "-_/".contains(plain) => path.push(plain),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// Settings as the relay takes them: `up.loss` is `loss` in the object `up`.
fn fields(settings: &[(String, String)]) -> Value {
    let mut fields = Map::new();
    for (key, value) in settings {
        let value = Value::String(value.clone());
        match key.split_once('.') {
            Some((direction, field)) => {
                let inner = fields.entry(direction).or_insert_with(|| json!({}));
                if let Value::Object(inner) = inner {
                    inner.insert(field.to_owned(), value);
                }
            }
            None => {
                fields.insert(key.clone(), value);
            }
        }
    }
    Value::Object(fields)
}

/// The error in an answer, or its first line.
fn words(body: &[u8]) -> String {
    let said =
        serde_json::from_slice(body).ok().and_then(|mut said: Value| match said["error"].take() {
            Value::String(said) => Some(said),
            _ => None,
        });
    said.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        text.lines().next().unwrap_or_default().chars().take(WORDS_CHARS_MAX).collect()
    })
}

const WORDS_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> String {
        "bj/telecom".to_owned()
    }

    #[test]
    fn orders_are_requests() {
        assert_eq!(Order::List.request(), ("/lines".to_owned(), None));
        let (path, body) = Order::Break { name: name() }.request();
        assert_eq!(
            (path.as_str(), body),
            ("/lines/bj/telecom", Some(json!({"preset": "blackhole"})))
        );
        let (path, _) = Order::Heal { name: name() }.request();
        assert_eq!(path, "/lines/bj/telecom/heal");
        let (path, _) = Order::Heal { name: "b j?".to_owned() }.request();
        assert_eq!(path, "/lines/b%20j%3F/heal");
        let settings = [("up.loss", "0.1"), ("delay", "20ms"), ("up.jitter", "2ms")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let (_, body) = Order::Set { name: name(), settings }.request();
        let expected = json!({ "delay": "20ms", "up": { "loss": "0.1", "jitter": "2ms" } });
        assert_eq!(body, Some(expected));
    }

    #[test]
    fn refusals_are_told_in_the_relays_words() {
        let order = Order::Break { name: name() };
        let refusal = order.outcome(404, br#"{"error": "no line \"bj\""}"#).unwrap_err();
        assert_eq!(refusal.to_string(), "the relay refuses (404): no line \"bj\"");
        let refusal = order.outcome(502, b"bad gateway\nnginx").unwrap_err();
        assert_eq!(refusal.said, "bad gateway");
        assert_eq!(Order::List.outcome(200, br#"{"lines": []}"#), Ok(String::new()));
    }
}
