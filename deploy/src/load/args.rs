//! What can be said to `linecast load`. The comments here are what `--help` prints.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::protocol::{Compression, Protocol};
use super::rooms::RoomsArg;
use crate::network::{API_KEY, EDGES_MAX, Ports};

/// The arguments of `linecast load`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples and what the numbers mean: docs/load.md")]
pub struct LoadArgs {
    /// What clients speak
    #[arg(long, value_enum, default_value = "centrifuge-json")]
    pub protocol: Protocol,
    /// Over TLS
    #[arg(long)]
    pub tls: bool,
    /// Where clients connect; may be repeated. Without it edges of `linecast up`
    #[arg(long = "target", value_name = "HOST:PORT")]
    pub targets: Vec<String>,
    /// How many edges of `linecast up`, from the first one on
    #[arg(long, value_name = "K", default_value_t = 1, conflicts_with = "targets",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(EDGES_MAX)))]
    pub edges: u16,
    /// The base port of `linecast up`
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().origin_api)]
    pub base_port: u16,
    /// How many clients
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub clients: u32,
    /// Processes that clients live in; without it as many as their descriptors need
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub processes: Option<u32>,
    /// Addresses that clients come from: how many of 127.0.0.0/8, a network, or a list with commas
    #[arg(long, value_name = "WHICH", value_parser = Sources::parse)]
    pub sources: Option<Sources>,
    /// Rooms that clients are spread over evenly
    #[arg(long, value_name = "K", default_value_t = 1, conflicts_with = "room",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rooms: u32,
    /// Spreads clients over the rooms by Zipf's law with this exponent, in steps of powers of two
    #[arg(long, value_name = "EXPONENT", conflicts_with = "room", value_parser = exponent)]
    pub zipf: Option<f64>,
    /// Rooms with a share of the clients and a rate of their own, such as big=10@40 or
    /// small*1000=1@1; may be repeated
    #[arg(long, value_name = "NAME[*ROOMS]=SHARE[@RATE]", value_parser = RoomsArg::parse)]
    pub room: Vec<RoomsArg>,
    /// The namespace of rooms; may be empty
    #[arg(long, default_value = "live")]
    pub namespace: String,
    /// Messages per second and room; `max` for --limit as fast as it can
    #[arg(long, value_name = "R", default_value = "40", value_parser = Rate::parse)]
    pub rate: Rate,
    /// Bytes of a message's body
    #[arg(long, value_name = "BYTES", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(38..=1_000_000))]
    pub size: u32,
    /// Class of the messages, where the way they are published knows classes
    #[arg(long)]
    pub class: Option<String>,
    /// goim operation of the messages
    #[arg(long, value_name = "OPERATION")]
    pub op: Option<i32>,
    /// How long it is measured
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pub seconds: f64,
    /// How long messages flow before it is measured
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub warm_up: f64,
    /// How long to wait at the end for what is still on its way
    #[arg(long, value_name = "S", default_value = "15", value_parser = seconds)]
    pub drain: f64,
    /// Connections opened per second, over all processes; without it as fast as it goes
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..))]
    pub connect_rate: Option<u32>,
    /// Clients per second that leave while messages flow, and others that join
    #[arg(long, value_name = "J", default_value_t = 0)]
    pub churn: u32,
    /// Share of the clients that read nothing
    #[arg(long, value_name = "F", default_value = "0", value_parser = share)]
    pub slow: f64,
    /// What those read after all, in bytes a second each
    #[arg(long, value_name = "BYTES", default_value_t = 0, requires = "slow")]
    pub slow_bytes: u32,
    /// How messages are published; without it as the protocol's servers want it
    #[arg(long, value_enum)]
    pub publish: Option<PublishWay>,
    /// The origin's API, for origin-api and goim-push; without it that of `linecast up`
    #[arg(long, value_name = "URL")]
    pub origin: Option<String>,
    /// Where messages are published, for http-post (with {room}) and nats (nats://HOST:PORT)
    #[arg(long, value_name = "URL")]
    pub publish_url: Option<String>,
    /// Publishers; each has a connection, and rooms are spread over them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub publishers: u32,
    /// API key
    #[arg(long, env = "LINECAST_API_KEY", hide_env_values = true, default_value = API_KEY)]
    pub key: String,
    /// Path of the WebSocket, instead of the protocol's; {room} in it is the room's name
    #[arg(long)]
    pub path: Option<String>,
    /// Token that every client logs in with
    #[arg(long, env = "LINECAST_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// What danmaku clients want
    #[arg(long, value_enum, default_value = "none")]
    pub compression: Compression,
    /// PEM file of certificates to trust, instead of those that browsers trust
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Trusts every certificate of a target
    #[arg(long, requires = "tls", conflicts_with = "ca")]
    pub insecure: bool,
    /// Connects and subscribes, then holds the connections so long without a message
    #[arg(long, value_name = "S", value_parser = seconds, conflicts_with = "limit")]
    pub idle: Option<f64>,
    /// No server: a process that only sends the same bytes to as many sockets, the machine's limit
    #[arg(long, conflicts_with_all = ["targets", "publish", "tls", "churn", "slow", "room", "rooms"])]
    pub limit: bool,
    /// Messages in each send on average, for --limit
    #[arg(long, value_name = "MESSAGES", default_value = "1", requires = "limit",
          value_parser = batch)]
    pub batch: f64,
    /// Sending processes, for --limit and --ratio; without it as many as there are processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub senders: Option<u32>,
    /// Afterwards the same for the bare loop, with the batch that was reached; prints the ratio
    #[arg(long, conflicts_with_all = ["limit", "idle", "tls", "churn", "room", "rooms"])]
    pub ratio: bool,
    /// Process of a server whose CPU time and memory are reported; may be repeated. Without it those
    /// that listen at the targets, where they are on this machine
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// An edge's metrics; may be repeated. Without it and --target those of the edges of `linecast up`
    #[arg(long, value_name = "URL")]
    pub metrics: Vec<String>,
    /// Writes the results as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draws latency and rate over time as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// How messages are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum PublishWay {
    /// Centrifugo's HTTP API at the origin: all that is due in one /api/batch
    OriginApi,
    /// goim's /goim/push/room at the origin
    GoimPush,
    /// POST of the body to a URL (nchan)
    HttpPost,
    /// NATS over TCP
    Nats,
}

/// A rate of messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many a second.
    PerSecond(f64),
    /// As many as possible.
    Max,
}

impl Rate {
    /// Reads a number or `max`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        rate(text).map(Self::PerSecond)
    }
}

/// Which addresses clients come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// So many loopback addresses.
    Count(u32),
    /// As many of a network as are needed.
    Network(ipnet::IpNet),
    /// These.
    List(Vec<IpAddr>),
}

impl Sources {
    /// Reads a count, a network or a list.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "must be how many, a network such as 127.0.0.0/8, or addresses with commas".to_owned()
        };
        if let Ok(count) = text.parse::<u32>() {
            return if (1..=65_536).contains(&count) {
                Ok(Self::Count(count))
            } else {
                Err(wrong())
            };
        }
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network));
        }
        let list: Result<Vec<IpAddr>, _> = text.split(',').map(|one| one.trim().parse()).collect();
        list.map(Self::List).map_err(|_| wrong())
    }
}

/// A rate of messages that can be kept.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("must be a number from 0.001 to 1000000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be seconds from 0 to 86400".to_owned()),
    }
}

fn batch(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(batch) if (1.0..=10_000.0).contains(&batch) => Ok(batch),
        _ => Err("must be a number from 1 to 10000".to_owned()),
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=4.0).contains(&exponent) => Ok(exponent),
        _ => Err("must be an exponent from 0 to 4".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a share from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_counts_networks_or_lists() {
        assert_eq!(Sources::parse("4"), Ok(Sources::Count(4)));
        let network = Sources::Network("127.0.0.0/8".parse().unwrap());
        assert_eq!(Sources::parse("127.0.0.0/8"), Ok(network));
        let list = vec!["127.0.0.1".parse().unwrap(), "127.0.0.9".parse().unwrap()];
        assert_eq!(Sources::parse("127.0.0.1, 127.0.0.9"), Ok(Sources::List(list)));
        for wrong in ["", "0", "here", "127.0.0.1,", "127.0.0.0/33"] {
            assert!(Sources::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_numbers_or_max() {
        assert_eq!(Rate::parse("0.5"), Ok(Rate::PerSecond(0.5)));
        assert_eq!(Rate::parse("max"), Ok(Rate::Max));
        for wrong in ["", "0", "-1", "NaN", "fast"] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
