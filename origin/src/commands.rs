//! Commands of back ends on their way to edges.
//!
//! They are numbered and kept for a while, so that an edge that was without lines hears of them when
//! one opens. Each line reads on from a cursor of its own, as from a ring: one that lags behind what
//! is kept has lost some.
//!
//! Invariant: what is kept is dense and within its bounds in number, bytes and age.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use shared::wire::control::Command;

use crate::limits::{COMMAND_BYTES_MAX, COMMANDS_BYTES_MAX, COMMANDS_MAX};
use crate::publish::Refusal;

/// The commands that may still be read.
#[derive(Debug)]
pub struct Commands {
    /// The number of the oldest one kept, or of the next one.
    first: u64,
    kept: VecDeque<Kept>,
    bytes: usize,
    age: Duration,
}

#[derive(Debug)]
struct Kept {
    command: Arc<Command>,
    bytes: usize,
    at: Instant,
}

/// What a reader was too slow for is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged;

impl Commands {
    /// None yet; each is kept for `age`.
    pub fn new(age: Duration) -> Self {
        Self { first: 1, kept: VecDeque::new(), bytes: 0, age }
    }

    /// Takes one more, if a line can carry it, and numbers it.
    pub fn push(&mut self, mut command: Command, now: Instant) -> Result<(), Refusal> {
        command.number = self.end();
        let bytes = command.encoded_len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(Refusal::CommandTooLarge(bytes));
        }
        self.handle_deadline(now);
        while self.kept.len() >= COMMANDS_MAX || self.bytes + bytes > COMMANDS_BYTES_MAX {
            self.forget_first();
        }
        self.bytes += bytes;
        self.kept.push_back(Kept { command: Arc::new(command), bytes, at: now });
        Ok(())
    }

    /// Forgets what has been kept for long enough.
    pub fn handle_deadline(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|oldest| oldest.at + self.age <= now) {
            self.forget_first();
        }
    }

    /// The next command of a reader, whose cursor moves on; `None` where it has read them all.
    pub fn read(&self, cursor: &mut u64) -> Result<Option<Arc<Command>>, Lagged> {
        let at = usize::try_from(cursor.checked_sub(self.first).ok_or(Lagged)?);
        let found = at.ok().and_then(|at| self.kept.get(at));
        Ok(found.map(|kept| {
            *cursor += 1;
            Arc::clone(&kept.command)
        }))
    }

    /// The cursor of a reader for whom the past does not count.
    pub fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// The cursor of a reader that was at `cursor` and has been away since: at what is left.
    pub fn resume(&self, cursor: u64) -> u64 {
        cursor.clamp(self.first, self.end())
    }

    fn forget_first(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.first += 1;
            self.bytes -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::control::{Disconnect, command};

    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    #[allow(clippy::disallowed_methods, reason = "only differences to it count")]
    fn start() -> Instant {
        Instant::now()
    }

    fn command(code: u32, bytes: usize) -> Command {
        let disconnect =
            Disconnect { code, whitelist: vec!["w".repeat(bytes)], ..Disconnect::default() };
        Command { kind: Some(command::Kind::Disconnect(disconnect)), number: 0 }
    }

    fn codes(commands: &Commands, cursor: &mut u64) -> Vec<u32> {
        let mut codes = Vec::new();
        while let Some(command) = commands.read(cursor).unwrap() {
            let Some(command::Kind::Disconnect(disconnect)) = &command.kind else {
                panic!("another command");
            };
            codes.push(disconnect.code);
        }
        codes
    }

    #[test]
    fn a_reader_that_was_away_reads_what_is_left() {
        let (mut commands, now) = (Commands::new(AGE), start());
        let mut cursor = commands.end();
        for code in 1..=3 {
            commands.push(command(code, 1), now + AGE / 4 * code).unwrap();
        }
        assert_eq!(codes(&commands, &mut cursor.clone()), [1, 2, 3]);
        assert_eq!(codes(&commands, &mut commands.end()), [0; 0]);
        commands.handle_deadline(now + AGE / 4 * 5);
        assert_eq!(commands.read(&mut cursor), Err(Lagged));
        assert_eq!(codes(&commands, &mut commands.resume(cursor)), [2, 3]);
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let (mut commands, now) = (Commands::new(AGE), start());
        for _ in 0..=COMMANDS_MAX {
            commands.push(command(1, 1), now).unwrap();
        }
        assert_eq!((commands.kept.len(), commands.first), (COMMANDS_MAX, 2));
        for _ in 0..40 {
            commands.push(command(2, 4 << 20 >> 1), now).unwrap();
        }
        assert!(commands.bytes <= COMMANDS_BYTES_MAX);
        let refused = commands.push(command(3, COMMAND_BYTES_MAX), now);
        assert!(matches!(refused, Err(Refusal::CommandTooLarge(_))));
    }
}
