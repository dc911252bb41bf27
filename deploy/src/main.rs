//! The `linecast` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    deploy::cli::run(std::env::args_os())
}
