//! The origin's configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use shared::channel::{BROADCAST_NAMESPACE, INBOX_NAMESPACE};
use shared::config::{ByteSize, Configure, Reader, Secret};
use shared::io::admin::default_address;
use shared::io::http::Limits;
use shared::io::line::Settings as LineSettings;
use shared::io::telemetry::LogConfig;
use shared::io::tls::NodeFiles;
use shared::line::LineEnd;
use shared::line::opener::CANDIDATES_MAX;
use shared::message::Class;
use shared::namespace::{Access, Durability, Namespaces, Options, SWEEP_INTERVAL_MAX, SlowReader};

use crate::io::hook::HookConfig;
use crate::io::store::Place;
use crate::limits::{CHANNELS_MAX_DEFAULT, MEMTABLE_BYTES_MAX};

/// What the names of the environment's variables begin with.
pub const PREFIX: &str = "LINECAST_ORIGIN";

/// The namespace of channels without one, as configuration calls it.
const DEFAULT_NAMESPACE: &str = "default";

/// Everything an origin is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where back ends call the APIs.
    pub api: SocketAddr,
    /// Where edges open lines (UDP).
    pub line: SocketAddr,
    /// How lines use the network.
    pub line_settings: LineSettings,
    /// Where else edges may call, each with its carrier.
    pub line_addresses: Vec<LineEnd>,
    /// Where edges are sent when this origin ends.
    pub line_successor: Option<LineEnd>,
    /// Where operators look.
    pub admin: SocketAddr,
    /// The bounds of the API's listener.
    pub limits: Limits,
    /// Our certificate and whom we trust.
    pub node: NodeFiles,
    /// The store; its folder is a temporary one where the store is ephemeral.
    pub store: StoreConfig,
    /// Who may call the APIs.
    pub access: ApiAccess,
    /// What the back end is asked.
    pub hook: HookConfig,
    /// Every namespace.
    pub namespaces: Namespaces,
    /// How long an edge's clients are believed in while its lines are away.
    pub edge_grace: Duration,
    /// Log lines.
    pub log: LogConfig,
}

/// Where messages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder, and what may be done to it.
    pub place: Place,
    /// Keep nothing: the folder is made for this run and removed at its end.
    pub ephemeral: bool,
    /// Below so much free space on the disk nothing is published.
    pub free_min: ByteSize,
    /// Channels in memory at once.
    pub channels_max: usize,
    /// How long a channel's epoch and offset outlive its last message.
    pub meta_age: Duration,
}

/// Who may call the APIs.
#[derive(Clone, Debug)]
pub struct ApiAccess {
    /// Any of these keys.
    pub keys: Vec<Secret>,
    /// Everybody may call Centrifugo's API.
    pub api_open: bool,
    /// Everybody may call goim's API.
    pub goim_open: bool,
}

impl Configure for Config {
    fn read(reader: &mut Reader) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = LogConfig::read(reader);
        let api = reader.value("listen.api", loopback(7400), "Where back ends call the HTTP APIs.");
        let line = reader.value("listen.line", loopback(7401), "Where edges open lines (UDP).");
        let line_settings = LineSettings::read(reader);
        let line_addresses = reader.list(
            "line.addresses",
            Vec::new(),
            "Public addresses of listen.line, each with its carrier: edges are told to try them all.",
        );
        let line_successor = reader.optional(
            "line.successor",
            "Where edges go when this origin ends: they are told, open lines there, and only then \
             leave.",
        );
        if line_addresses.len() > CANDIDATES_MAX {
            let fault = format!("at most {CANDIDATES_MAX} addresses are told to edges");
            reader.fault("line.addresses", fault);
        }
        let admin = reader.value(
            "admin",
            default_address(7409),
            "Where operators read /metrics, /healthz and /readyz; keep it private.",
        );
        let limits = Limits::read(
            reader,
            "http",
            Limits {
                connections_per_address_max: 10_000,
                body_bytes_max: ByteSize::mib(16),
                ..Limits::default()
            },
        );
        let node = NodeFiles::read(reader);
        let access = ApiAccess {
            keys: reader.secrets("api.keys", "Keys of the HTTP APIs; any of them opens both."),
            api_open: reader.value(
                "api.open",
                false,
                "Lets everybody call /api without a key; only where nobody else reaches it.",
            ),
            goim_open: reader.value(
                "goim.open",
                false,
                "Lets everybody call /goim without a key, as goim does.",
            ),
        };
        let edge_grace = reader.ranged(
            "edge_grace",
            Duration::from_secs(15),
            Duration::from_secs(1)..=Duration::from_secs(600),
            "How long an edge's clients count as present while its lines are away.",
        );
        Self {
            api,
            line,
            line_settings,
            line_addresses,
            line_successor,
            admin,
            limits,
            node,
            store: read_store(reader),
            access,
            hook: read_hook(reader),
            namespaces: read_namespaces(reader),
            edge_grace,
            log,
        }
    }
}

fn read_store(reader: &mut Reader) -> StoreConfig {
    let folder: PathBuf = reader.value("data", "data/origin".into(), "Folder of the logs.");
    StoreConfig {
        ephemeral: reader.value(
            "ephemeral",
            false,
            "Keeps the logs in a temporary folder that is removed at the end; data is not used.",
        ),
        place: Place {
            folder,
            accept_loss: reader.value(
                "store.accept_loss",
                false,
                "Starts although acknowledged messages are missing: the damaged store is set aside \
                 and every channel gets a new epoch.",
            ),
            memtable_bytes: reader
                .ranged(
                    "store.memtable",
                    ByteSize::mib(32),
                    ByteSize::kib(64)..=ByteSize(MEMTABLE_BYTES_MAX),
                    "Size of what is gathered in memory before it becomes a table; counts when the \
                     store is made.",
                )
                .0,
        },
        free_min: reader.value(
            "store.free_min",
            ByteSize::mib(256),
            "Below so much free space on the disk publishes are refused.",
        ),
        channels_max: reader.ranged(
            "store.channels_max",
            CHANNELS_MAX_DEFAULT,
            1..=100_000_000,
            "Channels in memory at once; idle ones leave after a minute.",
        ),
        meta_age: reader.ranged(
            "store.meta_age",
            Duration::from_secs(30 * 24 * 3600),
            Duration::from_secs(3600)..=Duration::from_secs(3650 * 24 * 3600),
            "How long a channel's epoch and offset are remembered after its last message.",
        ),
    }
}

fn read_hook(reader: &mut Reader) -> HookConfig {
    let rpc = read_uri(reader, "hook.rpc", "URL that clients' rpc calls are posted to.");
    let publish = read_uri(
        reader,
        "hook.publish",
        "URL that decides on clients' messages before they are published.",
    );
    HookConfig {
        rpc,
        publish,
        timeout: reader.ranged(
            "hook.timeout",
            Duration::from_secs(1),
            Duration::from_millis(1)..=Duration::from_secs(60),
            "How long a hook may take.",
        ),
        concurrency_max: reader.ranged(
            "hook.concurrency_max",
            256,
            1..=100_000,
            "Hook calls under way at once; more wait for their turn within hook.timeout.",
        ),
    }
}

fn read_uri(reader: &mut Reader, key: &str, doc: &'static str) -> Option<Uri> {
    let text: Option<String> = reader.optional(key, doc);
    let uri: Uri = text?.parse().ok().or_else(|| {
        reader.fault(key, "must be a URL such as http://10.0.0.1:8000/rpc");
        None
    })?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
        reader.fault(key, "must begin with http:// or https:// and name a host");
        return None;
    }
    Some(uri)
}

fn read_namespaces(reader: &mut Reader) -> Namespaces {
    let mut named = BTreeMap::new();
    for name in reader.names("namespace") {
        let options = read_options(reader, &name);
        let name = if name == DEFAULT_NAMESPACE { String::new() } else { name };
        named.insert(name, options);
    }
    Namespaces::new(named)
}

fn read_options(reader: &mut Reader, name: &str) -> Options {
    let defaults = match name {
        INBOX_NAMESPACE | BROADCAST_NAMESPACE => Namespaces::inbox_default(),
        _ => Options::default(),
    };
    let key = |option: &str| format!("namespace.{name}.{option}");
    let presence_key = key("join_leave");
    let options = Options {
        history_size: reader.value(
            &key("history_size"),
            defaults.history_size,
            "Messages kept per channel for readers that come later; 0: no history, no recovery.",
        ),
        history_age: reader.value(
            &key("history_age"),
            defaults.history_age,
            "How long messages are kept.",
        ),
        history_bytes: reader
            .value(
                &key("history_bytes"),
                ByteSize(defaults.history_bytes),
                "Bytes of messages kept per channel.",
            )
            .0,
        durability: reader.one_of(
            &key("durability"),
            defaults.durability,
            &Durability::NAMES,
            "What an answered publish survives: fsync a power cut, os the process alone.",
        ),
        class: reader.one_of(
            &key("class"),
            defaults.class,
            &Class::NAMES,
            "Class of messages that name none.",
        ),
        operation: reader.value(
            &key("operation"),
            defaults.operation,
            "goim operation of messages that name none.",
        ),
        rate: reader.value(
            &key("rate"),
            defaults.rate,
            "Messages admitted per second and channel; 0 is without limit.",
        ),
        subscribe: reader.one_of(
            &key("subscribe"),
            defaults.subscribe,
            &Access::NAMES,
            "Who may subscribe.",
        ),
        publish: reader.one_of(
            &key("publish"),
            defaults.publish,
            &Access::NAMES,
            "Which clients may publish.",
        ),
        presence: reader.value(
            &key("presence"),
            defaults.presence,
            "Whether it is known who is in a channel.",
        ),
        join_leave: reader.value(
            &presence_key,
            defaults.join_leave,
            "Whether readers are told of clients that come and go; needs presence.",
        ),
        history: reader.value(
            &key("history"),
            defaults.history,
            "Whether clients may read the history by request.",
        ),
        force_recovery: reader.value(
            &key("force_recovery"),
            defaults.force_recovery,
            "Whether subscribers recover even if they do not ask for it.",
        ),
        sweep_interval: reader.ranged(
            &key("sweep_interval"),
            defaults.sweep_interval,
            Duration::ZERO..=SWEEP_INTERVAL_MAX,
            "The least time between two rounds of writing to a channel's readers: messages wait so \
             long at most and go out together, which saves edges work; 0: at once.",
        ),
        droppable_rate: reader.value(
            &key("droppable_rate"),
            defaults.droppable_rate,
            "Droppable messages per second and channel that readers are given, a sample of all; 0: all.",
        ),
        slow: reader.one_of(
            &key("slow"),
            defaults.slow,
            &SlowReader::NAMES,
            "What happens to readers that are too slow: skip tells them and goes on with the newest, \
             close ends their connection.",
        ),
    };
    if options.join_leave && !options.presence {
        reader.fault(&presence_key, "needs presence = true in the same namespace");
    }
    options
}

#[cfg(test)]
mod tests {
    use shared::config::{Layers, resolve};

    use super::*;

    const NODE: &str = "[node]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";

    fn read(text: &str) -> Result<Config, String> {
        let layers = Layers::new(PREFIX).with_file("test.toml", &format!("{text}\n{NODE}"));
        resolve::<Config>(layers, |_| Err(std::io::ErrorKind::NotFound.into()))
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn namespaces_have_their_own_options() {
        let config = read(
            "[namespace.default]\npublish = \"anyone\"\n[namespace.live]\nhistory_size = 5\n\
             durability = \"os\"\n[namespace.inbox]\nhistory_age = \"1h\"",
        )
        .unwrap();
        let named: BTreeMap<_, _> = config.namespaces.iter().collect();
        assert_eq!(named[""].publish, Access::Anyone);
        assert_eq!((named["live"].history_size, named["live"].durability), (5, Durability::Os));
        assert_eq!(named[INBOX_NAMESPACE].subscribe, Access::Nobody);
        assert_eq!(named[INBOX_NAMESPACE].history_age, Duration::from_secs(3600));
        assert_eq!(named.len(), 4);
    }

    #[test]
    fn faults_name_their_key() {
        let faults = read(
            "[hook]\nrpc = \"ftp://x\"\n[namespace.live]\njoin_leave = true\npresence = false\n\
             histori_size = 4",
        )
        .unwrap_err();
        for key in ["hook.rpc", "namespace.live.join_leave", "namespace.live.histori_size"] {
            assert!(faults.contains(key), "{key} in {faults}");
        }
        assert!(read("[api]\nkeys = [\"k\"]").unwrap().access.keys[0].matches(b"k"));
    }
}
