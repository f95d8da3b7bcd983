//! Bytes on their way to the stream.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// How many buffers leave in one write.
const SLICES: usize = 16;

/// What a machine has transmitted and the stream has not taken.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    buffers: VecDeque<Bytes>,
    bytes: usize,
}

impl Unsent {
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn push(&mut self, buffer: Bytes) {
        if !buffer.is_empty() {
            self.bytes = self.bytes.saturating_add(buffer.len());
            self.buffers.push_back(buffer);
        }
    }

    /// Hands the front to `write`, as many buffers as leave in one write.
    pub(super) fn slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, buffer) in slices.iter_mut().zip(&self.buffers) {
            *slice = IoSlice::new(buffer);
        }
        let count = self.buffers.len().min(SLICES);
        write(slices.get(..count).unwrap_or_default())
    }

    /// Forgets what the stream has taken. Nothing unsent owns no memory.
    pub(super) fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(front) = self.buffers.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written = written.saturating_sub(front.len());
            self.buffers.pop_front();
        }
        self.clear();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn writes_of_any_size_send_the_same_bytes(
            buffers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40),
            size in 1..100usize,
        ) {
            let mut unsent = Unsent::default();
            buffers.iter().for_each(|buffer| unsent.push(buffer.clone().into()));
            let expected = buffers.concat();
            prop_assert_eq!(unsent.len(), expected.len());
            let mut sent = Vec::new();
            while !unsent.is_empty() {
                let front = unsent.slices(|slices| slices.iter().flat_map(|slice| slice.to_vec()).take(size).collect::<Vec<_>>());
                prop_assert!(!front.is_empty());
                unsent.advance(front.len());
                sent.extend(front);
            }
            prop_assert_eq!(sent, expected);
            prop_assert_eq!(unsent.buffers.capacity(), 0);
        }
    }
}
