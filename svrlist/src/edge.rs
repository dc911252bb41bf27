//! An edge as it is meant: a report from the wire, checked and in the terms of the ranking.
//!
//! Reports come from our own edges over mutual TLS, and are checked all the same: what is listed
//! here is handed to every client, so a slip in one edge's configuration must not become everybody's
//! broken answer. A report is taken whole or refused with the name of the field.

use std::collections::BTreeMap;
use std::sync::Arc;

use geo_data::{Carrier, Position, Region};
use shared::wire::control;

use crate::answer::Face;
use crate::line::{LINES_MAX, Line};

/// One edge, as its last report describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Its name, unique in the network.
    pub name: Arc<str>,
    /// Where it stands.
    pub region: Region,
    /// The city as the edge calls it, for regions that the table of divisions does not name.
    pub city: String,
    /// Whose data centre it is in.
    pub carrier: Carrier,
    /// The data centre: edges of one site fail together.
    pub site: Arc<str>,
    /// The deployable set it belongs to.
    pub zone: String,
    /// What it runs.
    pub version: String,
    /// Its own point, or its region's seat.
    pub position: Option<Position>,
    /// Where clients reach it; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Share of clients relative to its equals; 0 takes no new ones.
    pub weight: f64,
    /// Client connections.
    pub connections: u32,
    /// Most client connections; 0 for unknown.
    pub connections_max: u32,
    /// Distinct client addresses.
    pub addresses: u32,
    /// Bits per second to clients, measured.
    pub bits_out: u64,
    /// What it may send, in bits per second; 0 for unknown.
    pub bits_out_max: u64,
    /// Sessions that began since its process started: clients that said who they are.
    pub begun: u64,
    /// Those of them that have ended.
    pub ended: u64,
    /// The scarcest of connections, processor and bandwidth: 0 idle, 1 exhausted.
    pub load: f64,
    /// Whether it refuses new clients, having too much to do.
    pub busy: bool,
    /// Whether it asks for no more clients.
    pub draining: bool,
    /// Its lines to its upstream.
    pub lines: Vec<Line>,
    /// Whether no line to its upstream is up, so that it has nothing new for its clients.
    pub cut_off: bool,
    /// When its process started, in milliseconds since 1970.
    pub started_ms: u64,
    /// How clients see it, once that was written.
    pub face: Face,
}

/// A listener of an edge, as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it speaks.
    pub transport: Transport,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// goim frames over TCP.
    GoimTcp,
    /// The same over TLS.
    GoimTls,
    /// HTTP with WebSocket paths.
    Http,
    /// The same over TLS.
    Https,
}

impl Transport {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoimTcp => "goim-tcp",
            Self::GoimTls => "goim-tcp-tls",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(protocol: &str) -> Option<Self> {
        match protocol {
            "goim-tcp" => Some(Self::GoimTcp),
            "goim-tcp-tls" => Some(Self::GoimTls),
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }
}

/// A report that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the report's {field} is {value:?}, must be {allowed}")]
pub struct ReportError {
    /// The field of the report.
    pub field: &'static str,
    /// What it said.
    pub value: String,
    /// What it may say.
    pub allowed: &'static str,
}

impl Edge {
    /// The city's name as it is shown: the table's, or the edge's own; `None` if neither knows.
    pub fn city(&self) -> Option<&str> {
        let division = self.region.division().map(|division| division.name);
        division.or(Some(self.city.as_str()).filter(|city| !city.is_empty()))
    }

    /// The first listener that speaks `transport`.
    pub fn endpoint(&self, transport: Transport) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.transport == transport)
    }

    /// Takes the report that the node named `peer` sent; an entry of `weights` outranks the weight
    /// that an edge reports of itself.
    pub fn admit(
        report: &control::Report,
        peer: &str,
        weights: &BTreeMap<String, f64>,
    ) -> Result<Self, ReportError> {
        if report.edge != peer {
            return Err(fault("edge", &report.edge, "the name in the edge's certificate"));
        }
        let mut edge = Self::from_report(report)?;
        if let Some(weight) = weights.get(peer) {
            edge.weight = *weight;
        }
        Ok(edge)
    }

    /// Reads a report. Listeners of transports that this svrlist does not know are left out, so
    /// that newer edges can report to it.
    pub fn from_report(report: &control::Report) -> Result<Self, ReportError> {
        let region = match report.region.as_str() {
            "" => Region::Unknown,
            code => Region::parse(code).ok_or_else(|| {
                fault(
                    "region",
                    code,
                    "an administrative code such as 110000, or a country's two letters",
                )
            })?,
        };
        let carrier = match report.carrier.as_str() {
            "" => Carrier::Unknown,
            name => Carrier::parse(name).ok_or_else(|| {
                fault("carrier", name, "a carrier such as telecom, unicom, mobile")
            })?,
        };
        let endpoints = endpoints(&report.endpoints)?;
        let weight = number("weight", report.weight)?;
        let cpu = number("cpu", report.cpu)?;
        let name: Arc<str> = text("edge", &report.edge, 1)?.into();
        let site = text("site", &report.site, 0)?;
        Ok(Self {
            // An edge without a site stands for itself.
            site: if site.is_empty() { Arc::clone(&name) } else { site.into() },
            name,
            region,
            carrier,
            city: text("city", &report.city, 0)?.to_owned(),
            zone: text("zone", &report.zone, 0)?.to_owned(),
            version: text("version", &report.version, 0)?.to_owned(),
            position: position(report).or_else(|| region.position()),
            endpoints,
            weight,
            connections: report.connections,
            connections_max: report.connections_max,
            addresses: report.addresses,
            bits_out: rate("bits_out", report.bits_out)?,
            bits_out_max: rate("bits_out_max", report.bits_out_max)?,
            begun: report.begun,
            ended: ended(report)?,
            load: cpu
                .max(share(report.connections.into(), report.connections_max.into()))
                .max(share(report.bits_out, report.bits_out_max))
                .max(if report.busy { 1.0 } else { 0.0 })
                .min(NUMBER_MAX),
            busy: report.busy,
            draining: report.draining,
            lines: report.lines.iter().take(LINES_MAX).filter_map(Line::from_report).collect(),
            cut_off: !report.lines.is_empty() && report.lines.iter().all(|line| !line.up),
            started_ms: report.started_ms,
            face: Face::default(),
        })
    }
}

/// Zero for both coordinates means that none were given: no edge floats in the Gulf of Guinea.
fn position(report: &control::Report) -> Option<Position> {
    let given = report.latitude != 0.0 || report.longitude != 0.0;
    given.then(|| Position::new(report.latitude, report.longitude)).flatten()
}

/// A part of a whole; 0 where the whole is unknown.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn endpoints(reported: &[control::Endpoint]) -> Result<Vec<Endpoint>, ReportError> {
    let mut endpoints = Vec::with_capacity(reported.len().min(ENDPOINTS_MAX));
    for endpoint in reported.iter().take(ENDPOINTS_MAX) {
        let Some(transport) = Transport::parse(&endpoint.protocol) else { continue };
        let port = u16::try_from(endpoint.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| {
            fault("endpoints.port", &endpoint.port.to_string(), "a port from 1 to 65535")
        })?;
        endpoints.push(Endpoint { transport, host: host(&endpoint.host)?, port });
    }
    if endpoints.is_empty() {
        return Err(fault("endpoints", "", "at least one of goim-tcp, goim-tcp-tls, http, https"));
    }
    Ok(endpoints)
}

/// A name or address that can stand in a URL; an IPv6 address gets its brackets.
fn host(host: &str) -> Result<String, ReportError> {
    if let Ok(v6) = host.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>() {
        return Ok(format!("[{v6}]"));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(fits) {
        return Ok(host.to_owned());
    }
    Err(fault("endpoints.host", host, "a host name or an address"))
}

fn text<'a>(field: &'static str, value: &'a str, least: usize) -> Result<&'a str, ReportError> {
    if (least..=TEXT_BYTES_MAX).contains(&value.len()) && !value.chars().any(char::is_control) {
        return Ok(value);
    }
    Err(fault(field, value, "a printable text of at most 64 bytes"))
}

fn number(field: &'static str, value: f64) -> Result<f64, ReportError> {
    if (0.0..=NUMBER_MAX).contains(&value) {
        return Ok(value);
    }
    Err(fault(field, &value.to_string(), "a number from 0 to 1000"))
}

/// A rate that some machine could have.
fn rate(field: &'static str, value: u64) -> Result<u64, ReportError> {
    if value <= RATE_MAX {
        return Ok(value);
    }
    Err(fault(field, &value.to_string(), "at most 10^14 bits per second"))
}

fn ended(report: &control::Report) -> Result<u64, ReportError> {
    if report.ended <= report.begun {
        return Ok(report.ended);
    }
    Err(fault("ended", &report.ended.to_string(), "at most as many sessions as begun"))
}

fn fault(field: &'static str, value: &str, allowed: &'static str) -> ReportError {
    let value = value.chars().take(TEXT_BYTES_MAX).collect();
    ReportError { field, value, allowed }
}

/// Longest name, site, zone or version.
const TEXT_BYTES_MAX: usize = 64;

/// Longest host name, as in DNS.
const HOST_BYTES_MAX: usize = 253;

/// Listeners of one edge that are looked at.
const ENDPOINTS_MAX: usize = 64;

/// Bits per second of one edge: a hundred times what the fastest network cards do.
const RATE_MAX: u64 = 100_000_000_000_000;

/// Bound of weight and load, which are near 1.
const NUMBER_MAX: f64 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{line_report, report};
    use shared::wire::control::LineReport;

    fn refused(change: impl FnOnce(&mut control::Report)) -> &'static str {
        let mut report = report("bj-1", "110000", "telecom");
        change(&mut report);
        Edge::from_report(&report).unwrap_err().field
    }

    #[test]
    fn a_report_becomes_an_edge() {
        let mut report = report("bj-1", "110000", "telecom");
        report.connections = 30;
        report.connections_max = 100;
        report.cpu = 0.5;
        report.bits_out = 9;
        report.bits_out_max = 10;
        let edge = Edge::from_report(&report).unwrap();
        assert_eq!(edge.load, 0.9);
        assert_eq!(edge.carrier, Carrier::Telecom);
        assert_eq!(edge.position, Region::parse("110000").unwrap().position());
        assert_eq!(edge.endpoint(Transport::Http).unwrap().port, 7612);
        assert_eq!(edge.endpoint(Transport::Https), None);
    }

    #[test]
    fn an_edge_all_of_whose_lines_are_down_is_cut_off() {
        let mut report = report("bj-1", "SG", "overseas");
        report.city = "Singapore".to_owned();
        let line = |up| LineReport { up, ..line_report() };
        for (lines, cut_off) in [
            (vec![], false),
            (vec![line(true)], false),
            (vec![line(false), line(true)], false),
            (vec![line(false), line(false)], true),
        ] {
            report.lines = lines;
            let edge = Edge::from_report(&report).unwrap();
            assert_eq!((edge.cut_off, edge.city()), (cut_off, Some("Singapore")));
        }
        report.lines = vec![line(false); LINES_MAX + 1];
        report.lines[0].remote = "nonsense".to_owned();
        let edge = Edge::from_report(&report).unwrap();
        assert_eq!((edge.lines.len(), edge.cut_off), (LINES_MAX - 1, true));
    }

    #[test]
    fn a_load_beyond_all_measure_is_bounded() {
        let mut report = report("bj-1", "110000", "telecom");
        (report.bits_out, report.bits_out_max) = (2_000_000_000, 1_000);
        let edge = Edge::from_report(&report).unwrap();
        assert_eq!(edge.load, NUMBER_MAX, "so that what is written down of it can be read again");
    }

    #[test]
    fn an_edge_without_a_site_is_its_own() {
        let mut report = report("bj-1", "", "");
        report.site = String::new();
        let edge = Edge::from_report(&report).unwrap();
        assert_eq!(
            (&*edge.site, edge.region, edge.carrier),
            ("bj-1", Region::Unknown, Carrier::Unknown)
        );
    }

    #[test]
    fn a_bad_report_is_refused_by_field() {
        assert_eq!(refused(|report| report.edge = String::new()), "edge");
        assert_eq!(refused(|report| report.edge = "a\nb".to_owned()), "edge");
        assert_eq!(refused(|report| report.region = "Beijing".to_owned()), "region");
        assert_eq!(refused(|report| report.carrier = "CT".to_owned()), "carrier");
        assert_eq!(refused(|report| report.weight = f64::NAN), "weight");
        assert_eq!(refused(|report| report.cpu = -0.1), "cpu");
        assert_eq!(refused(|report| report.cpu = f64::INFINITY), "cpu");
        assert_eq!(refused(|report| report.bits_out = u64::MAX), "bits_out");
        assert_eq!(refused(|report| report.bits_out_max = u64::MAX), "bits_out_max");
        assert_eq!(refused(|report| report.ended = 1), "ended");
        assert_eq!(refused(|report| report.endpoints.clear()), "endpoints");
        assert_eq!(refused(|report| report.endpoints[0].port = 70_000), "endpoints.port");
        assert_eq!(refused(|report| report.endpoints[0].host = "a/b".to_owned()), "endpoints.host");
    }

    #[test]
    fn an_edge_speaks_for_itself_and_the_operator_has_the_last_word() {
        let report = report("bj-1", "110000", "telecom");
        let weights = BTreeMap::from([("bj-1".to_owned(), 2.5)]);
        assert_eq!(Edge::admit(&report, "bj-1", &weights).unwrap().weight, 2.5);
        assert_eq!(Edge::admit(&report, "bj-1", &BTreeMap::new()).unwrap().weight, 1.0);
        assert_eq!(Edge::admit(&report, "bj-2", &weights).unwrap_err().field, "edge");
    }

    #[test]
    fn unknown_transports_are_left_out() {
        let mut report = report("bj-1", "110000", "telecom");
        report.endpoints[0].protocol = "webtransport".to_owned();
        let edge = Edge::from_report(&report).unwrap();
        assert_eq!(edge.endpoints.len(), 1);
    }

    #[test]
    fn an_ipv6_host_gets_brackets() {
        let mut report = report("bj-1", "110000", "telecom");
        for given in ["2001:db8::1", "[2001:db8::1]"] {
            report.endpoints[0].host = given.to_owned();
            assert_eq!(Edge::from_report(&report).unwrap().endpoints[0].host, "[2001:db8::1]");
        }
    }
}
