//! Choices taken from the bytes of an input, one after the other.
//!
//! When the bytes run out, everything is zero or empty, so every input is a
//! whole one and a longer input only adds to what a shorter one did.

/// What is left of an input.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    /// One of `0..count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// A small number mostly, sometimes any.
    pub(crate) fn int(&mut self) -> i64 {
        match self.byte() {
            255 => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            254 => i64::MAX,
            253 => i64::MIN,
            small => i64::from(small as i8),
        }
    }

    /// Up to 255 bytes, their number first.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// As [`Input::bytes`], unless the next byte is odd.
    pub(crate) fn nullable(&mut self) -> Option<&'a [u8]> {
        (self.byte() & 1 == 0).then(|| self.bytes())
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
