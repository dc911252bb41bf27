//! The configuration files of a network, as texts.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use shared::io::tls::NodeName;

use super::ports::loopback;
use super::{
    API_KEY, CELL_SECRET, OPERATOR, Ports, RelayPorts, TOKEN_SECRET, edge_name, line_name, nodes,
    stand,
};
use crate::io::pki::Folder;

/// Where everything of a network is inside its folder.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
    ports: Ports,
    nodes: Vec<NodeName>,
}

impl Layout {
    /// The layout of a network in `folder`, which should be absolute: services may be started from
    /// anywhere.
    pub fn new(folder: &Path, ports: &Ports) -> Self {
        Self { folder: folder.to_owned(), ports: ports.clone(), nodes: nodes(ports.edges.len()) }
    }

    /// The nodes: origin, svrlist, edges.
    pub fn nodes(&self) -> &[NodeName] {
        &self.nodes
    }

    /// The certificates.
    pub fn pki(&self) -> Folder {
        Folder::new(self.folder.join("pki"))
    }

    /// The place database.
    pub fn places(&self) -> PathBuf {
        self.folder.join("places.mmdb")
    }

    /// The folder of the origin's logs.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The folder of what a svrlist keeps.
    pub fn state(&self) -> PathBuf {
        self.folder.join("svrlist")
    }

    /// The configuration file of a service: `origin`, `svrlist`, `edge-1` … `relay`.
    pub fn config(&self, service: &str) -> PathBuf {
        self.folder.join(format!("{service}.toml"))
    }

    fn node(&self, text: &mut Text, at: usize) {
        let files = self.pki().node_files(&self.nodes[at]);
        text.table("node");
        text.path("ca", &files.ca);
        text.path("certificate", &files.certificate);
        text.path("key", &files.key);
    }
}

/// The origin's file.
pub fn origin_file(layout: &Layout) -> String {
    let ports = &layout.ports;
    let mut text = Text::new();
    text.address("admin", ports.origin_admin);
    text.path("data", &layout.log());
    text.table("listen");
    text.address("api", ports.origin_api);
    text.address("line", ports.origin_line);
    layout.node(&mut text, 0);
    text.table("api");
    text.raw("keys", &format!("[{}]", quoted(&API_KEY)));
    text.table("goim");
    text.comment("Without a key, as back ends that call goim do.");
    text.raw("open", "true");
    text.table("namespace.live");
    text.comment("Rooms where everyone may speak, so that there is something to try.");
    text.text("publish", "anyone");
    text.raw("history_size", "1000");
    text.raw("presence", "true");
    text.finish()
}

/// svrlist's file.
pub fn svrlist_file(layout: &Layout) -> String {
    let ports = &layout.ports;
    let mut text = Text::new();
    text.address("admin", ports.svrlist_admin);
    text.comment(
        "So that X-Forwarded-For: 127.0.3.1 shows the list of a mobile user in Guangzhou.",
    );
    text.raw("trusted_proxies", "[\"127.0.0.1\"]");
    text.table("listen");
    text.address("http", ports.svrlist);
    text.address("line", ports.svrlist_line);
    layout.node(&mut text, 1);
    text.table("cell_token");
    text.comment("So that clients' reports are taken.");
    text.text("secret", CELL_SECRET);
    text.table("place");
    text.path("own", &layout.places());
    text.table("state");
    text.path("folder", &layout.state());
    text.table("dashboard");
    text.comment("Anybody on this machine looks; to change something, sign in as dev, dev.");
    text.raw("open", "true");
    text.table("operator.dev");
    text.text("password", OPERATOR);
    text.text("key", OPERATOR);
    text.text("role", "admin");
    if let Some(relay) = &ports.relay {
        text.table("demo");
        text.comment("So that lines can be broken and healed on /demo.");
        text.address("relay", relay.admin);
    }
    text.finish()
}

/// The file of edge `at` (from 0).
pub fn edge_file(layout: &Layout, at: usize) -> String {
    let (ports, stand) = (&layout.ports.edges[at], stand(at));
    let facing = layout.pki().facing();
    let mut text = Text::new();
    text.address("admin", ports.admin);
    text.table("listen");
    text.address("goim", ports.tcp);
    text.address("http", ports.http);
    text.address("goim_tls", ports.tcp_tls);
    text.address("https", ports.http_tls);
    text.table("tls");
    text.path("certificate", &facing.certificate);
    text.path("key", &facing.key);
    layout.node(&mut text, 2 + at);
    text.table("upstream");
    let upstreams: Vec<String> = layout.ports.upstreams(at).iter().map(quoted).collect();
    text.raw("addresses", &format!("[{}]", upstreams.join(", ")));
    text.raw("locals", "[\"127.0.0.1:0\"]");
    text.table("svrlist");
    text.raw("addresses", &format!("[{}]", quoted(&loopback(layout.ports.svrlist_line))));
    text.table("place");
    text.text("region", stand.region);
    text.text("city", stand.city);
    text.text("carrier", stand.carrier);
    text.text("site", &edge_name(at));
    text.table("public");
    text.text("host", "127.0.0.1");
    text.table("websocket");
    text.comment("Pages of this machine.");
    text.raw("origins", "[\"http://127.0.0.1:*\", \"http://localhost:*\"]");
    text.table("token");
    text.text("hmac_secret", TOKEN_SECRET);
    text.table("goim");
    text.comment(
        "So that clients may come without a token; a user's inbox needs one all the same.",
    );
    text.text("auth", "anyone");
    text.finish()
}

/// The relay's file.
pub fn relay_file(layout: &Layout, ports: &RelayPorts) -> String {
    let mut text = Text::new();
    text.address("admin", ports.admin);
    for (edge, lines) in ports.lines.iter().enumerate() {
        for (line, port) in lines.iter().enumerate() {
            text.table(&format!("line.edge-{}-line-{}", edge + 1, line + 1));
            text.text("name", &line_name(edge, line));
            text.address("listen", *port);
            text.address("target", layout.ports.origin_line);
        }
    }
    text.finish()
}

/// A TOML text in the making.
struct Text(String);

impl Text {
    fn new() -> Self {
        Self(HEADER.to_owned())
    }

    fn finish(self) -> String {
        self.0
    }

    fn table(&mut self, name: &str) {
        self.line(format_args!("\n[{name}]"));
    }

    fn comment(&mut self, comment: &str) {
        self.line(format_args!("# {comment}"));
    }

    fn raw(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, &quoted(&value));
    }

    fn address(&mut self, key: &str, port: u16) {
        let address: SocketAddr = loopback(port);
        self.raw(key, &quoted(&address));
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.raw(key, &quoted(&path.display()));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// A text as TOML writes it.
fn quoted(text: &impl ToString) -> String {
    toml::Value::String(text.to_string()).to_string()
}

const HEADER: &str = "# Written by `linecast up`, again at every start: changes belong in the \
                      environment (LINECAST_…) or in a copy.\n\n";
