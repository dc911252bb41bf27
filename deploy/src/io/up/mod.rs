//! `linecast up`: a whole network on this machine, each service a process of its own, so that a
//! person can kill one and watch.

mod folder;
mod keeper;
mod taken;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::io::shutdown::Shutdown;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;

pub use self::folder::FolderError;
use self::folder::NetworkFolder;
use self::keeper::{Keeper, News};
pub use self::taken::Taken;
use self::taken::taken;
use super::http::{Http, HttpError};
use super::output::{note, say};
use crate::network::{self, Facts, Ports, WriteError};
use crate::up::{Leaves, Service, services};

/// Where a network keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// In this folder, for the next time.
    Kept(PathBuf),
    /// In a temporary folder.
    Ephemeral,
}

/// Why a network could not be run.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// Its folder cannot be used.
    #[error("cannot keep data")]
    Folder(#[from] FolderError),
    /// Ports that it needs are not free.
    #[error("{}", said(.0))]
    Taken(Vec<Taken>),
    /// Its files cannot be written.
    #[error("cannot write the network's files")]
    Write(#[from] WriteError),
    /// HTTP cannot be set up.
    #[error("cannot ask services whether they are ready")]
    Http(#[from] HttpError),
    /// A service could not be started.
    #[error("cannot start {name}")]
    Start {
        /// The service.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// A service ended before the network was up; it said why itself.
    #[error("{name} ended before it was ready ({status}); its last lines above say why")]
    EndedEarly {
        /// The service.
        name: String,
        /// How.
        status: std::process::ExitStatus,
    },
    /// A service refuses its configuration, and would again.
    #[error("{name} refuses its configuration{}", indented(.said))]
    Misconfigured {
        /// The service.
        name: String,
        /// Its own words.
        said: Vec<String>,
    },
    /// Services that never got ready.
    #[error("after {} s still waiting for {services}", READY_WITHIN.as_secs())]
    NeverReady {
        /// Which, and what each says.
        services: String,
    },
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

fn said(taken: &[Taken]) -> String {
    let count = taken.len();
    let mut text = format!(
        "{count} of the network's ports {} not free:",
        if count == 1 { "is" } else { "are" }
    );
    for taken in taken.iter().take(TAKEN_SHOWN) {
        text.push_str(&format!("\n  {taken}"));
    }
    if count > TAKEN_SHOWN {
        text.push_str(&format!("\n  … and {} more", count - TAKEN_SHOWN));
    }
    text.push_str("\n  Stop what holds them, or move the network with --base-port.");
    text
}

/// Runs a network until the shutdown.
pub async fn up(data: Data, ports: Ports, shutdown: Shutdown) -> Result<(), UpError> {
    let taken = taken(ports.listeners());
    if !taken.is_empty() {
        return Err(UpError::Taken(taken));
    }
    let folder = match &data {
        Data::Kept(path) => NetworkFolder::lasting(path)?,
        Data::Ephemeral => NetworkFolder::temporary(&std::env::temp_dir())?,
    };
    let files = network::write(folder.path(), &ports)?;
    let mut running = Running::start(services(&files, &ports), &Http::new(None)?);
    let ended = running.watch(&shutdown, |processes| {
        let kept = matches!(data, Data::Kept(_)).then(|| folder.path());
        let kept = kept.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        let facts =
            Facts { ports: &ports, processes, program: &how_to_call_us(), folder: kept.as_deref() };
        // Nobody has to read it for the network to be useful.
        let _ = say(&format!("\n{}\n", facts.summary()));
    });
    let ended = ended.await;
    note(if ended.is_ok() { "linecast: stopping" } else { "linecast: stopping what was started" });
    running.stop().await;
    ended
}

/// The network's processes.
struct Running {
    services: Vec<Service>,
    /// The process of each, 0 while there is none.
    processes: Vec<u32>,
    news: UnboundedReceiver<(usize, News)>,
    groups: Vec<(Shutdown, JoinSet<()>)>,
}

/// How far a service is.
#[derive(Clone)]
enum State {
    Waiting(String),
    Ready,
}

impl Running {
    fn start(services: Vec<Service>, http: &Http) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let width = services.iter().map(|service| service.name.len()).max().unwrap_or(0);
        let mut groups = Vec::new();
        for leaves in Leaves::ORDER {
            let (stop, mut keepers) = (Shutdown::new(), JoinSet::new());
            let members = services.iter().enumerate().filter(|(_, member)| member.leaves == leaves);
            for (number, service) in members {
                let keeper = Keeper {
                    number,
                    service: service.clone(),
                    prefix: prefix(number, &service.name, width),
                    http: http.clone(),
                    news: sender.clone(),
                };
                keepers.spawn(keeper.run(stop.clone()));
            }
            groups.push((stop, keepers));
        }
        Self { processes: vec![0; services.len()], services, news, groups }
    }

    /// Says what happens to the services until the shutdown; calls `when_up` once all are ready.
    async fn watch(
        &mut self,
        shutdown: &Shutdown,
        when_up: impl FnOnce(&[u32]),
    ) -> Result<(), UpError> {
        let mut when_up = Some(when_up);
        let mut states = vec![State::Waiting("being started".to_owned()); self.services.len()];
        let deadline = tokio::time::sleep(READY_WITHIN);
        let mut reminder = tokio::time::interval(REMIND_EVERY);
        reminder.reset();
        tokio::pin!(deadline);
        loop {
            let (number, news) = tokio::select! {
                () = shutdown.triggered() => return Ok(()),
                Some(news) = self.news.recv() => news,
                () = deadline.as_mut(), if when_up.is_some() => {
                    return Err(UpError::NeverReady { services: self.waiting(&states) });
                }
                _ = reminder.tick() => {
                    if when_up.is_some() {
                        note(&format!("linecast: waiting for {}", self.waiting(&states)));
                    }
                    continue;
                }
            };
            let name = &self.services[number].name;
            match news {
                News::Started(process) => self.processes[number] = process,
                News::Waiting(reason) => states[number] = State::Waiting(reason),
                News::Ready => {
                    states[number] = State::Ready;
                    let all = states.iter().all(|state| matches!(state, State::Ready));
                    match when_up.take_if(|_| all) {
                        Some(when_up) => when_up(&self.processes),
                        None if when_up.is_none() => {
                            let process = self.processes[number];
                            note(&format!("linecast: {name} is up again, as process {process}"));
                        }
                        None => {}
                    }
                }
                News::NotStarted(source) => {
                    return Err(UpError::Start { name: name.clone(), source });
                }
                News::Misconfigured(said) => {
                    return Err(UpError::Misconfigured { name: name.clone(), said });
                }
                News::Died(status, _) if when_up.is_some() => {
                    return Err(UpError::EndedEarly { name: name.clone(), status });
                }
                News::Died(status, pause) => {
                    states[number] = State::Waiting("being started again".to_owned());
                    let pause = pause.as_secs_f64();
                    note(&format!("linecast: {name} ended ({status}); again in {pause} s"));
                }
            }
        }
    }

    fn waiting(&self, states: &[State]) -> String {
        let waiting = self.services.iter().zip(states).filter_map(|(service, state)| match state {
            State::Waiting(reason) => Some(format!("{} ({reason})", service.name)),
            State::Ready => None,
        });
        waiting.collect::<Vec<_>>().join(", ")
    }

    /// Ends everything, in order.
    async fn stop(mut self) {
        for (stop, keepers) in &mut self.groups {
            stop.trigger();
            while keepers.join_next().await.is_some() {}
        }
    }
}

/// What stands in front of each line of a service; in a colour of its own where a person watches.
fn prefix(number: usize, name: &str, width: usize) -> String {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let plain = format!("{name:width$} | ");
    if !colours {
        return plain;
    }
    format!("\u{1b}[{}m{plain}\u{1b}[0m", COLOURS[number % COLOURS.len()])
}

/// How the reader can call this program: by its name if the shell finds it, or by its path from here.
fn how_to_call_us() -> String {
    let exe = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("linecast"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| exe.parent() == Some(&folder));
    let here = std::env::current_dir().unwrap_or_default();
    call(&exe, &here, found)
}

fn call(exe: &Path, here: &Path, found: bool) -> String {
    let name = Path::new(exe.file_name().unwrap_or_default());
    let shown = match exe.strip_prefix(here) {
        _ if found => name.to_owned(),
        // A shell takes a lone name for something on its path.
        Ok(relative) if relative == name => Path::new(".").join(name),
        Ok(relative) => relative.to_owned(),
        Err(_) => exe.to_owned(),
    };
    shown.display().to_string()
}

/// How long a network may take until it is up; a debug build on a busy machine takes a few seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);
const REMIND_EVERY: Duration = Duration::from_secs(10);

/// Another network alone takes all ports, and a few lines say that as well as all of them.
const TAKEN_SHOWN: usize = 6;

/// ANSI colours that are readable on dark and on light.
const COLOURS: [u8; 6] = [36, 35, 32, 33, 34, 31];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_as_the_shell_would_find_it() {
        let exe = Path::new("/home/me/linecast/target/release/linecast");
        let from = |here: &str| call(exe, Path::new(here), false);
        assert_eq!(from("/home/me/linecast"), "target/release/linecast");
        assert_eq!(from("/home/me/linecast/target/release"), "./linecast");
        assert_eq!(from("/tmp"), "/home/me/linecast/target/release/linecast");
        assert_eq!(call(exe, Path::new("/tmp"), true), "linecast");
    }
}
