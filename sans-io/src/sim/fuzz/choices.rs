//! What a fuzzer's bytes say, choice by choice.

use std::time::Duration;

use crate::rng::Rng;

/// Reads choices from bytes. Where the bytes end, every choice is the first one.
#[derive(Debug, Clone)]
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(super) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// What happens next, in the low five bits, and a small number that it may need, in the others.
    ///
    /// A kind that means nothing yet is to do nothing, so that one that is added later does not change what old bytes say.
    pub(super) fn next(&mut self) -> Option<(u8, u8)> {
        let byte = (!self.is_empty()).then(|| self.byte())?;
        Some((byte & 0x1f, byte >> 5))
    }

    /// One of that many, from zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()).checked_rem(bound).unwrap_or(0)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Up to that many bytes as they are.
    pub(super) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = most.min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// Any number of bytes as they are.
    pub(super) fn some_bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.bytes(length)
    }

    /// From a microsecond to five hours, in one byte.
    pub(super) fn duration(&mut self) -> Duration {
        let byte = self.byte();
        let micros = (u64::from(byte & 0xf).saturating_add(1)) << (u32::from(byte >> 4) * 2);
        Duration::from_micros(micros)
    }

    /// Randomness for a value that is drawn from two bytes of choice.
    pub(super) fn rng(&mut self) -> Rng {
        super::super::rng(self.word().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_the_first_choice() {
        let mut choices = Choices::new(&[0x47, 1, 2]);
        assert_eq!(choices.next(), Some((7, 2)));
        assert_eq!(choices.bytes(9), [1, 2]);
        assert_eq!((choices.next(), choices.word()), (None, 0));
        assert_eq!(choices.duration(), Duration::from_micros(1));
    }

    #[test]
    fn durations_are_of_every_size() {
        let duration = |byte| Choices::new(&[byte]).duration();
        assert_eq!(duration(0xff), Duration::from_micros(16 << 30));
        assert!(duration(0xa0) > Duration::from_secs(1));
    }
}
