//! The HTTP APIs as values: what back ends may ask, and how answers are written.
//!
//! Two that back ends already call: [`centrifugo`]'s and [`goim`]'s. Nothing here waits; carrying a
//! call out is the business of `io::api`.

pub mod centrifugo;
pub mod goim;
pub mod reply;

use bytes::Bytes;
use serde_json::value::RawValue;

/// JSON as bytes without line breaks, which line-based protocols cannot carry. In valid JSON they
/// stand between tokens only.
pub fn one_line(json: &RawValue) -> Bytes {
    let text = json.get().as_bytes();
    if text.iter().any(|byte| is_break(*byte)) {
        text.iter().copied().filter(|byte| !is_break(*byte)).collect()
    } else {
        Bytes::copy_from_slice(text)
    }
}

/// Whether a name fits a pattern of `*` (any text) and `?` (any character).
pub fn fits(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) =
        (name.chars().collect(), pattern.chars().collect());
    let (mut at, mut in_pattern) = (0, 0);
    // Where the last star was, and what it had swallowed.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(in_pattern) {
            Some('*') => {
                star = Some((in_pattern, at));
                in_pattern += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => match star {
                Some((star_at, swallowed)) => {
                    star = Some((star_at, swallowed + 1));
                    at = swallowed + 1;
                    in_pattern = star_at + 1;
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|rest| *rest == '*')
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_go() {
        let raw = RawValue::from_string("{\"a\":\r\n \"b\\n\"}".to_owned()).unwrap();
        assert_eq!(one_line(&raw), "{\"a\": \"b\\n\"}");
    }

    #[test]
    fn patterns() {
        for (name, pattern, expected) in [
            ("live:1", "", false),
            ("live:1", "*", true),
            ("live:1", "live:*", true),
            ("live:1", "live:?", true),
            ("live:12", "live:?", false),
            ("live:12", "*1*", true),
            ("live:12", "*3*", false),
            ("aXbXc", "a*X*c", true),
            ("aXbXc", "a*Xc*d", false),
        ] {
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }
}
