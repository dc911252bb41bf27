//! What is wrong with a configuration, in a form a person can act on without reading code.

use std::fmt;

/// One thing wrong: which key, who said it, what was said, what is wrong or allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The full key, such as `goim.tcp`; empty when the fault is about a whole file.
    pub key: String,
    /// Who set the value, such as `file linecast.toml:3` or `environment LINECAST_EDGE_GOIM_TCP`.
    pub source: String,
    /// The value as it was written; `***` for secrets, empty when there is none.
    pub value: String,
    /// What is wrong, or what is allowed.
    pub problem: String,
}

/// All faults of one configuration, at least one. `Display` prints an aligned line per fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Wraps the faults found; `None` when there are none.
    pub fn new(faults: Vec<Fault>) -> Option<Self> {
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// The faults in the order in which they were found.
    pub fn list(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Fault) -> &String| {
            self.0.iter().map(|fault| of(fault).chars().count()).max().unwrap_or(0)
        };
        let (key, source, value) = (width(|f| &f.key), width(|f| &f.source), width(|f| &f.value));
        let count = self.0.len();
        write!(out, "configuration: {count} fault{}", if count == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            write!(
                out,
                "\n  {:key$}  {:source$}  {:value$}  {}",
                fault.key, fault.source, fault.value, fault.problem
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
