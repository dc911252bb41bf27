//! What people read: answers on standard output, everything about them on standard error.
//!
//! A reader that has gone away (`| head`) is not an error to report but a reason to end.

use std::error::Error;
use std::io::{self, Write};

/// Prints a line of an answer. Fails when nobody reads any more.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Prints a line about the answer. Whether somebody reads it changes nothing.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints why a command failed, with every cause.
pub fn complain(error: &dyn Error) {
    note(&format!("linecast: {}", chain(error)));
}

/// An error with its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries repeat their cause in their own words.
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::files::FileError;
    use super::*;

    #[test]
    fn every_cause_is_named_once() {
        let source = io::Error::other("the disk is full");
        let error = FileError::Write { path: "/data/ca.key".into(), source };
        assert_eq!(chain(&error), "cannot write /data/ca.key: the disk is full");
        assert_eq!(chain(&io::Error::other(error)), "cannot write /data/ca.key: the disk is full");
    }
}
