//! The query of a URL: repeated keys, percent-encoding, `+` for a space.

/// What is wrong with a query or a percent-encoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A `%` without two hexadecimal digits.
    #[error("a % in the URL is not followed by two hexadecimal digits")]
    Escape,
    /// The decoded bytes are not UTF-8.
    #[error("the URL does not decode to UTF-8")]
    Utf8,
}

/// A decoded query, in the order in which it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes what stands behind the `?`.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name, true)?, decode(value, true)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The first value of a key.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a key.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Everything, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Decodes `%41` to `A`, leaving `+` alone: for parts of a path.
pub fn percent_decode(text: &str) -> Result<String, QueryError> {
    decode(text, false)
}

fn decode(text: &str, plus_is_space: bool) -> Result<String, QueryError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(), digit());
                match (high, low) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(QueryError::Escape),
                }
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| QueryError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_repeat_and_keep_their_order() {
        let query = Query::parse("mids=1&op=&mids=2&flag&&mids=3").unwrap();
        assert_eq!(query.all("mids").collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(query.get("mids"), Some("1"));
        assert_eq!(query.get("op"), Some(""));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("absent"), None);
        assert_eq!(query.pairs().count(), 5);
    }

    #[test]
    fn escapes_are_decoded() {
        let query = Query::parse("room=live%3A%2F%2F1000&t%65xt=a+b%2Bc=%E5%BC%B9").unwrap();
        assert_eq!(query.get("room"), Some("live://1000"));
        assert_eq!(query.get("text"), Some("a b+c=弹"));
        assert_eq!(percent_decode("a+b%20c"), Ok("a+b c".to_owned()));
    }

    #[test]
    fn broken_escapes_are_refused() {
        for broken in ["a=%", "a=%4", "a=%4g", "a=%+1", "%zz=1"] {
            assert_eq!(Query::parse(broken), Err(QueryError::Escape), "{broken}");
        }
        assert_eq!(Query::parse("a=%ff"), Err(QueryError::Utf8));
    }
}
