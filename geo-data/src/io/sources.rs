//! Gathers what a database is built of: folders of lists, databases, tables of overrides.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{open, read_regular};
use crate::build::{AddError, Builder, Progress, Sort, TooMany, Words};
use crate::carrier::Carrier;
use crate::database::{Kind, OpenError};
use crate::lists::{Fault, Faults, Names, networks, region_of_code};
use crate::overrides::{self, Met};
use crate::span::Family;

/// Where the sources are; any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Folders of `NAME.txt`, `NAME6.txt` and `NAME46.txt`, each a carrier's networks.
    pub carriers: Vec<PathBuf>,
    /// Folders of `CODE.txt`, each a region's networks, and a `names.csv`.
    pub regions: Vec<PathBuf>,
    /// Files of these folders that are no list, by their names without `.txt`, or without 6 or 46 too.
    pub skip: Vec<String>,
    /// A City database.
    pub city: Option<PathBuf>,
    /// An ISP database.
    pub isp: Option<PathBuf>,
    /// An ASN database.
    pub asn: Option<PathBuf>,
    /// Tables of what the operator knows better.
    pub overrides: Vec<PathBuf>,
}

/// Why the sources could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// None is named.
    #[error("no source is named; allowed are carriers, regions, city, isp, asn and overrides")]
    Nothing,
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Inputs are not what they should be.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// A database was refused.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is too much.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl From<AddError> for GatherError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Open(error) => Self::Open(error),
            AddError::TooMany(error) => Self::TooMany(error),
        }
    }
}

/// The sources, read, and remarks about them for people.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What they say.
    pub builder: Builder,
    /// What is not wrong with them and still worth a look.
    pub remarks: Vec<String>,
}

impl Sources {
    /// Reads everything, and tells all that is wrong with lists and tables at once. Blocks for as long
    /// as that takes.
    pub fn gather(&self, mut progress: impl FnMut(Progress)) -> Result<Gathered, GatherError> {
        let mut gathering = Gathering::default();
        let databases = [(Kind::City, &self.city), (Kind::Isp, &self.isp), (Kind::Asn, &self.asn)];
        let databases = databases.map(|(kind, path)| path.as_deref().map(|path| (kind, path)));
        let databases: Vec<_> = databases.into_iter().flatten().collect();
        let carriers = lists_of(&self.carriers, &self.skip)?;
        let regions = lists_of(&self.regions, &self.skip)?;
        let of = carriers.len() + regions.len() + databases.len() + self.overrides.len();
        if of == 0 && self.carriers.is_empty() && self.regions.is_empty() {
            return Err(GatherError::Nothing);
        }
        let mut done = 0;
        let mut step = || {
            done += 1;
            progress(Progress { step: "reading", done, of });
        };
        for folder in self.carriers.iter().chain(&self.regions) {
            gathering.check_folder(folder, carriers.iter().chain(&regions));
        }
        for list in &carriers {
            gathering.add_carrier(list)?;
            step();
        }
        for folder in &self.regions {
            let names = gathering.names(folder)?;
            for list in regions.iter().filter(|list| list.folder == *folder) {
                gathering.add_region(list, names.as_ref())?;
                step();
            }
        }
        for path in &self.overrides {
            gathering.add_overrides(path)?;
            step();
        }
        // What is quick to find out comes first: databases take a while.
        gathering.faults.or(())?;
        let mut gathered = gathering.gathered;
        for (kind, path) in databases {
            let database = open(kind, path)?;
            gathered.builder.add_database(&database, &path.display().to_string())?;
            step();
        }
        Ok(gathered)
    }
}

/// A list in a folder.
struct List {
    folder: PathBuf,
    path: PathBuf,
    /// Its name without `.txt`.
    stem: String,
}

/// The lists in folders, by name.
fn lists_of(folders: &[PathBuf], skip: &[String]) -> Result<Vec<List>, GatherError> {
    let mut lists = Vec::new();
    for folder in folders {
        let failed = |source| GatherError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let is_list = path.extension().is_some_and(|extension| extension == "txt");
            let skipped = skip.iter().any(|name| *name == stem || name == base(&stem).0);
            if is_list && !skipped {
                lists.push(List { folder: folder.clone(), path, stem });
            }
        }
    }
    lists.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(lists)
}

/// What a list is about by its name, and the only family in it: `cmcc6` is IPv6 alone, `cmcc46` and
/// `cmcc` may be both.
fn base(stem: &str) -> (&str, Option<Family>) {
    match (stem.strip_suffix("46"), stem.strip_suffix('6')) {
        (Some(name), _) => (name, None),
        (None, Some(name)) => (name, Some(Family::V6)),
        (None, None) => (stem, None),
    }
}

#[derive(Default)]
struct Gathering {
    gathered: Gathered,
    faults: Faults,
    met: Met,
}

impl Gathering {
    fn check_folder<'a>(&mut self, folder: &Path, mut lists: impl Iterator<Item = &'a List>) {
        if lists.all(|list| list.folder != folder) {
            self.fault(folder, "has no list; allowed are files whose names end in .txt".to_owned());
        }
    }

    fn fault(&mut self, path: &Path, what: String) {
        self.faults.push(Fault { file: path.display().to_string(), line: None, what });
    }

    /// The bytes of a file that is small enough; a fault otherwise.
    fn read(&mut self, path: &Path) -> Result<Option<Vec<u8>>, GatherError> {
        match read_regular(path, LIST_BYTES_MAX) {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(size)) => {
                self.fault(path, format!("has {size} bytes; allowed are {LIST_BYTES_MAX}"));
                Ok(None)
            }
            Err(source) => Err(GatherError::Read { path: path.to_owned(), source }),
        }
    }

    fn add_carrier(&mut self, list: &List) -> Result<(), GatherError> {
        let (name, only) = base(&list.stem);
        let Some(carrier) = Carrier::of_list(name) else {
            let known = Carrier::ALL.into_iter().filter(|carrier| *carrier != Carrier::Unknown);
            let known: Vec<&str> = known.map(Carrier::as_str).collect();
            let what = format!(
                "{name:?} is no carrier; allowed are chinanet, cmcc, {}, each also with 6 or 46 behind it \
                 (IPv6, both), and whatever is skipped",
                known.join(", ")
            );
            self.fault(&list.path, what);
            return Ok(());
        };
        let words = Words { carrier: Some(carrier), ..Words::default() };
        self.add_list(Sort::CarrierList, name, words, list, only)
    }

    fn names(&mut self, folder: &Path) -> Result<Option<Names>, GatherError> {
        let path = folder.join(NAMES);
        if !path.exists() {
            return Ok(None);
        }
        let Some(bytes) = self.read(&path)? else { return Ok(None) };
        match Names::read(&path.display().to_string(), &bytes) {
            Ok(names) => Ok(Some(names)),
            Err(faults) => {
                self.faults.append(faults);
                Ok(None)
            }
        }
    }

    fn add_region(&mut self, list: &List, names: Option<&Names>) -> Result<(), GatherError> {
        let region = match region_of_code(&list.stem) {
            Ok(region) => region,
            Err(what) => {
                self.fault(&list.path, format!("{what}, and whatever is skipped"));
                return Ok(());
            }
        };
        let file = list.path.display();
        let ours = region.division().map_or("", |division| division.name);
        match names.map(|names| names.name(&list.stem)) {
            Some(None) => {
                self.gathered.remarks.push(format!("{file}: {NAMES} lacks its code; {ours} to us"));
            }
            Some(Some(theirs)) if theirs != ours && region.to_string() == list.stem => {
                self.gathered.remarks.push(format!("{file}: {NAMES} says {theirs}, we say {ours}"));
            }
            Some(Some(_)) | None => {}
        }
        // A municipality's urban area is the municipality: nothing to remark.
        if region.to_string() != list.stem && !region.is_city() {
            self.gathered.remarks.push(format!("{file}: counts as {region} {ours}"));
        }
        let words = Words { region: Some(region), ..Words::default() };
        self.add_list(Sort::RegionList, "regions", words, list, None)
    }

    fn add_list(
        &mut self,
        sort: Sort,
        name: &str,
        words: Words,
        list: &List,
        only: Option<Family>,
    ) -> Result<(), GatherError> {
        let Some(bytes) = self.read(&list.path)? else { return Ok(()) };
        match networks(&list.path.display().to_string(), &bytes, only) {
            Ok(networks) => self.gathered.builder.add(sort, name, words, networks)?,
            Err(faults) => self.faults.append(faults),
        }
        Ok(())
    }

    fn add_overrides(&mut self, path: &Path) -> Result<(), GatherError> {
        let name = path.display().to_string();
        let Some(bytes) = self.read(path)? else { return Ok(()) };
        match overrides::read(&name, &bytes, &mut self.met) {
            Ok(overrides) => {
                for row in overrides {
                    self.gathered.builder.add(Sort::Override, &name, row.words, [row.network])?;
                }
            }
            Err(faults) => self.faults.append(faults),
        }
        Ok(())
    }
}

/// The largest list or table: a hundred times the largest that is published.
pub const LIST_BYTES_MAX: u64 = 64 << 20;

/// The list of names in a folder of regions.
const NAMES: &str = "names.csv";

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;

    #[test]
    fn names_of_lists() {
        assert_eq!(base("cmcc"), ("cmcc", None));
        assert_eq!(base("cmcc6"), ("cmcc", Some(Family::V6)));
        assert_eq!(base("cmcc46"), ("cmcc", None));
    }

    #[test]
    fn all_faults_of_all_files_are_told_at_once() {
        let folder = Folder::new("sources");
        let write = |name: &str, text: &str| fs::write(folder.0.join(name), text).unwrap();
        write("cmcc.txt", "10.0.0.0/8\n2001:db8::/32\n");
        write("cmcc46.txt", "10.0.0.0/8\n2001:db8::/32\n");
        write("README.md", "no list");
        write("china.txt", "10.0.0.0/8\n");
        write("china6.txt", "2001:db8::/32\n");
        let table = folder.0.join("table.csv");
        write("table.csv", "network,carrier\n10.0.0.0/8,mobile\n");
        let mut sources = Sources {
            carriers: vec![folder.0.clone()],
            skip: vec!["china".to_owned()],
            overrides: vec![table.clone()],
            ..Sources::default()
        };
        let mut steps = Vec::new();
        let gathered = sources.gather(|progress| steps.push((progress.done, progress.of))).unwrap();
        assert_eq!(steps, [(1, 3), (2, 3), (3, 3)]);
        let report = gathered.builder.build(|_| ()).report;
        assert_eq!(report.sources[0].networks, [2, 2]);
        assert_eq!(report.tallies[0].said, 1 << 24);

        write("unicom6.txt", "10.0.0.0/8\n");
        write("chianet.txt", "10.0.0.0/8\n");
        sources.overrides.push(table);
        let error = sources.gather(|_| ()).unwrap_err().to_string();
        let [chianet, unicom, twice] = &error.lines().collect::<Vec<_>>()[..] else {
            panic!("{error}")
        };
        assert!(chianet.contains("chianet.txt: \"chianet\" is no carrier; allowed are"), "{error}");
        assert!(unicom.contains("unicom6.txt:1: 10.0.0.0/8 is IPv4; allowed in this"), "{error}");
        assert!(twice.contains("table.csv:2: 10.0.0.0/8 is in ") && twice.ends_with("already"));

        let regions = Sources { regions: vec![folder.0.clone()], ..Sources::default() };
        let error = regions.gather(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("cmcc.txt: \"cmcc\" is no region; allowed are six-digit"),
            "{error}"
        );
        let absent = Sources { overrides: vec![folder.0.join("none.csv")], ..Sources::default() };
        let error = absent.gather(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("none.csv"), "{error}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let folder = Folder::new("large");
        let path = folder.0.join("cmcc.txt");
        fs::File::create(&path).unwrap().set_len(LIST_BYTES_MAX + 1).unwrap();
        let sources = Sources { carriers: vec![folder.0.clone()], ..Sources::default() };
        let error = sources.gather(|_| ()).unwrap_err().to_string();
        assert!(error.contains("cmcc.txt: has 67108865 bytes; allowed are 67108864"), "{error}");
    }
}
