//! The configuration of a relay: which lines it carries, and how good they are at first.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use shared::config::{Configure, Reader};
use shared::io::admin::default_address;
use shared::io::telemetry::LogConfig;

use super::line::Both;
use super::settings::{Patch, Preset, Settings};

/// The environment variables of a relay start so.
pub const PREFIX: &str = "LINECAST_RELAY";

/// Everything a relay is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where operators look and change lines.
    pub admin: SocketAddr,
    /// The lines.
    pub lines: Vec<LineConfig>,
    /// Addresses that call over one line at once.
    pub clients_max: usize,
    /// How long a silent one is remembered.
    pub client_idle: Duration,
    /// Decides the luck of all lines.
    pub seed: Option<u64>,
    /// Log lines.
    pub log: LogConfig,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct LineConfig {
    /// What it is called: `edge`, or `edge/carrier`.
    pub name: String,
    /// Where it is called.
    pub listen: SocketAddr,
    /// Where it leads.
    pub target: SocketAddr,
    /// What it is like when nothing is wrong with it.
    pub own: Both<Settings>,
    /// What is wrong with it at first.
    pub preset: Preset,
}

impl LineConfig {
    /// How good it is at first.
    pub fn settings(&self) -> Both<Settings> {
        self.own.map(|own| self.preset.over(own))
    }
}

impl Configure for Config {
    fn read(reader: &mut Reader) -> Self {
        Self {
            admin: reader.value(
                "admin",
                default_address(7709),
                "Where operators read /lines, /healthz and /readyz, and change lines; it asks for no \
                 key, so keep it private.",
            ),
            lines: read_lines(reader),
            clients_max: reader.ranged(
                "clients_max",
                64,
                1..=1024,
                "Addresses that call over one line at once; the longest silent one makes room.",
            ),
            client_idle: reader.ranged(
                "client_idle",
                Duration::from_secs(60),
                Duration::from_secs(1)..=Duration::from_secs(3600),
                "How long an address that sends nothing is still answered.",
            ),
            seed: reader.optional(
                "seed",
                "Decides which datagrams are lost and how late they are; without it, chance does.",
            ),
            log: LogConfig::read(reader),
        }
    }
}

fn read_lines(reader: &mut Reader) -> Vec<LineConfig> {
    let tables = reader.names("line");
    if tables.is_empty() {
        reader.fault("line", "there must be a table [line.NAME] for at least one line");
    }
    let mut taken = BTreeSet::new();
    let mut lines = Vec::new();
    for table in tables {
        let key = |name: &str| format!("line.{table}.{name}");
        let example = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let line = LineConfig {
            listen: reader.required(&key("listen"), example(7711), "Where it is called (UDP)."),
            target: reader.required(&key("target"), example(7401), "Where it leads (UDP)."),
            name: reader
                .optional(&key("name"), "What it is called instead of NAME: EDGE or EDGE/CARRIER.")
                .unwrap_or_else(|| table.clone()),
            own: Both {
                up: Patch::read(reader, &key("up.")).over(Settings::default()),
                down: Patch::read(reader, &key("down.")).over(Settings::default()),
            },
            preset: reader.value(
                &key("preset"),
                Preset::Clean,
                "What is wrong with it at first, until it is healed.",
            ),
        };
        if !is_name(&line.name) {
            reader.fault(&key("name"), format_args!("must be {NAME_ALLOWED}"));
        } else if !taken.insert(line.name.clone()) {
            reader.fault(&key("name"), "is the name of another line");
        }
        lines.push(line);
    }
    lines
}

/// Whether a line can be called so, in a table as in a URL.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let part = |part: &str| !part.is_empty() && part.chars().all(plain);
    match name.split_once('/') {
        // The API's word for healing stands there.
        Some((edge, carrier)) => part(edge) && part(carrier) && carrier != "heal",
        None => part(name),
    }
}

const NAME_ALLOWED: &str =
    "a name of letters, digits, - and _, or two with a slash, the second not heal";

#[cfg(test)]
mod tests {
    use shared::config::{Faults, Layers, resolve};

    use super::*;

    fn config(text: &str) -> Result<Config, Faults> {
        resolve(Layers::new(PREFIX).with_file("test.toml", text), |path| {
            std::fs::read_to_string(path)
        })
    }

    #[test]
    fn a_line_is_perfect_unless_said() {
        let config = config(
            r#"
            [line.bj-telecom]
            listen = "127.0.0.1:7711"
            target = "127.0.0.1:7401"
            "#,
        )
        .unwrap();
        assert_eq!(config.admin.port(), 7709);
        assert_eq!(config.lines.len(), 1);
        let line = &config.lines[0];
        assert_eq!(line.name, "bj-telecom");
        assert_eq!(line.settings(), Both::default());
    }

    #[test]
    fn a_line_may_have_a_carrier_and_faults() {
        let config = config(
            r#"
            [line.bj-2]
            name = "bj/telecom"
            listen = "127.0.0.1:7712"
            target = "127.0.0.1:7401"
            preset = "loss5"
            up.delay = "20ms"
            down = { delay = "30ms", bits_per_second = 20_000_000 }
            "#,
        )
        .unwrap();
        let line = &config.lines[0];
        assert_eq!(line.name, "bj/telecom");
        assert_eq!(line.own.up.delay, Duration::from_millis(20));
        assert_eq!(line.own.down.bits_per_second, 20_000_000);
        assert_eq!((line.own.up.loss, line.settings().up.loss), (0.0, 0.05));
    }

    #[test]
    fn faults_are_named_together() {
        let faults = config(
            r#"
            [line.a]
            listen = "127.0.0.1:7711"
            target = "127.0.0.1:7401"
            name = "a/heal"
            up.loss = 2.0
            [line.b]
            listen = "7712"
            [line.c]
            name = "d"
            listen = "127.0.0.1:7713"
            target = "127.0.0.1:7401"
            [line.d]
            listen = "127.0.0.1:7714"
            target = "127.0.0.1:7401"
            "#,
        )
        .unwrap_err();
        let keys: Vec<&str> = faults.list().iter().map(|fault| fault.key.as_str()).collect();
        let expected = ["line.a.up.loss", "line.a.name", "line.b.listen", "line.b.target"];
        assert_eq!(keys[..4], expected);
        assert_eq!(keys[4..], ["line.d.name"], "{faults}");
        assert!(config("").unwrap_err().to_string().contains("[line.NAME]"));
    }
}
