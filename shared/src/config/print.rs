//! The printed forms of a configuration: the effective TOML, and the reference table.

use std::fmt::Write;

use super::reader::Entry;

/// The effective values as a TOML file, each with its meaning, what is allowed and who set it.
/// It can be loaded again, apart from secrets, which stay commented out.
pub(super) fn effective(entries: &[Entry]) -> String {
    let mut tables: Vec<(&str, Vec<(&str, &Entry)>)> = vec![("", Vec::new())];
    for entry in entries {
        let (table, name) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
        match tables.iter_mut().find(|(existing, _)| *existing == table) {
            Some((_, members)) => members.push((name, entry)),
            None => tables.push((table, vec![(name, entry)])),
        }
    }
    let mut text = String::new();
    for (table, members) in tables.iter().filter(|(_, members)| !members.is_empty()) {
        if !table.is_empty() {
            line(&mut text, format_args!("[{table}]"));
        }
        for (name, entry) in members {
            line(&mut text, format_args!("# {}", entry.doc));
            line(&mut text, format_args!("# {}; from: {}", entry.allowed, entry.source));
            match entry.value.as_deref() {
                Some(super::secret::HIDDEN) => line(&mut text, format_args!("# {name} = \"***\"")),
                Some(value) => line(&mut text, format_args!("{name} = {value}")),
                None => line(&mut text, format_args!("# {name} is not set")),
            }
        }
        text.push('\n');
    }
    text
}

/// A Markdown table of all keys.
pub(super) fn reference(entries: &[Entry]) -> String {
    let mut text = String::from("| key | default | allowed | meaning |\n|---|---|---|---|\n");
    for entry in entries {
        let default = match &entry.default {
            Some(default) => format!("`{default}`"),
            None if entry.required => "must be set".to_owned(),
            None => "not set".to_owned(),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        line(
            &mut text,
            format_args!(
                "| `{}` | {} | {} | {} |",
                entry.key,
                cell(&default),
                cell(&entry.allowed),
                cell(entry.doc)
            ),
        );
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}
