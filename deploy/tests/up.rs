//! `linecast up` as a person meets it: a process that is watched, has its children killed, and is
//! stopped in every way there is.

#![allow(clippy::disallowed_methods, reason = "tests of processes keep time")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use deploy::network::{Ports, Transport};

/// A running `linecast up`, killed at the end of a test that fails.
struct Up {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Up {
    fn start(base: u16) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_linecast"))
            .args(["up", "--ephemeral", "--base-port", &base.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("linecast starts");
        let (sender, lines) = mpsc::channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("piped")),
            Box::new(child.stderr.take().expect("piped")),
        ];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// The next line that contains `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no line with {text:?} ({error}):\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Its temporary folder, while there is one.
    fn folder(&self) -> Option<PathBuf> {
        let ours = format!("linecast-up-{}-", self.child.id());
        let entries = std::fs::read_dir(std::env::temp_dir()).expect("a temporary folder");
        let mut named = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&ours));
        named.next().map(|entry| entry.path())
    }

    fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    /// Waits until it has ended.
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.seen.join("\n"));
            std::thread::sleep(ASK_AGAIN);
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, process: u32) {
    let script = format!("kill -{signal} {process}");
    let status = Command::new("sh").arg("-c").arg(script).status().expect("sh runs");
    assert!(status.success(), "kill -{signal} {process}: {status}");
}

/// What `linecast line` says of the network at `base`.
fn line_of(base: u16, arguments: &[&str]) -> String {
    let relay = format!("http://127.0.0.1:{}", base + 309);
    let asked = Command::new(env!("CARGO_BIN_EXE_linecast"))
        .args(arguments)
        .args(["--relay", &relay])
        .output()
        .expect("linecast starts");
    assert!(asked.status.success(), "{arguments:?}: {asked:?}");
    String::from_utf8_lossy(&asked.stdout).into_owned()
}

/// A base port from `from` on with room for a network. Tests begin at different ones, below the ports
/// of other tests and of outgoing connections.
fn base_port(from: u16) -> u16 {
    let first = std::process::id() % RANGES;
    (0..RANGES)
        .map(|turn| from + 350 * ((first + turn) % RANGES) as u16)
        .find(|base| all_free(*base))
        .expect("a free range of ports")
}

fn all_free(base: u16) -> bool {
    let ports = Ports::from_base(base).expect("in range");
    ports.listeners().iter().all(|listener| match listener.transport {
        Transport::Tcp => TcpListener::bind(listener.address).is_ok(),
        Transport::Udp => std::net::UdpSocket::bind(listener.address).is_ok(),
    })
}

fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(ASK_AGAIN);
    }
}

#[test]
fn a_network_starts_heals_and_stops() {
    let base = base_port(10_000);
    let mut up = Up::start(base);
    up.wait_for("Linecast is up.");
    let line = up.wait_for("kill -9 ");
    let edge: u32 = line.split_whitespace().nth(2).and_then(|id| id.parse().ok()).expect("an id");
    up.wait_for("Ctrl-C stops it.");

    assert!(line_of(base, &["line", "break", "bj-telecom"]).contains("  up    blackhole "));
    assert!(line_of(base, &["line"]).contains("  down  blackhole "));
    assert!(line_of(base, &["line", "heal", "bj-telecom/unicom"]).contains("  up    clean "));
    assert!(line_of(base, &["line", "heal", "bj-telecom"]).contains("  up    clean "));

    kill("KILL", edge);
    up.wait_for("edge-1 ended (signal: 9 (SIGKILL)); again in 0.25 s");
    up.wait_for("edge-1 is up again");

    let second = Command::new(env!("CARGO_BIN_EXE_linecast"))
        .args(["up", "--ephemeral", "--base-port", &base.to_string()])
        .output()
        .expect("linecast starts");
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    let taken = format!("127.0.0.1:{base}/tcp, wanted for the origin's API, is held by");
    assert!(said.contains(&taken), "{said}");

    assert!(up.folder().is_some());
    up.signal("TERM");
    assert_eq!(up.ended().code(), Some(0), "{}", up.seen.join("\n"));
    assert_eq!(up.folder(), None, "the temporary folder is still there");
    assert!(all_free(base), "a service is still there");
}

#[test]
fn services_end_with_the_network_however_it_ends() {
    let base = base_port(15_000);
    let mut up = Up::start(base);
    up.wait_for("Linecast is up.");
    up.signal("KILL");
    up.ended();
    wait_until("the services end", || all_free(base));
    // The next one would do it, a minute from now.
    std::fs::remove_dir_all(up.folder().expect("what it left")).expect("it can be removed");
}

#[test]
fn a_service_that_refuses_its_configuration_ends_the_network() {
    let mut up = Up::start(base_port(20_000));
    up.wait_for("Linecast is up.");
    let line = up.wait_for("kill -9 ");
    let edge: u32 = line.split_whitespace().nth(2).and_then(|id| id.parse().ok()).expect("an id");
    up.wait_for("Ctrl-C stops it.");

    let file = up.folder().expect("a folder").join("edge-1.toml");
    let good = std::fs::read_to_string(&file).expect("it can be read");
    std::fs::write(&file, format!("nonsense = 1\n{good}")).expect("it can be written");
    kill("KILL", edge);
    up.wait_for("linecast: edge-1 refuses its configuration");
    up.wait_for("  configuration: 1 fault");
    up.wait_for("nonsense");
    assert_eq!(up.ended().code(), Some(64), "{}", up.seen.join("\n"));
}

/// How many networks fit between the base ports of two tests.
const RANGES: u32 = 14;

const PATIENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(20);
