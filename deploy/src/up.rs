//! What `linecast up` decides: which processes there are, in which order they end, and how long a
//! service that died stays down.

use std::path::Path;
use std::time::Duration;

use crate::network::{Files, Ports};

/// A service to be run as a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is called in the output.
    pub name: String,
    /// The arguments after the program's name.
    pub arguments: Vec<String>,
    /// The port of its admin listener, on loopback.
    pub admin: u16,
    /// When it ends among the others.
    pub leaves: Leaves,
}

/// The order in which services end: whoever depends on others goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    /// Edges: their clients are told, and their last reports still arrive.
    First,
    /// The origin.
    Second,
    /// svrlist, and the relay that edges called the origin through.
    Last,
}

impl Leaves {
    /// All, in order.
    pub const ORDER: [Self; 3] = [Self::First, Self::Second, Self::Last];
}

/// The services of a network, in the order in which they are started.
pub fn services(files: &Files, ports: &Ports) -> Vec<Service> {
    let service = |kind: &str, name: String, config: &Path, admin, leaves| Service {
        name,
        arguments: vec![
            kind.to_owned(),
            "--config".to_owned(),
            config.display().to_string(),
            format!("--{END_WITH_STDIN}"),
        ],
        admin,
        leaves,
    };
    let named = |name: &str| name.to_owned();
    let mut services = vec![
        service("origin", named("origin"), &files.origin, ports.origin_admin, Leaves::Second),
        service("svrlist", named("svrlist"), &files.svrlist, ports.svrlist_admin, Leaves::Last),
    ];
    for (number, (config, ports)) in (1..).zip(files.edges.iter().zip(&ports.edges)) {
        let name = format!("edge-{number}");
        services.push(service("edge", name, config, ports.admin, Leaves::First));
    }
    if let (Some(config), Some(ports)) = (&files.relay, &ports.relay) {
        services.push(service("relay", named("relay"), config, ports.admin, Leaves::Last));
    }
    services
}

/// How long a service that died stays down: short at first, longer if it keeps dying.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    deaths: u32,
}

impl Pauses {
    /// The pause after a death, given how long the process had run.
    pub fn handle_death(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= RAN_WELL {
            self.deaths = 0;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.deaths.min(16)).min(PAUSE_MAX);
        self.deaths += 1;
        pause
    }
}

/// The hidden flag of a service that ends when its standard input does.
pub const END_WITH_STDIN: &str = "end-with-stdin";

const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A process that ran this long did not die of how it was started.
const RAN_WELL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_process_runs_well() {
        let mut pauses = Pauses::default();
        let at_once = Duration::from_millis(1);
        let grown: Vec<u128> = (0..8).map(|_| pauses.handle_death(at_once).as_millis()).collect();
        assert_eq!(grown, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(pauses.handle_death(RAN_WELL), PAUSE_MIN);
        assert_eq!(pauses.handle_death(at_once), 2 * PAUSE_MIN);
    }

    #[test]
    fn a_network_is_an_origin_a_svrlist_its_edges_and_a_relay() {
        let files = Files {
            origin: "/d/origin.toml".into(),
            svrlist: "/d/svrlist.toml".into(),
            edges: vec!["/d/edge-1.toml".into(), "/d/edge-2.toml".into()],
            relay: Some("/d/relay.toml".into()),
        };
        let services = services(&files, &Ports::default());
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["origin", "svrlist", "edge-1", "edge-2", "relay"]);
        assert_eq!(
            services[3].arguments,
            ["edge", "--config", "/d/edge-2.toml", "--end-with-stdin"]
        );
        assert_eq!((services[3].admin, services[3].leaves), (7629, Leaves::First));
        assert_eq!((services[4].admin, services[4].leaves), (7709, Leaves::Last));
    }
}
