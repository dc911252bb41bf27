//! What was said where: the TOML file, the environment and the flags, as flat keys.
//!
//! Tables become dotted keys (`[goim] tcp = …` is `goim.tcp`), so that one name serves a file, a
//! flag and, upper-cased, the environment. Parts of a key consist of letters, digits, `-`, `_`.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::raw::Raw;

/// Who set a value. Later variants win over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody: the default.
    Default,
    /// A file.
    File {
        /// The file's name as it was given.
        name: String,
        /// The line of the value, from 1.
        line: usize,
    },
    /// An environment variable, by its full name.
    Environment(String),
    /// A `--set` flag, by its key.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { name, line } => write!(out, "file {name}:{line}"),
            Self::Environment(variable) => write!(out, "environment {variable}"),
            Self::Flag(key) => write!(out, "flag --set {key}=…"),
        }
    }
}

/// Everything that was said, before anybody asks for a key. Holds secrets: has no `Debug`.
#[derive(Clone, Default)]
pub struct Layers {
    /// Values of the file and of the flags by key; a flag has replaced the file's value.
    values: BTreeMap<String, (Raw, Source)>,
    /// The environment by full variable name.
    environment: BTreeMap<String, String>,
    /// Tables of the file that hold no key, with their line.
    empty_tables: Vec<(String, Source)>,
    prefix: String,
    faults: Vec<Fault>,
}

impl Layers {
    /// Starts with nothing said. `prefix` is that of the environment variables, such as
    /// `LINECAST_EDGE`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..Self::default() }
    }

    /// Adds the text of a TOML file; `name` is only for messages.
    pub fn with_file(mut self, name: &str, text: &str) -> Self {
        match DeTable::parse(text) {
            Ok(table) => self.flatten(name, text, "", table.get_ref()),
            Err(error) => {
                let line = line_of(text, error.span().map_or(0, |span| span.start));
                self.fault_at(&Source::File { name: name.to_owned(), line }, error.message());
            }
        }
        self
    }

    /// Adds environment variables; those without the prefix are ignored.
    pub fn with_environment(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let start = format!("{}_", self.prefix);
        let ours = variables.into_iter().filter(|(name, _)| name.starts_with(&start));
        self.environment.extend(ours.filter(|(name, _)| !is_service_link(&name[start.len()..])));
        self
    }

    /// Adds `key=value` flags; the last one of a key wins.
    pub fn with_flags<'a>(mut self, flags: impl IntoIterator<Item = &'a str>) -> Self {
        for flag in flags {
            match flag.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    let key = key.trim().to_owned();
                    let source = Source::Flag(key.clone());
                    self.values.insert(key, (Raw::Word(value.to_owned()), source));
                }
                // The text is not shown: it may be a secret that was pasted without its key.
                _ => self.faults.push(Fault {
                    key: String::new(),
                    source: "flag --set".to_owned(),
                    value: String::new(),
                    problem: "must be KEY=VALUE".to_owned(),
                }),
            }
        }
        self
    }

    /// Records that a layer could not be had at all, such as an unreadable file.
    pub fn with_fault(mut self, source: &str, problem: &str) -> Self {
        self.faults.push(Fault {
            key: String::new(),
            source: source.to_owned(),
            value: String::new(),
            problem: problem.to_owned(),
        });
        self
    }

    /// The name of the environment variable of a key.
    pub(super) fn variable(&self, key: &str) -> String {
        format!("{}_{}", self.prefix, key.to_uppercase().replace(['.', '-'], "_"))
    }

    /// What the highest layer says about a key.
    pub(super) fn get(&self, key: &str) -> Option<(Raw, Source)> {
        let said = self.values.get(key);
        if let Some((_, Source::Flag(_))) = said {
            return said.cloned();
        }
        let variable = self.variable(key);
        match self.environment.get(&variable) {
            Some(word) => Some((Raw::Word(word.clone()), Source::Environment(variable))),
            None => said.cloned(),
        }
    }

    /// Names of the tables directly below `prefix`, sorted.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let start = format!("{prefix}.");
        let below = |key: &str| key.strip_prefix(&start).map(str::to_owned);
        let mut names: Vec<String> = self
            .values
            .keys()
            .filter_map(|key| below(key)?.split_once('.').map(|(name, _)| name.to_owned()))
            .chain(self.empty_tables.iter().filter_map(|(table, _)| below(table)))
            .filter(|name| !name.contains('.'))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every key that a file or flag says something about.
    pub(super) fn said(&self) -> impl Iterator<Item = (&str, &Raw, &Source)> {
        self.values.iter().map(|(key, (raw, source))| (key.as_str(), raw, source))
    }

    pub(super) fn empty_tables(&self) -> &[(String, Source)] {
        &self.empty_tables
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.environment.keys().map(String::as_str)
    }

    pub(super) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    fn flatten(&mut self, name: &str, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (part, value) in table {
            let source =
                Source::File { name: name.to_owned(), line: line_of(text, part.span().start) };
            let part = part.get_ref();
            let key = if prefix.is_empty() { part.to_string() } else { format!("{prefix}.{part}") };
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if part.is_empty() || !part.chars().all(plain) {
                self.faults.push(Fault {
                    key,
                    source: source.to_string(),
                    value: String::new(),
                    problem: "names consist of the letters a to z, digits, - and _".to_owned(),
                });
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) if inner.is_empty() => self.empty_tables.push((key, source)),
                DeValue::Table(inner) => self.flatten(name, text, &key, inner),
                value => {
                    self.values.insert(key, (Raw::from_toml(value), source));
                }
            }
        }
    }

    fn fault_at(&mut self, source: &Source, problem: &str) {
        let problem = problem.replace('\n', "; ");
        self.faults.push(Fault {
            key: String::new(),
            source: source.to_string(),
            value: String::new(),
            problem,
        });
    }
}

/// Whether a variable (without our prefix) is one that Kubernetes sets in every pod for a service
/// that happens to be called like us (`linecast-edge` gives `LINECAST_EDGE_PORT_80_TCP_ADDR` …).
fn is_service_link(rest: &str) -> bool {
    let port = |rest: &str| {
        let mut parts = rest.splitn(3, '_');
        parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
            && parts.next().is_none_or(|last| matches!(last, "ADDR" | "PORT" | "PROTO"))
    };
    rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || rest == "PORT"
        || rest.strip_prefix("PORT_").is_some_and(port)
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
