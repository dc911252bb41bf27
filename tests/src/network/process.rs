//! One process of the product: started, waited for, killed and started again.
//!
//! Invariant: a process that was started is gone when its `Process` is (and, where it watches its
//! standard input, when the test's process is), and what it printed is in its log file.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::http::Http;
use crate::wait::{PATIENCE, within};

/// How to start the product: a program and the arguments that come before its own.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

/// One process, running or not.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: Program,
    arguments: Vec<String>,
    log: PathBuf,
    ready: String,
    child: Option<Child>,
}

impl Drop for Process {
    /// Kills it and waits until it is gone, at most [`GONE_WITHIN`], so that it neither writes where its
    /// folder is being removed nor stays behind as a zombie.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Both fail if it is gone.
        let _ = child.start_kill();
        let start = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && start.elapsed() < GONE_WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Program {
    /// The program at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), arguments: Vec::new() }
    }

    /// The same with an argument in front of the others.
    pub fn with(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }
}

impl Process {
    /// A process that is not started yet. `ready` is the URL that answers 200 once it is ready.
    pub fn new(
        name: &str,
        program: Program,
        arguments: Vec<String>,
        log: PathBuf,
        ready: String,
    ) -> Self {
        Self { name: name.to_owned(), program, arguments, log, ready, child: None }
    }

    /// Starts it; its output is appended to the log.
    pub fn start(&mut self) -> Result<()> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.log);
        let log = || open().with_context(|| format!("open {}", self.log.display()));
        let child = Command::new(&self.program.path)
            .args(&self.program.arguments)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(log()?)
            .stderr(log()?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it says that it is ready; fails at once if it ends.
    pub async fn ready(&mut self) -> Result<()> {
        let (http, start) = (Http::new(), Instant::now());
        let child = self.child.as_mut().with_context(|| format!("{} is not started", self.name))?;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended before it was ready: {status}", self.name);
            }
            let answer = http.get(&self.ready).await;
            match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                answer if start.elapsed() > PATIENCE => {
                    bail!("{} is not ready after {PATIENCE:?}: {answer:?}", self.name)
                }
                _ => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Kills it without warning (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        let child = self.child.as_mut().with_context(|| format!("{} is not started", self.name))?;
        child.kill().await.with_context(|| format!("kill {}", self.name))?;
        self.child = None;
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().with_context(|| format!("{} is not started", self.name))?;
        let id = child.id().with_context(|| format!("{} has ended", self.name))?;
        // Waiting closes standard input, and its end stops a service too: it is the signal's turn.
        let _stdin = child.stdin.take();
        let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {id}")).status().await?;
        anyhow::ensure!(asked.success(), "kill -TERM {id}: {asked}");
        let what = format!("{} stops", self.name);
        let status = within(&what, async { Ok(child.wait().await?) }).await?;
        self.child = None;
        Ok(status)
    }

    /// The process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Fails if it has ended by itself.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => Ok(()),
            other => bail!("{} does not run: {other:?}", self.name),
        }
    }
}

const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The kernel needs milliseconds for a process that was killed.
const GONE_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Process, PathBuf) {
        let log = crate::network::new_folder().with_extension("log");
        let program = Program::new("sh").with("-c");
        let nobody = "http://127.0.0.1:9/readyz".to_owned();
        (Process::new("a script", program, vec![script.to_owned()], log.clone(), nobody), log)
    }

    #[tokio::test]
    async fn a_process_that_ends_is_not_waited_for() {
        let (mut process, log) = shell("echo a taken port >&2; exit 3");
        process.start().expect("sh starts");
        let error = process.ready().await.expect_err("it ended");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert_eq!(std::fs::read_to_string(&log).expect("a log"), "a taken port\n");
        std::fs::remove_file(log).expect("remove the log");
    }

    #[tokio::test]
    async fn a_process_is_gone_when_it_is_dropped() {
        let (mut process, log) = shell("while :; do sleep 0.01; done");
        process.start().expect("sh starts");
        let id = process.id().expect("it runs");
        drop(process);
        assert!(!std::fs::exists(format!("/proc/{id}")).expect("/proc"), "not even a zombie");
        std::fs::remove_file(log).expect("remove the log");
    }

    #[tokio::test]
    async fn stopping_is_asking_and_killing_is_not() {
        let (mut process, log) = shell("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done");
        let up = async || Ok(std::fs::read_to_string(&log).unwrap_or_default());
        process.start().expect("sh starts");
        crate::wait::until("the trap", up, |text| text == "up\n").await.expect("it is up");
        assert!(process.stop().await.expect("it stops").success());
        process.start().expect("sh starts again");
        process.alive().expect("it runs");
        process.kill().await.expect("it is killed");
        process.alive().expect_err("it is gone");
        std::fs::remove_file(log).expect("remove the log");
    }
}
