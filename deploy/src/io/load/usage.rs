//! What the server's processes take of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::load::outcome::Usage;
use crate::load::procfs;

/// Processes of this machine that listen at any of the addresses.
pub(super) fn listeners(targets: &[SocketAddr]) -> Vec<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let listening = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let listening: Vec<_> = listening.flat_map(|table| procfs::listening(&table)).collect();
    let taken = |(listener, _): &&(SocketAddr, u64)| {
        targets.iter().any(|target| procfs::takes(*listener, *target))
    };
    let inodes: BTreeSet<u64> = listening.iter().filter(taken).map(|(_, inode)| *inode).collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| has_one(*pid, &inodes)).collect()
}

fn has_one(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    // Of processes of others, and of those that just ended, nothing is known.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| {
        let link = fs::read_link(entry.path()).ok();
        let inode = link.as_deref().and_then(Path::to_str).and_then(procfs::socket_inode);
        inode.is_some_and(|inode| inodes.contains(&inode))
    })
}

/// What the processes have taken until now, all together.
pub(super) fn of(pids: &[u32]) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for pid in pids {
        let read = |what: &str| {
            let path = format!("/proc/{pid}/{what}");
            fs::read_to_string(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot read {path}: {error}"))
            })
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let ticks = procfs::ticks(&stat).unwrap_or_default();
        usage.cpu += ticks * 1_000_000 / rustix::param::clock_ticks_per_second();
        usage.resident += procfs::resident(&status).unwrap_or_default();
    }
    Ok(usage)
}

/// What a process is called.
pub(super) fn name(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    procfs::name(&stat).unwrap_or("?").to_owned()
}
