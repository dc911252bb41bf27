//! Follows `control.file`: a changed file counts as soon as it is noticed, a broken one never.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::io::shutdown::Shutdown;

use super::State;
use super::changes::{Change, made};
use crate::control::audit::Note;
use crate::control::revisions::{Author, Kept};
use crate::control::wanted::Wanted;
use crate::control::{self, Control, Faults, Part};
use crate::io::Desk;

/// What is known of the file.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) path: PathBuf,
    /// What the file has, so that the API has it not.
    pub(super) parts: Vec<Part>,
    /// Why the file as it is now does not count.
    pub(super) error: Option<String>,
    /// What was read last.
    seen: Option<Arc<Result<Vec<u8>, String>>>,
}

/// What a file says.
pub(super) struct Said {
    parts: Vec<Part>,
    control: Control,
    note: String,
}

impl Followed {
    /// A file that is yet to be read; `parts`: what it had before.
    pub(super) fn new(path: PathBuf, parts: Vec<Part>) -> Self {
        Self { path, parts, error: None, seen: None }
    }

    /// What the file says, if it differs from what was read before.
    pub(super) fn handle_read(
        &mut self,
        read: Result<Vec<u8>, String>,
    ) -> Option<Result<Said, String>> {
        if self.seen.as_deref() == Some(&read) {
            return None;
        }
        let said = read.as_ref().map_err(String::clone).and_then(|bytes| said(bytes));
        self.seen = Some(Arc::new(read));
        match &said {
            Ok(said) => {
                self.parts.clone_from(&said.parts);
                self.error = None;
            }
            Err(error) => self.error = Some(error.clone()),
        }
        Some(said)
    }
}

impl Said {
    /// What is in force with what the file says.
    pub(super) fn over(&self, current: &Control) -> Control {
        current.with(&self.control, self.parts.iter().copied())
    }
}

fn said(bytes: &[u8]) -> Result<Said, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is no UTF-8".to_owned())?;
    let read = || {
        let mut wanted = Wanted::from_toml(text)?;
        let note = control::note(wanted.note.take().unwrap_or_default())?;
        Ok(Said { parts: wanted.parts(), control: wanted.control()?, note })
    };
    read().map_err(|faults: Faults| faults.to_string())
}

/// Reads a file of bounded size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => {
            Err(format!("has more than {FILE_BYTES_MAX} bytes"))
        }
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// Looks at the file every `period` until the shutdown.
pub(in crate::io) async fn watch(desk: Arc<Desk>, period: Duration, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            () = tokio::time::sleep(period) => {}
        }
        desk.control.look(&desk).await;
    }
}

impl super::Control {
    /// Looks whether the file says something else.
    async fn look(&self, desk: &Desk) {
        let path = match &self.state.load().file {
            Some(file) => file.path.clone(),
            None => return,
        };
        let looked = path.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || read(&looked)).await else { return };
        let _turn = self.turn.lock().await;
        let mut state = (**self.state.load()).clone();
        let said = state.file.as_mut().and_then(|file| file.handle_read(read));
        let now = crate::io::now();
        match said {
            None => {}
            Some(Ok(said)) => {
                self.metrics.file_broken(false);
                tracing::info!(path = %path.display(), "control.file was read");
                let control = said.over(&state.revisions.current().control);
                let change = Change { control, author: author(&path), note: said.note };
                // What could not be kept is told in the log, and nobody waits for an answer.
                let _ = self.enforce(state, &desk.site, change, now).await;
            }
            Some(Err(error)) => {
                self.metrics.file_broken(true);
                tracing::error!(
                    path = %path.display(),
                    error,
                    "refused control.file: what it said before stays"
                );
                self.state.store(Arc::new(state));
                self.note(refused(&path, error), now).await;
            }
        }
    }
}

fn author(path: &Path) -> Author {
    Author { who: FILE.to_owned(), from: path.display().to_string() }
}

/// What is written down of a file that does not count.
fn refused(path: &Path, error: String) -> Note {
    let Author { who, from } = author(path);
    Note { who, from, action: "change", detail: vec![error], ..Note::default() }
}

/// Why a file that is broken at the start ends it: nothing was kept that could be followed instead.
#[derive(Debug, thiserror::Error)]
#[error("control.file {path}: {problem}")]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Goes on with what was kept and reads the file for the first time; with what is to be written
/// down of it.
pub(super) fn first(
    kept: Option<Kept>,
    path: Option<PathBuf>,
    now: SystemTime,
) -> Result<(State, Option<Note>), FileError> {
    let is_kept = kept.is_some();
    let Kept { mut revisions, owned } = kept.unwrap_or_default();
    let Some(path) = path else { return Ok((State { revisions, file: None }, None)) };
    let mut file = Followed::new(path, owned);
    let note = match file.handle_read(read(&file.path)) {
        Some(Ok(said)) => {
            let control = said.over(&revisions.current().control);
            let is_new = revisions.change(control, author(&file.path), said.note, now);
            is_new.then(|| made(revisions.current()))
        }
        Some(Err(problem)) if !is_kept => return Err(FileError { path: file.path, problem }),
        Some(Err(error)) => {
            let path = file.path.display();
            tracing::error!(%path, error, "refused control.file: what was kept stays");
            Some(refused(&file.path, error))
        }
        None => None,
    };
    Ok((State { revisions, file: Some(file) }, note))
}

/// Who changes what the file says.
const FILE: &str = "file";
/// Largest file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
