//! Follows `control.file`: a changed file counts as soon as it is noticed, a broken one never.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::io::shutdown::Shutdown;

use super::State;
use crate::control::audit::Note;
use crate::control::revisions::Author;
use crate::control::wanted::Wanted;
use crate::control::{Control, Fault, Part};
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
    seen: Option<Result<Vec<u8>, String>>,
}

/// What a file says.
pub(super) struct Said {
    parts: Vec<Part>,
    control: Control,
    note: String,
}

impl Followed {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, parts: Vec::new(), error: None, seen: None }
    }

    /// What the file says, if it differs from what was read before.
    pub(super) fn handle_read(
        &mut self,
        read: Result<Vec<u8>, String>,
    ) -> Option<Result<Said, String>> {
        if self.seen.as_ref() == Some(&read) {
            return None;
        }
        self.seen = Some(read.clone());
        let said = read.and_then(|bytes| said(&bytes));
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
    let told = |faults: Vec<Fault>| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        lines.join("; ")
    };
    let mut wanted = Wanted::from_toml(text).map_err(told)?;
    let note = wanted.note.take().unwrap_or_default();
    Ok(Said { parts: wanted.parts(), control: wanted.control().map_err(told)?, note })
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
        let path = match &self.state.lock().await.file {
            Some(file) => file.path.clone(),
            None => return,
        };
        let looked = path.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || read(&looked)).await else { return };
        let mut state = self.state.lock().await;
        let said = state.file.as_mut().and_then(|file| file.handle_read(read));
        let from = path.display().to_string();
        let author = Author { who: FILE.to_owned(), from: from.clone() };
        let now = crate::io::now();
        match said {
            None => {}
            Some(Ok(said)) => {
                self.metrics.file_broken(false);
                tracing::info!(path = from, "control.file was read");
                let control = said.over(&state.revisions.current().control);
                let enforced =
                    self.enforce(&mut state, &desk.site, control, author, said.note, now);
                // Told in the log, and nobody waits for an answer.
                let _ = enforced.await;
            }
            Some(Err(error)) => {
                self.metrics.file_broken(true);
                tracing::error!(
                    path = from,
                    error,
                    "refused control.file: what it said before stays"
                );
                let note = Note {
                    who: FILE.to_owned(),
                    from,
                    action: "change",
                    detail: vec![error],
                    ..Note::default()
                };
                drop(state);
                self.note(note, now).await;
            }
        }
    }
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

/// Reads the file for the first time.
pub(super) fn first(state: &mut State, is_kept: bool, now: SystemTime) -> Result<(), FileError> {
    let Some(file) = &mut state.file else { return Ok(()) };
    let read = read(&file.path);
    let author = Author { who: FILE.to_owned(), from: file.path.display().to_string() };
    match file.handle_read(read) {
        Some(Ok(said)) => {
            let control = said.over(&state.revisions.current().control);
            state.revisions.change(control, author, said.note, now);
            Ok(())
        }
        Some(Err(problem)) if !is_kept => Err(FileError { path: file.path.clone(), problem }),
        Some(Err(error)) => {
            tracing::error!(path = author.from, error, "refused control.file: what was kept stays");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Who changes what the file says.
const FILE: &str = "file";
/// Largest file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
