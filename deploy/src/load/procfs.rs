//! What Linux tells of processes in `/proc`: which sockets listen, which process has them, and what it
//! took of processors and memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The inode of each socket that listens, in a table such as `/proc/net/tcp` or `/proc/net/tcp6`.
pub fn listening(table: &str) -> Vec<(SocketAddr, u64)> {
    table.lines().skip(1).filter_map(listening_line).collect()
}

fn listening_line(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (address, state) = (fields.nth(1)?, fields.nth(1)?);
    let inode = fields.nth(5)?.parse().ok()?;
    let (ip, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTEN).then_some((SocketAddr::new(ip_address(ip)?, port), inode))
}

/// An address is written as its 32-bit words, each as this machine holds it.
fn ip_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[4 * at..4 * at + 4].copy_from_slice(&word(8 * at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Whether a socket that listens at `listener` takes connections to `target`.
pub fn takes(listener: SocketAddr, target: SocketAddr) -> bool {
    let same = listener.ip().to_canonical() == target.ip().to_canonical();
    listener.port() == target.port() && (same || listener.ip().is_unspecified())
}

/// The inode in what a descriptor's link says, such as `socket:[4711]`.
pub fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Ticks that a process spent on processors, from its `/proc/PID/stat`.
pub fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// A process's name, from its `/proc/PID/stat`.
pub fn name(stat: &str) -> Option<&str> {
    Some(stat.split_once('(')?.1.rsplit_once(')')?.0)
}

/// Bytes of memory that a process holds, from its `/proc/PID/status`.
pub fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The sum of a counter in what a service tells as metrics, by the end of its name.
pub fn counter(metrics: &str, name: &str) -> Option<u64> {
    let one = |line: &str| {
        let (what, value) = line.split_once(' ')?;
        what.ends_with(name).then(|| value.trim().parse().ok()).flatten()
    };
    metrics.lines().filter(|line| !line.starts_with('#')).find_map(one)
}

const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn sockets_that_listen_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1DBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n   \
            1: 0100007F:1DBC 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n";
        assert_eq!(listening(table), [("127.0.0.1:7612".parse().unwrap(), 4711)]);
        let six = "\n 0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A \
            00000000:00000000 00:00000000 00000000 0 0 9 1 x";
        assert_eq!(listening(six), [("[::]:80".parse().unwrap(), 9)]);
        assert_eq!(listening("nonsense\nmore\n 0: x y z"), []);
        let [any, one, mapped] =
            ["[::]:80", "127.0.0.1:80", "[::ffff:127.0.0.1]:80"].map(|a| a.parse().unwrap());
        assert!(takes(any, one) && takes(mapped, one) && takes(one, one));
        assert!(!takes(one, "127.0.0.2:80".parse().unwrap()));
        assert!(!takes(any, "127.0.0.1:81".parse().unwrap()));
    }

    #[test]
    fn processes_are_read() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20";
        assert_eq!((ticks(stat), name(stat)), (Some(150), Some("a (b) c")));
        assert_eq!((ticks("42 (a) S 1"), ticks("")), (None, None));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12 << 10));
        assert_eq!((socket_inode("socket:[7]"), socket_inode("pipe:[7]")), (Some(7), None));
        let metrics = "# TYPE x counter\nlinecast_edge_writes_total 5\nlinecast_edge_y 6\n";
        assert_eq!((counter(metrics, "_writes_total"), counter(metrics, "_z")), (Some(5), None));
    }
}
