//! The command line: what can be said, and which part of the program is meant by it.
//!
//! Exit codes: 0 when all went well, 1 when it did not, 64 when the command or a configuration was
//! wrong.

mod args;

use std::error::Error;
use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::Args;
use geo_data::io::{GatherError, Paths, Sources};
use shared::config::cli::{self as services, EXIT_CONFIGURATION};
use shared::io::shutdown::{Shutdown, Termination, with_signals};
use shared::io::tls::{NodeName, Role};

use self::args::{
    BuildArgs, ClassName, Cli, Command, DiffArgs, LineArgs, LineCommand, LookupArgs,
    OtherDatabases, PkiCommand, PlaceCommand, PushArgs, RoleName, ServiceArgs, TailArgs, UpArgs,
};
use crate::io::output::{complain, note, say};
use crate::io::password::{PasswordError, hash_password};
use crate::io::pki::Folder;
use crate::io::places::BuildError;
use crate::io::stdin::end_with_stdin;
use crate::io::up::{Data, UpError, up};
use crate::io::{lines, load, places, push, relay, tail};
use crate::load::LoadArgs;
use crate::network::Ports;
use crate::place::{difference, too_much};
use crate::reference::reference;
use crate::relay::Order;
use crate::tail::Start;

/// Does what the arguments say; the first one is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    services::main(args, |Cli { command }| match command {
        Command::Up(args) => run_up(args),
        Command::Push(args) => run_push(args),
        Command::Tail(args) => run_tail(args),
        Command::Load(args) => run_load(*args),
        Command::LoadChild => done(load::child()),
        Command::Pki(command) => run_pki(command),
        Command::Place(PlaceCommand::Lookup(args)) => run_lookup(args),
        Command::Place(PlaceCommand::Build(args)) => run_build(args),
        Command::Place(PlaceCommand::Diff(args)) => run_diff(&args),
        Command::Origin(args) => run_service(&args, origin::launch),
        Command::Edge(args) => run_service(&args, edge::launch),
        Command::Svrlist(args) => run_service(&args, svrlist::launch),
        Command::Relay(args) => run_service(&args, relay::launch),
        Command::Line(args) => run_line(args),
        Command::HashPassword => run_hash_password(),
        Command::Reference { service } => answered(&reference(service)),
    })
}

fn run_service<A: Args>(args: &ServiceArgs<A>, launch: fn(&A) -> ExitCode) -> ExitCode {
    if args.end_with_stdin
        && let Err(error) = end_with_stdin()
    {
        return failed(&error);
    }
    launch(&args.args)
}

fn run_up(args: UpArgs) -> ExitCode {
    let ports = match Ports::from_base(args.base_port) {
        Ok(ports) => ports.with_edges(args.edges),
        Err(error) => return misused(&error),
    };
    let data = if args.ephemeral { Data::Ephemeral } else { Data::Kept(args.data) };
    until_signal(
        |shutdown| up(data, ports, shutdown),
        |error| match error {
            UpError::Misconfigured { .. } => misused(error),
            _ => failed(error),
        },
    )
}

fn run_line(args: LineArgs) -> ExitCode {
    let order = match args.command {
        None | Some(LineCommand::List) => Order::List,
        Some(LineCommand::Break { name }) => Order::Break { name },
        Some(LineCommand::Heal { name }) => Order::Heal { name },
        Some(LineCommand::Set { name, settings }) => Order::Set { name, settings },
    };
    until_signal(
        |shutdown| lines::order(args.relay, order, shutdown),
        |error| if error.is_misuse() { misused(error) } else { failed(error) },
    )
}

fn run_push(args: PushArgs) -> ExitCode {
    let class = args.class.map(|class| match class {
        ClassName::Urgent => "urgent",
        ClassName::Normal => "normal",
        ClassName::Droppable => "droppable",
    });
    let options = push::Options {
        request: crate::push::Request {
            channel: args.channel,
            class: class.map(str::to_owned),
            operation: args.op,
            idempotency_key: args.idempotency_key,
        },
        body: args.body.filter(|body| body != "-"),
        count: args.count,
        rate: args.rate,
        api: args.api,
        key: args.key,
        ca: args.ca,
    };
    until_signal(|shutdown| push::push(options, shutdown), |error| failed(error))
}

fn run_tail(args: TailArgs) -> ExitCode {
    let via = match args.edge {
        Some(edge) => tail::Via::Edge(edge),
        None => tail::Via::Svrlist(args.svrlist),
    };
    let options = tail::Options {
        channel: args.channel,
        via,
        token: args.token,
        start: args.since.map_or(Start::Now, Start::After),
        count: args.count,
        bodies: args.bodies,
        ca: args.ca,
    };
    until_signal(|shutdown| tail::tail(options, shutdown), |error| failed(error))
}

fn run_load(args: LoadArgs) -> ExitCode {
    until_signal(
        |shutdown| load::load(args, shutdown),
        |error| if error.is_misuse() { misused(error) } else { failed(error) },
    )
}

fn run_pki(command: PkiCommand) -> ExitCode {
    let made = match command {
        PkiCommand::Init(args) => {
            Folder::new(args.folder.dir).make_authority(args.days, args.force)
        }
        PkiCommand::Node { role, name, args } => {
            let role = match role {
                RoleName::Origin => Role::Origin,
                RoleName::Svrlist => Role::Svrlist,
                RoleName::Edge => Role::Edge,
            };
            match NodeName::new(role, &name) {
                Ok(node) => Folder::new(args.folder.dir).make_node(&node, args.days, args.force),
                Err(error) => return misused(&error),
            }
        }
        PkiCommand::Client { hosts, args } => {
            Folder::new(args.folder.dir).make_facing(&hosts, args.days, args.force)
        }
        PkiCommand::Show { folder } => return show(&Folder::new(folder.dir)),
    };
    match made {
        Ok(files) => answered(&format!("{}\n{}", files.certificate.display(), files.key.display())),
        Err(error) => failed(&error),
    }
}

/// Lists a folder's certificates; fails if something is wrong with one.
fn show(folder: &Folder) -> ExitCode {
    let shown = match folder.show() {
        Ok(shown) => shown,
        Err(error) => return failed(&error),
    };
    let mut good = true;
    for shown in shown {
        let line = match &shown.described {
            Ok(described) => {
                format!("{}: {}, until {}", shown.file, described.what, described.ends)
            }
            Err(error) => format!("{}: {error}", shown.file),
        };
        good &= shown.described.is_ok() && shown.warnings.is_empty();
        if say(&line).is_err() {
            break;
        }
        for warning in &shown.warnings {
            note(&format!("{}: {warning}", shown.file));
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_lookup(args: LookupArgs) -> ExitCode {
    let LookupArgs { addresses, database: own, others: OtherDatabases { city, isp, asn } } = args;
    match places::lookup(&addresses, &Paths { own, city, isp, asn }) {
        Ok(text) => answered(&text),
        Err(error) => failed(&error),
    }
}

fn run_build(args: BuildArgs) -> ExitCode {
    let BuildArgs { carriers, regions, skip, others, overrides, output } = args;
    let OtherDatabases { city, isp, asn } = others;
    let sources = Sources { carriers, regions, skip, city, isp, asn, overrides };
    match places::build(&sources, output.as_deref()) {
        Ok(text) => answered(&text),
        Err(BuildError::Gather(error @ GatherError::Nothing)) => misused(&error),
        Err(error) => failed(&error),
    }
}

fn run_diff(args: &DiffArgs) -> ExitCode {
    match places::diff(&args.before, &args.after) {
        Ok(diff) => {
            let said = answered(&difference(&diff, args.moves));
            match args.moved_max.and_then(|percent| too_much(&diff, percent)) {
                Some(why) => {
                    note(&why);
                    ExitCode::FAILURE
                }
                None => said,
            }
        }
        Err(error) => failed(&error),
    }
}

fn run_hash_password() -> ExitCode {
    match hash_password() {
        Ok(hash) => answered(&hash),
        Err(error @ PasswordError::Unfit(_)) => misused(&error),
        Err(error) => failed(&error),
    }
}

/// Runs a command to its end, or until SIGINT or SIGTERM. `fail` says why it failed.
fn until_signal<F, E>(
    command: impl FnOnce(Shutdown) -> F,
    fail: impl FnOnce(&E) -> ExitCode,
) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
{
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let shutdown = Shutdown::new();
    match runtime.block_on(with_signals(shutdown.clone(), Termination::Ends, command(shutdown))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error),
        Err(error) => failed(&error),
    }
}

/// The answer to a command is its success, whether or not somebody reads it.
fn answered(text: &str) -> ExitCode {
    let _ = say(text);
    ExitCode::SUCCESS
}

fn done(outcome: std::io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

fn misused(error: &dyn Error) -> ExitCode {
    complain(error);
    ExitCode::from(EXIT_CONFIGURATION)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn parse(args: &[&str]) -> Result<Command, String> {
        let args = ["linecast"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_service_takes_its_own_flags() {
        let args = ["edge", "--config", "edge.toml", "--set", "shards=1", "--end-with-stdin"];
        let Command::Edge(service) = parse(&args).unwrap() else { panic!("an edge") };
        assert!(service.end_with_stdin);
        assert_eq!(service.args.set, ["shards=1"]);
    }

    #[test]
    fn an_origin_takes_the_flag_that_its_store_advises() {
        let args = ["origin", "--accept-loss", "--set", "store.path=here"];
        let Command::Origin(service) = parse(&args).unwrap() else { panic!("an origin") };
        let set = service.args.settings().set;
        assert_eq!(set, ["store.path=here", "store.accept_loss=true"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            &["up", "--ephemeral", "--data", "here"][..],
            &["push", "live:1", "x", "--rate", "0"],
            &["push", "live:1", "x", "--count", "0"],
            &["push", "live:1", "x", "--class", "golden"],
            &["tail", "live:1", "--edge", "ws://a", "--svrlist", "http://b"],
            &["pki", "node", "queen", "a"],
            &["pki", "client"],
            &["place", "lookup", "somewhere"],
            &["place", "lookup"],
            &["place", "diff", "one.mmdb"],
            &["place", "diff", "one.mmdb", "two.mmdb", "--moved-max", "101"],
            &["line", "break"],
            &["line", "set", "bj-telecom"],
            &["line", "set", "bj-telecom", "loss"],
            &["sing"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(run(["linecast", "sing"].map(OsString::from)), ExitCode::from(64));
        let nothing = ["linecast", "place", "build"].map(OsString::from);
        assert_eq!(run(nothing), ExitCode::from(64));
        let low = ["linecast", "up", "--base-port", "80"].map(OsString::from);
        assert_eq!(run(low), ExitCode::from(64));
    }
}
