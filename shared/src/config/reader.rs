//! Typed getters over the layers: each reads, checks and documents one key.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Faults};
use super::layers::{Layers, Source};
use super::raw::Raw;
use super::secret::{HIDDEN, Secret};
use super::{Configure, Setting};

/// The name [`Reader::names`] answers when documentation is made, in place of real ones.
const PLACEHOLDER: &str = "NAME";

/// Where the text of secret files comes from.
pub type ReadFile = fn(&Path) -> io::Result<String>;

/// A key as it was asked for, with what came out of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) doc: &'static str,
    pub(super) allowed: String,
    /// As TOML; `None` for a key that may be absent.
    pub(super) default: Option<String>,
    /// As TOML; `None` when nothing is set, and never a secret.
    pub(super) value: Option<String>,
    pub(super) source: Source,
    pub(super) required: bool,
}

/// Reads a `Config` out of the layers. See the module's header for the rules.
pub struct Reader {
    layers: Layers,
    read_file: ReadFile,
    entries: Vec<Entry>,
    /// Keys that have their own fault already, so that they are not called unknown as well.
    known: BTreeSet<String>,
    tables: BTreeSet<String>,
    faults: Vec<Fault>,
    documenting: bool,
}

/// Reads a whole configuration, or says everything that is wrong with it.
pub fn resolve<C: Configure>(layers: Layers, read_file: ReadFile) -> Result<C, Faults> {
    let mut reader = Reader::new(layers, read_file);
    let config = C::read(&mut reader);
    reader.finish()?;
    Ok(config)
}

impl Reader {
    /// Starts reading. `read_file` fetches the files that secrets are kept in.
    pub fn new(mut layers: Layers, read_file: ReadFile) -> Self {
        let faults = layers.take_faults();
        Self {
            layers,
            read_file,
            entries: Vec::new(),
            known: BTreeSet::new(),
            tables: BTreeSet::new(),
            faults,
            documenting: false,
        }
    }

    /// A reader of nothing, that collects documentation only.
    pub(super) fn documenting(prefix: &str) -> Self {
        let nothing: ReadFile = |_| Err(io::ErrorKind::NotFound.into());
        Self { documenting: true, ..Self::new(Layers::new(prefix), nothing) }
    }

    /// A setting with a default.
    pub fn value<T: Setting>(&mut self, key: &str, default: T, doc: &'static str) -> T {
        self.checked(key, default, doc, T::allowed(), |_| true)
    }

    /// A setting that lies in a range.
    pub fn ranged<T: Setting + PartialOrd>(
        &mut self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
        doc: &'static str,
    ) -> T {
        debug_assert!(range.contains(&default), "default of {key} lies outside its range");
        let allowed = format!("{} to {}", range.start().print(), range.end().print());
        self.checked(key, default, doc, allowed, |value| range.contains(value))
    }

    /// A list of settings: an array in a file, separated by commas elsewhere.
    pub fn list<T: Setting>(&mut self, key: &str, default: Vec<T>, doc: &'static str) -> Vec<T> {
        self.value(key, default, doc)
    }

    /// A setting that may be absent.
    pub fn optional<T: Setting>(&mut self, key: &str, doc: &'static str) -> Option<T> {
        let said = self.ask(key);
        let mut entry = self.entry(key, doc, T::allowed());
        let value = said.and_then(|(raw, source)| {
            entry.source = source.clone();
            self.parse(key, &raw, &source)
        });
        entry.value = value.as_ref().map(|value: &T| value.print().to_string());
        self.entries.push(entry);
        value
    }

    /// A setting that must be given. `example` is what documentation shows, and what is returned
    /// along with the fault when it is absent.
    pub fn required<T: Setting>(&mut self, key: &str, example: T, doc: &'static str) -> T {
        let value = self.optional(key, doc);
        if let Some(entry) = self.entries.last_mut() {
            entry.required = true;
            entry.allowed = format!("{}; for example {}", entry.allowed, example.print());
        }
        if value.is_none() && !self.documenting && self.layers.get(key).is_none() {
            let variable = self.layers.variable(key);
            let example = example.print();
            self.push(
                key,
                &Source::Default,
                "",
                format!("must be set here or in {variable}, for example {example}"),
            );
        }
        value.unwrap_or(example)
    }

    /// One of a few words.
    pub fn one_of<T: Clone + PartialEq>(
        &mut self,
        key: &str,
        default: T,
        choices: &[(&str, T)],
        doc: &'static str,
    ) -> T {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let allowed = format!("one of {}", names.join(", "));
        let name_of = |value: &T| choices.iter().find(|(_, choice)| choice == value);
        debug_assert!(name_of(&default).is_some(), "default of {key} is not among its choices");
        let default_name = name_of(&default).map_or("", |(name, _)| name).to_owned();
        let word =
            self.checked(key, default_name, doc, allowed, |word| names.contains(&word.as_str()));
        choices.iter().find(|(name, _)| *name == word).map_or(default, |(_, choice)| choice.clone())
    }

    /// A secret that may be absent: from `key`, or from the first line of the file that `key_file`
    /// names. It may not stand on the command line, where every user of the machine can read it.
    pub fn secret(&mut self, key: &str, doc: &'static str) -> Option<Secret> {
        let mut found = self.secrets_of(key, doc, "a text, or its file");
        if found.len() > 1 {
            let source = self.source_of(key);
            self.push(key, &source, HIDDEN, "must be a single secret".to_owned());
        }
        (!found.is_empty()).then(|| found.swap_remove(0))
    }

    /// Any number of secrets, so that a new one can be accepted before the old one goes: a list at
    /// `key`, or the lines of the file that `key_file` names.
    pub fn secrets(&mut self, key: &str, doc: &'static str) -> Vec<Secret> {
        self.secrets_of(key, doc, "a list of texts, or their file, one a line")
    }

    /// The names of the tables below `prefix` in the file and flags: for `[namespace.live]`,
    /// `names("namespace")` holds `live`. The environment can set keys of these tables but not add
    /// a table, since its names do not show where a part ends.
    pub fn names(&mut self, prefix: &str) -> Vec<String> {
        self.tables.insert(prefix.to_owned());
        if self.documenting {
            return vec![PLACEHOLDER.to_owned()];
        }
        let names = self.layers.names(prefix);
        self.tables.extend(names.iter().map(|name| format!("{prefix}.{name}")));
        names
    }

    /// A key that has a new name: whoever still uses the old one is told.
    pub fn renamed(&mut self, old: &str, new: &str) {
        if let Some((_, source)) = self.ask(old) {
            self.push(old, &source, "", format!("is now called {new}"));
        }
    }

    /// Whether a file, variable or flag sets this key.
    pub fn is_set(&self, key: &str) -> bool {
        self.layers.get(key).is_some()
    }

    /// Records a fault about a key that was read before, typically a relation between keys.
    pub fn fault(&mut self, key: &str, problem: impl fmt::Display) {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let source = entry.map_or(Source::Default, |entry| entry.source.clone());
        let value = entry.and_then(|entry| entry.value.clone()).unwrap_or_default();
        self.push(key, &source, &value, problem.to_string());
    }

    /// Ends reading: fails with every fault, among them everything nobody asked for.
    pub fn finish(mut self) -> Result<(), Faults> {
        self.check_unknown();
        match Faults::new(self.faults) {
            Some(faults) => Err(faults),
            None => Ok(()),
        }
    }

    /// What was asked for, whatever the faults.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Like [`Reader::finish`], keeping what was asked for, to be printed.
    pub(super) fn finish_entries(mut self) -> Result<Vec<Entry>, Faults> {
        let entries = std::mem::take(&mut self.entries);
        self.finish().map(|()| entries)
    }

    fn checked<T: Setting>(
        &mut self,
        key: &str,
        default: T,
        doc: &'static str,
        allowed: String,
        accepts: impl Fn(&T) -> bool,
    ) -> T {
        let mut entry = self.entry(key, doc, allowed);
        entry.default = Some(default.print().to_string());
        let mut value = default;
        if let Some((raw, source)) = self.ask(key) {
            match self.parse::<T>(key, &raw, &source) {
                Some(parsed) if accepts(&parsed) => value = parsed,
                Some(_) => {
                    let problem = format!("must be {}", entry.allowed);
                    self.push(key, &source, &raw.to_string(), problem);
                }
                None => {}
            }
            entry.source = source;
        }
        entry.value = Some(value.print().to_string());
        self.entries.push(entry);
        value
    }

    fn parse<T: Setting>(&mut self, key: &str, raw: &Raw, source: &Source) -> Option<T> {
        T::parse(raw).map_err(|problem| self.push(key, source, &raw.to_string(), problem)).ok()
    }

    fn secrets_of(&mut self, key: &str, doc: &'static str, allowed: &str) -> Vec<Secret> {
        let file_key = format!("{key}_file");
        let direct = self.ask(key);
        let in_file = self.ask(&file_key);
        let mut entry = self.entry(key, doc, format!("{allowed} in {file_key}"));
        let secrets = match (direct, in_file) {
            (Some((_, source)), Some((_, other))) if rank(&source) == rank(&other) => {
                self.push(key, &source, HIDDEN, format!("must not be set beside {file_key}"));
                Vec::new()
            }
            (Some((raw, source)), other) if other.as_ref().is_none_or(|(_, s)| *s < source) => {
                entry.source = source.clone();
                self.secrets_from_value(key, &raw, &source)
            }
            (_, Some((raw, source))) => {
                entry.source = source.clone();
                self.secrets_from_file(&file_key, &raw, &source)
            }
            (_, None) => Vec::new(),
        };
        entry.value = (!secrets.is_empty()).then(|| HIDDEN.to_owned());
        self.entries.push(entry);
        secrets
    }

    fn secrets_from_value(&mut self, key: &str, raw: &Raw, source: &Source) -> Vec<Secret> {
        if matches!(source, Source::Flag(_)) {
            let variable = self.layers.variable(key);
            let problem = format!(
                "a flag is visible to every user of the machine: use {key}_file or {variable}"
            );
            self.push(key, source, HIDDEN, problem);
            return Vec::new();
        }
        let texts: Option<Vec<String>> = match raw {
            Raw::Text(text) => Some(vec![text.clone()]),
            raw => raw.items().and_then(|items| {
                items.iter().map(|item| item.text().map(str::to_owned)).collect()
            }),
        };
        match texts {
            Some(texts) if texts.iter().all(|text| !text.is_empty()) => {
                texts.into_iter().map(Secret::new).collect()
            }
            _ => {
                self.push(key, source, HIDDEN, "must be a text that is not empty".to_owned());
                Vec::new()
            }
        }
    }

    fn secrets_from_file(&mut self, file_key: &str, raw: &Raw, source: &Source) -> Vec<Secret> {
        let Some(path) = self.parse::<PathBuf>(file_key, raw, source) else {
            return Vec::new();
        };
        let problem = match (self.read_file)(&path) {
            Ok(text) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let secrets: Vec<Secret> = lines.map(Secret::new).collect();
                if !secrets.is_empty() {
                    return secrets;
                }
                "is an empty file".to_owned()
            }
            Err(error) => format!("cannot be read: {error}"),
        };
        self.push(file_key, source, &raw.to_string(), problem);
        Vec::new()
    }

    fn ask(&mut self, key: &str) -> Option<(Raw, Source)> {
        self.known.insert(key.to_owned());
        self.layers.get(key)
    }

    fn source_of(&self, key: &str) -> Source {
        self.layers.get(key).map_or(Source::Default, |(_, source)| source)
    }

    fn entry(&self, key: &str, doc: &'static str, allowed: String) -> Entry {
        Entry {
            key: key.to_owned(),
            doc,
            allowed,
            default: None,
            value: None,
            source: Source::Default,
            required: false,
        }
    }

    fn push(&mut self, key: &str, source: &Source, value: &str, problem: String) {
        self.faults.push(Fault {
            key: key.to_owned(),
            source: source.to_string(),
            value: value.to_owned(),
            problem,
        });
    }

    fn check_unknown(&mut self) {
        let mut unknown = Vec::new();
        for (key, _, source) in self.layers.said() {
            if !self.known.contains(key) {
                // The value is left out: a secret under a mistyped key would show.
                unknown.push((key.to_owned(), source.clone(), self.unknown_problem(key)));
            }
        }
        for (table, source) in self.layers.empty_tables() {
            let inside = format!("{table}.");
            let holds_keys = self.known.iter().any(|key| key.starts_with(&inside));
            if !holds_keys && !self.tables.contains(table) {
                unknown.push((table.clone(), source.clone(), self.unknown_problem(table)));
            }
        }
        let variables: BTreeSet<String> =
            self.known.iter().map(|key| self.layers.variable(key)).collect();
        for variable in self.layers.variables().filter(|name| !variables.contains(*name)) {
            let problem = match nearest(variable, variables.iter()) {
                Some(other) => format!("is not a known variable; did you mean {other}?"),
                None => "is not a known variable".to_owned(),
            };
            let source = Source::Environment(variable.to_owned());
            unknown.push((String::new(), source, problem));
        }
        for (key, source, problem) in unknown {
            self.push(&key, &source, "", problem);
        }
    }

    fn unknown_problem(&self, key: &str) -> String {
        let inside = format!("{key}.");
        if let Some(member) = self.known.iter().find(|known| known.starts_with(&inside)) {
            return format!("is a table, with keys such as {member}");
        }
        match nearest(key, self.known.iter()) {
            Some(other) => format!("is not a known key; did you mean {other}?"),
            None => "is not a known key".to_owned(),
        }
    }
}

fn rank(source: &Source) -> u8 {
    match source {
        Source::Default => 0,
        Source::File { .. } => 1,
        Source::Environment(_) => 2,
        Source::Flag(_) => 3,
    }
}

/// The candidate with the least edit distance, if it is near enough to be what was meant: at most
/// two letters in five differ, so that two swapped ones in a short word still count.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance * 5 <= word.len() * 2)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
