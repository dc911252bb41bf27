//! Client libraries that we did not write, run by the scenarios in `real-clients/`.
//!
//! A scenario is a Node program that prints JSON lines (`ready`, `progress`, `result`); here it is
//! started, waited for and read. Where Node or Chromium is missing, tests that need them say so and pass,
//! unless `LINECAST_REQUIRE_CLIENTS=1` asks for them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::wait::within_time;

/// A running scenario; killed when dropped.
#[derive(Debug)]
pub struct RealClient {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl RealClient {
    /// Starts `<scenario>.mjs` with the given options; what it says on stderr goes to a file in
    /// `logs`. With TLS it trusts the one in `certificate`.
    pub fn start(scenario: &str, options: &Value, logs: &Path, certificate: &Path) -> Result<Self> {
        let number = std::fs::read_dir(logs).map_or(0, Iterator::count);
        let log = logs.join(format!("{scenario}-{number}.log"));
        let log = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut child = Command::new("node")
            .arg(format!("{scenario}.mjs"))
            .arg(options.to_string())
            .current_dir(folder())
            .env("NODE_EXTRA_CA_CERTS", certificate)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start node {scenario}.mjs"))?;
        let stdout = child.stdout.take().context("stdout of the scenario")?;
        let name = format!("{scenario} {options}");
        Ok(Self { name, child, lines: BufReader::new(stdout).lines() })
    }

    /// Waits until the scenario is ready.
    pub async fn ready(&mut self) -> Result<Value> {
        self.event("ready").await
    }

    /// Waits for the next event of this kind. A result that comes first is an error that shows it.
    pub async fn event(&mut self, kind: &str) -> Result<Value> {
        self.until(kind, |event| event["event"] == kind).await
    }

    /// Waits until the scenario has received `count` messages.
    pub async fn received(&mut self, count: u64) -> Result<()> {
        let enough =
            |event: &Value| event["received"].as_u64().is_some_and(|received| received >= count);
        self.until("progress", enough).await.map(drop)
    }

    /// Waits for the scenario's end and returns its result; fails if the result is not `ok`.
    pub async fn result(mut self) -> Result<Value> {
        let result = self.until("result", |event| event["event"] == "result").await?;
        ensure!(result["ok"] == true, "{}: {result}", self.name);
        self.child.wait().await?;
        Ok(result)
    }

    async fn until(&mut self, what: &str, good: impl Fn(&Value) -> bool) -> Result<Value> {
        let name = self.name.clone();
        within_time(&format!("{what} of {name}"), SCENARIO_LIMIT, async {
            loop {
                let line = self.lines.next_line().await?.context("it ended without a word")?;
                let event: Value =
                    serde_json::from_str(&line).with_context(|| format!("printed {line:?}"))?;
                if good(&event) {
                    return Ok(event);
                }
                if event["event"] == "result" {
                    bail!("it ended first: {event}");
                }
            }
        })
        .await
    }
}

/// True if the scenarios can run: Node is there and the libraries are installed (which this does, once).
/// Otherwise says why not, or fails if the environment requires them.
pub fn installed() -> Result<bool> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| install().map_err(|error| format!("{error:#}")));
    available("the clients from npm", installed.as_ref().map_err(String::as_str).copied())
}

/// The Chromium to use, like [`installed`].
pub fn chromium() -> Result<Option<PathBuf>> {
    let found = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists());
    let there =
        available("a browser", found.as_ref().map(|_| ()).ok_or("no Chromium in /usr/bin"))?;
    Ok(found.filter(|_| there))
}

#[allow(clippy::print_stderr, reason = "the test runner shows it beside the test that is skipped")]
fn available(what: &str, there: Result<(), &str>) -> Result<bool> {
    match there {
        Ok(()) => Ok(true),
        Err(reason) if std::env::var_os(REQUIRE).is_some_and(|value| value == "1") => {
            bail!("{REQUIRE}=1 but {what}: {reason}")
        }
        Err(reason) => {
            eprintln!("skipped: {what}: {reason}");
            Ok(false)
        }
    }
}

/// Installs the libraries as the lock file names them, unless that was done since it last changed.
fn install() -> Result<()> {
    let lock = File::create(folder().join(".install.log")).context("create the lock file")?;
    lock.lock().context("wait for another installation")?;
    let changed = |name: &str| folder().join(name).metadata().and_then(|data| data.modified()).ok();
    let done = changed("node_modules/.package-lock.json");
    if done.is_some() && done >= changed("package-lock.json") {
        return Ok(());
    }
    let output = std::process::Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder())
        .output()
        .context("start npm")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "npm ci: {}: {said}", output.status);
    Ok(())
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/real-clients"))
}

const REQUIRE: &str = "LINECAST_REQUIRE_CLIENTS";

/// How long a scenario may take to say what it is waited for.
const SCENARIO_LIMIT: Duration = Duration::from_secs(120);
