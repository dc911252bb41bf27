//! The rooms of a run: which clients read which room, and at what rate messages come.
//!
//! Rooms come in groups that share a rate; latency is told for each group, so that one sees what a big
//! room does to small ones beside it.
//!
//! Invariant: every client has exactly one room, and every room of a group as many clients as any other
//! of it, give or take one.

use serde::{Deserialize, Serialize};

use super::args;
use super::protocol::Protocol;

/// A group of rooms as it is said: `NAME[*ROOMS]=SHARE[@RATE]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomsArg {
    /// The name; of several rooms the beginning of their names.
    pub name: String,
    /// How many rooms.
    pub rooms: u32,
    /// The group's share of the clients, relative to other groups.
    pub share: f64,
    /// Messages per second and room, where it is not `--rate`.
    pub rate: Option<f64>,
}

impl RoomsArg {
    /// Reads `NAME[*ROOMS]=SHARE[@RATE]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must be NAME[*ROOMS]=SHARE[@RATE], such as small*1000=1@0.5".to_owned();
        let (name, share) = text.split_once('=').ok_or_else(wrong)?;
        let (share, rate) = match share.split_once('@') {
            Some((share, rate)) => (share, Some(args::rate(rate)?)),
            None => (share, None),
        };
        let share = share.parse().ok().filter(|share| (1e-6..=1e9).contains(share));
        let (name, rooms) = match name.split_once('*') {
            Some((name, rooms)) => (name, rooms.parse().map_err(|_| wrong())?),
            None => (name, 1),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) || !(1..=1_000_000).contains(&rooms) {
            return Err(wrong());
        }
        let share = share.ok_or_else(wrong)?;
        Ok(Self { name: name.to_owned(), rooms, share, rate })
    }
}

/// So many rooms by Zipf's law: groups of 1, 2, 4, 8 … rooms, each with the share that its ranks have
/// together.
pub fn zipf(name: u64, rooms: u32, exponent: f64) -> Vec<RoomsArg> {
    let mut groups = Vec::new();
    let mut first = 0;
    while first < rooms {
        let count = (first + 1).min(rooms - first);
        let ranks = first + 1..=first + count;
        let share = ranks.map(|rank| f64::from(rank).powf(-exponent)).sum();
        let name = (name + u64::from(first)).to_string();
        groups.push(RoomsArg { name, rooms: count, share, rate: None });
        first += count;
    }
    groups
}

/// A group of rooms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// How many rooms.
    pub rooms: u32,
    /// The number of its first room.
    pub first_room: u32,
    /// How many clients.
    pub clients: u32,
    /// The number of its first client.
    pub first_client: u32,
    /// Messages per second and room.
    pub rate: f64,
}

/// All rooms of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rooms {
    /// In the order in which they were said.
    pub groups: Vec<Group>,
}

impl Rooms {
    /// Spreads `clients` over groups by their shares.
    pub fn new(said: &[RoomsArg], clients: u32, rate: f64) -> Self {
        let shares: f64 = said.iter().map(|group| group.share).sum();
        let (mut first_room, mut first_client, mut sum) = (0, 0, 0.0);
        let mut groups = Vec::new();
        for one in said {
            sum += one.share;
            let until = (f64::from(clients) * sum / shares).round() as u32;
            groups.push(Group {
                name: one.name.clone(),
                rooms: one.rooms,
                first_room,
                clients: until - first_client,
                first_client,
                rate: one.rate.unwrap_or(rate),
            });
            first_room += one.rooms;
            first_client = until;
        }
        Self { groups }
    }

    /// How many rooms there are.
    pub fn count(&self) -> u32 {
        self.groups.last().map_or(0, |group| group.first_room + group.rooms)
    }

    /// The room of a client.
    pub fn of_client(&self, client: u32) -> u32 {
        let after = self.groups.partition_point(|group| group.first_client <= client);
        let group = &self.groups[after.max(1) - 1];
        group.first_room + (client - group.first_client) % group.rooms
    }

    /// The group of a room, by its place.
    pub fn group_of(&self, room: u32) -> usize {
        self.groups.partition_point(|group| group.first_room <= room).max(1) - 1
    }

    /// How many clients a room has.
    pub fn clients_of(&self, room: u32) -> u32 {
        let group = &self.groups[self.group_of(room)];
        let (each, over) = (group.clients / group.rooms, group.clients % group.rooms);
        each + u32::from(room - group.first_room < over)
    }

    /// The name of a room, without its namespace.
    pub fn name(&self, room: u32) -> String {
        let group = &self.groups[self.group_of(room)];
        let number = room - group.first_room;
        match group.name.parse::<u64>() {
            Ok(name) => (name + u64::from(number)).to_string(),
            Err(_) if group.rooms == 1 => group.name.clone(),
            Err(_) => format!("{}-{number}", group.name),
        }
    }

    /// The name of a room with its namespace, as a protocol's clients write it.
    pub fn channel(&self, room: u32, namespace: &str, protocol: Protocol) -> String {
        let name = self.name(room);
        if namespace.is_empty() {
            return name;
        }
        match protocol {
            Protocol::GoimTcp | Protocol::GoimWs => format!("{namespace}://{name}"),
            Protocol::Danmaku => name,
            Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf | Protocol::Websocket => {
                format!("{namespace}:{name}")
            }
            Protocol::NatsWs => format!("{namespace}.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(text: &str) -> RoomsArg {
        RoomsArg::parse(text).unwrap()
    }

    #[test]
    fn groups_are_read() {
        let small = group("small*1000=2.5@0.5");
        assert_eq!((small.name.as_str(), small.rooms, small.share), ("small", 1000, 2.5));
        assert_eq!(small.rate, Some(0.5));
        assert_eq!(group("big=1").rate, None);
        for wrong in
            ["", "big", "=1", "big=", "big=0", "big=1@", "big=1@0", "a*=1", "a*0=1", "a b=1"]
        {
            assert!(RoomsArg::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_big_room_beside_small_ones() {
        let rooms = Rooms::new(&[group("big=10@40"), group("small*1000=1")], 11_000, 1.0);
        assert_eq!((rooms.count(), rooms.groups[1].clients), (1001, 1000));
        assert_eq!((rooms.of_client(9_999), rooms.of_client(10_000)), (0, 1));
        assert_eq!((rooms.groups[0].rate, rooms.groups[1].rate), (40.0, 1.0));
        assert_eq!((rooms.name(0), rooms.name(1000)), ("big".to_owned(), "small-999".to_owned()));
        assert_eq!((rooms.group_of(0), rooms.group_of(1), rooms.group_of(1000)), (0, 1, 1));
        assert_eq!(rooms.channel(0, "live", Protocol::GoimTcp), "live://big");
        assert_eq!(rooms.channel(0, "live", Protocol::CentrifugeJson), "live:big");
        assert_eq!(rooms.channel(0, "", Protocol::NatsWs), "big");
        assert_eq!(Rooms::new(&[group("7*3=1")], 3, 1.0).name(2), "9");
    }

    #[test]
    fn ranks_share_by_their_power() {
        let groups = zipf(100, 6, 1.0);
        let shown: Vec<_> = groups.iter().map(|group| (group.name.as_str(), group.rooms)).collect();
        assert_eq!(shown, [("100", 1), ("101", 2), ("103", 3)]);
        assert!((groups[1].share - (1.0 / 2.0 + 1.0 / 3.0)).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn every_client_has_a_room(
            shares in proptest::collection::vec((1_u32..20, 0.1_f64..9.0), 1..5), clients in 1_u32..500,
        ) {
            let said: Vec<RoomsArg> = shares
                .iter()
                .map(|(rooms, share)| RoomsArg { name: "r".into(), rooms: *rooms, share: *share, rate: None })
                .collect();
            let rooms = Rooms::new(&said, clients, 1.0);
            let mut counts = vec![0; rooms.count() as usize];
            for client in 0..clients {
                counts[rooms.of_client(client) as usize] += 1;
            }
            let expected: Vec<u32> = (0..rooms.count()).map(|room| rooms.clients_of(room)).collect();
            prop_assert_eq!(counts, expected);
        }
    }
}
