//! Patterns of web origins, such as `https://*.example.com`.
//!
//! Invariant: a `*` inside a pattern matches nothing that would end a host or a port, so that
//! `https://*.example.com` cannot match `https://evil.test/.example.com`.

use shared::config::{Raw, Setting};

/// Which origins are admitted: `*`, an exact origin, or one with `*` for parts of host or port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(String);

impl OriginPattern {
    /// Reads a pattern; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_graphic() && ends_no_host(byte))
        };
        let valid = match text.split_once("://") {
            Some((scheme, host)) => {
                let (host, port) = host.rsplit_once(':').map_or((host, "*"), |(h, p)| (h, p));
                let digits = port == "*" || port.bytes().all(|byte| byte.is_ascii_digit());
                let bracketed = host.starts_with('[') && host.ends_with(']');
                let host_fits =
                    plain(host) || (bracketed && host.bytes().all(|b| b.is_ascii_graphic()));
                plain(scheme) && !scheme.contains('*') && host_fits && digits && !port.is_empty()
            }
            None => text == "*" || text == "null",
        };
        valid.then_some(Self(text))
    }

    /// Whether an Origin header's value is meant.
    pub fn matches(&self, origin: &str) -> bool {
        self.0 == "*" || glob(self.0.as_bytes(), origin.to_ascii_lowercase().as_bytes())
    }
}

impl Setting for OriginPattern {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let parsed = raw.text().and_then(|text| Self::parse(text.trim()));
        parsed.ok_or_else(|| format!("must be {}", Self::allowed()))
    }

    fn print(&self) -> Raw {
        Raw::Text(self.0.clone())
    }

    fn allowed() -> String {
        "an origin such as https://example.com, https://*.example.com or http://localhost:*, or *"
            .to_owned()
    }
}

fn ends_no_host(byte: u8) -> bool {
    !matches!(byte, b'/' | b'\\' | b':' | b'@' | b'?' | b'#' | b'[' | b']')
}

/// Matches with `*` for any run of bytes that end no host: remembers the last `*` and retries there,
/// which needs no recursion because a later `*` can always take over from an earlier one.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star.filter(|(_, t)| ends_no_host(text[*t])) {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches() {
        for (pattern, origin, expected) in [
            ("*", "https://anything.example", true),
            ("*", "null", true),
            ("null", "null", true),
            ("https://example.com", "https://example.com", true),
            ("https://Example.com", "HTTPS://example.COM", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com.evil.test", false),
            ("https://example.com", "https://example.com:8443", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://aexample.com", false),
            ("https://*.example.com", "https://evil.test/.example.com", false),
            ("https://*.example.com", "https://evil.test#.example.com", false),
            ("https://*.example.com", "https://evil.test:1.example.com", false),
            ("https://*.example.com", "https://u@a.example.com", false),
            ("http://localhost:*", "http://localhost:5173", true),
            ("http://localhost:*", "http://localhost", false),
            ("http://localhost:*", "http://localhost:1/x", false),
            ("https://a*b*c.test", "https://aXbYbZc.test", true),
            ("https://a*b*c.test", "https://aXcYbZ.test", false),
            ("http://[::1]:80", "http://[::1]:80", true),
        ] {
            let parsed = OriginPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for text in [
            "",
            "example.com",
            "https://",
            "://a",
            "*://a",
            "https://a/",
            "https://a:x",
            "a b",
            "ht p://a",
        ] {
            assert_eq!(OriginPattern::parse(text), None, "{text}");
        }
    }
}
