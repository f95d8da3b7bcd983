//! Batches: as many transmissions as fit share a block.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::block::{Blocks, MAX_BATCH};
use crate::wire::{Large, NonEmpty, Source, Version, Wire};

/// The most transmissions of a batch.
const MAX_COUNT: usize = 255;
const COUNT: usize = 1;
const LENGTH: usize = 2;

/// What becomes of transmissions that are to be sent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// These share a block.
    Block(Range<usize>),
    /// This one fits into no block.
    TooLarge(usize),
}

/// Divides transmissions into blocks, in order; the last block is the fullest.
#[must_use]
pub fn pack(transmissions: &[Bytes]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut end = transmissions.len();
    while let Some(last) = end.checked_sub(1) {
        let rest = transmissions.get(..end).unwrap_or(transmissions);
        match fitting_from_the_end(rest) {
            0 => {
                batches.push(Batch::TooLarge(last));
                end = last;
            }
            count => {
                let start = end.saturating_sub(count);
                batches.push(Batch::Block(start..end));
                end = start;
            }
        }
    }
    batches.reverse();
    batches
}

/// How many of the last transmissions fit into one block.
fn fitting_from_the_end(transmissions: &[Bytes]) -> usize {
    transmissions
        .iter()
        .rev()
        .take(MAX_COUNT)
        .scan(COUNT, |size, transmission| {
            *size = size
                .saturating_add(LENGTH)
                .saturating_add(transmission.len());
            (*size <= MAX_BATCH).then_some(())
        })
        .count()
}

/// Whether a transmission fits into a block at all.
#[must_use]
pub fn fits(transmission: &Bytes) -> bool {
    fitting_from_the_end(std::slice::from_ref(transmission)) == 1
}

/// The length of the content that transmissions make together.
#[must_use]
pub fn content_length(transmissions: &[Bytes]) -> usize {
    transmissions.iter().fold(COUNT, |size, transmission| {
        size.saturating_add(LENGTH)
            .saturating_add(transmission.len())
    })
}

/// Appends the content that transmissions make together: no more than a [`Batch`] of them.
pub fn put_content(transmissions: &[Bytes], out: &mut BytesMut) {
    out.put_u8(u8::try_from(transmissions.len()).unwrap_or(u8::MAX));
    for transmission in transmissions {
        out.put_u16(u16::try_from(transmission.len()).unwrap_or(u16::MAX));
        out.put_slice(transmission);
    }
}

/// The blocks of transmissions that are sent together. One that fits into no block is left out.
pub fn blocks(transmissions: &[Bytes], blocks: &mut Blocks) -> Bytes {
    let mut out = BytesMut::new();
    for batch in pack(transmissions) {
        if let Batch::Block(range) = batch {
            let batch = transmissions.get(range).unwrap_or_default();
            let length = content_length(batch);
            blocks.put(length, &mut out, |out| put_content(batch, out));
        }
    }
    out.freeze()
}

/// The transmissions of a block's content; none if it is not a batch.
#[must_use]
pub fn unpack(content: &Bytes) -> Option<Vec<Bytes>> {
    let source = Source::block(Version::default(), content);
    match NonEmpty::<Large>::parse(source, content) {
        Ok(([], batch)) => Some(
            batch
                .into_vec()
                .into_iter()
                .map(Large::into_bytes)
                .collect(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_comes_back_in_order(sizes in prop::collection::vec(0..6000_usize, 0..40)) {
            let transmissions: Vec<_> = sizes.iter().enumerate().map(|(i, size)| Bytes::from(vec![i as u8; *size])).collect();
            let unpacked: Vec<_> = pack(&transmissions).into_iter().flat_map(|batch| {
                let Batch::Block(range) = batch else { panic!("all of these fit") };
                let mut content = BytesMut::new();
                put_content(&transmissions[range.clone()], &mut content);
                assert_eq!(content.len(), content_length(&transmissions[range]));
                unpack(&content.freeze()).unwrap()
            }).collect();
            prop_assert_eq!(unpacked, transmissions);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpack(&bytes.into());
        }
    }
}
