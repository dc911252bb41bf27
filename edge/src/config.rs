//! What an operator decides about an edge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use shared::config::{ByteSize, Configure, Reader};
use shared::io::admin;
use shared::io::line::Settings as LineSettings;
use shared::io::telemetry::LogConfig;
use shared::io::tls::NodeFiles;
use shared::limits::PULLS_MAX;
use shared::line::LineEnd;

use crate::hub::SHARDS_MAX;
use crate::{centrifuge, goim, token, upgrade};

/// The configuration of an edge.
#[derive(Clone, Debug)]
pub struct Config {
    /// Log lines.
    pub log: LogConfig,
    /// Where clients connect.
    pub listen: Listen,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The certificate of the TLS listeners: chain and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The node's certificate and the private CA.
    pub node: NodeFiles,
    /// The upstream's line listeners: 1 to [`UPSTREAMS_MAX`].
    pub upstreams: Vec<LineEnd>,
    /// Line listeners of other edges that this one may pull through: at most [`NEIGHBOURS_MAX`].
    pub neighbours: Vec<LineEnd>,
    /// The local addresses that lines are opened from: 1 to [`LOCALS_MAX`].
    pub locals: Vec<LineEnd>,
    /// How lines use the network.
    pub line_settings: LineSettings,
    /// How long a pull outlives its last reader.
    pub linger: Duration,
    /// Channels pulled at once.
    pub channels_max: usize,
    /// How long an uplink request may take.
    pub request_timeout: Duration,
    /// The svrlists that are reported to.
    pub svrlists: Vec<SocketAddr>,
    /// Where this edge is.
    pub place: Place,
    /// What is told to clients.
    pub public: Public,
    /// Threads that face clients.
    pub shards: usize,
    /// Bounds of connections.
    pub limits: Limits,
    /// How much may be used before something is left out.
    pub overload: Overload,
    /// How long clients are given to move elsewhere before the edge ends.
    pub drain_time: Duration,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// WebSocket upgrades.
    pub websocket: upgrade::Config,
    /// goim and danmaku clients.
    pub goim: goim::Config,
    /// Centrifuge clients.
    pub centrifuge: centrifuge::Config,
    /// Tokens of clients.
    pub token: token::Config,
}

/// Listeners; each may be left out.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// goim on TCP.
    pub goim: Option<SocketAddr>,
    /// HTTP with WebSocket.
    pub http: Option<SocketAddr>,
    /// goim on TCP with TLS.
    pub goim_tls: Option<SocketAddr>,
    /// HTTPS with WebSocket.
    pub https: Option<SocketAddr>,
    /// Lines of other edges.
    pub line: Option<SocketAddr>,
    /// The listeners whose clients come through proxies that say so by the PROXY protocol.
    pub proxy_protocol: Vec<String>,
}

/// Where an edge is, as svrlist ranks it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Administrative code of the region.
    pub region: String,
    /// City.
    pub city: String,
    /// Carrier.
    pub carrier: String,
    /// Data centre.
    pub site: String,
    /// Zone.
    pub zone: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// What clients are told about an edge.
#[derive(Clone, Debug)]
pub struct Public {
    /// Name or address that clients connect to.
    pub host: String,
    /// Share of traffic relative to equals.
    pub weight: f64,
    /// Bits per second that may leave; 0 is unknown.
    pub bits_out_max: u64,
}

/// How much may be used before something is left out.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Of a shard's core.
    pub cpu: f64,
    /// Of [`Public::bits_out_max`].
    pub bandwidth: f64,
}

/// Bounds of connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one address (/64 in IPv6).
    pub connections_per_address_max: usize,
    /// Connections that come in a second, from everywhere; 0 is without limit.
    pub arrivals_per_second: u32,
    /// Connections that come in a second from one address (/64 in IPv6), after a burst of
    /// `connections_per_address_max`; 0 is without limit.
    pub arrivals_per_address: u32,
    /// Connections that have not said who they are.
    pub strangers_max: usize,
    /// From accept to the first frame that says who the client is: TLS, HTTP head and all.
    pub handshake_timeout: Duration,
    /// Subscriptions and requests of one connection per second, after a burst.
    pub asks_per_second: u32,
    /// How many of them may come at once.
    pub asks_burst: u32,
    /// How long a client may take nothing of what is written to it.
    pub write_stall: Duration,
    /// Send buffer of a client's socket in the kernel; 0 leaves it to the system.
    pub send_buffer: u64,
    /// Bytes of replies that wait for all clients of a shard together.
    pub replies_bytes_max: ByteSize,
}

impl Limits {
    /// Connections that may come at once, from everywhere: a second's worth.
    pub fn arrivals_burst(&self) -> u32 {
        self.arrivals_per_second.max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 20_000,
            arrivals_per_second: 0,
            arrivals_per_address: 1000,
            strangers_max: 20_000,
            handshake_timeout: Duration::from_secs(10),
            asks_per_second: 50,
            asks_burst: 600,
            write_stall: Duration::from_secs(30),
            send_buffer: 0,
            replies_bytes_max: ByteSize::mib(256),
        }
    }
}

impl Configure for Config {
    fn read(reader: &mut Reader) -> Self {
        let log = LogConfig::read(reader);
        let listen = Listen {
            goim: reader.optional("listen.goim", "Where goim and danmaku clients connect by TCP."),
            http: reader.optional("listen.http", "Where clients connect by WebSocket."),
            goim_tls: reader.optional("listen.goim_tls", "goim and danmaku by TCP with TLS."),
            https: reader.optional("listen.https", "WebSocket with TLS."),
            line: reader
                .optional("listen.line", "Where other edges may pull through this one (UDP)."),
            proxy_protocol: reader.list(
                "listen.proxy_protocol",
                Vec::new(),
                "Those of goim, http, goim_tls and https that take connections from trusted_proxies only, \
                 and read who the client is from the PROXY protocol, version 2.",
            ),
        };
        let admin = reader.value(
            "admin",
            admin::default_address(7609),
            "Where operators read /metrics, /healthz and /readyz; keep it private.",
        );
        let chain: Option<PathBuf> = reader.optional(
            "tls.certificate",
            "PEM chain of the TLS listeners, leaf first; read again when it changes.",
        );
        let key: Option<PathBuf> =
            reader.optional("tls.key", "PEM key of the TLS listeners; read again when it changes.");
        let node = NodeFiles::read(reader);
        reader.renamed("upstream.address", "upstream.addresses, and is a list");
        reader.renamed("upstream.local", "upstream.locals, and is a list");
        let upstreams = reader.required(
            "upstream.addresses",
            vec![LineEnd::of(SocketAddr::from(([127, 0, 0, 1], 7401)))],
            "The origin's line listeners (UDP), each with the carrier it is reached by. Every address \
             here is called from every one of upstream.locals.",
        );
        let neighbours = reader.list(
            "upstream.neighbours",
            Vec::new(),
            "Line listeners (listen.line) of other edges, each with the carrier it is reached by. \
             While the lines to the origin do not work, or are much worse, this edge pulls through \
             the best of them.",
        );
        let locals = reader.list(
            "upstream.locals",
            vec![LineEnd::of(SocketAddr::from(([0, 0, 0, 0], 0)))],
            "Local addresses that lines are opened from, each with its carrier.",
        );
        let config = Self {
            log,
            admin,
            certificate: chain.clone().zip(key.clone()),
            node,
            line_settings: LineSettings::read(reader),
            linger: reader.ranged(
                "upstream.linger",
                Duration::from_secs(30),
                Duration::ZERO..=Duration::from_secs(3600),
                "How long a channel is still pulled after its last reader left.",
            ),
            channels_max: reader.ranged(
                "upstream.channels_max",
                200_000,
                16..=PULLS_MAX,
                "Channels pulled at once, inboxes of users included; beyond it new ones are refused.",
            ),
            request_timeout: reader.ranged(
                "upstream.request_timeout",
                Duration::from_secs(4),
                Duration::from_millis(100)..=Duration::from_secs(60),
                "How long a client's publish, history, presence or rpc may take; SDKs give up after \
                 5 s.",
            ),
            svrlists: reader.list(
                "svrlist.addresses",
                Vec::new(),
                "Line listeners of the svrlists that this edge reports to, every one of them.",
            ),
            place: Place::read(reader),
            public: Public::read(reader),
            shards: reader.ranged(
                "shards",
                0,
                0..=SHARDS_MAX,
                "Threads that face clients; 0 is one for each core.",
            ),
            limits: Limits::read(reader),
            overload: Overload::read(reader),
            drain_time: reader.ranged(
                "drain.time",
                Duration::from_secs(30),
                Duration::ZERO..=Duration::from_secs(3600),
                "On SIGTERM clients are told to move to other edges, evenly spread over this time; then \
                 the edge ends. Give it this and ten seconds more before it is killed.",
            ),
            trusted_proxies: reader.list(
                "trusted_proxies",
                Vec::new(),
                "Networks of proxies whose X-Forwarded-For is believed.",
            ),
            websocket: upgrade::Config::read(reader),
            goim: goim::Config::read(reader),
            centrifuge: centrifuge::Config::read(reader),
            token: token::Config::read(reader),
            listen,
            upstreams,
            neighbours,
            locals,
        };
        for (key, accesses, (least, most)) in [
            ("upstream.addresses", &config.upstreams, (1, UPSTREAMS_MAX)),
            ("upstream.neighbours", &config.neighbours, (0, NEIGHBOURS_MAX)),
            ("upstream.locals", &config.locals, (1, LOCALS_MAX)),
        ] {
            if !(least..=most).contains(&accesses.len()) {
                let count = accesses.len();
                reader.fault(
                    key,
                    format_args!("must be {least} to {most} addresses, but there are {count}"),
                );
            }
        }
        if chain.is_some() != key.is_some() {
            reader.fault("tls.certificate", "needs tls.key, and the other way round");
        }
        for name in &config.listen.proxy_protocol {
            if !LISTENERS.contains(&name.as_str()) {
                reader.fault(
                    "listen.proxy_protocol",
                    format_args!("{name:?} is none of {}", LISTENERS.join(", ")),
                );
            }
        }
        if !config.listen.proxy_protocol.is_empty() && config.trusted_proxies.is_empty() {
            reader.fault("listen.proxy_protocol", "needs trusted_proxies");
        }
        let listeners =
            [config.listen.goim, config.listen.http, config.listen.goim_tls, config.listen.https];
        let unspecified = listeners.iter().flatten().any(|address| address.ip().is_unspecified());
        if unspecified && config.public.host.is_empty() && !config.svrlists.is_empty() {
            reader.fault(
                "public.host",
                "must be set where a listener has an unspecified address: svrlist tells it to clients",
            );
        }
        if config.limits.asks_burst < config.centrifuge.channels_max as u32 + BURST_SPARE {
            reader.fault(
                "limits.asks_burst",
                format_args!(
                    "must be at least centrifuge.channels_max and {BURST_SPARE} more, so that a client \
                     can subscribe to all its channels at once"
                ),
            );
        }
        if config.goim.auth == goim::AuthMode::Token && !config.token.has_connection_keys() {
            reader.fault("goim.auth", "demands tokens, but no key to verify them by is set");
        }
        let Listen { goim, http, goim_tls, https, .. } = &config.listen;
        if (goim_tls.is_some() || https.is_some()) && config.certificate.is_none() {
            reader.fault("tls.certificate", "must be set where a TLS listener is");
        }
        if goim.or(*http).or(*goim_tls).or(*https).is_none() {
            reader.fault("listen.http", "at least one of the listen addresses must be set");
        }
        config
    }
}

impl Configure for Place {
    fn read(reader: &mut Reader) -> Self {
        Self {
            region: reader.value(
                "place.region",
                String::new(),
                "Administrative code of the region this edge stands in, such as 110000.",
            ),
            city: reader.value("place.city", String::new(), "City, for people."),
            carrier: reader.value(
                "place.carrier",
                "unknown".into(),
                "Carrier of its uplink, such as telecom, unicom or mobile.",
            ),
            site: reader.value("place.site", String::new(), "Data centre."),
            zone: reader.value("place.zone", "default".into(), "Zone that it is deployed in."),
            latitude: reader.ranged("place.latitude", 0.0, -90.0..=90.0, "Degrees north."),
            longitude: reader.ranged("place.longitude", 0.0, -180.0..=180.0, "Degrees east."),
        }
    }
}

impl Configure for Public {
    fn read(reader: &mut Reader) -> Self {
        Self {
            host: reader.value(
                "public.host",
                String::new(),
                "Name or address that clients are told to connect to; empty: the listener's.",
            ),
            weight: reader.ranged(
                "public.weight",
                1.0,
                0.0..=1000.0,
                "Share of the traffic relative to equal edges; 0 gets none.",
            ),
            bits_out_max: reader.value(
                "public.bits_out_max",
                0,
                "Committed rate of the uplink in bits per second; 0 is unknown.",
            ),
        }
    }
}

impl Configure for Overload {
    fn read(reader: &mut Reader) -> Self {
        Self {
            cpu: reader.ranged(
                "overload.cpu",
                0.95,
                0.1..=0.98,
                "Share of a shard's core that may be used. Near it new connections are refused; beyond \
                 it droppable messages go to fewer clients, and then all are written less often.",
            ),
            bandwidth: reader.ranged(
                "overload.bandwidth",
                0.95,
                0.1..=10.0,
                "Share of public.bits_out_max that may be used, with the same consequences.",
            ),
        }
    }
}

impl Configure for Limits {
    fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        Self {
            connections_max: reader.ranged(
                "limits.connections_max",
                default.connections_max,
                1..=10_000_000,
                "Clients connected at once.",
            ),
            connections_per_address_max: reader.ranged(
                "limits.connections_per_address_max",
                default.connections_per_address_max,
                1..=10_000_000,
                "Clients connected at once from one address (/64 in IPv6); carriers put thousands \
                 behind one.",
            ),
            arrivals_per_second: reader.ranged(
                "limits.arrivals_per_second",
                default.arrivals_per_second,
                0..=10_000_000,
                "Connections that may come in a second from everywhere; 0: without limit.",
            ),
            arrivals_per_address: reader.ranged(
                "limits.arrivals_per_address",
                default.arrivals_per_address,
                0..=10_000_000,
                "Connections that may come in a second from one address (/64 in IPv6), after a burst of \
                 connections_per_address_max; 0: without limit.",
            ),
            strangers_max: reader.ranged(
                "limits.strangers_max",
                default.strangers_max,
                1..=10_000_000,
                "Connections at once that have not said who they are.",
            ),
            handshake_timeout: reader.ranged(
                "limits.handshake_timeout",
                default.handshake_timeout,
                Duration::from_millis(100)..=Duration::from_secs(120),
                "From accepting a connection until its PROXY header, TLS handshake and HTTP head are \
                 complete.",
            ),
            asks_per_second: reader.ranged(
                "limits.asks_per_second",
                default.asks_per_second,
                1..=1_000_000,
                "Subscriptions and requests that one connection may make per second, after a burst.",
            ),
            asks_burst: reader.ranged(
                "limits.asks_burst",
                default.asks_burst,
                1..=1_000_000,
                "Subscriptions and requests that one connection may make at once; a client that \
                 reconnects subscribes to all its channels in one go.",
            ),
            write_stall: reader.ranged(
                "limits.write_stall",
                default.write_stall,
                Duration::from_secs(1)..=Duration::from_secs(3600),
                "How long a client may take nothing of what is written to it before it is closed.",
            ),
            send_buffer: reader.ranged(
                "limits.send_buffer",
                default.send_buffer,
                0..=16 << 20,
                "Bytes of a client's send buffer in the kernel; 0 leaves it to the system.",
            ),
            replies_bytes_max: reader.ranged(
                "limits.replies_bytes_max",
                default.replies_bytes_max,
                ByteSize::mib(1)..=ByteSize::mib(1 << 20),
                "Bytes of replies that may wait for all clients of one shard together; where there are \
                 more, whoever asks for more without reading is closed.",
            ),
        }
    }
}

/// The listeners of clients, as [`Listen::proxy_protocol`] names them.
pub const LISTENERS: [&str; 4] = ["goim", "http", "goim_tls", "https"];

/// Addresses of the upstream that lines are opened to.
pub const UPSTREAMS_MAX: usize = 16;

/// Neighbours that an edge measures all the time, to pull through the best.
pub const NEIGHBOURS_MAX: usize = 4;

/// Local addresses that lines are opened from.
pub const LOCALS_MAX: usize = 8;

/// Asks beside its subscriptions that a client may make when it connects.
const BURST_SPARE: u32 = 32;

#[cfg(test)]
mod tests {
    use std::io;

    use shared::config::{Layers, resolve};

    use super::*;

    fn read(file: &str) -> Result<Config, String> {
        let layers =
            Layers::new("LINECAST_EDGE").with_file("edge.toml", &format!("{NEEDED}{file}"));
        resolve(layers, |_| Err(io::ErrorKind::NotFound.into()))
            .map_err(|faults| faults.to_string())
    }

    const NEEDED: &str = "listen.http = \"127.0.0.1:1\"\n\
                          node = { ca = \"ca\", certificate = \"certificate\", key = \"key\" }\n";

    #[test]
    fn lines_have_carriers_at_both_ends() {
        let config = read(
            "[upstream]\naddresses = [\"10.0.0.1:7401 telecom\", \"[::1]:7401\"]\n\
             locals = [\"10.0.0.2:0 unicom\"]\n",
        )
        .unwrap();
        let texts =
            |accesses: &[LineEnd]| accesses.iter().map(LineEnd::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&config.upstreams), ["10.0.0.1:7401 telecom", "[::1]:7401"]);
        assert_eq!(texts(&config.locals), ["10.0.0.2:0 unicom"]);
        let config = read("upstream.addresses = [\"10.0.0.1:7401\"]\n").unwrap();
        assert_eq!(texts(&config.locals), ["0.0.0.0:0"]);
    }

    #[test]
    fn there_are_neither_no_lines_nor_too_many() {
        let many = |count: usize| vec!["\"10.0.0.1:1\""; count].join(", ");
        let list = |addresses: usize, locals: usize| {
            let (addresses, locals) = (many(addresses), many(locals));
            read(&format!("upstream = {{ addresses = [{addresses}], locals = [{locals}] }}\n"))
        };
        assert!(list(UPSTREAMS_MAX, LOCALS_MAX).is_ok());
        for (addresses, locals, said) in [
            (0, 1, "must be 1 to 16 addresses, but there are 0"),
            (17, 1, "must be 1 to 16 addresses, but there are 17"),
            (1, 0, "must be 1 to 8 addresses, but there are 0"),
            (1, 9, "must be 1 to 8 addresses, but there are 9"),
        ] {
            let faults = list(addresses, locals).unwrap_err();
            assert!(faults.contains(said), "{faults}");
        }
    }

    #[test]
    fn neighbours_are_few() {
        let list = |count: usize| {
            let all = vec!["\"10.0.0.1:1 telecom\""; count].join(", ");
            read(&format!("upstream = {{ addresses = [\"10.0.0.1:1\"], neighbours = [{all}] }}\n"))
        };
        assert_eq!(list(0).unwrap().neighbours, []);
        assert_eq!(list(NEIGHBOURS_MAX).unwrap().neighbours.len(), NEIGHBOURS_MAX);
        let faults = list(NEIGHBOURS_MAX + 1).unwrap_err();
        assert!(faults.contains("must be 0 to 4 addresses, but there are 5"), "{faults}");
    }

    #[test]
    fn old_keys_name_their_successors() {
        let faults =
            read("upstream = { address = \"10.0.0.1:1\", local = \"10.0.0.2:0\" }\n").unwrap_err();
        for said in ["upstream.addresses, and is a list", "upstream.locals, and is a list"] {
            assert!(faults.contains(said), "{faults}");
        }
    }
}
