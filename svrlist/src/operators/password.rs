//! Passwords, as they are kept and verified.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use shared::config::Secret;
use subtle::ConstantTimeEq;

use super::{Digest, digest};

/// A password as it is kept.
#[derive(Clone)]
pub struct Password(Arc<Kept>);

enum Kept {
    /// For demonstrations: whoever reads the configuration knows it.
    Plain(Digest),
    Hashed(Box<PasswordHash>),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("***")
    }
}

/// A text that begins like a hash and is none that we verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It does not have the form. The text is not told: it may be a password.
    #[error("begins with $ and is no PHC string of argon2; `linecast hash-password` prints one")]
    Form,
    /// It would take too much to verify it.
    #[error(
        "takes {memory_kib} KiB and {passes} passes to verify, must be at most {MEMORY_KIB_MAX} KiB and {PASSES_MAX} passes"
    )]
    Costly {
        /// Memory.
        memory_kib: u32,
        /// How often it is gone through.
        passes: u32,
    },
}

impl Password {
    /// Reads what the configuration says: a PHC string, or plain text.
    pub fn read(secret: &Secret) -> Result<Self, PasswordError> {
        let text = secret.expose();
        if !text.starts_with('$') {
            return Ok(Self(Arc::new(Kept::Plain(digest(text.as_bytes())))));
        }
        let hash = PasswordHash::new(text).map_err(|_| PasswordError::Form)?;
        let algorithm = hash.algorithm.as_str();
        if !["argon2id", "argon2i", "argon2d"].contains(&algorithm) {
            return Err(PasswordError::Form);
        }
        let params = Params::try_from(&hash).map_err(|_| PasswordError::Form)?;
        let (memory_kib, passes) = (params.m_cost(), params.t_cost());
        if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX {
            return Err(PasswordError::Costly { memory_kib, passes });
        }
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(PasswordError::Form);
        }
        Ok(Self(Arc::new(Kept::Hashed(Box::new(hash)))))
    }

    /// Whether it stands in the configuration as it is.
    pub fn is_plain(&self) -> bool {
        matches!(*self.0, Kept::Plain(_))
    }
}

/// A password to be compared with the one that is kept.
#[derive(Debug)]
pub struct Check {
    kept: Password,
    presented: Secret,
    /// Whether it is of the operator that was named. Others are verified all the same, so that the
    /// time does not tell which names there are.
    is_real: bool,
    is_known: bool,
}

impl Check {
    pub(super) fn new(kept: Password, presented: &str, is_real: bool, is_known: bool) -> Self {
        Self { kept, presented: Secret::new(presented), is_real, is_known }
    }

    /// Whether the operator who was named signed in from there lately, so that no stranger is
    /// before its turn.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether it is the right one. Takes tens of milliseconds and megabytes: not for a thread
    /// that serves.
    pub fn verify(&self) -> bool {
        let presented = self.presented.expose().as_bytes();
        let right = match &*self.kept.0 {
            Kept::Plain(kept) => bool::from(kept.ct_eq(&digest(presented))),
            Kept::Hashed(hash) => Argon2::default().verify_password(presented, &**hash).is_ok(),
        };
        right && self.is_real
    }
}

/// A password could not be hashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// There is none.
    #[error("the password is empty")]
    Empty,
    /// It would not fit the request of a sign-in.
    #[error("the password has more than {PASSWORD_BYTES_MAX} bytes")]
    Long,
    /// The algorithm failed.
    #[error("cannot hash: {0}")]
    Failed(password_hash::Error),
}

/// The PHC string of a password by argon2id, with OWASP's parameters (19 MiB, 2 passes). `salt` is
/// random.
pub fn hash(password: &str, salt: [u8; SALT_BYTES]) -> Result<String, HashError> {
    match password.len() {
        0 => return Err(HashError::Empty),
        1..=PASSWORD_BYTES_MAX => {}
        _ => return Err(HashError::Long),
    }
    let hashed = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    hashed.map(|hash: PasswordHash| hash.to_string()).map_err(HashError::Failed)
}

/// As the PHC specification recommends.
pub const SALT_BYTES: usize = 16;
/// Longest password: name and password must fit the body that a stranger may send.
const PASSWORD_BYTES_MAX: usize = 512;
/// Bounds of what a sign-in may cost: two are verified at a time.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kept: &str, presented: &str) -> bool {
        let kept = Password::read(&Secret::new(kept)).unwrap();
        Check::new(kept, presented, true, false).verify()
    }

    #[test]
    fn a_hash_knows_its_password() {
        let hash = hash("correct horse", [7; SALT_BYTES]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(check(&hash, "correct horse"));
        assert!(!check(&hash, "correct horsE"));
        assert!(check("plain", "plain") && !check("plain", "plain ") && !check("plain", ""));
        assert_ne!(super::hash("correct horse", [8; SALT_BYTES]).unwrap(), hash);
    }

    #[test]
    fn the_right_password_of_somebody_else_is_wrong() {
        let kept = Password::read(&Secret::new("plain")).unwrap();
        assert!(!Check::new(kept, "plain", false, false).verify());
    }

    #[test]
    fn hashes_of_others_work_and_what_is_none_is_refused() {
        // From the tests of the reference implementation.
        let reference =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(check(reference, "password") && !check(reference, "passwort"));
        let refused = |text: &str| Password::read(&Secret::new(text)).unwrap_err();
        assert_eq!(refused("$ecret"), PasswordError::Form);
        assert_eq!(refused("$argon2id$v=19$m=256,t=2,p=1"), PasswordError::Form);
        let scrypt = "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E";
        assert_eq!(refused(scrypt), PasswordError::Form);
        let costly = reference.replace("m=256", "m=4194304");
        assert_eq!(refused(&costly), PasswordError::Costly { memory_kib: 4_194_304, passes: 2 });
    }

    #[test]
    fn what_cannot_be_sent_is_not_hashed() {
        assert_eq!(hash("", [0; SALT_BYTES]), Err(HashError::Empty));
        assert_eq!(
            hash(&"a".repeat(PASSWORD_BYTES_MAX + 1), [0; SALT_BYTES]),
            Err(HashError::Long)
        );
    }
}
