//! A password on standard input, and what is kept of it.

use std::io::{self, BufRead};

use svrlist::operators::{HashError, hash};

/// A password could not be turned into a hash.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Standard input failed.
    #[error("cannot read standard input")]
    Read(#[source] io::Error),
    /// It is none that one could sign in with.
    #[error("the first line of standard input is no password")]
    Unfit(#[source] HashError),
}

/// The PHC string of the first line of standard input.
pub fn hash_password() -> Result<String, PasswordError> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(PasswordError::Read)?;
    let password = line.trim_end_matches(['\r', '\n']);
    hash(password, rand::random()).map_err(PasswordError::Unfit)
}
