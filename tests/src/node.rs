//! The whole product as one program: `linecast` under a name that Cargo gives to integration tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    deploy::cli::run(std::env::args_os())
}
