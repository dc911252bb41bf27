//! UTF-8 checked piece by piece, failing at the first byte that no continuation can make right.
//!
//! Invariant: `tail` is a proper prefix of one character, and empty exactly between characters.

/// How far a text has been checked.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    tail: [u8; 3],
    tail_len: u8,
}

/// The text is not UTF-8, whatever follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Utf8 {
    /// Checks the next piece.
    pub(super) fn check(&mut self, piece: &[u8]) -> Result<(), Invalid> {
        let mut piece = piece;
        while self.tail_len > 0 {
            let Some((next, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            self.extend_tail(*next)?;
        }
        match std::str::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                let tail = &piece[error.valid_up_to()..];
                self.tail[..tail.len()].copy_from_slice(tail);
                self.tail_len = tail.len() as u8;
                Ok(())
            }
        }
    }

    /// Ends the text and starts a new one.
    pub(super) fn finish(&mut self) -> Result<(), Invalid> {
        let open = std::mem::take(self).tail_len;
        if open == 0 { Ok(()) } else { Err(Invalid) }
    }

    fn extend_tail(&mut self, next: u8) -> Result<(), Invalid> {
        let len = usize::from(self.tail_len);
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.tail[..len]);
        character[len] = next;
        match std::str::from_utf8(&character[..=len]) {
            Ok(_) => self.tail_len = 0,
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(_) => {
                // A prefix of four bytes would be a character, so at most three are open.
                self.tail[len] = next;
                self.tail_len += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The length after which a byte-by-byte reader refuses, or `Err` at the end if unfinished.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        bytes.iter().position(|byte| utf8.check(&[*byte]).is_err())
    }

    #[test]
    fn fails_at_the_first_hopeless_byte() {
        assert_eq!(refused_at(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"), None);
        assert_eq!(refused_at(b"\xce\xba\xf4\x90\x80\x80"), Some(3), "beyond U+10FFFF");
        assert_eq!(refused_at(b"a\xed\xa0\x80"), Some(2), "a surrogate");
        assert_eq!(refused_at(b"\xc0\xaf"), Some(0), "overlong");
        assert_eq!(refused_at(b"\xe0\x80\xaf"), Some(1), "overlong");
        assert_eq!(refused_at(b"\xf8"), Some(0));
        assert_eq!(refused_at(b"\x80"), Some(0));
    }

    #[test]
    fn an_open_character_is_an_error_at_the_end_only() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.check(b"a\xe4\xbd"), Ok(()));
        assert_eq!(utf8.finish(), Err(Invalid));
        assert_eq!(utf8.check(b"a"), Ok(()), "finishing starts anew");
        assert_eq!(utf8.finish(), Ok(()));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in prop_oneof![
                any::<Vec<u8>>(),
                any::<String>().prop_map(String::into_bytes),
                "[a-zé你🎁]{0,20}".prop_map(String::into_bytes),
            ],
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let mut utf8 = Utf8::default();
            let whole = at.windows(2).all(|cut| utf8.check(&text[cut[0]..cut[1]]).is_ok());
            prop_assert_eq!(whole && utf8.finish().is_ok(), std::str::from_utf8(&text).is_ok());
        }
    }
}
