//! What the fuzzer decides beside the bytes that are read: how they are cut, how asks are answered.

/// Decisions, taken off the front of an input; zeros once it is used up.
pub(crate) struct Choices<'a>(&'a [u8]);

/// How a stream is cut: lengths of pieces in turn.
pub(crate) struct Pieces<'a>(&'a [u8]);

/// What parts one event from the next where an input is a list: no UTF-8, and rare elsewhere.
const SEPARATOR: [u8; 2] = [0xFF, 0x00];

impl<'a> Choices<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, self.0));
        self.0 = rest;
        *first
    }

    /// One of some things.
    pub(crate) fn one_of<T: Clone>(&mut self, things: &[T]) -> T {
        things[usize::from(self.byte()) % things.len()].clone()
    }

    /// Up to 15 bytes, after their number.
    pub(crate) fn few(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte() % 16).min(self.0.len());
        let (few, rest) = self.0.split_at(count);
        self.0 = rest;
        few
    }

    pub(crate) fn pieces(&mut self) -> Pieces<'a> {
        Pieces(self.few())
    }

    /// Everything else.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Everything else, as a list.
    pub(crate) fn list(self) -> Vec<&'a [u8]> {
        let mut rest = self.0;
        let mut list = Vec::new();
        while let Some(at) = rest.windows(2).position(|two| two == SEPARATOR) {
            list.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        list.push(rest);
        list
    }
}

impl Pieces<'_> {
    /// Cuts a stream; one byte at a time where nothing was decided.
    pub(crate) fn cut<'b>(&self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let lengths = if self.0.is_empty() { &[1] } else { self.0 };
        let mut pieces = Vec::new();
        for length in lengths.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let (piece, rest) = bytes.split_at(usize::from(*length).clamp(1, bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// An input that decides `choices` first.
pub(crate) fn seed(choices: &[u8], rest: &[u8]) -> Vec<u8> {
    [choices, rest].concat()
}

/// A list as an input has it.
pub(crate) fn listed(list: &[&[u8]]) -> Vec<u8> {
    list.join(&SEPARATOR[..])
}
