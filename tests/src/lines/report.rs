//! What the program leaves behind: a table on the screen, `lines.csv`, and a picture for each row.
//!
//! Invariant: after every run the files hold everything that was measured so far, so that a program that
//! is interrupted has not run in vain.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::outcome::Outcome;
use super::plot;

/// The files of one call of the program.
#[derive(Debug)]
pub struct Report {
    folder: PathBuf,
    outcomes: Vec<Outcome>,
}

impl Report {
    /// Nothing yet, in a folder that is made if need be.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), outcomes: Vec::new() })
    }

    /// Adds the outcome of a run.
    pub fn add(&mut self, outcome: Outcome) -> Result<()> {
        let picture = self.folder.join(format!("{}.svg", outcome.row.name));
        self.outcomes.push(outcome);
        let lines = [Outcome::csv_head()].into_iter().chain(self.outcomes.iter().map(Outcome::csv));
        let csv = self.folder.join(CSV);
        fs::write(&csv, lines.map(|line| line + "\n").collect::<String>())
            .with_context(|| format!("write {}", csv.display()))?;
        plot::draw(self.of_last_row(), &picture)
    }

    /// Everything so far.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    fn of_last_row(&self) -> &[Outcome] {
        let name = self.outcomes.last().map(|outcome| &outcome.row.name);
        let others = self.outcomes.iter().rposition(|outcome| Some(&outcome.row.name) != name);
        &self.outcomes[others.map_or(0, |at| at + 1)..]
    }
}

/// The table's file.
pub const CSV: &str = "lines.csv";
