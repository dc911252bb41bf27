//! Where this crate acts: sockets, clocks, tasks, files. Decisions live outside.
#![allow(clippy::disallowed_methods, reason = "io/ is where the crate touches clocks, dice and tasks")]
