//! Ports that somebody else holds, and who that is.
//!
//! Asked before anything starts, so that a person reads one list and not five services' logs.

use std::fmt;
use std::fs;
use std::net::{TcpListener, UdpSocket};

use crate::network::{Listener, Transport};

/// A port that is not free.
#[derive(Debug)]
pub struct Taken {
    listener: Listener,
    holder: Option<String>,
}

impl fmt::Display for Taken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listener { what, transport, address } = &self.listener;
        let holder = self.holder.as_deref().unwrap_or("another program");
        write!(out, "{address}/{transport}, wanted for {what}, is held by {holder}")
    }
}

/// Which of these ports cannot be listened on.
pub(super) fn taken(listeners: Vec<Listener>) -> Vec<Taken> {
    let free = |listener: &Listener| match listener.transport {
        Transport::Tcp => TcpListener::bind(listener.address).is_ok(),
        Transport::Udp => UdpSocket::bind(listener.address).is_ok(),
    };
    let held = listeners.into_iter().filter(|listener| !free(listener));
    held.map(|listener| Taken { holder: holder(&listener), listener }).collect()
}

/// The process that holds a port, where the system tells (Linux, for one's own processes).
fn holder(listener: &Listener) -> Option<String> {
    let tables: [&str; 2] = match listener.transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, listener.address.port(), listener.transport))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().any(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
        });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", name.trim()));
        }
    }
    None
}

/// The inodes of the sockets in a table of /proc/net that listen on a port.
fn inodes(table: &str, port: u16, transport: Transport) -> Vec<u64> {
    let suffix = format!(":{port:04X}");
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let listens = transport == Transport::Udp || *state == LISTENING;
        (local.ends_with(&suffix) && listens).then(|| inode.parse().ok())?
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// The state of a TCP socket that listens, as /proc/net writes it.
const LISTENING: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_sockets_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
            \x20  1: 0100007F:1CE8 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n\
            \x20  2: 00000000:1CE9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n";
        assert_eq!(inodes(table, 7400, Transport::Tcp), [4711]);
        assert_eq!(inodes(table, 7400, Transport::Udp), [4711, 4712]);
        assert_eq!(inodes(table, 7401, Transport::Tcp), [4713]);
        assert!(inodes("nonsense", 7400, Transport::Tcp).is_empty());
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener {
            what: "svrlist".to_owned(),
            transport: Transport::Tcp,
            address: socket.local_addr().unwrap(),
        };
        let found = taken(vec![listener.clone()]);
        assert_eq!(found.len(), 1);
        let text = found[0].to_string();
        assert!(text.contains("/tcp, wanted for svrlist, is held by"), "{text}");
        if cfg!(target_os = "linux") {
            assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        }
        drop(socket);
        assert!(taken(vec![listener]).is_empty());
    }
}
