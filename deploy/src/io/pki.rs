//! A folder of certificates: made on purpose by `linecast pki`, kept fresh by `linecast up`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use shared::io::tls::{ClientFacing, NodeFiles, NodeName, Nodes};

use super::files::{FileError, Readers, make_folder, read, write};
use crate::pki::{
    AUTHORITY_DAYS, Authority, DAY, Described, LEAF_DAYS, Pair, PkiError, Validity, What,
    facing_clients,
};

/// Why a folder of certificates could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file could not be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate could not be made.
    #[error("cannot make {what}")]
    Make {
        /// What for.
        what: String,
        /// Why.
        source: PkiError,
    },
    /// The authority cannot be used.
    #[error("cannot use the authority {}", path.display())]
    Authority {
        /// Its certificate.
        path: PathBuf,
        /// Why.
        source: PkiError,
    },
    /// There is no authority yet.
    #[error("there is no {}; `linecast pki init` makes it", .0.display())]
    NoAuthority(PathBuf),
}

/// A certificate's two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// One line of what is in a folder.
#[derive(Debug)]
pub struct Shown {
    /// The file's name.
    pub file: String,
    /// What it says, or what is wrong with it.
    pub described: Result<Described, String>,
    /// What is wrong with a certificate that can be read.
    pub warnings: Vec<String>,
}

/// A folder of certificates.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`; it may not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where the authority is.
    pub fn authority(&self) -> PairFiles {
        self.pair("ca")
    }

    /// Where a node's certificate is.
    pub fn node(&self, node: &NodeName) -> PairFiles {
        self.pair(&format!("{}-{}", node.role, node.name))
    }

    /// Where the certificate that faces clients is.
    pub fn facing(&self) -> PairFiles {
        self.pair("clients")
    }

    /// Everything a node needs to be itself and to know the others.
    pub fn node_files(&self, node: &NodeName) -> NodeFiles {
        let PairFiles { certificate, key } = self.node(node);
        NodeFiles { ca: self.authority().certificate, certificate, key, revoked: None }
    }

    /// Makes an authority.
    pub fn make_authority(&self, days: Option<u32>, force: bool) -> Result<PairFiles, FolderError> {
        let made = Authority::create(AUTHORITY_NAME, validity(days.unwrap_or(AUTHORITY_DAYS)));
        self.put(self.authority(), made, "an authority", force)
    }

    /// Makes a node's certificate.
    pub fn make_node(
        &self,
        node: &NodeName,
        days: Option<u32>,
        force: bool,
    ) -> Result<PairFiles, FolderError> {
        let made = self.read_authority()?.node(node, validity(days.unwrap_or(LEAF_DAYS)));
        self.put(self.node(node), made, &node.to_string(), force)
    }

    /// Makes a certificate that faces clients.
    pub fn make_facing(
        &self,
        hosts: &[String],
        days: Option<u32>,
        force: bool,
    ) -> Result<PairFiles, FolderError> {
        let made = facing_clients(hosts, validity(days.unwrap_or(LEAF_DAYS)));
        self.put(self.facing(), made, "a certificate that faces clients", force)
    }

    /// Makes whatever of these is missing, broken or about to end. What is good stays as it is.
    pub fn keep(&self, nodes: &[NodeName], hosts: &[String]) -> Result<(), FolderError> {
        if !self.authority_is_good() {
            self.make_authority(None, true)?;
        }
        for node in nodes {
            if !self.node_is_good(node) {
                self.make_node(node, None, true)?;
            }
        }
        if !self.facing_is_good(hosts) {
            self.make_facing(hosts, None, true)?;
        }
        Ok(())
    }

    /// Every certificate in the folder, by file name.
    pub fn show(&self) -> Result<Vec<Shown>, FileError> {
        let unreadable = |source| FileError::Read { path: self.0.clone(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files.iter().map(|path| self.look(path)).collect())
    }

    fn pair(&self, stem: &str) -> PairFiles {
        let file = |extension: &str| self.0.join(format!("{stem}.{extension}"));
        PairFiles { certificate: file("pem"), key: file("key") }
    }

    fn put(
        &self,
        files: PairFiles,
        made: Result<Pair, PkiError>,
        what: &str,
        force: bool,
    ) -> Result<PairFiles, FolderError> {
        let pair = made.map_err(|source| FolderError::Make { what: what.to_owned(), source })?;
        if let Some(path) = [&files.key, &files.certificate].into_iter().find(|path| path.exists())
            && !force
        {
            return Err(FileError::Exists(path.clone()).into());
        }
        make_folder(&self.0)?;
        write(&files.key, pair.key.as_bytes(), Readers::Owner)?;
        write(&files.certificate, pair.certificate.as_bytes(), Readers::Everybody)?;
        Ok(files)
    }

    fn read_authority(&self) -> Result<Authority, FolderError> {
        let files = self.authority();
        if !files.certificate.exists() {
            return Err(FolderError::NoAuthority(files.certificate));
        }
        let pair = read_pair(&files)?;
        Authority::read(&pair)
            .map_err(|source| FolderError::Authority { path: files.certificate, source })
    }

    fn authority_is_good(&self) -> bool {
        let files = self.authority();
        let lasting = read(&files.certificate).is_ok_and(|pem| lasting(&pem).is_some());
        lasting && self.read_authority().is_ok()
    }

    fn node_is_good(&self, node: &NodeName) -> bool {
        let files = self.node_files(node);
        let Ok(pem) = read(&files.certificate) else { return false };
        let fresh = lasting(&pem).is_some_and(|what| what == What::Node(node.clone()));
        fresh && Nodes::load(&files).is_ok_and(|nodes| nodes.still_trusts(&chain(&pem)))
    }

    fn facing_is_good(&self, hosts: &[String]) -> bool {
        let files = self.facing();
        let Ok(pem) = read(&files.certificate) else { return false };
        let fresh = lasting(&pem).is_some_and(|what| what == What::Hosts(hosts.to_vec()));
        fresh && ClientFacing::load(&files.certificate, &files.key).is_ok()
    }

    fn look(&self, path: &Path) -> Shown {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pem = read(path).map_err(|error| error.to_string());
        let described = pem
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|pem| Described::read(pem).map_err(|error| error.to_string()));
        let mut warnings = Vec::new();
        if let (Ok(described), Ok(pem)) = (&described, &pem) {
            let left = days_left(described);
            if left < 0 {
                warnings.push("has ended".to_owned());
            } else if left < RENEW_DAYS {
                warnings.push(format!("ends in {left} days"));
            }
            let key = path.with_extension("key");
            match &described.what {
                What::Node(_) => {
                    let ca = self.authority().certificate;
                    let certificate = path.to_owned();
                    let files = NodeFiles { ca, certificate, key: key.clone(), revoked: None };
                    match Nodes::load(&files) {
                        Ok(nodes) if nodes.still_trusts(&chain(pem)) => {}
                        Ok(_) => warnings.push("is not trusted by ca.pem".to_owned()),
                        Err(error) => warnings.push(error.to_string()),
                    }
                }
                What::Authority | What::Hosts(_) if !key.exists() => {
                    warnings.push("its key is not here".to_owned());
                }
                What::Authority | What::Hosts(_) => {}
            }
            if others_may_read(&key) {
                warnings.push("others may read its key".to_owned());
            }
        }
        Shown { file, described, warnings }
    }
}

fn read_pair(files: &PairFiles) -> Result<Pair, FileError> {
    Ok(Pair { certificate: read(&files.certificate)?, key: read(&files.key)? })
}

fn validity(days: u32) -> Validity {
    Validity { now: SystemTime::now(), days }
}

/// What a certificate is for, if it still holds for a while.
fn lasting(pem: &str) -> Option<What> {
    let described = Described::read(pem).ok()?;
    (days_left(&described) >= RENEW_DAYS).then_some(described.what)
}

/// Whole days until a certificate ends; negative once it has.
fn days_left(described: &Described) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (described.not_after - now.as_secs() as i64).div_euclid(DAY.as_secs() as i64)
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

fn others_may_read(key: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// The common name of an authority.
const AUTHORITY_NAME: &str = "Linecast nodes";

/// A certificate with fewer days left is about to end.
const RENEW_DAYS: i64 = 30;

#[cfg(test)]
mod tests {
    use shared::io::tls::Role;

    use super::super::files::tests::Folder as Temporary;
    use super::*;

    fn edge() -> NodeName {
        NodeName::new(Role::Edge, "bj-telecom").unwrap()
    }

    fn hosts() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn nothing_is_replaced_without_force() {
        let temporary = Temporary::new();
        let folder = Folder::new(&temporary.0);
        let error = folder.make_node(&edge(), None, false).unwrap_err();
        assert!(error.to_string().contains("linecast pki init"), "{error}");
        folder.make_authority(None, false).unwrap();
        assert!(folder.make_authority(None, false).is_err());
        folder.make_authority(None, true).unwrap();
        let files = folder.make_node(&edge(), None, false).unwrap();
        let before = read(&files.certificate).unwrap();
        let error = folder.make_node(&edge(), None, false).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(read(&files.certificate).unwrap(), before);
    }

    #[test]
    fn what_is_good_is_kept_and_what_is_not_is_made_anew() {
        let temporary = Temporary::new();
        let folder = Folder::new(temporary.0.join("pki"));
        let keep = || {
            folder.keep(&[edge()], &hosts()).unwrap();
            let pairs = [folder.authority(), folder.node(&edge()), folder.facing()];
            pairs.map(|pair| (read(&pair.certificate).unwrap(), read(&pair.key).unwrap()))
        };
        let first = keep();
        assert_eq!(keep(), first);

        folder.make_node(&edge(), Some(10), true).unwrap();
        let second = keep();
        assert!(second[1] != first[1] && second[0] == first[0] && second[2] == first[2]);

        folder.make_authority(None, true).unwrap();
        let third = keep();
        assert!(third[1] != second[1], "a node of another authority is made anew");
        assert_eq!(third[2], second[2]);

        std::fs::remove_file(folder.facing().key).unwrap();
        let fourth = keep();
        assert!(fourth[2] != third[2] && fourth[1] == third[1]);
        folder.keep(&[edge()], &["another.example.com".to_owned()]).unwrap();
        assert_ne!(read(&folder.facing().certificate).unwrap(), fourth[2].0);
    }

    #[test]
    fn a_folder_is_shown_with_what_is_wrong_in_it() {
        let temporary = Temporary::new();
        let folder = Folder::new(&temporary.0);
        folder.keep(&[edge()], &hosts()).unwrap();
        assert!(folder.show().unwrap().iter().all(|shown| shown.warnings.is_empty()));

        folder.make_authority(None, true).unwrap();
        folder.make_facing(&hosts(), Some(3), true).unwrap();
        write(&temporary.0.join("broken.pem"), b"no PEM", Readers::Everybody).unwrap();
        let shown = folder.show().unwrap();
        let text: Vec<String> = shown
            .iter()
            .map(|shown| match &shown.described {
                Ok(described) => format!("{} {} {:?}", shown.file, described.what, shown.warnings),
                Err(error) => format!("{} {error}", shown.file),
            })
            .collect();
        assert_eq!(
            text,
            [
                "broken.pem this is no certificate in PEM",
                "ca.pem the nodes' authority []",
                "clients.pem faces clients as localhost, 127.0.0.1 [\"ends in 3 days\"]",
                "edge-bj-telecom.pem node edge.bj-telecom.linecast [\"is not trusted by ca.pem\"]",
            ]
        );
    }
}
