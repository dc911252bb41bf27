//! Keeps shards evenly full. The kernel deals connections out by their addresses; where that has
//! left one shard with clearly more than another, it hands on what it accepts.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::counters::Counters;
use super::shards::Way;
use crate::hub::ShardId;

/// An accepted connection, not yet any shard's.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: IpAddr,
    pub(super) way: Way,
}

/// An accepted connection on its way to another shard, whose runtime must watch its socket.
#[derive(Debug)]
pub(super) struct Handed {
    stream: std::net::TcpStream,
    peer: IpAddr,
    way: Way,
}

impl Handed {
    /// Taken in by this thread's runtime.
    pub(super) fn arrive(self) -> std::io::Result<Arrival> {
        let Self { stream, peer, way } = self;
        Ok(Arrival { stream: TcpStream::from_std(stream)?, peer, way })
    }
}

/// All shards, as one that accepts sees them.
#[derive(Clone, Debug)]
pub(super) struct Balance {
    own: ShardId,
    shards: Arc<[(Arc<Counters>, mpsc::Sender<Handed>)]>,
}

impl Balance {
    /// One for each shard, and what each is handed.
    pub(super) fn new(counters: &[Arc<Counters>]) -> (Vec<Self>, Vec<mpsc::Receiver<Handed>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            counters.iter().map(|_| mpsc::channel(HANDED_MAX)).unzip();
        let shards: Arc<[_]> = counters.iter().cloned().zip(senders).collect();
        let of = |own| Self { own: ShardId(own as u8), shards: Arc::clone(&shards) };
        ((0..counters.len()).map(of).collect(), receivers)
    }

    /// Hands a connection to another shard, if that has clearly fewer; else it comes back. The other
    /// is one of them by chance, so that not all run to the emptiest at once.
    pub(super) fn hand_on(&self, arrival: Arrival) -> Option<Arrival> {
        let own = usize::from(self.own.0);
        let other = rand::random_range(0..self.shards.len());
        let of = |shard: usize| self.shards[shard].0.connections.load(Ordering::Relaxed);
        if of(own) <= of(other) + of(other) / SLACK_PART + SLACK_MIN {
            return Some(arrival);
        }
        let Ok(place) = self.shards[other].1.try_reserve() else { return Some(arrival) };
        let Arrival { stream, peer, way } = arrival;
        match stream.into_std() {
            Ok(stream) => place.send(Handed { stream, peer, way }),
            Err(error) => tracing::warn!(%error, "a connection is lost between shards"),
        }
        None
    }
}

/// Connections on their way to one shard.
const HANDED_MAX: usize = 256;
/// A shard that has so many more is not clearly fuller: a tenth,
const SLACK_PART: u64 = 10;
/// and a few.
const SLACK_MIN: u64 = 16;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::shards::Entrance;
    use super::*;

    #[tokio::test]
    async fn a_full_shard_hands_on_to_an_empty_one() {
        let counters: Vec<Arc<Counters>> = (0..2).map(|_| Arc::default()).collect();
        let (balances, mut handed) = Balance::new(&counters);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let arrive = async || {
            let (stream, peer) =
                tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let way = Way { entrance: Entrance::Http, proxied: false, tls: None };
            (Arrival { stream: stream.unwrap(), peer: peer.as_ref().unwrap().1.ip(), way }, peer)
        };
        counters[1].connections.store(100, Ordering::Relaxed);
        counters[0].connections.store(126, Ordering::Relaxed);
        let (mut arrival, _peer) = arrive().await;
        for _ in 0..64 {
            arrival = balances[0].hand_on(arrival).expect("a little more is no reason");
        }
        counters[0].connections.store(127, Ordering::Relaxed);
        let mut kept = Some(arrival);
        while let Some(arrival) = kept {
            kept = balances[0].hand_on(arrival);
        }
        let arrived = handed[1].recv().await.unwrap().arrive().unwrap();
        assert!(balances[1].hand_on(arrived).is_some(), "it does not go back");
    }
}
