//! What operators decide about upgrades.

use shared::config::{Configure, Reader};

use super::origin::OriginPattern;

/// Settings of the WebSocket endpoints.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which web pages may connect. Empty: none; programs, which send no Origin header, always may.
    pub origins: Vec<OriginPattern>,
    /// Whether goim and danmaku are served.
    pub goim: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { origins: Vec::new(), goim: true }
    }
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
        let goim = reader.value(
            "goim.enabled",
            true,
            "Whether goim and danmaku clients are served on WebSocket, at /sub; false goes with \
             listen.goim and listen.goim_tls not set.",
        );
        for key in ["listen.goim", "listen.goim_tls"] {
            if !goim && reader.is_set(key) {
                reader.fault("goim.enabled", format_args!("is false, but {key} is set"));
            }
        }
        Self { origins, goim }
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
