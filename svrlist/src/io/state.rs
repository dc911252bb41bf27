//! What survives a restart, in files of one folder: what was learnt, the sites' accounts, the edges.
//!
//! A file is written whole under another name and then takes its place, so that a crash leaves the
//! old one or the new one. One that cannot be used is set aside under another name, with a warning,
//! and the svrlist begins anew with what it was for.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::io::shutdown::Shutdown;

use super::Desk;
use crate::accounts::Accounts;
use crate::known;
use crate::learning::Learning;

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct State {
    folder: PathBuf,
}

impl State {
    /// Makes the folder if there is none.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Goes on where the last svrlist of this folder stopped.
    pub(super) fn restore(&self, desk: &Desk, weights: &std::collections::BTreeMap<String, f64>) {
        let learning = self.read(LEARNING, |snapshot| Learning::restore(&snapshot));
        let accounts = self.read(BUDGETS, Accounts::restore);
        let edges = self.read(EDGES, |snapshot: known::Snapshot| snapshot.edges(weights));
        tracing::info!(
            folder = %self.folder.display(),
            learnt = learning.is_some(),
            accounts = accounts.is_some(),
            edges = edges.as_ref().map_or(0, Vec::len),
            "state is restored"
        );
        desk.site.restore(learning, accounts);
        let mut registry = desk.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = registry.restore(edges.unwrap_or_default(), Instant::now()) {
            desk.metrics.listed(&list);
            desk.site.set_list(list);
        }
    }

    /// Writes everything every [`WRITE_EVERY`], and once more at the end.
    pub(super) async fn keep(self, desk: Arc<Desk>, shutdown: Shutdown) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.triggered() => {}
                () = tokio::time::sleep(WRITE_EVERY) => {}
            }
            let (state, of) = (self.clone(), Arc::clone(&desk));
            let written = match tokio::task::spawn_blocking(move || state.save(&of)).await {
                Ok(written) => written,
                Err(error) => Err(io::Error::other(error)),
            };
            desk.metrics.saved(written.is_ok());
            match written {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    let folder = self.folder.display();
                    tracing::warn!(%folder, %error, "cannot write state: a restart would lose it");
                }
                Err(_) => {}
            }
            if shutdown.is_triggered() {
                return;
            }
        }
    }

    fn save(&self, desk: &Desk) -> io::Result<()> {
        let (learning, accounts) = desk.site.snapshots();
        self.write(LEARNING, &learning)?;
        self.write(BUDGETS, &accounts)?;
        let list = desk.site.list();
        // Who knows no edge yet keeps what was known before.
        if list.edges.is_empty() { Ok(()) } else { self.write(EDGES, &known::Snapshot::of(&list)) }
    }

    fn write(&self, name: &str, content: &impl Serialize) -> io::Result<()> {
        let (path, temporary) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(content)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// What a file says, as far as there is one and `make` can use it.
    fn read<S: DeserializeOwned, T, E: std::error::Error>(
        &self,
        name: &str,
        make: impl FnOnce(S) -> Result<T, E>,
    ) -> Option<T> {
        let path = self.folder.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.set_aside(&path, &error.to_string());
                return None;
            }
        };
        let made = match serde_json::from_slice(&bytes) {
            Ok(snapshot) => make(snapshot).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        made.map_err(|error| self.set_aside(&path, &error)).ok()
    }

    fn set_aside(&self, path: &Path, error: &str) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".damaged-{seconds}"));
        let moved = fs::rename(path, &aside);
        let (file, aside, moved) = (path.display(), Path::new(&aside).display(), moved.is_ok());
        tracing::warn!(%file, error, %aside, moved, "state cannot be used: it is set aside");
    }
}

const LEARNING: &str = "learning.json";
const BUDGETS: &str = "budgets.json";
const EDGES: &str = "edges.json";

/// How often state is written: what a crash costs at most.
const WRITE_EVERY: Duration = Duration::from_secs(30);
