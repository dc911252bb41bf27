//! What can be said on the command line. The comments here are what `--help` prints.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shared::config::cli as services;

use crate::io::load::CHILD as LOAD_CHILD;
use crate::load::LoadArgs;
use crate::network::{API_KEY, EDGES_MAX, Ports};
use crate::reference::Service;

/// Carries live room messages from an origin over edges to their viewers
#[derive(Parser, Debug)]
#[command(name = "linecast", version, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Runs a whole network on this machine: origin, svrlist, edges
    Up(UpArgs),
    /// Publishes messages through an origin's API
    Push(PushArgs),
    /// Follows a channel as a client does and prints its messages
    Tail(TailArgs),
    /// Measures a network, or any other server, under many clients
    Load(Box<LoadArgs>),
    /// A process of `load`
    #[command(name = LOAD_CHILD, hide = true)]
    LoadChild,
    /// Makes certificates: the nodes' authority, nodes, listeners for clients
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Says what is known of addresses; builds and compares place databases
    #[command(subcommand)]
    Place(PlaceCommand),
    /// Runs an origin
    Origin(ServiceArgs<origin::Args>),
    /// Runs an edge
    Edge(ServiceArgs),
    /// Runs a svrlist
    Svrlist(ServiceArgs),
    /// Runs a relay, which makes lines as bad as one likes
    Relay(ServiceArgs),
    /// Shows the lines of a relay, breaks and heals them
    Line(LineArgs),
    /// Reads a password, the first line of standard input, and prints what stands for it in the
    /// configuration: `operator.NAME.password`
    HashPassword,
    /// Prints all configuration keys as Markdown
    Reference {
        /// Of this service only
        service: Option<Service>,
    },
}

#[derive(Args, Debug)]
pub(super) struct UpArgs {
    /// Folder to keep data in
    #[arg(long, value_name = "DIR", default_value = "linecast-data")]
    pub(super) data: PathBuf,
    /// Keeps nothing
    #[arg(long, conflicts_with = "data")]
    pub(super) ephemeral: bool,
    /// Lowest port; the others keep their distances to it
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().origin_api)]
    pub(super) base_port: u16,
    /// How many edges
    #[arg(long, value_name = "K", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(EDGES_MAX)))]
    pub(super) edges: u16,
}

#[derive(Args, Debug)]
pub(super) struct ServiceArgs<A: Args = services::Args> {
    #[command(flatten)]
    pub(super) args: A,
    /// Ends when standard input does: for whoever starts services as its children
    #[arg(long, hide = true)]
    pub(super) end_with_stdin: bool,
}

#[derive(Args, Debug)]
pub(super) struct LineArgs {
    #[command(subcommand)]
    pub(super) command: Option<LineCommand>,
    /// The relay's admin address
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:7709")]
    pub(super) relay: String,
}

#[derive(Subcommand, Debug)]
pub(super) enum LineCommand {
    /// Shows all lines; the same as no command at all
    List,
    /// Loses everything on a line, silently
    Break {
        /// Its name, such as bj-telecom/unicom, or an edge's for all of its lines
        name: String,
    },
    /// Takes everything back that was done to a line
    Heal {
        /// Its name, such as bj-telecom/unicom, or an edge's for all of its lines
        name: String,
    },
    /// Makes a line worse or better
    Set {
        /// Its name, such as bj-telecom/unicom, or an edge's for all of its lines
        name: String,
        /// What to set: preset, delay, loss and so on for both directions, up.loss or down.loss for
        /// one
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
}

#[derive(Args, Debug)]
pub(super) struct PushArgs {
    /// Channel, such as live:1000
    pub(super) channel: String,
    /// Message: JSON, or a text; {n} in it is the message's number. `-` or nothing: each line of
    /// standard input is a message
    pub(super) body: Option<String>,
    /// The origin's API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    pub(super) api: String,
    /// API key
    #[arg(long, env = "LINECAST_API_KEY", hide_env_values = true, default_value = API_KEY)]
    pub(super) key: String,
    /// Class, instead of the namespace's
    #[arg(long)]
    pub(super) class: Option<ClassName>,
    /// goim operation, instead of the namespace's
    #[arg(long, allow_negative_numbers = true)]
    pub(super) op: Option<i32>,
    /// Makes a repeated message count once; with several messages, each key gets its number
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
    /// How often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// At most so many messages per second
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// PEM file of certificates to trust, instead of those that browsers trust
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ClassName {
    Urgent,
    Normal,
    Droppable,
}

#[derive(Args, Debug)]
pub(super) struct TailArgs {
    /// Channel, such as live:1000
    pub(super) channel: String,
    /// The svrlist to ask for an edge
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7500")]
    pub(super) svrlist: String,
    /// An edge, instead of asking a svrlist: ws://host:port/connection/websocket
    #[arg(long, value_name = "URL", conflicts_with = "svrlist")]
    pub(super) edge: Option<String>,
    /// Starts after this offset; 0 is the oldest message that is kept
    #[arg(long, value_name = "OFFSET")]
    pub(super) since: Option<u64>,
    /// Token (JWT) that says who we are
    #[arg(long, env = "LINECAST_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Ends after so many messages
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Prints bodies alone
    #[arg(long)]
    pub(super) bodies: bool,
    /// PEM file of certificates to trust, instead of those that browsers trust
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(super) enum PkiCommand {
    /// Makes the authority that nodes trust
    Init(PkiArgs),
    /// Makes a node's certificate
    Node {
        /// What the node does
        role: RoleName,
        /// Its name among those of its role: lower-case letters, digits, hyphens
        name: String,
        #[command(flatten)]
        args: PkiArgs,
    },
    /// Makes a certificate, signed by itself, for the listeners that clients connect to
    Client {
        /// Names and addresses that clients connect to
        #[arg(required = true)]
        hosts: Vec<String>,
        #[command(flatten)]
        args: PkiArgs,
    },
    /// Lists the certificates in the folder, with what is wrong with them
    Show {
        #[command(flatten)]
        folder: PkiFolder,
    },
}

#[derive(Args, Debug)]
pub(super) struct PkiArgs {
    #[command(flatten)]
    pub(super) folder: PkiFolder,
    /// How long the certificate holds; 3650 for the authority and 397 for others if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(super) days: Option<u32>,
    /// Replaces what is there
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Args, Debug)]
pub(super) struct PkiFolder {
    /// Folder of the certificates
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub(super) dir: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleName {
    Origin,
    Svrlist,
    Edge,
}

#[derive(Subcommand, Debug)]
pub(super) enum PlaceCommand {
    /// Looks addresses up; without a database in the one of the demo, which knows 127.0.0.0/8
    Lookup(LookupArgs),
    /// Builds a database out of lists by carrier and region, other databases and overrides
    Build(BuildArgs),
    /// Says which share of all addresses moved between two databases, and from where to where
    Diff(DiffArgs),
}

#[derive(Args, Debug)]
pub(super) struct LookupArgs {
    /// IPv4 or IPv6 addresses
    #[arg(required = true, value_name = "ADDRESS")]
    pub(super) addresses: Vec<IpAddr>,
    /// Our own (country, region, city, carrier) database, MMDB
    #[arg(long, alias = "own", value_name = "FILE")]
    pub(super) database: Option<PathBuf>,
    #[command(flatten)]
    pub(super) others: OtherDatabases,
}

/// Databases of others.
#[derive(Args, Debug)]
pub(super) struct OtherDatabases {
    /// GeoIP2 or GeoLite2 City database, MMDB
    #[arg(long, value_name = "FILE")]
    pub(super) city: Option<PathBuf>,
    /// GeoIP2 ISP database, MMDB
    #[arg(long, value_name = "FILE")]
    pub(super) isp: Option<PathBuf>,
    /// GeoLite2 ASN database, MMDB
    #[arg(long, value_name = "FILE")]
    pub(super) asn: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct BuildArgs {
    /// Folder of lists by carrier: NAME.txt, NAME6.txt and NAME46.txt, one network on each line
    #[arg(long, value_name = "DIR")]
    pub(super) carriers: Vec<PathBuf>,
    /// Folder of lists by region: CODE.txt, one network on each line, and names.csv
    #[arg(long, value_name = "DIR")]
    pub(super) regions: Vec<PathBuf>,
    /// File of such a folder that is no list, without its .txt; NAME6 and NAME46 are skipped with it
    #[arg(long, value_name = "NAME")]
    pub(super) skip: Vec<String>,
    #[command(flatten)]
    pub(super) others: OtherDatabases,
    /// Table of what you know better: CSV with the columns network, country, region, city, carrier
    #[arg(long, value_name = "FILE")]
    pub(super) overrides: Vec<PathBuf>,
    /// The database to write, or to replace; without it there is only the report
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// The database there was
    pub(super) before: PathBuf,
    /// The database there is to be
    pub(super) after: PathBuf,
    /// How many moves to list, the largest first
    #[arg(long, value_name = "MOVES", default_value_t = 10)]
    pub(super) moves: usize,
    /// Fails if more of the IPv4 or IPv6 addresses that either knows have moved
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(super) moved_max: Option<f64>,
}

/// A setting of a line; the relay knows which there are.
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE, such as loss=0.05 or up.preset=blackhole".to_owned()),
    }
}

/// A share.
fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches(['%', ' ']).parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("must be a number from 0 to 100".to_owned()),
    }
}

/// A rate of messages: anything that can be waited for.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("must be a number from 0.001 to 1000000".to_owned()),
    }
}
