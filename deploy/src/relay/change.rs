//! Changing how good a line is: the JSON that the admin API takes, and `linecast line set` sends.
//!
//! `{"loss": 0.05}` is for both directions, `{"up": {"loss": 0.05}}` for one, `{"preset": "loss5"}`
//! names several fields at once. A preset starts from what the line is like without faults, anything
//! else from what it is now; fields count over presets, one direction over both.
//!
//! The fields are read by the same lines as a configuration, so that a fault is told in its words.
//!
//! Invariant: a change that is wrong in any part changes nothing.

use serde_json::{Value, json};
use shared::config::{Configure, Fault, Layers, Reader, resolve};

use super::line::{Both, Direction};
use super::settings::{Patch, Preset, Settings};

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The text cannot be read.
    #[error("the body is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is JSON, but names no fields.
    #[error("the body must be an object such as {{\"loss\": 0.05}} or {{\"preset\": \"loss5\"}}")]
    NotAnObject,
    /// Fields are unknown or have values that they cannot have.
    #[error("{}", described(.0))]
    Faults(Vec<Fault>),
}

impl ChangeError {
    /// The error as the API answers it: one text for people, each field for programs.
    pub fn to_json(&self) -> Value {
        let faults: &[Fault] = if let Self::Faults(faults) = self { faults } else { &[] };
        let faults = faults.iter().map(
            |fault| json!({ "field": fault.key, "value": fault.value, "problem": fault.problem }),
        );
        json!({ "error": self.to_string(), "faults": faults.collect::<Vec<_>>() })
    }
}

fn described(faults: &[Fault]) -> String {
    let described = faults.iter().map(|Fault { key, value, problem, .. }| {
        let value = if value.is_empty() { String::new() } else { format!(" = {value}") };
        format!("{key}{value} {problem}")
    });
    described.collect::<Vec<_>>().join("; ")
}

/// What a line becomes that is `own` without faults and `current` now.
pub fn change(
    body: &[u8],
    own: Both<Settings>,
    current: Both<Settings>,
) -> Result<Both<Settings>, ChangeError> {
    let Value::Object(fields) = serde_json::from_slice(body)? else {
        return Err(ChangeError::NotAnObject);
    };
    let mut flags = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Object(inner) => flags
                .extend(inner.iter().map(|(field, value)| flag(&format!("{name}.{field}"), value))),
            value => flags.push(flag(&name, &value)),
        }
    }
    let layers = Layers::new("").with_flags(flags.iter().map(String::as_str));
    let change = resolve::<Change>(layers, |_| Err(std::io::ErrorKind::Unsupported.into()));
    let change = change.map_err(|faults| ChangeError::Faults(faults.list().to_vec()))?;
    Ok(Both {
        up: change.of(Direction::Up, own.up, current.up),
        down: change.of(Direction::Down, own.down, current.down),
    })
}

/// A field as a flag would say it; what no field can be shows up as the JSON it is.
fn flag(name: &str, value: &Value) -> String {
    match value {
        Value::String(word) => format!("{name}={word}"),
        other => format!("{name}={other}"),
    }
}

#[derive(Debug)]
struct Change {
    both: Part,
    each: Both<Part>,
}

#[derive(Debug)]
struct Part {
    preset: Option<Preset>,
    patch: Patch,
}

impl Change {
    fn of(&self, direction: Direction, own: Settings, current: Settings) -> Settings {
        let each = self.each.of(direction);
        let preset = each.preset.or(self.both.preset);
        let start = preset.map_or(current, |preset| preset.over(own));
        each.patch.over(self.both.patch.over(start))
    }
}

impl Configure for Change {
    fn read(reader: &mut Reader) -> Self {
        let mut part = |section: &str| Part {
            preset: reader.optional(&format!("{section}preset"), "What is wrong, in a word."),
            patch: Patch::read(reader, section),
        };
        Self { both: part(""), each: Both { up: part("up."), down: part("down.") } }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn own() -> Both<Settings> {
        let slow = |delay| Settings { delay: Duration::from_millis(delay), ..Settings::default() };
        Both { up: slow(20), down: slow(30) }
    }

    fn changed(body: &Value) -> Both<Settings> {
        let lossy = own().map(|own| Settings { loss: 0.5, ..own });
        change(body.to_string().as_bytes(), own(), lossy).unwrap()
    }

    fn refused(body: &str) -> String {
        change(body.as_bytes(), own(), own()).unwrap_err().to_string()
    }

    #[test]
    fn fields_change_what_is() {
        let both = changed(&json!({ "jitter": "2ms", "down": { "loss": 0.25, "reorder": true } }));
        assert_eq!((both.up.loss, both.down.loss), (0.5, 0.25));
        assert_eq!((both.up.reorder, both.down.reorder), (false, true));
        assert_eq!([both.up.jitter, both.down.jitter], [Duration::from_millis(2); 2]);
        assert_eq!([both.up.delay, both.down.delay], [20, 30].map(Duration::from_millis));
    }

    #[test]
    fn words_are_taken_for_values() {
        let both = changed(&json!({ "loss": "0.1", "blackhole": "true", "queue": "1ms" }));
        assert!(both.up.blackhole && both.down.blackhole);
        assert_eq!((both.up.loss, both.down.queue), (0.1, Duration::from_millis(1)));
    }

    #[test]
    fn a_preset_starts_from_what_the_line_is_like_without_faults() {
        let both = changed(&json!({ "preset": "delay+200", "up": { "preset": "gray60" } }));
        assert_eq!((both.up.loss, both.down.loss), (0.6, 0.0));
        assert_eq!([both.up.delay, both.down.delay], [20, 230].map(Duration::from_millis));
        assert_eq!(changed(&json!({ "preset": "clean" })), own());
        let both = changed(&json!({ "preset": "loss5", "delay": "1ms" }));
        assert_eq!((both.up.loss, both.up.delay), (0.05, Duration::from_millis(1)));
    }

    #[test]
    fn a_fault_names_field_value_and_what_is_allowed() {
        let said = refused(r#"{"up": {"loss": 1.5}}"#);
        assert_eq!(said, "up.loss = \"1.5\" must be 0.0 to 1.0");
        let said = refused(r#"{"los": 0.5}"#);
        assert_eq!(said, "los is not a known key; did you mean loss?");
        let said = refused(r#"{"preset": "broken"}"#);
        assert!(said.contains("\"broken\" must be one of clean, loss1,"), "{said}");
        let said = refused(r#"{"delay": "1 hour", "down": {"jitter": [1]}}"#);
        assert!(said.contains("delay = \"1 hour\" must be a duration"), "{said}");
        assert!(said.contains("; down.jitter = \"[1]\" must be a duration"), "{said}");
        let said = refused(r#"{"up": true}"#);
        assert!(said.contains("up is a table, with keys such as up."), "{said}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(refused("").starts_with("the body is not JSON"));
        assert!(refused("{").starts_with("the body is not JSON"));
        assert!(refused("[]").contains("{\"loss\": 0.05}"));
        let error = change(br#"{"up": {"loss": 2}}"#, own(), own()).unwrap_err().to_json();
        let fault =
            json!({ "field": "up.loss", "value": "\"2\"", "problem": "must be 0.0 to 1.0" });
        assert_eq!(error["faults"], json!([fault]));
    }
}
