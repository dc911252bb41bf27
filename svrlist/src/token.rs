//! The cell token: a signed statement of the cell that svrlist found a client in.
//!
//! The client carries it to edges and, later, in its reports, so that nobody can speak for a cell he
//! was not in; what it is worth to who is elsewhere by then is [`crate::learning`]'s business. It is a JWT (HMAC-SHA256) that any JWT library verifies: `region`, `carrier`, `exp`,
//! and an audience of its own, so that it passes for no other kind of token.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use geo_data::{Carrier, Cell, Region};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use shared::config::Secret;

/// Signs cell tokens, and knows its own again.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    known: DecodingKey,
    lifetime: Duration,
}

impl Signer {
    /// A signer whose tokens hold for `lifetime`.
    pub fn new(secret: &Secret, lifetime: Duration) -> Self {
        let secret = secret.expose().as_bytes();
        let (key, known) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { key, known, lifetime }
    }

    /// The cell that a token of ours names; `None` for others, and for those that have run out.
    pub fn read(&self, token: &str, now: SystemTime) -> Option<Cell> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.validate_exp = false; // by our clock, below
        let Read { region, carrier, exp } =
            jsonwebtoken::decode(token, &self.known, &validation).ok()?.claims;
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let cell = Cell { region: Region::parse(&region)?, carrier: Carrier::parse(&carrier)? };
        (exp > seconds).then_some(cell)
    }

    /// The token of a cell; the same for all clients of the cell during a minute, so that it can be
    /// kept. `None` if the library refuses to sign, which HMAC gives it no reason for.
    pub fn sign(&self, cell: Cell, minute: Minute) -> Option<String> {
        let claims = Claims {
            aud: AUDIENCE,
            region: cell.region.to_string(),
            carrier: cell.carrier.as_str(),
            exp: minute.0 * 60 + self.lifetime.as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key).ok()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// Minutes since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Minute(u64);

impl Minute {
    /// The minute that `now` lies in.
    pub fn of(now: SystemTime) -> Self {
        Self(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 60)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    region: String,
    carrier: &'a str,
    exp: u64,
}

#[derive(Deserialize)]
struct Read {
    region: String,
    carrier: String,
    exp: u64,
}

/// What the token is for.
pub const AUDIENCE: &str = "linecast-cell";

#[cfg(test)]
mod tests {
    use geo_data::{Carrier, Region};
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    #[test]
    fn a_token_says_cell_and_end_and_who_it_is_for() {
        let signer = Signer::new(&Secret::new("secret"), Duration::from_secs(600));
        let cell = Cell { region: Region::parse("440100").unwrap(), carrier: Carrier::Mobile };
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_059);
        let token = signer.sign(cell, Minute::of(now)).unwrap();
        assert_eq!(signer.sign(cell, Minute::of(now)).unwrap(), token);

        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(b"secret");
        let read = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap();
        assert_eq!(
            read.claims,
            serde_json::json!({
                "aud": "linecast-cell",
                "region": "440100",
                "carrier": "mobile",
                "exp": 1_800_000_000 + 600,
            })
        );
        let other = DecodingKey::from_secret(b"other");
        assert!(jsonwebtoken::decode::<serde_json::Value>(&token, &other, &validation).is_err());
    }

    #[test]
    fn a_signer_knows_its_own_until_they_run_out() {
        let signer = |secret| Signer::new(&Secret::new(secret), Duration::from_secs(600));
        let ours = signer("secret");
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
        for region in ["440100", "110000"] {
            let cell = Cell { region: Region::parse(region).unwrap(), carrier: Carrier::Mobile };
            let token = ours.sign(cell, Minute::of(at(0))).unwrap();
            assert_eq!(ours.read(&token, at(599)), Some(cell));
            assert_eq!(ours.read(&token, at(600)), None);
            assert_eq!(signer("other").read(&token, at(0)), None);
            assert_eq!(ours.read(&token[1..], at(0)), None);
        }
        let unknown = Cell::default();
        let token = ours.sign(unknown, Minute::of(at(0))).unwrap();
        assert_eq!(ours.read(&token, at(0)), Some(unknown));
    }

    #[test]
    fn the_secret_does_not_print() {
        let signer = Signer::new(&Secret::new("open sesame"), Duration::from_secs(600));
        assert!(!format!("{signer:?}").contains("sesame"));
    }
}
