//! Batches: as many transmissions as fit share a block.

use bytes::{BufMut, Bytes, BytesMut};

use super::block::MAX_BATCH;
use crate::wire::{Large, NonEmpty, Source, Version, Wire};

/// The most transmissions of a batch.
const MAX_COUNT: usize = 255;
const COUNT: usize = 1;
const LENGTH: usize = 2;

/// What becomes of transmissions that are to be sent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// The content of a block, and how many transmissions it holds.
    Block(Bytes, usize),
    /// A transmission that fits into no block.
    TooLarge,
}

/// Packs transmissions into blocks, in order; the last block is the fullest.
#[must_use]
pub fn pack(transmissions: &[Bytes]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut rest = transmissions;
    while let Some(last) = rest.last() {
        let count = fitting_from_the_end(rest);
        let (before, batch) = rest.split_at(rest.len().saturating_sub(count.max(1)));
        batches.push(match count {
            0 => Batch::TooLarge,
            _ => Batch::Block(content(batch), count),
        });
        debug_assert!(batch.last() == Some(last));
        rest = before;
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

fn content(batch: &[Bytes]) -> Bytes {
    let mut out = BytesMut::with_capacity(MAX_BATCH);
    out.put_u8(u8::try_from(batch.len()).unwrap_or(u8::MAX));
    for transmission in batch {
        out.put_u16(u16::try_from(transmission.len()).unwrap_or(u16::MAX));
        out.put_slice(transmission);
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
            let unpacked: Vec<_> = pack(&transmissions).iter().flat_map(|batch| match batch {
                Batch::Block(content, count) => {
                    let batch = unpack(content).unwrap();
                    assert_eq!(batch.len(), *count);
                    batch
                }
                Batch::TooLarge => panic!("all of these fit"),
            }).collect();
            prop_assert_eq!(unpacked, transmissions);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpack(&bytes.into());
        }
    }
}
