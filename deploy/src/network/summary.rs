//! What a person is told once a network runs.

use std::fmt::Write;
use std::path::Path;

use super::{API_KEY, CARRIERS, Ports, edge_name, line_name, stand};

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where everybody listens.
    pub ports: &'a Ports,
    /// The services' processes: origin, svrlist, edges and, if there is one, the relay.
    pub processes: &'a [u32],
    /// How the reader can call `linecast`.
    pub program: &'a str,
    /// Where the data are; `None` if nothing is kept.
    pub folder: Option<&'a Path>,
}

impl Facts<'_> {
    /// Addresses, pages to open and commands to try.
    pub fn summary(&self) -> String {
        let mut text = String::from("Linecast is up.\n\n");
        self.addresses(&mut text);
        self.things_to_try(&mut text);
        text.push_str(&match self.folder {
            Some(folder) => format!("Data are kept in {}. ", folder.display()),
            None => "Nothing is kept (--ephemeral). ".to_owned(),
        });
        text.push_str("Ctrl-C stops it.");
        text
    }

    fn addresses(&self, text: &mut String) {
        let Ports { origin_api, origin_admin, svrlist, svrlist_admin, edges, relay, .. } =
            self.ports;
        let mut line = |name: &str, what: &str, address: &str| {
            let line = format!("  {name:<9} {what:<10} {address}");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
        };
        let local = |port: &u16| format!("http://127.0.0.1:{port}");
        line("origin", "API", &format!("{}  key {API_KEY}", local(origin_api)));
        line("", "admin", &format!("{}/metrics", local(origin_admin)));
        line("svrlist", "HTTP", &local(svrlist));
        line("", "admin", &format!("{}/metrics", local(svrlist_admin)));
        for (at, edge) in edges.iter().enumerate() {
            let stand = stand(at);
            let place = format!("{}, {}", stand.city, stand.carrier);
            line(&format!("edge {}", at + 1), &place, "");
            let websocket = format!("ws://127.0.0.1:{}/connection/websocket", edge.http);
            line("", "SDKs", &format!("{websocket}  (TLS: {})", edge.http_tls));
            let goim = format!("tcp 127.0.0.1:{}, ws://127.0.0.1:{}/sub", edge.tcp, edge.http);
            line("", "goim", &format!("{goim}  (TLS: {}, {})", edge.tcp_tls, edge.http_tls));
            line("", "admin", &format!("{}/metrics", local(&edge.admin)));
        }
        if let Some(relay) = relay {
            line("relay", "admin", &format!("{}/lines", local(&relay.admin)));
            for (at, ports) in relay.lines.iter().enumerate() {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                let ports = format!("udp 127.0.0.1, ports {}", ports.join(", "));
                line("", &edge_name(at), &format!("{ports}: {}", CARRIERS.join(", ")));
            }
        }
        text.push('\n');
    }

    fn things_to_try(&self, text: &mut String) {
        let Self { ports: Ports { origin_api, svrlist, relay, .. }, program, .. } = self;
        let usual = Ports::default();
        let api = flag(*origin_api, usual.origin_api, "--api");
        let list = flag(*svrlist, usual.svrlist, "--svrlist");
        let victim = self.processes.get(2).copied().unwrap_or_default();
        let mut line = |line: &str| {
            let _ = writeln!(text, "{line}");
        };
        line("Follow a room, and publish to it:");
        line(&format!("  {program} tail live:1000{list}"));
        line(&format!(
            "  curl -H 'X-API-Key: {API_KEY}' http://127.0.0.1:{origin_api}/api/publish \\"
        ));
        line("    -d '{\"channel\": \"live:1000\", \"data\": {\"text\": \"hello\"}}'");
        line(&format!("  {program} push live:1000 '{{\"n\": {{n}}}}' --count 100 --rate 10{api}"));
        line("Open in a browser:");
        line(&format!("  http://127.0.0.1:{svrlist}/      the edges, as svrlist sees them"));
        let lines = if relay.is_some() { ", and lines to break" } else { "" };
        line(&format!("  http://127.0.0.1:{svrlist}/demo  a room{lines}"));
        line("Break something and watch it heal:");
        line(&format!("  kill -9 {victim}    edge 1"));
        if let Some(relay) = relay {
            let usual = usual.relay.map_or(0, |relay| relay.admin);
            let relay = flag(relay.admin, usual, "--relay");
            let (first, edge) = (line_name(0, 0), edge_name(0));
            line(&format!("  {program} line break {first}{relay}    a line of edge 1"));
            line(&format!("  {program} line break {edge}{relay}    all its lines"));
            line(&format!("  {program} line heal {edge}{relay}"));
            line(&format!("  {program} line{relay}    what all lines do"));
        }
        line("");
    }
}

/// What has to be said to reach a port that is not the usual one.
fn flag(port: u16, usual: u16, name: &str) -> String {
    if port == usual { String::new() } else { format!(" {name} http://127.0.0.1:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(ports: &Ports, folder: Option<&Path>) -> String {
        let processes = [101, 102, 103, 104, 105];
        Facts { ports, processes: &processes, program: "linecast", folder }.summary()
    }

    #[test]
    fn the_documented_ports_need_no_flags() {
        let text = summary(&Ports::default(), Some(Path::new("/data")));
        assert!(text.contains("  linecast tail live:1000\n"), "{text}");
        assert!(text.contains("--count 100 --rate 10\n"), "{text}");
        assert!(text.contains("ws://127.0.0.1:7632/connection/websocket"), "{text}");
        assert!(text.contains("kill -9 103 "), "{text}");
        assert!(text.contains("/demo  a room, and lines to break\n"), "{text}");
        assert!(text.contains("  linecast line break bj-telecom/telecom  "), "{text}");
        assert!(text.contains("ports 7721, 7722, 7723: telecom, unicom, mobile\n"), "{text}");
        assert!(text.contains("  linecast line heal bj-telecom\n"), "{text}");
        assert!(text.contains("Data are kept in /data."), "{text}");
    }

    #[test]
    fn other_ports_are_named_wherever_they_matter() {
        let text = summary(&Ports::from_base(9000).unwrap(), None);
        assert!(text.contains("tail live:1000 --svrlist http://127.0.0.1:9100\n"), "{text}");
        assert!(text.contains("--rate 10 --api http://127.0.0.1:9000\n"), "{text}");
        assert!(text.contains("line heal bj-telecom --relay http://127.0.0.1:9309\n"), "{text}");
        assert!(!text.contains(":7"), "{text}");
    }
}
