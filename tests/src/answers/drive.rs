//! Asks: one thread, many connections, one request at a time on each.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What to ask whom, and how.
#[derive(Debug, Clone, Copy)]
pub struct Drive {
    /// Whom.
    pub address: SocketAddr,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// When requests are sent.
    pub pace: Pace,
    /// Time at the start that does not count.
    pub warm_up: Duration,
    /// Time that counts.
    pub duration: Duration,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As soon as the connection's last one is answered.
    FlatOut,
    /// So many a second in all, by a schedule.
    Rate(f64),
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// Answers with status 200 within the time that counts.
    pub answers: u64,
    /// Answers with another status.
    pub failed: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// From due to answered, in microseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }
}

struct Connection {
    stream: TcpStream,
    /// When its request was due; `None` if it has none.
    due: Option<Instant>,
    /// What has come of an answer.
    input: Vec<u8>,
}

impl Drive {
    /// Drives the server, and says by `counting` when the warm-up is over; fails if a connection does.
    pub fn run(&self, counting: impl FnOnce() -> Result<()>) -> Result<Outcome> {
        let mut poll = Poll::new().context("a poll")?;
        let mut connections = Vec::with_capacity(self.connections);
        for at in 0..self.connections {
            let stream = std::net::TcpStream::connect(self.address).context("connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(at), Interest::READABLE)?;
            connections.push(Connection { stream, due: None, input: Vec::new() });
        }
        let mut idle: VecDeque<usize> = (0..self.connections).collect();
        let latency = Histogram::new_with_bounds(1, HIGHEST_MICROS, 3)?;
        let mut outcome =
            Outcome { answers: 0, failed: 0, bytes: 0, elapsed: self.duration, latency };
        let (mut events, mut head) = (Events::with_capacity(1024), Vec::new());
        let mut buffer = vec![0; READ_BYTES];
        let mut sent = 0;
        let start = Instant::now();
        let (counts_from, end) = (start + self.warm_up, start + self.warm_up + self.duration);
        let mut counting = Some(counting);
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(outcome);
            }
            if now >= counts_from
                && let Some(counting) = counting.take()
            {
                counting()?;
            }
            while let Some(due) = self.due(start, sent, now)
                && let Some(at) = idle.pop_front()
            {
                super::request(sent, &mut head);
                connections[at].ask(due, &head)?;
                sent += 1;
            }
            // By a schedule it spins: nothing wakes it when the next request is due.
            let wait = if self.pace == Pace::FlatOut { PATIENCE } else { Duration::ZERO };
            if let Err(error) = poll.poll(&mut events, Some(wait))
                && error.kind() != ErrorKind::Interrupted
            {
                return Err(error).context("wait for answers");
            }
            for event in &events {
                let at = event.token().0;
                let Some(answer) = connections[at].take(&mut buffer)? else { continue };
                idle.push_back(at);
                let now = Instant::now();
                if now < counts_from {
                    continue;
                }
                outcome.bytes += answer.bytes as u64;
                match answer.status {
                    200 => outcome.answers += 1,
                    _ => outcome.failed += 1,
                }
                let late = now.saturating_duration_since(answer.due);
                outcome.latency.saturating_record(late.as_micros() as u64);
            }
        }
    }

    /// When request `n` is due, if that is not later than `now`.
    fn due(&self, start: Instant, n: u64, now: Instant) -> Option<Instant> {
        match self.pace {
            Pace::FlatOut => Some(now),
            Pace::Rate(rate) => {
                let due = start + Duration::from_secs_f64(n as f64 / rate);
                (due <= now).then_some(due)
            }
        }
    }
}

struct Answer {
    due: Instant,
    status: u16,
    bytes: usize,
}

impl Connection {
    fn ask(&mut self, due: Instant, head: &[u8]) -> Result<()> {
        self.due = Some(due);
        let written = self.stream.write(head).context("ask")?;
        anyhow::ensure!(written == head.len(), "a request did not fit the socket");
        Ok(())
    }

    /// Reads on; the answer once it is complete.
    fn take(&mut self, buffer: &mut [u8]) -> Result<Option<Answer>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("read an answer"),
            }
        }
        let Some((status, body_at, bytes)) = head_of(&self.input)? else { return Ok(None) };
        if self.input.len() < body_at + bytes {
            return Ok(None);
        }
        anyhow::ensure!(self.input.len() == body_at + bytes, "more than one answer");
        self.input.clear();
        let due = self.due.take().context("an answer that nobody asked for")?;
        Ok(Some(Answer { due, status, bytes }))
    }
}

/// Status, where the body begins, and its length, once the head is there.
fn head_of(input: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&input[..end]).context("the head of an answer")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .with_context(|| format!("no length in {head:?}"))?;
    Ok(Some((status.with_context(|| format!("no status in {head:?}"))?, end + 4, length)))
}

/// Flat out, somebody is always answered within this time.
const PATIENCE: Duration = Duration::from_millis(100);

/// Latencies above a minute count as a minute.
const HIGHEST_MICROS: u64 = 60_000_000;

/// More than an answer has.
const READ_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_head_tells_status_and_length() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ndate: today\r\n\r\nabc";
        assert_eq!(head_of(whole).expect("a head"), Some((200, whole.len() - 3, 3)));
        assert_eq!(head_of(&whole[..20]).expect("a part"), None);
        assert!(head_of(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn requests_are_due_by_the_schedule() {
        let start = Instant::now();
        let drive = Drive {
            address: ([127, 0, 0, 1], 1).into(),
            connections: 1,
            pace: Pace::Rate(1000.0),
            warm_up: Duration::ZERO,
            duration: Duration::ZERO,
        };
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(drive.due(start, 5, at(4)), None);
        assert_eq!(drive.due(start, 5, at(400)), Some(at(5)));
    }
}
