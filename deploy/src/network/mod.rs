//! A whole network on one machine, described: who is there, on which ports, with which options.
//!
//! The same description serves `linecast up` and the tests, so that what a person tries is what the
//! tests try. [`write()`] turns it into files.
//!
//! Invariant: [`Ports::listeners`] names every socket that the services will open for others.

mod files;
mod ports;
mod summary;

pub use files::{Layout, edge_file, origin_file, relay_file, svrlist_file};
pub use ports::{EDGES_MAX, EdgePorts, Listener, Ports, PortsError, RelayPorts, Transport};
pub use summary::Facts;

pub use crate::io::network::{Files, WriteError, write};

use shared::io::tls::{NodeName, Role};

/// The API key that the origin of such a network accepts. It is no secret: every listener is on
/// loopback.
pub const API_KEY: &str = "dev";

/// Name, password and key of the operator of svrlist.
pub const OPERATOR: &str = "dev";

/// What clients' tokens (JWT, HS256) are signed with in such a network. As public as the API key.
pub const TOKEN_SECRET: &str = "linecast-demo-token-secret";

/// What cells are signed with in such a network, so that clients can report. As public as the API key.
pub const CELL_SECRET: &str = "linecast-demo-cell-secret";

/// Where an edge of such a network stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The edge's name.
    pub name: &'static str,
    /// The region's administrative code.
    pub region: &'static str,
    /// The city.
    pub city: &'static str,
    /// The carrier.
    pub carrier: &'static str,
}

/// Where edge `at` (from 0) stands. The first three are of three cities and three carriers; further
/// ones double them.
pub fn stand(at: usize) -> Stand {
    STANDS[at % STANDS.len()]
}

/// What edge `at` (from 0) is called.
pub fn edge_name(at: usize) -> String {
    match at / STANDS.len() {
        0 => stand(at).name.to_owned(),
        round => format!("{}-{}", stand(at).name, round + 1),
    }
}

/// What line `line` of edge `edge` (both from 0) is called: the edge and the carrier it goes through.
pub fn line_name(edge: usize, line: usize) -> String {
    format!("{}/{}", edge_name(edge), CARRIERS[line])
}

/// The nodes of a network with this many edges: origin, svrlist, edges.
pub fn nodes(edges: usize) -> Vec<NodeName> {
    let node = |role, name: String| NodeName { role, name };
    let fixed = [node(Role::Origin, NODE.to_owned()), node(Role::Svrlist, NODE.to_owned())];
    fixed.into_iter().chain((0..edges).map(|at| node(Role::Edge, edge_name(at)))).collect()
}

/// How many lines each edge has to the origin where a relay carries them.
pub const LINES: usize = CARRIERS.len();

/// Through whose network each line of an edge goes.
pub const CARRIERS: [&str; 3] = ["telecom", "unicom", "mobile"];

const STANDS: [Stand; 3] = [
    Stand { name: "bj-telecom", region: "110000", city: "Beijing", carrier: "telecom" },
    Stand { name: "sh-unicom", region: "310000", city: "Shanghai", carrier: "unicom" },
    Stand { name: "gz-mobile", region: "440100", city: "Guangzhou", carrier: "mobile" },
];

/// The name of the only origin and of the only svrlist.
const NODE: &str = "local";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_name_of_its_own() {
        let names: Vec<String> = nodes(7).iter().map(NodeName::to_string).collect();
        assert_eq!(names[0], "origin.local.linecast");
        assert_eq!(names[2], "edge.bj-telecom.linecast");
        assert_eq!(names[5], "edge.bj-telecom-2.linecast");
        assert_eq!(names[8], "edge.bj-telecom-3.linecast");
        for node in nodes(7) {
            assert_eq!(NodeName::new(node.role, &node.name), Ok(node));
        }
    }

    #[test]
    fn regions_and_carriers_are_those_of_the_place_data() {
        for stand in STANDS {
            assert!(geo_data::Region::parse(stand.region).is_some());
            assert!(geo_data::Carrier::parse(stand.carrier).is_some());
            assert!(CARRIERS.contains(&stand.carrier));
        }
    }
}
