//! Outcomes as files: a CSV with a row for each run, and pictures.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::outcome::{Outcome, Table, percentile};
use super::plot;

/// Where a table is written to.
#[derive(Debug)]
pub struct Report {
    folder: PathBuf,
}

impl Report {
    /// Into this folder, which is made.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Writes a table: its runs, and a picture of its drop rates over time.
    pub fn write(&self, name: &str, table: &Table) -> Result<()> {
        let mut text = String::from(HEAD);
        for outcome in table.outcomes() {
            row(&mut text, outcome);
        }
        let file = self.folder.join(format!("{name}{CSV}"));
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        plot::drops(table, &self.folder.join(format!("{name}.svg")))?;
        plot::against(table, &self.folder.join(format!("{name}-overload.svg")))
    }
}

fn row(text: &mut String, outcome: &Outcome) {
    let Outcome { policy, seed, drop, overloaded, moved, false_moves, believed, .. } = outcome;
    let (lists, firsts) = outcome.churn.unwrap_or_default();
    // Writing into a string does not fail.
    let _ = writeln!(
        text,
        "{policy},{seed},{drop:.6},{:.6},{:.4},{overloaded:.6},{},{:.1},{:.1},{},{},{believed},{lists:.4},{firsts:.4}",
        percentile(outcome.ticks.clone(), 0.99),
        percentile(outcome.loads.clone(), 0.99),
        moved.len(),
        percentile(moved.clone(), 0.5),
        percentile(moved.clone(), 0.9),
        false_moves[0],
        false_moves[1],
    );
}

const HEAD: &str = "policy,seed,drop,p99_tick,p99_max_load,overloaded,incidents,moved_p50_s,\
                    moved_p90_s,false_moves,load_moves,believed_ticks,list_churn,first_churn\n";

/// How the runs' file is called, after the table's name.
pub const CSV: &str = ".csv";
