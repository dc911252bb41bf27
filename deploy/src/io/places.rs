//! `linecast place`: opens databases and asks them, builds one, compares two.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Instant, SystemTime};

use geo_data::Databases;
use geo_data::build::Progress;
use geo_data::database::{Database, Kind, OpenError};
use geo_data::diff::{self, Diff};
use geo_data::io::{GatherError, Paths, Sources, open};
use geo_data::write::{WriteError, packed};
use indicatif::{ProgressBar, ProgressStyle};

use super::files::{self, FileError, Readers};
use super::output::note;
use crate::place::{describe, grouped, report};

/// What the databases know of addresses; the demo's own database where none is named.
pub fn lookup(addresses: &[IpAddr], paths: &Paths) -> Result<String, OpenError> {
    let databases = if *paths == Paths::default() {
        let demo = Database::from_bytes(Kind::Own, "demo", geo_data::demo::database())?;
        Databases { own: Some(demo), ..Databases::default() }
    } else {
        paths.open()?
    };
    let places = addresses.iter().map(|address| describe(*address, &databases.lookup(*address)));
    Ok(places.collect::<Vec<_>>().join("\n\n"))
}

/// Why a database was not built. The one that was to be replaced is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The sources are no good.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// It could not be serialised.
    #[error(transparent)]
    Serialise(#[from] WriteError),
    /// What was made is no database, by our own fault.
    #[error("what was built is no good and was not written")]
    Unsound(#[source] OpenError),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

/// Builds a database of the sources, and writes it if it has a path. The answer is the report.
pub fn build(sources: &Sources, output: Option<&Path>) -> Result<String, BuildError> {
    let began = Instant::now();
    let bar = Bar::default();
    let gathered = sources.gather(|progress| bar.show(progress))?;
    let built = gathered.builder.build(|progress| bar.show(progress));
    let of = built.networks.len();
    let bytes = packed(&built.records, &built.networks, SystemTime::now(), |done| {
        bar.show(Progress { step: "writing", done, of });
    })?;
    bar.0.finish_and_clear();
    for remark in &gathered.remarks {
        note(remark);
    }
    let size = bytes.len() as u128;
    let mut text = report(&built.report);
    let what = format!("{} networks, {} bytes", grouped(of as u128), grouped(size));
    let outcome = match output {
        Some(path) => {
            let name = path.display().to_string();
            // What svrlist would refuse must not replace what it has.
            Database::from_bytes(Kind::Own, &name, bytes.clone()).map_err(BuildError::Unsound)?;
            files::write(path, &bytes, Readers::Everybody)?;
            format!("wrote {name}: {what}")
        }
        None => format!("wrote nothing, for want of --output: {what}"),
    };
    text.push_str(&format!("\n{outcome}, in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(text)
}

/// Compares two databases of our own.
pub fn diff(before: &Path, after: &Path) -> Result<Diff, OpenError> {
    let names = [before, after].map(|path| path.display().to_string());
    let databases = (open(Kind::Own, before)?, open(Kind::Own, after)?);
    diff::diff((&databases.0, &names[0]), (&databases.1, &names[1]))
}

/// Progress on a terminal; nowhere else.
struct Bar(ProgressBar);

impl Default for Bar {
    fn default() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg:12} {wide_bar} {percent} %") {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Bar {
    fn show(&self, progress: Progress) {
        self.0.set_message(progress.step);
        self.0.set_length(progress.of as u64);
        self.0.set_position(progress.done as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::files::tests::Folder;
    use super::super::output::chain;
    use super::*;

    #[test]
    fn a_database_is_built_replaced_and_looked_up() {
        let folder = Folder::new();
        let lists = folder.0.join("carriers");
        fs::create_dir(&lists).unwrap();
        fs::write(lists.join("cmcc.txt"), "10.0.0.0/8\n").unwrap();
        fs::write(lists.join("cmcc6.txt"), "2001:db8::/32\n").unwrap();
        fs::write(lists.join("unicom.txt"), "10.1.0.0/16\n").unwrap();
        let table = folder.0.join("own.csv");
        fs::write(&table, "network,region,city\n10.1.2.0/24,440000,广州\n").unwrap();
        let output = folder.0.join("places.mmdb");
        let mut sources = Sources { carriers: vec![lists.clone()], ..Sources::default() };
        let text = build(&sources, Some(&output)).unwrap();
        assert!(text.contains("wrote ") && text.contains("places.mmdb: "), "{text}");
        let paths = Paths { own: Some(output.clone()), ..Paths::default() };
        let cells = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            let text = lookup(&addresses, &paths).unwrap();
            let cells = text.lines().filter_map(|line| line.strip_prefix("cell      "));
            cells.map(str::to_owned).collect::<Vec<_>>()
        };
        let all = ["10.0.0.1", "10.1.2.3", "2001:db8::1", "11.0.0.1"];
        assert_eq!(
            cells(&all),
            ["unknown/mobile", "unknown/unicom", "unknown/mobile", "unknown/unknown"]
        );

        let before = folder.0.join("before.mmdb");
        fs::copy(&output, &before).unwrap();
        sources.overrides = vec![table];
        build(&sources, Some(&output)).unwrap();
        assert_eq!(cells(&all)[1], "440100/unicom");
        let diff = diff(&before, &output).unwrap();
        assert_eq!((diff.families[0].moved, diff.families[0].carrier), (256, 0));

        // Nothing is written of sources with a fault, and nothing else is left in the folder.
        let good = fs::read(&output).unwrap();
        fs::write(lists.join("unicom.txt"), "10.1.0.0/16\n<html>\n").unwrap();
        let error = chain(&build(&sources, Some(&output)).unwrap_err());
        assert!(error.contains("unicom.txt:2: \"<html>\" is no network; allowed is"), "{error}");
        assert_eq!(fs::read(&output).unwrap(), good);
        let names = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["before.mmdb", "carriers", "own.csv", "places.mmdb"]);
    }

    #[test]
    fn without_an_output_there_is_only_the_report() {
        let folder = Folder::new();
        fs::write(folder.0.join("unicom.txt"), "10.1.0.0/16\n").unwrap();
        let sources = Sources { carriers: vec![folder.0.clone()], ..Sources::default() };
        let text = build(&sources, None).unwrap();
        assert!(text.contains("wrote nothing"), "{text}");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }
}
