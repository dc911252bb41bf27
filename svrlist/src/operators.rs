//! Operators: who may look, who may change, and how they show who they are.
//!
//! People sign in with a name and a password and get a session, a random token in a cookie that no
//! script can read; programs send `Authorization: Bearer KEY`. Neither is kept: of tokens and keys
//! there are digests only. Passwords are verified elsewhere, since that is slow on purpose: see
//! [`Operators::begin`] and [`Check::verify`]. Whoever guesses is slowed by address and by name
//! ([`guesses`]), and shuts nobody out: not from where they signed in lately, and no key that is too
//! long to be guessed.
//!
//! A browser sends its cookie along with whatever a page asks for, so what changes something by a
//! cookie must come from a page of ours ([`is_same_origin`]). A key is never sent unasked.
//!
//! Invariant: nobody changes anything who is not an admin at this moment.

mod config;
mod guesses;
mod password;
mod sessions;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use blake2::{Blake2s256, Digest as _};
use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, COOKIE, HOST, HeaderValue, ORIGIN, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use ipnet::IpNet;
use shared::address::client_address;
use shared::io::http::{Request, Response, StatusCode, error};
use subtle::ConstantTimeEq;

use crate::site::Moment;

pub use config::{Account, Config};
use guesses::{Guesses, Pace};
pub use password::{Check, HashError, Password, PasswordError, SALT_BYTES, hash};
use sessions::Sessions;
pub use sessions::Token;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Look and change.
    Admin,
}

impl Role {
    /// Its name in configuration and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

/// Somebody who showed who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name, from the configuration.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
}

/// Everybody who may sign in, and who has.
#[derive(Debug)]
pub struct Operators {
    accounts: BTreeMap<Arc<str>, Account>,
    keys: Vec<Key>,
    open: bool,
    trusted: Vec<IpNet>,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct Key {
    digest: Digest,
    operator: Operator,
    /// Whether nobody can guess it.
    is_long: bool,
}

#[derive(Debug)]
struct State {
    sessions: Sessions,
    passwords: Guesses,
    keys: Guesses,
}

/// Why a request is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Nobody showed who they are, or not well.
    #[error("sign in: POST /api/session, or send Authorization: Bearer KEY")]
    Unknown,
    /// As before, and nobody can: no operator is configured.
    #[error(
        "nobody can sign in: no operator.NAME.password is set; dashboard.open lets anybody read"
    )]
    Nobody,
    /// Too many wrong passwords or keys of this address or for this name.
    #[error("too many wrong passwords or keys: try again later")]
    Guessing {
        /// When the next one is looked at.
        wait: Duration,
    },
    /// So many passwords are being verified that this one was not looked at.
    #[error("too many sign-ins at once: try again")]
    Busy,
    /// Name and password do not belong together.
    #[error("name or password is wrong")]
    Wrong,
    /// A viewer wants to change something.
    #[error("viewers may not change anything")]
    Viewer,
    /// A page of another site may be behind it.
    #[error(
        "changes by cookie must come from a page of this host: Origin says otherwise, or nothing"
    )]
    CrossSite,
}

impl Denial {
    /// What the client is answered.
    pub fn response(self) -> Response {
        let status = match self {
            Self::Unknown | Self::Nobody | Self::Wrong => StatusCode::UNAUTHORIZED,
            Self::Guessing { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Viewer | Self::CrossSite => StatusCode::FORBIDDEN,
        };
        let mut response = error(status, &self.to_string());
        let headers = response.headers_mut();
        match self {
            Self::Guessing { wait } => {
                let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Busy => {
                headers.insert(RETRY_AFTER, HeaderValue::from(BUSY_FOR.as_secs()));
            }
            Self::Unknown | Self::Nobody => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Wrong | Self::Viewer | Self::CrossSite => {}
        }
        response
    }
}

impl Operators {
    /// The operators of a configuration. `open`: whether anybody may look. `trusted`: proxies
    /// whose word about a client's address is taken.
    pub fn new(config: &Config, open: bool, trusted: Vec<IpNet>) -> Self {
        let accounts: BTreeMap<Arc<str>, Account> = config
            .accounts
            .iter()
            .map(|(name, account)| (name.as_str().into(), account.clone()))
            .collect();
        let keys = accounts.iter().filter_map(|(name, account)| {
            let operator = Operator { name: Arc::clone(name), role: account.role };
            let key = account.key.as_ref()?.expose().as_bytes();
            Some(Key { digest: digest(key), operator, is_long: key.len() >= KEY_BYTES_LONG })
        });
        let state = State {
            sessions: Sessions::new(config.lifetime, config.idle),
            passwords: Guesses::new(PASSWORDS_BY_ADDRESS, PASSWORDS_BY_NAME),
            keys: Guesses::new(KEYS_BY_ADDRESS, KEYS_BY_ADDRESS),
        };
        Self { keys: keys.collect(), accounts, open, trusted, state: Mutex::new(state) }
    }

    /// Whether anybody may look.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The address that a request comes from, behind trusted proxies.
    pub fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        client_address(peer, headers, &self.trusted)
    }

    /// Whether what a trusted proxy, or nobody else, says of the scheme is https.
    pub fn is_proxied_https(&self, request: &Request) -> bool {
        let peer = shared::address::canonical(request.peer.ip());
        self.trusted.iter().any(|net| net.contains(&peer))
            && request.header("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
    }

    /// Who sends this request; `None` if it does not say, or says it wrongly. Counts as use of its
    /// session.
    pub fn identify(&self, request: &Request, now: Instant) -> Option<Operator> {
        self.who(request.peer.ip(), &request.headers, now).ok()
    }

    /// Whether a request with this head comes from an admin by what nobody can guess: a session or a
    /// long key. Short keys are not looked at: whoever asks does not count what is wrong.
    pub fn is_surely_admin(&self, peer: IpAddr, headers: &HeaderMap, now: Instant) -> bool {
        let operator = match bearer(headers) {
            Some(key) => {
                self.find_key(key).filter(|key| key.is_long).map(|key| key.operator.clone())
            }
            None => self.who(peer, headers, now).ok(),
        };
        operator.is_some_and(|operator| operator.role >= Role::Admin)
    }

    /// Whether a request may read what operators see, and who sends it.
    pub fn may_read(&self, request: &Request, now: Instant) -> Result<Option<Operator>, Denial> {
        match self.who(request.peer.ip(), &request.headers, now) {
            Ok(operator) => Ok(Some(operator)),
            Err(_) if self.open => Ok(None),
            Err(denial) => Err(denial),
        }
    }

    /// Whether a request with this head may change something, and who sends it.
    pub fn may_change(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<Operator, Denial> {
        let operator = self.who(peer, headers, now)?;
        if operator.role < Role::Admin {
            return Err(Denial::Viewer);
        }
        if bearer(headers).is_none() && !is_same_origin(headers) {
            return Err(Denial::CrossSite);
        }
        Ok(operator)
    }

    fn who(&self, peer: IpAddr, headers: &HeaderMap, now: Instant) -> Result<Operator, Denial> {
        if let Some(key) = bearer(headers) {
            let address = self.address(peer, headers);
            let looked = self.look_at_key(key, address, now);
            if matches!(looked, Err(Denial::Unknown | Denial::Nobody)) {
                self.lock().keys.take(address, None, now);
            }
            return looked;
        }
        let mut state = self.lock();
        let name = tokens(headers).find_map(|token| state.sessions.use_of(&token, now));
        let name = name.ok_or(self.unknown())?;
        let account = self.accounts.get(&name).ok_or(self.unknown())?;
        Ok(Operator { name, role: account.role })
    }

    fn unknown(&self) -> Denial {
        if self.accounts.is_empty() { Denial::Nobody } else { Denial::Unknown }
    }

    fn look_at_key(&self, key: &str, address: IpAddr, now: Instant) -> Result<Operator, Denial> {
        let found = self.find_key(key);
        // To refuse a long one because others guess would protect nothing.
        if !found.is_some_and(|key| key.is_long) {
            let paced = self.lock().keys.may(address, None, now);
            paced.map_err(|wait| Denial::Guessing { wait })?;
        }
        found.map(|key| key.operator.clone()).ok_or(self.unknown())
    }

    fn find_key(&self, key: &str) -> Option<&Key> {
        let presented = digest(key.as_bytes());
        let mut found = None;
        // All of them, so that the time says nothing of which.
        for key in &self.keys {
            if bool::from(key.digest.ct_eq(&presented)) {
                found = Some(key);
            }
        }
        found
    }

    /// The operator of this name signed in from this address before a restart.
    pub fn remember(&self, name: &str, address: IpAddr, at: SystemTime, now: Moment) {
        let Some((name, _)) = self.accounts.get_key_value(name) else { return };
        let age = now.calendar.duration_since(at).unwrap_or_default();
        // Where the clock does not reach back so far it was lately.
        let at = now.monotonic.checked_sub(age).unwrap_or(now.monotonic);
        if age < guesses::KNOWN_FOR {
            self.lock().passwords.remember(address, name, at, now.monotonic);
        }
    }

    /// Begins a sign-in: what is to be verified, which is slow, before [`Operators::sign_in`].
    /// Each counts as a guess until it turns out to be none.
    pub fn begin(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
        now: Instant,
    ) -> Result<Check, Denial> {
        // Whether there is an operator of that name makes no difference.
        let guessed = Some(&Arc::from(name));
        let with_password = |account: &Account| account.password.clone();
        let real = self.accounts.get(name).and_then(with_password);
        let decoy = || self.accounts.values().find_map(with_password);
        let is_real = real.is_some();
        let mut state = self.lock();
        state.passwords.may(address, guessed, now).map_err(|wait| Denial::Guessing { wait })?;
        state.passwords.take(address, guessed, now);
        let is_known = guessed.is_some_and(|name| state.passwords.is_known(address, name, now));
        let Some(stored) = real.or_else(decoy) else { return Err(Denial::Nobody) };
        Ok(Check::new(stored, password, is_real, is_known))
    }

    /// What [`Operators::begin`] began was not looked at, so it was no guess.
    pub fn give_up(&self, name: &str, address: IpAddr, now: Instant) {
        self.lock().passwords.give_back(address, Some(&Arc::from(name)), now);
    }

    /// Opens a session for an operator whose password was right. `token` is random.
    pub fn sign_in(
        &self,
        name: &str,
        address: IpAddr,
        token: &Token,
        now: Instant,
    ) -> Option<Operator> {
        let (name, account) = self.accounts.get_key_value(name)?;
        let mut state = self.lock();
        state.passwords.was_right(address, name, now);
        state.sessions.open(Arc::clone(name), token, now);
        Some(Operator { name: Arc::clone(name), role: account.role })
    }

    /// Ends the session of a request; who it was.
    pub fn sign_out(&self, headers: &HeaderMap, now: Instant) -> Option<Arc<str>> {
        let mut state = self.lock();
        tokens(headers).filter_map(|token| state.sessions.close(&token, now)).last()
    }

    /// When the session of a request ends at the latest.
    pub fn ends(&self, headers: &HeaderMap, now: Moment) -> Option<SystemTime> {
        let state = self.lock();
        let left = tokens(headers).find_map(|token| state.sessions.left(&token, now.monotonic))?;
        Some(now.calendar + left)
    }

    /// A session ends so long after its sign-in.
    pub fn lifetime(&self) -> Duration {
        self.lock().sessions.lifetime()
    }

    /// The header that gives a browser its token, or takes it away.
    pub fn cookie(&self, token: Option<&Token>, is_secure: bool) -> HeaderValue {
        let (value, age) = match token {
            Some(token) => (token.text(), self.lifetime().as_secs()),
            None => (String::new(), 0),
        };
        let secure = if is_secure { "; Secure" } else { "" };
        let text = format!(
            "{COOKIE_NAME}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
        );
        // Letters, digits and punctuation that headers may have.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a cookie of [`Operators::cookie`] into a response.
pub fn set_cookie(response: &mut Response, cookie: HeaderValue) {
    response.headers_mut().append(SET_COOKIE, cookie);
}

/// Whether a request comes from a page of the host that it goes to, as browsers say it: newer ones
/// by `Sec-Fetch-Site`, all by `Origin`. What says neither is no browser of the last years, and
/// has no business with cookies.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let (Some(origin), Some(host)) = (text(ORIGIN.as_str()), text(HOST.as_str())) else {
        return false;
    };
    let of = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    of.is_some_and(|of| of.eq_ignore_ascii_case(host))
}

/// Whether a browser says that a page of another site is behind this request.
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(ORIGIN);
    says && !is_same_origin(headers)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The tokens of a request's cookies; a few at most.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = Token> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(name, _)| *name == COOKIE_NAME).take(COOKIES_MAX);
    ours.filter_map(|(_, value)| Token::parse(value))
}

/// What is kept of a secret that is random enough.
type Digest = [u8; 32];

fn digest(secret: &[u8]) -> Digest {
    Blake2s256::digest(secret).into()
}

/// The cookie's name.
pub const COOKIE_NAME: &str = "linecast_session";
/// Cookies of that name that are looked at: some other host of the domain may have set one, too.
const COOKIES_MAX: usize = 4;

/// A person mistypes a few times; a hundred thousand likely passwords take one address eleven days.
const PASSWORDS_BY_ADDRESS: Pace = Pace { burst: 10.0, every: Duration::from_secs(10) };
/// The same from many addresses, for one name.
const PASSWORDS_BY_NAME: Pace = Pace { burst: 30.0, every: Duration::from_secs(10) };
/// What it is to wait where too many passwords are being verified.
const BUSY_FOR: Duration = Duration::from_secs(2);
/// A key of so many bytes is not guessed in a life, even if it is hexadecimal.
const KEY_BYTES_LONG: usize = 16;
/// This is for whoever made a shorter one, and spares the log.
const KEYS_BY_ADDRESS: Pace = Pace { burst: 20.0, every: Duration::from_secs(1) };

#[cfg(test)]
mod tests;
