//! Lists of networks, as they are published: one in CIDR notation on each line.
//!
//! A list that was cut off, or is something else altogether, would move thousands of clients without
//! a word. So every line must be what it is to be, and what is not is told with its file and line.
//!
//! Invariant: either all lines were understood, or a [`Fault`] names one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use csv::{ReaderBuilder, StringRecord, Trim};
use ipnet::IpNet;

use crate::region::Region;
use crate::span::Family;

/// Something that is wrong with an input, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1; `None` where it is the file as a whole.
    pub line: Option<u64>,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// Faults, in the order they were met; those behind the first [`FAULTS_MAX`] are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    told: Vec<Fault>,
    untold: usize,
}

impl Faults {
    /// Takes one in.
    pub fn push(&mut self, fault: Fault) {
        if self.told.len() < FAULTS_MAX {
            self.told.push(fault);
        } else {
            self.untold += 1;
        }
    }

    /// Takes in those of another input.
    pub fn append(&mut self, other: Self) {
        other.told.into_iter().for_each(|fault| self.push(fault));
        self.untold += other.untold;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// What was understood, if nothing was not.
    pub fn or<T>(self, understood: T) -> Result<T, Self> {
        if self.is_empty() { Ok(understood) } else { Err(self) }
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.told.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        if self.untold > 0 {
            write!(f, "\nand {} more", self.untold)?;
        }
        Ok(())
    }
}

/// Reads a list: a network or an address on each line, blank lines, and comments from `#` on. With
/// `only`, no other family is allowed. A list of nothing is a fault.
pub fn networks(file: &str, bytes: &[u8], only: Option<Family>) -> Result<Vec<IpNet>, Faults> {
    let mut faults = Faults::default();
    let mut networks = Vec::new();
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let parsed = match std::str::from_utf8(text) {
            Ok(text) => match text.split('#').next().unwrap_or_default().trim() {
                "" => continue,
                text => network(text, only),
            },
            Err(_) => Err("is no text (UTF-8)".to_owned()),
        };
        match parsed {
            Ok(network) => networks.push(network),
            Err(what) => faults.push(Fault { file: file.to_owned(), line: Some(line), what }),
        }
    }
    if networks.is_empty() && faults.is_empty() {
        let what = "lists nothing; allowed is one network on each line, such as 10.0.0.0/8";
        faults.push(Fault { file: file.to_owned(), line: None, what: what.to_owned() });
    }
    faults.or(networks)
}

/// Reads a network, or an address as a network of one; an error says what is allowed.
pub(crate) fn network(text: &str, only: Option<Family>) -> Result<IpNet, String> {
    let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => network,
        (_, Ok(address)) => IpNet::from(address),
        _ => {
            let text: String = text.chars().take(QUOTED_CHARS_MAX).collect();
            return Err(format!("{text:?} is no network; allowed is one such as 10.0.0.0/8"));
        }
    };
    if network != network.trunc() {
        let allowed = network.trunc();
        return Err(format!("{network} has bits behind its prefix; allowed is {allowed}"));
    }
    let (family, name) = match network {
        IpNet::V4(_) => (Family::V4, "IPv4"),
        IpNet::V6(_) => (Family::V6, "IPv6"),
    };
    if only.is_some_and(|only| only != family) {
        let allowed = if family == Family::V4 { "IPv6" } else { "IPv4" };
        return Err(format!("{network} is {name}; allowed in this file is {allowed}"));
    }
    Ok(network)
}

/// Names of regions by code, as a list of names tells them: `code,province,city`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    by_code: BTreeMap<String, String>,
}

impl Names {
    /// Reads the list. Every code must be one that a region can have.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut names = Self::default();
        for row in rows(file, bytes, &NAMES_COLUMNS, &mut faults) {
            let [code, province, city] = ["code", "province", "city"].map(|name| row.get(name));
            let name = if city.is_empty() { province } else { city };
            if let Err(what) = region_of_code(code) {
                faults.push(row.fault(what));
            } else if names.by_code.insert(code.to_owned(), name.to_owned()).is_some() {
                faults.push(row.fault(format!("{code} is named a second time")));
            }
        }
        faults.or(names)
    }

    /// The name of a code; `None` where it is not in the list.
    pub fn name(&self, code: &str) -> Option<&str> {
        self.by_code.get(code).map(String::as_str)
    }
}

/// The region of a six-digit code whose province is known.
pub fn region_of_code(code: &str) -> Result<Region, String> {
    Region::parse(code).filter(|region| region.division().is_some() && code.len() == 6).ok_or_else(
        || {
            format!(
                "{code:?} is no region; allowed are six-digit codes of divisions, such as 440100"
            )
        },
    )
}

/// A row of a table, with the names of its columns.
pub(crate) struct Row<'a> {
    file: &'a str,
    columns: StringRecord,
    fields: StringRecord,
    line: u64,
}

impl Row<'_> {
    /// A field; empty where the table does not have the column.
    pub(crate) fn get(&self, name: &str) -> &str {
        let at = self.columns.iter().position(|column| column == name);
        at.and_then(|at| self.fields.get(at)).unwrap_or_default()
    }

    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    pub(crate) fn fault(&self, what: String) -> Fault {
        Fault { file: self.file.to_owned(), line: Some(self.line()), what }
    }
}

/// The rows of a comma-separated table whose first line names columns among those allowed, the first
/// of which must be there. What cannot be read goes into `faults`.
pub(crate) fn rows<'a>(
    file: &'a str,
    bytes: &'a [u8],
    allowed: &[&str],
    faults: &mut Faults,
) -> Vec<Row<'a>> {
    let fault = |line, what| Fault { file: file.to_owned(), line: Some(line), what };
    let of_csv = |error: csv::Error| {
        let line = line_of(bytes, error.position());
        fault(
            line,
            match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    format!("has {len} fields; allowed are {expected_len}, as in the first line")
                }
                csv::ErrorKind::Utf8 { .. } => "is no text (UTF-8)".to_owned(),
                _ => format!("cannot be read: {error}"),
            },
        )
    };
    let mut reader = ReaderBuilder::new().comment(Some(b'#')).trim(Trim::All).from_reader(bytes);
    let columns = match reader.headers() {
        Ok(columns) => columns.clone(),
        Err(error) => {
            faults.push(of_csv(error));
            return Vec::new();
        }
    };
    let line = line_of(bytes, columns.position());
    for (at, column) in columns.iter().enumerate() {
        if !allowed.contains(&column) {
            let allowed = allowed.join(", ");
            faults.push(fault(line, format!("has a column {column:?}; allowed are {allowed}")));
        } else if columns.iter().take(at).any(|before| before == column) {
            faults.push(fault(line, format!("has the column {column:?} twice")));
        }
    }
    if let Some(needed) = allowed.first().filter(|needed| !columns.iter().any(|c| c == **needed)) {
        faults.push(fault(line, format!("has no column {needed:?}, which it needs")));
    }
    if !faults.is_empty() {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for fields in reader.records() {
        match fields {
            Ok(fields) => {
                let line = line_of(bytes, fields.position());
                rows.push(Row { file, columns: columns.clone(), fields, line });
            }
            Err(error) => faults.push(of_csv(error)),
        }
    }
    rows
}

/// The line of a row: its position is where the reader stood before it passed over comments and blank
/// lines.
fn line_of(bytes: &[u8], position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 1 };
    let rest = bytes.get(position.byte() as usize..).unwrap_or_default();
    let passed_over = |line: &&[u8]| matches!(line.first(), None | Some(b'#' | b'\r'));
    let passed = rest.split(|byte| *byte == b'\n').take_while(passed_over).count();
    position.line() + passed as u64
}

/// As many faults are told; whoever sees so many looks at the whole file.
pub const FAULTS_MAX: usize = 20;

/// As much of a line is repeated in a fault.
const QUOTED_CHARS_MAX: usize = 60;

/// What some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const NAMES_COLUMNS: [&str; 3] = ["code", "province", "city"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let networks = networks("x.txt", text.as_bytes(), None);
        networks
            .map(|networks| networks.iter().map(IpNet::to_string).collect())
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn lines_as_they_come() {
        let text =
            "\u{feff}1.2.3.0/24\r\n\n# all of it\n  10.0.0.0/8 # ours\n1.1.1.1\n2001:250::/30";
        let expected = ["1.2.3.0/24", "10.0.0.0/8", "1.1.1.1/32", "2001:250::/30"];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        assert_eq!(
            read("1.2.3.0/24\n10.0.0.1/8\n<html>\n").unwrap_err(),
            "x.txt:2: 10.0.0.1/8 has bits behind its prefix; allowed is 10.0.0.0/8\n\
             x.txt:3: \"<html>\" is no network; allowed is one such as 10.0.0.0/8"
        );
        assert!(read("# nothing\n").unwrap_err().starts_with("x.txt: lists nothing; allowed"));
        let many = read(&"x\n".repeat(50)).unwrap_err();
        assert_eq!((many.lines().count(), many.ends_with("\nand 30 more")), (21, true));
        let bytes = networks("x.txt", b"\xff\xfe1", None).unwrap_err().to_string();
        assert_eq!(bytes, "x.txt:1: is no text (UTF-8)");
        let six = networks("x6.txt", b"::/8\n1.2.3.4", Some(Family::V6)).unwrap_err().to_string();
        assert_eq!(six, "x6.txt:2: 1.2.3.4/32 is IPv4; allowed in this file is IPv6");
    }

    #[test]
    fn rows_know_their_lines() {
        for end in ["\n", "\r\n"] {
            let text =
                ["\u{feff}# a", "", "code", "440000", "", "# b", "", "110000", "x"].join(end);
            let mut faults = Faults::default();
            let rows = rows("n", text.as_bytes(), &["code"], &mut faults);
            let lines: Vec<u64> = rows.iter().map(Row::line).collect();
            assert_eq!((lines, faults.is_empty()), (vec![4, 8, 9], true), "{end:?}");
            let wrong = [text, "a,b".to_owned()].join(end);
            drop(super::rows("n", wrong.as_bytes(), &["code"], &mut faults));
            assert_eq!(
                faults.to_string(),
                "n:10: has 2 fields; allowed are 1, as in the first line"
            );
        }
    }

    #[test]
    fn names_by_code() {
        let names =
            Names::read("n", "code,province,city\n440000,广东省,\n440100,广东省,广州市".as_bytes());
        let names = names.unwrap();
        assert_eq!((names.name("440000"), names.name("440100")), (Some("广东省"), Some("广州市")));
        assert_eq!(names.name("440300"), None);
        let wrong = |text: &str| Names::read("n", text.as_bytes()).unwrap_err().to_string();
        assert!(
            wrong("code,province,city\n990000,x,\n").starts_with("n:2: \"990000\" is no region")
        );
        assert!(wrong("code,province,city\n440000,x\n").starts_with("n:2: has 2 fields"));
        assert!(wrong("code,name\n").starts_with("n:1: has a column \"name\"; allowed are code"));
        assert!(wrong("province,city\n").starts_with("n:1: has no column \"code\""));
        assert!(wrong("code\n440000\n440000\n").starts_with("n:3: 440000 is named a second time"));
    }
}
