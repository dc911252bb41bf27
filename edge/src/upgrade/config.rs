//! What operators decide about upgrades.

use shared::config::{Configure, Reader};

use super::origin::OriginPattern;

/// Settings of the WebSocket endpoints.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Which web pages may connect. Empty: none; programs, which send no Origin header, always may.
    pub origins: Vec<OriginPattern>,
}

impl Configure for Config {
    fn read(reader: &mut Reader) -> Self {
        let origins = reader.list(
            "websocket.origins",
            Vec::new(),
            "Web pages that may connect, by the Origin header of their browser: exact, or with * for \
             a part of the host or the port; a lone * admits every page. Clients that send no Origin \
             are programs and always may; empty admits only those.",
        );
        Self { origins }
    }
}

impl Config {
    /// Whether a request with this Origin header may connect.
    pub(super) fn admits(&self, origin: Option<&[u8]>) -> bool {
        match origin.map(std::str::from_utf8) {
            None => true,
            Some(Ok(origin)) => self.origins.iter().any(|pattern| pattern.matches(origin)),
            Some(Err(_)) => false,
        }
    }
}
