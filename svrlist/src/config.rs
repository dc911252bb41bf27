//! The configuration of a svrlist: every key, its default and what it means.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use geo_data::io::Paths;
use hyper::Uri;
use ipnet::IpNet;
use shared::config::{ByteSize, Configure, Reader, Secret};
use shared::io::admin::default_address;
use shared::io::http::Limits;
use shared::io::telemetry::LogConfig;
use shared::io::tls::NodeFiles;

use crate::answer::{Backoff, Pace};
use crate::operators;
use crate::report;

/// The environment variables of this binary start so.
pub const PREFIX: &str = "LINECAST_SVRLIST";

/// Everything a svrlist is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients ask, over HTTP.
    pub listen: SocketAddr,
    /// Where clients ask, over HTTPS.
    pub tls: Option<Tls>,
    /// What the client-facing listeners allow.
    pub limits: Limits,
    /// Where operators look.
    pub admin: SocketAddr,
    /// Where edges report: UDP, QUIC.
    pub line: SocketAddr,
    /// This node's certificate.
    pub node: NodeFiles,
    /// The place databases.
    pub places: Paths,
    /// How often the place databases are looked at for a change.
    pub places_poll: Duration,
    /// What answers say.
    pub answers: Answers,
    /// Who may look at the dashboard, and how many.
    pub dashboard: Dashboard,
    /// Who is told of alerts.
    pub webhook: Option<Uri>,
    /// Weights that replace those edges report, by edge.
    pub weights: BTreeMap<String, f64>,
    /// What survives a restart.
    pub state: State,
    /// The admin listener of the relay whose lines `/demo` shows and changes.
    pub relay: Option<SocketAddr>,
    /// What operators want.
    pub control: Control,
    /// Who signs in to look and to change.
    pub operators: operators::Config,
    /// Log lines.
    pub log: LogConfig,
}

/// What a svrlist keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Where; without a folder nothing is kept.
    pub folder: Option<PathBuf>,
}

/// A file that says what operators want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The file.
    pub file: Option<PathBuf>,
    /// How often it is looked at.
    pub poll: Duration,
}

/// The HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The PEM chain.
    pub certificate: PathBuf,
    /// Its PEM key.
    pub key: PathBuf,
}

/// Who may look at the dashboard, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// Anybody may read.
    pub open: bool,
    /// Live streams at the same time.
    pub streams_max: usize,
    /// Values that have a history.
    pub series_max: usize,
}

/// What answers say, and whose word about a client's address is taken.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// When clients ask again.
    pub ttl: Duration,
    /// Heartbeat of goim clients.
    pub heartbeat: Duration,
    /// Heartbeats that may be missed.
    pub heartbeat_max: u32,
    /// Waiting between attempts.
    pub backoff: Backoff,
    /// The `domain` of goim's answer.
    pub goim_domain: Option<String>,
    /// Signs cell tokens; without it there are none.
    pub token_secret: Option<Secret>,
    /// How long a cell token holds.
    pub token_lifetime: Duration,
}

impl Answers {
    /// The part that every answer repeats.
    pub fn pace(&self) -> Pace {
        Pace {
            heartbeat: self.heartbeat.as_secs(),
            heartbeat_max: self.heartbeat_max,
            backoff: self.backoff,
        }
    }
}

impl Configure for Config {
    fn read(reader: &mut Reader) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen = reader.value("listen.http", loopback(7500), "Where clients ask.");
        let line = reader.value("listen.line", loopback(7501), "Where edges report (UDP).");
        let admin = reader.value(
            "admin",
            default_address(7509),
            "Where operators read /metrics, /healthz and /readyz; keep it private.",
        );
        let defaults = Limits {
            connections_per_address_max: 1_000,
            // Clients ask by GET; the longest body that is worth anything is a report.
            body_bytes_max: ByteSize(report::BODY_BYTES_MAX as u64),
            ..Limits::default()
        };
        let mut limits = Limits::read(reader, "http", defaults);
        let answers = read_answers(reader);
        // Behind a proxy's address are many clients.
        limits.unlimited.extend(&answers.trusted_proxies);
        Self {
            listen,
            tls: read_tls(reader),
            limits,
            admin,
            line,
            node: NodeFiles::read(reader),
            places: Paths {
                own: reader.optional(
                    "place.own",
                    "Our own (region, carrier) database, MMDB; read again when it changes.",
                ),
                city: reader.optional(
                    "place.city",
                    "GeoIP2 or GeoLite2 City database, MMDB; read again when it changes.",
                ),
                isp: reader.optional(
                    "place.isp",
                    "GeoIP2 ISP database, MMDB; read again when it changes.",
                ),
                asn: reader.optional(
                    "place.asn",
                    "GeoLite2 ASN database, MMDB; read again when it changes.",
                ),
            },
            places_poll: reader.ranged(
                "place.poll",
                Duration::from_secs(10),
                Duration::from_millis(100)..=Duration::from_secs(86_400),
                "How often the databases are looked at for a change.",
            ),
            answers,
            control: Control {
                file: reader.optional(
                    "control.file",
                    "What operators want, TOML (docs/control.md); read again when it changes. What \
                     it names the API cannot change.",
                ),
                poll: reader.ranged(
                    "control.poll",
                    Duration::from_secs(2),
                    Duration::from_millis(100)..=Duration::from_secs(86_400),
                    "How often control.file is looked at for a change.",
                ),
            },
            operators: operators::Config::read(reader),
            dashboard: read_dashboard(reader),
            webhook: read_webhook(reader),
            weights: read_weights(reader),
            state: State {
                folder: reader.optional(
                    "state.folder",
                    "Folder for what a svrlist goes on with after a restart: what it learnt, the \
                     sites' accounts, the edges it knew. Without it nothing is kept.",
                ),
            },
            relay: reader.optional(
                "demo.relay",
                "Admin listener of the relay that carries the edges' lines: /demo shows these lines, \
                 and everybody who can open it can break them. For demonstrations alone.",
            ),
            log: LogConfig::read(reader),
        }
    }
}

fn read_tls(reader: &mut Reader) -> Option<Tls> {
    let listen = reader.optional("listen.https", "Where clients ask with TLS.");
    let certificate = reader.optional(
        "tls.certificate",
        "PEM chain of the TLS listener, leaf first; read again when it changes.",
    );
    let key =
        reader.optional("tls.key", "PEM key of the TLS listener; read again when it changes.");
    match (listen, certificate, key) {
        (Some(listen), Some(certificate), Some(key)) => Some(Tls { listen, certificate, key }),
        (None, None, None) => None,
        _ => {
            reader.fault("listen.https", "needs tls.certificate and tls.key, and they need it");
            None
        }
    }
}

fn read_answers(reader: &mut Reader) -> Answers {
    let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
    let max_delay = reader.ranged(
        "backoff.max_delay",
        Duration::from_secs(300),
        seconds(1, 3_600),
        "Longest wait of a client before it connects again.",
    );
    let base_delay = reader.ranged(
        "backoff.base_delay",
        Duration::from_secs(3),
        seconds(1, 3_600),
        "First wait of a client before it connects again.",
    );
    if base_delay > max_delay {
        reader.fault("backoff.base_delay", "must not exceed backoff.max_delay");
    }
    Answers {
        trusted_proxies: reader.list(
            "trusted_proxies",
            Vec::new(),
            "Networks of proxies whose X-Forwarded-For is believed; connections_per_address_max \
             does not bind them.",
        ),
        ttl: reader.ranged(
            "ttl",
            Duration::from_secs(45),
            seconds(1, 3_600),
            "When clients ask again; each is told up to 30 % more or less.",
        ),
        heartbeat: reader.ranged(
            "heartbeat",
            Duration::from_secs(240),
            seconds(1, 3_600),
            "How often goim clients send a heartbeat.",
        ),
        heartbeat_max: reader.ranged(
            "heartbeat_max",
            2,
            1..=100,
            "Heartbeats a goim client may miss before the edge closes.",
        ),
        backoff: Backoff {
            max_delay: max_delay.as_secs(),
            base_delay: base_delay.as_secs(),
            factor: reader.ranged("backoff.factor", 1.8, 1.0..=10.0, "Growth from wait to wait."),
            jitter: reader.ranged(
                "backoff.jitter",
                0.3,
                0.0..=1.0,
                "Share of each wait that is random.",
            ),
        },
        goim_domain: reader.optional("goim.domain", "Domain in goim's answer; else the best host."),
        token_secret: reader
            .secret("cell_token.secret", "Signs cell tokens; without it there are none."),
        token_lifetime: reader.ranged(
            "cell_token.lifetime",
            Duration::from_secs(600),
            seconds(60, 86_400),
            "How long a cell token holds.",
        ),
    }
}

fn read_dashboard(reader: &mut Reader) -> Dashboard {
    Dashboard {
        open: reader.value(
            "dashboard.open",
            false,
            "Whether anybody may read the dashboard; changes need an operator all the same.",
        ),
        streams_max: reader.ranged(
            "dashboard.streams_max",
            1_000,
            1..=100_000,
            "Dashboards that are kept up to date at the same time; each is a connection, too.",
        ),
        series_max: reader.ranged(
            "history.series_max",
            4_000,
            1..=1_000_000,
            "Values whose history is kept, five for a line and three for an edge; each takes up to \
             45 KiB of memory.",
        ),
    }
}

fn read_webhook(reader: &mut Reader) -> Option<Uri> {
    let key = "alerts.webhook";
    let text: Option<String> = reader.optional(
        key,
        "The http or https URL that alerts are posted to as JSON, when they are raised and when they are \
         cleared; tried five times.",
    );
    let uri: Option<Uri> = text?.parse().ok();
    let good = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|h| !h.is_empty())
    };
    if !uri.as_ref().is_some_and(good) {
        reader.fault(key, "must be a URL such as https://example.org/alerts");
        return None;
    }
    uri
}

fn read_weights(reader: &mut Reader) -> BTreeMap<String, f64> {
    let mut weights = BTreeMap::new();
    for name in reader.names("edge") {
        let key = format!("edge.{name}.weight");
        let weight = reader.ranged(
            &key,
            1.0,
            0.0..=1_000.0,
            "Weight of this edge instead of the one it reports; 0 gets none.",
        );
        weights.insert(name, weight);
    }
    weights
}

#[cfg(test)]
pub(crate) mod tests {
    use shared::config::{Faults, Layers, resolve};

    use super::*;

    const NODE: &str = r#"
        [node]
        ca = "ca.pem"
        certificate = "svrlist.pem"
        key = "svrlist.key"
    "#;

    /// The configuration of a text.
    pub(crate) fn config(text: &str) -> Result<Config, Faults> {
        let text = format!("{text}\n{NODE}");
        resolve(Layers::new(PREFIX).with_file("test.toml", &text), |path| {
            std::fs::read_to_string(path)
        })
    }

    #[test]
    fn defaults() {
        let config = config("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7500");
        assert_eq!(config.limits.body_bytes_max, ByteSize::kib(8), "a report");
        assert_eq!(config.answers.pace().heartbeat, 240);
        assert_eq!(config.answers.pace().backoff.factor, 1.8);
        assert!(config.answers.token_secret.is_none());
        assert_eq!(config.relay, None, "nobody breaks lines unless that was asked for");
    }

    #[test]
    fn what_is_set() {
        let config = config(
            r#"
            trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
            [edge.bj-1]
            weight = 2.5
            [cell_token]
            secret = "s"
            "#,
        )
        .unwrap();
        assert_eq!(config.answers.trusted_proxies.len(), 2);
        assert_eq!(config.limits.unlimited, config.answers.trusted_proxies);
        assert_eq!(config.weights.get("bj-1"), Some(&2.5));
        assert!(config.answers.token_secret.is_some());
    }

    #[test]
    fn a_webhook_is_a_url() {
        let webhook = |url: &str| config(&format!("alerts.webhook = {url:?}"));
        let uri = webhook("https://example.org/alerts?key=1").unwrap().webhook.unwrap();
        assert_eq!(uri.host(), Some("example.org"));
        for url in ["example.org", "/alerts", "ftp://example.org/", "http:///", "", "http://a b/"] {
            let faults = webhook(url).unwrap_err();
            assert_eq!(faults.list()[0].key, "alerts.webhook", "{url}");
        }
    }

    #[test]
    fn faults_come_together() {
        let faults = config(
            r#"
            ttl = "0s"
            [listen]
            https = "127.0.0.1:7502"
            [backoff]
            base_delay = "10s"
            max_delay = "5s"
            "#,
        )
        .unwrap_err();
        let keys: Vec<&str> = faults.list().iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys.len(), 3, "{faults}");
        for key in ["ttl", "listen.https", "backoff.base_delay"] {
            assert!(keys.contains(&key), "{key} in {keys:?}");
        }
    }
}
