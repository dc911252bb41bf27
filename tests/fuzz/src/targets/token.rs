//! Tokens: texts that claim to be JWTs, and claims that are signed as they should be.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::token::{Connection, Subscription, TokenError};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;
use shared::limits::{INFO_BYTES_MAX, USER_BYTES_MAX};

use super::choices::{Choices, listed, seed};
use super::world::{KEYED, SECRET, START_MS};

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let how = choices.byte();
    let damage = choices.byte();
    let algorithm = choices.one_of(&[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]);
    let list = choices.list();
    let (header, claims) = (list[0], list.get(1).copied().unwrap_or_default());
    if how % 4 == 3 {
        // Nobody makes a signature by chance.
        let token = String::from_utf8_lossy(header);
        return refused(&token);
    }
    let header = if how.is_multiple_of(4) { name(algorithm) } else { header.to_vec() };
    let body = [header.as_slice(), claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(body.as_bytes(), &key, algorithm).expect("a signature");
    check(&format!("{body}.{signature}"), &header, claims, algorithm);

    let mut damaged = URL_SAFE_NO_PAD.decode(&signature).expect("what was encoded");
    let at = usize::from(damage) % damaged.len();
    damaged[at] ^= 1 << (damage >> 5);
    refused(&format!("{body}.{}", URL_SAFE_NO_PAD.encode(damaged)));
    for token in [format!("{body}."), body.clone(), format!("{body}.{signature}.")] {
        refused(&token);
    }
    let other = EncodingKey::from_secret(b"another");
    let signature = crypto::sign(body.as_bytes(), &other, algorithm).expect("a signature");
    refused(&format!("{body}.{signature}"));
}

fn name(algorithm: Algorithm) -> Vec<u8> {
    format!("{{\"alg\":\"{algorithm:?}\",\"typ\":\"JWT\"}}").into_bytes()
}

fn refused(token: &str) {
    assert_eq!(KEYED.connection(token, START_MS), Err(TokenError::Invalid), "{token}");
    assert_eq!(KEYED.subscription(token, START_MS), Err(TokenError::Invalid), "{token}");
}

/// A token with a good signature says what its claims say, and nothing that is over or too large.
fn check(token: &str, header: &[u8], claims: &[u8], algorithm: Algorithm) {
    let connection = KEYED.connection(token, START_MS);
    let subscription = KEYED.subscription(token, START_MS);
    if connection.is_err() && subscription.is_err() {
        return;
    }
    let header = String::from_utf8_lossy(header);
    assert!(header.contains(&format!("{algorithm:?}")), "the signature's own algorithm");
    // What nobody reads of the claims is not checked to be UTF-8.
    let Ok(claims) = serde_json::from_slice::<Value>(claims) else { return };
    let now_s = START_MS as f64 / 1000.0;
    assert!(claims["exp"].as_f64().is_none_or(|exp| exp > now_s));
    assert!(claims["nbf"].as_f64().is_none_or(|nbf| nbf <= now_s));
    let named = claims["sub"].as_str().unwrap_or_default();
    let later =
        |at: u64| KEYED.connection(token, at).is_ok() || KEYED.subscription(token, at).is_ok();
    if let Some(exp) = claims["exp"].as_f64().filter(|exp| *exp < 1e12) {
        assert!(!later((exp.ceil() * 1000.0) as u64), "tokens end");
    }
    if let Ok(Connection { user, expires_ms, info, subscriptions, .. }) = connection {
        assert_eq!(user, named);
        assert!(user.len() <= USER_BYTES_MAX && info.len() <= INFO_BYTES_MAX);
        assert!(subscriptions.iter().all(|grant| grant.info.len() <= INFO_BYTES_MAX));
        assert!(claims["channel"].as_str().is_none_or(str::is_empty), "this one is for a channel");
        let ends = claims["expire_at"].as_f64().or(claims["exp"].as_f64());
        assert_eq!(expires_ms.is_some(), ends.is_some_and(|ends| ends > 0.0));
    }
    if let Ok(Subscription { user, grant, .. }) = subscription {
        assert_eq!(user, named);
        assert_eq!(grant.channel, claims["channel"].as_str().unwrap_or_default());
        assert!(grant.info.len() <= INFO_BYTES_MAX);
    }
}

/// A good token with these claims.
pub(crate) fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a token")
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let claims = [
        r#"{"sub":"42","exp":1800000000,"iat":1,"nbf":2,"info":{"a":[1]},"keys":["phone"]}"#,
        r#"{"sub":"42","channel":"$a","client":"c","b64info":"aGk=","data":[2],"expire_at":0}"#,
        r#"{"channels":["a","b"],"aud":["x"],"iss":"us","exp":1e300}"#,
        r#"{"subs":{"c":{"b64data":"eA==","override":{"presence":{"value":true}}}},"exp":1800000000.5}"#,
        r#"{"sub":42}"#,
    ];
    let mut seeds: Vec<Vec<u8>> = claims
        .iter()
        .enumerate()
        .map(|(at, claims)| seed(&[0, 9, at as u8], &listed(&[b"", claims.as_bytes()])))
        .collect();
    seeds.push(seed(&[1, 77, 0], &listed(&[b"{\"alg\":\"none\"}", claims[0].as_bytes()])));
    let pasted = b"eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.";
    seeds.push(seed(&[3, 0, 0], pasted));
    seeds
}
