//! What a run came to: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::checker::Tally;

/// What a run came to. Times are microseconds, sizes bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What the run was about.
    pub title: String,
    /// How clients came.
    pub connects: Connects,
    /// What clients that read got, by group of rooms; empty where nothing was published.
    pub groups: Vec<GroupOutcome>,
    /// What clients got that read little or nothing.
    pub slow: Tally,
    /// Why connections of clients that read ended, and how many.
    pub ended: BTreeMap<String, u32>,
    /// Why connections of slow clients ended, and how many.
    pub slow_ended: BTreeMap<String, u32>,
    /// Clients that left while messages flowed, and came again.
    pub left: u32,
    /// Messages that were not of this run.
    pub foreign: u64,
    /// How messages were published.
    pub publish: Option<Publish>,
    /// Measured deliveries to clients that read.
    pub deliveries: u64,
    /// The same, per second.
    pub deliveries_per_second: f64,
    /// Messages per write of the server, or per read of a client where the server does not tell.
    pub batch: f64,
    /// Whether `batch` is what the server told.
    pub batch_told: bool,
    /// What the server's processes took; absent where they are not on this machine.
    pub server: Option<Server>,
    /// What all clients of this program took of processors while it was measured.
    pub workers_cpu: u64,
    /// The bare loop beside it, at the same rate and as fast as it goes.
    pub bare: Vec<Bare>,
    /// What came in each second from the first one on.
    pub seconds: Vec<SecondOutcome>,
}

/// How clients came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connects {
    /// Clients that were to come.
    pub wanted: u32,
    /// Clients that connected, logged in and subscribed.
    pub ready: u32,
    /// From the first connection until the last client was ready.
    pub took: u64,
    /// From a connection's first packet until it was subscribed.
    pub latency: Latency,
    /// Why others did not come, and how many.
    pub refused: BTreeMap<String, u32>,
}

/// What the clients of a group of rooms got.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GroupOutcome {
    /// Its name.
    pub name: String,
    /// Its rooms.
    pub rooms: u32,
    /// Their clients.
    pub clients: u32,
    /// Messages per second and room.
    pub rate: f64,
    /// What came.
    pub tally: Tally,
    /// From when a message was due until a client had it.
    pub latency: Latency,
}

/// A distribution of microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "percentiles are called as they are")]
pub struct Latency {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// How messages were published.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Publish {
    /// Messages, those of the warm-up too.
    pub messages: u64,
    /// From when a message was due until it was sent: how late this program was.
    pub sent: Latency,
    /// From when a message was due until it was answered.
    pub answered: Latency,
    /// Why publishers ended early.
    pub errors: Vec<String>,
}

/// What processes took until some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Microseconds on processors.
    pub cpu: u64,
    /// Resident bytes.
    pub resident: u64,
}

/// What the server's processes took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Server {
    /// The processes: name and id.
    pub processes: Vec<(String, u32)>,
    /// Resident bytes before clients came, when they were there, and the most while it was measured.
    pub resident: [u64; 3],
    /// Microseconds on processors while clients came.
    pub cpu_connecting: u64,
    /// Microseconds on processors while it was measured.
    pub cpu: u64,
    /// How long that was.
    pub took: u64,
}

/// The bare loop.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bare {
    /// Whether it sent as fast as it could.
    pub flat_out: bool,
    /// Messages in a send on average.
    pub batch: f64,
    /// Sends while it was measured.
    pub sends: u64,
    /// Microseconds on processors meanwhile.
    pub cpu: u64,
    /// Microseconds that they took.
    pub took: u64,
    /// What its clients got.
    pub latency: Latency,
    /// Whether they got everything.
    pub complete: bool,
}

/// What came in a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SecondOutcome {
    /// Which, from the first in which something came.
    pub second: u64,
    /// Messages received.
    pub received: u64,
    /// Latency of those that were measured.
    pub latency: Latency,
}

impl Latency {
    /// The percentiles of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl Server {
    /// Microseconds on processors for each delivery.
    pub fn cpu_per_delivery(&self, deliveries: u64) -> f64 {
        per(self.cpu as f64, deliveries as f64)
    }

    /// Bytes for each connection.
    pub fn bytes_per_connection(&self, connections: u32) -> f64 {
        per(self.resident[1].saturating_sub(self.resident[0]) as f64, f64::from(connections))
    }

    /// Microseconds on processors for each connection and second.
    pub fn cpu_per_connection(&self, connections: u32) -> f64 {
        per(self.cpu as f64, f64::from(connections) * self.took as f64 / 1e6)
    }
}

impl Bare {
    /// Microseconds on processors for each send.
    pub fn cpu_per_send(&self) -> f64 {
        per(self.cpu as f64, self.sends as f64)
    }

    /// Messages delivered per second.
    pub fn deliveries_per_second(&self) -> f64 {
        per(self.sends as f64 * self.batch * 1e6, self.took as f64)
    }
}

impl Outcome {
    /// What all clients that read got.
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.groups.iter().for_each(|group| sum.add(&group.tally));
        sum
    }

    /// What was not as it has to be. Slow clients are let down by whatever serves them.
    pub fn faults(&self) -> Vec<String> {
        let tally = self.tally();
        let published = self.publish.as_ref().map_or(&[][..], |publish| &publish.errors);
        let mut faults = Vec::new();
        let mut add = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        add(tally.missing, "messages are missing");
        add(tally.out_of_order, "messages came out of order");
        add(tally.duplicates, "messages came more than once");
        add(tally.told, "messages did not come, as clients were told");
        add(
            self.connects.wanted.saturating_sub(self.connects.ready).into(),
            "clients did not come",
        );
        add(self.ended.values().map(|count| u64::from(*count)).sum(), "connections ended");
        add(published.len() as u64, "publishers ended early");
        faults
    }

    /// The server's processor time for each write, over that of the bare loop at the same rate.
    pub fn ratio(&self) -> Option<f64> {
        let paced = self.bare.iter().find(|bare| !bare.flat_out)?;
        let server = self.server.as_ref()?;
        let bare = per(paced.cpu_per_send(), paced.batch);
        Some(per(server.cpu_per_delivery(self.deliveries), bare))
    }
}

fn per(what: f64, of: f64) -> f64 {
    if of > 0.0 { what / of } else { 0.0 }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        self.show_connects(out)?;
        if self.deliveries > 0 {
            self.show_messages(out)?;
        }
        for (what, ends) in [("ended", &self.ended), ("slow clients ended", &self.slow_ended)] {
            for (why, count) in ends {
                row(out, what, format!("{count} × {why}"))?;
            }
        }
        self.show_server(out)?;
        self.show_bare(out)
    }
}

impl Outcome {
    fn show_connects(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connects { wanted, ready, took, latency, refused } = &self.connects;
        let seconds = *took as f64 / 1e6;
        let rate = per(f64::from(*ready), seconds);
        row(
            out,
            "connected",
            format!("{ready} of {wanted} in {seconds:.2} s, {rate:.0}/s; {latency}"),
        )?;
        for (why, count) in refused {
            row(out, "refused", format!("{count} × {why}"))?;
        }
        Ok(())
    }

    fn show_messages(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Publish { messages, sent, answered, errors }) = &self.publish {
            let late = format!("sent p99 {} late", time(sent.p99));
            row(out, "published", format!("{messages}; {late}; answered {answered}"))?;
            for error in errors {
                row(out, "publisher ended", error)?;
            }
        }
        row(out, "delivered", format!("{}, {:.0}/s", self.deliveries, self.deliveries_per_second))?;
        for group in &self.groups {
            let what = match self.groups.len() {
                1 => "latency".to_owned(),
                _ => format!("latency {}", group.name),
            };
            row(out, &what, group.latency)?;
        }
        row(out, "of them", tally(&self.tally()))?;
        if self.slow != Tally::default() {
            row(out, "slow clients", tally(&self.slow))?;
        }
        if self.left > 0 {
            row(out, "left and came", self.left)?;
        }
        let told = if self.batch_told { "messages a write" } else { "messages a client's read" };
        row(out, "batch", format!("{:.2} {told}", self.batch))
    }

    fn show_server(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(server) = &self.server else {
            if self.publish.is_none() && !self.bare.is_empty() {
                return Ok(());
            }
            return row(out, "server", "not on this machine, or not ours to look at");
        };
        let one = |(name, pid): &(String, u32)| format!("{name} {pid}");
        row(out, "server", server.processes.iter().map(one).collect::<Vec<_>>().join(", "))?;
        let ready = self.connects.ready;
        let cores = per(server.cpu as f64, server.took as f64);
        let each = match self.deliveries {
            0 => format!("{:.2} µs a connection and second", server.cpu_per_connection(ready)),
            some => format!("{:.3} µs a delivery", server.cpu_per_delivery(some)),
        };
        let clients = per(self.workers_cpu as f64, server.took as f64);
        row(out, "processors", format!("{cores:.2}, {each}; these clients {clients:.2}"))?;
        let connecting = per(server.cpu_connecting as f64, f64::from(ready));
        row(out, "connecting", format!("{connecting:.1} µs of processors a client"))?;
        let [before, after, most] = server.resident.map(mebibytes);
        let bytes = server.bytes_per_connection(ready);
        row(out, "memory", format!("{before} → {after}, at most {most}; {bytes:.0} B a connection"))
    }

    fn show_bare(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bare in &self.bare {
            let what = if bare.flat_out { "bare, flat out" } else { "bare loop" };
            let each = per(bare.cpu_per_send(), bare.batch);
            let rate = bare.deliveries_per_second();
            let complete = if bare.complete { "" } else { "; NOT COMPLETE" };
            row(
                out,
                what,
                format!(
                    "{:.0} sends/s of {:.2}, {rate:.0} deliveries/s, {:.2} µs a send, {each:.3} µs a delivery; {}{complete}",
                    per(bare.sends as f64 * 1e6, bare.took as f64),
                    bare.batch,
                    bare.cpu_per_send(),
                    bare.latency,
                ),
            )?;
            if bare.flat_out && self.publish.is_some() {
                let share = 100.0 * per(self.deliveries_per_second, rate);
                row(out, "ratio, throughput", format!("{share:.0} % of the bare loop flat out"))?;
            }
        }
        match self.ratio() {
            Some(ratio) => {
                row(out, "ratio, CPU", format!("{ratio:.2} × the bare loop's a delivery"))
            }
            None => Ok(()),
        }
    }
}

fn row(out: &mut fmt::Formatter<'_>, what: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "  {what:<18} {value}")
}

fn tally(tally: &Tally) -> String {
    let Tally { received, missing, out_of_order, duplicates, told } = tally;
    format!(
        "{received} received with the warm-up, {missing} missing, {out_of_order} out of order, \
         {duplicates} twice, {told} told as lost"
    )
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, p999, max] =
            [self.p50, self.p90, self.p99, self.p999, self.max].map(time);
        write!(out, "p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}")
    }
}

fn time(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.faults(), Vec::<String>::new());
        outcome.connects = Connects { wanted: 3, ready: 2, ..Connects::default() };
        let tally = Tally { missing: 4, told: 1, ..Tally::default() };
        outcome.groups.push(GroupOutcome { tally, ..GroupOutcome::default() });
        outcome.slow.missing = 9;
        assert_eq!(
            outcome.faults(),
            [
                "4 messages are missing",
                "1 messages did not come, as clients were told",
                "1 clients did not come"
            ]
        );
    }

    #[test]
    fn the_ratio_is_that_of_deliveries() {
        let server = Server { cpu: 3_000, ..Server::default() };
        let bare = Bare { batch: 10.0, sends: 100, cpu: 2_000, ..Bare::default() };
        let outcome = Outcome {
            deliveries: 1_000,
            server: Some(server),
            bare: vec![bare],
            ..Outcome::default()
        };
        assert_eq!(outcome.ratio(), Some(1.5));
        assert!(outcome.to_string().contains("1.50 × the bare loop's"), "{outcome}");
    }
}
