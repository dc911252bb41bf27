//! Keeps one service running as a process: starts it, passes on what it prints, starts it again when
//! it dies, ends it when asked. One that refuses its configuration would do so again, and is left.
//!
//! Invariant: a process that was started here ends with this one. Its standard input is a pipe that
//! the kernel closes at the latest when we end, and the service takes that as its end.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use shared::config::cli::EXIT_CONFIGURATION;
use shared::io::shutdown::Shutdown;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::io::http::Http;
use crate::io::output::{chain, note};
use crate::up::{Pauses, Service};

/// What happened to a service.
#[derive(Debug)]
pub(super) enum News {
    /// It was started as this process.
    Started(u32),
    /// Its admin listener says that it is ready.
    Ready,
    /// It is not ready, for this reason.
    Waiting(String),
    /// It could not be started.
    NotStarted(io::Error),
    /// It ended without being asked, and stays down for so long.
    Died(ExitStatus, Duration),
    /// It refuses its configuration, with these words, and is not started again.
    Misconfigured(Vec<String>),
}

/// The owner of a service's process.
pub(super) struct Keeper {
    pub(super) number: usize,
    pub(super) service: Service,
    /// In front of each line that it prints.
    pub(super) prefix: String,
    pub(super) http: Http,
    pub(super) news: mpsc::UnboundedSender<(usize, News)>,
}

impl Keeper {
    /// Keeps the service running until `stop`.
    pub(super) async fn run(self, stop: Shutdown) {
        let mut pauses = Pauses::default();
        while !stop.is_triggered() {
            let started = Instant::now();
            let mut child = match self.start() {
                Ok(child) => child,
                Err(error) => return self.tell(News::NotStarted(error)),
            };
            // Waiting for a process would close the pipe that it is still to live by.
            let lifeline = child.stdin.take();
            if let Some(process) = child.id() {
                self.tell(News::Started(process));
            }
            let mut printing = self.pass_on(&mut child);
            let died = tokio::select! {
                died = child.wait() => Some(died),
                () = stop.triggered() => None,
                never = self.watch_readiness() => match never {},
            };
            let Some(died) = died else {
                drop(lifeline);
                self.end(child).await;
                drain(&mut printing).await;
                return;
            };
            let last_lines = drain(&mut printing).await;
            match died {
                Ok(status) if status.code() == Some(EXIT_CONFIGURATION.into()) => {
                    return self.tell(News::Misconfigured(last_lines));
                }
                Ok(status) => {
                    let pause = pauses.handle_death(started.elapsed());
                    self.tell(News::Died(status, pause));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.triggered() => {}
                    }
                }
                Err(error) => return self.tell(News::NotStarted(error)),
            }
        }
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(program()?)
            .arg0(OsStr::new("linecast"))
            .args(&self.service.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal reaches a whole group; the services are to end in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Waits for a process that was asked to end, and makes it end if it does not.
    async fn end(&self, mut child: Child) {
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            note(&format!("{} does not end and is killed", self.service.name));
            if let Err(error) = child.kill().await {
                note(&format!("{} cannot be killed: {error}", self.service.name));
            }
        }
    }

    fn pass_on(&self, child: &mut Child) -> JoinSet<VecDeque<String>> {
        let mut printing = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            printing.spawn(print(self.prefix.clone(), out));
        }
        if let Some(out) = child.stderr.take() {
            printing.spawn(print(self.prefix.clone(), out));
        }
        printing
    }

    /// Asks the process whether it is ready until it is; then there is nothing more to watch.
    async fn watch_readiness(&self) -> std::convert::Infallible {
        let url = format!("http://127.0.0.1:{}/readyz", self.service.admin);
        loop {
            match self.http.get(&url).await {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => {
                    let reason = answer.json().and_then(|mut said| match said["reason"].take() {
                        serde_json::Value::String(reason) => Some(reason),
                        _ => None,
                    });
                    self.tell(News::Waiting(reason.unwrap_or_else(|| answer.first_line())));
                }
                Err(error) => self.tell(News::Waiting(chain(&error))),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        self.tell(News::Ready);
        std::future::pending().await
    }

    fn tell(&self, news: News) {
        // Nobody listens any more once the network ends.
        let _ = self.news.send((self.number, news));
    }
}

/// Ourselves. The kernel's own link still works when the file was replaced by a newer build, but
/// shows up as `exe` in lists of processes.
fn program() -> io::Result<PathBuf> {
    let named = std::env::current_exe()?;
    Ok(if named.exists() { named } else { PathBuf::from("/proc/self/exe") })
}

/// Prints everything from `out`, line by line, a long line in pieces; answers the last lines.
async fn print(prefix: String, out: impl AsyncRead + Unpin) -> VecDeque<String> {
    let mut out = BufReader::new(out);
    let mut line = Vec::new();
    let mut last_lines = VecDeque::new();
    loop {
        line.clear();
        match (&mut out).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return last_lines,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                note(&format!("{prefix}{line}"));
                if last_lines.len() == LAST_LINES_MAX {
                    last_lines.pop_front();
                }
                last_lines.push_back(line);
            }
        }
    }
}

/// Lets the last lines of a process that has ended be printed, and answers them.
async fn drain(printing: &mut JoinSet<VecDeque<String>>) -> Vec<String> {
    let mut last_lines = Vec::new();
    let all = async {
        while let Some(printed) = printing.join_next().await {
            last_lines.extend(printed.unwrap_or_default());
        }
    };
    // A process that was started by the service may hold its output open for ever.
    let _ = tokio::time::timeout(LAST_LINES_WITHIN, all).await;
    printing.abort_all();
    last_lines
}

/// How long a service may take to end. Longer than the services' own graces.
const GRACE: Duration = Duration::from_secs(12);

const ASK_AGAIN: Duration = Duration::from_millis(50);
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);
const LINE_BYTES_MAX: u64 = 64 << 10;
/// More than a configuration has faults as a rule.
const LAST_LINES_MAX: usize = 20;
