//! The server against peers that misbehave.
