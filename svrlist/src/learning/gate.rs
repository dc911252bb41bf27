//! Which reports of clients count, and how much: nobody speaks for others.
//!
//! A client can be wrong about itself, or lie. So a session is heard once per interval, and all
//! clients behind one /24 (of IPv6: one /64) together have at most [`PREFIX_SHARE`] of what is known
//! of a cell and an edge, those of one /48 at most twice that. A prefix always has [`PREFIX_FREE`]
//! reports, less than the prior weighs, so that where few live they are heard at all.
//!
//! A token says where attempts were made, an address where they are told from. They differ for who roams:
//! what failed in one network may have to be told from another. And for who took a token there to lie
//! from everywhere. So those who roam are heard, but all of them together, however many prefixes they
//! have, are at most [`ROAMING_SHARE`] of what is known of a cell and an edge.
//!
//! Invariant: memory is bounded by [`SESSIONS_MAX`] and [`PREFIXES_MAX`]; beyond them reports are
//! refused until older ones have faded.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use super::HALF_LIFE;
use super::mean::Mean;

/// The memory of who has spoken.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    /// Who spoke in this interval.
    sessions: HashSet<u64>,
    interval: u64,
    /// By the number of a cell and an edge.
    spoken: HashMap<(u64, Voices), Mean>,
    swept: f64,
}

/// Whose reports are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Voices {
    All,
    V4([u8; 3]),
    V6([u8; 8]),
    V6Site([u8; 6]),
    Roaming,
}

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker {
    /// See [`Report::session`](super::Report::session).
    pub(super) session: u64,
    /// Where it speaks from.
    pub(super) address: IpAddr,
    /// Whether that is outside the cell that it speaks for.
    pub(super) roams: bool,
}

/// Why a report does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session has been heard in this interval.
    Again,
    /// Its prefix has its share already.
    Prefix,
    /// It comes from outside the cell, of which those who do have their share already.
    Roaming,
    /// The edge is none of ours.
    Edge,
    /// Too many are remembered; later.
    Full,
}

impl Gate {
    /// How much a report counts, above 0 and at most 1. `pair` is a number of its cell and edge.
    pub(super) fn admit(
        &mut self,
        pair: u64,
        Speaker { session, address, roams }: Speaker,
        at: f64,
    ) -> Result<f64, Refusal> {
        let interval = (at / INTERVAL.as_secs_f64()) as u64;
        if interval != self.interval {
            self.interval = interval;
            self.sessions.clear();
        }
        if self.sessions.contains(&session) {
            return Err(Refusal::Again);
        }
        let spoken = |voices| {
            let mean = self.spoken.get(&(pair, voices));
            mean.map_or(0.0, |mean| mean.weight(at, HALF_LIFE))
        };
        let all = spoken(Voices::All);
        let (near, site) = voices(address);
        let room = |voices, share: f64, free: f64| free.max(share * all) - spoken(voices);
        let mut weight = room(near, PREFIX_SHARE, PREFIX_FREE).min(1.0);
        if let Some(site) = site {
            weight = weight.min(room(site, 2.0 * PREFIX_SHARE, 2.0 * PREFIX_FREE));
        }
        if weight < WEIGHT_MIN {
            return Err(Refusal::Prefix);
        }
        let roaming = roams.then_some(Voices::Roaming);
        if let Some(roaming) = roaming {
            weight = weight.min(room(roaming, ROAMING_SHARE, PREFIX_FREE));
        }
        if weight < WEIGHT_MIN {
            return Err(Refusal::Roaming);
        }
        if self.sessions.len() >= SESSIONS_MAX || self.spoken.len() + 4 > PREFIXES_MAX {
            return Err(Refusal::Full);
        }
        self.sessions.insert(session);
        for voices in [Some(Voices::All), Some(near), site, roaming].into_iter().flatten() {
            let mean = self.spoken.entry((pair, voices)).or_default();
            mean.add(0.0, weight, at, HALF_LIFE);
        }
        Ok(weight)
    }

    /// Forgets whom nobody would miss.
    pub(super) fn handle_tick(&mut self, at: f64) {
        let crowded = self.spoken.len() > PREFIXES_MAX / 2;
        let every = if crowded { SWEEP_EVERY / 4 } else { SWEEP_EVERY };
        if at - self.swept >= every.as_secs_f64() {
            self.swept = at;
            self.spoken.retain(|_, mean| mean.weight(at, HALF_LIFE) > 0.1);
            self.spoken.shrink_to(PREFIXES_MAX / 16);
        }
    }

    /// How many sessions and prefixes are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.sessions.len(), self.spoken.len())
    }
}

fn voices(address: IpAddr) -> (Voices, Option<Voices>) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            (Voices::V4([a, b, c]), None)
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, ..] = v6.octets();
            let site = Voices::V6Site([a, b, c, d, e, f]);
            (Voices::V6([a, b, c, d, e, f, g, h]), Some(site))
        }
    }
}

/// A session is heard once in this time.
pub const INTERVAL: Duration = Duration::from_secs(20);

/// What clients of one /24 or /64 weigh at most among all that is known of a cell and an edge.
pub const PREFIX_SHARE: f64 = 0.05;

/// What those who roam weigh at most together: as much as two prefixes.
pub const ROAMING_SHARE: f64 = 0.1;

/// Reports of a prefix, or of those who roam, that count however few others there are: half of what the prior weighs.
pub(super) const PREFIX_FREE: f64 = 2.0;

/// Sessions remembered in an interval, some 10 MiB.
pub const SESSIONS_MAX: usize = 1 << 19;

/// (cell, edge, prefix) remembered, some 20 MiB: ten half-lives of what is heard at all.
pub const PREFIXES_MAX: usize = 1 << 18;

/// A report that counts less is not worth its memory.
const WEIGHT_MIN: f64 = 0.05;

const SWEEP_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: u64 = 0;

    fn v4(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn home(session: u64, address: IpAddr) -> Speaker {
        Speaker { session, address, roams: false }
    }

    #[test]
    fn a_session_is_heard_once_per_interval() {
        let mut gate = Gate::default();
        assert_eq!(gate.admit(PAIR, home(7, v4(1)), 0.0), Ok(1.0));
        assert_eq!(gate.admit(PAIR, home(7, v4(1 << 8)), 19.0), Err(Refusal::Again));
        assert_eq!(gate.admit(PAIR, home(7, v4(1 << 8)), 21.0), Ok(1.0));
    }

    #[test]
    fn a_flood_from_one_prefix_has_a_twentieth() {
        let mut gate = Gate::default();
        let honest = (0..400).map(|n| (n, v4((n as u32) << 8)));
        let liar = (1000..100_000).map(|n| (n, v4(0x0a00_0000 | n as u32 & 0xff)));
        let sum = |gate: &mut Gate, who: &mut dyn Iterator<Item = (u64, IpAddr)>| -> f64 {
            who.filter_map(|(session, address)| gate.admit(PAIR, home(session, address), 1.0).ok())
                .sum()
        };
        let truth = sum(&mut gate, &mut honest.into_iter());
        let lies = sum(&mut gate, &mut liar.into_iter());
        assert_eq!(truth, 400.0);
        assert!(lies <= 0.05 * (truth + lies) + 1.0 && lies > 10.0, "{lies}");
    }

    #[test]
    fn a_flood_from_one_ipv6_site_has_a_tenth() {
        let mut gate = Gate::default();
        for n in 0..400_u64 {
            gate.admit(PAIR, home(n, v4((n as u32) << 8)), 1.0).unwrap();
        }
        let lies = (0..50_000_u64).filter_map(|n| {
            let bits = (0x2001_0db8_0001_u128 << 80) | (u128::from(n) << 64);
            let address = IpAddr::from(bits.to_be_bytes());
            gate.admit(PAIR, home(1_000_000 + n, address), 1.0).ok()
        });
        let lies: f64 = lies.sum();
        assert!((20.0..50.0).contains(&lies), "{lies}");
    }

    #[test]
    fn all_who_roam_have_a_tenth_however_many_they_are() {
        let mut gate = Gate::default();
        for n in 0..400 {
            gate.admit(PAIR, home(n, v4((n as u32) << 8)), 1.0).unwrap();
        }
        let roams = |session: u64| Speaker {
            session,
            address: v4(0x0a00_0000 | (session as u32) << 8),
            roams: true,
        };
        let heard = (1_000..50_000).filter_map(|n| gate.admit(PAIR, roams(n), 1.0).ok());
        let heard: f64 = heard.sum();
        assert!((20.0..50.0).contains(&heard), "{heard}");
        assert_eq!(gate.admit(PAIR, roams(60_000), 1.0), Err(Refusal::Roaming));
        assert_eq!(gate.admit(PAIR, home(60_000, v4(0x0b00_0000)), 1.0), Ok(1.0));
        // Where nobody else says anything, some who roam are heard.
        assert_eq!(gate.admit(PAIR + 1, roams(60_001), 1.0), Ok(1.0));
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let mut gate = Gate::default();
        for n in 0..1_000_000_u64 {
            let _ = gate.admit(n % 1000, home(n, v4((n as u32) << 8)), 1.0);
        }
        let (sessions, prefixes) = gate.len();
        assert!(sessions <= SESSIONS_MAX && prefixes <= PREFIXES_MAX, "{sessions} {prefixes}");
        assert_eq!(gate.admit(PAIR, home(1, v4(0x0707_0700)), 30.0), Err(Refusal::Full));
        gate.handle_tick(3600.0);
        assert_eq!(gate.admit(PAIR, home(1, v4(0x0707_0700)), 3600.0), Ok(1.0));
    }
}
