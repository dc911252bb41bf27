//! Which tokens are accepted, and what they say.

use std::path::Path;

use base64::Engine;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use shared::config::{Layers, resolve};
use shared::limits::{INFO_BYTES_MAX, USER_BYTES_MAX};

use super::*;

const NOW_S: u64 = 1_700_000_000;
const NOW_MS: u64 = NOW_S * 1000 + 500;

fn config(file: &str) -> Config {
    let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    resolve(Layers::new("TEST").with_file("test", file), nothing).expect("a configuration")
}

fn hmac() -> Config {
    config("[token]\nhmac_secret = \"new\"\nhmac_previous_secret = \"old\"")
}

fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(algorithm), claims, &key).expect("a token")
}

#[test]
fn connection_tokens() {
    let grant = |channel: &str| Grant { channel: channel.to_owned(), ..Grant::default() };
    let table = [
        (json!({}), Ok(Connection::default())),
        (json!({"sub": ""}), Ok(Connection::default())),
        (
            json!({"sub": "42", "exp": NOW_S + 1, "iat": 1, "jti": "x", "info": {"a": [1]}, "meta": {}}),
            Ok(Connection {
                user: "42".to_owned(),
                expires_ms: Some((NOW_S + 1) * 1000),
                info: "{\"a\":[1]}".into(),
                ..Connection::default()
            }),
        ),
        (
            json!({"keys": ["phone", "tv"]}),
            Ok(Connection {
                keys: vec!["phone".to_owned(), "tv".to_owned()],
                ..Connection::default()
            }),
        ),
        (json!({"keys": {"of": "another system"}}), Ok(Connection::default())),
        (
            json!({"info": {}, "b64info": "aGk="}),
            Ok(Connection { info: "hi".into(), ..Connection::default() }),
        ),
        (
            json!({"exp": NOW_S + 9, "expire_at": 0}),
            Ok(Connection { expires_ms: None, ..Connection::default() }),
        ),
        (
            json!({"expire_at": NOW_S + 3}),
            Ok(Connection { expires_ms: Some((NOW_S + 3) * 1000), ..Connection::default() }),
        ),
        (
            json!({"channels": ["a", "b"], "subs": {}}),
            Ok(Connection { subscriptions: vec![grant("a"), grant("b")], ..Connection::default() }),
        ),
        (
            json!({"channels": ["a"], "subs": {"c": {"b64data": "eA==", "override":
                {"force_recovery": {"value": true}, "join_leave": {"value": false}}}}}),
            Ok(Connection {
                subscriptions: vec![Grant {
                    data: "x".into(),
                    force_recovery: Some(true),
                    ..grant("c")
                }],
                ..Connection::default()
            }),
        ),
        (json!({"channel": "a"}), Err(TokenError::Invalid)),
        (json!({"sub": 42}), Err(TokenError::Invalid)),
        (json!({"b64info": "*"}), Err(TokenError::Invalid)),
        (json!({"exp": NOW_S}), Err(TokenError::Expired)),
        (json!({"exp": 0}), Err(TokenError::Expired)),
        (json!({"exp": NOW_S as f64 + 0.4}), Err(TokenError::Expired)),
        (json!({"nbf": NOW_S + 1}), Err(TokenError::Expired)),
        (json!({"nbf": NOW_S}), Ok(Connection::default())),
    ];
    for (claims, expected) in table {
        let token = sign(Algorithm::HS256, "new", &claims);
        assert_eq!(hmac().connection(&token, NOW_MS), expected, "{claims}");
    }
}

#[test]
fn subscription_tokens() {
    let claims = json!({"sub": "42", "channel": "$a", "client": "", "exp": NOW_S + 5,
        "info": 1, "data": [2], "override": {"presence": {"value": false}}});
    let token = sign(Algorithm::HS512, "new", &claims);
    let expected = Subscription {
        user: "42".to_owned(),
        client: None,
        expires_ms: Some((NOW_S + 5) * 1000),
        grant: Grant {
            channel: "$a".to_owned(),
            info: "1".into(),
            data: "[2]".into(),
            presence: Some(false),
            force_recovery: None,
        },
    };
    assert_eq!(hmac().subscription(&token, NOW_MS), Ok(expected));
    assert_eq!(hmac().subscription(&token, NOW_MS + 5000), Err(TokenError::Expired));
}

#[test]
fn what_tokens_attach_is_bounded() {
    let text = |bytes: usize| "x".repeat(bytes - 2); // as JSON with its quotes
    let (most, more) = (text(INFO_BYTES_MAX), text(INFO_BYTES_MAX + 1));
    let coded = |bytes: usize| base64::engine::general_purpose::STANDARD.encode(vec![b'1'; bytes]);
    let (longest, longer) = ("u".repeat(USER_BYTES_MAX), "u".repeat(USER_BYTES_MAX + 1));
    for (claims, is_good) in [
        (json!({"info": most}), true),
        (json!({"info": more}), false),
        (json!({"b64info": coded(INFO_BYTES_MAX)}), true),
        (json!({"b64info": coded(INFO_BYTES_MAX + 1)}), false),
        (json!({"sub": longest}), true),
        (json!({"sub": longer}), false),
    ] {
        let token = sign(Algorithm::HS256, "new", &claims);
        assert_eq!(hmac().connection(&token, NOW_MS).is_ok(), is_good, "{claims}");
        assert_eq!(hmac().subscription(&token, NOW_MS).is_ok(), is_good, "{claims}");
        let token = sign(Algorithm::HS256, "new", &json!({"subs": {"a": claims}}));
        let is_good = is_good || claims.get("sub").is_some();
        assert_eq!(hmac().connection(&token, NOW_MS).is_ok(), is_good, "subs: {claims}");
    }
}

#[test]
fn subscription_tokens_may_have_keys_of_their_own() {
    let config = config("[token]\nhmac_secret = \"a\"\nsubscription.hmac_secret = \"b\"");
    let of = |secret| sign(Algorithm::HS256, secret, &json!({}));
    assert!(config.connection(&of("a"), NOW_MS).is_ok());
    assert!(config.connection(&of("b"), NOW_MS).is_err());
    assert!(config.subscription(&of("a"), NOW_MS).is_err());
    assert!(config.subscription(&of("b"), NOW_MS).is_ok());
}

#[test]
fn signatures_decide() {
    let claims = json!({"sub": "42"});
    let good = sign(Algorithm::HS384, "old", &claims);
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let stripped = format!("{head}.");
    let doubled = format!("{good}.{signature}");
    let other_claims = {
        let other = sign(Algorithm::HS384, "x", &json!({"sub": "1"}));
        let payload = other.split('.').nth(1).expect("a payload").to_owned();
        format!("{}.{payload}.{signature}", good.split('.').next().expect("a header"))
    };
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9."; // {"alg":"none"}
    assert!(hmac().connection(&good, NOW_MS).is_ok());
    for token in ["", ".", "..", "x", none, &stripped, &doubled, &other_claims] {
        assert_eq!(hmac().connection(token, NOW_MS), Err(TokenError::Invalid), "{token}");
    }
    assert_eq!(Config::default().connection(&good, NOW_MS), Err(TokenError::Invalid), "no keys");
    assert!(!Config::default().has_connection_keys());
}

#[test]
fn audience_and_issuer() {
    let config = config("[token]\nhmac_secret = \"a\"\naudience = \"us\"\nissuer = \"them\"");
    for (claims, good) in [
        (json!({"aud": "us", "iss": "them"}), true),
        (json!({"aud": ["x", "us"], "iss": "them"}), true),
        (json!({"aud": "x", "iss": "them"}), false),
        (json!({"aud": [], "iss": "them"}), false),
        (json!({"iss": "them"}), false),
        (json!({"aud": "us"}), false),
        (json!({"aud": "us", "iss": "x"}), false),
    ] {
        let token = sign(Algorithm::HS256, "a", &claims);
        assert_eq!(config.connection(&token, NOW_MS).is_ok(), good, "{claims}");
    }
}

#[test]
fn bad_keys_are_faults() {
    let file = "[token]\nrsa_public_key = \"nonsense\"\necdsa_public_key = \"nonsense\"";
    let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let faults = resolve::<Config>(Layers::new("TEST").with_file("test", file), nothing)
        .expect_err("two faults");
    assert_eq!(faults.list().len(), 2);
    assert!(!faults.to_string().contains("nonsense"));
}

/// A fresh key pair: the private key for signing, and the public one in PEM.
fn key_pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key pair");
    (pair.serialize_pem(), pair.public_key_pem())
}

#[test]
fn public_keys_verify_their_family_only() {
    let (rsa, rsa_public) = key_pair(&rcgen::PKCS_RSA_SHA256);
    let (p256, p256_public) = key_pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (p384, p384_public) = key_pair(&rcgen::PKCS_ECDSA_P384_SHA384);
    let rsa_key = EncodingKey::from_rsa_pem(rsa.as_bytes()).expect("a key");
    let p256_key = EncodingKey::from_ec_pem(p256.as_bytes()).expect("a key");
    let p384_key = EncodingKey::from_ec_pem(p384.as_bytes()).expect("a key");
    let both = |ecdsa: &str| {
        config(&format!(
            "[token]\nrsa_public_key = \"\"\"{rsa_public}\"\"\"\necdsa_public_key = \"\"\"{ecdsa}\"\"\""
        ))
    };
    let (with_p256, with_p384) = (both(&p256_public), both(&p384_public));
    let table = [
        (&with_p256, Algorithm::RS256, &rsa_key, true),
        (&with_p256, Algorithm::RS384, &rsa_key, true),
        (&with_p256, Algorithm::RS512, &rsa_key, true),
        (&with_p256, Algorithm::PS256, &rsa_key, false),
        (&with_p256, Algorithm::ES256, &p256_key, true),
        (&with_p256, Algorithm::ES384, &p384_key, false),
        (&with_p384, Algorithm::ES384, &p384_key, true),
        (&with_p384, Algorithm::ES256, &p256_key, false),
    ];
    for (config, algorithm, key, good) in table {
        let token = encode(&Header::new(algorithm), &json!({}), key).expect("a token");
        assert_eq!(config.connection(&token, NOW_MS).is_ok(), good, "{algorithm:?}");
    }
    // The public key is no HMAC secret, whatever a header says.
    for secret in [&*rsa_public, rsa_public.trim_end(), &p256_public] {
        let token = sign(Algorithm::HS256, secret, &json!({}));
        assert_eq!(with_p256.connection(&token, NOW_MS), Err(TokenError::Invalid));
    }
}

#[test]
fn keys_come_from_files_as_well() {
    let (private, public) = key_pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let path = std::env::temp_dir().join(format!("linecast-token-{}.pem", std::process::id()));
    std::fs::write(&path, public).expect("a file");
    let file = format!("[token]\necdsa_public_key_file = {:?}", path.display().to_string());
    let read = |path: &Path| std::fs::read_to_string(path);
    let config: Config =
        resolve(Layers::new("TEST").with_file("test", &file), read).expect("a configuration");
    std::fs::remove_file(&path).expect("removed");
    let key = EncodingKey::from_ec_pem(private.as_bytes()).expect("a key");
    let token = encode(&Header::new(Algorithm::ES256), &json!({}), &key).expect("a token");
    assert!(config.connection(&token, NOW_MS).is_ok());
}
