//! Message bodies as JSON, for the protocols that can carry nothing else.
//!
//! A channel is read in several protocols, so a body is written in one way wherever JSON is due: a
//! JSON body as it is, other UTF-8 as a string, other bytes as a string of base64.
//!
//! Invariant: the result is one JSON value without raw line breaks, nested at most [`DEPTH_MAX`] deep.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;
use serde_json::Value;

/// How deep a body may be nested and still count as JSON: what parsers of clients commonly follow
/// without recursing too deep (Rust's serde_json 128, Protobuf's 100, Python's about 1,000), less
/// what the frame around it needs.
pub const DEPTH_MAX: usize = 90;

/// A body as JSON.
pub fn json_body(body: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Cow::Owned(format!("\"{}\"", BASE64.encode(body)).into_bytes());
    };
    if !is_json(text) {
        return Cow::Owned(Value::from(text).to_string().into_bytes());
    }
    if text.contains(['\n', '\r']) {
        // In valid JSON they stand between tokens only, and never hold two apart.
        return Cow::Owned(text.replace(['\n', '\r'], "").into_bytes());
    }
    Cow::Borrowed(body)
}

/// Whether a text is one JSON value that is not nested too deep.
fn is_json(text: &str) -> bool {
    depth(text) <= DEPTH_MAX && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// How deep brackets are nested, if the text is JSON at all.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(body: &[u8]) -> String {
        String::from_utf8(json_body(body).into_owned()).expect("JSON is UTF-8")
    }

    #[test]
    fn json_stays_as_it_is() {
        for body in ["{\"a\":[1, 2.50e1]}", "0", "null", " true ", "\"\\ud83d\\n\"", "[[]]"] {
            assert!(matches!(json_body(body.as_bytes()), Cow::Borrowed(_)), "{body}");
        }
        assert_eq!(json(b"{\n  \"a\": 1\r\n}\n"), "{  \"a\": 1}");
    }

    #[test]
    fn the_rest_becomes_a_string() {
        for (body, expected) in [
            (&b""[..], "\"\""),
            (b" ", "\" \""),
            (b"hi \"you\"\n", "\"hi \\\"you\\\"\\n\""),
            (b"{\"a\":1}{}", "\"{\\\"a\\\":1}{}\""),
            (b"1 2", "\"1 2\""),
            (b"\"a\nb\"", "\"\\\"a\\nb\\\"\""),
            ("你\u{1}\\".as_bytes(), "\"你\\u0001\\\\\""),
            (b"\xff\x00", "\"/wA=\""),
        ] {
            assert_eq!(json(body), expected);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(json(nested(DEPTH_MAX).as_bytes()), nested(DEPTH_MAX));
        for depth in [DEPTH_MAX + 1, 100_000] {
            assert_eq!(json(nested(depth).as_bytes()), format!("\"{}\"", nested(depth)));
        }
        assert_eq!(depth(r#"["[[[\"[["]"#), 1, "brackets in strings do not nest");
    }

    proptest! {
        #[test]
        fn always_one_line_of_json(body in prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            "[\\[\\]{}\",:0-9a\\\\ \n]{0,12}".prop_map(String::into_bytes),
        ]) {
            let json = json(&body);
            prop_assert!(!json.contains(['\n', '\r']));
            let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            match serde_json::from_slice::<serde_json::Value>(&body) {
                Ok(original) => prop_assert_eq!(value, original),
                Err(_) => {
                    let text = value.as_str().expect("a string").to_owned();
                    match String::from_utf8(body) {
                        Ok(body) => prop_assert_eq!(text, body),
                        Err(error) => {
                            prop_assert_eq!(BASE64.decode(text), Ok(error.into_bytes()));
                        }
                    }
                }
            }
        }
    }
}
