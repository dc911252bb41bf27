//! The types a setting can have: how each is read, printed and described.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::raw::Raw;
use crate::line::LineEnd;

/// A type that a configured value can have.
pub trait Setting: Clone {
    /// Reads the value; the error says what is wrong, and is usually [`Setting::allowed`].
    fn parse(raw: &Raw) -> Result<Self, String>;

    /// The value as it would be written in a file; parses back to the same value.
    fn print(&self) -> Raw;

    /// What is allowed, to go after "must be".
    fn allowed() -> String;
}

fn must_be<T: Setting>() -> String {
    format!("must be {}", T::allowed())
}

/// Reads a type that is written as a text in files and words alike.
fn parse_text<T: Setting>(raw: &Raw, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
    raw.text().and_then(|text| parse(text.trim())).ok_or_else(must_be::<T>)
}

impl Setting for bool {
    fn parse(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Word(word) => word.trim().parse().map_err(|_| must_be::<Self>()),
            _ => Err(must_be::<Self>()),
        }
    }

    fn print(&self) -> Raw {
        Raw::Bool(*self)
    }

    fn allowed() -> String {
        "true or false".to_owned()
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Setting for $integer {
            fn parse(raw: &Raw) -> Result<Self, String> {
                let number: Option<i128> = match raw {
                    Raw::Integer(number) => Some(*number),
                    Raw::Word(word) => word.trim().replace('_', "").parse().ok(),
                    _ => None,
                };
                number.and_then(|number| number.try_into().ok()).ok_or_else(must_be::<Self>)
            }

            fn print(&self) -> Raw {
                Raw::Integer(*self as i128)
            }

            fn allowed() -> String {
                format!("a whole number from {} to {}", <$integer>::MIN, <$integer>::MAX)
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, usize, i32, i64);

impl Setting for f64 {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let number = match raw {
            Raw::Float(number) => Some(*number),
            Raw::Integer(number) => Some(*number as f64),
            Raw::Word(word) => word.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite()).ok_or_else(must_be::<Self>)
    }

    fn print(&self) -> Raw {
        Raw::Float(*self)
    }

    fn allowed() -> String {
        "a number".to_owned()
    }
}

impl Setting for String {
    fn parse(raw: &Raw) -> Result<Self, String> {
        raw.text().map(str::to_owned).ok_or_else(must_be::<Self>)
    }

    fn print(&self) -> Raw {
        Raw::Text(self.clone())
    }

    fn allowed() -> String {
        "a text".to_owned()
    }
}

impl Setting for PathBuf {
    fn parse(raw: &Raw) -> Result<Self, String> {
        parse_text(raw, |text| (!text.is_empty()).then(|| Self::from(text)))
    }

    fn print(&self) -> Raw {
        Raw::Text(self.to_string_lossy().into_owned())
    }

    fn allowed() -> String {
        "a path".to_owned()
    }
}

impl Setting for SocketAddr {
    fn parse(raw: &Raw) -> Result<Self, String> {
        parse_text(raw, |text| text.parse().ok())
    }

    fn print(&self) -> Raw {
        Raw::Text(self.to_string())
    }

    fn allowed() -> String {
        "an address and port such as 127.0.0.1:7400 or [::]:7400".to_owned()
    }
}

impl Setting for LineEnd {
    fn parse(raw: &Raw) -> Result<Self, String> {
        parse_text(raw, |text| text.parse().ok())
    }

    fn print(&self) -> Raw {
        Raw::Text(self.to_string())
    }

    fn allowed() -> String {
        "an address and port, and its carrier where known, such as \"203.0.113.1:7401 telecom\""
            .to_owned()
    }
}

impl Setting for IpAddr {
    fn parse(raw: &Raw) -> Result<Self, String> {
        parse_text(raw, |text| text.parse().ok())
    }

    fn print(&self) -> Raw {
        Raw::Text(self.to_string())
    }

    fn allowed() -> String {
        "an address such as 10.1.2.3 or 2001:db8::1".to_owned()
    }
}

impl Setting for IpNet {
    fn parse(raw: &Raw) -> Result<Self, String> {
        parse_text(raw, |text| {
            text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(Self::from))
        })
    }

    fn print(&self) -> Raw {
        Raw::Text(self.to_string())
    }

    fn allowed() -> String {
        "a network such as 10.0.0.0/8 or 2001:db8::/32, or one address".to_owned()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let items = raw.items().ok_or_else(must_be::<Self>)?;
        items
            .iter()
            .map(|item| T::parse(item).map_err(|problem| format!("{item} {problem}")))
            .collect()
    }

    fn print(&self) -> Raw {
        Raw::List(self.iter().map(Setting::print).collect())
    }

    fn allowed() -> String {
        format!("a list, each {}", T::allowed())
    }
}

/// Names of the units of time with their length in nanoseconds, longest first.
const TIME_UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Longest configurable duration: far beyond any use, far below overflow in arithmetic with clocks.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Durations are texts of numbers with units: `"50ms"`, `"10s"`, `"1h30m"`, `"1.5s"`, `"30d"`.
impl Setting for Duration {
    fn parse(raw: &Raw) -> Result<Self, String> {
        parse_text(raw, |text| {
            let mut rest = text;
            let mut total_ns = 0_u128;
            while !rest.is_empty() {
                let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
                let (number, after) = rest.split_at(digits);
                let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
                let (unit, after) = after.split_at(unit_end);
                let unit_ns = match unit {
                    "d" => 24 * 3_600_000_000_000,
                    unit => TIME_UNITS.iter().find(|(name, _)| *name == unit)?.1,
                };
                total_ns = total_ns.checked_add(scaled(number, unit_ns)?)?;
                rest = after;
            }
            let total = Self::from_nanos(u64::try_from(total_ns).ok()?);
            (!text.is_empty() && total <= DURATION_MAX).then_some(total)
        })
    }

    fn print(&self) -> Raw {
        let mut rest_ns = self.as_nanos();
        let mut text = String::new();
        for (name, unit_ns) in TIME_UNITS {
            let count = rest_ns / unit_ns;
            rest_ns %= unit_ns;
            if count > 0 {
                text.push_str(&format!("{count}{name}"));
            }
        }
        Raw::Text(if text.is_empty() { "0s".to_owned() } else { text })
    }

    fn allowed() -> String {
        "a duration such as \"50ms\", \"10s\", \"5m\", \"1h30m\" or \"7d\"".to_owned()
    }
}

/// A number of bytes: a whole number, or a text with a unit such as `"64KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Names of the units of size with their bytes; printing uses the binary ones.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The size as a length in memory; sizes beyond the address space saturate.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Setting for ByteSize {
    fn parse(raw: &Raw) -> Result<Self, String> {
        if let Raw::Integer(bytes) = raw {
            return u64::try_from(*bytes).map(Self).map_err(|_| must_be::<Self>());
        }
        parse_text(raw, |text| {
            let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
            let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
            let unit = unit.trim_start();
            let unit_bytes = match unit {
                "" => 1,
                unit => SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
            };
            u64::try_from(scaled(number, u128::from(unit_bytes))?).ok().map(Self)
        })
    }

    fn print(&self) -> Raw {
        for (name, unit) in &SIZE_UNITS[..4] {
            if self.0 >= *unit && self.0.is_multiple_of(*unit) {
                return Raw::Text(format!("{}{name}", self.0 / unit));
            }
        }
        Raw::Text(format!("{}B", self.0))
    }

    fn allowed() -> String {
        "a size such as 4096, \"64KiB\" or \"1MiB\"".to_owned()
    }
}

/// `number` (digits with at most one point) times `unit`, exactly; `None` if it is not a number, if
/// it overflows, or if a fraction would be cut off.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.len() > 9 {
        return None;
    }
    let mut total = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    if !fraction.is_empty() {
        let scale = 10_u128.pow(fraction.len() as u32);
        let part = fraction.parse::<u128>().ok()?.checked_mul(unit)?;
        if part % scale != 0 {
            return None;
        }
        total = total.checked_add(part / scale)?;
    }
    Some(total)
}
