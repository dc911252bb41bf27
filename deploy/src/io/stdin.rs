//! Ending a service with whoever started it, however that one ended.
//!
//! `linecast up` holds the other end of each service's standard input. The kernel closes it when
//! `up` ends, also when it is killed, so that no service outlives its network.

use std::io::{self, Read};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// From now on this process ends, as if asked by SIGTERM, when its standard input does.
pub fn end_with_stdin() -> io::Result<()> {
    // A thread and no task: waiting for standard input cannot be called off, and a runtime would
    // wait for it at its end.
    let watch = || {
        wait_for_the_end();
        // Nothing is logged: whoever read the log is gone.
        if kill_process(getpid(), Signal::TERM).is_ok() {
            std::thread::sleep(GRACE);
        }
        std::process::exit(1);
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(watch).map(drop)
}

fn wait_for_the_end() {
    let mut ignored = [0; 256];
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut ignored) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}

/// How long an orderly end may take.
const GRACE: Duration = Duration::from_secs(15);
