//! A man in the middle, who edits what passes.

use bytes::{Bytes, BytesMut};

use super::Side;

/// Cuts both directions into units, and replaces each by any number of others: altered, dropped, doubled, held back, replayed.
pub struct Middle {
    cut: Box<CutUnit>,
    edit: Box<EditUnit>,
    partial: [BytesMut; 2],
}

type CutUnit = dyn FnMut(Side, &[u8]) -> Option<usize> + Send;
type EditUnit = dyn FnMut(Side, Bytes) -> Vec<Bytes> + Send;

impl Middle {
    /// `cut` gives the length of the first unit that a side has sent, if all of it is there; `edit` what is passed on instead of a unit.
    #[must_use]
    pub fn new(
        cut: impl FnMut(Side, &[u8]) -> Option<usize> + Send + 'static,
        edit: impl FnMut(Side, Bytes) -> Vec<Bytes> + Send + 'static,
    ) -> Self {
        Self {
            cut: Box::new(cut),
            edit: Box::new(edit),
            partial: Default::default(),
        }
    }

    /// Edits blocks of one size.
    #[must_use]
    pub fn blocks(
        size: usize,
        edit: impl FnMut(Side, Bytes) -> Vec<Bytes> + Send + 'static,
    ) -> Self {
        let cut = move |_, bytes: &[u8]| (bytes.len() >= size && size > 0).then_some(size);
        Self::new(cut, edit)
    }

    /// What is passed on for bytes from this side.
    pub fn pass(&mut self, from: Side, bytes: &[u8]) -> Vec<Bytes> {
        let [left, right] = &mut self.partial;
        let partial = match from {
            Side::Left => left,
            Side::Right => right,
        };
        partial.extend_from_slice(bytes);
        let mut passed = Vec::new();
        while let Some(length) =
            (self.cut)(from, partial).filter(|n| (1..=partial.len()).contains(n))
        {
            passed.extend((self.edit)(from, partial.split_to(length).freeze()));
        }
        passed
    }

    /// What was left of a unit when its side ended; it passes as it is.
    pub fn end(&mut self, from: Side) -> Bytes {
        let [left, right] = &mut self.partial;
        match from {
            Side::Left => left.split().freeze(),
            Side::Right => right.split().freeze(),
        }
    }
}

impl std::fmt::Debug for Middle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Middle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_edited_wherever_the_stream_is_cut() {
        let edit = |side, unit: Bytes| match side {
            Side::Left => vec![unit.clone(), unit],
            Side::Right => vec![],
        };
        let mut middle = Middle::blocks(2, edit);
        assert!(middle.pass(Side::Left, b"a").is_empty());
        assert_eq!(middle.pass(Side::Left, b"bcde").concat(), b"ababcdcd");
        assert!(middle.pass(Side::Right, b"abc").is_empty());
        assert_eq!(middle.end(Side::Left), b"e".as_slice());
        assert_eq!(middle.end(Side::Right), b"c".as_slice());
    }
}
