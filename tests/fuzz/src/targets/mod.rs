//! Everything that reads bytes of strangers at an edge, and what crosses lines, each as a function of
//! bytes that panics where a promise is broken.
//!
//! libFuzzer drives them by `tests/fuzz/run`, and `tests/tests/fuzz.rs` for a moment with every run of
//! the tests. Beyond "it does not panic" they hold the parsers to: cutting the input anywhere changes
//! nothing; what is left over is less than one frame; what was read and is written again reads the
//! same; what one input makes an edge write, ask and keep is bounded by a multiple of it; and where a
//! rule is simple, an own naive reading of it.

mod centrifuge_session;
mod choices;
mod connection;
mod goim_frames;
mod goim_session;
mod login;
mod proxy;
mod publications;
mod tls;
mod token;
mod upgrade;
mod websocket;
mod wire;
mod world;
mod written;

/// Something that reads bytes of strangers.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Reads the bytes and checks what comes of it.
    pub(crate) run: fn(&[u8]),
    /// Bytes to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub(crate) const TARGETS: [Target; 14] = [
    Target { name: "upgrade", run: upgrade::run, seeds: upgrade::seeds },
    Target { name: "tls", run: tls::run, seeds: tls::seeds },
    Target { name: "websocket", run: websocket::run, seeds: websocket::seeds },
    Target { name: "connection", run: connection::run, seeds: connection::seeds },
    Target { name: "goim_frames", run: goim_frames::run, seeds: goim_frames::seeds },
    Target { name: "goim_session", run: goim_session::run, seeds: goim_session::seeds },
    Target { name: "login", run: login::run, seeds: login::seeds },
    Target {
        name: "centrifuge_session",
        run: centrifuge_session::run,
        seeds: centrifuge_session::seeds,
    },
    Target { name: "token", run: token::run, seeds: token::seeds },
    Target { name: "proxy", run: proxy::run, seeds: proxy::seeds },
    Target { name: "publications", run: publications::run, seeds: publications::seeds },
    Target { name: "datagrams", run: wire::datagrams, seeds: wire::datagram_seeds },
    Target { name: "line_frames", run: wire::frames, seeds: wire::frame_seeds },
    Target { name: "control", run: wire::control, seeds: wire::control_seeds },
];
