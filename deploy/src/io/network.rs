//! Writes a network's files into a folder, and keeps what is good in it.

use std::path::{Path, PathBuf};

use super::files::{FileError, Readers, make_folder, write as write_file};
use super::pki::FolderError;
use crate::network::{Layout, Ports, edge_file, origin_file, relay_file, svrlist_file};

/// The configuration files of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The origin's.
    pub origin: PathBuf,
    /// svrlist's.
    pub svrlist: PathBuf,
    /// The edges'.
    pub edges: Vec<PathBuf>,
    /// The relay's, if there is one.
    pub relay: Option<PathBuf>,
}

/// Why a network's files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file or folder could not be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificates could not be made.
    #[error("cannot make the network's certificates")]
    Certificates(#[from] FolderError),
    /// The folder's name cannot stand in a configuration file.
    #[error("the folder {} has a name that is not UTF-8", .0.display())]
    Name(PathBuf),
}

/// Makes `folder` hold everything that a network on these ports needs: configuration, certificates,
/// place database. Certificates that are there and good stay, and so do the origin's logs.
pub fn write(folder: &Path, ports: &Ports) -> Result<Files, WriteError> {
    make_folder(folder)?;
    let folder = folder
        .canonicalize()
        .map_err(|source| FileError::Folder { path: folder.to_owned(), source })?;
    if folder.to_str().is_none() {
        return Err(WriteError::Name(folder));
    }
    let layout = Layout::new(&folder, ports);
    let hosts = CLIENT_HOSTS.map(str::to_owned);
    layout.pki().keep(layout.nodes(), &hosts)?;
    write_file(&layout.places(), &geo_data::demo::database(), Readers::Everybody)?;
    let config = |service: &str, text: String| {
        let path = layout.config(service);
        // They hold secrets, if only those of a demo.
        write_file(&path, text.as_bytes(), Readers::Owner).map(|()| path)
    };
    let edge = |at: usize| config(&format!("edge-{}", at + 1), edge_file(&layout, at));
    Ok(Files {
        origin: config("origin", origin_file(&layout))?,
        svrlist: config("svrlist", svrlist_file(&layout))?,
        edges: (0..ports.edges.len()).map(edge).collect::<Result<_, _>>()?,
        relay: match &ports.relay {
            Some(ports) => Some(config("relay", relay_file(&layout, ports))?),
            None => None,
        },
    })
}

/// Whom the certificate that faces clients names.
const CLIENT_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

#[cfg(test)]
mod tests {
    use shared::config::{Configure, Faults, Layers, resolve};

    use super::super::files::read;
    use super::super::files::tests::Folder;
    use super::*;

    fn check<C: Configure>(path: &Path, prefix: &str) -> Result<(), Faults> {
        let layers = Layers::new(prefix).with_file("test.toml", &read(path).unwrap());
        resolve::<C>(layers, |path| std::fs::read_to_string(path)).map(drop)
    }

    #[test]
    fn services_accept_what_is_written() {
        let folder = Folder::new();
        let files = write(&folder.0.join("a \"quoted\" name"), &Ports::default()).unwrap();
        check::<origin::config::Config>(&files.origin, "LINECAST_ORIGIN").unwrap();
        check::<svrlist::config::Config>(&files.svrlist, "LINECAST_SVRLIST").unwrap();
        assert_eq!(files.edges.len(), 3);
        for edge in &files.edges {
            check::<edge::config::Config>(edge, "LINECAST_EDGE").unwrap();
        }
        check::<crate::relay::Config>(&files.relay.unwrap(), crate::relay::PREFIX).unwrap();
    }

    #[test]
    fn writing_again_changes_nothing_that_is_good() {
        let folder = Folder::new();
        let all = || {
            let files = write(&folder.0, &Ports::default()).unwrap();
            let pki = folder.0.join("pki");
            let mut contents: Vec<_> = std::fs::read_dir(pki)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| (path.clone(), std::fs::read(path).unwrap()))
                .collect();
            contents.sort();
            (files.clone(), contents, read(&files.edges[1]).unwrap())
        };
        let first = all();
        assert_eq!(first.1.len(), 14, "the authority, five nodes, one that faces clients");
        assert_eq!(all(), first);
    }
}
